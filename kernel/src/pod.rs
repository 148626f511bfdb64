//! The pod's end of a veth pair, inside the pod's network namespace.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{LinkName, Mac};

/// A network namespace the kernel side holds open: a handle it gave out for a file descriptor, good until
/// given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId(pub u32);

/// The other end of a veth pair, made in the same message as the host side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VethPeer {
    /// The namespace it is born in.
    pub netns: NetnsId,
    /// Its name there, as CNI_IFNAME asks.
    pub name: LinkName,
    /// Its MAC.
    pub mac: Mac,
}

/// What is set inside the pod's namespace: link up, addresses without duplicate address detection, a
/// permanent neighbour for the gateway and default routes by way of it (`onlink`). No ARP or neighbour
/// discovery is ever needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodEnd {
    /// The pod's namespace.
    pub netns: NetnsId,
    /// The interface in it.
    pub name: LinkName,
    /// The pod's own addresses, each set as /32 or /128. A family without an address gets no default route.
    pub addresses: Vec<IpAddr>,
    /// The MAC the gateway answers to: the host side's.
    pub gateway_mac: Mac,
    /// Octets of a packet at most on the default routes; `None`: the interface's.
    pub route_mtu: Option<u32>,
}

impl PodEnd {
    /// The gateway of every pod's IPv4 default route. No interface has this address.
    pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
    /// The gateway of every pod's IPv6 default route.
    pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
}
