//! ICMP and ICMPv6 echo messages (RFC 792, RFC 4443) on a raw socket.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A raw socket that talks to one target.
pub(super) struct Echoes {
    socket: std::net::UdpSocket,
    v6: bool,
    id: u16,
}

impl Echoes {
    pub(super) fn open(target: IpAddr, id: u16) -> std::io::Result<Self> {
        let v6 = target.is_ipv6();
        let (domain, protocol) =
            if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_recv_buffer_size(1 << 20)?;
        socket.connect(&SockAddr::from(SocketAddr::new(target, 0)))?;
        // Send, receive and timeouts are the same calls for every kind of datagram socket.
        Ok(Self { socket: std::net::UdpSocket::from(OwnedFd::from(socket)), v6, id })
    }

    pub(super) fn wait_at_most(&self, time: std::time::Duration) -> std::io::Result<()> {
        self.socket.set_read_timeout(Some(time))
    }

    pub(super) fn do_not_wait(&self) -> std::io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn send(&self, sequence: u32) -> std::io::Result<()> {
        let mut message = [0_u8; 56];
        let kind = if self.v6 { 128 } else { 8 };
        message[0] = kind;
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        let low = sequence.to_be_bytes();
        message[6..8].copy_from_slice(&low[2..]);
        // The header's sequence wraps after 65,536; the whole number travels behind it.
        message[8..12].copy_from_slice(&low);
        if !self.v6 {
            // The kernel sums for ICMPv6 only.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.socket.send(&message).map(drop)
    }

    /// The sequence number of the next reply of ours, `None` when nothing or something else came.
    pub(super) fn receive(&self) -> Option<u32> {
        self.try_receive().ok().flatten()
    }

    /// The same, and what the socket said when it has nothing.
    pub(super) fn try_receive(&self) -> std::io::Result<Option<u32>> {
        let mut buffer = [0_u8; 256];
        let len = self.socket.recv(&mut buffer)?;
        Ok(buffer.get(..len).and_then(|packet| self.reply(packet)))
    }

    fn reply(&self, packet: &[u8]) -> Option<u32> {
        // A raw IPv4 socket hands over the IP header too.
        let skip = if self.v6 { 0 } else { usize::from(*packet.first()? & 0xf) * 4 };
        let message = packet.get(skip..)?;
        let reply = if self.v6 { 129 } else { 0 };
        let ours = *message.first()? == reply && message.get(4..6)? == self.id.to_be_bytes();
        ours.then(|| message.get(8..12)?.try_into().ok().map(u32::from_be_bytes))?
    }
}

fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [last] => u32::from(*last) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
