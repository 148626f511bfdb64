//! The RIB against an obvious model: random announcements, withdrawals, restarts, refreshes and slow readers, and after
//! each quiet moment every peer must hold what the model says, rebuilt from the very bytes it was given.

mod deferral;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::Bytes;

use super::Rib;
use crate::attrs::encode::{Edit, Edits, Reflection, put_originated};
use crate::attrs::{Attributes, NextHopValue, code};
use crate::config::{Capabilities, Config, NextHop, PeerConfig, PeerKey, RemoteAs, Timers, Transport, Ttl};
use crate::io::{Batch, Change, Generation, More, Origination, PeerId, RibInput, Session, Start};
use crate::policy::{Community, Filter};
use crate::status::{RouteQuery, Select, Table};
use crate::wire::{nlri, update};
use crate::{Asn, Family, FamilySet, Net, Net4, Net6, RouterId, Time};

const OUR_AS: u32 = 64512;

/// A small generator: tests must be the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

fn id(n: u8) -> RouterId {
    RouterId::new(Ipv4Addr::new(10, 0, 0, n)).unwrap()
}

fn config(cluster: bool) -> Config {
    Config {
        local_as: Asn(OUR_AS),
        router_id: id(254),
        cluster_id: cluster.then(|| id(254)),
        multipath: 4,
        multipath_relax: true,
        selection_deferral: Duration::from_secs(60),
        peers: BTreeMap::new(),
        dynamic: Vec::new(),
    }
}

fn peer_config(client: bool) -> PeerConfig {
    PeerConfig {
        remote_as: RemoteAs::External,
        local_as: None,
        transport: Transport { port: 179, local: None, passive: false, password: None, ttl: Ttl::Send(1) },
        timers: Timers::default(),
        capabilities: Capabilities {
            families: FamilySet::BOTH,
            route_refresh: true,
            extended_messages: false,
            graceful_restart: None,
        },
        client,
        next_hop: NextHop::Auto,
        allow_own_as: 0,
        import: Arc::new(Filter::accept_all()),
        export: Arc::new(Filter::accept_all()),
        max_prefixes: None,
        shutdown: false,
    }
}

/// Peers 0 and 1 are in other ASes, 2 to 4 clients, 5 and 6 other iBGP peers.
fn session(peer: u16) -> Session {
    let remote_as = if peer < 2 { 65000 + u32::from(peer) } else { OUR_AS };
    let n = u8::try_from(peer).unwrap() + 1;
    let mut config = peer_config((2..5).contains(&peer));
    if peer == 4 {
        config.next_hop = NextHop::SelfAddress;
    }
    Session {
        key: PeerKey::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))),
        config: Arc::new(config),
        local: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
        local_as: Asn(OUR_AS),
        remote_as: Asn(remote_as),
        router_id: id(n),
        families: FamilySet::BOTH,
        as4: true,
        message_max: 4096,
        graceful: FamilySet::BOTH,
    }
}

const PEERS: u16 = 7;

/// What a peer holds of us: next hop octets and the rest of the attributes.
type Held = BTreeMap<Net, (Vec<u8>, Vec<u8>)>;

#[derive(Default)]
struct Remote {
    up: bool,
    generation: u32,
    held: Held,
    end_of_rib: BTreeSet<Family>,
    /// What it announced, as canonical blocks; the flag is set while it is stale.
    announced: BTreeMap<Net, (Vec<u8>, bool)>,
}

struct World {
    rib: Rib,
    remotes: Vec<Remote>,
    originated: BTreeMap<Net, Vec<u8>>,
    loc_rib: BTreeMap<Net, Change>,
    sessions: Vec<Session>,
    cluster: bool,
    now: u64,
}

