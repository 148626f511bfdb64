//! Listening to what rules log to a group (nfnetlink_log).
//!
//! The kernel numbers what it hands to a listener, so what found no room in the socket's buffer is known by the gap:
//! how many entries were lost is told, and reading goes on. It gathers entries for [`GATHER`] before it wakes the
//! listener, so a flood wakes it five times a second and not for every packet.

mod entry;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use corduroy_kernel::LogEntry;

use crate::socket::{Protocol, Socket, poll_in, set_option};
use crate::wire::{Batch, Messages};

const SUBSYS: u16 = 4 << 8;
const PACKET: u16 = SUBSYS;
const CONFIG: u16 = SUBSYS | 1;
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_TIMEOUT: u16 = 4;
const CFG_FLAGS: u16 = 6;
/// NFULNL_CFG_CMD_BIND.
const BIND: u8 = 1;
/// NFULNL_COPY_PACKET.
const COPY_PACKET: u8 = 2;
/// NFULNL_CFG_F_SEQ: number what this listener gets, from 0.
const NUMBERED: u16 = 1;

/// Octets of each packet at most: room for IPv6 with some extension headers, and TCP.
const SNAPLEN: u32 = 128;
/// How long the kernel gathers, in hundredths of a second.
const GATHER: u32 = 20;
/// Room for some ten thousand entries: what comes while the listener is busy.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Datagrams that one call reads at most, so that a flood can't hold it.
const DATAGRAMS: usize = 64;

/// A listener. Wait for its descriptor to become readable, then [`PacketLog::drain`]. Dropped, it listens no more.
pub struct PacketLog {
    socket: Socket,
    /// The number of the next entry, if none is lost.
    next: u32,
}

/// What was logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// The entries, in the order they were logged.
    pub entries: Vec<LogEntry>,
    /// How many entries were lost between these and those before.
    pub lost: u32,
    /// The buffer ran over (ENOBUFS): entries were lost, and how many will be known with the next one that is not.
    pub overrun: bool,
    /// There may be more to read: drain again before waiting.
    pub more: bool,
}

impl PacketLog {
    /// Listen to a group in the namespace of the calling thread.
    pub(crate) fn open(group: u16) -> io::Result<Self> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let seq = socket.take(1);
        let mut batch = Batch::default();
        batch.begin(CONFIG, 0, seq);
        let [high, low] = group.to_be_bytes();
        batch.raw(&[0, 0, high, low]);
        batch.attr(CFG_CMD, &[BIND]);
        let [a, b, c, d] = SNAPLEN.to_be_bytes();
        batch.attr(CFG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
        batch.be32(CFG_TIMEOUT, GATHER);
        batch.attr(CFG_FLAGS, &NUMBERED.to_be_bytes());
        batch.end();
        batch.ask_ack();
        socket.ask(&batch, seq).map_err(|error| match error.errno {
            0 => io::Error::other(error),
            errno => io::Error::from_raw_os_error(errno),
        })?;
        // Without CAP_NET_ADMIN in the first user namespace the buffer stays smaller; what is lost is noticed anyway.
        let _ = set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER);
        Ok(Self { socket, next: 0 })
    }

    /// What was logged since the last call, without waiting.
    pub fn drain(&mut self) -> Logged {
        let mut logged = Logged::default();
        for _ in 0..DATAGRAMS {
            let datagram = match self.socket.receive_now() {
                Ok(datagram) => datagram,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    logged.overrun = true;
                    continue;
                }
                Err(_) => return logged,
            };
            for message in Messages(datagram).filter(|message| message.kind == PACKET) {
                let (number, entry) = entry::read(message);
                logged.lost = logged.lost.saturating_add(lost(&mut self.next, number));
                logged.entries.push(entry);
            }
        }
        logged.more = true;
        logged
    }

    /// Wait until something was logged, at most so long, and drain.
    pub fn wait(&mut self, timeout: Duration) -> Logged {
        poll_in(self.socket.as_fd(), timeout);
        self.drain()
    }
}

/// How many entries are missing before the one of this number; the numbers begin anew behind the last one.
fn lost(next: &mut u32, number: Option<u32>) -> u32 {
    let Some(number) = number else { return 0 };
    let missing = number.wrapping_sub(*next);
    *next = number.wrapping_add(1);
    missing
}

impl AsFd for PacketLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketLog {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_fd().as_raw_fd()
    }
}
