//! A speaker with peers around it, fed and read in memory as a driver does it: what `speaker_cost` and the cost gates
//! measure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corduroy_bgp::attrs::NextHopValue;
use corduroy_bgp::attrs::encode::{Edits, put_originated};
use corduroy_bgp::config::{
    Capabilities, Config, NextHop, PeerConfig, PeerKey, RemoteAs, Timers, Transport, Ttl,
};
use corduroy_bgp::io::{Command, ConnId, Input, More, Origination, Output, Start};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::wire::MESSAGE_MAX;
use corduroy_bgp::wire::capability::Offer;
use corduroy_bgp::wire::open::Open;
use corduroy_bgp::wire::update::Form;
use corduroy_bgp::{Asn, Family, FamilySet, RouterId, Time};

const OUR_AS: Asn = Asn(64512);
const FORM: Form = Form { family: Family::Ipv4Unicast, as4: true, message_max: MESSAGE_MAX };
const KEEPALIVE: [u8; 19] =
    [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Prefixes a call of `work` takes, as the socket driver has it.
const SLICE: usize = 2048;
/// Octets a read gives.
const READ: usize = 16 << 10;
const NOW: Time = Time(0);

fn router_id(n: u32) -> RouterId {
    RouterId(NonZeroU32::MIN.saturating_add(0x0a00_0000 + n))
}

fn address(n: u16) -> IpAddr {
    Ipv4Addr::from(0xc612_0000 + u32::from(n)).into()
}

fn asn(n: u16, external: bool) -> Asn {
    if external { Asn(65_000 + u32::from(n)) } else { OUR_AS }
}

fn config(peers: u16, external: bool) -> Config {
    let open = Arc::new(Filter::accept_all());
    let peer = |n| PeerConfig {
        remote_as: RemoteAs::Exactly(asn(n, external)),
        local_as: None,
        transport: Transport { port: 179, local: None, passive: true, password: None, ttl: Ttl::Send(1) },
        timers: Timers::default(),
        capabilities: Capabilities {
            families: FamilySet::EMPTY.with(Family::Ipv4Unicast),
            route_refresh: true,
            extended_messages: false,
            graceful_restart: None,
        },
        client: true,
        next_hop: NextHop::Auto,
        allow_own_as: 0,
        import: open.clone(),
        export: open.clone(),
        max_prefixes: None,
        shutdown: false,
    };
    Config {
        local_as: OUR_AS,
        router_id: router_id(65_535),
        cluster_id: Some(router_id(65_535)),
        multipath: 1,
        multipath_relax: false,
        selection_deferral: Duration::ZERO,
        peers: (0..peers).map(|n| (PeerKey::new(address(n)), Arc::new(peer(n)))).collect(),
        dynamic: Vec::new(),
    }
}

/// What a peer announces: /24s in attribute sets of so many.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) peer: u16,
    pub(crate) external: bool,
    /// The number of the first prefix, a multiple of `per_set`.
    pub(crate) first: u32,
    pub(crate) prefixes: u32,
    pub(crate) per_set: u32,
}

impl Table {
    fn sets(self) -> impl Iterator<Item = (u32, Vec<u8>)> {
        let numbers = self.first..self.first + self.prefixes;
        numbers.clone().step_by(self.per_set as usize).map(move |from| {
            let mut nlri = Vec::new();
            for n in from..(from + self.per_set).min(numbers.end) {
                let [_, a, b, c] = n.to_be_bytes();
                nlri.extend_from_slice(&[24, 1 + a, b, c]);
            }
            (from / self.per_set, nlri)
        })
    }

