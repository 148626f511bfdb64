//! Attribute sets, each kept once.
//!
//! A set is a canonical block (see [`crate::attrs`]) found by a seeded hash of its bytes: peers choose them, so the
//! seed keeps them from choosing collisions. What the decision process asks of it is worked out once, into a
//! [`DecisionKey`]; header and key take 48 bytes, the bytes themselves lie in chunks.
//!
//! Blocks are appended to 64 KiB chunks. A chunk of which less than a quarter is still alive is emptied by moving what
//! lives to the end of the newest (each block is preceded by its id, so a chunk can be walked) and given back. Moving
//! one chunk copies at most 16 KiB, so releasing a set has a bounded cost.

use core::hash::BuildHasher;

use alloc::vec::Vec;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chunked::Chunked;
use crate::attrs::{Attributes, NextHopValue, code};
use crate::policy::Community;

/// The id of an attribute set; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrId(pub(crate) u32);

impl AttrId {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// NO_EXPORT is among the communities.
pub(crate) const NO_EXPORT: u8 = 1;
/// NO_ADVERTISE is.
pub(crate) const NO_ADVERTISE: u8 = 2;
/// NO_EXPORT_SUBCONFED is.
pub(crate) const NO_EXPORT_SUBCONFED: u8 = 4;
/// GRACEFUL_SHUTDOWN is.
pub(crate) const GRACEFUL_SHUTDOWN: u8 = 8;

/// What the decision process compares, in 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionKey {
    /// LOCAL_PREF, 100 when there is none.
    pub(crate) local_pref: u32,
    /// MULTI_EXIT_DISC, 0 when there is none.
    pub(crate) med: u32,
    /// The leftmost AS of AS_PATH, 0 when it is empty.
    pub(crate) neighbour_as: u32,
    /// A hash of AS_PATH, to tell equal ones.
    pub(crate) as_path_hash: u32,
    /// ORIGINATOR_ID, 0 when there is none.
    pub(crate) originator: u32,
    /// AS_PATH's length, a set being 1.
    pub(crate) as_path_len: u16,
    /// How many clusters CLUSTER_LIST has.
    pub(crate) cluster_len: u16,
    /// Where in the block the next hop's octets begin.
    pub(crate) next_hop_at: u16,
    /// ORIGIN.
    pub(crate) origin: u8,
    /// Which well-known communities it has.
    pub(crate) well_known: u8,
    pub(crate) next_hop_len: u8,
}

impl DecisionKey {
    fn of(block: &[u8], hasher: &FixedState) -> Self {
        let view = Attributes::new(block);
        let mut key = Self { local_pref: 100, origin: view.origin() as u8, ..Self::default() };
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let word = |value: &[u8]| value.try_into().map_or(0, u32::from_be_bytes);
        for attribute in view.iter() {
            let value = attribute.value;
            match attribute.code {
                code::AS_PATH => {
                    let path = view.as_path();
                    key.as_path_len = short(path.hops());
                    key.neighbour_as = path.first().map_or(0, |a| a.0);
                    key.as_path_hash = low(hasher.hash_one(value));
                }
                code::NEXT_HOP => {
                    key.next_hop_at = short(value.as_ptr().addr() - block.as_ptr().addr());
                    key.next_hop_len = u8::try_from(value.len()).unwrap_or(0);
                }
                code::MULTI_EXIT_DISC => key.med = word(value),
                code::LOCAL_PREF => key.local_pref = word(value),
                code::ORIGINATOR_ID => key.originator = word(value),
                code::CLUSTER_LIST => key.cluster_len = short(value.len() / 4),
                code::COMMUNITIES => {
                    key.well_known = view.communities().fold(0, |set, c| set | well_known(c));
                }
                _ => {}
            }
        }
        key
    }
}

