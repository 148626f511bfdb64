//! The name of one thing of ours in the kernel: what desired state, the kernel's state and a difference between them
//! are looked up by.

use std::net::IpAddr;

use corduroy_kernel::nft::{self, Name};
use corduroy_kernel::{IpNet, LinkName, Mac, Sysctl};

/// One thing of ours. The order of the variants is the order of making: what stands below may refer to what stands
/// above. Removal goes the other way.
///
/// A pod's interface is made down, gets its rules, then goes up, and only then its routes can be: Linux refuses a
/// route over an interface that is down. Until the rules know an interface, nothing passes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An interface: kind, MAC, MTU.
    Link(LinkName),
    /// A switch under /proc/sys.
    Sysctl(Sysctl),
    /// A set or verdict map of our table, without its elements.
    NftSet(Name),
    /// A chain of our table with its rules.
    NftChain(Name),
    /// An element of a set or verdict map.
    NftElement(Name, nft::Key),
    /// An address on an interface of ours.
    Address(LinkName, IpAddr),
    /// A permanent neighbour on an interface of ours.
    Neighbour(LinkName, IpAddr),
    /// A forwarding database entry of the VXLAN device.
    Fdb(LinkName, Mac),
    /// An interface of ours is up.
    Up(LinkName),
    /// A route of ours.
    Route(IpNet),
    /// A route of our protocol with another metric than ours: never desired.
    StrayRoute(IpNet, u32),
}

impl Key {
    /// Is it the name of a route? Routes refer to nothing of each other, so that they may be made and removed in any
    /// order, and there may be very many.
    #[must_use]
    pub fn is_route(&self) -> bool {
        matches!(self, Self::Route(_) | Self::StrayRoute(..))
    }

    /// Is it in our nftables table, where everything changes in one transaction?
    #[must_use]
    pub fn is_nft(&self) -> bool {
        matches!(self, Self::NftSet(_) | Self::NftChain(_) | Self::NftElement(..))
    }
}
