use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::world::*;
use crate::attrs::Attributes;
use crate::config::*;
use crate::event::{Ended, Event, Rejected};
use crate::io::*;
use crate::status::SessionState::*;
use crate::wire::notification::*;
use crate::wire::update::Form;
use crate::wire::{KEEPALIVE, NotificationMessage};
use crate::{Asn, Family, FamilySet, Net};

/// A route to 192.0.2.0/24 from an internal peer.
pub(super) fn announcement() -> Vec<u8> {
    let route = Origination {
        next_hop: None,
        med: None,
        local_pref: Some(100),
        communities: Vec::new(),
        large_communities: Vec::new(),
    };
    let (mut block, mut attributes, mut out) = (Vec::new(), Vec::new(), Vec::new());
    crate::attrs::encode::put_originated(key(1).address.into(), &route, &mut block);
    let form = Form { family: Family::Ipv4Unicast, as4: true, message_max: 4096 };
    form.put_attributes(&block, &mut attributes);
    form.put_reach(&block, &attributes, &[24, 192, 0, 2], &mut out);
    out
}

fn sent(events: &[Event]) -> Option<ErrorCode> {
    events.iter().find_map(|e| match e {
        Event::SessionDown { why: Ended::Sent(n), .. } | Event::AttemptFailed { why: Ended::Sent(n), .. } => {
            Some(n.error)
        }
        _ => None,
    })
}

#[test]
fn two_speakers_that_connect_at_the_same_time_end_up_with_one_session() {
    let mut world = Lab::new();
    world.start(1, config(1, &[2]), Start::First);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(SECOND);
    assert_eq!((world.state(1, 2), world.state(2, 1)), (Established, Established));
    assert_eq!(world.conns(1).len(), 1);
    let ups = |rib: Vec<RibInput>| rib.into_iter().filter(|i| matches!(i, RibInput::Up { .. })).count();
    assert_eq!((ups(world.rib(1)), ups(world.rib(2))), (1, 1));
}

#[test]
fn a_session_without_routes_lives_on_keepalives_for_a_day() {
    let mut world = Lab::pair(|_| {});
    world.pass(secs(86_400));
    assert_eq!(world.state(1, 2), Established);
    assert!(world.events(1).is_empty() && world.events(2).is_empty());
}

#[test]
fn a_peer_that_falls_silent_is_ended_by_the_hold_timer_after_the_agreed_time() {
    let mut world = Lab::new();
    world.start(1, with_peers(config(1, &[2]), |p| p.timers.hold = secs(30)), Start::First);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(secs(10));
    world.power_off(1);
    world.pass(secs(19));
    assert_eq!(world.state(2, 1), Established);
    // It offered 90 s itself: the shorter time counts.
    world.pass(secs(12));
    assert_ne!(world.state(2, 1), Established);
    assert_eq!(sent(&world.events(2)), Some(ErrorCode::HoldTimerExpired));
}

#[test]
fn with_a_hold_time_of_zero_on_one_side_nothing_is_sent_and_nothing_expires() {
    let mut world = Lab::new();
    world.start(1, with_peers(config(1, &[2]), |p| p.timers.hold = secs(0)), Start::First);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(secs(10));
    let before = world.status(1)[0].counters;
    world.pass(secs(86_400));
    assert_eq!(world.status(1)[0].counters, before);
    assert_eq!(world.state(2, 1), Established);
}

#[test]
fn a_peer_that_reads_not_one_byte_is_ended_by_the_send_hold_timer() {
    let mut world = Lab::pair(|p| (p.timers.hold, p.timers.send_hold) = (secs(0), secs(60)));
    let conn = world.conns(1)[0];
    world.sessions(1).handed(conn, &[KEEPALIVE]);
    world.pass(secs(61));
    assert_eq!(sent(&world.events(1)), Some(ErrorCode::SendHoldTimerExpired));
}

#[test]
fn a_peer_that_stops_reading_is_ended_by_the_send_hold_timer() {
    let mut world = Lab::pair(|p| (p.timers.hold, p.timers.send_hold) = (secs(0), secs(60)));
    let conn = world.conns(1)[0];
    // The driver takes a message and the socket never does.
    world.sessions(1).handed(conn, &[KEEPALIVE]);
    world.pass(secs(59));
    assert_eq!(world.state(1, 2), Established);
    // What it takes in between starts the timer anew.
    world.handle(1, Input::Sent { conn, bytes: 1 });
    world.pass(secs(59));
    assert_eq!(world.state(1, 2), Established);
    world.pass(secs(2));
    assert_eq!(sent(&world.events(1)), Some(ErrorCode::SendHoldTimerExpired));
}

