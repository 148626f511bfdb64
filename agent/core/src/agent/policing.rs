//! What the policies want now: keys for the reconciler, and what has to be known of others.
//!
//! A new generation is not free: it rewrites the chains that know its number, and a transaction with rules in it makes
//! the kernel walk all of the table, with every program that a map leads to, before it takes it. So the first change
//! that may deny brings one along in its own transaction; those that follow soon after are in force as soon as ever,
//! for new connections, and share one new generation a little later, by which the connections that are there are
//! judged again.

use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::Lane;
use corduroy_kernel::nft::Name;
use corduroy_policy::engine::PASSED;
use corduroy_policy::{Class, Dirty};

use super::{Agent, Output};
use crate::desired;
use crate::key::Key;

/// The chains that say which connections were judged by the program that is in force.
const JUDGED: [&str; 7] =
    ["forward", desired::nft::TO_PODS, "pods-to-host", "host-prednat", "host-in", "host-out", PASSED];

/// How long a policy waits at most for what it asks about others.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two generations, at least.
const PACE: Duration = Duration::from_millis(100);

/// What happens at which time.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// No generation begins before this.
    not_before: Time,
    /// Something may be denied by now, and those who had it are to be judged again then.
    due: Option<Time>,
    /// Policies that wait for what they ask about others are in force without it then.
    wait_until: Option<Time>,
}

impl Times {
    /// When time matters.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.due.into_iter().chain(self.wait_until).min()
    }
}

/// Passes on what changed.
pub(super) fn settle(agent: &mut Agent, now: Time) {
    wake(agent, now);
    let changes = agent.known.policies.take_changes();
    for dirty in &changes.dirty {
        mark(agent, dirty);
    }
    let times = &mut agent.course.policing;
    if changes.may_deny {
        times.due.get_or_insert(times.not_before.max(now));
    }
    if times.due.take_if(|due| *due <= now).is_some() {
        times.not_before = now + PACE;
        agent.known.policies.begin_generation();
        for chain in JUDGED {
            agent.reconciler.mark(&agent.known, Key::NftChain(chain.into()));
        }
    }
    if let Some(asked) = agent.known.policies.take_asked() {
        agent.out.push_back(Output::Ask(asked));
    }
}

/// Policies that waited for what is known by now wait no more, nor do those that have waited long.
fn wake(agent: &mut Agent, now: Time) {
    if agent.course.open {
        agent.known.policies.begin_to_wait();
    }
    if !agent.known.policies.is_waiting() {
        agent.course.policing.wait_until = None;
        return;
    }
    let until = *agent.course.policing.wait_until.get_or_insert(now + PATIENCE);
    agent.known.wake_policies(now >= until);
}

fn mark(agent: &mut Agent, dirty: &Dirty) {
    match dirty {
        Dirty::Set(name) => {
            let keys: Vec<Key> =
                desired::of_policy_set(&agent.known, name).chain(there(agent, name)).collect();
            keys.into_iter().for_each(|key| agent.reconciler.mark(&agent.known, key));
        }
        Dirty::Element(set, key) => {
            agent.reconciler.mark(&agent.known, Key::NftElement(set.clone(), key.clone()));
        }
        Dirty::Chain(name) => agent.reconciler.mark(&agent.known, Key::NftChain(name.clone())),
        Dirty::Program(key) if key.class == Class::Pod => {
            let links = agent.known.policies.links(&key.name);
            for (set, element) in links.iter().flat_map(|link| desired::nft::link_elements(*link)) {
                agent.reconciler.mark_in(Lane::Endpoints, Key::NftElement(set, element));
            }
        }
        // The program of this host: rare, and it may be anywhere.
        Dirty::Program(_) => agent.reconciler.mark_all(&agent.known),
    }
}

/// What the kernel has of a set: it may be another one of the same name by now.
fn there<'a>(agent: &'a Agent, name: &'a Name) -> impl Iterator<Item = Key> + 'a {
    let set = agent.reconciler.picture().nft.as_ref().and_then(|table| table.sets.get(name));
    let elements = set.into_iter().flat_map(|set| set.elements.keys());
    elements.map(|key| Key::NftElement(name.clone(), key.clone()))
}

#[cfg(test)]
pub(super) mod tests;
