//! One neighbour: two connections at most, one session at most.
//!
//! RFC 4271 §8.2.1 wants one state machine per configured peer and one more for every connection that comes in before
//! the peer is identified. Here every peer has two machines of the same kind. Normally one works and the other is Idle;
//! when both sides connect at the same time each connection has its own, until the OPEN that shows a collision
//! decides (§6.8): the connection made by the side with the higher BGP identifier stays, also when the other has just
//! reached Established, because only the identifiers look the same from both ends. Of an Established session and a
//! connection that came later the session stays, unless graceful restart was agreed: then the new OPEN means that the
//! peer has restarted, the old connection is dropped without a word and its routes are kept (RFC 4724 §4.2). That is
//! decided by the OPEN, not by the connection, so that a port scan from the peer's address ends no session.
//!
//! After a failure the peer goes on by itself: Active, listening at once and connecting again when ConnectRetryTimer
//! says so, after a lost session sooner.

mod actions;
mod link;
mod open;
mod retention;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use crate::config::{PeerConfig, PeerKey};
use crate::event::{Ended, Event as Told};
use crate::io::{ConnId, Generation, Output, PeerId, RibInput};
use crate::session::Event;
use crate::sessions::core::Core;
use crate::sessions::ingest::{Blemish, From};
use crate::status::{MessageCounters, RemoteStatus, SessionState, SessionStatus};
use crate::timers::{Clock, Side, Timer};
use crate::wire::frame::Message;
use crate::wire::notification::{Cease, ErrorCode, OpenError};
use crate::wire::open::Open;
use crate::wire::{MessageType, NotificationMessage, refresh};
use crate::{Family, FamilySet, Time};
use link::Link;
use retention::Retention;

/// Batches of one peer that may wait for the RIB before its socket is not read any more.
const BACKLOG_FULL: u32 = 256;
/// How few must be left before it is read again.
const BACKLOG_LOW: u32 = 64;

/// A state machine and its connection.
#[derive(Debug)]
struct Machine {
    state: SessionState,
    since: Time,
    link: Option<Box<Link>>,
}

/// What is remembered of a peer for those who ask.
#[derive(Debug, Default)]
struct Record {
    established: u32,
    last_error: Option<Box<str>>,
    counters: MessageCounters,
}

/// Batches that wait for the RIB.
#[derive(Debug, Default)]
struct Backlog {
    queued: u32,
    paused: bool,
}

/// A neighbour.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) key: PeerKey,
    pub(crate) config: Arc<PeerConfig>,
    /// It came out of a dynamic range: it is forgotten when it leaves, and never connected to.
    pub(crate) dynamic: bool,
    machines: [Machine; 2],
    generation: Generation,
    retention: Retention,
    /// Families that have been up with it in this process, so that their forwarding state outlives a session.
    flown: FamilySet,
    backlog: Backlog,
    record: Record,
    /// It has sent too many prefixes: no session until IdleHoldTimer expires.
    held: bool,
    /// A session has just been lost: the next attempt comes sooner.
    lost: bool,
}

impl Peer {
    pub(crate) fn new(id: PeerId, key: PeerKey, config: Arc<PeerConfig>, dynamic: bool, now: Time) -> Self {
        let machine = || Machine { state: SessionState::Idle, since: now, link: None };
        Self {
            id,
            key,
            config,
            dynamic,
            machines: [machine(), machine()],
            generation: Generation::default(),
            retention: Retention::default(),
            flown: FamilySet::EMPTY,
            backlog: Backlog::default(),
            record: Record::default(),
            held: false,
            lost: false,
        }
    }

