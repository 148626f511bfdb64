//! What a fabric costs when nothing happens, and what it costs a stream that crosses it.
//!
//! `idle`: three nodes in two racks with two pods each, everything settled; then nothing changes for half a minute.
//! `join`: a fourth node of a cluster, from the start of its agent until its pod hears those of all others.
//! `forward`: iperf3 from a pod to a pod on another node of the rack, against namespaces wired and routed by hand, with
//! connection tracking and no address translation on both.

use std::process::Command;
use std::time::{Duration, Instant};

use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::process::Process;
use corduroy_tests::{Namespace, eventually};
use rustix::event::{Timespec, poll};
use serde_json::Value;

use crate::report::{Figure, Unit};
use crate::usage::{cpu, peak};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing happens.
const STILL: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// How many streams, one after the other, of a second each. On few processors one stream differs from the next by a
/// quarter, as its two ends and the packets between them happen to share them; what is looked for is a few percent.
const STREAMS: usize = 11;

/// The agents of three nodes at rest: the mean of their processor time, the most memory of any.
pub fn idle(_: &str) -> Vec<Figure> {
    let fabric = Fabric::new("bench");
    fabric.pools("vxlanMode");
    let places = [("n1", Segment::A, 11), ("n2", Segment::A, 12), ("n3", Segment::B, 13)];
    let mut nodes = places.map(|(name, segment, n)| fabric.node(name, segment, n));
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);
    let pods = ["a", "b"]
        .map(|pod| nodes.each_ref().map(|node| fabric.pod(node, &format!("{pod}-{}", node.name()))));
    for node in &nodes {
        eventually(PATIENCE, || settled(node));
    }
    let pids = nodes.each_mut().map(|node| node.agent().id());
    let (before, start) = (pids.map(cpu), Instant::now());
    // Nothing to wait on but time.
    let _ = poll(&mut [], Some(&STILL));
    let seconds = start.elapsed().as_secs_f64();
    let spent: f64 = pids.iter().zip(before).map(|(pid, before)| cpu(*pid) - before).sum();
    let memory = pids.into_iter().map(peak).fold(0.0, f64::max);
    drop(pods);
    vec![
        Figure::new("CPU", Unit::Percent, 100.0 * spent / seconds / 3.0),
        Figure::new("peak memory", Unit::Mebibytes, memory),
    ]
}

const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet}
";

/// Two nodes in each rack at last, so that the new one is reached by wire and by tunnel.
pub fn join(_: &str) -> Vec<Figure> {
    let fabric = Fabric::of_cluster("bench");
    fabric.kubectl().apply(POOL);
    let places = [("n1", Segment::A, 11), ("n2", Segment::A, 12), ("n3", Segment::B, 13)];
    let mut nodes = places.map(|(name, segment, n)| fabric.node(name, segment, n));
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);
    let pods = nodes.each_ref().map(|node| fabric.pod(node, &format!("pod-{}", node.name())));
    let mut late = fabric.node("n4", Segment::B, 14);
    let start = Instant::now();
    late.launch();
    late.ready();
    let ready = start.elapsed().as_secs_f64();
    let pod = fabric.pod(&late, "pod-n4");
    let ping = format!("ping -n -c 1 -W 1 {}", pod.address(false));
    for other in &pods {
        eventually(PATIENCE, || other.inside().try_run(&ping).map(drop));
    }
    let reached = start.elapsed().as_secs_f64();
    vec![
        Figure::new("ready for pods", Unit::Seconds, ready),
        Figure::new("its pod reached from everywhere", Unit::Seconds, reached),
    ]
}

/// All sessions up, nothing left to do.
fn settled(node: &Node) -> Result<(), String> {
    let status: Value = serde_json::from_str(&node.ctl("status -o json")?).map_err(|e| e.to_string())?;
    let (bgp, pending) = (&status["bgp"], &status["kernel"]["pending"]);
    if bgp["established"].as_u64() == Some(4) && pending.as_u64() == Some(0) {
        return Ok(());
    }
    Err(format!("{}: {bgp}, {pending} pending", node.name()))
}

/// The median of some streams.
pub fn forward(contender: &str) -> Vec<Figure> {
    let fabric = Fabric::new("bench");
    if contender == "by hand" {
        let [near, far] = [11, 12].map(|n| by_hand(&fabric, n));
        return stream(&near, &far, "10.244.12.2");
    }
    fabric.put(
        "pool",
        "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: v4\nspec:\n  cidr: 10.244.0.0/16\n",
    );
    let mut nodes = [("n1", 11), ("n2", 12)].map(|(name, n)| fabric.node(name, Segment::A, n));
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);
    let [near, far] = nodes.each_ref().map(|node| fabric.pod(node, &format!("pod-{}", node.name())));
    stream(near.inside(), far.inside(), &far.address(false).to_string())
}

/// A host of the rack with one container behind it, 10.244.n.2: a veth pair, a route to the other host's container,
/// connection tracking as one rule that asks for it switches it on.
fn by_hand(fabric: &Fabric, n: u8) -> Namespace {
    let host = fabric.host(&format!("h{n}"), Segment::A, n);
    let container = fabric.container(&format!("c{n}"));
    let other = 23 - n;
    host.forward();
    host.ip(&format!("link add pod0 type veth peer name eth0 netns {}", container.name()));
    host.ip("link set pod0 up");
    host.address("pod0", &format!("10.244.{n}.1/24"));
    host.ip(&format!("route add 10.244.{other}.0/24 via {}", Segment::A.v4(other)));
    host.run("nft add table ip track");
    host.run("nft add chain ip track forward { type filter hook forward priority 0 ; }");
    host.run("nft add rule ip track forward ct state established counter");
    container.ip("link set eth0 up");
    container.address("eth0", &format!("10.244.{n}.2/24"));
    container.ip(&format!("route add default via 10.244.{n}.1"));
    container
}

fn stream(near: &Namespace, far: &Namespace, target: &str) -> Vec<Figure> {
    let mut serve = Command::new("iperf3");
    serve.arg("--server");
    let _server = Process::spawn(far, "iperf3", serve);
    let mut bits: Vec<f64> = (0..STREAMS).map(|_| eventually(PATIENCE, || second(near, target))).collect();
    bits.sort_by(f64::total_cmp);
    vec![Figure::new(
        "TCP",
        Unit::GigabitsPerSecond,
        bits.get(STREAMS / 2).map_or(f64::NAN, |bits| bits / 1e9),
    )]
}

/// One stream of a second, in bits per second. iperf3 may end well with an error in its report, when the server is not
/// there yet: that is no result.
fn second(near: &Namespace, target: &str) -> Result<f64, String> {
    let report = near.try_run(&format!("iperf3 --client {target} --omit 0.3 --time 1 --json"))?;
    let report: Value = serde_json::from_str(&report).map_err(|e| e.to_string())?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    bits.filter(|bits| *bits > 0.0).ok_or_else(|| format!("no stream: {}", report["error"]))
}
