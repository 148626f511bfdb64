//! TCP as the world has it: a connection is two pipes. Bytes arrive in the order they were written, at times that
//! never go back, in pieces of any size; a pipe holds a bounded number of them (the socket buffers and the window), so
//! that a receiver which does not read stops the sender.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};
use corduroy_bgp::Time;
use corduroy_bgp::io::ConnId;

use super::rng::Rng;
use super::tap::Tap;

/// What a pipe holds before its writer has to wait.
const WINDOW: usize = 32 << 10;

/// How a network treats bytes.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A piece takes at least this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// In a hundred: how often a write is cut into pieces that travel one by one.
    pub split: usize,
}

/// What arrives next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The writer has closed.
    End,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Pipe {
    queue: VecDeque<(Time, Piece)>,
    held: usize,
    last: Time,
    ended: bool,
    /// Reads the same bytes as the receiver.
    pub tap: Tap,
}

impl Pipe {
    /// How many bytes it takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.ended { 0 } else { WINDOW.saturating_sub(self.held) }
    }

    /// Puts bytes in; `weather` says when they come out.
    pub fn write(&mut self, mut bytes: Bytes, now: Time, weather: Weather, rng: &mut Rng) {
        self.held += bytes.len();
        while bytes.has_remaining() {
            let n = if rng.chance(weather.split) { rng.between(1, bytes.len()) } else { bytes.len() };
            let piece = Piece::Bytes(bytes.split_to(n));
            self.push(piece, now, weather, rng);
        }
    }

    /// Nothing more will be written.
    pub fn end(&mut self, now: Time, weather: Weather, rng: &mut Rng) {
        if !self.ended {
            self.ended = true;
            self.push(Piece::End, now, weather, rng);
        }
    }

    fn push(&mut self, piece: Piece, now: Time, weather: Weather, rng: &mut Rng) {
        let jitter = rng.below(usize::try_from(weather.jitter.as_micros()).unwrap_or(0) + 1);
        let at = now + weather.delay + Duration::from_micros(jitter as u64);
        self.last = self.last.max(at);
        self.queue.push_back((self.last, piece));
    }

    /// What is under way is lost.
    pub fn tear(&mut self) {
        self.queue.clear();
        self.held = 0;
        self.ended = false;
    }

    /// Nothing arrives before this.
    pub fn stall(&mut self, until: Time) {
        self.last = self.last.max(until);
        for (at, _) in &mut self.queue {
            *at = (*at).max(until);
        }
    }

    /// When the next piece arrives.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Takes the next piece.
    pub fn read(&mut self) -> Option<Piece> {
        let (_, piece) = self.queue.pop_front()?;
        if let Piece::Bytes(bytes) = &piece {
            self.held -= bytes.len();
        }
        Some(piece)
    }
}

/// How far a connection is, as one end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The end does not know of it yet: its `Connected` or `Accepted` is on the way.
    Coming,
    /// In use.
    Open,
    /// The end has let go, or its process is gone.
    Gone,
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// The router.
    pub router: usize,
    /// What its speaker calls it.
    pub conn: ConnId,
    /// How far it is.
    pub stage: Stage,
    /// The speaker wants no bytes now.
    pub paused: bool,
    /// `transmit` may have something.
    pub pull: bool,
    /// What the pipe did not take.
    pub rest: VecDeque<Bytes>,
    /// A delivery is on the calendar for this time.
    pub due: Option<Time>,
}

/// A connection: pipe `i` carries what end `i` writes. End 0 connected, end 1 accepted.
#[derive(Debug)]
pub struct Wire {
    /// The link it is for.
    pub link: usize,
    /// Both ends.
    pub ends: [End; 2],
    /// Both directions.
    pub pipes: [Pipe; 2],
}

impl Wire {
    /// Neither end has it any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.ends.iter().all(|e| e.stage == Stage::Gone)
    }

    /// Both ends took the other's OPEN.
    #[must_use]
    pub fn established(&self) -> bool {
        self.pipes.iter().all(|p| p.tap.open && p.tap.confirmed)
    }
}
