//! A resource of any kind, and the way from YAML to it and back.

use std::sync::Arc;

use serde::Serialize;
use serde_yaml::Value;

use crate::meta::{Key, Kind, Metadata, RawMetadata};
use crate::policy::PolicyResource;
use crate::raw::{Fields, Raw};
use crate::report::{Invalid, Report};
use crate::yaml::{self, SyntaxError};
use crate::{
    BgpConfiguration, BgpFilter, BgpPeer, EndpointSlice, FabricNode, IpPool, IpReservation, IpamBlock,
    Namespace, Pod, Secret, Service, ServiceAccount, ServiceEndpoints,
};

/// `apiVersion` of all our kinds.
pub const API_VERSION: &str = "corduroy.dev/v1alpha1";

/// What a kind must bring.
pub trait Checked: Sized {
    /// Which it is.
    const KIND: Kind;
    /// `spec:` as it stands in YAML.
    type Spec: Raw + Serialize + Default;

    /// From the raw form; everything that is wrong is noted, and then nothing is returned.
    fn check(metadata: Metadata, spec: &Self::Spec, report: &mut Report) -> Option<Self>;
    /// Back to the raw form.
    fn spec(&self) -> Self::Spec;
    /// Its name, labels and so on.
    fn metadata(&self) -> &Metadata;
    /// The same, to change.
    fn metadata_mut(&mut self) -> &mut Metadata;
}

/// A checked resource of any kind. Cheap to clone: a datastore hands the same one to all its watchers.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Addresses for pods and tunnels.
    IpPool(Arc<IpPool>),
    /// A part of a pool that one node owns.
    IpamBlock(Arc<IpamBlock>),
    /// What every node must know of every other.
    FabricNode(Arc<FabricNode>),
    /// Settings of the fabric's BGP as a whole.
    BgpConfiguration(Arc<BgpConfiguration>),
    /// Sessions beside (or instead of) the mesh.
    BgpPeer(Arc<BgpPeer>),
    /// Import and export rules.
    BgpFilter(Arc<BgpFilter>),
    /// Addresses that are not handed out.
    IpReservation(Arc<IpReservation>),
    /// Passwords. Never in YAML.
    Secret(Arc<Secret>),
    /// A namespace of the cluster. Never in YAML.
    Namespace(Arc<Namespace>),
    /// A pod of this node. Never in YAML.
    Pod(Arc<Pod>),
    /// The addresses of a service. Never in YAML.
    Service(Arc<Service>),
    /// Where a service's endpoints are. Never in YAML.
    EndpointSlice(Arc<EndpointSlice>),
    /// One of the policy kinds, of Kubernetes or ours.
    Policy(Arc<PolicyResource>),
    /// A pod of another node. Never in YAML.
    RemotePod(Arc<Pod>),
    /// What pods act as. Never in YAML.
    ServiceAccount(Arc<ServiceAccount>),
    /// All endpoints of a service. Never in YAML.
    ServiceEndpoints(Arc<ServiceEndpoints>),
}

macro_rules! each {
    ($self:expr, $r:ident => $out:expr) => {
        match $self {
            Resource::IpPool($r) => $out,
            Resource::IpamBlock($r) => $out,
            Resource::FabricNode($r) => $out,
            Resource::BgpConfiguration($r) => $out,
            Resource::BgpPeer($r) => $out,
            Resource::BgpFilter($r) => $out,
            Resource::IpReservation($r) => $out,
            Resource::Secret($r) => $out,
            Resource::Namespace($r) => $out,
            Resource::Pod($r) => $out,
            Resource::Service($r) => $out,
            Resource::EndpointSlice($r) => $out,
            Resource::Policy($r) => $out,
            Resource::RemotePod($r) => $out,
            Resource::ServiceAccount($r) => $out,
            Resource::ServiceEndpoints($r) => $out,
        }
    };
}

