//! This machine as a node of a Kubernetes cluster.
//!
//! The cluster says who we are: our identity is the uid of the Node object of our name, the addresses it lists are
//! those by which others look for us, its podCIDRs may be our blocks, and its labels and some annotations are those of
//! our FabricNode. All this is kept in the state directory, so that an agent comes up while the API server is away. A
//! Node of our name with another uid is another node: the agent starts anew as that one. A Node that is gone leaves us
//! running, without taking in pods.
//!
//! What we say to the cluster: that the network of this node works (condition NetworkUnavailable), once pods can be
//! served; and how this node is (NodeStatus, see `report`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corduroy_agent_core::caretaker::Owner;
use corduroy_agent_core::marks::{AS_NUMBER, CLUSTER_ID, Marks};
use corduroy_agent_core::me::{Membership, Reported};
use corduroy_datastore_kubernetes::{Access, ConnectError, Kubernetes, Node, NodeView, NodeWatch};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use crate::caretaker::{self, Duties, Tally};
use crate::config::ClusterStore;
use crate::feed::Place;
use crate::report::{self, Reports};
use crate::view::Asker;
use crate::whole_file;

/// How long the API server may take to say who we are, when a former run knew it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is said that the Node is missed.
const REMIND: Duration = Duration::from_secs(60);
/// The pause after the condition could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// What is kept of the Node for a start without the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    uid: String,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    #[serde(default)]
    pod_cidrs: Vec<IpNetwork>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Those that are read.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Kept {
    fn of(node: &Node) -> Self {
        let internal = || {
            let internal = node.addresses.iter().filter(|address| address.kind == "InternalIP");
            internal.filter_map(|address| address.address.parse::<IpAddr>().ok())
        };
        let v4 = internal().find_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None });
        let v6 = internal().find_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
        let is_read = |key: &String| AS_NUMBER.iter().chain(&CLUSTER_ID).any(|known| known == key);
        let mut annotations = node.annotations.clone();
        annotations.retain(|key, _| is_read(key));
        let (uid, pod_cidrs, labels) = (node.uid.clone(), node.pod_cidrs.clone(), node.labels.clone());
        Self { uid, v4, v6, pod_cidrs, labels, annotations }
    }

    fn membership(&self) -> Membership {
        let marks = Marks::read(&self.labels, &self.annotations);
        let mut reported = Reported { v4: self.v4, v6: self.v6, marks, ..Reported::default() };
        for cidr in &self.pod_cidrs {
            match cidr {
                IpNetwork::V4(v4) => reported.pods_v4 = Some(*v4),
                IpNetwork::V6(v6) => reported.pods_v6 = Some(*v6),
            }
        }
        Membership::Of(reported)
    }

    fn load(path: &Path) -> Option<Self> {
        let kept = serde_json::from_slice(&fs::read(path).ok()?);
        kept.inspect_err(|error| tracing::warn!("{}: {error}; not used", path.display())).ok()
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        whole_file::put(path, &serde_json::to_vec(self)?, 0o644).map_err(|error| error.why)
    }
}

/// Another Node has our name now.
#[derive(Debug, thiserror::Error)]
#[error(
    "Node {name} has the uid {now} and had {before}: it is another one, of which this agent is to be anew"
)]
pub struct AnotherNode {
    name: String,
    before: String,
    now: String,
}

/// A membership.
pub struct Cluster {
    kubernetes: Kubernetes,
    name: String,
    duties: Duties,
    watch: NodeWatch,
    path: PathBuf,
    kept: Kept,
    /// The cluster was told, or is being told, that our network works.
    told: bool,
    reports: Option<Reports>,
}

