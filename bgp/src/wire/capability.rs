//! Capabilities (RFC 5492 §4): what a speaker can do, one type-length-value each.

use alloc::vec::Vec;
use core::time::Duration;

use nom::IResult;
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{all_consuming, map};
use nom::multi::{length_data, many0};
use nom::number::complete::{be_u8, be_u16, be_u32};

use crate::{Asn, Family, FamilySet};

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;

/// What one OPEN offers. Capabilities we don't know are passed over (RFC 5492 §3), and so are families we don't know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Multiprotocol families (RFC 4760 §8); IPv4 unicast when an OPEN names none at all.
    pub families: FamilySet,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Messages up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// 4-octet AS numbers, and the true one (RFC 6793).
    pub as4: Option<Asn>,
}

/// The graceful restart capability (RFC 4724 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: this speaker has restarted and waits for our End-of-RIB no longer than it must.
    pub restarted: bool,
    /// N: also across NOTIFICATION and hold timer expiry (RFC 8538 §2).
    pub notification: bool,
    /// How long to wait for it to come back: whole seconds, 0 to 4095.
    pub restart_time: Duration,
    /// Families whose forwarding it keeps across its restart.
    pub families: FamilySet,
    /// F: of these, the families whose forwarding state it has in fact kept.
    pub forwarding: FamilySet,
}

/// One capability that we know.
enum Capability {
    Multiprotocol(Option<Family>),
    RouteRefresh,
    ExtendedMessage,
    GracefulRestart(GracefulRestart),
    FourOctetAs(Asn),
    Unknown,
}

/// Reads the value of a Capabilities optional parameter into `offer`: the families it names are added to those there,
/// of the rest the last word counts. False when the octets are no capabilities.
pub(super) fn decode(value: &[u8], offer: &mut Offer) -> bool {
    let Ok((_, capabilities)) = all_consuming(many0(capability)).parse(value) else { return false };
    for c in capabilities {
        match c {
            Capability::Multiprotocol(Some(family)) => offer.families = offer.families.with(family),
            Capability::Multiprotocol(None) | Capability::Unknown => {}
            Capability::RouteRefresh => offer.route_refresh = true,
            Capability::ExtendedMessage => offer.extended_messages = true,
            Capability::GracefulRestart(g) => offer.graceful_restart = Some(g),
            Capability::FourOctetAs(asn) => offer.as4 = Some(asn),
        }
    }
    true
}

/// Does this Capabilities parameter hold a Multiprotocol capability, of whatever family?
pub(super) fn names_families(value: &[u8]) -> bool {
    let type_and_value = (be_u8::<_, nom::error::Error<&[u8]>>, length_data(be_u8));
    many0(type_and_value)
        .parse(value)
        .is_ok_and(|(_, all)| all.iter().any(|(code, _)| *code == MULTIPROTOCOL))
}

fn capability(input: &[u8]) -> IResult<&[u8], Capability> {
    let (rest, (code, value)) = (be_u8, length_data(be_u8)).parse(input)?;
    let (_, capability) = match code {
        MULTIPROTOCOL => all_consuming(multiprotocol).parse(value)?,
        ROUTE_REFRESH => (value, Capability::RouteRefresh),
        EXTENDED_MESSAGE => (value, Capability::ExtendedMessage),
        GRACEFUL_RESTART => all_consuming(map(graceful_restart, Capability::GracefulRestart)).parse(value)?,
        FOUR_OCTET_AS => all_consuming(map(be_u32, |n| Capability::FourOctetAs(Asn(n)))).parse(value)?,
        _ => (value, Capability::Unknown),
    };
    Ok((rest, capability))
}

fn multiprotocol(input: &[u8]) -> IResult<&[u8], Capability> {
    map((be_u16, be_u8, be_u8), |(afi, _, safi)| Capability::Multiprotocol(Family::from_afi_safi(afi, safi)))
        .parse(input)
}

fn graceful_restart(input: &[u8]) -> IResult<&[u8], GracefulRestart> {
    let (mut rest, head) = be_u16(input)?;
    let mut g = GracefulRestart {
        restarted: head & 0x8000 != 0,
        notification: head & 0x4000 != 0,
        restart_time: Duration::from_secs((head & 0x0fff).into()),
        ..GracefulRestart::default()
    };
    while !rest.is_empty() {
        let (after, family) = take(4usize)(rest)?;
        let (_, (afi, safi, flags)) = (be_u16, be_u8, be_u8).parse(family)?;
        if let Some(family) = Family::from_afi_safi(afi, safi) {
            g.families = g.families.with(family);
            if flags & 0x80 != 0 {
                g.forwarding = g.forwarding.with(family);
            }
        }
        rest = after;
    }
    Ok((rest, g))
}

/// Appends every capability of `offer`.
pub(crate) fn encode(offer: &Offer, out: &mut Vec<u8>) {
    for (afi, safi) in offer.families.iter().map(Family::afi_safi) {
        out.extend_from_slice(&[MULTIPROTOCOL, 4]);
        out.extend_from_slice(&afi.to_be_bytes());
        out.extend_from_slice(&[0, safi]);
    }
    if offer.route_refresh {
        out.extend_from_slice(&[ROUTE_REFRESH, 0]);
    }
    if offer.extended_messages {
        out.extend_from_slice(&[EXTENDED_MESSAGE, 0]);
    }
    if let Some(g) = &offer.graceful_restart {
        let n = u8::try_from(g.families.iter().count()).unwrap_or(0);
        out.extend_from_slice(&[GRACEFUL_RESTART, 2 + 4 * n]);
        let time = u16::try_from(g.restart_time.as_secs()).unwrap_or(0x0fff).min(0x0fff);
        let bits = (u16::from(g.restarted) << 15) | (u16::from(g.notification) << 14);
        out.extend_from_slice(&(bits | time).to_be_bytes());
        for family in g.families.iter() {
            let (afi, safi) = family.afi_safi();
            out.extend_from_slice(&afi.to_be_bytes());
            out.extend_from_slice(&[safi, u8::from(g.forwarding.contains(family)) << 7]);
        }
    }
    if let Some(asn) = offer.as4 {
        out.extend_from_slice(&[FOUR_OCTET_AS, 4]);
        out.extend_from_slice(&asn.0.to_be_bytes());
    }
}
