//! AS_PATH (RFC 4271 §5.1.2, RFC 6793): segments of a type, a count and so many AS numbers.

use alloc::vec::Vec;
use core::fmt;

use super::Flaw;
use crate::Asn;
use crate::wire::Cursor;

/// Segment type: unordered (RFC 9774 does away with it).
pub(super) const AS_SET: u8 = 1;
/// Segment type: ordered.
pub(super) const AS_SEQUENCE: u8 = 2;
const AS_CONFED_SEQUENCE: u8 = 3;
const AS_CONFED_SET: u8 = 4;

/// How wide the AS numbers in a path are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
}

impl Width {
    fn octets(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    kind: u8,
    numbers: &'a [u8],
    width: Width,
}

impl<'a> Segment<'a> {
    /// An unordered one, which counts as one AS (RFC 4271 §9.1.2.2 (a)).
    #[must_use]
    pub fn is_set(self) -> bool {
        self.kind == AS_SET
    }
    /// Its AS numbers as they stand there.
    pub fn numbers(self) -> impl Iterator<Item = Asn> + 'a {
        let mut c = Cursor::new(self.numbers);
        core::iter::from_fn(move || match self.width {
            Width::Two => c.u16().map(|n| Asn(n.into())),
            Width::Four => c.u32().map(Asn),
        })
    }
    fn len(self) -> usize {
        self.numbers.len() / self.width.octets()
    }
}

/// The value of an AS_PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsPath<'a> {
    value: &'a [u8],
    width: Width,
}

