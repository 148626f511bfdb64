//! Routes, by destination: pods of this node, blackholes under this node's blocks, what was learned.
//!
//! A learned route's next hop is reached, in this order,
//! 1. by the tunnel the pool asks for, when the next hop is a node that says it takes such packets
//!    ([`corduroy_fabric::encapsulation`]); a ToR next hop is never tunnelled to, for it says nothing of the kind;
//! 2. directly, when it is in the subnet of an interface;
//! 3. by way of the gateway that leads to it.
//!
//! What is learned inside a range of services goes to no kernel: kube-proxy of this very node serves those addresses,
//! and a reflector only passes them on.
//!
//! Every route carries the source address for what the node itself sends by it: the tunnel address into a tunnel (the
//! uplink's address inside would be answered without a tunnel and dropped by the way-back check), else the node's
//! address (a pod's interface has none of its own, and the kernel would take any).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use corduroy_fabric::Encap;
use corduroy_kernel::{Family, IpNet, LinkName, NextHop, Route};

use crate::convert;
use crate::known::Known;

/// The route that should be there for a destination.
#[must_use]
pub fn route(known: &Known, dst: IpNet) -> Option<Route> {
    pod(known, dst).or_else(|| block(known, dst)).or_else(|| learned(known, dst))
}

/// The interface by which an address is reached, as far as is known: a subnet of its own comes first, then what we
/// write, then the gateways of others, and a default route of ours behind theirs. `None`: by none, or nobody knows.
#[must_use]
pub fn device(known: &Known, addr: IpAddr) -> Option<LinkName> {
    let around = |lengths: RangeInclusive<u8>| {
        lengths.rev().filter_map(|len| IpNet::containing(addr, len)).find_map(|net| route(known, net))
    };
    let first = |route: Route| route.hops().first().map(|hop| hop.dev);
    if let Some((dev, _)) = known.facts.on_link(addr) {
        return Some(dev);
    }
    if let Some(ours) = around(1..=Family::of(addr).bits()) {
        return first(ours);
    }
    let others = known.facts.gateway(addr).map(|gateway| gateway.dev);
    others.or_else(|| around(0..=0).and_then(first))
}

/// A pod of this node.
fn pod(known: &Known, dst: IpNet) -> Option<Route> {
    let endpoint = dst.is_host().then(|| known.pods.by_address(dst.addr())).flatten()?;
    Some(Route::by(dst, NextHop::dev(endpoint.link)).with_src(known.me.address(dst.family())))
}

/// A block of this node: what no pod of it has must not leave by the default route. A block of one address has no
/// room beside the pod.
fn block(known: &Known, dst: IpNet) -> Option<Route> {
    (!dst.is_host() && known.owned.contains(&dst)).then(|| Route::blackhole(dst))
}

fn learned(known: &Known, dst: IpNet) -> Option<Route> {
    if known.services.ranges().around(convert::to_network(dst)).is_some() {
        return None;
    }
    let hops = known.learned.get(convert::to_bgp(dst)?)?;
    let ways: Vec<NextHop> = hops.as_slice().iter().filter_map(|hop| way(known, dst, *hop)).collect();
    let src = ways.iter().find_map(|way| known.me.tunnels.on(way.dev, dst.family()));
    let src = src.or_else(|| known.me.address(dst.family()));
    Some(Route::via(dst, ways)?.with_src(src))
}

/// How a learned next hop is reached.
fn way(known: &Known, dst: IpNet, hop: IpAddr) -> Option<NextHop> {
    if Family::of(hop) != dst.family() || known.is_own_address(hop) {
        return None;
    }
    if let Some(node) = known.nodes.at(hop) {
        match (known.tunnel(node, dst), known.me.address(Family::V4), hop) {
            (Encap::None, ..) => {}
            (Encap::Ipip, Some(IpAddr::V4(src)), IpAddr::V4(dst)) => return Some(NextHop::ipip(src, dst)),
            (Encap::Ipip, ..) => return None,
            (Encap::Vxlan, ..) => {
                let gateway = super::neighbours::gateway(node, dst.family())?;
                return Some(NextHop::onlink(LinkName::VXLAN, gateway));
            }
        }
    }
    if let Some((dev, _)) = known.facts.on_link(hop) {
        return Some(NextHop::onlink(dev, hop));
    }
    known.facts.gateway(hop).map(|gateway| NextHop::onlink(gateway.dev, gateway.via))
}
