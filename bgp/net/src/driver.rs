//! The loop. It passes on what its parts say and has no opinion.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_bgp::io::{Input, More, Output, Stop};
use corduroy_bgp::speaker::Speaker;
use tokio::sync::{mpsc, oneshot};

use crate::handle::{Announcement, Request};
use crate::listeners::Listeners;
use crate::outbox::{self, Outbox};
use crate::pool::Pool;
use crate::reactor::{Reactor, Ready};
use crate::{DRAIN, Handle, Notice, OpenError, Report, SLICE, now};

/// Requests that wait for the driver.
const REQUESTS: usize = 256;
/// Requests taken in one turn.
const TURN: usize = 32;

/// Whether the Loc-RIB's changes are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocRib {
    /// Whoever holds the reports puts them into a kernel.
    Report,
    /// Nobody wants them (a route reflector): the speaker keeps no journal.
    Ignore,
}

/// A speaker with its sockets. See the crate's documentation.
#[derive(Debug)]
pub struct Driver {
    speaker: Speaker,
    pool: Pool,
    outbox: Outbox,
    requests: mpsc::Receiver<Request>,
    listening: Vec<SocketAddr>,
    stopping: Option<Stopping>,
}

/// The process ends.
#[derive(Debug)]
struct Stopping {
    /// When what is left is dropped.
    until: Time,
    /// Who waits for it.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Driver {
    /// Puts `speaker` (made with [`now`]) behind listening sockets. They exist when this returns; nothing is served
    /// before [`Self::run`] or [`Self::spawn`].
    ///
    /// # Errors
    /// [`OpenError`]: an address that cannot be listened on, no descriptor left.
    pub fn new(
        speaker: Speaker,
        listen: &[SocketAddr],
        loc_rib: LocRib,
    ) -> Result<(Self, Handle, mpsc::Receiver<Report>), OpenError> {
        let listeners = Listeners::bind(listen)?;
        let listening = listeners.addresses().map_err(OpenError::Start)?;
        let reactor = Reactor::new().map_err(OpenError::Start)?;
        listeners.register(&reactor).map_err(OpenError::Start)?;
        let (to_driver, requests) = mpsc::channel(REQUESTS);
        let (to_reports, reports) = mpsc::channel(outbox::CHANNEL);
        let driver = Self {
            speaker,
            pool: Pool::new(listeners, reactor),
            outbox: Outbox::new(to_reports, loc_rib == LocRib::Report),
            requests,
            listening,
            stopping: None,
        };
        Ok((driver, Handle::new(to_driver), reports))
    }

