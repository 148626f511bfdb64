//! What the state machine's actions do, and what an OPEN leads to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use bytes::Bytes;

use super::Peer;
use super::link::{Agreement, Link};
use super::retention::{Agreed, End};
use crate::FamilySet;
use crate::attrs::Context;
use crate::config::PeerConfig;
use crate::event::{Ended, Event as Told};
use crate::io::{Connect, Output, RibInput, Session};
use crate::session::{Action, Event, transition};
use crate::sessions::core::Core;
use crate::status::{MessageCounters, SessionState};
use crate::timers::{Clock, Side, Timer};
use crate::wire::notification::{Cease, ErrorCode};
use crate::wire::open::Open;
use crate::wire::{EXTENDED_MESSAGE_MAX, KEEPALIVE, MESSAGE_MAX, NotificationMessage};

/// HoldTimer until OPEN has come (RFC 4271 §8.2.2: "a large value", 4 minutes suggested).
const OPEN_HOLD: Duration = Duration::from_secs(240);
/// ConnectRetryTime after a session was lost, when that is shorter: the peer was there a moment ago.
const SOON: Duration = Duration::from_secs(1);

impl Peer {
    /// Runs an event through one machine. `said` is the NOTIFICATION that the event brings, to be sent or received.
    pub(super) fn event(
        &mut self,
        side: Side,
        event: Event,
        said: Option<NotificationMessage>,
        core: &mut Core,
    ) {
        let before = self.state(side);
        let (next, actions) = transition(before, event);
        if next != before {
            let machine = self.machine_mut(side);
            machine.state = next;
            machine.since = core.now;
        }
        let mut ended = match (event, said) {
            (Event::NotifMsg | Event::NotifMsgVerErr, Some(said)) => Ended::Received(said),
            (_, Some(said)) => Ended::Sent(said),
            (Event::OpenCollisionDump, None) => Ended::Replaced,
            (_, None) => Ended::Lost,
        };
        for action in actions {
            self.act(side, *action, &mut ended, core);
        }
        match before {
            SessionState::Connect if event == Event::TcpConnectionFails => {
                self.record.last_error = Some("no connection".into());
            }
            SessionState::OpenSent | SessionState::OpenConfirm if next < before => {
                self.attempt_failed(event, ended, core);
            }
            _ => {}
        }
    }

    fn attempt_failed(&mut self, event: Event, why: Ended, core: &mut Core) {
        let collision = |n: &NotificationMessage| n.error == ErrorCode::Cease(Cease::CollisionResolution);
        match &why {
            _ if matches!(event, Event::ManualStop | Event::AutomaticStop) => {}
            Ended::Sent(n) | Ended::Received(n) if collision(n) => {}
            Ended::Sent(_) | Ended::Received(_) | Ended::Lost | Ended::Replaced => {
                self.record.ended(&why);
                core.event(Told::AttemptFailed { peer: self.key, why });
            }
        }
    }

    fn act(&mut self, side: Side, action: Action, ended: &mut Ended, core: &mut Core) {
        let id = self.id;
        let timer = |clock| Timer::Peer(id, clock);
        match action {
            Action::StartConnectRetry => self.start_connect_retry(side, core),
            Action::StopConnectRetry => core.timers.clear(timer(Clock::ConnectRetry(side))),
            Action::InitiateTcp => self.initiate(side, core),
            Action::SendOpen => {
                let open = self.our_open(core).encode();
                self.send(side, open, core);
                core.timers.set(timer(Clock::Hold(side)), core.now + OPEN_HOLD);
            }
            Action::Agree => self.agree(side, core),
            Action::SendKeepalive => self.send(side, KEEPALIVE, core),
            Action::StartKeepalive => self.start_keepalive(side, core),
            Action::StartHold => self.start_hold(side, core),
            Action::Establish => self.establish(side, core),
            Action::Notify => {
                if let Ended::Sent(said) = ended {
                    let message = said.encode();
                    self.send(side, message, core);
                }
            }
            Action::NotifyHoldTimer => self.notify(side, ErrorCode::HoldTimerExpired, ended, core),
            Action::NotifySendHoldTimer => self.notify(side, ErrorCode::SendHoldTimerExpired, ended, core),
            Action::NotifyFsm(subcode) => self.notify(side, ErrorCode::Fsm(subcode), ended, core),
            Action::Release => self.release(side, ended, core),
            Action::DropTcp => self.drop_tcp(side, core),
        }
    }

