//! Is what the routers have a state that BGP may come to rest in?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Path;
use super::decide::{Usable, decide, import};
use super::export::{Said, own_path, said};
use crate::world::plan::{Pfx, Plan};

/// A path in a Loc-RIB: its link (`None`: the router's own) and its next hop.
pub type Way = (Option<usize>, IpAddr);

/// What the routers say they have.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// By router: the Loc-RIB, best path first.
    pub loc_rib: Vec<BTreeMap<Pfx, Vec<Way>>>,
    /// By (sender, link): what stands announced on the session, read off the wire.
    pub wire: BTreeMap<(usize, usize), BTreeMap<Pfx, Path>>,
}

/// Judges claims by a plan.
#[derive(Debug)]
pub struct Oracle<'a> {
    plan: &'a Plan,
    claims: &'a Claims,
    /// Best paths rebuilt so far, by router and prefix.
    best: BTreeMap<(usize, Pfx), Path>,
    wrong: Vec<String>,
}

impl<'a> Oracle<'a> {
    /// Everything that is wrong, in words; nothing when the state is stable and exact.
    #[must_use]
    pub fn judge(plan: &'a Plan, claims: &'a Claims) -> Vec<String> {
        let mut oracle = Self { plan, claims, best: BTreeMap::new(), wrong: Vec::new() };
        let all: BTreeSet<Pfx> = plan
            .owns
            .iter()
            .flat_map(BTreeMap::keys)
            .chain(claims.loc_rib.iter().flat_map(BTreeMap::keys))
            .chain(claims.wire.values().flat_map(BTreeMap::keys))
            .copied()
            .collect();
        for pfx in all {
            for router in 0..plan.routers.len() {
                oracle.rebuild(router, pfx, &mut Vec::new());
            }
            for router in 0..plan.routers.len() {
                oracle.judge_choice(router, pfx);
                oracle.judge_sessions(router, pfx);
            }
        }
        oracle.wrong
    }

