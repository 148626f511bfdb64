//! What a packet meets: streams and connections of a pod that policies select, to another pod of its node and to a host
//! outside, through the table as the agent writes it.
//!
//! All policies select every pod, in both directions, and only the last of them lets anything through: a first packet
//! is asked by all of them, at the sending end and at the receiving end. The first of them lets in and out the members
//! of a large set, of which neither end is one. Without policies there is no set either.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::process::Process;
use corduroy_tests::{Namespace, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::{Sizes, number};
use crate::fabric::second;
use crate::report::{Figure, Unit, percentile};

const PATIENCE: Duration = Duration::from_secs(120);
const PORT: u16 = 7_000;
/// How many networks there are in one GlobalNetworkSet: less than it may have.
const OF_A_SET: usize = 50_000;

const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v4}
spec: {cidr: 10.244.0.0/16}
";

/// One node with two pods, and so many policies for them.
pub fn path(contender: &str) -> Vec<Figure> {
    let sizes = Sizes::wanted();
    let fabric = Fabric::new("bench");
    fabric.put("pool", POOL);
    let mut node = fabric.node("n1", Segment::A, 11);
    node.launch();
    node.ready();
    let outside = fabric.host("server", Segment::A, 12);
    outside.ip(&format!("route add 10.244.0.0/16 via {}", Segment::A.v4(11)));
    let [near, far] = ["near", "far"].map(|name| fabric.pod(&node, name));
    enforce(&fabric, &node, number(contender), sizes.members);
    let outer = Segment::A.v4(12).parse().unwrap_or_else(|e| panic!("an address: {e}"));
    let mut figures = Vec::new();
    let ends = [(far.inside(), far.address(false), &TO_POD), (&outside, outer, &TO_OUTSIDE)];
    for (end, address, [stream, first, rate]) in ends {
        let bits = streams(near.inside(), end, address, sizes.streams);
        let [p50, a_second] = connections(near.inside(), end, address, sizes.connections);
        figures.push(Figure::new(stream, Unit::GigabitsPerSecond, bits / 1e9));
        figures.push(Figure::new(first, Unit::Seconds, p50));
        figures.push(Figure::new(rate, Unit::PerSecond, a_second));
    }
    figures
}

/// A stream's rate, the median time of a connect, connections one after the other.
const TO_POD: [&str; 3] = ["to a pod: stream", "connect p50", "connections"];
const TO_OUTSIDE: [&str; 3] = ["to outside: stream", "outside: connect p50", "outside: connections"];

/// Puts so many policies into the datastore, and waits until the kernel has them: the pods that are here are selected
/// by all.
pub fn enforce(fabric: &Fabric, node: &Node, count: usize, members: usize) {
    if count == 0 {
        return;
    }
    let before = chains(node);
    for (name, set) in sets(members) {
        fabric.put(&name, &set);
    }
    fabric.put("policies", &policies(count));
    let last = member(members - 1).to_string();
    eventually(PATIENCE, || {
        let status: Value = serde_json::from_str(&node.ctl("status -o json")?).map_err(|e| e.to_string())?;
        let (pending, more) = (status["kernel"]["pending"].as_u64(), chains(node).saturating_sub(before));
        let table = node.host().try_run("nft list table inet corduroy")?;
        // A chain for each direction of each policy.
        let is_there = more >= 2 * count && pending == Some(0) && table.contains(&last);
        if is_there {
            Ok(())
        } else {
            Err(format!("{more} chains for {count} policies, {pending:?} pending"))
        }
    });
}

fn chains(node: &Node) -> usize {
    let table = node.host().try_run("nft list chains inet").unwrap_or_default();
    table.lines().filter(|line| line.trim_start().starts_with("chain ")).count()
}

fn member(number: usize) -> IpAddr {
    let first = u32::from_be_bytes([100, 64, 0, 0]);
    IpAddr::from((first + u32::try_from(number).unwrap_or(u32::MAX)).to_be_bytes())
}

/// Sets with so many members in all.
fn sets(members: usize) -> Vec<(String, String)> {
    let numbers: Vec<usize> = (0..members).collect();
    let sets = numbers.chunks(OF_A_SET).enumerate().map(|(index, numbers)| {
        let mut text = format!(
            "apiVersion: corduroy.dev/v1alpha1\nkind: GlobalNetworkSet\n\
             metadata: {{name: many-{index}, labels: {{many: 'yes'}}}}\nspec:\n  nets:\n"
        );
        for number in numbers {
            let _ = writeln!(text, "  - {}/32", member(*number));
        }
        (format!("many-{index}"), text)
    });
    sets.collect()
}

fn policies(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let [ingress, egress] = if number + 1 == count {
            ["{action: Allow}".to_owned(), "{action: Allow}".to_owned()]
        } else if number == 0 {
            ["source", "destination"].map(|side| format!("{{action: Allow, {side}: {{selector: \"many == 'yes'\"}}}}"))
        } else {
            let [net, port] = [format!("[192.0.2.{}/32]", number % 256), format!("[{}]", 10_000 + number)];
            [
                format!(
                    "{{action: Allow, protocol: TCP, source: {{nets: {net}}}, destination: {{ports: {port}}}}}"
                ),
                format!("{{action: Allow, protocol: TCP, destination: {{nets: {net}, ports: {port}}}}}"),
            ]
        };
        let _ = write!(
            text,
            "---\napiVersion: corduroy.dev/v1alpha1\nkind: GlobalNetworkPolicy\n\
             metadata: {{name: p-{number}}}\nspec:\n  order: {number}\n  selector: all()\n  \
             types: [Ingress, Egress]\n  ingress: [{ingress}]\n  egress: [{egress}]\n"
        );
        text
    })
}

/// The median of streams of a second, in bits per second.
fn streams(near: &Namespace, far: &Namespace, target: IpAddr, count: usize) -> f64 {
    let mut serve = Command::new("iperf3");
    serve.arg("--server");
    let _server = Process::spawn(far, "iperf3", serve);
    let target = target.to_string();
    let mut bits: Vec<f64> = (0..count).map(|_| eventually(PATIENCE, || second(near, &target))).collect();
    percentile(&mut bits, 50)
}

/// The median seconds that a connect takes, and how many connections there are in a second when each is closed before
/// the next is made.
fn connections(near: &Namespace, far: &Namespace, target: IpAddr, count: usize) -> [f64; 2] {
    let listener = far.enter(|| TcpListener::bind((IpAddr::from([0; 4]), PORT)));
    let listener = listener.unwrap_or_else(|e| panic!("port {PORT}: {e}"));
    let address = SocketAddr::new(target, PORT);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|_| accept(&listener)));
        let start = Instant::now();
        let mut took = near.enter(|| (0..count).map(|_| connect(address)).collect::<Vec<f64>>());
        let a_second = count as f64 / start.elapsed().as_secs_f64();
        [percentile(&mut took, 50), a_second]
    })
}

fn connect(address: SocketAddr) -> f64 {
    let start = Instant::now();
    let connected = TcpStream::connect_timeout(&address, PATIENCE);
    let took = start.elapsed().as_secs_f64();
    connected.unwrap_or_else(|e| panic!("{address}: {e}"));
    took
}

/// Takes one connection and closes it. Whoever makes none for long has failed.
fn accept(listener: &TcpListener) {
    let wait = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait));
    assert!(matches!(ready, Ok(1)), "nobody connects: {ready:?}");
    drop(listener.accept());
}