    fn notify(&mut self, side: Side, error: ErrorCode, ended: &mut Ended, core: &mut Core) {
        let said = NotificationMessage::new(error);
        self.send(side, said.encode(), core);
        *ended = Ended::Sent(said);
    }

    /// Queues a message of the session's own.
    pub(super) fn send(&mut self, side: Side, message: Bytes, core: &mut Core) {
        if let Some(link) = self.link_mut(side) {
            link.queue(message);
            self.announce(side, core);
        }
    }

    pub(super) fn start_connect_retry(&mut self, side: Side, core: &mut Core) {
        if self.is_passive() {
            return;
        }
        let lost = core::mem::take(&mut self.lost);
        let time = self.config.timers.connect_retry;
        let time = core.jitter(if lost { time.min(SOON) } else { time });
        core.timers.set(Timer::Peer(self.id, Clock::ConnectRetry(side)), core.now + time);
    }

    fn initiate(&mut self, side: Side, core: &mut Core) {
        let conn = core.new_conn();
        let transport = &self.config.transport;
        core.outputs.push_back(Output::Connect(Box::new(Connect {
            conn,
            peer: self.key,
            port: transport.port,
            local: transport.local,
            password: transport.password.clone(),
            ttl: transport.ttl,
        })));
        core.conns.insert(conn, (self.id, side));
        self.machine_mut(side).link = Some(Box::new(Link::new(conn, false, None, core.now)));
    }

    fn start_keepalive(&self, side: Side, core: &mut Core) {
        let Some(agreement) = self.link(side).and_then(|l| l.agreement.as_ref()) else { return };
        if !agreement.hold.is_zero() {
            let time = core.jitter(agreement.keepalive);
            core.timers.set(Timer::Peer(self.id, Clock::Keepalive(side)), core.now + time);
        }
    }

    pub(super) fn start_hold(&self, side: Side, core: &mut Core) {
        let Some(agreement) = self.link(side).and_then(|l| l.agreement.as_ref()) else { return };
        let timer = Timer::Peer(self.id, Clock::Hold(side));
        if agreement.hold.is_zero() {
            core.timers.clear(timer);
        } else {
            core.timers.set(timer, core.now + agreement.hold);
        }
    }

    fn establish(&mut self, side: Side, core: &mut Core) {
        let Some(link) = self.machines[side.index()].link.as_deref_mut() else { return };
        let (Some(agreement), Some(open)) = (&link.agreement, &link.open) else { return };
        let session = agreement.session.clone();
        link.up = true;
        self.generation.0 += 1;
        self.record.established += 1;
        self.record.counters = MessageCounters::default();
        self.record.last_error = None;
        self.flown = self.flown.or(session.families);
        let keep_stale = self.retention.returned(open.offer.graceful_restart.as_ref(), &agreement.graceful);
        let graceful = agreement.graceful;
        core.timers.clear(Timer::Peer(self.id, Clock::Restart));
        if let (false, Some(ours)) = (keep_stale.is_empty(), &self.config.capabilities.graceful_restart) {
            core.timers.set(Timer::Peer(self.id, Clock::Stale), core.now + ours.stale_time);
        }
        // What this peer will not send again, or never End-of-RIB for, holds nobody up (RFC 4724 §4.1).
        let silent = crate::Family::ALL
            .into_iter()
            .filter(|f| !session.families.contains(*f) || !graceful.spoken || graceful.restarted);
        core.deferral.finished(self.key, silent.collect());
        core.event(Told::SessionUp { peer: self.key, families: session.families });
        let (peer, generation) = (self.id, self.generation);
        core.rib.push_back(RibInput::Up { peer, generation, session, keep_stale });
    }

