//! What the agent tells the cluster of its node, and when: the NodeStatus, and Events.
//!
//! ```text
//!  something may have changed ─► Pace ─ now ─► (the node is looked at) ─ Seen ─► words ─► NodeReport
//!                                  ▲                                                        │ not as written?
//!                                  └──────────────── written, or not ◄── write ◄────────────┘
//! ```
//! * **What** is said does not change by itself: no counters, no ages. Points in time are those at which something
//!   began, remembered from the look that first saw it, so that neither a clock that jumps nor a second look is news.
//! * **When**: `Pace`. A change is told after a random moment that grows with the fabric, so that a change that all
//!   nodes see (a reflector goes) does not reach the API server from all of them at once; and while changes go on, the
//!   pauses double up to five minutes: a peer that flaps costs a dozen writes an hour.
//! * Nobody watches a NodeStatus, this agent neither: once an hour it is written although nothing has changed, which
//!   costs the API server no write of its own, and brings back what somebody deleted.
//!
//! A node that the cluster has no more is told nothing of: its NodeStatus went with it.
//!
//! From the same looks come Events: see [`News`].

use corduroy_api::IpNetwork;
use corduroy_api::node_status::NodeReport;
use corduroy_bgp::Time;
use corduroy_ipc::status::{Peer, Status};

mod news;
mod pace;
#[cfg(test)]
mod tests;
mod words;

pub use news::{About, News};

use news::Events;
use pace::{Look, Pace};
use words::Memory;

/// The node at one moment, as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// As `cordctl status` shows it.
    pub status: Status,
    /// As `cordctl peers` shows them.
    pub peers: Vec<Peer>,
    /// Its addresses, each with the reason why it is this one.
    pub addresses: Vec<(IpNetwork, String)>,
    /// Its blocks, each with the pool it is cut from.
    pub blocks: Vec<(IpNetwork, Option<String>)>,
    /// How many nodes the fabric has: so many agents may have the same to tell.
    pub nodes: usize,
}

/// The moment of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that never jumps.
    pub now: Time,
    /// Seconds since 1970, by the clock people read.
    pub wall: u64,
}

/// What is to be said after a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The NodeStatus is to be this; [`Reporter::written`] wants to hear what became of it.
    pub report: Option<NodeReport>,
    /// The Events to be made. One that can't be is lost: the NodeStatus says what is so.
    pub news: Vec<News>,
}

/// Keeps the NodeStatus, and tells Events.
#[derive(Debug)]
pub struct Reporter {
    pace: Pace,
    memory: Memory,
    events: Events,
    /// What the cluster has; `None` before the first write.
    written: Option<NodeReport>,
    /// What is being written.
    writing: Option<NodeReport>,
}

impl Reporter {
    /// Nothing was told yet. `seed` spreads the agents of a cluster.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            pace: Pace::new(seed),
            memory: Memory::default(),
            events: Events::default(),
            written: None,
            writing: None,
        }
    }

    /// Something may have changed.
    pub fn touch(&mut self, now: Time) {
        self.pace.touch(now);
    }

    /// When the node is to be looked at next.
    #[must_use]
    pub fn next_look(&self) -> Option<Time> {
        if self.writing.is_some() {
            return None;
        }
        [self.pace.next(), self.events.next()].into_iter().flatten().min()
    }

    /// The node was looked at: what is to be said now, if anything.
    pub fn look(&mut self, seen: &Seen, moment: Moment) -> Said {
        let report = self.memory.report(seen, moment);
        let spread = self.pace.spread(seen.nodes);
        let news = self.events.look(seen, spread, moment.now);
        let look = self.pace.looked(moment.now);
        let is_other = self.written.as_ref() != Some(&report);
        let report = match look {
            Look::Early => None,
            Look::Changed if !is_other => None,
            Look::Changed | Look::Refresh => Some(report),
        };
        self.writing.clone_from(&report);
        Said { report, news }
    }

    /// There was nothing to look at: what was written is no more, and is told anew when there is.
    pub fn skip(&mut self) {
        (self.written, self.events) = (None, Events::default());
        self.pace.looked(Time(u64::MAX));
    }

    /// What [`Reporter::look`] gave was written, or not.
    pub fn written(&mut self, is_written: bool, now: Time) {
        let writing = self.writing.take();
        if is_written {
            self.written = writing;
            self.pace.written(now);
        } else {
            self.pace.failed(now);
        }
    }
}
