//! Network interfaces: what we ask for and what is there.

use alloc::string::String;
use core::net::IpAddr;

use crate::{LinkName, Mac};

/// An interface as we want it or found it. Created **down**: [`Op::SetUp`](crate::Op::SetUp) comes when
/// everything that protects and reaches it is in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its name.
    pub name: LinkName,
    /// What it is.
    pub kind: LinkKind,
    /// Its MAC; `None` for a device without one (IPIP). Set at creation, so that udev does not write another.
    pub mac: Option<Mac>,
    /// Octets of a packet at most, IP header included.
    pub mtu: u32,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// How IPv6 makes a link-local address when the interface comes up.
    pub addr_gen: AddrGen,
}

/// IPv6 address generation mode (`ip link set addrgenmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddrGen {
    /// No address by itself: what we want on every interface of ours.
    None,
    /// Any other mode, or a kernel without IPv6.
    Other,
}

/// What an interface is, with what we set of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// One end of a veth pair; the other end is given when it is created ([`crate::VethPeer`]).
    Veth,
    /// An IPIP tunnel device.
    Ipip(Ipip),
    /// A VXLAN tunnel device.
    Vxlan(Vxlan),
    /// Anything else, by the name the kernel gives it ("bridge", "dummy"); empty for a physical interface.
    Other(String),
}

/// An IPIP device in external mode (`ip link add type ipip external`): one device for all nodes, the outer
/// addresses come with the route ([`crate::Encap`]). A kernel has at most one such device in a network
/// namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipip {
    /// Outer addresses from the route. Found `false` on a device of our name that somebody else made; it is
    /// made again.
    pub external: bool,
}

/// A VXLAN device (RFC 7348) without learning: its FDB and neighbours are written by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vxlan {
    /// The VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// The UDP port of the outer header.
    pub port: u16,
    /// The outer source address: this node's.
    pub local: IpAddr,
    /// Learn from what arrives? Always `false` in what we ask for.
    pub learning: bool,
}

impl Vxlan {
    /// The VNI unless configured.
    pub const VNI: u32 = 4096;
    /// The port unless configured (IANA).
    pub const PORT: u16 = 4789;
}

impl Link {
    /// Octets an IPIP header adds: one IPv4 header.
    pub const IPIP_OVERHEAD: u32 = 20;
    /// Octets VXLAN adds over IPv4: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14.
    pub const VXLAN_OVERHEAD_V4: u32 = 50;
    /// Octets VXLAN adds over IPv6.
    pub const VXLAN_OVERHEAD_V6: u32 = 70;

    /// `ipip-cord` as we want it.
    #[must_use]
    pub fn ipip(mtu: u32) -> Self {
        let kind = LinkKind::Ipip(Ipip { external: true });
        Self { name: LinkName::IPIP, kind, mac: None, mtu, up: true, addr_gen: AddrGen::None }
    }
    /// `vxlan-cord` as we want it.
    #[must_use]
    pub fn vxlan(local: IpAddr, mac: Mac, mtu: u32) -> Self {
        let vxlan = Vxlan { vni: Vxlan::VNI, port: Vxlan::PORT, local, learning: false };
        let kind = LinkKind::Vxlan(vxlan);
        Self { name: LinkName::VXLAN, kind, mac: Some(mac), mtu, up: true, addr_gen: AddrGen::None }
    }
    /// The host side of a pod as we want it once the pod is born.
    #[must_use]
    pub fn pod(name: LinkName, mac: Mac, mtu: u32) -> Self {
        Self { name, kind: LinkKind::Veth, mac: Some(mac), mtu, up: true, addr_gen: AddrGen::None }
    }
}

/// An interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenLink {
    /// The kernel's number for it, new with every creation.
    pub index: u32,
    /// What it is and how it is set.
    pub link: Link,
    /// It has a carrier (IFF_LOWER_UP): for a veth, the other end is up.
    pub running: bool,
}
