//! Canonical blocks made, edited for export, and written as an UPDATE carries them.

use alloc::vec::Vec;

use super::view::Attribute;
use super::{
    AsPath, Attributes, EXTENDED_LENGTH, NextHopValue, OPTIONAL, PARTIAL, TRANSITIVE, code, table,
    table::Encoding,
};
use crate::io::Origination;
use crate::{Asn, RouterId};

/// What becomes of an attribute's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Edit {
    /// As it is.
    #[default]
    Keep,
    /// This, whether there was one or not.
    Set(u32),
    /// Gone.
    Drop,
}

/// What becomes of ORIGINATOR_ID and CLUSTER_LIST (RFC 4456 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reflection {
    /// As they are.
    #[default]
    Keep,
    /// Gone: the route leaves the AS.
    Drop,
    /// `originator` unless there is one, `cluster` in front of the list.
    Reflect {
        /// The BGP identifier of the peer whose route it is.
        originator: RouterId,
        /// Our cluster.
        cluster: RouterId,
    },
}

/// The changes between two canonical blocks. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edits<'a> {
    /// In front of AS_PATH, the leftmost first.
    pub prepend: &'a [Asn],
    /// Another next hop.
    pub next_hop: Option<NextHopValue>,
    /// MULTI_EXIT_DISC.
    pub med: Edit,
    /// LOCAL_PREF.
    pub local_pref: Edit,
    /// ORIGINATOR_ID and CLUSTER_LIST.
    pub reflection: Reflection,
    /// COMMUNITIES as they are to be, sorted or not; none at all drops the attribute.
    pub communities: Option<&'a [u32]>,
    /// LARGE_COMMUNITY, likewise.
    pub large_communities: Option<&'a [[u32; 3]]>,
}

/// The attributes that [`Edits`] can touch, by rising code.
const EDITED: [u8; 8] = [
    code::AS_PATH,
    code::NEXT_HOP,
    code::MULTI_EXIT_DISC,
    code::LOCAL_PREF,
    code::COMMUNITIES,
    code::ORIGINATOR_ID,
    code::CLUSTER_LIST,
    code::LARGE_COMMUNITY,
];

impl Edits<'_> {
    /// Appends `block` with these changes; it stays canonical.
    pub fn apply(&self, block: &[u8], out: &mut Vec<u8>) {
        let mut edited = EDITED.into_iter().peekable();
        for attribute in Attributes::new(block).iter() {
            while let Some(code) = edited.next_if(|c| *c < attribute.code) {
                self.put(code, None, out);
            }
            match edited.next_if_eq(&attribute.code) {
                Some(code) => self.put(code, Some(attribute), out),
                None => put_again(attribute, out),
            }
        }
        edited.for_each(|code| self.put(code, None, out));
    }

    fn put(&self, code: u8, old: Option<Attribute<'_>>, out: &mut Vec<u8>) {
        let keep = |out: &mut Vec<u8>| {
            if let Some(old) = old {
                put_again(old, out);
            }
        };
        let number = |edit: Edit, flags: u8, out: &mut Vec<u8>| match edit {
            Edit::Keep => keep(out),
            Edit::Set(n) => put_attribute(code, flags, &n.to_be_bytes(), out),
            Edit::Drop => {}
        };
        match code {
            code::AS_PATH if !self.prepend.is_empty() => {
                let old = old.map(|o| o.value).unwrap_or_default();
                let mut path = Vec::with_capacity(old.len() + 2 + 4 * self.prepend.len());
                AsPath::new(old).put_prepended(self.prepend, &mut path);
                put_attribute(code, TRANSITIVE, &path, out);
            }
            code::NEXT_HOP => match &self.next_hop {
                Some(hop) => put_attribute(code, TRANSITIVE, hop.octets(), out),
                None => keep(out),
            },
            code::MULTI_EXIT_DISC => number(self.med, OPTIONAL, out),
            code::LOCAL_PREF => number(self.local_pref, TRANSITIVE, out),
            code::COMMUNITIES => match self.communities {
                Some(list) => put_words(code, OPTIONAL | TRANSITIVE, list.iter().copied(), out),
                None => keep(out),
            },
            code::LARGE_COMMUNITY => match self.large_communities {
                Some(list) => put_words(code, OPTIONAL | TRANSITIVE, list.iter().flatten().copied(), out),
                None => keep(out),
            },
            code::ORIGINATOR_ID | code::CLUSTER_LIST => match self.reflection {
                Reflection::Keep => keep(out),
                Reflection::Drop => {}
                Reflection::Reflect { originator, .. } if code == code::ORIGINATOR_ID => match old {
                    Some(old) => put_again(old, out),
                    None => put_attribute(code, OPTIONAL, &originator.get().to_be_bytes(), out),
                },
                Reflection::Reflect { cluster, .. } => {
                    let list = old.map(|o| o.value).unwrap_or_default();
                    put_header(code, OPTIONAL, 4 + list.len(), out);
                    out.extend_from_slice(&cluster.get().to_be_bytes());
                    out.extend_from_slice(list);
                }
            },
            _ => keep(out),
        }
    }
}

