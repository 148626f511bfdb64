//! What policies cost: one node of a large cluster whose pods and policies change all the time, beside `nft`; packets
//! through many policies; pods that start under many.
//!
//! | module | what |
//! |---|---|
//! | `cluster` | the cluster: pods, namespaces, policies, and how they change |
//! | `node` | the node: the agent without its sockets, in a process and a network namespace of its own |
//! | `nft` | the same table and the same changes by way of `nft`, a process for each change |
//! | `path` | what a packet meets |
//!
//! **Node.** The agent's own join and its own kernel thread run against a real kernel; in place of an API server a
//! thread hands in events that are ready-made, so that no JSON is parsed. A change is in the kernel when the plan that
//! has it (and everything that was due with it) came back applied; the clock runs from the moment the event is handed
//! in. Each change is one that this node's sets depend on: it is the worst node that such a cluster can have, most
//! would hear of few of these changes.
//!
//! **`nft`** gets the table as the node had it, and the elements that single changes added and removed; one process
//! for each change, one after the other.
//!
//! `POLICY_BENCH="endpoints=1000 rate=100"` in the environment makes it smaller; see [`Sizes`].

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use corduroy_tests::Namespace;
use corduroy_tests::fabric::{Fabric, Segment};
use serde_json::Value;

use crate::report::{Figure, Unit};

mod cluster;
mod nft;
mod node;
pub mod path;

pub use node::run as node;

/// The hidden argument that makes of this program a node.
pub const NODE: &str = "policy-node";

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Pods of the cluster.
    endpoints: usize,
    /// Those of this node among them.
    local: usize,
    /// Policies of all kinds.
    policies: usize,
    /// Changes each second while it is busy.
    rate: usize,
    /// For how many seconds it is busy.
    busy: usize,
    /// For how many seconds there is one change each second.
    still: usize,
    /// Changes that `nft` makes.
    changes: usize,
    /// Members of the set that a packet is looked up in.
    members: usize,
    /// Connections made to a pod one after the other.
    connections: usize,
    /// Pairs of streams.
    streams: usize,
}

impl Sizes {
    const DEFAULT: Self = Self {
        endpoints: 100_000,
        local: 100,
        policies: 2_000,
        rate: 1_000,
        busy: 20,
        still: 20,
        changes: 50,
        members: 100_000,
        connections: 3_000,
        streams: 60,
    };

    /// As the environment has it.
    fn wanted() -> Self {
        let text = std::env::var("POLICY_BENCH").unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|why| panic!("POLICY_BENCH: {why}"))
    }

    /// `name=number` words; what is not said is as large as ever.
    fn parse(text: &str) -> Result<Self, String> {
        let mut sizes = Self::DEFAULT;
        for word in text.split_whitespace() {
            let (name, number) = word.split_once('=').ok_or_else(|| format!("{word} is not name=number"))?;
            let number: usize = number.parse().map_err(|e| format!("{word}: {e}"))?;
            let field = sizes.fields().into_iter().find(|(known, _)| *known == name);
            let Some((_, field)) = field else { return Err(format!("there is no {name}: {sizes}")) };
            if number == 0 {
                return Err(format!("{word} has to be at least 1"));
            }
            *field = number;
        }
        if sizes.local >= sizes.endpoints {
            return Err(format!("local={} has to be less than endpoints={}", sizes.local, sizes.endpoints));
        }
        Ok(sizes)
    }

    fn fields(&mut self) -> [(&'static str, &mut usize); 10] {
        [
            ("endpoints", &mut self.endpoints),
            ("local", &mut self.local),
            ("policies", &mut self.policies),
            ("rate", &mut self.rate),
            ("busy", &mut self.busy),
            ("still", &mut self.still),
            ("changes", &mut self.changes),
            ("members", &mut self.members),
            ("connections", &mut self.connections),
            ("streams", &mut self.streams),
        ]
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = *self;
        let words = all.fields().map(|(name, number)| format!("{name}={number}"));
        f.write_str(&words.join(" "))
    }
}

/// The number that a contender's name begins with; none stands for 0.
fn number(contender: &str) -> usize {
    let digits: String = contender.split(' ').next().unwrap_or_default().replace(',', "");
    digits.parse().unwrap_or_default()
}

