//! Random worlds.

use super::*;
use crate::attrs::encode::Reflection;
use crate::policy::Community;

fn random_net(random: &mut Random, family: Family) -> Net {
    let n = u32::try_from(random.below(120)).unwrap();
    match family {
        Family::Ipv4Unicast => Net::V4(Net4::new((0x0a00_0000 | n << 8).into(), 24).unwrap()),
        Family::Ipv6Unicast => Net::V6(Net6::new((0xfd00 << 112 | u128::from(n) << 64).into(), 64).unwrap()),
    }
}

fn random_attrs(random: &mut Random, peer: u16, family: Family) -> Vec<u8> {
    let n = u8::try_from(random.below(3)).unwrap() + 1;
    let v6 = family == Family::Ipv6Unicast;
    let hop: IpAddr = if random.chance(20) && v6 == our_address(peer).is_ipv6() {
        our_address(peer)
    } else if v6 {
        core::net::Ipv6Addr::from(0xfd00 << 112 | u128::from(peer) << 8 | u128::from(n)).into()
    } else {
        Ipv4Addr::new(198, 51, u8::try_from(peer).unwrap(), n).into()
    };
    let mut r = route(Some(hop));
    let external = peer < 2;
    if !external {
        r.local_pref = Some(random.pick(&[100, 100, 200]));
    }
    r.med = random.pick(&[None, None, Some(0), Some(3), Some(9)]);
    if random.chance(3) {
        let list = [Community::NO_EXPORT, Community::NO_ADVERTISE, Community::GRACEFUL_SHUTDOWN, 77];
        r.communities = vec![random.pick(&list)];
    }
    let mut path: Vec<u32> = (0..random.below(3)).map(|_| random.pick(&[65010, 65011, 65012])).collect();
    if external {
        path.insert(0, 65000 + u32::from(peer));
    }
    if random.chance(12) {
        path.push(OUR_AS);
    }
    let loops = !external && random.chance(10);
    let reflection =
        if loops { Reflection::Reflect { originator: id(99), cluster: id(254) } } else { Reflection::Keep };
    block(&path, |e| e.reflection = reflection, &r, v6)
}

/// One thing about a peer changes.
fn random_setup(random: &mut Random, setup: Setup) -> Setup {
    match random.below(5) {
        0 => Setup { import: random.pick(&Policy::ALL), ..setup },
        1 => Setup { export: random.pick(&Policy::ALL), ..setup },
        2 => Setup { client: !setup.client, ..setup },
        3 => {
            let next_hop = random.pick(&[NextHop::Auto, NextHop::SelfAddress, NextHop::Keep]);
            Setup { next_hop, ..setup }
        }
        _ => Setup { allow_own_as: 1 - setup.allow_own_as, ..setup },
    }
}

/// One thing about the speaker changes.
fn random_config(random: &mut Random, config: &Config) -> Config {
    let mut config = config.clone();
    match random.below(3) {
        0 => config.cluster_id = if config.cluster_id.is_some() { None } else { Some(id(254)) },
        1 => config.multipath = random.pick(&[1, 2, 4]),
        _ => config.multipath_relax = !config.multipath_relax,
    }
    config
}

/// We announce a prefix of our own.
fn originate(world: &mut World, random: &mut Random, family: Family) {
    let net = random_net(random, family);
    let mut r = route(None);
    r.local_pref = random.pick(&[None, Some(50), Some(150)]);
    r.communities = random.pick(&[&[][..], &[], &[Community::GRACEFUL_SHUTDOWN]]).to_vec();
    r.med = random.pick(&[None, Some(4)]);
    if family == Family::Ipv6Unicast {
        r.next_hop = Some("fd00::fe".parse().unwrap());
    }
    world.originated.insert(net, block(&[], |_| {}, &r, family == Family::Ipv6Unicast));
    world.rib.originate(net, r);
}

