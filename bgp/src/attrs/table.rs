//! The attribute table: everything that is particular to one attribute, a row each.

use core::fmt::{self, Display};
use core::net::{IpAddr, Ipv4Addr};

use super::as_path::Width;
use super::sanitize::Context;
use super::{AsPath, Flaw, NextHopValue, OPTIONAL, TRANSITIVE, code};
use crate::wire::Cursor;
use crate::wire::notification::UpdateError;

/// What becomes of a malformed attribute (RFC 7606 §2), from the mildest to the hardest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute goes, the route stays.
    Discard,
    /// The routes of the UPDATE count as withdrawn.
    TreatAsWithdraw,
    /// The session ends with a NOTIFICATION.
    Reset,
}

/// How long a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many octets.
    Exactly(usize),
    /// A multiple of so many, not zero.
    MultipleOf(usize),
    /// The row's check decides.
    Checked,
}

/// Where an attribute must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// With every announcement.
    Mandatory,
    /// With every announcement from a peer in our AS.
    MandatoryInternal,
    /// Anywhere.
    Optional,
    /// From a peer in our AS only; from others it is discarded (RFC 7606 §7.5, §7.9, §7.10).
    InternalOnly,
}

/// How an attribute's wire value and its canonical value are made of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// They are the same.
    Plain,
    /// 2-octet AS numbers are widened with AS4_PATH on the way in, squeezed on the way out.
    AsPath,
    /// Likewise with AS4_AGGREGATOR.
    Aggregator,
    /// The next hop, which stands in MP_REACH_NLRI for all but IPv4.
    NextHop,
    /// Not part of the canonical block.
    Transport,
}

