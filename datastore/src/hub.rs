//! The part that all backends share: the state as it was last accepted, and its watchers.
//!
//! A watcher's queue holds at most one event for each resource, kind and source: a later one takes the place of an
//! earlier one that was not taken yet. Replacing in place is what keeps `InSync` behind the replay, and a `Put`
//! replaced by a `Gone` is still told, since the watcher may know the resource from before. Only `Covered` goes to the
//! end of the queue when it is said again: it speaks of pods that were said since.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use corduroy_api::{Event, Key, Kind, Rejection, Resource, Scope, Source};
use tokio::sync::Notify;

/// What is in force, and who watches it: what a backend is made of. Whatever it learns it says here.
#[derive(Debug, Default)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    resources: BTreeMap<Key, Resource>,
    rejected: BTreeMap<String, Vec<Rejection>>,
    known: BTreeMap<Kind, Known>,
    covered: Option<Scope>,
    watchers: Vec<Weak<Queue>>,
}

/// How well a kind is known; kinds that were never heard of are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    InSync(Source),
    Unavailable(String),
}

/// What one watcher has not taken yet.
#[derive(Debug)]
struct Queue {
    kinds: Vec<Kind>,
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Slot>,
    events: BTreeMap<Slot, Event>,
}

/// What an event is about: two of one slot are coalesced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Resource(Key),
    Kind(Kind),
    Source(String),
    Covered,
}

/// A running watch. Events come in order; see the crate's contract.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
    /// What feeds the watch lives as long as the watch does.
    _feeder: Arc<dyn Any + Send + Sync>,
}

impl Watch {
    /// Everything of these kinds, each from the hub that has it, then whatever changes. `feeder` is kept alive
    /// meanwhile.
    #[must_use]
    pub fn over(hubs: &[(Kind, &Hub)], feeder: Arc<dyn Any + Send + Sync>) -> Self {
        let kinds = hubs.iter().map(|(kind, _)| *kind).collect();
        let queue = Arc::new(Queue { kinds, waiting: Mutex::default(), ready: Notify::new() });
        for (kind, hub) in hubs {
            hub.attach(*kind, &queue);
        }
        Self { queue, _feeder: feeder }
    }

    /// The next event; waits for one.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.queue.ready.notified().await;
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut waiting = lock(&self.queue.waiting);
        let slot = waiting.order.pop_front()?;
        waiting.events.remove(&slot)
    }
}

impl Hub {
    /// Everything of these kinds, then whatever changes. `feeder` is kept alive meanwhile.
    pub(crate) fn watch(&self, kinds: &[Kind], feeder: Arc<dyn Any + Send + Sync>) -> Watch {
        let hubs: Vec<_> = kinds.iter().map(|kind| (*kind, self)).collect();
        Watch::over(&hubs, feeder)
    }

    /// Tells a queue everything of a kind, and from now on whatever is new.
    fn attach(&self, kind: Kind, queue: &Arc<Queue>) {
        let mut inner = lock(&self.inner);
        for resource in inner.resources.values().filter(|r| r.kind() == kind) {
            queue.push(Event::Put(resource.clone()));
        }
        if let Some(scope) = inner.covered.as_ref().filter(|_| kind == Kind::RemotePod) {
            queue.push(Event::Covered(scope.clone()));
        }
        if let Some(known) = inner.known.get(&kind) {
            queue.push(known.event(kind));
        }
        for (source, rejections) in &inner.rejected {
            queue.push(Event::Rejected { source: source.clone(), rejections: rejections.clone() });
        }
        if !inner.watchers.iter().any(|watcher| std::ptr::eq(watcher.as_ptr(), &raw const **queue)) {
            inner.watchers.push(Arc::downgrade(queue));
        }
    }

    /// Everything of a kind that is in force.
    #[must_use]
    pub fn list(&self, kind: Kind) -> Vec<Resource> {
        lock(&self.inner).resources.values().filter(|r| r.kind() == kind).cloned().collect()
    }

    /// Takes events into the state and tells the watchers what is new in them. A change and the decision that led to
    /// it can be made one step by deciding in `f`, which sees the resources in force.
    pub fn update<T>(&self, f: impl FnOnce(&BTreeMap<Key, Resource>, &mut Vec<Event>) -> T) -> T {
        let mut inner = lock(&self.inner);
        let mut events = Vec::new();
        let out = f(&inner.resources, &mut events);
        for event in events {
            if inner.take(&event) {
                inner.tell(&event);
            }
        }
        out
    }

    /// As [`Hub::update`], with nothing to decide.
    pub fn say(&self, event: Event) {
        self.update(|_, events| events.push(event));
    }
}

impl Inner {
    /// Whether it says something new.
    fn take(&mut self, event: &Event) -> bool {
        match event {
            Event::Put(resource) => {
                let old = self.resources.insert(resource.key(), resource.clone());
                old.as_ref() != Some(resource)
            }
            Event::Gone(key) => self.resources.remove(key).is_some(),
            Event::InSync { kind, from } => self.know(*kind, Known::InSync(*from)),
            Event::Unavailable { kind, why } => self.know(*kind, Known::Unavailable(why.clone())),
            Event::Covered(scope) => self.covered.replace(scope.clone()).as_ref() != Some(scope),
            Event::Rejected { source, rejections } if rejections.is_empty() => {
                self.rejected.remove(source).is_some()
            }
            Event::Rejected { source, rejections } => {
                self.rejected.insert(source.clone(), rejections.clone()).as_ref() != Some(rejections)
            }
        }
    }

    fn know(&mut self, kind: Kind, known: Known) -> bool {
        self.known.insert(kind, known.clone()) != Some(known)
    }

    fn tell(&mut self, event: &Event) {
        self.watchers.retain(|watcher| {
            let Some(queue) = watcher.upgrade() else { return false };
            if queue.wants(event) {
                queue.push(event.clone());
            }
            true
        });
    }
}

impl Known {
    fn event(&self, kind: Kind) -> Event {
        match self {
            Self::InSync(from) => Event::InSync { kind, from: *from },
            Self::Unavailable(why) => Event::Unavailable { kind, why: why.clone() },
        }
    }
}

impl Queue {
    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Put(resource) => self.kinds.contains(&resource.kind()),
            Event::Gone(key) => self.kinds.contains(&key.kind),
            Event::InSync { kind, .. } | Event::Unavailable { kind, .. } => self.kinds.contains(kind),
            Event::Covered(_) => self.kinds.contains(&Kind::RemotePod),
            // What can't be read may be of any kind.
            Event::Rejected { .. } => true,
        }
    }

    fn push(&self, event: Event) {
        let slot = match &event {
            Event::Put(resource) => Slot::Resource(resource.key()),
            Event::Gone(key) => Slot::Resource(key.clone()),
            Event::InSync { kind, .. } | Event::Unavailable { kind, .. } => Slot::Kind(*kind),
            Event::Rejected { source, .. } => Slot::Source(source.clone()),
            Event::Covered(_) => Slot::Covered,
        };
        let mut waiting = lock(&self.waiting);
        if slot == Slot::Covered && waiting.events.remove(&slot).is_some() {
            waiting.order.retain(|other| *other != Slot::Covered);
        }
        if waiting.events.insert(slot.clone(), event).is_none() {
            waiting.order.push_back(slot);
        }
        drop(waiting);
        self.ready.notify_one();
    }
}

/// Nothing in here panics while it holds a lock, and if it did the state would still be whole: every change is one
/// insertion or removal.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