    fn machine(&self, side: Side) -> &Machine {
        &self.machines[side.index()]
    }
    fn machine_mut(&mut self, side: Side) -> &mut Machine {
        &mut self.machines[side.index()]
    }
    fn state(&self, side: Side) -> SessionState {
        self.machine(side).state
    }
    fn link(&self, side: Side) -> Option<&Link> {
        self.machine(side).link.as_deref()
    }
    fn link_mut(&mut self, side: Side) -> Option<&mut Link> {
        self.machine_mut(side).link.as_deref_mut()
    }
    fn established(&self) -> Option<Side> {
        Side::BOTH.into_iter().find(|s| self.state(*s) == SessionState::Established)
    }
    /// The link of the Established session.
    fn session_link(&self) -> Option<&Link> {
        self.established().and_then(|side| self.link(side))
    }
    fn is_passive(&self) -> bool {
        self.dynamic || self.config.transport.passive
    }
    /// May it have a session now?
    pub(crate) fn is_wanted(&self, core: &Core) -> bool {
        !(self.config.shutdown || self.held || core.identity.ending)
    }
    /// A dynamic peer of which nothing is left.
    pub(crate) fn is_gone(&self) -> bool {
        let idle = self.machines.iter().all(|m| m.state == SessionState::Idle);
        self.dynamic && idle && !self.held && self.retention.stale().is_empty()
    }

    /// Has the RIB heard of it?
    pub(crate) fn was_up(&self) -> bool {
        self.generation != Generation::default()
    }

    /// Begins, as an operator's start does.
    pub(crate) fn start(&mut self, core: &mut Core) {
        if self.is_wanted(core) {
            let passive = self.is_passive();
            let event =
                if passive { Event::ManualStart_with_PassiveTcpEstablishment } else { Event::ManualStart };
            self.event(Side::First, event, None, core);
        }
    }

    /// Ends whatever there is with a Cease; `hard` when nothing of it is to be kept (RFC 8538 §3).
    pub(crate) fn stop(&mut self, event: Event, cease: &NotificationMessage, hard: bool, core: &mut Core) {
        for side in Side::BOTH {
            let say = self.ceasing(side, cease, hard);
            self.event(side, event, Some(say), core);
        }
    }

    fn ceasing(&self, side: Side, cease: &NotificationMessage, hard: bool) -> NotificationMessage {
        let n_bit = |l: &Link| l.agreement.as_ref().is_some_and(|a| a.graceful.notification);
        match self.link(side) {
            Some(link) if hard && n_bit(link) => cease.clone().into_hard_reset(),
            _ => cease.clone(),
        }
    }

    /// The process ends and comes back: connections close without a word, so that peers keep our routes.
    pub(crate) fn vanish(&mut self, core: &mut Core) {
        for side in Side::BOTH {
            if let Some(mut link) = self.machine_mut(side).link.take() {
                core.close(link.conn, link.last_words());
            }
            self.machine_mut(side).state = SessionState::Idle;
        }
        core.timers.clear_peer(self.id);
    }

    /// Brings the two machines in line with each other, after whatever happened.
    pub(crate) fn settle(&mut self, core: &mut Core) {
        use SessionState::{Active, Connect, Established, Idle};
        for side in Side::BOTH {
            let other = self.state(side.other());
            let surplus = match self.state(side) {
                // One that listens is enough, and none is needed while the other is busy.
                Active => (other, side) == (Active, Side::Second) || !matches!(other, Idle | Active),
                Connect => other == Established,
                _ => false,
            };
            if surplus || (self.dynamic && self.state(side) == Active) {
                self.event(side, Event::AutomaticStop, None, core);
            }
        }
        if self.machines.iter().all(|m| m.state == Idle) && self.is_wanted(core) && !self.dynamic {
            self.event(Side::First, Event::AutomaticStart_with_PassiveTcpEstablishment, None, core);
        }
    }

    /// A connection that we asked for is up.
    pub(crate) fn connected(&mut self, side: Side, local: IpAddr, core: &mut Core) {
        if let Some(link) = self.link_mut(side) {
            link.local = Some(local);
            self.event(side, Event::Tcp_CR_Acked, None, core);
        }
    }

