//! As much of rtnetlink as a plugin needs: delete a link, list what is in a namespace.
//!
//! Written by hand since a plugin has to start in a millisecond: a few messages of fixed shape, answers read
//! with nothing assumed about their length. Numbers are those of linux/netlink.h and linux/rtnetlink.h.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_SETLINK: u16 = 19;
pub(crate) const RTM_GETADDR: u16 = 22;
pub(crate) const RTM_GETROUTE: u16 = 26;
pub(crate) const RTM_GETNEIGH: u16 = 30;

/// Octets of ifinfomsg.
pub(crate) const IFINFOMSG: usize = 16;
/// linux/if_link.h.
pub(crate) const IFLA_IFNAME: u16 = 3;
/// linux/if.h.
pub(crate) const IFF_UP: u32 = 1;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Octets of nlmsghdr.
const HEADER: usize = 16;
/// What the kernel fills at most in one go, or a little more.
const BUFFER: usize = 1 << 16;

/// A socket in the network namespace of the thread that opened it.
pub(crate) struct Rtnetlink(OwnedFd);

impl Rtnetlink {
    pub(crate) fn open() -> Result<Self, Errno> {
        // NETLINK_ROUTE is protocol 0.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map(Self)
    }

    /// Asks for one thing to be done, and waits until it is.
    pub(crate) fn perform(&self, kind: u16, body: &[u8]) -> Result<(), Errno> {
        self.send(kind, NLM_F_ACK, body)?;
        let answer = self.receive()?;
        messages(&answer).find_map(acknowledgement).unwrap_or(Err(Errno::BADMSG))
    }

    /// Asks for one thing; the body of the message that describes it.
    pub(crate) fn get(&self, kind: u16, body: &[u8]) -> Result<Vec<u8>, Errno> {
        self.send(kind, 0, body)?;
        let answer = self.receive()?;
        let message = messages(&answer).next().ok_or(Errno::BADMSG)?;
        match acknowledgement(message) {
            Some(refusal) => Err(refusal.err().unwrap_or(Errno::BADMSG)),
            None => Ok(message.body.to_vec()),
        }
    }

    /// Lists everything of a kind; `fixed` is how long the part before the attributes is. The bodies of the
    /// messages.
    pub(crate) fn list(&self, kind: u16, fixed: usize) -> Result<Vec<Vec<u8>>, Errno> {
        self.send(kind, NLM_F_DUMP, &vec![0; fixed])?;
        let mut bodies = Vec::new();
        loop {
            let answer = self.receive()?;
            if answer.is_empty() {
                return Err(Errno::BADMSG);
            }
            for message in messages(&answer) {
                match message.kind {
                    NLMSG_DONE => return Ok(bodies),
                    NLMSG_ERROR => {
                        return Err(acknowledgement(message).and_then(Result::err).unwrap_or(Errno::BADMSG));
                    }
                    _ => bodies.push(message.body.to_vec()),
                }
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        let request = request(kind, flags, body).ok_or(Errno::INVAL)?;
        rustix::net::sendto(&self.0, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn receive(&self) -> Result<Vec<u8>, Errno> {
        let mut answer = vec![0; BUFFER];
        let (length, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        answer.truncate(length);
        Ok(answer)
    }
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(HEADER + body.len()).ok()?;
    let mut out = Vec::new();
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence and port: there is one request at a time, and the kernel knows whose socket it is.
    out.extend([0; 8]);
    out.extend(body);
    Some(out)
}

/// One message.
#[derive(Clone, Copy)]
struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

/// The messages of a datagram, as far as they are whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind: u16_at(message, 4)?, body: message.get(HEADER..)? })
    })
}

/// NLMSG_ERROR: the errno as a negative number, 0 for an acknowledgement.
fn acknowledgement(message: Message<'_>) -> Option<Result<(), Errno>> {
    let error = u32_at(message.body, 0).filter(|_| message.kind == NLMSG_ERROR)?.cast_signed();
    Some(if error == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(error.saturating_neg())) })
}

/// An attribute as it is sent.
fn attribute(kind: u16, value: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(4 + value.len()).ok()?;
    let mut out = Vec::new();
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(out)
}

/// What a question about an interface, or its deletion, says: an ifinfomsg of zeros and the name.
pub(crate) fn by_name(name: &str) -> Option<Vec<u8>> {
    let mut body = vec![0; IFINFOMSG];
    body.extend(attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())?);
    Some(body)
}

/// What sets an interface up: flags and which of them to change are the last of ifinfomsg.
pub(crate) fn raised(name: &str) -> Option<Vec<u8>> {
    let mut body = by_name(name)?;
    for at in [8, 12] {
        body.get_mut(at..at + 4)?.copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    Some(body)
}

/// The first attribute of this kind among those that follow the fixed part.
pub(crate) fn find(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    let mut bytes = body.get(fixed..)?;
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        // The two highest bits are flags (nested, byte order).
        if u16_at(bytes, 2)? & 0x3fff == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|octets| u16::from_ne_bytes(*octets))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_is_what_ip_link_del_sends() {
        let body = by_name("cord0123456789a").unwrap();
        assert_eq!(body.len(), 16 + 20);
        assert_eq!(&body[20..36], b"cord0123456789a\0");
    }

    #[test]
    fn messages_and_attributes_read_back_as_they_are_sent() {
        let body =
            [vec![9; 8], attribute(3, b"lo").unwrap(), attribute(1, &[1, 2, 3, 4, 5, 6]).unwrap()].concat();
        let both = [request(16, 0, &body).unwrap(), request(17, 0, &[1]).unwrap()].concat();
        let kinds: Vec<u16> = messages(&both).map(|message| message.kind).collect();
        assert_eq!(kinds, [16, 17]);
        assert_eq!(find(&body, 8, 1), Some(&[1, 2, 3, 4, 5, 6][..]));
        assert_eq!((find(&body, 8, 3), find(&body, 8, 4)), (Some(&b"lo"[..]), None));
    }

    #[test]
    fn a_refusal_is_the_errno_and_an_answer_that_is_cut_is_no_acknowledgement() {
        let answer = |error: i32| request(NLMSG_ERROR, 0, &error.to_ne_bytes()).unwrap();
        let read = |bytes: &[u8]| messages(bytes).find_map(acknowledgement);
        assert_eq!(read(&answer(0)), Some(Ok(())));
        assert_eq!(read(&answer(-19)), Some(Err(Errno::NODEV)));
        assert_eq!(read(&answer(0)[..18]), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_reading_fail_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            let _ = find(&bytes, 0, 7);
        }
    }
}
