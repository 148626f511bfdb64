//! The backend in memory: for tests, the simulated world, and a reflector that is configured by its own file.

use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Resource, Scope, Source, Version, Write, WriteError};

use crate::hub::Hub;
use crate::{Datastore, ListError, Pending, Watch};

/// Resources that live as long as this process. Clones are the same datastore.
#[derive(Clone, Debug)]
pub struct Memory {
    hub: Arc<Hub>,
    version: Arc<std::sync::atomic::AtomicU64>,
}

impl Default for Memory {
    fn default() -> Self {
        let hub = Arc::new(Hub::default());
        hub.say(Event::Covered(Scope::Everywhere));
        for kind in Kind::ALL {
            hub.say(Event::InSync { kind, from: Source::Live });
        }
        Self { hub, version: Arc::default() }
    }
}

impl Memory {
    /// An empty one, in sync.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Datastore::write`], without waiting.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn apply(&self, write: Write) -> Result<Version, WriteError> {
        let next = Version((self.version.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1).to_string());
        self.hub.update(|resources, events| {
            let old = resources.get(&write.key());
            let (event, version) = decide(write, old, |_| next.clone())?;
            events.push(event);
            Ok(version)
        })
    }
}

/// Whether `write` may happen to what stands there, and what it makes of it.
pub(crate) fn decide(
    write: Write,
    old: Option<&Resource>,
    next: impl FnOnce(&Resource) -> Version,
) -> Result<(Event, Version), WriteError> {
    let key = write.key();
    let put = |resource: Resource, next: Version| (Event::Put(resource.at_version(next.0.clone())), next);
    match (write, old) {
        (Write::Create(_), Some(_)) => Err(WriteError::Exists { key }),
        (Write::Create(resource), None) => {
            let next = next(&resource);
            Ok(put(resource, next))
        }
        (Write::Update(_) | Write::Delete { .. }, None) => Err(WriteError::NotFound { key }),
        (Write::Update(resource), Some(old)) => {
            let given = resource.metadata().resource_version.clone();
            check(&key, given.as_deref(), old)?;
            let next = next(&resource);
            Ok(put(resource, next))
        }
        (Write::Delete { version, .. }, Some(old)) => {
            check(&key, Some(&version.0), old)?;
            Ok((Event::Gone(key), version))
        }
    }
}

fn check(key: &Key, given: Option<&str>, old: &Resource) -> Result<(), WriteError> {
    match given {
        None => Err(WriteError::NoVersion { key: key.clone() }),
        given if given == old.metadata().resource_version.as_deref() => Ok(()),
        Some(_) => Err(WriteError::Conflict { key: key.clone() }),
    }
}

impl Datastore for Memory {
    fn watch(&self, kinds: &[Kind]) -> Watch {
        self.hub.watch(kinds, Arc::clone(&self.hub) as _)
    }

    fn write(&self, write: Write) -> Pending<'_, Result<Version, WriteError>> {
        Box::pin(std::future::ready(self.apply(write)))
    }

    fn list(&self, kind: Kind) -> Pending<'_, Result<Vec<Resource>, ListError>> {
        Box::pin(std::future::ready(Ok(self.hub.list(kind))))
    }
}
