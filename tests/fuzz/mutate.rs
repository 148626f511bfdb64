//! Messages to begin with, and what chance does to them.

use std::net::Ipv4Addr;

use corduroy_bgp::attrs::Context;
use corduroy_tests::wire;
use corduroy_tests::world::rng::Rng;

/// The AS of whoever sends it.
pub(crate) const AS: u32 = 65002;
/// And its address.
pub(crate) const ADDRESS: &str = "192.0.2.2";

/// One change of a few octets.
pub(crate) fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return bytes.push(octet(rng));
    }
    let at = rng.below(bytes.len());
    let end = (at + rng.between(1, 8)).min(bytes.len());
    match rng.below(8) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = octet(rng),
        2 => bytes[at] = *rng.pick(&[0, 1, 2, 4, 16, 32, 33, 127, 128, 129, 254, 255]),
        3 => bytes[at] = bytes[at].wrapping_add(*rng.pick(&[1, 255])),
        4 => bytes.insert(at, octet(rng)),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let copy = bytes[at..end].to_vec();
            let to = rng.below(bytes.len());
            bytes.splice(to..to, copy);
        }
        _ => bytes.truncate(at),
    }
}

fn octet(rng: &mut Rng) -> u8 {
    rng.bits().to_le_bytes()[0]
}

fn number(rng: &mut Rng) -> [u8; 4] {
    if rng.chance(50) { [0, 0, 0, octet(rng)] } else { [octet(rng), octet(rng), octet(rng), octet(rng)] }
}

fn numbers(n: usize, rng: &mut Rng) -> Vec<u8> {
    (0..n).flat_map(|_| number(rng)).collect()
}

fn as_path(first: Option<u32>, as4: bool, rng: &mut Rng) -> Vec<u8> {
    let mut path = Vec::new();
    let mut first = first;
    for _ in 0..rng.between(1, 2) {
        let kind = if rng.chance(95) { 2 } else { *rng.pick(&[0, 1, 3, 4, 5]) };
        let count = rng.between(1, 5);
        path.extend([kind, u8::try_from(count).unwrap()]);
        for _ in 0..count {
            let asn = first.take().map_or([0, 0, octet(rng), octet(rng) | 1], u32::to_be_bytes);
            path.extend(if as4 { &asn[..] } else { &asn[2..] });
        }
    }
    path
}

fn hop(rng: &mut Rng) -> [u8; 4] {
    *rng.pick(&[[192, 0, 2, 2], [192, 0, 2, 77], [198, 51, 100, 1]])
}

/// Path attributes that a peer in this context may send, mostly in order.
pub(crate) fn attributes(rng: &mut Rng, context: &Context) -> Vec<u8> {
    let first = (!context.internal).then_some(AS);
    let as4 = context.as4;
    let mut all = vec![
        wire::attribute(0x40, 1, &[*rng.pick(&[0, 1, 2])]),
        wire::attribute(0x40, 2, &as_path(first, as4, rng)),
        wire::attribute(0x40, 3, &hop(rng)),
    ];
    let aggregator = if as4 { 8 } else { 6 };
    let count = rng.between(1, 3);
    let mut maybe = |percent, attribute: Vec<u8>, rng: &mut Rng| {
        if rng.chance(percent) {
            all.push(attribute);
        }
    };
    maybe(40, wire::attribute(0x80, 4, &number(rng)), rng);
    maybe(if context.internal { 95 } else { 5 }, wire::attribute(0x40, 5, &number(rng)), rng);
    maybe(10, wire::attribute(0x40, 6, &[]), rng);
    maybe(20, wire::attribute(0xc0, 7, &numbers(2, rng)[..aggregator]), rng);
    maybe(40, wire::attribute(0xc0, 8, &numbers(count, rng)), rng);
    maybe(10, wire::attribute(0x80, 9, &number(rng)), rng);
    maybe(10, wire::attribute(0x80, 10, &numbers(count, rng)), rng);
    maybe(30, reach(rng), rng);
    maybe(20, wire::attribute(0x80, 15, &[&[0, 2, 1], &prefix(128, rng)[..]].concat()), rng);
    maybe(20, wire::attribute(0xc0, 16, &numbers(2 * count, rng)), rng);
    maybe(20, wire::attribute(0xc0, 17, &as_path(None, true, rng)), rng);
    maybe(20, wire::attribute(0xc0, 18, &numbers(2, rng)), rng);
    maybe(10, wire::attribute(0xc0, 25, &numbers(5 * count, rng)), rng);
    maybe(20, wire::attribute(0xc0, 32, &numbers(3 * count, rng)), rng);
    let code = octet(rng);
    maybe(20, wire::attribute(*rng.pick(&[0x80, 0xc0, 0xe0]), code, &numbers(count, rng)), rng);
    maybe(3, wire::attribute(0xc0, 99, &vec![7; 300]), rng);
    if rng.chance(20) {
        let (a, b) = (rng.below(all.len()), rng.below(all.len()));
        all.swap(a, b);
    }
    all.concat()
}