impl Resource {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::IpPool(_) => Kind::IpPool,
            Self::IpamBlock(_) => Kind::IpamBlock,
            Self::FabricNode(_) => Kind::FabricNode,
            Self::BgpConfiguration(_) => Kind::BgpConfiguration,
            Self::BgpPeer(_) => Kind::BgpPeer,
            Self::BgpFilter(_) => Kind::BgpFilter,
            Self::IpReservation(_) => Kind::IpReservation,
            Self::Secret(_) => Kind::Secret,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Policy(r) => r.body.kind(),
            Self::RemotePod(_) => Kind::RemotePod,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::ServiceEndpoints(_) => Kind::ServiceEndpoints,
        }
    }

    /// Kind and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(self.kind(), self.metadata().name.clone())
    }

    /// Its name, labels and so on.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        each!(self, r => &r.metadata)
    }

    /// The node whose agent writes it, if one does.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::FabricNode(node) => Some(&node.metadata.name),
            Self::IpamBlock(block) => Some(&block.node),
            _ => None,
        }
    }

    /// The same resource in the state its datastore calls `version`.
    #[must_use]
    pub fn at_version(mut self, version: String) -> Self {
        each!(&mut self, r => Arc::make_mut(r).metadata.resource_version = Some(version));
        self
    }

    /// Do they say the same? A version is made anew by every write to an object, also to its status.
    #[must_use]
    pub fn same_words(&self, other: &Self) -> bool {
        let version = &other.metadata().resource_version;
        let mut same = self.clone();
        each!(&mut same, r => Arc::make_mut(r).metadata.resource_version.clone_from(version));
        same == *other
    }

    /// Reads and checks one document.
    ///
    /// # Errors
    /// Everything that is wrong with it, and which resource it would have been.
    pub fn read(value: &Value) -> Result<Self, Refused> {
        let mut report = Report::default();
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        let Some(fields) = Fields::of(value, &known, &mut report) else {
            return Err(Refused::new(None, report));
        };
        let kind = read_kind(&fields, &mut report);
        let raw: RawMetadata = fields.read("metadata", &mut report).unwrap_or_default();
        let metadata = report.within("metadata", |r| Metadata::check(&raw, kind, r));
        let key = kind.zip(metadata.as_ref()).map(|(kind, m)| Key::new(kind, m.name.clone()));
        // A spec is checked even when the name is bad, so that all violations are told at once.
        let metadata = metadata.unwrap_or_default();
        let resource = match kind {
            None => None,
            Some(Kind::IpPool) => read_as(&fields, metadata, &mut report).map(Self::IpPool),
            Some(Kind::IpamBlock) => read_as(&fields, metadata, &mut report).map(Self::IpamBlock),
            Some(Kind::FabricNode) => read_as(&fields, metadata, &mut report).map(Self::FabricNode),
            Some(Kind::BgpConfiguration) => {
                read_as(&fields, metadata, &mut report).map(Self::BgpConfiguration)
            }
            Some(Kind::BgpPeer) => read_as(&fields, metadata, &mut report).map(Self::BgpPeer),
            Some(Kind::BgpFilter) => read_as(&fields, metadata, &mut report).map(Self::BgpFilter),
            Some(Kind::IpReservation) => read_as(&fields, metadata, &mut report).map(Self::IpReservation),
            // What is no policy now, `read_kind` has refused.
            Some(kind) => read_policy(kind, &fields, metadata, &mut report).map(Self::Policy),
        };
        report.finish(resource).map_err(|violations| Refused { key, problems: violations.0 })
    }

    /// The resource as one YAML document, without `---` and without its resource version.
    ///
    /// # Errors
    /// A resource of a kind that is neither [ours](Kind::is_ours) nor a policy is not written.
    pub fn to_yaml(&self) -> Result<String, SyntaxError> {
        match self {
            Self::IpPool(r) => write(&**r),
            Self::IpamBlock(r) => write(&**r),
            Self::FabricNode(r) => write(&**r),
            Self::BgpConfiguration(r) => write(&**r),
            Self::BgpPeer(r) => write(&**r),
            Self::BgpFilter(r) => write(&**r),
            Self::IpReservation(r) => write(&**r),
            Self::Policy(r) => yaml::write(&Document {
                api_version: r.body.kind().api_version(),
                kind: r.body.kind().word(),
                metadata: r.metadata.raw(),
                spec: &r.spec,
            }),
            Self::Secret(_)
            | Self::Namespace(_)
            | Self::Pod(_)
            | Self::Service(_)
            | Self::EndpointSlice(_)
            | Self::RemotePod(_)
            | Self::ServiceAccount(_)
            | Self::ServiceEndpoints(_) => {
                Err(SyntaxError { what: format!("a {} is not written as YAML", self.kind()), line: None })
            }
        }
    }
}

