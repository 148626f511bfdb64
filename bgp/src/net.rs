//! The numbers BGP talks about: prefixes per family, autonomous systems, router ids.
//!
//! Tables are monomorphised over [`Prefix`] (`Net4`, `Net6`); [`Net`] is the enum of both and occurs only at the
//! edges (status, Loc-RIB changes), never as a table's key.

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;
use core::str::FromStr;

/// An autonomous system number, 4 octets (RFC 6793), shown as a plain decimal (RFC 5396 asplain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// What a 2-octet field carries for a number that does not fit it (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP identifier: any 32 bits but zero (RFC 6286 §2.1), written like an IPv4 address. Cluster ids share the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub NonZeroU32);

impl RouterId {
    /// `None` for 0.0.0.0.
    #[must_use]
    pub fn new(addr: Ipv4Addr) -> Option<Self> {
        NonZeroU32::new(u32::from(addr)).map(Self)
    }
    /// The id as its 32 bits in host order.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(self.0.get()).fmt(f)
    }
}

/// An address family this speaker exchanges routes of (RFC 4760): AFI and SAFI together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

impl Family {
    /// Every family, in the order of [`Family::index`].
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The family of this AFI and SAFI, if it is one of ours.
    #[must_use]
    pub fn from_afi_safi(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }
    /// AFI and SAFI as on the wire.
    #[must_use]
    pub fn afi_safi(self) -> (u16, u8) {
        match self {
            Self::Ipv4Unicast => (1, 1),
            Self::Ipv6Unicast => (2, 1),
        }
    }
    /// 0 or 1: a place in an array with one slot for each family.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Ipv4Unicast => 0,
            Self::Ipv6Unicast => 1,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        })
    }
}

/// A set of families, as small as a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FamilySet(u8);

impl FamilySet {
    /// No family.
    pub const EMPTY: Self = Self(0);
    /// IPv4 and IPv6 unicast.
    pub const BOTH: Self = Self(3);

    /// This set and `family`.
    #[must_use]
    pub const fn with(self, family: Family) -> Self {
        Self(self.0 | (1 << family as u8))
    }
    /// This set less `family`.
    #[must_use]
    pub const fn without(self, family: Family) -> Self {
        Self(self.0 & !(1 << family as u8))
    }
    /// Is `family` in it?
    #[must_use]
    pub const fn contains(self, family: Family) -> bool {
        self.0 & (1 << family as u8) != 0
    }
    /// What both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// What either set has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Is there no family in it?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The families in it, in the order of [`Family::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// A prefix of one family, host bits zero: the key of a table.
#[allow(clippy::len_without_is_empty, reason = "a prefix of length 0 is the default route, not an empty one")]
pub trait Prefix: Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Into<Net> + 'static {
    /// The family it belongs to.
    const FAMILY: Family;
    /// The longest length: 32 or 128.
    const MAX_LEN: u8;

    /// From the address octets as they stand in NLRI (`len.div_ceil(8)` of them); host bits are cleared (RFC 4271
    /// §4.3: trailing bits are irrelevant). `None` when `len` is too long or octets are missing.
    fn from_nlri(octets: &[u8], len: u8) -> Option<Self>;
    /// The prefix length in bits.
    fn len(self) -> u8;
    /// All address octets in network order, in the first 4 or all 16 places.
    fn octets(self) -> [u8; 16];
    /// Is `other` this prefix or inside it?
    fn contains(self, other: Self) -> bool;
}

/// An IPv4 prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net4 {
    addr: u32,
    len: u8,
}

/// An IPv6 prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net6 {
    addr: u128,
    len: u8,
}

/// Why an address and a length do not make a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The text is not `address/length`.
    NotAPrefix,
    /// The length is over 32 (IPv4) or 128 (IPv6).
    TooLong(u8),
    /// Bits behind the length are set: probably an address was meant.
    HostBits,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPrefix => {
                f.write_str("not a prefix: wanted address/length, as in 10.0.0.0/8 or fd00::/64")
            }
            Self::TooLong(len) => {
                write!(f, "prefix length {len} is too long: at most 32 for IPv4, 128 for IPv6")
            }
            Self::HostBits => f.write_str("bits behind the prefix length are set"),
        }
    }
}

impl core::error::Error for NetError {}

