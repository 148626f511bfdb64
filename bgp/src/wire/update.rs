//! UPDATE (RFC 4271 §4.3): its three fields on the way in, whole messages on the way out.

use alloc::vec::Vec;
use core::ops::Range;

use super::notification::{ErrorCode, UpdateError};
use super::{Cursor, HEADER_LEN, MessageType, NotificationMessage, append_message, put_u16_at};
use crate::Family;
use crate::attrs::{self, Attributes};

/// Where the three fields of an UPDATE lie in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Withdrawn IPv4 prefixes.
    pub withdrawn: Range<usize>,
    /// Path attributes.
    pub attributes: Range<usize>,
    /// Announced IPv4 prefixes.
    pub nlri: Range<usize>,
}

/// Finds the fields.
///
/// # Errors
/// UPDATE Message Error/Malformed Attribute List when a length runs beyond the message (RFC 7606 §3 (a), (b)).
pub fn split(body: &[u8]) -> Result<Fields, NotificationMessage> {
    fields(body).ok_or(NotificationMessage::new(ErrorCode::Update(UpdateError::MalformedAttributeList)))
}

fn fields(body: &[u8]) -> Option<Fields> {
    let mut c = Cursor::new(body);
    let n = c.u16()?;
    let from = c.offset();
    c.take(n.into())?;
    let withdrawn = from..c.offset();
    let n = c.u16()?;
    let from = c.offset();
    c.take(n.into())?;
    Some(Fields { withdrawn, attributes: from..c.offset(), nlri: c.offset()..body.len() })
}

/// An UPDATE's fixed octets: header and the two length fields.
const FIXED: usize = HEADER_LEN + 4;
/// What MP_REACH_NLRI takes besides next hop and NLRI: flags, type, extended length, AFI, SAFI, next hop's length,
/// reserved.
const MP_REACH_FIXED: usize = 4 + 5;
/// What MP_UNREACH_NLRI takes besides NLRI: flags, type, extended length, AFI, SAFI.
const MP_UNREACH_FIXED: usize = 4 + 3;

/// How an UPDATE to one kind of peer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Of what family the NLRI are.
    pub family: Family,
    /// Both sides speak 4-octet AS numbers.
    pub as4: bool,
    /// The largest message the peer takes.
    pub message_max: u16,
}

impl Form {
    /// Does the next hop travel in MP_REACH_NLRI? IPv4 prefixes with an IPv4 next hop use the old fields.
    fn multiprotocol(self) -> bool {
        self.family != Family::Ipv4Unicast
    }
    /// How many octets of NLRI one withdrawal takes.
    #[must_use]
    pub fn unreach_room(self) -> usize {
        let used = if self.multiprotocol() { FIXED + MP_UNREACH_FIXED } else { FIXED };
        usize::from(self.message_max).saturating_sub(used)
    }
    /// Appends path attributes from a canonical block as they stand in an UPDATE, all but MP_REACH_NLRI. Done once for
    /// a block, then [`Form::put_reach`] as often as there are messages.
    pub fn put_attributes(self, block: &[u8], out: &mut Vec<u8>) {
        attrs::encode::put_wire(block, self.as4, !self.multiprotocol(), out);
    }
    /// How many octets of NLRI go beside `attributes` (from [`Form::put_attributes`]) of `block` in one message: 0 when
    /// not even they fit.
    #[must_use]
    pub fn reach_room(self, block: &[u8], attributes: &[u8]) -> usize {
        let mp = match Attributes::new(block).next_hop() {
            Some(hop) if self.multiprotocol() => MP_REACH_FIXED + hop.octets().len(),
            _ => 0,
        };
        usize::from(self.message_max).saturating_sub(FIXED + mp + attributes.len())
    }
    /// Appends a whole UPDATE that announces `nlri` with the attributes of `block`. `nlri` is at most
    /// [`Form::reach_room`] octets.
    pub fn put_reach(self, block: &[u8], attributes: &[u8], nlri: &[u8], out: &mut Vec<u8>) {
        append_message(MessageType::Update, out, |out| {
            out.extend_from_slice(&[0, 0, 0, 0]);
            let start = out.len();
            if self.multiprotocol() {
                // First, so that a peer that stumbles over a later attribute knows what to withdraw (RFC 7606 §5.1).
                if let Some(hop) = Attributes::new(block).next_hop() {
                    self.put_mp_reach(hop.octets(), nlri, out);
                }
            }
            out.extend_from_slice(attributes);
            let len = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
            put_u16_at(out, start - 2, len);
            if !self.multiprotocol() {
                out.extend_from_slice(nlri);
            }
        });
    }
    fn put_mp_reach(self, hop: &[u8], nlri: &[u8], out: &mut Vec<u8>) {
        let (afi, safi) = self.family.afi_safi();
        attrs::encode::put_header(
            attrs::code::MP_REACH_NLRI,
            attrs::OPTIONAL,
            5 + hop.len() + nlri.len(),
            out,
        );
        out.extend_from_slice(&afi.to_be_bytes());
        out.push(safi);
        out.push(u8::try_from(hop.len()).unwrap_or(0));
        out.extend_from_slice(hop);
        out.push(0);
        out.extend_from_slice(nlri);
    }
    /// Appends a whole UPDATE that withdraws `nlri`, at most [`Form::unreach_room`] octets. With none it is
    /// End-of-RIB (RFC 4724 §2).
    pub fn put_unreach(self, nlri: &[u8], out: &mut Vec<u8>) {
        append_message(MessageType::Update, out, |out| {
            let len = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
            if self.multiprotocol() {
                out.extend_from_slice(&[0, 0, 0, 0]);
                let start = out.len();
                let (afi, safi) = self.family.afi_safi();
                attrs::encode::put_header(attrs::code::MP_UNREACH_NLRI, attrs::OPTIONAL, 3 + nlri.len(), out);
                out.extend_from_slice(&afi.to_be_bytes());
                out.push(safi);
                out.extend_from_slice(nlri);
                let n = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
                put_u16_at(out, start - 2, n);
            } else {
                out.extend_from_slice(&len(nlri.len()));
                out.extend_from_slice(nlri);
                out.extend_from_slice(&[0, 0]);
            }
        });
    }
    /// Appends End-of-RIB.
    pub fn put_end_of_rib(self, out: &mut Vec<u8>) {
        self.put_unreach(&[], out);
    }
}
