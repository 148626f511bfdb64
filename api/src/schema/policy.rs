//! How the policy kinds of ours are named to an API server. The names are those of `projectcalico.org/v3`.

use super::Schema;
use super::crd::{IN_FORCE, Naming};
use crate::meta::Kind;
use crate::policy::{host, own, sets, tier};
use crate::raw::Raw;

/// Where a policy stands among the others.
const ORDER: (&str, &str, &str) = ("Order", "number", ".spec.order");
const TIER: (&str, &str, &str) = ("Tier", "string", ".spec.tier");

pub(super) const POLICY: Naming = Naming {
    kind: Kind::NetworkPolicy.name(),
    plural: "networkpolicies",
    short: "cnetpol",
    about: "Who may send what to the pods of this namespace, and what they may send.",
    columns: &[TIER, ORDER, ("Selector", "string", ".spec.selector"), IN_FORCE],
    selectable: &[],
};

pub(super) const GLOBAL_POLICY: Naming = Naming {
    kind: Kind::GlobalNetworkPolicy.name(),
    plural: "globalnetworkpolicies",
    short: "gnp",
    about: "Who may send what to pods of all namespaces and to hosts, and what they may send.",
    columns: &[TIER, ORDER, ("Selector", "string", ".spec.selector"), IN_FORCE],
    selectable: &[],
};

pub(super) const TIERS: Naming = Naming {
    kind: Kind::Tier.name(),
    plural: "tiers",
    short: "ctier",
    about: "Policies that are asked together, before or behind those of other tiers.",
    columns: &[ORDER, ("Default-Action", "string", ".spec.defaultAction"), IN_FORCE],
    selectable: &[],
};

pub(super) const NETWORK_SET: Naming = Naming {
    kind: Kind::NetworkSet.name(),
    plural: "networksets",
    short: "netset",
    about: "Networks with labels, which the selectors of this namespace's policies find beside pods.",
    columns: &[("Nets", "string", ".spec.nets"), IN_FORCE],
    selectable: &[],
};

pub(super) const GLOBAL_NETWORK_SET: Naming = Naming {
    kind: Kind::GlobalNetworkSet.name(),
    plural: "globalnetworksets",
    short: "gns",
    about: "Networks with labels, which the selectors of policies find beside pods and hosts.",
    columns: &[("Nets", "string", ".spec.nets"), IN_FORCE],
    selectable: &[],
};

pub(super) const HOST_ENDPOINT: Naming = Naming {
    kind: Kind::HostEndpoint.name(),
    plural: "hostendpoints",
    short: "hep",
    about: "Interfaces of a host, made known to policies.",
    columns: &[
        ("Node", "string", ".spec.node"),
        ("Interface", "string", ".spec.interfaceName"),
        ("IPs", "string", ".spec.expectedIPs"),
        IN_FORCE,
    ],
    selectable: &[],
};

/// The names and the `spec:` of a policy kind; `None` when it is not ours to define.
pub(super) fn of(kind: Kind) -> Option<(Naming, Schema)> {
    Some(match kind {
        Kind::NetworkPolicy => (POLICY, own::NetworkPolicySpec::schema()),
        Kind::GlobalNetworkPolicy => (GLOBAL_POLICY, own::GlobalNetworkPolicySpec::schema()),
        Kind::Tier => (TIERS, tier::TierSpec::schema()),
        Kind::NetworkSet => (NETWORK_SET, sets::NetworkSetSpec::schema()),
        Kind::GlobalNetworkSet => (GLOBAL_NETWORK_SET, sets::NetworkSetSpec::schema()),
        Kind::HostEndpoint => (HOST_ENDPOINT, host::HostEndpointSpec::schema()),
        _ => return None,
    })
}
