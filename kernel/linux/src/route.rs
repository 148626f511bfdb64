//! Routes of ours as rtnetlink messages, in batches (RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE).
//!
//! Written by hand and not by a library's message types because of their number: a full table is 100,000
//! routes or more, and a message costs no allocation here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use corduroy_kernel::route::{METRIC, PROTOCOL};
use corduroy_kernel::{Encap, Family, Gateway, IpNet, LinkName, NextHop, OpError, Route, RouteKind};

use crate::index::Index;
use crate::wire::{Attrs, Batch, CREATE, DUMP, Message, REPLACE, ne16, ne32};

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

/// Octets of struct rtmsg.
const RTMSG: usize = 12;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTNH_F_ONLINK: u8 = 4;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTAX_MTU: u16 = 2;
const LWTUNNEL_ENCAP_IP: u16 = 2;
const LWTUNNEL_IP_DST: u16 = 2;
const LWTUNNEL_IP_SRC: u16 = 3;

pub(crate) fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The fixed part of a route message.
struct Header {
    family: Family,
    dst_len: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u8,
}

impl Header {
    fn write(&self, batch: &mut Batch) {
        let family = address_family(self.family);
        let table = RT_TABLE_MAIN;
        batch.raw(&[family, self.dst_len, 0, 0, table, self.protocol, self.scope, self.kind]);
        batch.raw(&u32::from(self.flags).to_ne_bytes());
    }
}

/// Write or replace a route. `Err` when an interface it names is not there.
pub(crate) fn put(batch: &mut Batch, seq: u32, route: &Route, index: &Index) -> Result<(), OpError> {
    let hops = route.hops().iter().map(|hop| Ok((index.of(hop.dev)?, *hop)));
    let hops = hops.collect::<Result<Vec<_>, OpError>>()?;
    batch.begin(RTM_NEWROUTE, CREATE | REPLACE, seq);
    let header = Header {
        family: route.dst.family(),
        dst_len: route.dst.prefix_len(),
        protocol: PROTOCOL,
        scope: scope(route),
        kind: if route.kind == RouteKind::Blackhole { RTN_BLACKHOLE } else { RTN_UNICAST },
        flags: match hops.as_slice() {
            [(_, hop)] if hop.onlink => RTNH_F_ONLINK,
            _ => 0,
        },
    };
    header.write(batch);
    batch.addr(RTA_DST, route.dst.addr());
    batch.u32(RTA_PRIORITY, METRIC);
    if let Some(src) = route.src {
        batch.addr(RTA_PREFSRC, src);
    }
    if let Some(mtu) = route.mtu {
        let nest = batch.nest(RTA_METRICS);
        batch.u32(RTAX_MTU, mtu);
        batch.close(nest);
    }
    match hops.as_slice() {
        [(dev, hop)] => {
            batch.u32(RTA_OIF, *dev);
            write_hop(batch, hop, route.dst.family());
        }
        hops => write_hops(batch, hops, route.dst.family()),
    }
    batch.end();
    Ok(())
}

fn scope(route: &Route) -> u8 {
    let direct = route.hops().iter().any(|hop| hop.via.is_none());
    if direct && route.dst.family() == Family::V4 { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE }
}

fn write_hops(batch: &mut Batch, hops: &[(u32, NextHop)], family: Family) {
    if hops.is_empty() {
        return;
    }
    let nest = batch.nest(RTA_MULTIPATH);
    for (dev, hop) in hops {
        // struct rtnexthop { len: u16, flags: u8, weight less one: u8, ifindex: i32 }, then attributes.
        let mut inner = Batch::default();
        write_hop(&mut inner, hop, family);
        let len = u16::try_from(8 + inner.len()).unwrap_or(u16::MAX);
        batch.raw(&len.to_ne_bytes().into_iter().chain([onlink(hop), 0]).collect::<Vec<u8>>());
        batch.raw(&dev.to_ne_bytes());
        batch.raw(inner.as_bytes());
    }
    batch.close(nest);
}

