//! Permanent neighbours and FDB entries as rtnetlink messages.

use corduroy_kernel::{FdbEntry, LinkName, Mac, Neighbour};
use rtnetlink::packet_core::Emitable;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use std::net::IpAddr;

use crate::address::family;
use crate::index::Index;
use crate::wire::{Attrs, Batch, CREATE, DUMP, Message, REPLACE, ne16, ne32};

pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

/// Octets of struct ndmsg.
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const AF_BRIDGE: u8 = 7;

fn message(family: AddressFamily, index: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message
}

fn send(batch: &mut Batch, kind: u16, flags: u16, seq: u32, message: &NeighbourMessage) {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    batch.begin(kind, flags, seq);
    batch.raw(&body);
    batch.end();
}

fn destination(addr: IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match addr {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    })
}

fn at(mac: Mac) -> NeighbourAttribute {
    NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())
}

/// Write a permanent neighbour.
pub(crate) fn put(batch: &mut Batch, seq: u32, neighbour: &Neighbour, index: u32) {
    let mut message = message(family(neighbour.addr), index);
    message.attributes = vec![destination(neighbour.addr), at(neighbour.mac)];
    send(batch, RTM_NEWNEIGH, CREATE | REPLACE, seq, &message);
}

/// Delete a neighbour.
pub(crate) fn delete(batch: &mut Batch, seq: u32, addr: IpAddr, index: u32) {
    let mut message = message(family(addr), index);
    message.attributes = vec![destination(addr)];
    send(batch, RTM_DELNEIGH, 0, seq, &message);
}

/// Write an FDB entry.
pub(crate) fn put_fdb(batch: &mut Batch, seq: u32, entry: &FdbEntry, index: u32) {
    let mut message = message(AddressFamily::Bridge, index);
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![at(entry.mac), destination(entry.vtep)];
    send(batch, RTM_NEWNEIGH, CREATE | REPLACE, seq, &message);
}

/// Delete an FDB entry with all its destinations.
pub(crate) fn delete_fdb(batch: &mut Batch, seq: u32, mac: Mac, index: u32) {
    let mut message = message(AddressFamily::Bridge, index);
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![at(mac)];
    send(batch, RTM_DELNEIGH, 0, seq, &message);
}

/// Which neighbours are asked for.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// Those of the network layer.
    Network,
    /// FDB entries.
    Fdb,
}

/// Ask for all neighbours.
pub(crate) fn ask(batch: &mut Batch, seq: u32, which: Which) {
    batch.begin(RTM_GETNEIGH, DUMP, seq);
    let mut header = [0; NDMSG];
    if let (Which::Fdb, Some(family)) = (which, header.first_mut()) {
        *family = AF_BRIDGE;
    }
    batch.raw(&header);
    batch.end();
}

/// What a neighbour message says, of interfaces with names of ours.
pub(crate) enum Found {
    Neighbour(Neighbour),
    Fdb(FdbEntry),
}

/// Read a permanent neighbour or an FDB entry on an interface of ours.
pub(crate) fn parse(message: Message<'_>, index: &Index) -> Option<Found> {
    if message.kind != RTM_NEWNEIGH || ne16(message.body, 8)? & NUD_PERMANENT == 0 {
        return None;
    }
    let dev = device(message, index)?;
    let attrs = Attrs::after(message.body, NDMSG);
    let addr = attrs.addr(NDA_DST)?;
    let mac = Mac(attrs.get(NDA_LLADDR)?.try_into().ok()?);
    if message.body.first() == Some(&AF_BRIDGE) {
        return Some(Found::Fdb(FdbEntry { dev, mac, vtep: addr }));
    }
    Some(Found::Neighbour(Neighbour { dev, addr, mac }))
}

/// The interface of a neighbour message, if its name is one of ours.
pub(crate) fn device(message: Message<'_>, index: &Index) -> Option<LinkName> {
    index.name(ne32(message.body, 4)?).filter(LinkName::is_ours)
}
