//! Values as octets: keys of sets, operands of comparisons, verdicts.

use std::net::IpAddr;

use corduroy_kernel::nft::{AddrType, CtDirection, DataType, Key, Value, Verdict};
use corduroy_kernel::{Family, IpNet, LinkName};

use super::{NFPROTO_IPV4, NFPROTO_IPV6, nfta};
use crate::wire::{Attrs, Batch, be32, text};

/// Octets of an interface name with its NULs.
const IFNAMSIZ: usize = 16;

const ACCEPT: i32 = 1;
const DROP: i32 = 0;
const CONTINUE: i32 = -1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;

/// Routing table types of addresses (RTN_*).
const ADDR_TYPES: [(AddrType, u32); 5] = [
    (AddrType::Unicast, 1),
    (AddrType::Local, 2),
    (AddrType::Broadcast, 3),
    (AddrType::Multicast, 5),
    (AddrType::Blackhole, 6),
];

/// The kernel's (nft's) number of a data type: only for show, `nft list` prints by it.
pub(super) fn type_number(field: DataType) -> u32 {
    match field {
        DataType::Ipv4 => 7,
        DataType::Ipv6 => 8,
        DataType::Proto => 12,
        DataType::Port => 13,
        DataType::Mark => 19,
        DataType::IfName => 41,
    }
}

/// The number of a concatenation: six bits for each field.
pub(super) fn key_type(fields: &[DataType]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | type_number(*field))
}

/// The fields of a key by its number; `None` when one is not of ours.
pub(super) fn fields(mut number: u32) -> Option<Vec<DataType>> {
    const ALL: [DataType; 6] =
        [DataType::IfName, DataType::Ipv4, DataType::Ipv6, DataType::Proto, DataType::Port, DataType::Mark];
    let mut fields = Vec::new();
    while number != 0 {
        fields.push(ALL.into_iter().find(|field| type_number(*field) == number & 0x3f)?);
        number >>= 6;
    }
    fields.reverse();
    Some(fields)
}

/// Octets of a field in a key: concatenated fields begin on a multiple of four.
pub(super) fn padded(field: DataType) -> usize {
    field.size().next_multiple_of(4)
}

/// Octets of a key.
pub(super) fn key_len(fields: &[DataType]) -> usize {
    match fields {
        [one] => one.size(),
        many => many.iter().copied().map(padded).sum(),
    }
}

pub(super) fn addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
    }
}

fn name(name: LinkName) -> [u8; IFNAMSIZ] {
    let mut octets = [0; IFNAMSIZ];
    for (place, octet) in octets.iter_mut().zip(name.as_bytes()) {
        *place = *octet;
    }
    octets
}

/// A single value as it stands in a register. Of a network or range, where it begins.
pub(super) fn octets(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::IfName(n) => out.extend_from_slice(&name(*n)),
        Value::IfNamePrefix(n) => out.extend_from_slice(n.as_bytes()),
        Value::Addr(a) | Value::Range(a, _) => addr(&mut out, *a),
        Value::Net(net) => addr(&mut out, net.addr()),
        Value::Nfproto(Family::V4) => out.push(NFPROTO_IPV4),
        Value::Nfproto(Family::V6) => out.push(NFPROTO_IPV6),
        Value::Proto(n) | Value::IcmpType(n) | Value::IcmpCode(n) => out.push(*n),
        Value::Port(n) | Value::Ports(n, _) => out.extend_from_slice(&n.to_be_bytes()),
        Value::Mark(mark) => out.extend_from_slice(&mark.to_ne_bytes()),
        Value::CtState(states) => out.extend_from_slice(&states.0.to_ne_bytes()),
        // IP_CT_DIR_ORIGINAL and IP_CT_DIR_REPLY.
        Value::CtDirection(CtDirection::Original) => out.push(0),
        Value::CtDirection(CtDirection::Reply) => out.push(1),
        Value::AddrType(kind) => {
            let number = ADDR_TYPES.iter().find(|(k, _)| k == kind).map_or(0, |(_, n)| *n);
            out.extend_from_slice(&number.to_ne_bytes());
        }
        // Stored as one octet in a register that was zeroed; nft compares all of it.
        Value::Exists(yes) => out.extend_from_slice(&[u8::from(*yes), 0, 0, 0]),
    }
    out
}

pub(super) fn addr_type(number: u32) -> Option<AddrType> {
    ADDR_TYPES.iter().find(|(_, n)| *n == number).map(|(kind, _)| *kind)
}

