//! Vectors in chunks, and bitmaps over what they hold.
//!
//! A table of a million prefixes must not double its memory and copy itself when it grows, so everything that is
//! indexed by a 32-bit id lives in chunks of a fixed size. Only the first chunk grows by doubling: an idle speaker
//! pays for what it holds.

use alloc::vec::Vec;

const BITS: u32 = 10;
const CHUNK: usize = 1 << BITS;

/// A growable vector of `T`, addressed by `u32`.
#[derive(Debug)]
pub(crate) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    pub(crate) fn len(&self) -> u32 {
        let whole = self.chunks.len().saturating_sub(1) << BITS;
        u32::try_from(whole + self.chunks.last().map_or(0, Vec::len)).unwrap_or(u32::MAX)
    }

    pub(crate) fn push(&mut self, value: T) -> u32 {
        let id = self.len();
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            last => {
                let mut chunk = Vec::with_capacity(if last.is_some() { CHUNK } else { 4 });
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        id
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get((id >> BITS) as usize)?.get(id as usize & (CHUNK - 1))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.chunks.get_mut((id >> BITS) as usize)?.get_mut(id as usize & (CHUNK - 1))
    }
}

impl<T: Copy + Default> Chunked<T> {
    /// The value at `id`, the default beyond the end.
    #[inline]
    pub(crate) fn at(&self, id: u32) -> T {
        self.get(id).copied().unwrap_or_default()
    }

    /// Puts a value at `id`, growing with defaults as far as that needs.
    #[inline]
    pub(crate) fn set(&mut self, id: u32, value: T) {
        while id >= self.len() {
            self.push(T::default());
        }
        if let Some(place) = self.get_mut(id) {
            *place = value;
        }
    }
}

/// A set of ids, a bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    count: u32,
}

impl Bitmap {
    /// Every id below `end`.
    pub(crate) fn full(end: u32) -> Self {
        let mut words = alloc::vec![u64::MAX; end as usize / 64];
        if !end.is_multiple_of(64) {
            words.push((1 << (end % 64)) - 1);
        }
        Self { words, count: end }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.words.get((id >> 6) as usize).is_some_and(|w| w >> (id & 63) & 1 == 1)
    }

    #[inline]
    pub(crate) fn insert(&mut self, id: u32) {
        let at = (id >> 6) as usize;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            self.count += u32::from(*word >> (id & 63) & 1 == 0);
            *word |= 1 << (id & 63);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut((id >> 6) as usize) {
            self.count -= u32::from(*word >> (id & 63) & 1 == 1);
            *word &= !(1 << (id & 63));
        }
    }

    /// The first member at or after `from`.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let first = (from >> 6) as usize;
        let mut mask = u64::MAX << (from & 63);
        for (at, word) in self.words.iter().enumerate().skip(first) {
            let word = word & mask;
            mask = u64::MAX;
            if word != 0 {
                return u32::try_from(at << 6).ok().map(|base| base + word.trailing_zeros());
            }
        }
        None
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut from = Some(0);
        core::iter::from_fn(move || {
            let id = self.next(from?)?;
            from = id.checked_add(1);
            Some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_found_under_its_id_across_chunks() {
        let mut v = Chunked::default();
        for i in 0..5000u32 {
            assert_eq!(v.push(i * 3), i);
        }
        assert!((0..5000).all(|i| v.at(i) == i * 3));
        assert_eq!((v.len(), v.at(5000)), (5000, 0));
        v.set(7000, 9);
        assert_eq!((v.len(), v.at(6999), v.at(7000)), (7001, 0, 9));
    }

    #[test]
    fn a_bitmap_counts_members_once_and_finds_the_next() {
        let mut b = Bitmap::default();
        for id in [3, 64, 64, 1000] {
            b.insert(id);
        }
        assert_eq!(b.count(), 3);
        assert_eq!(b.iter().collect::<Vec<_>>(), [3, 64, 1000]);
        b.remove(64);
        b.remove(64);
        b.remove(99_999);
        assert_eq!((b.count(), b.next(4), b.next(1001)), (2, Some(1000), None));
        assert_eq!(Bitmap::full(130).iter().collect::<Vec<_>>(), (0..130).collect::<Vec<_>>());
    }
}