#[test]
fn a_peer_that_is_not_there_is_tried_again_and_again_with_jitter_between() {
    let mut world = Lab::new();
    world.start(1, config(1, &[2]), Start::First);
    let mut attempts = alloc::collections::BTreeSet::new();
    for second in 0..100 {
        world.pass(secs(6));
        attempts.insert(world.attempts);
        assert!(world.attempts > second, "one in 6 seconds at least");
    }
    // 600 s in steps of 3.75 to 5 s, and not every step the same.
    assert!((120..=160).contains(&world.attempts), "{}", world.attempts);
    assert!(attempts.len() == 100 && world.attempts != 120, "{}", world.attempts);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(secs(6));
    assert_eq!(world.state(1, 2), Established);
}

#[test]
fn every_wrong_open_is_refused_with_its_own_subcode() {
    type Spoil = fn(&mut Config);
    let refusals: [(Spoil, OpenError); 3] = [
        (|c| c.local_as = Asn(64513), OpenError::BadPeerAs),
        (|c| c.router_id = config(1, &[]).router_id, OpenError::BadIdentifier),
        (
            |c| {
                let only6 = FamilySet::EMPTY.with(Family::Ipv6Unicast);
                *c = with_peers(c.clone(), |p| p.capabilities.families = only6);
            },
            OpenError::UnsupportedCapability,
        ),
    ];
    for (spoil, error) in refusals {
        let mut world = Lab::new();
        let ours = |p: &mut PeerConfig| p.capabilities.families = FamilySet::EMPTY.with(Family::Ipv4Unicast);
        world.start(1, with_peers(config(1, &[2]), ours), Start::First);
        let mut theirs = with_peers(config(2, &[1]), |p| {
            p.remote_as = RemoteAs::Exactly(Asn(64512));
            p.transport.passive = true;
        });
        spoil(&mut theirs);
        world.start(2, theirs, Start::First);
        world.pass(secs(3));
        let told = [world.events(1), world.events(2)].concat();
        assert_eq!(sent(&told), Some(ErrorCode::Open(error)));
        assert_ne!(world.state(1, 2), Established);
    }
}

#[test]
fn an_update_becomes_a_batch_with_canonical_attributes() {
    let mut world = Lab::pair(|_| {});
    let conn = world.conns(1)[0];
    world.inject(1, conn, &announcement());
    let rib = world.rib(1);
    let [RibInput::Update(batch)] = &rib[..] else { panic!("{rib:?}") };
    assert_eq!(&batch.reach[..], [24, 192, 0, 2]);
    assert!(batch.unreach.is_empty());
    let attributes = Attributes::new(&batch.attrs);
    assert_eq!(attributes.next_hop().unwrap().address(), key(1).address);
    assert_eq!(attributes.local_pref(), Some(100));
}

#[test]
fn a_peer_that_floods_is_not_read_until_the_rib_has_caught_up_and_its_hold_timer_waits() {
    let mut world = Lab::pair(|_| {});
    let conn = world.conns(1)[0];
    let now = world.now;
    for _ in 0..300 {
        world.sessions(1).handle(Input::Received { conn, bytes: &announcement() }, now);
    }
    let sessions = world.sessions(1);
    let outputs: Vec<Output> = core::iter::from_fn(|| sessions.poll()).collect();
    assert_eq!(outputs, [Output::PauseRead(conn)]);
    // Silent for an hour, because nobody reads what it says.
    for minute in 1..60 {
        sessions.handle_timeout(now + secs(60 * minute));
    }
    assert_eq!(sessions.status()[0].1.state, Established);
    for _ in 0..299 {
        assert!(matches!(sessions.poll_rib(), Some(RibInput::Update(_))));
    }
    let outputs: Vec<Output> = core::iter::from_fn(|| sessions.poll()).collect();
    assert!(outputs.contains(&Output::ResumeRead(conn)), "{outputs:?}");
}

#[test]
fn too_many_prefixes_end_the_session_and_keep_the_peer_away_for_the_time_configured() {
    let limit = Some(MaxPrefixes { limit: 7, action: MaxPrefixesAction::Restart(secs(300)) });
    let mut world = Lab::pair(|p| p.max_prefixes = limit);
    let peer = world.sessions(1).status()[0].0;
    let (family, hold_off) = (Family::Ipv6Unicast, secs(300));
    world.rib_output(1, RibOutput::TooManyPrefixes { peer, family, count: 8, hold_off });
    world.pass(secs(1));
    let told = world.events(2);
    let down = told.iter().find_map(|e| match e {
        Event::SessionDown { why: Ended::Received(n), .. } => Some(n.innermost()),
        _ => None,
    });
    let error = ErrorCode::Cease(Cease::MaximumPrefixes);
    assert_eq!(down, Some(NotificationMessage::with_data(error, &[0, 2, 1, 0, 0, 0, 7])));
    world.pass(secs(290));
    assert_ne!(world.state(1, 2), Established, "held off, however often it knocks");
    world.pass(secs(20));
    assert_eq!(world.state(1, 2), Established);
}

