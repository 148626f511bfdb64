//! Expressions: each a name and attributes that load, test and store registers.
//!
//! What `nft` writes for the same text is written here octet by octet, so that `nft list` shows it as it was
//! meant and a table somebody loaded with `nft -f` reads as ours.

use corduroy_kernel::Family;
use corduroy_kernel::nft::{Cmp, Expr, Field, Match, Rule, Value, Verdict};

use super::value::{octets, padded, write_data, write_verdict};
use super::{LIST_ELEM, nfta};
use crate::wire::Batch;

/// The first register: holds any value of up to 16 octets.
pub(super) const REG: u32 = 1;
/// The register of the verdict.
pub(super) const REG_VERDICT: u32 = 0;

pub(super) const META_DREG: u16 = 1;
pub(super) const META_KEY: u16 = 2;
pub(super) const META_SREG: u16 = 3;
pub(super) const META_MARK: u32 = 3;
pub(super) const META_IIFNAME: u32 = 6;
pub(super) const META_OIFNAME: u32 = 7;
pub(super) const META_NFPROTO: u32 = 15;
pub(super) const META_L4PROTO: u32 = 16;
pub(super) const PAYLOAD_DREG: u16 = 1;
pub(super) const PAYLOAD_BASE: u16 = 2;
pub(super) const PAYLOAD_OFFSET: u16 = 3;
pub(super) const PAYLOAD_LEN: u16 = 4;
pub(super) const BASE_NETWORK: u32 = 1;
pub(super) const BASE_TRANSPORT: u32 = 2;
pub(super) const CMP_SREG: u16 = 1;
pub(super) const CMP_OP: u16 = 2;
pub(super) const CMP_DATA: u16 = 3;
pub(super) const OP_EQ: u32 = 0;
pub(super) const OP_NE: u32 = 1;
pub(super) const OP_LTE: u32 = 3;
pub(super) const OP_GTE: u32 = 5;
pub(super) const BITWISE_SREG: u16 = 1;
pub(super) const BITWISE_DREG: u16 = 2;
pub(super) const BITWISE_LEN: u16 = 3;
pub(super) const BITWISE_MASK: u16 = 4;
pub(super) const BITWISE_XOR: u16 = 5;
pub(super) const RANGE_SREG: u16 = 1;
pub(super) const RANGE_OP: u16 = 2;
pub(super) const RANGE_FROM: u16 = 3;
pub(super) const RANGE_TO: u16 = 4;
pub(super) const LOOKUP_SET: u16 = 1;
pub(super) const LOOKUP_SREG: u16 = 2;
pub(super) const LOOKUP_DREG: u16 = 3;
pub(super) const LOOKUP_FLAGS: u16 = 5;
pub(super) const LOOKUP_INV: u32 = 1;
pub(super) const IMMEDIATE_DREG: u16 = 1;
pub(super) const IMMEDIATE_DATA: u16 = 2;
pub(super) const CT_DREG: u16 = 1;
pub(super) const CT_KEY: u16 = 2;
pub(super) const CT_SREG: u16 = 4;
pub(super) const CT_STATE: u32 = 0;
pub(super) const CT_DIRECTION: u32 = 1;
pub(super) const CT_MARK: u32 = 3;
pub(super) const FIB_DREG: u16 = 1;
pub(super) const FIB_RESULT: u16 = 2;
pub(super) const FIB_FLAGS: u16 = 3;
pub(super) const FIB_OIF: u32 = 1;
pub(super) const FIB_ADDRTYPE: u32 = 3;
pub(super) const FIB_F_SADDR: u32 = 1;
pub(super) const FIB_F_DADDR: u32 = 2;
pub(super) const FIB_F_IIF: u32 = 8;
pub(super) const FIB_F_PRESENT: u32 = 32;
pub(super) const COUNTER_BYTES: u16 = 1;
pub(super) const COUNTER_PACKETS: u16 = 2;
pub(super) const LIMIT_RATE: u16 = 1;
pub(super) const LIMIT_UNIT: u16 = 2;
pub(super) const LIMIT_BURST: u16 = 3;
pub(super) const LIMIT_TYPE: u16 = 4;
pub(super) const LIMIT_FLAGS: u16 = 5;
pub(super) const LOG_GROUP: u16 = 1;
pub(super) const LOG_PREFIX: u16 = 2;
pub(super) const LOG_SNAPLEN: u16 = 3;
pub(super) const LOG_QTHRESHOLD: u16 = 4;
pub(super) const MASQ_FLAGS: u16 = 1;
/// NF_NAT_RANGE_PROTO_RANDOM_FULLY.
pub(super) const FULLY_RANDOM: u32 = 0x10;
/// The longest prefix of a log line, without its NUL.
const LOG_PREFIX_MAX: usize = 127;

