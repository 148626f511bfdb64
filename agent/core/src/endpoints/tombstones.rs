//! DELs that came before their ADD.
//!
//! A runtime that gives up on an ADD sends a DEL, and the two plugins race. When the DEL wins, the ADD that
//! follows would wire a container that nobody will ever unwire. So each DEL leaves the time at which its
//! process began; an ADD whose process began before that was overtaken. One that began later is a new
//! attachment under the same name, and welcome.

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::LinkName;

/// How long an overtaken ADD may be late.
const KEEP: Duration = Duration::from_secs(300);
/// The most tombstones kept; past that the oldest goes.
const MOST: usize = 4096;

/// The tombstones, by host interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Tombstones {
    stones: BTreeMap<LinkName, Stone>,
}

#[derive(Clone, Copy, Debug)]
struct Stone {
    /// When the latest DEL began, on the plugins' clock.
    began: u64,
    /// When it was served, on ours.
    at: Time,
}

impl Tombstones {
    /// A DEL that began then was served.
    pub(super) fn put(&mut self, link: LinkName, began: u64, now: Time) {
        self.stones.retain(|_, stone| now.since(stone.at) < KEEP);
        if self.stones.len() >= MOST
            && let Some(oldest) = self.stones.iter().min_by_key(|(_, stone)| stone.at).map(|(link, _)| *link)
        {
            self.stones.remove(&oldest);
        }
        let began = self.stones.get(&link).map_or(began, |stone| stone.began.max(began));
        self.stones.insert(link, Stone { began, at: now });
    }

    /// Was an ADD that began then overtaken by a DEL?
    pub(super) fn overtook(&self, link: LinkName, began: u64) -> bool {
        self.stones.get(&link).is_some_and(|stone| began < stone.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_add_that_began_before_the_del_was_overtaken() {
        let mut stones = Tombstones::default();
        stones.put(LinkName::pod(1), 100, Time(0));
        stones.put(LinkName::pod(1), 50, Time(0));
        assert!(stones.overtook(LinkName::pod(1), 99));
        assert!(!stones.overtook(LinkName::pod(1), 101));
        assert!(!stones.overtook(LinkName::pod(2), 99));
    }

    #[test]
    fn tombstones_do_not_pile_up() {
        let mut stones = Tombstones::default();
        for n in 0..2 * MOST as u64 {
            stones.put(LinkName::pod(n), n, Time(n));
        }
        assert_eq!(stones.stones.len(), MOST);
        assert!(stones.overtook(LinkName::pod(2 * MOST as u64 - 1), 0));
        stones.put(LinkName::pod(1), 1, Time(0) + KEEP * 2);
        assert_eq!(stones.stones.len(), 1);
    }
}