impl<'a> AsPath<'a> {
    /// Of the value in a canonical block: 4 octets an AS number.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { value, width: Width::Four }
    }
    pub(super) fn of_width(value: &'a [u8], width: Width) -> Self {
        Self { value, width }
    }
    /// Its segments; it ends where they can't be read.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> {
        let mut c = Cursor::new(self.value);
        core::iter::from_fn(move || segment(&mut c, self.width))
    }
    /// Every AS number in it, leftmost (nearest) first.
    pub fn iter(self) -> impl Iterator<Item = Asn> + 'a {
        self.segments().flat_map(Segment::numbers)
    }
    /// How long it counts in the decision process: a set is one.
    #[must_use]
    pub fn hops(self) -> usize {
        self.segments().map(|s| if s.is_set() { 1 } else { s.len() }).sum()
    }
    /// The leftmost AS: the neighbour that sent it, in eBGP.
    #[must_use]
    pub fn first(self) -> Option<Asn> {
        self.iter().next()
    }
    /// The rightmost AS: where it comes from.
    #[must_use]
    pub fn origin(self) -> Option<Asn> {
        self.iter().last()
    }
    /// How often `asn` stands in it.
    #[must_use]
    pub fn count(self, asn: Asn) -> usize {
        self.iter().filter(|a| *a == asn).count()
    }

    /// What is wrong with it (RFC 7606 §7.2, RFC 7607, RFC 9774, RFC 5065 §5: no confederation here).
    pub(super) fn flaw(self) -> Option<Flaw> {
        let mut c = Cursor::new(self.value);
        let mut found = None;
        while !c.is_empty() {
            let Some(s) = segment(&mut c, self.width) else { return Some(Flaw::Length) };
            match s.kind {
                _ if s.numbers.is_empty() => return Some(Flaw::Length),
                AS_SEQUENCE => {}
                AS_SET | AS_CONFED_SET => found = found.or(Some(Flaw::AsSet)),
                _ => found = found.or(Some(Flaw::Value)),
            }
            if s.numbers().any(|n| n == Asn(0)) {
                found = found.or(Some(Flaw::AsZero));
            }
        }
        found
    }
    /// What is wrong with it as an AS4_PATH, where confederation sequences are merely passed over (RFC 6793 §6).
    pub(super) fn as4_flaw(self) -> Option<Flaw> {
        let mut c = Cursor::new(self.value);
        let mut found = self.value.is_empty().then_some(Flaw::Length);
        while !c.is_empty() {
            let Some(s) = segment(&mut c, self.width) else { return Some(Flaw::Length) };
            match s.kind {
                _ if s.numbers.is_empty() => return Some(Flaw::Length),
                AS_SEQUENCE | AS_CONFED_SEQUENCE => {}
                AS_SET | AS_CONFED_SET => found = found.or(Some(Flaw::AsSet)),
                _ => return Some(Flaw::Value),
            }
            if s.numbers().any(|n| n == Asn(0)) {
                return Some(Flaw::AsZero);
            }
        }
        found
    }

    /// Appends this path of 2-octet numbers with what its AS4_PATH knows better, 4 octets a number (RFC 6793 §4.2.3):
    /// the leading numbers that AS4_PATH does not cover, then AS4_PATH. An AS4_PATH longer than the path is not
    /// believed. Sequences that meet become one, as whoever speaks 4 octets would have sent them.
    pub(super) fn put_merged(self, as4: Option<AsPath<'_>>, out: &mut Vec<u8>) {
        let covered = as4.map_or(0, AsPath::hops_without_confederation);
        let Some(mut lead) = self.hops().checked_sub(covered) else { return self.put_merged(None, out) };
        // Where the last segment begins, while it is a sequence that may grow.
        let mut open = None;
        for s in self.segments() {
            if lead == 0 {
                break;
            }
            let take = if s.is_set() { s.len() } else { s.len().min(lead) };
            lead -= if s.is_set() { 1 } else { take };
            open = (s.kind == AS_SEQUENCE).then_some(out.len());
            put_segment(s.kind, take, s.numbers().take(take), out);
        }
        for s in as4.iter().flat_map(|p| p.segments()).filter(|s| s.kind <= AS_SEQUENCE) {
            let count = open.take().filter(|_| s.kind == AS_SEQUENCE).and_then(|at| out.get_mut(at + 1));
            match count.and_then(|n| Some((n.checked_add(u8::try_from(s.len()).ok()?)?, n))) {
                Some((sum, count)) => {
                    *count = sum;
                    out.extend(s.numbers().flat_map(|n| n.0.to_be_bytes()));
                }
                None => put_segment(s.kind, s.len(), s.numbers(), out),
            }
        }
    }
    /// The AS that [`Self::put_merged`] would put first.
    pub(super) fn merged_first(self, as4: AsPath<'_>) -> Option<Asn> {
        if self.hops() == as4.hops_without_confederation() {
            as4.segments().filter(|s| s.kind <= AS_SEQUENCE).flat_map(Segment::numbers).next()
        } else {
            self.first()
        }
    }
    fn hops_without_confederation(self) -> usize {
        let count = |s: Segment<'_>| if s.is_set() { 1 } else { s.len() };
        self.segments().filter(|s| s.kind <= AS_SEQUENCE).map(count).sum()
    }
    /// Appends this path with 2-octet numbers, [`Asn::TRANS`] for those that don't fit. Was there any such?
    pub(super) fn put_squeezed(self, out: &mut Vec<u8>) -> bool {
        let mut lost = false;
        for s in self.segments() {
            out.extend_from_slice(&[s.kind, u8::try_from(s.len()).unwrap_or(u8::MAX)]);
            for n in s.numbers() {
                let short = u16::try_from(n.0).ok();
                lost |= short.is_none();
                out.extend_from_slice(&short.unwrap_or(TRANS).to_be_bytes());
            }
        }
        lost
    }
    /// Appends this path with `asns` in front, in the leading sequence while that has room (RFC 4271 §5.1.2).
    pub(super) fn put_prepended(self, asns: &[Asn], out: &mut Vec<u8>) {
        let lead = self.segments().next().filter(|s| s.kind == AS_SEQUENCE && s.len() + asns.len() <= 255);
        let Some(lead) = lead.filter(|_| !asns.is_empty()) else {
            for chunk in asns.chunks(255) {
                put_segment(AS_SEQUENCE, chunk.len(), chunk.iter().copied(), out);
            }
            out.extend_from_slice(self.value);
            return;
        };
        put_segment(AS_SEQUENCE, asns.len() + lead.len(), asns.iter().copied().chain(lead.numbers()), out);
        out.extend_from_slice(self.value.get(2 + lead.numbers.len()..).unwrap_or_default());
    }
}

const TRANS: u16 = 23456;

fn segment<'a>(c: &mut Cursor<'a>, width: Width) -> Option<Segment<'a>> {
    let kind = c.u8()?;
    let count = usize::from(c.u8()?);
    Some(Segment { kind, numbers: c.take(count * width.octets())?, width })
}

fn put_segment(kind: u8, count: usize, numbers: impl Iterator<Item = Asn>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind, u8::try_from(count).unwrap_or(u8::MAX)]);
    for n in numbers {
        out.extend_from_slice(&n.0.to_be_bytes());
    }
}

impl fmt::Display for AsPath<'_> {
    /// `65001 65002 {65010 65011}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for s in self.segments() {
            let (open, close) = match s.kind {
                AS_SET => ("{", "}"),
                AS_CONFED_SEQUENCE => ("(", ")"),
                AS_CONFED_SET => ("[", "]"),
                _ => ("", ""),
            };
            write!(f, "{gap}{open}")?;
            for (i, n) in s.numbers().enumerate() {
                write!(f, "{}{n}", if i == 0 { "" } else { " " })?;
            }
            f.write_str(close)?;
            gap = " ";
        }
        Ok(())
    }
}