/// One attribute.
#[derive(Debug)]
pub struct Row {
    /// Type code.
    pub code: u8,
    /// The RFC's name.
    pub name: &'static str,
    /// Optional and Transitive as its RFC has them.
    pub flags: u8,
    /// Where it must be.
    pub presence: Presence,
    /// How long its value may be.
    pub length: Length,
    /// What else is to be checked, after the length.
    pub check: fn(&[u8], &Context) -> Option<Flaw>,
    /// What a wrong length or value leads to. Wrong flags lead to treat-as-withdraw at least (RFC 7606 §3 (c)).
    pub malformed: Disposition,
    /// The UPDATE Message Error that tells of a wrong value, should the session have to end for it.
    pub error: UpdateError,
    /// How it is written.
    pub encoding: Encoding,
    /// Shows a value.
    pub show: fn(&[u8], &mut fmt::Formatter<'_>) -> fmt::Result,
}

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;

/// Every attribute we know, by rising code.
#[rustfmt::skip]
pub static TABLE: [Row; 17] = {
    use Disposition::{Discard, Reset, TreatAsWithdraw};
    use Encoding::{Aggregator, AsPath, NextHop, Plain, Transport};
    use Length::{Checked, Exactly, MultipleOf};
    use Presence::{InternalOnly, Mandatory, MandatoryInternal, Optional};
    use UpdateError::{AttributeLength, InvalidNextHop, InvalidOrigin, MalformedAsPath, OptionalAttribute};
    [
        Row { code: code::ORIGIN, name: "ORIGIN", flags: WELL_KNOWN, presence: Mandatory,
              length: Exactly(1), check: origin, malformed: TreatAsWithdraw, error: InvalidOrigin,
              encoding: Plain, show: show_origin },
        Row { code: code::AS_PATH, name: "AS_PATH", flags: WELL_KNOWN, presence: Mandatory,
              length: Checked, check: as_path, malformed: TreatAsWithdraw, error: MalformedAsPath,
              encoding: AsPath, show: show_as_path },
        // Mandatory with IPv4 NLRI only; MP_REACH_NLRI brings its own (RFC 4760 §3).
        Row { code: code::NEXT_HOP, name: "NEXT_HOP", flags: WELL_KNOWN, presence: Mandatory,
              length: Exactly(4), check: next_hop, malformed: TreatAsWithdraw, error: InvalidNextHop,
              encoding: NextHop, show: show_next_hop },
        Row { code: code::MULTI_EXIT_DISC, name: "MULTI_EXIT_DISC", flags: OPTIONAL, presence: Optional,
              length: Exactly(4), check: anything, malformed: TreatAsWithdraw, error: AttributeLength,
              encoding: Plain, show: show_number },
        // MandatoryInternal also says what RFC 7606 §7.5 does: from an external peer it is discarded.
        Row { code: code::LOCAL_PREF, name: "LOCAL_PREF", flags: WELL_KNOWN, presence: MandatoryInternal,
              length: Exactly(4), check: anything, malformed: TreatAsWithdraw, error: AttributeLength,
              encoding: Plain, show: show_number },
        Row { code: code::ATOMIC_AGGREGATE, name: "ATOMIC_AGGREGATE", flags: WELL_KNOWN, presence: Optional,
              length: Exactly(0), check: anything, malformed: Discard, error: AttributeLength,
              encoding: Plain, show: show_octets },
        Row { code: code::AGGREGATOR, name: "AGGREGATOR", flags: OPTIONAL_TRANSITIVE, presence: Optional,
              length: Checked, check: aggregator, malformed: Discard, error: OptionalAttribute,
              encoding: Aggregator, show: show_aggregator },
        Row { code: code::COMMUNITIES, name: "COMMUNITIES", flags: OPTIONAL_TRANSITIVE, presence: Optional,
              length: MultipleOf(4), check: anything, malformed: TreatAsWithdraw, error: OptionalAttribute,
              encoding: Plain, show: show_communities },
        Row { code: code::ORIGINATOR_ID, name: "ORIGINATOR_ID", flags: OPTIONAL, presence: InternalOnly,
              length: Exactly(4), check: anything, malformed: TreatAsWithdraw, error: OptionalAttribute,
              encoding: Plain, show: show_ids },
        Row { code: code::CLUSTER_LIST, name: "CLUSTER_LIST", flags: OPTIONAL, presence: InternalOnly,
              length: MultipleOf(4), check: anything, malformed: TreatAsWithdraw, error: OptionalAttribute,
              encoding: Plain, show: show_ids },
        // Without its NLRI nobody knows what to withdraw (RFC 7606 §7.11); the walk takes it apart.
        Row { code: code::MP_REACH_NLRI, name: "MP_REACH_NLRI", flags: OPTIONAL, presence: Optional,
              length: Checked, check: anything, malformed: Reset, error: OptionalAttribute,
              encoding: Transport, show: show_octets },
        Row { code: code::MP_UNREACH_NLRI, name: "MP_UNREACH_NLRI", flags: OPTIONAL, presence: Optional,
              length: Checked, check: anything, malformed: Reset, error: OptionalAttribute,
              encoding: Transport, show: show_octets },
        Row { code: code::EXTENDED_COMMUNITIES, name: "EXTENDED_COMMUNITIES", flags: OPTIONAL_TRANSITIVE,
              presence: Optional, length: MultipleOf(8), check: anything, malformed: TreatAsWithdraw,
              error: OptionalAttribute, encoding: Plain, show: show_octets },
        Row { code: code::AS4_PATH, name: "AS4_PATH", flags: OPTIONAL_TRANSITIVE, presence: Optional,
              length: Checked, check: as4_path, malformed: Discard, error: OptionalAttribute,
              encoding: Transport, show: show_as_path },
        Row { code: code::AS4_AGGREGATOR, name: "AS4_AGGREGATOR", flags: OPTIONAL_TRANSITIVE, presence: Optional,
              length: Exactly(8), check: as4_aggregator, malformed: Discard, error: OptionalAttribute,
              encoding: Transport, show: show_aggregator },
        Row { code: code::IPV6_EXTENDED_COMMUNITIES, name: "IPV6_EXTENDED_COMMUNITIES",
              flags: OPTIONAL_TRANSITIVE, presence: Optional, length: MultipleOf(20), check: anything,
              malformed: TreatAsWithdraw, error: OptionalAttribute, encoding: Plain, show: show_octets },
        Row { code: code::LARGE_COMMUNITY, name: "LARGE_COMMUNITY", flags: OPTIONAL_TRANSITIVE,
              presence: Optional, length: MultipleOf(12), check: anything, malformed: TreatAsWithdraw,
              error: OptionalAttribute, encoding: Plain, show: show_large_communities },
    ]
};

/// Which place in [`TABLE`] a code has; 255 for none.
static INDEX: [u8; 256] = {
    let mut index = [u8::MAX; 256];
    let mut i = 0u8;
    while (i as usize) < TABLE.len() {
        index[TABLE[i as usize].code as usize] = i;
        i += 1;
    }
    index
};

/// The row of this code.
#[inline]
#[must_use]
pub fn row(code: u8) -> Option<&'static Row> {
    TABLE.get(usize::from(INDEX[usize::from(code)]))
}

