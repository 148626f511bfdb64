//! Import: what becomes of an attribute set on its way from the Adj-RIB-In into the decision.
//!
//! A batch has one attribute set, so everything that does not depend on the prefix is found out once
//! ([`Import::begin`]: loops, and which rules of the filter could hold at all); a prefix then costs a look at what
//! is left.

use alloc::vec::Vec;

use super::Settings;
use super::intern::{AttrId, Attrs, GRACEFUL_SHUTDOWN};
use super::paths::FAULT_SHIFT;
use super::peers::PeerTables;
use crate::Family;
use crate::attrs::Attributes;
use crate::policy::{Changes, Compiled, Scope, Source, Verdict};
use crate::status::Unusable;

/// Why a path can't be used, as three bits of its flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    Policy,
    OwnAs,
    OwnOriginator,
    OwnCluster,
    OwnNextHop,
}

impl Fault {
    pub(crate) fn flags(self) -> u16 {
        (self as u16) << FAULT_SHIFT
    }

    /// What the flags of a path say, the rule's name aside.
    pub(crate) fn unusable(flags: u16) -> Option<Unusable> {
        match flags >> FAULT_SHIFT & 7 {
            1 => Some(Unusable::Policy(None)),
            2 => Some(Unusable::OwnAs),
            3 => Some(Unusable::OwnOriginator),
            4 => Some(Unusable::OwnCluster),
            5 => Some(Unusable::OwnNextHop),
            _ => None,
        }
    }
}

/// What import made of a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Imported {
    /// Without a reference of its own.
    pub(crate) attr: AttrId,
    pub(crate) fault: Fault,
    /// A rule that protects our own addresses refused it.
    pub(crate) protected: bool,
}

/// Import of one attribute set from one peer.
#[derive(Debug, Default)]
pub(crate) struct Import {
    attr_in: AttrId,
    fault: Fault,
    scope: Scope,
    /// What each verdict comes to; every attribute set in here holds a reference until `end`.
    known: Vec<(Verdict, Imported)>,
}

impl Import {
    /// Begins with the set `attr_in` from `peer`.
    pub(crate) fn begin(
        &mut self,
        (peer, family): (&PeerTables, Family),
        settings: &Settings,
        attrs: &mut Attrs,
        attr_in: AttrId,
    ) {
        self.end(attrs);
        attrs.retain(attr_in);
        self.attr_in = attr_in;
        let route = Attributes::new(attrs.block(attr_in));
        self.fault = fault(peer, settings, route);
        peer.family(family).import.scope(route, Source::RemotePeers, &mut self.scope);
    }

    /// The set it began with.
    pub(crate) fn attr_in(&self) -> AttrId {
        self.attr_in
    }

    /// What becomes of `net` with this set.
    pub(crate) fn path(
        &mut self,
        filter: &Compiled,
        net: impl Into<crate::Net>,
        attrs: &mut Attrs,
    ) -> Imported {
        if self.fault != Fault::None {
            return Imported { fault: self.fault, ..Imported::default() };
        }
        let verdict = filter.verdict(&self.scope, net);
        if let Some((_, imported)) = self.known.iter().find(|(v, _)| *v == verdict) {
            return *imported;
        }
        let imported = match filter.operations(verdict) {
            Err(protected) => Imported { attr: AttrId::NONE, fault: Fault::Policy, protected },
            Ok(operations) => {
                let route = Attributes::new(attrs.block(self.attr_in));
                let mut changes = Changes::new(operations, route);
                if attrs.key(self.attr_in).well_known & GRACEFUL_SHUTDOWN != 0 {
                    // RFC 8326 §4.1: whoever is about to go is the last choice.
                    changes.local_pref = Some(0);
                }
                let attr = apply(&changes, self.attr_in, attrs);
                Imported { attr, ..Imported::default() }
            }
        };
        self.known.push((verdict, imported));
        imported
    }

    /// Lets go of the set.
    pub(crate) fn end(&mut self, attrs: &mut Attrs) {
        for (_, imported) in self.known.drain(..) {
            attrs.release(imported.attr);
        }
        attrs.release(core::mem::take(&mut self.attr_in));
    }
}

fn apply(changes: &Changes, attr: AttrId, attrs: &mut Attrs) -> AttrId {
    if changes.is_empty() {
        attrs.retain(attr);
        return attr;
    }
    let mut block = Vec::new();
    changes.edits().apply(attrs.block(attr), &mut block);
    attrs.intern(&block)
}

/// The loop checks of RFC 4271 §9.1.2 and RFC 4456 §8, and RFC 4271 §5.1.3 on next hops.
fn fault(peer: &PeerTables, settings: &Settings, route: Attributes<'_>) -> Fault {
    let session = &peer.session;
    let allowed = usize::from(session.config.allow_own_as);
    let path = route.as_path();
    if path.count(session.local_as) > allowed || path.count(settings.local_as) > allowed {
        return Fault::OwnAs;
    }
    if route.originator_id() == Some(settings.router_id) {
        return Fault::OwnOriginator;
    }
    if settings.cluster_id.is_some_and(|own| route.cluster_list().any(|c| c == own.get())) {
        return Fault::OwnCluster;
    }
    if route.next_hop().is_some_and(|hop| hop.address() == session.local) {
        return Fault::OwnNextHop;
    }
    Fault::None
}
