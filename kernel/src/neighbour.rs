//! Permanent neighbours and forwarding database entries: what replaces ARP, neighbour discovery and learning.

use core::net::IpAddr;

use crate::{LinkName, Mac};

/// A permanent neighbour: on `dev`, `addr` is at `mac`. One for each (dev, addr).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The interface.
    pub dev: LinkName,
    /// The network address: a pod's, or another node's tunnel address on `vxlan-cord`.
    pub addr: IpAddr,
    /// Where it is.
    pub mac: Mac,
}

/// A forwarding database entry of a VXLAN device (`bridge fdb … self permanent`): frames for `mac` go to the
/// node at `vtep`. One for each (dev, mac).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbEntry {
    /// The VXLAN device.
    pub dev: LinkName,
    /// The MAC of the other node's VXLAN device.
    pub mac: Mac,
    /// The other node's address: the outer destination.
    pub vtep: IpAddr,
}
