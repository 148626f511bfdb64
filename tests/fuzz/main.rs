//! Bytes that nobody meant: well-formed BGP with random damage, into the decoder, the attribute checks and whole
//! speakers. Every case is determined by its seed; a failed one says how to play it again.
//!
//! `FUZZ_SEEDS=1..100000 cargo test --test fuzz` plays those, `FUZZ_SEEDS=4711` one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic with a sentence is a test's verdict")]

mod lab;
mod mutate;

use std::env;
use std::ops::RangeInclusive;

use corduroy_bgp::attrs::{self, Attributes, Context, Outcome, Scan};
use corduroy_bgp::wire::{Framer, nlri, open, update};
use corduroy_bgp::{Asn, Family, FamilySet};
use corduroy_tests::world::rng::Rng;

use lab::Lab;

/// Says how to play a case again, when it panics.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with\n    make fuzz SEED={}\n", self.0);
        }
    }
}

/// Plays a case for every seed asked for, or for `usual` of them.
fn each(usual: u64, mut case: impl FnMut(&mut Rng)) {
    for seed in seeds(usual) {
        let _playing = Playing(seed);
        case(&mut Rng::new(seed));
    }
}

fn seeds(usual: u64) -> RangeInclusive<u64> {
    let asked = env::var("FUZZ_SEEDS").unwrap_or_default();
    if asked.is_empty() {
        return 1..=usual;
    }
    let number = |text: &str| -> u64 {
        text.parse().unwrap_or_else(|_| panic!("FUZZ_SEEDS={asked}: wanted a seed, or first..last"))
    };
    match asked.split_once("..") {
        Some((first, last)) => number(first)..=number(last),
        None => number(&asked)..=number(&asked),
    }
}

fn context(rng: &mut Rng) -> Context {
    let families = *rng.pick(&[FamilySet::BOTH, FamilySet::EMPTY.with(Family::Ipv4Unicast)]);
    Context { internal: rng.chance(30), as4: rng.chance(70), peer_as: Asn(mutate::AS), families }
}

#[test]
fn damaged_attributes_are_refused_or_come_to_a_canonical_form_that_stays_as_it_is() {
    let mut kept = 0_u64;
    each(60_000, |rng| kept += u64::from(canonical_form(rng)));
    assert!(kept > 0 || seeds(0).count() > 0, "everything was refused: nothing was tested");
}

/// One block of attributes; was it kept?
fn canonical_form(rng: &mut Rng) -> bool {
    let context = context(rng);
    let announces = rng.chance(70);
    let mut raw = mutate::attributes(rng, &context);
    for _ in 0..rng.below(4) {
        mutate::damage(&mut raw, rng);
    }
    let mut scan = Scan::default();
    let outcome = attrs::sanitize(&raw, announces, &context, &mut scan);
    let parts = [
        &scan.reach.as_ref().map(|r| (r.family, r.nlri.clone())),
        &scan.unreach.as_ref().map(|u| (u.family, u.nlri.clone())),
    ];
    for (family, range) in parts.into_iter().flatten() {
        let bytes = raw.get(range.clone()).unwrap_or_else(|| panic!("{range:?} of {} octets", raw.len()));
        assert!(nlri::count(*family, bytes).is_some(), "{bytes:02x?} is no NLRI of {family:?}");
    }
    // Whoever shows a route to people reads whatever was let in.
    let mut block = Vec::new();
    scan.put_canonical(&raw, None, &mut block);
    let _ = Attributes::new(&block).to_string();
    if outcome != Outcome::Keep || !announces {
        return false;
    }
    let codes: Vec<u8> = Attributes::new(&block).iter().map(|a| a.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?} are not in order, each once");
    let wide = Context { as4: true, ..context };
    let again = attrs::sanitize(&block, true, &wide, &mut scan);
    assert_eq!(again, Outcome::Keep, "{raw:02x?} was kept, its canonical form {block:02x?} is not");
    assert!(scan.is_canonical() && scan.discarded.is_none(), "{block:02x?} is not canonical");
    let mut second = Vec::new();
    scan.put_canonical(&block, None, &mut second);
    assert_eq!(block, second, "of {raw:02x?}");
    true
}

#[test]
fn a_stream_is_cut_into_the_same_messages_however_it_comes() {
    each(10_000, |rng| {
        let mut stream = Vec::new();
        for _ in 0..rng.between(1, 6) {
            stream.extend(mutate::message(rng));
        }
        for _ in 0..rng.below(3) {
            mutate::damage(&mut stream, rng);
        }
        let whole = read(&[&stream]);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rng.between(1, rest.len().min(40)));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(read(&pieces), whole);
    });
}

/// What a framer, and the decoders behind it, make of a stream, in words.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = Framer::default();
    let mut said = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => {
                    let open = open::Open::decode(&message.body);
                    let fields = update::split(&message.body);
                    said.push(format!("{message:?} {open:?} {fields:?}"));
                }
                Ok(None) => break,
                Err(notification) => {
                    said.push(format!("{notification:?}"));
                    return said;
                }
            }
        }
    }
    said
}

#[test]
fn a_speaker_answers_any_bytes_with_bgp_and_passes_on_nothing_malformed() {
    each(2_000, |rng| {
        let mut lab = Lab::new(rng.bits());
        for _ in 0..rng.between(1, 4) {
            lab.attack(rng);
        }
        lab.judge();
    });
}
