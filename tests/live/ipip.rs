//! IPIP between racks, on a kernel that has it.

use std::time::Duration;

use corduroy_tests::fabric::{Fabric, Segment};
use corduroy_tests::probe::{Echo, Ping, Protocol, seen_over};
use corduroy_tests::{Namespace, eventually, vm};

/// The machine is emulated: a second here is a tenth of one there.
const PATIENCE: Duration = Duration::from_secs(120);

/// How `host` would send to `target`, as `ip route get` says it.
fn way(host: &Namespace, target: &str) -> String {
    host.ip(&format!("route get {target}"))
}

/// Packets that went into a tunnel device.
fn sent(host: &Namespace, dev: &str) -> u64 {
    let text = host.ip(&format!("-statistics -json link show dev {dev}"));
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    links[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

#[test]
fn ipip_carries_pods_between_racks_and_nothing_within_one() {
    if !vm::here(
        "ipip::ipip_carries_pods_between_racks_and_nothing_within_one",
        &["corduroy-agent", "corduroy"],
    ) {
        return;
    }
    let fabric = Fabric::new("ipip");
    fabric.pools("ipipMode");
    let mut nodes = [("one", Segment::A, 11), ("two", Segment::A, 12), ("three", Segment::B, 11)]
        .map(|(name, rack, n)| fabric.node(name, rack, n));
    for node in &mut nodes {
        node.start();
    }
    let pods = [0, 1, 2].map(|n| fabric.pod(&nodes[n], &format!("pod-{n}")));
    let address = |n: usize, v6: bool| pods[n].address(v6).to_string();
    // Within the rack by the wire, between racks by the tunnel: IPv4 in IPIP, and IPv6, which that does not carry, in
    // VXLAN.
    for (target, v6, device) in
        [(1, false, "eth0"), (2, false, "ipip-cord"), (1, true, "eth0"), (2, true, "vxlan-cord")]
    {
        let target = address(target, v6);
        eventually(PATIENCE, || {
            let way = way(nodes[0].host(), &target);
            if way.contains(&format!("dev {device}")) { Ok(()) } else { Err(format!("by {device}? {way}")) }
        });
    }
    for (from, to) in [(0, 1), (0, 2), (2, 0)] {
        let before = sent(nodes[from].host(), "ipip-cord");
        for v6 in [false, true] {
            let ping = Ping::start(pods[from].inside(), &address(to, v6), Duration::from_millis(100));
            ping.marker(PATIENCE);
            ping.stop(PATIENCE).expect_no_loss("pod to pod");
        }
        let crossed = sent(nodes[from].host(), "ipip-cord") > before;
        assert_eq!(crossed, to == 2 || from == 2, "from pod {from} to pod {to}");
    }
    // What the node itself sends into the tunnel comes from its tunnel address, so that the answer takes it too.
    let _echo = Echo::serve(pods[2].inside(), 7);
    let seen = seen_over(Protocol::Tcp, nodes[0].host(), &format!("{}:7", address(2, false))).unwrap();
    let tunnel = nodes[0].host().ip("-4 -brief address show dev ipip-cord");
    assert!(tunnel.contains(&format!("{}/32", seen.ip())), "{seen} is not the tunnel's address: {tunnel}");
}
