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

use core::fmt;

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
