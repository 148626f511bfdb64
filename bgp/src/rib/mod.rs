//! The second half of the speaker: what peers announced, what is best, what every peer is told (RFC 4271 §3.2).
//!
//! ```text
//! RibInput ─► inbox ─► import ─► Table (Adj-RIBs-In and Loc-RIB, one a family) ─► flush: decide ─┬─► journal ─► Change
//!                     (intern)                                                              └─► export::Views ─► Bytes
//! ```
//!
//! [`Rib::handle`] only queues. [`Rib::work`] takes the queue in order, a bounded number of prefixes a call: a session
//! that ends with a million routes is a job that takes many calls, and whatever comes behind it waits. At the end of a
//! call everything touched is decided and encoded, so between calls all tables agree.
//!
//! Memory for one IPv4 prefix from one peer, told to one group: 12 B entry, 5 to 10 B index, 16 B path, 4 B in the
//! peer's list, 4 B in the group's table, and its share of an attribute set (48 B and its bytes), incoming and
//! outgoing. Nothing is kept per prefix and peer on the way out.
//!
//! Graceful restart (RFC 4724) in these tables: a restarting peer's paths are marked stale and stay in the decision as
//! they are; its End-of-RIB, or the end of the wait, sweeps what was not announced again. After our own restart nothing
//! is decided or told until [`RibInput::Select`].

mod chunked;
mod import;
mod intern;
mod jobs;
mod parts;
mod paths;
mod peers;
mod prefixes;
mod query;
mod table;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::Config;
use crate::event::Event;
use crate::io::{Change, More, Origination, PeerId, RibInput, RibOutput, Start};
use crate::policy::{Community, Filters};
use crate::{Asn, Family, Net, Net4, Net6, RouterId, Time};

pub(crate) use chunked::{Bitmap, Chunked};
pub use intern::DecisionKey;
pub(crate) use intern::{AttrId, Attrs};
pub(crate) use peers::{NOBODY, Peers, peer_type};
pub(crate) use prefixes::Packed;
pub(crate) use table::{Changed, Lookup, source};

use import::Import;
use jobs::{Item, Job};
use peers::AdjIn;
use table::Table;

pub use query::{Query, Sizes};

/// The well-known communities that forbid an announcement, and whether only to another AS.
pub(crate) const WELL_KNOWN: [(u8, u32, bool); 3] = [
    (intern::NO_ADVERTISE, Community::NO_ADVERTISE, false),
    (intern::NO_EXPORT, Community::NO_EXPORT, true),
    (intern::NO_EXPORT_SUBCONFED, Community::NO_EXPORT_SUBCONFED, true),
];

/// Prefixes decided together: enough to fill messages, few enough to stay in the cache.
const FLUSH: usize = 4096;
/// More than this many bytes of batches, or so many of them, and [`Rib::room`] says no.
const INBOX_BYTES: usize = 1 << 20;
const INBOX_ITEMS: usize = 1024;

/// What of the configuration the tables themselves need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) local_as: Asn,
    pub(crate) router_id: RouterId,
    pub(crate) cluster_id: Option<RouterId>,
    pub(crate) multipath: u8,
    pub(crate) multipath_relax: bool,
    /// We are about to go (RFC 8326).
    pub(crate) draining: bool,
}

impl Settings {
    fn new(config: &Config) -> Self {
        Self {
            local_as: config.local_as,
            router_id: config.router_id,
            cluster_id: config.cluster_id,
            multipath: config.multipath.max(1),
            multipath_relax: config.multipath_relax,
            draining: false,
        }
    }
}

/// The routing information base: Adj-RIBs-In, Loc-RIB, Adj-RIBs-Out.
#[derive(Debug)]
pub struct Rib {
    settings: Settings,
    peers: Peers,
    attrs: Attrs,
    filters: Filters,
    v4: Table<Net4>,
    v6: Table<Net6>,
    /// What we originate, counted as if we were a peer.
    local: [AdjIn; 2],
    queue: Queue,
    import: Import,
    said: Said,
    began: Time,
    /// Seconds since `began`, as of the last `work`.
    clock: u32,
}

/// What has yet to be done.
#[derive(Debug, Default)]
struct Queue {
    inbox: VecDeque<Item>,
    bytes: usize,
    /// What the item at hand asks for, in steps; the next item waits for it.
    jobs: VecDeque<Job>,
    /// Sessions that begin or end somewhere in the inbox, by peer: until then `transmit` gives nothing.
    turning: BTreeMap<u16, u32>,
    /// After a restart: our own routes are complete, so that peers may be told (RFC 4724 §4.1).
    originated: bool,
}

/// What has yet to be heard.
#[derive(Debug, Default)]
struct Said {
    outputs: VecDeque<RibOutput>,
    /// Events that wait until the Loc-RIB is drained up to a mark of its journal.
    after_drain: VecDeque<(Family, u64, Event)>,
}

impl Rib {
    /// An empty one. After [`Start::Again`] it decides and tells nothing of a family before [`RibInput::Select`] and
    /// [`Rib::origination_complete`].
    #[must_use]
    pub fn new(config: &Config, start: Start, seed: u64, now: Time) -> Self {
        let first = start == Start::First;
        Self {
            settings: Settings::new(config),
            peers: Peers::default(),
            attrs: Attrs::new(seed),
            filters: Filters::default(),
            v4: Table::new(seed, first),
            v6: Table::new(seed, first),
            local: [AdjIn::default(), AdjIn::default()],
            queue: Queue { originated: first, ..Queue::default() },
            import: Import::default(),
            said: Said::default(),
            began: now,
            clock: 0,
        }
    }

