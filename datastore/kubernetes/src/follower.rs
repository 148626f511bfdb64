//! A kind of which it changes what there is to know: another selection, or none of it.

use std::sync::Arc;

use corduroy_api::Kind;
use corduroy_datastore::Hub;
use tokio::sync::mpsc;

use crate::Running;
use crate::object::{Collection, Readable};
use crate::reflect::{Change, reflect};
use crate::server::Server;
use crate::shelf::{Known, Shelf};

/// What a reflector said, and which of them.
pub(crate) type Heard<T> = (u64, Change<T>);

/// Keeps a kind true for a collection that may become another one, or none.
pub(crate) struct Follower<T> {
    server: Server,
    kind: Kind,
    hub: Arc<Hub>,
    shelf: Shelf,
    /// What is done to each object before it is read.
    prepare: Box<dyn Fn(&mut T) + Send>,
    said: mpsc::UnboundedSender<Heard<T>>,
    hears: mpsc::UnboundedReceiver<Heard<T>>,
    /// What is wanted, once that is known.
    wanted: Option<Option<Collection>>,
    running: Option<Running>,
    number: u64,
}

impl<T: Readable> Follower<T> {
    pub(crate) fn new(
        server: Server,
        kind: Kind,
        hub: Arc<Hub>,
        prepare: impl Fn(&mut T) + Send + 'static,
    ) -> Self {
        let (said, hears) = mpsc::unbounded_channel();
        let shelf = Shelf::new(kind, Arc::clone(&hub));
        let (wanted, running) = (None, None);
        Self { server, kind, hub, shelf, prepare: Box::new(prepare), said, hears, wanted, running, number: 0 }
    }

    /// This is what there is to know from now on. What was known stays until the new one is.
    pub(crate) fn want(&mut self, collection: Option<Collection>) {
        if self.wanted.as_ref() == Some(&collection) {
            return;
        }
        self.wanted = Some(collection.clone());
        self.number += 1;
        self.running = collection.map(|collection| {
            let (said, number) = (self.said.clone(), self.number);
            let say = move |change| {
                // Nobody listens only while this is being aborted.
                let _ = said.send((number, change));
            };
            Running(tokio::spawn(reflect(self.server.clone(), collection, say)).abort_handle())
        });
        if self.running.is_none() {
            self.shelf.clear();
            self.hub.say(Known::InSync.event(self.kind));
        }
    }

    /// It can't be known what is wanted.
    pub(crate) fn away(&mut self, why: String) {
        self.hub.say(Known::Away(why).event(self.kind));
    }

    pub(crate) async fn heard(&mut self) -> Heard<T> {
        match self.hears.recv().await {
            Some(heard) => heard,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn take(&mut self, (number, mut change): Heard<T>) {
        if number != self.number {
            return;
        }
        if let Change::Put(object) = &mut change {
            (self.prepare)(object);
        }
        if let Some(known) = self.shelf.take(change) {
            self.hub.say(known.event(self.kind));
        }
    }
}
