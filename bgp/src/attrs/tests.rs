//! RFC 7606 row by row. What must become of each malformed attribute stands here as the RFC has it; that every row of
//! [`TABLE`] stands here too is the first thing tested.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::encode::put_attribute;
use super::table::TABLE;
use super::*;
use crate::wire::notification::{ErrorCode, UpdateError};
use crate::{Asn, FamilySet};

const PEER_AS: u32 = 65001;
const EXTERNAL: Context =
    Context { internal: false, as4: true, peer_as: Asn(PEER_AS), families: FamilySet::BOTH };
const INTERNAL: Context = Context { internal: true, ..EXTERNAL };
const NARROW: Context = Context { as4: false, ..EXTERNAL };

/// What becomes of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Without the attribute.
    Discarded(Flaw),
    Withdrawn(Flaw),
    Reset(UpdateError),
}
use Fate::{Discarded, Kept, Reset, Withdrawn};
use Flaw::{AsSet, AsZero, FirstAs, Length, Unexpected, Value};

struct Case {
    code: u8,
    context: Context,
    flags: u8,
    good: &'static [u8],
    bad: &'static [(&'static [u8], Fate)],
}

const WELL_KNOWN: u8 = TRANSITIVE;
const BOTH: u8 = OPTIONAL | TRANSITIVE;
const REACH: &[u8] =
    &[0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // RFC 7606 §7.1
    Case { code: 1, context: EXTERNAL, flags: WELL_KNOWN, good: &[0], bad: &[
        (&[], Withdrawn(Length)), (&[0, 0], Withdrawn(Length)), (&[3], Withdrawn(Value)),
    ] },
    // §7.2, RFC 4271 §6.3 (first AS), RFC 7607 (AS 0), RFC 9774 (sets), RFC 5065 §5 (confederations)
    Case { code: 2, context: EXTERNAL, flags: WELL_KNOWN, good: &[2, 1, 0, 0, 0xfd, 0xe9], bad: &[
        (&[2], Withdrawn(Length)), (&[2, 2, 0, 0, 0xfd, 0xe9], Withdrawn(Length)),
        (&[2, 1, 0, 0, 0xfd, 0xe9, 0], Withdrawn(Length)), (&[2, 0], Withdrawn(Length)),
        (&[9, 1, 0, 0, 0xfd, 0xe9], Withdrawn(Value)), (&[3, 1, 0, 0, 0xfd, 0xe9], Withdrawn(Value)),
        (&[2, 1, 0, 0, 0xfd, 0xe9, 1, 1, 0, 0, 0, 7], Withdrawn(AsSet)),
        (&[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0], Withdrawn(AsZero)),
        (&[2, 1, 0, 0, 0xfd, 0xea], Withdrawn(FirstAs)), (&[], Withdrawn(FirstAs)),
    ] },
    Case { code: 2, context: NARROW, flags: WELL_KNOWN, good: &[2, 1, 0xfd, 0xe9], bad: &[
        (&[2, 1, 0xfd], Withdrawn(Length)), (&[2, 1, 0xfd, 0xea], Withdrawn(FirstAs)),
    ] },
    // §7.3
    Case { code: 3, context: EXTERNAL, flags: WELL_KNOWN, good: &[192, 0, 2, 1], bad: &[
        (&[192, 0, 2], Withdrawn(Length)), (&[0; 16], Withdrawn(Length)), (&[0, 0, 0, 0], Withdrawn(Value)),
        (&[127, 0, 0, 1], Withdrawn(Value)), (&[224, 0, 0, 1], Withdrawn(Value)),
    ] },
    // §7.4
    Case { code: 4, context: EXTERNAL, flags: OPTIONAL, good: &[0, 0, 0, 1], bad: &[
        (&[0, 0, 1], Withdrawn(Length)), (&[0; 5], Withdrawn(Length)),
    ] },
    // §7.5
    Case { code: 5, context: INTERNAL, flags: WELL_KNOWN, good: &[0, 0, 0, 1], bad: &[
        (&[0, 0, 1], Withdrawn(Length)), (&[0; 5], Withdrawn(Length)),
    ] },
    // §7.6
    Case { code: 6, context: EXTERNAL, flags: WELL_KNOWN, good: &[], bad: &[(&[0], Discarded(Length))] },
    // §7.7; RFC 7607 §2
    Case { code: 7, context: EXTERNAL, flags: BOTH, good: &[0, 0, 0xfd, 0xe9, 192, 0, 2, 1], bad: &[
        (&[0xfd, 0xe9, 192, 0, 2, 1], Discarded(Length)), (&[0, 0, 0, 0, 192, 0, 2, 1], Discarded(AsZero)),
    ] },
    Case { code: 7, context: NARROW, flags: BOTH, good: &[0xfd, 0xe9, 192, 0, 2, 1], bad: &[
        (&[0, 0, 0xfd, 0xe9, 192, 0, 2, 1], Discarded(Length)), (&[0, 0, 192, 0, 2, 1], Discarded(AsZero)),
    ] },
    // §7.8
    Case { code: 8, context: EXTERNAL, flags: BOTH, good: &[0, 1, 0, 2, 0, 1, 0, 3], bad: &[
        (&[], Withdrawn(Length)), (&[0, 1, 0], Withdrawn(Length)), (&[0; 6], Withdrawn(Length)),
    ] },
    // §7.9
    Case { code: 9, context: INTERNAL, flags: OPTIONAL, good: &[192, 0, 2, 1], bad: &[
        (&[192, 0, 2], Withdrawn(Length)), (&[0; 5], Withdrawn(Length)),
    ] },
    // §7.10
    Case { code: 10, context: INTERNAL, flags: OPTIONAL, good: &[192, 0, 2, 1, 192, 0, 2, 2], bad: &[
        (&[], Withdrawn(Length)), (&[0; 5], Withdrawn(Length)),
    ] },
    // §7.11: without NLRI nothing can be withdrawn; with a readable next hop that is none, they can
    Case { code: 14, context: EXTERNAL, flags: OPTIONAL, good: REACH, bad: &[
        (&[], Reset(UpdateError::OptionalAttribute)), (&[0, 2, 1, 16, 0], Reset(UpdateError::OptionalAttribute)),
        (&[0, 2, 1, 3, 1, 2, 3, 0], Reset(UpdateError::OptionalAttribute)),
        (&[0, 1, 1, 4, 192, 0, 2, 1, 0, 33, 1, 2, 3, 4, 5], Reset(UpdateError::OptionalAttribute)),
        (&[0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 1, 2], Reset(UpdateError::OptionalAttribute)),
        (&[0, 1, 1, 4, 127, 0, 0, 1, 0, 24, 1, 2, 3], Withdrawn(Value)),
        (&[0, 25, 65, 4, 192, 0, 2, 1, 0], Discarded(Unexpected)),
    ] },
    // §7.12
    Case { code: 15, context: EXTERNAL, flags: OPTIONAL, good: &[0, 2, 1, 16, 0x20, 1], bad: &[
        (&[0, 2], Reset(UpdateError::OptionalAttribute)),
        (&[0, 2, 1, 129, 1], Reset(UpdateError::OptionalAttribute)),
        (&[0, 25, 65], Discarded(Unexpected)),
    ] },
    // §7.14
    Case { code: 16, context: EXTERNAL, flags: BOTH, good: &[0, 2, 0xfd, 0xe9, 0, 0, 0, 1], bad: &[
        (&[], Withdrawn(Length)), (&[0; 9], Withdrawn(Length)),
    ] },
    // RFC 6793 §6, RFC 9774 §3
    Case { code: 17, context: NARROW, flags: BOTH, good: &[2, 1, 0, 0, 0xfd, 0xe9], bad: &[
        (&[], Discarded(Length)), (&[2, 1, 0, 1], Discarded(Length)), (&[2, 0], Discarded(Length)),
        (&[1, 1, 0, 1, 0, 0], Withdrawn(AsSet)), (&[4, 1, 0, 1, 0, 0], Withdrawn(AsSet)),
        (&[9, 1, 0, 1, 0, 0], Discarded(Value)), (&[2, 1, 0, 0, 0, 0], Discarded(AsZero)),
    ] },
    Case { code: 17, context: EXTERNAL, flags: BOTH, good: &[], bad: &[(&[2, 1, 0, 1, 0, 0], Discarded(Unexpected))] },
    Case { code: 18, context: NARROW, flags: BOTH, good: &[0, 1, 0, 0, 192, 0, 2, 1], bad: &[
        (&[0; 6], Discarded(Length)), (&[0, 0, 0, 0, 192, 0, 2, 1], Discarded(AsZero)),
    ] },
    Case { code: 18, context: EXTERNAL, flags: BOTH, good: &[], bad: &[
        (&[0, 1, 0, 0, 192, 0, 2, 1], Discarded(Unexpected)),
    ] },
    // §7.15
    Case { code: 25, context: EXTERNAL, flags: BOTH, good: &[0; 20], bad: &[
        (&[], Withdrawn(Length)), (&[0; 21], Withdrawn(Length)),
    ] },
    // RFC 8092 §6
    Case { code: 32, context: EXTERNAL, flags: BOTH, good: &[0; 24], bad: &[
        (&[], Withdrawn(Length)), (&[0; 13], Withdrawn(Length)),
    ] },
];

