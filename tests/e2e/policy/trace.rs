//! What `cordctl policy trace` says of all that a table speaks of: the same as the table, against which connections are
//! held.
//!
//! The agents that judge a connection are asked, that of the sender's node and that of the receiver's, by the very
//! question that cordctl puts to the status socket; one question of each table is put by cordctl itself, on the node.
//! An end that is a pod of the node is called by its name, another by its address: a node knows other nodes' pods only
//! if its policies name them. What nodes send is asked about with the address they really send it from.
//!
//! One agent that judges alone must know the verdict; of two each says no more than what passes as far as it judges.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use corduroy_ipc::policy::{PolicyAnswer, PolicyRequest, PolicyTrace, TraceQuery, Verdict};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};
use corduroy_tests::kube::{Cluster, Machine};
use corduroy_tests::probe::Transport;
use corduroy_tests::status::Asked;
use corduroy_tests::{process, topology};

use super::matrix::{Matrix, Probe};
use super::scene::{Kind, Party};

const SOCKET: &str = "/run/corduroy/status.sock";
/// How many questions are under way at a time with each agent, which takes 32.
const AT_ONCE: usize = 24;
/// How many contradictions are told.
const SHOWN: usize = 40;

/// What the agent of a node says of a probe.
pub(super) struct Traced<'a> {
    probe: Probe<'a>,
    node: &'a str,
    /// Nobody else judges it.
    alone: bool,
    trace: PolicyTrace,
}

impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probe, node, trace, .. } = self;
        let is = if probe.allowed { "passes" } else { "is denied" };
        let why: Vec<&str> = trace.judgements.iter().map(|judged| judged.why.as_str()).collect();
        write!(f, "{probe} {is}, and the trace on {node} says {:?} of {}", trace.verdict, trace.packet)?;
        write!(f, ": {}; {}", why.join("; "), trace.remarks.join("; "))
    }
}

/// Has all who judge what the table asks say what they make of it.
///
/// # Errors
/// An agent does not answer, or cordctl answers something else.
pub(super) fn ask<'a>(cluster: &'a Cluster, matrix: &Matrix<'a>) -> Result<Vec<Traced<'a>>, String> {
    let probes: Vec<Probe<'a>> = matrix.probes().collect();
    let all = thread::scope(|scope| {
        let probes = &probes;
        let ask = |node| scope.spawn(move || ask_node(node, probes));
        let asking: Vec<_> = cluster.nodes().iter().map(ask).collect();
        let asked = asking.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)));
        asked.collect::<Result<Vec<Vec<Traced<'a>>>, String>>()
    });
    let all: Vec<_> = all?.into_iter().flatten().collect();
    by_program(cluster, &all)?;
    Ok(all)
}

