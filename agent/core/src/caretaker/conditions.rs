//! What is said of the resources that people write, in their `status`: whether each is in force, and of pools how full
//! they are.
//!
//! ```text
//!  Model ─► Ground ─judge─► Judgements ─look─► what is news ─due─► a status, where it stands as it was judged
//!         (in a moment)  (beside the loop)  (seen twice)          (a list of the kind, a patch)
//! ```
//! * **Of what was judged.** A status names the generation it is said of. So it is written only where the API server
//!   has the very words that were judged: what was changed since is judged first.
//! * **Seen twice.** `kubectl apply` makes a BGPPeer before the BGPFilter it names. What is not in force is said when
//!   two looks in a row have found it so; what is in force is said at once.
//! * **On change only.** What all say by now is remembered, so a look without news asks nothing and writes nothing. How
//!   full pools are is told once a round.
//! * **Nothing of what is not known.** A kind is spoken of while all it depends on comes from the datastore itself.
//!   Where passwords alone can't be read the condition is Unknown.
//! * **Not of FabricNodes and IPAMBlocks.** Agents write them, and a new version of one reaches every node: what is
//!   wrong with them stands in the NodeStatuses and in `cordctl`.
//!
//! # Cost
//! A look takes the names of what conditions depend on, some milliseconds with 5,000 nodes. It is judged anew only
//! when that differs from the last, beside the loop, and then after a pause of twenty times what judging took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corduroy_api::node_status::sentence;
use corduroy_api::{ConditionSpec, IpPoolStatusSpec, Key, Kind, Rejection, Resource};
use corduroy_fabric::standing::{self, Standing, Verdict};
use corduroy_fabric::{Model, Sync};

use super::pools;
use crate::known::Known;

/// The condition's type.
const IN_FORCE: &str = "InForce";

/// The kinds that conditions depend on.
const NEEDED: [Kind; 14] = [
    Kind::Secret,
    Kind::BgpFilter,
    Kind::BgpConfiguration,
    Kind::FabricNode,
    Kind::BgpPeer,
    Kind::IpReservation,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::Tier,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
];

/// The longest pause between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Judging may take this part of one processor.
const SHARE: u32 = 20;

/// How a resource reads: itself, or what our own check refuses of it.
pub type Words = Result<Resource, Vec<Rejection>>;

/// What is to be said of each resource.
pub type Judgements = BTreeMap<Key, Judged>;

/// What is to be said of one, without times. The status of an IPPool has all that another kind's has, and more.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Of which words.
    pub words: Words,
    /// What.
    pub status: IpPoolStatusSpec,
}

impl Judged {
    fn is_in_force(&self) -> bool {
        in_force(&self.status).is_some_and(|condition| condition.status.as_deref() == Some("True"))
    }
}

/// What conditions depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ground(Model);

impl Ground {
    /// As things stand. Resources are shared.
    #[must_use]
    pub fn of(known: &Known) -> Self {
        Self(known.model.part(&NEEDED))
    }

    /// What is to be said of each resource of a kind that is known well enough.
    #[must_use]
    pub fn judge(&self) -> Judgements {
        let model = &self.0;
        let refused = refused(model);
        let is_live = |kind: &Kind| *model.sync(*kind) == Sync::Live;
        let kinds: BTreeSet<Kind> =
            standing::KINDS.into_iter().filter(|kind| depends_on(*kind).iter().all(is_live)).collect();
        let mut all = standing::standings(model);
        all.retain(|key, _| kinds.contains(&key.kind));
        let judge = |(key, standing): (Key, Standing)| {
            let words = match refused.get(&key) {
                Some(rejections) => Err(rejections.clone()),
                None => Ok(model.get(&key)?),
            };
            let pool = model.pools().get(&key.name).filter(|_| key.kind == Kind::IpPool);
            let usage = pool.map(|pool| pools::usage(model, pool)).unwrap_or_default();
            let status = IpPoolStatusSpec { conditions: Some(vec![condition(&standing)]), ..usage };
            Some((key, Judged { words, status }))
        };
        all.into_iter().filter_map(judge).collect()
    }
}