    /// The peer has connected. False when it can't have a connection now.
    pub(crate) fn accepted(&mut self, conn: ConnId, local: IpAddr, core: &mut Core) -> bool {
        use SessionState::{Active, Idle, OpenConfirm, OpenSent};
        let find = |want: fn(&Machine) -> bool| Side::BOTH.into_iter().find(|s| want(self.machine(*s)));
        let side = find(|m| m.state == Active).or_else(|| {
            // It has given its former connection up, whether it has told us or not.
            let stalled = find(|m| {
                matches!(m.state, OpenSent | OpenConfirm) && m.link.as_ref().is_some_and(|l| l.accepted)
            });
            stalled.or_else(|| find(|m| m.state == Idle))
        });
        let (Some(side), true) = (side, self.is_wanted(core)) else { return false };
        if matches!(self.state(side), OpenSent | OpenConfirm) {
            self.event(side, Event::TcpConnectionFails, None, core);
        }
        self.event(side, Event::AutomaticStart_with_PassiveTcpEstablishment, None, core);
        self.machine_mut(side).link = Some(Box::new(Link::new(conn, true, Some(local), core.now)));
        core.conns.insert(conn, (self.id, side));
        core.outputs.push_back(Output::SetTtl { conn, ttl: self.config.transport.ttl });
        self.event(side, Event::TcpConnectionConfirmed, None, core);
        true
    }

    /// A connection is gone, or could not be made.
    pub(crate) fn closed(&mut self, side: Side, core: &mut Core) {
        if let Some(link) = self.link_mut(side) {
            link.gone = true;
            self.event(side, Event::TcpConnectionFails, None, core);
        }
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, side: Side, bytes: &[u8], core: &mut Core) {
        let Some(link) = self.link_mut(side) else { return };
        let conn = link.conn;
        link.framer.push(bytes);
        self.record.counters.bytes_received += u64::try_from(bytes.len()).unwrap_or(0);
        // A message may end the connection it came on.
        while let Some(link) = self.link_mut(side).filter(|l| l.conn == conn) {
            match link.framer.next_message() {
                Ok(Some(message)) => {
                    self.record.counters.received += 1;
                    self.message(side, message, core);
                }
                Ok(None) => return,
                Err(error) => self.event(side, Event::BGPHeaderErr, Some(error), core),
            }
        }
    }

    fn message(&mut self, side: Side, message: Message, core: &mut Core) {
        let body = message.body;
        match (message.kind, self.state(side)) {
            (MessageType::Open, SessionState::OpenSent) => match Open::decode(&body) {
                Ok(open) => self.open(side, open, core),
                Err(error) => self.event(side, Event::BGPOpenMsgErr, Some(error), core),
            },
            (MessageType::Open, _) => self.event(side, Event::BGPOpen, None, core),
            (MessageType::Update, SessionState::Established) => self.update(side, &body, core),
            (MessageType::Update, _) => self.event(side, Event::UpdateMsg, None, core),
            (MessageType::Keepalive, _) => self.event(side, Event::KeepAliveMsg, None, core),
            (MessageType::Notification, _) => {
                let said = NotificationMessage::decode(&body).unwrap_or_else(|unreadable| unreadable);
                let version = said.error == ErrorCode::Open(OpenError::UnsupportedVersion);
                let event = if version { Event::NotifMsgVerErr } else { Event::NotifMsg };
                self.event(side, event, Some(said), core);
            }
            (MessageType::RouteRefresh, SessionState::Established) => match refresh::decode(&body) {
                Ok(family) => {
                    let wanted = self.link(side).map_or(FamilySet::EMPTY, Link::families);
                    if let Some(family) = family.filter(|f| wanted.contains(*f)) {
                        core.rib.push_back(RibInput::Refresh { peer: self.id, family });
                    }
                    self.event(side, Event::RouteRefreshMsg, None, core);
                }
                Err(error) => self.event(side, Event::RouteRefreshMsgErr, Some(error), core),
            },
            (MessageType::RouteRefresh, _) => self.event(side, Event::RouteRefreshMsg, None, core),
        }
    }