macro_rules! prefix_type {
    ($name:ident, $int:ty, $addr:ty, $max:literal, $octets:literal, $family:expr, $net:path) => {
        impl $name {
            /// The default route.
            pub const ALL: Self = Self { addr: 0, len: 0 };

            /// A prefix of `len` bits; the host bits of `addr` must be zero.
            ///
            /// # Errors
            /// [`NetError::TooLong`], [`NetError::HostBits`].
            pub fn new(addr: $addr, len: u8) -> Result<Self, NetError> {
                if len > $max {
                    return Err(NetError::TooLong(len));
                }
                let addr = <$int>::from(addr);
                if addr & !Self::mask(len) != 0 {
                    return Err(NetError::HostBits);
                }
                Ok(Self { addr, len })
            }
            /// The network address.
            #[must_use]
            pub fn addr(self) -> $addr {
                self.addr.into()
            }
            /// The network address as a number in host order.
            #[must_use]
            pub fn bits(self) -> $int {
                self.addr
            }
            fn mask(len: u8) -> $int {
                <$int>::MAX.checked_shl(u32::from($max - len)).unwrap_or(0)
            }
        }

        impl Prefix for $name {
            const FAMILY: Family = $family;
            const MAX_LEN: u8 = $max;

            fn from_nlri(octets: &[u8], len: u8) -> Option<Self> {
                let n = usize::from(len.div_ceil(8));
                if len > $max || octets.len() < n {
                    return None;
                }
                let mut full = [0u8; $octets];
                full[..n].copy_from_slice(&octets[..n]);
                Some(Self { addr: <$int>::from_be_bytes(full) & Self::mask(len), len })
            }
            fn len(self) -> u8 {
                self.len
            }
            fn octets(self) -> [u8; 16] {
                let mut out = [0; 16];
                out[..$octets].copy_from_slice(&self.addr.to_be_bytes());
                out
            }
            fn contains(self, other: Self) -> bool {
                self.len <= other.len && (other.addr & Self::mask(self.len)) == self.addr
            }
        }

        impl From<$name> for Net {
            fn from(p: $name) -> Self {
                $net(p)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.addr(), self.len)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

prefix_type!(Net4, u32, Ipv4Addr, 32, 4, Family::Ipv4Unicast, Net::V4);
prefix_type!(Net6, u128, Ipv6Addr, 128, 16, Family::Ipv6Unicast, Net::V6);

/// A prefix of either family, for the edges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Net {
    /// IPv4.
    V4(Net4),
    /// IPv6.
    V6(Net6),
}

impl Net {
    /// A prefix of `len` bits; the host bits of `addr` must be zero.
    ///
    /// # Errors
    /// [`NetError::TooLong`], [`NetError::HostBits`].
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, NetError> {
        match addr {
            IpAddr::V4(a) => Net4::new(a, len).map(Self::V4),
            IpAddr::V6(a) => Net6::new(a, len).map(Self::V6),
        }
    }
    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::Ipv4Unicast,
            Self::V6(_) => Family::Ipv6Unicast,
        }
    }
    /// The network address.
    #[must_use]
    pub fn addr(self) -> IpAddr {
        match self {
            Self::V4(n) => n.addr().into(),
            Self::V6(n) => n.addr().into(),
        }
    }
    /// The prefix length in bits.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        match self {
            Self::V4(n) => n.len,
            Self::V6(n) => n.len,
        }
    }
    /// Is `other` this prefix or inside it? Never across families.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(a), Self::V4(b)) => a.contains(b),
            (Self::V6(a), Self::V6(b)) => a.contains(b),
            (Self::V4(_), Self::V6(_)) | (Self::V6(_), Self::V4(_)) => false,
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(n) => n.fmt(f),
            Self::V6(n) => n.fmt(f),
        }
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Net {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        let (addr, len) = text.split_once('/').ok_or(NetError::NotAPrefix)?;
        let addr: IpAddr = addr.parse().map_err(|_| NetError::NotAPrefix)?;
        let len: u8 = len.parse().map_err(|_| NetError::NotAPrefix)?;
        Self::new(addr, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_in_nlri_are_cleared_but_in_a_configured_prefix_are_an_error() {
        let p = Net4::from_nlri(&[10, 1, 2, 255], 25).unwrap();
        assert_eq!(p, Net4::new(Ipv4Addr::new(10, 1, 2, 128), 25).unwrap());
        assert_eq!("10.1.2.129/25".parse::<Net>(), Err(NetError::HostBits));
        assert_eq!("10.1.2.0/33".parse::<Net>(), Err(NetError::TooLong(33)));
    }

    #[test]
    fn a_default_route_contains_everything_of_its_family_only() {
        let all: Net = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("10.0.0.0/8".parse().unwrap()));
        assert!(!all.contains("fd00::/8".parse().unwrap()));
    }
}