    /// Queues what a session says.
    pub fn handle(&mut self, input: RibInput) {
        match &input {
            RibInput::Up { peer, .. } | RibInput::Down { peer, .. } | RibInput::Removed { peer } => {
                *self.queue.turning.entry(peer.0).or_default() += 1;
            }
            RibInput::Update(batch) => {
                self.queue.bytes += batch.attrs.len() + batch.reach.len() + batch.unreach.len();
            }
            RibInput::EndOfRib { .. }
            | RibInput::SweepStale { .. }
            | RibInput::Refresh { .. }
            | RibInput::Reconfigured { .. }
            | RibInput::Select { .. } => {}
        }
        self.queue.inbox.push_back(Item::Input(input));
    }

    /// Is there room for more input, or should sockets wait?
    #[must_use]
    pub fn room(&self) -> bool {
        self.queue.bytes < INBOX_BYTES && self.queue.inbox.len() < INBOX_ITEMS
    }

    /// Is nothing queued?
    #[must_use]
    pub fn idle(&self) -> bool {
        self.queue.inbox.is_empty() && self.queue.jobs.is_empty()
    }

    /// Announces a prefix of our own, or changes how.
    pub fn originate(&mut self, net: Net, route: Origination) {
        self.queue.inbox.push_back(Item::Originate(net, route));
    }

    /// No longer announces a prefix of our own.
    pub fn withdraw(&mut self, net: Net) {
        self.queue.inbox.push_back(Item::Withdraw(net));
    }

    /// Everything this process originates after a start has been said.
    pub fn origination_complete(&mut self) {
        self.queue.inbox.push_back(Item::OriginationComplete);
    }

    /// Another configuration; what it says of peers comes by [`RibInput::Reconfigured`].
    pub fn configure(&mut self, config: &Config) {
        self.queue.inbox.push_back(Item::Configure(Settings::new(config)));
    }

    /// The process is about to end for good: everything is announced again with GRACEFUL_SHUTDOWN and, inside our AS,
    /// LOCAL_PREF 0 (RFC 8326).
    pub fn drain(&mut self) {
        self.queue.inbox.push_back(Item::Drain);
    }

    /// Takes from the queue, decides and exports, at most about `budget` prefixes.
    pub fn work(&mut self, budget: usize, now: Time) -> More {
        self.clock = u32::try_from(now.since(self.began).as_secs()).unwrap_or(u32::MAX);
        let mut left = budget.max(1);
        while left > 0 && self.step(&mut left) {
            if self.v4.dirty() + self.v6.dirty() >= FLUSH {
                self.flush();
            }
        }
        self.flush();
        let more = self.background(u32::try_from(budget.max(4) / 2).unwrap_or(u32::MAX));
        self.tell();
        if more || !self.idle() { More::Yes } else { More::No }
    }

    fn flush(&mut self) {
        self.v4.flush(&self.settings, &mut self.peers, &mut self.attrs);
        self.v6.flush(&self.settings, &mut self.peers, &mut self.attrs);
    }

    fn background(&mut self, budget: u32) -> bool {
        let four = self.v4.background(budget, &mut self.peers, &mut self.attrs);
        let six = self.v6.background(budget, &mut self.peers, &mut self.attrs);
        four || six
    }

    /// Says what has become sayable.
    fn tell(&mut self) {
        for views in [&mut self.v4.views, &mut self.v6.views] {
            for peer in views.writable.drain(..) {
                if let Some(p) = self.peers.get_mut(peer).filter(|p| !p.notified) {
                    p.notified = true;
                    self.said.outputs.push_back(RibOutput::Writable { peer: PeerId(peer) });
                }
            }
        }
        while let Some((family, mark, _)) = self.said.after_drain.front() {
            let drained = match family {
                Family::Ipv4Unicast => self.v4.drained(*mark),
                Family::Ipv6Unicast => self.v6.drained(*mark),
            };
            if !drained {
                return;
            }
            let event = self.said.after_drain.pop_front();
            self.said.outputs.extend(event.map(|(_, _, e)| RibOutput::Event(e)));
        }
    }

    /// Answers questions.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        Query::new(self)
    }

    /// What the first half must hear.
    pub fn poll(&mut self) -> Option<RibOutput> {
        self.said.outputs.pop_front()
    }

    /// Takes whole messages for a peer, at most about `max` bytes but one message always when there is one.
    pub fn transmit(&mut self, peer: PeerId, max: usize, out: &mut Vec<Bytes>) {
        let before = out.len();
        if !self.queue.turning.contains_key(&peer.0) {
            let mut room = max.max(1);
            let four = self.v4.read((peer.0, &mut room), &mut self.peers, &mut self.attrs, out);
            let six = self.v6.read((peer.0, &mut room), &mut self.peers, &mut self.attrs, out);
            self.said.outputs.extend(four.into_iter().chain(six).map(RibOutput::Event));
        }
        if out.len() == before
            && let Some(p) = self.peers.get_mut(peer.0)
        {
            p.notified = false;
        }
    }

    /// Takes at most `max` changes of the Loc-RIB; several changes of one prefix are one. The journal begins with the
    /// first call, which sees the whole table.
    pub fn drain_loc_rib(&mut self, max: usize, out: &mut Vec<Change>) {
        let before = out.len();
        self.v4.drain(max, &self.peers, &self.attrs, out);
        let left = max - (out.len() - before);
        self.v6.drain(left, &self.peers, &self.attrs, out);
        self.tell();
    }
}

#[cfg(test)]
mod tests;
