//! The decision process: which path to a prefix is the best, and which step said so.
//!
//! RFC 4271 §9.1.2.2 with RFC 4456 §9 and RFC 5004, as numbered steps. Documentation, tests and `explain` use the
//! same numbers:
//!
//! | Step | A path stays if |
//! |---|---|
//! | 1 | it is usable: import policy took it, it does not loop (RFC 4271 §9.1.2, RFC 4456 §8), its next hop is not us |
//! | 2 | its LOCAL_PREF is the highest (RFC 4271 §9.1.1) |
//! | 3 | it is our own origination, if one is left |
//! | 4 | its AS_PATH is the shortest; an AS_SET counts 1 (§9.1.2.2 a) |
//! | 5 | its ORIGIN is the lowest (b) |
//! | 6 | its MULTI_EXIT_DISC is the lowest among those from the same neighbour AS; a missing one is 0 (c) |
//! | 7 | it came over eBGP, if one of those is left (d) |
//! | 8 | it is the best so far and external: no change for a tie-break's sake (RFC 5004) |
//! | 9 | its ORIGINATOR_ID, else its peer's BGP identifier, is the lowest (f; RFC 4456 §9) |
//! | 10 | its CLUSTER_LIST is the shortest (RFC 4456 §9) |
//! | 11 | its peer's address is the lowest (g) |
//!
//! §9.1.2.2 e (the interior cost of the next hop) has no step: every next hop of this fabric is one hop away, and
//! what becomes unreachable is withdrawn.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use crate::config::PeerKey;
use crate::rib::DecisionKey;

/// A step of the decision process; [`Step::number`] is its number in the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// 1: usable at all.
    Usable = 1,
    /// 2: highest LOCAL_PREF.
    LocalPref,
    /// 3: our own origination.
    Local,
    /// 4: shortest AS_PATH.
    AsPathLength,
    /// 5: lowest ORIGIN.
    Origin,
    /// 6: lowest MED within a neighbour AS.
    Med,
    /// 7: eBGP before iBGP.
    External,
    /// 8: the best so far stays.
    Existing,
    /// 9: lowest ORIGINATOR_ID or BGP identifier.
    RouterId,
    /// 10: shortest CLUSTER_LIST.
    ClusterList,
    /// 11: lowest peer address.
    PeerAddress,
}

impl Step {
    /// Its number, 1 to 11.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Usable => "usable",
            Self::LocalPref => "highest LOCAL_PREF",
            Self::Local => "own origination",
            Self::AsPathLength => "shortest AS_PATH",
            Self::Origin => "lowest ORIGIN",
            Self::Med => "lowest MED of its neighbour AS",
            Self::External => "eBGP before iBGP",
            Self::Existing => "the best so far stays",
            Self::RouterId => "lowest BGP identifier",
            Self::ClusterList => "shortest CLUSTER_LIST",
            Self::PeerAddress => "lowest peer address",
        };
        write!(f, "step {}: {text}", self.number())
    }
}

/// What one path brings to the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Of its attributes after import policy.
    pub(crate) key: DecisionKey,
    /// Whose it is; `None` for our own origination.
    pub(crate) peer: Option<Rank>,
    /// It was the best until now.
    pub(crate) existing: bool,
}

/// What the decision asks of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Another AS.
    pub(crate) external: bool,
    /// Its BGP identifier.
    pub(crate) router_id: u32,
    /// Who it is.
    pub(crate) address: PeerKey,
}

/// Who won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Which candidate.
    pub(crate) best: usize,
    /// The step that put the last other candidate out; `None` when there was no other.
    pub(crate) by: Option<Step>,
}

/// Runs the steps over `candidates` (`None` is an unusable path) and says of each at which step it lost. The equals of
/// the best are those that lost at [`Step::Existing`] or later: nothing but a tie-break told them apart.
pub(crate) fn decide(candidates: &[Option<Candidate>], lost: &mut Vec<Option<Step>>) -> Option<Decision> {
    lost.clear();
    lost.extend(candidates.iter().map(|c| c.is_none().then_some(Step::Usable)));
    let mut round = Round { candidates, lost, by: None };
    round.keep_least(Step::LocalPref, |c| Reverse(c.key.local_pref));
    round.keep_least(Step::Local, |c| c.peer.is_some());
    round.keep_least(Step::AsPathLength, |c| c.key.as_path_len);
    round.keep_least(Step::Origin, |c| c.key.origin);
    round.keep_least_med();
    round.keep_least(Step::External, |c| !c.external());
    round.keep_least(Step::Existing, |c| !(c.existing && c.external()));
    round.keep_least(Step::RouterId, Candidate::router_id);
    round.keep_least(Step::ClusterList, |c| c.key.cluster_len);
    round.keep_least(Step::PeerAddress, |c| c.peer.map(|p| p.address));
    let by = round.by;
    lost.iter().position(Option::is_none).map(|best| Decision { best, by })
}

impl Candidate {
    fn external(&self) -> bool {
        self.peer.is_some_and(|p| p.external)
    }

    /// What step 9 compares (RFC 4456 §9: ORIGINATOR_ID stands in for the BGP identifier).
    pub(crate) fn router_id(&self) -> u32 {
        match self.key.originator {
            0 => self.peer.map_or(0, |p| p.router_id),
            id => id,
        }
    }
}

struct Round<'a> {
    candidates: &'a [Option<Candidate>],
    lost: &'a mut [Option<Step>],
    by: Option<Step>,
}

impl<'a> Round<'a> {
    fn alive(&self) -> impl Iterator<Item = (usize, &'a Candidate)> {
        let left = self.candidates.iter().zip(&*self.lost).enumerate();
        left.filter_map(|(i, (c, lost))| c.as_ref().filter(|_| lost.is_none()).map(|c| (i, c)))
    }

