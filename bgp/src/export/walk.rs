//! A walk over an update group's table, for members that are not at its stream: they joined, asked for a refresh, moved
//! from another group or fell behind.
//!
//! `todo` is what they have yet to be told, a bit a prefix. A live change of a prefix sets its bit again, so a walk
//! always ends where the table is, and there is never more than one message waiting about a prefix. The walk goes by
//! attribute set: it takes everything with an id in a range, sorts that and encodes it, then the next range, so that a
//! million prefixes are never sorted at once and packing is kept. It advances only as its fastest member reads.

use alloc::vec::Vec;

use super::log::Log;
use crate::rib::{AttrId, Bitmap};

/// Prefixes taken and sorted at a time, about.
const RANGE: u32 = if cfg!(test) { 1 << 4 } else { 1 << 14 };

/// A walk.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) id: u32,
    todo: Bitmap,
    /// Of them, those that may have to be withdrawn: they changed since the walk began.
    changed: Bitmap,
    /// The members had a table before: whatever is not announced now is withdrawn.
    resync: bool,
    pub(crate) log: Log,
    pub(crate) members: u32,
    queue: Vec<(AttrId, u32)>,
    /// The first attribute id of the next range.
    range: u32,
    fresh: bool,
}

impl Walk {
    /// Over everything below `end`, for members that were told nothing.
    pub(crate) fn all(id: u32, end: u32) -> Self {
        Self::over(id, Bitmap::full(end), false)
    }

    /// Over these prefixes, for members that were told something about them.
    pub(crate) fn resync(id: u32, todo: Bitmap) -> Self {
        Self::over(id, todo, true)
    }

    fn over(id: u32, todo: Bitmap, resync: bool) -> Self {
        Self {
            id,
            todo,
            changed: Bitmap::default(),
            resync,
            log: Log::default(),
            members: 0,
            queue: Vec::new(),
            range: 0,
            fresh: true,
        }
    }

    /// Can somebody who was told nothing still join?
    pub(crate) fn joinable(&self) -> bool {
        self.fresh && !self.resync
    }

    pub(crate) fn is_resync(&self) -> bool {
        self.resync
    }

    /// Members have more to be told about these.
    pub(crate) fn add(&mut self, prefixes: impl Iterator<Item = u32>) {
        prefixes.for_each(|p| self.touch(p));
    }

    /// A prefix has changed.
    pub(crate) fn touch(&mut self, prefix: u32) {
        self.todo.insert(prefix);
        self.changed.insert(prefix);
    }

    /// Is the table told?
    pub(crate) fn done(&self) -> bool {
        self.todo.is_empty() && self.queue.is_empty()
    }

    pub(crate) fn refers_to(&self, prefix: u32) -> bool {
        self.todo.contains(prefix)
    }

    /// Is no id kept but in `todo`?
    pub(crate) fn quiet(&self) -> bool {
        self.queue.is_empty() && self.log.bytes() == 0
    }

    /// Everything still to be told, for members that leave it for another walk.
    pub(crate) fn left(&self) -> impl Iterator<Item = u32> + '_ {
        self.todo.iter().chain(self.queue.iter().map(|(_, p)| *p))
    }

    /// May a prefix without an announcement, or of a member's own, have to be withdrawn?
    pub(crate) fn may_withdraw(&self, prefix: u32) -> bool {
        self.resync || self.changed.contains(prefix)
    }

    /// The next prefix and the set it is to be told with, if that is still so.
    pub(crate) fn next(&mut self) -> Option<(AttrId, u32)> {
        self.fresh = false;
        self.queue.pop()
    }

    /// Takes the next range out of `todo`; `attr` says what the table has for a prefix, `end` is beyond every attribute
    /// id.
    pub(crate) fn refill(&mut self, end: u32, attr: impl Fn(u32) -> AttrId) {
        let ranges = (self.todo.count() / RANGE).max(1);
        while self.queue.is_empty() && !self.todo.is_empty() {
            if self.range >= end {
                self.range = 0;
            }
            let to = self.range.saturating_add(end / ranges + 1);
            self.take(self.range..to, &attr);
            self.range = to;
        }
        // The queue is taken from its end.
        self.queue.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn take(&mut self, range: core::ops::Range<u32>, attr: impl Fn(u32) -> AttrId) {
        let mut next = 0;
        while let Some(prefix) = self.todo.next(next) {
            next = prefix + 1;
            let has = attr(prefix);
            if range.contains(&has.0) {
                self.todo.remove(prefix);
                if !has.is_none() || self.may_withdraw(prefix) {
                    self.queue.push((has, prefix));
                }
            }
        }
    }
}