fn onlink(hop: &NextHop) -> u8 {
    if hop.onlink { RTNH_F_ONLINK } else { 0 }
}

fn write_hop(batch: &mut Batch, hop: &NextHop, family: Family) {
    match hop.via {
        Some(via) if Family::of(via) == family => batch.addr(RTA_GATEWAY, via),
        // An IPv4 route by way of an IPv6 gateway (RFC 8950).
        Some(via) => batch.attr(RTA_VIA, &rta_via(via)),
        None => {}
    }
    if let Some(Encap { src, dst }) = hop.encap {
        batch.attr(RTA_ENCAP_TYPE, &LWTUNNEL_ENCAP_IP.to_ne_bytes());
        let nest = batch.nest(RTA_ENCAP);
        batch.addr(LWTUNNEL_IP_SRC, src.into());
        batch.addr(LWTUNNEL_IP_DST, dst.into());
        batch.close(nest);
    }
}

fn rta_via(via: IpAddr) -> Vec<u8> {
    let family = u16::from(address_family(Family::of(via))).to_ne_bytes();
    match via {
        IpAddr::V4(a) => family.into_iter().chain(a.octets()).collect(),
        IpAddr::V6(a) => family.into_iter().chain(a.octets()).collect(),
    }
}

/// Delete the route of our protocol with this destination and metric.
pub(crate) fn delete(batch: &mut Batch, seq: u32, dst: IpNet, metric: u32) {
    batch.begin(RTM_DELROUTE, 0, seq);
    let header = Header {
        family: dst.family(),
        dst_len: dst.prefix_len(),
        protocol: PROTOCOL,
        scope: RT_SCOPE_NOWHERE,
        kind: 0,
        flags: 0,
    };
    header.write(batch);
    batch.addr(RTA_DST, dst.addr());
    batch.u32(RTA_PRIORITY, metric);
    batch.end();
}

/// The protocols of routes that an administrator, DHCP or router advertisements made: RTPROT_BOOT, STATIC, RA, DHCP.
/// Not those of other routing daemons, which may be many.
pub(crate) const OTHERS: [u8; 4] = [3, 4, 9, 16];

/// Ask for all routes of a protocol in the main table; with `oif`, those by way of that interface.
pub(crate) fn ask(batch: &mut Batch, seq: u32, family: Family, protocol: u8, oif: Option<u32>) {
    batch.begin(RTM_GETROUTE, DUMP, seq);
    let header = Header { family, dst_len: 0, protocol, scope: 0, kind: 0, flags: 0 };
    header.write(batch);
    if let Some(oif) = oif {
        batch.u32(RTA_OIF, oif);
    }
    batch.end();
}

/// A route as dumped.
pub(crate) enum Found {
    /// One as we write them.
    Ours(Route),
    /// One of our protocol that is not.
    Stray(IpNet, u32),
}

/// What identifies a route in the main table, and the rest of it.
struct Raw<'a> {
    protocol: u8,
    kind: u8,
    flags: u8,
    dst: IpNet,
    metric: u32,
    attrs: Attrs<'a>,
}

