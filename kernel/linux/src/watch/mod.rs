//! Watching: two multicast sockets and one descriptor to wait for.
//!
//! The kernel filters for us (see `filter`): routes of other routing daemons, ARP's daily business, other programs'
//! tables and what our own sockets wrote never wake the agent; of what else we do ourselves `links` sorts out the
//! notices. What is left says *what to read again*, never
//! what is there: events can be lost, and IPv4 routes vanish with their interface without one.
#![allow(unsafe_code, reason = "epoll has no wrapper in std")]

mod filter;
mod links;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use corduroy_kernel::Changed;

use crate::doings::Doings;
use crate::nft::decode;
use crate::socket::{Protocol, Socket, bind, poll_in, receive, set_option};
use crate::wire::{Batch, Message, Messages, ne32};
use crate::{address, link, neighbour, route};
use links::Links;

const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_NEIGH: u32 = 0x4;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;
/// NFNLGRP_NFTABLES as a bit.
const NFTABLES: u32 = 1 << 6;
/// The default of 212,992 octets loses events when somebody changes 100,000 routes at once.
const RECEIVE_BUFFER: i32 = 16 << 20;
/// Octets of one datagram at most.
const DATAGRAM: usize = 64 * 1024;

/// A stream of [`Changed`]. Wait for its descriptor to become readable, then [`Watch::drain`].
pub struct Watch {
    ready: OwnedFd,
    route: OwnedFd,
    nft: Option<OwnedFd>,
    /// For questions, in the namespace that is watched.
    asking: Socket,
    links: Links,
    buf: Vec<u8>,
}

impl Watch {
    /// Watch the namespace of the calling thread; `ours` are the ports whose changes are not reported, nor are our
    /// `doings`.
    pub(crate) fn open(ours: (u32, u32), doings: Doings) -> io::Result<Self> {
        let route = subscribe(libc::NETLINK_ROUTE, route_groups())?;
        let _ = filter::attach(route.as_fd(), &filter::route(ours.0));
        // A kernel without nf_tables has no such group; there is nothing to watch then.
        let nft = subscribe(libc::NETLINK_NETFILTER, NFTABLES).ok();
        if let Some(nft) = &nft {
            let _ = filter::attach(nft.as_fd(), &filter::nft(ours.1));
        }
        let ready = epoll([Some(&route), nft.as_ref()].into_iter().flatten())?;
        let asking = Socket::open(Protocol::Route)?;
        let links = Links::new(doings);
        let mut watch = Self { ready, route, nft, asking, links, buf: vec![0; DATAGRAM] };
        watch.learn_links()?;
        Ok(watch)
    }
    /// Everything that happened since the last call, without waiting.
    pub fn drain(&mut self) -> BTreeSet<Changed> {
        let mut changed = BTreeSet::new();
        self.drain_route(&mut changed);
        self.drain_nft(&mut changed);
        if changed.contains(&Changed::Overrun) {
            // What was lost may have been the birth of an interface.
            let _ = self.learn_links();
            return BTreeSet::from([Changed::Overrun]);
        }
        changed
    }
    /// Wait until something happened, at most so long, and drain.
    pub fn wait(&mut self, timeout: Duration) -> BTreeSet<Changed> {
        poll_in(self.ready.as_fd(), timeout);
        self.drain()
    }

