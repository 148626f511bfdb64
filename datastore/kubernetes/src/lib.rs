//! Resources in a Kubernetes API server, and the few core objects that a node's agent needs of it.
//!
//! ```text
//! API server ─► reflect (list, watch, pause) ─► Change<object> ─► keep ─► shelf (check, compare) ─► Hub ─► Watch
//!            ◄─ write (create, JSON patch, delete, each on a version)
//! ```
//! Our kinds are custom resources of `corduroy.dev/v1alpha1`, each under the lower-case plural of its name
//! (`ippools`, `bgppeers`, …), without a namespace. Of the core there are the Secrets that a BGPPeer or
//! BGPConfiguration names, in our own namespace, this node's own Node and pods, and Namespaces, of which only the
//! metadata comes over the wire. While a BGPConfiguration asks for addresses of services, Services and some
//! EndpointSlices. And policies of Kubernetes' own kinds, with what policies [ask for](Datastore::ask): pods of other
//! nodes, namespace by namespace, the metadata of ServiceAccounts, and the endpoints of services out of the slices of
//! those.
//!
//! * **What is watched is what somebody watches.** A kind has one watch on the server, however many watch it here, and
//!   none when nobody does.
//! * **Each kind is on its own.** A missing definition or a denied right makes one kind `Unavailable`, in the server's
//!   words; it is tried again until it works.
//! * **What comes in is checked** as text in a file would be, whatever the schema in the cluster lets pass. Managed
//!   fields and status are not even read, and an object of which nothing else has changed is no news.
//! * **Nothing is written without need**, and never twice.
//!
//! The rights needed: list and watch on each of our kinds, and get, create, patch and delete on those that are written;
//! list and watch on the Secrets that are named, on Namespaces, on Pods (this node's, and those of namespaces that
//! policies name), on ServiceAccounts, on NetworkPolicies and ClusterNetworkPolicies, on Services and EndpointSlices,
//! on the definitions of our kinds, and on the own Node, and patch on its status; create and patch on NodeStatuses and
//! Events. What [`Commons`] needs stands in docs/datastore.md.
#![warn(missing_docs)]

mod cluster_policies;
mod commons;
mod definitions;
mod events;
mod follower;
mod keep;
mod node;
mod node_status;
mod object;
mod parts;
mod people;
mod pods;
mod reflect;
mod secrets;
mod server;
mod service_endpoints;
mod services;
mod shelf;
mod standing;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use corduroy_api::node_status::NodeReport;
use corduroy_api::{Asked, Event, Kind, Resource, Version, Write, WriteError};
use corduroy_datastore::{Datastore, Hub, ListError, Pending, Watch};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use commons::{BoundPod, Commons, CommonsError, Lease, LeaseWrite, timestamp};
pub use events::{Announcement, Regarding};
pub use node::{Node, NodeAddress, NodeError, NodeView, NodeWatch};
pub use node_status::NotReported;
pub use people::Identity;
pub use server::{Access, ConnectError};
pub use standing::Standing;

use definitions::Definitions;
use follower::Follower;
use keep::Keeper;
use object::{Bare, Collection, CoreSecret, Custom, Page, Readable, Scope};
use pods::CorePod;
use server::{Call, Failure, Server};
use service_endpoints::PortSlice;
use services::{CoreService, CoreSlice};
use shelf::Shelf;
use write::Writer;

/// The API server as a datastore. Clones are the same datastore.
#[derive(Clone)]
pub struct Kubernetes {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    scope: Scope,
    runtime: Handle,
    feeds: Mutex<BTreeMap<Kind, Weak<Feed>>>,
    definitions: OnceLock<(watch::Receiver<Definitions>, Running)>,
    /// What policies need of others.
    asked: watch::Sender<Asked>,
}

/// A task that ends with what it is for.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What keeps one kind, as long as somebody watches it.
struct Feed {
    hub: Arc<Hub>,
    _task: Running,
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("scope", &self.inner.scope).finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// Sets up a client. Nothing is asked of the server yet: that it does not answer is told by the watches. Must be
    /// called on the runtime that the watches are to run on.
    ///
    /// # Errors
    /// What is needed to reach the API server is missing or can't be used.
    pub async fn connect(access: &Access) -> Result<Self, ConnectError> {
        let (server, namespace) = Server::new(access).await?;
        let scope = Scope { namespace, node: access.node.clone() };
        Ok(Self::over(server, scope))
    }

    fn over(server: Server, scope: Scope) -> Self {
        let (runtime, feeds, definitions) = (Handle::current(), Mutex::default(), OnceLock::new());
        let asked = watch::Sender::default();
        Self { inner: Arc::new(Inner { server, scope, runtime, feeds, definitions, asked }) }
    }

    /// Watches one Node: this one, not those of others.
    #[must_use]
    pub fn watch_node(&self, name: &str) -> NodeWatch {
        NodeWatch::start(self.inner.server.clone(), &self.inner.runtime, name)
    }

    /// What belongs to the cluster as a whole.
    #[must_use]
    pub fn commons(&self) -> Commons {
        Commons::new(self.inner.server.clone(), self.inner.scope.namespace.clone())
    }

