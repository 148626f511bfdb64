//! Values that rules compare and sets hold.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{Family, IpNet, LinkName};

/// The type of a set's key field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// `ifname`
    IfName,
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `inet_proto`
    Proto,
    /// `inet_service`
    Port,
    /// `mark`
    Mark,
}

impl DataType {
    /// The type of an address of this family.
    #[must_use]
    pub fn addr(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
    /// Octets of one value.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::IfName | Self::Ipv6 => 16,
            Self::Ipv4 | Self::Mark => 4,
            Self::Proto => 1,
            Self::Port => 2,
        }
    }
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// The name of an interface.
    IfName(LinkName),
    /// Every interface whose name begins so, written `cord*`. Not in sets.
    IfNamePrefix(LinkName),
    /// An address. In hash sets only.
    Addr(IpAddr),
    /// All addresses of a network. In interval sets only, single addresses too (as /32 or /128).
    Net(IpNet),
    /// Addresses from first to last that are not a network. Found in interval sets, never asked for.
    Range(IpAddr, IpAddr),
    /// A family (`meta nfproto`). Not in sets.
    Nfproto(Family),
    /// A transport protocol by number.
    Proto(u8),
    /// A port. In hash sets only.
    Port(u16),
    /// Ports from first to last. In interval sets only, single ports too.
    Ports(u16, u16),
    /// A mark.
    Mark(u32),
    /// Any of these connection states. Not in sets.
    CtState(CtState),
    /// A way of a connection. Not in sets.
    CtDirection(CtDirection),
    /// A kind of address, as the routing table has it. Not in sets.
    AddrType(AddrType),
    /// The type of an ICMP or ICMPv6 message. Not in sets.
    IcmpType(u8),
    /// The code of an ICMP or ICMPv6 message, which says more about its type. Not in sets.
    IcmpCode(u8),
    /// Is there one or not? Not in sets.
    Exists(bool),
}

impl Value {
    /// Is it a member of interval sets, not of hash sets?
    #[must_use]
    pub fn is_interval(&self) -> bool {
        matches!(self, Self::Net(_) | Self::Range(..) | Self::Ports(..))
    }
    /// The type of set field it fits; `None` when it can't stand in a set.
    #[must_use]
    pub fn data_type(&self) -> Option<DataType> {
        match self {
            Self::IfName(_) => Some(DataType::IfName),
            Self::Addr(addr) | Self::Range(addr, _) => Some(DataType::addr(Family::of(*addr))),
            Self::Net(net) => Some(DataType::addr(net.family())),
            Self::Proto(_) => Some(DataType::Proto),
            Self::Port(_) | Self::Ports(..) => Some(DataType::Port),
            Self::Mark(_) => Some(DataType::Mark),
            Self::IfNamePrefix(_)
            | Self::Nfproto(_)
            | Self::CtState(_)
            | Self::CtDirection(_)
            | Self::AddrType(_)
            | Self::IcmpType(_)
            | Self::IcmpCode(_)
            | Self::Exists(_) => None,
        }
    }
}

/// The key of a set element: one value for each field of the set's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Of a set keyed by one field.
    One(Value),
    /// Of a concatenation.
    Many(Vec<Value>),
}

impl Key {
    /// The values, one for each field.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        match self {
            Self::One(value) => core::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl From<Value> for Key {
    fn from(value: Value) -> Self {
        Self::One(value)
    }
}

impl From<IpAddr> for Key {
    fn from(addr: IpAddr) -> Self {
        Self::One(Value::Addr(addr))
    }
}

impl From<LinkName> for Key {
    fn from(name: LinkName) -> Self {
        Self::One(Value::IfName(name))
    }
}

impl From<IpNet> for Key {
    fn from(net: IpNet) -> Self {
        Self::One(Value::Net(net))
    }
}

impl<const N: usize> From<[Value; N]> for Key {
    fn from(values: [Value; N]) -> Self {
        match values.as_slice() {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }
}

/// A set of connection states (`ct state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtState(pub u32);

impl CtState {
    /// The packet fits no connection.
    pub const INVALID: Self = Self(1);
    /// Packets went both ways.
    pub const ESTABLISHED: Self = Self(2);
    /// Belongs to a connection, as an ICMP error does.
    pub const RELATED: Self = Self(4);
    /// The first of a connection.
    pub const NEW: Self = Self(8);
    /// Not tracked.
    pub const UNTRACKED: Self = Self(64);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which way of its connection a packet goes (`ct direction`). What has no connection goes neither way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtDirection {
    /// As the first packet of the connection went.
    Original,
    /// Back.
    Reply,
}

/// A kind of address as the routing table has it (`fib … type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddrType {
    /// Somebody else's.
    Unicast,
    /// This host's.
    Local,
    /// A broadcast address.
    Broadcast,
    /// A multicast address.
    Multicast,
    /// A blackhole route.
    Blackhole,
}

/// How often a rule may match (`limit rate N/second burst B packets`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    /// So many times…
    pub rate: u64,
    /// …in this time.
    pub per: Per,
    /// So many more at once.
    pub burst: u32,
}

/// The time a rate is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Per {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    /// Its length.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}
