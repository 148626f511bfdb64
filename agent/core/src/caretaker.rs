//! What belongs to no node, done by one agent at a time.
//!
//! ```text
//!             ┌─ Election ─┐  Lease seen, written          ┌─ gone ───────── what may be freed, and why the rest not
//!  Lease ◄───►│ look, take, │──► leads until … ──► a round ─┼─ conditions ─── what is said of what people write
//!             │ renew       │                               └─ default_pools  the pool of a new cluster
//!             └─────────────┘
//! ```
//! Nothing here is on the way of a packet, and with no caretaker everything keeps running: blocks of nodes that are
//! gone stay claimed, resources say nothing of themselves, that is all.
//!
//! * **One at a time** ([`Election`]). A Lease names the holder. Every write to it is by compare-and-swap, and whether
//!   a holder has gone is judged by how long we *saw* its Lease unchanged, never by what its clock wrote. A holder
//!   stops before others may begin. Two that act at once would still do no harm: every write of theirs is made on the
//!   version that was seen.
//! * **What is used is never freed** ([`Gone`]). A Node may be deleted while its machine runs on. So its absence frees
//!   nothing by itself: nobody may announce its blocks, no pod may be left in them, its kubelet must be silent, and
//!   all that must be so at every look from a first one to one some minutes later.
//! * **Said on change only.** A round without news asks little and writes nothing.
//!
//! The parts decide; requests are made elsewhere, and time is passed in.

mod conditions;
mod default_pools;
mod election;
mod gone;
mod pools;

use std::time::Duration;

use corduroy_api::Kind;
use corduroy_fabric::Sync;

use crate::known::Known;
use crate::me::Membership;

pub use conditions::{Due, Ground, Judged, Judgements, News, Sayings, Stands, Words, due, pause};
pub use default_pools::{DefaultPools, NoPool, Wish, derive};
pub use election::{Election, LeaseView, Record, Step, Unwritten};
pub use gone::{Gone, Judgement, Kept, KubeletLease, Owner, Seen, Signs};

/// How the caretaker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// May this agent be the caretaker at all?
    pub enabled: bool,
    /// How long a Lease that nobody renews still holds.
    pub term: Duration,
    /// The pause between two rounds.
    pub interval: Duration,
    /// How long a node must be seen gone before what it had is freed.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { enabled: true, term: minute, interval: minute, patience: minute * 5 }
    }
}

/// What a round starts from: the running agent's view of the fabric in one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// May we take care of the cluster? One that the cluster does not have any more may not.
    pub member: bool,
    /// How many agents there are.
    pub agents: usize,
    /// Is there any pool, or a trace of one? `None`: not known.
    pub has_pools: Option<bool>,
    /// Who is heard of; `None` unless the datastore itself speaks.
    pub seen: Option<Seen>,
}

impl Outlook {
    /// As things stand.
    #[must_use]
    pub fn of(known: &Known) -> Self {
        let model = &known.model;
        let live = [Kind::IpPool, Kind::IpamBlock].iter().all(|kind| *model.sync(*kind) == Sync::Live);
        // A pool that can't be used is one that somebody made.
        let is_pool = |source: &String| source.starts_with(Kind::IpPool.name());
        let trace = || !model.blocks().is_empty() || model.rejected().keys().any(is_pool);
        Self {
            member: known.me.member != Membership::Removed,
            agents: model.nodes().len(),
            has_pools: live.then(|| !model.pools().is_empty() || trace()),
            seen: Seen::of(known),
        }
    }
}
