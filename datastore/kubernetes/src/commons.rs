//! What belongs to the cluster as a whole and to no node: a Lease, the list of Nodes, and (see `standing`) the status
//! of what people write.
//!
//! Every request here is made by one agent of the cluster at a time, or seldom; nothing is watched.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_api::yaml;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::{About, Collection, Page};
use crate::server::{Call, Failure, Server};

/// The Leases that kubelets renew.
const KUBELETS: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// What kubeadm was told when it made the cluster.
const KUBEADM: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
/// Of a list's objects nothing but their metadata.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Says on our Lease that there has been an IPPool.
const MARK: &str = "corduroy.dev/had-pools";

/// Now, as a condition has it (RFC 3339, whole seconds).
#[must_use]
pub fn timestamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A request that did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct CommonsError {
    /// What it was about.
    pub what: String,
    /// As the API server says.
    pub why: String,
    /// Somebody else wrote since; else trying again later may help.
    pub conflict: bool,
    /// The server refuses what was asked, so another request may do.
    pub refused: bool,
    /// There is no right to it.
    pub denied: bool,
}

impl CommonsError {
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(Failure) -> Self {
        let what = what.into();
        move |failure| {
            let conflict = matches!(failure.code(), Some(404 | 409));
            let refused = matches!(failure.code(), Some(400 | 422));
            let denied = matches!(failure.code(), Some(401 | 403));
            Self { what, why: failure.words(), conflict, refused, denied }
        }
    }
}

/// A Lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// The uid of the Node that owns it, where one does.
    pub node_uid: Option<String>,
    /// `spec.holderIdentity`; `None` when it is empty.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`.
    pub term: Duration,
    /// `spec.renewTime` as it stands.
    pub renewed: String,
    /// How long ago that was by our clock; `None` when it is in the future or no time.
    pub age: Option<Duration>,
    /// `spec.leaseTransitions`.
    pub transitions: u64,
    /// It says that there has been an IPPool.
    pub marked: bool,
}

/// What a Lease is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// `spec.holderIdentity`; `None` gives it up.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`; at least one.
    pub term: Duration,
    /// It changes hands: `spec.acquireTime` is now.
    pub acquired: bool,
    /// `spec.leaseTransitions`.
    pub transitions: u64,
    /// It is to say that there has been an IPPool.
    pub marked: bool,
}

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    /// `namespace/name`.
    pub name: String,
    /// `status.podIPs`, as far as they are addresses.
    pub addresses: Vec<IpAddr>,
}

/// The way to what belongs to the cluster as a whole.
#[derive(Clone)]
pub struct Commons {
    pub(crate) server: Server,
    namespace: String,
}

#[derive(Deserialize)]
struct RawLease {
    metadata: LeaseAbout,
    #[serde(default)]
    spec: RawLeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct LeaseAbout {
    resource_version: String,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<RawOwner>,
}

#[derive(Deserialize)]
struct RawOwner {
    kind: String,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawLeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    renew_time: Option<String>,
    lease_transitions: Option<u64>,
}

impl From<RawLease> for Lease {
    fn from(RawLease { metadata, spec }: RawLease) -> Self {
        let renewed = spec.renew_time.unwrap_or_default();
        let age = renewed.parse::<Timestamp>().ok().map(|then| Timestamp::now().duration_since(then));
        let owner = metadata.owner_references.into_iter().find(|owner| owner.kind == "Node");
        Self {
            version: metadata.resource_version,
            node_uid: owner.map(|owner| owner.uid),
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            term: Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0)),
            age: age.and_then(|age| Duration::try_from(age).ok()),
            renewed,
            transitions: spec.lease_transitions.unwrap_or(0),
            marked: metadata.annotations.contains_key(MARK),
        }
    }
}

#[derive(Deserialize)]
struct Identity {
    metadata: About,
}

#[derive(Deserialize)]
struct RawPod {
    metadata: PodAbout,
    #[serde(default)]
    status: RawPodStatus,
}

#[derive(Deserialize)]
struct PodAbout {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawPodIp>,
}