fn block(path: &[u32], edit: impl Fn(&mut Edits<'_>), route: &Origination, v6: bool) -> Vec<u8> {
    let hop = route
        .next_hop
        .map_or(if v6 { NextHopValue::V6([0; 16]) } else { NextHopValue::V4([0; 4]) }, NextHopValue::from);
    let mut plain = Vec::new();
    put_originated(hop, route, &mut plain);
    let path: Vec<Asn> = path.iter().copied().map(Asn).collect();
    let mut edits = Edits { prepend: &path, ..Edits::default() };
    edit(&mut edits);
    let mut out = Vec::new();
    edits.apply(&plain, &mut out);
    out
}

fn route(next_hop: Option<IpAddr>) -> Origination {
    Origination { next_hop, med: None, local_pref: None, communities: vec![], large_communities: vec![] }
}

impl World {
    fn new(seed: u64, cluster: bool) -> Self {
        Self {
            rib: Rib::new(&config(cluster), Start::First, seed, Time(0)),
            remotes: (0..PEERS).map(|_| Remote::default()).collect(),
            originated: BTreeMap::new(),
            loc_rib: BTreeMap::new(),
            sessions: (0..PEERS).map(session).collect(),
            cluster,
            now: 0,
        }
    }

    fn remote(&mut self, peer: u16) -> &mut Remote {
        &mut self.remotes[usize::from(peer)]
    }

    fn up(&mut self, peer: u16, keep_stale: FamilySet) {
        let session = Arc::new(self.sessions[usize::from(peer)].clone());
        let remote = self.remote(peer);
        if remote.up {
            return;
        }
        remote.up = true;
        remote.generation += 1;
        remote.held.clear();
        remote.end_of_rib.clear();
        remote.announced.retain(|net, _| keep_stale.contains(net.family()));
        let generation = Generation(remote.generation);
        self.rib.handle(RibInput::Up { peer: PeerId(peer), generation, session, keep_stale });
    }

    fn down(&mut self, peer: u16, keep: FamilySet) {
        let remote = self.remote(peer);
        if !remote.up {
            return;
        }
        remote.up = false;
        remote.announced.retain(|net, _| keep.contains(net.family()));
        remote.announced.values_mut().for_each(|(_, stale)| *stale = true);
        self.rib.handle(RibInput::Down { peer: PeerId(peer), keep });
    }

    fn update(&mut self, peer: u16, attrs: &[u8], (reach, unreach): (&[Net], &[Net]), family: Family) {
        let remote = self.remote(peer);
        let generation = Generation(remote.generation);
        for net in unreach {
            remote.announced.remove(net);
        }
        for net in reach {
            remote.announced.insert(*net, (attrs.to_vec(), false));
        }
        let batch = Batch {
            peer: PeerId(peer),
            generation,
            family,
            attrs: Bytes::copy_from_slice(if reach.is_empty() { &[] } else { attrs }),
            reach: octets(reach).into(),
            unreach: octets(unreach).into(),
        };
        self.rib.handle(RibInput::Update(batch));
    }

    fn work(&mut self, budget: usize) -> More {
        self.now += 1;
        self.rib.work(budget, Time(self.now * 100_000_000))
    }

    fn transmit(&mut self, peer: u16, max: usize) -> bool {
        let mut out = Vec::new();
        self.rib.transmit(PeerId(peer), max, &mut out);
        if !self.remotes[usize::from(peer)].up {
            return false;
        }
        let whole: Vec<u8> = out.iter().flatten().copied().collect();
        self.remote(peer).take(&whole);
        !out.is_empty()
    }

    fn settle(&mut self) {
        loop {
            let more = self.work(1000);
            let mut sent = false;
            for peer in 0..PEERS {
                while self.transmit(peer, 3000) {
                    sent = true;
                }
            }
            let mut changes = Vec::new();
            self.rib.drain_loc_rib(10_000, &mut changes);
            sent |= !changes.is_empty();
            for change in changes {
                if change.paths.is_empty() {
                    self.loc_rib.remove(&change.net);
                } else {
                    self.loc_rib.insert(change.net, change);
                }
            }
            while self.rib.poll().is_some() {}
            if more == More::No && !sent {
                return;
            }
        }
    }
}

fn octets(nets: &[Net]) -> Vec<u8> {
    let mut out = Vec::new();
    for net in nets {
        match net {
            Net::V4(n) => nlri::put(*n, &mut out),
            Net::V6(n) => nlri::put(*n, &mut out),
        }
    }
    out
}

fn nets(family: Family, bytes: &[u8]) -> Vec<Net> {
    match family {
        Family::Ipv4Unicast => nlri::prefixes::<Net4>(bytes).map(Net::V4).collect(),
        Family::Ipv6Unicast => nlri::prefixes::<Net6>(bytes).map(Net::V6).collect(),
    }
}

impl Remote {
    /// Reads UPDATEs as a peer would.
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            assert!((23..=4096).contains(&len) && bytes[18] == 2, "whole UPDATEs");
            self.update(&bytes[19..len]);
            bytes = &bytes[len..];
        }
    }

    fn update(&mut self, body: &[u8]) {
        let fields = update::split(body).unwrap();
        let (withdrawn, reach) = (&body[fields.withdrawn], &body[fields.nlri]);
        let attributes = Attributes::new(&body[fields.attributes]);
        for net in nets(Family::Ipv4Unicast, withdrawn) {
            self.held.remove(&net);
        }
        let (mut hop, mut rest, mut v6) = (Vec::new(), Vec::new(), Vec::new());
        for a in attributes.iter() {
            match a.code {
                code::MP_REACH_NLRI => {
                    let n = usize::from(a.value[3]);
                    hop = a.value[4..4 + n].to_vec();
                    v6 = nets(Family::Ipv6Unicast, &a.value[5 + n..]);
                }
                code::MP_UNREACH_NLRI => {
                    let gone = nets(Family::Ipv6Unicast, &a.value[3..]);
                    if gone.is_empty() {
                        self.end_of_rib.insert(Family::Ipv6Unicast);
                    }
                    gone.iter().for_each(|net| drop(self.held.remove(net)));
                }
                code::NEXT_HOP => hop = a.value.to_vec(),
                _ => {
                    rest.push(a.code);
                    rest.extend_from_slice(a.value);
                }
            }
        }
        if body.len() == 4 {
            self.end_of_rib.insert(Family::Ipv4Unicast);
        }
        for net in nets(Family::Ipv4Unicast, reach).into_iter().chain(v6) {
            self.held.insert(net, (hop.clone(), rest.clone()));
        }
    }
}

