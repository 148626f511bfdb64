//! What a rule does, step by step.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Name;
use super::value::{AddrType, CtDirection, CtState, DataType, Limit, Value};
use crate::{Family, IpNet, LinkName};

/// What of a packet is looked at. A field of a network or transport header implies that header: `ip saddr`
/// matches IPv4 packets only, `tcp dport` TCP only, without saying so (the encoder adds the test, as `nft`
/// does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `iifname`: the interface it came by.
    Iifname,
    /// `oifname`: the interface it leaves by.
    Oifname,
    /// `meta nfproto`: IPv4 or IPv6.
    Nfproto,
    /// `meta l4proto`: the transport protocol.
    L4proto,
    /// `meta mark`: the packet's mark.
    Mark,
    /// `ct state`.
    CtState,
    /// `ct mark`: the connection's mark.
    CtMark,
    /// `ct direction`: which way of its connection.
    CtDirection,
    /// `ip saddr` or `ip6 saddr`.
    Saddr(Family),
    /// `ip daddr` or `ip6 daddr`.
    Daddr(Family),
    /// `tcp sport`, `udp sport`.
    Sport(L4),
    /// `tcp dport`, `udp dport`.
    Dport(L4),
    /// `icmp type` or `icmpv6 type`.
    IcmpType(Family),
    /// `icmp code` or `icmpv6 code`.
    IcmpCode(Family),
    /// `fib saddr type`: what the source is to this host.
    FibSaddrType,
    /// `fib daddr type`: what the destination is to this host.
    FibDaddrType,
    /// `fib saddr . iif oif`: the way back to the source leads by the interface the packet came by.
    FibReturnPath,
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl L4 {
    /// The IANA protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl Field {
    /// The type of set field it looks up; `None` when it can't be looked up in a set.
    #[must_use]
    pub fn data_type(self) -> Option<DataType> {
        match self {
            Self::Iifname | Self::Oifname => Some(DataType::IfName),
            Self::L4proto => Some(DataType::Proto),
            Self::Mark | Self::CtMark => Some(DataType::Mark),
            Self::Saddr(family) | Self::Daddr(family) => Some(DataType::addr(family)),
            Self::Sport(_) | Self::Dport(_) => Some(DataType::Port),
            Self::Nfproto
            | Self::CtState
            | Self::CtDirection
            | Self::IcmpType(_)
            | Self::IcmpCode(_)
            | Self::FibSaddrType
            | Self::FibDaddrType
            | Self::FibReturnPath => None,
        }
    }
    /// The family its header implies.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Saddr(family) | Self::Daddr(family) | Self::IcmpType(family) | Self::IcmpCode(family) => {
                Some(family)
            }
            _ => None,
        }
    }
    /// The transport protocol its header implies.
    #[must_use]
    pub fn protocol(self) -> Option<u8> {
        match self {
            Self::Sport(l4) | Self::Dport(l4) => Some(l4.number()),
            Self::IcmpType(Family::V4) | Self::IcmpCode(Family::V4) => Some(1),
            Self::IcmpType(Family::V6) | Self::IcmpCode(Family::V6) => Some(58),
            _ => None,
        }
    }
}

/// Equal or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cmp {
    /// The packet must be so.
    Eq,
    /// The packet must not be so.
    Ne,
}

/// A comparison of one field with one value. Made by the functions below only, so that value and field fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    field: Field,
    mask: Option<u32>,
    cmp: Cmp,
    value: Value,
}

