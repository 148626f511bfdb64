//! Packets, as far as their headers say what policies ask.

use core::fmt::{self, Display, Formatter};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use alloc::string::String;

/// Who sends what to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// From where.
    pub source: IpAddr,
    /// To where, of the same family.
    pub destination: IpAddr,
    /// The transport protocol (IANA); of IPv6, the one behind the extension headers.
    pub protocol: u8,
    /// What its header says.
    pub transport: Transport,
}

/// The part of a transport header that tells one conversation from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Nothing is known: a protocol without ports, a fragment that is not the first, a header cut off.
    Unknown,
    /// Of TCP, UDP, SCTP, DCCP, UDP-Lite.
    Ports {
        /// The sender's.
        source: u16,
        /// The receiver's.
        destination: u16,
    },
    /// Of ICMP and ICMPv6.
    Icmp {
        /// What sort of message.
        kind: u8,
        /// And which of that sort.
        code: u8,
    },
}

/// The flags of a TCP header (RFC 9293 §3.1), the octet that begins with CWR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u8);

/// A packet that a rule handed to a group of the packet log ([`crate::nft::Expr::LogGroup`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What the rule says of it.
    pub prefix: String,
    /// The number of the interface it came by.
    pub iif: Option<u32>,
    /// The number of the interface it leaves by.
    pub oif: Option<u32>,
    /// Its mark.
    pub mark: u32,
    /// When it came, since 1970-01-01 00:00 UTC; packets of this host may have no time.
    pub time: Option<Duration>,
    /// What its headers say; `None`: neither IPv4 nor IPv6, or cut off within the addresses.
    pub packet: Option<Packet>,
    /// Of TCP, the flags, if the copy goes that far.
    pub tcp_flags: Option<TcpFlags>,
}

impl Packet {
    /// Reads a packet from its IP header on, and of TCP the flags; `None` when it is neither IPv4 nor IPv6 or is cut
    /// off before the addresses end. What stands behind may be cut off anywhere.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<(Self, Option<TcpFlags>)> {
        match octets.first()? >> 4 {
            4 => Self::read_v4(octets),
            6 => Self::read_v6(octets),
            _ => None,
        }
    }

    /// RFC 791 §3.1.
    fn read_v4(octets: &[u8]) -> Option<(Self, Option<TcpFlags>)> {
        const FRAGMENT_OFFSET: u16 = 0x1fff;
        let header: &[u8; 20] = octets.first_chunk()?;
        let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
        let first = be16(header, 6)? & FRAGMENT_OFFSET == 0;
        let len = usize::from(header.first()? & 0xf) * 4;
        let rest = octets.get(len.max(header.len())..).filter(|_| first).unwrap_or_default();
        let ends = (address(12)?.into(), address(16)?.into());
        Some(Self::of(ends, *header.get(9)?, rest))
    }

    /// RFC 8200 §3 and §4.
    fn read_v6(octets: &[u8]) -> Option<(Self, Option<TcpFlags>)> {
        let header: &[u8; 40] = octets.first_chunk()?;
        let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
        let (mut protocol, mut rest) = (*header.get(6)?, octets.get(40..).unwrap_or_default());
        while let Some((next, len)) = extension(protocol, rest) {
            protocol = next;
            rest = len.and_then(|len| rest.get(len..)).unwrap_or_default();
        }
        Some(Self::of((address(8)?.into(), address(24)?.into()), protocol, rest))
    }

    fn of((source, destination): (IpAddr, IpAddr), protocol: u8, rest: &[u8]) -> (Self, Option<TcpFlags>) {
        let transport = match (protocol, rest) {
            (1 | 58, [kind, code, ..]) if (protocol == 1) == source.is_ipv4() => {
                Transport::Icmp { kind: *kind, code: *code }
            }
            (6 | 17 | 33 | 132 | 136, [a, b, c, d, ..]) => Transport::Ports {
                source: u16::from_be_bytes([*a, *b]),
                destination: u16::from_be_bytes([*c, *d]),
            },
            _ => Transport::Unknown,
        };
        let flags = rest.get(13).filter(|_| protocol == 6).map(|flags| TcpFlags(*flags));
        (Self { source, destination, protocol, transport }, flags)
    }
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// What an extension header of IPv6 is followed by, and its length; no length, when nothing behind it can be read: a
/// fragment that is not the first. `None`: it is none, or it is cut off.
fn extension(kind: u8, octets: &[u8]) -> Option<(u8, Option<usize>)> {
    const FRAGMENT_OFFSET: u16 = 0xfff8;
    let (next, units) = match octets {
        [next, units, ..] => (*next, usize::from(*units)),
        _ => return None,
    };
    match kind {
        // Hop-by-hop options, routing, destination options: eight octets and as many times eight as they say.
        0 | 43 | 60 => Some((next, Some(8 + 8 * units))),
        44 => Some((next, Some(8).filter(|_| be16(octets, 2).is_some_and(|at| at & FRAGMENT_OFFSET == 0)))),
        // Authentication (RFC 4302 §2.2): in units of four octets.
        51 => Some((next, Some(8 + 4 * units))),
        _ => None,
    }
}

