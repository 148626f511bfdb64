//! The backend in a directory of YAML files: the embedded default, with no server.
//!
//! ```text
//! <dir>/*.yaml, *.yml, *.json     resources, one or many documents a file, in any arrangement
//! <dir>/fabricnode.node-a.yaml    what is written goes where it stands already, else into a file of its own
//! <dir>/secrets/<name>/<key>      secrets, one file a key (a last newline is not part of the value)
//! <dir>/.lock                     held while something is written
//! ```
//! **Many processes** may use one directory. A writer takes the lock, brings its view up to date, compares, writes a
//! temporary file and renames it over the old one: readers see the whole of one state or of the other. A resource's
//! version is a hash of what it says, so a change by hand counts like any other and needs no version of its own, and
//! the same text under the same name is the same state.
//!
//! **Reading** is per document. One that can't be used is `Rejected`, with the line in the file; its last good state
//! stays in force, and its neighbours in the file are none the worse. A document that does not say who it is (it is no
//! YAML) keeps everything in force that the file had and now lacks. So does a file that can't be read, and one that is
//! suddenly empty. A file is looked at when its writer closes it or renames it into place, so that one written slowly
//! is not read half.
//!
//! Where a resource stands twice, the first file by name counts and the second is told so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use corduroy_api::{Event, Kind, Resource, Scope, Source, Version, Write, WriteError};
use rustix::fd::OwnedFd;

use crate::hub::{Hub, lock};
use crate::{Datastore, ListError, Pending, Watch};

mod files;
mod load;
mod notify;
mod write;

use files::Files;

/// A directory of YAML files. Clones are the same datastore; it is watched as long as a clone or a [`Watch`] lives.
#[derive(Clone, Debug)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// Closed on drop, which ends the watching thread.
    _stop: OwnedFd,
}

/// What the watching thread and the handles have in common.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    hub: Hub,
    files: Mutex<Files>,
}

/// Why a directory can't be a datastore.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, no directory, or not readable.
    #[error("datastore directory {dir}: {why}; it must be a readable directory")]
    Unreadable {
        /// The directory.
        dir: String,
        /// As the system says.
        why: std::io::Error,
    },
    /// The system has no inotify instance, pipe or thread left.
    #[error("datastore directory {dir} can't be watched: {why}")]
    Unwatchable {
        /// The directory.
        dir: String,
        /// As the system says.
        why: std::io::Error,
    },
}

impl FileStore {
    /// Opens a directory, reads what is in it and watches it.
    ///
    /// # Errors
    /// It can't be read or watched. Files in it that can't be used are no error: they are `Rejected`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        let dir = dir.as_ref().to_owned();
        let shown = dir.display().to_string();
        std::fs::read_dir(&dir).map_err(|why| OpenError::Unreadable { dir: shown.clone(), why })?;
        let unwatchable = |why| OpenError::Unwatchable { dir: shown.clone(), why };
        let files = Mutex::new(Files::new(&dir));
        let shared = Arc::new(Shared { dir, hub: Hub::default(), files });
        let stop = notify::start(&shared).map_err(unwatchable)?;
        Ok(Self { inner: Arc::new(Inner { shared, _stop: stop }) })
    }
}

impl Shared {
    /// Everything was read: every kind is known.
    fn in_sync(&self) {
        self.hub.say(Event::Covered(Scope::Everywhere));
        for kind in Kind::ALL {
            self.hub.say(Event::InSync { kind, from: Source::Live });
        }
    }

    /// The directory is gone or can't be read; what was read stays in force.
    fn unavailable(&self, why: &std::io::Error) {
        for kind in Kind::ALL {
            let why = format!("{}: {why}", self.dir.display());
            self.hub.say(Event::Unavailable { kind, why });
        }
    }
}

impl Datastore for FileStore {
    fn watch(&self, kinds: &[Kind]) -> Watch {
        self.inner.shared.hub.watch(kinds, Arc::clone(&self.inner) as _)
    }

    fn write(&self, write: Write) -> Pending<'_, Result<Version, WriteError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let key = write.key();
            // The lock is waited for and the disk is slow: not on the caller's thread.
            let done = tokio::task::spawn_blocking(move || inner.shared.write(write)).await;
            done.unwrap_or_else(|e| Err(WriteError::Unavailable { key, why: e.to_string() }))
        })
    }

    fn list(&self, kind: Kind) -> Pending<'_, Result<Vec<Resource>, ListError>> {
        Box::pin(std::future::ready(Ok(self.inner.shared.hub.list(kind))))
    }
}

impl Shared {
    fn write(&self, write: Write) -> Result<Version, WriteError> {
        let key = write.key();
        let unavailable =
            |why: std::io::Error| WriteError::Unavailable { key: key.clone(), why: why.to_string() };
        let _locked = write::lock_directory(&self.dir).map_err(unavailable)?;
        let mut files = lock(&self.files);
        files.catch_up().map_err(unavailable)?;
        files.publish(&self.hub);
        let done = files.write(write);
        files.publish(&self.hub);
        done
    }
}