    fn release(&mut self, side: Side, ended: &Ended, core: &mut Core) {
        // Only an Established session was told to the RIB.
        let Some(agreement) = self.link(side).filter(|l| l.up).and_then(|l| l.agreement.as_ref()) else {
            return;
        };
        let graceful = agreement.graceful;
        let how = match ended {
            Ended::Lost | Ended::Replaced => End::Silent,
            Ended::Sent(n) | Ended::Received(n) => match n.error {
                ErrorCode::Cease(Cease::HardReset) => End::Hard,
                ErrorCode::Cease(Cease::CollisionResolution) => End::Collision,
                _ => End::Notification,
            },
        };
        let (twice, keep) = self.retention.ended(&graceful, how);
        if !twice.is_empty() {
            core.rib.push_back(RibInput::SweepStale { peer: self.id, families: twice });
        }
        core.rib.push_back(RibInput::Down { peer: self.id, keep });
        core.timers.clear(Timer::Peer(self.id, Clock::Stale));
        if !keep.is_empty() {
            core.timers.set(Timer::Peer(self.id, Clock::Restart), core.now + graceful.restart_time);
        }
        self.lost = true;
        self.backlog.paused = false;
        self.record.ended(ended);
        core.event(Told::SessionDown { peer: self.key, why: ended.clone(), kept: keep });
    }

    fn drop_tcp(&mut self, side: Side, core: &mut Core) {
        for clock in [Clock::Hold(side), Clock::Keepalive(side), Clock::SendHold(side)] {
            core.timers.clear(Timer::Peer(self.id, clock));
        }
        let Some(mut link) = self.machine_mut(side).link.take() else { return };
        if link.gone {
            core.conns.remove(&link.conn);
        } else {
            core.close(link.conn, link.last_words());
        }
    }

    pub(super) fn our_open(&self, core: &Core) -> Open {
        self.config.open(&core.identity, self.flown, core.deferral.is_active())
    }

    /// The peer's OPEN has come on a machine in OpenSent.
    pub(super) fn open(&mut self, side: Side, open: Open, core: &mut Core) {
        if let Err(error) = self.config.judge(&open, &core.identity) {
            return self.event(side, Event::BGPOpenMsgErr, Some(error), core);
        }
        if self.loses_collision(side, &open, core) {
            let cease = NotificationMessage::new(ErrorCode::Cease(Cease::CollisionResolution));
            return self.event(side, Event::OpenCollisionDump, Some(cease), core);
        }
        if let Some(link) = self.link_mut(side) {
            link.open = Some(open);
            self.event(side, Event::BGPOpen, None, core);
        }
    }

    /// RFC 4271 §6.8: has the connection on `side` to go, now that its OPEN is here? When the other has to, it goes.
    fn loses_collision(&mut self, side: Side, open: &Open, core: &mut Core) -> bool {
        let other = side.other();
        let (Some(this), state) = (self.link(side), self.state(other)) else { return true };
        if state < SessionState::OpenConfirm {
            return false;
        }
        if state == SessionState::Established && this.begun > self.machine(other).since {
            let graceful = |a: &Agreement| a.graceful.spoken;
            let agreed = self.link(other).and_then(|l| l.agreement.as_ref()).is_some_and(graceful);
            let restarted = agreed && open.offer.graceful_restart.is_some();
            if restarted {
                self.event(other, Event::OpenCollisionDump, None, core);
            }
            return !restarted;
        }
        // Equal identifiers are possible between ASes; then the AS decides (RFC 6286 §2.3).
        let ours = (core.identity.router_id, self.config.shown_as(core.identity.local_as));
        let keep_ours = ours > (open.router_id, open.asn);
        let loses = this.accepted == keep_ours;
        if !loses {
            let cease = NotificationMessage::new(ErrorCode::Cease(Cease::CollisionResolution));
            self.event(other, Event::OpenCollisionDump, Some(cease), core);
        }
        loses
    }