/// Attributes by code: flags and value.
type Block = BTreeMap<u8, (u8, Vec<u8>)>;

/// What an announcement must have in this context.
fn mandatory(context: &Context) -> Block {
    let path = match (context.internal, context.as4) {
        (true, _) => vec![],
        (false, true) => vec![2, 1, 0, 0, 0xfd, 0xe9],
        (false, false) => vec![2, 1, 0xfd, 0xe9],
    };
    let mut block: Block =
        [(1, (WELL_KNOWN, vec![0])), (2, (WELL_KNOWN, path)), (3, (WELL_KNOWN, vec![192, 0, 2, 1]))].into();
    if context.internal {
        block.insert(5, (WELL_KNOWN, vec![0, 0, 0, 100]));
    }
    block
}

fn wire(block: &Block) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, (flags, value)) in block {
        put_attribute(*code, *flags, value, &mut out);
    }
    out
}

/// The fate of attributes in an UPDATE that announces IPv4 prefixes, and the canonical block of what was kept.
fn fate(raw: &[u8], announces: bool, context: &Context) -> (Fate, Vec<u8>) {
    let mut scan = Scan::default();
    let outcome = sanitize(raw, announces, context, &mut scan);
    let mut canonical = Vec::new();
    scan.put_canonical(raw, None, &mut canonical);
    let fate = match (outcome, scan.discarded) {
        (Outcome::Keep, None) => Kept,
        (Outcome::Keep, Some(malformed)) => Discarded(malformed.flaw),
        (Outcome::TreatAsWithdraw(malformed), _) => Withdrawn(malformed.flaw),
        (Outcome::Reset(notification), _) => match notification.error {
            ErrorCode::Update(error) => Reset(error),
            other => panic!("{other:?}"),
        },
    };
    (fate, canonical)
}

