//! Network Layer Reachability Information: prefixes as a length in bits and as many octets as that needs
//! (RFC 4271 §4.3, RFC 4760 §5).

use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::{Family, Prefix};

/// How many prefixes these octets hold, or `None` when they are not NLRI of `family`: a length over 32 (128) or
/// octets missing at the end (RFC 7606 §5.3).
#[must_use]
pub fn count(family: Family, mut bytes: &[u8]) -> Option<usize> {
    let max = match family {
        Family::Ipv4Unicast => 32,
        Family::Ipv6Unicast => 128,
    };
    let mut n = 0;
    while let Some((&len, rest)) = bytes.split_first() {
        if len > max {
            return None;
        }
        bytes = rest.get(usize::from(len.div_ceil(8))..)?;
        n += 1;
    }
    Some(n)
}

/// The prefixes in `bytes`, which [`count`] has found good; it ends where they are not.
#[must_use]
pub fn prefixes<P: Prefix>(bytes: &[u8]) -> Prefixes<'_, P> {
    Prefixes { rest: bytes, family: PhantomData }
}

/// Iterator of [`prefixes`].
#[derive(Clone, Debug)]
pub struct Prefixes<'a, P> {
    rest: &'a [u8],
    family: PhantomData<P>,
}

impl<P: Prefix> Iterator for Prefixes<'_, P> {
    type Item = P;
    #[inline]
    fn next(&mut self) -> Option<P> {
        let (&len, rest) = self.rest.split_first()?;
        let prefix = P::from_nlri(rest, len)?;
        self.rest = rest.get(usize::from(len.div_ceil(8))..)?;
        Some(prefix)
    }
}

/// Appends one prefix.
pub fn put<P: Prefix>(prefix: P, out: &mut Vec<u8>) {
    let len = prefix.len();
    out.push(len);
    out.extend_from_slice(prefix.octets().get(..usize::from(len.div_ceil(8))).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Net4, Net6};
    use alloc::vec;

    #[test]
    fn nlri_are_read_back_as_they_were_written() {
        let nets: Vec<Net4> = [(0u32, 0), (0x0a00_0000, 8), (0x0a01_0200, 23), (0xc000_0201, 32)]
            .into_iter()
            .map(|(a, l)| Net4::new(a.into(), l).unwrap())
            .collect();
        let mut out = Vec::new();
        nets.iter().for_each(|n| put(*n, &mut out));
        assert_eq!(out, [0, 8, 10, 23, 10, 1, 2, 32, 192, 0, 2, 1]);
        assert_eq!(count(Family::Ipv4Unicast, &out), Some(4));
        assert_eq!(prefixes::<Net4>(&out).collect::<Vec<_>>(), nets);
    }

    #[test]
    fn a_length_beyond_the_family_or_missing_octets_are_not_nlri() {
        assert_eq!(count(Family::Ipv4Unicast, &[33, 1, 2, 3, 4, 5]), None);
        assert_eq!(count(Family::Ipv4Unicast, &[24, 1, 2]), None);
        assert_eq!(count(Family::Ipv6Unicast, &[129]), None);
        assert_eq!(count(Family::Ipv6Unicast, &[33, 1, 2, 3, 4, 5]), Some(1));
        assert_eq!(prefixes::<Net6>(&[129]).collect::<Vec<_>>(), vec![]);
    }
}
