//! The kernel switches we read and set: a closed list, so that reading the state reads them all.

use alloc::format;
use alloc::string::String;

use crate::{Family, LinkName};

/// One switch under /proc/sys/net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sysctl {
    /// net.ipv4.ip_forward: pass packets on between interfaces.
    Ipv4Forward,
    /// net.ipv4.conf.*.
    V4(Conf, Conf4),
    /// net.ipv6.conf.*.
    V6(Conf, Conf6),
    /// net.ipv4.fib_multipath_hash_policy or its IPv6 twin: 0 spreads by addresses, 1 by addresses and ports.
    MultipathHashPolicy(Family),
}

/// Of which interface a `conf` switch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conf {
    /// `all`.
    All,
    /// `default`: what a new interface starts with.
    Default,
    /// This one.
    Dev(LinkName),
}

/// Switches of IPv4 on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conf4 {
    /// Pass on what arrives here.
    Forwarding,
    /// Check the source address of what arrives: 0 no, 1 strict (the way back leads here), 2 loose (there is
    /// a way back). The larger of `all` and the interface holds.
    RpFilter,
}

/// Switches of IPv6 on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conf6 {
    /// Pass on what arrives here; for `all`, everywhere.
    Forwarding,
    /// Listen to router advertisements: 0 never, 1 unless forwarding, 2 always.
    AcceptRa,
    /// No IPv6 here.
    DisableIpv6,
}

impl Conf4 {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Forwarding, Self::RpFilter];
}

impl Conf6 {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Forwarding, Self::AcceptRa, Self::DisableIpv6];
}

impl Conf {
    fn as_str(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Default => "default",
            Self::Dev(name) => name.as_str(),
        }
    }
}

impl Sysctl {
    /// The path under /proc/sys, without a leading slash. A path and not a dotted name: interface names may
    /// have dots.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Ipv4Forward => String::from("net/ipv4/ip_forward"),
            Self::V4(conf, name) => format!("net/ipv4/conf/{}/{}", conf.as_str(), name.as_str()),
            Self::V6(conf, name) => format!("net/ipv6/conf/{}/{}", conf.as_str(), name.as_str()),
            Self::MultipathHashPolicy(Family::V4) => String::from("net/ipv4/fib_multipath_hash_policy"),
            Self::MultipathHashPolicy(Family::V6) => String::from("net/ipv6/fib_multipath_hash_policy"),
        }
    }
    /// The interface it belongs to, if it belongs to one.
    #[must_use]
    pub fn dev(&self) -> Option<LinkName> {
        match self {
            Self::V4(Conf::Dev(name), _) | Self::V6(Conf::Dev(name), _) => Some(*name),
            _ => None,
        }
    }
    /// The switches of the whole namespace.
    pub fn global() -> impl Iterator<Item = Self> {
        let hash = Family::ALL.into_iter().map(Self::MultipathHashPolicy);
        let conf = [Conf::All, Conf::Default].into_iter().flat_map(Self::of_conf);
        core::iter::once(Self::Ipv4Forward).chain(hash).chain(conf)
    }
    /// The switches of one interface.
    pub fn of(dev: LinkName) -> impl Iterator<Item = Self> {
        Self::of_conf(Conf::Dev(dev))
    }
    fn of_conf(conf: Conf) -> impl Iterator<Item = Self> {
        let v4 = Conf4::ALL.into_iter().map(move |name| Self::V4(conf, name));
        v4.chain(Conf6::ALL.into_iter().map(move |name| Self::V6(conf, name)))
    }
}

impl Conf4 {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::RpFilter => "rp_filter",
        }
    }
}

impl Conf6 {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::AcceptRa => "accept_ra",
            Self::DisableIpv6 => "disable_ipv6",
        }
    }
}
