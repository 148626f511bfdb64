//! One TCP connection: a socket, what it is watched for and what it has not taken yet. No buffer for reading, none for
//! writing unless the peer is slow, so that an idle session costs about a hundred bytes here.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use corduroy_bgp::Time;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::io::ConnId;
use socket2::Socket;

use crate::reactor::{Reactor, Watch};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On its way to this peer.
    Connecting(PeerKey),
    /// The speaker's.
    Open,
    /// The speaker has let go; what it said last still goes out, until the deadline.
    Flushing(Time),
    /// Everything is written and our direction closed. What the peer still sends is read and dropped until it closes
    /// too or the deadline comes: a socket closed with unread bytes answers with RST, and that would take our
    /// NOTIFICATION away from a peer that has not read it yet.
    Lingering(Time),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) socket: Socket,
    pub(crate) phase: Phase,
    /// The speaker wants no bytes now.
    pub(crate) paused: bool,
    /// The speaker's `transmit` may have something.
    pub(crate) pull: bool,
    /// It stands in the queue of those to be written to.
    pub(crate) queued: bool,
    /// What the socket did not take; then its writability is watched.
    rest: Vec<Bytes>,
    watch: Watch,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// All that was given or left.
    All(usize),
    /// This much; the socket is full.
    Some(usize),
}

/// Segments a single `sendmsg` takes.
const SEGMENTS: usize = 64;

impl Conn {
    pub(crate) fn new(id: ConnId, socket: Socket, phase: Phase, reactor: &Reactor) -> io::Result<Self> {
        let watch = if matches!(phase, Phase::Connecting(_)) { Watch::WRITE } else { Watch::READ };
        reactor.add(&socket, u64::from(id.0), watch)?;
        let (paused, pull, queued) = (false, false, false);
        Ok(Self { id, socket, phase, paused, pull, queued, rest: Vec::new(), watch })
    }

    /// Is something left that the socket did not take?
    pub(crate) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Tells the reactor what to watch for, when that has changed.
    pub(crate) fn rewatch(&mut self, reactor: &Reactor) -> io::Result<()> {
        let want = match self.phase {
            Phase::Connecting(_) => Watch::WRITE,
            Phase::Open => Watch { read: !self.paused, write: self.has_rest() },
            Phase::Flushing(_) => Watch { read: false, write: self.has_rest() },
            Phase::Lingering(_) => Watch::READ,
        };
        if want != self.watch {
            reactor.change(&self.socket, u64::from(self.id.0), want)?;
            self.watch = want;
        }
        Ok(())
    }

    /// Writes what is left. Keeps nothing but what the socket does not take.
    pub(crate) fn write(&mut self) -> io::Result<Wrote> {
        let mut segments = std::mem::take(&mut self.rest);
        let wrote = self.write_from(&mut segments);
        // A slow peer's list may have grown; an idle session keeps none.
        self.rest = if segments.is_empty() { Vec::new() } else { segments };
        wrote
    }

    /// Writes `segments` after nothing (the caller asked [`Self::has_rest`]); takes from them what the socket does
    /// not take and leaves them empty.
    pub(crate) fn write_fresh(&mut self, segments: &mut Vec<Bytes>) -> io::Result<Wrote> {
        let wrote = self.write_from(segments);
        self.rest.append(segments);
        wrote
    }

    /// Puts `segments` behind what is left, to be written later.
    pub(crate) fn keep(&mut self, segments: &mut Vec<Bytes>) {
        self.rest.append(segments);
    }

    fn write_from(&self, segments: &mut Vec<Bytes>) -> io::Result<Wrote> {
        let mut total = 0;
        let mut done = 0;
        while let Some(left) = segments.get_mut(done..).filter(|s| !s.is_empty()) {
            let mut slices = [IoSlice::new(&[]); SEGMENTS];
            let used = slices.iter_mut().zip(left.iter()).map(|(slot, s)| *slot = IoSlice::new(s)).count();
            let wanted: usize = left.iter().take(used).map(Bytes::len).sum();
            let sent = match self.socket.send_vectored_with_flags(&slices[..used], libc::MSG_NOSIGNAL) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            total += sent;
            let mut n = sent;
            for segment in left.iter_mut().take(used) {
                let step = n.min(segment.len());
                segment.advance(step);
                n -= step;
                if !segment.is_empty() {
                    break;
                }
                done += 1;
            }
            if sent < wanted {
                segments.drain(..done);
                return Ok(Wrote::Some(total));
            }
        }
        segments.clear();
        Ok(Wrote::All(total))
    }
}