/// The kinds without which nothing is said of this one. Without Secrets only passwords are not known.
fn depends_on(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::BgpPeer => &[Kind::BgpPeer, Kind::BgpFilter, Kind::BgpConfiguration, Kind::FabricNode],
        Kind::BgpFilter => &[Kind::BgpFilter, Kind::BgpPeer],
        Kind::BgpConfiguration => &[Kind::BgpConfiguration, Kind::FabricNode, Kind::IpPool],
        Kind::IpReservation => &[Kind::IpReservation, Kind::IpPool],
        Kind::Tier => &[Kind::Tier],
        Kind::NetworkSet => &[Kind::NetworkSet],
        Kind::GlobalNetworkSet => &[Kind::GlobalNetworkSet],
        Kind::HostEndpoint => &[Kind::HostEndpoint, Kind::FabricNode],
        Kind::NetworkPolicy => &[Kind::NetworkPolicy, Kind::Tier],
        Kind::GlobalNetworkPolicy => &[Kind::GlobalNetworkPolicy, Kind::Tier],
        _ => &[Kind::IpPool, Kind::IpamBlock, Kind::FabricNode],
    }
}

fn refused(model: &Model) -> BTreeMap<Key, Vec<Rejection>> {
    let keyed = |rejections: &Vec<Rejection>| {
        let key = rejections.iter().find_map(|rejection| rejection.key.clone())?;
        Some((key, rejections.clone()))
    };
    model.rejected().values().filter_map(keyed).collect()
}

fn condition(standing: &Standing) -> ConditionSpec {
    let status = match standing.reason.verdict() {
        Verdict::InForce => "True",
        Verdict::NotInForce => "False",
        Verdict::Unknown => "Unknown",
    };
    ConditionSpec {
        kind: Some(IN_FORCE.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(standing.reason.name().to_owned()),
        message: Some(sentence(&standing.why)),
        ..ConditionSpec::default()
    }
}

fn in_force(status: &IpPoolStatusSpec) -> Option<&ConditionSpec> {
    status.conditions.iter().flatten().find(|condition| condition.kind.as_deref() == Some(IN_FORCE))
}

/// What was found, and what all say by now.
#[derive(Clone, Debug, Default)]
pub struct Sayings {
    found: Judgements,
    said: Judgements,
}

impl Sayings {
    /// Takes what a look found; returns what is to be said now, by kind. How full pools are is only news when `usage`
    /// says so.
    pub fn look(&mut self, found: Judgements, usage: bool) -> BTreeMap<Kind, Judgements> {
        self.said.retain(|key, _| found.contains_key(key));
        let mut news: BTreeMap<Kind, Judgements> = BTreeMap::new();
        for (key, judged) in &found {
            let before = self.found.get(key);
            let twice = before.is_some_and(|before| before.status.conditions == judged.status.conditions);
            if (twice || judged.is_in_force()) && !self.is_said(key, judged, usage) {
                news.entry(key.kind).or_default().insert(key.clone(), judged.clone());
            }
        }
        self.found = found;
        news
    }

    fn is_said(&self, key: &Key, judged: &Judged, usage: bool) -> bool {
        let Some(said) = self.said.get(key) else { return false };
        let numbers = !usage || said.status == judged.status;
        numbers && said.words == judged.words && said.status.conditions == judged.status.conditions
    }

    /// It says so now.
    pub fn said(&mut self, key: Key, judged: Judged) {
        self.said.insert(key, judged);
    }

    /// Of how many resources of each kind it is said that they are not in force.
    #[must_use]
    pub fn not_in_force(&self) -> BTreeMap<Kind, usize> {
        let count = |kind| {
            let of_kind = |(key, judged): &(&Key, &Judged)| key.kind == kind && !judged.is_in_force();
            (kind, self.said.iter().filter(of_kind).count())
        };
        standing::KINDS.into_iter().map(count).collect()
    }
}

/// The pause before the next look, when judging took so long.
#[must_use]
pub fn pause(took: Duration, interval: Duration) -> Duration {
    interval.min(LOOK).max(took * SHARE)
}

/// A resource as its datastore has it.
#[derive(Clone, Copy, Debug)]
pub struct Stands<'a> {
    /// How it reads.
    pub words: &'a Words,
    /// `metadata.generation`.
    pub generation: u64,
    /// What its status says.
    pub status: &'a IpPoolStatusSpec,
}

