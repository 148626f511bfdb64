//! What this process itself is doing to pods' interfaces, so that a watch can tell news from its echo.
//!
//! The kernel says of a notice who caused it for routes, neighbours and tables. Of interfaces it does so only since
//! version 6.2 and never for the carrier, which comes later by itself; so what we do is noted before it is asked for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corduroy_kernel::LinkName;

/// Shared by the [`Kernel`](crate::Kernel) and its [`Watch`](crate::Watch).
#[derive(Clone, Debug, Default)]
pub(crate) struct Doings(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Asked for, and not yet seen.
    made: BTreeSet<LinkName>,
    /// On their way out, by number, until that was seen.
    leaving: BTreeSet<u32>,
}

impl Doings {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// An interface of this name is about to be made.
    pub(crate) fn making(&self, name: LinkName) {
        self.inner().made.insert(name);
    }
    /// It was not.
    pub(crate) fn not_made(&self, name: LinkName) {
        self.inner().made.remove(&name);
    }
    /// Was a new interface of this name made by us? Asked once.
    pub(crate) fn is_made(&self, name: LinkName) -> bool {
        self.inner().made.remove(&name)
    }
    /// This interface is about to be set down and deleted.
    pub(crate) fn leaving(&self, number: u32) {
        self.inner().leaving.insert(number);
    }
    /// It was not.
    pub(crate) fn stays(&self, number: u32) {
        self.inner().leaving.remove(&number);
    }
    /// Is it on its way out because we want that?
    pub(crate) fn is_leaving(&self, number: u32) -> bool {
        self.inner().leaving.contains(&number)
    }
    /// Only these interfaces are there.
    pub(crate) fn only(&self, there: &BTreeSet<u32>) {
        self.inner().leaving.retain(|number| there.contains(number));
    }
}
