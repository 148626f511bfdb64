//! Graceful restart, both roles (RFC 4724, RFC 8538), through the whole of two speakers.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::world::*;
use crate::config::*;
use crate::io::*;
use crate::status::SessionState::*;
use crate::wire::update::Form;
use crate::{Family, FamilySet};

const AGAIN: Start = Start::Again { forwarding: FamilySet::BOTH };
const ONLY4: FamilySet = FamilySet::EMPTY.with(Family::Ipv4Unicast);

fn end_of_rib(family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    Form { family, as4: true, message_max: 4096 }.put_end_of_rib(&mut out);
    out
}

/// What the RIB was told about restarts, in short.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Up(FamilySet),
    Down(FamilySet),
    EndOfRib(Family),
    Sweep(FamilySet),
    Select(Family),
}

fn told(world: &mut Lab, n: u8) -> Vec<Told> {
    let short = |input| match input {
        RibInput::Up { keep_stale, .. } => Some(Told::Up(keep_stale)),
        RibInput::Down { keep, .. } => Some(Told::Down(keep)),
        RibInput::EndOfRib { family, .. } => Some(Told::EndOfRib(family)),
        RibInput::SweepStale { families, .. } => Some(Told::Sweep(families)),
        RibInput::Select { family } => Some(Told::Select(family)),
        _ => None,
    };
    world.rib(n).into_iter().filter_map(short).collect()
}

fn say(world: &mut Lab, n: u8, bytes: &[u8]) {
    let conn = world.conns(n)[0];
    world.inject(n, conn, bytes);
}

#[test]
fn routes_of_a_peer_that_is_killed_and_comes_back_stay_until_its_end_of_rib() {
    let mut world = Lab::pair(|_| {});
    world.kill(2);
    world.pass(secs(5));
    world.start(2, config(2, &[1]), AGAIN);
    world.pass(secs(10));
    assert_eq!(told(&mut world, 1), [Told::Down(FamilySet::BOTH), Told::Up(FamilySet::BOTH)]);
    for family in Family::ALL {
        say(&mut world, 1, &end_of_rib(family));
    }
    world.pass(secs(1000));
    let ends = Family::ALL.map(Told::EndOfRib);
    assert_eq!(told(&mut world, 1), ends, "and no sweep afterwards");
}

#[test]
fn a_peer_that_came_back_with_a_first_start_has_kept_nothing() {
    let mut world = Lab::pair(|_| {});
    world.kill(2);
    world.start(2, config(2, &[1]), Start::First);
    world.pass(secs(10));
    assert_eq!(told(&mut world, 1), [Told::Down(FamilySet::BOTH), Told::Up(FamilySet::EMPTY)]);
}

#[test]
fn the_f_bit_counts_family_by_family() {
    let mut world = Lab::pair(|_| {});
    world.kill(2);
    world.start(2, config(2, &[1]), Start::Again { forwarding: ONLY4 });
    world.pass(secs(10));
    assert_eq!(told(&mut world, 1), [Told::Down(FamilySet::BOTH), Told::Up(ONLY4)]);
}

#[test]
fn a_session_that_merely_broke_keeps_its_routes_on_both_sides() {
    let mut world = Lab::pair(|_| {});
    let conn = world.conns(1)[0];
    // Each end learns of the other's failure at the same time.
    for n in [1, 2] {
        let conn = world.conns(n)[0];
        world.handle(n, Input::Closed { conn });
    }
    assert!(world.conns(1).contains(&conn));
    world.pass(secs(10));
    for n in [1, 2] {
        assert_eq!(told(&mut world, n), [Told::Down(FamilySet::BOTH), Told::Up(FamilySet::BOTH)], "node {n}");
    }
}

#[test]
fn a_peer_that_does_not_come_back_loses_its_routes_when_its_restart_time_is_over() {
    let mut world = Lab::pair(|_| {});
    world.kill(2);
    world.pass(secs(119));
    assert_eq!(told(&mut world, 1), [Told::Down(FamilySet::BOTH)]);
    world.pass(secs(2));
    assert_eq!(told(&mut world, 1), [Told::Sweep(FamilySet::BOTH)]);
}

#[test]
fn a_peer_that_came_back_but_never_says_end_of_rib_loses_what_it_did_not_say_again() {
    let mut world = Lab::pair(|_| {});
    world.kill(2);
    world.start(2, config(2, &[1]), AGAIN);
    world.pass(secs(10));
    say(&mut world, 1, &end_of_rib(Family::Ipv6Unicast));
    told(&mut world, 1);
    world.pass(secs(180));
    assert_eq!(told(&mut world, 1), [Told::Sweep(ONLY4)]);
}

#[test]
fn a_second_restart_before_end_of_rib_drops_what_was_stale_already() {
    let mut world = Lab::pair(|_| {});
    for _ in 0..2 {
        world.kill(2);
        world.start(2, config(2, &[1]), AGAIN);
        world.pass(secs(10));
    }
    let both = FamilySet::BOTH;
    let expected = [Told::Down(both), Told::Up(both), Told::Sweep(both), Told::Down(both), Told::Up(both)];
    assert_eq!(told(&mut world, 1), expected);
}