/// Appends the canonical block of a prefix of our own: ORIGIN IGP, an empty AS_PATH, and what `route` says.
pub fn put_originated(next_hop: NextHopValue, route: &Origination, out: &mut Vec<u8>) {
    let mut block = Vec::with_capacity(40);
    put_attribute(code::ORIGIN, TRANSITIVE, &[0], &mut block);
    put_attribute(code::AS_PATH, TRANSITIVE, &[], &mut block);
    put_attribute(code::NEXT_HOP, TRANSITIVE, next_hop.octets(), &mut block);
    let number = |n: Option<u32>| n.map_or(Edit::Keep, Edit::Set);
    let edits = Edits {
        med: number(route.med),
        local_pref: number(route.local_pref),
        communities: Some(&route.communities),
        large_communities: Some(&route.large_communities),
        ..Edits::default()
    };
    edits.apply(&block, out);
}

/// Appends a canonical block as an UPDATE carries it, all but MP_REACH_NLRI: 2-octet AS numbers with AS4_PATH and
/// AS4_AGGREGATOR beside them when the peer knows no others (RFC 6793 §4.2.2), Partial set on what we don't know
/// (RFC 4271 §5), NEXT_HOP only `with_next_hop`.
pub fn put_wire(block: &[u8], as4: bool, with_next_hop: bool, out: &mut Vec<u8>) {
    let (mut path, mut aggregator) = (None, None);
    for attribute in Attributes::new(block).iter() {
        let Some(row) = table::row(attribute.code) else {
            put_attribute(attribute.code, attribute.flags | PARTIAL, attribute.value, out);
            continue;
        };
        match row.encoding {
            Encoding::AsPath if !as4 => {
                let mut squeezed = Vec::new();
                if AsPath::new(attribute.value).put_squeezed(&mut squeezed) {
                    path = Some(attribute.value);
                }
                put_attribute(attribute.code, attribute.flags, &squeezed, out);
            }
            Encoding::Aggregator if !as4 => {
                if let [a, b, c, d, id @ ..] = attribute.value {
                    let asn = u32::from_be_bytes([*a, *b, *c, *d]);
                    let short = u16::try_from(asn).ok();
                    put_header(attribute.code, attribute.flags, 2 + id.len(), out);
                    out.extend_from_slice(&short.unwrap_or(23456).to_be_bytes());
                    out.extend_from_slice(id);
                    aggregator = short.is_none().then_some(attribute.value);
                }
            }
            Encoding::NextHop if !with_next_hop => {}
            Encoding::Plain | Encoding::NextHop | Encoding::AsPath | Encoding::Aggregator => {
                put_again(attribute, out);
            }
            Encoding::Transport => {}
        }
    }
    if let Some(value) = path {
        put_attribute(code::AS4_PATH, OPTIONAL | TRANSITIVE, value, out);
    }
    if let Some(value) = aggregator {
        put_attribute(code::AS4_AGGREGATOR, OPTIONAL | TRANSITIVE, value, out);
    }
}

fn put_again(attribute: Attribute<'_>, out: &mut Vec<u8>) {
    put_attribute(attribute.code, attribute.flags, attribute.value, out);
}

fn put_words(code: u8, flags: u8, words: impl Iterator<Item = u32> + Clone, out: &mut Vec<u8>) {
    let n = words.clone().count();
    if n > 0 {
        put_header(code, flags, 4 * n, out);
        words.for_each(|w| out.extend_from_slice(&w.to_be_bytes()));
    }
}

/// Appends a whole attribute; Extended Length is set when the value needs it and only then.
pub fn put_attribute(code: u8, flags: u8, value: &[u8], out: &mut Vec<u8>) {
    put_header(code, flags, value.len(), out);
    out.extend_from_slice(value);
}

/// Appends the header of an attribute whose value has `len` octets.
pub fn put_header(code: u8, flags: u8, len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(len) => out.extend_from_slice(&[flags & !EXTENDED_LENGTH, code, len]),
        Err(_) => {
            out.extend_from_slice(&[flags | EXTENDED_LENGTH, code]);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}