impl Cluster {
    /// Finds out who we are; waits for as long as that takes.
    ///
    /// # Errors
    /// [`ConnectError`]: there is no way to an API server.
    pub async fn join(store: &ClusterStore, name: &str, state_dir: &Path) -> Result<Self, ConnectError> {
        let (kubeconfig, node) = (store.kubeconfig.clone(), Some(name.to_owned()));
        let kubernetes = Kubernetes::connect(&Access { kubeconfig, namespace: None, node }).await?;
        let mut watch = kubernetes.watch_node(name);
        let path = state_dir.join("node.json");
        let former = Kept::load(&path);
        let mut until = Instant::now() + if former.is_some() { PATIENCE } else { REMIND };
        let mut told = None;
        let kept = loop {
            match (timeout_at(until, watch.changed()).await, &former) {
                (Ok(NodeView { node: Some(node), known: true, .. }), _) => {
                    let kept = Kept::of(&node);
                    save(&kept, &path);
                    break kept;
                }
                (Ok(NodeView { unavailable: Some(why), .. }), _) if told.as_ref() != Some(&why) => {
                    tracing::warn!("Node {name} can't be had: {why}; waiting for it");
                    told = Some(why);
                }
                (Ok(_), _) => {}
                (Err(_), Some(former)) if !watch.view().known => {
                    tracing::warn!("{}; going by the Node of the former run", why(&watch.view(), name));
                    break former.clone();
                }
                (Err(_), _) => {
                    tracing::warn!("{}; waiting for it", why(&watch.view(), name));
                    until = Instant::now() + REMIND;
                }
            }
        };
        let (name, duties) = (name.to_owned(), store.duties.clone());
        Ok(Self { kubernetes, name, duties, watch, path, kept, told: false, reports: None })
    }

    /// Our identity.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.kept.uid
    }

    /// What the cluster says of us, as of the start.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.kept.membership()
    }

    /// The datastore of the cluster.
    #[must_use]
    pub fn datastore(&self) -> Place {
        Place::Cluster { kubernetes: self.kubernetes.clone(), answers: self.watch.view().known }
    }

    /// Stands for election as the one that takes care of what belongs to no node. Returns what it does.
    #[must_use]
    pub fn stand_for_caretaker(&self, asker: Asker, seed: u64) -> Tally {
        let me = Owner { node: self.name.clone(), uid: self.kept.uid.clone() };
        caretaker::start(self.kubernetes.clone(), asker, self.duties.clone(), me, seed)
    }

    /// What the cluster says of us next. Safe to drop and call again.
    ///
    /// # Errors
    /// [`AnotherNode`]: we are not the one we were.
    pub async fn next(&mut self) -> Result<Membership, AnotherNode> {
        loop {
            let view = self.watch.changed().await;
            match view.node {
                _ if !view.known => {}
                None => return Ok(Membership::Removed),
                Some(node) => return self.seen(&node),
            }
        }
    }

    fn seen(&mut self, node: &Node) -> Result<Membership, AnotherNode> {
        let kept = Kept::of(node);
        if kept.uid != self.kept.uid {
            let before = self.kept.uid.clone();
            return Err(AnotherNode { name: self.name.clone(), before, now: kept.uid });
        }
        if kept != self.kept {
            save(&kept, &self.path);
            self.kept = kept;
        }
        Ok(self.kept.membership())
    }

    /// Reports how this node is, from now on.
    pub fn report(&mut self, agent: Asker, seed: u64) {
        let uid = self.kept.uid.clone();
        self.reports = Some(report::start(self.kubernetes.clone(), uid, agent, seed));
    }

    /// Something happened in the agent; `serves` says whether pods can be served.
    pub fn turned(&mut self, serves: impl FnOnce() -> bool) {
        if let Some(reports) = &self.reports {
            reports.touch();
        }
        if !self.told && serves() {
            self.serves();
        }
    }

    /// Pods can be served: the cluster is to know.
    fn serves(&mut self) {
        let node = self.watch.view().node.filter(|node| node.uid == self.kept.uid);
        if let (false, Some(node)) = (self.told, node) {
            self.told = true;
            tokio::spawn(tell(self.kubernetes.clone(), node));
        }
    }
}

/// Says that the network works until it was heard.
async fn tell(kubernetes: Kubernetes, node: Arc<Node>) {
    loop {
        match kubernetes.set_network_available(&node).await {
            Ok(written) => {
                if written {
                    tracing::info!("the cluster knows that the network of this node works");
                }
                return;
            }
            Err(error) => tracing::warn!("condition NetworkUnavailable not written: {error}; trying again"),
        }
        sleep(PAUSE).await;
    }
}

fn save(kept: &Kept, path: &Path) {
    if let Err(error) = kept.save(path) {
        tracing::warn!(
            "{}: {error}; an agent that starts while the API server is away waits",
            path.display()
        );
    }
}

fn why(view: &NodeView, name: &str) -> String {
    match &view.unavailable {
        Some(why) => why.clone(),
        None if view.known => format!("the cluster has no Node {name}"),
        None => "the API server does not answer".to_owned(),
    }
}
