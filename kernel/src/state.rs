//! What was read from the kernel.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::nft;
use crate::{Address, IpNet, LinkName, Mac, Route, SeenLink, Sysctl};

/// What one reading found. Links and addresses are everybody's (the judge of what is ours is the reconciler);
/// routes are those of our protocol in the main table; neighbours and FDB entries are the permanent ones; the
/// table is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// All interfaces.
    pub links: BTreeMap<LinkName, SeenLink>,
    /// All addresses.
    pub addresses: BTreeSet<Address>,
    /// Routes of our protocol, whatever their metric: one with another metric than ours is in `stray_routes`.
    pub routes: BTreeMap<IpNet, Route>,
    /// Routes of our protocol that are not as we write them (another metric, attributes we never set), as
    /// (destination, metric): to be deleted.
    pub stray_routes: BTreeSet<(IpNet, u32)>,
    /// Permanent neighbours on interfaces with names of ours, by interface and address.
    pub neighbours: BTreeMap<(LinkName, IpAddr), Mac>,
    /// FDB entries of `vxlan-cord`, by interface and MAC.
    pub fdb: BTreeMap<(LinkName, Mac), IpAddr>,
    /// The switches of [`Sysctl::global`] and of [`Sysctl::of`] every interface; one the kernel does not have
    /// is missing.
    pub sysctls: BTreeMap<Sysctl, u32>,
    /// Our nftables table; `None` when there is none.
    pub nft: Option<nft::Table>,
    /// Routes by way of a gateway that others made (an administrator, DHCP, router advertisements), the
    /// default routes among them: how what is not on the link is reached. Of several to one destination the
    /// one of the lowest metric.
    pub gateways: BTreeMap<IpNet, Gateway>,
    /// What the kernel can do.
    pub features: Features,
    /// Base chains of others that drop what they do not know: our accept can't overrule them.
    pub foreign_drops: Vec<ForeignChain>,
}

/// Where a route of somebody else leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gateway {
    /// The interface.
    pub dev: LinkName,
    /// The router on it.
    pub via: IpAddr,
}

/// What the kernel offers of what we may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `ip link add type ipip external`.
    pub ipip: Support,
    /// `ip link add type vxlan`.
    pub vxlan: Support,
    /// Routes with an outer header (`encap ip`), which external IPIP needs.
    pub lwtunnel: Support,
    /// IPv6 is compiled in and not disabled at boot.
    pub ipv6: Support,
}

/// Whether the kernel can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// Not found out.
    #[default]
    Unknown,
    /// It can.
    Yes,
    /// It can't: a condition on the node, never a crash.
    No,
}

/// A base chain on the forward hook, in a table of somebody else, whose policy is drop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
}

/// An interface that is not ours, as `desired` needs to know it: what nodes are reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Octets of a packet at most.
    pub mtu: u32,
    /// Up and able to pass packets.
    pub running: bool,
    /// Its addresses with the lengths of their subnets.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What was observed and is not ours to set: the input of `desired` from the kernel's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces that are not ours, loopback included (an address for BGP may live there).
    pub uplinks: BTreeMap<LinkName, Uplink>,
    /// Routes by way of a gateway that others made.
    pub gateways: BTreeMap<IpNet, Gateway>,
    /// The MACs of our own interfaces, by which a pod's neighbour knows the host side.
    pub macs: BTreeMap<LinkName, Mac>,
    /// What the kernel can do.
    pub features: Features,
    /// Base chains of others that drop.
    pub foreign_drops: Vec<ForeignChain>,
}

impl State {
    /// What in this state is fact for `desired`.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = Facts {
            gateways: self.gateways.clone(),
            features: self.features,
            foreign_drops: self.foreign_drops.clone(),
            ..Facts::default()
        };
        for (name, seen) in &self.links {
            if name.is_ours() {
                facts.macs.extend(seen.link.mac.map(|mac| (*name, mac)));
            } else {
                let of_link = self.addresses.iter().filter(|a| a.dev == *name);
                let uplink = Uplink {
                    mtu: seen.link.mtu,
                    running: seen.link.up && seen.running,
                    addresses: of_link.map(|a| (a.addr, a.prefix_len)).collect(),
                };
                facts.uplinks.insert(*name, uplink);
            }
        }
        facts
    }
}

impl Facts {
    /// The interface whose subnet `addr` is in, by the longest match; only running ones. This is where an
    /// on-link next hop is.
    #[must_use]
    pub fn on_link(&self, addr: IpAddr) -> Option<(LinkName, &Uplink)> {
        let running = self.uplinks.iter().filter(|(_, uplink)| uplink.running);
        running
            .flat_map(|(name, uplink)| uplink.addresses.iter().map(move |(a, len)| (name, uplink, a, *len)))
            .filter(|(_, _, a, len)| IpNet::containing(**a, *len).is_some_and(|net| net.contains(addr)))
            .max_by_key(|(name, _, _, len)| (*len, core::cmp::Reverse(*name)))
            .map(|(name, uplink, _, _)| (*name, uplink))
    }
    /// The gateway towards `addr`, by the longest match, when its interface is running. For what is not on
    /// the link.
    #[must_use]
    pub fn gateway(&self, addr: IpAddr) -> Option<Gateway> {
        let usable = self.gateways.iter().filter(|(net, gateway)| {
            net.contains(addr) && self.uplinks.get(&gateway.dev).is_some_and(|uplink| uplink.running)
        });
        usable.max_by_key(|(net, _)| net.prefix_len()).map(|(_, gateway)| *gateway)
    }
    /// The interface that has the address `addr` itself.
    #[must_use]
    pub fn holder(&self, addr: IpAddr) -> Option<(LinkName, &Uplink)> {
        let holder = self.uplinks.iter().find(|(_, uplink)| uplink.addresses.iter().any(|(a, _)| *a == addr));
        holder.map(|(name, uplink)| (*name, uplink))
    }
}

/// Somebody (perhaps we) changed the kernel: what to read again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// An interface appeared, vanished or changed. Its routes may be gone without a word: IPv4 routes vanish
    /// with their interface and no RTM_DELROUTE is sent.
    Link(LinkName),
    /// An address appeared or vanished on an interface; routes with it as source may be gone too.
    Addresses(LinkName),
    /// Routes of our protocol changed, not by us.
    Routes,
    /// Permanent neighbours or FDB entries changed, not by us.
    Neighbours,
    /// Table `inet corduroy` changed, not by us.
    Nft,
    /// Events were lost: everything has to be read again.
    Overrun,
}
