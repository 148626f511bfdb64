//! Connections that are denied by now are cut even when nothing comes of them that would be judged.
//!
//! The kernel judges each connection again by the next packet of its own direction, since its mark is of an earlier
//! generation. But one in which only answers flow, a stream of UDP that was asked for once, never has such a packet,
//! and answers pass unless the connection is known to be denied. So when the generation changed and the kernel has the
//! new program, all connections are read; those of pods here that were not judged since are judged as the engine
//! judges, and what is denied is marked so.
//!
//! Reading costs what there are of connections. So it is done at most once a second, and takes a twentieth of the
//! time, however often policies change, unless it would have to wait for more than ten seconds; and what was read is
//! judged in slices, so that nothing waits for it. Most connections of a busy node are over and only remembered: those
//! are not judged.

use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::{Flow, FlowKey, Op, TcpState};
use corduroy_policy::engine::PASSED;

use super::{Agent, Output};
use crate::explain;
use crate::key::Key;
use crate::policies::{Generation, MARK};
use crate::reconcile::Ticket;

/// Between two sweeps, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// And so many times as long as the last one took…
const SHARE: u32 = 20;
/// …but no longer than this, or than the last one took.
const LONGEST: Duration = Duration::from_secs(10);
/// How many connections are judged at a time: some milliseconds.
const SLICE: usize = 256;
/// Nobody waits to hear what became of the marks: what is gone is as good as marked, and what was refused is seen in
/// the next sweep.
const TICKET: Ticket = Ticket(u64::MAX);

/// How far the sweep is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// By which program all connections were judged last.
    swept: Option<Generation>,
    /// One is under way: by which program, and since when.
    under_way: Option<(Generation, Time)>,
    /// What was read and is not judged yet.
    waiting: Option<Vec<Flow>>,
    /// Not before this.
    not_before: Time,
    /// One is due then.
    due: Option<Time>,
}

impl Sweep {
    /// When time matters.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.due
    }
}

/// The connections, as they were read; `None`: they could not be, and are read again later.
pub(super) fn flows(agent: &mut Agent, flows: Option<Vec<Flow>>, now: Time) {
    let current = agent.known.policies.generation().mark();
    let is_old = |flow: &Flow| ![current, Generation::DENIED].contains(&(flow.mark & MARK));
    let is_over = |flow: &Flow| matches!(flow.tcp, Some(TcpState::TimeWait | TcpState::Close));
    let sweep = &mut agent.course.sweep;
    if flows.is_none() {
        sweep.under_way = None;
        sweep.not_before = now + PAUSE;
    }
    sweep.waiting = flows.map(|mut flows| {
        flows.retain(|flow| is_old(flow) && !is_over(flow));
        flows
    });
}

/// Goes on with the sweep, or begins one.
pub(super) fn settle(agent: &mut Agent, now: Time) {
    agent.course.sweep.due = None;
    if agent.course.sweep.waiting.is_some() {
        return judge(agent, now);
    }
    let generation = agent.known.policies.generation();
    let sweep = &mut agent.course.sweep;
    if sweep.under_way.is_some() || sweep.swept == Some(generation) || !agent.course.open {
        return;
    }
    // Where no policy is, nothing is denied.
    if agent.known.policies.engine().chains().next().is_none() {
        sweep.swept = Some(generation);
        return;
    }
    if now < sweep.not_before {
        sweep.due = Some(sweep.not_before);
        return;
    }
    let passed = Key::NftChain(PASSED.into());
    if agent.reconciler.is_done(&agent.known, &agent.former, &passed) {
        sweep.under_way = Some((generation, now));
        agent.out.push_back(Output::ReadFlows);
    }
}

fn judge(agent: &mut Agent, now: Time) {
    let mut waiting = agent.course.sweep.waiting.take().unwrap_or_default();
    let rest = waiting.split_off(waiting.len().min(SLICE));
    let is_denied = |flow: &&Flow| {
        explain::is_of_pods(&agent.known, flow) && !explain::judged(&agent.known, &(*flow).into()).allowed()
    };
    let flows: Vec<FlowKey> = waiting.iter().filter(is_denied).map(|flow| flow.key).collect();
    if !flows.is_empty() {
        let op = Op::MarkFlows { mask: MARK, value: Generation::DENIED, flows };
        agent.reconciler.queue(TICKET, op);
    }
    let sweep = &mut agent.course.sweep;
    if !rest.is_empty() {
        sweep.waiting = Some(rest);
        sweep.due = Some(now);
        return;
    }
    if let Some((generation, since)) = sweep.under_way.take() {
        sweep.swept = Some(generation);
        let took = now.since(since);
        sweep.not_before = now + (took * SHARE).clamp(PAUSE, LONGEST.max(took));
        sweep.due = Some(sweep.not_before).filter(|_| generation != agent.known.policies.generation());
    }
}

#[cfg(test)]
mod tests;