    fn update(&mut self, side: Side, body: &Bytes, core: &mut Core) {
        let Some(agreement) = self.machines[side.index()].link.as_ref().and_then(|l| l.agreement.as_ref())
        else {
            return;
        };
        self.record.counters.updates_received += 1;
        let from = From { peer: self.id, generation: self.generation, context: &agreement.context };
        let before = core.rib.len();
        let blemish = match core.ingest.update(body, from, &mut core.rib) {
            Ok(blemish) => blemish,
            Err(error) => return self.event(side, Event::UpdateMsgErr, Some(error), core),
        };
        let mut complete = None;
        for input in core.rib.iter().skip(before) {
            match input {
                RibInput::EndOfRib { family, .. } => complete = Some(*family),
                _ => self.backlog.queued += 1,
            }
        }
        if let Some(family) = complete {
            self.end_of_rib(family, core);
        }
        match blemish {
            Blemish::None => {}
            Blemish::Discarded(malformed) => {
                core.event(Told::Malformed { peer: self.key, malformed, withdrawn: false });
            }
            Blemish::Withdrawn(malformed) => {
                core.event(Told::Malformed { peer: self.key, malformed, withdrawn: true });
            }
        }
        self.event(side, Event::UpdateMsg, None, core);
        if self.backlog.queued >= BACKLOG_FULL
            && !self.backlog.paused
            && let Some(conn) = self.link(side).map(|l| l.conn)
        {
            self.backlog.paused = true;
            core.outputs.push_back(Output::PauseRead(conn));
        }
    }

    fn end_of_rib(&mut self, family: Family, core: &mut Core) {
        self.retention.end_of_rib(family);
        if self.retention.stale().is_empty() {
            core.timers.clear(Timer::Peer(self.id, Clock::Stale));
        }
        core.deferral.finished(self.key, FamilySet::EMPTY.with(family));
    }

    /// The RIB has taken a batch of this peer's.
    pub(crate) fn batch_taken(&mut self, core: &mut Core) {
        self.backlog.queued = self.backlog.queued.saturating_sub(1);
        if self.backlog.paused && self.backlog.queued <= BACKLOG_LOW {
            self.backlog.paused = false;
            if let Some(link) = self.session_link() {
                core.outputs.push_back(Output::ResumeRead(link.conn));
            }
        }
    }

    /// There is something to send on the session.
    pub(crate) fn writable(&mut self, core: &mut Core) {
        if let Some(side) = self.established() {
            self.announce(side, core);
        }
    }

    fn announce(&mut self, side: Side, core: &mut Core) {
        if let Some(link) = self.link_mut(side)
            && link.announce()
        {
            core.outputs.push_back(Output::Writable(link.conn));
        }
    }

    /// Takes control messages.
    pub(crate) fn transmit(&mut self, side: Side, max: usize, out: &mut Vec<Bytes>) {
        if let Some(link) = self.link_mut(side) {
            link.take(max, out);
        }
    }

    /// The driver was given these segments; none at all: there was nothing left.
    pub(crate) fn handed(&mut self, side: Side, segments: &[Bytes], core: &mut Core) {
        let Some(link) = self.machines[side.index()].link.as_deref_mut() else { return };
        if segments.is_empty() {
            return link.drained();
        }
        let bytes = segments.iter().map(Bytes::len).sum();
        self.record.counters.sent += segments.iter().map(|s| messages(s)).sum::<u64>();
        self.record.counters.bytes_sent += u64::try_from(bytes).unwrap_or(0);
        if link.handed(bytes) {
            self.restart_send_hold(side, core);
        }
    }

    /// The socket took so many bytes.
    pub(crate) fn sent(&mut self, side: Side, bytes: usize, core: &mut Core) {
        match self.link_mut(side).map(|link| link.sent(bytes)) {
            Some(true) => self.restart_send_hold(side, core),
            Some(false) => core.timers.clear(Timer::Peer(self.id, Clock::SendHold(side))),
            None => {}
        }
    }

    fn restart_send_hold(&self, side: Side, core: &mut Core) {
        let after = self.config.timers.send_hold;
        if !after.is_zero() {
            core.timers.set(Timer::Peer(self.id, Clock::SendHold(side)), core.now + after);
        }
    }

    /// Is this connection the session's?
    pub(crate) fn is_established(&self, side: Side) -> bool {
        self.state(side) == SessionState::Established
    }

