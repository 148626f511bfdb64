//! Every timer of a speaker in one heap.
//!
//! A hold timer is put off by every message, so putting off must not touch the heap: each timer keeps its true deadline
//! beside the heap and has one entry in it that is never later. When that entry comes up early the timer is queued
//! anew. So [`Timers::next`] looks at the top only; it may name a moment at which nothing happens, once per timer and
//! period, never one that is too late.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::Time;
use crate::io::PeerId;

/// Which of a peer's two connections: see `peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    First,
    Second,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::First, Self::Second];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
    pub(crate) fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// A timer of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// RFC 4271 §8.
    ConnectRetry(Side),
    /// RFC 4271 §8.
    Hold(Side),
    /// RFC 4271 §8.
    Keepalive(Side),
    /// RFC 9687.
    SendHold(Side),
    /// RFC 4271 §8.1.1, here only after too many prefixes.
    IdleHold,
    /// RFC 4724 §4.2: how long a peer may take to come back.
    Restart,
    /// RFC 4724 §4.2: how long it may then take to its End-of-RIB.
    Stale,
}

/// Every timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// RFC 4724 §4.1 Selection_Deferral_Timer.
    Deferral,
    /// The last moment of a drain.
    Drain,
    Peer(PeerId, Clock),
}

const GLOBAL: usize = 2;
const PER_PEER: usize = 11;

impl Clock {
    fn place(self) -> usize {
        match self {
            Self::ConnectRetry(side) => side.index(),
            Self::Hold(side) => 2 + side.index(),
            Self::Keepalive(side) => 4 + side.index(),
            Self::SendHold(side) => 6 + side.index(),
            Self::IdleHold => 8,
            Self::Restart => 9,
            Self::Stale => 10,
        }
    }
    fn at(place: usize) -> Self {
        let side = if place.is_multiple_of(2) { Side::First } else { Side::Second };
        match place {
            0 | 1 => Self::ConnectRetry(side),
            2 | 3 => Self::Hold(side),
            4 | 5 => Self::Keepalive(side),
            6 | 7 => Self::SendHold(side),
            8 => Self::IdleHold,
            9 => Self::Restart,
            _ => Self::Stale,
        }
    }
}

impl Timer {
    fn place(self) -> usize {
        match self {
            Self::Deferral => 0,
            Self::Drain => 1,
            Self::Peer(peer, clock) => GLOBAL + usize::from(peer.0) * PER_PEER + clock.place(),
        }
    }
    fn at(place: u32) -> Self {
        match usize::try_from(place).unwrap_or(usize::MAX) {
            0 => Self::Deferral,
            1 => Self::Drain,
            place => {
                let (peer, clock) = ((place - GLOBAL) / PER_PEER, (place - GLOBAL) % PER_PEER);
                Self::Peer(PeerId(u16::try_from(peer).unwrap_or(u16::MAX)), Clock::at(clock))
            }
        }
    }
}

const NEVER: Time = Time(u64::MAX);

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When it is due.
    deadline: Time,
    /// Where it stands in the heap: not after the deadline.
    queued: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    slots: Vec<Slot>,
    heap: BinaryHeap<Reverse<(Time, u32)>>,
}

impl Timers {
    /// Due at `deadline`, and no more at what was set before.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Time) {
        let place = timer.place();
        if place >= self.slots.len() {
            self.slots.resize(place + 1, Slot { deadline: NEVER, queued: NEVER });
        }
        if let Some(slot) = self.slots.get_mut(place) {
            slot.deadline = deadline;
            if deadline < slot.queued {
                slot.queued = deadline;
                self.heap.push(Reverse((deadline, u32::try_from(place).unwrap_or(u32::MAX))));
            }
        }
        // Entries that an earlier one has overtaken wait for their moment; a heap full of them is made anew.
        if self.heap.len() > 64 + 2 * self.slots.len() {
            self.rebuild();
        }
    }
    /// Never due.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(slot) = self.slots.get_mut(timer.place()) {
            slot.deadline = NEVER;
        }
    }
    /// None of a peer's timers is due any more.
    pub(crate) fn clear_peer(&mut self, peer: PeerId) {
        let first = Timer::Peer(peer, Clock::at(0)).place();
        self.slots.iter_mut().skip(first).take(PER_PEER).for_each(|slot| slot.deadline = NEVER);
    }
    /// Is it set?
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.slots.get(timer.place()).is_some_and(|slot| slot.deadline != NEVER)
    }
    /// When [`Timers::pop`] should be called next, at the latest.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
    /// A timer that is due; it is no longer set. Of several the earliest, then in a fixed order.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timer> {
        while let Some(&Reverse((at, place))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let slot = self.slots.get_mut(usize::try_from(place).unwrap_or(usize::MAX))?;
            if slot.queued != at {
                continue;
            }
            slot.queued = NEVER;
            if slot.deadline <= now {
                slot.deadline = NEVER;
                return Some(Timer::at(place));
            }
            if slot.deadline != NEVER {
                slot.queued = slot.deadline;
                self.heap.push(Reverse((slot.deadline, place)));
            }
        }
        None
    }
    fn rebuild(&mut self) {
        self.heap.clear();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            slot.queued = slot.deadline;
            if slot.deadline != NEVER {
                self.heap.push(Reverse((slot.deadline, u32::try_from(place).unwrap_or(u32::MAX))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(peer: u16) -> Timer {
        Timer::Peer(PeerId(peer), Clock::Hold(Side::First))
    }

    #[test]
    fn a_timer_put_off_a_thousand_times_has_one_entry_and_fires_once_at_its_last_deadline() {
        let mut timers = Timers::default();
        for t in 0..1000 {
            timers.set(hold(0), Time(90 + t));
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(timers.pop(Time(1088)), None);
        assert_eq!(timers.next(), Some(Time(1089)));
        assert_eq!(timers.pop(Time(1089)), Some(hold(0)));
        assert_eq!(timers.pop(Time(u64::MAX - 1)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_cleared_ones_not_at_all() {
        let mut timers = Timers::default();
        timers.set(hold(2), Time(30));
        timers.set(hold(1), Time(20));
        timers.set(Timer::Deferral, Time(25));
        timers.set(hold(1), Time(10));
        timers.set(hold(3), Time(5));
        timers.clear(hold(3));
        let fired: Vec<Timer> = core::iter::from_fn(|| timers.pop(Time(100))).collect();
        assert_eq!(fired, [hold(1), Timer::Deferral, hold(2)]);
    }

    #[test]
    fn a_timer_set_ever_earlier_does_not_fill_the_heap() {
        let mut timers = Timers::default();
        for t in (0..100_000).rev() {
            timers.set(hold(0), Time(t));
        }
        assert!(timers.heap.len() < 200);
        assert_eq!(timers.pop(Time(0)), Some(hold(0)));
    }

    #[test]
    fn every_timer_keeps_its_identity_through_the_heap() {
        for place in 0..GLOBAL + 3 * PER_PEER {
            assert_eq!(Timer::at(u32::try_from(place).unwrap()).place(), place);
        }
    }
}
