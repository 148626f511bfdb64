//! The fabric's nodes by what packets and routes name them by: next hop, tunnel address, MAC.
//!
//! Two nodes that declare the same address are an operator's mistake; the first by name has it, whoever came first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use corduroy_api::FabricNode;
use corduroy_kernel::Mac;

/// An index over the nodes, this one among them.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    by_name: BTreeMap<String, Arc<FabricNode>>,
    addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    tunnels: BTreeMap<IpAddr, BTreeSet<String>>,
    gateways: BTreeMap<IpAddr, BTreeSet<String>>,
    macs: BTreeMap<Mac, BTreeSet<String>>,
}

impl Nodes {
    /// The node `name` is now this, or no more; returns what was known of it before.
    pub fn set(&mut self, name: &str, node: Option<&Arc<FabricNode>>) -> Option<Arc<FabricNode>> {
        let old = match node {
            Some(node) => self.by_name.insert(name.to_owned(), node.clone()),
            None => self.by_name.remove(name),
        };
        if let Some(old) = &old {
            addresses(old).for_each(|a| forget(&mut self.addresses, &a, name));
            tunnels(old).for_each(|a| forget(&mut self.tunnels, &a, name));
            gateways(old).for_each(|(a, mac)| {
                forget(&mut self.gateways, &a, name);
                forget(&mut self.macs, &mac, name);
            });
        }
        if let Some(node) = node {
            addresses(node).for_each(|a| note(&mut self.addresses, a, name));
            tunnels(node).for_each(|a| note(&mut self.tunnels, a, name));
            gateways(node).for_each(|(a, mac)| {
                note(&mut self.gateways, a, name);
                note(&mut self.macs, mac, name);
            });
        }
        old
    }

    /// Every node, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FabricNode>> {
        self.by_name.values()
    }

    /// The node of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FabricNode> {
        self.by_name.get(name).map(AsRef::as_ref)
    }

    /// The node that has this address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<&FabricNode> {
        self.first(self.addresses.get(&address))
    }

    /// The node that sends from this address: its own, or that of its end of a tunnel.
    #[must_use]
    pub fn whose(&self, address: IpAddr) -> Option<&FabricNode> {
        self.at(address).or_else(|| self.first(self.tunnels.get(&address)))
    }

    /// The node whose VXLAN device is this gateway.
    #[must_use]
    pub fn at_gateway(&self, address: IpAddr) -> Option<&FabricNode> {
        self.first(self.gateways.get(&address))
    }

    /// The node whose VXLAN device has this MAC.
    #[must_use]
    pub fn at_mac(&self, mac: Mac) -> Option<&FabricNode> {
        self.first(self.macs.get(&mac))
    }

    fn first(&self, names: Option<&BTreeSet<String>>) -> Option<&FabricNode> {
        self.get(names?.first()?)
    }
}

/// The addresses a node is reached by.
pub fn addresses(node: &FabricNode) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = node.addresses.v4.map(|net| IpAddr::V4(net.ip()));
    let v6 = node.addresses.v6.map(|net| IpAddr::V6(net.ip()));
    v4.into_iter().chain(v6)
}

/// The addresses of a node's ends of tunnels, by which it sends itself what goes through them.
pub fn tunnels(node: &FabricNode) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = [node.tunnels.ipip.map(Into::into), node.tunnels.vxlan_v4.map(|end| end.address.into())];
    let v6 = node.tunnels.vxlan_v6.map(|end| end.address.into());
    v4.into_iter().flatten().chain(v6)
}

/// What a node's VXLAN device is as a gateway, for each family it takes: address and MAC.
///
/// For IPv6 that is a link-local address made of the MAC, not the tunnel's own address: Linux refuses a gateway that it
/// finds a route to by another interface, and while a block moves into the tunnel there is one, for the tunnel's
/// address is in the block.
pub fn gateways(node: &FabricNode) -> impl Iterator<Item = (IpAddr, Mac)> + use<> {
    let v4 = node.tunnels.vxlan_v4.map(|end| (IpAddr::V4(end.address), Mac(end.mac)));
    let v6 = node.tunnels.vxlan_v6.map(|end| (IpAddr::V6(link_local(end.mac)), Mac(end.mac)));
    v4.into_iter().chain(v6)
}

/// RFC 4291 appendix A.
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn note<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: K, name: &str) {
    index.entry(key).or_default().insert(name.to_owned());
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
