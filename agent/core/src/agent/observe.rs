//! What a reading of the kernel means for the parts.

use corduroy_bgp::Time;
use corduroy_kernel::{Facts, Family, LinkName, State};

use super::wiring::Wiring;
use super::{Agent, Note, Settings};
use crate::endpoints;
use crate::known::Known;
use crate::me::{Chosen, NoAddress, choose};
use crate::pods::Pod;

/// The kernel was read.
pub(super) fn read(agent: &mut Agent, state: State, now: Time) {
    let is_first = !agent.course.reading.is_done();
    agent.course.reading.finish();
    let mut notes = Vec::new();
    if facts(&mut agent.known, &agent.settings, state.facts(), &mut notes) {
        agent.reconciler.mark_all(&agent.known);
        agent.sessions.model_changed();
    }
    let repaired = agent.reconciler.repaired();
    agent.reconciler.absorb(&agent.known, &agent.former, state);
    let repairing = agent.reconciler.repaired() - repaired;
    if repairing > 0 {
        notes.push(Note::Repairing(repairing));
    }
    notes.into_iter().for_each(|note| agent.note(note));
    if is_first {
        agent.known.policies.begin(agent.reconciler.picture().nft.as_ref());
        let pods = pods(agent.reconciler.picture());
        agent.endpoints.handle(endpoints::Input::Found(pods), now);
    }
    for link in lost(&agent.known, agent.reconciler.picture(), &agent.wiring) {
        agent.endpoints.handle(endpoints::Input::Lost(link), now);
    }
}

/// Takes new facts in and chooses this node's addresses anew; true when anything changed that desired state depends on.
///
/// An address that can't be chosen any more (its interface is down and IPv6 addresses go with that, the default route
/// is being changed) stays this node's until another one is found: a flapping link must not move the fabric.
fn facts(known: &mut Known, settings: &Settings, facts: Facts, notes: &mut Vec<Note>) -> bool {
    let is_first = known.facts == Facts::default();
    let changed = relevant(&known.facts) != relevant(&facts);
    known.facts = facts;
    addresses(known, settings, is_first, notes) || changed
}

/// Chooses this node's addresses; true when one is another than before.
pub(super) fn addresses(
    known: &mut Known,
    settings: &Settings,
    is_first: bool,
    notes: &mut Vec<Note>,
) -> bool {
    let mut moved = false;
    for family in Family::ALL {
        let wanted = if family == Family::V4 { settings.v4 } else { settings.v6 };
        let choice = choose(wanted, known.me.member.reported(family), family, &known.facts);
        let slot = if family == Family::V4 { &mut known.me.v4 } else { &mut known.me.v6 };
        moved |= take(slot, choice, family, is_first, notes);
    }
    moved
}

fn take(
    slot: &mut Option<Chosen>,
    choice: Result<Option<Chosen>, NoAddress>,
    family: Family,
    is_first: bool,
    notes: &mut Vec<Note>,
) -> bool {
    let is_same = |new: &Chosen| {
        slot.as_ref().is_some_and(|old| (old.address, old.prefix_len) == (new.address, new.prefix_len))
    };
    match choice {
        Ok(Some(new)) if is_same(&new) => false,
        Ok(Some(new)) => {
            notes.push(Note::Address(family, new.clone()));
            *slot = Some(new);
            true
        }
        Ok(None) => false,
        Err(why) => {
            if is_first {
                notes.push(Note::NoAddress(family, why));
            }
            false
        }
    }
}

/// The facts without what nothing depends on: interfaces without an address come and go with every container of
/// somebody else.
fn relevant(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.uplinks.retain(|_, uplink| !uplink.addresses.is_empty());
    facts.macs.clear();
    facts
}

/// The pods that the kernel shows: interfaces of ours whose addresses can be told from their neighbours.
fn pods(state: &State) -> Vec<Pod> {
    let links = state.links.iter().filter(|(dev, _)| dev.is_pod());
    let pods = links.filter_map(|(dev, seen)| {
        let of_dev = state.neighbours.iter().filter(|((d, _), _)| d == dev);
        let addresses: Vec<_> = of_dev.clone().map(|((_, addr), _)| *addr).collect();
        let mac = of_dev.map(|(_, mac)| *mac).next()?;
        Some(Pod { link: *dev, host_mac: seen.link.mac?, mac, mtu: seen.link.mtu, addresses, owner: None })
    });
    pods.collect()
}

/// The pods whose interface is gone though nobody asked for that.
fn lost(known: &Known, picture: &State, wiring: &Wiring) -> Vec<LinkName> {
    let links = known.pods.iter().map(|pod| pod.link);
    links.filter(|link| !picture.links.contains_key(link) && !wiring.is_under_way(*link)).collect()
}
