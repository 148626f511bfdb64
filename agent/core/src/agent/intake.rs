//! What a change of the inputs touches: from events to dirty keys.
//!
//! Three things change often and one at a time: nodes, blocks of this node, learned prefixes; for those the keys are
//! named. Anything else (pools, our own addresses, interfaces) is rare and touches nearly everything, so everything is
//! looked at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::block::block_name;
use corduroy_api::{Event, FabricNode, Key as ResourceKey, Kind};
use corduroy_bgp::Time;
use corduroy_bgp::io::Change;
use corduroy_fabric::Changed;

use super::{Agent, Note, observe};
use crate::convert;
use crate::desired;
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;
use crate::me::Membership;
use crate::nodes::addresses;
use crate::reconcile::Reconciler;

/// The datastore says this.
pub(super) fn event(agent: &mut Agent, event: Event, now: Time) {
    let Changed::Resource(key) = agent.known.model.apply(event) else { return };
    agent.course.unwritten.seen(&key);
    if is_of_policies(&key) {
        agent.known.police(&key);
        if key.kind == Kind::HostEndpoint {
            agent.reconciler.mark_all(&agent.known);
        }
        return;
    }
    if touches_sessions(&key) {
        agent.sessions.model_changed();
    }
    services(&mut agent.known, &mut agent.reconciler, &key);
    agent.course.announce |= may_be_announced(agent, &key);
    match key.kind {
        Kind::FabricNode => {
            let hops = node(&mut agent.known, &mut agent.reconciler, &key.name);
            agent.known.police(&key);
            agent.course.hops.extend(hops);
            if key.name == agent.known.me.name {
                agent.own_node.seen();
                agent.course.told_pools = false;
                // It says which blocks the cluster gave us.
                blocks(&mut agent.known, &mut agent.reconciler);
            }
        }
        Kind::IpPool => {
            pools(&mut agent.known, &mut agent.reconciler);
            agent.course.told_pools = false;
        }
        Kind::IpamBlock => {
            let changed =
                may_be_own(&agent.known, &key.name) && blocks(&mut agent.known, &mut agent.reconciler);
            if changed || may_be_lent(&agent.known, &key.name) {
                agent.sessions.model_changed();
            }
            agent.block(&key.name, now);
        }
        Kind::Namespace => {
            agent.known.police(&key);
            agent.namespace(&key.name, now);
        }
        Kind::Pod => {
            agent.known.police(&key);
            agent.pod(&key.name, now);
        }
        Kind::IpReservation => agent.course.told_pools = false,
        _ => {}
    }
}

/// Is it one that only policies depend on?
fn is_of_policies(key: &ResourceKey) -> bool {
    key.kind.is_policy()
        || matches!(key.kind, Kind::RemotePod | Kind::ServiceAccount | Kind::ServiceEndpoints)
}

/// A node came, changed or went: index it and mark what it stands behind. Returns the next hops whose routes may go
/// another way now: the caller gathers them, so that a burst of nodes costs one walk over the learned routes.
fn node(known: &mut Known, reconciler: &mut Reconciler, name: &str) -> BTreeSet<IpAddr> {
    let new = known.model.nodes().get(name).cloned();
    let old = known.nodes.set(name, new.as_ref());
    if same_for_kernel(old.as_ref(), new.as_ref()) {
        return BTreeSet::new();
    }
    if name == known.me.name {
        reconciler.mark_all(known);
        return BTreeSet::new();
    }
    let both = || old.iter().chain(&new);
    for key in both().flat_map(|node| desired::of_node(node)).collect::<BTreeSet<Key>>() {
        reconciler.mark(known, key);
    }
    both().flat_map(|node| addresses(node)).collect()
}

