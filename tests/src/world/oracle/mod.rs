//! What every router must have, from the plan alone.
//!
//! The oracle shares no code with `bgp`: its types are numbers and std addresses, its decision and export rules are
//! written from the RFCs, slow and obvious. It does not compute *the* answer, because there may be several: RFC 5004
//! lets the older of two equal external paths stay best, so that history decides. It is told which path each router
//! says is best, and rebuilds what that implies: following "best, from whom" from router to router up to whoever
//! originates the prefix gives every path with all its attributes (a circle without an originator is a verdict of
//! its own), and then each router's choice must be one that the RFC allows among what its neighbours' choices make
//! them send. A state that passes is a stable state of BGP, and it is exact: every attribute of every route that is
//! on every session is foretold.
//!
//! | File | From |
//! |---|---|
//! | `export` | RFC 4271 §5, §9.2; RFC 4456 §6, §8; RFC 1997 |
//! | `decide` | RFC 4271 §9.1.2.2; RFC 4456 §8, §9; RFC 5004; equal-cost paths |
//! | `verdict` | joins them and says in words what is wrong |

mod decide;
mod export;
#[cfg(test)]
mod tests;
mod verdict;

use std::net::IpAddr;

pub use decide::usable;
pub use export::may_pass;
pub use verdict::{Claims, Oracle, Way};

/// A path as a router has it, or as it is on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// AS_PATH, one AS_SEQUENCE, the neighbour's number first.
    pub as_path: Vec<u32>,
    /// ORIGIN.
    pub origin: u8,
    /// NEXT_HOP; a router's own origination has none until it is sent.
    pub next_hop: Option<IpAddr>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// COMMUNITIES, in wire order.
    pub communities: Vec<u32>,
    /// ORIGINATOR_ID.
    pub originator: Option<u32>,
    /// CLUSTER_LIST, the last reflector first.
    pub clusters: Vec<u32>,
}