/// A peer announces and withdraws.
fn announce(world: &mut World, random: &mut Random, (peer, family): (u16, Family)) {
    let attrs = random_attrs(random, peer, family);
    let many = if random.chance(5) { 40 } else { 6 };
    let reach: BTreeSet<Net> = (0..random.below(many)).map(|_| random_net(random, family)).collect();
    let unreach: BTreeSet<Net> = (0..random.below(4)).map(|_| random_net(random, family)).collect();
    let unreach: Vec<Net> = unreach.difference(&reach).copied().collect();
    let reach: Vec<Net> = reach.into_iter().collect();
    world.update(peer, &attrs, (&reach, &unreach), family);
}

fn one_step(world: &mut World, random: &mut Random) {
    let peer = u16::try_from(random.below(PEERS.into())).unwrap();
    let family = random.pick(&Family::ALL);
    let up = world.remotes[usize::from(peer)].up;
    match random.below(40) {
        0 => world.down(peer, random.pick(&[FamilySet::EMPTY, FamilySet::BOTH])),
        1..4 => {
            let keep = random.pick(&[FamilySet::EMPTY, FamilySet::BOTH, FamilySet::BOTH]);
            world.up(peer, keep);
        }
        4 if up => {
            let remote = world.remote(peer);
            remote.announced.retain(|net, (_, stale)| net.family() != family || !*stale);
            let generation = Generation(remote.generation);
            world.rib.handle(RibInput::EndOfRib { peer: PeerId(peer), generation, family });
        }
        5 => {
            world.remote(peer).announced.retain(|_, (_, stale)| !*stale);
            world.rib.handle(RibInput::SweepStale { peer: PeerId(peer), families: FamilySet::BOTH });
        }
        6 if up => {
            world.rib.handle(RibInput::Refresh { peer: PeerId(peer), family });
        }
        7 => originate(world, random, family),
        8 => {
            let net = random_net(random, family);
            world.originated.remove(&net);
            world.rib.withdraw(net);
        }
        9..14 => {
            let _more = world.work(1 + usize::try_from(random.below(30)).unwrap());
        }
        14..20 => {
            let max = usize::try_from(random.below(600)).unwrap();
            world.transmit(peer, max);
        }
        20 => {
            let mut out = Vec::new();
            world.rib.drain_loc_rib(5, &mut out);
            for change in out {
                match change.paths.is_empty() {
                    true => drop(world.loc_rib.remove(&change.net)),
                    false => drop(world.loc_rib.insert(change.net, change)),
                }
            }
        }
        21..23 => {
            let setup = random_setup(random, world.wanted[usize::from(peer)]);
            world.reconfigure(peer, setup);
        }
        23 if random.chance(4) => {
            let changed = random_config(random, &world.config);
            world.config = changed;
            world.rib.configure(&world.config);
        }
        _ if up => announce(world, random, (peer, family)),
        _ => {}
    }
}

fn random_world(seed: u64, cluster: bool) {
    let mut random = Random(seed * 0x9e37_79b9 + 1);
    let mut world = World::new(seed, cluster);
    for round in 0..12 {
        if round == 10 && seed.is_multiple_of(3) {
            world.draining = true;
            world.rib.drain();
        }
        for _ in 0..60 {
            one_step(&mut world, &mut random);
        }
        world.check(&alloc::format!("seed {seed}, round {round}"));
    }
    for peer in 0..PEERS {
        world.down(peer, FamilySet::EMPTY);
        world.rib.handle(RibInput::SweepStale { peer: PeerId(peer), families: FamilySet::BOTH });
        world.remote(peer).announced.clear();
    }
    for net in core::mem::take(&mut world.originated).into_keys() {
        world.rib.withdraw(net);
    }
    world.settle();
    let _more = world.work(100_000);
    let sizes = world.rib.query().sizes();
    assert_eq!(
        (sizes.prefixes, sizes.attribute_sets, sizes.update_groups),
        ([0, 0], 0, 0),
        "seed {seed}: nothing is left"
    );
}

#[test]
fn every_peer_of_a_reflector_holds_what_the_model_says_whatever_happens() {
    (1..60).for_each(|seed| random_world(seed, true));
}

#[test]
fn every_peer_of_a_plain_speaker_holds_what_the_model_says_whatever_happens() {
    (100..140).for_each(|seed| random_world(seed, false));
}
