//! Route selection after our own restart (RFC 4724 §4.1): it waits, family by family, for the End-of-RIB of every peer
//! that could have kept our routes, and no longer than the timer.
//!
//! Waited for are the peers of the configuration with which graceful restart is configured, until their OPEN shows that
//! there is nothing to wait for: no graceful restart, the family not offered, or the R bit, because two restarted
//! speakers that wait for each other wait for nothing. Peers out of dynamic ranges are not known beforehand: with such
//! a range the timer decides. After a first start nothing waits, and neither does a family that nobody was to offer.

use alloc::collections::BTreeSet;

use crate::config::{Config, PeerKey};
use crate::{Family, FamilySet};

/// Who is waited for.
#[derive(Debug, Default)]
pub(crate) struct Deferral {
    waiting: [BTreeSet<PeerKey>; 2],
    /// Families not selected yet.
    deferred: FamilySet,
    /// Unknown peers may come.
    dynamic: bool,
}

impl Deferral {
    /// After a restart with this configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let dynamic = config.dynamic.iter().any(|d| d.peer.capabilities.graceful_restart.is_some());
        let mut new = Self { waiting: Default::default(), deferred: FamilySet::BOTH, dynamic };
        for (key, peer) in &config.peers {
            if peer.shutdown || peer.capabilities.graceful_restart.is_none() {
                continue;
            }
            for family in peer.capabilities.families.iter() {
                new.waiting[family.index()].insert(*key);
            }
        }
        new
    }
    /// Is any family still waiting? So long our OPENs carry the R bit.
    pub(crate) fn is_active(&self) -> bool {
        !self.deferred.is_empty()
    }
    /// Nothing of these families is to be expected of this peer any more.
    pub(crate) fn finished(&mut self, peer: PeerKey, families: FamilySet) {
        for family in families.iter() {
            self.waiting[family.index()].remove(&peer);
        }
    }
    /// The families that need wait no longer; each is told once.
    pub(crate) fn take_ready(&mut self) -> FamilySet {
        let ready = |f: &Family| !self.dynamic && self.waiting[f.index()].is_empty();
        let ready: FamilySet = self.deferred.iter().filter(ready).collect();
        self.deferred = ready.iter().fold(self.deferred, FamilySet::without);
        ready
    }
    /// Time is up. The families that had not been told.
    pub(crate) fn expire(&mut self) -> FamilySet {
        core::mem::take(&mut self.deferred)
    }
}
