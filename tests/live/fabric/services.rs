//! Packets for addresses of services: what kube-proxy translates passes, the rest neither loops nor leaves.

use corduroy_tests::daemons::Bird;
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};

use super::{PATIENCE, bird_is_up, peers, tor};

const RANGES: &str = "apiVersion: corduroy.dev/v1alpha1\nkind: BGPConfiguration\nmetadata:\n  name: default\n\
                      spec:\n  serviceLoadBalancerIPs:\n  - cidr: 203.0.113.0/24\n";

/// kube-proxy, as far as one address and one pod go: the same hooks and priorities.
fn kube_proxy(node: &Node, pod: &Pod) {
    let to = pod.address(false);
    let chain = |hook: &str| {
        format!("chain {hook} {{ type nat hook {hook} priority -100; ip daddr 203.0.113.7 dnat to {to}; }}\n")
    };
    let table = format!("table ip proxy {{ {} {} }}", chain("prerouting"), chain("output"));
    let file = node.host().file("proxy.nft", &table);
    node.host().run(&format!("nft -f {}", file.display()));
}

fn dropped(node: &Node) -> u32 {
    let chain = node.host().run("nft list chain inet corduroy forward");
    let rule = chain.lines().find(|line| line.contains("@services4")).unwrap_or_default();
    let mut words = rule.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

#[test]
fn what_is_translated_reaches_its_pod_from_everywhere_and_the_rest_neither_loops_nor_leaves() {
    let fabric = Fabric::new("services");
    fabric.pools("vxlanMode");
    fabric.put("peers", &peers(65001));
    fabric.put("bgp", RANGES);
    let bird = Bird::start(fabric.router(), tor());
    let mut node = fabric.node("n1", Segment::A, 11);
    node.start();
    let pod = fabric.pod(&node, "web");
    bird_is_up(&bird);
    // The router has the range from the node, and so has its kernel.
    eventually(PATIENCE, || {
        let route = fabric.router().ip("route show 203.0.113.0/24");
        if route.contains("via 10.1.1.11") { Ok(()) } else { Err(route) }
    });
    let try_ping = |from: &corduroy_tests::Namespace, last: u8| {
        from.try_run(&format!("ping -c 1 -W 1 203.0.113.{last}"))
    };

    let before = dropped(&node);
    let silence = try_ping(fabric.router(), 99).unwrap_err();
    assert!(silence.contains("100% packet loss") && !silence.contains("exceeded"), "{silence}");
    assert_eq!(dropped(&node), before + 1, "it came once, and went nowhere");
    let silence = try_ping(pod.inside(), 99).unwrap_err();
    assert!(silence.contains("100% packet loss") && !silence.contains("exceeded"), "{silence}");

    kube_proxy(&node, &pod);
    let other = fabric.pod(&node, "other");
    for from in [fabric.router(), node.host(), other.inside()] {
        eventually(PATIENCE, || try_ping(from, 7));
    }
}
