//! Addresses of the layers below routing: families, prefixes, MACs.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use thiserror::Error;

/// An address family of the network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
    /// The length of an address in bits: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A network: an address whose host bits are zero, and a length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNet {
    addr: IpAddr,
    len: u8,
}

/// Why an address and a length do not make a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IpNetError {
    /// The text is not `address/length`.
    #[error("not a network: wanted address/length, as in 10.0.0.0/8 or fd00::/64")]
    NotANetwork,
    /// The length is over 32 (IPv4) or 128 (IPv6).
    #[error("prefix length {0} is too long: at most 32 for IPv4, 128 for IPv6")]
    TooLong(u8),
    /// Bits behind the length are set.
    #[error("bits behind the prefix length are set")]
    HostBits,
}

impl IpNet {
    /// Every IPv4 address, the destination of a default route.
    pub const ANY_V4: Self = Self { addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 };
    /// Every IPv6 address.
    pub const ANY_V6: Self = Self { addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };

    /// A network of `len` bits; the host bits of `addr` must be zero.
    ///
    /// # Errors
    /// [`IpNetError::TooLong`], [`IpNetError::HostBits`].
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, IpNetError> {
        let net = Self::containing(addr, len).ok_or(IpNetError::TooLong(len))?;
        if net.addr == addr { Ok(net) } else { Err(IpNetError::HostBits) }
    }
    /// The network of `len` bits that `addr` is in; `None` when `len` is too long for the family.
    #[must_use]
    pub fn containing(addr: IpAddr, len: u8) -> Option<Self> {
        let host = Family::of(addr).bits().checked_sub(len)?;
        let addr = match addr {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(u32::from(host)).unwrap_or(0);
                IpAddr::V4((u32::from(a) & mask).into())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(u32::from(host)).unwrap_or(0);
                IpAddr::V6((u128::from(a) & mask).into())
            }
        };
        Some(Self { addr, len })
    }
    /// The one address, as a /32 or /128.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self { addr, len: Family::of(addr).bits() }
    }
    /// The network address.
    #[must_use]
    pub fn addr(self) -> IpAddr {
        self.addr
    }
    /// The prefix length in bits.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.len
    }
    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.addr)
    }
    /// Is it a single address?
    #[must_use]
    pub fn is_host(self) -> bool {
        self.len == self.family().bits()
    }
    /// Is `addr` in it? Never across families.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        Family::of(addr) == self.family() && Self::containing(addr, self.len) == Some(self)
    }
    /// Is the network `other` this one or inside it? Never across families.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.addr)
    }
    /// The last address of the network.
    #[must_use]
    pub fn last(self) -> IpAddr {
        let host = u32::from(self.family().bits() - self.len);
        match self.addr {
            IpAddr::V4(a) => IpAddr::V4((u32::from(a) | !u32::MAX.checked_shl(host).unwrap_or(0)).into()),
            IpAddr::V6(a) => IpAddr::V6((u128::from(a) | !u128::MAX.checked_shl(host).unwrap_or(0)).into()),
        }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IpNet {
    type Err = IpNetError;
    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let (addr, len) = text.split_once('/').ok_or(IpNetError::NotANetwork)?;
        let addr: IpAddr = addr.parse().map_err(|_| IpNetError::NotANetwork)?;
        let len: u8 = len.parse().map_err(|_| IpNetError::NotANetwork)?;
        Self::new(addr, len)
    }
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not six octets in hexadecimal with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a MAC address: wanted six octets as in 02:00:5e:10:00:01")]
pub struct MacError;

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or(MacError)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacError)?;
        }
        if parts.next().is_some() { Err(MacError) } else { Ok(Self(octets)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_network_has_no_host_bits_and_knows_what_is_in_it() {
        let net: IpNet = "10.1.2.128/25".parse().unwrap();
        assert!(net.contains("10.1.2.129".parse().unwrap()));
        assert!(!net.contains("10.1.2.127".parse().unwrap()));
        assert_eq!(net.last().to_string(), "10.1.2.255");
        assert_eq!("10.1.2.129/25".parse::<IpNet>(), Err(IpNetError::HostBits));
        assert_eq!("10.1.2.0/33".parse::<IpNet>(), Err(IpNetError::TooLong(33)));
        assert!(IpNet::ANY_V6.covers("fd00::/8".parse().unwrap()));
        assert!(!IpNet::ANY_V6.covers(net));
    }

    #[test]
    fn a_mac_is_read_as_it_is_written() {
        let mac: Mac = "02:00:5e:10:00:0f".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:0f");
        for bad in ["02:00:5e:10:00", "02:00:5e:10:00:0f:00", "2:0:5e:10:0:f", "gg:00:5e:10:00:0f", ""] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError), "{bad}");
        }
    }
}