    /// As UPDATEs.
    pub(crate) fn announced(self) -> Vec<u8> {
        let IpAddr::V4(hop) = address(self.peer) else { return Vec::new() };
        let mut bytes = Vec::new();
        for (set, nlri) in self.sets() {
            let route = Origination {
                next_hop: None,
                med: Some(set),
                local_pref: (!self.external).then_some(100),
                communities: vec![64_512 << 16 | set & 0xffff],
                large_communities: Vec::new(),
            };
            let (mut plain, mut block, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
            put_originated(NextHopValue::V4(hop.octets()), &route, &mut plain);
            let path = [asn(self.peer, self.external), Asn(100 + set % 5000), Asn(200_000 + set)];
            let path = path.get(usize::from(!self.external)..).unwrap_or_default();
            Edits { prepend: path, ..Edits::default() }.apply(&plain, &mut block);
            FORM.put_attributes(&block, &mut attributes);
            FORM.put_reach(&block, &attributes, &nlri, &mut bytes);
        }
        bytes
    }

    /// As withdrawals.
    pub(crate) fn withdrawn(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (_, nlri) in self.sets() {
            FORM.put_unreach(&nlri, &mut bytes);
        }
        bytes
    }
}

/// A speaker, its peers, and what they were told.
pub(crate) struct Run {
    pub(crate) speaker: Speaker,
    conns: BTreeMap<u16, ConnId>,
    out: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) pieces: usize,
}

impl Run {
    /// So many peers, Established and told that there is nothing.
    pub(crate) fn new(peers: u16, external: bool) -> Self {
        let speaker = Speaker::new(config(peers, external), Start::First, 42, NOW);
        let mut run = Self { speaker, conns: BTreeMap::new(), out: Vec::new(), bytes: 0, pieces: 0 };
        run.speaker.handle(Input::OriginationComplete, NOW);
        for n in 0..peers {
            run.establish(n, asn(n, external));
        }
        run.settle();
        (run.bytes, run.pieces) = (0, 0);
        run
    }

    fn establish(&mut self, n: u16, asn: Asn) {
        let conn = ConnId(u32::from(n) * 2 + 1);
        self.conns.insert(n, conn);
        let [remote, local] = [(address(n), 40_000), (OUR_ADDRESS, 179)].map(SocketAddr::from);
        self.speaker.handle(Input::Accepted { conn, remote, scope: 0, local }, NOW);
        let open = Open {
            asn,
            hold_time: Duration::from_secs(90),
            router_id: router_id(n.into()),
            offer: Offer {
                families: FamilySet::EMPTY.with(Family::Ipv4Unicast),
                route_refresh: true,
                as4: Some(asn),
                ..Offer::default()
            },
        };
        self.settle();
        for bytes in [&open.encode()[..], &KEEPALIVE] {
            self.speaker.handle(Input::Received { conn, bytes }, NOW);
        }
        self.settle();
    }

    /// What a peer sends goes through to all the others.
    pub(crate) fn feed(&mut self, peer: u16, bytes: &[u8]) {
        let Some(conn) = self.conns.get(&peer).copied() else { return };
        for bytes in bytes.chunks(READ) {
            self.speaker.handle(Input::Received { conn, bytes }, NOW);
            self.settle();
        }
    }

    /// Everything is sent to a peer again.
    pub(crate) fn refresh(&mut self, peer: u16) {
        let peer = PeerKey::new(address(peer));
        self.speaker.handle(Input::Command { peer, command: Command::RefreshOut }, NOW);
        self.settle();
    }

    fn step(&mut self) -> More {
        let more = self.speaker.work(SLICE, NOW);
        while let Some(output) = self.speaker.poll() {
            match output {
                Output::Writable(conn) => self.write(conn),
                Output::Close { conn, .. } => panic!("the speaker closed {conn:?}"),
                _ => {}
            }
        }
        more
    }

    fn write(&mut self, conn: ConnId) {
        loop {
            self.speaker.transmit(conn, 1 << 16, &mut self.out);
            if self.out.is_empty() {
                return;
            }
            self.pieces += self.out.len();
            let bytes = self.out.drain(..).map(|b| b.len()).sum::<usize>();
            self.bytes += bytes;
            self.speaker.handle(Input::Sent { conn, bytes }, NOW);
        }
    }

    /// Until there is nothing left to do.
    pub(crate) fn settle(&mut self) {
        while self.step() == More::Yes {}
    }
}
