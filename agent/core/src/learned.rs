//! What the speaker's Loc-RIB says, by prefix: the next hops of the best path and its equals.
//!
//! A prefix that we originate ourselves is not learned, whoever else announces it. Next hops are kept sorted, so that
//! two equal sets compare equal whatever order decision gave them in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corduroy_bgp::Net;
use corduroy_bgp::io::Change;

/// The next hops of one prefix: sorted, without repeats, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHops {
    /// The usual case costs no allocation.
    One(IpAddr),
    /// Equal-cost paths.
    Many(Box<[IpAddr]>),
}

impl NextHops {
    fn new(mut hops: Vec<IpAddr>) -> Option<Self> {
        hops.sort_unstable();
        hops.dedup();
        match hops.as_slice() {
            [] => None,
            [one] => Some(Self::One(*one)),
            _ => Some(Self::Many(hops.into_boxed_slice())),
        }
    }

    /// The addresses in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[IpAddr] {
        match self {
            Self::One(hop) => std::slice::from_ref(hop),
            Self::Many(hops) => hops,
        }
    }
}

/// Every learned prefix.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    routes: BTreeMap<Net, NextHops>,
}

impl Learned {
    /// Takes the Loc-RIB's new word on a prefix; true when its next hops are others than before.
    pub fn apply(&mut self, change: &Change) -> bool {
        let own = change.paths.iter().any(|path| path.peer.is_none());
        let hops = if own { Vec::new() } else { change.paths.iter().map(|path| path.next_hop).collect() };
        match NextHops::new(hops) {
            Some(hops) if self.routes.get(&change.net) == Some(&hops) => false,
            Some(hops) => {
                self.routes.insert(change.net, hops);
                true
            }
            None => self.routes.remove(&change.net).is_some(),
        }
    }

    /// The next hops of a prefix, when it is learned.
    #[must_use]
    pub fn get(&self, net: Net) -> Option<&NextHops> {
        self.routes.get(&net)
    }

    /// Is this prefix learned, or a part of it?
    #[must_use]
    pub fn has_within(&self, net: Net) -> bool {
        // In order, what a prefix contains stands right behind it.
        self.routes.range(net..).next().is_some_and(|(first, _)| net.contains(*first))
    }

    /// Every learned prefix in order.
    pub fn nets(&self) -> impl Iterator<Item = Net> + '_ {
        self.routes.keys().copied()
    }

    /// The prefixes that go by any of these next hops: one walk over the table however many there are.
    pub fn by_next_hops<'a>(&'a self, hops: &'a BTreeSet<IpAddr>) -> impl Iterator<Item = Net> + 'a {
        self.routes
            .iter()
            .filter(|(_, route)| route.as_slice().iter().any(|hop| hops.contains(hop)))
            .map(|(net, _)| *net)
    }

    /// How many prefixes are learned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Is nothing learned?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use corduroy_bgp::config::PeerKey;
    use corduroy_bgp::io::LocPath;

    use super::*;

    fn path(hop: &str) -> LocPath {
        let next_hop = hop.parse().unwrap();
        LocPath { next_hop, peer: Some(PeerKey::new(next_hop)), stale: false }
    }

    fn change(net: &str, paths: Vec<LocPath>) -> Change {
        Change { net: net.parse().unwrap(), paths }
    }

    #[test]
    fn equal_sets_of_next_hops_are_no_change_whatever_their_order() {
        let mut learned = Learned::default();
        assert!(learned.apply(&change("10.1.0.0/26", vec![path("192.0.2.2"), path("192.0.2.1")])));
        assert!(!learned.apply(&change("10.1.0.0/26", vec![path("192.0.2.1"), path("192.0.2.2")])));
        assert!(learned.apply(&change("10.1.0.0/26", vec![path("192.0.2.1")])));
        assert!(learned.apply(&change("10.1.0.0/26", vec![])));
        assert!(!learned.apply(&change("10.1.0.0/26", vec![])));
    }

    #[test]
    fn what_we_originate_is_not_learned_even_beside_a_learned_path() {
        let mut learned = Learned::default();
        let own = LocPath { peer: None, ..path("192.0.2.9") };
        assert!(!learned.apply(&change("10.1.0.0/26", vec![own, path("192.0.2.1")])));
        assert!(learned.is_empty());
    }

    #[test]
    fn prefixes_are_found_by_any_of_their_next_hops() {
        let mut learned = Learned::default();
        learned.apply(&change("10.1.0.0/26", vec![path("192.0.2.1"), path("192.0.2.2")]));
        learned.apply(&change("10.2.0.0/26", vec![path("192.0.2.3")]));
        let hops = BTreeSet::from(["192.0.2.2".parse().unwrap()]);
        let nets: Vec<_> = learned.by_next_hops(&hops).collect();
        assert_eq!(nets, ["10.1.0.0/26".parse().unwrap()]);
    }
}
