//! Real agents on a real kernel: what a fabric of them does, and what it does not lose.

mod bad;
mod repair;
mod restart;
mod services;

use std::time::Duration;

use corduroy_tests::daemons::{Bird, Daemon, Neighbour, Router, holds_exactly};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};
use corduroy_tests::probe::Ping;

const PATIENCE: Duration = Duration::from_secs(60);

/// Clocks that make a dead node known soon.
const SHORT: &str = "apiVersion: corduroy.dev/v1alpha1\nkind: BGPConfiguration\nmetadata:\n  name: default\n\
                     spec:\n  nodeMeshHoldTime: 6s\n  nodeMeshMaxRestartTime: 5s\n";

/// Two nodes with a pod each.
struct Two {
    nodes: [Node; 2],
    pods: [Pod; 2],
    _fabric: Fabric,
}

impl Two {
    /// In one rack, or one in each.
    fn new(label: &str, other: Segment) -> Self {
        Self::with(label, other, SHORT)
    }

    fn with(label: &str, other: Segment, settings: &str) -> Self {
        let fabric = Fabric::new(label);
        fabric.pools("vxlanMode");
        fabric.put("bgp", settings);
        let mut nodes = [fabric.node("n1", Segment::A, 11), fabric.node("n2", other, 12)];
        nodes.iter_mut().for_each(Node::launch);
        nodes.iter_mut().for_each(Node::ready);
        let pods = [fabric.pod(&nodes[0], "web"), fabric.pod(&nodes[1], "api")];
        let two = Self { nodes, pods, _fabric: fabric };
        two.reach_each_other();
        two
    }

    fn reach_each_other(&self) {
        let [web, api] = &self.pods;
        for (from, to) in [(web, api), (api, web)] {
            for v6 in [false, true] {
                let target = to.address(v6).to_string();
                eventually(PATIENCE, || from.inside().try_run(&format!("ping -c 1 -W 1 {target}")).map(drop));
            }
        }
    }

    /// Steady pings both ways and in both families, each of which works.
    fn pings(&self) -> Vec<Ping> {
        let [web, api] = &self.pods;
        let start = |(from, to, v6): (&Pod, &Pod, bool)| {
            Ping::start(from.inside(), &to.address(v6).to_string(), Duration::from_millis(10))
        };
        let pings: Vec<Ping> =
            [(web, api, false), (api, web, false), (web, api, true)].into_iter().map(start).collect();
        marked(&pings);
        pings
    }

    /// The kernel's way from the first node to the pod of the second.
    fn way(&self, v6: bool) -> String {
        let family = if v6 { "-6" } else { "-4" };
        self.nodes[0].host().ip(&format!("{family} route get {}", self.pods[1].address(v6)))
    }
}

/// Waits until each ping has an answer to a packet sent from now on.
fn marked(pings: &[Ping]) {
    for ping in pings {
        ping.marker(PATIENCE);
    }
}

fn no_loss(pings: Vec<Ping>, what: &str) {
    for ping in pings {
        ping.stop(PATIENCE).expect_no_loss(what);
    }
}

