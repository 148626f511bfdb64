//! Whoever is started anew, no packet is lost.

use corduroy_tests::daemons::{Bird, Daemon, holds_exactly};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Segment};
use corduroy_tests::probe::Ping;
use rustix::process::Signal;

use super::{PATIENCE, SHORT, Two, bird_has_the_blocks, bird_is_up, converged, marked, no_loss, peers, tor};

/// Both nodes in turn, by `end` and a new start.
fn restart_each(mut two: Two, what: &str, end: fn(&mut corduroy_tests::fabric::Node)) {
    two.nodes.iter().for_each(converged);
    let pings = two.pings();
    for i in [0, 1, 0] {
        end(&mut two.nodes[i]);
        marked(&pings);
        two.nodes[i].start();
        two.nodes.iter().for_each(converged);
        marked(&pings);
    }
    no_loss(pings, what);
    for node in &two.nodes {
        let held = node.status().unwrap();
        assert_eq!(held["conditions"], serde_json::json!([]), "{what}");
        assert_eq!(held["kernel"]["repaired"], 0, "a restart changes nothing in the kernel: {held}");
    }
}

#[test]
fn a_killed_agent_and_its_successor_lose_no_packet_in_a_rack() {
    restart_each(Two::new("kill", Segment::A), "kill -9 and start", corduroy_tests::fabric::Node::kill);
}

#[test]
fn a_killed_agent_and_its_successor_lose_no_packet_in_a_tunnel() {
    restart_each(Two::new("kill-x", Segment::B), "kill -9 and start", corduroy_tests::fabric::Node::kill);
}

#[test]
fn a_planned_restart_loses_no_packet() {
    restart_each(Two::new("planned", Segment::B), "SIGTERM and start", corduroy_tests::fabric::Node::stop);
}

/// As a virtual machine that was paused, but for its kernel.
#[test]
fn an_agent_that_was_stopped_for_longer_than_the_hold_time_goes_on_by_itself_and_no_packet_is_lost() {
    let settings = SHORT.replace("RestartTime: 5s", "RestartTime: 120s");
    let mut two = Two::with("paused", Segment::A, &settings);
    two.nodes.iter().for_each(converged);
    let pings = two.pings();
    let [paused, other] = &mut two.nodes;
    let before = paused.status().unwrap()["uptime"].as_u64();
    paused.agent().signal(Signal::STOP);
    eventually(PATIENCE, || match other.ctl("peers -o json")? {
        peers if peers.contains("Established") => Err(peers),
        _ => Ok(()),
    });
    marked(&pings);
    paused.agent().signal(Signal::CONT);
    [&*paused, &*other].into_iter().for_each(converged);
    marked(&pings);
    no_loss(pings, "a pause of an agent");
    let status = paused.status().unwrap();
    assert_eq!(status["conditions"], serde_json::json!([]));
    assert_eq!(status["kernel"]["repaired"], 0, "{status}");
    assert!(status["uptime"].as_u64() > before, "it is the same agent");
}

#[test]
fn a_restart_of_agent_or_bird_loses_no_packet_between_a_pod_and_the_world() {
    let fabric = Fabric::new("gr");
    fabric.pools("vxlanMode");
    fabric.put("peers", &peers(65001));
    let client = fabric.host("client", Segment::Outside, 10);
    let mut bird = Bird::start(fabric.router(), tor());
    let mut node = fabric.node("n1", Segment::A, 11);
    node.start();
    let pod = fabric.pod(&node, "web");
    node.host().ip("route del default");
    bird_is_up(&bird);
    converged(&node);
    bird_has_the_blocks(&bird, &node);
    let target = pod.address(false).to_string();
    eventually(PATIENCE, || client.try_run(&format!("ping -c 1 -W 1 {target}")).map(drop));
    let pings = vec![Ping::start(&client, &target, std::time::Duration::from_millis(10))];
    marked(&pings);

    node.kill();
    marked(&pings);
    node.start();
    bird_is_up(&bird);
    converged(&node);
    bird_has_the_blocks(&bird, &node);
    marked(&pings);

    bird.restart();
    bird_is_up(&bird);
    converged(&node);
    bird_has_the_blocks(&bird, &node);
    marked(&pings);
    no_loss(pings, "restarts of agent and BIRD");
}

/// The peer prefers other ways while there is time (RFC 8326), then the routes are gone: not kept as after a restart.
#[test]
fn a_drained_node_is_avoided_first_and_then_withdrawn() {
    let fabric = Fabric::new("drain");
    fabric.pools("vxlanMode");
    fabric.put("peers", &peers(65001));
    let bird = Bird::start(fabric.router(), tor());
    let mut node = fabric.node("n1", Segment::A, 11);
    node.start();
    let pod = fabric.pod(&node, "web");
    bird_is_up(&bird);
    converged(&node);
    bird_has_the_blocks(&bird, &node);
    let routes = node.host().ip("route show proto 67");

    node.drain();
    eventually(PATIENCE, || match bird.birdc("show route all")? {
        routes if routes.contains("(65535,0)") => Ok(()),
        routes => Err(format!("no GRACEFUL_SHUTDOWN in {routes}")),
    });
    node.ended();
    eventually(PATIENCE, || holds_exactly(&bird, &[]));
    assert_eq!(node.host().ip("route show proto 67"), routes, "what runs here goes on");
    drop(pod);
}
