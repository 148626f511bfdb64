//! Paths: 16 bytes each, those of one prefix side by side.
//!
//! A prefix with n paths has a run of the next power of two. Each size class has slabs of its own and a free list, so
//! a run's class follows from n and nothing has to be stored about it. The best path of a decided prefix stands first.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::intern::AttrId;

/// The peer number of what we originate ourselves.
pub(crate) const LOCAL: u16 = u16::MAX;

/// The best path of its prefix.
pub(crate) const BEST: u16 = 1;
/// The best path or one of its equals.
pub(crate) const MULTIPATH: u16 = 2;
/// Kept across the peer's restart and not confirmed since.
pub(crate) const STALE: u16 = 4;
/// New or replaced since the last decision.
pub(crate) const CHANGED: u16 = 8;
/// Already seen by the walk that tidies a peer's list.
pub(crate) const LISTED: u16 = 16;
/// Why it is unusable: three bits from here on (see [`super::import::Fault`]).
pub(crate) const FAULT_SHIFT: u32 = 8;

/// One path to one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// As the peer sent it.
    pub(crate) attr_in: AttrId,
    /// After import policy; none when the path is unusable.
    pub(crate) attr: AttrId,
    /// Whose.
    pub(crate) peer: u16,
    pub(crate) flags: u16,
    /// When it came: seconds since the speaker's start.
    pub(crate) age: u32,
}

/// Slabs of runs, a class for each power of two.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    classes: [Class; 17],
}

#[derive(Debug, Default)]
struct Class {
    slabs: Vec<Box<[Path]>>,
    free: Vec<u32>,
    used: u32,
}

/// Paths in a slab of a class whose runs are smaller.
const SLAB: usize = 256;

fn class_of(n: u16) -> usize {
    u32::from(n).next_power_of_two().trailing_zeros() as usize
}

impl Class {
    fn per_slab(class: usize) -> usize {
        (SLAB >> class).max(1)
    }

    fn alloc(&mut self, class: usize) -> u32 {
        if let Some(run) = self.free.pop() {
            return run;
        }
        let per = Self::per_slab(class);
        let run = self.used;
        if run as usize / per >= self.slabs.len() {
            self.slabs.push(vec![Path::default(); per << class].into());
        }
        self.used += 1;
        run
    }

    fn place(class: usize, run: u32) -> (usize, usize) {
        let per = Self::per_slab(class);
        (run as usize / per, (run as usize % per) << class)
    }
}

impl Runs {
    /// The `n` paths of the run.
    #[inline]
    pub(crate) fn get(&self, run: u32, n: u16) -> &[Path] {
        if n == 0 {
            return &[];
        }
        let class = class_of(n);
        let (slab, at) = Class::place(class, run);
        let slab = self.classes.get(class).and_then(|c| c.slabs.get(slab));
        slab.and_then(|s| s.get(at..at + usize::from(n))).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, run: u32, n: u16) -> &mut [Path] {
        if n == 0 {
            return &mut [];
        }
        let class = class_of(n);
        let (slab, at) = Class::place(class, run);
        let slab = self.classes.get_mut(class).and_then(|c| c.slabs.get_mut(slab));
        slab.and_then(|s| s.get_mut(at..at + usize::from(n))).unwrap_or_default()
    }

    /// One path more at the end of a run of `n`; answers where the run lies now.
    pub(crate) fn push(&mut self, run: u32, n: u16, path: Path) -> u32 {
        let grown = n + 1;
        let run = if n == 0 {
            self.alloc(class_of(grown))
        } else if class_of(grown) == class_of(n) {
            run
        } else {
            self.moved(run, n, class_of(grown))
        };
        if let Some(place) = self.get_mut(run, grown).last_mut() {
            *place = path;
        }
        run
    }

    /// The path at `at` leaves a run of `n`, the last takes its place; answers where the run lies now.
    pub(crate) fn remove(&mut self, run: u32, n: u16, at: usize) -> u32 {
        let paths = self.get_mut(run, n);
        let last = paths.len() - 1;
        paths.swap(at, last);
        match n - 1 {
            0 => {
                self.release(run, class_of(n));
                0
            }
            left if class_of(left) == class_of(n) => run,
            left => self.moved(run, left, class_of(left)),
        }
    }

    fn moved(&mut self, run: u32, n: u16, class: usize) -> u32 {
        // `n` paths are to be kept; the run they lie in is one of the class next to `class`.
        let from = if class > class_of(n) { class_of(n) } else { class + 1 };
        let to = self.alloc(class);
        let (slab, at) = Class::place(from, run);
        let (to_slab, to_at) = Class::place(class, to);
        let Ok([low, high]) = self.classes.get_disjoint_mut([from, class]) else { return run };
        let source = low.slabs.get(slab).and_then(|s| s.get(at..at + usize::from(n)));
        let target = high.slabs.get_mut(to_slab).and_then(|s| s.get_mut(to_at..to_at + usize::from(n)));
        if let (Some(source), Some(target)) = (source, target) {
            target.copy_from_slice(source);
        }
        self.release(run, from);
        to
    }

    fn alloc(&mut self, class: usize) -> u32 {
        self.classes.get_mut(class).map_or(0, |c| c.alloc(class))
    }

    fn release(&mut self, run: u32, class: usize) {
        if let Some(c) = self.classes.get_mut(class) {
            c.free.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_sixteen_bytes() {
        assert_eq!(size_of::<Path>(), 16);
    }

    #[test]
    fn runs_grow_and_shrink_through_the_classes_and_keep_their_paths() {
        let mut runs = Runs::default();
        let path = |peer| Path { peer, ..Path::default() };
        let (mut run, mut n) = (0, 0);
        for peer in 0..600 {
            run = runs.push(run, n, path(peer));
            n += 1;
            // A neighbour of every class, so that a wrong place would be noticed.
            runs.push(0, 0, path(9999));
        }
        let peers: Vec<u16> = runs.get(run, n).iter().map(|p| p.peer).collect();
        assert_eq!(peers, (0..600).collect::<Vec<_>>());
        for left in (0..600).rev() {
            let at = runs.get(run, n).iter().position(|p| p.peer == left).unwrap();
            run = runs.remove(run, n, at);
            n -= 1;
            assert!(runs.get(run, n).iter().all(|p| p.peer < left));
            assert_eq!(runs.get(run, n).len(), usize::from(left));
        }
    }

    #[test]
    fn a_freed_run_is_used_again() {
        let mut runs = Runs::default();
        let a = runs.push(0, 0, Path::default());
        runs.remove(a, 1, 0);
        assert_eq!(runs.push(0, 0, Path::default()), a);
    }
}
