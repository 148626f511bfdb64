//! OPEN (RFC 4271 §4.2) with optional parameters of either length (RFC 9072) and its capabilities.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use nom::combinator::all_consuming;
use nom::multi::{length_data, many0};
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::capability::{self, Offer};
use super::notification::{ErrorCode, OpenError};
use super::{MessageType, NotificationMessage};
use crate::{Asn, Family, FamilySet, RouterId};

const VERSION: u8 = 4;
const CAPABILITIES: u8 = 2;
/// As parameter length and first parameter type: the lengths that follow have two octets (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// An OPEN that is right in itself; whether it is the right peer's is the session's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: from the 4-octet capability if there is one.
    pub asn: Asn,
    /// The hold time it offers: zero or at least 3 s.
    pub hold_time: Duration,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// What it can do.
    pub offer: Offer,
}

type Parameter<'a> = (u8, &'a [u8]);

impl Open {
    /// From a message's body.
    ///
    /// # Errors
    /// The NOTIFICATION of RFC 4271 §6.2, RFC 6286 §2.2, RFC 7607 §2.
    pub fn decode(body: &[u8]) -> Result<Self, NotificationMessage> {
        let error = |e: OpenError| NotificationMessage::new(ErrorCode::Open(e));
        let unspecific = || error(OpenError::Other(0));
        let Ok((parameters, (version, as2, hold, id))) = fixed(body) else { return Err(unspecific()) };
        if version != VERSION {
            let data = [0, VERSION];
            let code = ErrorCode::Open(OpenError::UnsupportedVersion);
            return Err(NotificationMessage::with_data(code, &data));
        }
        let (_, parameters) = parameters_of(parameters).map_err(|_| unspecific())?;
        let offer = read_offer(&parameters)?;
        let asn = offer.as4.unwrap_or(Asn(as2.into()));
        if asn == Asn(0) || as2 == 0 {
            return Err(error(OpenError::BadPeerAs));
        }
        let router_id = RouterId::new(id.into()).ok_or(error(OpenError::BadIdentifier))?;
        if matches!(hold, 1 | 2) {
            return Err(error(OpenError::UnacceptableHoldTime));
        }
        Ok(Self { asn, hold_time: Duration::from_secs(hold.into()), router_id, offer })
    }

    /// The whole message. Parameters beyond 255 octets take the form of RFC 9072.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut capabilities = Vec::new();
        capability::encode(&self.offer, &mut capabilities);
        let as2 = u16::try_from(self.asn.0).unwrap_or(23456);
        let hold = u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX);
        super::message(MessageType::Open, |out| {
            out.push(VERSION);
            out.extend_from_slice(&as2.to_be_bytes());
            out.extend_from_slice(&hold.to_be_bytes());
            out.extend_from_slice(&self.router_id.get().to_be_bytes());
            put_parameter(&capabilities, out);
        })
    }
}

fn put_parameter(capabilities: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(capabilities.len()) {
        Ok(0) => out.push(0),
        Ok(n) if n <= 253 => {
            out.extend_from_slice(&[n + 2, CAPABILITIES, n]);
            out.extend_from_slice(capabilities);
        }
        _ => {
            let n = u16::try_from(capabilities.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&[EXTENDED, EXTENDED]);
            out.extend_from_slice(&n.saturating_add(3).to_be_bytes());
            out.push(CAPABILITIES);
            out.extend_from_slice(&n.to_be_bytes());
            out.extend_from_slice(capabilities);
        }
    }
}

fn fixed(input: &[u8]) -> IResult<&[u8], (u8, u16, u16, u32)> {
    (be_u8, be_u16, be_u16, be_u32).parse(input)
}

fn parameters_of(input: &[u8]) -> IResult<&[u8], Vec<Parameter<'_>>> {
    if let Some(long) = input.strip_prefix(&[EXTENDED, EXTENDED]) {
        let (_, list) = all_consuming(length_data(be_u16)).parse(long)?;
        return all_consuming(many0((be_u8, length_data(be_u16)))).parse(list);
    }
    let (_, list) = all_consuming(length_data(be_u8)).parse(input)?;
    all_consuming(many0((be_u8, length_data(be_u8)))).parse(list)
}

fn read_offer(parameters: &[Parameter<'_>]) -> Result<Offer, NotificationMessage> {
    let mut offer = Offer::default();
    let mut names_families = false;
    for (kind, value) in parameters {
        if *kind != CAPABILITIES {
            return Err(NotificationMessage::new(ErrorCode::Open(OpenError::UnsupportedParameter)));
        }
        if !capability::decode(value, &mut offer) {
            return Err(NotificationMessage::new(ErrorCode::Open(OpenError::Other(0))));
        }
        names_families |= capability::names_families(value);
    }
    if !names_families {
        offer.families = FamilySet::EMPTY.with(Family::Ipv4Unicast);
    }
    Ok(offer)
}
