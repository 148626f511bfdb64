//! How policies stand, and what belongs to them.

use corduroy_api::policy::tier::Tier;
use corduroy_api::policy::{PolicyBody, PolicyResource, own};
use corduroy_api::{Invalid, Key, Kind, Violations};

use super::{Findings, Reason};
use crate::{Model, Problem};

/// What is to be said of every resource of a policy kind of ours, with what is said when nothing was found.
pub(super) fn findings(model: &Model) -> impl Iterator<Item = (&Key, Findings, &'static str)> {
    let ours = model.policies().iter().filter(|(key, _)| key.kind.is_ours());
    ours.map(|(key, policy)| {
        let in_force = match policy.body {
            PolicyBody::Tier(_) => "its policies are asked in its place",
            PolicyBody::NetworkSet(_) | PolicyBody::GlobalNetworkSet(_) => "selectors of policies find it",
            PolicyBody::HostEndpoint(_) => "policies that select it apply on its node",
            _ => "it applies to what it selects",
        };
        (key, judge(model, policy), in_force)
    })
}

fn judge(model: &Model, policy: &PolicyResource) -> Findings {
    let mut found = Findings::default();
    if let Some(Violations(all)) = policy.body.broken() {
        found.0.extend(all.iter().map(|invalid| (Reason::Invalid, invalid.to_string())));
        found.0.push((Reason::Invalid, DENIES.to_owned()));
    }
    if let Some(tier) = policy.body.tier().filter(|tier| !is_there(model, tier)) {
        let why = format!(
            "there is no Tier {tier}; until there is, the policy comes behind all tiers, and what it selects and does \
             not allow is denied"
        );
        found.add(Reason::NoTier, "spec.tier", why);
    }
    if let PolicyBody::HostEndpoint(endpoint) = &policy.body
        && !model.nodes().contains_key(&endpoint.node)
    {
        found.add(Reason::NoNode, "spec.node", format!("there is no FabricNode {}", endpoint.node));
    }
    found
}

const DENIES: &str = "until that is mended it denies what it selects, in every direction it has";

fn is_there(model: &Model, tier: &str) -> bool {
    [own::DEFAULT_TIER, Tier::KUBE_ADMIN, Tier::KUBE_BASELINE].contains(&tier)
        || model.policies().contains_key(&Key::new(Kind::Tier, tier))
}

/// What is wrong with policies that are in force all the same, those of Kubernetes included.
pub(crate) fn problems(model: &Model) -> Vec<Problem> {
    let mut out = Vec::new();
    for (key, policy) in model.policies() {
        let mut note = |invalid: &Invalid, instead: &str| {
            let value =
                invalid.value.as_deref().map_or("missing".to_owned(), |v| format!("{v} is not allowed"));
            let why = format!("{value}: {}; {instead}", invalid.allowed);
            out.push(Problem { key: key.clone(), field: invalid.field.to_string(), why });
        };
        policy.body.broken().into_iter().flat_map(|v| &v.0).for_each(|invalid| note(invalid, DENIES));
        if let PolicyBody::Cluster(judged) = &policy.body {
            let rules = judged.policy.ingress.iter().chain(&judged.policy.egress);
            let broken = rules.filter_map(|rule| rule.broken.as_ref()).flat_map(|v| &v.0);
            broken.for_each(|invalid| {
                note(invalid, "a rule to accept matches nothing then, another one denies all");
            });
        }
    }
    out
}
