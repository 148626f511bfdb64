//! What a caretaker has done, for whoever asks for metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corduroy_api::Kind;

/// The numbers of one agent. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

/// At one moment; counts are since the start of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// This agent is the caretaker.
    pub leads: bool,
    /// Rounds.
    pub rounds: u64,
    /// Rounds and looks that came to nothing: the API server did not answer, or refused.
    pub failed: u64,
    /// Statuses written.
    pub statuses: u64,
    /// Blocks and nodes freed.
    pub freed: BTreeMap<Kind, u64>,
    /// How many resources of a kind are not in force; nothing of an agent that is no caretaker.
    pub not_in_force: BTreeMap<Kind, usize>,
}

impl Tally {
    /// How things are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Every change is one number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
