//! Which of a router's paths may be its best, and which it uses beside it.

use super::Path;
use crate::world::plan::Plan;

/// A path a router may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usable {
    /// Over which link; `None`: its own.
    pub(super) link: Option<usize>,
    /// As import policy leaves it.
    pub(super) path: Path,
}

/// What import makes of a path that came over `link`: `None` when it loops.
pub(super) fn import(plan: &Plan, router: usize, link: usize, said: &Path) -> Option<Usable> {
    let me = &plan.routers[router];
    let here = plan.ends(link, router).0;
    let mut path = said.clone();
    let own_as = said.as_path.contains(&me.asn);
    let own_id = said.originator == Some(me.id);
    let own_cluster = me.cluster.is_some_and(|c| said.clusters.contains(&c));
    let own_hop = [Some(me.addr(false)), Some(me.addr(true))].contains(&said.next_hop);
    if own_as || own_id || own_cluster || own_hop {
        return None;
    }
    path.local_pref = here.import_pref.or(said.local_pref).or(Some(100));
    Some(Usable { link: Some(link), path })
}

/// Would import let `router` use this path, heard over `link`?
#[must_use]
pub fn usable(plan: &Plan, router: usize, link: usize, said: &Path) -> bool {
    import(plan, router, link, said).is_some()
}

/// The paths any of which may be the best, and those that are as good as it.
pub(super) fn decide(plan: &Plan, router: usize, usable: &[Usable]) -> (Vec<Usable>, Vec<Usable>) {
    let internal = |u: &Usable| u.link.is_some_and(|l| plan.internal(l));
    let mut left = usable.to_vec();
    keep_least(&mut left, |u| u32::MAX - u.path.local_pref.unwrap_or(100));
    keep_least(&mut left, |u| u32::from(u.link.is_some()));
    keep_least(&mut left, |u| u.path.as_path.len());
    keep_least(&mut left, |u| u.path.origin);
    // MED: a path goes when another of the same neighbouring AS has a lower one.
    let med = |u: &Usable| u.path.med.unwrap_or(0);
    let neighbour = |u: &Usable| u.path.as_path.first().copied();
    let all = left.clone();
    left.retain(|u| !all.iter().any(|o| neighbour(o) == neighbour(u) && med(o) < med(u)));
    keep_least(&mut left, |u| u32::from(internal(u)));
    let equal = left.clone();
    // RFC 5004: the external path that came first may stay, whichever that was.
    if left.first().is_some_and(|u| u.link.is_some() && !internal(u)) {
        return (left, equal);
    }
    let peer = |u: &Usable| u.link.map(|l| &plan.routers[plan.other(l, router)]);
    keep_least(&mut left, |u| u.path.originator.or(peer(u).map(|p| p.id)));
    keep_least(&mut left, |u| u.path.clusters.len());
    keep_least(&mut left, |u| peer(u).map(|p| u.link.map(|l| p.addr(plan.links[l].v6))));
    (left, equal)
}

fn keep_least<K: Ord>(left: &mut Vec<Usable>, key: impl Fn(&Usable) -> K) {
    if let Some(least) = left.iter().map(&key).min() {
        left.retain(|u| key(u) == least);
    }
}
