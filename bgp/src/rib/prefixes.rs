//! The prefixes of one family: entries in a slab, found by an exact index.
//!
//! An entry takes 12 bytes (IPv4) or 24 (IPv6). The index holds ids only and looks into the slab for the key: 4 bytes
//! and a control byte a slot. An exact look-up costs a fraction of what a trie asks, and nothing in a speaker needs
//! the longest match of a routing table: NLRI name their prefix.

use core::fmt::Debug;
use core::hash::{BuildHasher, Hash};

use alloc::vec::Vec;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chunked::Chunked;
use crate::{Net, Net4, Net6, Prefix};

/// A prefix in the fewest bytes, without the padding of the public type.
pub(crate) trait Packed: Prefix {
    /// The address alone.
    type Bits: Copy + Eq + Hash + Debug + Default;
    fn pack(self) -> Self::Bits;
    fn unpack(bits: Self::Bits, len: u8) -> Self;
    fn from_net(net: Net) -> Option<Self>;
}

impl Packed for Net4 {
    type Bits = u32;
    #[inline]
    fn pack(self) -> u32 {
        self.bits()
    }
    #[inline]
    fn unpack(bits: u32, len: u8) -> Self {
        Self::from_nlri(&bits.to_be_bytes(), len).unwrap_or(Self::ALL)
    }
    fn from_net(net: Net) -> Option<Self> {
        match net {
            Net::V4(n) => Some(n),
            Net::V6(_) => None,
        }
    }
}

impl Packed for Net6 {
    type Bits = [u32; 4];
    #[inline]
    fn pack(self) -> [u32; 4] {
        let o = self.octets();
        core::array::from_fn(|i| u32::from_ne_bytes([o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]]))
    }
    #[inline]
    fn unpack(bits: [u32; 4], len: u8) -> Self {
        let mut o = [0; 16];
        for (place, word) in o.chunks_exact_mut(4).zip(bits) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Self::from_nlri(&o, len).unwrap_or(Self::ALL)
    }
    fn from_net(net: Net) -> Option<Self> {
        match net {
            Net::V6(n) => Some(n),
            Net::V4(_) => None,
        }
    }
}

/// Waits to be decided.
pub(crate) const DIRTY: u8 = 1;
/// A path of the Loc-RIB went or was replaced since the last decision.
pub(crate) const LOC_CHANGED: u8 = 2;
/// Without paths, and waiting until nobody refers to the id any more.
pub(crate) const DEAD: u8 = 4;

/// One prefix.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry<B> {
    bits: B,
    /// Where its paths lie; means something when `n` is not 0.
    pub(crate) run: u32,
    /// How many paths it has.
    pub(crate) n: u16,
    len: u8,
    pub(crate) flags: u8,
}

/// All prefixes of a family.
#[derive(Debug)]
pub(crate) struct Prefixes<P: Packed> {
    entries: Chunked<Entry<P::Bits>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl<P: Packed> Prefixes<P> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entries: Chunked::default(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// One beyond the largest id ever given.
    pub(crate) fn end(&self) -> u32 {
        self.entries.len()
    }

    /// How many prefixes there are, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(crate) fn find(&self, prefix: P) -> Option<u32> {
        let (bits, len) = (prefix.pack(), prefix.len());
        let hash = self.hasher.hash_one((bits, len));
        let same = |id: &u32| self.entries.get(*id).is_some_and(|e| e.bits == bits && e.len == len);
        self.index.find(hash, same).copied()
    }

    /// Its id; a new one when it is new.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, prefix: P) -> u32 {
        let (bits, len) = (prefix.pack(), prefix.len());
        let hash = self.hasher.hash_one((bits, len));
        let Self { entries, free, index, hasher } = self;
        let same = |id: &u32| entries.get(*id).is_some_and(|e| e.bits == bits && e.len == len);
        if let Some(id) = index.find(hash, same) {
            return *id;
        }
        let entry = Entry { bits, run: 0, n: 0, len, flags: 0 };
        let id = match free.pop() {
            Some(id) => {
                entries.set(id, entry);
                id
            }
            None => entries.push(entry),
        };
        let rehash = |id: &u32| {
            let e = entries.at(*id);
            hasher.hash_one((e.bits, e.len))
        };
        index.insert_unique(hash, id, rehash);
        id
    }

    /// Forgets a prefix; its id will be given again.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(e) = self.entries.get(id).copied() else { return };
        let hash = self.hasher.hash_one((e.bits, e.len));
        if let Ok(found) = self.index.find_entry(hash, |other| *other == id) {
            found.remove();
            self.entries.set(id, Entry::default());
            self.free.push(id);
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Entry<P::Bits> {
        self.entries.at(id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Entry<P::Bits>> {
        self.entries.get_mut(id)
    }

    #[inline]
    pub(crate) fn prefix(&self, id: u32) -> P {
        let e = self.entries.at(id);
        P::unpack(e.bits, e.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_twelve_bytes_for_ipv4_and_twenty_four_for_ipv6() {
        assert_eq!(size_of::<Entry<<Net4 as Packed>::Bits>>(), 12);
        assert_eq!(size_of::<Entry<<Net6 as Packed>::Bits>>(), 24);
    }

    #[test]
    fn a_prefix_is_found_until_it_is_removed_and_its_id_is_used_again() {
        let mut t = Prefixes::<Net6>::new(7);
        let net = |i: u128| Net6::new((0xfd00 << 112 | i << 64).into(), 64).unwrap();
        let ids: Vec<u32> = (0..3000).map(|i| t.find_or_insert(net(i))).collect();
        assert_eq!(t.find_or_insert(net(17)), ids[17]);
        assert_eq!(t.prefix(ids[17]), net(17));
        t.remove(ids[17]);
        assert_eq!(t.find(net(17)), None);
        assert_eq!(t.find_or_insert(net(99_999)), ids[17]);
        assert_eq!(t.len(), 3000);
    }
}
