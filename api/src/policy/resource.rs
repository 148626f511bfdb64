//! A policy kind as a resource: what was read of it, and its `spec:` as it was given.
//!
//! The eight kinds share one form, [`PolicyResource`], because whoever stores, sends or writes them does the same with
//! all: only the policy engine looks into the [body](PolicyBody). The `spec:` is kept as it came, so that it is written
//! as its author wrote it; the body is what it means, and says what is [broken](PolicyBody::broken) about it.

use super::cluster::ClusterNetworkPolicy;
use super::host::HostEndpoint;
use super::own::{GlobalNetworkPolicy, NetworkPolicy};
use super::sets::{GlobalNetworkSet, NetworkSet};
use super::tier::Tier;
use super::{Judged, kubernetes};
use crate::meta::{Kind, Metadata};
use crate::report::Violations;
use crate::yaml::Value;

/// A resource of one of the policy kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyResource {
    /// Name (`namespace/name` of a kind that has namespaces), labels and so on.
    pub metadata: Metadata,
    /// `spec:` as it was given.
    pub spec: Value,
    /// What it means.
    pub body: PolicyBody,
}

/// What a resource of a policy kind means. Their own metadata has name and labels and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyBody {
    /// `NetworkPolicy` of `networking.k8s.io`.
    Kubernetes(Judged<kubernetes::NetworkPolicy>),
    /// `ClusterNetworkPolicy` of `policy.networking.k8s.io`.
    Cluster(Judged<ClusterNetworkPolicy>),
    /// Our `NetworkPolicy`.
    Network(Judged<NetworkPolicy>),
    /// Our `GlobalNetworkPolicy`.
    Global(Judged<GlobalNetworkPolicy>),
    /// Policies that are asked together.
    Tier(Tier),
    /// Networks of one namespace.
    NetworkSet(NetworkSet),
    /// Networks of no namespace.
    GlobalNetworkSet(GlobalNetworkSet),
    /// Interfaces of a host.
    HostEndpoint(HostEndpoint),
}

impl PolicyResource {
    /// Reads the `spec:` of a resource of `kind`. Of a kind that has namespaces the name is `namespace/name`. `None`
    /// when `kind` is no policy kind.
    ///
    /// # Errors
    /// Everything that is wrong with it, when it can't even be kept as broken.
    pub fn read(kind: Kind, metadata: Metadata, spec: Value) -> Option<Result<Self, Violations>> {
        let (namespace, name) = metadata.name.split_once('/').unwrap_or(("", &metadata.name));
        let own = Metadata { name: name.to_owned(), labels: metadata.labels.clone(), ..Metadata::default() };
        let body = match kind {
            Kind::KubernetesNetworkPolicy => {
                kubernetes::NetworkPolicy::read(namespace, own, &spec).map(PolicyBody::Kubernetes)
            }
            Kind::ClusterNetworkPolicy => ClusterNetworkPolicy::read(own, &spec).map(PolicyBody::Cluster),
            Kind::NetworkPolicy => NetworkPolicy::read(namespace, own, &spec).map(PolicyBody::Network),
            Kind::GlobalNetworkPolicy => GlobalNetworkPolicy::read(own, &spec).map(PolicyBody::Global),
            Kind::Tier => Tier::read(own, &spec).map(PolicyBody::Tier),
            Kind::NetworkSet => NetworkSet::read(namespace, own, &spec).map(PolicyBody::NetworkSet),
            Kind::GlobalNetworkSet => GlobalNetworkSet::read(own, &spec).map(PolicyBody::GlobalNetworkSet),
            Kind::HostEndpoint => HostEndpoint::read(own, &spec).map(PolicyBody::HostEndpoint),
            _ => return None,
        };
        Some(body.map(|body| Self { metadata, spec, body }))
    }
}

impl PolicyBody {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kubernetes(_) => Kind::KubernetesNetworkPolicy,
            Self::Cluster(_) => Kind::ClusterNetworkPolicy,
            Self::Network(_) => Kind::NetworkPolicy,
            Self::Global(_) => Kind::GlobalNetworkPolicy,
            Self::Tier(_) => Kind::Tier,
            Self::NetworkSet(_) => Kind::NetworkSet,
            Self::GlobalNetworkSet(_) => Kind::GlobalNetworkSet,
            Self::HostEndpoint(_) => Kind::HostEndpoint,
        }
    }

    /// What is wrong with a policy that is in force all the same: it denies in every direction it has.
    #[must_use]
    pub fn broken(&self) -> Option<&Violations> {
        match self {
            Self::Kubernetes(judged) => judged.broken.as_ref(),
            Self::Cluster(judged) => judged.broken.as_ref(),
            Self::Network(judged) => judged.broken.as_ref(),
            Self::Global(judged) => judged.broken.as_ref(),
            Self::Tier(_) | Self::NetworkSet(_) | Self::GlobalNetworkSet(_) | Self::HostEndpoint(_) => None,
        }
    }

    /// The tier it names (or is in by saying nothing), if it is a policy of ours.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        match self {
            Self::Network(judged) => Some(&judged.policy.body.tier),
            Self::Global(judged) => Some(&judged.policy.body.tier),
            _ => None,
        }
    }
}