/// The obvious model.
impl World {
    /// Usable paths to a prefix: whose, and with what.
    fn candidates(&self, net: Net) -> Vec<(Option<u16>, &[u8])> {
        let own = self.originated.get(&net).map(|b| (None, &b[..]));
        let theirs = self.remotes.iter().zip(0..).filter_map(|(r, peer)| {
            let (block, _) = r.announced.get(&net)?;
            let route = Attributes::new(block);
            let loops = route.as_path().iter().any(|a| a.0 == OUR_AS)
                || self.cluster && route.cluster_list().any(|c| c == id(254).get())
                || route.originator_id() == Some(id(254));
            (!loops).then_some((Some(peer), &block[..]))
        });
        own.into_iter().chain(theirs).collect()
    }

    /// What must be equal among the best: everything before the tie-breaks. MED is left out of random worlds (it is
    /// never sent there) so that this is an order.
    fn rank(peer: Option<u16>, block: &[u8]) -> impl Ord + use<> {
        let route = Attributes::new(block);
        let external = peer.is_some_and(|p| p < 2);
        let pref = route.local_pref().unwrap_or(100);
        (core::cmp::Reverse(pref), peer.is_some(), route.as_path().hops(), route.origin(), !external)
    }

    fn expected(&self, to: u16, best: &BTreeMap<Net, Option<u16>>) -> Held {
        let mut held = Held::new();
        for (net, from) in best {
            let candidates = self.candidates(*net);
            let block = candidates.iter().find(|(p, _)| p == from).unwrap().1;
            if *from == Some(to) {
                continue;
            }
            let route = Attributes::new(block);
            let (out, into) = (to < 2, from.is_some_and(|f| f >= 2));
            let client = |p: u16| (2..5).contains(&p);
            if into && !out && !(self.cluster && (client(to) || from.is_some_and(client))) {
                continue;
            }
            if out && route.communities().any(|c| c == Community::NO_EXPORT) {
                continue;
            }
            let own_hop =
                route.next_hop().unwrap().address().is_unspecified() || out && from.is_some() || to == 4;
            if own_hop && net.family() == Family::Ipv6Unicast {
                continue; // sessions run over IPv4 here
            }
            let prepend: &[Asn] = if out { &[Asn(OUR_AS)] } else { &[] };
            let edits = Edits {
                prepend,
                next_hop: own_hop.then_some(NextHopValue::V4([192, 0, 2, 254])),
                local_pref: if out { Edit::Drop } else { Edit::Set(route.local_pref().unwrap_or(100)) },
                reflection: match from {
                    _ if out => Reflection::Drop,
                    Some(f) if into => Reflection::Reflect {
                        originator: id(u8::try_from(*f).unwrap() + 1),
                        cluster: id(254),
                    },
                    _ => Reflection::Keep,
                },
                ..Edits::default()
            };
            let mut block = Vec::new();
            edits.apply(route.bytes(), &mut block);
            let mut rest = Vec::new();
            for a in Attributes::new(&block).iter().filter(|a| a.code != code::NEXT_HOP) {
                rest.push(a.code);
                rest.extend_from_slice(a.value);
            }
            let hop = Attributes::new(&block).next_hop().unwrap();
            held.insert(*net, (hop.octets().to_vec(), rest));
        }
        held
    }

