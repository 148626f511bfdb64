//! When the kernel is read: at the start, after somebody else changed it, after it refused something.
//!
//! Reads and plans take turns, so that what was read is what is there. A storm of foreign changes costs one read in
//! [`APART`]; the first is answered at once.

use std::time::Duration;

use corduroy_bgp::Time;

/// The least time between two reads.
const APART: Duration = Duration::from_millis(100);

/// Whether to read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    done: bool,
    asked: bool,
    wanted: bool,
    not_before: Time,
}

impl Reading {
    /// Something is not as the picture has it.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Was it ever read?
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Is an answer outstanding?
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Shall it be read now?
    pub(super) fn start(&mut self, now: Time) -> bool {
        let due = (self.wanted && self.not_before <= now) || !self.done;
        if self.asked || !due {
            return false;
        }
        self.asked = true;
        self.wanted = false;
        self.not_before = now + APART;
        true
    }

    /// The answer came.
    pub(super) fn finish(&mut self) {
        self.asked = false;
        self.done = true;
    }

    /// When a wanted read may start.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        (self.wanted && !self.asked).then_some(self.not_before)
    }
}