/// What is to be done about one status.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// It says so already.
    Nothing,
    /// It reads otherwise than what was judged: to be judged again.
    Later,
    /// To be written.
    Write {
        /// This.
        status: IpPoolStatusSpec,
        /// And made known.
        news: Option<News>,
    },
}

/// That a resource has come into force, or is not in force any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Should somebody look?
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why.
    pub note: String,
}

/// What is to be done about the status of a resource that was judged. A condition keeps the time of its last change; a
/// changed one gets `now` (RFC 3339).
#[must_use]
pub fn due(judged: &Judged, stands: &Stands<'_>, now: &str) -> Due {
    if !same_words(&judged.words, stands.words) {
        return Due::Later;
    }
    let (wanted, there) = (&judged.status, stands.status);
    let before = |kind: &Option<String>| there.conditions.iter().flatten().find(|c| c.kind == *kind);
    let complete = |condition: &ConditionSpec| {
        let same = before(&condition.kind).filter(|before| before.status == condition.status);
        let time = same.and_then(|before| before.last_transition_time.clone());
        ConditionSpec {
            observed_generation: Some(stands.generation),
            last_transition_time: Some(time.unwrap_or_else(|| now.to_owned())),
            ..condition.clone()
        }
    };
    let ours: Vec<ConditionSpec> = wanted.conditions.iter().flatten().map(complete).collect();
    // Conditions of other types are somebody else's.
    let is_ours = |condition: &&ConditionSpec| ours.iter().any(|own| own.kind == condition.kind);
    let others: Vec<_> = there.conditions.iter().flatten().filter(|c| !is_ours(c)).cloned().collect();
    let mut status = IpPoolStatusSpec {
        // Numbers that nobody knows now stay.
        addresses: wanted.addresses.or(there.addresses),
        blocks: wanted.blocks.or(there.blocks),
        blocks_claimed: wanted.blocks_claimed.or(there.blocks_claimed),
        blocks_free: wanted.blocks_free.or(there.blocks_free),
        conditions: Some(ours.into_iter().chain(others).collect()),
    };
    // Their order is nobody's news.
    let mut there = there.clone();
    for status in [&mut status, &mut there] {
        status.conditions.iter_mut().for_each(|all| all.sort_by(|a, b| a.kind.cmp(&b.kind)));
    }
    if status == there {
        return Due::Nothing;
    }
    let news = news(in_force(&there), in_force(&status));
    Due::Write { status, news }
}

fn same_words(judged: &Words, stands: &Words) -> bool {
    match (judged, stands) {
        (Ok(judged), Ok(stands)) => judged.same_words(stands),
        (Err(judged), Err(stands)) => judged == stands,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

fn news(before: Option<&ConditionSpec>, after: Option<&ConditionSpec>) -> Option<News> {
    let after = after?;
    let was = before.and_then(|before| before.status.as_deref());
    let same = before.is_some_and(|before| before.reason == after.reason && before.status == after.status);
    let is_warning = match after.status.as_deref() {
        Some("False") if !same => true,
        Some("True") if was == Some("False") => false,
        _ => return None,
    };
    let (reason, note) = (after.reason.clone()?, after.message.clone()?);
    Some(News { is_warning, reason, note })
}

#[cfg(test)]
mod tests;
