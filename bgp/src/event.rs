//! What happened, typed. Only `bgp/net` and the status code put it in words.

use core::net::IpAddr;

use crate::attrs::Malformed;
use crate::config::PeerKey;
use crate::wire::NotificationMessage;
use crate::{Family, FamilySet, Net};

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
    /// A session reached Established.
    SessionUp {
        /// With whom.
        peer: PeerKey,
        /// For what.
        families: FamilySet,
    },
    /// An Established session is over.
    SessionDown {
        /// With whom.
        peer: PeerKey,
        /// Why.
        why: Ended,
        /// Families whose routes are kept until it is back (RFC 4724).
        kept: FamilySet,
    },
    /// A connection did not get as far as Established. One that ends because a better one exists (RFC 4271 §6.8) is
    /// not told.
    AttemptFailed {
        /// With whom.
        peer: PeerKey,
        /// Why.
        why: Ended,
    },
    /// Somebody connected whom we don't let in.
    ConnectionRejected {
        /// From where.
        remote: IpAddr,
        /// Why.
        why: Rejected,
    },
    /// An UPDATE had a malformed attribute and the session went on (RFC 7606).
    Malformed {
        /// Who sent it.
        peer: PeerKey,
        /// What was wrong.
        malformed: Malformed,
        /// Its announcements count as withdrawals; else the attribute was discarded.
        withdrawn: bool,
    },
    /// The time a restarted peer had to announce its routes anew is over; what was not announced again is gone.
    StaleRoutesDropped {
        /// Whose.
        peer: PeerKey,
        /// Of what.
        families: FamilySet,
    },
    /// Routes of this family are selected and announced from now on: at once after a first start, else after
    /// End-of-RIB or the timer (RFC 4724 §4.1).
    SelectionBegun {
        /// Of what.
        family: Family,
    },
}

/// What ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// We said so.
    Sent(NotificationMessage),
    /// The peer said so.
    Received(NotificationMessage),
    /// The transport failed, or the peer closed without a word.
    Lost,
    /// The peer came anew on another connection, which shows that it restarted (RFC 4724 §4.2).
    Replaced,
}

/// Why a connection is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is no peer of ours and in no dynamic range.
    Unknown,
    /// The dynamic range, or the speaker, has as many peers as it may have.
    Limit,
    /// The peer is shut down, or has sent too many prefixes a while ago.
    Disabled,
}
