//! When to look, and so when to write.

use std::time::Duration;

use corduroy_bgp::Time;

/// Between a change and the look at it, at least: what happens together is told together.
const SETTLE: Duration = Duration::from_secs(1);
/// As much longer at most, for each node of the fabric: all of them together write a hundred times a second.
const A_NODE: Duration = Duration::from_millis(10);
/// The longest that a look waits because others may have the same to tell.
const SPREAD: Duration = Duration::from_secs(60);
/// The pause after a write, when it is the first in a while.
const PAUSE: Duration = Duration::from_secs(5);
/// The pause after a write, when changes go on and on.
const LONGEST: Duration = Duration::from_secs(300);
/// How long after a write it is written again although nothing has changed.
const REFRESH: Duration = Duration::from_secs(3600);

/// What a look may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// No write yet: the last one is not long enough ago.
    Early,
    /// A write, if there is something else to say.
    Changed,
    /// A write in any case.
    Refresh,
}

/// When to look.
#[derive(Debug)]
pub(super) struct Pace {
    chance: u64,
    nodes: u32,
    /// The look that is due for a change.
    look: Option<Time>,
    /// The write that is due without one.
    refresh: Option<Time>,
    last: Option<Time>,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self { chance: seed, nodes: 1, look: None, refresh: None, last: None, pause: PAUSE }
    }

    /// Something may have changed.
    pub(super) fn touch(&mut self, now: Time) {
        if self.look.is_none() {
            let settled = now + SETTLE + self.part_of_spread();
            let rested = self.last.map_or(settled, |last| last + self.pause);
            self.look = Some(settled.max(rested));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        match (self.look, self.refresh) {
            (Some(look), Some(refresh)) => Some(look.min(refresh)),
            (look, refresh) => look.or(refresh),
        }
    }

    /// How much longer than others this agent waits with what all may see, in a fabric of so many nodes.
    pub(super) fn spread(&mut self, nodes: usize) -> Duration {
        self.nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.part_of_spread()
    }

    fn part_of_spread(&mut self) -> Duration {
        self.part_of(A_NODE.saturating_mul(self.nodes).min(SPREAD))
    }

    /// There was a look.
    pub(super) fn looked(&mut self, now: Time) -> Look {
        let is_due = |at: Option<Time>| at.is_some_and(|due| due <= now);
        let look = match (is_due(self.look), is_due(self.refresh)) {
            (_, true) => Look::Refresh,
            (true, false) => Look::Changed,
            (false, false) => return Look::Early,
        };
        self.look = None;
        if look == Look::Refresh {
            self.refresh = None;
        }
        look
    }

    /// A write was made.
    pub(super) fn written(&mut self, now: Time) {
        let is_calm = self.last.is_none_or(|last| now.since(last) >= self.pause * 2);
        self.pause = if is_calm { PAUSE } else { self.longer() };
        self.rest(now);
        self.refresh = Some(now + REFRESH / 2 + self.part_of(REFRESH));
    }

    /// A write was not made: it is made later.
    pub(super) fn failed(&mut self, now: Time) {
        self.pause = self.longer();
        self.rest(now);
        self.refresh = Some(now + self.pause / 2 + self.part_of(self.pause / 2));
    }

    fn longer(&self) -> Duration {
        (self.pause * 2).min(LONGEST)
    }

    /// No look before the pause is over, not even one that was due.
    fn rest(&mut self, now: Time) {
        self.last = Some(now);
        self.look = self.look.map(|look| look.max(now + self.pause));
    }

    /// A random part of this.
    fn part_of(&mut self, whole: Duration) -> Duration {
        // splitmix64
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        whole.mul_f64(f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How often is written in this time, when something changes every second?
    fn writes(mut pace: Pace, span: Duration) -> u32 {
        let (mut now, mut count) = (Time(0), 0);
        while now < Time(0) + span {
            pace.touch(now);
            if pace.next().is_some_and(|due| due <= now) {
                pace.looked(now);
                pace.written(now);
                count += 1;
            }
            now = now + SECOND;
        }
        count
    }

    #[test]
    fn what_changes_every_second_is_told_a_dozen_times_an_hour() {
        let hour = SECOND * 3600;
        let (first, second) = (writes(Pace::new(1), hour), writes(Pace::new(1), hour * 2));
        assert!((6..=25).contains(&first), "{first} writes in the first hour");
        assert!((6..=12).contains(&(second - first)), "{} writes in the second", second - first);
    }

    #[test]
    fn after_calm_a_change_is_told_in_seconds_again() {
        let mut pace = Pace::new(7);
        for second in 0..600 {
            pace.touch(Time(0) + SECOND * second);
            if pace.next().is_some_and(|due| due <= Time(0) + SECOND * second) {
                pace.looked(Time(0) + SECOND * second);
                pace.written(Time(0) + SECOND * second);
            }
        }
        let mut now = Time(0) + SECOND * 600 + LONGEST * 3;
        pace.touch(now);
        let due = pace.next().unwrap();
        pace.looked(due);
        pace.written(due);
        now = due + LONGEST * 3;
        pace.touch(now);
        assert!(pace.next().unwrap().since(now) <= SECOND * 2, "{:?} after {now:?}", pace.next());
    }

    #[test]
    fn what_all_nodes_see_is_not_told_by_all_at_once() {
        let looks: Vec<Time> = (0..5000)
            .map(|seed| {
                let mut pace = Pace::new(seed);
                pace.spread(5000);
                pace.touch(Time(0));
                pace.next().unwrap()
            })
            .collect();
        for second in 0..60_u32 {
            let from = Time(0) + SECOND * second;
            let together = looks.iter().filter(|look| **look >= from && **look < from + SECOND).count();
            assert!(together < 200, "{together} of 5000 agents in second {second}");
        }
    }

    #[test]
    fn a_write_that_fails_is_made_again_after_pauses_that_grow() {
        let mut pace = Pace::new(3);
        let mut now = Time(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.touch(now);
            pace.looked(now);
            pace.failed(now);
            let due = pace.next().unwrap();
            pauses.push(due.since(now));
            now = due;
        }
        assert!(pauses[0] <= SECOND * 10 && pauses[7] >= LONGEST / 2, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST), "{pauses:?}");
    }

    #[test]
    fn what_does_not_change_is_written_again_within_the_hours() {
        let mut pace = Pace::new(3);
        pace.touch(Time(0));
        let first = pace.next().unwrap();
        assert_eq!(pace.looked(first), Look::Changed);
        pace.written(first);
        let due = pace.next().unwrap();
        assert!(due >= first + REFRESH / 2 && due <= first + REFRESH * 3 / 2, "{due:?}");
        assert_eq!(pace.looked(first + SECOND), Look::Early);
        assert_eq!(pace.looked(due), Look::Refresh);
    }
}
