//! How many prefixes a peer may send.

use super::*;
use crate::config::{MaxPrefixes, MaxPrefixesAction};
use crate::event::Event;
use crate::io::RibOutput;

const FAMILY: Family = Family::Ipv4Unicast;

/// A peer that may send three prefixes.
fn limited(action: MaxPrefixesAction) -> World {
    let mut world = World::new(1, false);
    let mut session = session(0, setup(0));
    let config = Arc::make_mut(&mut session.config);
    config.max_prefixes = Some(MaxPrefixes { limit: 3, action });
    world.rib.handle(RibInput::Up {
        peer: PeerId(0),
        generation: Generation(1),
        session: Arc::new(session),
        keep_stale: FamilySet::EMPTY,
    });
    world.remote(0).generation = 1;
    world
}

/// Announces prefixes with these numbers and takes those of others back; answers what the RIB says of the limit.
fn announce(world: &mut World, reach: core::ops::Range<u8>, unreach: core::ops::Range<u8>) -> Vec<RibOutput> {
    let nets = |numbers: core::ops::Range<u8>| -> Vec<Net> {
        numbers.map(|n| Net::new(Ipv4Addr::new(198, 51, n, 0).into(), 24).unwrap()).collect()
    };
    let attrs = block(&[65000], |_| {}, &route(Some(Ipv4Addr::new(192, 0, 2, 1).into())), false);
    world.update(0, &attrs, (&nets(reach), &nets(unreach)), FAMILY);
    while world.work(10) == More::Yes {}
    let outputs = core::iter::from_fn(|| world.rib.poll());
    outputs.filter(|o| !matches!(o, RibOutput::Writable { .. })).collect()
}

#[test]
fn a_peer_beyond_its_limit_is_warned_of_once_until_it_was_below_again() {
    let mut world = limited(MaxPrefixesAction::Warn);
    assert!(announce(&mut world, 0..3, 0..0).is_empty(), "the limit itself is allowed");
    assert!(announce(&mut world, 0..3, 0..0).is_empty(), "the same three again are three");
    let warned = |outputs: &[RibOutput]| match outputs {
        [RibOutput::Event(Event::PrefixLimitExceeded { count, .. })] => Some(*count),
        _ => None,
    };
    assert_eq!(warned(&announce(&mut world, 3..5, 0..0)), Some(5));
    assert!(announce(&mut world, 5..6, 0..0).is_empty(), "it was said");
    assert!(announce(&mut world, 0..0, 0..4).is_empty());
    assert_eq!(warned(&announce(&mut world, 6..9, 0..0)), Some(5));
}

#[test]
fn nothing_more_is_taken_from_a_peer_that_is_to_be_sent_away() {
    let away = Duration::from_secs(60);
    let mut world = limited(MaxPrefixesAction::Restart(away));
    let outputs = announce(&mut world, 0..4, 0..0);
    assert!(
        matches!(outputs[..], [RibOutput::TooManyPrefixes { count: 4, hold_off, .. }] if hold_off == away),
        "{outputs:?}"
    );
    assert!(announce(&mut world, 4..200, 0..0).is_empty());
    let rows = world.rib.query().families(PeerId(0));
    assert_eq!(rows.iter().map(|r| r.received).sum::<u32>(), 4);
}
