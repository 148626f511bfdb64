//! What the datastore said, made sense of. Agent, route reflector, cordctl and tests ask the same functions.
//!
//! ```text
//! Event ─► Model ─┬─► peering::peering       who peers with whom, filters, passwords ─► bgp::Config
//!                 ├─► blocks                 which node owns which block, which pools are in force
//!                 ├─► services               which addresses of services a node announces, and why
//!                 ├─► originate              what a node announces, with which communities
//!                 ├─► check                  whether addresses, blocks, pools and pods fit together
//!                 ├─► standing               whether each thing people wrote is in force, over all nodes
//!                 ├─► encapsulation          whether packets between two nodes are wrapped
//!                 └─► status                 the same for people, with what the speaker knows ─► cordctl
//! Config in force, Config wanted ─► transition ─► Config that loses no packet on the way (driven by sessions)
//! ```
//! A reflector with a file of its own instead of a datastore is made by [`reflector`].
//!
//! Everything but [`transition`] is memoryless: the same Model gives the same answer, whatever came before. What does
//! not fit together (a filter that does not exist, a peer at our own address, pools that overlap) never stops the
//! rest: it becomes a [`Problem`] that names resource and field.
#![warn(missing_docs)]

pub mod blocks;
pub mod check;
mod encapsulation;
mod model;
pub mod originate;
pub mod peering;
mod problem;
pub mod reflector;
pub mod services;
pub mod sessions;
pub mod standing;
pub mod status;
pub mod transition;

pub use encapsulation::{Encap, encapsulation, share_subnet};
pub use model::{Changed, Model, Sync};
pub use problem::Problem;

#[cfg(test)]
mod tests;
