//! When the kernel is read, and how much of it: everything at the start, after events were lost and after it refused
//! something; what others changed after they did.
//!
//! Reads and plans take turns, so that what was read is what is there. A storm of foreign changes costs one read in
//! [`APART`]; the first is answered at once.

use std::collections::BTreeSet;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::Changed;

/// The least time between two reads.
const APART: Duration = Duration::from_millis(100);

/// Whether to read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    done: bool,
    asked: bool,
    everything: bool,
    changes: BTreeSet<Changed>,
    not_before: Time,
}

/// How much to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything there is.
    Everything,
    /// What these say may be different.
    Changes(Vec<Changed>),
}

impl Reading {
    /// The picture is wrong somewhere.
    pub(super) fn want_everything(&mut self) {
        self.everything = true;
    }

    /// Somebody changed this.
    pub(super) fn want(&mut self, changed: Changed) {
        if changed == Changed::Overrun {
            self.everything = true;
        } else {
            self.changes.insert(changed);
        }
    }

    /// Was it ever read?
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Is an answer outstanding?
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    fn is_wanted(&self) -> bool {
        self.everything || !self.changes.is_empty()
    }

    /// What is to be read now, if anything.
    pub(super) fn start(&mut self, now: Time) -> Option<Extent> {
        let due = (self.is_wanted() && self.not_before <= now) || !self.done;
        if self.asked || !due {
            return None;
        }
        self.asked = true;
        self.not_before = now + APART;
        let changes = std::mem::take(&mut self.changes);
        let everything = std::mem::take(&mut self.everything) || !self.done;
        Some(if everything { Extent::Everything } else { Extent::Changes(changes.into_iter().collect()) })
    }

    /// The answer came.
    pub(super) fn finish(&mut self) {
        self.asked = false;
        self.done = true;
    }

    /// When a wanted read may start.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        (self.is_wanted() && !self.asked).then_some(self.not_before)
    }
}