/// The key of a hash set.
pub(super) fn key(key: &Key) -> Vec<u8> {
    let Key::Many(values) = key else {
        return key.values().iter().flat_map(octets).collect();
    };
    let mut out = Vec::new();
    for value in values {
        out.extend(octets(value));
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// One value of a set's field.
pub(super) fn parse(field: DataType, octets: &[u8]) -> Option<Value> {
    Some(match field {
        DataType::IfName => Value::IfName(LinkName::new(text(octets)?).ok()?),
        DataType::Ipv4 | DataType::Ipv6 => Value::Addr(crate::wire::addr(octets.get(..field.size())?)?),
        DataType::Proto => Value::Proto(*octets.first()?),
        DataType::Port => Value::Port(octets.first_chunk().copied().map(u16::from_be_bytes)?),
        DataType::Mark => Value::Mark(crate::wire::ne32(octets, 0)?),
    })
}

/// The key of a hash set's element.
pub(super) fn parse_key(fields: &[DataType], octets: &[u8]) -> Option<Key> {
    if let [one] = fields {
        return parse(*one, octets).map(Key::One);
    }
    let mut rest = octets;
    let mut values = Vec::new();
    for field in fields {
        values.push(parse(*field, rest)?);
        rest = rest.get(padded(*field)..).unwrap_or_default();
    }
    Some(Key::Many(values))
}

/// Where an interval begins, and where it ends: the first value behind it, `None` when nothing is behind it.
pub(super) fn interval(value: &Value) -> (Vec<u8>, Option<Vec<u8>>) {
    let begin = octets(value);
    let last = match value {
        Value::Net(net) => octets(&Value::Addr(net.last())),
        Value::Range(_, last) => octets(&Value::Addr(*last)),
        Value::Ports(_, last) => octets(&Value::Port(*last)),
        _ => begin.clone(),
    };
    (begin, successor(last))
}

/// The next value in network order; `None` behind the last one.
fn successor(mut octets: Vec<u8>) -> Option<Vec<u8>> {
    for octet in octets.iter_mut().rev() {
        let (next, over) = octet.overflowing_add(1);
        *octet = next;
        if !over {
            return Some(octets);
        }
    }
    None
}

fn predecessor(mut octets: Vec<u8>) -> Vec<u8> {
    for octet in octets.iter_mut().rev() {
        let (next, over) = octet.overflowing_sub(1);
        *octet = next;
        if !over {
            break;
        }
    }
    octets
}

/// An element of an interval set from where it begins and where the next begins.
pub(super) fn parse_interval(field: DataType, begin: &[u8], end: Option<&[u8]>) -> Option<Value> {
    let behind = end.map_or_else(|| vec![0; begin.len()], <[u8]>::to_vec);
    let last = parse(field, &predecessor(behind))?;
    Some(match (parse(field, begin)?, last) {
        (Value::Addr(first), Value::Addr(last)) => network(first, last).unwrap_or(Value::Range(first, last)),
        (Value::Port(first), Value::Port(last)) => Value::Ports(first, last),
        (one, _) => one,
    })
}

fn network(first: IpAddr, last: IpAddr) -> Option<Value> {
    let lens = 0..=Family::of(first).bits();
    let nets = lens.filter_map(|len| IpNet::new(first, len).ok());
    nets.into_iter().find(|net| net.last() == last).map(Value::Net)
}

/// Nested data: a value.
pub(super) fn write_data(batch: &mut Batch, kind: u16, octets: &[u8]) {
    let nest = batch.nest(kind);
    batch.attr(nfta::DATA_VALUE, octets);
    batch.close(nest);
}

/// Nested data: a verdict.
pub(super) fn write_verdict(batch: &mut Batch, kind: u16, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (ACCEPT, None),
        Verdict::Drop => (DROP, None),
        Verdict::Continue => (CONTINUE, None),
        Verdict::Return => (RETURN, None),
        Verdict::Jump(chain) => (JUMP, Some(chain)),
        Verdict::Goto(chain) => (GOTO, Some(chain)),
    };
    let data = batch.nest(kind);
    let nest = batch.nest(nfta::DATA_VERDICT);
    batch.be32(nfta::VERDICT_CODE, code.cast_unsigned());
    if let Some(chain) = chain {
        batch.string(nfta::VERDICT_CHAIN, chain.as_str());
    }
    batch.close(nest);
    batch.close(data);
}

/// The verdict inside nested data.
pub(super) fn parse_verdict(data: Attrs<'_>) -> Option<Verdict> {
    let verdict = data.nested(nfta::DATA_VERDICT);
    let chain = || verdict.str(nfta::VERDICT_CHAIN).map(corduroy_kernel::nft::Name::new);
    Some(match be32(verdict.get(nfta::VERDICT_CODE)?)?.cast_signed() {
        ACCEPT => Verdict::Accept,
        DROP => Verdict::Drop,
        CONTINUE => Verdict::Continue,
        RETURN => Verdict::Return,
        JUMP => Verdict::Jump(chain()?),
        GOTO => Verdict::Goto(chain()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Value {
        Value::Net(text.parse().unwrap())
    }

    #[test]
    fn an_interval_ends_behind_its_last_address_and_the_last_one_nowhere() {
        assert_eq!(interval(&net("10.0.0.0/8")), (vec![10, 0, 0, 0], Some(vec![11, 0, 0, 0])));
        assert_eq!(interval(&net("255.0.0.0/8")), (vec![255, 0, 0, 0], None));
        assert_eq!(interval(&Value::Ports(80, 0xffff)), (vec![0, 80], None));
    }

    #[test]
    fn an_interval_is_read_as_it_was_written() {
        for value in
            ["0.0.0.0/0", "10.0.0.0/9", "1.2.3.4/32", "255.255.255.255/32", "fd00::/8", "::/0", "ff00::/8"]
        {
            let value = net(value);
            let (begin, end) = interval(&value);
            assert_eq!(parse_interval(value.data_type().unwrap(), &begin, end.as_deref()), Some(value));
        }
        let odd = parse_interval(DataType::Ipv4, &[10, 0, 0, 1], Some(&[10, 0, 0, 4])).unwrap();
        assert_eq!(odd.to_string(), "10.0.0.1-10.0.0.3");
    }

    #[test]
    fn a_concatenated_key_has_fields_on_multiples_of_four() {
        let fields = [DataType::IfName, DataType::Ipv4, DataType::Port];
        let addr = "10.0.0.1".parse().unwrap();
        let value = Key::from([Value::IfName(LinkName::LO), Value::Addr(addr), Value::Port(80)]);
        let octets = key(&value);
        assert_eq!(octets.len(), key_len(&fields));
        assert_eq!(octets[16..], [10, 0, 0, 1, 0, 80, 0, 0]);
        assert_eq!(parse_key(&fields, &octets), Some(value));
        assert_eq!(super::fields(key_type(&fields)).as_deref(), Some(fields.as_slice()));
    }
}
