//! Which notices of interfaces are news.
//!
//! A pod's interface causes some six notices on its way in (made, set, up, carrier) and three on its way out. To read
//! an interface again walks the tables of routes and neighbours, and a pod that starts would wait for the reading of
//! those that started before it. So a notice of a pod's interface is news when something was made, taken away or
//! changed that we did not ask for. That it came up or got its carrier takes nothing away: the loss of routes, the
//! reason to read an interface again, begins with a notice that says "down".

use std::collections::{BTreeMap, BTreeSet};

use corduroy_kernel::{AddrGen, Changed, Link, LinkName, SeenLink};

use crate::doings::Doings;
use crate::index::Index;

/// The interfaces as the notices so far say.
pub(super) struct Links {
    index: Index,
    pods: BTreeMap<u32, SeenLink>,
    doings: Doings,
}

impl Links {
    pub(super) fn new(doings: Doings) -> Self {
        Self { index: Index::default(), pods: BTreeMap::new(), doings }
    }
    /// Begin anew with all there are.
    pub(super) fn learn(&mut self, all: Vec<SeenLink>) {
        let there: BTreeSet<u32> = all.iter().map(|seen| seen.index).collect();
        self.doings.only(&there);
        self.index = Index::default();
        self.pods.clear();
        for seen in all {
            self.index.insert(seen.link.name, seen.index);
            if seen.link.name.is_pod() {
                self.pods.insert(seen.index, seen);
            }
        }
    }
    /// Events name interfaces by number.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }
    /// The interface of this number has this name.
    pub(super) fn name(&self, number: u32) -> Option<LinkName> {
        self.index.name(number)
    }
    /// RTM_NEWLINK: an interface is like this now.
    pub(super) fn here(&mut self, seen: &SeenLink, changed: &mut BTreeSet<Changed>) {
        let (name, number) = (seen.link.name, seen.index);
        let before = self.name(number);
        self.forget(number);
        self.index.insert(name, number);
        // An interface renamed is two: the one that was and the one that is.
        if self.is_news(seen) || before.is_some_and(|before| before != name) {
            changed.extend(before.into_iter().chain([name]).map(Changed::Link));
        }
    }
    /// RTM_DELLINK: an interface is gone.
    pub(super) fn gone(&mut self, seen: &SeenLink, changed: &mut BTreeSet<Changed>) {
        self.forget(seen.index);
        self.pods.remove(&seen.index);
        if self.doings.is_leaving(seen.index) {
            self.doings.stays(seen.index);
        } else {
            changed.insert(Changed::Link(seen.link.name));
        }
    }

    fn forget(&mut self, number: u32) {
        if let Some(name) = self.index.name(number) {
            self.index.forget(name);
        }
    }

    fn is_news(&mut self, seen: &SeenLink) -> bool {
        let (name, number) = (seen.link.name, seen.index);
        if !name.is_pod() {
            self.pods.remove(&number);
            return true;
        }
        if self.doings.is_leaving(number) {
            return false;
        }
        match self.pods.insert(number, seen.clone()) {
            None => !self.doings.is_made(name),
            Some(before) => !is_only_more(&before, seen),
        }
    }
}

/// Did an interface change in nothing but that it came up, got its carrier or stopped making addresses?
fn is_only_more(before: &SeenLink, now: &SeenLink) -> bool {
    let addr_gen = if now.link.addr_gen == AddrGen::None { AddrGen::None } else { before.link.addr_gen };
    let expected = Link { up: before.link.up || now.link.up, addr_gen, ..before.link.clone() };
    now.link == expected && (now.running || !before.running)
}

#[cfg(test)]
mod tests {
    use corduroy_kernel::{LinkKind, Mac};

    use super::*;

    fn pod(number: u32, up: bool, running: bool) -> SeenLink {
        let link = Link {
            name: LinkName::new("cord00000000007").unwrap(),
            kind: LinkKind::Veth,
            mac: Some(Mac([2, 0, 0, 0, 0, 7])),
            mtu: 1500,
            up,
            addr_gen: AddrGen::None,
        };
        SeenLink { index: number, link, running }
    }

    fn here(links: &mut Links, seen: &SeenLink) -> usize {
        let mut changed = BTreeSet::new();
        links.here(seen, &mut changed);
        changed.len()
    }

    #[test]
    fn what_we_made_is_no_news_until_somebody_sets_it_down() {
        let doings = Doings::default();
        let mut links = Links::new(doings.clone());
        doings.making(pod(7, false, false).link.name);
        for (up, running) in [(false, false), (true, false), (true, true), (true, true)] {
            assert_eq!(here(&mut links, &pod(7, up, running)), 0, "{up} {running}");
        }
        assert_eq!(here(&mut links, &pod(7, false, true)), 1, "down");
        assert_eq!(here(&mut links, &pod(7, true, true)), 0, "the routes went with the notice before");
        let other = |change: fn(&mut Link)| {
            let mut seen = pod(7, true, true);
            change(&mut seen.link);
            seen
        };
        assert_eq!(here(&mut links, &other(|link| link.mtu = 1400)), 1);
        assert_eq!(here(&mut links, &other(|link| link.mac = Some(Mac([2, 0, 0, 0, 0, 8])))), 1);
        assert_eq!(here(&mut links, &other(|link| link.addr_gen = AddrGen::Other)), 1);
        assert_eq!(here(&mut links, &other(|link| link.name = LinkName::new("tap0").unwrap())), 2, "renamed");
    }

    #[test]
    fn what_others_make_under_a_name_of_ours_is_news() {
        let doings = Doings::default();
        let mut links = Links::new(doings.clone());
        assert_eq!(here(&mut links, &pod(7, true, true)), 1);
        doings.making(pod(7, false, false).link.name);
        doings.not_made(pod(7, false, false).link.name);
        assert_eq!(here(&mut links, &pod(8, true, true)), 1);
    }

    #[test]
    fn an_interface_that_goes_because_we_want_it_is_no_news() {
        let doings = Doings::default();
        let mut links = Links::new(doings.clone());
        links.learn(vec![pod(7, true, true), pod(8, true, true)]);
        doings.leaving(7);
        assert_eq!(here(&mut links, &pod(7, false, true)), 0);
        let mut changed = BTreeSet::new();
        links.gone(&pod(7, false, false), &mut changed);
        assert!(changed.is_empty() && !doings.is_leaving(7));
        links.gone(&pod(8, false, false), &mut changed);
        assert_eq!(changed.len(), 1);
    }
}
