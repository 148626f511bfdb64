//! The last known state of the datastore as a file, so that a node comes up without its datastore.
//!
//! ```text
//! corduroy-snapshot 1 0123456789abcdef          check sum over the rest
//! {"resources":["apiVersion: …"],"secrets":[…]}
//! ```
//! It is written whole and moved into place. One that is damaged is set aside and counts as none. It holds passwords:
//! only its owner may read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_api::policy::Protocol;
use corduroy_api::policy::host::NamedPort;
use corduroy_api::service::{EndpointSliceSpec, ServiceEndpoint, ServiceSpec};
use corduroy_api::{
    EndpointSlice, Metadata, Namespace, Pod, Resource, Scope, Secret, SecretValue, Service, ServiceAccount,
    ServiceEndpoints, yaml,
};
use corduroy_ipc::hash::stable;
use serde::{Deserialize, Serialize};

use crate::whole_file::{self, NotWritten};

const MAGIC: &str = "corduroy-snapshot 1 ";

/// The second line.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    resources: Vec<String>,
    secrets: Vec<Passwords>,
    /// Of the cluster's core.
    #[serde(default)]
    namespaces: Vec<Named>,
    #[serde(default)]
    pods: Vec<Named>,
    #[serde(default)]
    services: Vec<Core<ServiceSpec>>,
    #[serde(default)]
    slices: Vec<Core<EndpointSliceSpec>>,
    #[serde(default)]
    remote_pods: Vec<Named>,
    #[serde(default)]
    service_accounts: Vec<Named>,
    #[serde(default)]
    service_endpoints: Vec<Core<Vec<ServiceEndpoint>>>,
    #[serde(default)]
    covered: Covered,
}

/// What a former run left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The last accepted resources.
    pub resources: Vec<Resource>,
    /// Of which namespaces these are all pods of other nodes.
    pub covered: Scope,
}

/// A [`Scope`].
#[derive(Debug, Default, Serialize, Deserialize)]
enum Covered {
    #[default]
    Nothing,
    Namespaces(BTreeSet<String>),
    Everywhere,
}

impl From<Covered> for Scope {
    fn from(covered: Covered) -> Self {
        match covered {
            Covered::Nothing => Self::Nothing,
            Covered::Namespaces(some) => Self::Namespaces(some),
            Covered::Everywhere => Self::Everywhere,
        }
    }
}

impl From<&Scope> for Covered {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Nothing => Self::Nothing,
            Scope::Namespaces(some) => Self::Namespaces(some.clone()),
            Scope::Everywhere => Self::Everywhere,
        }
    }
}

/// What is known of an object of the cluster's core, which has no form in YAML.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    /// Of a pod: `namespace/name`.
    name: String,
    uid: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// What only pods have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<PodWords>,
}

/// What is known of a pod beside its metadata.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PodWords {
    service_account: String,
    addresses: Vec<IpAddr>,
    /// Name, protocol and number.
    ports: Vec<(String, u8, u16)>,
    host_network: bool,
    finished: bool,
    node: Option<String>,
}

impl Named {
    fn of(metadata: &Metadata) -> Self {
        let Metadata { name, uid, labels, annotations, .. } = metadata.clone();
        Self { name, uid, labels, annotations, pod: None }
    }

    fn of_pod(pod: &Pod) -> Self {
        let Pod { metadata, service_account, addresses, ports, host_network, finished, node } = pod;
        let words = PodWords {
            service_account: service_account.clone(),
            addresses: addresses.clone(),
            ports: ports.iter().map(|port| (port.name.clone(), port.protocol.0, port.port)).collect(),
            host_network: *host_network,
            finished: *finished,
            node: node.clone(),
        };
        Self { pod: Some(words), ..Self::of(metadata) }
    }

    fn metadata(self) -> Metadata {
        let Self { name, uid, labels, annotations, .. } = self;
        Metadata { name, labels, annotations, uid, resource_version: None }
    }

    fn pod(mut self) -> Pod {
        let words = self.pod.take().unwrap_or_default();
        let port = |(name, protocol, port)| NamedPort { name, protocol: Protocol(protocol), port };
        Pod {
            metadata: self.metadata(),
            service_account: words.service_account,
            addresses: words.addresses,
            ports: words.ports.into_iter().map(port).collect(),
            host_network: words.host_network,
            finished: words.finished,
            node: words.node,
        }
    }
}

/// An object of the cluster's core, which has no form in YAML either.
#[derive(Debug, Serialize, Deserialize)]
struct Core<T> {
    /// As `namespace/name`.
    name: String,
    spec: T,
}

/// A secret, which has no form in YAML.
#[derive(Debug, Serialize, Deserialize)]
struct Passwords {
    name: String,
    data: BTreeMap<String, Vec<u8>>,
}

