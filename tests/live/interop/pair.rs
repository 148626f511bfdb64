//! Our speaker and another in network namespaces on one segment, with a session for each family, and a third one where
//! somebody reflects.

use std::net::IpAddr;
use std::time::Duration;

use corduroy_bgp::config::PeerKey;
use corduroy_bgp::status::MessageCounters;
use corduroy_tests::daemons::{Corduroy, Daemon, Marks, Neighbour, Router, holds_exactly};
use corduroy_tests::{Namespace, Topology, eventually};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const OUR_AS: u32 = 65_001;
/// Needs four octets.
pub(super) const THEIR_AS: u32 = 4_200_000_002;
pub(super) const OURS: [&str; 2] = ["10.1.0.0/16", "2001:db8:1::/48"];
pub(super) const THEIRS: [&str; 2] = ["10.2.0.0/16", "2001:db8:2::/48"];
pub(super) const THIRD: [&str; 2] = ["10.3.0.0/16", "2001:db8:3::/48"];
pub(super) const MARKS: Marks =
    Marks { med: 50, local_pref: 300, community: (65_001, 7), large_community: [65_001, 1, 2] };

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Addresses of host `n`.
fn v4(n: u8) -> String {
    format!("192.0.2.{n}")
}

fn v6(n: u8) -> String {
    format!("2001:db8::{n}")
}

/// Who passes on what its clients say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reflector {
    #[default]
    Nobody,
    We,
    It,
}

/// What a test wants of the sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) md5: bool,
    pub(super) ttl_security: bool,
    pub(super) graceful: bool,
    /// iBGP; of itself where somebody reflects.
    pub(super) internal: bool,
    pub(super) marked: bool,
    pub(super) reflector: Reflector,
}

/// Ours is host 1, the other host 2; host 3 is a second one of ours, where somebody reflects.
pub(super) struct Pair<D> {
    pub(super) ours: Corduroy,
    pub(super) other: D,
    pub(super) third: Option<Corduroy>,
    pub(super) hosts: [Namespace; 3],
    _net: Topology,
}

impl<D: Daemon> Pair<D> {
    pub(super) fn new(wish: Wish, start: impl FnOnce(&Namespace, Router) -> D) -> Self {
        let net = Topology::new(D::PACKAGE);
        let hosts = ["ours", "other", "third"].map(|label| net.namespace(label));
        let switch = net.namespace("switch");
        net.segment(&switch, "segment", &[(&hosts[0], "eth0"), (&hosts[1], "eth0"), (&hosts[2], "eth0")]);
        for (host, n) in hosts.iter().zip(1..) {
            host.address("eth0", &format!("{}/24", v4(n)));
            host.address("eth0", &format!("{}/64", v6(n)));
        }
        let internal = wish.internal || wish.reflector != Reflector::Nobody;
        let their_as = if internal { OUR_AS } else { THEIR_AS };
        let mut ours = between(Router::new(OUR_AS, "1.1.1.1"), wish, (1, 2), their_as, Reflector::We);
        let mut other = between(Router::new(their_as, "2.2.2.2"), wish, (2, 1), OUR_AS, Reflector::It);
        let mut third = Router::new(OUR_AS, "3.3.3.3");
        match wish.reflector {
            Reflector::Nobody => {}
            Reflector::We => {
                ours = between(ours, wish, (1, 3), OUR_AS, Reflector::We);
                third = between(third, wish, (3, 1), OUR_AS, Reflector::Nobody);
            }
            Reflector::It => {
                other = between(other, wish, (2, 3), OUR_AS, Reflector::It);
                third = between(third, wish, (3, 2), OUR_AS, Reflector::Nobody);
            }
        }
        for n in 0..2 {
            (ours, other) = (ours.announcing(OURS[n]), other.announcing(THEIRS[n]));
            third = third.announcing(THIRD[n]);
        }
        if wish.marked {
            (ours, other) = (ours.marked(MARKS), other.marked(MARKS));
        }
        let ours = Corduroy::start(&hosts[0], ours);
        let other = start(&hosts[1], other);
        let third = (wish.reflector != Reflector::Nobody).then(|| Corduroy::start(&hosts[2], third));
        Self { ours, other, third, hosts, _net: net }
    }

    /// Waits until both sessions are up on both sides.
    pub(super) fn established(&self) {
        for [here, there] in [[v4(1), v4(2)], [v6(1), v6(2)]] {
            eventually(PATIENCE, || self.ours.established(ip(&there)));
            eventually(PATIENCE, || self.other.established(ip(&here)));
        }
    }

    /// Waits until each has what the others say, and no more.
    pub(super) fn complete(&self) {
        let third: &[&str] = if self.third.is_some() { &THIRD } else { &[] };
        eventually(PATIENCE, || holds_exactly(&self.ours, &[&THEIRS, third].concat()));
        eventually(PATIENCE, || holds_exactly(&self.other, &[&OURS, third].concat()));
        if let Some(third) = &self.third {
            eventually(PATIENCE, || holds_exactly(third, &[OURS, THEIRS].concat()));
        }
    }

    /// What went over our IPv4 session.
    pub(super) fn counters(&self) -> MessageCounters {
        let peers = self.ours.peers().unwrap();
        let key = PeerKey::new(ip(&v4(2)));
        peers.iter().find(|peer| peer.session.key == key).unwrap().session.counters
    }
}

/// `router` with the sessions between hosts `own` and `peer`; the peer is its client when `role` is who reflects.
fn between(router: Router, wish: Wish, (own, peer): (u8, u8), asn: u32, role: Reflector) -> Router {
    let session = |own: &str, peer: &str| Neighbour {
        local: Some(ip(own)),
        password: wish.md5.then(|| "corduroy".to_owned()),
        ttl_security: wish.ttl_security,
        graceful_restart: wish.graceful.then_some(120),
        client: role != Reflector::Nobody && role == wish.reflector,
        ..Neighbour::one_family(peer, asn)
    };
    router.peer(session(&v4(own), &v4(peer))).peer(session(&v6(own), &v6(peer)))
}
