//! The policies that are in force here.

use std::collections::BTreeMap;

use corduroy_ipc::policy::{Counted, PolicyShow, ShownPolicy, ShownRule};
use corduroy_kernel::nft;
use corduroy_policy::engine::Listed;
use corduroy_policy::normal::Order;
use corduroy_policy::{Count, Direction, Origin, PolicyId, RuleRef};

use crate::known::Known;

/// There is no such policy in force here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no policy {0:?} selects a pod or HostEndpoint of this node: `cordctl policy show` lists those that do"
)]
pub struct NoSuchPolicy(String);

/// What is in force here, with what the kernel's rules have counted; only the policy `name`, if one is named.
///
/// # Errors
/// [`NoSuchPolicy`].
pub fn show(known: &Known, name: Option<&str>, counted: &[nft::Counted]) -> Result<PolicyShow, NoSuchPolicy> {
    let engine = known.policies.engine();
    let counts = engine.counts(counted);
    let is_meant = |id: &PolicyId| name.is_none_or(|name| *id.name == *name || id.to_string() == name);
    let listed = engine.in_force().into_iter().filter(|listed| is_meant(&listed.policy.id));
    let policies: Vec<ShownPolicy> = listed.map(|listed| shown(&listed, &counts)).collect();
    let broken: Vec<String> = engine
        .broken()
        .filter(|(id, _)| is_meant(id))
        .map(|(id, why)| format!("{id}: {}", why.join("; ")))
        .collect();
    if policies.is_empty()
        && broken.is_empty()
        && let Some(name) = name
    {
        return Err(NoSuchPolicy(name.to_owned()));
    }
    let homeless = engine.homeless().filter(|(id, _)| is_meant(id));
    let warnings = engine.warnings().into_iter().filter(|warning| is_meant(&warning.rule.policy));
    Ok(PolicyShow {
        generation: known.policies.generation().number(),
        policies,
        broken,
        homeless: homeless.map(|(id, tier)| format!("{id}: tier {tier:?}")).collect(),
        warnings: warnings.map(|warning| warning.to_string()).collect(),
    })
}

fn shown(listed: &Listed<'_>, counts: &BTreeMap<Origin, Count>) -> ShownPolicy {
    let policy = listed.policy;
    let mut rules = Vec::new();
    for direction in Direction::ALL {
        let all = policy.rules(direction).unwrap_or_default();
        for rule in all.chunk_by(|a, b| a.origin == b.origin).filter_map(<[_]>::first) {
            let at = RuleRef { policy: policy.id.clone(), direction, rule: rule.origin };
            let count = counts.get(&Origin::Rule(at, rule.action));
            rules.push(ShownRule {
                direction: direction.to_string(),
                rule: rule.origin as u64,
                action: format!("{:?}", rule.action),
                counted: count.map(|count| Counted { packets: count.packets, bytes: count.bytes }),
            });
        }
    }
    ShownPolicy {
        policy: policy.id.to_string(),
        tier: policy.tier.clone(),
        tier_order: order(listed.tier.order),
        order: order(policy.order),
        selects: listed.selects.iter().map(|key| key.name.to_string()).collect(),
        rules,
    }
}

fn order(order: Order) -> Option<String> {
    match order {
        Order::At(number) => Some(number.get().to_string()),
        Order::Last => None,
    }
}