#[derive(Deserialize)]
struct RawPodIp {
    #[serde(default)]
    ip: String,
}

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl Commons {
    pub(crate) fn new(server: Server, namespace: String) -> Self {
        Self { server, namespace }
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// A Lease in our own namespace; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, CommonsError> {
        self.read_lease(format!("{}/{name}", self.leases())).await
    }

    /// The Lease that the kubelet of this Node renews; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn kubelet_lease(&self, node: &str) -> Result<Option<Lease>, CommonsError> {
        self.read_lease(format!("{KUBELETS}/{node}")).await
    }

    async fn read_lease(&self, path: String) -> Result<Option<Lease>, CommonsError> {
        match self.server.call::<RawLease>(Call::get(&path)).await {
            Ok(lease) => Ok(Some(lease.into())),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(CommonsError::of(format!("Lease {path}"))(failure)),
        }
    }

    /// Creates a Lease in our own namespace, or changes it from the version `from`; returns the version it then has.
    ///
    /// # Errors
    /// It is in another state by now, or can't be written.
    pub async fn write_lease(
        &self,
        name: &str,
        write: &LeaseWrite,
        from: Option<&str>,
    ) -> Result<String, CommonsError> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let mut metadata = json!({ "name": name });
        let mut spec = json!({
            "holderIdentity": write.holder.as_deref().unwrap_or_default(),
            "leaseDurationSeconds": write.term.as_secs().max(1),
            "leaseTransitions": write.transitions,
            "renewTime": now,
        });
        if write.acquired {
            spec["acquireTime"] = json!(now);
        }
        if write.marked {
            metadata["annotations"] = json!({ MARK: "true" });
        }
        let (method, path, media) = match from {
            None => (Method::POST, self.leases(), "application/json"),
            Some(version) => {
                metadata["resourceVersion"] = json!(version);
                (Method::PATCH, format!("{}/{name}", self.leases()), "application/merge-patch+json")
            }
        };
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        let call = Call { method, path: &path, body: Some((media, body)), accept: None };
        let written = self.server.call::<Identity>(call).await;
        written
            .map(|lease| lease.metadata.resource_version)
            .map_err(CommonsError::of(format!("Lease {name}")))
    }

    /// The uids of all Nodes by name. Asks for nothing but their metadata, a page at a time.
    ///
    /// # Errors
    /// They can't be listed.
    pub async fn node_uids(&self) -> Result<BTreeMap<String, String>, CommonsError> {
        let nodes = Collection::nodes();
        let mut uids = BTreeMap::new();
        let mut from: Option<String> = None;
        loop {
            let path = nodes.page(from.as_deref());
            let page = self.server.call::<Page<Identity>>(Call::get(&path).accepting(Some(METADATA))).await;
            let page = page.map_err(CommonsError::of("Nodes"))?;
            uids.extend(page.items.into_iter().map(|node| (node.metadata.name, node.metadata.uid)));
            if page.metadata.r#continue.is_empty() {
                return Ok(uids);
            }
            from = Some(page.metadata.r#continue);
        }
    }

    /// The pods bound to a Node of this name that have not ended, whether or not there is such a Node.
    ///
    /// # Errors
    /// They can't be listed.
    pub async fn pods_of(&self, node: &str) -> Result<Vec<BoundPod>, CommonsError> {
        let mut pods = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&limit=500{from}");
            let page = self.server.call::<Page<RawPod>>(Call::get(&path)).await;
            let page = page.map_err(CommonsError::of(format!("pods of node {node}")))?;
            let goes_on = |pod: &RawPod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
            pods.extend(page.items.into_iter().filter(goes_on).map(|pod| BoundPod {
                name: format!("{}/{}", pod.metadata.namespace, pod.metadata.name),
                addresses: pod.status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            }));
            if page.metadata.r#continue.is_empty() {
                return Ok(pods);
            }
            from = format!("&continue={}", page.metadata.r#continue);
        }
    }

    /// `networking.podSubnet` as kubeadm was told it; `None` where kubeadm did not make the cluster or was not told.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn kubeadm_pod_subnet(&self) -> Result<Option<String>, CommonsError> {
        match self.server.call::<ConfigMap>(Call::get(KUBEADM)).await {
            Ok(map) => Ok(map.data.get("ClusterConfiguration").and_then(|text| pod_subnet(text))),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(CommonsError::of("ConfigMap kube-system/kubeadm-config")(failure)),
        }
    }
}

impl std::fmt::Debug for Commons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commons").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn pod_subnet(text: &str) -> Option<String> {
    let document: Value = serde_json::to_value(yaml::documents(text).first()?.parse().ok()?).ok()?;
    document.pointer("/networking/podSubnet")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_kubernetes_writes_it_and_as_nobody_should() {
        let text = r#"{"metadata": {"resourceVersion": "7", "annotations": {"corduroy.dev/had-pools": "true"},
            "ownerReferences": [{"kind": "Node", "uid": "u", "name": "a", "apiVersion": "v1"}]},
            "spec": {"holderIdentity": "a_u", "leaseDurationSeconds": 40, "leaseTransitions": 3,
                     "renewTime": "2026-01-01T00:00:00.000000Z"}}"#;
        let lease: Lease = serde_json::from_str::<RawLease>(text).unwrap().into();
        assert_eq!((lease.holder.as_deref(), lease.node_uid.as_deref()), (Some("a_u"), Some("u")));
        assert_eq!((lease.term, lease.transitions, lease.marked), (Duration::from_secs(40), 3, true));
        assert!(lease.age.is_some());
        let odd =
            r#"{"metadata": {"resourceVersion": "8"}, "spec": {"holderIdentity": "", "renewTime": "soon"}}"#;
        let lease: Lease = serde_json::from_str::<RawLease>(odd).unwrap().into();
        assert_eq!((lease.holder, lease.age, lease.renewed.as_str()), (None, None, "soon"));
        let bare: Lease = serde_json::from_str::<RawLease>(r#"{"metadata": {}}"#).unwrap().into();
        assert_eq!(bare.term, Duration::ZERO);
    }

    #[test]
    fn the_pod_subnet_is_found_where_kubeadm_keeps_it() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  \
                    dnsDomain: cluster.local\n  podSubnet: 10.244.0.0/16,fd00::/56\n";
        assert_eq!(pod_subnet(text).as_deref(), Some("10.244.0.0/16,fd00::/56"));
        for none in ["networking: {}", "networking: {podSubnet: 7}", "[", "", "networking: none"] {
            assert_eq!(pod_subnet(none), None, "{none}");
        }
    }
}
