//! Who this node is: its name and identity, the addresses other nodes reach it by and why these, its tunnel ends.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corduroy_kernel::{Facts, Family, IpNet, LinkName, Mac};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::marks::Marks;

/// This node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The name of its FabricNode.
    pub name: String,
    /// The identity that tells it from another machine of the same name.
    pub uid: String,
    /// Its IPv4 address.
    pub v4: Option<Chosen>,
    /// Its IPv6 address.
    pub v6: Option<Chosen>,
    /// The addresses of its tunnel devices, as far as they have been allocated.
    pub tunnels: TunnelAddresses,
    /// Who says that it is this node.
    pub member: Membership,
    /// Its blocks are the CIDRs that the cluster gave it, and it claims none.
    pub given: bool,
}

/// Who says which node this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Membership {
    /// The machine itself, by an identity of its own. Another machine under the same name is somebody's mistake: until
    /// it is mended nothing is done.
    #[default]
    Itself,
    /// A cluster, in which names are unique: its Node object has our name, and our identity is that object's. A
    /// FabricNode of this name with another identity is of a Node that is gone, and is taken over.
    Of(Reported),
    /// A cluster that has no such Node any more. What runs here goes on; its FabricNode is not made again, and no pods
    /// are taken in.
    Removed,
}

/// What the cluster's Node says: by which addresses the cluster knows it, which it gave it for pods, and more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Its CIDR for pods, IPv4.
    pub pods_v4: Option<Ipv4Network>,
    /// Its CIDR for pods, IPv6.
    pub pods_v6: Option<Ipv6Network>,
    /// What else it says of itself to the fabric.
    pub marks: Marks,
}

impl Membership {
    /// What the Node says of itself, where there is one.
    #[must_use]
    pub fn marks(&self) -> Option<&Marks> {
        if let Self::Of(reported) = self { Some(&reported.marks) } else { None }
    }

    /// The address of a family by which the cluster knows this node.
    #[must_use]
    pub fn reported(&self, family: Family) -> Option<IpAddr> {
        match (self, family) {
            (Self::Of(reported), Family::V4) => reported.v4.map(IpAddr::V4),
            (Self::Of(reported), Family::V6) => reported.v6.map(IpAddr::V6),
            (Self::Itself | Self::Removed, _) => None,
        }
    }
}

/// The addresses of this node's tunnel devices, out of its own blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelAddresses {
    /// On `ipip-cord`.
    pub ipip: Option<Ipv4Addr>,
    /// On `vxlan-cord`.
    pub vxlan_v4: Option<Ipv4Addr>,
    /// On `vxlan-cord`.
    pub vxlan_v6: Option<Ipv6Addr>,
}

impl TunnelAddresses {
    /// Every one with its device.
    pub fn all(&self) -> impl Iterator<Item = (LinkName, IpAddr)> + use<> {
        let ipip = self.ipip.map(|addr| (LinkName::IPIP, IpAddr::V4(addr)));
        let v4 = self.vxlan_v4.map(|addr| (LinkName::VXLAN, IpAddr::V4(addr)));
        let v6 = self.vxlan_v6.map(|addr| (LinkName::VXLAN, IpAddr::V6(addr)));
        ipip.into_iter().chain(v4).chain(v6)
    }

    /// A device has these no more.
    pub fn forget(&mut self, dev: LinkName) {
        if dev == LinkName::IPIP {
            self.ipip = None;
        } else {
            (self.vxlan_v4, self.vxlan_v6) = (None, None);
        }
    }

    /// The address on a device is this; one of the wrong family or device changes nothing.
    pub fn set(&mut self, dev: LinkName, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) if dev == LinkName::IPIP => self.ipip = Some(addr),
            IpAddr::V4(addr) if dev == LinkName::VXLAN => self.vxlan_v4 = Some(addr),
            IpAddr::V6(addr) if dev == LinkName::VXLAN => self.vxlan_v6 = Some(addr),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }

    /// The address on a tunnel device for traffic of a family.
    #[must_use]
    pub fn on(&self, dev: LinkName, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 if dev == LinkName::IPIP => self.ipip.map(IpAddr::V4),
            Family::V4 if dev == LinkName::VXLAN => self.vxlan_v4.map(IpAddr::V4),
            Family::V6 if dev == LinkName::VXLAN => self.vxlan_v6.map(IpAddr::V6),
            Family::V4 | Family::V6 => None,
        }
    }
}

impl Me {
    /// The CIDRs that the cluster gave this node, where they are its blocks.
    #[must_use]
    pub fn pod_cidrs(&self) -> Vec<IpNetwork> {
        let (true, Membership::Of(reported)) = (self.given, &self.member) else { return Vec::new() };
        let v4 = reported.pods_v4.map(IpNetwork::V4);
        v4.into_iter().chain(reported.pods_v6.map(IpNetwork::V6)).collect()
    }

