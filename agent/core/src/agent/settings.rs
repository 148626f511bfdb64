//! What does not change while the process runs.

use corduroy_fabric::peering;

use super::Declared;
use crate::desired::hosts::Failsafe;
use crate::me::{Membership, Wanted};

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// This machine's identity.
    pub uid: String,
    /// Who says so, at the start.
    pub member: Membership,
    /// Its IPv4 address.
    pub v4: Wanted,
    /// Its IPv6 address.
    pub v6: Wanted,
    /// What the configuration says of its FabricNode.
    pub declared: Declared,
    /// How sessions are made.
    pub peering: peering::Options,
    /// What policies close to this host in no case.
    pub failsafe: Failsafe,
}