/// Waits until all peers of a node are Established and have sent everything.
fn converged(node: &Node) {
    eventually(PATIENCE, || {
        let text = node.ctl("peers -o json")?;
        let peers: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let all = peers.as_array().cloned().unwrap_or_default();
        let is_through = |peer: &serde_json::Value| {
            let families = peer["families"].as_array().cloned().unwrap_or_default();
            peer["state"] == "Established" && families.iter().all(|family| family["endOfRib"] == true)
        };
        if !all.is_empty() && all.iter().all(is_through) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn a_mesh_routes_pods_of_one_rack_plainly_and_a_dead_node_leaves_no_route() {
    let mut two = Two::new("mesh", Segment::A);
    for (v6, next_hop) in [(false, "10.1.1.12"), (true, "fd00:1:1::c")] {
        let way = two.way(v6);
        assert!(way.contains(&format!("via {next_hop} dev eth0")), "not plainly: {way}");
    }
    let blocks = two.nodes[1].blocks();
    assert_eq!(blocks.len(), 2, "one of each family: {blocks:?}");
    two.nodes[1].power_off();
    let host = two.nodes[0].host();
    eventually(PATIENCE, || {
        let routes = host.ip("-4 route show proto 67") + &host.ip("-6 route show proto 67");
        let left = blocks.iter().find(|block| routes.contains(block.as_str()));
        left.map_or(Ok(()), |block| Err(format!("{block} is still there:\n{routes}")))
    });
}

#[test]
fn racks_reach_each_other_by_vxlan_and_the_node_itself_speaks_from_its_tunnel_address() {
    let two = Two::new("racks", Segment::B);
    for v6 in [false, true] {
        eventually(PATIENCE, || {
            let way = two.way(v6);
            if way.contains("dev vxlan-cord") { Ok(()) } else { Err(format!("not by VXLAN: {way}")) }
        });
    }
    two.reach_each_other();
    let own = two.nodes[0].status().unwrap()["kernel"]["tunnels"][0]["addresses"].clone();
    for (i, v6) in [false, true].into_iter().enumerate() {
        let way = two.way(v6);
        assert!(way.contains(&format!("src {} ", own[i].as_str().unwrap())), "{own}: {way}");
        two.nodes[0].host().run(&format!("ping -c 1 -W 5 {}", two.pods[1].address(v6)));
    }
}

#[test]
fn a_prefix_learned_from_bird_forwards_a_ping_without_translation() {
    let fabric = Fabric::new("tor");
    fabric.pools("vxlanMode");
    fabric.put("peers", &peers(65001));
    let client = fabric.host("client", Segment::Outside, 10);
    let _tor = Bird::start(fabric.router(), tor());
    let mut node = fabric.node("n1", Segment::A, 11);
    node.start();
    let pod = fabric.pod(&node, "web");
    // From here on only what BGP said leads anywhere.
    node.host().ip("route del default");
    node.host().ip("-6 route del default");
    for (v6, target) in [(false, "10.1.3.10"), (true, "fd00:1:3::a")] {
        let ping = format!("ping -c 1 -W 1 {}", pod.address(v6));
        eventually(PATIENCE, || client.try_run(&ping).map(drop));
        eventually(PATIENCE, || pod.inside().try_run(&format!("ping -c 1 -W 1 {target}")).map(drop));
        let way = node.host().ip(&format!("route get {target}"));
        assert!(way.contains("dev eth0"), "{way}");
    }
    let explained = node.ctl("explain 10.1.3.0/25").unwrap();
    assert!(explained.contains("10.1.1.1"), "{explained}");
}

/// BIRD as the ToR of node 11 of rack a. It tells what lies behind it (by prefixes longer than its connected ones,
/// which it keeps to itself), puts what it learns into its kernel and helps in a restart.
fn tor() -> Router {
    let node =
        |address: &str| Neighbour { graceful_restart: Some(60), ..Neighbour::one_family(address, 64512) };
    let mut router = Router::new(65001, "10.1.1.1").announcing("10.1.3.0/25").announcing("fd00:1:3::/96");
    router.kernel = true;
    router.peer(node(&Segment::A.v4(11))).peer(node(&Segment::A.v6(11)))
}

/// The router as an explicit peer, over both families.
fn peers(asn: u32) -> String {
    let peer = |name: &str, address: &str| {
        format!(
            "apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata:\n  name: {name}\n\
             spec:\n  peerIP: \"{address}\"\n  asNumber: {asn}\n---\n"
        )
    };
    peer("tor-v4", "10.1.1.1") + &peer("tor-v6", "fd00:1:1::1")
}

/// What BIRD has of a node is its blocks and nothing else.
fn bird_has_the_blocks(bird: &Bird, node: &Node) {
    let blocks = node.blocks();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    eventually(PATIENCE, || holds_exactly(bird, &blocks));
}

/// BIRD's sessions with node 11 of rack a are up.
fn bird_is_up(bird: &Bird) {
    for address in [Segment::A.v4(11), Segment::A.v6(11)] {
        eventually(PATIENCE, || bird.established(address.parse().unwrap()));
    }
}
