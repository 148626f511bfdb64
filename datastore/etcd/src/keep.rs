//! Keeping up with one kind, whatever becomes of etcd and the way to it.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{Event, Key, Kind, Source};
use corduroy_datastore::Hub;
use futures_util::stream::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, Failure};
use crate::document;
use crate::wire::{self, Happened, Line, Page, Pair};

/// A watch that is silent for this long, or for up to a half longer, is begun anew: a connection can die without a
/// word.
const SILENCE: Duration = Duration::from_secs(60);
/// The first pause after a failure and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// For how long trouble with the way to etcd is nobody's business.
const FORBEARANCE: Duration = Duration::from_secs(3);
/// gRPC's OUT_OF_RANGE: a revision that was compacted, or is of another store's future.
const OUT_OF_RANGE: u16 = 11;

/// Why a watch ended.
enum End {
    /// It was silent, or its member went.
    Over,
    /// etcd has forgotten the revision, or never had it.
    Stale,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer { code: OUT_OF_RANGE, .. } => Self::Stale,
            failure => Self::Failed(failure),
        }
    }
}

/// Keeps a hub up with a kind until it is dropped.
pub(crate) async fn keep(client: Client, folder: String, kind: Kind, hub: Arc<Hub>) {
    let mut keeper = Keeper { client, folder, kind, hub, rejected: BTreeSet::new(), revision: None };
    let (mut failures, mut failing): (u32, Option<Instant>) = (0, None);
    loop {
        let begun = Instant::now();
        let end = match keeper.round(&mut failing).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        failures = if begun.elapsed() > PAUSE.1 { 0 } else { failures + 1 };
        match end {
            End::Over => {}
            End::Stale => {
                // etcd is there and answers: what it knows is read again soon.
                keeper.revision = None;
                failures = 0;
            }
            End::Failed(failure) => {
                tracing::debug!("{}: {}", keeper.folder, failure.words());
                let since = *failing.get_or_insert_with(Instant::now);
                if failure.is_denial() || since.elapsed() >= FORBEARANCE {
                    keeper.hub.say(Event::Unavailable { kind, why: failure.words() });
                }
            }
        }
        let (first, most) = PAUSE;
        let pause = first.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(most);
        sleep(part(pause)).await;
    }
}

/// A round that does not end is none.
enum Never {}

struct Keeper {
    client: Client,
    folder: String,
    kind: Kind,
    hub: Arc<Hub>,
    /// The names of those that can't be used.
    rejected: BTreeSet<String>,
    /// The revision up to which everything is known.
    revision: Option<i64>,
}

impl Keeper {
    async fn round(&mut self, failing: &mut Option<Instant>) -> Result<Never, End> {
        let revision = match self.revision {
            Some(revision) => {
                // A watch is said to be created before it is said that its revision is forgotten, and that the token
                // is not good any more comes in the stream. A request has both as its answer, and gets a new token.
                let counted = self.client.call("/v3/kv/range", &wire::count(&self.folder, revision)).await;
                counted.map(|_: Page| revision)?
            }
            None => {
                let (pairs, revision) = read_all(&self.client, &self.folder).await?;
                self.replay(&pairs);
                self.revision = Some(revision);
                revision
            }
        };
        let body = wire::watch(&self.folder, revision.saturating_add(1));
        let mut lines = self.client.lines("/v3/watch", &body).await?;
        let silence = SILENCE + part(SILENCE / 2);
        loop {
            let line = match timeout(silence, lines.next()).await {
                Ok(Some(Ok(line))) => line,
                Ok(Some(Err(_)) | None) | Err(_) => return Err(End::Over),
            };
            let line: Line = serde_json::from_str(&line)
                .map_err(|e| Failure::Silence(format!("its watch says what can't be understood: {e}")))?;
            self.take(line, failing)?;
        }
    }

    fn take(&mut self, line: Line, failing: &mut Option<Instant>) -> Result<(), End> {
        if let Some(trouble) = line.error {
            return Err(Failure::Answer { code: trouble.code, words: trouble.message }.into());
        }
        let news = line.result;
        if news.canceled {
            let is_stale = news.compact_revision > 0 || news.cancel_reason.contains("revision");
            let denied = Failure::Answer { code: 7, words: news.cancel_reason };
            return Err(if is_stale { End::Stale } else { End::Failed(denied) });
        }
        if news.created {
            // Behind us it may be by restoration from a backup: then what we know is not what is there.
            if self.revision.is_some_and(|known| news.header.revision < known) {
                return Err(End::Stale);
            }
            *failing = None;
            self.hub.say(Event::InSync { kind: self.kind, from: Source::Live });
            return Ok(());
        }
        for Happened { r#type, kv } in &news.events {
            if r#type == "DELETE" {
                self.gone([self.name(kv)]);
            } else {
                self.put(kv);
            }
        }
        self.revision = self.revision.max(Some(news.header.revision));
        Ok(())
    }

    fn name(&self, pair: &Pair) -> String {
        pair.key.strip_prefix(&self.folder).unwrap_or(&pair.key).to_owned()
    }

    fn replay(&mut self, pairs: &[Pair]) {
        let said: BTreeSet<String> = pairs.iter().map(|pair| self.name(pair)).collect();
        pairs.iter().for_each(|pair| self.put(pair));
        let known = self.hub.list(self.kind).into_iter().map(|resource| resource.metadata().name.clone());
        let known: BTreeSet<String> = known.chain(self.rejected.iter().cloned()).collect();
        self.gone(known.difference(&said).cloned());
    }

    fn put(&mut self, pair: &Pair) {
        let name = self.name(pair);
        let source = pair.key.clone();
        match document::read(self.kind, &self.folder, pair) {
            Ok(resource) => {
                let mended = self.rejected.remove(&name);
                self.hub.update(|_, events| {
                    events.push(Event::Put(resource));
                    if mended {
                        events.push(Event::Rejected { source, rejections: Vec::new() });
                    }
                });
            }
            Err(rejections) => {
                self.rejected.insert(name);
                self.hub.say(Event::Rejected { source, rejections });
            }
        }
    }

    fn gone(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let source = format!("{}{name}", self.folder);
            let mended = self.rejected.remove(&name);
            let key = Key::new(self.kind, name);
            self.hub.update(|_, events| {
                events.push(Event::Gone(key));
                if mended {
                    events.push(Event::Rejected { source, rejections: Vec::new() });
                }
            });
        }
    }
}

/// Everything in a folder, in order, and the revision of which that is.
pub(crate) async fn read_all(client: &Client, folder: &str) -> Result<(Vec<Pair>, i64), Failure> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut revision = 0;
    loop {
        let after = pairs.last().map(|pair| pair.key.as_str());
        let page: Page = client.call("/v3/kv/range", &wire::page(folder, after, revision)).await?;
        // The pages that follow are of the first one's revision.
        revision = if revision == 0 { page.header.revision } else { revision };
        let is_last = !page.more || page.kvs.is_empty();
        pairs.extend(page.kvs);
        if is_last {
            return Ok((pairs, revision));
        }
    }
}

/// A random part of `d`: hosts that lost etcd together do not all come back in one instant.
fn part(d: Duration) -> Duration {
    // The library keys each of these anew.
    let random = RandomState::new().hash_one(());
    d / 1024 * u32::try_from(random % 1024).unwrap_or(0)
}