/// Why there is no snapshot, though there is a file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It can't be read.
    #[error("snapshot {path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// As the system says.
        why: io::Error,
    },
    /// It is not what was written.
    #[error("snapshot {path} is damaged ({why}); it is kept as {aside} and not used")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        why: String,
        /// Where it is now.
        aside: PathBuf,
    },
}

/// What is in a snapshot; nothing when there is no such file.
///
/// # Errors
/// [`SnapshotError`]; nothing stops for it.
pub fn load(path: &Path) -> Result<Snapshot, SnapshotError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Snapshot::default()),
        Err(why) => return Err(SnapshotError::Unreadable { path: path.to_owned(), why }),
    };
    parse(&bytes).map_err(|why| {
        let aside = path.with_extension("damaged");
        let why = match std::fs::rename(path, &aside) {
            Ok(()) => why,
            Err(error) => format!("{why}; it can't be set aside: {error}"),
        };
        SnapshotError::Damaged { path: path.to_owned(), why, aside }
    })
}

fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once('\n').ok_or("it ends in its first line")?;
    let sum = head.strip_prefix(MAGIC).ok_or("its first line is not that of a snapshot of version 1")?;
    if sum != format!("{:016x}", stable(&[body])) {
        return Err("its check sum is wrong".to_owned());
    }
    let content: Content = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let mut resources = Vec::new();
    for text in &content.resources {
        for document in yaml::documents(text) {
            // A former version may have accepted what this one does not: that resource is not known, the rest is.
            let read = document.parse().ok().and_then(|value| Resource::read(&value).ok());
            resources.extend(read);
        }
    }
    for Passwords { name, data } in content.secrets {
        let data = data.into_iter().map(|(key, value)| (key, SecretValue::new(&value))).collect();
        let secret = Secret::new(&name, data).map_err(|error| error.to_string())?;
        resources.push(Resource::Secret(Arc::new(secret)));
    }
    let namespaces = content.namespaces.into_iter().map(|named| Namespace::new(named.metadata()));
    resources.extend(namespaces.map(|namespace| Resource::Namespace(Arc::new(namespace))));
    resources.extend(content.pods.into_iter().map(|named| Resource::Pod(Arc::new(named.pod()))));
    resources.extend(content.remote_pods.into_iter().map(|named| Resource::RemotePod(Arc::new(named.pod()))));
    let accounts =
        content.service_accounts.into_iter().map(|named| ServiceAccount { metadata: named.metadata() });
    resources.extend(accounts.map(|account| Resource::ServiceAccount(Arc::new(account))));
    for Core { name, spec } in content.services {
        resources.push(Resource::Service(Arc::new(Service { metadata: Metadata::named(name), spec })));
    }
    for Core { name, spec } in content.slices {
        let slice = EndpointSlice { metadata: Metadata::named(name), spec };
        resources.push(Resource::EndpointSlice(Arc::new(slice)));
    }
    let endpoints = content.service_endpoints.into_iter();
    let endpoints = endpoints.map(|Core { name, spec }| ServiceEndpoints::of(&name, spec));
    resources.extend(endpoints.map(|service| Resource::ServiceEndpoints(Arc::new(service))));
    Ok(Snapshot { resources, covered: content.covered.into() })
}

/// What [`save`] writes. These are all pods of other nodes in `covered`.
#[must_use]
pub fn text<'a>(resources: impl Iterator<Item = &'a Resource>, covered: &Scope) -> String {
    let mut content = Content { covered: covered.into(), ..Content::default() };
    for resource in resources {
        match resource {
            Resource::Secret(secret) => {
                let bytes = |(key, value): (&String, &SecretValue)| (key.clone(), value.expose().to_vec());
                let data = secret.data.iter().map(bytes).collect();
                content.secrets.push(Passwords { name: secret.metadata.name.clone(), data });
            }
            Resource::Namespace(namespace) => content.namespaces.push(Named::of(&namespace.metadata)),
            Resource::Pod(pod) => content.pods.push(Named::of_pod(pod)),
            Resource::RemotePod(pod) => content.remote_pods.push(Named::of_pod(pod)),
            Resource::ServiceAccount(account) => content.service_accounts.push(Named::of(&account.metadata)),
            Resource::Service(service) => {
                let (name, spec) = (service.metadata.name.clone(), service.spec.clone());
                content.services.push(Core { name, spec });
            }
            Resource::EndpointSlice(slice) => {
                let (name, spec) = (slice.metadata.name.clone(), slice.spec.clone());
                content.slices.push(Core { name, spec });
            }
            Resource::ServiceEndpoints(service) => {
                let (name, spec) = (service.metadata.name.clone(), service.endpoints.clone());
                content.service_endpoints.push(Core { name, spec });
            }
            // Every other kind has a form in YAML.
            other => content.resources.extend(other.to_yaml()),
        }
    }
    // Text and numbers always have a form in JSON.
    let body = serde_json::to_string(&content).unwrap_or_default();
    format!("{MAGIC}{:016x}\n{body}", stable(&[&body]))
}

