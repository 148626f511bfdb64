//! Addresses of interfaces as rtnetlink messages.

use std::net::IpAddr;

use corduroy_kernel::{Address, Family, Scope};
use rtnetlink::packet_core::Emitable;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};

use crate::index::Index;
use crate::wire::{Attrs, Batch, CREATE, DUMP, Message, REPLACE, ne32};

pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

/// Octets of struct ifaddrmsg.
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;

pub(crate) fn family(addr: IpAddr) -> AddressFamily {
    match Family::of(addr) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn message(address: &Address, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr);
    message.header.prefix_len = address.prefix_len;
    message.header.index = index;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.scope = match address.scope {
        Scope::Global => AddressScope::Universe,
        Scope::Link => AddressScope::Link,
        Scope::Host => AddressScope::Host,
    };
    message.attributes = vec![AddressAttribute::Local(address.addr), AddressAttribute::Address(address.addr)];
    message
}

fn send(batch: &mut Batch, kind: u16, flags: u16, seq: u32, message: &AddressMessage) {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    batch.begin(kind, flags, seq);
    batch.raw(&body);
    batch.end();
}

/// Add an address, without duplicate address detection.
pub(crate) fn put(batch: &mut Batch, seq: u32, address: &Address, index: u32) {
    send(batch, RTM_NEWADDR, CREATE | REPLACE, seq, &message(address, index));
}

/// Delete an address.
pub(crate) fn delete(batch: &mut Batch, seq: u32, address: &Address, index: u32) {
    send(batch, RTM_DELADDR, 0, seq, &message(address, index));
}

/// Ask for all addresses, or those of one interface.
pub(crate) fn ask(batch: &mut Batch, seq: u32, index: Option<u32>) {
    batch.begin(RTM_GETADDR, DUMP, seq);
    batch.raw(&[0; 4]);
    batch.raw(&index.unwrap_or_default().to_ne_bytes());
    batch.end();
}

/// Read an address and the number of its interface.
pub(crate) fn parse(message: Message<'_>, index: &Index) -> Option<Address> {
    let &[_, prefix_len, _, scope] = message.body.first_chunk()?;
    if !matches!(message.kind, RTM_NEWADDR | RTM_DELADDR) {
        return None;
    }
    let attrs = Attrs::after(message.body, IFADDRMSG);
    // On a point-to-point interface IFA_ADDRESS is the other end; IPv6 sends no IFA_LOCAL without one.
    let addr = attrs.addr(IFA_LOCAL).or_else(|| attrs.addr(IFA_ADDRESS))?;
    let scope = match scope {
        RT_SCOPE_LINK => Scope::Link,
        RT_SCOPE_HOST => Scope::Host,
        _ => Scope::Global,
    };
    Some(Address { dev: index.name(ne32(message.body, 4)?)?, addr, prefix_len, scope })
}
