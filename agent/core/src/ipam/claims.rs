//! Who owns which block, and how this node comes by more of them.
//!
//! Every node walks the blocks of a pool in an order of its own: from a start and by a stride that hashes of
//! the node's and the pool's name give. The number of blocks is a power of two and the stride odd, so the
//! walk meets each block once. Nodes that start together thus rarely reach for the same block, and when they
//! do, the datastore lets one of them create the claim and the other walks on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_api::block::{block_at, block_count, block_lengths, block_name, block_of, contains};
use corduroy_api::{IpamBlock, Resource, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_ipc::hash::stable;
use ipnetwork::IpNetwork;

use super::fixed::{self, Reserved};
use super::{Owner, Pool};

/// How long a block is left alone after somebody else was faster, unless the datastore says more before.
const CONTESTED: Duration = Duration::from_secs(10);
/// The first and the longest pause after a claim the datastore could not take.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the datastore says of blocks, and what this node has asked of it.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) owner: Owner,
    /// What is not handed out.
    pub(super) reserved: Reserved,
    /// The epoch of the latest claim seen or made.
    epoch: u64,
    pub(super) known: BTreeMap<IpNetwork, IpamBlock>,
    /// Claims that were asked for and not answered.
    asked: BTreeMap<IpNetwork, Asked>,
    /// Blocks somebody else got first, until the datastore says who or the time is over.
    contested: BTreeMap<IpNetwork, Time>,
    /// Blocks given back, with the epoch they had: an event from before that is not news.
    given_back: BTreeMap<IpNetwork, u64>,
    /// Pools whose claims the datastore could not take.
    trouble: BTreeMap<String, Trouble>,
}

#[derive(Clone, Debug)]
struct Asked {
    pool: String,
    /// It went through and is waited for no longer than this.
    until: Option<Time>,
}

#[derive(Clone, Debug)]
struct Trouble {
    /// When to try again; `None` when that time has come.
    until: Option<Time>,
    /// How long the pause was, for the next one to be longer.
    pause: Duration,
    why: String,
}

/// What an event about a block means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ours.
    Ours,
    /// It is somebody else's.
    Foreign,
    /// It was ours; the event is older than our giving it back.
    Stale,
}

/// What came of the wish for a block.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Here is the claim, to be written.
    Claim(Write),
    /// A claim is under way or has to wait; why.
    Wait(String),
    /// No block is left.
    Full,
}

impl Claims {
    pub(super) fn new(owner: Owner) -> Self {
        let epoch = owner.first_epoch.saturating_sub(1);
        Self {
            owner,
            reserved: Reserved::default(),
            epoch,
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            contested: BTreeMap::new(),
            given_back: BTreeMap::new(),
            trouble: BTreeMap::new(),
        }
    }

    /// The datastore shows a block.
    pub(super) fn put(&mut self, block: &IpamBlock) -> Verdict {
        self.epoch = self.epoch.max(block.epoch);
        let ours = block.node == self.owner.node && block.node_uid == self.owner.uid;
        if ours && self.given_back.get(&block.cidr).is_some_and(|epoch| block.epoch <= *epoch) {
            return Verdict::Stale;
        }
        // What an owner has said to a claim of a former run must not be taken for his word to one of this run.
        let said = block.lent.iter().filter(|lent| lent.node == self.owner.node).map(|lent| lent.epoch);
        self.epoch = said.fold(self.epoch, u64::max);
        self.contested.remove(&block.cidr);
        self.given_back.remove(&block.cidr);
        self.asked.remove(&block.cidr);
        self.known.insert(block.cidr, block.clone());
        if ours { Verdict::Ours } else { Verdict::Foreign }
    }

    /// The datastore has no such block any more.
    pub(super) fn gone(&mut self, cidr: IpNetwork) {
        self.known.remove(&cidr);
        self.contested.remove(&cidr);
        self.given_back.remove(&cidr);
    }

    /// We gave it back and the datastore has taken it.
    pub(super) fn returned(&mut self, cidr: IpNetwork) {
        if let Some(block) = self.known.remove(&cidr) {
            self.given_back.insert(cidr, block.epoch);
        }
    }

    /// The block that was asked for under this resource name, if any.
    pub(super) fn asked_as(&self, name: &str) -> Option<IpNetwork> {
        self.asked.keys().copied().find(|cidr| block_name(*cidr) == name)
    }

    /// A claim went through. It counts once the datastore shows it; if it never does, somebody has removed it again.
    pub(super) fn won(&mut self, cidr: IpNetwork, now: Time) {
        if let Some(asked) = self.asked.get_mut(&cidr) {
            asked.until = Some(now + CONTESTED);
            self.trouble.remove(&asked.pool);
        }
    }

    /// A claim did not go through.
    pub(super) fn lost(&mut self, cidr: IpNetwork, error: &WriteError, now: Time) {
        let Some(Asked { pool, .. }) = self.asked.remove(&cidr) else { return };
        match error {
            WriteError::Exists { .. } | WriteError::Conflict { .. } => {
                if !self.known.contains_key(&cidr) {
                    self.contested.insert(cidr, now + CONTESTED);
                }
            }
            WriteError::NotFound { .. }
            | WriteError::NoVersion { .. }
            | WriteError::Refused { .. }
            | WriteError::Unavailable { .. } => {
                let pause = self.trouble.get(&pool).map_or(PAUSE.0, |t| (t.pause * 2).min(PAUSE.1));
                let why = error.to_string();
                self.trouble.insert(pool, Trouble { until: Some(now + pause), pause, why });
            }
        }
    }

