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

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::{Config, PeerKey};
use crate::io::{Change, ConnId, Input, More, Output, Start, Stop};
use crate::rib::{Rib, Sizes};
use crate::sessions::Sessions;
use crate::status::{Explanation, PeerStatus, RoutePage, RouteQuery};
use crate::{Net, Time};

/// A BGP speaker without IO.
#[derive(Debug)]
pub struct Speaker {
    sessions: Sessions,
    rib: Rib,
    /// The last moment heard of.
    now: Time,
}

impl Speaker {
    /// A speaker that is told to be `config`. `seed` makes hashes and jitter unforeseeable to peers and repeatable in
    /// tests.
    #[must_use]
    pub fn new(config: Config, start: Start, seed: u64, now: Time) -> Self {
        let rib = Rib::new(&config, start, seed, now);
        let mut speaker = Self { sessions: Sessions::new(config, start, seed, now), rib, now };
        speaker.pass_in();
        speaker
    }

    /// Takes in what the world says. Answers the protocol and queues routes; never walks a table.
    pub fn handle(&mut self, input: Input<'_>, now: Time) {
        self.now = now;
        match input {
            Input::Originate { net, route } => return self.rib.originate(net, route),
            Input::Withdraw { net } => return self.rib.withdraw(net),
            Input::OriginationComplete => self.rib.origination_complete(),
            Input::Configure(ref config) => self.rib.configure(config),
            Input::Stop(Stop::Drain { .. }) => self.rib.drain(),
            Input::Stop(Stop::Restart)
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Sent { .. }
            | Input::Closed { .. }
            | Input::Command { .. } => {}
        }
        self.sessions.handle(input, now);
        self.pass_in();
    }

    /// Hands the second half what the first has for it, as far as there is room. The rest stays where it is, and the
    /// first half stops reading those who sent it.
    fn pass_in(&mut self) {
        while self.rib.room()
            && let Some(input) = self.sessions.poll_rib()
        {
            self.rib.handle(input);
        }
    }

    /// Hands the first half what the second answers.
    fn pass_out(&mut self) {
        while let Some(output) = self.rib.poll() {
            self.sessions.rib_output(output, self.now);
        }
    }

    /// Decides and exports at most `budget` prefixes.
    pub fn work(&mut self, budget: usize, now: Time) -> More {
        self.now = now;
        self.pass_in();
        let more = self.rib.work(budget, now);
        self.pass_out();
        self.pass_in();
        if self.rib.idle() { more } else { More::Yes }
    }

    /// What the speaker wants of the world next.
    pub fn poll(&mut self) -> Option<Output> {
        self.pass_out();
        self.sessions.poll()
    }

    /// Takes whole messages for a connection, at most about `max` bytes (one message always, when there is one). The
    /// pieces share memory with those of other peers.
    pub fn transmit(&mut self, conn: ConnId, max: usize, out: &mut Vec<Bytes>) {
        let before = out.len();
        self.sessions.transmit(conn, max, out);
        let used: usize = out.iter().skip(before).map(Bytes::len).sum();
        if let (Some(peer), Some(left @ 1..)) =
            (self.sessions.established(conn), max.max(1).checked_sub(used))
        {
            self.rib.transmit(peer, left, out);
        }
        self.sessions.handed(conn, out.get(before..).unwrap_or_default());
    }

    /// Takes at most `max` changes of the Loc-RIB; several changes of one prefix are one. The journal begins with the
    /// first call, which sees the whole table; from then on it must be drained.
    pub fn drain_loc_rib(&mut self, max: usize, out: &mut Vec<Change>) {
        self.rib.drain_loc_rib(max, out);
    }

    /// When `handle_timeout` is due, at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.sessions.next_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.sessions.handle_timeout(now);
        self.pass_in();
    }

    /// Every peer, in the order of their addresses.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = self.sessions.status().into_iter();
        status.map(|(id, session)| PeerStatus { session, families: self.rib.query().families(id) }).collect()
    }

    /// The peers without which we would have no path to some prefix; see [`Query::sole`](crate::rib::Query::sole).
    #[must_use]
    pub fn sole(&self) -> BTreeSet<PeerKey> {
        self.rib.query().sole()
    }

    /// A page of routes.
    #[must_use]
    pub fn routes(&self, query: &RouteQuery) -> RoutePage {
        self.rib.query().routes(query)
    }

    /// Every path to a prefix, which step of the decision put each out, and who is told.
    #[must_use]
    pub fn explain(&self, net: Net) -> Explanation {
        self.rib.query().explain(net)
    }

    /// How much the tables hold.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.rib.query().sizes()
    }
}
