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
}

impl Kind {
    /// Every kind, in the order in which a reader should learn of them: what others refer to comes first.
    pub const ALL: [Self; 12] = [
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
    ];

    /// As `kind:` has it.
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
        }
    }

    /// Can it be written as YAML of ours? The others are the core's: referred to, or read and never written.
    #[must_use]
    pub fn is_ours(self) -> bool {
        let of_the_core =
            [Self::Secret, Self::Namespace, Self::Pod, Self::Service, Self::EndpointSlice].contains(&self);
        !of_the_core
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

    pub(crate) fn check(raw: &RawMetadata, report: &mut Report) -> Option<Self> {
        if raw.name.is_none() {
            report.missing("name", NAME);
        }
        let name = report.parsed("name", raw.name.as_ref(), NAME, |n| is_name(n).then(|| n.to_owned()));
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
        RawMetadata {
            name: Some(self.name.clone()),
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