    /// This node's address of a family.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let chosen = match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        };
        chosen.map(|chosen| chosen.address)
    }

    /// The outer source address of VXLAN: IPv4 when the node has it. One device speaks one family outside.
    #[must_use]
    pub fn vxlan_local(&self) -> Option<IpAddr> {
        self.address(Family::V4).or_else(|| self.address(Family::V6))
    }

    /// The MAC of `vxlan-cord`: the same whenever this machine makes it, so that what other nodes have written of it
    /// stays true across a restart. Locally administered, from a hash (FNV-1a) of the identity.
    #[must_use]
    pub fn vxlan_mac(&self) -> Mac {
        let hash = self.uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [_, _, _, a, b, c, d, e] = (hash ^ (hash >> 40)).to_be_bytes();
        Mac([0x66, a, b, c, d, e])
    }
}

/// What the configuration says about this node's address of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The address by which the cluster knows this node, if an interface has it; else the one on the interface of the
    /// default route.
    #[default]
    Auto,
    /// The first global address of this interface.
    Interface(LinkName),
    /// This address; the length of its subnet is that of the interface that has it, unless it is given.
    Is(IpAddr, Option<u8>),
    /// This family is not used.
    Nothing,
}

/// An address of this node and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The address.
    pub address: IpAddr,
    /// The length of the subnet it shares with its neighbours, in bits.
    pub prefix_len: u8,
    /// Why.
    pub why: Why,
}

/// Why an address was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The configuration names it.
    Configured,
    /// The configuration names its interface.
    InterfaceConfigured(LinkName),
    /// The cluster knows the node by it.
    Reported,
    /// The default route leaves by its interface.
    DefaultRoute(LinkName),
    /// There is no default route, and no other interface has an address of this family.
    OnlyOne(LinkName),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the configuration names it"),
            Self::InterfaceConfigured(dev) => write!(f, "the configuration names its interface {dev}"),
            Self::Reported => f.write_str("the cluster knows this node by it"),
            Self::DefaultRoute(dev) => write!(f, "the default route leaves by its interface {dev}"),
            Self::OnlyOne(dev) => {
                write!(f, "there is no default route and only {dev} has an address of this family")
            }
        }
    }
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The configured address is on no interface.
    #[error("the configured address {0} is on no interface of this node")]
    NotHere(IpAddr),
    /// The configured interface has none.
    #[error("the configured interface {0} is missing or has no global address of this family")]
    NotOn(LinkName),
    /// Nothing decides between several.
    #[error(
        "there is no default route and several interfaces have addresses ({}): \
         set the address in the agent's configuration",
        .0.iter().map(|dev| dev.as_str()).collect::<Vec<_>>().join(", ")
    )]
    Ambiguous(Vec<LinkName>),
}

/// Chooses this node's address of one family; `Ok(None)` when the family is not used here. `reported` is the one by
/// which the cluster knows the node.
///
/// # Errors
/// [`NoAddress`] when the configuration can't be met or nothing decides.
pub fn choose(
    wanted: Wanted,
    reported: Option<IpAddr>,
    family: Family,
    facts: &Facts,
) -> Result<Option<Chosen>, NoAddress> {
    match wanted {
        Wanted::Nothing => Ok(None),
        Wanted::Is(address, len) => configured(address, len, facts).map(Some),
        Wanted::Interface(dev) => {
            let found = first_global(facts, dev, family).ok_or(NoAddress::NotOn(dev))?;
            Ok(Some(chosen(found, Why::InterfaceConfigured(dev))))
        }
        Wanted::Auto => {
            let found = reported.and_then(|address| configured(address, None, facts).ok());
            match found {
                Some(found) => Ok(Some(Chosen { why: Why::Reported, ..found })),
                None => automatic(family, facts),
            }
        }
    }
}

fn automatic(family: Family, facts: &Facts) -> Result<Option<Chosen>, NoAddress> {
    let any = match family {
        Family::V4 => IpNet::ANY_V4,
        Family::V6 => IpNet::ANY_V6,
    };
    if let Some(gateway) = facts.gateways.get(&any)
        && let Some(found) = first_global(facts, gateway.dev, family)
    {
        return Ok(Some(chosen(found, Why::DefaultRoute(gateway.dev))));
    }
    let candidates: Vec<LinkName> = facts
        .uplinks
        .keys()
        .filter(|dev| **dev != LinkName::LO && first_global(facts, **dev, family).is_some())
        .copied()
        .collect();
    match candidates.as_slice() {
        [] => Ok(None),
        [dev] => Ok(first_global(facts, *dev, family).map(|found| chosen(found, Why::OnlyOne(*dev)))),
        _ => Err(NoAddress::Ambiguous(candidates)),
    }
}

