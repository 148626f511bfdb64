//! What an update group has to say, encoded once and shared: a bounded list of chunks of whole messages.
//!
//! A member is a [`Cursor`] into it. Each message has an audience; a member passes over what is not for it, and what
//! lies side by side goes out as one piece. A chunk goes when everybody has read it. Each chunk also remembers which
//! prefixes it speaks of, so that a member that falls behind can be told again from the group's table.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::rib::NOBODY;

/// For whom a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// All but this peer, whose path it is; `NOBODY` when everybody is meant.
    AllBut(u16),
    /// This peer alone.
    Only(u16),
}

impl Audience {
    /// Everybody.
    pub(crate) const ALL: Self = Self::AllBut(NOBODY);

    #[inline]
    fn includes(self, peer: u16) -> bool {
        match self {
            Self::AllBut(other) => peer != other,
            Self::Only(one) => peer == one,
        }
    }
}

/// A message in a chunk: where it ends, and for whom it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) end: u32,
    pub(crate) audience: Audience,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    segments: Box<[Segment]>,
    prefixes: Box<[u32]>,
    epoch: u64,
    /// How many have yet to read it to its end.
    readers: u32,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    chunk: u64,
    segment: u32,
}

/// The chunks that somebody has yet to read.
#[derive(Debug, Default)]
pub(crate) struct Log {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk.
    first: u64,
    bytes: usize,
}

/// What an encoder gives a log.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) prefixes: Vec<u32>,
}

impl Log {
    /// Bytes held for those who have not read them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in what an encoder made, for so many readers, and leaves the batch empty.
    pub(crate) fn append(&mut self, batch: &mut Batch, epoch: u64, readers: u32) {
        if !batch.bytes.is_empty() && readers > 0 {
            self.bytes += batch.bytes.len();
            self.chunks.push_back(Chunk {
                bytes: Bytes::copy_from_slice(&batch.bytes),
                segments: batch.segments.as_slice().into(),
                prefixes: batch.prefixes.as_slice().into(),
                epoch,
                readers,
            });
        }
        batch.bytes.clear();
        batch.segments.clear();
        batch.prefixes.clear();
    }

    /// Behind everything.
    pub(crate) fn end(&self) -> Cursor {
        Cursor { chunk: self.first + self.chunks.len() as u64, segment: 0 }
    }

    /// Is there nothing behind the cursor?
    pub(crate) fn at_end(&self, cursor: Cursor) -> bool {
        cursor.chunk >= self.first + self.chunks.len() as u64
    }

    /// Is the cursor in the older half of a log that holds too much?
    pub(crate) fn lags(&self, cursor: Cursor) -> bool {
        cursor.chunk <= self.first + self.chunks.len() as u64 / 2
    }

    fn chunk(&self, number: u64) -> Option<&Chunk> {
        usize::try_from(number.checked_sub(self.first)?).ok().and_then(|i| self.chunks.get(i))
    }

    /// Gives `peer` what is for it from its cursor on, until `room` is used up; one message is always given.
    pub(crate) fn read(&mut self, cursor: &mut Cursor, peer: u16, room: &mut usize, out: &mut Vec<Bytes>) {
        while let Some(chunk) = self.chunk(cursor.chunk) {
            if !chunk.read(cursor, peer, room, out) {
                return;
            }
            self.leave_chunk(cursor.chunk);
            *cursor = Cursor { chunk: cursor.chunk + 1, segment: 0 };
            self.trim();
        }
    }

    /// A member goes without reading the rest.
    pub(crate) fn leave(&mut self, cursor: Cursor) {
        for number in cursor.chunk..self.first + self.chunks.len() as u64 {
            self.leave_chunk(number);
        }
        self.trim();
    }

    fn leave_chunk(&mut self, number: u64) {
        let at = number.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        if let Some(chunk) = at.and_then(|i| self.chunks.get_mut(i)) {
            chunk.readers -= 1;
        }
    }

    fn trim(&mut self) {
        while let Some(chunk) = self.chunks.pop_front_if(|c| c.readers == 0) {
            self.bytes -= chunk.bytes.len();
            self.first += 1;
        }
    }

    /// The prefixes spoken of from the cursor's chunk on.
    pub(crate) fn unread(&self, cursor: Cursor) -> impl Iterator<Item = u32> + '_ {
        let skip = usize::try_from(cursor.chunk.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.chunks.iter().skip(skip).flat_map(|c| c.prefixes.iter().copied())
    }

