//! The second half of the speaker: what peers announced, what is best, what every peer is told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::Net;
use crate::io::{Change, LocPath, Origination};

/// The routing information base (RFC 4271 §3.2): Adj-RIBs-In, Loc-RIB, Adj-RIBs-Out.
#[derive(Debug, Default)]
pub struct Rib {
    originated: BTreeMap<Net, Origination>,
    changed: BTreeSet<Net>,
}

impl Rib {
    /// Announces a prefix of our own, or changes how.
    pub fn originate(&mut self, net: Net, route: Origination) {
        if self.originated.get(&net) != Some(&route) {
            self.originated.insert(net, route);
            self.changed.insert(net);
        }
    }

    /// No longer announces a prefix of our own.
    pub fn withdraw(&mut self, net: Net) {
        if self.originated.remove(&net).is_some() {
            self.changed.insert(net);
        }
    }

    /// Takes at most `max` changes of the Loc-RIB; several changes of one prefix are one.
    pub fn drain_loc_rib(&mut self, max: usize, out: &mut Vec<Change>) {
        for _ in 0..max {
            let Some(net) = self.changed.pop_first() else { return };
            let path = self.originated.get(&net).map(|o| LocPath {
                next_hop: o.next_hop.unwrap_or(match net {
                    Net::V4(_) => core::net::Ipv4Addr::UNSPECIFIED.into(),
                    Net::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
                }),
                peer: None,
                stale: false,
            });
            out.push(Change { net, paths: path.into_iter().collect() });
        }
    }
}