/// The kind that `apiVersion` and `kind` name together.
fn read_kind(fields: &Fields<'_>, report: &mut Report) -> Option<Kind> {
    let version: Option<String> = fields.read("apiVersion", report);
    let readable = || Kind::ALL.into_iter().filter(|kind| kind.is_ours() || kind.is_policy());
    let others = readable().filter(|kind| version.as_deref() == Some(kind.api_version()));
    let (group, kinds): (&str, Vec<Kind>) = match others.clone().next() {
        Some(kind) => (kind.api_version(), others.collect()),
        None => (API_VERSION, readable().filter(|kind| kind.is_ours()).collect()),
    };
    let versions =
        [API_VERSION].into_iter().chain(readable().map(Kind::api_version).filter(|v| *v != API_VERSION));
    let versions: Vec<(&str, ())> = versions.map(|version| (version, ())).collect();
    report.choice("apiVersion", version.as_ref(), &versions);
    if version.is_none() {
        report.missing("apiVersion", API_VERSION);
    }
    let names: Vec<(&str, Kind)> = kinds.into_iter().map(|kind| (kind.word(), kind)).collect();
    let raw: Option<String> = fields.read("kind", report);
    if raw.is_none() {
        let list = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        report.missing("kind", format!("one of {list}"));
        return None;
    }
    if raw.as_deref() == Some(Kind::Secret.name()) && group == API_VERSION {
        let allowed = "a secret is not read from YAML, only referred to by name and key";
        report.refuse_field("kind", "Secret", allowed);
        return None;
    }
    report.choice("kind", raw.as_ref(), &names)
}

fn read_policy(
    kind: Kind,
    fields: &Fields<'_>,
    metadata: Metadata,
    report: &mut Report,
) -> Option<Arc<PolicyResource>> {
    let spec: Option<Value> = fields.read("spec", report);
    let spec = spec.unwrap_or_else(|| Value::Mapping(serde_yaml::Mapping::new()));
    match PolicyResource::read(kind, metadata, spec)? {
        Ok(policy) => Some(Arc::new(policy)),
        Err(violations) => {
            report.adopt(violations);
            None
        }
    }
}

fn read_as<T: Checked>(fields: &Fields<'_>, metadata: Metadata, report: &mut Report) -> Option<Arc<T>> {
    let before = report.count();
    let spec: T::Spec = fields.read("spec", report).unwrap_or_default();
    let typed = report.count() == before;
    let checked = report.within("spec", |r| T::check(metadata, &spec, r));
    // With a field of a wrong type missing from `spec`, what `check` made is not what was meant.
    checked.filter(|_| typed).map(Arc::new)
}

#[derive(Serialize)]
struct Document<'a, S> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    metadata: RawMetadata,
    spec: S,
}

fn write<T: Checked>(resource: &T) -> Result<String, SyntaxError> {
    yaml::write(&Document {
        api_version: API_VERSION,
        kind: T::KIND.name(),
        metadata: resource.metadata().raw(),
        spec: resource.spec(),
    })
}

/// A document that is no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", crate::report::Violations(self.problems.clone()))]
pub struct Refused {
    /// Which resource it would have been, when that much can be told.
    pub key: Option<Key>,
    /// Everything that is wrong with it.
    pub problems: Vec<Invalid>,
}

impl Refused {
    fn new(key: Option<Key>, report: Report) -> Self {
        let problems = report.finish::<()>(None).err().map(|v| v.0).unwrap_or_default();
        Self { key, problems }
    }
}
