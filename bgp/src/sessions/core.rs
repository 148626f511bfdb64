//! What every peer uses and no peer owns: the clock's last word, the timers, the queues to the outside, and who we are.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use bytes::Bytes;

use super::deferral::Deferral;
use super::ingest::Ingest;
use crate::event::Event;
use crate::io::{Close, ConnId, Output, PeerId, RibInput};
use crate::timers::{Side, Timers};
use crate::{Asn, FamilySet, RouterId, Time};

/// Last words kept for connections that were told to close and have not been flushed.
const FAREWELLS: usize = 4096;

/// Who we are towards peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) local_as: Asn,
    pub(crate) router_id: RouterId,
    /// Families whose forwarding state outlived our restart.
    pub(crate) forwarding: FamilySet,
    /// The process ends: no new session.
    pub(crate) ending: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) now: Time,
    pub(crate) timers: Timers,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) rib: VecDeque<RibInput>,
    pub(crate) conns: BTreeMap<ConnId, (PeerId, Side)>,
    pub(crate) identity: Identity,
    pub(crate) deferral: Deferral,
    pub(crate) ingest: Ingest,
    farewells: BTreeMap<ConnId, VecDeque<Bytes>>,
    next_conn: u32,
    random: u64,
}

impl Core {
    pub(crate) fn new(identity: Identity, deferral: Deferral, seed: u64, now: Time) -> Self {
        Self {
            now,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            rib: VecDeque::new(),
            conns: BTreeMap::new(),
            identity,
            deferral,
            ingest: Ingest::default(),
            farewells: BTreeMap::new(),
            next_conn: 0,
            random: seed,
        }
    }
    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
    /// A fresh even id.
    pub(crate) fn new_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(2);
        conn
    }
    /// `d` less up to a quarter (RFC 4271 §10).
    pub(crate) fn jitter(&mut self, d: Duration) -> Duration {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let permille = 750 + u32::try_from((z ^ (z >> 31)) % 251).unwrap_or(0);
        d * permille / 1000
    }
    /// Closes a connection whose `last_words` still go out, if there are any.
    pub(crate) fn close(&mut self, conn: ConnId, last_words: VecDeque<Bytes>) {
        self.conns.remove(&conn);
        let how = if last_words.is_empty() { Close::Abort } else { Close::Flush };
        if !last_words.is_empty() {
            if self.farewells.len() >= FAREWELLS {
                self.farewells.pop_first();
            }
            self.farewells.insert(conn, last_words);
        }
        self.outputs.push_back(Output::Close { conn, how });
    }
    /// The last words for a connection that is closing.
    pub(crate) fn take_farewell(&mut self, conn: ConnId) -> Option<VecDeque<Bytes>> {
        self.farewells.remove(&conn)
    }
    /// Families whose selection need wait no longer.
    pub(crate) fn select(&mut self, families: FamilySet) {
        for family in families.iter() {
            self.rib.push_back(RibInput::Select { family });
            self.event(Event::SelectionBegun { family });
        }
    }
}
