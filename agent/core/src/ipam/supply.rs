//! When to claim a block and when to give one back.

use std::net::IpAddr;

use corduroy_api::block::{address_at, block_size, contains};
use corduroy_bgp::Time;
use corduroy_kernel::{Family, LinkName};
use ipnetwork::IpNetwork;

use super::Pool;
use super::allocator::{Allocator, Effect};
use super::block::{Block, State};
use super::claims::Wish;

/// How full some blocks are.
#[derive(Clone, Copy, Default)]
struct Fill {
    size: u64,
    ready: u64,
}

impl Fill {
    fn of<'a>(blocks: impl Iterator<Item = &'a Block>) -> Self {
        blocks.fold(Self::default(), |sum, block| Self {
            size: sum.size + u64::from(block.size()),
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
    }

    fn supply(&mut self, family: Family, now: Time) {
        let feeds = |pool: &&Pool| pool.automatic && pool.for_pods && pool.family() == family;
        let pools: Vec<Pool> = self.pools.values().filter(feeds).cloned().collect();
        let of_pools = |block: &&Block| pools.iter().any(|pool| contains(pool.cidr, block.cidr));
        let serving = self.blocks.values().filter(|block| block.state == State::Serving);
        if !Fill::of(serving.filter(of_pools)).is_short() {
            return;
        }
        let leaving = self.blocks.values().filter(|block| matches!(block.state, State::Leaving(_)));
        if let Some(cidr) = leaving.filter(of_pools).map(|block| block.cidr).next() {
            return self.turn(cidr, State::Serving);
        }
        if self.claims.any_asked(|name| pools.iter().any(|pool| pool.name == name)) {
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
            if block.state != State::Serving || !block.is_empty() || Family::of(block.cidr.ip()) != family {
                return false;
            }
            let same_use = |cidr: IpNetwork| self.pool_of(cidr).map(|pool| (pool.automatic, pool.for_pods));
            match same_use(block.cidr) {
                None => true,
                Some((false, _) | (_, false)) => true,
                Some(both) => {
                    let others = self.blocks.values().filter(|other| {
                        other.state == State::Serving
                            && other.cidr != block.cidr
                            && Family::of(other.cidr.ip()) == family
                            && same_use(other.cidr) == Some(both)
                    });
                    Fill::of(others).is_ample()
                }
            }
        };
        if let Some(cidr) = self.blocks.values().rev().find(spare).map(|block| block.cidr) {
            self.turn(cidr, State::Leaving(now + self.settings.linger));
        }
    }

    /// The datastore confirms that the block is ours.
    pub(super) fn adopt(&mut self, cidr: IpNetwork, version: String) {
        if let Some(block) = self.blocks.get_mut(&cidr) {
            block.version = version;
            return;
        }
        let busy = |address| self.used.contains_key(&address) || self.resting.contains(address);
        let block = Block::new(cidr, version, busy);
        self.blocks.insert(cidr, block);
    }

    /// Claims a block that has addresses in use, if it is still a block of a pool.
    pub(super) fn claim_again(&mut self, cidr: IpNetwork, now: Time) {
        let Some(pool) = self.pool_of(cidr).filter(|pool| pool.block_len == cidr.prefix()).cloned() else {
            return;
        };
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
        let first = cidr.network();
        let last = address_at(cidr, block_size(cidr).saturating_sub(1)).unwrap_or(first);
        self.used.range(first..=last).map(|(address, holder)| (*address, *holder))
    }
}
