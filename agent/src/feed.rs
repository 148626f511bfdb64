//! The datastore and its snapshot as one stream of events, and a way to write.
//!
//! The datastore has a bounded time to come up; after that the snapshot of a former run speaks for it, and it is tried
//! again for as long as it takes. The snapshot is written a moment after a change, so that a burst costs one write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corduroy_agent_core::last_known::LastKnown;
use corduroy_api::{Event, Key, Kind, Version, Write, WriteError};
use corduroy_datastore::{Datastore, FileStore, Watch};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::snapshot;

/// How long the datastore may take before the snapshot speaks for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts to open it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long after a change the snapshot is written.
const SETTLE: Duration = Duration::from_secs(1);

/// The datastore, once it could be opened.
type Store = Arc<OnceLock<FileStore>>;

/// The events, and a way to write.
#[derive(Debug)]
pub struct Feed {
    events: mpsc::Receiver<Vec<Event>>,
    store: Store,
}

impl Feed {
    /// Opens the directory `dir`, with the snapshot at `path`. Needs the runtime it is to run on.
    #[must_use]
    pub fn start(dir: &Path, path: PathBuf) -> Self {
        let (sender, events) = mpsc::channel(16);
        let store = Store::default();
        let feeder = Feeder { dir: dir.to_owned(), path, store: Arc::clone(&store), sender };
        tokio::spawn(feeder.run());
        Self { events, store }
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
    dir: PathBuf,
    path: PathBuf,
    store: Store,
    sender: mpsc::Sender<Vec<Event>>,
}

impl Feeder {
    async fn run(self) {
        let former = snapshot::load(&self.path).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Vec::new()
        });
        let mut known = LastKnown::new(former);
        let Some(mut watch) = self.open(&mut known).await else { return };
        let mut save_at: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    save_at = None;
                    self.save(&known).await;
                    continue;
                }
            };
            let mut batch = vec![event];
            batch.extend(std::iter::from_fn(|| watch.try_next()));
            let events = known.live(batch);
            for event in &events {
                announce(event);
            }
            if known.is_live() {
                save_at.get_or_insert_with(|| Instant::now() + SETTLE);
            }
            if self.sender.send(events).await.is_err() {
                return;
            }
        }
    }

    /// Opens the datastore, whatever time it takes. `None` when nobody listens any more.
    async fn open(&self, known: &mut LastKnown) -> Option<Watch> {
        let patience = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            match FileStore::open(&self.dir) {
                Ok(store) => {
                    let store = self.store.get_or_init(|| store);
                    return Some(store.watch(&Kind::ALL));
                }
                Err(error) if Instant::now() >= patience && !told => {
                    told = true;
                    tracing::warn!("{error}; going by what the former run knew");
                    self.sender.send(known.stand_in(&error.to_string())).await.ok()?;
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
        let (path, text) = (self.path.clone(), snapshot::text(known.resources()));
        let saved = tokio::task::spawn_blocking(move || snapshot::save(&path, &text)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("snapshot {} not written: {error}", self.path.display()),
            Err(error) => tracing::warn!("snapshot not written: {error}"),
        }
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
        Event::Put(_) | Event::Gone(_) | Event::InSync { .. } => {}
    }
}
