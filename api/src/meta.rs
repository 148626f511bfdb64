//! Names, labels and the identity of a resource.

use std::collections::BTreeMap;
use std::fmt;

use crate::raw::raw;
use crate::report::{Report, quoted};

/// What sort of thing a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Addresses for pods and tunnels.
    IpPool,
    /// A part of a pool that one node owns.
    IpamBlock,
    /// Addresses that are not handed out.
    IpReservation,
    /// What every node must know of every other.
    FabricNode,
    /// Settings of the fabric's BGP as a whole.
    BgpConfiguration,
    /// Sessions beside (or instead of) the mesh.
    BgpPeer,
    /// Import and export rules.
    BgpFilter,
    /// Passwords, referred to by name and key.
    Secret,
    /// A namespace of the cluster.
    Namespace,
    /// A pod of this node.
    Pod,
    /// The addresses of services, out of the Kubernetes core.
    Service,
    /// Where the endpoints of services are, out of the Kubernetes core.
    EndpointSlice,
    /// All endpoints of a service that policies name, out of its slices.
    ServiceEndpoints,
    /// Who may send what to the pods of a namespace, out of Kubernetes' `networking.k8s.io`.
    KubernetesNetworkPolicy,
    /// What the cluster's administrator says before and behind those, out of `policy.networking.k8s.io`.
    ClusterNetworkPolicy,
    /// Who may send what to the pods of a namespace; ours.
    NetworkPolicy,
    /// Who may send what to whom, in all namespaces and to hosts.
    GlobalNetworkPolicy,
    /// Policies that are asked together.
    Tier,
    /// Networks of a namespace, with labels.
    NetworkSet,
    /// Networks with labels.
    GlobalNetworkSet,
    /// Interfaces of hosts, made known to policies.
    HostEndpoint,
    /// A pod of another node.
    RemotePod,
    /// What pods act as, out of the Kubernetes core.
    ServiceAccount,
}

impl Kind {
    /// Every kind, in the order in which a reader should learn of them: what others refer to comes first.
    pub const ALL: [Self; 23] = [
        Self::Secret,
        Self::BgpFilter,
        Self::BgpConfiguration,
        Self::FabricNode,
        Self::BgpPeer,
        Self::Namespace,
        Self::IpReservation,
        Self::IpPool,
        Self::IpamBlock,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceAccount,
        Self::RemotePod,
        Self::ServiceEndpoints,
        Self::NetworkSet,
        Self::GlobalNetworkSet,
        Self::HostEndpoint,
        Self::Tier,
        Self::KubernetesNetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::NetworkPolicy,
        Self::GlobalNetworkPolicy,
    ];

    /// Those of policies, as [`PolicyResource`](crate::policy::PolicyResource) has them.
    pub const POLICIES: [Self; 8] = [
        Self::NetworkSet,
        Self::GlobalNetworkSet,
        Self::HostEndpoint,
        Self::Tier,
        Self::KubernetesNetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::NetworkPolicy,
        Self::GlobalNetworkPolicy,
    ];

