//! Interfaces: written with the message types of rtnetlink, read by our own cursor.
//!
//! Reading skips what it does not know, so that an attribute of a newer kernel on somebody else's interface
//! can't hide an uplink from us.

use std::net::IpAddr;
use std::os::fd::RawFd;

use corduroy_kernel::{AddrGen, Ipip, Link, LinkKind, LinkName, Mac, SeenLink, VethPeer, Vxlan};
use rtnetlink::packet_core::Emitable;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoIpTunnel, InfoKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::wire::{Attrs, Batch, CREATE, DUMP, EXCL, Message, ne32};

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

/// Octets of struct ifinfomsg.
const IFINFOMSG: usize = 16;
const IFF_UP: u32 = 0x1;
/// Set at once when there is a carrier; IFF_RUNNING comes up to a second later.
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_IPTUN_COLLECT_METADATA: u16 = 19;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const AF_INET6: u16 = 10;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// RTEXT_FILTER_SKIP_STATS: statistics are most of a link message and nothing to us.
const SKIP_STATS: u32 = 8;

fn send(batch: &mut Batch, kind: u16, flags: u16, seq: u32, message: &LinkMessage) {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    batch.begin(kind, flags, seq);
    batch.raw(&body);
    batch.end();
}

fn named(name: LinkName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.as_str().to_owned()));
    message
}

fn described(name: LinkName, mac: Option<Mac>, mtu: u32) -> LinkMessage {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message
}

/// Make a tunnel device, down. `None` for a kind that is not made this way.
pub(crate) fn add(batch: &mut Batch, seq: u32, link: &Link) -> Option<()> {
    let (kind, data) = match &link.kind {
        LinkKind::Ipip(_) => (InfoKind::IpIp, InfoData::IpTunnel(vec![InfoIpTunnel::CollectMetadata])),
        LinkKind::Vxlan(vxlan) => (InfoKind::Vxlan, InfoData::Vxlan(vxlan_data(*vxlan))),
        LinkKind::Veth | LinkKind::Other(_) => return None,
    };
    let mut message = described(link.name, link.mac, link.mtu);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    send(batch, RTM_NEWLINK, CREATE | EXCL, seq, &message);
    Some(())
}

fn vxlan_data(vxlan: Vxlan) -> Vec<InfoVxlan> {
    let local = match vxlan.local {
        IpAddr::V4(a) => InfoVxlan::Local(a),
        IpAddr::V6(a) => InfoVxlan::Local6(a),
    };
    vec![InfoVxlan::Id(vxlan.vni), local, InfoVxlan::Port(vxlan.port), InfoVxlan::Learning(vxlan.learning)]
}

/// Make both ends of a veth pair in one message, the peer in the namespace of `netns`.
pub(crate) fn add_veth(batch: &mut Batch, seq: u32, link: &Link, peer: &VethPeer, netns: RawFd) {
    let mut other = described(peer.name, Some(peer.mac), link.mtu);
    other.attributes.extend(ONE_QUEUE);
    other.attributes.push(LinkAttribute::NetNsFd(netns));
    let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)))];
    let mut message = described(link.name, link.mac, link.mtu);
    message.attributes.extend(ONE_QUEUE);
    message.attributes.push(LinkAttribute::LinkInfo(info));
    send(batch, RTM_NEWLINK, CREATE | EXCL, seq, &message);
}

/// Unless it is told how many queues a veth shall have, the kernel makes one for each processor, puts all but one out
/// of use again, and waits for every processor to have noticed: milliseconds on a busy node, at each end.
const ONE_QUEUE: [LinkAttribute; 2] = [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

/// Set MTU and MAC of an interface.
pub(crate) fn set(batch: &mut Batch, seq: u32, link: &Link) {
    send(batch, RTM_SETLINK, 0, seq, &described(link.name, link.mac, link.mtu));
}

/// No link-local address by itself when the interface comes up. Fails with EAFNOSUPPORT where there is no
/// IPv6.
pub(crate) fn set_addr_gen_none(batch: &mut Batch, seq: u32, name: LinkName) {
    let mode = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
    let mut message = named(name);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(mode)]));
    send(batch, RTM_SETLINK, 0, seq, &message);
}

/// Set an interface up or down.
pub(crate) fn set_up(batch: &mut Batch, seq: u32, name: LinkName, up: bool) {
    let mut message = named(name);
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    send(batch, RTM_SETLINK, 0, seq, &message);
}