    fn drain_route(&mut self, changed: &mut BTreeSet<Changed>) {
        while let Some(n) = next(self.route.as_fd(), &mut self.buf, changed) {
            for message in Messages(self.buf.get(..n).unwrap_or_default()) {
                what_changed(message, &mut self.links, changed);
            }
        }
    }
    fn drain_nft(&mut self, changed: &mut BTreeSet<Changed>) {
        let Some(nft) = &self.nft else { return };
        while let Some(n) = next(nft.as_fd(), &mut self.buf, changed) {
            if Messages(self.buf.get(..n).unwrap_or_default()).any(decode::is_ours) {
                changed.insert(Changed::Nft);
            }
        }
    }
    fn learn_links(&mut self) -> io::Result<()> {
        let ask = |batch: &mut Batch, seq| link::ask(batch, seq, None);
        let links: Vec<_> = self.asking.dump(ask, |found: &mut Vec<_>, m| found.extend(link::parse(m)))?;
        self.links.learn(links);
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> i32 {
        self.ready.as_raw_fd()
    }
}

fn what_changed(message: Message<'_>, links: &mut Links, changed: &mut BTreeSet<Changed>) {
    match message.kind {
        link::RTM_NEWLINK => link::parse(message).iter().for_each(|seen| links.here(seen, changed)),
        link::RTM_DELLINK => link::parse(message).iter().for_each(|seen| links.gone(seen, changed)),
        address::RTM_NEWADDR | address::RTM_DELADDR => {
            changed.extend(address::parse(message, links.index()).map(|found| Changed::Addresses(found.dev)));
            if message.kind == address::RTM_DELADDR {
                // Routes with that source are gone, on whatever interface.
                changed.insert(Changed::Routes);
            }
        }
        route::RTM_NEWROUTE | route::RTM_DELROUTE => {
            changed.insert(Changed::Routes);
        }
        neighbour::RTM_NEWNEIGH | neighbour::RTM_DELNEIGH if is_ours(message, links) => {
            changed.insert(Changed::Neighbours);
        }
        _ => {}
    }
}

fn is_ours(message: Message<'_>, links: &Links) -> bool {
    ne32(message.body, 4).and_then(|number| links.name(number)).is_some_and(|name| name.is_ours())
}

fn route_groups() -> u32 {
    let v4 = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
    let v6 = RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE;
    RTMGRP_LINK | RTMGRP_NEIGH | v4 | v6
}

fn subscribe(protocol: i32, groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a descriptor nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // Without CAP_NET_ADMIN in the first user namespace the buffer stays smaller; overruns are noticed
    // anyway.
    let _ = set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER);
    bind(fd.as_fd(), groups)?;
    Ok(fd)
}

/// The next datagram; `None` when there is none. Lost events are noted and reading goes on.
fn next(fd: BorrowedFd<'_>, buf: &mut [u8], changed: &mut BTreeSet<Changed>) -> Option<usize> {
    loop {
        match receive(fd, buf, 0) {
            Ok(n) => return Some(n),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                changed.insert(Changed::Overrun);
            }
            Err(_) => return None,
        }
    }
}

fn epoll<'a>(sockets: impl Iterator<Item = &'a OwnedFd>) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a descriptor nobody else owns.
    let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
    for socket in sockets {
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
        // SAFETY: both descriptors are open, the event outlives the call.
        let rc = unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(epoll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kernel;
    use crate::netns;
    use corduroy_kernel::{IpNet, Lane, Op, Plan, Route};
    use std::net::Ipv4Addr;

    #[test]
    fn a_storm_too_large_for_the_buffer_is_an_overrun_and_reading_again_shows_the_truth() {
        const ROUTES: u32 = 2_000;
        netns::in_new(|| {
            // The other one has our number, but another socket: what it writes is reported.
            let [mut kernel, mut other] = [(); 2].map(|()| Kernel::open(None).unwrap());
            let mut watch = kernel.watch().unwrap();
            // Far fewer than ROUTES. The kernel makes a writer yield for each message that finds a buffer half full, so
            // filling a large one takes a busy machine minutes.
            set_option(watch.route.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &(64 << 10)).unwrap();
            let mut state = kernel.read().unwrap();
            let dst = |i: u32| IpNet::new(Ipv4Addr::from((10 << 24) + (i << 6)).into(), 26).unwrap();
            let plan = |ops| Plan { lane: Lane::Learned, ops };
            let storm = (0..ROUTES).map(|i| Op::PutRoute(Route::blackhole(dst(i)))).collect();
            assert!(other.apply(&plan(storm)).iter().all(Result::is_ok));
            let changed = watch.wait(Duration::from_secs(10));
            assert_eq!(changed, [Changed::Overrun].into());
            kernel.refresh(&mut state, &changed).unwrap();
            assert_eq!(state.routes.len(), ROUTES as usize);
            assert_eq!(state.routes, (0..ROUTES).map(|i| (dst(i), Route::blackhole(dst(i)))).collect());
            // It goes on watching.
            assert_eq!(other.apply(&plan(vec![Op::DeleteRoute(dst(7))])), [Ok(())]);
            assert_eq!(watch.wait(Duration::from_secs(10)), [Changed::Routes].into());
            kernel.refresh(&mut state, &[Changed::Routes]).unwrap();
            assert_eq!(state.routes.len(), ROUTES as usize - 1);
        })
        .unwrap();
    }
}
