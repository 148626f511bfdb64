//! What this kernel can do, tried out in a namespace made for it and thrown away.
//!
//! Asking is not enough: a module that is not loaded yet is loaded by the attempt, and one that does not
//! exist shows itself only by it.

use std::path::Path;

use corduroy_kernel::{Cause, Features, Link, LinkName, Mac, NextHop, OpResult, Route, Support};

use crate::index::Index;
use crate::socket::{Protocol, Socket};
use crate::wire::Batch;
use crate::{link, netns, route};

/// Try everything; what can't be tried is `Unknown`.
pub(crate) fn find() -> Features {
    let mut features = netns::in_new(try_all).unwrap_or_default();
    features.ipv6 = yes_if(Path::new("/proc/sys/net/ipv6").exists());
    features
}

fn yes_if(yes: bool) -> Support {
    if yes { Support::Yes } else { Support::No }
}

fn support(result: &OpResult) -> Support {
    match result {
        Ok(()) => Support::Yes,
        Err(error) if error.cause == Cause::Unsupported => Support::No,
        Err(_) => Support::Unknown,
    }
}

fn try_all() -> Features {
    let Ok(mut socket) = Socket::open(Protocol::Route) else { return Features::default() };
    let local = std::net::Ipv4Addr::LOCALHOST;
    let vxlan = Link::vxlan(local.into(), Mac([2, 0, 0, 0, 0, 1]), 1400);
    Features {
        ipip: support(&try_link(&mut socket, &Link::ipip(1480))),
        vxlan: support(&try_link(&mut socket, &vxlan)),
        lwtunnel: support(&try_encap(&mut socket)),
        ipv6: Support::Unknown,
    }
}

fn try_link(socket: &mut Socket, link: &Link) -> OpResult {
    let seq = socket.take(1);
    let mut batch = Batch::default();
    link::add(&mut batch, seq, link).map_or(Ok(()), |()| {
        batch.ask_ack();
        socket.ask(&batch, seq)
    })
}

fn try_encap(socket: &mut Socket) -> OpResult {
    const LO: u32 = 1;
    let mut index = Index::default();
    index.insert(LinkName::LO, LO);
    let seq = socket.take(1);
    let mut batch = Batch::default();
    link::set_up(&mut batch, seq, LinkName::LO, true);
    batch.ask_ack();
    socket.ask(&batch, seq)?;
    let here = std::net::Ipv4Addr::LOCALHOST;
    let hop = NextHop { dev: LinkName::LO, ..NextHop::ipip(here, here) };
    let dst = corduroy_kernel::IpNet::host(std::net::Ipv4Addr::new(192, 0, 2, 1).into());
    let seq = socket.take(1);
    let mut batch = Batch::default();
    route::put(&mut batch, seq, &Route::by(dst, hop), &index)?;
    batch.ask_ack();
    socket.ask(&batch, seq)
}
