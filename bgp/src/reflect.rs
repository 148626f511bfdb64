//! Route reflection (RFC 4456).
//!
//! A speaker with a cluster id is a reflector. What it learns from an iBGP peer it may tell other iBGP peers, which
//! RFC 4271 §9.2 forbids everybody else:
//!
//! | from \ to | client | other iBGP peer | eBGP peer |
//! |---|---|---|---|
//! | client | yes | yes | yes |
//! | other iBGP peer | yes | no | yes |
//! | eBGP peer, ourselves | yes | yes | yes |
//!
//! Never back to the peer itself: that is the audience of a message, not a rule of its group. A reflected route gets
//! the ORIGINATOR_ID of the peer that announced it, unless it has one, and our cluster id in front of CLUSTER_LIST; the
//! next hop stays. Loops end at import: our own router id as ORIGINATOR_ID, or our cluster id in CLUSTER_LIST, makes a
//! path unusable (step 1 of [`crate::decide`]).

use crate::RouterId;

/// May an iBGP peer's route go to another iBGP peer?
pub(crate) fn passes(cluster_id: Option<RouterId>, from_client: bool, to_client: bool) -> bool {
    cluster_id.is_some() && (from_client || to_client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn only_a_reflector_passes_ibgp_routes_on_and_one_side_must_be_a_client() {
        let cluster = RouterId::new(Ipv4Addr::new(1, 1, 1, 1));
        let table = [(true, true, true), (true, false, true), (false, true, true), (false, false, false)];
        for (from, to, passed) in table {
            assert_eq!(passes(cluster, from, to), passed);
            assert!(!passes(None, from, to));
        }
    }
}
