//! BGP from the cluster: who peers with whom as BGPPeers, Secrets and Nodes say.

use std::time::Duration;

use corduroy_tests::daemons::{Bird, Daemon as _, Neighbour, Router};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::kube::{Kubectl, PATIENCE};
use corduroy_tests::probe::Ping;
use serde_json::Value;

const N1: &str = "10.1.1.11";
const N2: &str = "10.1.1.12";
pub(crate) const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v4}
spec: {cidr: 10.244.0.0/16}
";

pub(crate) fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: corduroy.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn secret(kubectl: &Kubectl, password: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bgp, namespace: corduroy-system}}\n\
         stringData: {{tor: {password}}}\n"
    );
    kubectl.apply(&text);
}

/// The router of the rack: node 1 has an AS of its own, node 2 that of the fabric.
fn tor(password: &str) -> Router {
    let session = |address, asn| {
        let password = Some(password.to_owned());
        Neighbour { password, passive: true, ..Neighbour::one_family(address, asn) }
    };
    Router::new(65001, "10.1.1.1").peer(session(N1, 65011)).peer(session(N2, 64512))
}

fn says(node: &Node, question: &str, words: &str) {
    eventually(PATIENCE, || match node.ctl(question)? {
        said if said.contains(words) => Ok(()),
        said => Err(format!("no {words:?} in {said}")),
    });
}

/// The peers a node has a session with, each with where the session comes from.
pub(crate) fn peers(node: &Node) -> Result<Vec<String>, String> {
    let said: Value = serde_json::from_str(&node.ctl("peers -o json")?).map_err(|e| e.to_string())?;
    let all = said.as_array().cloned().unwrap_or_default();
    let up = all.iter().filter(|peer| peer["state"] == "Established");
    Ok(up.map(|peer| format!("{} {}", text(&peer["address"]), text(&peer["origin"]))).collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn has_peers(node: &Node, wanted: &[&str]) {
    eventually(PATIENCE, || match peers(node)? {
        found if found == wanted => Ok(()),
        found => Err(format!("{}: {found:?} instead of {wanted:?}", node.name())),
    });
}

fn established(tor: &Bird, address: &str) {
    eventually(PATIENCE, || tor.established(address.parse().unwrap()));
}

#[test]
fn sessions_follow_bgppeers_passwords_and_what_nodes_say_of_themselves() {
    let fabric = Fabric::of_cluster("peering");
    let kubectl = fabric.kubectl();
    kubectl.apply(&resource("BGPConfiguration", "default", "{nodeToNodeMeshEnabled: false}"));
    let password = "password: {secretKeyRef: {name: bgp, key: tor}}";
    let to_tor = |side: &str| format!("{{{side}, peerIP: 10.1.1.1, asNumber: 65001, {password}}}");
    kubectl.apply(&resource(
        "BGPPeer",
        "tor",
        &to_tor("nodeSelector: \"topology.kubernetes.io/zone == 'rack-a'\""),
    ));
    let mut nodes = [fabric.node("n1", Segment::A, 11), fabric.node("n2", Segment::A, 12)];
    kubectl.run("annotate node n1 corduroy.dev/as-number=65011");
    let mut tor_1 = Bird::start(fabric.router(), tor("first"));
    nodes.iter_mut().for_each(Node::launch);
    let [n1, n2] = &nodes;

    says(n1, "status", "there is no secret bgp with a key tor");
    secret(&kubectl, "first");
    [N1, N2].into_iter().for_each(|address| established(&tor_1, address));

    secret(&kubectl, "second");
    tor_1.reconfigure(tor("second"));
    [N1, N2].into_iter().for_each(|address| established(&tor_1, address));
    has_peers(n1, &["10.1.1.1 BGPPeer/tor"]);

    kubectl.run("annotate --overwrite node n1 corduroy.dev/as-number=sixty");
    says(n1, "status", "corduroy.dev/as-number: \"sixty\" is not allowed");
    assert_eq!(kubectl.get("fabricnode n1").unwrap()["spec"]["asNumber"], 65011, "what was in force stays");
    established(&tor_1, N1);

    kubectl.apply(
        &resource("BGPPeer", "tor", &to_tor("node: n2")).replace("name: tor}\nspec", "name: tor-n2}\nspec"),
    );
    kubectl.run("delete bgppeer tor");
    has_peers(n1, &[]);
    has_peers(n2, &["10.1.1.1 BGPPeer/tor-n2"]);

    kubectl.run("annotate --overwrite node n1 corduroy.dev/as-number-");
    kubectl.run("label node n2 corduroy.dev/route-reflector=");
    kubectl.run("annotate node n2 projectcalico.org/RouteReflectorClusterID=244.0.0.1");
    let selected = "{nodeSelector: all(), peerSelector: has(corduroy.dev/route-reflector)}";
    kubectl.apply(&resource("BGPPeer", "reflectors", selected));
    // Nodes have addresses of both families, and a session over each.
    has_peers(n1, &["10.1.1.12 BGPPeer/reflectors (n2)", "fd00:1:1::c BGPPeer/reflectors (n2)"]);
    let clients = ["10.1.1.11 BGPPeer/reflectors (n1)", "fd00:1:1::b BGPPeer/reflectors (n1)"];
    has_peers(n2, &["10.1.1.1 BGPPeer/tor-n2", clients[0], clients[1]]);
    says(n2, "peers", "client");
}

#[test]
fn a_cluster_goes_from_the_mesh_to_reflectors_and_back_without_losing_a_packet() {
    let fabric = Fabric::of_cluster("to-reflectors");
    let kubectl = fabric.kubectl();
    kubectl.apply(POOL);
    let places = [("n1", 11), ("n2", 12), ("n3", 13)];
    let mut nodes = places.map(|(name, n)| fabric.node(name, Segment::A, n));
    nodes.iter_mut().for_each(Node::start);
    let [n1, n2, n3] = &nodes;
    let (p1, p2) = (fabric.pod(n1, "p1"), fabric.pod(n2, "p2"));
    let target = p2.address(false).to_string();
    eventually(PATIENCE, || p1.inside().try_run(&format!("ping -c 1 -W 1 {target}")));
    let ping = Ping::start(p1.inside(), &target, Duration::from_millis(5));

    kubectl.run("annotate node n3 corduroy.dev/route-reflector-cluster-id=244.0.0.1");
    kubectl.run("label node n3 corduroy.dev/route-reflector=");
    let reflects = "has(corduroy.dev/route-reflector)";
    let selected = &format!("{{nodeSelector: \"!{reflects}\", peerSelector: {reflects}}}");
    kubectl.apply(&resource("BGPPeer", "reflectors", selected));
    kubectl.apply(&resource("BGPConfiguration", "default", "{nodeToNodeMeshEnabled: false}"));
    has_peers(n1, &["10.1.1.13 BGPPeer/reflectors (n3)", "fd00:1:1::d BGPPeer/reflectors (n3)"]);
    says(n3, "peers", "10.1.1.12");
    let marker = ping.marker(PATIENCE);

    kubectl.run("delete bgpconfiguration default");
    kubectl.run("delete bgppeer reflectors");
    kubectl.run("annotate node n3 corduroy.dev/route-reflector-cluster-id-");
    says(n1, "peers", "mesh (n2)");
    eventually(PATIENCE, || match peers(n1)? {
        some if some.iter().any(|peer| peer.contains("reflectors")) => Err(format!("{some:?}")),
        _ => Ok(()),
    });
    assert!(ping.marker(PATIENCE) > marker);
    let report = ping.stop(Duration::from_secs(5));
    report.expect_no_loss("mesh to reflectors and back");
}