/// Delete an interface.
pub(crate) fn delete(batch: &mut Batch, seq: u32, name: LinkName) {
    send(batch, RTM_DELLINK, 0, seq, &named(name));
}

/// Put the interface of this number into a group.
pub(crate) fn set_group(batch: &mut Batch, seq: u32, number: u32, group: u32) {
    numbered(batch, RTM_SETLINK, seq, number);
    batch.u32(IFLA_GROUP, group);
    batch.end();
}

/// Delete the interface of this number: no other one will ever have it.
pub(crate) fn delete_number(batch: &mut Batch, seq: u32, number: u32) {
    numbered(batch, RTM_DELLINK, seq, number);
    batch.end();
}

/// Delete all interfaces of a group.
pub(crate) fn delete_group(batch: &mut Batch, seq: u32, group: u32) {
    numbered(batch, RTM_DELLINK, seq, 0);
    batch.u32(IFLA_GROUP, group);
    batch.end();
}

fn numbered(batch: &mut Batch, kind: u16, seq: u32, number: u32) {
    batch.begin(kind, 0, seq);
    // struct ifinfomsg { family: u8, pad: u8, type: u16, index: i32, flags: u32, change: u32 }
    batch.raw(&[0; 4]);
    batch.raw(&number.to_ne_bytes());
    batch.raw(&[0; IFINFOMSG - 8]);
}

/// Ask for all interfaces, or for one by name.
pub(crate) fn ask(batch: &mut Batch, seq: u32, name: Option<LinkName>) {
    batch.begin(RTM_GETLINK, if name.is_some() { 0 } else { DUMP }, seq);
    batch.raw(&[0; IFINFOMSG]);
    batch.u32(IFLA_EXT_MASK, SKIP_STATS);
    if let Some(name) = name {
        batch.string(IFLA_IFNAME, name.as_str());
    }
    batch.end();
}

/// Read an interface; `None` when it is none or its name is not one of ours to handle (a name that is not
/// ASCII).
pub(crate) fn parse(message: Message<'_>) -> Option<SeenLink> {
    if !matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) {
        return None;
    }
    let index = ne32(message.body, 4)?;
    let flags = ne32(message.body, 8)?;
    let attrs = Attrs::after(message.body, IFINFOMSG);
    let link = Link {
        name: LinkName::new(attrs.str(IFLA_IFNAME)?).ok()?,
        kind: kind(attrs.nested(IFLA_LINKINFO)),
        mac: attrs.get(IFLA_ADDRESS).and_then(|octets| octets.try_into().ok()).map(Mac),
        mtu: attrs.u32(IFLA_MTU).unwrap_or_default(),
        up: flags & IFF_UP != 0,
        addr_gen: addr_gen(attrs),
    };
    Some(SeenLink { index, link, running: flags & IFF_LOWER_UP != 0 })
}

fn kind(info: Attrs<'_>) -> LinkKind {
    let data = info.nested(IFLA_INFO_DATA);
    match info.str(IFLA_INFO_KIND).unwrap_or_default() {
        "veth" => LinkKind::Veth,
        "ipip" => LinkKind::Ipip(Ipip { external: data.get(IFLA_IPTUN_COLLECT_METADATA).is_some() }),
        "vxlan" => vxlan(data).map_or_else(|| LinkKind::Other("vxlan".to_owned()), LinkKind::Vxlan),
        other => LinkKind::Other(other.to_owned()),
    }
}

fn vxlan(data: Attrs<'_>) -> Option<Vxlan> {
    let port = data.get(IFLA_VXLAN_PORT)?.first_chunk().copied().map(u16::from_be_bytes)?;
    let local = data.addr(IFLA_VXLAN_LOCAL).or_else(|| data.addr(IFLA_VXLAN_LOCAL6))?;
    let learning = data.get(IFLA_VXLAN_LEARNING)?.first().is_some_and(|on| *on != 0);
    Some(Vxlan { vni: data.u32(IFLA_VXLAN_ID)?, port, local, learning })
}

fn addr_gen(attrs: Attrs<'_>) -> AddrGen {
    let mode = attrs.nested(IFLA_AF_SPEC).nested(AF_INET6).get(IFLA_INET6_ADDR_GEN_MODE);
    match mode.and_then(|octets| octets.first()) {
        Some(&IN6_ADDR_GEN_MODE_NONE) => AddrGen::None,
        _ => AddrGen::Other,
    }
}