fn with(case: &Case, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut block = mandatory(&case.context);
    block.insert(case.code, (flags, value.to_vec()));
    wire(&block)
}

#[test]
fn every_row_of_the_table_is_tested_here() {
    for row in &TABLE {
        let cases: Vec<_> = CASES.iter().filter(|c| c.code == row.code).collect();
        assert!(!cases.is_empty() && cases.iter().all(|c| !c.bad.is_empty()), "{} is not tested", row.name);
        assert!(cases.iter().all(|c| c.flags == row.flags), "{}'s flags", row.name);
    }
    assert!(CASES.iter().all(|c| table::row(c.code).is_some()));
}

#[test]
fn a_malformed_value_of_every_attribute_has_the_outcome_of_its_rfc() {
    for case in CASES {
        let name = table::row(case.code).unwrap().name;
        if !case.good.is_empty() || case.code == code::ATOMIC_AGGREGATE {
            let raw = with(case, case.flags, case.good);
            assert_eq!(fate(&raw, true, &case.context).0, Kept, "{name} {:02x?}", case.good);
        }
        for (value, wanted) in case.bad {
            let raw = with(case, case.flags, value);
            let (got, canonical) = fate(&raw, true, &case.context);
            assert_eq!(got, *wanted, "{name} {value:02x?}");
            if matches!(wanted, Discarded(_)) {
                let mut rest = mandatory(&INTERNAL);
                rest.insert(2, (WELL_KNOWN, vec![2, 1, 0, 0, 0xfd, 0xe9]));
                rest.remove(&5);
                assert_eq!(canonical, wire(&rest), "{name} {value:02x?}: the rest stands, it is gone");
            }
        }
    }
}