    /// Says that the network of a node works: its condition NetworkUnavailable becomes False, which takes the taint off
    /// it that keeps pods away. Returns whether anything had to be written.
    ///
    /// # Errors
    /// It is another node by now, or the server can't be reached or refuses.
    pub async fn set_network_available(&self, node: &Node) -> Result<bool, NodeError> {
        node::set_network_available(&self.inner.server, node).await
    }
}

/// What agents report.
impl Kubernetes {
    /// Makes the NodeStatus of a node say this, and belong to that node. One request, or two when there is none yet;
    /// one that says it already is not written again by the server.
    ///
    /// # Errors
    /// The server can't be reached or refuses.
    pub async fn report(&self, node: &str, uid: &str, report: &NodeReport) -> Result<(), NotReported> {
        node_status::write(&self.inner.server, node, uid, report).await
    }

    /// Makes an Event, or adds to the one that says the same.
    ///
    /// # Errors
    /// In words: the server can't be reached or refuses.
    pub async fn announce(&self, event: &Announcement) -> Result<(), String> {
        events::announce(&self.inner.server, event).await.map_err(|failure| failure.words())
    }
}

impl Inner {
    fn feeds(&self) -> MutexGuard<'_, BTreeMap<Kind, Weak<Feed>>> {
        // Nothing panics while it holds the lock, and every change is one insertion.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed of a kind: the one that runs, or a new one.
    fn feed(&self, kind: Kind) -> Arc<Feed> {
        // Before the lock is taken: some feeds need others.
        let needed: &[Kind] = match kind {
            Kind::Secret => &secrets::REFERRING,
            Kind::Service => &[Kind::BgpConfiguration],
            Kind::EndpointSlice => &[Kind::Service],
            _ => &[],
        };
        let needed = (!needed.is_empty()).then(|| self.watch(needed));
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.get(&kind).and_then(Weak::upgrade) {
            return feed;
        }
        let hub = Arc::new(Hub::default());
        let (server, collection) = (self.server.clone(), Collection::of(kind, &self.scope));
        let task = match (needed, kind) {
            (Some(configurations), Kind::Service) => {
                self.runtime.spawn(services::follow(server, Arc::clone(&hub), configurations))
            }
            (Some(services), Kind::EndpointSlice) => {
                let node = self.scope.node.as_deref().unwrap_or_default().into();
                self.runtime.spawn(services::follow_slices(server, node, Arc::clone(&hub), services))
            }
            (Some(referring), _) => {
                self.runtime.spawn(secrets::follow(server, collection, Arc::clone(&hub), referring))
            }
            (None, Kind::Pod) if self.scope.node.is_none() => {
                hub.say(Event::Unavailable { kind, why: "no node is named whose pods are meant".to_owned() });
                self.runtime.spawn(std::future::ready(()))
            }
            (None, Kind::Namespace) => {
                self.runtime.spawn(reflect::reflect::<Bare>(server, collection, shelve(kind, &hub)))
            }
            (None, Kind::Pod) => {
                self.runtime.spawn(reflect::reflect::<CorePod>(server, collection, shelve(kind, &hub)))
            }
            (None, Kind::RemotePod) => {
                let (scope, asked) = (self.scope.clone(), self.asked.subscribe());
                self.runtime.spawn(pods::follow(server, scope, Arc::clone(&hub), asked))
            }
            (None, Kind::ServiceEndpoints) => {
                let asked = self.asked.subscribe();
                self.runtime.spawn(service_endpoints::follow(server, Arc::clone(&hub), asked))
            }
            (None, Kind::ServiceAccount) => {
                let asked = self.asked.subscribe();
                self.runtime.spawn(service_accounts(server, collection, Arc::clone(&hub), asked))
            }
            (None, Kind::KubernetesNetworkPolicy) => {
                self.runtime.spawn(reflect::reflect::<Custom>(server, collection, shelve(kind, &hub)))
            }
            (None, Kind::ClusterNetworkPolicy) => {
                self.runtime.spawn(cluster_policies::follow(server, Arc::clone(&hub)))
            }
            (None, _) => {
                let keeper = Keeper {
                    server,
                    scope: self.scope.clone(),
                    kind,
                    hub: Arc::clone(&hub),
                    definitions: self.definitions(),
                };
                self.runtime.spawn(keeper.run())
            }
        };
        let feed = Arc::new(Feed { hub, _task: Running(task.abort_handle()) });
        feeds.insert(kind, Arc::downgrade(&feed));
        feed
    }

    /// What is known of the definitions of our kinds: followed from the first question on.
    fn definitions(&self) -> watch::Receiver<Definitions> {
        let follow = || {
            let (sender, definitions) = watch::channel(Definitions::default());
            let task = self.runtime.spawn(definitions::follow(self.server.clone(), sender));
            (definitions, Running(task.abort_handle()))
        };
        self.definitions.get_or_init(follow).0.clone()
    }

