//! Objects as they come over the wire, with as little of them read as is needed: no managed fields, no status. And
//! where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use corduroy_api::schema::crd;
use corduroy_api::yaml::Value;
use corduroy_api::{
    Key, Kind, Metadata, Namespace, Rejection, Resource, Secret, SecretValue, ServiceAccount, Violations, Why,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// What we read of `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) generation: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) deletion_timestamp: Option<String>,
}

impl About {
    /// What it is called in ours: with its namespace, if it is in one.
    pub(crate) fn full_name(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { self.in_namespace(&self.name) }
    }

    /// What something in the namespace of this object is called in ours.
    pub(crate) fn in_namespace(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

impl About {
    /// The same as resources have it.
    pub(crate) fn metadata(self) -> Metadata {
        Metadata {
            name: self.name,
            labels: self.labels,
            annotations: self.annotations,
            uid: Some(self.uid),
            resource_version: Some(self.resource_version),
        }
    }
}

/// An object of any kind.
pub(crate) trait Object: Clone + DeserializeOwned + Send + 'static {
    /// The form a watch and a list of them are asked for in, where that is not the whole.
    const PARTIAL: Option<Partial> = None;

    fn about(&self) -> &About;

    /// What the resource is called that it becomes.
    fn called(&self) -> String {
        self.about().full_name()
    }
}

/// A shorter form of objects, as an `Accept` header has it.
pub(crate) struct Partial {
    pub(crate) watched: &'static str,
    pub(crate) listed: &'static str,
}

/// An object that becomes a resource.
pub(crate) trait Readable: Object {
    /// # Errors
    /// Everything that is wrong with it.
    fn read(&self, kind: Kind) -> Result<Resource, Vec<Rejection>>;
}

/// An object of one of our kinds, or of policies.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Custom {
    pub(crate) metadata: About,
    #[serde(default)]
    pub(crate) spec: Value,
}

impl Object for Custom {
    fn about(&self) -> &About {
        &self.metadata
    }
}

impl Readable for Custom {
    fn read(&self, kind: Kind) -> Result<Resource, Vec<Rejection>> {
        let About { name, namespace, uid, resource_version, labels, annotations, .. } = &self.metadata;
        let namespace = if kind.is_namespaced() { text(namespace) } else { Value::default() };
        let metadata = map([
            ("name", text(name)),
            ("namespace", namespace),
            ("uid", text(uid)),
            ("resourceVersion", text(resource_version)),
            ("labels", texts(labels)),
            ("annotations", texts(annotations)),
        ]);
        let document = map([
            ("apiVersion", text(kind.api_version())),
            ("kind", text(kind.word())),
            ("metadata", metadata),
            ("spec", self.spec.clone()),
        ]);
        Resource::read(&document).map_err(|refused| {
            let key = refused.key.unwrap_or_else(|| Key::new(kind, self.called()));
            let reject =
                |invalid| Rejection { key: Some(key.clone()), line: None, why: Why::Invalid(invalid) };
            refused.problems.into_iter().map(reject).collect()
        })
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(texts: &BTreeMap<String, String>) -> Value {
    Value::Mapping(texts.iter().map(|(key, value)| (text(key), text(value))).collect())
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Mapping(fields.into_iter().map(|(key, value)| (text(key), value)).collect())
}

/// A Namespace or ServiceAccount of the core: its metadata, and nothing else even on the wire.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Bare {
    metadata: About,
}

impl Object for Bare {
    const PARTIAL: Option<Partial> = Some(Partial {
        watched: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        listed: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    });

    fn about(&self) -> &About {
        &self.metadata
    }
}

impl Readable for Bare {
    fn read(&self, kind: Kind) -> Result<Resource, Vec<Rejection>> {
        let metadata = self.metadata.clone().metadata();
        Ok(match kind {
            Kind::ServiceAccount => {
                let account = ServiceAccount::new(&self.metadata.namespace, metadata);
                Resource::ServiceAccount(Arc::new(account))
            }
            _ => Resource::Namespace(Arc::new(Namespace::new(metadata))),
        })
    }
}

/// A Secret of the core.
#[derive(Clone, Deserialize)]
pub(crate) struct CoreSecret {
    metadata: About,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

impl Object for CoreSecret {
    fn about(&self) -> &About {
        &self.metadata
    }

    /// All are of our own namespace.
    fn called(&self) -> String {
        self.metadata.name.clone()
    }
}

impl Readable for CoreSecret {
    fn read(&self, kind: Kind) -> Result<Resource, Vec<Rejection>> {
        let About { name, uid, resource_version, .. } = &self.metadata;
        let reject = |why| Rejection { key: Some(Key::new(kind, name)), line: None, why };
        let mut data = BTreeMap::new();
        for (key, value) in self.data.iter().flatten() {
            let bytes =
                BASE64.decode(value).map_err(|e| vec![reject(Why::Unreadable(format!("{key}: {e}")))])?;
            data.insert(key.clone(), SecretValue::new(&bytes));
        }
        let mut secret = Secret::new(name, data).map_err(|Violations(all)| {
            all.into_iter().map(|v| reject(Why::Invalid(v))).collect::<Vec<_>>()
        })?;
        secret.metadata.uid = Some(uid.clone());
        secret.metadata.resource_version = Some(resource_version.clone());
        Ok(Resource::Secret(Arc::new(secret)))
    }
}

/// A secret's values as the API server wants them.
pub(crate) fn encoded(secret: &Secret) -> serde_json::Value {
    let encode = |value: &SecretValue| serde_json::Value::String(BASE64.encode(value.expose()));
    secret.data.iter().map(|(key, value)| (key.clone(), encode(value))).collect()
}

/// Where the objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    path: String,
    /// Which of these, as a part of the query.
    only: Option<String>,
}

/// Whose objects are meant, of the kinds that are not everybody's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Secrets of this namespace.
    pub(crate) namespace: String,
    /// Pods of this node.
    pub(crate) node: Option<String>,
}