fn well_known(community: u32) -> u8 {
    match community {
        Community::NO_EXPORT => NO_EXPORT,
        Community::NO_ADVERTISE => NO_ADVERTISE,
        Community::NO_EXPORT_SUBCONFED => NO_EXPORT_SUBCONFED,
        Community::GRACEFUL_SHUTDOWN => GRACEFUL_SHUTDOWN,
        _ => 0,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn low(hash: u64) -> u32 {
    hash as u32
}

#[derive(Debug, Default)]
struct Header {
    refs: u32,
    hash: u32,
    /// Chunk in the high half, offset of the block in the low one.
    at: u32,
    len: u16,
    key: DecisionKey,
}

/// The table of all attribute sets, incoming and outgoing, of both families.
#[derive(Debug)]
pub(crate) struct Attrs {
    headers: Chunked<Header>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    blocks: Blocks,
}

impl Attrs {
    pub(crate) fn new(seed: u64) -> Self {
        let mut headers = Chunked::default();
        headers.push(Header::default());
        Self {
            headers,
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            blocks: Blocks::default(),
        }
    }

    /// How many sets there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// One beyond the largest id ever given.
    pub(crate) fn end(&self) -> u32 {
        self.headers.len()
    }

    /// The set with these bytes, with one reference more. A block that is too long to be any message's (65,535 bytes)
    /// is none.
    pub(crate) fn intern(&mut self, block: &[u8]) -> AttrId {
        let Ok(len) = u16::try_from(block.len()) else { return AttrId::NONE };
        let hash = low(self.hasher.hash_one(block));
        let Self { headers, free, index, hasher, blocks } = self;
        let same = |id: &u32| {
            let header = headers.get(*id);
            header.is_some_and(|h| h.hash == hash && blocks.get(h.at, h.len) == block)
        };
        if let Some(id) = index.find(spread(hash), same).copied() {
            if let Some(h) = headers.get_mut(id) {
                h.refs += 1;
            }
            return AttrId(id);
        }
        let id = free.pop().unwrap_or_else(|| headers.push(Header::default()));
        let at = blocks.push(id, block);
        if let Some(h) = headers.get_mut(id) {
            *h = Header { refs: 1, hash, at, len, key: DecisionKey::of(block, hasher) };
        }
        index.insert_unique(spread(hash), id, |id| spread(headers.get(*id).map_or(0, |h| h.hash)));
        AttrId(id)
    }

    /// One reference more.
    #[inline]
    pub(crate) fn retain(&mut self, id: AttrId) {
        if let Some(h) = self.headers.get_mut(id.0) {
            h.refs += 1;
        }
    }

    /// One reference less; with the last the set is forgotten.
    #[inline]
    pub(crate) fn release(&mut self, id: AttrId) {
        if id.is_none() {
            return;
        }
        let Some(h) = self.headers.get_mut(id.0) else { return };
        h.refs -= 1;
        if h.refs == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: AttrId) {
        let Some(h) = self.headers.get_mut(id.0).map(core::mem::take) else { return };
        if let Ok(found) = self.index.find_entry(spread(h.hash), |other| *other == id.0) {
            found.remove();
        }
        self.free.push(id.0);
        if let Some(chunk) = self.blocks.release(h.at, h.len) {
            self.evacuate(chunk);
        }
    }

    fn evacuate(&mut self, chunk: u32) {
        let bytes = self.blocks.take(chunk);
        for (id, at, block) in blocks_in(&bytes) {
            let place = chunk << 16 | at;
            if let Some(h) = self.headers.get_mut(id).filter(|h| h.refs > 0 && h.at == place) {
                h.at = self.blocks.push(id, block);
            }
        }
    }

    /// What the decision process compares.
    #[inline]
    pub(crate) fn key(&self, id: AttrId) -> DecisionKey {
        self.headers.get(id.0).map_or_else(DecisionKey::default, |h| h.key)
    }

    /// The canonical block.
    pub(crate) fn block(&self, id: AttrId) -> &[u8] {
        self.headers.get(id.0).map_or(&[], |h| self.blocks.get(h.at, h.len))
    }

    /// The next hop.
    pub(crate) fn next_hop(&self, id: AttrId) -> Option<NextHopValue> {
        let key = self.key(id);
        let at = usize::from(key.next_hop_at);
        NextHopValue::from_octets(self.block(id).get(at..at + usize::from(key.next_hop_len))?)
    }
}

/// The table's control bytes come from the top of the hash and its slots from the bottom.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

const CHUNK: usize = 1 << 16;
/// In front of each block: id and length.
const PREFIX: usize = 6;

#[derive(Debug, Default)]
struct Blocks {
    chunks: Vec<BlockChunk>,
    free: Vec<u32>,
    /// The chunk that is filled.
    current: Option<u32>,
}

#[derive(Debug, Default)]
struct BlockChunk {
    bytes: Vec<u8>,
    live: usize,
}

impl Blocks {
    fn get(&self, at: u32, len: u16) -> &[u8] {
        let (chunk, at) = ((at >> 16) as usize, at as usize & (CHUNK - 1));
        self.chunks.get(chunk).and_then(|c| c.bytes.get(at..at + usize::from(len))).unwrap_or_default()
    }

    fn push(&mut self, id: u32, block: &[u8]) -> u32 {
        let room = |c: &BlockChunk| c.bytes.len() + PREFIX + block.len() <= CHUNK;
        let fits = self.current.filter(|c| self.chunks.get(*c as usize).is_some_and(room));
        let number = fits.unwrap_or_else(|| self.open());
        let Some(chunk) = self.chunks.get_mut(number as usize) else { return 0 };
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        if chunk.bytes.capacity() < chunk.bytes.len() + PREFIX + block.len() && number > 0 {
            // The first chunk grows as it must; each later one is made whole.
            chunk.bytes.reserve_exact(CHUNK - chunk.bytes.len());
        }
        chunk.bytes.extend_from_slice(&id.to_ne_bytes());
        chunk.bytes.extend_from_slice(&len.to_ne_bytes());
        let at = u32::try_from(chunk.bytes.len()).unwrap_or(0);
        chunk.bytes.extend_from_slice(block);
        chunk.live += PREFIX + block.len();
        number << 16 | at
    }

    fn open(&mut self) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(BlockChunk::default());
            u32::try_from(self.chunks.len() - 1).unwrap_or(u32::MAX)
        });
        self.current = Some(number);
        number
    }

    /// Lets go of a block; names its chunk when it is time to empty it.
    fn release(&mut self, at: u32, len: u16) -> Option<u32> {
        let number = at >> 16;
        let chunk = self.chunks.get_mut(number as usize)?;
        chunk.live -= PREFIX + usize::from(len);
        (self.current != Some(number) && chunk.live < CHUNK / 4).then_some(number)
    }

    /// Frees a chunk and gives what was in it.
    fn take(&mut self, number: u32) -> Vec<u8> {
        self.free.push(number);
        self.chunks.get_mut(number as usize).map(|chunk| core::mem::take(chunk).bytes).unwrap_or_default()
    }
}

