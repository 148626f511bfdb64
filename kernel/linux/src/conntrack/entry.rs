//! An entry of the table of connections, as attributes (CTA_* of
//! include/uapi/linux/netfilter/nfnetlink_conntrack.h).

use corduroy_kernel::{Family, Flow, FlowKey, FlowStatus, TcpState, Tuple, TupleId};

use super::{MARK, NFGENMSG, TUPLE_IP, TUPLE_ORIG, TUPLE_REPLY, ZONE, source_attr};
use crate::wire::{Attrs, Batch, Message};

const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const PROTOINFO_TCP: u16 = 1;
const PROTOINFO_TCP_STATE: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const TUPLE_ZONE: u16 = 3;
const PROTO_NUM: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;

fn destination_attr(family: Family) -> u16 {
    source_attr(family) + 1
}

/// Where a message has identifier, type and code.
fn icmp_attrs(family: Family) -> (u16, u16, u16) {
    match family {
        Family::V4 => (4, 5, 6),
        Family::V6 => (7, 8, 9),
    }
}

/// An entry; `None` when it is not one of IPv4 or IPv6.
pub(super) fn read(message: Message<'_>) -> Option<Flow> {
    let attrs = Attrs::after(message.body, NFGENMSG);
    let original = attrs.nested(TUPLE_ORIG);
    // A zone of both ways stands by itself, one of a single way with that way.
    let zone = attrs.be16(ZONE).or_else(|| original.be16(TUPLE_ZONE)).unwrap_or_default();
    let state = attrs.nested(PROTOINFO).nested(PROTOINFO_TCP).get(PROTOINFO_TCP_STATE);
    Some(Flow {
        key: FlowKey { original: read_tuple(original)?, zone },
        reply: read_tuple(attrs.nested(TUPLE_REPLY))?,
        mark: attrs.be32(MARK).unwrap_or_default(),
        tcp: state.and_then(|state| TcpState::ALL.get(usize::from(*state.first()?)).copied()),
        status: FlowStatus(attrs.be32(STATUS).unwrap_or_default()),
    })
}

fn read_tuple(attrs: Attrs<'_>) -> Option<Tuple> {
    let (ip, proto) = (attrs.nested(TUPLE_IP), attrs.nested(TUPLE_PROTO));
    let addresses = |family| Some((ip.addr(source_attr(family))?, ip.addr(destination_attr(family))?));
    let (source, destination) = Family::ALL.into_iter().find_map(addresses)?;
    let octet = |kind| proto.get(kind)?.first().copied();
    let icmp = || {
        let (id, kind, code) = icmp_attrs(Family::of(source));
        Some(TupleId::Icmp { id: proto.be16(id)?, kind: octet(kind)?, code: octet(code)? })
    };
    let ports = || {
        let (source, destination) = (proto.be16(PROTO_SOURCE_PORT)?, proto.be16(PROTO_DESTINATION_PORT)?);
        Some(TupleId::Ports { source, destination })
    };
    let id = ports().or_else(icmp).unwrap_or(TupleId::None);
    Some(Tuple { source, destination, protocol: octet(PROTO_NUM)?, id })
}

/// What names an entry.
pub(super) fn write_key(batch: &mut Batch, key: &FlowKey) {
    let tuple = &key.original;
    let family = Family::of(tuple.source);
    let outer = batch.nest(TUPLE_ORIG);
    let inner = batch.nest(TUPLE_IP);
    batch.addr(source_attr(family), tuple.source);
    batch.addr(destination_attr(family), tuple.destination);
    batch.close(inner);
    let inner = batch.nest(TUPLE_PROTO);
    batch.attr(PROTO_NUM, &[tuple.protocol]);
    match tuple.id {
        TupleId::None => {}
        TupleId::Ports { source, destination } => {
            batch.attr(PROTO_SOURCE_PORT, &source.to_be_bytes());
            batch.attr(PROTO_DESTINATION_PORT, &destination.to_be_bytes());
        }
        TupleId::Icmp { id, kind, code } => {
            let at = icmp_attrs(family);
            batch.attr(at.0, &id.to_be_bytes());
            batch.attr(at.1, &[kind]);
            batch.attr(at.2, &[code]);
        }
    }
    batch.close(inner);
    batch.close(outer);
    if key.zone != 0 {
        batch.attr(ZONE, &key.zone.to_be_bytes());
    }
}
