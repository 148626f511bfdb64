//! All sockets of a speaker: obeys its outputs, moves its bytes, tells it what happened. Decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use corduroy_bgp::config::{PeerKey, Secret, Ttl};
use corduroy_bgp::io::{Close, ConnId, Connect, Input};
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Net, Time};

use crate::Counters;
use crate::conn::{Conn, Phase, Wrote};
use crate::listeners::{Accepted, Listeners};
use crate::notice::{ListenProblem, Notice};
use crate::reactor::{Reactor, Ready};
use crate::{sockets, sockopt};

/// What one read takes at most, and the size of the one buffer all sockets are read into.
const READ: usize = 64 << 10;
/// What a connection that is written to gets before the next one's turn.
const PULL: usize = 64 << 10;
/// Connections written to between two looks at the timers.
const TURN: usize = 64;
/// What the speaker may still say on a connection it has closed with [`Close::Flush`].
const LAST_WORDS: usize = 1 << 20;
/// How long a peer may take to read the last words, and then to close.
const FAREWELL: Duration = Duration::from_secs(5);

/// The sockets.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) reactor: Reactor,
    listeners: Listeners,
    conns: BTreeMap<ConnId, Conn>,
    /// Those that `transmit` may have something for and whose socket was not full.
    eager: VecDeque<ConnId>,
    /// When farewells end.
    farewells: BTreeSet<(Time, ConnId)>,
    /// The last id given to an accepted connection.
    last_accepted: u32,
    read_buffer: Box<[u8]>,
    scratch: Vec<Bytes>,
    pub(crate) counters: Counters,
    /// For the driver to hand on.
    pub(crate) notices: Vec<Notice>,
}

impl Pool {
    pub(crate) fn new(listeners: Listeners, reactor: Reactor) -> Self {
        Self {
            reactor,
            listeners,
            conns: BTreeMap::new(),
            eager: VecDeque::new(),
            farewells: BTreeSet::new(),
            last_accepted: 1,
            read_buffer: vec![0; READ].into_boxed_slice(),
            scratch: Vec::new(),
            counters: Counters::default(),
            notices: Vec::new(),
        }
    }

    /// No connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Somebody waits to be written to, and can be.
    pub(crate) fn is_eager(&self) -> bool {
        !self.eager.is_empty()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let farewell = self.farewells.first().map(|(at, _)| *at);
        [farewell, self.listeners.paused_until()].into_iter().flatten().min()
    }