fn raw(message: Message<'_>) -> Option<Raw<'_>> {
    let &[family, dst_len, _, _, table, protocol, _, kind, ..] = message.body.first_chunk::<RTMSG>()?;
    if message.kind != RTM_NEWROUTE || table != RT_TABLE_MAIN {
        return None;
    }
    let family = Family::ALL.into_iter().find(|f| address_family(*f) == family)?;
    let any = if family == Family::V4 { IpNet::ANY_V4 } else { IpNet::ANY_V6 };
    let attrs = Attrs::after(message.body, RTMSG);
    let dst = IpNet::containing(attrs.addr(RTA_DST).unwrap_or(any.addr()), dst_len)?;
    let metric = attrs.u32(RTA_PRIORITY).unwrap_or_default();
    let flags = low_octet(message.body, 8)?;
    Some(Raw { protocol, kind, flags, dst, metric, attrs })
}

/// The low octet of a number of 32 bits: where the flags are that matter here.
fn low_octet(body: &[u8], at: usize) -> Option<u8> {
    Some(ne32(body, at)?.to_le_bytes()[0])
}

/// Read a route message; `None` when it is not of our protocol in the main table.
pub(crate) fn parse(message: Message<'_>, index: &Index) -> Option<Found> {
    let raw = raw(message).filter(|raw| raw.protocol == PROTOCOL)?;
    let route = route(&raw, index).filter(|_| raw.metric == METRIC);
    Some(route.map_or(Found::Stray(raw.dst, raw.metric), Found::Ours))
}

/// Read somebody else's route by way of a gateway, with its metric. Of several next hops the first.
pub(crate) fn parse_gateway(message: Message<'_>, index: &Index) -> Option<(IpNet, u32, Gateway)> {
    let raw = raw(message).filter(|raw| raw.kind == RTN_UNICAST && OTHERS.contains(&raw.protocol))?;
    let hop = hops(raw.flags, raw.attrs, index)?.into_iter().find(|hop| hop.via.is_some())?;
    Some((raw.dst, raw.metric, Gateway { dev: hop.dev, via: hop.via? }))
}

fn route(raw: &Raw<'_>, index: &Index) -> Option<Route> {
    let route = match raw.kind {
        RTN_BLACKHOLE => Route::blackhole(raw.dst),
        RTN_UNICAST => Route::via(raw.dst, hops(raw.flags, raw.attrs, index)?)?,
        _ => return None,
    };
    let mtu = raw.attrs.nested(RTA_METRICS).u32(RTAX_MTU);
    Some(route.with_src(raw.attrs.addr(RTA_PREFSRC)).with_mtu(mtu))
}

fn hops(flags: u8, attrs: Attrs<'_>, index: &Index) -> Option<BTreeSet<NextHop>> {
    let Some(mut rest) = attrs.get(RTA_MULTIPATH) else {
        let dev = index.name(attrs.u32(RTA_OIF)?)?;
        return Some(BTreeSet::from([hop(dev, flags, attrs)]));
    };
    let mut hops = BTreeSet::new();
    while let Some(len) = ne16(rest, 0) {
        let one = rest.get(..usize::from(len)).filter(|one| one.len() >= 8)?;
        let dev = index.name(ne32(one, 4)?)?;
        hops.insert(hop(dev, one.get(2).copied()?, Attrs::after(one, 8)));
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(hops)
}

fn hop(dev: LinkName, flags: u8, attrs: Attrs<'_>) -> NextHop {
    let via = attrs.addr(RTA_GATEWAY).or_else(|| crate::wire::addr(attrs.get(RTA_VIA)?.get(2..)?));
    NextHop { dev, via, onlink: flags & RTNH_F_ONLINK != 0, encap: encap(attrs) }
}

fn encap(attrs: Attrs<'_>) -> Option<Encap> {
    if ne16(attrs.get(RTA_ENCAP_TYPE)?, 0)? != LWTUNNEL_ENCAP_IP {
        return None;
    }
    let inner = attrs.nested(RTA_ENCAP);
    match (inner.addr(LWTUNNEL_IP_SRC)?, inner.addr(LWTUNNEL_IP_DST)?) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Encap { src, dst }),
        _ => None,
    }
}

/// The body of a default route by way of a gateway taken to be on the link.
pub(crate) fn default_by(batch: &mut Batch, protocol: u8, gateway: IpAddr, oif: u32, mtu: Option<u32>) {
    let family = Family::of(gateway);
    let scope = RT_SCOPE_UNIVERSE;
    let header = Header { family, dst_len: 0, protocol, scope, kind: RTN_UNICAST, flags: RTNH_F_ONLINK };
    header.write(batch);
    batch.addr(RTA_GATEWAY, gateway);
    batch.u32(RTA_OIF, oif);
    if let Some(mtu) = mtu {
        let nest = batch.nest(RTA_METRICS);
        batch.u32(RTAX_MTU, mtu);
        batch.close(nest);
    }
}
