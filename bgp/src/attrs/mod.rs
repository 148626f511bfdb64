//! Path attributes: one table, one canonical form.
//!
//! [`table`] has a row for every attribute this speaker knows: code, name, flags, length, check, what RFC 7606 does
//! with a malformed one, how it is written and shown. Adding an attribute is adding a row. [`sanitize`] walks the
//! attributes of an UPDATE once, row by row, and says whether they are kept, treated as a withdrawal or end the
//! session. [`Attributes`] is a typed view of what was kept, [`encode`] edits and writes it for export.
//!
//! **The canonical form** of an attribute block is what [`crate::io::Batch::attrs`] and the RIB's intern table hold, so
//! that equal routes have equal bytes whoever sent them:
//! - sorted by type code, each code once;
//! - flags as the table has them, the four unused bits zero; of an unknown attribute Optional, Transitive, Partial;
//!   Extended Length only beyond 255 octets;
//! - AS_PATH and AGGREGATOR with 4-octet AS numbers, AS4_PATH and AS4_AGGREGATOR merged into them (RFC 6793 §4.2.3);
//! - no MP_REACH_NLRI, no MP_UNREACH_NLRI; the next hop always as attribute 3, of 4, 16 or 32 octets;
//! - what had to be discarded is gone, and so is every unknown attribute that is not transitive.

pub mod as_path;
pub mod encode;
mod sanitize;
pub mod table;
mod view;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use as_path::AsPath;
pub use sanitize::{Context, MpReach, MpUnreach, Outcome, Scan, sanitize};
pub use view::{Aggregator, Attribute, Attributes, Origin};

/// Type codes of the attributes the table knows.
pub mod code {
    #![allow(missing_docs, reason = "the names are the registry's")]
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub const LARGE_COMMUNITY: u8 = 32;
}

/// Flag: not well-known (RFC 4271 §4.3).
pub const OPTIONAL: u8 = 0x80;
/// Flag: passed on by those who don't know it.
pub const TRANSITIVE: u8 = 0x40;
/// Flag: somebody who did not know it has passed it on.
pub const PARTIAL: u8 = 0x20;
/// Flag: the length has two octets.
pub const EXTENDED_LENGTH: u8 = 0x10;

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Malformed {
    /// Its type code.
    pub code: u8,
    /// What.
    pub flaw: Flaw,
}

/// The ways in which an attribute can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Optional or Transitive are not as the attribute's RFC has them (RFC 7606 §3 (c)).
    Flags,
    /// Its length can't be (RFC 7606 §7).
    Length,
    /// Its length is right but its value means nothing.
    Value,
    /// It runs beyond the attributes' end (RFC 7606 §4).
    Overrun,
    /// It must be there and is not (RFC 7606 §3 (d)).
    Missing,
    /// It is there more than once (RFC 7606 §3 (g)).
    Duplicate,
    /// It has no business on this kind of session.
    Unexpected,
    /// An AS_SET or AS_CONFED_SET (RFC 9774 §3).
    AsSet,
    /// AS 0 (RFC 7607 §2).
    AsZero,
    /// AS_PATH does not begin with the peer's AS (RFC 4271 §6.3).
    FirstAs,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match table::row(self.code) {
            Some(row) => f.write_str(row.name)?,
            None => write!(f, "attribute {}", self.code)?,
        }
        f.write_str(match self.flaw {
            Flaw::Flags => ": wrong flags",
            Flaw::Length => ": wrong length",
            Flaw::Value => ": undefined value",
            Flaw::Overrun => ": runs beyond the attributes' end",
            Flaw::Missing => ": missing",
            Flaw::Duplicate => ": given twice",
            Flaw::Unexpected => ": not expected from this peer",
            Flaw::AsSet => ": holds an AS_SET",
            Flaw::AsZero => ": holds AS 0",
            Flaw::FirstAs => ": does not begin with the peer's AS",
        })
    }
}

/// A next hop as attribute 3 of a canonical block and as MP_REACH_NLRI carry it: 4 octets, 16, or 32 when a link-local
/// address follows the global one (RFC 2545 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopValue {
    /// 4 octets.
    V4([u8; 4]),
    /// 16 octets.
    V6([u8; 16]),
    /// 32 octets: global, link-local.
    V6LinkLocal([u8; 32]),
}

impl NextHopValue {
    /// From the octets of attribute 3 or of MP_REACH_NLRI's next hop.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        match octets.len() {
            4 => octets.try_into().ok().map(Self::V4),
            16 => octets.try_into().ok().map(Self::V6),
            32 => octets.try_into().ok().map(Self::V6LinkLocal),
            _ => None,
        }
    }
    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::V4(o) => o,
            Self::V6(o) => o,
            Self::V6LinkLocal(o) => o,
        }
    }
    /// The address to send to; of two the global one.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self {
            Self::V4(o) => Ipv4Addr::from(*o).into(),
            Self::V6(o) => Ipv6Addr::from(*o).into(),
            Self::V6LinkLocal(_) => self.v6_at(0),
        }
    }
    /// The link-local address beside the global one.
    #[must_use]
    pub fn link_local(&self) -> Option<IpAddr> {
        match self {
            Self::V6LinkLocal(_) => Some(self.v6_at(16)),
            Self::V4(_) | Self::V6(_) => None,
        }
    }
    fn v6_at(&self, at: usize) -> IpAddr {
        let mut octets = [0; 16];
        if let Some(part) = self.octets().get(at..at + 16) {
            octets.copy_from_slice(part);
        }
        Ipv6Addr::from(octets).into()
    }
}

impl From<IpAddr> for NextHopValue {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4(a.octets()),
            IpAddr::V6(a) => Self::V6(a.octets()),
        }
    }
}

#[cfg(test)]
mod tests;