    fn claimed(&self, router: usize, pfx: Pfx) -> &'a [Way] {
        self.claims.loc_rib.get(router).and_then(|t| t.get(&pfx)).map_or(&[], Vec::as_slice)
    }

    /// The path that `router` says is its best, with all its attributes, from where it comes from.
    fn rebuild(&mut self, router: usize, pfx: Pfx, way: &mut Vec<usize>) -> Option<Path> {
        if let Some(path) = self.best.get(&(router, pfx)) {
            return Some(path.clone());
        }
        let (link, _) = *self.claimed(router, pfx).first()?;
        if way.contains(&router) {
            self.wrong
                .push(format!("{pfx}: routers {way:?} have it from each other and nobody originates it"));
            return None;
        }
        let path = match link {
            None => self.plan.owns[router].get(&pfx).map(own_path),
            Some(link) => {
                way.push(router);
                let neighbour = self.plan.other(link, router);
                let theirs = self.rebuild(neighbour, pfx, way);
                way.pop();
                let from = self.claimed(neighbour, pfx).first().and_then(|(link, _)| *link);
                match theirs.map(|best| said(self.plan, (neighbour, link), pfx, &best, from)) {
                    Some(Said::This(path) | Said::Perhaps(path)) => {
                        import(self.plan, router, link, &path).map(|u| u.path)
                    }
                    Some(Said::Nothing) | None => None,
                }
            }
        };
        match path {
            Some(path) => {
                self.best.insert((router, pfx), path.clone());
                Some(path)
            }
            None => {
                let what = link.map_or("originates it".to_owned(), |l| {
                    format!("has it from router {} (link {l})", self.plan.other(l, router))
                });
                self.wrong.push(format!("{pfx}: router {router} says it {what}, which cannot be"));
                None
            }
        }
    }

    /// What the neighbour at the other end of `link` must be saying to `router`.
    fn heard(&self, router: usize, link: usize, pfx: Pfx) -> Said {
        let neighbour = self.plan.other(link, router);
        if !self.plan.links[link].may_be_up() {
            return Said::Nothing;
        }
        let Some(best) = self.best.get(&(neighbour, pfx)) else { return Said::Nothing };
        let from = self.claimed(neighbour, pfx).first().and_then(|(link, _)| *link);
        said(self.plan, (neighbour, link), pfx, best, from)
    }

    fn usable(&self, router: usize, pfx: Pfx) -> Vec<Usable> {
        let own = self.plan.owns[router].get(&pfx).map(|o| Usable { link: None, path: own_path(o) });
        let heard = self.plan.links_of(router).filter_map(|link| match self.heard(router, link, pfx) {
            Said::This(path) | Said::Perhaps(path) => import(self.plan, router, link, &path),
            Said::Nothing => None,
        });
        own.into_iter().chain(heard).collect()
    }

    fn judge_choice(&mut self, router: usize, pfx: Pfx) {
        let usable = self.usable(router, pfx);
        let claimed = self.claimed(router, pfx);
        let (best, equal) = decide(self.plan, router, &usable);
        let links = |all: &[Usable]| all.iter().map(|u| u.link).collect::<Vec<_>>();
        let says = claimed.first().map(|(link, _)| *link);
        let Some(chosen) = best.iter().find(|u| Some(u.link) == says) else {
            if says.is_some() || !best.is_empty() {
                self.wrong.push(format!(
                    "{pfx}: router {router}'s best path is {says:?}, allowed are {:?} of {:?}",
                    links(&best),
                    links(&usable)
                ));
            }
            return;
        };
        self.judge_equals(router, pfx, chosen, &equal);
    }

    fn judge_equals(&mut self, router: usize, pfx: Pfx, chosen: &Usable, equal: &[Usable]) {
        let me = &self.plan.routers[router];
        let claimed = self.claimed(router, pfx);
        let hop = |u: &Usable| u.path.next_hop;
        // Two paths with one next hop are one way for packets.
        let hops: BTreeSet<IpAddr> = equal
            .iter()
            .filter(|u| u.link.is_some() == chosen.link.is_some())
            .filter(|u| me.relax || u.path.as_path == chosen.path.as_path)
            .filter_map(hop)
            .collect();
        let used: Vec<IpAddr> = claimed.iter().map(|(_, hop)| *hop).collect();
        let distinct: BTreeSet<IpAddr> = used.iter().copied().collect();
        let right = match chosen.link {
            None => used.len() == 1,
            Some(_) => {
                used.first().copied() == chosen.path.next_hop
                    && used.len() == distinct.len()
                    && used.len() == hops.len().min(me.multipath)
                    && distinct.is_subset(&hops)
            }
        };
        if !right {
            self.wrong.push(format!(
                "{pfx}: router {router} uses next hops {used:?}; equal are {hops:?}, the first must be {:?}, \
                 at most {} are wanted",
                chosen.path.next_hop, me.multipath
            ));
        }
    }

    fn judge_sessions(&mut self, router: usize, pfx: Pfx) {
        for link in self.plan.links_of(router) {
            let sender = self.plan.other(link, router);
            let on_wire = self.claims.wire.get(&(sender, link)).and_then(|t| t.get(&pfx));
            let wrong = match (self.heard(router, link, pfx), on_wire) {
                (Said::Nothing, None) | (Said::Perhaps(_), None) => None,
                (Said::This(must), Some(is)) | (Said::Perhaps(must), Some(is)) => {
                    (must != *is).then(|| format!("{is:?} instead of {must:?}"))
                }
                (Said::Nothing, Some(is)) => Some(format!("{is:?} instead of nothing")),
                (Said::This(must), None) => Some(format!("nothing instead of {must:?}")),
            };
            if let Some(wrong) = wrong {
                self.wrong
                    .push(format!("{pfx}: on link {link} router {sender} told router {router} {wrong}"));
            }
        }
    }
}