/// Replaces the file by this text; a crash leaves the old or the new one.
///
/// # Errors
/// [`NotWritten`]; the old one stays.
pub fn save(path: &Path, text: &str) -> Result<(), NotWritten> {
    whole_file::put(path, text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use corduroy_api::service::Serving;

    use super::*;

    fn resources() -> Vec<Resource> {
        let text =
            "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}";
        let pool = Resource::read(&yaml::documents(text)[0].parse().unwrap()).unwrap();
        let data = [("tor".to_owned(), SecretValue::new(b"s3cret\xff"))].into();
        let named = |name: &str| Metadata {
            uid: Some("u".into()),
            annotations: [("corduroy.dev/ipv4pools".to_owned(), "[p]".to_owned())].into(),
            ..Metadata::named(name)
        };
        let namespace = Namespace::new(named("web"));
        let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::TCP, port: 8080 }];
        let labels = [("app".to_owned(), "front".to_owned())].into();
        let pod = Pod {
            service_account: "web".to_owned(),
            addresses: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
            ports,
            host_network: true,
            finished: true,
            node: Some("b".to_owned()),
            ..Pod::new("web", Metadata { labels, ..named("front") })
        };
        let account = ServiceAccount::new("web", named("web"));
        let addresses =
            ServiceSpec { cluster_ips: vec!["fd00::9".parse().unwrap()], ..ServiceSpec::default() };
        let service = Service { metadata: Metadata::named("a/web"), spec: addresses };
        let spec = EndpointSliceSpec {
            service: "a/web".to_owned(),
            ipv6: true,
            here: Serving::Ready,
            anywhere: Serving::Ready,
        };
        let slice = EndpointSlice { metadata: Metadata::named("a/web-1"), spec };
        let ends = ServiceEndpoint { address: "10.0.0.9".parse().unwrap(), ports: vec![(6, 80), (17, 53)] };
        let ends = ServiceEndpoints::of("a/web", [ends]);
        let (service, slice) =
            (Resource::Service(Arc::new(service)), Resource::EndpointSlice(Arc::new(slice)));
        vec![
            pool,
            Resource::Secret(Arc::new(Secret::new("bgp", data).unwrap())),
            Resource::Namespace(Arc::new(namespace)),
            Resource::Pod(Arc::new(pod.clone())),
            Resource::RemotePod(Arc::new(pod)),
            Resource::ServiceAccount(Arc::new(account)),
            service,
            slice,
            Resource::ServiceEndpoints(Arc::new(ends)),
        ]
    }

    /// Policies of Kubernetes and ours, broken ones too: they deny.
    fn policies() -> Vec<Resource> {
        let texts = [
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: web}\n\
             spec: {podSelector: {matchLabels: {app: front}}, ingress: [{ports: [{port: 80}]}]}",
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n\
             spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, \
             ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            "apiVersion: corduroy.dev/v1alpha1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: web}\n\
             spec: {ingress: [{action: Nonsense}]}",
            "apiVersion: corduroy.dev/v1alpha1\nkind: Tier\nmetadata: {name: ops}\nspec: {order: 5}",
        ];
        texts.map(|text| Resource::read(&yaml::documents(text)[0].parse().unwrap()).unwrap()).to_vec()
    }

    fn path(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("corduroy-snapshot-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("datastore.snapshot")
    }

    #[test]
    fn what_was_saved_is_loaded_passwords_too() {
        let path = path("same");
        assert_eq!(load(&path).unwrap(), Snapshot::default());
        let scopes = [Scope::Nothing, Scope::Namespaces(["web".to_owned()].into()), Scope::Everywhere];
        for covered in scopes {
            save(&path, &text(resources().iter().chain(&policies()), &covered)).unwrap();
            let Snapshot { resources: loaded, covered: of } = load(&path).unwrap();
            let (others, read): (Vec<_>, Vec<_>) = loaded.into_iter().partition(|r| !r.kind().is_policy());
            assert_eq!((others, read, of), (resources(), policies(), covered));
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_damaged_snapshot_is_set_aside_wherever_the_damage_is() {
        let path = path("damaged");
        let whole = text(resources().iter(), &Scope::Nothing);
        let cut = &whole.as_bytes()[..whole.len() / 2];
        let mut flipped = whole.clone().into_bytes();
        *flipped.last_mut().unwrap() ^= 1;
        for bytes in [b"".as_slice(), cut, &flipped, b"\xff\xfe\n", b"corduroy-snapshot 2 0\n{}"] {
            std::fs::write(&path, bytes).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
            assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), bytes);
            assert!(!path.exists());
        }
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
