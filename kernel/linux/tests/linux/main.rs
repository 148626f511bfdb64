//! What only a real kernel can show: what we write is what `ip` and `nft` read, and the other way round.
//!
//! Every test has network namespaces of its own, made for it and gone with it.

#![allow(clippy::unwrap_used, reason = "a helper of a test that can't go on must end the test")]

mod desired;
mod flows;
mod links;
mod netns;
mod nft;
mod packet_log;
mod routes;
mod watch;

use corduroy_kernel::{IpNet, Lane, LinkName, Mac, Op, OpResult, Plan, State};
use corduroy_kernel_linux::Kernel;
use netns::Netns;

const HOST_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
const POD_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);

fn open(netns: &Netns) -> Kernel {
    Kernel::open(Some(netns.fd())).unwrap()
}

fn plan(ops: Vec<Op>) -> Plan {
    Plan { lane: Lane::Foundation, ops }
}

fn done(kernel: &mut Kernel, ops: impl Into<Vec<Op>>) {
    let plan = plan(ops.into());
    for (op, result) in plan.ops.iter().zip(kernel.apply(&plan)) {
        assert!(result.is_ok(), "{op:?}: {}", result.unwrap_err());
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn dev(name: &str) -> LinkName {
    name.parse().unwrap()
}

/// Results of operations that need not go well.
fn tried(kernel: &mut Kernel, ops: impl Into<Vec<Op>>) -> Vec<OpResult> {
    kernel.apply(&plan(ops.into()))
}

/// Two interfaces joined to each other, `up0` with 192.0.2.1/24 and `up1` with fd01::1/64.
fn uplinks() -> Netns {
    let netns = Netns::new();
    netns.sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up");
    netns.sh("ip addr add 192.0.2.1/24 dev up0; ip -6 addr add fd01::1/64 dev up1 nodad");
    netns
}

/// A state without what counts or comes by itself: nothing two readings may differ in.
fn quiet(mut state: State) -> State {
    state.links.values_mut().for_each(|seen| seen.running = true);
    state
}
