//! One TCP connection of a peer, from the first SYN to the last word.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use super::retention;
use crate::attrs::Context;
use crate::io::{ConnId, Session};
use crate::wire::open::Open;
use crate::wire::{Framer, KEEPALIVE};
use crate::{FamilySet, Time};

/// What both OPENs come to.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    /// For the RIB.
    pub(crate) session: Arc<Session>,
    /// For the attributes.
    pub(crate) context: Context,
    /// The smaller of the two; zero = never.
    pub(crate) hold: Duration,
    /// How often we say KEEPALIVE, before jitter.
    pub(crate) keepalive: Duration,
    /// The peer answers ROUTE-REFRESH.
    pub(crate) refresh: bool,
    /// Graceful restart.
    pub(crate) graceful: retention::Agreed,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    /// The peer made it.
    pub(crate) accepted: bool,
    /// When it was begun.
    pub(crate) begun: Time,
    /// Our end; `None` while it is being made.
    pub(crate) local: Option<IpAddr>,
    pub(crate) framer: Framer,
    /// The peer's OPEN.
    pub(crate) open: Option<Open>,
    pub(crate) agreement: Option<Agreement>,
    /// The session on it has reached Established.
    pub(crate) up: bool,
    /// The driver has reported its end.
    pub(crate) gone: bool,
    outbox: VecDeque<Bytes>,
    /// Bytes that the driver has and the socket has not taken.
    outstanding: usize,
    /// `Writable` was said.
    announced: bool,
}

impl Link {
    pub(crate) fn new(conn: ConnId, accepted: bool, local: Option<IpAddr>, begun: Time) -> Self {
        Self {
            conn,
            accepted,
            begun,
            local,
            framer: Framer::default(),
            open: None,
            agreement: None,
            up: false,
            gone: false,
            outbox: VecDeque::new(),
            outstanding: 0,
            announced: false,
        }
    }
    /// Families in use.
    pub(crate) fn families(&self) -> FamilySet {
        self.agreement.as_ref().map_or(FamilySet::EMPTY, |a| a.session.families)
    }
    /// What the RIB knows of it.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.agreement.as_ref().map(|a| &*a.session)
    }
    /// Queues a message. One KEEPALIVE in the queue says as much as many, so a peer that does not read has no growing
    /// queue of ours.
    pub(crate) fn queue(&mut self, message: Bytes) {
        if self.outbox.back().is_none_or(|last| *last != KEEPALIVE || message != KEEPALIVE) {
            self.outbox.push_back(message);
        }
    }
    /// Takes queued messages, about `max` bytes and one at least. Returns how many bytes.
    pub(crate) fn take(&mut self, max: usize, out: &mut Vec<Bytes>) -> usize {
        let mut taken = 0;
        while let Some(message) = self.outbox.pop_front_if(|m| taken == 0 || taken + m.len() <= max) {
            taken += message.len();
            out.push(message);
        }
        // It may never be used again on an idle session.
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
        }
        taken
    }
    /// What is queued, for a connection that is closing.
    pub(crate) fn last_words(&mut self) -> VecDeque<Bytes> {
        core::mem::take(&mut self.outbox)
    }
    /// The driver has this many bytes more. Returns whether it had none before.
    pub(crate) fn handed(&mut self, bytes: usize) -> bool {
        let before = self.outstanding;
        self.outstanding += bytes;
        before == 0 && bytes > 0
    }
    /// The socket has taken so many. Returns whether the driver has any left.
    pub(crate) fn sent(&mut self, bytes: usize) -> bool {
        self.outstanding = self.outstanding.saturating_sub(bytes);
        self.outstanding > 0
    }
    /// Is it to be said that there is something to send? Once until [`Link::drained`].
    pub(crate) fn announce(&mut self) -> bool {
        !core::mem::replace(&mut self.announced, true)
    }
    /// `transmit` had nothing left.
    pub(crate) fn drained(&mut self) {
        self.announced = false;
    }
}
