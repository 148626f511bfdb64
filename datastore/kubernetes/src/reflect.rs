//! Keeping up with a collection of objects, whatever becomes of the server and the way to it.
//!
//! ```text
//!          ┌─► replay: a streaming list, or, where the server can't, a list in pages ─┐
//!   start ─┤                                                                          ├─► in sync ─► watch ─┐
//!          └─ 410 (too old a version), 404 (the kind was gone) ◄──────────────────────┴──── pause ◄─────────┘
//! ```
//! * A watch goes on from the version of the last event or bookmark, so that an API server's return costs a watch and
//!   no list. Only when the server does not remember that version is everything said again.
//! * Thousands of nodes lose their watch in the same instant when a server goes. Each waits a random moment of up to a
//!   second, then twice as long each time, up to half a minute; and each watch ends by itself after a time of its own.
//! * A connection that died without a word is noticed by the bookmarks that do not come: the server sends one a minute.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures_util::stream::TryStreamExt;
use kube::core::WatchEvent;
use tokio::time::{Instant, sleep, timeout};

use crate::object::{Collection, Object, Page};
use crate::server::{Call, Events, Failure, Server};

/// How long a watch may be silent. Bookmarks come every minute or so.
const SILENCE: Duration = Duration::from_secs(90);
/// How long a watch is asked for, at least and at most, in seconds.
const SPAN: (u64, u64) = (240, 300);
/// The first pause after a failure and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A watch that lasted this long was a good one: the next failure is the first again.
const GOOD: Duration = Duration::from_secs(20);
/// For how long trouble with the way to the server is nobody's business.
const FORBEARANCE: Duration = Duration::from_secs(3);
/// Ends the replay of a streaming list.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What becomes of a collection.
#[derive(Debug)]
pub(crate) enum Change<T> {
    /// Everything is said again from here to the next `InSync`; what is not said until then is gone.
    Replay,
    /// It is now this.
    Put(T),
    /// It is no more.
    Gone(T),
    /// Everything was said.
    InSync,
    /// It can't be had, for this reason.
    Away(String),
}

/// Why one round ended.
enum End {
    /// The server ended it, or went.
    Over,
    /// The version is forgotten.
    Stale,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        if failure.code() == Some(410) { Self::Stale } else { Self::Failed(failure) }
    }
}

/// Keeps up with a collection until it is dropped.
pub(crate) async fn reflect<T: Object>(
    server: Server,
    collection: Collection,
    say: impl FnMut(Change<T>) + Send,
) {
    let mut reflector = Reflector { server, collection, say, version: None, pace: Pace::default() };
    loop {
        let end = match reflector.round().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        reflector.judge(end);
        sleep(reflector.pace.pause()).await;
    }
}

struct Reflector<S> {
    server: Server,
    collection: Collection,
    say: S,
    /// The version up to which everything was said.
    version: Option<String>,
    pace: Pace,
}

/// A round that does not end is none.
enum Never {}

impl<S> Reflector<S> {
    fn judge<T>(&mut self, end: End)
    where
        S: FnMut(Change<T>),
    {
        let why = match end {
            End::Over => {
                self.pace.over();
                return;
            }
            End::Stale => {
                self.version = None;
                self.pace.over();
                return;
            }
            End::Failed(failure) => {
                // A server that is starting or busy says so too, and is only in trouble for a while.
                let answered = matches!(failure.code(), Some(401 | 403 | 404));
                if failure.code() == Some(404) {
                    // The kind may come back with other objects.
                    self.version = None;
                }
                (failure.words(), answered)
            }
        };
        tracing::debug!("{}: {}", self.collection.path(), why.0);
        if self.pace.failed() >= FORBEARANCE || why.1 {
            (self.say)(Change::Away(why.0));
        }
    }

    /// From where we stand to the end of a watch.
    async fn round<T: Object>(&mut self) -> Result<Never, End>
    where
        S: FnMut(Change<T>) + Send,
    {
        let mut events = match self.version.clone() {
            Some(version) => self.open(&version).await?,
            None => match self.stream_everything().await? {
                Some(events) => events,
                None => {
                    let version = self.list_everything().await?;
                    self.open(&version).await?
                }
            },
        };
        (self.say)(Change::InSync);
        self.pace.good();
        loop {
            self.take(next(&mut events).await?)?;
        }
    }

    async fn open<T: Object>(&mut self, version: &str) -> Result<Events<T>, End> {
        Ok(self.server.events(&self.collection.after(version, span())).await?)
    }

