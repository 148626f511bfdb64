//! A typed view of a canonical block. It reads what it is asked for and copies nothing.

use core::fmt;

use super::{AsPath, EXTENDED_LENGTH, NextHopValue, code, table};
use crate::wire::Cursor;
use crate::{Asn, RouterId};

/// The attributes in a canonical block (see [`super`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a>(&'a [u8]);

/// One attribute of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Type code.
    pub code: u8,
    /// Flags, Extended Length included.
    pub flags: u8,
    /// What it says.
    pub value: &'a [u8],
}

/// ORIGIN (RFC 4271 §5.1.1), the more trusted the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// 0
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// AGGREGATOR (RFC 4271 §5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    /// Who aggregated.
    pub asn: Asn,
    /// Its BGP identifier as it stands there; 0 is possible.
    pub router_id: u32,
}

impl<'a> Attributes<'a> {
    /// Of a canonical block.
    #[must_use]
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }
    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
    /// Each attribute, by rising code.
    pub fn iter(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut c = Cursor::new(self.0);
        core::iter::from_fn(move || read(&mut c))
    }
    /// The value of the attribute with this code.
    #[must_use]
    pub fn get(self, code: u8) -> Option<&'a [u8]> {
        let mut c = Cursor::new(self.0);
        while let Some(attribute) = read(&mut c) {
            if attribute.code >= code {
                return (attribute.code == code).then_some(attribute.value);
            }
        }
        None
    }
    /// ORIGIN; INCOMPLETE when it is not there.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self.get(code::ORIGIN) {
            Some([0]) => Origin::Igp,
            Some([1]) => Origin::Egp,
            _ => Origin::Incomplete,
        }
    }
    /// AS_PATH; empty when it is not there.
    #[must_use]
    pub fn as_path(self) -> AsPath<'a> {
        AsPath::new(self.get(code::AS_PATH).unwrap_or_default())
    }
    /// The next hop.
    #[must_use]
    pub fn next_hop(self) -> Option<NextHopValue> {
        self.get(code::NEXT_HOP).and_then(NextHopValue::from_octets)
    }
    /// MULTI_EXIT_DISC.
    #[must_use]
    pub fn med(self) -> Option<u32> {
        self.number(code::MULTI_EXIT_DISC)
    }
    /// LOCAL_PREF.
    #[must_use]
    pub fn local_pref(self) -> Option<u32> {
        self.number(code::LOCAL_PREF)
    }
    /// ATOMIC_AGGREGATE.
    #[must_use]
    pub fn atomic_aggregate(self) -> bool {
        self.get(code::ATOMIC_AGGREGATE).is_some()
    }
    /// AGGREGATOR.
    #[must_use]
    pub fn aggregator(self) -> Option<Aggregator> {
        let mut c = Cursor::new(self.get(code::AGGREGATOR)?);
        Some(Aggregator { asn: Asn(c.u32()?), router_id: c.u32()? })
    }
    /// COMMUNITIES (RFC 1997).
    pub fn communities(self) -> impl Iterator<Item = u32> + 'a {
        words(self.get(code::COMMUNITIES))
    }
    /// LARGE_COMMUNITY (RFC 8092).
    pub fn large_communities(self) -> impl Iterator<Item = [u32; 3]> + 'a {
        let mut w = words(self.get(code::LARGE_COMMUNITY));
        core::iter::from_fn(move || Some([w.next()?, w.next()?, w.next()?]))
    }
    /// EXTENDED_COMMUNITIES (RFC 4360), 8 octets each.
    pub fn extended_communities(self) -> impl Iterator<Item = [u8; 8]> + 'a {
        let mut c = Cursor::new(self.get(code::EXTENDED_COMMUNITIES).unwrap_or_default());
        core::iter::from_fn(move || c.take(8)?.try_into().ok())
    }
    /// ORIGINATOR_ID (RFC 4456 §8).
    #[must_use]
    pub fn originator_id(self) -> Option<RouterId> {
        self.number(code::ORIGINATOR_ID).and_then(|id| RouterId::new(id.into()))
    }
    /// CLUSTER_LIST (RFC 4456 §8), the nearest first; 0 is possible there.
    pub fn cluster_list(self) -> impl Iterator<Item = u32> + 'a {
        words(self.get(code::CLUSTER_LIST))
    }
    fn number(self, code: u8) -> Option<u32> {
        Cursor::new(self.get(code)?).u32()
    }
}

/// The attribute at the cursor, header and value.
pub(super) fn read<'a>(c: &mut Cursor<'a>) -> Option<Attribute<'a>> {
    let flags = c.u8()?;
    let code = c.u8()?;
    let len = if flags & EXTENDED_LENGTH == 0 { c.u8()?.into() } else { c.u16()?.into() };
    Some(Attribute { code, flags, value: c.take(len)? })
}

fn words(value: Option<&[u8]>) -> impl Iterator<Item = u32> + '_ {
    let mut c = Cursor::new(value.unwrap_or_default());
    core::iter::from_fn(move || c.u32())
}

impl fmt::Display for Attributes<'_> {
    /// `ORIGIN IGP, AS_PATH 65001 65002, NEXT_HOP 192.0.2.1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attribute) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match table::row(attribute.code) {
                Some(row) => {
                    write!(f, "{} ", row.name)?;
                    (row.show)(attribute.value, f)?;
                }
                None => {
                    write!(f, "attribute {} ", attribute.code)?;
                    table::show_octets(attribute.value, f)?;
                }
            }
        }
        Ok(())
    }
}