/// What the node of this run had, for those who are measured beside it.
static RECORD: Mutex<Option<nft::Record>> = Mutex::new(None);

/// The node at full size, and `nft` beside it.
pub fn beside(contender: &str) -> Vec<Figure> {
    let mut record = RECORD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match (contender.strip_prefix("nft "), record.as_ref()) {
        (Some(option), Some(record)) => nft::replay(record, option),
        (Some(_), None) => panic!("{contender} repeats what the node did, and there was none"),
        (None, _) => {
            let (figures, done) = measure(Sizes::wanted(), true);
            *record = done;
            figures
        }
    }
}

/// The node in clusters of more and more pods.
pub fn by_endpoints(contender: &str) -> Vec<Figure> {
    let sizes = Sizes::wanted();
    // An environment that says less means all of them.
    let endpoints = number(contender).min(sizes.endpoints);
    measure(Sizes { endpoints, local: sizes.local.min(endpoints - 1), ..sizes }, false).0
}

/// The node in clusters of more and more policies.
pub fn by_policies(contender: &str) -> Vec<Figure> {
    let sizes = Sizes::wanted();
    measure(Sizes { policies: number(contender).min(sizes.policies), ..sizes }, false).0
}

/// Runs a node; if wanted, with a record of its table and of some changes.
fn measure(sizes: Sizes, with_record: bool) -> (Vec<Figure>, Option<nft::Record>) {
    let fabric = Fabric::new("bench");
    let host = fabric.host("node", Segment::A, 11);
    let links = host.file("links", &cluster::links(sizes.local));
    host.ip(&format!("-batch {}", links.display()));
    let me = std::env::current_exe().unwrap_or_else(|e| panic!("this program does not know itself: {e}"));
    let mut command = Command::new(me);
    command.arg(NODE).arg(sizes.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = host.enter(|| command.spawn()).unwrap_or_else(|e| panic!("the node: {e}"));
    let said = node.stdout.take().map(BufReader::new);
    let mut said = said.into_iter().flat_map(BufReader::lines).map_while(Result::ok);
    let measured = said.next().and_then(|line| serde_json::from_str(&line).ok());
    let measured: Value = measured.unwrap_or_else(|| panic!("the node ended, and said above why"));
    let record = with_record.then(|| {
        let [text, json] = tables(&host);
        if let Some(to) = &mut node.stdin {
            to.write_all(b"go\n").unwrap_or_else(|e| panic!("the node: {e}"));
        }
        nft::Record { text, json, changes: said.by_ref().map(|line| nft::changes(&line)).collect() }
    });
    drop(node.stdin.take());
    let ended = node.wait().unwrap_or_else(|e| panic!("the node: {e}"));
    assert!(ended.success(), "the node: {ended}");
    (figures(&measured), record)
}

/// The table as `nft` writes it, for itself and as JSON.
fn tables(host: &Namespace) -> [String; 2] {
    ["", "--json "].map(|option| host.run(&format!("nft {option}list table inet corduroy")))
}

fn figures(measured: &Value) -> Vec<Figure> {
    let of = |name: &str| measured[name].as_f64().unwrap_or(f64::NAN);
    let columns = [
        (FILLED, Unit::Seconds),
        (ALONE[0], Unit::Seconds),
        (ALONE[1], Unit::Seconds),
        (BUSY[0], Unit::Seconds),
        (BUSY[1], Unit::Seconds),
        (A_CHANGE, Unit::Seconds),
        (CORE, Unit::Percent),
        (MEMORY, Unit::Mebibytes),
    ];
    columns.into_iter().map(|(name, unit)| Figure::new(name, unit, of(name))).collect()
}

/// From nothing to a kernel that has all of it.
const FILLED: &str = "all of it";
/// One change a second: p50 and p99.
const ALONE: [&str; 2] = ["alone p50", "alone p99"];
/// So many changes a second: p50 and p99.
const BUSY: [&str; 2] = ["busy p50", "busy p99"];
const A_CHANGE: &str = "CPU of a change";
/// Of one processor while it is busy.
const CORE: &str = "CPU when busy";
const MEMORY: &str = "peak memory";
