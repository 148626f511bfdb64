//! What stands of one of our kinds, though its definition may go and come back.
//!
//! ```text
//! reflector ─► Change ─► keeper ─► shelf ─► hub
//!                          ▲ └─► writes again what is this node's own
//! definitions ─────────────┘
//! ```
//! A deletion rests for a moment before it is told: long enough for the definition to say that it is being deleted too.
//! Then the object was not meant, and it stays as it was last. Once the definition is back, what is this node's own
//! (its FabricNode, its blocks) is written again, spread over some seconds since every node does so; what is another's
//! waits for that one, and what is an operator's for the operator. What nobody has brought back by then is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::schema::crd;
use corduroy_api::{Kind, Resource, Write, WriteError};
use corduroy_datastore::Hub;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::definitions::Definitions;
use crate::object::{Collection, Custom, Object as _, Scope};
use crate::reflect::{self, Change};
use crate::server::Server;
use crate::shelf::{Known, Shelf};
use crate::write::Writer;

/// How long a deletion rests.
const REST: Duration = Duration::from_secs(1);
/// How long what was lost with a definition may take to come back after it.
const GRACE: Duration = Duration::from_secs(300);
/// Over what time nodes spread the writing of what is theirs, and the pause before it is tried again.
const SPREAD: Duration = Duration::from_secs(10);

/// One of our kinds, and where it is kept.
pub(crate) struct Keeper {
    pub(crate) server: Server,
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    pub(crate) hub: Arc<Hub>,
    pub(crate) definitions: watch::Receiver<Definitions>,
}

impl Keeper {
    /// Keeps up with the kind until it is dropped.
    pub(crate) async fn run(mut self) {
        let collection = Collection::of(self.kind, &self.scope);
        // The reflector says things one by one and at once; they are taken as fast.
        let (sender, mut changes) = mpsc::unbounded_channel();
        let reflector = reflect::reflect::<Custom>(self.server.clone(), collection, move |change| {
            // The receiver lives as long as this.
            let _ = sender.send(change);
        });
        let mut reflector = std::pin::pin!(reflector);
        let mut ledger = Ledger::new(self.kind, &self.scope, Arc::clone(&self.hub));
        loop {
            let due = ledger.next_timeout();
            tokio::select! {
                () = &mut reflector => return,
                Some(change) = changes.recv() => ledger.change(change, Instant::now()),
                // The sender lives as long as the datastore.
                Ok(()) = self.definitions.changed() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let again = ledger.judge(&self.definitions.borrow_and_update(), Instant::now());
            for resource in again {
                self.write_again(resource).await;
            }
        }
    }

    async fn write_again(&self, resource: Resource) {
        let key = resource.key();
        let writer = Writer::new(&self.server, &self.scope, key.clone(), Some(Arc::clone(&self.hub)));
        match writer.write(Write::Create(resource)).await {
            Ok(_) => tracing::info!("{key} was lost with its definition and is written again"),
            Err(WriteError::Exists { .. }) => {}
            Err(error) => tracing::warn!("{error}; it was lost with its definition, trying again"),
        }
    }
}

/// What rests, and what was lost.
struct Ledger {
    kind: Kind,
    /// The name of its definition.
    definition: String,
    /// The node whose resources are ours to write again.
    node: Option<String>,
    hub: Arc<Hub>,
    shelf: Shelf,
    /// The definition under which things are known.
    under: Option<String>,
    in_sync: bool,
    /// Deletions, each with the time at which it is judged.
    resting: BTreeMap<String, Instant>,
    lost: BTreeMap<String, Lost>,
}

/// Something that went with its definition.
#[derive(Clone, Copy, Default)]
struct Lost {
    /// When we write it again.
    write: Option<Instant>,
    /// Until when it may come back; not said while the definition is away.
    until: Option<Instant>,
}

impl Ledger {
    fn new(kind: Kind, scope: &Scope, hub: Arc<Hub>) -> Self {
        Self {
            kind,
            definition: crd::name(kind).unwrap_or_default(),
            node: scope.node.clone(),
            shelf: Shelf::new(kind, Arc::clone(&hub)),
            hub,
            under: None,
            in_sync: false,
            resting: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    fn change(&mut self, change: Change<Custom>, now: Instant) {
        match change {
            Change::Put(object) => {
                let name = object.called();
                self.resting.remove(&name);
                self.lost.remove(&name);
                self.shelf.put(&object);
            }
            Change::Gone(object) => self.rest([object.called()], now),
            Change::Replay => {
                self.in_sync = false;
                self.shelf.begin_replay();
            }
            Change::InSync => {
                self.in_sync = true;
                let missing = self.shelf.end_replay();
                self.rest(missing, now);
                self.hub.say(Known::InSync.event(self.kind));
            }
            Change::Away(why) => {
                self.in_sync = false;
                self.hub.say(Known::Away(why).event(self.kind));
            }
        }
    }

    fn rest(&mut self, names: impl IntoIterator<Item = String>, now: Instant) {
        for name in names {
            if !self.lost.contains_key(&name) {
                self.resting.entry(name).or_insert(now + REST);
            }
        }
    }

    /// Judges what has rested, given the definitions; returns what is to be written again.
    fn judge(&mut self, definitions: &Definitions, now: Instant) -> Vec<Resource> {
        let uid = definitions.uid(&self.definition);
        let meant = self.under.is_none() || uid == self.under.as_deref();
        let due: Vec<String> =
            self.resting.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
        if meant {
            self.shelf.gone(due);
        } else {
            for name in due {
                tracing::warn!("{}/{name} went with its definition: as it was last it stays", self.kind);
                self.lost.insert(name, Lost::default());
            }
        }
        if let (true, true, Some(uid)) = (self.in_sync, self.resting.is_empty(), uid) {
            self.under = Some(uid.to_owned());
            self.come_back(now)
        } else {
            Vec::new()
        }
    }

    /// The definition is there: what was lost comes back, or goes.
    fn come_back(&mut self, now: Instant) -> Vec<Resource> {
        let is_over = |lost: &Lost| lost.until.is_some_and(|until| until <= now);
        let over = self.lost.iter().filter(|(_, lost)| is_over(lost)).map(|(name, _)| name.clone());
        let over: Vec<String> = over.collect();
        self.lost.retain(|_, lost| !is_over(lost));
        self.shelf.gone(over);
        let due = |lost: &Lost| lost.until.is_none() || lost.write.is_some_and(|write| write <= now);
        if !self.lost.values().any(due) {
            return Vec::new();
        }
        let is_ours = |known: &Resource| known.node().is_some() && known.node() == self.node.as_deref();
        let ours: Vec<Resource> = self.hub.list(self.kind).into_iter().filter(is_ours).collect();
        let mut again = Vec::new();
        for (name, lost) in self.lost.iter_mut().filter(|(_, lost)| due(lost)) {
            let own = ours.iter().find(|own| own.metadata().name == *name);
            lost.write = own.map(|_| now + spread());
            match lost.until {
                None => lost.until = Some(now + GRACE),
                Some(_) => again.extend(own.cloned()),
            }
        }
        again
    }

    fn next_timeout(&self) -> Option<Instant> {
        let lost = self.lost.values().flat_map(|lost| lost.write.into_iter().chain(lost.until));
        self.resting.values().copied().chain(lost).min()
    }
}

fn spread() -> Duration {
    Duration::from_millis(reflect::random() % u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
