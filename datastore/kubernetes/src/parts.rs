//! A kind of which only some namespaces matter: a watch for each of them, or, when they are many, one over all.
//!
//! ```text
//! namespaces ─► parts: none │ one a namespace (up to 16) │ one over all ─► a reflector each ─► heard
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corduroy_api::Asked;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::Running;
use crate::object::{Collection, Object};
use crate::reflect::{Change, reflect};
use crate::server::Server;
use crate::shelf::Known;

/// So many namespaces are watched each for itself; with more, one watch over all costs the server less.
const MOST: usize = 16;
/// Other watches are begun at most so often: policies come in bursts.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked for, told at most so often.
pub(crate) struct Asking {
    asked: watch::Receiver<Asked>,
    changed: bool,
    again: Instant,
}

impl Asking {
    /// What was asked before is new here.
    pub(crate) fn new(asked: watch::Receiver<Asked>) -> Self {
        Self { asked, changed: true, again: Instant::now() }
    }

    /// What is asked for, once it is something else. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Asked {
        if !self.changed && self.asked.changed().await.is_err() {
            // The sender lives as long as the datastore.
            return std::future::pending().await;
        }
        self.changed = true;
        sleep_until(self.again).await;
        self.changed = false;
        self.again = Instant::now() + PAUSE;
        self.asked.borrow_and_update().clone()
    }
}

/// A part with a watch of its own: a namespace, or `None` for all.
pub(crate) type Part = Option<String>;

/// What is watched for these namespaces.
pub(crate) fn parts(namespaces: &BTreeSet<String>) -> BTreeSet<Part> {
    match namespaces.len() {
        0..=MOST => namespaces.iter().cloned().map(Some).collect(),
        _ => BTreeSet::from([None]),
    }
}

type Heard<T> = (Part, u64, Change<T>);

/// The watches there are.
pub(crate) struct Parts<T> {
    server: Server,
    said: mpsc::UnboundedSender<Heard<T>>,
    hears: mpsc::UnboundedReceiver<Heard<T>>,
    watched: BTreeMap<Part, Watched>,
    number: u64,
}

/// A part that is watched.
struct Watched {
    number: u64,
    collection: Collection,
    known: Option<Known>,
    _task: Running,
}

impl<T: Object> Parts<T> {
    pub(crate) fn new(server: Server) -> Self {
        let (said, hears) = mpsc::unbounded_channel();
        Self { server, said, hears, watched: BTreeMap::new(), number: 0 }
    }

    /// These are watched from now on; returns those of which everything will be said anew.
    pub(crate) fn want(&mut self, wanted: BTreeMap<Part, Collection>) -> BTreeSet<Part> {
        // What could not be had is not taken for known because it is asked for in another way.
        let away =
            self.watched.values().find_map(|watched| watched.known.clone().filter(|it| *it != Known::InSync));
        self.watched.retain(|part, watched| wanted.get(part) == Some(&watched.collection));
        let begun: BTreeMap<Part, Collection> =
            wanted.into_iter().filter(|(part, _)| !self.watched.contains_key(part)).collect();
        let parts = begun.keys().cloned().collect();
        for (part, collection) in begun {
            let watched = self.watch(&part, collection);
            self.watched.insert(part, Watched { known: away.clone(), ..watched });
        }
        parts
    }

    fn watch(&mut self, part: &Part, collection: Collection) -> Watched {
        self.number += 1;
        let (said, from, number) = (self.said.clone(), part.clone(), self.number);
        let say = move |change| {
            // Nobody listens only while this is being aborted.
            let _ = said.send((from.clone(), number, change));
        };
        let task = tokio::spawn(reflect(self.server.clone(), collection.clone(), say)).abort_handle();
        Watched { number, collection, known: None, _task: Running(task) }
    }

    /// What one of the watches says next. Safe to drop and call again.
    pub(crate) async fn heard(&mut self) -> (Part, Change<T>) {
        loop {
            let Some((part, number, change)) = self.hears.recv().await else {
                // We hold a sender ourselves.
                return std::future::pending().await;
            };
            let Some(watched) = self.watched.get_mut(&part).filter(|watched| watched.number == number) else {
                continue;
            };
            match &change {
                Change::InSync => watched.known = Some(Known::InSync),
                Change::Away(why) => watched.known = Some(Known::Away(why.clone())),
                Change::Replay | Change::Put(_) | Change::Gone(_) => {}
            }
            return (part, change);
        }
    }

    /// How well all of it is known: in sync as long as no watch fails, though one may still be reading.
    pub(crate) fn known(&self) -> Known {
        let away = self.watched.iter().find_map(|(part, watched)| match (&watched.known, part) {
            (Some(Known::Away(why)), Some(namespace)) => {
                Some(Known::Away(format!("those of namespace {namespace}: {why}")))
            }
            (Some(Known::Away(why)), None) => Some(Known::Away(why.clone())),
            _ => None,
        });
        away.unwrap_or(Known::InSync)
    }
}

#[cfg(test)]
mod tests {
    use corduroy_api::Kind;

    use super::*;
    use crate::object::Scope;
    use crate::pods::CorePod;
    use crate::tests::Script;

    #[tokio::test]
    async fn what_could_not_be_had_is_not_in_sync_because_it_is_asked_for_in_another_way() {
        let (store, _) = Script::store(Vec::new());
        let mut parts = Parts::<CorePod>::new(store.inner.server.clone());
        let pods = Collection::of(Kind::RemotePod, &Scope::default());
        let wanted =
            |only: &str| BTreeMap::from([(Some("x".to_owned()), pods.clone().within("x").only(only))]);
        assert_eq!(parts.want(wanted("a")).len(), 1);
        let said = parts.said.clone();
        let say = |number, change| said.send((Some("x".to_owned()), number, change)).unwrap();
        say(1, Change::Away("no right".to_owned()));
        assert!(matches!(parts.heard().await, (_, Change::Away(_))));
        let away = Known::Away("those of namespace x: no right".to_owned());
        assert_eq!(parts.known(), away);
        assert_eq!(parts.want(wanted("a")).len(), 0, "it is watched already");
        assert_eq!(parts.want(wanted("b")).len(), 1);
        assert_eq!(parts.known(), away);
        say(1, Change::InSync);
        say(2, Change::InSync);
        assert!(
            matches!(parts.heard().await, (_, Change::InSync)),
            "of the second, and nothing of the first"
        );
        assert_eq!(parts.known(), Known::InSync);
    }
}
