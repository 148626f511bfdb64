//! The speaker: both halves joined on one thread.
//!
//! The join decides nothing: what one half says is passed to the other, and what either wants of the world leaves by
//! [`Speaker::poll`]. The driver's loop is
//!
//! ```text
//! handle(input, now)*            answers the protocol at once, queues routes
//! while work(budget, now) == Yes between two looks at the sockets
//! poll()*                        Connect, Close, Writable(conn), Event, …
//! transmit(conn, max, out)       when the socket of a Writable connection takes bytes
//! drain_loc_rib(max, out)        for the kernel
//! next_timeout(), handle_timeout(now)
//! ```

use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::Config;
use crate::io::{Change, ConnId, Input, More, Output, Start};
use crate::rib::Rib;
use crate::status::{Explanation, PeerStatus, RoutePage, RouteQuery};
use crate::{Net, Time};

/// A BGP speaker without IO.
#[derive(Debug)]
pub struct Speaker {
    rib: Rib,
}

impl Speaker {
    /// A speaker that is told to be `config`. `seed` makes hashes and jitter unforeseeable to peers and repeatable in
    /// tests.
    #[must_use]
    pub fn new(config: Config, start: Start, seed: u64, now: Time) -> Self {
        let _ = (config, start, seed, now);
        Self { rib: Rib::default() }
    }

    /// Takes in what the world says. Answers the protocol and queues routes; never walks a table.
    pub fn handle(&mut self, input: Input<'_>, _now: Time) {
        match input {
            Input::Originate { net, route } => self.rib.originate(net, route),
            Input::Withdraw { net } => self.rib.withdraw(net),
            _ => {}
        }
    }

    /// Decides and exports at most `budget` prefixes.
    pub fn work(&mut self, _budget: usize, _now: Time) -> More {
        More::No
    }

    /// What the speaker wants of the world next.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// Takes whole messages for a connection, at most about `max` bytes (one message always, when there is one). The
    /// pieces share memory with those of other peers.
    pub fn transmit(&mut self, _conn: ConnId, _max: usize, _out: &mut Vec<Bytes>) {}

    /// Takes at most `max` changes of the Loc-RIB; several changes of one prefix are one. The journal begins with the
    /// first call, which sees the whole table; from then on it must be drained.
    pub fn drain_loc_rib(&mut self, max: usize, out: &mut Vec<Change>) {
        self.rib.drain_loc_rib(max, out);
    }

    /// When `handle_timeout` is due, at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// Every peer, in the order of their addresses.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        Vec::new()
    }

    /// A page of routes.
    #[must_use]
    pub fn routes(&self, _query: &RouteQuery) -> RoutePage {
        RoutePage::default()
    }

    /// Every path to a prefix, which step of the decision put each out, and who is told.
    #[must_use]
    pub fn explain(&self, net: Net) -> Explanation {
        Explanation { net, paths: Vec::new(), advertised: Vec::new() }
    }
}
