//! Interfaces: the two tunnel devices when a pool asks for their encapsulation and the kernel has it, and the host
//! side of every pod. And how large a packet may be.

use corduroy_api::{Encapsulation, FabricNode};
use corduroy_kernel::{Address, Family, Link, LinkName, Support};

use crate::known::Known;

/// An interface that should be there, as it should be.
#[must_use]
pub fn link(known: &Known, name: LinkName) -> Option<Link> {
    if let Some(endpoint) = known.pods.by_link(name) {
        return Some(Link::pod(name, endpoint.host_mac, endpoint.mtu));
    }
    if !is_wanted(known, name) {
        return None;
    }
    let mtu = tunnel_mtu(known, name);
    if name == LinkName::IPIP {
        Some(Link::ipip(mtu))
    } else {
        Some(Link::vxlan(known.me.vxlan_local()?, known.me.vxlan_mac(), mtu))
    }
}

/// The address that should be on a tunnel device.
#[must_use]
pub fn address(known: &Known, dev: LinkName, addr: std::net::IpAddr) -> Option<Address> {
    let family = Family::of(addr);
    (is_wanted(known, dev) && known.me.tunnels.on(dev, family) == Some(addr))
        .then(|| Address::host(dev, addr))
}

/// Should this tunnel device be there? As long as a pool asks for it, and after that until this node's FabricNode no
/// longer says that it takes such packets.
#[must_use]
pub fn is_wanted(known: &Known, dev: LinkName) -> bool {
    let declared = || known.nodes.get(&known.me.name).is_some_and(|node| declares(node, dev));
    !known.retired
        && can(known, dev)
        && (Family::ALL.into_iter().any(|family| asks(known, dev, family)) || declared())
}

/// Does a pool of this family ask for this tunnel device, and can this node have it?
#[must_use]
pub fn is_asked_for(known: &Known, dev: LinkName, family: Family) -> bool {
    !known.retired && asks(known, dev, family) && can(known, dev)
}

/// The tunnel devices that a pool asks for and this kernel can't make.
pub fn impossible(known: &Known) -> impl Iterator<Item = LinkName> + '_ {
    let tunnels = [LinkName::IPIP, LinkName::VXLAN].into_iter();
    tunnels.filter(|dev| Family::ALL.into_iter().any(|family| asks(known, *dev, family)) && !can(known, *dev))
}

fn asks(known: &Known, dev: LinkName, family: Family) -> bool {
    let of_family = known.pools.iter().filter(|pool| Family::of(pool.cidr.ip()) == family);
    of_family.map(|pool| pool.encapsulation).any(|encapsulation| match encapsulation {
        Encapsulation::Never => false,
        Encapsulation::Ipip(_) => dev == LinkName::IPIP,
        Encapsulation::Vxlan(_) => dev == LinkName::VXLAN,
    })
}

fn can(known: &Known, dev: LinkName) -> bool {
    let features = known.facts.features;
    if dev == LinkName::IPIP {
        let kernel = features.ipip == Support::Yes && features.lwtunnel == Support::Yes;
        kernel && known.me.address(Family::V4).is_some()
    } else {
        dev == LinkName::VXLAN && features.vxlan == Support::Yes && known.me.vxlan_local().is_some()
    }
}

fn declares(node: &FabricNode, dev: LinkName) -> bool {
    if dev == LinkName::IPIP {
        node.tunnels.ipip.is_some()
    } else {
        node.tunnels.vxlan_v4.is_some() || node.tunnels.vxlan_v6.is_some()
    }
}

/// The MTU of a tunnel device: the uplink's less what the outer headers take.
#[must_use]
pub fn tunnel_mtu(known: &Known, dev: LinkName) -> u32 {
    let local = if dev == LinkName::IPIP { known.me.address(Family::V4) } else { known.me.vxlan_local() };
    let overhead = match local.map(Family::of) {
        _ if dev == LinkName::IPIP => Link::IPIP_OVERHEAD,
        Some(Family::V6) => Link::VXLAN_OVERHEAD_V6,
        Some(Family::V4) | None => Link::VXLAN_OVERHEAD_V4,
    };
    uplink_mtu(known).saturating_sub(overhead).max(SMALLEST_MTU)
}

/// The MTU a pod's interface should be born with: that of the narrowest way out of this node.
#[must_use]
pub fn pod_mtu(known: &Known) -> u32 {
    let tunnels = [LinkName::IPIP, LinkName::VXLAN].into_iter().filter(|dev| is_wanted(known, *dev));
    tunnels.map(|dev| tunnel_mtu(known, dev)).min().unwrap_or_else(|| uplink_mtu(known))
}

/// IPv6 asks for no less (RFC 8200 §5), and a kernel refuses IPv6 on a narrower interface.
const SMALLEST_MTU: u32 = 1280;
/// Where nothing is known of the uplink: Ethernet.
const ETHERNET_MTU: u32 = 1500;

/// The narrowest of the interfaces that have this node's addresses; loopback says nothing.
fn uplink_mtu(known: &Known) -> u32 {
    let addresses = Family::ALL.into_iter().filter_map(|family| known.me.address(family));
    let holders = addresses.filter_map(|address| known.facts.holder(address));
    let mtus = holders.filter(|(dev, _)| *dev != LinkName::LO).map(|(_, uplink)| uplink.mtu);
    mtus.min().or_else(|| narrowest_gateway(known)).unwrap_or(ETHERNET_MTU)
}

/// When the node's address is on loopback: the interfaces its gateways are on.
fn narrowest_gateway(known: &Known) -> Option<u32> {
    let devs = known.facts.gateways.values().map(|gateway| gateway.dev);
    devs.filter_map(|dev| known.facts.uplinks.get(&dev)).map(|uplink| uplink.mtu).min()
}