fn reach(rng: &mut Rng) -> Vec<u8> {
    let mut hop = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    if rng.chance(30) {
        hop.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    }
    let len = u8::try_from(hop.len()).unwrap();
    let mut value = [&[0, 2, 1, len], &hop[..], &[0]].concat();
    for _ in 0..rng.between(1, 4) {
        value.extend(prefix(128, rng));
    }
    wire::attribute(0x80, 14, &value)
}

/// One prefix out of few, so that they meet again.
fn prefix(bits: usize, rng: &mut Rng) -> Vec<u8> {
    let len = *rng.pick(&[0, 8, 16, 20, 24, 32, bits.min(64), bits]);
    let mut octets = vec![0; len.div_ceil(8)];
    for (octet, value) in
        octets.iter_mut().zip([if bits == 32 { 10 } else { 0x20 }, *rng.pick(&[1, 2, 3]), 9])
    {
        *octet = value;
    }
    [&[u8::try_from(len).unwrap()], &octets[..]].concat()
}

fn prefixes(most: usize, rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(most + 1)).flat_map(|_| prefix(32, rng)).collect()
}

/// An OPEN as the peer of the lab should send it.
pub(crate) fn open(rng: &mut Rng) -> Vec<u8> {
    let mut open = wire::Open::new(AS, ADDRESS);
    open.id = Ipv4Addr::new(192, 0, 2, 2);
    if rng.chance(50) {
        open.capabilities.push((6, Vec::new()));
    }
    if rng.chance(50) {
        open.capabilities.push((64, vec![0xc0, 60, 0, 1, 1, 0x80, 0, 2, 1, 0x80]));
    }
    if rng.chance(20) {
        open.capabilities.retain(|(code, _)| *code != 65);
    }
    open.bytes()
}

/// Any message, well-formed unless chance had it otherwise: mostly with a length that is right.
pub(crate) fn message(rng: &mut Rng) -> Vec<u8> {
    let context = Context {
        internal: false,
        as4: true,
        peer_as: corduroy_bgp::Asn(AS),
        families: corduroy_bgp::FamilySet::BOTH,
    };
    let mut bytes = match rng.below(20) {
        0 => open(rng),
        1 => wire::message(wire::NOTIFICATION, &[6, 2, 3, b'b', b'y', b'e']),
        2 | 3 => wire::message(wire::KEEPALIVE, &[]),
        4 => wire::message(wire::ROUTE_REFRESH, &[0, *rng.pick(&[1, 2, 25]), 0, 1]),
        5 => wire::update(&[], &[], &[]),
        6 => wire::update(&[], &wire::attribute(0x80, 15, &[0, 2, 1]), &[]),
        7 | 8 => wire::update(&prefixes(4, rng), &[], &[]),
        _ => {
            let attributes = attributes(rng, &context);
            wire::update(&prefixes(2, rng), &attributes, &prefixes(4, rng))
        }
    };
    if rng.chance(40) {
        let mut body = bytes.split_off(wire::HEADER);
        damage(&mut body, rng);
        bytes = wire::message(bytes[18], &body);
    }
    if rng.chance(2) {
        damage(&mut bytes, rng);
    }
    bytes
}
