//! What may not happen, at any time: the checkers that need no state at rest.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_bgp::Time;
use corduroy_bgp::io::Change;

use super::node::{Node, pfx};
use super::oracle::{Path, may_pass, usable};
use super::plan::{Pfx, Plan};
use super::tap::Said;
use super::wire::Wire;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Record {
    /// What may not be, in words. The run ends at the first.
    pub wrong: Vec<String>,
    /// Routers that ever originated a prefix.
    owners: BTreeMap<Pfx, BTreeSet<usize>>,
    /// Links over which a router ever heard a prefix, by router and prefix.
    sources: BTreeMap<(usize, Pfx), BTreeSet<usize>>,
    /// Links whose sessions something in the script may end.
    may_end: BTreeSet<usize>,
    /// Prefixes that nobody may lose, and the router whose restart is under way: that one may.
    vigil: Option<(usize, BTreeSet<Pfx>)>,
    /// Announcements heard, for a run's summary.
    pub announcements: u64,
    /// Sessions that ended.
    pub sessions_ended: u64,
}

impl Record {
    /// A router originates a prefix.
    pub fn originated(&mut self, router: usize, pfx: Pfx) {
        self.owners.entry(pfx).or_default().insert(router);
    }

    /// The script changes who originates a prefix, or how: from now on it may be lost (a community may forbid it to
    /// be passed on).
    pub fn released(&mut self, pfx: Pfx) {
        if let Some((_, watched)) = &mut self.vigil {
            watched.remove(&pfx);
        }
    }

    /// The script may end this link's sessions.
    pub fn may_end(&mut self, link: usize) {
        self.may_end.insert(link);
    }

    /// `router` restarts gracefully: until the vigil ends nobody else loses any of `watched`.
    pub fn begin_vigil(&mut self, router: usize, watched: BTreeSet<Pfx>) {
        self.vigil = Some((router, watched));
    }

    /// Routes may be lost again.
    pub fn end_vigil(&mut self) {
        self.vigil = None;
    }

    /// A connection ended.
    pub fn ended(&mut self, link: usize, established: bool) {
        if established {
            self.sessions_ended += 1;
            if !self.may_end.contains(&link) {
                self.wrong.push(format!("the session of link {link} ended, and nothing ended it"));
            }
        }
    }

    /// A router is about to take a change into its Loc-RIB.
    pub fn changed(&mut self, nodes: &[Node], router: usize, change: &Change, now: Time) {
        let pfx = pfx(change.net);
        let Some((restarting, watched)) = &self.vigil else { return };
        let had = nodes[router].loc_rib.contains_key(&pfx);
        if router != *restarting && had && change.paths.is_empty() && watched.contains(&pfx) {
            let at = now.0 / 1_000_000;
            self.wrong.push(format!("at {at} ms router {router} lost {pfx} while r{restarting} restarted"));
        }
    }

    /// A router says that the table of the peer behind `link` is complete: then what that peer had announced by its
    /// End-of-RIB is in the Loc-RIB.
    pub fn table_complete(
        &mut self,
        plan: &Plan,
        nodes: &[Node],
        wires: &BTreeMap<usize, Wire>,
        (router, link): (usize, usize),
    ) {
        let Some(wire) = wires.values().rfind(|w| w.link == link && w.established()) else { return };
        let sender = usize::from(wire.ends[0].router == router);
        let tap = &wire.pipes[sender].tap;
        let missing: Vec<Pfx> = tap
            .initial
            .iter()
            .filter(|p| tap.table.get(p).is_some_and(|path| usable(plan, router, link, path)))
            .filter(|p| !nodes[router].loc_rib.contains_key(p))
            .copied()
            .collect();
        if !missing.is_empty() {
            self.wrong.push(format!(
                "router {router} reported the table over link {link} complete, but its Loc-RIB lacks {missing:?}"
            ));
        }
    }

    /// Something was read off a session.
    pub fn heard(&mut self, plan: &Plan, (from, link): (usize, usize), said: &Said) {
        let Said::Announce(pfx, path) = said else { return };
        self.announcements += 1;
        if let Err(why) = self.judge(plan, (from, link), *pfx, path) {
            self.wrong.push(format!("link {link}: r{from} announced {pfx} {path:?}: {why}"));
        }
        let to = plan.other(link, from);
        self.sources.entry((to, *pfx)).or_default().insert(link);
    }

    /// May this be on this session at all, whatever happened before?
    fn judge(&self, plan: &Plan, (from, link): (usize, usize), pfx: Pfx, path: &Path) -> Result<(), &str> {
        let owned = |router| self.owners.get(&pfx).is_some_and(|o| o.contains(&router));
        if !self.owners.contains_key(&pfx) {
            return Err("nobody ever originated it");
        }
        // What it has from elsewhere than over this session, and may pass on.
        let learned = self.sources.get(&(from, pfx)).is_some_and(|links| {
            links.iter().any(|source| *source != link && may_pass(plan, from, *source, link))
        });
        if !owned(from) && !learned {
            return Err("it has that from nobody whose routes it may pass on here");
        }
        if plan.internal(link) {
            if path.local_pref.is_none() {
                return Err("no LOCAL_PREF inside an AS");
            }
        } else {
            if path.local_pref.is_some() || path.originator.is_some() || !path.clusters.is_empty() {
                return Err("an attribute that does not leave its AS");
            }
            if path.as_path.first() != Some(&plan.routers[from].asn) {
                return Err("its own AS is not the first");
            }
        }
        let to = plan.other(link, from);
        if path.next_hop == Some(plan.routers[to].addr(pfx.v6())) && !plan.internal(link) {
            return Err("the next hop is the receiver");
        }
        let mut ases = path.as_path.clone();
        ases.dedup();
        let loops = ases.iter().enumerate().any(|(i, asn)| ases[i + 1..].contains(asn));
        if loops { Err("AS_PATH goes in a circle") } else { Ok(()) }
    }
}