impl Match {
    const fn eq(field: Field, value: Value) -> Self {
        Self { field, mask: None, cmp: Cmp::Eq, value }
    }
    /// `iifname NAME`
    #[must_use]
    pub const fn iifname(name: LinkName) -> Self {
        Self::eq(Field::Iifname, Value::IfName(name))
    }
    /// `iifname PREFIX*`
    #[must_use]
    pub const fn iifname_prefix(prefix: LinkName) -> Self {
        Self::eq(Field::Iifname, Value::IfNamePrefix(prefix))
    }
    /// `oifname NAME`
    #[must_use]
    pub const fn oifname(name: LinkName) -> Self {
        Self::eq(Field::Oifname, Value::IfName(name))
    }
    /// `oifname PREFIX*`
    #[must_use]
    pub const fn oifname_prefix(prefix: LinkName) -> Self {
        Self::eq(Field::Oifname, Value::IfNamePrefix(prefix))
    }
    /// `meta nfproto ipv4` or `ipv6`
    #[must_use]
    pub const fn nfproto(family: Family) -> Self {
        Self::eq(Field::Nfproto, Value::Nfproto(family))
    }
    /// `meta l4proto N`: 1 ICMP, 4 IPIP, 6 TCP, 17 UDP, 58 ICMPv6, 132 SCTP.
    #[must_use]
    pub const fn l4proto(protocol: u8) -> Self {
        Self::eq(Field::L4proto, Value::Proto(protocol))
    }
    /// `ct state A,B`: any of these.
    #[must_use]
    pub const fn ct_state(states: CtState) -> Self {
        Self::eq(Field::CtState, Value::CtState(states))
    }
    /// `ct direction original` or `reply`
    #[must_use]
    pub const fn ct_direction(direction: CtDirection) -> Self {
        Self::eq(Field::CtDirection, Value::CtDirection(direction))
    }
    /// `meta mark and MASK == VALUE`
    #[must_use]
    pub const fn mark(mask: u32, value: u32) -> Self {
        Self { field: Field::Mark, mask: Some(mask), cmp: Cmp::Eq, value: Value::Mark(value) }
    }
    /// `ct mark and MASK == VALUE`
    #[must_use]
    pub const fn ct_mark(mask: u32, value: u32) -> Self {
        Self { field: Field::CtMark, mask: Some(mask), cmp: Cmp::Eq, value: Value::Mark(value) }
    }
    /// `ip saddr NET`; of a network of length 0, `meta nfproto`.
    #[must_use]
    pub fn saddr(net: IpNet) -> Self {
        Self::in_net(Field::Saddr(net.family()), net)
    }
    /// `ip daddr NET`; of a network of length 0, `meta nfproto`.
    #[must_use]
    pub fn daddr(net: IpNet) -> Self {
        Self::in_net(Field::Daddr(net.family()), net)
    }
    fn in_net(field: Field, net: IpNet) -> Self {
        if net.prefix_len() == 0 {
            Self::nfproto(net.family())
        } else if net.is_host() {
            Self::eq(field, Value::Addr(net.addr()))
        } else {
            Self::eq(field, Value::Net(net))
        }
    }
    /// `ip saddr ADDR`
    #[must_use]
    pub fn saddr_is(addr: IpAddr) -> Self {
        Self::saddr(IpNet::host(addr))
    }
    /// `ip daddr ADDR`
    #[must_use]
    pub fn daddr_is(addr: IpAddr) -> Self {
        Self::daddr(IpNet::host(addr))
    }
    /// `tcp sport N` or `N-M`
    #[must_use]
    pub const fn sport(l4: L4, first: u16, last: u16) -> Self {
        Self::eq(Field::Sport(l4), Self::ports(first, last))
    }
    /// `tcp dport N` or `N-M`
    #[must_use]
    pub const fn dport(l4: L4, first: u16, last: u16) -> Self {
        Self::eq(Field::Dport(l4), Self::ports(first, last))
    }
    const fn ports(first: u16, last: u16) -> Value {
        if first == last { Value::Port(first) } else { Value::Ports(first, last) }
    }
    /// `icmp type N` or `icmpv6 type N`
    #[must_use]
    pub const fn icmp_type(family: Family, kind: u8) -> Self {
        Self::eq(Field::IcmpType(family), Value::IcmpType(kind))
    }
    /// `icmp code N` or `icmpv6 code N`
    #[must_use]
    pub const fn icmp_code(family: Family, code: u8) -> Self {
        Self::eq(Field::IcmpCode(family), Value::IcmpCode(code))
    }
    /// `fib saddr type T`
    #[must_use]
    pub const fn saddr_type(kind: AddrType) -> Self {
        Self::eq(Field::FibSaddrType, Value::AddrType(kind))
    }
    /// `fib daddr type T`
    #[must_use]
    pub const fn daddr_type(kind: AddrType) -> Self {
        Self::eq(Field::FibDaddrType, Value::AddrType(kind))
    }
    /// `fib saddr . iif oif exists` (or `missing`): strict reverse path check.
    #[must_use]
    pub const fn return_path(exists: bool) -> Self {
        Self::eq(Field::FibReturnPath, Value::Exists(exists))
    }
    /// The opposite: `!=`.
    #[must_use]
    pub const fn not(mut self) -> Self {
        self.cmp = match self.cmp {
            Cmp::Eq => Cmp::Ne,
            Cmp::Ne => Cmp::Eq,
        };
        self
    }
    /// What is looked at.
    #[must_use]
    pub fn field(&self) -> Field {
        self.field
    }
    /// Which bits of it, for marks.
    #[must_use]
    pub fn mask(&self) -> Option<u32> {
        self.mask
    }
    /// Equal or not.
    #[must_use]
    pub fn cmp(&self) -> Cmp {
        self.cmp
    }
    /// What it is compared with.
    #[must_use]
    pub fn value(&self) -> Value {
        self.value
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Ends this base chain; later chains of the same hook still see the packet.
    Accept,
    /// Ends everything, without an answer to the sender.
    Drop,
    /// Go on with the next rule: in a map, an element that decides nothing.
    Continue,
    /// Back to the chain that jumped here; in a base chain, its policy.
    Return,
    /// To another chain, and back at its end.
    Jump(Name),
    /// To another chain, and at its end back to where the last jump came from.
    Goto(Name),
}

/// One step of a rule. Steps are done in order; the first that does not match ends the rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// Go on if the field is as said.
    Match(Match),
    /// Go on if these fields together are an element of the set: `ip saddr . tcp dport @set`.
    InSet(Vec<Field>, Name),
    /// Go on if they are not: `ip saddr != @set`.
    NotInSet(Vec<Field>, Name),
    /// Do what the map says for these fields, go on if it says nothing: `iifname vmap @map`.
    Vmap(Vec<Field>, Name),
    /// Count packets and octets. What was counted is not part of the rule.
    Counter,
    /// Go on while within the rate.
    Limit(Limit),
    /// Write a line with this prefix to the kernel's log.
    Log(String),
    /// Hand a copy to whoever listens to this group of the kernel's packet log (`log prefix "…" group N`).
    LogGroup {
        /// Which group.
        group: u16,
        /// What the copy says of itself, at most 127 octets.
        prefix: String,
        /// How many octets of a packet at most; 0: all of them, or as many as the listener wants.
        snaplen: u32,
    },
    /// `meta mark set meta mark and ~MASK or VALUE`: write these bits of the packet's mark.
    SetMark {
        /// Which bits.
        mask: u32,
        /// Their value.
        value: u32,
    },
    /// The same on the connection's mark.
    SetCtMark {
        /// Which bits.
        mask: u32,
        /// Their value.
        value: u32,
    },
    /// Do not track this packet's connection (`notrack`).
    Notrack,
    /// Translate the source to an address of the outgoing interface, from a random port (`masquerade
    /// fully-random`).
    Masquerade,
    /// End here.
    Verdict(Verdict),
    /// Found, and not something we write: somebody else's, by the kernel's name for it. Never asked for.
    Other(String),
}

impl Expr {
    /// The fields it looks at.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Match(what) => core::slice::from_ref(&what.field),
            Self::InSet(fields, _) | Self::NotInSet(fields, _) | Self::Vmap(fields, _) => fields,
            _ => &[],
        }
    }
}