/// What the headers looked at so far say, so that no test is written twice.
#[derive(Default)]
struct Known {
    family: Option<Family>,
    protocol: Option<u8>,
}

/// Write the expressions of a rule as a list. `false` when one is not of ours to write.
pub(super) fn write_rule(batch: &mut Batch, rule: &Rule) -> bool {
    let mut known = Known::default();
    rule.exprs().iter().all(|expr| {
        known.require(batch, expr.fields());
        known.learn(expr);
        write(batch, expr)
    })
}

impl Known {
    /// Test for the headers these fields stand in, unless it is known that they are there.
    fn require(&mut self, batch: &mut Batch, fields: &[Field]) {
        let family = fields.iter().find_map(|field| field.family());
        let protocol = fields.iter().find_map(|field| field.protocol());
        if let Some(family) = family.filter(|_| self.family != family) {
            write_match(batch, &Match::nfproto(family));
            self.family = Some(family);
        }
        if let Some(protocol) = protocol.filter(|_| self.protocol != protocol) {
            write_match(batch, &Match::l4proto(protocol));
            self.protocol = Some(protocol);
        }
    }
    fn learn(&mut self, expr: &Expr) {
        match expr {
            Expr::Match(m) if m.cmp() == Cmp::Eq => match m.value() {
                Value::Nfproto(family) => self.family = Some(family),
                Value::Proto(protocol) => self.protocol = Some(protocol),
                _ => {}
            },
            _ => {}
        }
    }
}

fn write(batch: &mut Batch, expr: &Expr) -> bool {
    match expr {
        Expr::Match(what) => write_match(batch, what),
        Expr::InSet(fields, set) => write_lookup(batch, fields, set.as_str(), Lookup::In),
        Expr::NotInSet(fields, set) => write_lookup(batch, fields, set.as_str(), Lookup::NotIn),
        Expr::Vmap(fields, map) => write_lookup(batch, fields, map.as_str(), Lookup::Verdict),
        Expr::Counter => expression(batch, "counter", |_| {}),
        Expr::Limit(limit) => expression(batch, "limit", |b| {
            b.attr(LIMIT_RATE, &limit.rate.to_be_bytes());
            b.attr(LIMIT_UNIT, &limit.per.seconds().to_be_bytes());
            b.be32(LIMIT_BURST, limit.burst);
            b.be32(LIMIT_TYPE, 0);
            b.be32(LIMIT_FLAGS, 0);
        }),
        Expr::Log(prefix) => expression(batch, "log", |b| {
            b.string(LOG_PREFIX, cut(prefix, LOG_PREFIX_MAX));
        }),
        Expr::LogGroup { group, prefix, snaplen } => expression(batch, "log", |b| {
            b.attr(LOG_GROUP, &group.to_be_bytes());
            b.string(LOG_PREFIX, cut(prefix, LOG_PREFIX_MAX));
            if *snaplen > 0 {
                b.be32(LOG_SNAPLEN, *snaplen);
            }
        }),
        Expr::SetMark { mask, value } => write_mark(batch, Mark::Packet, *mask, *value),
        Expr::SetCtMark { mask, value } => write_mark(batch, Mark::Connection, *mask, *value),
        Expr::Notrack => expression(batch, "notrack", |_| {}),
        Expr::Masquerade => expression(batch, "masq", |b| b.be32(MASQ_FLAGS, FULLY_RANDOM)),
        Expr::Verdict(verdict) => write_immediate(batch, verdict),
        Expr::Other(_) => return false,
    }
    true
}

/// At most `max` octets, not through the middle of a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