/// Everything that was ever put in a chunk, dead or alive, with its id and place.
fn blocks_in(bytes: &[u8]) -> impl Iterator<Item = (u32, u32, &[u8])> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let head: [u8; PREFIX] = bytes.get(at..at + PREFIX)?.try_into().ok()?;
        let [a, b, c, d, e, f] = head;
        let (id, len) = (u32::from_ne_bytes([a, b, c, d]), usize::from(u16::from_ne_bytes([e, f])));
        let start = at + PREFIX;
        at = start + len;
        Some((id, u32::try_from(start).ok()?, bytes.get(start..at)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::encode::Edits;
    use crate::io::Origination;
    use alloc::vec;

    fn block(n: u32) -> Vec<u8> {
        let route = Origination {
            next_hop: None,
            med: Some(n),
            local_pref: None,
            communities: vec![Community::NO_EXPORT; 1 + n as usize % 7],
            large_communities: vec![],
        };
        let mut out = Vec::new();
        crate::attrs::encode::put_originated(NextHopValue::V4([10, 0, 0, 1]), &route, &mut out);
        out
    }

    #[test]
    fn a_header_takes_forty_eight_bytes() {
        assert_eq!(size_of::<DecisionKey>(), 32);
        assert_eq!(size_of::<Header>(), 48);
    }

    #[test]
    fn equal_bytes_are_one_set_until_the_last_reference_goes() {
        let mut attrs = Attrs::new(1);
        let a = attrs.intern(&block(1));
        assert_eq!(attrs.intern(&block(1)), a);
        attrs.release(a);
        assert_eq!(attrs.block(a), block(1));
        attrs.release(a);
        assert_eq!((attrs.len(), attrs.block(a)), (0, &[][..]));
    }

    #[test]
    fn the_key_says_what_the_block_says() {
        let mut attrs = Attrs::new(1);
        let mut edited = Vec::new();
        let prepend = [crate::Asn(65001), crate::Asn(65002)];
        Edits { prepend: &prepend, ..Edits::default() }.apply(&block(7), &mut edited);
        let id = attrs.intern(&edited);
        let key = attrs.key(id);
        assert_eq!((key.local_pref, key.med, key.as_path_len, key.neighbour_as), (100, 7, 2, 65001));
        assert_eq!((key.origin, key.well_known), (0, NO_EXPORT));
        assert_eq!(attrs.next_hop(id), Some(NextHopValue::V4([10, 0, 0, 1])));
    }

    #[test]
    fn chunks_that_are_mostly_dead_are_emptied_and_what_lives_is_kept() {
        let mut attrs = Attrs::new(1);
        let ids: Vec<AttrId> = (0..20_000).map(|n| attrs.intern(&block(n))).collect();
        let full = attrs.blocks.chunks.iter().map(|c| c.bytes.capacity()).sum::<usize>();
        for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 10 != 0) {
            assert_eq!(attrs.block(*id), block(u32::try_from(n).unwrap()));
            attrs.release(*id);
        }
        for (n, id) in ids.iter().enumerate().step_by(10) {
            assert_eq!(attrs.block(*id), block(u32::try_from(n).unwrap()));
        }
        let left = attrs.blocks.chunks.iter().map(|c| c.bytes.capacity()).sum::<usize>();
        assert!(left * 3 < full, "{left} of {full} bytes are still held");
    }
}