    /// A timer of this peer is due.
    pub(crate) fn expired(&mut self, clock: Clock, core: &mut Core) {
        match clock {
            Clock::ConnectRetry(side) => self.event(side, Event::ConnectRetryTimer_Expires, None, core),
            Clock::Hold(side) if self.backlog.paused && self.is_established(side) => {
                // Its KEEPALIVEs wait in a socket that we don't read: that it is silent is our doing.
                self.start_hold(side, core);
            }
            Clock::Hold(side) => self.event(side, Event::HoldTimer_Expires, None, core),
            Clock::Keepalive(side) => self.event(side, Event::KeepaliveTimer_Expires, None, core),
            Clock::SendHold(side) => self.event(side, Event::SendHoldTimer_Expires, None, core),
            Clock::IdleHold => {
                self.held = false;
                if self.is_wanted(core) && !self.is_passive() {
                    self.event(Side::First, Event::IdleHoldTimer_Expires, None, core);
                }
            }
            Clock::Restart | Clock::Stale => {
                let families = self.retention.expired();
                if !families.is_empty() {
                    core.rib.push_back(RibInput::SweepStale { peer: self.id, families });
                    core.event(Told::StaleRoutesDropped { peer: self.key, families });
                }
            }
        }
    }

    /// It has sent more prefixes than it may: no session for a while.
    pub(crate) fn too_many_prefixes(&mut self, cease: &NotificationMessage, until: Time, core: &mut Core) {
        self.held = true;
        core.timers.set(Timer::Peer(self.id, Clock::IdleHold), until);
        self.stop(Event::AutomaticStop, cease, true, core);
    }

    /// Asks the peer for its routes again, if it can be asked.
    pub(crate) fn refresh_in(&mut self, core: &mut Core) {
        let Some(side) = self.established() else { return };
        let refresh = self.link(side).and_then(|l| l.agreement.as_ref()).is_some_and(|a| a.refresh);
        if refresh {
            for family in self.link(side).map_or(FamilySet::EMPTY, Link::families).iter() {
                self.send(side, refresh::encode(family), core);
            }
        }
    }

    /// Gives the peer our routes again.
    pub(crate) fn refresh_out(&self, core: &mut Core) {
        for family in self.session_link().map_or(FamilySet::EMPTY, Link::families).iter() {
            core.rib.push_back(RibInput::Refresh { peer: self.id, family });
        }
    }

    /// How it is, for those who ask.
    pub(crate) fn status(&self, core: &Core) -> SessionStatus {
        let [first, second] = &self.machines;
        let ahead = if second.state > first.state { second } else { first };
        let link = ahead.link.as_deref();
        let remote = link.and_then(|l| {
            let (open, agreement) = (l.open.as_ref()?, l.agreement.as_ref()?);
            Some(RemoteStatus {
                asn: open.asn,
                router_id: open.router_id,
                local: l.local?,
                families: agreement.session.families,
                hold: agreement.hold,
                graceful: agreement.session.graceful,
            })
        });
        SessionStatus {
            key: self.key,
            state: ahead.state,
            since: ahead.since,
            dynamic: self.dynamic,
            local_as: self.config.local_as.unwrap_or(core.identity.local_as),
            remote,
            established: self.record.established,
            last_error: self.record.last_error.clone(),
            counters: self.record.counters,
        }
    }
}

/// How many whole messages stand in a segment.
fn messages(mut segment: &[u8]) -> u64 {
    let mut n = 0;
    while let Some([high, low]) = segment.get(16..18) {
        n += 1;
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        segment = segment.get(len.max(crate::wire::HEADER_LEN)..).unwrap_or_default();
    }
    n
}

impl Record {
    fn ended(&mut self, why: &Ended) {
        self.last_error = Some(match why {
            Ended::Sent(n) => format!("sent {n}").into(),
            Ended::Received(n) => format!("received {n}").into(),
            Ended::Lost => "connection lost".to_string().into(),
            Ended::Replaced => "the peer restarted".to_string().into(),
        });
    }
}

/// What a connection is told that we don't want.
pub(crate) fn rejection() -> NotificationMessage {
    NotificationMessage::new(ErrorCode::Cease(Cease::ConnectionRejected))
}

#[cfg(test)]
mod tests;