fn expression(batch: &mut Batch, name: &str, body: impl FnOnce(&mut Batch)) {
    let item = batch.nest(LIST_ELEM);
    batch.string(nfta::EXPR_NAME, name);
    let data = batch.nest(nfta::EXPR_DATA);
    body(batch);
    batch.close(data);
    batch.close(item);
}

fn write_immediate(batch: &mut Batch, verdict: &Verdict) {
    expression(batch, "immediate", |b| {
        b.be32(IMMEDIATE_DREG, REG_VERDICT);
        write_verdict(b, IMMEDIATE_DATA, verdict);
    });
}

/// Load a field into a register: all of it, or its first `len` octets.
fn load(batch: &mut Batch, field: Field, reg: u32, len: Option<u32>) {
    let meta = |batch: &mut Batch, key| {
        expression(batch, "meta", |b| {
            b.be32(META_KEY, key);
            b.be32(META_DREG, reg);
        });
    };
    let ct = |batch: &mut Batch, key| {
        expression(batch, "ct", |b| {
            b.be32(CT_KEY, key);
            b.be32(CT_DREG, reg);
        });
    };
    let payload = |batch: &mut Batch, base, offset, whole| {
        expression(batch, "payload", |b| {
            b.be32(PAYLOAD_DREG, reg);
            b.be32(PAYLOAD_BASE, base);
            b.be32(PAYLOAD_OFFSET, offset);
            b.be32(PAYLOAD_LEN, len.unwrap_or(whole));
        });
    };
    let fib = |batch: &mut Batch, result, flags| {
        expression(batch, "fib", |b| {
            b.be32(FIB_FLAGS, flags);
            b.be32(FIB_RESULT, result);
            b.be32(FIB_DREG, reg);
        });
    };
    match field {
        Field::Iifname => meta(batch, META_IIFNAME),
        Field::Oifname => meta(batch, META_OIFNAME),
        Field::Nfproto => meta(batch, META_NFPROTO),
        Field::L4proto => meta(batch, META_L4PROTO),
        Field::Mark => meta(batch, META_MARK),
        Field::CtState => ct(batch, CT_STATE),
        Field::CtMark => ct(batch, CT_MARK),
        Field::CtDirection => ct(batch, CT_DIRECTION),
        Field::Saddr(Family::V4) => payload(batch, BASE_NETWORK, 12, 4),
        Field::Daddr(Family::V4) => payload(batch, BASE_NETWORK, 16, 4),
        Field::Saddr(Family::V6) => payload(batch, BASE_NETWORK, 8, 16),
        Field::Daddr(Family::V6) => payload(batch, BASE_NETWORK, 24, 16),
        Field::Sport(_) => payload(batch, BASE_TRANSPORT, 0, 2),
        Field::Dport(_) => payload(batch, BASE_TRANSPORT, 2, 2),
        Field::IcmpType(_) => payload(batch, BASE_TRANSPORT, 0, 1),
        Field::IcmpCode(_) => payload(batch, BASE_TRANSPORT, 1, 1),
        Field::FibSaddrType => fib(batch, FIB_ADDRTYPE, FIB_F_SADDR),
        Field::FibDaddrType => fib(batch, FIB_ADDRTYPE, FIB_F_DADDR),
        Field::FibReturnPath => fib(batch, FIB_OIF, FIB_F_SADDR | FIB_F_IIF | FIB_F_PRESENT),
    }
}

fn compare(batch: &mut Batch, op: u32, value: &[u8]) {
    expression(batch, "cmp", |b| {
        b.be32(CMP_SREG, REG);
        b.be32(CMP_OP, op);
        write_data(b, CMP_DATA, value);
    });
}

fn bitwise(batch: &mut Batch, mask: &[u8], xor: &[u8]) {
    expression(batch, "bitwise", |b| {
        b.be32(BITWISE_SREG, REG);
        b.be32(BITWISE_DREG, REG);
        b.be32(BITWISE_LEN, u32::try_from(mask.len()).unwrap_or_default());
        write_data(b, BITWISE_MASK, mask);
        write_data(b, BITWISE_XOR, xor);
    });
}

