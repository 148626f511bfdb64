//! Two peers in the same AS say the same: what is told to others does not change when the best path does.

use super::*;

/// Peers 0 and 1 are both in AS 65000 and in one update group.
fn twins() -> World {
    let mut world = World::new(1, false);
    for peer in [0, 1] {
        let mut session = session(peer, setup(peer));
        (session.remote_as, session.as4) = (Asn(65000), true);
        world.remote(peer).up = true;
        world.remote(peer).generation = 1;
        world.rib.handle(RibInput::Up {
            peer: PeerId(peer),
            generation: Generation(1),
            session: Arc::new(session),
            keep_stale: FamilySet::EMPTY,
        });
    }
    world.settle();
    world
}

#[test]
fn when_the_best_path_moves_to_a_twin_the_one_it_leaves_is_told_and_the_other_no_longer() {
    let mut world = twins();
    let net = Net::new(Ipv4Addr::new(198, 51, 100, 0).into(), 24).unwrap();
    let say = |world: &mut World, peer: u16, reach: &[Net], unreach: &[Net]| {
        let hop = Ipv4Addr::new(192, 0, 2, 1).into();
        let attrs = block(&[65000], |_| {}, &route(Some(hop)), false);
        world.update(peer, &attrs, (reach, unreach), Family::Ipv4Unicast);
        world.settle();
    };
    let told = |world: &World| [0, 1].map(|peer: usize| world.remotes[peer].held.contains_key(&net));
    say(&mut world, 0, &[net], &[]);
    assert_eq!(told(&world), [false, true]);
    say(&mut world, 1, &[net], &[]);
    assert_eq!(told(&world), [false, true], "the older one stays best (RFC 5004)");
    say(&mut world, 0, &[], &[net]);
    assert_eq!(told(&world), [true, false]);
    say(&mut world, 0, &[net], &[]);
    assert_eq!(told(&world), [true, false], "the older one stays best (RFC 5004)");
    say(&mut world, 1, &[], &[net]);
    assert_eq!(told(&world), [false, true], "and back");
}
