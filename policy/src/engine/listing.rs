//! The policies that are in force here, as a person wants to see them.

use std::collections::BTreeSet;

use super::{EndpointKey, Engine};
use crate::normal::{Policy, Tier};

/// A policy that selects an endpoint of this node.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// What it says.
    pub policy: &'a Policy,
    /// Its tier.
    pub tier: Tier,
    /// Has anybody made that tier, or is it there without?
    pub has_tier: bool,
    /// Whom it selects here.
    pub selects: BTreeSet<EndpointKey>,
}

/// As [`Engine::in_force`].
pub(super) fn in_force(engine: &Engine) -> Vec<Listed<'_>> {
    let homeless: BTreeSet<_> = engine.homeless().map(|(id, _)| id).collect();
    let selecting = engine.policies.values().filter(|kept| !kept.locals.is_empty());
    let listed = selecting.map(|kept| {
        let name = &kept.policy.tier;
        let tier = engine.tiers.get(name).cloned().unwrap_or_else(|| Tier::given(name));
        let has_tier = !homeless.contains(&kept.policy.id);
        let groups = kept.locals.iter().filter_map(|id| engine.groups.get(*id));
        let selects = groups.flat_map(|group| group.members().iter().cloned()).collect();
        Listed { policy: &kept.policy, tier, has_tier, selects }
    });
    let mut all: Vec<Listed<'_>> = listed.collect();
    all.sort_by(|a, b| {
        let place = |it: &Listed<'_>| (it.tier.order, it.policy.order);
        let (tier_a, order_a) = place(a);
        let (tier_b, order_b) = place(b);
        (tier_a, &a.policy.tier, order_a, &a.policy.id).cmp(&(tier_b, &b.policy.tier, order_b, &b.policy.id))
    });
    all
}