/// Do they all say what the tables say?
///
/// # Errors
/// Who says something else of what, and why.
pub(super) fn agree(all: &[Traced<'_>]) -> Result<(), String> {
    let mut wrong: Vec<String> =
        all.iter().filter(|one| !is_possible(one)).map(ToString::to_string).collect();
    // Of what is denied somebody must say so.
    let is_same = |a: &Probe<'_>, b: &Probe<'_>| {
        (&a.from.name, &a.to.name, a.over, a.family) == (&b.from.name, &b.to.name, b.over, b.family)
    };
    let mut denied: Vec<&Traced<'_>> = all.iter().filter(|one| !one.probe.allowed).collect();
    denied.sort_by_key(|one| (&one.probe.from.name, &one.probe.to.name, one.probe.over, one.probe.family));
    for both in denied.chunk_by(|a, b| is_same(&a.probe, &b.probe)) {
        if both.iter().all(|one| one.trace.verdict != Verdict::Denied) {
            wrong.extend(both.iter().map(ToString::to_string));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let shown = wrong.get(..SHOWN).unwrap_or(&wrong);
    Err(format!("{} traces of {} are wrong:\n    {}", wrong.len(), all.len(), shown.join("\n    ")))
}

fn is_possible(one: &Traced<'_>) -> bool {
    match (one.probe.allowed, one.alone) {
        (true, true) => one.trace.verdict == Verdict::Allowed,
        (true, false) => one.trace.verdict == Verdict::AllowedHere,
        (false, true) => one.trace.verdict == Verdict::Denied,
        (false, false) => one.trace.verdict != Verdict::Allowed,
    }
}

/// The nodes whose pods the two are.
fn judges<'a>(probe: &Probe<'a>) -> Vec<&'a str> {
    let pods = [probe.from, probe.to].into_iter().filter(|party| party.kind == Kind::Pod);
    let mut nodes: Vec<&str> = pods.map(|party| party.node.as_str()).collect();
    nodes.dedup();
    nodes
}

fn ask_node<'a>(node: &'a Machine, probes: &[Probe<'a>]) -> Result<Vec<Traced<'a>>, String> {
    let name = node.name();
    let mine: Vec<(Probe<'a>, bool)> = probes
        .iter()
        .filter(|probe| judges(probe).contains(&name))
        .map(|probe| (*probe, judges(probe).len() == 1))
        .collect();
    let socket = node.path(SOCKET)?;
    let mut found = Vec::new();
    for some in mine.chunks(AT_ONCE) {
        let queries = some.iter().map(|(probe, _)| query(probe, name));
        let requests = queries.map(|query| StatusRequest::Policy(PolicyRequest::Trace(query)));
        let asked: Vec<Asked> =
            requests.map(|request| Asked::put(&socket, request)).collect::<Result<_, _>>()?;
        for ((probe, alone), asked) in some.iter().zip(asked) {
            match asked.answer().map_err(|why| format!("{name}, asked about {probe}: {why}"))? {
                StatusAnswer::Policy(PolicyAnswer::Trace(trace)) => {
                    found.push(Traced { probe: *probe, node: name, alone: *alone, trace });
                }
                other => return Err(format!("{name}, asked about {probe}: {other:?}")),
            }
        }
    }
    Ok(found)
}

fn query(probe: &Probe<'_>, node: &str) -> TraceQuery {
    let called = |party: &Party, address: IpAddr| match party.kind {
        Kind::Pod if party.node == node => party.name.clone(),
        _ => address.to_string(),
    };
    let to = probe.to.addresses[probe.family];
    let (protocol, port) = match probe.over {
        Transport::Tcp(port) => (6, Some(port)),
        Transport::Udp(port) => (17, Some(port)),
        Transport::Ping => ([1, 58][probe.family], None),
    };
    TraceQuery {
        from: called(probe.from, source(probe.from, to)),
        to: called(probe.to, to),
        protocol,
        port,
        family: Some([4, 6][probe.family]),
        ..TraceQuery::default()
    }
}

/// From which address somebody sends to this one: a node to another rack by its tunnel's.
fn source(from: &Party, to: IpAddr) -> IpAddr {
    let family = usize::from(to.is_ipv6());
    if from.kind != Kind::Node {
        return from.addresses[family];
    }
    let any = if to.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    let found = topology::enter(&from.netns, || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((to, 9))?;
        socket.local_addr()
    });
    found.unwrap_or_else(|e| panic!("{} has no way to {to}: {e}", from.name)).ip()
}

/// One of them, another each time, is asked again by cordctl.
fn by_program(cluster: &Cluster, all: &[Traced<'_>]) -> Result<(), String> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    // So that all kinds of pairs have their turn soon.
    const STRIDE: usize = 769;
    let turn = TURN.fetch_add(STRIDE, Ordering::Relaxed);
    let one = all.get(turn % all.len().max(1)).ok_or("the table speaks of nothing that is judged")?;
    let query = query(&one.probe, one.node);
    let words = match one.probe.over {
        Transport::Tcp(port) => format!("--port {port}"),
        Transport::Udp(port) => format!("--protocol udp --port {port}"),
        Transport::Ping => format!("--protocol {}", ["icmp", "icmpv6"][one.probe.family]),
    };
    let line = format!(
        "{} --socket {SOCKET} -o json policy trace --from {} --to {} {words} -{}",
        process::binary("cordctl").display(),
        query.from,
        query.to,
        [4, 6][one.probe.family],
    );
    let said = cluster.node(one.node).run(&line)?;
    let trace: PolicyTrace = serde_json::from_str(&said).map_err(|e| format!("{line}: {e}: {said}"))?;
    if trace.verdict != one.trace.verdict || trace.remarks != one.trace.remarks {
        return Err(format!("{line} says {said}, and the socket {:?}", one.trace));
    }
    Ok(())
}