    /// Where it listens, in the order asked for; the port is the real one when 0 was asked for.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Runs on an OS thread of its own.
    ///
    /// # Errors
    /// [`OpenError::Start`] when there is no thread or runtime to be had.
    pub fn spawn(self) -> Result<thread::JoinHandle<io::Result<()>>, OpenError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OpenError::Start)?;
        let body = move || runtime.block_on(self.run());
        thread::Builder::new().name("bgp".into()).spawn(body).map_err(OpenError::Start)
    }

    /// Serves every peer until [`Handle::stop`], or until every handle is gone (then as with `Stop::Restart`). Wants a
    /// current-thread runtime with IO and time, or a `LocalSet`.
    ///
    /// # Errors
    /// The epoll instance fails, which no peer and no configuration can bring about.
    pub async fn run(mut self) -> io::Result<()> {
        let alarm = self.pool.reactor.alarm()?;
        let mut ready = Vec::new();
        loop {
            let idle = self.turn(&ready);
            ready.clear();
            if self.has_ended() {
                self.end();
                return Ok(());
            }
            if !idle {
                // Whoever shares the runtime gets a turn too; sockets are looked at without sleeping.
                tokio::task::yield_now().await;
                self.pool.reactor.ready_now(&mut ready)?;
                self.take_requests();
                continue;
            }
            let deadline = self.next_timeout();
            tokio::select! {
                served = alarm.ready(&self.pool.reactor, &mut ready) => served?,
                request = self.requests.recv(), if !(self.stopping.is_some() && self.requests.is_closed()) => {
                    match request {
                        Some(request) => { self.obey_request(request); self.take_requests(); }
                        None => self.stop(Stop::Restart, None),
                    }
                }
                () = sleep_until(deadline) => {}
                () = self.outbox.room(), if self.outbox.is_full() => {}
            }
        }
    }

    /// Takes a bounded piece of everything that waits. Returns whether nothing is left.
    fn turn(&mut self, ready: &[Ready]) -> bool {
        let now = now();
        self.pool.serve(ready, &mut self.speaker, now);
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.speaker.handle_timeout(now);
            self.pool.handle_timeout(now);
        }
        self.obey(now);
        let more = self.speaker.work(SLICE, now);
        let counters = &mut self.pool.counters;
        counters.slices += u64::from(more == More::Yes);
        // Before the events: a table's end is reported behind its routes.
        let drained = !self.outbox.drain(&mut self.speaker, counters);
        self.obey(now);
        // Who was written to may want more, and what was sent may let the speaker go on.
        let pumped = self.pool.pump(&mut self.speaker, now);
        self.obey(now);
        more == More::No && drained && !pumped && !self.pool.is_eager()
    }

    fn next_timeout(&self) -> Option<Time> {
        let stop = self.stopping.as_ref().map(|s| s.until);
        [self.speaker.next_timeout(), self.pool.next_timeout(), stop].into_iter().flatten().min()
    }

    /// Does what the speaker asks for, until it asks for nothing.
    fn obey(&mut self, now: Time) {
        let Self { speaker, pool, outbox, .. } = self;
        while let Some(output) = speaker.poll() {
            match output {
                Output::Connect(to) => pool.connect(&to, speaker, now),
                Output::Close { conn, how } => pool.close(conn, how, speaker, now),
                Output::SetKeys(keys) => pool.set_keys(keys),
                Output::SetTtl { conn, ttl } => pool.set_ttl(conn, ttl, speaker, now),
                Output::PauseRead(conn) => pool.pause(conn, true, speaker, now),
                Output::ResumeRead(conn) => pool.pause(conn, false, speaker, now),
                Output::Writable(conn) => pool.writable(conn),
                Output::Event(event) => outbox.notice(Notice::Speaker(event), &mut pool.counters),
            }
        }
        for notice in std::mem::take(&mut pool.notices) {
            outbox.notice(notice, &mut pool.counters);
        }
    }

    fn take_requests(&mut self) {
        for _ in 0..TURN {
            let Ok(request) = self.requests.try_recv() else { return };
            self.obey_request(request);
        }
    }

    // Whoever asked may have gone since: an answer that nobody takes is dropped.
    fn obey_request(&mut self, request: Request) {
        let now = now();
        match request {
            Request::Configure(config) => self.speaker.handle(Input::Configure(config), now),
            Request::Announce(all) => self.announce(all, now),
            Request::OriginationComplete => self.speaker.handle(Input::OriginationComplete, now),
            Request::Command(peer, command) => self.speaker.handle(Input::Command { peer, command }, now),
            Request::Peers(to) => drop(to.send(self.speaker.peers())),
            Request::Sole(to) => drop(to.send(self.speaker.sole())),
            Request::Routes(query, to) => drop(to.send(self.speaker.routes(&query))),
            Request::Explain(net, to) => drop(to.send(self.speaker.explain(net))),
            Request::Sizes(to) => drop(to.send(self.speaker.sizes())),
            Request::Counters(to) => drop(to.send(self.pool.counters)),
            Request::Stop(how, to) => self.stop(how, Some(to)),
        }
    }

    fn announce(&mut self, all: Vec<Announcement>, now: Time) {
        for one in all {
            let input = match one {
                Announcement::Originate(net, route) => Input::Originate { net, route },
                Announcement::Withdraw(net) => Input::Withdraw { net },
            };
            self.speaker.handle(input, now);
        }
    }

    fn stop(&mut self, how: Stop, waiting: Option<oneshot::Sender<()>>) {
        let now = now();
        let patience = if matches!(how, Stop::Restart) { Duration::ZERO } else { DRAIN };
        let stopping = self.stopping.get_or_insert(Stopping { until: now + patience, waiting: Vec::new() });
        stopping.until = stopping.until.min(now + patience);
        stopping.waiting.extend(waiting);
        self.pool.stop_listening();
        self.speaker.handle(Input::Stop(how), now);
    }

    fn end(mut self) {
        self.pool.drop_all();
        for waiting in self.stopping.into_iter().flat_map(|s| s.waiting) {
            // Nobody need wait any more.
            let _ = waiting.send(());
        }
    }

    /// Everything was said and every connection is closed, or there is no more time for it.
    fn has_ended(&self) -> bool {
        self.stopping.as_ref().is_some_and(|s| self.pool.is_empty() || s.until <= now())
    }
}

async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => pending().await,
    }
}
