//! RFC 7606 in one pass: every attribute of an UPDATE is looked at once, by its row.

use alloc::vec::Vec;
use core::ops::Range;

use super::as_path::Width;
use super::encode::{put_attribute, put_header};
use super::table::{self, Disposition, Encoding, Presence, Row};
use super::view::{self, Attribute};
use super::{AsPath, EXTENDED_LENGTH, Flaw, Malformed, NextHopValue, OPTIONAL, PARTIAL, TRANSITIVE, code};
use crate::wire::notification::{ErrorCode, UpdateError};
use crate::wire::{Cursor, NotificationMessage, nlri};
use crate::{Asn, Family, FamilySet};

/// What of a session decides how its attributes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Same AS on both sides.
    pub internal: bool,
    /// Both sides speak 4-octet AS numbers (RFC 6793).
    pub as4: bool,
    /// The peer's AS, which an external AS_PATH begins with.
    pub peer_as: Asn,
    /// Families both sides offered; the rest is passed over (RFC 4760 §6).
    pub families: FamilySet,
}

impl Context {
    pub(super) fn width(&self) -> Width {
        if self.as4 { Width::Four } else { Width::Two }
    }
}

/// What RFC 7606 makes of an UPDATE's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The routes stand, less what [`Scan::discarded`] tells of.
    Keep,
    /// The routes announced count as withdrawn.
    TreatAsWithdraw(Malformed),
    /// The session ends.
    Reset(NotificationMessage),
}

/// MP_REACH_NLRI (RFC 4760 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpReach {
    /// Of what.
    pub family: Family,
    /// By what way.
    pub next_hop: NextHopValue,
    /// Where in the attributes the NLRI lie; they are well-formed.
    pub nlri: Range<usize>,
}

/// MP_UNREACH_NLRI (RFC 4760 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpUnreach {
    /// Of what.
    pub family: Family,
    /// Where in the attributes the NLRI lie; they are well-formed. None at all: End-of-RIB.
    pub nlri: Range<usize>,
}

/// What [`sanitize`] found, to be used again for the next UPDATE so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Scan {
    kept: Vec<Kept>,
    seen: [u64; 4],
    /// The raw attributes are canonical as they are.
    plain: bool,
    width4: bool,
    as4_path: Range<usize>,
    as4_aggregator: Range<usize>,
    /// MP_REACH_NLRI of a family in use.
    pub reach: Option<MpReach>,
    /// MP_UNREACH_NLRI of a family in use.
    pub unreach: Option<MpUnreach>,
    /// The first attribute that had to go.
    pub discarded: Option<Malformed>,
    withdraw: Option<(Malformed, Range<usize>)>,
}

/// An attribute that goes into the canonical block: its flags there, and where its value lies.
#[derive(Clone, Debug)]
struct Kept {
    code: u8,
    flags: u8,
    value: Range<usize>,
}

type Reset = NotificationMessage;

/// Walks the attributes of an UPDATE. `announces`: its NLRI field is not empty.
pub fn sanitize(raw: &[u8], announces: bool, context: &Context, scan: &mut Scan) -> Outcome {
    scan.clear(context);
    match scan.walk(raw, announces, context).and_then(|()| scan.conclude(raw, announces, context)) {
        Err(notification) => Outcome::Reset(notification),
        Ok(()) => match &scan.withdraw {
            Some((malformed, _)) => Outcome::TreatAsWithdraw(*malformed),
            None => Outcome::Keep,
        },
    }
}

