//! What happened, in words. The speaker's events are typed and have none; what only the sockets know is added here.

use std::fmt;
use std::io;

use corduroy_bgp::config::PeerKey;
use corduroy_bgp::event::{Ended, Event, Rejected};
use corduroy_bgp::{FamilySet, Net};

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
            Event::SessionUp { peer, families } => {
                write!(f, "peer {peer}: session established for {}", List(*families))
            }
            Event::SessionDown { peer, why, kept } if kept.is_empty() => {
                write!(f, "peer {peer}: session ended: {}", Why(why))
            }
            Event::SessionDown { peer, why, kept } => {
                write!(f, "peer {peer}: session ended: {}; its {} routes are kept", Why(why), List(*kept))
            }
            Event::AttemptFailed { peer, why } => write!(f, "peer {peer}: no session: {}", Why(why)),
            Event::ConnectionRejected { remote, why } => {
                let why = match why {
                    Rejected::Unknown => "no such peer is configured",
                    Rejected::Limit => "as many peers as allowed are here",
                    Rejected::Disabled => "the peer is shut down, held off or busy",
                };
                write!(f, "connection from {remote} rejected: {why}")
            }
            Event::Malformed { peer, malformed, withdrawn: true } => {
                write!(f, "peer {peer}: an announcement counts as a withdrawal: {malformed}")
            }
            Event::Malformed { peer, malformed, withdrawn: false } => {
                write!(f, "peer {peer}: an attribute was discarded: {malformed}")
            }
            Event::StaleRoutesDropped { peer, families } => {
                write!(f, "peer {peer}: {} routes it did not announce again are gone", List(*families))
            }
            Event::SelectionBegun { family } => write!(f, "{family} routes are selected from now on"),
        }
    }
}

/// Families with commas.
struct List(FamilySet);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, family) in self.0.iter().enumerate() {
            write!(f, "{}{family}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What ended a connection.
struct Why<'a>(&'a Ended);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ended::Sent(said) => write!(f, "we sent {said}"),
            Ended::Received(said) => write!(f, "the peer sent {said}"),
            Ended::Lost => f.write_str("the connection was lost"),
            Ended::Replaced => f.write_str("the peer restarted"),
        }
    }
}

fn severity(event: &Event) -> Severity {
    match event {
        Event::PrefixLimitExceeded { .. }
        | Event::Refused { .. }
        | Event::SessionDown { .. }
        | Event::AttemptFailed { .. }
        | Event::ConnectionRejected { .. }
        | Event::Malformed { .. } => Severity::Warning,
        Event::InitialTableSent { .. }
        | Event::EndOfRib { .. }
        | Event::SessionUp { .. }
        | Event::StaleRoutesDropped { .. }
        | Event::SelectionBegun { .. } => Severity::Info,
    }
}
