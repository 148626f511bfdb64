//! A speaker between one who sends anything and two who only listen: in its AS and outside. The listeners are speakers
//! too, so that whatever is passed on is judged as strictly as what comes in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::event::Event;
use corduroy_bgp::io::{Close, ConnId, Input, More, Output, Start};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::status::{RouteQuery, Select, SessionState, Table};
use corduroy_bgp::{Asn, Family, Net, RouterId, Time};
use corduroy_tests::wire;
use corduroy_tests::world::rng::Rng;

use crate::mutate;

const OUR_AS: u32 = 65000;
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// The listeners: address and AS.
const LISTENERS: [(IpAddr, u32); 2] =
    [(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)), OUR_AS), (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 4)), 65009)];

/// The attacker's connections are the first of many; the listeners' never end.
const FIRST_ATTACK: u32 = 101;

pub(crate) struct Lab {
    us: Speaker,
    listeners: Vec<Speaker>,
    now: Time,
    attacks: u32,
    /// The attacker's connection, until the speaker closes it, and what it was sent on it.
    open: Option<ConnId>,
    heard: Vec<u8>,
}

fn peer(asn: u32) -> Arc<PeerConfig> {
    let mut peer = PeerConfig::new(RemoteAs::Exactly(Asn(asn)));
    peer.transport.passive = true;
    peer.import = Arc::new(Filter::accept_all());
    peer.export = Arc::new(Filter::accept_all());
    peer.timers.hold = Duration::ZERO;
    Arc::new(peer)
}

fn speaker(address: IpAddr, asn: u32, peers: &[(IpAddr, u32)], seed: u64) -> Speaker {
    let IpAddr::V4(id) = address else { panic!("{address} is no router id") };
    let mut config = Config::new(Asn(asn), RouterId::new(id).unwrap());
    config.peers = peers.iter().map(|(address, asn)| (PeerKey::new(*address), peer(*asn))).collect();
    let mut speaker = Speaker::new(config, Start::First, seed, Time(0));
    speaker.handle(Input::OriginationComplete, Time(0));
    speaker
}

/// The connection between us and the `n`th listener, as both call it.
fn conn(n: usize) -> ConnId {
    ConnId(2 * u32::try_from(n).unwrap() + 1)
}

fn end(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 179)
}

impl Lab {
    pub(crate) fn new(seed: u64) -> Self {
        let peers = [(ATTACKER, mutate::AS), LISTENERS[0], LISTENERS[1]];
        let mut us = speaker(US, OUR_AS, &peers, seed);
        let mut listeners = Vec::new();
        for (n, (address, asn)) in LISTENERS.into_iter().enumerate() {
            let mut listener = speaker(address, asn, &[(US, OUR_AS)], seed);
            // Nobody connects: both are told that the other did.
            let accepted = |remote, local| Input::Accepted {
                conn: conn(n),
                remote: end(remote),
                scope: 0,
                local: end(local),
            };
            us.handle(accepted(address, US), Time(0));
            listener.handle(accepted(US, address), Time(0));
            listeners.push(listener);
        }
        let mut lab = Self { us, listeners, now: Time(0), attacks: 0, open: None, heard: Vec::new() };
        lab.settle();
        lab
    }

    /// One connection of the attacker: an OPEN, mostly good, then anything.
    pub(crate) fn attack(&mut self, rng: &mut Rng) {
        let conn = ConnId(FIRST_ATTACK + 2 * self.attacks);
        self.attacks += 1;
        self.open = Some(conn);
        self.heard.clear();
        self.us.handle(Input::Accepted { conn, remote: end(ATTACKER), scope: 0, local: end(US) }, self.now);
        self.settle();
        let mut open = mutate::open(rng);
        if rng.chance(30) {
            mutate::damage(&mut open, rng);
        }
        self.say(&open, rng);
        self.say(&wire::message(wire::KEEPALIVE, &[]), rng);
        for _ in 0..rng.between(1, 30) {
            self.say(&mutate::message(rng), rng);
        }
        if let Some(conn) = self.open.take() {
            self.us.handle(Input::Closed { conn }, self.now);
        }
        self.settle();
        self.framed();
    }

