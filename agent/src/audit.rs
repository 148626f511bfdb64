//! When everything is read again, whatever was reported.

use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_bgp_net::now;

/// When everything is read again.
pub struct Audit {
    every: Duration,
    next: Time,
}

impl Audit {
    /// For the first time so long from now.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self { every, next: now() + every }
    }

    /// The time of the next.
    #[must_use]
    pub fn due(&self) -> Time {
        self.next
    }

    /// Is it time? Asked once each time.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.next <= now();
        if is_due {
            self.next = now() + self.every;
        }
        is_due
    }
}
