//! While selection is deferred after our own restart (RFC 4724 §4.1).

use super::*;
use crate::event::Event;
use crate::io::RibOutput;

fn complete(world: &mut World) -> Vec<PeerKey> {
    let outputs = core::iter::from_fn(|| world.rib.poll());
    outputs
        .filter_map(|o| match o {
            RibOutput::Event(Event::EndOfRib { peer, .. }) => Some(peer),
            _ => None,
        })
        .collect()
}

#[test]
fn a_first_table_that_came_before_selection_is_reported_when_it_is_in_the_loc_rib_unless_its_peer_left() {
    let family = Family::Ipv4Unicast;
    let mut world = World::new(1, false);
    world.rib = Rib::new(&config(false), Start::Again { forwarding: FamilySet::BOTH }, 1, Time(0));
    let mut changes = Vec::new();
    world.rib.drain_loc_rib(10, &mut changes);
    let net = Net::new(Ipv4Addr::new(198, 51, 100, 0).into(), 24).unwrap();
    let attrs = block(&[65000], |_| {}, &route(Some(Ipv4Addr::new(192, 0, 2, 1).into())), false);
    for peer in [0, 1] {
        world.up(peer, FamilySet::EMPTY);
        world.update(peer, &attrs, (&[net], &[]), family);
        world.rib.handle(RibInput::EndOfRib { peer: PeerId(peer), generation: Generation(1), family });
    }
    while world.work(10) == More::Yes {}
    world.rib.drain_loc_rib(10, &mut changes);
    assert_eq!((changes.len(), complete(&mut world)), (0, Vec::new()), "nothing is selected yet");

    world.down(1, FamilySet::EMPTY);
    world.rib.handle(RibInput::Select { family });
    while world.work(10) == More::Yes {}
    assert_eq!(complete(&mut world), Vec::new(), "the Loc-RIB is not drained yet");
    world.rib.drain_loc_rib(10, &mut changes);
    world.rib.drain_loc_rib(10, &mut changes);
    assert_eq!(changes.iter().map(|c| c.net).collect::<Vec<_>>(), [net]);
    assert_eq!(complete(&mut world), [session(0, setup(0)).key]);
}
