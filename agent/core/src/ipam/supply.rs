//! When to claim a block and when to give one back.

use std::net::IpAddr;
use std::time::Duration;

use corduroy_api::block::contains;
use corduroy_api::{Resource, Write};
use corduroy_bgp::Time;
use corduroy_kernel::{Family, LinkName};
use ipnetwork::IpNetwork;

use super::Pool;
use super::allocator::{Allocator, Effect};
use super::block::{Block, State};
use super::claims::Wish;
use super::fixed;

/// When it is looked again at what a block lends, if nothing was heard of the writing of it.
const AGAIN: Duration = Duration::from_secs(2);

/// How full some blocks are.
#[derive(Clone, Copy, Default)]
struct Fill {
    size: u64,
    ready: u64,
}

impl Fill {
    /// Of these blocks, each with the number of its addresses that are busy.
    fn of<'a>(blocks: impl Iterator<Item = (&'a Block, u32)>) -> Self {
        blocks.fold(Self::default(), |sum, (block, busy)| Self {
            size: sum.size + u64::from(block.ready()) + u64::from(busy),
            ready: sum.ready + u64::from(block.ready()),
        })
    }
    /// Three quarters or more are in use or rest: time for another block.
    fn is_short(self) -> bool {
        self.ready * 4 <= self.size
    }
    /// Half or more is ready: one more block would not be missed.
    fn is_ample(self) -> bool {
        self.size > 0 && self.ready * 2 >= self.size
    }
}

impl Allocator {
    /// Claims what is short and lets go what is too much. Cheap; called after every change.
    pub(super) fn balance(&mut self, now: Time) {
        if !self.in_sync {
            return;
        }
        for family in Family::ALL {
            self.supply(family, now);
            self.let_go(family, now);
        }
        self.lend(now);
    }

    /// Writes which addresses of this node's blocks other nodes have claimed and may have.
    fn lend(&mut self, now: Time) {
        let due = |block: &&Block| block.is_ours() && block.lending.is_none();
        let blocks: Vec<IpNetwork> = self.blocks.values().filter(due).map(|block| block.cidr).collect();
        for cidr in blocks {
            let wanted = self.claims.to_lend(cidr, |address| self.used.contains_key(&address));
            if let Some(update) = wanted
                && let Some(block) = self.blocks.get_mut(&cidr)
            {
                block.lending = Some(now + AGAIN);
                self.effects.push_back(Effect::Write(Write::Update(Resource::IpamBlock(update.into()))));
            }
        }
    }

    fn supply(&mut self, family: Family, now: Time) {
        let feeds = |pool: &&Pool| pool.is_general() && !pool.given && pool.family() == family;
        let pools: Vec<Pool> = self.pools.values().filter(feeds).cloned().collect();
        let of_pools = |block: &&Block| {
            !self.is_fixed(block.cidr) && pools.iter().any(|pool| contains(pool.cidr, block.cidr))
        };
        let serving = self.blocks.values().filter(|block| block.state == State::Serving);
        if !Fill::of(serving.filter(of_pools).map(|block| (block, self.busy_of(block.cidr)))).is_short() {
            return;
        }
        let leaving = self.blocks.values().filter(|block| matches!(block.state, State::Leaving(_)));
        if let Some(cidr) = leaving.filter(of_pools).map(|block| block.cidr).next() {
            return self.turn(cidr, State::Serving);
        }
        if self.claims.any_asked(&pools) {
            return;
        }
        for pool in &pools {
            match self.claims.next(pool, now) {
                Wish::Claim(write) => return self.effects.push_back(Effect::Write(write)),
                Wish::Wait(_) => return,
                Wish::Full => {}
            }
        }
    }

    fn let_go(&mut self, family: Family, now: Time) {
        let spare = |block: &&Block| {
            let is_idle = block.state == State::Serving && self.busy_of(block.cidr) == 0;
            if !is_idle || Family::of(block.cidr.ip()) != family || self.is_given(block.cidr) {
                return false;
            }
            let is_general = |cidr: IpNetwork| self.pool_of(cidr).is_some_and(Pool::is_general);
            if self.is_fixed(block.cidr) || !is_general(block.cidr) || block.ready() == 0 {
                return true;
            }
            let others = self.blocks.values().filter(|other| {
                other.state == State::Serving
                    && other.cidr != block.cidr
                    && Family::of(other.cidr.ip()) == family
                    && !self.is_fixed(other.cidr)
                    && is_general(other.cidr)
            });
            Fill::of(others.map(|other| (other, self.busy_of(other.cidr)))).is_ample()
        };
        if let Some(cidr) = self.blocks.values().rev().find(spare).map(|block| block.cidr) {
            let fixed = self.is_fixed(cidr);
            let linger = if fixed { self.settings.linger_fixed } else { self.settings.linger };
            self.turn(cidr, State::Leaving(now + linger));
        }
    }

