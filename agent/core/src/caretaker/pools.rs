//! What is said of each pool: how full it is, and whether it is in force.

use std::collections::BTreeMap;

use corduroy_api::block::{block_count, contains};
use corduroy_api::{ConditionSpec, IpPool, IpPoolStatusSpec, Key, Kind};
use corduroy_fabric::{Model, blocks};

/// Of every pool, without times.
pub(super) fn statuses(model: &Model) -> BTreeMap<String, IpPoolStatusSpec> {
    let problems: BTreeMap<Key, String> =
        blocks::problems(model).into_iter().map(|problem| (problem.key, problem.why)).collect();
    let status = |(name, pool): (&String, &std::sync::Arc<IpPool>)| {
        let problem = problems.get(&Key::new(Kind::IpPool, name.clone()));
        (
            name.clone(),
            IpPoolStatusSpec { conditions: Some(vec![in_force(pool, problem)]), ..usage(model, pool) },
        )
    };
    model.pools().iter().map(status).collect()
}

fn usage(model: &Model, pool: &IpPool) -> IpPoolStatusSpec {
    // As Kubernetes' integers go; an IPv6 pool may have more.
    let shown = |n: u128| Some(u64::try_from(n).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs()));
    let total = block_count(pool.cidr, pool.block_size);
    let inside = || model.blocks().values().filter(|block| contains(pool.cidr, block.cidr));
    // A claim of another length (the pool was made anew) may take several blocks, or a part of one.
    let taken = inside().map(|block| block_count(block.cidr, pool.block_size).max(1)).sum::<u128>();
    let host_bits = (if pool.cidr.is_ipv4() { 32u8 } else { 128 }).saturating_sub(pool.cidr.prefix());
    IpPoolStatusSpec {
        addresses: shown(1u128.checked_shl(u32::from(host_bits)).unwrap_or(u128::MAX)),
        blocks: shown(total),
        blocks_claimed: shown(inside().count() as u128),
        blocks_free: shown(total.saturating_sub(taken)),
        conditions: None,
    }
}

fn in_force(pool: &IpPool, problem: Option<&String>) -> ConditionSpec {
    let (status, reason, message) = match problem {
        Some(why) => ("False", "Overlapping", why.clone()),
        None if pool.disabled => {
            ("True", "Disabled", "addresses in use stay; no new blocks are claimed of it".to_owned())
        }
        None => ("True", "InForce", "nodes that it selects claim blocks of it".to_owned()),
    };
    ConditionSpec {
        kind: Some("InForce".to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        ..ConditionSpec::default()
    }
}

/// The status to be written where `standing` stands, or `None` when that says the same already. A condition keeps the
/// time of its last change; a changed one gets `now` (RFC 3339).
#[must_use]
pub fn due(
    wanted: &IpPoolStatusSpec,
    standing: &IpPoolStatusSpec,
    generation: u64,
    now: &str,
) -> Option<IpPoolStatusSpec> {
    let before = |kind: &Option<String>| standing.conditions.iter().flatten().find(|c| c.kind == *kind);
    let complete = |condition: &ConditionSpec| {
        let same = before(&condition.kind).filter(|before| before.status == condition.status);
        let time = same.and_then(|before| before.last_transition_time.clone());
        ConditionSpec {
            observed_generation: Some(generation),
            last_transition_time: Some(time.unwrap_or_else(|| now.to_owned())),
            ..condition.clone()
        }
    };
    let ours: Vec<ConditionSpec> = wanted.conditions.iter().flatten().map(complete).collect();
    // Conditions of other types are somebody else's.
    let is_ours = |condition: &&ConditionSpec| ours.iter().any(|own| own.kind == condition.kind);
    let others: Vec<_> = standing.conditions.iter().flatten().filter(|c| !is_ours(c)).cloned().collect();
    let conditions = Some(ours.iter().cloned().chain(others).collect());
    let mut complete = IpPoolStatusSpec { conditions, ..wanted.clone() };
    // Their order is nobody's news.
    let mut there = standing.clone();
    for status in [&mut complete, &mut there] {
        status.conditions.iter_mut().for_each(|all| all.sort_by(|a, b| a.kind.cmp(&b.kind)));
    }
    (complete != there).then_some(complete)
}

#[cfg(test)]
mod tests;
