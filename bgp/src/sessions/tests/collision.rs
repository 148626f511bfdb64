//! RFC 4271 §6.8, with one side played by hand.

use alloc::vec::Vec;

use super::world::*;
use crate::event::{Ended, Event};
use crate::io::*;
use crate::sessions::core::Identity;
use crate::status::SessionState::*;
use crate::wire::KEEPALIVE;
use crate::wire::notification::{Cease, ErrorCode, NotificationMessage};
use crate::{Asn, FamilySet};

/// The OPEN that node `n` would send; `graceful` with graceful restart.
fn open(n: u8, graceful: bool) -> Vec<u8> {
    let c = with_peers(config(n, &[2]), |p| {
        if !graceful {
            p.capabilities.graceful_restart = None;
        }
    });
    let us =
        Identity { local_as: Asn(64512), router_id: c.router_id, forwarding: FamilySet::BOTH, ending: false };
    c.peers[&key(2)].open(&us, FamilySet::EMPTY, true).encode().to_vec()
}

/// Node 2 with two connections in OpenSent to `peer`, which has said nothing yet: ours and theirs.
fn two_connections(peer: u8) -> (Lab, ConnId, ConnId) {
    let mut world = Lab::new();
    world.start(2, config(2, &[peer]), Start::First);
    let theirs = world.accept_from(2, key(peer).address);
    let ours = loop {
        match world.sessions(2).poll() {
            Some(Output::Connect(to)) => break to.conn,
            Some(_) => {}
            None => panic!("no connection was asked for"),
        }
    };
    let local = core::net::SocketAddr::new(key(2).address, 40000);
    world.handle(2, Input::Connected { conn: ours, local });
    (world, ours, theirs)
}

fn closed(world: &mut Lab) -> Vec<ConnId> {
    core::iter::from_fn(|| world.sessions(2).poll())
        .filter_map(|o| match o {
            Output::Close { conn, .. } => Some(conn),
            _ => None,
        })
        .collect()
}

fn said_collision(bytes: &[u8]) -> bool {
    let cease = NotificationMessage::new(ErrorCode::Cease(Cease::CollisionResolution)).encode();
    bytes.ends_with(&cease)
}

#[test]
fn the_connection_made_by_the_higher_identifier_stays_whichever_open_comes_first() {
    for (peer, ours_stays) in [(1, true), (3, false)] {
        for ours_first in [true, false] {
            let (mut world, ours, theirs) = two_connections(peer);
            let order = if ours_first { [ours, theirs] } else { [theirs, ours] };
            let now = world.now;
            for conn in order {
                world.sessions(2).handle(Input::Received { conn, bytes: &open(peer, true) }, now);
            }
            let (stays, goes) = if ours_stays { (ours, theirs) } else { (theirs, ours) };
            assert_eq!(closed(&mut world), [goes], "peer {peer}, ours first: {ours_first}");
            assert!(said_collision(&world.transmit(2, goes)));
            world.sessions(2).handle(Input::Received { conn: stays, bytes: &KEEPALIVE }, now);
            assert_eq!(world.state(2, peer), Established);
            assert!(world.sessions(2).established(stays).is_some());
        }
    }
}

#[test]
fn a_session_that_was_up_a_moment_before_the_collision_showed_gives_way_to_the_higher_identifier_too() {
    let (mut world, ours, theirs) = two_connections(3);
    let now = world.now;
    for bytes in [&open(3, true)[..], &KEEPALIVE] {
        world.sessions(2).handle(Input::Received { conn: ours, bytes }, now);
    }
    assert_eq!(world.state(2, 3), Established);
    world.sessions(2).handle(Input::Received { conn: theirs, bytes: &open(3, true) }, now);
    assert_eq!(closed(&mut world), [ours]);
    world.sessions(2).handle(Input::Received { conn: theirs, bytes: &KEEPALIVE }, now);
    assert!(world.sessions(2).established(theirs).is_some());
}

/// Node 2 with a session that is a minute old, and a new connection of the peer.
fn old_session(graceful: bool) -> (Lab, ConnId, ConnId) {
    let (mut world, ours, theirs) = two_connections(1);
    let now = world.now;
    for bytes in [&open(1, graceful)[..], &KEEPALIVE] {
        world.sessions(2).handle(Input::Received { conn: ours, bytes }, now);
    }
    world.sessions(2).handle(Input::Closed { conn: theirs }, now);
    world.now = now + secs(60);
    let anew = world.accept_from(2, key(1).address);
    world.transmit(2, ours);
    while world.sessions(2).poll().is_some() {}
    (world, ours, anew)
}

#[test]
fn a_new_connection_alone_ends_no_session() {
    let (mut world, ours, _) = old_session(true);
    assert_eq!(closed(&mut world), []);
    assert!(world.sessions(2).established(ours).is_some());
}

#[test]
fn an_open_on_a_later_connection_is_refused_without_graceful_restart() {
    let (mut world, ours, anew) = old_session(false);
    let now = world.now;
    world.sessions(2).handle(Input::Received { conn: anew, bytes: &open(1, false) }, now);
    assert_eq!(closed(&mut world), [anew]);
    assert!(said_collision(&world.transmit(2, anew)));
    assert!(world.sessions(2).established(ours).is_some());
}

#[test]
fn an_open_on_a_later_connection_means_a_restart_with_graceful_restart_and_its_routes_stay() {
    let (mut world, ours, anew) = old_session(true);
    let now = world.now;
    world.sessions(2).handle(Input::Received { conn: anew, bytes: &open(1, true) }, now);
    let mut events = Vec::new();
    while let Some(output) = world.sessions(2).poll() {
        match output {
            Output::Close { conn, how } => assert_eq!((conn, how), (ours, Close::Abort), "without a word"),
            Output::Event(e) => events.push(e),
            _ => {}
        }
    }
    let kept = FamilySet::BOTH;
    assert!(events.contains(&Event::SessionDown { peer: key(1), why: Ended::Replaced, kept }), "{events:?}");
    world.sessions(2).handle(Input::Received { conn: anew, bytes: &KEEPALIVE }, now);
    let inputs: Vec<RibInput> = core::iter::from_fn(|| world.sessions(2).poll_rib()).collect();
    let stale = inputs.iter().rev().find_map(|i| match i {
        RibInput::Up { keep_stale, .. } => Some(*keep_stale),
        _ => None,
    });
    assert_eq!(stale, Some(FamilySet::BOTH));
}