    /// The next block of `pool` in this node's order.
    pub(super) fn next(&mut self, pool: &Pool, now: Time) -> Wish {
        if let Some(wait) = self.wait(pool, now) {
            return Wish::Wait(wait);
        }
        match self.first_free(pool, now) {
            Some(cidr) => self.claim(cidr, pool),
            None => Wish::Full,
        }
    }

    /// This very block, or one address, which nobody is known to own.
    pub(super) fn this(&mut self, cidr: IpNetwork, pool: &Pool, now: Time) -> Wish {
        if self.asked.contains_key(&cidr) {
            return Wish::Wait(format!("{cidr} is being claimed"));
        }
        if let Some(why) = self.trouble_with(pool, now) {
            return Wish::Wait(why);
        }
        match self.contested.get(&cidr) {
            Some(until) if *until > now => Wish::Wait(format!("somebody else has just claimed {cidr}")),
            _ => self.claim(cidr, pool),
        }
    }

    fn claim(&mut self, cidr: IpNetwork, pool: &Pool) -> Wish {
        self.epoch = self.epoch.saturating_add(1);
        self.asked.insert(cidr, Asked { pool: pool.name.clone(), until: None });
        let block = IpamBlock::claim(cidr, &self.owner.node, &self.owner.uid, self.epoch);
        Wish::Claim(Write::Create(Resource::IpamBlock(block.into())))
    }

    fn wait(&self, pool: &Pool, now: Time) -> Option<String> {
        // A claim of one address is nobody else's business.
        let is_block =
            |cidr: &IpNetwork, asked: &Asked| asked.pool == pool.name && cidr.prefix() == pool.block_len;
        let asked = self.asked.iter().find(|(cidr, asked)| is_block(cidr, asked));
        asked.map(|(cidr, _)| format!("{cidr} is being claimed")).or_else(|| self.trouble_with(pool, now))
    }

    fn trouble_with(&self, pool: &Pool, now: Time) -> Option<String> {
        self.trouble.get(&pool.name).filter(|t| t.until > Some(now)).map(|t| t.why.clone())
    }

    fn first_free(&mut self, pool: &Pool, now: Time) -> Option<IpNetwork> {
        self.contested.retain(|_, until| *until > now);
        let count = block_count(pool.cidr, pool.block_len);
        // No more blocks of the walk can be taken than these cover, so one step more finds a free one or
        // there is none.
        let covered = |block: &IpNetwork| match pool.block_len.checked_sub(block.prefix()) {
            Some(bits) => 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX),
            None => 1,
        };
        let taken =
            self.known.keys().chain(self.contested.keys()).filter(|block| contains(pool.cidr, **block));
        let steps = taken.map(covered).fold(1u128, u128::saturating_add).min(count);
        let mask = count.checked_sub(1)?;
        let (start, stride) = self.order(pool);
        (0..steps)
            .map(|step| start.wrapping_add(step.wrapping_mul(stride)) & mask)
            .filter_map(|index| block_at(pool.cidr, pool.block_len, index))
            .find(|cidr| {
                !self.contested.contains_key(cidr)
                    && self.overlapping(*cidr).is_none()
                    && !self.reserved.is_all_of(*cidr)
            })
    }

    fn order(&self, pool: &Pool) -> (u128, u128) {
        let wide = |what: &str| {
            let low = stable(&[what, &self.owner.node, &pool.name]);
            let high = stable(&[&self.owner.node, what, &pool.name]);
            u128::from(high) << 64 | u128::from(low)
        };
        (wide("start"), wide("stride") | 1)
    }

    /// The known block that has an address in common with `cidr`. One address of it that somebody has claimed is no
    /// reason not to claim the rest.
    pub(super) fn overlapping(&self, cidr: IpNetwork) -> Option<&IpamBlock> {
        let around = self.around(cidr.network()).filter(|block| block.cidr.prefix() <= cidr.prefix());
        let inside = self.known.range(cidr..).map(|(_, block)| block);
        let mut inside = inside.take_while(|block| contains(cidr, block.cidr));
        around.or_else(|| inside.find(|block| !fixed::is_one(block.cidr)))
    }

    /// The known block that `address` is in.
    pub(super) fn around(&self, address: IpAddr) -> Option<&IpamBlock> {
        let (lengths, _) = block_lengths(IpNetwork::from(address));
        lengths.filter_map(|len| self.known.get(&block_of(address, len)?)).next()
    }

    /// Is a claim of a block of one of these pools under way?
    pub(super) fn any_asked(&self, pools: &[Pool]) -> bool {
        let is_of = |cidr: &IpNetwork, asked: &Asked, pool: &Pool| {
            asked.pool == pool.name && cidr.prefix() == pool.block_len
        };
        self.asked.iter().any(|(cidr, asked)| pools.iter().any(|pool| is_of(cidr, asked, pool)))
    }

    /// When something here is worth another try.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let asked = self.asked.values().filter_map(|asked| asked.until);
        let trouble = self.trouble.values().filter_map(|t| t.until);
        trouble.chain(self.contested.values().copied()).chain(asked).min()
    }

    /// Ends the pauses that are over; their length is remembered until a claim succeeds.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.contested.retain(|_, until| *until > now);
        self.asked.retain(|_, asked| asked.until.is_none_or(|until| until > now));
        for trouble in self.trouble.values_mut() {
            trouble.until = trouble.until.filter(|until| *until > now);
        }
    }

    /// Every known block.
    pub(super) fn known(&self) -> impl Iterator<Item = &IpamBlock> {
        self.known.values()
    }
}