impl Display for TcpFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let mut first = true;
        for (bit, name) in names.into_iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                f.write_str(if first { "" } else { "," })?;
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn v4(protocol: u8, fragment: u16, options: usize, rest: &[u8]) -> Vec<u8> {
        let words = 5 + u8::try_from(options / 4).unwrap();
        let mut octets = [0x40 | words, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0].to_vec();
        octets[6..8].copy_from_slice(&fragment.to_be_bytes());
        octets.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        octets.resize(octets.len() + options, 0);
        octets.extend_from_slice(rest);
        octets
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut octets = [0x60, 0, 0, 0, 0, 0, next, 64].to_vec();
        octets.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        octets.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
        octets.extend_from_slice(rest);
        octets
    }

    fn read(octets: &[u8]) -> (u8, Transport) {
        let (packet, _) = Packet::read(octets).unwrap();
        (packet.protocol, packet.transport)
    }

    const TCP: [u8; 14] = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x12];
    const PORTS: Transport = Transport::Ports { source: 40_000, destination: 80 };

    #[test]
    fn the_headers_of_a_packet_say_who_sends_what_to_whom() {
        let (packet, flags) = Packet::read(&v4(6, 0x4000, 8, &TCP)).unwrap();
        assert_eq!(
            (packet.source.to_string(), packet.destination.to_string()),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );
        assert_eq!((packet.protocol, packet.transport), (6, PORTS));
        assert_eq!(flags.unwrap().to_string(), "syn,ack");
        assert_eq!(read(&v4(1, 0, 0, &[3, 4, 0])), (1, Transport::Icmp { kind: 3, code: 4 }));
        assert_eq!(read(&v4(47, 0, 0, &TCP)), (47, Transport::Unknown));
        // ICMPv6 is no protocol of IPv4.
        assert_eq!(read(&v4(58, 0, 0, &[1, 4])), (58, Transport::Unknown));
        let (packet, flags) = Packet::read(&v6(17, &TCP)).unwrap();
        assert_eq!((packet.source.to_string(), packet.transport, flags), ("fd00::1".into(), PORTS, None));
        assert_eq!(read(&v6(58, &[1, 4])), (58, Transport::Icmp { kind: 1, code: 4 }));
    }

    #[test]
    fn a_fragment_that_is_not_the_first_has_no_ports() {
        assert_eq!(read(&v4(6, 0x2000, 0, &TCP)), (6, PORTS));
        assert_eq!(read(&v4(6, 0x0001, 0, &TCP)), (6, Transport::Unknown));
        let fragment = |offset: u16| {
            let [high, low] = (offset << 3 | 1).to_be_bytes();
            v6(44, &[[6, 0, high, low, 0, 0, 0, 9].as_slice(), &TCP].concat())
        };
        assert_eq!(read(&fragment(0)), (6, PORTS));
        assert_eq!(read(&fragment(1)), (6, Transport::Unknown));
    }

    #[test]
    fn what_stands_behind_extension_headers_is_found() {
        let options = [60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let destination = [51, 0, 0, 0, 0, 0, 0, 0];
        let authentication = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let all = [options.as_slice(), &destination, &authentication, &TCP].concat();
        assert_eq!(read(&v6(0, &all)), (6, PORTS));
        assert_eq!(read(&v6(0, &options[..9])), (60, Transport::Unknown), "cut off");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_and_a_cut_only_takes_away(
            octets in proptest::collection::vec(any::<u8>(), 0..160),
            version in 4u8..8,
            cut in 0usize..160,
        ) {
            let mut octets = octets;
            if let Some(first) = octets.first_mut() {
                *first = version << 4 | *first & 0xf;
            }
            let whole = Packet::read(&octets);
            let part = Packet::read(octets.get(..cut).unwrap_or(&octets));
            if let (Some((part, _)), Some((whole, _))) = (part, whole) {
                prop_assert_eq!((part.source, part.destination), (whole.source, whole.destination));
                prop_assert!(part.transport == Transport::Unknown || part == whole, "{:?} {:?}", part, whole);
            }
            prop_assert!(part.is_none() || whole.is_some());
        }
    }
}