    /// Ends farewells that took too long, and listens again after a pause.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        while let Some((at, id)) = self.farewells.first().copied().filter(|(at, _)| *at <= now) {
            self.farewells.remove(&(at, id));
            self.drop_conn(id);
        }
        if let Err(e) = self.listeners.resume(&self.reactor, now) {
            self.notices.push(Notice::Listen(ListenProblem::Accept(e)));
        }
    }

    /// Serves what the reactor found ready.
    pub(crate) fn serve(&mut self, ready: &[Ready], speaker: &mut Speaker, now: Time) {
        for event in ready {
            match u32::try_from(event.token) {
                Ok(id) => self.serve_conn(ConnId(id), *event, speaker, now),
                Err(_) => self.accept(*event, speaker, now),
            }
        }
    }

    /// Accepts no more.
    pub(crate) fn stop_listening(&mut self) {
        self.listeners.close();
    }

    /// Lets go of every connection, without a word.
    pub(crate) fn drop_all(&mut self) {
        self.conns.clear();
        self.farewells.clear();
        self.eager.clear();
        self.counters.connections = 0;
    }

    fn accept(&mut self, ready: Ready, speaker: &mut Speaker, now: Time) {
        let Self { listeners, reactor, notices, .. } = self;
        for accepted in listeners.accept(ready, reactor, now, notices) {
            self.adopt(accepted, speaker, now);
        }
    }

    fn adopt(&mut self, (socket, remote, local): Accepted, speaker: &mut Speaker, now: Time) {
        let conn = self.free_id();
        let made = Conn::new(conn, socket, Phase::Open, &self.reactor);
        match made {
            Ok(made) => self.insert(made),
            Err(e) => return self.notices.push(Notice::Listen(ListenProblem::Accept(e))),
        }
        self.counters.accepted += 1;
        speaker.handle(Input::Accepted { conn, remote, scope: sockets::scope(&remote), local }, now);
    }

    fn free_id(&mut self) -> ConnId {
        loop {
            self.last_accepted = self.last_accepted.wrapping_add(2);
            if !self.conns.contains_key(&ConnId(self.last_accepted)) {
                return ConnId(self.last_accepted);
            }
        }
    }

    fn insert(&mut self, conn: Conn) {
        self.conns.insert(conn.id, conn);
        self.counters.connections += 1;
    }

    fn drop_conn(&mut self, id: ConnId) {
        // Closing the descriptor takes it out of the reactor.
        if let Some(conn) = self.conns.remove(&id) {
            self.counters.connections -= 1;
            if let Phase::Flushing(until) | Phase::Lingering(until) = conn.phase {
                self.farewells.remove(&(until, id));
            }
        }
    }

    fn serve_conn(&mut self, id: ConnId, event: Ready, speaker: &mut Speaker, now: Time) {
        let Some((phase, paused)) = self.conns.get(&id).map(|c| (c.phase, c.paused)) else { return };
        match phase {
            Phase::Connecting(_) => self.finish_connect(id, speaker, now),
            Phase::Open => {
                if event.write {
                    self.enqueue(id);
                }
                if event.read || (event.failed && !paused) {
                    self.read(id, speaker, now);
                } else if event.failed {
                    // Gone both ways while its bytes wait for work: nobody is there to be answered.
                    self.lose(id, None, speaker, now);
                }
            }
            Phase::Flushing(_) if event.failed => self.drop_conn(id),
            Phase::Flushing(_) => self.enqueue(id),
            Phase::Lingering(_) => self.discard(id),
        }
    }

    fn finish_connect(&mut self, id: ConnId, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Phase::Connecting(peer) = conn.phase else { return };
        let local = match conn.socket.take_error() {
            Ok(None) => sockets::local_addr(&conn.socket),
            Ok(Some(e)) | Err(e) => Err(e),
        };
        match local {
            Ok(local) => {
                conn.phase = Phase::Open;
                speaker.handle(Input::Connected { conn: id, local }, now);
                self.rewatch(id, speaker, now);
            }
            Err(error) => {
                self.drop_conn(id);
                self.connect_failed(id, (peer, error), speaker, now);
            }
        }
    }

    fn read(&mut self, id: ConnId, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get(&id) else { return };
        match (&conn.socket).read(&mut self.read_buffer) {
            Ok(0) => self.lose(id, None, speaker, now),
            Ok(n) => {
                self.counters.reads += 1;
                self.counters.bytes_read += n as u64;
                let bytes = self.read_buffer.get(..n).unwrap_or_default();
                speaker.handle(Input::Received { conn: id, bytes }, now);
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => self.lose(id, Some(e), speaker, now),
        }
    }

    /// What comes after the last words is read away, see [`Phase::Lingering`].
    fn discard(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        match (&conn.socket).read(&mut self.read_buffer) {
            Ok(0) => self.drop_conn(id),
            Err(e) if !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.drop_conn(id);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// The connection is no more: the speaker hears it.
    fn lose(&mut self, id: ConnId, error: Option<io::Error>, speaker: &mut Speaker, now: Time) {
        if let Some(error) = error
            && let Some(remote) = self.conns.get(&id).and_then(|c| c.socket.peer_addr().ok()?.as_socket())
        {
            self.notices.push(Notice::Lost { remote: remote.ip(), error });
        }
        self.drop_conn(id);
        speaker.handle(Input::Closed { conn: id }, now);
    }

    fn rewatch(&mut self, id: ConnId, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Err(e) = conn.rewatch(&self.reactor) {
            self.lose(id, Some(e), speaker, now);
        }
    }

    fn enqueue(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.queued
        {
            conn.queued = true;
            self.eager.push_back(id);
        }
    }

    /// Writes to those that wait for it, each its share. Returns whether somebody did.
    pub(crate) fn pump(&mut self, speaker: &mut Speaker, now: Time) -> bool {
        let waiting = self.eager.len().min(TURN);
        for _ in 0..waiting {
            let Some(id) = self.eager.pop_front() else { break };
            self.feed(id, speaker, now);
        }
        waiting > 0
    }

    fn feed(&mut self, id: ConnId, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.queued = false;
        let open = conn.phase == Phase::Open;
        let wrote = if conn.has_rest() {
            conn.write()
        } else if open && conn.pull {
            speaker.transmit(id, PULL, &mut self.scratch);
            conn.pull = !self.scratch.is_empty();
            conn.write_fresh(&mut self.scratch)
        } else {
            Ok(Wrote::All(0))
        };
        match wrote {
            Ok(Wrote::All(bytes) | Wrote::Some(bytes)) if bytes > 0 => {
                self.counters.writes += 1;
                self.counters.bytes_written += bytes as u64;
                if open {
                    speaker.handle(Input::Sent { conn: id, bytes }, now);
                }
            }
            Ok(_) => {}
            // The speaker hears of it when the read side, which may hold the peer's NOTIFICATION, comes to its end.
            Err(_) if open => conn.pull = false,
            Err(_) => return self.drop_conn(id),
        }
        let (full, pull) = (conn.has_rest(), conn.pull);
        match conn.phase {
            Phase::Flushing(until) if !full => self.linger(id, until),
            Phase::Open if !full && pull => self.enqueue(id),
            Phase::Connecting(_) | Phase::Open | Phase::Flushing(_) | Phase::Lingering(_) => {}
        }
        self.rewatch(id, speaker, now);
    }

    fn linger(&mut self, id: ConnId, until: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.phase = Phase::Lingering(until);
        // Fails only when the peer has gone already: then the read side tells.
        let _ = conn.socket.shutdown(std::net::Shutdown::Write);
    }

    // What the speaker asks for.

    /// Begins a connection.
    pub(crate) fn connect(&mut self, to: &Connect, speaker: &mut Speaker, now: Time) {
        self.counters.connects += 1;
        let made = sockets::connect(to)
            .and_then(|socket| Conn::new(to.conn, socket, Phase::Connecting(to.peer), &self.reactor));
        match made {
            Ok(conn) => self.insert(conn),
            Err(error) => self.connect_failed(to.conn, (to.peer, error), speaker, now),
        }
    }

    fn connect_failed(
        &mut self,
        conn: ConnId,
        (peer, error): (PeerKey, io::Error),
        speaker: &mut Speaker,
        now: Time,
    ) {
        self.counters.connect_failures += 1;
        self.notices.push(Notice::Connect { peer, error });
        speaker.handle(Input::ConnectFailed { conn }, now);
    }

    /// Ends a connection, or cancels its making.
    pub(crate) fn close(&mut self, id: ConnId, how: Close, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if how == Close::Abort || conn.phase != Phase::Open {
            return self.drop_conn(id);
        }
        // Taken at once, so that the speaker may forget the connection.
        let mut left = LAST_WORDS;
        while left > 0 {
            speaker.transmit(id, left, &mut self.scratch);
            let more: usize = self.scratch.iter().map(Bytes::len).sum();
            if more == 0 {
                break;
            }
            left = left.saturating_sub(more);
            conn.keep(&mut self.scratch);
        }
        let until = now + FAREWELL;
        conn.phase = Phase::Flushing(until);
        self.farewells.insert((until, id));
        self.enqueue(id);
    }

    /// What listening sockets demand from now on.
    pub(crate) fn set_keys(&mut self, keys: Vec<(Net, Secret)>) {
        self.listeners.set_keys(keys, &mut self.notices);
    }

    /// What an accepted connection sends and demands from now on. A demand that the kernel refuses ends it: it would
    /// be a guard that is not there.
    pub(crate) fn set_ttl(&mut self, id: ConnId, ttl: Ttl, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get(&id) else { return };
        let set = sockets::local_addr(&conn.socket)
            .and_then(|local| sockopt::set_ttl(&conn.socket, local.ip(), ttl));
        if let Err(e) = set {
            self.lose(id, Some(e), speaker, now);
        }
    }

    /// Reads a connection no more, or again.
    pub(crate) fn pause(&mut self, id: ConnId, paused: bool, speaker: &mut Speaker, now: Time) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.paused = paused;
        self.rewatch(id, speaker, now);
    }

    /// The speaker has something for a connection.
    pub(crate) fn writable(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.pull = true;
        if !conn.has_rest() {
            self.enqueue(id);
        }
    }
}