    /// Everything by a streaming list; `None` when the server has none.
    async fn stream_everything<T: Object>(&mut self) -> Result<Option<Events<T>>, End>
    where
        S: FnMut(Change<T>) + Send,
    {
        let mut events = match self.server.events(&self.collection.replay(span())).await {
            Ok(events) => events,
            Err(failure) if cannot_stream(&failure) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        (self.say)(Change::Replay);
        loop {
            let taken = match next(&mut events).await {
                Ok(event) => self.take(event),
                Err(end) => Err(end),
            };
            match taken {
                Ok(true) => return Ok(Some(events)),
                // Until the end of it, the version of an event says nothing about the objects not said yet.
                Ok(false) => self.version = None,
                Err(End::Failed(failure)) if cannot_stream(&failure) => return Ok(None),
                Err(end) => return Err(end),
            }
        }
    }

    /// Everything by a list; returns the version it is of.
    async fn list_everything<T: Object>(&mut self) -> Result<String, End>
    where
        S: FnMut(Change<T>) + Send,
    {
        (self.say)(Change::Replay);
        let mut from: Option<String> = None;
        loop {
            let path = self.collection.page(from.as_deref());
            let call = Call::get(&path).accepting(T::PARTIAL.map(|partial| partial.listed));
            let page: Page<T> = self.server.call(call).await?;
            page.items.into_iter().for_each(|object| (self.say)(Change::Put(object)));
            if page.metadata.r#continue.is_empty() {
                self.version = Some(page.metadata.resource_version.clone());
                return Ok(page.metadata.resource_version);
            }
            from = Some(page.metadata.r#continue);
        }
    }

    /// Takes an event in; whether it ends a replay.
    fn take<T: Object>(&mut self, event: WatchEvent<T>) -> Result<bool, End>
    where
        S: FnMut(Change<T>) + Send,
    {
        let (version, change, ends) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.about().resource_version.clone(), Some(Change::Put(object)), false)
            }
            WatchEvent::Deleted(object) => {
                (object.about().resource_version.clone(), Some(Change::Gone(object)), false)
            }
            WatchEvent::Bookmark(bookmark) => {
                let ends = bookmark.metadata.annotations.get(INITIAL_END).is_some_and(|v| v == "true");
                (bookmark.metadata.resource_version, None, ends)
            }
            WatchEvent::Error(status) => return Err(Failure::from(*status).into()),
        };
        change.into_iter().for_each(&mut self.say);
        self.version = Some(version);
        Ok(ends)
    }
}

async fn next<T>(events: &mut Events<T>) -> Result<WatchEvent<T>, End> {
    match timeout(SILENCE, events.try_next()).await {
        Err(_) => Err(Failure::Silence(format!("nothing heard for {} s", SILENCE.as_secs())).into()),
        Ok(Err(failure)) => Err(failure.into()),
        Ok(Ok(None)) => Err(End::Over),
        Ok(Ok(Some(event))) => Ok(event),
    }
}

/// Servers before 1.27, with the feature switched off, or before an etcd that lacks what it needs.
fn cannot_stream(failure: &Failure) -> bool {
    matches!(failure.code(), Some(400 | 422 | 500))
}

/// A span for a watch, in seconds.
fn span() -> u64 {
    let (least, most) = SPAN;
    least + random() % (most - least)
}

pub(crate) fn random() -> u64 {
    // The library keys each of these anew.
    RandomState::new().hash_one(())
}

/// How long to wait between rounds.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    failing_since: Option<Instant>,
    good_since: Option<Instant>,
}

impl Pace {
    /// A watch stands.
    fn good(&mut self) {
        self.failing_since = None;
        self.good_since = Some(Instant::now());
    }

    /// It ended as watches do, or as they do when a server goes.
    fn over(&mut self) {
        match self.good_since.take() {
            Some(since) if since.elapsed() >= GOOD => self.failures = 1,
            _ => self.failures += 1,
        }
    }

    /// It failed; for how long now.
    fn failed(&mut self) -> Duration {
        self.over();
        self.failing_since.get_or_insert_with(Instant::now).elapsed()
    }

    fn pause(&self) -> Duration {
        let (first, most) = PAUSE;
        let doubled = first.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(most);
        // The first is anything up to a second; later ones are spread over their second half.
        let least = if self.failures <= 1 { Duration::ZERO } else { doubled / 2 };
        let spread = u64::try_from((doubled - least).as_millis()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_millis(random() % spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_no_two_nodes_have_the_same() {
        let pauses = |failures| {
            let pace = Pace { failures, ..Pace::default() };
            (0..200).map(|_| pace.pause().as_millis()).collect::<std::collections::BTreeSet<_>>()
        };
        for (failures, range) in [(1, 0..1000), (2, 1000..2000), (4, 4000..8000), (40, 15_000..30_000)] {
            let pauses = pauses(failures);
            assert!(pauses.iter().all(|pause| range.contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.len() > 50, "{failures}: {pauses:?}");
        }
    }
}
