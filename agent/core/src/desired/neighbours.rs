//! Neighbours and forwarding entries that replace ARP, neighbour discovery and learning: one for each pod address on
//! its interface, and on `vxlan-cord` one neighbour and one entry for each node that takes VXLAN.

use std::net::IpAddr;

use corduroy_api::FabricNode;
use corduroy_kernel::{Family, LinkName, Mac};

use crate::known::Known;
use crate::nodes::{addresses, gateways};

/// The MAC that an address on an interface of ours should be known by.
#[must_use]
pub fn neighbour(known: &Known, dev: LinkName, addr: IpAddr) -> Option<Mac> {
    if dev == LinkName::VXLAN {
        let node = remote(known, known.nodes.at_gateway(addr)?)?;
        return gateways(node).find(|(gateway, _)| *gateway == addr).map(|(_, mac)| mac);
    }
    known.pods.by_address(addr).filter(|endpoint| endpoint.link == dev).map(|endpoint| endpoint.mac)
}

/// The node address that frames for a MAC on `vxlan-cord` should go to.
#[must_use]
pub fn fdb(known: &Known, dev: LinkName, mac: Mac) -> Option<IpAddr> {
    if dev != LinkName::VXLAN {
        return None;
    }
    let node = remote(known, known.nodes.at_mac(mac)?)?;
    outer(known, node)
}

/// What a node's VXLAN device is as a gateway for traffic of a family.
#[must_use]
pub fn gateway(node: &FabricNode, family: Family) -> Option<IpAddr> {
    gateways(node).map(|(addr, _)| addr).find(|addr| Family::of(*addr) == family)
}

/// The address that VXLAN packets to a node go to: of the family our own device speaks.
#[must_use]
pub fn outer(known: &Known, node: &FabricNode) -> Option<IpAddr> {
    let family = Family::of(known.me.vxlan_local()?);
    addresses(node).find(|addr| Family::of(*addr) == family)
}

fn remote<'a>(known: &Known, node: &'a FabricNode) -> Option<&'a FabricNode> {
    let is_other = node.metadata.name != known.me.name;
    (is_other && super::links::is_wanted(known, LinkName::VXLAN) && outer(known, node).is_some())
        .then_some(node)
}
