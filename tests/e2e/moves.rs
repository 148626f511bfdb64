//! A node that is not what it was: at another address, or under another name.

use std::collections::BTreeSet;

use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Pod, Segment, patch_status};
use corduroy_tests::kube::PATIENCE;
use serde_json::json;

use crate::peering::peers;

/// Nodes of one rack by wire, others by tunnel.
const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet}
";

/// Two nodes of a rack and one of the other, with a pod each.
fn fabric(label: &str) -> (Fabric, [Node; 3], [Pod; 3]) {
    let fabric = Fabric::of_cluster(label);
    fabric.kubectl().apply(POOL);
    let places = [("n1", Segment::A, 11), ("n2", Segment::A, 12), ("n3", Segment::B, 13)];
    let mut nodes = places.map(|(name, segment, n)| fabric.node(name, segment, n));
    nodes.iter_mut().for_each(Node::start);
    let pods = nodes.each_ref().map(|node| fabric.pod(node, &format!("pod-{}", node.name())));
    (fabric, nodes, pods)
}

#[track_caller]
fn reached(pod: &Pod, from: &Pod) {
    let ping = format!("ping -n -c 1 -W 1 {}", pod.address(false));
    eventually(PATIENCE, || from.inside().try_run(&ping).map(drop));
}

/// The sessions of `node` with n2 are at these addresses and no others.
#[track_caller]
fn sessions_with_n2(node: &Node, wanted: [&str; 2]) {
    let wanted = wanted.map(|address| format!("{address} mesh (n2)"));
    eventually(PATIENCE, || {
        let found: Vec<_> = peers(node)?.into_iter().filter(|peer| peer.contains("(n2)")).collect();
        if found == wanted { Ok(()) } else { Err(format!("{}: {found:?}, not {wanted:?}", node.name())) }
    });
}

#[test]
fn a_node_that_moves_to_another_address_is_followed_by_all_others() {
    let (fabric, nodes, pods) = fabric("address");
    let [near, moving, far] = &pods;
    [near, far].into_iter().for_each(|from| reached(moving, from));
    for node in [&nodes[0], &nodes[2]] {
        sessions_with_n2(node, ["10.1.1.12", "fd00:1:1::c"]);
    }

    let host = nodes[1].host();
    host.sysctl("net.ipv4.conf.eth0.promote_secondaries", "1");
    host.address("eth0", &format!("{}/24", Segment::A.v4(22)));
    host.address("eth0", &format!("{}/64", Segment::A.v6(22)));
    let addresses = [Segment::A.v4(22), Segment::A.v6(22)];
    let addresses = addresses.map(|address| json!({ "type": "InternalIP", "address": address }));
    patch_status(&fabric.kubectl(), "node n2", &json!({ "addresses": addresses }));
    for node in [&nodes[0], &nodes[2]] {
        sessions_with_n2(node, ["10.1.1.22", "fd00:1:1::16"]);
    }
    // Nothing leans on the old ones any more.
    host.ip(&format!("address del {}/24 dev eth0", Segment::A.v4(12)));
    host.ip(&format!("address del {}/64 dev eth0", Segment::A.v6(12)));
    for (from, to) in [(near, moving), (far, moving), (moving, far)] {
        reached(to, from);
    }
}

#[test]
fn a_machine_under_another_name_is_another_node_and_inherits_nothing() {
    let (fabric, [_n1, mut old, _n3], [near, leaving, _far]) = fabric("name");
    reached(&leaving, &near);
    let before: BTreeSet<String> = old.blocks().into_iter().collect();
    assert!(!before.is_empty());
    leaving.delete(&old);
    old.stop();
    fabric.kubectl().run("delete node n2");

    let mut renamed = fabric.renamed(&old, "m2", Segment::A, 12);
    renamed.start();
    let pod = fabric.pod(&renamed, "pod-m2");
    reached(&pod, &near);
    let after: BTreeSet<String> = renamed.blocks().into_iter().collect();
    assert!(!after.is_empty());
    assert!(before.is_disjoint(&after), "blocks of n2 until the caretaker frees them: {before:?}, {after:?}");
}