    /// What it is called, and no other is: as `kind:` has it, and with its group where another kind is called the same.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpPool => "IPPool",
            Self::IpamBlock => "IPAMBlock",
            Self::FabricNode => "FabricNode",
            Self::BgpConfiguration => "BGPConfiguration",
            Self::BgpPeer => "BGPPeer",
            Self::BgpFilter => "BGPFilter",
            Self::IpReservation => "IPReservation",
            Self::Secret => "Secret",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceEndpoints => "ServiceEndpoints",
            Self::KubernetesNetworkPolicy => "NetworkPolicy.networking.k8s.io",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::Tier => "Tier",
            Self::NetworkSet => "NetworkSet",
            Self::GlobalNetworkSet => "GlobalNetworkSet",
            Self::HostEndpoint => "HostEndpoint",
            Self::RemotePod => "RemotePod",
            Self::ServiceAccount => "ServiceAccount",
        }
    }

    /// What `kind:` says in a document of it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::KubernetesNetworkPolicy => Self::NetworkPolicy.name(),
            Self::RemotePod => Self::Pod.name(),
            Self::ServiceEndpoints => Self::EndpointSlice.name(),
            kind => kind.name(),
        }
    }

    /// What `apiVersion:` says in a document of it.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Secret
            | Self::Namespace
            | Self::Pod
            | Self::RemotePod
            | Self::Service
            | Self::ServiceAccount => "v1",
            Self::EndpointSlice | Self::ServiceEndpoints => "discovery.k8s.io/v1",
            Self::KubernetesNetworkPolicy => "networking.k8s.io/v1",
            Self::ClusterNetworkPolicy => "policy.networking.k8s.io/v1alpha2",
            _ => crate::API_VERSION,
        }
    }

    /// Can it be written as YAML of ours? The others are Kubernetes': referred to, or read and never written.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self.api_version() == crate::API_VERSION
    }

    /// Is it a kind of policies, or of what only policies speak of?
    #[must_use]
    pub fn is_policy(self) -> bool {
        Self::POLICIES.contains(&self)
    }

    /// Are its resources in namespaces? Their names are `namespace/name` then. (Secrets are, but all that is read are
    /// in one and known by their bare names.)
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        [
            Self::Pod,
            Self::RemotePod,
            Self::Service,
            Self::EndpointSlice,
            Self::ServiceEndpoints,
            Self::ServiceAccount,
            Self::KubernetesNetworkPolicy,
            Self::NetworkPolicy,
            Self::NetworkSet,
        ]
        .contains(&self)
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What tells one resource from every other. Shown as `IPPool/default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: String,
}

impl Key {
    /// The resource `name` of `kind`.
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Labels by key, as selectors see them.
pub type Labels = BTreeMap<String, String>;

/// What every resource says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// A DNS subdomain (two with a `/` between them for an object in a namespace): lower-case letters, digits, `-` and
    /// `.`, at most 253 characters.
    pub name: String,
    /// What selectors choose by.
    pub labels: Labels,
    /// Notes for people and tools; those of pods and namespaces that are read are in [`crate::addressing`].
    pub annotations: BTreeMap<String, String>,
    /// Identity across deletion and re-creation, where the datastore gives one.
    pub uid: Option<String>,
    /// The datastore's word for this state of the resource: opaque, to be handed back with a write.
    pub resource_version: Option<String>,
}

impl Metadata {
    /// Metadata with a name and nothing else.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The metadata of a resource of `kind`, or of one whose kind can't be told.
    pub(crate) fn check(raw: &RawMetadata, kind: Option<Kind>, report: &mut Report) -> Option<Self> {
        if raw.name.is_none() {
            report.missing("name", NAME);
        }
        let name = report.parsed("name", raw.name.as_ref(), NAME, |n| is_name(n).then(|| n.to_owned()));
        let name = match (kind.map(Kind::is_namespaced), &raw.namespace) {
            (Some(true), given) => {
                let namespace = given.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
                let fine = |n: &str| (is_name(n) && !n.contains('.') && n.len() <= 63).then(|| n.to_owned());
                let namespace = report.parsed("namespace", Some(&namespace), NAMESPACE, fine);
                name.zip(namespace).map(|(name, namespace)| format!("{namespace}/{name}"))
            }
            (Some(false), Some(given)) => {
                report.refuse_field("namespace", quoted(given), "left out: this kind is in no namespace");
                None
            }
            (Some(false), None) | (None, _) => name,
        };
        let labels = raw.labels.clone().unwrap_or_default();
        report.within("labels", |r| check_labels(&labels, r));
        Some(Self {
            name: name?,
            labels,
            annotations: raw.annotations.clone().unwrap_or_default(),
            uid: raw.uid.clone(),
            resource_version: raw.resource_version.clone(),
        })
    }

    /// As it is written; the resource version is left out, since it describes what stands in the datastore.
    pub(crate) fn raw(&self) -> RawMetadata {
        let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
        let (namespace, name) = match self.name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, self.name.as_str()),
        };
        RawMetadata {
            name: Some(name.to_owned()),
            namespace,
            labels: some(&self.labels),
            annotations: some(&self.annotations),
            uid: self.uid.clone(),
            ..RawMetadata::default()
        }
    }
}

raw! {
    /// `metadata:` as it stands in YAML. The last six fields are what `kubectl get -o yaml` adds; they are let pass so
    /// that its output can be used as a file, and mean nothing here.
    pub struct RawMetadata {
        /// The name.
        name: String = "name",
        /// The namespace, of a kind that has them.
        namespace: String = "namespace",
        /// What selectors choose by.
        labels: BTreeMap<String, String> = "labels",
        /// Notes.
        annotations: BTreeMap<String, String> = "annotations",
        /// Identity.
        uid: String = "uid",
        /// State.
        resource_version: String = "resourceVersion",
        /// Kubernetes.
        creation_timestamp: serde_yaml::Value = "creationTimestamp",
        /// Kubernetes.
        generation: serde_yaml::Value = "generation",
        /// Kubernetes.
        managed_fields: serde_yaml::Value = "managedFields",
        /// Kubernetes.
        self_link: serde_yaml::Value = "selfLink",
        /// Kubernetes.
        owner_references: serde_yaml::Value = "ownerReferences",
        /// Kubernetes.
        finalizers: serde_yaml::Value = "finalizers",
    }
}

impl crate::raw::Raw for serde_yaml::Value {
    fn read(value: &serde_yaml::Value, _: &mut Report) -> Option<Self> {
        Some(value.clone())
    }

    fn schema() -> crate::schema::Schema {
        crate::schema::Schema::anything()
    }
}

/// The namespace of what names none.
const DEFAULT_NAMESPACE: &str = "default";

const NAMESPACE: &str = "a name of lower-case letters, digits and '-', beginning and ending with a letter or digit, at \
                         most 63 characters";

pub(crate) const NAME: &str = "a name of lower-case letters, digits, '-' and '.', beginning and ending with a letter \
                               or digit, at most 253 characters";

/// Is this a DNS subdomain (RFC 1123), as Kubernetes wants of names?
pub(crate) fn is_name(name: &str) -> bool {
    let part = |p: &str| {
        let inner = p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !p.is_empty() && !p.starts_with('-') && !p.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

fn check_labels(labels: &Labels, report: &mut Report) {
    for (key, value) in labels {
        let bare = key.rsplit('/').next().unwrap_or(key);
        if key.split('/').count() > 2 || !is_label_word(bare) || bare.is_empty() {
            let allowed = "label keys of letters, digits, '-', '_' and '.', at most 63, with at most one '/'";
            report.refuse(quoted(key), allowed);
        }
        if !is_label_word(value) {
            report.refuse_field(
                key,
                quoted(value),
                "letters, digits, '-', '_' and '.', at most 63 characters",
            );
        }
    }
}

fn is_label_word(word: &str) -> bool {
    let inner = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let end = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    word.len() <= 63 && inner && end(word.bytes().next()) && end(word.bytes().last())
}
