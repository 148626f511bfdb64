//! The wall clock of a node jumps by hours, as when a battery was empty or somebody set it by hand. Whatever is
//! measured in time goes by the clock that never jumps; what is written for people goes by the one that does.

use std::time::Duration;

use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};
use corduroy_tests::kube::{Kubectl, PATIENCE};
use corduroy_tests::probe::Ping;
use serde_json::Value;

const PACE: Duration = Duration::from_millis(10);
/// Packets of the ping in the half minute that an address rests, less what an agent takes to write down its end.
const REST: u32 = 2_900;
const HASTE: &str = "    caretaker: {lease: 6s, interval: 1s}\n";
/// Two blocks of four addresses.
const SETTING: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshHoldTime: 6s}
---
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v4}
spec: {cidr: 10.244.0.0/29, blockSize: 30}
";

fn lease(kubectl: &Kubectl) -> Result<Value, String> {
    kubectl.get("lease corduroy-caretaker -n corduroy-system").map(|lease| lease["spec"].clone())
}

/// When the Lease was renewed, by the clock of its holder.
fn renewed(lease: &Value) -> String {
    lease["renewTime"].as_str().unwrap_or_default().to_owned()
}

/// Waits until n1 has renewed the Lease often, by a clock that shows something `later` than `before`, or else earlier.
/// It never lost it.
fn keeps_the_lease(kubectl: &Kubectl, before: &Value, later: bool) -> Value {
    let mut seen = std::collections::BTreeSet::new();
    eventually(PATIENCE, || {
        let now = lease(kubectl)?;
        assert_eq!(now["leaseTransitions"], before["leaseTransitions"], "the Lease changed hands: {now}");
        if (renewed(&now) > renewed(before)) == later {
            seen.insert(renewed(&now));
        }
        // More than a term of it.
        if seen.len() > 4 { Ok(now) } else { Err(format!("renewed {} times: {now}", seen.len())) }
    })
}

/// For how many seconds the session with the other node stands.
fn since(node: &Node) -> Result<u64, String> {
    let peers: Value = serde_json::from_str(&node.ctl("peers -o json")?).map_err(|e| e.to_string())?;
    let all = peers.as_array().cloned().unwrap_or_default();
    let up: Vec<u64> =
        all.iter().filter(|p| p["state"] == "Established").filter_map(|p| p["since"].as_u64()).collect();
    // One over each family.
    if up.len() == 2 { Ok(up.into_iter().min().unwrap_or_default()) } else { Err(peers.to_string()) }
}

/// The only address that is left rests; whoever asks for one waits until it has had its rest.
fn rests(fabric: &Fabric, node: &mut Node, leaver: Pod, ping: &Ping, jump: impl FnOnce(&mut Node)) -> Pod {
    let (address, gone) = (leaver.address(false), ping.sent());
    leaver.delete(node);
    jump(node);
    let next = fabric.pod(node, "next");
    let waited = ping.sent() - gone;
    assert_eq!(next.address(false), address);
    assert!(waited >= REST, "{address} went to another after {waited} packets of {PACE:?}");
    next
}

#[test]
fn a_wall_clock_that_jumps_by_hours_costs_no_session_no_lease_no_address_and_no_packet() {
    let fabric = Fabric::of_cluster("clock");
    let kubectl = fabric.kubectl();
    kubectl.apply(SETTING);
    let mut n1 = fabric.registered("n1", Segment::A, 11, HASTE);
    let mut n2 = fabric.registered("n2", Segment::A, 12, HASTE);
    // Ahead at first: certificates of the test are young, and would not be valid at an earlier time.
    n1.set_clock("+6h");
    n1.start();
    let first = eventually(PATIENCE, || {
        let lease = lease(&kubectl)?;
        let holder = lease["holderIdentity"].as_str().unwrap_or_default();
        if holder.starts_with("n1_") { Ok(lease) } else { Err(format!("held by {holder:?}")) }
    });
    n2.start();
    eventually(PATIENCE, || match kubectl.get("ipamblocks")?["items"].as_array().map_or(0, Vec::len) {
        2 => Ok(()),
        n => Err(format!("{n} of 2 blocks are taken")),
    });
    let pods = ["a", "b", "c", "d"].map(|label| fabric.pod(&n1, label));
    let [a, .., leaver] = pods;
    let far = fabric.pod(&n2, "far");
    eventually(PATIENCE, || since(&n1));
    let target = far.address(false).to_string();
    eventually(PATIENCE, || a.inside().try_run(&format!("ping -c 1 -W 1 {target}")));
    let ping = Ping::start(a.inside(), &target, PACE);
    ping.marker(PATIENCE);
    let ahead = keeps_the_lease(&kubectl, &first, true);
    let (begun, stood) = (ping.sent(), since(&n1).unwrap());

    let next = rests(&fabric, &mut n1, leaver, &ping, |n1| n1.set_clock("+0"));
    let back = keeps_the_lease(&kubectl, &ahead, false);
    let next = rests(&fabric, &mut n1, next, &ping, |n1| n1.set_clock("+30h"));
    let forth = keeps_the_lease(&kubectl, &back, true);
    let lasted = Duration::from_secs(since(&n1).unwrap() - stood);
    assert!(
        lasted >= PACE * (ping.sent() - begun) - Duration::from_secs(5),
        "a session began anew: {lasted:?}"
    );

    // And an agent that starts anew behind what its former run has written.
    let next = rests(&fabric, &mut n1, next, &ping, |n1| {
        n1.kill();
        n1.set_clock("+0");
        n1.start();
    });
    assert!(renewed(&forth) > renewed(&ahead));
    let status = n1.status().unwrap();
    assert_eq!(status["conditions"], serde_json::json!([]), "{status}");
    assert_eq!(status["kernel"]["repaired"], 0, "{status}");
    assert_eq!(status["pods"]["attached"], 4, "{status}");
    let age = status["uptime"].as_u64().unwrap();
    assert!(age < 3_600, "it runs for {age} s by its own account");
    ping.marker(PATIENCE);
    ping.stop(PATIENCE).expect_no_loss("a clock that jumps");
    next.delete(&n1);
    n1.stop();
    n2.stop();
}
