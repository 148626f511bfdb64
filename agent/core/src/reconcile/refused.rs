//! What the kernel refused, and when it is asked again.
//!
//! A refusal that may pass (something was missing, memory was short) is tried again after a pause that doubles; one
//! that will not (the kernel can't, we may not, it was nonsense) only when something else is asked for the same key.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::{OpError, Remedy};

use super::diff::Piece;
use crate::key::Key;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is asked for a key, as a number: it is only asked whether it is the same as before, and there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(u64);

impl Asked {
    /// Of these pieces. Different ones have different numbers, but for one chance in 2⁶⁴.
    #[must_use]
    pub fn of(pieces: &[Piece]) -> Self {
        let mut hasher = DefaultHasher::new();
        pieces.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub asked: Asked,
    /// What the kernel said.
    pub error: OpError,
    again: Again,
    pause: Duration,
}

/// When the same is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Only when something else is wanted.
    Never,
    /// Not before.
    At(Time),
    /// The pause is over; the key has been marked.
    Now,
}

impl Refusal {
    /// A refusal of `asked`.
    #[must_use]
    pub fn new(asked: Asked, error: OpError) -> Self {
        Self { asked, error, again: Again::Never, pause: FIRST_PAUSE }
    }
}

/// Refusals by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    by_key: BTreeMap<Key, Refusal>,
}

impl Refused {
    /// May this be asked now? Not the same again before its time.
    pub(super) fn permits(&self, key: &Key, asked: &[Piece], now: Time) -> bool {
        match self.by_key.get(key) {
            Some(refusal) if refusal.asked == Asked::of(asked) => match refusal.again {
                Again::Never => false,
                Again::At(time) => time <= now,
                Again::Now => true,
            },
            Some(_) | None => true,
        }
    }

    pub(super) fn note(&mut self, key: Key, mut refusal: Refusal, now: Time) {
        let before = self.by_key.get(&key).filter(|before| before.asked == refusal.asked);
        refusal.pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        refusal.again = match refusal.error.remedy() {
            Remedy::Report | Remedy::Bug => Again::Never,
            Remedy::Reread | Remedy::RetryLater => Again::At(now + refusal.pause),
        };
        self.by_key.insert(key, refusal);
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.by_key.remove(key);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Refusal> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Refusal)> {
        self.by_key.iter()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let times = self.by_key.values().filter_map(|refusal| match refusal.again {
            Again::At(time) => Some(time),
            Again::Never | Again::Now => None,
        });
        times.min()
    }

    /// The keys whose time has come. They stay refused until they are done.
    pub(super) fn due(&mut self, now: Time) -> Vec<Key> {
        let mut due = Vec::new();
        for (key, refusal) in &mut self.by_key {
            if matches!(refusal.again, Again::At(time) if time <= now) {
                refusal.again = Again::Now;
                due.push(key.clone());
            }
        }
        due
    }
}
