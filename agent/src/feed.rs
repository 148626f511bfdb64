//! The datastore and its snapshot as one stream of events, and a way to write.
//!
//! The datastore has a bounded time to come up; after that the snapshot of a former run speaks for it, and it is tried
//! again for as long as it takes. The snapshot is written a moment after a change, so that a burst costs one write; the
//! moment grows with the fabric, so that changes without end cost a few percent of a processor at most.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corduroy_agent_core::known::WATCHED;
use corduroy_agent_core::last_known::LastKnown;
use corduroy_api::{Asked, Event, Key, Version, Write, WriteError};
use corduroy_datastore::{Datastore, FileStore, Watch};
use corduroy_datastore_etcd::Etcd;
use corduroy_datastore_kubernetes::Kubernetes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::snapshot::{self, Snapshot};

/// How long the datastore may take before the snapshot speaks for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts to open it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long after a change the snapshot is written.
const SETTLE: Duration = Duration::from_secs(1);
/// In a large fabric writing takes its time: so many times as long passes before the next, some seconds at most.
const REST: u32 = 50;
const LONGEST: Duration = Duration::from_secs(15);

/// Where resources are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In files of this directory.
    Directory(PathBuf),
    /// In an etcd.
    Etcd(Etcd),
    /// In an API server.
    Cluster {
        /// Which.
        kubernetes: Kubernetes,
        /// Has it answered already? One that has not had its time.
        answers: bool,
    },
}

/// The datastore, once it could be opened.
type Slot = Arc<OnceLock<Box<dyn Datastore>>>;

/// The events, and a way to write.
pub struct Feed {
    events: mpsc::Receiver<Vec<Event>>,
    store: Slot,
    asked: watch::Sender<Asked>,
}

impl Feed {
    /// Opens the datastore, with the snapshot at `path`. Needs the runtime it is to run on.
    #[must_use]
    pub fn start(place: Place, path: PathBuf) -> Self {
        let (sender, events) = mpsc::channel(16);
        let store = Slot::default();
        let (asked, asks) = watch::channel(Asked::default());
        let feeder = Feeder { place, path, store: Arc::clone(&store), sender, asks };
        tokio::spawn(feeder.run());
        Self { events, store, asked }
    }

    /// What is wanted to be known of other nodes' pods from now on.
    pub fn ask(&self, asked: Asked) {
        self.asked.send_replace(asked);
    }

    /// What the datastore says next, as much as there is. Safe to drop and call again.
    pub async fn next(&mut self) -> Vec<Event> {
        match self.events.recv().await {
            Some(events) => events,
            // The feeder ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Writes; the answer comes by `done`, which is called on the runtime.
    pub fn write(&self, write: Write, done: impl FnOnce(Key, Result<Version, WriteError>) + Send + 'static) {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let key = write.key();
            let result = match store.get() {
                Some(store) => store.write(write).await,
                None => {
                    let why = "the datastore can't be reached".to_owned();
                    Err(WriteError::Unavailable { key: key.clone(), why })
                }
            };
            done(key, result);
        });
    }
}

/// The task behind it.
struct Feeder {
    place: Place,
    path: PathBuf,
    store: Slot,
    sender: mpsc::Sender<Vec<Event>>,
    asks: watch::Receiver<Asked>,
}

impl Feeder {
    async fn run(mut self) {
        let former = snapshot::load(&self.path).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Snapshot::default()
        });
        let mut known = LastKnown::new(former.resources, former.covered);
        let had_its_time = matches!(self.place, Place::Cluster { answers: false, .. });
        let patience = Instant::now() + if had_its_time { Duration::ZERO } else { PATIENCE };
        let Some(mut watch) = self.open(&mut known, patience).await else { return };
        self.asks.mark_changed();
        let (mut save_at, mut settle) = (None, SETTLE);
        let mut waits = had_its_time || Instant::now() < patience;
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                Ok(()) = self.asks.changed() => {
                    self.ask();
                    continue;
                }
                () = sleep_until(patience), if waits => {
                    waits = false;
                    let silent = known.silent();
                    if self.tell(known.stand_in(silent, "no answer from the datastore")).await.is_none() {
                        return;
                    }
                    continue;
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    save_at = None;
                    let started = Instant::now();
                    self.save(&known).await;
                    settle = (started.elapsed() * REST).clamp(SETTLE, LONGEST);
                    continue;
                }
            };
            let mut batch = vec![event];
            batch.extend(std::iter::from_fn(|| watch.try_next()));
            let events = known.live(batch);
            if known.is_live() {
                save_at.get_or_insert_with(|| Instant::now() + settle);
            }
            if self.tell(events).await.is_none() {
                return;
            }
        }
    }

    fn ask(&mut self) {
        let asked = self.asks.borrow_and_update().clone();
        if let Some(store) = self.store.get() {
            store.ask(asked);
        }
    }

    /// `None` when nobody listens any more.
    async fn tell(&self, events: Vec<Event>) -> Option<()> {
        if events.is_empty() {
            return Some(());
        }
        events.iter().for_each(announce);
        self.sender.send(events).await.ok()
    }

    /// Opens the datastore, whatever time it takes. `None` when nobody listens any more.
    async fn open(&self, known: &mut LastKnown, patience: Instant) -> Option<Watch> {
        let mut told = false;
        loop {
            match open(&self.place) {
                Ok(store) => return Some(self.store.get_or_init(|| store).watch(&WATCHED)),
                Err(why) if Instant::now() >= patience && !told => {
                    told = true;
                    self.tell(known.stand_in(WATCHED, &why)).await?;
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
            if self.sender.is_closed() {
                return None;
            }
        }
    }

    async fn save(&self, known: &LastKnown) {
        // Beside the loop, which must not wait for thousands of resources to become text.
        let (path, resources) = (self.path.clone(), known.resources().cloned().collect::<Vec<_>>());
        let covered = known.covered();
        let write = move || snapshot::save(&path, &snapshot::text(resources.iter(), &covered));
        let saved = tokio::task::spawn_blocking(write).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("snapshot: {error}"),
            Err(error) => tracing::warn!("snapshot not written: {error}"),
        }
    }
}

fn open(place: &Place) -> Result<Box<dyn Datastore>, String> {
    match place {
        Place::Directory(dir) => {
            FileStore::open(dir).map(|store| Box::new(store) as _).map_err(|error| error.to_string())
        }
        Place::Etcd(etcd) => Ok(Box::new(etcd.clone())),
        Place::Cluster { kubernetes, .. } => Ok(Box::new(kubernetes.clone())),
    }
}

/// What an operator wants to find in the log.
fn announce(event: &Event) {
    match event {
        Event::Rejected { source, rejections } if rejections.is_empty() => {
            tracing::info!("{source}: nothing is wrong with it any more");
        }
        Event::Rejected { source, rejections } => {
            for rejection in rejections {
                tracing::warn!("{source}: {rejection}; the last good state stays in force");
            }
        }
        Event::Unavailable { kind, why } => tracing::warn!("{kind} can't be had: {why}"),
        Event::Put(_) | Event::Gone(_) | Event::InSync { .. } | Event::Covered(_) => {}
    }
}