    fn check(&mut self, why: &str) {
        self.settle();
        let mut best = BTreeMap::new();
        let all: BTreeSet<Net> = self
            .remotes
            .iter()
            .flat_map(|r| r.announced.keys())
            .chain(self.originated.keys())
            .copied()
            .collect();
        for family in Family::ALL {
            let query =
                RouteQuery { family, table: Table::LocRib, select: Select::All, from: 0, scan: u32::MAX };
            for r in self.rib.query().routes(&query).routes.iter().filter(|r| r.best) {
                let peer = r.peer.map(|k| self.sessions.iter().position(|s| s.key == k).unwrap());
                best.insert(r.net, peer.map(|p| u16::try_from(p).unwrap()));
            }
        }
        for net in &all {
            let candidates = self.candidates(*net);
            let top = candidates.iter().map(|(p, b)| Self::rank(*p, b)).min();
            let chosen = best.get(net).and_then(|p| candidates.iter().find(|(q, _)| q == p));
            assert!(chosen.map(|(p, b)| Self::rank(*p, b)) == top, "{why}: best of {net}");
            let change = self.loc_rib.get(net);
            assert_eq!(change.is_some(), top.is_some(), "{why}: {net} in the journal");
            let Some(change) = change else { continue };
            let equal = candidates.iter().filter(|(p, b)| Some(Self::rank(*p, b)) == top);
            let hops: BTreeSet<IpAddr> =
                equal.map(|(_, b)| Attributes::new(b).next_hop().unwrap().address()).collect();
            let seen: BTreeSet<IpAddr> = change.paths.iter().map(|p| p.next_hop).collect();
            assert_eq!(seen.len(), hops.len().min(4), "{why}: equal paths of {net}");
            assert!(seen.is_subset(&hops));
            for path in &change.paths {
                let peer = path.peer.map(|k| self.sessions.iter().position(|s| s.key == k).unwrap());
                let stale = peer.is_some_and(|p| self.remotes[p].announced[net].1);
                assert_eq!(path.stale, stale, "{why}: {net} stale");
            }
        }
        assert!(best.keys().all(|net| all.contains(net)), "{why}: something is best that nobody announced");
        for peer in (0..PEERS).filter(|p| self.remotes[usize::from(*p)].up) {
            let expected = self.expected(peer, &best);
            let remote = &self.remotes[usize::from(peer)];
            assert_eq!(remote.held, expected, "{why}: what peer {peer} holds");
            assert_eq!(remote.end_of_rib.len(), 2, "{why}: peer {peer} has heard End-of-RIB");
            let rows = self.rib.query().families(PeerId(peer));
            let advertised: u32 = rows.iter().map(|r| r.advertised).sum();
            assert_eq!(advertised as usize, expected.len(), "{why}: advertised to {peer}");
            let received: u32 = rows.iter().map(|r| r.received).sum();
            assert_eq!(received as usize, remote.announced.len(), "{why}: received from {peer}");
        }
    }
}

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
    let hop: IpAddr = if v6 {
        core::net::Ipv6Addr::from(0xfd00 << 112 | u128::from(peer) << 8 | u128::from(n)).into()
    } else {
        Ipv4Addr::new(198, 51, u8::try_from(peer).unwrap(), n).into()
    };
    let mut r = route(Some(hop));
    let external = peer < 2;
    if !external {
        r.local_pref = Some(random.pick(&[100, 100, 200]));
    }
    if random.chance(4) {
        r.communities = vec![Community::NO_EXPORT];
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
        7 => {
            let net = random_net(random, family);
            let mut r = route(None);
            r.local_pref = random.pick(&[None, Some(50), Some(150)]);
            if family == Family::Ipv6Unicast {
                r.next_hop = Some("fd00::fe".parse().unwrap());
            }
            world.originated.insert(net, block(&[], |_| {}, &r, family == Family::Ipv6Unicast));
            world.rib.originate(net, r);
        }
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
        _ if up => {
            let attrs = random_attrs(random, peer, family);
            let many = if random.chance(5) { 40 } else { 6 };
            let reach: BTreeSet<Net> = (0..random.below(many)).map(|_| random_net(random, family)).collect();
            let unreach: BTreeSet<Net> = (0..random.below(4)).map(|_| random_net(random, family)).collect();
            let unreach: Vec<Net> = unreach.difference(&reach).copied().collect();
            let reach: Vec<Net> = reach.into_iter().collect();
            world.update(peer, &attrs, (&reach, &unreach), family);
        }
        _ => {}
    }
}

fn random_world(seed: u64, cluster: bool) {
    let mut random = Random(seed * 0x9e37_79b9 + 1);
    let mut world = World::new(seed, cluster);
    for round in 0..12 {
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
