//! What everybody wants now. See [`Agent`].

use corduroy_bgp::Time;
use corduroy_fabric::peering;

use super::reading::Extent;
use super::{
    Agent, HOLD, Note, Output, Read, advertise, conditions, farewell, gate, intake, own_node, policing,
    sweep, tunnels,
};
use crate::former;
use crate::me::Membership;

/// Asks every part in turn, and passes on what it wants.
pub(super) fn settle(agent: &mut Agent, now: Time) {
    agent.serve_endpoints(now);
    policing::settle(agent, now);
    if open(agent, now) {
        agent.serve_endpoints(now);
    }
    farewell::settle(agent, now);
    if agent.course.open {
        write_own_node(agent, now);
        if gate::is_own_known(agent) {
            configure(agent, now);
            advertise::want(agent);
            advertise::tell(agent);
        }
        let hops = std::mem::take(&mut agent.course.hops);
        intake::next_hops(&agent.known, &mut agent.reconciler, &hops);
    }
    policing::settle(agent, now);
    sweep::settle(agent, now);
    touch_kernel(agent, now);
    // A block may forward by now: applied, or there from a former run.
    if agent.announcer.is_waiting() {
        advertise::tell(agent);
    }
}

/// Reads and plans take turns.
pub(super) fn touch_kernel(agent: &mut Agent, now: Time) {
    if agent.reconciler.is_applying() || agent.course.reading.is_asked() {
        return;
    }
    if let Some(extent) = agent.course.reading.start(now) {
        let read = match extent {
            Extent::Everything => Read::Everything,
            Extent::Changes(changes) => Read::Again(Box::new(agent.reconciler.picture().clone()), changes),
        };
        agent.out.push_back(Output::Read(read));
    } else if agent.course.open
        && let Some(plan) = agent.reconciler.plan(&agent.known, &agent.former, now)
    {
        agent.out.push_back(Output::Apply(plan));
    }
}

/// Begins to act once everything has been said and read; whether that is now.
fn open(agent: &mut Agent, now: Time) -> bool {
    if agent.course.open || gate::waits_for(agent).is_some() {
        if let Some((_, theirs)) = conditions::name_taken(agent) {
            let (node, ours) = (agent.known.me.name.clone(), agent.known.me.uid.clone());
            once(agent, Note::NameTaken { node, theirs, ours });
        }
        return false;
    }
    agent.course.open = true;
    let held = former::left_behind(&agent.known, agent.reconciler.picture());
    let count = held.len();
    agent.former.hold(held, now + HOLD);
    agent.reconciler.mark_all(&agent.known);
    agent.course.announce = true;
    agent.note(Note::InSync { held: count });
    true
}

fn once(agent: &mut Agent, note: Note) {
    if agent.course.noted.insert(note.to_string()) {
        agent.note(note);
    }
}

fn write_own_node(agent: &mut Agent, now: Time) {
    if conditions::name_taken(agent).is_some() || agent.known.me.member == Membership::Removed {
        return;
    }
    let declared = tunnels::declared(&agent.known, &agent.reconciler, &agent.former);
    let there = agent.known.nodes.get(&agent.known.me.name);
    let desired = own_node::desired(&agent.known.me, &agent.settings.declared, declared, there);
    if let Some(desired) = desired
        && let Some(write) = agent.own_node.settle(desired, there, now)
    {
        agent.out.push_back(Output::Write(Box::new(write)));
    }
}

fn configure(agent: &mut Agent, now: Time) {
    let name = agent.known.me.name.clone();
    if let Some(config) = agent.sessions.settle(&agent.known.model, &name, now) {
        let released = agent.former.set_peers(agent.sessions.peer_addresses());
        agent.release(&released);
        let port = peering::listen_port(&agent.known.model, &name);
        agent.out.push_back(Output::Configure(Box::new(config), port));
    }
    if agent.sessions.wants_to_know() {
        agent.out.push_back(Output::AskPeers);
    }
}