    /// The datastore confirms that the block is ours.
    pub(super) fn adopt(&mut self, cidr: IpNetwork, version: String) {
        if let Some(block) = self.blocks.get_mut(&cidr) {
            (block.version, block.lending) = (version, None);
            return;
        }
        let block = Block::new(cidr, version, |address| self.is_withheld(cidr, address));
        self.blocks.insert(cidr, block);
    }

    /// Is this address of a block of ours none to hand out to whoever comes?
    pub(super) fn is_withheld(&self, block: IpNetwork, address: IpAddr) -> bool {
        let claimed = self.claims.fixed(address).is_some_and(|claim| claim.cidr != block);
        let busy = self.used.contains_key(&address) || self.resting.contains(address);
        busy || claimed || self.claims.reserved.contains(address)
    }

    /// The blocks of pools that were given to this node are these pools.
    pub(super) fn take_given(&mut self) {
        let given: Vec<IpNetwork> =
            self.pools.values().filter(|pool| pool.given).map(|pool| pool.cidr).collect();
        self.blocks.retain(|cidr, block| !block.given || given.contains(cidr));
        for cidr in given {
            self.adopt(cidr, String::new());
            if let Some(block) = self.blocks.get_mut(&cidr) {
                block.given = true;
            }
        }
    }

    fn is_given(&self, cidr: IpNetwork) -> bool {
        self.pools.values().any(|pool| pool.given && pool.cidr == cidr)
    }

    /// Is this block one address that was asked for by name, which nobody else is to get?
    pub(super) fn is_fixed(&self, cidr: IpNetwork) -> bool {
        fixed::is_one(cidr)
            && !self.pools.values().any(|pool| contains(pool.cidr, cidr) && pool.block_len == cidr.prefix())
    }

    /// How many addresses of a block are in use or rest.
    pub(super) fn busy_of(&self, cidr: IpNetwork) -> u32 {
        let (first, last) = ends(cidr);
        let busy = self.used.range(first..=last).count() + self.resting.count(first, last);
        u32::try_from(busy).unwrap_or(u32::MAX)
    }

    /// Claims a block that has addresses in use, if it is still a block of a pool.
    pub(super) fn claim_again(&mut self, cidr: IpNetwork, now: Time) {
        let fits = |pool: &&Pool| pool.block_len == cidr.prefix() || fixed::is_one(cidr);
        let Some(pool) = self.pool_of(cidr).filter(fits).cloned() else { return };
        if let Wish::Claim(write) = self.claims.this(cidr, &pool, now) {
            self.effects.push_back(Effect::Write(write));
        }
    }

    /// Changes a block's state, and tells if that changes whether it may be announced.
    pub(super) fn turn(&mut self, cidr: IpNetwork, state: State) {
        let Some(block) = self.blocks.get_mut(&cidr) else { return };
        let was_serving = block.state == State::Serving;
        block.state = state;
        if was_serving != (state == State::Serving) {
            self.effects.push_back(Effect::BlockChanged(cidr));
        }
    }

    /// The pool that a block is of.
    pub(super) fn pool_of(&self, cidr: IpNetwork) -> Option<&Pool> {
        self.pools.values().find(|pool| contains(pool.cidr, cidr))
    }

    /// The addresses of a block that are in use.
    pub(super) fn used_of(&self, cidr: IpNetwork) -> impl Iterator<Item = (IpAddr, LinkName)> + '_ {
        let (first, last) = ends(cidr);
        self.used.range(first..=last).map(|(address, holder)| (*address, *holder))
    }
}

/// The first and last address of a block.
fn ends(cidr: IpNetwork) -> (IpAddr, IpAddr) {
    let last = match cidr {
        IpNetwork::V4(v4) => IpAddr::V4(v4.broadcast()),
        IpNetwork::V6(v6) => IpAddr::V6(v6.broadcast()),
    };
    (cidr.network(), last)
}
