//! Tracked connections (nfnetlink conntrack): read, marked, forgotten when an address changes hands.
//!
//! A connection from a pod has the pod as its original source, one to a pod (through whatever translation) as
//! the source of its replies: two deletions with a filter cover both. Filters on deletion came with Linux
//! 6.10; an older kernel refuses them, then all connections are read and the matching ones deleted one by
//! one.

mod entry;

use std::io;
use std::net::IpAddr;

use corduroy_kernel::{Cause, Family, Flow, FlowKey, OpResult};

use crate::error::op_error;
use crate::route::address_family;
use crate::socket::Socket;
use crate::wire::{Attrs, Batch, DUMP, Message};

const SUBSYS: u16 = 1 << 8;
const CT_NEW: u16 = SUBSYS;
const CT_GET: u16 = SUBSYS | 1;
const CT_DELETE: u16 = SUBSYS | 2;
const NFGENMSG: usize = 4;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const MARK: u16 = 8;
const ZONE: u16 = 18;
const MARK_MASK: u16 = 21;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
/// CTA_FILTER_F_CTA_IP_SRC.
const IP_SRC: u32 = 1;

fn source_attr(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 3,
    }
}

/// Forget every connection from or to this address.
pub(crate) fn forget(socket: &mut Socket, addr: IpAddr) -> OpResult {
    let by_filter =
        [TUPLE_ORIG, TUPLE_REPLY].into_iter().try_for_each(|tuple| by_filter(socket, addr, tuple));
    match by_filter {
        Err(error) if matches!(error.cause, Cause::Unsupported | Cause::Invalid) => one_by_one(socket, addr),
        other => other,
    }
}

/// Every connection of both families. The kernel gives them out while others come and go: one may be missing, or be
/// there twice.
pub(crate) fn flows(socket: &mut Socket) -> io::Result<Vec<Flow>> {
    const BOTH: u8 = 0;
    let ask = |batch: &mut Batch, seq| {
        batch.begin(CT_GET, DUMP, seq);
        batch.raw(&[BOTH, 0, 0, 0]);
        batch.end();
    };
    let found = socket.dump(ask, |found: &mut Vec<_>, message| found.extend(entry::read(message)));
    found.or_else(|error| match error.raw_os_error() {
        // No tracking in this kernel.
        Some(libc::EOPNOTSUPP | libc::EINVAL) => Ok(Vec::new()),
        _ => Err(error),
    })
}

/// Write bits of the marks of connections. What is gone is left out; any other refusal is told and stops no other.
pub(crate) fn mark(socket: &mut Socket, (mask, value): (u32, u32), flows: &[FlowKey]) -> OpResult {
    /// Messages in one `sendmsg`.
    const AT_ONCE: usize = 256;
    let mut told = Ok(());
    for some in flows.chunks(AT_ONCE) {
        let first = socket.take(some.len());
        let mut batch = Batch::default();
        let mut last = first;
        for (flow, seq) in some.iter().zip(first..) {
            begin(&mut batch, CT_NEW, 0, seq, Family::of(flow.original.source));
            entry::write_key(&mut batch, flow);
            batch.be32(MARK, value & mask);
            batch.be32(MARK_MASK, mask);
            batch.end();
            last = seq;
        }
        batch.ask_ack();
        let refusals =
            socket.exchange(&batch, first..=last, |seq| seq == last).map_err(|error| op_error(&error))?;
        let refused = refusals.into_values().find(|error| error.cause != Cause::Missing);
        told = told.and(refused.map_or(Ok(()), Err));
    }
    told
}

fn begin(batch: &mut Batch, kind: u16, flags: u16, seq: u32, family: Family) {
    batch.begin(kind, flags, seq);
    batch.raw(&[address_family(family), 0, 0, 0]);
}

fn delete(socket: &mut Socket, family: Family, body: impl FnOnce(&mut Batch)) -> OpResult {
    let seq = socket.take(1);
    let mut batch = Batch::default();
    begin(&mut batch, CT_DELETE, 0, seq, family);
    body(&mut batch);
    batch.end();
    batch.ask_ack();
    match socket.ask(&batch, seq) {
        Err(error) if error.cause == Cause::Missing => Ok(()),
        other => other,
    }
}

fn by_filter(socket: &mut Socket, addr: IpAddr, tuple: u16) -> OpResult {
    let family = Family::of(addr);
    delete(socket, family, |batch| {
        let outer = batch.nest(tuple);
        let inner = batch.nest(TUPLE_IP);
        batch.addr(source_attr(family), addr);
        batch.close(inner);
        batch.close(outer);
        let (orig, reply) = if tuple == TUPLE_ORIG { (IP_SRC, 0) } else { (0, IP_SRC) };
        let filter = batch.nest(FILTER);
        batch.u32(FILTER_ORIG_FLAGS, orig);
        batch.u32(FILTER_REPLY_FLAGS, reply);
        batch.close(filter);
    })
}

fn one_by_one(socket: &mut Socket, addr: IpAddr) -> OpResult {
    let family = Family::of(addr);
    let ask = |batch: &mut Batch, seq| {
        begin(batch, CT_GET, DUMP, seq, family);
        batch.end();
    };
    let matching = |found: &mut Vec<Vec<u8>>, message: Message<'_>| {
        let attrs = Attrs::after(message.body, NFGENMSG);
        let source = |tuple| attrs.nested(tuple).nested(TUPLE_IP).addr(source_attr(family));
        if [TUPLE_ORIG, TUPLE_REPLY].into_iter().any(|tuple| source(tuple) == Some(addr)) {
            found.extend(attrs.get(TUPLE_ORIG).map(<[u8]>::to_vec));
        }
    };
    let tuples = socket.dump(ask, matching).map_err(|error| op_error(&error))?;
    tuples.into_iter().try_for_each(|tuple| {
        delete(socket, family, |batch| {
            let nest = batch.nest(TUPLE_ORIG);
            batch.raw(&tuple);
            batch.close(nest);
        })
    })
}