impl Row {
    /// What is wrong with this value.
    #[inline]
    #[must_use]
    pub fn flaw(&self, value: &[u8], context: &Context) -> Option<Flaw> {
        let good = match self.length {
            Length::Exactly(n) => value.len() == n,
            Length::MultipleOf(n) => !value.is_empty() && value.len().is_multiple_of(n),
            Length::Checked => true,
        };
        if good { (self.check)(value, context) } else { Some(Flaw::Length) }
    }
}

fn anything(_: &[u8], _: &Context) -> Option<Flaw> {
    None
}

fn origin(value: &[u8], _: &Context) -> Option<Flaw> {
    (!matches!(value, [0..=2])).then_some(Flaw::Value)
}

fn as_path(value: &[u8], context: &Context) -> Option<Flaw> {
    let path = AsPath::of_width(value, context.width());
    path.flaw().or_else(|| {
        let peer = match context.width() {
            Width::Four => context.peer_as,
            Width::Two => crate::Asn(u16::try_from(context.peer_as.0).map_or(crate::Asn::TRANS.0, u32::from)),
        };
        (!context.internal && path.first() != Some(peer)).then_some(Flaw::FirstAs)
    })
}

fn as4_path(value: &[u8], context: &Context) -> Option<Flaw> {
    // Two 4-octet speakers have no use for it (RFC 6793 §6).
    if context.as4 {
        return Some(Flaw::Unexpected);
    }
    AsPath::new(value).as4_flaw()
}

fn as4_aggregator(value: &[u8], context: &Context) -> Option<Flaw> {
    if context.as4 {
        return Some(Flaw::Unexpected);
    }
    value.starts_with(&[0; 4]).then_some(Flaw::AsZero)
}

fn aggregator(value: &[u8], context: &Context) -> Option<Flaw> {
    let (len, asn): (usize, &[u8]) = if context.as4 { (8, &[0; 4]) } else { (6, &[0; 2]) };
    if value.len() != len {
        return Some(Flaw::Length);
    }
    value.starts_with(asn).then_some(Flaw::AsZero)
}

fn next_hop(value: &[u8], _: &Context) -> Option<Flaw> {
    let Some(NextHopValue::V4(octets)) = NextHopValue::from_octets(value) else { return Some(Flaw::Length) };
    hop_flaw(Ipv4Addr::from(octets).into())
}

/// What is wrong with an address as a next hop (RFC 4271 §6.3): it must be a host's. That it is not ours is for the RIB
/// to see, which keeps such a route and can say why it is not used.
pub(super) fn hop_flaw(address: IpAddr) -> Option<Flaw> {
    let host = match address {
        IpAddr::V4(a) => !matches!(a.octets(), [0 | 127 | 224..=255, ..]),
        IpAddr::V6(a) => !(a.is_unspecified() || a.is_loopback() || a.is_multicast()),
    };
    (!host).then_some(Flaw::Value)
}

fn show_origin(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match value {
        [0] => "IGP",
        [1] => "EGP",
        _ => "INCOMPLETE",
    })
}

fn show_as_path(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    AsPath::new(value).fmt(f)
}

fn show_next_hop(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(hop) = NextHopValue::from_octets(value) else { return show_octets(value, f) };
    hop.address().fmt(f)?;
    match hop.link_local() {
        Some(address) => write!(f, " {address}"),
        None => Ok(()),
    }
}

fn show_number(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    show_words(value, f, |n, f| write!(f, "{n}"))
}

fn show_ids(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    show_words(value, f, |n, f| Ipv4Addr::from(n).fmt(f))
}

fn show_communities(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    show_words(value, f, |n, f| write!(f, "{}:{}", n >> 16, n & 0xffff))
}

fn show_large_communities(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut c = Cursor::new(value);
    let mut gap = "";
    while let (Some(a), Some(b), Some(d)) = (c.u32(), c.u32(), c.u32()) {
        write!(f, "{gap}{a}:{b}:{d}")?;
        gap = " ";
    }
    Ok(())
}

fn show_aggregator(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut c = Cursor::new(value);
    match (c.u32(), c.u32()) {
        (Some(asn), Some(id)) => write!(f, "{asn} {}", Ipv4Addr::from(id)),
        _ => show_octets(value, f),
    }
}

fn show_words(
    value: &[u8],
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(u32, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut c = Cursor::new(value);
    let mut gap = false;
    while let Some(word) = c.u32() {
        if gap {
            f.write_str(" ")?;
        }
        each(word, f)?;
        gap = true;
    }
    Ok(())
}

pub(super) fn show_octets(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    value.iter().try_for_each(|b| write!(f, "{b:02x}"))
}
