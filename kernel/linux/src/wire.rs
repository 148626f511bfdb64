//! Netlink messages as octets: written in one buffer many at a time, read by cursors that skip what they do
//! not know (RFC 3549, include/uapi/linux/netlink.h).
//!
//! Reading never fails: a message or attribute cut short ends the iteration. The kernel is trusted to be the
//! kernel, but a newer one may say more than we know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a message header.
pub(crate) const HEADER: usize = 16;
/// NLM_F_REQUEST: goes to the kernel.
pub(crate) const REQUEST: u16 = 0x1;
/// NLM_F_ACK, in the low octet of the flags: answer even when all went well.
const ACK: u8 = 0x4;
/// NLM_F_DUMP: all objects that match.
pub(crate) const DUMP: u16 = 0x300;
/// NLM_F_DUMP_INTR: the table changed while it was dumped.
pub(crate) const DUMP_INTR: u16 = 0x10;
/// NLM_F_REPLACE.
pub(crate) const REPLACE: u16 = 0x100;
/// NLM_F_EXCL.
pub(crate) const EXCL: u16 = 0x200;
/// NLM_F_CREATE.
pub(crate) const CREATE: u16 = 0x400;
/// NLM_F_APPEND: for rules, at the end of the chain.
pub(crate) const APPEND: u16 = 0x800;
/// NLMSG_ERROR: an answer, errno 0 when all went well.
pub(crate) const ERROR: u16 = 2;
/// NLMSG_DONE: the end of a dump.
pub(crate) const DONE: u16 = 3;

/// Where a message's header has the low octet of its flags.
const FLAGS_LOW: usize = if cfg!(target_endian = "little") { 6 } else { 7 };
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Messages one behind the other, as one `sendmsg` takes them.
#[derive(Default)]
pub(crate) struct Batch {
    buf: Vec<u8>,
    message: usize,
    /// How many messages are in it.
    pub(crate) count: usize,
}

/// A nested attribute not yet closed.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Nest(usize);

impl Batch {
    /// Begin a message; its fixed part follows as octets.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, seq: u32) {
        self.message = self.buf.len();
        self.count += 1;
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        self.buf.extend_from_slice(&seq.to_ne_bytes());
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
    }
    /// The octets of a message's fixed part, or a whole body encoded elsewhere.
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.buf.extend_from_slice(octets);
        self.pad();
    }
    /// An attribute.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(value);
        self.pad();
    }
    /// An attribute in the host's order, as rtnetlink has them.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }
    /// An attribute in network order, as nfnetlink has them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }
    /// A string with its NUL.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        let mut octets = Vec::with_capacity(value.len() + 1);
        octets.extend_from_slice(value.as_bytes());
        octets.push(0);
        self.attr(kind, &octets);
    }
    /// An address: 4 or 16 octets.
    pub(crate) fn addr(&mut self, kind: u16, addr: IpAddr) {
        match addr {
            IpAddr::V4(a) => self.attr(kind, &a.octets()),
            IpAddr::V6(a) => self.attr(kind, &a.octets()),
        }
    }
    /// Open a nested attribute.
    pub(crate) fn nest(&mut self, kind: u16) -> Nest {
        let at = self.buf.len();
        self.attr(kind | NESTED, &[]);
        Nest(at)
    }
    /// Close a nested attribute. One of more than 65,535 octets is the caller's fault; its length is cut so
    /// that the kernel refuses it.
    pub(crate) fn close(&mut self, nest: Nest) {
        let len = u16::try_from(self.buf.len() - nest.0).unwrap_or(u16::MAX);
        if let Some(place) = self.buf.get_mut(nest.0..nest.0 + 2) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
    }
    /// Close the message.
    pub(crate) fn end(&mut self) {
        let len = u32::try_from(self.buf.len() - self.message).unwrap_or(u32::MAX);
        if let Some(place) = self.buf.get_mut(self.message..self.message + 4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
    }
    /// Ask for an answer to the message begun last.
    pub(crate) fn ask_ack(&mut self) {
        if let Some(flags) = self.buf.get_mut(self.message + FLAGS_LOW) {
            *flags |= ACK;
        }
    }
    /// What is in it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buf
    }
    /// How many octets are in it.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }
    fn pad(&mut self) {
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
    }
}

