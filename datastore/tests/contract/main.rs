//! What every backend must do, run over those in memory and in files, and what only files can get wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

use std::sync::Arc;

use corduroy_datastore::{Datastore, FileStore, Memory};
use corduroy_datastore_contract::{Backend, Put, next, resource, until};

mod directory;
mod files;

use directory::Directory;

mod on_memory {
    corduroy_datastore_contract::suite!(super::memory());
}

mod on_files {
    corduroy_datastore_contract::suite!(super::file());
}

fn memory() -> Backend {
    let store = Memory::new();
    Backend { one: Arc::new(store.clone()), other: Arc::new(store), put: None, keep: Box::new(()) }
}

fn file() -> Backend {
    let dir = Arc::new(Directory::new());
    let open = || Arc::new(FileStore::open(dir.path()).unwrap()) as Arc<dyn Datastore>;
    let (one, other) = (open(), open());
    let put: Put = Box::new({
        let dir = Arc::clone(&dir);
        move |text| {
            dir.write("put.yaml", text);
            Box::pin(std::future::ready(()))
        }
    });
    Backend { one, other, put: Some(put), keep: Box::new(dir) }
}