impl Scan {
    /// Is the raw block already the canonical block of the prefixes in the NLRI field?
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.plain
    }

    /// Appends the canonical block: with `next_hop` from MP_REACH_NLRI, or with NEXT_HOP for the NLRI field.
    pub fn put_canonical(&self, raw: &[u8], next_hop: Option<NextHopValue>, out: &mut Vec<u8>) {
        let mut hop = next_hop;
        for kept in &self.kept {
            if kept.code >= code::NEXT_HOP
                && let Some(hop) = hop.take()
            {
                put_attribute(code::NEXT_HOP, TRANSITIVE, hop.octets(), out);
            }
            if kept.code == code::NEXT_HOP && next_hop.is_some() {
                continue;
            }
            self.put_kept(raw, kept, out);
        }
        if let Some(hop) = hop {
            put_attribute(code::NEXT_HOP, TRANSITIVE, hop.octets(), out);
        }
    }

    fn put_kept(&self, raw: &[u8], kept: &Kept, out: &mut Vec<u8>) {
        let value = raw.get(kept.value.clone()).unwrap_or_default();
        let encoding = table::row(kept.code).map_or(Encoding::Plain, |row| row.encoding);
        match encoding {
            Encoding::AsPath if !self.width4 => {
                let as4 = raw.get(self.as4_path.clone()).filter(|v| !v.is_empty()).map(AsPath::new);
                let mut path = Vec::new();
                AsPath::of_width(value, Width::Two).put_merged(as4, &mut path);
                put_attribute(kept.code, kept.flags, &path, out);
            }
            Encoding::Aggregator if !self.width4 => {
                let as4 = raw.get(self.as4_aggregator.clone()).filter(|v| !v.is_empty());
                put_header(kept.code, kept.flags, 8, out);
                match (as4, value) {
                    (Some(as4), _) => out.extend_from_slice(as4),
                    (None, [asn @ .., _, _, _, _]) => {
                        out.extend_from_slice(&[0, 0]);
                        out.extend_from_slice(asn);
                        out.extend_from_slice(value.get(2..).unwrap_or_default());
                    }
                    (None, _) => {}
                }
            }
            Encoding::AsPath | Encoding::Aggregator => put_attribute(kept.code, kept.flags, value, out),
            Encoding::Plain | Encoding::NextHop => put_attribute(kept.code, kept.flags, value, out),
            Encoding::Transport => {}
        }
    }

    fn clear(&mut self, context: &Context) {
        self.kept.clear();
        let kept = core::mem::take(&mut self.kept);
        *self = Self { kept, plain: true, width4: context.as4, ..Self::default() };
    }

    fn walk(&mut self, raw: &[u8], announces: bool, context: &Context) -> Result<(), Reset> {
        let mut c = Cursor::new(raw);
        while !c.is_empty() {
            let start = c.offset();
            let Some(attribute) = view::read(&mut c) else {
                let code = raw.get(start + 1).copied().unwrap_or(0);
                self.withdraw(code, Flaw::Overrun, start..raw.len());
                return Ok(());
            };
            let whole = start..c.offset();
            let (word, bit) = (usize::from(attribute.code / 64), 1u64 << (attribute.code % 64));
            if self.seen[word] & bit != 0 {
                if matches!(attribute.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                    let error = ErrorCode::Update(UpdateError::MalformedAttributeList);
                    return Err(NotificationMessage::new(error));
                }
                self.discard(attribute.code, Flaw::Duplicate);
                continue;
            }
            self.seen[word] |= bit;
            match table::row(attribute.code) {
                None => self.unknown(raw, attribute, whole)?,
                Some(row) if row.code == code::NEXT_HOP && !announces => self.plain = false,
                Some(row) => self.known(raw, row, whole, context)?,
            }
        }
        Ok(())
    }

    fn unknown(&mut self, raw: &[u8], attribute: Attribute<'_>, whole: Range<usize>) -> Result<(), Reset> {
        if attribute.flags & OPTIONAL == 0 {
            let data = raw.get(whole).unwrap_or_default();
            let error = ErrorCode::Update(UpdateError::UnrecognizedWellKnown);
            return Err(NotificationMessage::with_data(error, data));
        }
        if attribute.flags & TRANSITIVE == 0 {
            self.plain = false;
        } else {
            self.keep(attribute, attribute.flags & (OPTIONAL | TRANSITIVE | PARTIAL), whole.end);
        }
        Ok(())
    }

    fn known(&mut self, raw: &[u8], row: &Row, whole: Range<usize>, context: &Context) -> Result<(), Reset> {
        let mut c = Cursor::new(raw.get(whole.clone()).unwrap_or_default());
        let Some(attribute) = view::read(&mut c) else { return Ok(()) };
        if !context.internal && matches!(row.presence, Presence::InternalOnly | Presence::MandatoryInternal) {
            self.discard(row.code, Flaw::Unexpected);
            return Ok(());
        }
        if attribute.flags & (OPTIONAL | TRANSITIVE) != row.flags {
            self.withdraw(row.code, Flaw::Flags, whole.clone());
        }
        let value_at = whole.end - attribute.value.len();
        let read = match row.code {
            code::MP_REACH_NLRI => self.mp_reach(attribute.value, value_at, &whole, context),
            code::MP_UNREACH_NLRI => self.mp_unreach(attribute.value, value_at, context),
            _ => match row.flaw(attribute.value, context) {
                Some(flaw) => Err(flaw),
                None => {
                    self.keep_known(row, attribute, value_at..whole.end, context);
                    Ok(())
                }
            },
        };
        match read {
            Ok(()) => Ok(()),
            Err(flaw) => self.dispose(raw, row, flaw, whole),
        }
    }

    fn dispose(&mut self, raw: &[u8], row: &Row, flaw: Flaw, whole: Range<usize>) -> Result<(), Reset> {
        let malformed = Malformed { code: row.code, flaw };
        match row.malformed {
            // RFC 9774 §3 goes further than RFC 6793 with sets in AS4_PATH.
            Disposition::Discard if flaw == Flaw::AsSet => self.withdraw(row.code, flaw, whole),
            Disposition::Discard => self.discard(row.code, flaw),
            Disposition::TreatAsWithdraw => self.withdraw(row.code, flaw, whole),
            Disposition::Reset => {
                return Err(malformed.notification(raw.get(whole).unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn keep_known(&mut self, row: &Row, attribute: Attribute<'_>, value: Range<usize>, context: &Context) {
        match (row.encoding, row.code) {
            (Encoding::Transport, code::AS4_PATH) => self.as4_path = value,
            (Encoding::Transport, _) => self.as4_aggregator = value,
            (Encoding::AsPath | Encoding::Aggregator, _) => {
                self.plain &= context.as4;
                self.keep_flagged(row, attribute, value.end);
            }
            (Encoding::Plain | Encoding::NextHop, _) => self.keep_flagged(row, attribute, value.end),
        }
    }

    fn keep_flagged(&mut self, row: &Row, attribute: Attribute<'_>, end: usize) {
        // Partial means something on optional transitive attributes only (RFC 4271 §4.3).
        let partial = if row.flags == OPTIONAL | TRANSITIVE { attribute.flags & PARTIAL } else { 0 };
        self.keep(attribute, row.flags | partial, end);
    }

    fn keep(&mut self, attribute: Attribute<'_>, flags: u8, end: usize) {
        let long = if attribute.value.len() > 255 { EXTENDED_LENGTH } else { 0 };
        self.plain &= attribute.flags == flags | long;
        let kept = Kept { code: attribute.code, flags, value: end - attribute.value.len()..end };
        match self.kept.last() {
            Some(last) if last.code > kept.code => {
                self.plain = false;
                let at = self.kept.partition_point(|k| k.code < kept.code);
                self.kept.insert(at, kept);
            }
            _ => self.kept.push(kept),
        }
    }

    /// Errs when the NLRI can't be trusted; a next hop of the right length that is no host's only withdraws.
    fn mp_reach(
        &mut self,
        value: &[u8],
        at: usize,
        whole: &Range<usize>,
        context: &Context,
    ) -> Result<(), Flaw> {
        self.plain = false;
        let mut c = Cursor::new(value);
        let (Some(afi), Some(safi), Some(hop_len)) = (c.u16(), c.u8(), c.u8()) else {
            return Err(Flaw::Length);
        };
        let hop = c.take(hop_len.into()).ok_or(Flaw::Length)?;
        c.u8().ok_or(Flaw::Length)?;
        let Some(family) = Family::from_afi_safi(afi, safi).filter(|f| context.families.contains(*f)) else {
            self.discarded.get_or_insert(Malformed { code: code::MP_REACH_NLRI, flaw: Flaw::Unexpected });
            return Ok(());
        };
        let next_hop = match (family, NextHopValue::from_octets(hop)) {
            (Family::Ipv4Unicast, Some(hop @ NextHopValue::V4(_))) => hop,
            (Family::Ipv6Unicast, Some(hop @ (NextHopValue::V6(_) | NextHopValue::V6LinkLocal(_)))) => hop,
            _ => return Err(Flaw::Length),
        };
        nlri::count(family, c.rest()).ok_or(Flaw::Value)?;
        if let Some(flaw) = table::hop_flaw(next_hop.address()) {
            self.withdraw(code::MP_REACH_NLRI, flaw, whole.clone());
        }
        self.reach = Some(MpReach { family, next_hop, nlri: at + c.offset()..at + value.len() });
        Ok(())
    }

    fn mp_unreach(&mut self, value: &[u8], at: usize, context: &Context) -> Result<(), Flaw> {
        self.plain = false;
        let mut c = Cursor::new(value);
        let (Some(afi), Some(safi)) = (c.u16(), c.u8()) else { return Err(Flaw::Length) };
        let Some(family) = Family::from_afi_safi(afi, safi).filter(|f| context.families.contains(*f)) else {
            self.discarded.get_or_insert(Malformed { code: code::MP_UNREACH_NLRI, flaw: Flaw::Unexpected });
            return Ok(());
        };
        nlri::count(family, c.rest()).ok_or(Flaw::Value)?;
        self.unreach = Some(MpUnreach { family, nlri: at + c.offset()..at + value.len() });
        Ok(())
    }

    fn conclude(&mut self, raw: &[u8], announces: bool, context: &Context) -> Result<(), Reset> {
        if announces || self.reach.is_some() {
            for row in &table::TABLE {
                let wanted = match row.presence {
                    Presence::Mandatory => row.code != code::NEXT_HOP || announces,
                    Presence::MandatoryInternal => context.internal,
                    Presence::Optional | Presence::InternalOnly => false,
                };
                if wanted && !self.has_seen(row.code) {
                    self.withdraw(row.code, Flaw::Missing, 0..0);
                }
            }
        } else if let Some((malformed, whole)) = &self.withdraw
            && malformed.code != code::MP_UNREACH_NLRI
            && !self.has_seen(code::MP_REACH_NLRI)
        {
            // Attributes with nothing to withdraw: perhaps the damage hid the NLRI (RFC 7606 §5.2).
            return Err(malformed.notification(raw.get(whole.clone()).unwrap_or_default()));
        }
        if !context.as4 {
            self.settle_as4(raw);
            self.settle_first_as(raw, context);
        }
        Ok(())
    }

    /// An AGGREGATOR that is not AS_TRANS was put on by a 2-octet speaker on the way: what stands in AS4_PATH and
    /// AS4_AGGREGATOR is older than it (RFC 6793 §4.2.3).
    fn settle_as4(&mut self, raw: &[u8]) {
        let aggregator = self.kept.iter().find(|k| k.code == code::AGGREGATOR);
        let Some(value) = aggregator.and_then(|k| raw.get(k.value.clone())) else { return };
        let trans = u16::try_from(Asn::TRANS.0).unwrap_or_default().to_be_bytes();
        if !value.starts_with(&trans) {
            self.as4_path = 0..0;
            self.as4_aggregator = 0..0;
        }
    }

    /// An AS4_PATH that covers the whole AS_PATH of an external peer may not put another AS in front than the peer's: a
    /// 2-octet speaker's own is never in it.
    fn settle_first_as(&mut self, raw: &[u8], context: &Context) {
        let path = self.kept.iter().find(|k| k.code == code::AS_PATH).and_then(|k| raw.get(k.value.clone()));
        let as4 = raw.get(self.as4_path.clone()).filter(|v| !v.is_empty());
        let (Some(path), Some(as4)) = (path, as4) else { return };
        let path = AsPath::of_width(path, Width::Two);
        let merged = path.merged_first(AsPath::new(as4));
        if !context.internal && merged != path.first() && merged != Some(context.peer_as) {
            self.as4_path = 0..0;
            self.discard(code::AS4_PATH, Flaw::FirstAs);
        }
    }

    fn has_seen(&self, code: u8) -> bool {
        self.seen[usize::from(code / 64)] & (1 << (code % 64)) != 0
    }
    fn discard(&mut self, code: u8, flaw: Flaw) {
        self.plain = false;
        self.discarded.get_or_insert(Malformed { code, flaw });
    }
    fn withdraw(&mut self, code: u8, flaw: Flaw, whole: Range<usize>) {
        self.plain = false;
        self.withdraw.get_or_insert((Malformed { code, flaw }, whole));
    }
}

impl Malformed {
    /// The UPDATE Message Error for a session that has to end over it (RFC 4271 §6.3), `attribute` with its header as
    /// data.
    #[must_use]
    pub fn notification(self, attribute: &[u8]) -> NotificationMessage {
        let row = table::row(self.code);
        let error = match self.flaw {
            Flaw::Flags => UpdateError::AttributeFlags,
            Flaw::Overrun => UpdateError::AttributeLength,
            Flaw::Length => match row.map(|r| r.error) {
                Some(error @ (UpdateError::MalformedAsPath | UpdateError::OptionalAttribute)) => error,
                _ => UpdateError::AttributeLength,
            },
            Flaw::Missing => {
                let error = ErrorCode::Update(UpdateError::MissingWellKnown);
                return NotificationMessage::with_data(error, &[self.code]);
            }
            Flaw::Duplicate => UpdateError::MalformedAttributeList,
            Flaw::Value | Flaw::AsSet | Flaw::AsZero | Flaw::FirstAs | Flaw::Unexpected => {
                row.map_or(UpdateError::OptionalAttribute, |r| r.error)
            }
        };
        let data = match error {
            // These two have none (RFC 4271 §6.3).
            UpdateError::MalformedAsPath | UpdateError::MalformedAttributeList => &[],
            _ => attribute,
        };
        NotificationMessage::with_data(ErrorCode::Update(error), data)
    }
}