#[test]
fn dynamic_peers_come_out_of_their_range_up_to_its_limit_and_are_forgotten_when_they_leave() {
    let mut world = Lab::new();
    let peer = Arc::new(PeerConfig {
        capabilities: Capabilities { graceful_restart: None, ..peer_config(RemoteAs::Internal).capabilities },
        ..peer_config(RemoteAs::Internal)
    });
    let range: Net = "10.0.0.0/29".parse().unwrap();
    let reflector = Config { dynamic: [DynamicRange { range, limit: 2, peer }].into(), ..config(1, &[]) };
    world.start(1, reflector, Start::First);
    for n in [2, 3, 4, 9] {
        world.start(n, config(n, &[1]), Start::First);
        world.pass(SECOND);
    }
    assert_eq!((world.state(2, 1), world.state(3, 1)), (Established, Established));
    let refused: Vec<_> = world
        .events(1)
        .into_iter()
        .filter_map(|e| match e {
            Event::ConnectionRejected { remote, why } => Some((remote, why)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(key(4).address, Rejected::Limit), (key(9).address, Rejected::Unknown)]);
    world.kill(2);
    world.pass(SECOND * 10);
    assert_eq!(world.state(4, 1), Established, "there is room now");
    assert_eq!(world.status(1).len(), 2);
    assert!(world.rib(1).iter().any(|i| matches!(i, RibInput::Removed { .. })));
}

#[test]
fn a_route_refresh_reaches_the_rib_for_a_family_in_use() {
    let mut world = Lab::pair(|_| {});
    world.handle(1, Input::Command { peer: key(2), command: Command::RefreshIn });
    world.run();
    let asked: Vec<_> = world
        .rib(2)
        .into_iter()
        .filter_map(|i| match i {
            RibInput::Refresh { family, .. } => Some(family),
            _ => None,
        })
        .collect();
    assert_eq!(asked, Family::ALL);
}

#[test]
fn a_drain_gives_peers_time_and_then_ends_with_the_operators_text() {
    let mut world = Lab::pair(|_| {});
    world.handle(1, Input::Stop(Stop::Drain { text: "rack 7 moves".into() }));
    world.pass(secs(2));
    assert_eq!(world.state(2, 1), Established);
    world.pass(secs(2));
    let text = world.events(2).into_iter().find_map(|e| match e {
        Event::SessionDown { why: Ended::Received(n), .. } => n.innermost().text().map(ToString::to_string),
        _ => None,
    });
    assert_eq!(text.as_deref(), Some("rack 7 moves"));
    world.pass(secs(60));
    assert_ne!(world.state(2, 1), Established, "it does not come back");
}

#[test]
fn messages_that_do_not_belong_in_a_state_are_answered_with_the_subcode_of_rfc_6608() {
    let mut world = Lab::new();
    world.start(1, with_peers(config(1, &[2]), |p| p.transport.passive = true), Start::First);
    world.run();
    let conn = world.accept_from(1, key(2).address);
    world.inject(1, conn, &KEEPALIVE);
    assert_eq!(sent(&world.events(1)), Some(ErrorCode::Fsm(FsmError::UnexpectedInOpenSent)));
    let mut world = Lab::pair(|_| {});
    let conn = world.conns(1)[0];
    let open = config(2, &[1]).peers[&key(1)]
        .open(
            &crate::sessions::core::Identity {
                local_as: Asn(64512),
                router_id: config(2, &[]).router_id,
                forwarding: FamilySet::EMPTY,
                ending: false,
            },
            FamilySet::EMPTY,
            false,
        )
        .encode();
    world.inject(1, conn, &open);
    assert_eq!(sent(&world.events(1)), Some(ErrorCode::Fsm(FsmError::UnexpectedInEstablished)));
}

#[test]
fn a_strangers_connection_is_closed_without_a_word() {
    let mut world = Lab::pair(|_| {});
    let conn = world.accept_from(1, "192.0.2.7".parse().unwrap());
    let outputs: Vec<Output> = core::iter::from_fn(|| world.sessions(1).poll()).collect();
    assert!(outputs.contains(&Output::Close { conn, how: Close::Abort }), "{outputs:?}");
    assert!(world.transmit(1, conn).is_empty());
}
