//! The checks, in the order they run. Each panics with what it saw, or returns what it saw.

use std::net::SocketAddr;
use std::time::Duration;

use corduroy_tests::daemons::holds_exactly;
use corduroy_tests::eventually;
use corduroy_tests::fabric::Pod;
use corduroy_tests::probe::{Echo, Ping, Protocol, seen_over};

use crate::scene::{PATIENCE, Scene, configuration};

/// A check: what it proves, and how.
type Check = (&'static str, fn(&mut Scene) -> String);

/// All of them.
pub(crate) const ALL: [Check; 13] = [
    ("pod to pod on one node", one_node),
    ("pod to pod in one rack, routed", one_rack),
    ("pod to pod across racks, encapsulated", across_racks),
    ("node to remote pod", node_to_pod),
    ("masqueraded connection to a remote pod", masqueraded),
    ("host behind the ToR to pod, no NAT", client_to_pod),
    ("pod to outside, SNAT", pod_to_outside),
    ("agent killed and started under a ping", kill_and_restart),
    ("mesh to reflector and back under a ping", mesh_to_reflector),
    ("a deleted route is repaired", repaired),
    ("BIRD and GoBGP hold the blocks, no transit", no_transit),
    ("the plugin's CHECK finds every pod as wired", checked),
    ("a node switched off leaves no route", switched_off),
];

const TICK: Duration = Duration::from_millis(10);

fn reach(from: &Pod, to: &Pod) {
    for v6 in [false, true] {
        from.inside().run(&format!("ping -c 2 -i 0.01 -W 2 {}", to.address(v6)));
    }
}

/// Where node `n` sends packets for `to`: the kernel's own answer.
fn way(scene: &Scene, n: usize, to: &Pod) -> String {
    let answer = scene.nodes[n].host().ip(&format!("route get {}", to.address(false)));
    answer.lines().next().unwrap_or_default().trim().to_owned()
}

fn one_node(scene: &mut Scene) -> String {
    reach(scene.pod("web"), scene.pod("db"));
    way(scene, 0, scene.pod("db"))
}

fn one_rack(scene: &mut Scene) -> String {
    reach(scene.pod("web"), scene.pod("api"));
    let way = way(scene, 0, scene.pod("api"));
    assert!(way.contains("via 10.1.1.12 dev eth0"), "not routed plainly: {way}");
    way
}

fn across_racks(scene: &mut Scene) -> String {
    reach(scene.pod("web"), scene.pod("job"));
    let way = way(scene, 0, scene.pod("job"));
    let device = format!("dev {}-cord", scene.encapsulation);
    assert!(way.contains(&device), "not by {device}: {way}");
    way
}

fn node_to_pod(scene: &mut Scene) -> String {
    for pod in ["api", "job"] {
        for v6 in [false, true] {
            let target = scene.pod(pod).address(v6);
            scene.nodes[0].host().run(&format!("ping -c 2 -i 0.01 -W 2 {target}"));
        }
    }
    format!("n1 reaches {} and {}", scene.pod("api").address(false), scene.pod("job").address(false))
}

/// As kube-proxy serves a NodePort: the destination becomes the pod, the source the node.
fn masqueraded(scene: &mut Scene) -> String {
    let pod = scene.pod("job");
    let _echo = Echo::serve(pod.inside(), 8080);
    let node = scene.nodes[0].host();
    let target = pod.address(false);
    node.run("nft add table ip nodeport");
    node.run("nft add chain ip nodeport in { type nat hook prerouting priority dstnat ; }");
    node.run(&format!("nft add rule ip nodeport in tcp dport 30080 mark set 0x4000 dnat to {target}:8080"));
    node.run("nft add chain ip nodeport out { type nat hook postrouting priority srcnat - 1 ; }");
    node.run("nft add rule ip nodeport out mark 0x4000 masquerade");
    let seen = seen_over(Protocol::Tcp, &scene.client, "10.1.1.11:30080");
    node.run("nft delete table ip nodeport");
    let seen: SocketAddr = seen.unwrap_or_else(|why| panic!("{why}"));
    format!("client to 10.1.1.11:30080 arrives at {target} from {}", seen.ip())
}

fn client_to_pod(scene: &mut Scene) -> String {
    let pod = scene.pod("web");
    let _echo = Echo::serve(pod.inside(), 80);
    for (v6, own) in [(false, "10.1.3.10"), (true, "fd00:1:3::a")] {
        let target = SocketAddr::new(pod.address(v6), 80).to_string();
        let seen = eventually(PATIENCE, || seen_over(Protocol::Tcp, &scene.client, &target));
        assert_eq!(seen.ip().to_string(), own, "the pod saw another address");
    }
    format!("{} sees 10.1.3.10", pod.address(false))
}

fn pod_to_outside(scene: &mut Scene) -> String {
    let _echo = Echo::serve(&scene.client, 443);
    for (target, node) in [("10.1.3.10:443", "10.1.1.11"), ("[fd00:1:3::a]:443", "fd00:1:1::b")] {
        let seen = seen_over(Protocol::Udp, scene.pod("web").inside(), target);
        let seen = seen.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(seen.ip().to_string(), node, "not the node's address");
    }
    "the client sees 10.1.1.11, the node".to_owned()
}

/// Pings in one rack and across, both ways, that must not lose a packet.
fn pings(scene: &Scene) -> Vec<Ping> {
    let pairs = [("web", "api"), ("web", "job"), ("job", "web"), ("log", "gpu")];
    let start = |(from, to): (&str, &str)| {
        Ping::start(scene.pod(from).inside(), &scene.pod(to).address(false).to_string(), TICK)
    };
    let pings: Vec<Ping> = pairs.into_iter().map(start).collect();
    marked(&pings);
    pings
}

/// Waits until each ping has an answer to a packet sent from now on.
fn marked(pings: &[Ping]) {
    for ping in pings {
        ping.marker(PATIENCE);
    }
}

fn no_loss(pings: Vec<Ping>, what: &str) -> String {
    let mut sent = 0;
    for ping in pings {
        let report = ping.stop(PATIENCE);
        report.expect_no_loss(what);
        sent += report.sent;
    }
    format!("{sent} packets, none lost")
}

fn kill_and_restart(scene: &mut Scene) -> String {
    let pings = pings(scene);
    scene.nodes[0].kill();
    marked(&pings);
    scene.nodes[0].start();
    settled(scene, 0, 6 + tors(0));
    marked(&pings);
    no_loss(pings, "kill -9 and restart")
}

fn mesh_to_reflector(scene: &mut Scene) -> String {
    let pings = pings(scene);
    scene.fabric.put("reflector", &Scene::reflector_peers());
    (0..3).for_each(|n| settled(scene, n, 8 + tors(n)));
    scene.fabric.put("bgp", &configuration(false));
    (0..3).for_each(|n| settled(scene, n, 4 + tors(n)));
    marked(&pings);
    scene.fabric.put("bgp", &configuration(true));
    (0..3).for_each(|n| settled(scene, n, 8 + tors(n)));
    scene.fabric.take_back("reflector");
    (0..3).for_each(|n| settled(scene, n, 6 + tors(n)));
    no_loss(pings, "mesh to reflector and back")
}

/// Sessions of node `n` with its ToR.
fn tors(n: usize) -> usize {
    if n < 2 { 2 } else { 0 }
}

/// Waits until node `n` has exactly `count` peers, all Established.
fn settled(scene: &Scene, n: usize, count: usize) {
    eventually(PATIENCE, || {
        let text = scene.nodes[n].ctl("peers -o json")?;
        let peers: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let all = peers.as_array().cloned().unwrap_or_default();
        let up = all.iter().filter(|peer| peer["state"].as_str() == Some("Established")).count();
        if (up, all.len()) == (count, count) {
            return Ok(());
        }
        Err(format!("{}: {up} of {} sessions up, {count} wanted: {text}", scene.nodes[n].name(), all.len()))
    });
}

fn repaired(scene: &mut Scene) -> String {
    let target = scene.pod("api").address(false);
    let routes = scene.nodes[0].host().ip("route show proto 67");
    let block = scene.blocks(&[1]).into_iter().find(|block| !block.contains(':')).unwrap_or_default();
    let route = routes.lines().find(|line| line.starts_with(&block)).unwrap_or_default().to_owned();
    scene.nodes[0].host().ip(&format!("route del {block} proto 67 metric 1067"));
    eventually(PATIENCE, || {
        let now = scene.nodes[0].host().ip("route show proto 67");
        if now.lines().any(|line| line == route) { Ok(()) } else { Err(format!("{route:?} is not back")) }
    });
    scene.pod("web").inside().run(&format!("ping -c 1 -W 2 {target}"));
    route
}

fn no_transit(scene: &mut Scene) -> String {
    let rack: Vec<String> = scene.blocks(&[0, 1]);
    let all: Vec<String> = scene.blocks(&[0, 1, 2]);
    let names = |blocks: &[String]| blocks.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    eventually(PATIENCE, || holds_exactly(&scene.tor, &rack.iter().map(String::as_str).collect::<Vec<_>>()));
    eventually(PATIENCE, || {
        holds_exactly(&scene.collector, &all.iter().map(String::as_str).collect::<Vec<_>>())
    });
    format!("BIRD: {}; GoBGP: {}", names(&rack), names(&all))
}

fn checked(scene: &mut Scene) -> String {
    let nodes = [0, 0, 1, 1, 2, 2];
    for (pod, n) in scene.pods.iter().zip(nodes) {
        pod.check(&scene.nodes[n]).unwrap_or_else(|why| panic!("{why}"));
    }
    format!("{} pods", scene.pods.len())
}

fn switched_off(scene: &mut Scene) -> String {
    let blocks = scene.blocks(&[1]);
    scene.nodes[1].power_off();
    eventually(PATIENCE, || {
        let holders = [scene.nodes[0].host(), scene.nodes[2].host(), scene.fabric.router()];
        for holder in holders {
            let routes = holder.ip("-4 route show") + &holder.ip("-6 route show");
            if let Some(left) = blocks.iter().find(|block| routes.contains(block.as_str())) {
                return Err(format!("{} still has a route to {left}", holder.label()));
            }
        }
        let rest = scene.blocks(&[0, 2]);
        holds_exactly(&scene.collector, &rest.iter().map(String::as_str).collect::<Vec<_>>())
    });
    format!("{} gone from n1, n3, BIRD and GoBGP", blocks.join(", "))
}
