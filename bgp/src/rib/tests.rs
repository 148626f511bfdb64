//! The RIB against an obvious model: random announcements, withdrawals, restarts, refreshes, slow readers, other policy
//! and other settings; after each quiet moment every peer must hold what the model says, rebuilt from the very bytes it
//! was given.

mod deferral;
mod limits;
mod model;
mod policy;
mod random;
mod twins;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::Bytes;

use self::policy::Policy;
use super::Rib;
use crate::attrs::encode::{Edits, put_originated};
use crate::attrs::{Attributes, NextHopValue, code};
use crate::config::{Capabilities, Config, NextHop, PeerConfig, PeerKey, RemoteAs, Timers, Transport, Ttl};
use crate::io::{Batch, Change, Generation, More, Origination, PeerId, RibInput, Session, Start};
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

/// What can be changed about a peer while its session lives.
#[derive(Clone, Copy, Debug)]
struct Setup {
    import: Policy,
    export: Policy,
    client: bool,
    next_hop: NextHop,
    allow_own_as: u8,
}

/// Peers 0 and 1 are in other ASes, 2 to 4 clients, 5 and 6 other iBGP peers. The session with 3 runs over IPv6, 1
/// knows 2-octet AS numbers only, 5 takes long messages, and 4 is given our own next hop.
fn setup(peer: u16) -> Setup {
    Setup {
        import: Policy::Open,
        export: Policy::Open,
        client: (2..5).contains(&peer),
        next_hop: if peer == 4 { NextHop::SelfAddress } else { NextHop::Auto },
        allow_own_as: 0,
    }
}

fn session(peer: u16, setup: Setup) -> Session {
    let config = PeerConfig {
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
        client: setup.client,
        next_hop: setup.next_hop,
        allow_own_as: setup.allow_own_as,
        import: Arc::new(setup.import.filter()),
        export: Arc::new(setup.export.filter()),
        max_prefixes: None,
        shutdown: false,
    };
    let n = u8::try_from(peer).unwrap() + 1;
    Session {
        key: PeerKey::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))),
        config: Arc::new(config),
        local: our_address(peer),
        local_as: Asn(OUR_AS),
        remote_as: Asn(if peer < 2 { 65000 + u32::from(peer) } else { OUR_AS }),
        router_id: id(n),
        families: FamilySet::BOTH,
        as4: peer != 1,
        message_max: if peer == 5 { u16::MAX } else { 4096 },
        graceful: FamilySet::BOTH,
    }
}

fn our_address(peer: u16) -> IpAddr {
    if peer == 3 { "fd00::254".parse().unwrap() } else { Ipv4Addr::new(192, 0, 2, 254).into() }
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
    /// As configured, and as the RIB has been told: of a peer that is down it knows the last session's.
    wanted: Vec<Setup>,
    setups: Vec<Setup>,
    config: Config,
    draining: bool,
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
            wanted: (0..PEERS).map(setup).collect(),
            setups: (0..PEERS).map(setup).collect(),
            config: config(cluster),
            draining: false,
            now: 0,
        }
    }

    fn remote(&mut self, peer: u16) -> &mut Remote {
        &mut self.remotes[usize::from(peer)]
    }

    fn up(&mut self, peer: u16, keep_stale: FamilySet) {
        if self.remote(peer).up {
            return;
        }
        let setup = self.wanted[usize::from(peer)];
        self.setups[usize::from(peer)] = setup;
        let session = Arc::new(session(peer, setup));
        let remote = self.remote(peer);
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

    /// Something about a peer is configured otherwise.
    fn reconfigure(&mut self, peer: u16, setup: Setup) {
        self.wanted[usize::from(peer)] = setup;
        if self.remote(peer).up {
            self.setups[usize::from(peer)] = setup;
            let session = Arc::new(session(peer, setup));
            self.rib.handle(RibInput::Reconfigured { peer: PeerId(peer), session });
        }
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
            assert!((23..=bytes.len()).contains(&len) && bytes[18] == 2, "whole UPDATEs");
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
