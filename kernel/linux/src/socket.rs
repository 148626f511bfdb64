//! A netlink socket: blocking, one question at a time.
//!
//! Answers are asked for on the last message of a batch only. The kernel works a datagram's messages off in
//! order and answers each failure with a datagram of its own, so the answer to the last message says that all
//! errors have been delivered; asking for fewer answers is what makes a large batch fast.
#![allow(
    unsafe_code,
    reason = "socket calls of libc: netlink addresses and options have no safe wrapper in std"
)]

use std::collections::BTreeMap;
use std::io;
use std::mem::size_of;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use corduroy_kernel::{OpError, OpResult};

use crate::error::{op_error, refused};
use crate::wire::{Attrs, Batch, DONE, DUMP_INTR, ERROR, HEADER, Message, Messages, ne32};

/// Octets received at once: more than the kernel puts into one datagram of a dump.
const DATAGRAM: usize = 128 * 1024;
/// What a refusal takes of the receive buffer: less than a hundred octets, and a kilobyte of the kernel's own.
const REFUSAL: usize = 2048;
/// How often a dump that was disturbed is begun again before the last one is taken as it is.
const DUMP_TRIES: u32 = 10;
/// Nobody but the kernel answers, and it answers at once.
const PATIENCE_SECONDS: i64 = 10;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    port: u32,
    buf: Vec<u8>,
    sndbuf: usize,
    rcvbuf: usize,
}