fn configured(address: IpAddr, len: Option<u8>, facts: &Facts) -> Result<Chosen, NoAddress> {
    let (_, uplink) = facts.holder(address).ok_or(NoAddress::NotHere(address))?;
    let found = uplink.addresses.iter().find(|(a, _)| *a == address).map(|(_, len)| *len);
    let prefix_len = len.or(found).ok_or(NoAddress::NotHere(address))?;
    Ok(Chosen { address, prefix_len, why: Why::Configured })
}

fn chosen((address, prefix_len): (IpAddr, u8), why: Why) -> Chosen {
    Chosen { address, prefix_len, why }
}

fn first_global(facts: &Facts, dev: LinkName, family: Family) -> Option<(IpAddr, u8)> {
    let global = |address: &IpAddr| match address {
        IpAddr::V4(a) => !a.is_link_local() && !a.is_loopback(),
        IpAddr::V6(a) => !a.is_unicast_link_local() && !a.is_loopback(),
    };
    let addresses = facts.uplinks.get(&dev).map(|uplink| uplink.addresses.as_slice()).unwrap_or_default();
    addresses.iter().find(|(address, _)| Family::of(*address) == family && global(address)).copied()
}

#[cfg(test)]
mod tests {
    use corduroy_kernel::{Gateway, Uplink};

    use super::*;

    fn facts(uplinks: &[(&str, &[&str])], default: Option<(&str, &str)>) -> Facts {
        let mut facts = Facts::default();
        for (dev, addresses) in uplinks {
            let addresses = addresses.iter().map(|text| {
                let (address, len) = text.split_once('/').unwrap();
                (address.parse().unwrap(), len.parse().unwrap())
            });
            let uplink = Uplink { mtu: 1500, running: true, addresses: addresses.collect() };
            facts.uplinks.insert(dev.parse().unwrap(), uplink);
        }
        if let Some((dev, via)) = default {
            let gateway = Gateway { dev: dev.parse().unwrap(), via: via.parse().unwrap() };
            facts.gateways.insert(IpNet::ANY_V4, gateway);
        }
        facts
    }

    fn choice(wanted: Wanted, facts: &Facts) -> String {
        chosen_of(wanted, None, facts)
    }

    fn chosen_of(wanted: Wanted, reported: Option<&str>, facts: &Facts) -> String {
        match choose(wanted, reported.map(|text| text.parse().unwrap()), Family::V4, facts) {
            Ok(Some(c)) => format!("{}/{}: {}", c.address, c.prefix_len, c.why),
            Ok(None) => "none".into(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn the_address_is_the_one_the_default_route_leaves_by_and_the_reason_is_told() {
        let both: &[(&str, &[&str])] = &[("eth0", &["192.0.2.1/24"]), ("docker0", &["172.17.0.1/16"])];
        let with_default = facts(both, Some(("eth0", "192.0.2.254")));
        assert_eq!(
            choice(Wanted::Auto, &with_default),
            "192.0.2.1/24: the default route leaves by its interface eth0"
        );
        assert_eq!(
            choice(Wanted::Auto, &facts(both, None)),
            "there is no default route and several interfaces have addresses (docker0, eth0): \
             set the address in the agent's configuration"
        );
        let one = facts(&both[..1], None);
        assert!(choice(Wanted::Auto, &one).starts_with("192.0.2.1/24: there is no default route and only"));
    }

    #[test]
    fn the_address_the_cluster_knows_goes_before_the_default_route_unless_it_is_on_no_interface() {
        let two: &[(&str, &[&str])] = &[("eth0", &["192.0.2.1/24"]), ("eth1", &["198.51.100.1/25"])];
        let facts = facts(two, Some(("eth0", "192.0.2.254")));
        let of = |wanted, reported| chosen_of(wanted, Some(reported), &facts);
        assert_eq!(of(Wanted::Auto, "198.51.100.1"), "198.51.100.1/25: the cluster knows this node by it");
        assert!(of(Wanted::Auto, "203.0.113.1").starts_with("192.0.2.1/24: the default route"));
        let configured = Wanted::Is("192.0.2.1".parse().unwrap(), None);
        assert!(of(configured, "198.51.100.1").ends_with("the configuration names it"));
    }

    #[test]
    fn a_configured_address_must_be_on_an_interface_and_takes_its_length_from_there() {
        let facts = facts(&[("eth0", &["192.0.2.1/24"]), ("lo", &["10.9.9.9/32"])], None);
        let is = |text: &str| Wanted::Is(text.parse().unwrap(), None);
        assert_eq!(choice(is("10.9.9.9"), &facts), "10.9.9.9/32: the configuration names it");
        assert_eq!(
            choice(is("192.0.2.7"), &facts),
            "the configured address 192.0.2.7 is on no interface of this node"
        );
        assert_eq!(
            choice(Wanted::Interface("eth1".parse().unwrap()), &facts),
            "the configured interface eth1 is missing or has no global address of this family"
        );
    }
}
