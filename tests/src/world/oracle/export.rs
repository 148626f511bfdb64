//! What a router says to a neighbour about its best path.

use super::Path;
use crate::world::plan::{Own, Pfx, Plan};

/// NO_EXPORT (RFC 1997).
const NO_EXPORT: u32 = 0xffff_ff01;
/// NO_ADVERTISE (RFC 1997).
const NO_ADVERTISE: u32 = 0xffff_ff02;
/// NO_EXPORT_SUBCONFED (RFC 1997); without confederations the same as NO_EXPORT.
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// What is on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// Just this.
    This(Path),
    /// This, or nothing: the neighbour would refuse it, and a sender may know that and save the message.
    Perhaps(Path),
}

/// The path of a router's own origination, as it has it itself.
pub(super) fn own_path(own: &Own) -> Path {
    Path {
        as_path: Vec::new(),
        origin: 0,
        next_hop: None,
        local_pref: Some(own.local_pref.unwrap_or(100)),
        med: own.med,
        communities: own.communities.clone(),
        originator: None,
        clusters: Vec::new(),
    }
}

/// RFC 4271 §9.2 and RFC 4456 §6: may `router` pass on over `to` what it learned over `from`?
///
/// Between ASes, always. Inside the AS what came from inside goes on only when a reflector hands it on: from a client
/// to everybody, from a non-client to clients.
#[must_use]
pub fn may_pass(plan: &Plan, router: usize, from: usize, to: usize) -> bool {
    if !plan.internal(from) || !plan.internal(to) {
        return true;
    }
    let reflects = plan.routers[router].cluster.is_some();
    let from_client = plan.ends(from, router).0.client;
    let to_client = plan.ends(to, router).0.client;
    reflects && (from_client || to_client)
}

/// What `router`, whose best path to `pfx` is `best`, learned over `from` (`None`: its own), says over `link`.
pub(super) fn said(
    plan: &Plan,
    (router, link): (usize, usize),
    pfx: Pfx,
    best: &Path,
    from: Option<usize>,
) -> Said {
    let session = &plan.links[link];
    let (here, there) = plan.ends(link, router);
    let internal = plan.internal(link);
    // A session carries one family in these plans.
    if session.v6 != pfx.v6() {
        return Said::Nothing;
    }
    // Split horizon: nothing goes back over the session it came from.
    if from == Some(link) || from.is_some_and(|from| !may_pass(plan, router, from, link)) {
        return Said::Nothing;
    }
    if best.communities.contains(&NO_ADVERTISE) {
        return Said::Nothing;
    }
    let stays = best.communities.iter().any(|c| [NO_EXPORT, NO_EXPORT_SUBCONFED].contains(c));
    if !internal && stays {
        return Said::Nothing;
    }
    if here.export_deny == Some(pfx) {
        return Said::Nothing;
    }
    let path = rewrite(plan, (router, link), best, from);
    let receiver = &plan.routers[there.router];
    let loops = path.as_path.contains(&receiver.asn) && !internal
        || path.originator == Some(receiver.id)
        || receiver.cluster.is_some_and(|c| path.clusters.contains(&c));
    if loops { Said::Perhaps(path) } else { Said::This(path) }
}

fn rewrite(plan: &Plan, (router, link): (usize, usize), best: &Path, from: Option<usize>) -> Path {
    let me = &plan.routers[router];
    let here = plan.ends(link, router).0;
    let session = &plan.links[link];
    let myself = Some(me.addr(session.v6));
    let mut path = best.clone();
    if !plan.internal(link) {
        path.as_path.insert(0, me.asn);
        path.next_hop = myself;
        path.local_pref = None;
        // §5.1.4: another AS's MED goes no further; ours does.
        if !best.as_path.is_empty() {
            path.med = None;
        }
        // RFC 4456 §8: both are for inside the AS.
        path.originator = None;
        path.clusters = Vec::new();
        return path;
    }
    if here.next_hop_self || path.next_hop.is_none() {
        path.next_hop = myself;
    }
    if let Some(from) = from.filter(|f| plan.internal(*f)) {
        // Reflected: who brought it into the AS, and through which clusters it came.
        let sender = &plan.routers[plan.other(from, router)];
        path.originator = path.originator.or(Some(sender.id));
        if let Some(cluster) = me.cluster {
            path.clusters.insert(0, cluster);
        }
    }
    path
}