    /// The epoch of the oldest chunk.
    pub(crate) fn oldest(&self) -> u64 {
        self.chunks.front().map_or(u64::MAX, |c| c.epoch)
    }
}

impl Chunk {
    /// False when room ran out before the end.
    fn read(&self, cursor: &mut Cursor, peer: u16, room: &mut usize, out: &mut Vec<Bytes>) -> bool {
        let begin = |i: u32| match i.checked_sub(1) {
            Some(before) => self.segments.get(before as usize).map_or(0, |s| s.end as usize),
            None => 0,
        };
        let mut piece = begin(cursor.segment)..begin(cursor.segment);
        let mut whole = true;
        for segment in self.segments.iter().skip(cursor.segment as usize) {
            let end = segment.end as usize;
            if segment.audience.includes(peer) {
                let start = begin(cursor.segment);
                if *room < end - start && !(out.is_empty() && piece.is_empty()) {
                    whole = false;
                    break;
                }
                *room = room.saturating_sub(end - start);
                if piece.end != start {
                    self.give(piece.clone(), out);
                    piece.start = start;
                }
                piece.end = end;
            }
            cursor.segment += 1;
        }
        self.give(piece, out);
        whole
    }

    fn give(&self, piece: core::ops::Range<usize>, out: &mut Vec<Bytes>) {
        if !piece.is_empty() && piece.end <= self.bytes.len() {
            out.push(self.bytes.slice(piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(messages: &[(&str, Audience)], readers: u32) -> Log {
        let mut log = Log::default();
        add(&mut log, messages, readers);
        log
    }

    fn add(log: &mut Log, messages: &[(&str, Audience)], readers: u32) {
        let mut batch = Batch::default();
        for (text, audience) in messages {
            batch.bytes.extend_from_slice(text.as_bytes());
            batch
                .segments
                .push(Segment { end: u32::try_from(batch.bytes.len()).unwrap(), audience: *audience });
        }
        log.append(&mut batch, 1, readers);
    }

    fn read(log: &mut Log, cursor: &mut Cursor, peer: u16, mut room: usize) -> Vec<Bytes> {
        let mut out = Vec::new();
        log.read(cursor, peer, &mut room, &mut out);
        out
    }

    #[test]
    fn a_member_gets_what_is_for_it_and_neighbours_in_one_piece() {
        let messages = [
            ("aa", Audience::ALL),
            ("bb", Audience::AllBut(2)),
            ("cc", Audience::AllBut(1)),
            ("dd", Audience::Only(1)),
        ];
        let mut log = log(&messages, 2);
        let start = Cursor::default();
        assert_eq!(read(&mut log, &mut start.clone(), 1, 99), [&b"aabb"[..], b"dd"]);
        assert_eq!(read(&mut log, &mut start.clone(), 2, 99), [&b"aa"[..], b"cc"]);
        assert_eq!(log.bytes(), 0, "both have read it");
    }

    #[test]
    fn room_is_kept_but_one_message_always_goes() {
        let mut log = log(&[("aaaa", Audience::ALL), ("bb", Audience::ALL), ("cc", Audience::ALL)], 1);
        let mut cursor = Cursor::default();
        assert_eq!(read(&mut log, &mut cursor, 1, 1), [&b"aaaa"[..]]);
        assert_eq!(read(&mut log, &mut cursor, 1, 3), [&b"bb"[..]]);
        assert_eq!(read(&mut log, &mut cursor, 1, 3), [&b"cc"[..]]);
        assert!(log.at_end(cursor));
    }

    #[test]
    fn a_chunk_goes_when_the_last_reader_has_read_or_left() {
        let mut log = log(&[("aa", Audience::ALL)], 2);
        let (mut late, early) = (log.end(), Cursor::default());
        add(&mut log, &[("bb", Audience::ALL)], 3);
        assert_eq!(read(&mut log, &mut late, 1, 99), [&b"bb"[..]]);
        assert_eq!(log.bytes(), 4, "two have read nothing");
        log.leave(early);
        assert_eq!(read(&mut log, &mut early.clone(), 2, 99), [&b"aa"[..], b"bb"]);
        assert_eq!((log.bytes(), log.end()), (0, late));
    }
}
