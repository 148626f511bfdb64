//! The agent without IO: what this node's kernel should hold, how to get there in an order that never lets a packet
//! fall, and what may be told to the fabric's peers.
//!
//! ```text
//!  datastore events ─► Model ──┐
//!  kernel reads ─────► Facts ──┤                         ┌─► Plan ──► kernel ──► Applied ─┐
//!  Loc-RIB changes ──► Learned ┼─► desired::… (per key) ─┤                                │
//!  CNI requests ─────► Endpoints┘                        └─ State (what the kernel holds) ◄┘
//!                                                               │
//!                                                               └─► Originate / Withdraw ──► speaker
//! ```
//!
//! * `facts` is what was observed of this node: links, addresses, gateways, what the kernel can do. Nothing in it is
//!   ours.
//! * `desired` functions are total and memoryless: for a key (a prefix, a link name, a set element) and the
//!   four inputs on the left they say what should be there, or `None`. They never look at what *is* there, so a
//!   restart, a lost event and a recomputation of everything all end in the same place.
//! * `reconcile` compares that with the kernel's state, key by key, and makes a plan: referents first, removals
//!   in reverse, a slice at a time, endpoints before the bulk of learned routes.
//! * `caretaker` is what one agent at a time does for all of them; it has inputs of its own.
//! * `agent` joins them: inputs in, outputs out, no decision of its own.
//! * `report` says what is told to the cluster of this node, and when.
//!
//! Pure: no clock (time is a [`corduroy_bgp::Time`] passed in), no socket, no file, no thread.
#![warn(missing_docs)]

pub mod agent;
pub mod caretaker;
pub mod convert;
pub mod desired;
pub mod endpoints;
pub mod explain;
pub mod former;
pub mod ipam;
pub mod key;
pub mod known;
pub mod last_known;
pub mod learned;
pub mod marks;
pub mod me;
pub mod nodes;
pub mod pods;
pub mod policies;
pub mod reconcile;
pub mod report;

#[cfg(test)]
mod testing;
