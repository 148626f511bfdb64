//! What happened, in words. The speaker's events are typed and have none; what only the sockets know is added here.

use std::fmt;
use std::io;

use corduroy_bgp::Net;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::event::Event;

/// Something for the log. Its `Display` is one line for people.
#[derive(Debug)]
pub enum Notice {
    /// The speaker says so.
    Speaker(Event),
    /// A connection could not be made; the speaker tries again when its timer says so.
    Connect {
        /// To whom.
        peer: PeerKey,
        /// The kernel's reason.
        error: io::Error,
    },
    /// A connection ended with an error of the transport (a reset, no route, time-out).
    Lost {
        /// The other end's address.
        remote: std::net::IpAddr,
        /// The kernel's reason.
        error: io::Error,
    },
    /// A listening socket has a problem.
    Listen(ListenProblem),
}

/// What can go wrong with listening sockets while they live.
#[derive(Debug)]
pub enum ListenProblem {
    /// No connection could be taken: descriptors or memory ran out. Tried again after a second.
    Accept(io::Error),
    /// The kernel did not take an MD5 key: nobody is let in from this prefix.
    Key {
        /// Whose key.
        net: Net,
        /// The kernel's reason.
        error: io::Error,
    },
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For somebody who looks closely.
    Debug,
    /// The course of things.
    Info,
    /// Somebody should look.
    Warning,
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Speaker(event) => severity(event),
            Self::Connect { .. } => Severity::Debug,
            Self::Lost { .. } => Severity::Info,
            Self::Listen(_) => Severity::Warning,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speaker(event) => Words(event).fmt(f),
            Self::Connect { peer, error } => write!(f, "peer {peer}: connection failed: {error}"),
            Self::Lost { remote, error } => write!(f, "peer {remote}: connection lost: {error}"),
            Self::Listen(ListenProblem::Accept(error)) => {
                write!(f, "no connection can be accepted: {error}; trying again in a second")
            }
            Self::Listen(ListenProblem::Key { net, error }) => write!(
                f,
                "the kernel refused the MD5 key for {net}, so no connection from there is accepted: {error}{}",
                // Keys are charged to the socket's option memory: a few hundred fit the default.
                if error.raw_os_error() == Some(libc::ENOMEM) {
                    " (raise the sysctl net.core.optmem_max)"
                } else {
                    ""
                }
            ),
        }
    }
}

/// An event of the speaker in words, one line.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a Event);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::PrefixLimitExceeded { peer, family, count } => {
                write!(f, "peer {peer}: sent {count} {family} prefixes, more than its limit")
            }
            Event::InitialTableSent { peer, family } => {
                write!(f, "peer {peer}: has the whole {family} table")
            }
            Event::Refused { peer, net } => {
                write!(f, "peer {peer}: {net} refused, it covers addresses of this node or its services")
            }
            Event::EndOfRib { peer, family } => {
                write!(f, "peer {peer}: sent its whole {family} table")
            }
        }
    }
}

fn severity(event: &Event) -> Severity {
    match event {
        Event::PrefixLimitExceeded { .. } | Event::Refused { .. } => Severity::Warning,
        Event::InitialTableSent { .. } | Event::EndOfRib { .. } => Severity::Info,
    }
}
