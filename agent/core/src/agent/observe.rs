//! What a reading of the kernel means for the parts.

use corduroy_kernel::{Facts, Family, LinkName, State};

use super::wiring::Wiring;
use super::{Note, Settings};
use crate::known::Known;
use crate::me::{Chosen, NoAddress, choose};
use crate::pods::Pod;

/// Takes new facts in and chooses this node's addresses anew; true when anything changed that desired state depends on.
///
/// An address that can't be chosen any more (its interface is down and IPv6 addresses go with that, the default route
/// is being changed) stays this node's until another one is found: a flapping link must not move the fabric.
pub(super) fn facts(known: &mut Known, settings: &Settings, facts: Facts, notes: &mut Vec<Note>) -> bool {
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
pub(super) fn pods(state: &State) -> Vec<Pod> {
    let links = state.links.iter().filter(|(dev, _)| dev.is_pod());
    let pods = links.filter_map(|(dev, seen)| {
        let of_dev = state.neighbours.iter().filter(|((d, _), _)| d == dev);
        let addresses: Vec<_> = of_dev.clone().map(|((_, addr), _)| *addr).collect();
        let mac = of_dev.map(|(_, mac)| *mac).next()?;
        Some(Pod { link: *dev, host_mac: seen.link.mac?, mac, mtu: seen.link.mtu, addresses })
    });
    pods.collect()
}

/// The pods whose interface is gone though nobody asked for that.
pub(super) fn lost(known: &Known, picture: &State, wiring: &Wiring) -> Vec<LinkName> {
    let links = known.pods.iter().map(|pod| pod.link);
    links.filter(|link| !picture.links.contains_key(link) && !wiring.is_under_way(*link)).collect()
}
