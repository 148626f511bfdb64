//! The pod's end of a veth pair: set from inside the pod's namespace.

use std::net::IpAddr;
use std::os::fd::AsFd;

use corduroy_kernel::{Address, Conf, Conf6, Family, Neighbour, OpError, OpResult, PodEnd, SeenLink, Sysctl};

use crate::error::op_error;
use crate::socket::{Protocol, Socket};
use crate::wire::{Batch, CREATE, REPLACE};
use crate::{address, link, neighbour, netns, sysctl};

/// Set it.
pub(crate) fn set(netns: impl AsFd, end: &PodEnd) -> OpResult {
    netns::inside(netns, || set_here(end)).unwrap_or_else(|error| Err(op_error(&error)))
}

fn set_here(end: &PodEnd) -> OpResult {
    let mut socket = Socket::open(Protocol::Route).map_err(|error| op_error(&error))?;
    let found = socket.query(|batch, seq| link::ask(batch, seq, Some(end.name)), link::parse)?;
    let seen = found.ok_or_else(|| OpError::new(corduroy_kernel::Cause::Missing, libc::ENODEV))?;
    switches(end)?;
    let ipv6_less = link_local_off(&mut socket, end);
    ipv6_less.or_else(|error| match error.cause {
        corduroy_kernel::Cause::Unsupported => Ok(()),
        _ => Err(error),
    })?;
    let mut batch = Batch::default();
    let first = socket.take(64 + end.addresses.len());
    let mut seq = first..;
    let mut next = || seq.next().unwrap_or(first);
    link::set_up(&mut batch, next(), end.name, true);
    for addr in &end.addresses {
        address::put(&mut batch, next(), &Address::host(end.name, *addr), seen.index);
    }
    for family in families(end) {
        let gateway = gateway(family);
        let neighbour = Neighbour { dev: end.name, addr: gateway, mac: end.gateway_mac };
        neighbour::put(&mut batch, next(), &neighbour, seen.index);
        default_route(&mut batch, next(), gateway, &seen, end);
    }
    batch.ask_ack();
    let last = first + u32::try_from(batch.count).unwrap_or(1) - 1;
    let refusals =
        socket.exchange(&batch, first..=last, |seq| seq == last).map_err(|error| op_error(&error))?;
    refusals.into_values().next().map_or(Ok(()), Err)
}

/// A namespace may have been made with IPv6 off; a pod with an IPv6 address needs it on, and listens to
/// nobody's router advertisements.
fn switches(end: &PodEnd) -> OpResult {
    if !families(end).any(|family| family == Family::V6) {
        return Ok(());
    }
    let conf = Conf::Dev(end.name);
    sysctl::write(&Sysctl::V6(conf, Conf6::DisableIpv6), 0)?;
    sysctl::write(&Sysctl::V6(conf, Conf6::AcceptRa), 0)
}

fn link_local_off(socket: &mut Socket, end: &PodEnd) -> OpResult {
    let seq = socket.take(1);
    let mut batch = Batch::default();
    link::set_addr_gen_none(&mut batch, seq, end.name);
    batch.ask_ack();
    socket.ask(&batch, seq)
}

fn families(end: &PodEnd) -> impl Iterator<Item = Family> {
    let has = |family| end.addresses.iter().any(|addr| Family::of(*addr) == family);
    Family::ALL.into_iter().filter(move |family| has(*family))
}

fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => PodEnd::GATEWAY_V4.into(),
        Family::V6 => PodEnd::GATEWAY_V6.into(),
    }
}

/// The pod's default route is the pod's: no protocol number or metric of ours in there.
fn default_route(batch: &mut Batch, seq: u32, gateway: IpAddr, seen: &SeenLink, end: &PodEnd) {
    const RTPROT_STATIC: u8 = 4;
    batch.begin(crate::route::RTM_NEWROUTE, CREATE | REPLACE, seq);
    crate::route::default_by(batch, RTPROT_STATIC, gateway, seen.index, end.route_mtu);
    batch.end();
}
