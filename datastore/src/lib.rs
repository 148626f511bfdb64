//! Where resources live. One small contract ([`Datastore`]), the same for every backend:
//!
//! * **watch** says everything there is of the kinds asked for, then `InSync` for each kind, then every change. What a
//!   slow watcher has not taken yet is coalesced by resource: it may miss states in between, never the last one, and
//!   its queue is bounded by the number of resources.
//! * **write** is compare-and-swap: create what is not there, update or delete what is still in the state that was
//!   read. Two writers never both succeed on one state.
//! * What can't be used is `Rejected` with file, line, field, value and what is allowed, and the last good state stays
//!   in force.
//!
//! A backend is a [`Hub`] and whatever keeps it true. The crate `corduroy-datastore-contract` tests all this over each.
//!
//! Resources come out checked (`corduroy_api`), carrying their version in `metadata.resource_version`. A version is
//! good for comparing and nothing else.
#![warn(missing_docs)]

mod file;
mod hub;
mod memory;

use std::future::Future;
use std::pin::Pin;

use corduroy_api::{Asked, Kind, Resource};

pub use corduroy_api::{Event, Rejection, Source, Version, Why, Write, WriteError};
pub use file::{FileStore, OpenError};
pub use hub::{Hub, Watch};
pub use memory::Memory;

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An error's last cause in words: the system's own, where those before it name layers of libraries.
#[must_use]
pub fn last_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(deeper) = last.source() {
        last = deeper;
    }
    last.to_string()
}

/// What there is of a kind can't be had now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} can't be listed: {why}")]
pub struct ListError {
    /// Of what.
    pub kind: Kind,
    /// As the datastore says.
    pub why: String,
}

/// A place where resources live.
pub trait Datastore: Send + Sync {
    /// Everything of these kinds, from the beginning. Dropping the [`Watch`] ends it.
    fn watch(&self, kinds: &[Kind]) -> Watch;

    /// Says what the watchers of this datastore need of pods of other nodes, service accounts and services: all of it,
    /// each time, instead of what was asked for before. How far the pods are known is said by [`Event::Covered`]; those
    /// that nobody asks for any more are gone.
    ///
    /// A datastore without pods has nothing to do here: it says `Covered(Everywhere)` and `InSync` at once.
    fn ask(&self, asked: Asked) {
        let _ = asked;
    }

    /// Makes a change, if things are as the writer thinks, and says in which state the resource is afterwards (for a
    /// delete: in which it was). Watchers learn of it like of any other change.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing was written then.
    fn write(&self, write: Write) -> Pending<'_, Result<Version, WriteError>>;

    /// Everything of a kind as it is now, in order of the names.
    ///
    /// # Errors
    /// The datastore can't be asked.
    fn list(&self, kind: Kind) -> Pending<'_, Result<Vec<Resource>, ListError>>;
}
