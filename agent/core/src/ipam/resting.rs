//! Addresses between two holders.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corduroy_bgp::Time;

/// The addresses that rest, with the time each is ready again.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    until: BTreeMap<IpAddr, Time>,
    /// The same in the order in which they become ready.
    order: std::collections::BTreeSet<(Time, IpAddr)>,
}

impl Resting {
    /// `address` rests until then.
    pub(super) fn put(&mut self, address: IpAddr, until: Time) {
        self.wake(address);
        self.until.insert(address, until);
        self.order.insert((until, address));
    }

    /// Ends the rest of one address, whatever its time; true if it rested.
    pub(super) fn wake(&mut self, address: IpAddr) -> bool {
        let until = self.until.remove(&address);
        until.is_some_and(|until| self.order.remove(&(until, address)))
    }

    /// The next address whose rest is over.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<IpAddr> {
        let (until, address) = *self.order.first()?;
        (until <= now && self.wake(address)).then_some(address)
    }

    /// When the next rest is over.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(until, _)| *until)
    }

    /// Does this address rest?
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.until.contains_key(&address)
    }

    /// How many addresses rest from `first` to `last`.
    pub(super) fn count(&self, first: IpAddr, last: IpAddr) -> usize {
        self.until.range(first..=last).count()
    }

    /// Every resting address and the end of its rest, the next to be ready first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Time, IpAddr)> + '_ {
        self.order.iter().copied()
    }
}
