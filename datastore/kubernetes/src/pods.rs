//! Pods: those of this node, and of other nodes as many as policies ask for.
//!
//! ```text
//! Asked ─► which watches: none │ one a namespace (up to 16) │ one over all ─► shelf each ─► Hub
//!                                                 in sync ─► held ─► Covered(held)
//! ```
//! A pod says much that nobody asks for and its status changes often: what is not used is not even decoded, and an
//! object of which nothing else has changed is no news.
//!
//! What was held when the watches are exchanged (a namespace more or less beyond the sixteenth) stays held: the new
//! watch says everything again, and until then it is as if the connection had been lost. When less is asked for, what
//! is held is said first, and only then go the pods that nobody asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::policy::Protocol;
use corduroy_api::policy::host::NamedPort;
use corduroy_api::{Asked, Event, Key, Kind, Pod, Rejection, Resource, Scope};
use corduroy_datastore::Hub;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::Running;
use crate::object::{self, About, Collection, Object, Readable};
use crate::reflect::{Change, reflect};
use crate::server::Server;
use crate::shelf::{Known, Shelf};

/// So many namespaces are watched each for itself; with more, one watch over all costs the server less.
const MOST: usize = 16;
/// Other watches are begun at most so often: policies come in bursts.
const PAUSE: Duration = Duration::from_millis(500);

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

/// A part of the pods with a watch of its own: a namespace, or `None` for all.
type Part = Option<String>;

/// Keeps the hub of the kind RemotePod true until it is dropped. `whose` names the node whose pods are not meant.
pub(crate) async fn follow(
    server: Server,
    whose: object::Scope,
    hub: Arc<Hub>,
    mut asked: watch::Receiver<Asked>,
) {
    let (said, mut hears) = mpsc::unbounded_channel();
    let collection = Collection::of(Kind::RemotePod, &whose);
    let mut pods =
        Others { server, collection, hub, said, parts: BTreeMap::new(), held: Scope::Nothing, number: 0 };
    pods.hub.say(Event::Covered(Scope::Nothing));
    pods.tell();
    // What was asked before this began is new here.
    let (mut changed, mut again) = (true, Instant::now());
    loop {
        tokio::select! {
            // The sender lives as long as the datastore.
            Ok(()) = asked.changed() => changed = true,
            () = sleep_until(again), if changed => {
                changed = false;
                again = Instant::now() + PAUSE;
                let scope = asked.borrow_and_update().pods.clone();
                pods.ask(&scope);
            }
            Some((part, number, change)) = hears.recv() => pods.take(&part, number, change),
        }
    }
}

type Heard = (Part, u64, Change<CorePod>);

/// The pods of other nodes.
struct Others {
    server: Server,
    collection: Collection,
    hub: Arc<Hub>,
    said: mpsc::UnboundedSender<Heard>,
    parts: BTreeMap<Part, Watched>,
    /// What is in the hub, whole.
    held: Scope,
    number: u64,
}

/// A part that is watched.
struct Watched {
    number: u64,
    shelf: Shelf,
    known: Option<Known>,
    _task: Running,
}

impl Others {
    /// This is what there is to know from now on.
    fn ask(&mut self, scope: &Scope) {
        let parts = parts(scope);
        self.parts.retain(|part, _| parts.contains(part));
        let everything = parts.contains(&None);
        if !everything {
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
        for part in parts {
            if !self.parts.contains_key(&part) {
                let watched = self.watch(&part);
                self.parts.insert(part, watched);
            }
        }
        self.tell();
    }

    fn watch(&mut self, part: &Part) -> Watched {
        self.number += 1;
        let (said, from, number) = (self.said.clone(), part.clone(), self.number);
        let say = move |change| {
            // Nobody listens only while this is being aborted.
            let _ = said.send((from.clone(), number, change));
        };
        let shelf = Shelf::new(Kind::RemotePod, Arc::clone(&self.hub));
        let (shelf, collection) = match part {
            Some(namespace) => (shelf.within(namespace), self.collection.clone().within(namespace)),
            None => (shelf, self.collection.clone()),
        };
        let task = tokio::spawn(reflect(self.server.clone(), collection, say)).abort_handle();
        Watched { number, shelf, known: None, _task: Running(task) }
    }

    /// One of the watches has said something.
    fn take(&mut self, part: &Part, number: u64, change: Change<CorePod>) {
        let Some(watched) = self.parts.get_mut(part).filter(|watched| watched.number == number) else {
            return;
        };
        let Some(known) = watched.shelf.take(change) else { return };
        let in_sync = known == Known::InSync;
        watched.known = Some(known);
        if in_sync {
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

    /// How well the kind is known: in sync as long as no watch fails. What is still being read is not covered yet.
    fn tell(&self) {
        let away = self.parts.iter().find_map(|(part, watched)| match (&watched.known, part) {
            (Some(Known::Away(why)), Some(namespace)) => {
                Some(Known::Away(format!("those of namespace {namespace}: {why}")))
            }
            (Some(Known::Away(why)), None) => Some(Known::Away(why.clone())),
            _ => None,
        });
        self.hub.say(away.unwrap_or(Known::InSync).event(Kind::RemotePod));
    }
}

fn scope(part: &Part) -> Scope {
    part.as_ref().map_or(Scope::Everywhere, |namespace| Scope::Namespaces([namespace.clone()].into()))
}

/// What is watched for a scope.
fn parts(scope: &Scope) -> BTreeSet<Part> {
    match scope {
        Scope::Nothing => BTreeSet::new(),
        Scope::Namespaces(some) if some.len() <= MOST => some.iter().cloned().map(Some).collect(),
        Scope::Namespaces(_) | Scope::Everywhere => BTreeSet::from([None]),
    }
}

#[cfg(test)]
mod tests;
