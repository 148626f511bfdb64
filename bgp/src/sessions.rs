//! The first half of the speaker: from bytes to [`RibInput`]s.
//!
//! A join: it finds whom an input concerns, lets `peer` answer, and queues what comes of it. Nothing in here looks at a
//! table, so KEEPALIVEs never wait behind routes. Inputs about routes of our own are not for it; it ignores them.
//!
//! - `peer`: two connections, one session; `session` is the state machine each of them runs.
//! - `ingest`: an UPDATE taken apart. `deferral`: selection after a restart. `configure`: a new configuration.
//! - `timers`: one heap for all.

mod configure;
pub(crate) mod core;
mod deferral;
pub(crate) mod ingest;

use ::core::net::{IpAddr, SocketAddr};
use ::core::time::Duration;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use self::core::{Core, Identity};
use crate::config::{Config, PeerKey, Secret};
use crate::event::{Event, Rejected};
use crate::io::{Command, ConnId, Input, Output, PeerId, RibInput, RibOutput, Start, Stop};
use crate::peer::{Peer, rejection};
use crate::session;
use crate::status::SessionStatus;
use crate::timers::{Side, Timer};
use crate::wire::NotificationMessage;
use crate::wire::notification::{Cease, ErrorCode};
use crate::{FamilySet, Net, Time};
use deferral::Deferral;

/// How long peers have to find other ways after GRACEFUL_SHUTDOWN (RFC 8326) before the sessions end.
const DRAIN: Duration = Duration::from_secs(3);

/// Every session of a speaker.
#[derive(Debug)]
pub struct Sessions {
    config: Config,
    peers: Vec<Option<Peer>>,
    keys: BTreeMap<PeerKey, PeerId>,
    /// Slots that the RIB has let go of.
    free: Vec<PeerId>,
    secrets: Vec<(Net, Secret)>,
    drain: Option<NotificationMessage>,
    core: Core,
}

impl Sessions {
    /// The sessions of `config`; those we make ourselves begin at once. `seed` makes jitter repeatable.
    #[must_use]
    pub fn new(config: Config, start: Start, seed: u64, now: Time) -> Self {
        let (deferral, forwarding) = match start {
            Start::First => (None, FamilySet::EMPTY),
            Start::Again { forwarding } => (Some(Deferral::new(&config)), forwarding),
        };
        let identity =
            Identity { local_as: config.local_as, router_id: config.router_id, forwarding, ending: false };
        let first = deferral.is_none();
        let mut core = Core::new(identity, deferral.unwrap_or_default(), seed, now);
        if first {
            core.select(FamilySet::BOTH);
        } else {
            core.timers.set(Timer::Deferral, now + config.selection_deferral);
        }
        let (peers, keys, free, secrets) = (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
        let mut sessions = Self { config, peers, keys, free, secrets, drain: None, core };
        sessions.adopt();
        sessions.select_ready();
        sessions
    }

    /// Takes in what the world says and answers the protocol.
    pub fn handle(&mut self, input: Input<'_>, now: Time) {
        self.core.now = now;
        match input {
            Input::Configure(config) => self.configure(*config),
            Input::Connected { conn, local } => {
                self.at(conn, |peer, side, core| peer.connected(side, canonical(local.ip()), core));
            }
            Input::ConnectFailed { conn } | Input::Closed { conn } => {
                self.at(conn, |peer, side, core| peer.closed(side, core));
            }
            Input::Accepted { conn, remote, scope, local } => self.accept(conn, remote, scope, local),
            Input::Received { conn, bytes } => {
                self.at(conn, |peer, side, core| peer.received(side, bytes, core));
            }
            Input::Sent { conn, bytes } => self.at(conn, |peer, side, core| peer.sent(side, bytes, core)),
            Input::Command { peer, command } => self.command(peer, command),
            Input::Stop(stop) => self.stop(&stop),
            Input::Originate { .. } | Input::Withdraw { .. } | Input::OriginationComplete => {}
        }
        self.select_ready();
    }

    /// What is wanted of the world next.
    pub fn poll(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// What the RIB is to know next.
    pub fn poll_rib(&mut self) -> Option<RibInput> {
        let input = self.core.rib.pop_front()?;
        if let RibInput::Update(batch) = &input
            && let Some(peer) = self.peers.get_mut(usize::from(batch.peer.0)).and_then(Option::as_mut)
        {
            peer.batch_taken(&mut self.core);
        }
        Some(input)
    }

    /// What the RIB answers.
    pub fn rib_output(&mut self, output: RibOutput, now: Time) {
        self.core.now = now;
        match output {
            RibOutput::Writable { peer } => self.with(peer, Peer::writable),
            RibOutput::TooManyPrefixes { peer, family, count: _, hold_off } => {
                let limit = self.peer(peer).and_then(|p| p.config.max_prefixes).map_or(0, |m| m.limit);
                let (afi, safi) = family.afi_safi();
                let mut data = Vec::with_capacity(7);
                data.extend_from_slice(&afi.to_be_bytes());
                data.push(safi);
                data.extend_from_slice(&limit.to_be_bytes());
                let cease = NotificationMessage::with_data(ErrorCode::Cease(Cease::MaximumPrefixes), &data);
                self.with(peer, |p, core| p.too_many_prefixes(&cease, core.now + hold_off, core));
            }
            RibOutput::Forgotten { peer } => self.free.push(peer),
            RibOutput::Event(event) => self.core.event(event),
        }
    }

    /// Takes control messages of a connection, at most about `max` bytes and one message at least. They go out before
    /// the RIB's. Whoever joins both halves tells [`Sessions::handed`] what came of it.
    pub fn transmit(&mut self, conn: ConnId, max: usize, out: &mut Vec<Bytes>) {
        if let Some(last_words) = self.core.take_farewell(conn) {
            out.extend(last_words);
        } else if let Some((peer, side)) = self.core.conns.get(&conn).copied()
            && let Some(peer) = self.peers.get_mut(usize::from(peer.0)).and_then(Option::as_mut)
        {
            peer.transmit(side, max, out);
        }
    }

    /// These segments, of both halves, were given to the driver for this connection. None at all: nothing was left, and
    /// `Writable` is said anew when there is something again.
    pub fn handed(&mut self, conn: ConnId, segments: &[Bytes]) {
        self.at(conn, |peer, side, core| peer.handed(side, segments, core));
    }

    /// Whose Established session is on this connection?
    #[must_use]
    pub fn established(&self, conn: ConnId) -> Option<PeerId> {
        let (id, side) = self.core.conns.get(&conn).copied()?;
        self.peer(id).filter(|p| p.is_established(side)).map(|p| p.id)
    }

    /// When `handle_timeout` is due, at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.core.timers.next()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.core.now = now;
        while let Some(timer) = self.core.timers.pop(now) {
            match timer {
                Timer::Deferral => {
                    let families = self.core.deferral.expire();
                    self.core.select(families);
                }
                Timer::Drain => self.end_drain(),
                Timer::Peer(peer, clock) => self.with(peer, |p, core| p.expired(clock, core)),
            }
        }
        self.select_ready();
    }

    /// Every peer, in the order of their addresses.
    #[must_use]
    pub fn status(&self) -> Vec<(PeerId, SessionStatus)> {
        let peers = self.keys.values().filter_map(|id| self.peer(*id));
        peers.map(|p| (p.id, p.status(&self.core))).collect()
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(id.0)).and_then(Option::as_ref)
    }