fn same_for_kernel(old: Option<&Arc<FabricNode>>, new: Option<&Arc<FabricNode>>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.addresses == new.addresses && old.tunnels == new.tunnels,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Routes by these next hops may go another way now.
pub(super) fn next_hops(known: &Known, reconciler: &mut Reconciler, hops: &BTreeSet<IpAddr>) {
    if !hops.is_empty() {
        for net in known.learned.by_next_hops(hops) {
            reconciler.mark(known, Key::Route(convert::from_bgp(net)));
        }
    }
}

/// The blocks of this node are these now.
/// Returns whether they were others before.
fn blocks(known: &mut Known, reconciler: &mut Reconciler) -> bool {
    let (name, uid) = (known.me.name.as_str(), known.me.uid.as_str());
    let owned = corduroy_fabric::blocks::owned_by(&known.model, name, uid);
    let owned: BTreeSet<_> = owned.map(convert::from_network).collect();
    let changed: Vec<_> = known.owned.symmetric_difference(&owned).copied().collect();
    known.owned = owned;
    // One address has no blackhole: its route is its pod's, and is made after the pod's interface.
    for block in changed.iter().filter(|block| !block.is_host()) {
        reconciler.mark(known, Key::Route(*block));
    }
    !changed.is_empty()
}

/// Is the block of this name one of ours, or was it? Most are not, and looking at all of them takes its time.
fn may_be_own(known: &Known, name: &str) -> bool {
    let is = known.model.blocks().get(name).is_some_and(|block| block.node == known.me.name);
    is || known.owned.iter().any(|own| block_name(convert::to_network(*own)) == name)
}

/// May a change of this resource change what is announced?
fn may_be_announced(agent: &Agent, key: &ResourceKey) -> bool {
    match key.kind {
        Kind::FabricNode => key.name == agent.known.me.name,
        Kind::Pod | Kind::Namespace => false,
        _ => !is_of_services(key),
    }
}

/// May the block of this name be a fixed address of one of ours? Then its route is to be taken from others.
fn may_be_lent(known: &Known, name: &str) -> bool {
    match known.model.blocks().get(name) {
        Some(block) => known.owned.iter().any(|own| own.covers(convert::from_network(block.cidr))),
        None => (name.ends_with("-32") || name.ends_with("-128")) && !known.owned.is_empty(),
    }
}

/// The pools are these now.
fn pools(known: &mut Known, reconciler: &mut Reconciler) {
    let old = std::mem::take(&mut known.pools);
    known.refresh_pools();
    for pool in &old {
        for key in desired::of_pool(convert::from_network(pool.cidr)) {
            reconciler.mark(known, key);
        }
    }
    reconciler.mark_all(known);
}

/// What is announced of services may be something else now.
fn services(known: &mut Known, reconciler: &mut Reconciler, key: &ResourceKey) {
    let old = (!is_of_services(key)).then(|| known.services.ranges().clone());
    known.services.apply(&known.model, &known.me.name, key);
    let Some(old) = old.filter(|old| old != known.services.ranges()) else { return };
    for (_, range) in old.iter() {
        reconciler.mark(known, desired::of_range(convert::from_network(range)));
    }
    reconciler.mark_all(known);
}

/// Is it one of the many that concern only what is announced of services?
fn is_of_services(key: &ResourceKey) -> bool {
    matches!(key.kind, Kind::Service | Kind::EndpointSlice)
}

/// The Loc-RIB's new word on some prefixes. One that has a next hop again is held for a former run no longer.
pub(super) fn loc_rib(
    known: &mut Known,
    reconciler: &mut Reconciler,
    former: &mut Former,
    changes: &[Change],
) {
    for change in changes {
        if known.learned.apply(change) {
            if known.learned.get(change.net).is_some() {
                former.settle(change.net);
            }
            reconciler.mark(known, Key::Route(convert::from_bgp(change.net)));
        }
    }
}

/// The cluster says this of our Node.
pub(super) fn member(agent: &mut Agent, member: Membership) {
    if agent.known.me.member == member {
        return;
    }
    agent.course.told_pools = false;
    let removed = member == Membership::Removed;
    agent.known.me.member = member;
    let mut notes = Vec::new();
    if removed {
        notes.push(Note::Removed(agent.known.me.name.clone()));
    }
    if observe::addresses(&mut agent.known, &agent.settings, false, &mut notes) {
        agent.reconciler.mark_all(&agent.known);
        agent.sessions.model_changed();
    }
    notes.into_iter().for_each(|note| agent.note(note));
}

/// May a change of this kind of resource change who peers with whom, or how?
fn touches_sessions(key: &ResourceKey) -> bool {
    let others = matches!(key.kind, Kind::IpamBlock | Kind::IpReservation | Kind::Namespace | Kind::Pod);
    !others && !is_of_services(key)
}