    fn watch(&self, kinds: &[Kind]) -> Watch {
        let feeds: Vec<(Kind, Arc<Feed>)> = kinds.iter().map(|kind| (*kind, self.feed(*kind))).collect();
        let hubs: Vec<_> = feeds.iter().map(|(kind, feed)| (*kind, &*feed.hub)).collect();
        Watch::over(&hubs, Arc::new(feeds.iter().map(|(_, feed)| Arc::clone(feed)).collect::<Vec<_>>()))
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Resource>, Failure> {
        let collection = Collection::of(kind, &self.scope);
        match kind {
            Kind::Secret => {}
            Kind::Namespace | Kind::ServiceAccount => {
                return self.pages::<Bare>(kind, &collection, |_| {}).await;
            }
            Kind::Pod | Kind::RemotePod => return self.pages::<CorePod>(kind, &collection, |_| {}).await,
            Kind::ClusterNetworkPolicy => {
                // No such kind, none of it.
                return match self.pages::<Custom>(kind, &collection, |_| {}).await {
                    Err(failure) if failure.code() == Some(404) => Ok(Vec::new()),
                    listed => listed,
                };
            }
            Kind::Service => return self.pages::<CoreService>(kind, &collection, |_| {}).await,
            Kind::ServiceEndpoints => {
                let slices = self.pages::<PortSlice>(kind, &collection, |_| {}).await?;
                return Ok(service_endpoints::joined(&slices));
            }
            Kind::EndpointSlice => {
                let node: Arc<str> = self.scope.node.as_deref().unwrap_or_default().into();
                let seen = |slice: &mut CoreSlice| slice.seen_from = Some(Arc::clone(&node));
                return self.pages(kind, &collection, seen).await;
            }
            _ => return self.pages::<Custom>(kind, &collection, |_| {}).await,
        }
        let mut names = std::collections::BTreeSet::new();
        for kind in secrets::REFERRING {
            let referring = self.pages::<Custom>(kind, &Collection::of(kind, &self.scope), |_| {}).await?;
            names.extend(referring.iter().flat_map(secrets::names));
        }
        let mut secrets = Vec::new();
        for name in names {
            match self.server.call::<CoreSecret>(Call::get(&collection.object(&name))).await {
                Ok(secret) => secrets.extend(secret.read(kind)),
                Err(failure) if failure.code() == Some(404) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(secrets)
    }

    /// Everything in a collection that can be used, each object read after `prepare` has seen it.
    async fn pages<T: Readable>(
        &self,
        kind: Kind,
        collection: &Collection,
        prepare: impl Fn(&mut T),
    ) -> Result<Vec<Resource>, Failure> {
        let mut resources = Vec::new();
        let mut from: Option<String> = None;
        loop {
            let path = collection.page(from.as_deref());
            let call = Call::get(&path).accepting(T::PARTIAL.map(|partial| partial.listed));
            let mut page: Page<T> = self.server.call(call).await?;
            page.items.iter_mut().for_each(&prepare);
            resources.extend(page.items.iter().filter_map(|object| object.read(kind).ok()));
            if page.metadata.r#continue.is_empty() {
                return Ok(resources);
            }
            from = Some(page.metadata.r#continue);
        }
    }
}

/// Keeps the hub of the kind ServiceAccount true until it is dropped: with nothing in it while nobody asks for any.
async fn service_accounts(
    server: Server,
    collection: Collection,
    hub: Arc<Hub>,
    mut asked: watch::Receiver<Asked>,
) {
    let mut follower = Follower::<Bare>::new(server, Kind::ServiceAccount, hub, |_| {});
    loop {
        let wanted = asked.borrow_and_update().service_accounts;
        follower.want(wanted.then(|| collection.clone()));
        tokio::select! {
            // The sender lives as long as the datastore.
            Ok(()) = asked.changed() => {}
            heard = follower.heard() => follower.take(heard),
        }
    }
}

/// Puts what a reflector says of a kind into its hub.
fn shelve<T: Readable>(kind: Kind, hub: &Arc<Hub>) -> impl FnMut(reflect::Change<T>) + Send + use<T> {
    let (mut shelf, said) = (Shelf::new(kind, Arc::clone(hub)), Arc::clone(hub));
    move |change| {
        if let Some(known) = shelf.take(change) {
            said.say(known.event(kind));
        }
    }
}

impl Datastore for Kubernetes {
    fn watch(&self, kinds: &[Kind]) -> Watch {
        self.inner.watch(kinds)
    }

    fn ask(&self, asked: Asked) {
        self.inner.asked.send_if_modified(|known| {
            let changed = *known != asked;
            *known = asked;
            changed
        });
    }

    fn write(&self, write: Write) -> Pending<'_, Result<Version, WriteError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let key = write.key();
            let feed = inner.feeds().get(&key.kind).and_then(Weak::upgrade);
            let told = feed.map(|feed| Arc::clone(&feed.hub));
            Writer::new(&inner.server, &inner.scope, key, told).write(write).await
        })
    }

    fn list(&self, kind: Kind) -> Pending<'_, Result<Vec<Resource>, ListError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(
            async move { inner.list(kind).await.map_err(|failure| ListError { kind, why: failure.words() }) },
        )
    }
}

#[cfg(test)]
mod tests;
