//! What a packet meets: streams and connections of a pod that policies select, to another pod of its node and to a host
//! outside, through the table as the agent writes it.
//!
//! All policies select every pod, in both directions, and only the last of them lets anything through: a first packet
//! is asked by all of them, at the sending end and at the receiving end. The first of them lets in and out the members
//! of a large set, of which neither end is one. Without policies there is no set either.
//!
//! One stream differs from the next by a tenth and more on few processors, far more than policies could make them
//! differ. So the same world without policies stands beside the one that is measured, the two have streams in turns,
//! and each is held against its neighbour in time: of many such pairs the median tells a few hundredths.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};
use corduroy_tests::{Namespace, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::{Sizes, number};
use crate::report::{Figure, Unit, percentile};

const PATIENCE: Duration = Duration::from_secs(120);
const PORT: u16 = 7_000;
/// How long a stream lasts.
const BURST: Duration = Duration::from_millis(300);
/// How many networks there are in one GlobalNetworkSet: less than it may have.
const OF_A_SET: usize = 50_000;

const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: v4}
spec: {cidr: 10.244.0.0/16}
";

/// A pair of pods on one node, and a host outside. Fields go in this order.
struct Pair {
    pods: [Pod; 2],
    outside: Namespace,
    node: Node,
    fabric: Fabric,
}

/// From where to where.
struct Way<'a> {
    near: &'a Namespace,
    far: &'a Namespace,
    target: IpAddr,
}

impl Pair {
    fn new(label: &str) -> Self {
        let fabric = Fabric::new(label);
        fabric.put("pool", POOL);
        let mut node = fabric.node("n1", Segment::A, 11);
        node.launch();
        node.ready();
        let outside = fabric.host("server", Segment::A, 12);
        outside.ip(&format!("route add 10.244.0.0/16 via {}", Segment::A.v4(11)));
        let pods = ["near", "far"].map(|name| fabric.pod(&node, name));
        Self { pods, outside, node, fabric }
    }

    /// To the other pod, and to outside.
    fn ways(&self) -> [Way<'_>; 2] {
        let [near, far] = &self.pods;
        let outer = Segment::A.v4(12).parse().unwrap_or_else(|e| panic!("an address: {e}"));
        [(far.inside(), far.address(false)), (&self.outside, outer)].map(|(far, target)| Way {
            near: near.inside(),
            far,
            target,
        })
    }
}

/// So many policies for two pods.
pub fn path(contender: &str) -> Vec<Figure> {
    let sizes = Sizes::wanted();
    let (here, beside) = (Pair::new("bench"), Pair::new("beside"));
    enforce(&here.fabric, &here.node, number(contender), sizes.members);
    let mut figures = Vec::new();
    for ((here, beside), names) in here.ways().iter().zip(beside.ways()).zip([TO_POD, TO_OUTSIDE]) {
        let [stream, ratio, first, rate] = names;
        let [bits, of_beside] = streams([here, &beside], sizes.streams);
        let [p50, a_second] = connections(here, sizes.connections);
        figures.push(Figure::new(stream, Unit::GigabitsPerSecond, bits / 1e9));
        figures.push(Figure::new(ratio, Unit::Number, of_beside));
        figures.push(Figure::new(first, Unit::Seconds, p50));
        figures.push(Figure::new(rate, Unit::PerSecond, a_second));
    }
    figures
}

/// A stream's rate, the same for each 1 of the one beside it, the median time of a connect, connections one after the
/// other.
const TO_POD: [&str; 4] = ["to a pod: stream", "beside none", "connect p50", "connections"];
const TO_OUTSIDE: [&str; 4] =
    ["to outside: stream", "outside: beside none", "outside: connect p50", "outside: connections"];

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

/// Streams by one way and by the other, in turns: the median of the first in bits per second, and that of what each had
/// for 1 of its neighbour's.
fn streams(ways: [&Way<'_>; 2], count: usize) -> [f64; 2] {
    let mut bits = Vec::new();
    let mut ratios = Vec::new();
    for turn in 0..count {
        let [here, beside] = if turn % 2 == 0 {
            ways.map(stream)
        } else {
            let [beside, here] = [ways[1], ways[0]].map(stream);
            [here, beside]
        };
        bits.push(here);
        ratios.push(here / beside);
    }
    [percentile(&mut bits, 50), percentile(&mut ratios, 50)]
}

/// One stream, in bits per second.
fn stream(way: &Way<'_>) -> f64 {
    const PIECE: usize = 128 * 1024;
    let listener = listen(way);
    std::thread::scope(|scope| {
        let sink = scope.spawn(|| {
            let mut connection = accept(&listener);
            let (mut piece, mut octets, begun) = (vec![0; PIECE], 0, Instant::now());
            loop {
                match connection.read(&mut piece) {
                    Ok(0) => return 8.0 * octets as f64 / begun.elapsed().as_secs_f64(),
                    Ok(more) => octets += more,
                    Err(e) => panic!("a stream to {}: {e}", way.target),
                }
            }
        });
        way.near.enter(|| {
            let address = SocketAddr::new(way.target, PORT);
            let mut connection = connect(address);
            let (piece, end) = (vec![0; PIECE], Instant::now() + BURST);
            while Instant::now() < end {
                connection.write_all(&piece).unwrap_or_else(|e| panic!("{address}: {e}"));
            }
        });
        sink.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn listen(way: &Way<'_>) -> TcpListener {
    let listener = way.far.enter(|| TcpListener::bind((IpAddr::from([0; 4]), PORT)));
    listener.unwrap_or_else(|e| panic!("port {PORT}: {e}"))
}

/// The median seconds that a connect takes, and how many connections there are in a second when each is closed before
/// the next is made.
fn connections(way: &Way<'_>, count: usize) -> [f64; 2] {
    let listener = listen(way);
    let address = SocketAddr::new(way.target, PORT);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|_| drop(accept(&listener))));
        let start = Instant::now();
        let mut took = way.near.enter(|| (0..count).map(|_| timed(address)).collect::<Vec<f64>>());
        let a_second = count as f64 / start.elapsed().as_secs_f64();
        [percentile(&mut took, 50), a_second]
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|e| panic!("{address}: {e}"))
}

/// The seconds that a connect takes.
fn timed(address: SocketAddr) -> f64 {
    let start = Instant::now();
    let _connection = connect(address);
    start.elapsed().as_secs_f64()
}

/// Takes one connection. Whoever makes none for long has failed.
fn accept(listener: &TcpListener) -> TcpStream {
    let wait = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait));
    assert!(matches!(ready, Ok(1)), "nobody connects: {ready:?}");
    let (connection, _) = listener.accept().unwrap_or_else(|e| panic!("a connection: {e}"));
    connection
}