    fn say(&mut self, bytes: &[u8], rng: &mut Rng) {
        let mut rest = bytes;
        while let (Some(conn), false) = (self.open, rest.is_empty()) {
            let (piece, left) = rest.split_at(rng.between(1, rest.len()));
            self.us.handle(Input::Received { conn, bytes: piece }, self.now);
            rest = left;
            if rng.chance(30) {
                self.settle();
            }
        }
        self.now = self.now + Duration::from_millis(rng.below(3000) as u64);
        self.us.handle_timeout(self.now);
        self.settle();
    }

    /// Lets everybody work and talk until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut quiet = self.us.work(1000, self.now) == More::No;
            for n in 0..LISTENERS.len() {
                let Self { us, listeners, now, .. } = self;
                quiet &= listeners[n].work(1000, *now) == More::No;
                quiet &= !carry(us, &mut listeners[n], conn(n), *now);
                quiet &= !carry(&mut listeners[n], us, conn(n), *now);
                while let Some(output) = listeners[n].poll() {
                    let bad = matches!(output, Output::Close { .. } | Output::Event(Event::Malformed { .. }));
                    assert!(!bad, "to a listener: {output:?}");
                }
            }
            quiet &= !self.answer();
            while let Some(output) = self.us.poll() {
                if let Output::Close { conn, how } = output {
                    assert!(conn.0 >= FIRST_ATTACK, "a listener's connection is closed");
                    if how == Close::Flush {
                        self.hear(conn);
                    }
                    self.open = self.open.filter(|open| *open != conn);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn answer(&mut self) -> bool {
        self.open.is_some_and(|conn| self.hear(conn))
    }

    fn hear(&mut self, conn: ConnId) -> bool {
        let before = self.heard.len();
        let mut out = Vec::new();
        self.us.transmit(conn, usize::MAX, &mut out);
        out.iter().for_each(|bytes| self.heard.extend_from_slice(bytes));
        self.heard.len() > before
    }

    /// The attacker was answered in whole messages, nothing behind a NOTIFICATION.
    fn framed(&self) {
        let mut rest = &self.heard[..];
        let mut last = 0;
        while !rest.is_empty() {
            assert_ne!(last, wire::NOTIFICATION, "{rest:02x?} behind a NOTIFICATION");
            assert!(rest.len() >= wire::HEADER && rest[..16] == [0xff; 16], "{rest:02x?}");
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            last = rest[18];
            rest = rest.get(len..).unwrap_or_else(|| panic!("a message of {len} octets in {rest:02x?}"));
        }
    }

    /// Both listeners have their session, and hold exactly what they were told.
    pub(crate) fn judge(&mut self) {
        for (n, (address, _)) in LISTENERS.into_iter().enumerate() {
            let told = nets(&self.us, Table::AdjRibOut(PeerKey::new(address)));
            let held = nets(&self.listeners[n], Table::AdjRibIn(PeerKey::new(US)));
            assert_eq!(told, held, "listener {address}");
            let peers: BTreeMap<PeerKey, SessionState> =
                self.us.peers().into_iter().map(|p| (p.session.key, p.session.state)).collect();
            assert_eq!(peers.get(&PeerKey::new(address)), Some(&SessionState::Established));
        }
    }
}

fn carry(from: &mut Speaker, to: &mut Speaker, conn: ConnId, now: Time) -> bool {
    let mut said: Vec<Bytes> = Vec::new();
    from.transmit(conn, usize::MAX, &mut said);
    let said = VecDeque::from(said);
    let any = !said.is_empty();
    for bytes in said {
        from.handle(Input::Sent { conn, bytes: bytes.len() }, now);
        to.handle(Input::Received { conn, bytes: &bytes }, now);
    }
    any
}

fn nets(speaker: &Speaker, table: Table) -> BTreeSet<Net> {
    let mut all = BTreeSet::new();
    for family in Family::ALL {
        let mut from = Some(0);
        while let Some(at) = from {
            let page =
                speaker.routes(&RouteQuery { family, table, select: Select::All, from: at, scan: 1000 });
            all.extend(page.routes.iter().map(|route| route.net));
            from = page.next;
        }
    }
    all
}