/// A received message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;
    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::try_from(ne32(self.0, 0)?).ok()?;
        let body = self.0.get(HEADER..len)?;
        let message =
            Message { kind: ne16(self.0, 4)?, flags: ne16(self.0, 6)?, seq: ne32(self.0, 8)?, body };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Attributes: their type without flag bits, and their value.
#[derive(Clone, Copy)]
pub(crate) struct Attrs<'a>(pub(crate) &'a [u8]);

impl<'a> Attrs<'a> {
    /// The attributes behind a fixed part of `skip` octets.
    pub(crate) fn after(body: &'a [u8], skip: usize) -> Self {
        Self(body.get(skip..).unwrap_or_default())
    }
    /// The value of the first attribute of this type.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }
    /// The attributes inside the first one of this type; none if there is none.
    pub(crate) fn nested(self, kind: u16) -> Attrs<'a> {
        Attrs(self.get(kind).unwrap_or_default())
    }
    /// A number in network order.
    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        be32(self.get(kind)?)
    }
    /// A small number in network order.
    pub(crate) fn be16(self, kind: u16) -> Option<u16> {
        self.get(kind)?.first_chunk().copied().map(u16::from_be_bytes)
    }
    /// A large number in network order.
    pub(crate) fn be64(self, kind: u16) -> Option<u64> {
        self.get(kind)?.first_chunk().copied().map(u64::from_be_bytes)
    }
    /// A number in the host's order.
    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        ne32(self.get(kind)?, 0)
    }
    /// A string, up to its NUL.
    pub(crate) fn str(self, kind: u16) -> Option<&'a str> {
        text(self.get(kind)?)
    }
    /// An address of 4 or 16 octets.
    pub(crate) fn addr(self, kind: u16) -> Option<IpAddr> {
        addr(self.get(kind)?)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(ne16(self.0, 0)?);
        let kind = ne16(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Text up to the first NUL; `None` when it is not UTF-8.
pub(crate) fn text(octets: &[u8]) -> Option<&str> {
    let end = octets.iter().position(|b| *b == 0).unwrap_or(octets.len());
    std::str::from_utf8(octets.get(..end)?).ok()
}

/// An address from 4 or 16 octets.
pub(crate) fn addr(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|o| Ipv4Addr::from(o).into()),
        16 => <[u8; 16]>::try_from(octets).ok().map(|o| Ipv6Addr::from(o).into()),
        _ => None,
    }
}

pub(crate) fn be32(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().copied().map(u32::from_be_bytes)
}

pub(crate) fn ne16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

pub(crate) fn ne32(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::default();
        batch.begin(16, REPLACE, 7);
        batch.raw(&[1, 2, 3, 4]);
        batch.string(3, "eth0");
        let nest = batch.nest(18);
        batch.u32(1, 99);
        batch.close(nest);
        batch.end();
        batch.begin(17, 0, 8);
        batch.end();
        let read: Vec<_> = Messages(batch.as_bytes()).collect();
        assert_eq!(read.iter().map(|m| (m.kind, m.seq)).collect::<Vec<_>>(), [(16, 7), (17, 8)]);
        let attrs = Attrs::after(read[0].body, 4);
        assert_eq!(attrs.str(3), Some("eth0"));
        assert_eq!(attrs.nested(18).u32(1), Some(99));
    }

    #[test]
    fn a_message_cut_short_ends_the_reading() {
        let mut batch = Batch::default();
        batch.begin(16, 0, 1);
        batch.u32(1, 5);
        batch.end();
        let bytes = batch.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..cut]).count(), 0, "cut at {cut}");
        }
        assert_eq!(Attrs(&[3, 0, 1, 0]).count(), 0, "a length below the header's");
    }
}
