//! Sockets for [`corduroy_bgp`]: moves bytes between peers and a [`Speaker`], decides nothing.
//!
//! # One loop
//! [`Driver::run`] is a future that serves every peer; there is no task, no lock and no buffer for each. A turn of the
//! loop takes a bounded piece of everything that waits: requests, ready sockets (one read of at most 64 KiB for each),
//! due timers, one slice of route work ([`SLICE`] prefixes), writes, Loc-RIB changes. So a KEEPALIVE that is due goes
//! out at most one turn late however long the route work's queue is. The loop sleeps only when nothing is left.
//!
//! Where it runs is the caller's choice. An agent or a reflector calls [`Driver::spawn`]: an OS thread of its own with
//! a current-thread runtime, because a kernel transaction or a slow file in the caller's loop must not hold up a
//! KEEPALIVE, and a speaker that digests a full table must not hold up the caller. Tests and small tools run the
//! future inside their own current-thread runtime.
//!
//! # Sockets
//! Readiness comes from an epoll instance of our own, which tokio watches as one descriptor (see `reactor`): an idle
//! peer costs its slot here, about a hundred bytes, and no future. Nothing is queued for a slow peer either: the
//! speaker's [`transmit`](Speaker::transmit) is pulled only when its socket takes bytes, and only what the socket did
//! not take (under 64 KiB, shared with other peers) is kept.
//!
//! Guards (`sockopt`): TCP MD5 (RFC 2385) for peers and whole prefixes, on listening and connecting sockets; TTL
//! security (RFC 5082), where a listening socket answers with TTL 255, because its SYN-ACK goes out before anybody
//! knows whose connection it is.
//!
//! # Backpressure
//! Reports go through a bounded channel. While it is full, Loc-RIB changes stay in the speaker, where several of one
//! prefix become one; notices wait in a bounded queue and are counted when they do not fit.
//!
//! # Ends
//! [`Close::Flush`](corduroy_bgp::io::Close::Flush): the rest is written, our direction closed, and the peer's bytes
//! read away until it closes too, so that no RST overtakes our NOTIFICATION; after 5 s the connection is dropped
//! anyway. [`Handle::stop`] ends everything.
#![warn(missing_docs)]

mod conn;
mod counters;
mod driver;
mod handle;
mod listeners;
mod notice;
mod outbox;
mod pool;
mod reactor;
mod sockets;
mod sockopt;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corduroy_bgp::Time;
#[cfg(doc)]
use corduroy_bgp::speaker::Speaker;

pub use counters::Counters;
pub use driver::{Driver, LocRib};
pub use handle::{Announcement, Handle, Report, Stopped};
pub use notice::{ListenProblem, Notice, Severity, Words};

/// Prefixes decided and exported between two looks at sockets and timers: about a millisecond.
pub const SLICE: usize = 2048;

/// How long a drain may take before what is left of it is dropped.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Now, on the clock of every speaker in this process: CLOCK_MONOTONIC. `Speaker::new` wants it.
#[must_use]
pub fn now() -> Time {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    Time(secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0)))
}

/// Why a driver could not be made or go on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A listening socket could not be had. Nothing was started.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The epoll instance or the thread could not be had. Nothing was started.
    #[error("cannot watch sockets: {0}")]
    Start(#[source] io::Error),
}