#[test]
fn wrong_flags_of_every_attribute_withdraw_its_routes() {
    for case in CASES.iter().filter(|c| !c.good.is_empty() || c.code == code::ATOMIC_AGGREGATE) {
        for wrong in [OPTIONAL, TRANSITIVE, BOTH, 0].into_iter().filter(|f| *f != case.flags) {
            let raw = with(case, wrong, case.good);
            let wanted = Withdrawn(Flaw::Flags);
            assert_eq!(
                fate(&raw, true, &case.context).0,
                wanted,
                "attribute {} flags {wrong:02x}",
                case.code
            );
        }
    }
}

#[test]
fn a_second_copy_is_passed_over_but_of_the_two_that_carry_prefixes_it_ends_the_session() {
    for case in CASES.iter().filter(|c| !c.good.is_empty() || c.code == code::ATOMIC_AGGREGATE) {
        let mut raw = with(case, case.flags, case.good);
        put_attribute(case.code, case.flags, case.good, &mut raw);
        let wanted = match case.code {
            code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Reset(UpdateError::MalformedAttributeList),
            _ => Discarded(Flaw::Duplicate),
        };
        assert_eq!(fate(&raw, true, &case.context).0, wanted, "attribute {}", case.code);
    }
}

#[test]
fn a_missing_well_known_attribute_withdraws_its_routes() {
    for (context, codes) in [(EXTERNAL, &[1, 2, 3][..]), (INTERNAL, &[1, 2, 3, 5])] {
        for code in codes {
            let mut block = mandatory(&context);
            block.remove(code);
            assert_eq!(fate(&wire(&block), true, &context).0, Withdrawn(Flaw::Missing), "{code}");
        }
    }
    // With MP_REACH_NLRI, NEXT_HOP is not missed and, when there, not looked at (RFC 7606 §3 (d), RFC 4760 §3).
    let mut block = mandatory(&EXTERNAL);
    block.insert(14, (OPTIONAL, REACH.to_vec()));
    block.insert(3, (WELL_KNOWN, vec![1]));
    assert_eq!(fate(&wire(&block), false, &EXTERNAL).0, Kept);
    block.remove(&3);
    assert_eq!(fate(&wire(&block), false, &EXTERNAL).0, Kept);
    block.remove(&1);
    assert_eq!(fate(&wire(&block), false, &EXTERNAL).0, Withdrawn(Flaw::Missing));
}

#[test]
fn what_only_internal_peers_may_send_is_discarded_from_others_however_malformed() {
    for case in CASES.iter().filter(|c| c.context == INTERNAL) {
        for value in case.bad.iter().map(|(value, _)| *value).chain([case.good]) {
            let mut block = mandatory(&EXTERNAL);
            block.insert(case.code, (case.flags, value.to_vec()));
            let (got, canonical) = fate(&wire(&block), true, &EXTERNAL);
            assert_eq!(got, Discarded(Unexpected), "attribute {}", case.code);
            assert_eq!(canonical, wire(&mandatory(&EXTERNAL)));
        }
    }
}

