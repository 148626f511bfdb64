//! This node's own Node object: never anybody else's, whose status changes all the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use corduroy_api::IpNetwork;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::object::{About, Collection, Object};
use crate::reflect::{Change, reflect};
use crate::server::{Call, Failure, Server};

/// A Node, as much of it as matters to a fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Another one under the same name is another node.
    pub uid: String,
    /// What selectors choose by.
    pub labels: BTreeMap<String, String>,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
    /// As kubelet or a cloud controller says; in their order.
    pub addresses: Vec<NodeAddress>,
    /// `spec.podCIDRs`: what the controller manager gave it for pods.
    pub pod_cidrs: Vec<IpNetwork>,
    /// `spec.providerID`: set on a cloud's nodes.
    pub provider_id: Option<String>,
    /// Its deletion has been asked for.
    pub going: bool,
    /// The condition NetworkUnavailable, where somebody has set it.
    pub network_unavailable: Option<bool>,
}

/// An address of a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, `InternalDNS` or `ExternalDNS`.
    pub kind: String,
    /// An address or a name.
    pub address: String,
}

/// What is known of the node now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The Node as it was last seen; `None` where there is none.
    pub node: Option<Arc<Node>>,
    /// Did the API server ever say? Before that `node` means nothing.
    pub known: bool,
    /// Why it can't be had now; `node` is then what was known before.
    pub unavailable: Option<String>,
}

/// A running watch of one Node. Dropping it ends it.
#[derive(Debug)]
pub struct NodeWatch {
    view: watch::Receiver<NodeView>,
    task: AbortHandle,
}

impl NodeWatch {
    pub(crate) fn start(server: Server, runtime: &tokio::runtime::Handle, name: &str) -> Self {
        let (sender, view) = watch::channel(NodeView::default());
        // During a replay: whether the node was said.
        let mut replay = None;
        let say = move |change| {
            sender.send_if_modified(|view| {
                let before = view.clone();
                view.take(change, &mut replay);
                *view != before
            });
        };
        let collection = Collection::nodes().only(name);
        let task = runtime.spawn(reflect::<RawNode>(server, collection, say)).abort_handle();
        Self { view, task }
    }

    /// Waits until the view is another than at the last call, and says it. A view in between may be missed, the last
    /// one never. Safe to drop and call again.
    pub async fn changed(&mut self) -> NodeView {
        if self.view.changed().await.is_err() {
            // The sender ends only with the runtime.
            std::future::pending::<()>().await;
        }
        self.view.borrow_and_update().clone()
    }

    /// The view now.
    #[must_use]
    pub fn view(&self) -> NodeView {
        self.view.borrow().clone()
    }
}

impl Drop for NodeWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NodeView {
    fn take(&mut self, change: Change<RawNode>, replay: &mut Option<bool>) {
        match change {
            Change::Replay => *replay = Some(false),
            Change::Put(raw) => {
                *replay = replay.map(|_| true);
                self.node = Some(Arc::new(raw.into_node()));
                self.known = true;
            }
            Change::Gone(_) => self.node = None,
            Change::InSync => {
                // What a replay does not say is gone, but only at its end.
                if replay.take() == Some(false) {
                    self.node = None;
                }
                self.known = true;
                self.unavailable = None;
            }
            Change::Away(why) => self.unavailable = Some(why),
        }
    }
}

/// A Node as it comes over the wire.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RawNode {
    metadata: About,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    addresses: Vec<RawAddress>,
    conditions: Vec<RawCondition>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawAddress {
    r#type: String,
    address: String,
}

#[derive(Clone, Debug, Deserialize)]
struct RawCondition {
    r#type: String,
    status: String,
}

impl Object for RawNode {
    fn about(&self) -> &About {
        &self.metadata
    }
}

impl RawNode {
    fn into_node(self) -> Node {
        let condition = self.status.conditions.iter().find(|c| c.r#type == NETWORK_UNAVAILABLE);
        Node {
            network_unavailable: condition.map(|condition| condition.status != "False"),
            name: self.metadata.name,
            uid: self.metadata.uid,
            labels: self.metadata.labels,
            annotations: self.metadata.annotations,
            addresses: self
                .status
                .addresses
                .into_iter()
                .map(|RawAddress { r#type, address }| NodeAddress { kind: r#type, address })
                .collect(),
            // The API server checks that these are CIDRs.
            pod_cidrs: self.spec.pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
            provider_id: self.spec.provider_id.filter(|id| !id.is_empty()),
            going: self.metadata.deletion_timestamp.is_some(),
        }
    }
}

const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// Why a Node could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {name}: {why}")]
pub struct NodeError {
    /// Which.
    pub name: String,
    /// As the API server says.
    pub why: String,
    /// It is another node or none by now; otherwise trying again later may help.
    pub gone: bool,
}

/// Sets the condition NetworkUnavailable of a node to False, if it is not already.
pub(crate) async fn set_network_available(server: &Server, node: &Node) -> Result<bool, NodeError> {
    if node.network_unavailable == Some(false) {
        return Ok(false);
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({
        "type": NETWORK_UNAVAILABLE,
        "status": "False",
        "reason": "CorduroyIsUp",
        "message": "Corduroy serves pods on this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    });
    // With its UID it is this node or an error: a UID can't be changed.
    let patch = json!({ "metadata": { "uid": node.uid }, "status": { "conditions": [condition] } });
    let path = format!("{}/status", Collection::nodes().object(&node.name));
    let body = Some(("application/strategic-merge-patch+json", patch));
    let call = Call { method: Method::PATCH, path: &path, body, accept: None };
    server.call::<serde::de::IgnoredAny>(call).await.map(|_| true).map_err(|failure: Failure| {
        let why = failure.words();
        let another = failure.code() == Some(422) && why.contains("metadata.uid");
        NodeError { name: node.name.clone(), why, gone: another || failure.code() == Some(404) }
    })
}