impl Socket {
    /// A socket in the network namespace of the calling thread; it stays there for good.
    pub(crate) fn open(protocol: Protocol) -> io::Result<Self> {
        let protocol = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
        };
        // SAFETY: no pointers; the result is checked.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a descriptor nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let port = bind(fd.as_fd(), 0)?;
        let socket = Self { fd, seq: 0, port, buf: vec![0; DATAGRAM], sndbuf: 0, rcvbuf: 0 };
        socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)?;
        socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        // Without the strict check the kernel ignores the filters of a dump. Netfilter does not know the
        // option.
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 1);
        socket.patience()?;
        Ok(socket)
    }
    /// This socket's address, by which the kernel's notices name who changed something.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }
    /// `count` numbers for messages, one behind the other; never 0.
    pub(crate) fn take(&mut self, count: usize) -> u32 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let first = if self.seq > u32::MAX / 2 { 1 } else { self.seq + 1 };
        self.seq = first.saturating_add(count) - 1;
        first
    }
    fn patience(&self) -> io::Result<()> {
        let time = libc::timeval { tv_sec: PATIENCE_SECONDS, tv_usec: 0 };
        set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)
    }
    fn option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        set_option(self.fd.as_fd(), level, name, &value)
    }
    /// Room for a batch on the way to the kernel, and for the refusal of each of its messages on the way back:
    /// the kernel writes them all before the first is read, and one that finds no room is lost.
    fn make_room(&mut self, batch: &Batch) -> io::Result<()> {
        let want = batch.len().saturating_mul(2).max(1 << 20);
        if want > self.sndbuf {
            self.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, i32::try_from(want).unwrap_or(i32::MAX))?;
            self.sndbuf = want;
        }
        let want = batch.count.saturating_mul(REFUSAL).max(1 << 20);
        if want > self.rcvbuf {
            self.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, i32::try_from(want).unwrap_or(i32::MAX))?;
            self.rcvbuf = want;
        }
        Ok(())
    }
    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        self.make_room(batch)?;
        let bytes = batch.as_bytes();
        // SAFETY: pointer and length are of one slice that outlives the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    /// The next datagram.
    fn receive(&mut self) -> io::Result<usize> {
        receive(self.fd.as_fd(), &mut self.buf, 0)
    }

    /// The next datagram, without waiting for one.
    pub(crate) fn receive_now(&mut self) -> io::Result<&[u8]> {
        let n = receive(self.fd.as_fd(), &mut self.buf, libc::MSG_DONTWAIT)?;
        Ok(self.buf.get(..n).unwrap_or_default())
    }

    /// Send a batch whose messages are numbered `first` to `last` and whose last one asks for an answer. What
    /// the kernel refused comes back by the number of the message; what is not there went well. An answer to
    /// a message that `ends` says ends the waiting.
    pub(crate) fn exchange(
        &mut self,
        batch: &Batch,
        numbers: RangeInclusive<u32>,
        ends: impl Fn(u32) -> bool,
    ) -> io::Result<Refusals> {
        self.send(batch)?;
        let mut refusals = Refusals::new();
        loop {
            let n = self.receive()?;
            for message in Messages(self.buf.get(..n).unwrap_or_default()) {
                if message.kind != ERROR || !numbers.contains(&message.seq) {
                    continue;
                }
                if let Err(error) = result(message) {
                    refusals.insert(message.seq, error);
                }
                if ends(message.seq) {
                    return Ok(refusals);
                }
            }
        }
    }
    /// One message that asks for an answer.
    pub(crate) fn ask(&mut self, batch: &Batch, seq: u32) -> OpResult {
        let mut refusals = self.exchange(batch, seq..=seq, |_| true).map_err(|e| op_error(&e))?;
        refusals.remove(&seq).map_or(Ok(()), Err)
    }

    /// Ask for one object; `None` when `parse` can't read it.
    pub(crate) fn query<T>(
        &mut self,
        request: impl FnOnce(&mut Batch, u32),
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, OpError> {
        let seq = self.take(1);
        let mut batch = Batch::default();
        request(&mut batch, seq);
        self.send(&batch).map_err(|e| op_error(&e))?;
        loop {
            let n = self.receive().map_err(|e| op_error(&e))?;
            for message in Messages(self.buf.get(..n).unwrap_or_default()) {
                match message.kind {
                    _ if message.seq != seq => {}
                    ERROR => return result(message).map(|()| None),
                    _ => return Ok(parse(message)),
                }
            }
        }
    }

    /// Send the dump request that `request` writes and give every object to `each`. Begins anew when the
    /// table changed meanwhile, so `begin` is called before each try.
    pub(crate) fn dump<T: Default>(
        &mut self,
        mut request: impl FnMut(&mut Batch, u32),
        mut each: impl FnMut(&mut T, Message<'_>),
    ) -> io::Result<T> {
        let mut tries = 0;
        loop {
            tries += 1;
            let seq = self.take(1);
            let mut batch = Batch::default();
            request(&mut batch, seq);
            self.send(&batch)?;
            let mut found = T::default();
            let whole = self.dumped(seq, |message| each(&mut found, message))?;
            if whole || tries == DUMP_TRIES {
                return Ok(found);
            }
        }
    }
    /// Read a dump to its end. `false`: it was disturbed.
    fn dumped(&mut self, seq: u32, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut whole = true;
        loop {
            let n = self.receive()?;
            for message in Messages(self.buf.get(..n).unwrap_or_default()) {
                if message.seq != seq {
                    continue;
                }
                whole &= message.flags & DUMP_INTR == 0;
                match message.kind {
                    DONE => return Ok(whole),
                    ERROR => {
                        let errno = ne32(message.body, 0).unwrap_or_default().cast_signed();
                        return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
                    }
                    _ => each(message),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Errors by the number of the message they answer.
pub(crate) type Refusals = BTreeMap<u32, OpError>;

/// What an NLMSG_ERROR says.
fn result(message: Message<'_>) -> OpResult {
    let errno = ne32(message.body, 0).unwrap_or_default().cast_signed().saturating_neg();
    if errno == 0 {
        return Ok(());
    }
    // With NETLINK_CAP_ACK only the header of the refused message is repeated, then come the extended
    // attributes.
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let text = Attrs::after(message.body, 4 + HEADER).str(NLMSGERR_ATTR_MSG).unwrap_or_default();
    Err(refused(errno, text))
}

/// Bind to the given multicast groups (a bit each, the first 32) and say which port the kernel gave.
pub(crate) fn bind(fd: BorrowedFd<'_>, groups: u32) -> io::Result<u32> {
    // SAFETY: sockaddr_nl is plain data, all zero is a valid value.
    let mut addr: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    addr.nl_family = u16::try_from(libc::AF_NETLINK).unwrap_or_default();
    addr.nl_groups = groups;
    let mut len = u32::try_from(size_of::<libc::sockaddr_nl>()).unwrap_or_default();
    // SAFETY: `addr` and `len` describe a whole sockaddr_nl that outlives both calls.
    let failed = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len) < 0
            || libc::getsockname(fd.as_raw_fd(), (&raw mut addr).cast(), &raw mut len) < 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(addr.nl_pid) }
}

/// Set a socket option to a plain value.
pub(crate) fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = u32::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: pointer and length are of one value that outlives the call.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), len) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Wait until there is something to read, at most so long.
pub(crate) fn poll_in(fd: BorrowedFd<'_>, timeout: Duration) {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that outlives the call. Interrupted or timed out: there is just less to read.
    unsafe { libc::poll(&raw mut poll, 1, millis) };
}

/// Receive one datagram; how many octets of it are in `buf`. Interrupted calls are repeated.
pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], flags: i32) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are of one slice that outlives the call.
        let n = unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), flags) };
        match usize::try_from(n) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
