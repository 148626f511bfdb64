//! The Secrets that a resource refers to, and no others: each is watched by its name, so that the right to read these
//! few is all that is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Resource};
use corduroy_datastore::{Hub, Watch};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::object::{Collection, CoreSecret};
use crate::reflect::{Change, reflect};
use crate::server::Server;
use crate::shelf::{Known, Settled, Shelf};

/// The kinds that refer to secrets.
pub(crate) const REFERRING: [Kind; 2] = [Kind::BgpConfiguration, Kind::BgpPeer];

/// Keeps the hub of the kind Secret true until it is dropped.
pub(crate) async fn follow(server: Server, collection: Collection, hub: Arc<Hub>, mut referring: Watch) {
    let (said, mut hears) = mpsc::unbounded_channel();
    let mut secrets =
        Secrets { server, collection, hub, said, named: BTreeMap::new(), wanted: BTreeMap::new() };
    let mut settled = Settled::default();
    loop {
        tokio::select! {
            event = referring.next() => match event {
                Event::Put(resource) => secrets.wants(resource.key(), names(&resource)),
                Event::Gone(key) => secrets.wants(key, BTreeSet::new()),
                Event::Rejected { .. } => {}
                known => settled.take(known),
            },
            heard = hears.recv() => {
                let Some((name, change)) = heard else { return };
                if let Some(secret) = secrets.named.get_mut(&name) {
                    secret.known = secret.shelf.take(change).or(secret.known.take());
                }
            }
        }
        match settled.of(&REFERRING) {
            None => {}
            Some(Ok(())) => secrets.tell(),
            Some(Err(why)) => secrets.hub.say(Known::Away(why).event(Kind::Secret)),
        }
    }
}

/// The names of the secrets that a resource refers to.
pub(crate) fn names(resource: &Resource) -> BTreeSet<String> {
    let reference = match resource {
        Resource::BgpPeer(peer) => peer.transport.password.as_ref(),
        Resource::BgpConfiguration(configuration) => configuration.mesh_password.as_ref(),
        _ => None,
    };
    reference.map(|reference| reference.name.clone()).into_iter().collect()
}

type Said = (String, Change<CoreSecret>);

struct Secrets {
    server: Server,
    collection: Collection,
    hub: Arc<Hub>,
    said: mpsc::UnboundedSender<Said>,
    named: BTreeMap<String, Named>,
    wanted: BTreeMap<Key, BTreeSet<String>>,
}

/// One secret.
struct Named {
    shelf: Shelf,
    known: Option<Known>,
    task: AbortHandle,
}

impl Drop for Named {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secrets {
    /// A resource refers to these now.
    fn wants(&mut self, by: Key, names: BTreeSet<String>) {
        if names.is_empty() {
            self.wanted.remove(&by);
        } else {
            self.wanted.insert(by, names);
        }
        let all: BTreeSet<&String> = self.wanted.values().flatten().collect();
        self.named.retain(|name, secret| {
            let keep = all.contains(name);
            if !keep {
                secret.shelf.clear();
            }
            keep
        });
        let new: Vec<String> =
            all.into_iter().filter(|name| !self.named.contains_key(*name)).cloned().collect();
        for name in new {
            let shelf = Shelf::new(Kind::Secret, Arc::clone(&self.hub)).only(&name);
            let (said, from) = (self.said.clone(), name.clone());
            let say = move |change| {
                // Nobody listens only while this is being aborted.
                let _ = said.send((from.clone(), change));
            };
            let collection = self.collection.clone().only(&name);
            let task = tokio::spawn(reflect(self.server.clone(), collection, say)).abort_handle();
            self.named.insert(name, Named { shelf, known: None, task });
        }
    }

    /// The kind is in sync when each secret is; one that can't be had is told.
    fn tell(&self) {
        let away = self.named.iter().find_map(|(name, secret)| match &secret.known {
            Some(Known::Away(why)) => Some(Known::Away(format!("{name}: {why}"))),
            _ => None,
        });
        if let Some(away) = away {
            self.hub.say(away.event(Kind::Secret));
        } else if self.named.values().all(|secret| secret.known == Some(Known::InSync)) {
            self.hub.say(Known::InSync.event(Kind::Secret));
        }
    }
}