    /// Settles what both OPENs come to and starts the clocks.
    pub(super) fn agree(&mut self, side: Side, core: &mut Core) {
        let config = self.config.clone();
        let local_as = config.shown_as(core.identity.local_as);
        let key = self.key;
        let Some(link) = self.link_mut(side) else { return };
        let (Some(open), Some(local)) = (&link.open, link.local) else { return };
        let offer = &open.offer;
        let ours = &config.capabilities;
        let families = ours.families.and(offer.families);
        let extended = ours.extended_messages && offer.extended_messages;
        let graceful = Agreed::new(ours.graceful_restart.as_ref(), offer.graceful_restart.as_ref(), families);
        let session = Session {
            key,
            config: config.clone(),
            local,
            local_as,
            remote_as: open.asn,
            router_id: open.router_id,
            families,
            as4: offer.as4.is_some(),
            message_max: if extended { EXTENDED_MESSAGE_MAX } else { MESSAGE_MAX },
            graceful: if graceful.spoken { families } else { FamilySet::EMPTY },
        };
        let context = Context { internal: session.internal(), as4: session.as4, peer_as: open.asn, families };
        let hold = config.timers.hold.min(open.hold_time);
        let keepalive = config.timers.keepalive.unwrap_or(hold / 3).min(hold / 3).max(Duration::from_secs(1));
        if extended {
            link.framer.allow_extended_messages();
        }
        link.agreement = Some(Agreement {
            session: Arc::new(session),
            context,
            hold,
            keepalive,
            refresh: offer.route_refresh,
            graceful,
        });
        self.start_hold(side, core);
        self.start_keepalive(side, core);
    }

    /// It is to be like this from now on. `reset`: who we are has changed.
    pub(crate) fn reconfigure(
        &mut self,
        config: Arc<PeerConfig>,
        dynamic: bool,
        reset: bool,
        core: &mut Core,
    ) {
        self.dynamic = dynamic;
        let old = core::mem::replace(&mut self.config, config);
        if old == self.config && !reset {
            return;
        }
        if self.config.shutdown {
            let cease = NotificationMessage::new(ErrorCode::Cease(Cease::AdministrativeShutdown));
            return self.stop(Event::ManualStop, &cease, true, core);
        }
        if old.shutdown {
            return self.start(core);
        }
        let costs = old.costs(&self.config);
        let ours = core.identity.local_as;
        let refused = |s: &Session| costs.reset_if_refused && !self.config.admits(s.remote_as, ours);
        if reset || costs.reset || self.session_link().and_then(|l| l.session()).is_some_and(refused) {
            let cease = NotificationMessage::new(ErrorCode::Cease(Cease::OtherConfigurationChange));
            return self.stop(Event::AutomaticStop, &cease, false, core);
        }
        self.retrofit(&old, core);
    }

    /// What a living session, or an attempt at one, takes of a new configuration.
    fn retrofit(&mut self, old: &PeerConfig, core: &mut Core) {
        let (id, config) = (self.id, self.config.clone());
        for side in Side::BOTH {
            let listens = self.state(side) == SessionState::Active;
            if listens && !core.timers.is_set(Timer::Peer(id, Clock::ConnectRetry(side))) {
                self.start_connect_retry(side, core);
            }
            let Some(link) = self.link_mut(side) else { continue };
            if old.transport.ttl != config.transport.ttl {
                core.outputs.push_back(Output::SetTtl { conn: link.conn, ttl: config.transport.ttl });
            }
            let up = link.up;
            if let Some(agreement) = &mut link.agreement {
                Arc::make_mut(&mut agreement.session).config = config.clone();
                if up {
                    let session = agreement.session.clone();
                    core.rib.push_back(RibInput::Reconfigured { peer: id, session });
                }
            }
        }
    }
}