#[test]
fn an_attribute_that_runs_beyond_the_end_withdraws_what_can_be_seen_and_else_ends_the_session() {
    let good = wire(&mandatory(&EXTERNAL));
    for cut in [&[0xc0, 8, 8, 0, 0][..], &[0xc0, 8], &[0xc0], &[0xd0, 8, 0]] {
        let raw = [&good[..], cut].concat();
        assert_eq!(fate(&raw, true, &EXTERNAL).0, Withdrawn(Flaw::Overrun), "{cut:02x?}");
        // Nothing announced that could be withdrawn: the prefixes may stand in what was not read.
        assert_eq!(fate(&raw, false, &EXTERNAL).0, Reset(UpdateError::AttributeLength), "{cut:02x?}");
    }
}

#[test]
fn unknown_attributes_pass_when_transitive_go_when_not_and_end_the_session_when_well_known() {
    let plain = wire(&mandatory(&EXTERNAL));
    let with = |flags: u8| {
        let mut raw = plain.clone();
        put_attribute(99, flags, &[1, 2, 3], &mut raw);
        raw
    };
    // The four unused bits go (RFC 4271 §4.3).
    for flags in [BOTH, BOTH | PARTIAL, BOTH | 0x0f] {
        assert_eq!(fate(&with(flags), true, &EXTERNAL), (Kept, with(flags & !0x0f)));
    }
    assert_eq!(fate(&with(OPTIONAL), true, &EXTERNAL), (Kept, plain.clone()));
    for flags in [TRANSITIVE, 0] {
        let wanted = Reset(UpdateError::UnrecognizedWellKnown);
        assert_eq!(fate(&with(flags), true, &EXTERNAL).0, wanted);
    }
}

#[test]
fn equal_routes_have_equal_bytes_whoever_sent_them() {
    let canonical = wire(
        &[
            (1, (WELL_KNOWN, vec![0])),
            (2, (WELL_KNOWN, vec![2, 2, 0, 0, 0xfd, 0xe9, 0, 1, 0, 0])),
            (3, (WELL_KNOWN, vec![192, 0, 2, 1])),
            (7, (BOTH, vec![0, 1, 0, 0, 192, 0, 2, 1])),
            (8, (BOTH, vec![0, 1, 0, 2])),
        ]
        .into(),
    );
    let mut scan = Scan::default();
    assert_eq!(sanitize(&canonical, true, &EXTERNAL, &mut scan), Outcome::Keep);
    assert!(scan.is_canonical(), "what is canonical already is not copied");

    // The other order, long lengths where short ones do, unused flags.
    let mut untidy = Vec::new();
    let each: Vec<_> = Attributes::new(&canonical).iter().collect();
    for a in each.iter().rev() {
        untidy.extend([a.flags | EXTENDED_LENGTH | 1, a.code, 0, u8::try_from(a.value.len()).unwrap()]);
        untidy.extend(a.value);
    }
    assert_eq!(fate(&untidy, true, &EXTERNAL), (Kept, canonical.clone()));

    // By a speaker of 2-octet AS numbers (RFC 6793 §4.2.3).
    let narrow = wire(
        &[
            (1, (WELL_KNOWN, vec![0])),
            (2, (WELL_KNOWN, vec![2, 2, 0xfd, 0xe9, 0x5b, 0xa0])),
            (3, (WELL_KNOWN, vec![192, 0, 2, 1])),
            (7, (BOTH, vec![0x5b, 0xa0, 192, 0, 2, 1])),
            (8, (BOTH, vec![0, 1, 0, 2])),
            (17, (BOTH, vec![2, 1, 0, 1, 0, 0])),
            (18, (BOTH, vec![0, 1, 0, 0, 192, 0, 2, 1])),
        ]
        .into(),
    );
    assert_eq!(fate(&narrow, true, &NARROW), (Kept, canonical));
}

#[test]
fn an_as4_path_does_not_put_another_as_in_front_of_the_peers() {
    let mut block = mandatory(&NARROW);
    block.insert(17, (BOTH, vec![2, 1, 0, 1, 0, 0]));
    assert_eq!(fate(&wire(&block), true, &NARROW), (Discarded(FirstAs), wire(&mandatory(&EXTERNAL))));
}