impl Collection {
    /// Those of one of the kinds that a datastore knows.
    pub(crate) fn of(kind: Kind, scope: &Scope) -> Self {
        let group = |plural: &str| format!("/apis/{}/{plural}", kind.api_version());
        let path = match (crd::plural(kind), kind) {
            (Some(plural), _) => group(plural),
            (None, Kind::Namespace) => "/api/v1/namespaces".to_owned(),
            (None, Kind::Pod | Kind::RemotePod) => "/api/v1/pods".to_owned(),
            (None, Kind::ServiceAccount) => "/api/v1/serviceaccounts".to_owned(),
            (None, Kind::KubernetesNetworkPolicy) => group("networkpolicies"),
            (None, Kind::ClusterNetworkPolicy) => group("clusternetworkpolicies"),
            (None, Kind::Service) => "/api/v1/services".to_owned(),
            (None, Kind::EndpointSlice | Kind::ServiceEndpoints) => {
                "/apis/discovery.k8s.io/v1/endpointslices".to_owned()
            }
            (None, _) => format!("/api/v1/namespaces/{}/secrets", scope.namespace),
        };
        let only = match (kind, &scope.node) {
            (Kind::Pod, Some(node)) => Some(field("spec.nodeName", node)),
            (Kind::RemotePod, Some(node)) => Some(format!("fieldSelector=spec.nodeName!%3D{node}")),
            _ => None,
        };
        Self { only, ..Self::at(path) }
    }

    fn at(path: String) -> Self {
        Self { path, only: None }
    }

    /// The core's Nodes.
    pub(crate) fn nodes() -> Self {
        Self::at("/api/v1/nodes".to_owned())
    }

    /// Of these, those whose labels are chosen by a selector, which is written as a query has it.
    pub(crate) fn labelled(mut self, selector: Option<String>) -> Self {
        self.only = selector.map(|selector| format!("labelSelector={selector}"));
        self
    }

    /// Of these, those of a namespace.
    pub(crate) fn within(self, namespace: &str) -> Self {
        Self { path: self.holder(namespace), ..self }
    }

    /// The definition of this name.
    pub(crate) fn definition(name: &str) -> Self {
        Self { only: None, ..Self::definitions() }.only(name)
    }

    /// The definitions of our kinds.
    pub(crate) fn definitions() -> Self {
        let (key, value) = crd::LABEL;
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned();
        Self { path, only: Some(format!("labelSelector={}%3D{value}", key.replace('/', "%2F"))) }
    }

    /// Of these, the one of this name.
    pub(crate) fn only(mut self, name: &str) -> Self {
        self.only = Some(field("metadata.name", name));
        self
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where an object is that is called so; `namespace/name` of a kind that has namespaces.
    pub(crate) fn object(&self, name: &str) -> String {
        let bare = name.split_once('/').map_or(name, |(_, bare)| bare);
        format!("{}/{bare}", self.made_at(name))
    }

    /// Where an object that is called so is made.
    pub(crate) fn made_at(&self, name: &str) -> String {
        match name.split_once('/') {
            Some((namespace, _)) => self.holder(namespace),
            None => self.path.clone(),
        }
    }

    /// Those of a namespace.
    fn holder(&self, namespace: &str) -> String {
        let (group, plural) = self.path.rsplit_once('/').unwrap_or_default();
        format!("{group}/namespaces/{namespace}/{plural}")
    }

    /// A page of a list; `from` is what the page before said.
    pub(crate) fn page(&self, from: Option<&str>) -> String {
        self.query(&["limit=500".to_owned(), from.map(|from| format!("continue={from}")).unwrap_or_default()])
    }

    /// Everything there is, then a bookmark, then what changes.
    pub(crate) fn replay(&self, seconds: u64) -> String {
        self.query(&[
            "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                .to_owned(),
            format!("timeoutSeconds={seconds}"),
        ])
    }

    /// What changed after `version`.
    pub(crate) fn after(&self, version: &str, seconds: u64) -> String {
        self.query(&[
            "watch=1&allowWatchBookmarks=true".to_owned(),
            format!("timeoutSeconds={seconds}&resourceVersion={version}"),
        ])
    }

    fn query(&self, parts: &[String]) -> String {
        let all: Vec<&str> =
            parts.iter().chain(&self.only).map(String::as_str).filter(|p| !p.is_empty()).collect();
        format!("{}?{}", self.path, all.join("&"))
    }
}

/// Of objects, those with a field of this value.
fn field(field: &str, value: &str) -> String {
    format!("fieldSelector={field}%3D{value}")
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) metadata: PageAbout,
    /// A server that lists only the metadata of nothing says `null`.
    #[serde(
        default = "Vec::new",
        deserialize_with = "or_nothing",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    pub(crate) items: Vec<T>,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(items: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(items)?.unwrap_or_default())
}

/// What a page says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageAbout {
    pub(crate) resource_version: String,
    pub(crate) r#continue: String,
}
