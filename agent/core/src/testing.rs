//! The fabric the tests of this crate live in.
//!
//! | node | address | subnet |
//! |---|---|---|
//! | `a` (this one) | 192.0.2.1 | 192.0.2.0/24, gateway .254 |
//! | `b` | 192.0.2.2 | the same |
//! | `c` | 198.51.100.3 | 198.51.100.0/24 |
//!
//! A ToR router is at 192.0.2.250.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::{Event, Key as ResourceKey, Kind, Resource, yaml};
use corduroy_bgp::Net;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::io::{Change, LocPath};
use corduroy_kernel::{
    AddrGen, Address, Features, Gateway, IpNet, Link, LinkKind, LinkName, Mac, Scope, SeenLink, State,
    Support, Sysctl,
};

use crate::known::Known;
use crate::me::{Chosen, Me, Membership, TunnelAddresses, Why};
use crate::pods::Pod;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn bgp_net(text: &str) -> Net {
    text.parse().unwrap()
}

/// A resource from the head and the indented fields of its spec.
pub(crate) fn resource(kind: Kind, name: &str, spec: &str) -> Resource {
    let text = format!(
        "apiVersion: corduroy.dev/v1alpha1\nkind: {}\nmetadata: {{name: {name}}}\nspec: {spec}",
        kind.name()
    );
    let value = yaml::documents(&text)[0].parse().unwrap();
    Resource::read(&value).unwrap_or_else(|refused| panic!("{name}: {refused:?}"))
}

pub(crate) fn node(name: &str, address: &str, tunnels: &str) -> Resource {
    let tunnels = if tunnels.is_empty() { String::new() } else { format!(", tunnels: {{{tunnels}}}") };
    resource(Kind::FabricNode, name, &format!("{{uid: uid-{name}, addresses: [{address}]{tunnels}}}"))
}

pub(crate) fn pool(name: &str, cidr: &str, more: &str) -> Resource {
    resource(Kind::IpPool, name, &format!("{{cidr: {cidr}{more}}}"))
}

pub(crate) fn block(cidr: &str, owner: &str) -> Resource {
    let name = corduroy_api::block::block_name(cidr.parse().unwrap());
    let spec = format!("{{cidr: {cidr}, node: {owner}, nodeUID: uid-{owner}, epoch: 1}}");
    resource(Kind::IpamBlock, &name, &spec)
}

pub(crate) fn change(net: &str, hops: &[&str]) -> Change {
    let path = |hop: &&str| LocPath { next_hop: ip(hop), peer: Some(PeerKey::new(ip(hop))), stale: false };
    Change { net: bgp_net(net), paths: hops.iter().map(path).collect() }
}

pub(crate) fn pod(n: u8) -> Pod {
    Pod {
        link: LinkName::pod(u64::from(n)),
        host_mac: Mac([2, 0, 0, 0, 0, n]),
        mac: Mac([2, 0, 0, 0, 1, n]),
        mtu: 1480,
        addresses: vec![IpAddr::from([10, 1, 0, n])],
        owner: None,
    }
}

fn chosen(address: &str, prefix_len: u8) -> Chosen {
    Chosen { address: ip(address), prefix_len, why: Why::Configured }
}

/// The kernel of node `a` before anything of ours is in it.
pub(crate) fn bare_kernel() -> State {
    let mut state = State {
        features: Features {
            ipip: Support::Yes,
            vxlan: Support::Yes,
            lwtunnel: Support::Yes,
            ipv6: Support::Yes,
        },
        ..State::default()
    };
    let eth0 = LinkName::new("eth0").unwrap();
    let link = Link {
        name: eth0,
        kind: LinkKind::Other(String::new()),
        mac: Some(Mac([2, 9, 9, 9, 9, 1])),
        mtu: 1500,
        up: true,
        addr_gen: AddrGen::Other,
    };
    state.links.insert(eth0, SeenLink { index: 2, link, running: true });
    let address = Address { dev: eth0, addr: ip("192.0.2.1"), prefix_len: 24, scope: Scope::Global };
    state.addresses.insert(address);
    state.gateways.insert(IpNet::ANY_V4, Gateway { dev: eth0, via: ip("192.0.2.254") });
    state.sysctls.extend(Sysctl::global().map(|switch| (switch, 0)));
    state
}

/// Node `a`, which knows its kernel and nothing else.
pub(crate) fn known() -> Known {
    let me = Me {
        name: "a".into(),
        uid: "uid-a".into(),
        v4: Some(chosen("192.0.2.1", 24)),
        v6: None,
        tunnels: TunnelAddresses::default(),
        member: Membership::Itself,
        given: false,
    };
    Known { facts: bare_kernel().facts(), ..Known::new(me) }
}

/// Puts resources into what is known, with everything that is derived from them.
pub(crate) fn put(known: &mut Known, resources: impl IntoIterator<Item = Resource>) {
    for resource in resources {
        known.model.apply(Event::Put(resource));
    }
    refresh(known);
}

/// Takes a resource out again.
pub(crate) fn gone(known: &mut Known, kind: Kind, name: &str) {
    known.model.apply(Event::Gone(ResourceKey::new(kind, name)));
    refresh(known);
}

fn refresh(known: &mut Known) {
    let new: BTreeSet<String> = known.model.nodes().keys().cloned().collect();
    let old: Vec<String> = known.nodes.iter().map(|node| node.metadata.name.clone()).collect();
    for name in old.iter().filter(|name| !new.contains(*name)) {
        known.nodes.set(name, None);
    }
    let nodes: Vec<Arc<_>> = known.model.nodes().values().cloned().collect();
    for node in nodes {
        known.nodes.set(&node.metadata.name, Some(&node));
    }
    let owned = corduroy_fabric::blocks::owned_by(&known.model, "a", "uid-a");
    known.owned = owned.map(crate::convert::from_network).collect();
    known.refresh_pools();
    let frame = ResourceKey::new(Kind::BgpConfiguration, "default");
    known.services.apply(&known.model, "a", &frame);
}
