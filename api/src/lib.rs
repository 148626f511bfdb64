//! The nouns of Corduroy: what a cluster's resources may say.
//!
//! ```text
//! YAML ─ yaml ─► Value ─ raw ─► raw form (…Spec: every field optional, only types checked)
//!                                  │ check: all violations, each with field, value, what is allowed
//!                                  ▼
//!                               checked form (IpPool, BgpPeer, …: can't be wrong) ─► Resource
//! ```
//! One file a kind. Field names are those of `projectcalico.org/v3` wherever that has the field. What is a matter
//! between two resources (overlapping pools, a filter that does not exist) is judged in `fabric`, not here.
//!
//! Beside the kinds: [`block`] arithmetic, the [`Selector`] language, [`event`], what a datastore says and is told, and
//! [`node_status`], what an agent reports.
//! No IO, no clock; the same input gives the same output.
#![warn(missing_docs)]

// The macro `raw!` names this crate by its name, here too.
extern crate self as corduroy_api;

pub mod addressing;
pub mod bgp_configuration;
pub mod bgp_filter;
pub mod bgp_peer;
pub mod block;
pub mod event;
pub mod fabric_node;
pub mod instant;
pub mod ip_pool;
pub mod ip_reservation;
pub mod ipam_block;
mod meta;
mod namespace;
pub mod node_status;
mod pod;
pub mod policy;
pub mod raw;
mod report;
mod resource;
pub mod schema;
mod secret;
mod selector;
pub mod service;
mod service_account;
mod value;
pub mod yaml;

pub use addressing::{Addressing, BadAnnotation};
pub use bgp_configuration::BgpConfiguration;
pub use bgp_filter::BgpFilter;
pub use bgp_peer::{BgpPeer, SecretRef};
pub use event::{Asked, Event, Rejection, Scope, Source, Version, Why, Write, WriteError};
pub use fabric_node::FabricNode;
pub use ip_pool::{Encapsulation, IpPool, IpPoolSpec, IpPoolStatusSpec, When};
pub use ip_reservation::IpReservation;
pub use ipam_block::{IpamBlock, Lent};
pub use ipnetwork::IpNetwork;
pub use meta::{Key, Kind, Labels, Metadata, RawMetadata};
pub use namespace::Namespace;
pub use pod::Pod;
pub use report::{FieldPath, Invalid, Report, Step, Violations, quoted};
pub use resource::{API_VERSION, Checked, Refused, Resource};
pub use schema::crd::ConditionSpec;
pub use secret::{Secret, SecretValue};
pub use selector::{Clue, Requirement, Selector, SelectorError};
pub use service::{EndpointSlice, Service, ServiceEndpoints};
pub use service_account::ServiceAccount;
pub use value::{AsNumber, Community, NotACommunity, NotAnAsNumber, cluster_id, is_host};

#[cfg(test)]
mod tests;
