//! The end of a node that its cluster has no more.
//!
//! Its pods go on as long as they run. When the last has gone, nothing here needs the network: the tunnel devices and
//! their addresses go, the blocks are withdrawn and given back as any empty block is, and then the FabricNode, so that
//! other nodes drop their sessions last. A machine that does not get that far is the caretaker's business.

use corduroy_bgp::Time;
use corduroy_fabric::blocks;

use super::{Agent, Note, Output};
use crate::me::Membership;

pub(super) fn settle(agent: &mut Agent, now: Time) {
    if !agent.course.open {
        return;
    }
    let is_idle = agent.endpoints.iter().next().is_none() && agent.endpoints.counts().0 == 0;
    let retired = agent.known.me.member == Membership::Removed && is_idle;
    if retired != agent.known.retired {
        agent.known.retired = retired;
        agent.course.told_pools = false;
        agent.reconciler.mark_all(&agent.known);
        if retired {
            agent.note(Note::Retired(agent.known.me.name.clone()));
        }
        agent.serve_endpoints(now);
    }
    if retired {
        give_back(agent, now);
    }
}

fn give_back(agent: &mut Agent, now: Time) {
    let me = &agent.known.me;
    if blocks::owned_by(&agent.known.model, &me.name, &me.uid).next().is_some() {
        return;
    }
    let own = agent.known.nodes.get(&me.name).filter(|node| node.uid == me.uid);
    if let Some(write) = own.and_then(|node| agent.own_node.give_back(node, now)) {
        agent.out.push_back(Output::Write(Box::new(write)));
    }
}
