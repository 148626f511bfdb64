//! Addresses of interfaces.

use core::net::IpAddr;

use crate::{IpNet, LinkName};

/// An address on an interface. Ours are host addresses (/32, /128) set without duplicate address detection;
/// the node's own are only observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The interface.
    pub dev: LinkName,
    /// The address.
    pub addr: IpAddr,
    /// The length of its subnet in bits.
    pub prefix_len: u8,
    /// How far it is valid.
    pub scope: Scope,
}

/// How far an address is valid (rtnetlink `rtm_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On the link only.
    Link,
    /// In this host only.
    Host,
}

impl Address {
    /// A host address of global scope.
    #[must_use]
    pub fn host(dev: LinkName, addr: IpAddr) -> Self {
        Self { dev, addr, prefix_len: IpNet::host(addr).prefix_len(), scope: Scope::Global }
    }
    /// The subnet it stands in; `None` when the length does not fit the family.
    #[must_use]
    pub fn subnet(&self) -> Option<IpNet> {
        IpNet::containing(self.addr, self.prefix_len)
    }
}