fn write_match(batch: &mut Batch, what: &Match) {
    let value = what.value();
    let op = if what.cmp() == Cmp::Eq { OP_EQ } else { OP_NE };
    match value {
        Value::Net(net) if net.prefix_len().is_multiple_of(8) => {
            let len = net.prefix_len() / 8;
            load(batch, what.field(), REG, Some(u32::from(len)));
            compare(batch, op, octets(&value).get(..usize::from(len)).unwrap_or_default());
        }
        Value::Net(net) => {
            load(batch, what.field(), REG, None);
            let begin = octets(&value);
            bitwise(batch, &mask(begin.len(), net.prefix_len()), &vec![0; begin.len()]);
            compare(batch, op, &begin);
        }
        Value::CtState(_) => {
            load(batch, what.field(), REG, None);
            bitwise(batch, &octets(&value), &[0; 4]);
            // Any of the states: some bit is left.
            compare(batch, if op == OP_EQ { OP_NE } else { OP_EQ }, &[0; 4]);
        }
        Value::Ports(first, last) => {
            load(batch, what.field(), REG, None);
            write_range(batch, op, first, last);
        }
        _ => {
            load(batch, what.field(), REG, None);
            if let Some(mask) = what.mask().filter(|mask| *mask != u32::MAX) {
                bitwise(batch, &mask.to_ne_bytes(), &[0; 4]);
            }
            compare(batch, op, &octets(&value));
        }
    }
}

fn write_range(batch: &mut Batch, op: u32, first: u16, last: u16) {
    if op == OP_EQ {
        compare(batch, OP_GTE, &first.to_be_bytes());
        compare(batch, OP_LTE, &last.to_be_bytes());
        return;
    }
    expression(batch, "range", |b| {
        b.be32(RANGE_SREG, REG);
        b.be32(RANGE_OP, OP_NE);
        write_data(b, RANGE_FROM, &first.to_be_bytes());
        write_data(b, RANGE_TO, &last.to_be_bytes());
    });
}

/// A mask of `bits` ones in `len` octets, in network order.
fn mask(len: usize, bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let octet = |at| match bits.saturating_sub(at * 8) {
        0 => 0,
        ones => u8::MAX << (8 - ones.min(8)),
    };
    (0..len).map(octet).collect()
}

#[derive(Clone, Copy)]
enum Lookup {
    In,
    NotIn,
    Verdict,
}

fn write_lookup(batch: &mut Batch, fields: &[Field], set: &str, how: Lookup) {
    let mut words = 0;
    for field in fields {
        load(batch, *field, register(words), None);
        words += field.data_type().map_or(0, padded) / 4;
    }
    expression(batch, "lookup", |b| {
        b.string(LOOKUP_SET, set);
        b.be32(LOOKUP_SREG, REG);
        match how {
            Lookup::In => {}
            Lookup::NotIn => b.be32(LOOKUP_FLAGS, LOOKUP_INV),
            Lookup::Verdict => b.be32(LOOKUP_DREG, REG_VERDICT),
        }
    });
}

/// The register `words` times four octets behind the first: a large one (1 to 4) where one begins, else a
/// small one (NFT_REG32_00 is 8).
fn register(words: usize) -> u32 {
    let words = u32::try_from(words).unwrap_or(u32::MAX);
    if words.is_multiple_of(4) { REG + words / 4 } else { 8 + words }
}

#[derive(Clone, Copy)]
enum Mark {
    Packet,
    Connection,
}

fn write_mark(batch: &mut Batch, which: Mark, mask: u32, value: u32) {
    if mask == u32::MAX {
        expression(batch, "immediate", |b| {
            b.be32(IMMEDIATE_DREG, REG);
            write_data(b, IMMEDIATE_DATA, &value.to_ne_bytes());
        });
    } else {
        let field = match which {
            Mark::Packet => Field::Mark,
            Mark::Connection => Field::CtMark,
        };
        load(batch, field, REG, None);
        bitwise(batch, &(!mask).to_ne_bytes(), &(value & mask).to_ne_bytes());
    }
    match which {
        Mark::Packet => expression(batch, "meta", |b| {
            b.be32(META_KEY, META_MARK);
            b.be32(META_SREG, REG);
        }),
        Mark::Connection => expression(batch, "ct", |b| {
            b.be32(CT_KEY, CT_MARK);
            b.be32(CT_SREG, REG);
        }),
    }
}
