//! Resources in etcd, for hosts that are in no Kubernetes cluster.
//!
//! ```text
//! etcd ─► keep (pages, then a watch from their revision on) ─► document (check) ─► Hub of the kind ─► Watch
//!      ◄─ write (a transaction that compares the key's last revision)
//! ```
//! A resource is one key, `PREFIX/PLURAL/NAME` as in `/corduroy/ippools/default`, and its value the same YAML (or JSON)
//! that a file has, so that `etcdctl put` is a way to configure; a Secret is `PREFIX/secrets/NAME` with its values in
//! base64 under `data`, as Kubernetes writes it. The version of a resource is the revision that last changed its key:
//! no two states of the whole store have the same one.
//!
//! * **A kind has one watch**, however many watch it here, and none when nobody does. Kinds that only Kubernetes has
//!   are empty and in sync at once.
//! * **A watch goes on from where it stood** when a member goes; when etcd has forgotten (compacted) that revision,
//!   everything is read again and what is not there any more is gone.
//! * **What comes in is checked** as text in a file is. What can't be used is rejected and its last good state stays.
//! * **A write whose answer was lost** is looked up: what stands there says whether it was carried out.
#![warn(missing_docs)]

mod client;
pub mod config;
mod document;
mod keep;
mod wire;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use corduroy_api::schema::crd::plural;
use corduroy_api::{Event, Kind, Resource, Scope, Source, Version, Write, WriteError};
use corduroy_datastore::{Datastore, Hub, ListError, Pending, Watch};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub use client::{Access, ConnectError};

use client::{Client, Failure};

/// etcd as a datastore. Clones are the same datastore.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    prefix: String,
    runtime: Handle,
    feeds: Mutex<BTreeMap<Kind, Weak<Feed>>>,
}

/// What keeps one kind, as long as somebody watches it.
struct Feed {
    hub: Arc<Hub>,
    task: Option<AbortHandle>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("prefix", &self.inner.prefix).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Sets a client up. Nothing is asked of etcd yet: that it does not answer is told by the watches. Must be called
    /// on the runtime that the watches are to run on.
    ///
    /// # Errors
    /// A file that is needed to reach it can't be used.
    pub async fn connect(access: &Access) -> Result<Self, ConnectError> {
        let client = Client::new(access).await?;
        let prefix = access.prefix.trim_end_matches('/').to_owned();
        let feeds = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { client, prefix, runtime: Handle::current(), feeds }) })
    }
}

impl Inner {
    /// Where the resources of a kind are, with the `/` at the end; `None` for kinds that only Kubernetes has.
    fn folder(&self, kind: Kind) -> Option<String> {
        let name = if kind == Kind::Secret { Some("secrets") } else { plural(kind) };
        name.map(|name| format!("{}/{name}/", self.prefix))
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<Kind, Weak<Feed>>> {
        // Nothing panics while it holds the lock, and every change is one insertion.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed of a kind: the one that runs, or a new one.
    fn feed(&self, kind: Kind) -> Arc<Feed> {
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.get(&kind).and_then(Weak::upgrade) {
            return feed;
        }
        let hub = Arc::new(Hub::default());
        let task = match self.folder(kind) {
            Some(folder) => {
                let keeper = keep::keep(self.client.clone(), folder, kind, Arc::clone(&hub));
                Some(self.runtime.spawn(keeper).abort_handle())
            }
            None => {
                hub.say(Event::Covered(Scope::Everywhere));
                hub.say(Event::InSync { kind, from: Source::Live });
                None
            }
        };
        let feed = Arc::new(Feed { hub, task });
        feeds.insert(kind, Arc::downgrade(&feed));
        feed
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Resource>, Failure> {
        let Some(folder) = self.folder(kind) else { return Ok(Vec::new()) };
        let (pairs, _) = keep::read_all(&self.client, &folder).await?;
        Ok(pairs.iter().filter_map(|pair| document::read(kind, &folder, pair).ok()).collect())
    }
}

impl Datastore for Etcd {
    fn watch(&self, kinds: &[Kind]) -> Watch {
        let feeds: Vec<(Kind, Arc<Feed>)> =
            kinds.iter().map(|kind| (*kind, self.inner.feed(*kind))).collect();
        let hubs: Vec<_> = feeds.iter().map(|(kind, feed)| (*kind, &*feed.hub)).collect();
        Watch::over(&hubs, Arc::new(feeds.iter().map(|(_, feed)| Arc::clone(feed)).collect::<Vec<_>>()))
    }

    fn write(&self, write: Write) -> Pending<'_, Result<Version, WriteError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let key = write.key();
            match inner.folder(key.kind) {
                Some(folder) => write::write(&inner.client, &folder, write).await,
                None => {
                    let why = "only a Kubernetes cluster has resources of this kind".to_owned();
                    Err(WriteError::Refused { key, why })
                }
            }
        })
    }

    fn list(&self, kind: Kind) -> Pending<'_, Result<Vec<Resource>, ListError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(
            async move { inner.list(kind).await.map_err(|failure| ListError { kind, why: failure.words() }) },
        )
    }
}
