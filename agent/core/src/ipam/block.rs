//! The addresses of one block of ours.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use corduroy_api::block::{address_at, block_size, contains, ordinal_of};
use corduroy_bgp::Time;
use ipnetwork::IpNetwork;

/// Of a larger block (one that was given to this node: an IPv6 one has 2^64 addresses) only so many are handed out.
const MOST: u32 = 1 << 16;

/// A block that the datastore says is ours.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) cidr: IpNetwork,
    /// The datastore's version of the claim, needed to delete it; empty for one that only a snapshot knows.
    pub(super) version: String,
    /// It is the pool itself, given to this node: nobody claimed it.
    pub(super) given: bool,
    pub(super) state: State,
    /// What it lends is being written; once that time has come it is looked at again.
    pub(super) lending: Option<Time>,
    /// The ordinals that may be handed out, the next first.
    ready: VecDeque<u32>,
}

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Addresses are handed out.
    Serving,
    /// Empty and not needed: unannounced, and given back at this time unless it is needed before.
    Leaving(Time),
    /// Its deletion was asked for and may have happened: nothing is handed out ever again. Asked again at
    /// this time.
    Returned(Time),
}

impl Block {
    /// A block of which the addresses that `is_busy` are not ready.
    pub(super) fn new(cidr: IpNetwork, version: String, is_busy: impl Fn(IpAddr) -> bool) -> Self {
        let free = |ordinal: &u32| address_at(cidr, *ordinal).is_some_and(|address| !is_busy(address));
        let ready = (0..block_size(cidr).min(MOST)).filter(free).collect();
        Self { cidr, version, given: false, state: State::Serving, lending: None, ready }
    }

    /// As if it were made anew, in the order it has.
    pub(super) fn refresh(&mut self, is_busy: impl Fn(IpAddr) -> bool) {
        let fresh = Self::new(self.cidr, String::new(), is_busy).ready;
        let free: BTreeSet<u32> = fresh.iter().copied().collect();
        self.ready.retain(|ordinal| free.contains(ordinal));
        let had: BTreeSet<u32> = self.ready.iter().copied().collect();
        self.ready.extend(fresh.into_iter().filter(|ordinal| !had.contains(ordinal)));
    }

    /// The address whose turn it is.
    pub(super) fn first_ready(&self) -> Option<IpAddr> {
        self.ready.front().and_then(|ordinal| address_at(self.cidr, *ordinal))
    }

    /// Takes an address out of those that are ready.
    pub(super) fn take(&mut self, address: IpAddr) {
        let Some(ordinal) = ordinal_of(self.cidr, address) else { return };
        if self.ready.front() == Some(&ordinal) {
            self.ready.pop_front();
        } else {
            self.ready.retain(|o| *o != ordinal);
        }
    }

    /// Puts a rested address behind all that are ready.
    pub(super) fn give(&mut self, address: IpAddr) {
        self.ready.extend(ordinal_of(self.cidr, address).filter(|ordinal| *ordinal < MOST));
    }

    /// How many addresses are ready.
    pub(super) fn ready(&self) -> u32 {
        u32::try_from(self.ready.len()).unwrap_or(u32::MAX)
    }

    /// How many addresses of it are handed out at most.
    pub(super) fn size(&self) -> u32 {
        block_size(self.cidr).min(MOST)
    }

    /// Is this a part of it?
    pub(super) fn has(&self, cidr: IpNetwork) -> bool {
        contains(self.cidr, cidr)
    }

    /// May addresses of it be handed out, now or after reviving it?
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.state, State::Returned(_))
    }
}
