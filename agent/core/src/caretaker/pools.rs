//! How full pools are.

use corduroy_api::block::{block_count, contains};
use corduroy_api::{IpPool, IpPoolStatusSpec};
use corduroy_fabric::{Model, blocks};

/// The numbers of one, and nothing else.
pub(super) fn usage(model: &Model, pool: &IpPool) -> IpPoolStatusSpec {
    // As Kubernetes' integers go; an IPv6 pool may have more.
    let shown = |n: u128| Some(u64::try_from(n).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs()));
    let total = block_count(pool.cidr, pool.block_size);
    let inside = || model.blocks().values().filter(|block| contains(pool.cidr, block.cidr));
    // A claim of another length (the pool was made anew) may take several blocks, or a part of one.
    let taken = inside().map(|block| block_count(block.cidr, pool.block_size).max(1)).sum::<u128>();
    IpPoolStatusSpec {
        addresses: shown(blocks::capacity(model, pool).addresses),
        blocks: shown(total),
        blocks_claimed: shown(inside().count() as u128),
        blocks_free: shown(total.saturating_sub(taken)),
        conditions: None,
    }
}