    /// Puts out every candidate whose `key` is not the least.
    fn keep_least<K: Ord>(&mut self, step: Step, key: impl Fn(&Candidate) -> K) {
        let Some(least) = self.alive().map(|(_, c)| key(c)).min() else { return };
        self.put_out(step, |c| key(c) > least);
    }

    /// Only paths through the same neighbour AS are compared by MED.
    fn keep_least_med(&mut self) {
        let first = self.alive().next().map(|(_, c)| c.key.med);
        if self.alive().all(|(_, c)| Some(c.key.med) == first) {
            return;
        }
        let mut least = BTreeMap::new();
        for (_, c) in self.alive() {
            let med = least.entry(c.key.neighbour_as).or_insert(c.key.med);
            *med = c.key.med.min(*med);
        }
        self.put_out(Step::Med, |c| least.get(&c.key.neighbour_as).is_some_and(|m| c.key.med > *m));
    }

    fn put_out(&mut self, step: Step, worse: impl Fn(&Candidate) -> bool) {
        for (c, lost) in self.candidates.iter().zip(self.lost.iter_mut()) {
            if lost.is_none() && c.as_ref().is_some_and(&worse) {
                *lost = Some(step);
                self.by = Some(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::net::{IpAddr, Ipv4Addr};

    fn candidate() -> Candidate {
        let key = DecisionKey {
            local_pref: 100,
            as_path_len: 2,
            neighbour_as: 65001,
            med: 10,
            ..DecisionKey::default()
        };
        let address = PeerKey::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)));
        Candidate { key, peer: Some(Rank { external: true, router_id: 9, address }), existing: false }
    }

    fn with(change: impl Fn(&mut Candidate)) -> Candidate {
        let mut c = candidate();
        change(&mut c);
        c
    }

    fn rank(c: &mut Candidate) -> &mut Rank {
        c.peer.as_mut().unwrap()
    }

    #[test]
    fn each_step_decides_when_all_before_it_are_equal() {
        // The winner is better at its step and worse at the one after, so that the order of the steps shows.
        let rows: Vec<(Step, Candidate, Candidate)> = vec![
            (Step::LocalPref, with(|c| c.key.local_pref = 101), with(|c| c.peer = None)),
            (Step::Local, with(|c| (c.peer, c.key.as_path_len) = (None, 9)), candidate()),
            (Step::AsPathLength, with(|c| (c.key.as_path_len, c.key.origin) = (1, 2)), candidate()),
            (Step::Origin, with(|c| c.key.med = 99), with(|c| c.key.origin = 1)),
            (Step::Med, with(|c| (c.key.med, rank(c).external) = (9, false)), candidate()),
            (Step::External, candidate(), with(|c| (rank(c).external, c.existing) = (false, true))),
            (Step::Existing, with(|c| (c.existing, rank(c).router_id) = (true, 10)), candidate()),
            (Step::RouterId, with(|c| (rank(c).router_id, c.key.cluster_len) = (8, 3)), candidate()),
            (
                Step::ClusterList,
                with(|c| rank(c).address = PeerKey::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)))),
                with(|c| c.key.cluster_len = 1),
            ),
            (
                Step::PeerAddress,
                candidate(),
                with(|c| rank(c).address = PeerKey::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)))),
            ),
        ];
        for (step, winner, loser) in rows {
            let mut lost = Vec::new();
            let decision = decide(&[Some(loser), Some(winner)], &mut lost);
            assert_eq!(decision, Some(Decision { best: 1, by: Some(step) }), "{step}");
            assert_eq!(lost, [Some(step), None]);
        }
    }

    #[test]
    fn unusable_paths_lose_at_step_one_and_one_path_needs_no_step() {
        let mut lost = Vec::new();
        let decision = decide(&[None, Some(candidate())], &mut lost);
        assert_eq!(decision, Some(Decision { best: 1, by: None }));
        assert_eq!(lost, [Some(Step::Usable), None]);
        assert_eq!(decide(&[None], &mut lost), None);
    }

    #[test]
    fn med_is_not_compared_across_neighbour_ases() {
        let one = with(|c| (c.key.med, rank(c).router_id) = (50, 1));
        let other = with(|c| (c.key.neighbour_as, c.key.med, rank(c).router_id) = (65002, 1, 2));
        let same = with(|c| (c.key.med, rank(c).router_id) = (60, 0));
        let mut lost = Vec::new();
        let decision = decide(&[Some(other), Some(same), Some(one)], &mut lost);
        assert_eq!(decision, Some(Decision { best: 2, by: Some(Step::RouterId) }));
        assert_eq!(lost, [Some(Step::RouterId), Some(Step::Med), None]);
    }

    #[test]
    fn an_internal_best_path_does_not_stay_for_a_tie_break() {
        let internal = |c: &mut Candidate, id| (rank(c).external, rank(c).router_id) = (false, id);
        let old = with(|c| {
            internal(c, 9);
            c.existing = true;
        });
        let new = with(|c| internal(c, 8));
        let mut lost = Vec::new();
        assert_eq!(decide(&[Some(old), Some(new)], &mut lost).unwrap().by, Some(Step::RouterId));
    }

    #[test]
    fn originator_id_stands_in_for_the_peers_identifier() {
        let reflected = with(|c| c.key.originator = 3);
        let mut lost = Vec::new();
        assert_eq!(decide(&[Some(candidate()), Some(reflected)], &mut lost).unwrap().best, 1);
    }

    #[test]
    fn the_numbers_are_those_of_the_table() {
        assert_eq!(Step::Usable.number(), 1);
        assert_eq!(Step::PeerAddress.number(), 11);
        assert_eq!(alloc::format!("{}", Step::Med), "step 6: lowest MED of its neighbour AS");
    }
}
