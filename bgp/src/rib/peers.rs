//! What the RIB knows of its peers, by their slot.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Family;
use crate::config::PeerKey;
use crate::decide::Rank;
use crate::export::Member;
use crate::io::{Generation, PeerId, Session};
use crate::policy::{Compiled, PeerType};

/// The `from` of a prefix without a best path.
pub(crate) const NOBODY: u16 = u16::MAX - 1;

/// A peer: its session, or what is left of the last one while stale routes are kept.
#[derive(Debug)]
pub(crate) struct PeerTables {
    pub(crate) session: Arc<Session>,
    pub(crate) generation: Generation,
    /// Established.
    pub(crate) up: bool,
    /// `Writable` was said and `transmit` has not come back empty since.
    pub(crate) notified: bool,
    /// Sent more prefixes than allowed: nothing more is taken from this session.
    pub(crate) refused: bool,
    pub(crate) families: [PeerFamily; 2],
}

/// A peer's part in one family's tables.
#[derive(Debug)]
pub(crate) struct PeerFamily {
    pub(crate) import: Arc<Compiled>,
    pub(crate) adj_in: AdjIn,
    /// Its End-of-RIB has come.
    pub(crate) end_of_rib_received: bool,
    /// Ours was given to its connection.
    pub(crate) end_of_rib_sent: bool,
    /// Its place in an update group.
    pub(crate) out: Option<Member>,
    /// The group it moves to when that is ready.
    pub(crate) next_view: Option<u32>,
}

/// The prefixes of a peer's Adj-RIB-In.
#[derive(Debug, Default)]
pub(crate) struct AdjIn {
    /// Every prefix it has a path to, and some it has none to any more.
    pub(crate) list: Vec<u32>,
    /// Paths.
    pub(crate) received: u32,
    /// Of them, usable.
    pub(crate) accepted: u32,
    /// Of them, stale.
    pub(crate) stale: u32,
    /// The limit was exceeded and that was said.
    pub(crate) warned: bool,
}

impl AdjIn {
    /// Is the list so much longer than what is in it that it should be tidied?
    pub(crate) fn untidy(&self) -> bool {
        self.list.len() > 2 * self.received as usize + 1024
    }
}

impl PeerTables {
    pub(crate) fn family(&self, family: Family) -> &PeerFamily {
        let [v4, v6] = &self.families;
        match family {
            Family::Ipv4Unicast => v4,
            Family::Ipv6Unicast => v6,
        }
    }

    pub(crate) fn family_mut(&mut self, family: Family) -> &mut PeerFamily {
        let [v4, v6] = &mut self.families;
        match family {
            Family::Ipv4Unicast => v4,
            Family::Ipv6Unicast => v6,
        }
    }
}

pub(crate) fn peer_type(session: &Session) -> PeerType {
    if session.internal() { PeerType::Internal } else { PeerType::External }
}

/// All peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Box<PeerTables>>>,
}

impl Peers {
    #[inline]
    pub(crate) fn get(&self, peer: u16) -> Option<&PeerTables> {
        self.slots.get(usize::from(peer))?.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, peer: u16) -> Option<&mut PeerTables> {
        self.slots.get_mut(usize::from(peer))?.as_deref_mut()
    }

    pub(crate) fn put(&mut self, peer: PeerId, value: PeerTables) {
        let at = usize::from(peer.0);
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(Box::new(value));
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        if let Some(slot) = self.slots.get_mut(usize::from(peer.0)) {
            *slot = None;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &PeerTables)> {
        (0..).zip(&self.slots).filter_map(|(i, p)| Some((i, p.as_deref()?)))
    }

    pub(crate) fn find(&self, key: PeerKey) -> Option<(u16, &PeerTables)> {
        self.iter().find(|(_, p)| p.session.key == key)
    }

    pub(crate) fn key(&self, peer: u16) -> Option<PeerKey> {
        self.get(peer).map(|p| p.session.key)
    }

    pub(crate) fn rank(&self, peer: u16) -> Option<Rank> {
        let session = &self.get(peer)?.session;
        Some(Rank { external: !session.internal(), router_id: session.router_id.get(), address: session.key })
    }

    /// The peer's place in an update group of `family`.
    #[inline]
    pub(crate) fn member(&self, peer: u16, family: Family) -> Option<&Member> {
        self.get(peer)?.family(family).out.as_ref()
    }

    pub(crate) fn member_mut(&mut self, peer: u16, family: Family) -> Option<&mut Member> {
        self.get_mut(peer)?.family_mut(family).out.as_mut()
    }
}
