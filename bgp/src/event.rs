//! What happened, typed. Only `bgp/net` and the status code put it in words.

use crate::config::PeerKey;
use crate::{Family, Net};

/// Something a log, a metric or a condition may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More prefixes than the configured limit, with the action `Warn`.
    PrefixLimitExceeded {
        /// Who sends them.
        peer: PeerKey,
        /// Of what.
        family: Family,
        /// How many.
        count: u32,
    },
    /// A session takes everything the other has: its first full table was sent and End-of-RIB with it.
    InitialTableSent {
        /// To whom.
        peer: PeerKey,
        /// Of what.
        family: Family,
    },
    /// A prefix was refused at import because the built-in rules protect it (it covers our own addresses).
    Refused {
        /// Who sent it.
        peer: PeerKey,
        /// What.
        net: Net,
    },
    /// A peer's first table of a family is complete (RFC 4724 §2) and decided: everything it brought is in what
    /// `drain_loc_rib` gave before this event. While selection is deferred after our own restart this waits with it.
    /// Whoever owns the kernel sweeps what a former run left of this peer.
    EndOfRib {
        /// Whose table.
        peer: PeerKey,
        /// Of what.
        family: Family,
    },
}
