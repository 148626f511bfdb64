//! `Tier`: policies that are asked together, and what becomes of what none of them decides.

use super::{Number, own};
use crate::meta::Metadata;
use crate::raw::{Raw, raw};
use crate::report::{Report, Violations, quoted};
use crate::yaml::Value;

/// A tier, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Name and so on.
    pub metadata: Metadata,
    /// Its place, lower first; `None`: behind all that have one. That of `default` is 1,000,000.
    pub order: Option<Number>,
    /// What becomes of what its policies were asked about and did not decide.
    pub default_action: DefaultAction,
}

/// What becomes of a packet that a tier's policies were asked about and did not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultAction {
    /// It is dropped.
    #[default]
    Deny,
    /// The next tier says.
    Pass,
}

raw! {
    /// `spec:` of a Tier.
    pub struct TierSpec {
        /// Its place, lower first; last by default.
        order: Number = "order",
        /// Deny (default), Pass.
        default_action: String = "defaultAction" => .words(&["Deny", "Pass"]),
    }
}

impl Tier {
    /// The tier of ClusterNetworkPolicies of the tier Admin.
    pub const KUBE_ADMIN: &str = "kube-admin";
    /// The tier of ClusterNetworkPolicies of the tier Baseline.
    pub const KUBE_BASELINE: &str = "kube-baseline";

    /// Reads the `spec:` of a tier.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(metadata: Metadata, spec: &Value) -> Result<Self, Violations> {
        let mut report = Report::default();
        let given = [Self::KUBE_ADMIN, Self::KUBE_BASELINE];
        if given.contains(&metadata.name.as_str()) {
            let allowed = "a name other than kube-admin and kube-baseline, whose tiers are built in";
            report.within("metadata", |r| r.refuse_field("name", quoted(&metadata.name), allowed));
        }
        let tier = report.within("spec", |r| {
            let raw = TierSpec::read(spec, r)?;
            let words = [("Deny", DefaultAction::Deny), ("Pass", DefaultAction::Pass)];
            let default_action = r.choice("defaultAction", raw.default_action.as_ref(), &words)?;
            let is_default = metadata.name == own::DEFAULT_TIER;
            if let Some(order) = raw.order.filter(|order| is_default && *order != Number::from(1_000_000)) {
                r.refuse_field("order", order.get(), "1000000 for the tier default, or left out");
            }
            // Kubernetes promises that what selects a pod and does not allow something denies it.
            if is_default && default_action != DefaultAction::Deny {
                r.refuse_field("defaultAction", quoted("Pass"), "Deny for the tier default, or left out");
            }
            Some(Self { metadata, order: raw.order, default_action })
        });
        report.finish(tier)
    }
}
