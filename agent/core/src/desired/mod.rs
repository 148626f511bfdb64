//! What this node's kernel should hold: one total function for each kind of thing, looked up by its key.
//!
//! None of them remembers anything or looks at what is there. So it does not matter in which order the inputs came,
//! how often, or how many were missed: the same inputs make the same kernel. `None` means: this should not be there.

use corduroy_kernel::nft::Name;
use corduroy_kernel::{IpNet, LinkName};

use crate::key::Key;
use crate::known::Known;
use crate::nodes::{addresses, gateways};
use crate::pods::Pod;
use crate::{convert, me};

pub mod hosts;
pub mod links;
pub mod neighbours;
pub mod nft;
pub mod routes;
pub mod sysctls;

/// The keys of everything that is or may be desired, in no order. What is there and ours but not among them is to go.
pub fn keys(known: &Known) -> impl Iterator<Item = Key> + '_ {
    let pools = known.pools.iter().flat_map(|pool| of_pool(convert::from_network(pool.cidr)));
    let ranges = known.services.ranges().iter().map(|(_, range)| of_range(convert::from_network(range)));
    let nodes = known.nodes.iter().flat_map(|node| of_node(node));
    let blocks = known.owned.iter().map(|block| Key::Route(*block));
    let pods = known.pods.iter().flat_map(of_pod);
    let learned = known.learned.nets().map(|net| Key::Route(convert::from_bgp(net)));
    let learned = learned.chain(of_policies(known));
    foundation(&known.me).chain(pools).chain(ranges).chain(nodes).chain(blocks).chain(pods).chain(learned)
}

/// The keys of what stands on every node: tunnel devices, switches, the table's frame.
pub fn foundation(me: &me::Me) -> impl Iterator<Item = Key> + use<> {
    let tunnels = [LinkName::IPIP, LinkName::VXLAN];
    let links = tunnels.into_iter().flat_map(|dev| [Key::Link(dev), Key::Up(dev)]);
    let switches = sysctls::global().chain(tunnels.into_iter().flat_map(sysctls::of_dev)).map(Key::Sysctl);
    let addresses = me.tunnels.all().map(|(dev, addr)| Key::Address(dev, addr));
    let sets = nft::SETS.into_iter().map(|name| Key::NftSet(name.into()));
    let chains = nft::CHAINS.into_iter().map(|name| Key::NftChain(name.into()));
    links.chain(switches).chain(addresses).chain(sets).chain(chains)
}

/// The keys that a node stands behind.
pub fn of_node(node: &corduroy_api::FabricNode) -> impl Iterator<Item = Key> + use<> {
    let elements = addresses(node).map(nft::node_element).map(|(set, key)| Key::NftElement(set, key));
    let ends = gateways(node);
    let remotes =
        ends.flat_map(|(addr, mac)| [Key::Neighbour(LinkName::VXLAN, addr), Key::Fdb(LinkName::VXLAN, mac)]);
    elements.chain(remotes)
}

/// The keys that a pool's CIDR stands behind.
pub fn of_pool(net: IpNet) -> impl Iterator<Item = Key> {
    nft::pool_elements(net).into_iter().map(|(set, key)| Key::NftElement(set, key))
}

/// The key that a range of services stands behind.
#[must_use]
pub fn of_range(net: IpNet) -> Key {
    let (set, key) = nft::range_element(net);
    Key::NftElement(set, key)
}

/// The keys that policies stand behind.
fn of_policies(known: &Known) -> impl Iterator<Item = Key> + '_ {
    let engine = known.policies.engine();
    let chains = engine.chains().map(|name| Key::NftChain(name.clone()));
    let of_hosts = hosts::names(known).map(|(is_set, name)| match is_set {
        true => Key::NftSet(name),
        false => Key::NftChain(name),
    });
    let elements = hosts::elements(known).map(|(set, key)| Key::NftElement(set, key));
    chains.chain(of_hosts).chain(elements).chain(engine.sets().flat_map(|name| of_policy_set(known, name)))
}

/// The keys of a set that policies look up.
pub fn of_policy_set(known: &Known, name: &Name) -> impl Iterator<Item = Key> + use<> {
    let elements = known.policies.engine().set(name).map(|set| set.elements).unwrap_or_default();
    let set = name.clone();
    std::iter::once(Key::NftSet(name.clone()))
        .chain(elements.into_keys().map(move |key| Key::NftElement(set.clone(), key)))
}

/// The keys that a pod stands behind.
pub fn of_pod(pod: &Pod) -> impl Iterator<Item = Key> + use<> {
    let dev = pod.link;
    let elements = nft::link_elements(dev).map(|(set, key)| Key::NftElement(set, key));
    let switches = sysctls::of_dev(dev).map(Key::Sysctl);
    let addresses = pod.addresses.clone().into_iter().flat_map(move |addr| {
        let (set, key) = nft::pod_element(dev, addr);
        [Key::NftElement(set, key), Key::Neighbour(dev, addr), Key::Route(IpNet::host(addr))]
    });
    [Key::Link(dev), Key::Up(dev)].into_iter().chain(switches).chain(elements).chain(addresses)
}

#[cfg(test)]
mod tests;
