//! A new configuration costs what [`COSTS`] says and no more.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::world::*;
use crate::config::*;
use crate::io::*;
use crate::policy::{Filter, Otherwise};
use crate::status::SessionState::*;
use crate::{Asn, Family, FamilySet};

type Change = (&'static str, fn(&mut PeerConfig));

/// A change of every field of a peer, by its name in [`COSTS`].
fn changes() -> Vec<Change> {
    fn other() -> Arc<Filter> {
        Arc::new(Filter { otherwise: Otherwise::Accept, ..Filter::default() })
    }
    alloc::vec![
        ("remote_as", |p| p.remote_as = RemoteAs::Exactly(Asn(64512))),
        ("local_as", |p| p.local_as = Some(Asn(64512 + 1))),
        ("transport.port", |p| p.transport.port = 1790),
        ("transport.local", |p| p.transport.local = Some(key(1).address)),
        ("transport.passive", |p| p.transport.passive = true),
        ("transport.password", |p| p.transport.password = Secret::new(b"corduroy")),
        ("transport.ttl", |p| p.transport.ttl = Ttl::Security { hops: 1 }),
        ("timers.hold", |p| p.timers.hold = secs(30)),
        ("timers.keepalive", |p| p.timers.keepalive = Some(secs(7))),
        ("timers.connect_retry", |p| p.timers.connect_retry = secs(50)),
        ("timers.send_hold", |p| p.timers.send_hold = Duration::ZERO),
        ("capabilities.families", |p| {
            p.capabilities.families = FamilySet::EMPTY.with(Family::Ipv4Unicast);
        }),
        ("capabilities.route_refresh", |p| p.capabilities.route_refresh = false),
        ("capabilities.extended_messages", |p| p.capabilities.extended_messages = false),
        ("capabilities.graceful_restart", |p| p.capabilities.graceful_restart = None),
        ("client", |p| p.client = true),
        ("next_hop", |p| p.next_hop = NextHop::SelfAddress),
        ("allow_own_as", |p| p.allow_own_as = 1),
        ("import", |p| p.import = other()),
        ("export", |p| p.export = other()),
        ("max_prefixes", |p| {
            p.max_prefixes = Some(MaxPrefixes { limit: 9, action: MaxPrefixesAction::Warn });
        }),
        ("shutdown", |p| p.shutdown = true),
    ]
}

#[test]
fn every_field_costs_what_the_table_says() {
    let names: Vec<&str> = changes().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, COSTS.iter().map(|f| f.name).collect::<Vec<_>>(), "every row has its change");
    for ((name, change), field) in changes().into_iter().zip(COSTS) {
        let mut world = Lab::pair(|_| {});
        let before = world.status(2)[0].established;
        world.handle(1, Input::Configure(with_peers(config(1, &[2]), change).into()));
        world.pass(secs(5));
        let reset = world.status(2)[0].established != before || world.state(2, 1) != Established;
        assert_eq!(reset, field.cost == Cost::Reset, "{name}");
        let told = world.rib(1).into_iter().any(|i| matches!(i, RibInput::Reconfigured { .. }));
        assert_eq!(told, !reset, "the RIB has the new configuration of a living session: {name}");
        let costs = peer_config(RemoteAs::Internal).costs(&{
            let mut p = peer_config(RemoteAs::Internal);
            change(&mut p);
            p
        });
        let export = matches!(field.cost, Cost::ReExport | Cost::Both);
        let import = matches!(field.cost, Cost::ReImport | Cost::Both);
        assert_eq!((costs.re_export, costs.re_import), (export, import), "{name}");
    }
}

#[test]
fn another_remote_as_resets_a_session_whose_peer_is_not_it() {
    let mut world = Lab::pair(|_| {});
    let stranger = with_peers(config(1, &[2]), |p| p.remote_as = RemoteAs::External);
    world.handle(1, Input::Configure(stranger.into()));
    world.pass(secs(5));
    assert_ne!(world.state(1, 2), Established);
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    let mut world = Lab::pair(|_| {});
    world.handle(1, Input::Configure(config(1, &[2]).into()));
    world.pass(secs(5));
    assert!(world.events(1).is_empty() && world.rib(1).is_empty() && world.other(1).is_empty());
}

#[test]
fn a_peer_taken_out_is_told_so_and_its_slot_is_used_again_after_the_rib_has_let_go() {
    let mut world = Lab::pair(|_| {});
    world.handle(1, Input::Configure(config(1, &[]).into()));
    world.run();
    let why = world.events(2).into_iter().find_map(|e| match e {
        crate::event::Event::SessionDown { why: crate::event::Ended::Received(n), .. } => {
            Some(n.innermost().error)
        }
        _ => None,
    });
    use crate::wire::notification::{Cease, ErrorCode};
    assert_eq!(why, Some(ErrorCode::Cease(Cease::PeerDeconfigured)));
    assert!(world.status(1).is_empty());
    world.handle(1, Input::Configure(config(1, &[2, 3]).into()));
    let ids: Vec<u16> = world.sessions(1).status().into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn another_router_id_resets_every_session_because_open_carries_it() {
    let mut world = Lab::pair(|_| {});
    let mut renamed = config(1, &[2]);
    renamed.router_id = config(77, &[]).router_id;
    world.handle(1, Input::Configure(renamed.into()));
    world.pass(secs(5));
    assert_eq!((world.state(1, 2), world.status(1)[0].established), (Established, 2));
    assert_eq!(world.status(2)[0].remote.unwrap().router_id, config(77, &[]).router_id);
}

#[test]
fn a_peer_no_longer_shut_down_is_connected_to_at_once() {
    let mut world = Lab::new();
    world.start(1, with_peers(config(1, &[2]), |p| p.shutdown = true), Start::First);
    world.start(2, with_peers(config(2, &[1]), |p| p.transport.passive = true), Start::First);
    world.pass(secs(60));
    assert_eq!(world.attempts, 0);
    world.handle(1, Input::Configure(config(1, &[2]).into()));
    world.run();
    assert_eq!(world.state(1, 2), Established);
}

#[test]
fn keys_are_said_once_and_again_only_when_they_change() {
    let mut world = Lab::new();
    let guarded = |key: &[u8]| {
        let key = Secret::new(key);
        with_peers(config(1, &[2]), |p| p.transport.password.clone_from(&key))
    };
    world.start(1, guarded(b"one"), Start::First);
    world.run();
    let host = "10.0.0.2/32".parse().unwrap();
    let said = |key: &[u8]| Output::SetKeys([(host, Secret::new(key).unwrap())].into());
    assert_eq!(world.other(1), [said(b"one")]);
    world.handle(1, Input::Configure(guarded(b"one").into()));
    world.run();
    assert_eq!(world.other(1), []);
    world.handle(1, Input::Configure(guarded(b"two").into()));
    world.run();
    assert_eq!(world.other(1), [said(b"two")]);
}
