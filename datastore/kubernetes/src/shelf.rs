//! The objects of one kind as resources in a hub.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Source};
use corduroy_datastore::Hub;

use crate::object::Readable;
use crate::reflect::Change;

/// Puts what a reflector says into a hub.
pub(crate) struct Shelf {
    kind: Kind,
    /// Only these are ours.
    only: Part,
    hub: Arc<Hub>,
    /// The names said since a replay began.
    replay: Option<BTreeSet<String>>,
    /// The names of those that can't be used.
    rejected: BTreeSet<String>,
}

/// What of a kind is on one shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// The one of this name.
    One(String),
    /// What is in this namespace.
    Namespace(String),
}

impl Part {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == name,
            Self::Namespace(all) => name.split_once('/').is_some_and(|(namespace, _)| namespace == all),
        }
    }
}

/// How well a collection is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    InSync,
    Away(String),
}

impl Known {
    /// As a watcher hears it.
    pub(crate) fn event(self, kind: Kind) -> Event {
        match self {
            Self::InSync => Event::InSync { kind, from: Source::Live },
            Self::Away(why) => Event::Unavailable { kind, why },
        }
    }
}

/// How well kinds are known that another one depends on.
#[derive(Debug, Default)]
pub(crate) struct Settled(BTreeMap<Kind, Result<(), String>>);

impl Settled {
    /// What a watcher of these kinds hears. One that was in sync once is good for as long as it runs: what was said of
    /// it stays.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::InSync { kind, .. } => drop(self.0.insert(kind, Ok(()))),
            Event::Unavailable { kind, why } => {
                let known = self.0.entry(kind).or_insert_with(|| Err(String::new()));
                if known.is_err() {
                    *known = Err(format!("{kind} can't be had: {why}"));
                }
            }
            Event::Put(_) | Event::Gone(_) | Event::Rejected { .. } | Event::Covered(_) => {}
        }
    }

    /// Whether all is known of these kinds, or why what depends on them can't be; `None` while that is open. A kind
    /// that can't be had says nothing of what depends on it, least of all that there is none.
    pub(crate) fn of(&self, kinds: &[Kind]) -> Option<Result<(), String>> {
        let known = kinds.iter().map(|kind| self.0.get(kind)).collect::<Option<Vec<_>>>()?;
        Some(known.into_iter().find(|known| known.is_err()).cloned().unwrap_or(Ok(())))
    }
}

impl Shelf {
    pub(crate) fn new(kind: Kind, hub: Arc<Hub>) -> Self {
        Self { kind, only: Part::All, hub, replay: None, rejected: BTreeSet::new() }
    }

    /// Of the kind, the one of this name.
    pub(crate) fn only(mut self, name: &str) -> Self {
        self.only = Part::One(name.to_owned());
        self
    }

    /// Of the kind, what is in this namespace.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.only = Part::Namespace(namespace.to_owned());
        self
    }

    /// Takes a change in; returns how well things are known where that may have changed.
    pub(crate) fn take<T: Readable>(&mut self, change: Change<T>) -> Option<Known> {
        match change {
            Change::Replay => self.begin_replay(),
            Change::Put(object) => self.put(&object),
            Change::Gone(object) => self.gone([object.called()]),
            Change::InSync => {
                let missing = self.end_replay();
                self.gone(missing);
                return Some(Known::InSync);
            }
            Change::Away(why) => return Some(Known::Away(why)),
        }
        None
    }

    /// Everything is said again from here.
    pub(crate) fn begin_replay(&mut self) {
        self.replay = Some(BTreeSet::new());
    }

    /// It is now this.
    pub(crate) fn put<T: Readable>(&mut self, object: &T) {
        let name = &object.called();
        if let Some(said) = &mut self.replay {
            said.insert(name.clone());
        }
        let source = self.source(name);
        match object.read(self.kind) {
            Ok(resource) => {
                let mended = self.rejected.remove(name);
                self.hub.update(|known, events| {
                    if known.get(&resource.key()).is_none_or(|old| !old.same_words(&resource)) {
                        events.push(Event::Put(resource));
                    }
                    if mended {
                        events.push(Event::Rejected { source, rejections: Vec::new() });
                    }
                });
            }
            Err(rejections) => {
                self.rejected.insert(name.clone());
                self.hub.say(Event::Rejected { source, rejections });
            }
        }
    }

    /// These are no more.
    pub(crate) fn gone(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let source = self.source(&name);
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

    /// Everything was said; returns what is known and was not.
    pub(crate) fn end_replay(&mut self) -> Vec<String> {
        let Some(said) = self.replay.take() else { return Vec::new() };
        let known = self.hub.list(self.kind).into_iter().map(|resource| resource.key().name);
        let known: BTreeSet<String> = known.chain(self.rejected.iter().cloned()).collect();
        known.into_iter().filter(|name| self.only.has(name) && !said.contains(name)).collect()
    }

    /// Nothing of it is there any more.
    pub(crate) fn clear(&mut self) {
        self.begin_replay();
        let missing = self.end_replay();
        self.gone(missing);
    }

    fn source(&self, name: &str) -> String {
        Key::new(self.kind, name).to_string()
    }
}
