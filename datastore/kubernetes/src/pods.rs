//! Pods: those of this node, and of other nodes as many as policies ask for.
//!
//! ```text
//! Asked ─► watches of namespaces, or one over all (parts) ─► shelf each ─► Hub
//!                                            in sync ─► held ─► Covered(held)
//! ```
//! A pod says much that nobody asks for and its status changes often: what is not used is not even decoded, and an
//! object of which nothing else has changed is no news.
//!
//! What was held when the watches are exchanged (a namespace more or less beyond the sixteenth) stays held: the new
//! watch says everything again, and until then it is as if the connection had been lost. When less is asked for, what
//! is held is said first, and only then go the pods that nobody asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_api::policy::Protocol;
use corduroy_api::policy::host::NamedPort;
use corduroy_api::{Asked, Event, Key, Kind, Pod, Rejection, Resource, Scope};
use corduroy_datastore::Hub;
use serde::Deserialize;
use tokio::sync::watch;

use crate::object::{self, About, Collection, Object, Readable};
use crate::parts::{Asking, Part, Parts, parts};
use crate::reflect::Change;
use crate::server::Server;
use crate::shelf::{Known, Shelf};

/// A Pod as it comes over the wire.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CorePod {
    metadata: About,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: String,
    service_account_name: String,
    host_network: bool,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    ports: Vec<RawPort>,
    restart_policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    name: String,
    protocol: String,
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawIp {
    ip: String,
}

impl Object for CorePod {
    fn about(&self) -> &About {
        &self.metadata
    }
}

impl Readable for CorePod {
    fn read(&self, kind: Kind) -> Result<Resource, Vec<Rejection>> {
        let (spec, status) = (&self.spec, &self.status);
        let mut metadata = self.metadata.clone().metadata();
        if kind == Kind::RemotePod {
            // They speak of the addresses it is to get, which is its own node's business.
            metadata.annotations = BTreeMap::new();
        }
        let pod = Arc::new(Pod {
            service_account: spec.service_account_name.clone(),
            addresses: status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
            ports: spec.ports(),
            host_network: spec.host_network,
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            node: Some(spec.node_name.clone()).filter(|node| !node.is_empty()),
            ..Pod::new(&self.metadata.namespace, metadata)
        });
        Ok(if kind == Kind::RemotePod { Resource::RemotePod(pod) } else { Resource::Pod(pod) })
    }
}

impl RawSpec {
    /// What containers that go on running call their ports.
    fn ports(&self) -> Vec<NamedPort> {
        let stay = self.init_containers.iter().filter(|container| container.restart_policy == "Always");
        let ports = self.containers.iter().chain(stay).flat_map(|container| &container.ports);
        let named = ports.filter(|port| !port.name.is_empty()).filter_map(|port| {
            let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
            let protocol = Protocol::named(protocol)?;
            Some(NamedPort { name: port.name.clone(), protocol, port: port.container_port })
        });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Keeps the hub of the kind RemotePod true until it is dropped. `whose` names the node whose pods are not meant.
pub(crate) async fn follow(
    server: Server,
    whose: object::Scope,
    hub: Arc<Hub>,
    asked: watch::Receiver<Asked>,
) {
    let collection = Collection::of(Kind::RemotePod, &whose);
    let (parts, shelves, held) = (Parts::new(server), BTreeMap::new(), Scope::Nothing);
    let mut pods = Others { parts, collection, hub, shelves, held };
    pods.hub.say(Event::Covered(Scope::Nothing));
    pods.tell();
    let mut asking = Asking::new(asked);
    loop {
        tokio::select! {
            asked = asking.next() => pods.ask(&asked.pods),
            (part, change) = pods.parts.heard() => pods.take(&part, change),
        }
    }
}

/// The pods of other nodes.
struct Others {
    parts: Parts<CorePod>,
    collection: Collection,
    hub: Arc<Hub>,
    shelves: BTreeMap<Part, Shelf>,
    /// What is in the hub, whole.
    held: Scope,
}

impl Others {
    /// This is what there is to know from now on.
    fn ask(&mut self, scope: &Scope) {
        let parts = parts_of(scope);
        if !parts.contains(&None) {
            let namespaces: BTreeSet<String> = parts.iter().flatten().cloned().collect();
            let held = namespaces.iter().filter(|namespace| self.held.has(namespace)).cloned().collect();
            self.hold(Scope::Namespaces(held));
            self.hub.update(|known, events| {
                let left = |key: &&Key| {
                    let namespace = key.name.split_once('/').map_or("", |(namespace, _)| namespace);
                    !namespaces.contains(namespace)
                };
                events.extend(known.keys().filter(left).cloned().map(Event::Gone));
            });
        }
        self.shelves.retain(|part, _| parts.contains(part));
        for part in &parts {
            let shelf = || Shelf::new(Kind::RemotePod, Arc::clone(&self.hub));
            self.shelves.entry(part.clone()).or_insert_with(|| match part {
                Some(namespace) => shelf().within(namespace),
                None => shelf(),
            });
        }
        let collection = |part: &Part| match part {
            Some(namespace) => self.collection.clone().within(namespace),
            None => self.collection.clone(),
        };
        self.parts.want(parts.into_iter().map(|part| (part.clone(), collection(&part))).collect());
        self.tell();
    }

    /// One of the watches has said something.
    fn take(&mut self, part: &Part, change: Change<CorePod>) {
        let Some(known) = self.shelves.get_mut(part).and_then(|shelf| shelf.take(change)) else { return };
        if known == Known::InSync {
            self.hold(self.held.and(&scope(part)));
        }
        self.tell();
    }

    fn hold(&mut self, held: Scope) {
        self.held = match held {
            Scope::Namespaces(none) if none.is_empty() => Scope::Nothing,
            held => held,
        };
        self.hub.say(Event::Covered(self.held.clone()));
    }

    /// How well the kind is known. What is still being read is not covered yet.
    fn tell(&self) {
        self.hub.say(self.parts.known().event(Kind::RemotePod));
    }
}

fn scope(part: &Part) -> Scope {
    part.as_ref().map_or(Scope::Everywhere, |namespace| Scope::Namespaces([namespace.clone()].into()))
}

/// What is watched for a scope.
fn parts_of(scope: &Scope) -> BTreeSet<Part> {
    match scope {
        Scope::Nothing => BTreeSet::new(),
        Scope::Namespaces(some) => parts(some),
        Scope::Everywhere => BTreeSet::from([None]),
    }
}

#[cfg(test)]
mod tests;
