//! Readiness of many sockets for one task.
//!
//! Why not tokio's own sockets: waiting for any of 2,000 of them needs 2,000 futures (or tasks), each with a waker and
//! a place in a queue. An epoll instance of our own holds the same in the kernel, tells of all ready sockets in one
//! system call even while the loop is busy and never sleeps, and is itself one descriptor that tokio can wait for.
//! It is level-triggered: what is watched is what the loop wants to do next, and nothing is forgotten when a turn does
//! not finish a socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a socket is watched for. `NONE` still tells of errors and of a connection that is gone both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Watch {
    pub(crate) const READ: Self = Self { read: true, write: false };
    pub(crate) const WRITE: Self = Self { read: false, write: true };
    pub(crate) const NONE: Self = Self { read: false, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// A socket that can be read or written, or has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What [`Reactor::add`] was told.
    pub(crate) token: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// An error is pending, or both directions are closed.
    pub(crate) failed: bool,
}

/// How many ready sockets one turn takes: bounds the time between two looks at the timers.
const BATCH: usize = 64;

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(crate) fn add(&self, socket: impl AsFd, token: u64, watch: Watch) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), watch.flags())?)
    }

    pub(crate) fn change(&self, socket: impl AsFd, token: u64, watch: Watch) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), watch.flags())?)
    }

    /// Up to [`BATCH`] sockets that are ready now, into `out`.
    pub(crate) fn ready_now(&self, out: &mut Vec<Ready>) -> io::Result<()> {
        out.clear();
        let mut room = [const { MaybeUninit::uninit() }; BATCH];
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let events = match epoll::wait(&self.epoll, &mut room, Some(&zero)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        out.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                read: flags.contains(EventFlags::IN),
                write: flags.contains(EventFlags::OUT),
                failed: flags.intersects(EventFlags::ERR | EventFlags::HUP),
            }
        }));
        Ok(())
    }

    /// A descriptor of the same instance that tokio waits for. Needs a runtime with IO.
    #[allow(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
    pub(crate) fn alarm(&self) -> io::Result<Alarm> {
        let fd = self.epoll.try_clone()?;
        // SAFETY: an OwnedFd is open until it is dropped, and nobody but the AsyncFd has this one.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Alarm(fd.map_err(io::Error::from)?))
    }
}

/// Wakes a task when any watched socket is ready.
#[derive(Debug)]
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Waits until sockets of `reactor` are ready and puts them into `out`. May be cancelled: nothing is lost.
    ///
    /// tokio hears of an epoll instance on edges only, so that it rang may be forgotten only when a look *after* it
    /// rang found nothing: an event later than the look is a new edge.
    pub(crate) async fn ready(&self, reactor: &Reactor, out: &mut Vec<Ready>) -> io::Result<()> {
        loop {
            let mut rung = self.0.readable().await?;
            reactor.ready_now(out)?;
            if !out.is_empty() {
                rung.retain_ready();
                return Ok(());
            }
            rung.clear_ready();
        }
    }
}