#[test]
fn an_administrative_reset_keeps_routes_with_the_n_bit_and_only_with_it() {
    for (notification, kept) in [(true, FamilySet::BOTH), (false, FamilySet::EMPTY)] {
        let mut world = Lab::pair(|p| {
            let g = p.capabilities.graceful_restart.as_mut().unwrap();
            g.notification = notification;
        });
        world.handle(1, Input::Command { peer: key(2), command: Command::Reset });
        world.pass(secs(10));
        for n in [1, 2] {
            assert_eq!(
                told(&mut world, n),
                [Told::Down(kept), Told::Up(kept)],
                "node {n}, N bit {notification}"
            );
        }
    }
}

#[test]
fn a_shutdown_keeps_nothing_even_with_the_n_bit() {
    let mut world = Lab::pair(|_| {});
    let shut = with_peers(config(1, &[2]), |p| p.shutdown = true);
    world.handle(1, Input::Configure(shut.into()));
    world.run();
    for n in [1, 2] {
        assert_eq!(told(&mut world, n), [Told::Down(FamilySet::EMPTY)], "node {n}");
    }
}

#[test]
fn a_process_that_ends_to_come_back_says_nothing_and_its_peers_keep_its_routes() {
    let mut world = Lab::pair(|_| {});
    world.handle(1, Input::Stop(Stop::Restart));
    world.run();
    assert_eq!(told(&mut world, 2), [Told::Down(FamilySet::BOTH)]);
    world.kill(1);
    world.start(1, config(1, &[2]), AGAIN);
    world.pass(secs(10));
    assert_eq!(told(&mut world, 2), [Told::Up(FamilySet::BOTH)]);
}

#[test]
fn nothing_is_kept_of_a_peer_without_graceful_restart() {
    let mut world = Lab::pair(|p| p.capabilities.graceful_restart = None);
    world.kill(2);
    assert_eq!(told(&mut world, 1), [Told::Down(FamilySet::EMPTY)]);
}

#[test]
fn a_first_start_selects_at_once_and_a_restart_when_every_peer_has_said_everything() {
    let mut world = Lab::new();
    world.start(1, config(1, &[2, 3]), AGAIN);
    world.start(2, config(2, &[1]), Start::First);
    world.run();
    assert_eq!(told(&mut world, 2)[..2], Family::ALL.map(Told::Select));
    world.start(3, config(3, &[1]), Start::First);
    world.pass(secs(10));
    let select = |t: Vec<Told>| t.into_iter().filter(|t| matches!(t, Told::Select(_))).collect::<Vec<_>>();
    assert_eq!(select(told(&mut world, 1)), []);
    let conns = world.conns(1);
    world.inject(1, conns[0], &end_of_rib(Family::Ipv6Unicast));
    assert_eq!(select(told(&mut world, 1)), [], "one peer of two");
    world.inject(1, conns[1], &end_of_rib(Family::Ipv6Unicast));
    assert_eq!(select(told(&mut world, 1)), [Told::Select(Family::Ipv6Unicast)]);
    world.pass(secs(60));
    assert_eq!(select(told(&mut world, 1)), [Told::Select(Family::Ipv4Unicast)], "the timer");
}

#[test]
fn two_restarted_speakers_do_not_wait_for_each_other() {
    let mut world = Lab::new();
    world.start(1, config(1, &[2]), AGAIN);
    world.start(2, config(2, &[1]), AGAIN);
    world.pass(secs(1));
    let selected = |t: &Told| matches!(t, Told::Select(_));
    let first = told(&mut world, 1).iter().filter(|t| selected(t)).count();
    let second = told(&mut world, 2).iter().filter(|t| selected(t)).count();
    assert_eq!((first, second), (2, 2));
}

#[test]
fn after_a_restart_nobody_waits_for_families_or_peers_that_have_nothing_to_say() {
    let mut world = Lab::new();
    let mut c = config(1, &[2, 3, 4]);
    // 2 has no graceful restart with us, 3 is shut down, 4 turns out to have none.
    Arc::make_mut(c.peers.get_mut(&key(2)).unwrap()).capabilities.graceful_restart = None;
    Arc::make_mut(c.peers.get_mut(&key(3)).unwrap()).shutdown = true;
    Arc::make_mut(c.peers.get_mut(&key(4)).unwrap()).capabilities.families = ONLY4;
    world.start(1, c, AGAIN);
    world.run();
    assert_eq!(told(&mut world, 1), [Told::Select(Family::Ipv6Unicast)], "nobody was to offer IPv6");
    let plain = with_peers(config(4, &[1]), |p| p.capabilities.graceful_restart = None);
    world.start(4, plain, Start::First);
    world.pass(secs(10));
    assert_eq!(world.state(1, 4), Established);
    assert!(told(&mut world, 1).contains(&Told::Select(Family::Ipv4Unicast)));
}

#[test]
fn with_a_dynamic_range_the_timer_decides_because_nobody_knows_who_may_come() {
    let mut world = Lab::new();
    let peer = Arc::new(peer_config(RemoteAs::Internal));
    let range = DynamicRange { range: "10.0.0.0/24".parse().unwrap(), limit: 100, peer };
    world.start(1, Config { dynamic: [range].into(), ..config(1, &[]) }, AGAIN);
    world.pass(secs(59));
    assert_eq!(told(&mut world, 1), []);
    world.pass(secs(2));
    assert_eq!(told(&mut world, 1), Family::ALL.map(Told::Select));
}