    /// Lets a peer do something, and tidies up after it.
    fn with(&mut self, id: PeerId, act: impl FnOnce(&mut Peer, &mut Core)) {
        let Some(peer) = self.peers.get_mut(usize::from(id.0)).and_then(Option::as_mut) else { return };
        act(peer, &mut self.core);
        peer.settle(&mut self.core);
        if peer.is_gone() {
            self.remove(id);
        }
    }

    fn at(&mut self, conn: ConnId, act: impl FnOnce(&mut Peer, Side, &mut Core)) {
        if let Some((id, side)) = self.core.conns.get(&conn).copied() {
            self.with(id, |peer, core| act(peer, side, core));
        }
    }

    fn select_ready(&mut self) {
        if self.core.deferral.is_active() {
            let families = self.core.deferral.take_ready();
            self.core.select(families);
            if !self.core.deferral.is_active() {
                self.core.timers.clear(Timer::Deferral);
            }
        }
    }

    fn accept(&mut self, conn: ConnId, remote: SocketAddr, scope: u32, local: SocketAddr) {
        let key = PeerKey { address: canonical(remote.ip()), scope };
        let found = match self.keys.get(&key) {
            Some(id) => Ok(*id),
            None => self.add_dynamic(key),
        };
        let taken = found.and_then(|id| {
            let mut taken = false;
            self.with(id, |peer, core| taken = peer.accepted(conn, canonical(local.ip()), core));
            if taken { Ok(()) } else { Err(Rejected::Disabled) }
        });
        if let Err(why) = taken {
            // A stranger hears nothing; a peer hears why (RFC 4486 §4).
            let words = (why != Rejected::Unknown).then(|| rejection().encode());
            self.core.close(conn, words.into_iter().collect());
            self.core.event(Event::ConnectionRejected { remote: key.address, why });
        }
    }

    fn command(&mut self, key: PeerKey, command: Command) {
        let Some(id) = self.keys.get(&key).copied() else { return };
        self.with(id, |peer, core| match command {
            Command::Reset => {
                let cease = NotificationMessage::new(ErrorCode::Cease(Cease::AdministrativeReset));
                peer.stop(session::Event::AutomaticStop, &cease, false, core);
            }
            Command::RefreshIn => peer.refresh_in(core),
            Command::RefreshOut => peer.refresh_out(core),
        });
    }

    fn stop(&mut self, stop: &Stop) {
        self.core.identity.ending = true;
        match stop {
            Stop::Restart => {
                for peer in self.peers.iter_mut().flatten() {
                    peer.vanish(&mut self.core);
                }
            }
            Stop::Drain { text } => {
                let cease = NotificationMessage::cease_with_text(Cease::AdministrativeShutdown, text);
                self.drain = Some(cease);
                self.core.timers.set(Timer::Drain, self.core.now + DRAIN);
            }
        }
    }

    fn end_drain(&mut self) {
        let Some(cease) = self.drain.take() else { return };
        for id in self.keys.values().copied().collect::<Vec<_>>() {
            self.with(id, |peer, core| peer.stop(session::Event::ManualStop, &cease, true, core));
        }
    }
}

/// An IPv4 peer on a dual-stack socket is an IPv4 peer.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests;
