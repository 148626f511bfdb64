//! Bad input over real sockets: what no speaker should send, to our speaker, by a peer made of bytes.
//!
//! Each case has the answer that its RFC wants, and each leaves the speaker alive and another peer's session as it was:
//! at the end that peer, who was there all the time, hears of a new route on its first and only session.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corduroy_tests::daemons::{Corduroy, Daemon, Neighbour, Router};
use corduroy_tests::wire::{
    End, KEEPALIVE, NOTIFICATION, OPEN, Open, ROUTE_REFRESH, UPDATE, Wire, attribute, attributes, message,
    nlri, update,
};
use corduroy_tests::{Namespace, Topology, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const US: &str = "192.0.2.1";
/// Another AS's.
const STRANGE: (&str, u32) = ("192.0.2.2", 65002);
/// Our AS's.
const OURS: (&str, u32) = ("192.0.2.3", 65000);
/// Looks on.
const WITNESS: (&str, u32) = ("192.0.2.9", 65009);

/// When the bad bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Instead of OPEN.
    First,
    /// After OPEN, instead of KEEPALIVE.
    Opened,
    /// In an Established session.
    Established,
}
use When::{Established, First, Opened};

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    /// This NOTIFICATION, and the end of the connection.
    Notified(u8, u8, Vec<u8>),
    /// The end of the connection without a word.
    Closed,
    /// Nothing: what is sent behind it is taken.
    Stays,
}
use Then::{Closed, Notified, Stays};

struct Case {
    what: &'static str,
    from: (&'static str, u32),
    when: When,
    bytes: Vec<u8>,
    then: Then,
}

fn case(what: &'static str, when: When, bytes: Vec<u8>, then: Then) -> Case {
    Case { what, from: STRANGE, when, bytes, then }
}

fn says(code: u8, subcode: u8, data: &[u8]) -> Then {
    Notified(code, subcode, data.to_vec())
}

/// Our speaker, the peers' namespace, and the witness with its session.
struct Bench {
    us: Corduroy,
    peers: Namespace,
    witness: Wire,
    _net: Topology,
}

impl Bench {
    fn new(label: &str) -> Self {
        let net = Topology::new(label);
        let [us, peers] = ["us", "peers"].map(|label| net.namespace(label));
        net.link(&us, "eth0", &peers, "eth0");
        us.address("eth0", &format!("{US}/24"));
        let mut router = Router::new(65000, US);
        for (address, asn) in [STRANGE, OURS, WITNESS] {
            peers.address("eth0", &format!("{address}/24"));
            router = router.peer(Neighbour { passive: true, ..Neighbour::new(address, asn) });
        }
        let us = Corduroy::start(&us, router);
        let mut witness = connect(&peers, WITNESS.0);
        witness.establish(&Open::new(WITNESS.1, WITNESS.0), PATIENCE).unwrap();
        Self { us, peers, witness, _net: net }
    }

    /// A connection that is as far as `when` says.
    fn bring(&self, (address, asn): (&str, u32), when: When) -> Wire {
        let mut wire = connect(&self.peers, address);
        let open = Open::new(asn, address);
        match when {
            First => {}
            Opened => {
                wire.send(&open.bytes()).unwrap();
                for kind in [OPEN, KEEPALIVE] {
                    assert_eq!(wire.receive(PATIENCE).unwrap().kind, kind);
                }
            }
            Established => wire.establish(&open, PATIENCE).unwrap(),
        }
        wire
    }

    fn judge(&mut self, case: &Case) {
        let mut wire = self.bring(case.from, case.when);
        wire.send(&case.bytes).unwrap();
        let what = format!("{} ({:?})", case.what, case.when);
        match &case.then {
            Notified(code, subcode, data) => {
                let got = wire.notification(PATIENCE).unwrap_or_else(|end| panic!("{what}: {end:?}"));
                assert_eq!(got, (*code, *subcode, data.clone()), "{what}");
                assert_eq!(
                    wire.receive(PATIENCE),
                    Err(End::Closed),
                    "{what}: what comes after a NOTIFICATION"
                );
            }
            Closed => loop {
                match wire.receive(PATIENCE) {
                    Ok(message) => assert_ne!(message.kind, NOTIFICATION, "{what}: {message:?}"),
                    Err(end) => break assert_eq!(end, End::Closed, "{what}"),
                }
            },
            Stays => self.still_speaks(&mut wire, &what),
        }
        self.us.alive().unwrap_or_else(|why| panic!("{what}: {why}"));
        self.us.established(WITNESS.0.parse().unwrap()).unwrap_or_else(|why| panic!("{what}: {why}"));
        drop(wire);
        self.settled(case.from.0);
    }

    /// A route that is sent behind what came before arrives.
    fn still_speaks(&self, wire: &mut Wire, what: &str) {
        let good = attributes(&[STRANGE.1], "192.0.2.2".parse().unwrap());
        wire.send(&update(&[], &good, &nlri("10.99.0.0/16"))).unwrap();
        eventually(PATIENCE, || {
            self.us.established(STRANGE.0.parse().unwrap()).map_err(|why| format!("{what}: {why}"))?;
            self.us.learned()?.remove("10.99.0.0/16").ok_or_else(|| format!("{what}: no route"))
        });
    }

    /// The speaker has seen the end of the connection, so that the next is no collision.
    fn settled(&self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        eventually(PATIENCE, || {
            let peers = self.us.peers()?;
            let session = peers.into_iter().map(|p| p.session).find(|s| s.key.address == address).unwrap();
            if session.remote.is_none() { Ok(()) } else { Err(format!("{} is {}", address, session.state)) }
        });
    }

    /// The witness has had one session all the time, and it works.
    fn end(mut self) {
        let address: IpAddr = WITNESS.0.parse().unwrap();
        let peers = self.us.peers().unwrap();
        let witness = peers.iter().find(|p| p.session.key.address == address).unwrap();
        assert_eq!(witness.session.established, 1);
        self.us.announce("203.0.113.0/24");
        loop {
            let next = self.witness.receive(PATIENCE).unwrap();
            assert_ne!(next.kind, NOTIFICATION, "{next:?}");
            if next.kind == UPDATE && next.body.ends_with(&nlri("203.0.113.0/24")) {
                return;
            }
        }
    }
}

fn connect(namespace: &Namespace, from: &str) -> Wire {
    let remote: SocketAddr = format!("{US}:179").parse().unwrap();
    eventually(PATIENCE, || {
        Wire::connect(namespace, from.parse().unwrap(), remote).map_err(|e| e.to_string())
    })
}

/// A message with this length in its header, whatever its body is.
fn of_length(kind: u8, body: &[u8], len: u16) -> Vec<u8> {
    let mut bytes = message(kind, body);
    bytes[16..18].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// RFC 4271 §6.1.
fn headers() -> Vec<Case> {
    let mut no_marker = message(KEEPALIVE, &[]);
    no_marker[7] = 0;
    vec![
        case("a marker that is none", First, no_marker, says(1, 1, &[])),
        case("garbage", First, vec![0xa5; 512], says(1, 1, &[])),
        case("a length below a header's", First, of_length(KEEPALIVE, &[], 18), says(1, 2, &[0, 18])),
        case("a length above 4,096", First, of_length(OPEN, &[0; 10], 4097), says(1, 2, &[0x10, 1])),
        case("a short OPEN", First, of_length(OPEN, &[4; 9], 28), says(1, 2, &[0, 28])),
        case("a short UPDATE", Established, of_length(UPDATE, &[0; 3], 22), says(1, 2, &[0, 22])),
        case("a short NOTIFICATION", Established, of_length(NOTIFICATION, &[6], 20), says(1, 2, &[0, 20])),
        case("a KEEPALIVE with a body", Established, message(KEEPALIVE, &[0]), says(1, 2, &[0, 20])),
        case("type 0", Established, message(0, &[]), says(1, 3, &[0])),
        case("type 6", Established, message(6, &[]), says(1, 3, &[6])),
        case("type 255", First, message(255, &[1, 2, 3]), says(1, 3, &[255])),
    ]
}

/// RFC 4271 §6.2, RFC 5492 §5, RFC 6286 §2.2.
fn opens() -> Vec<Case> {
    let open = || Open::new(STRANGE.1, STRANGE.0);
    let of = |what, open: Open, then| case(what, First, open.bytes(), then);
    // The body as Open writes it ends with one parameter: its length is octet 28, its own type and length follow.
    let spoilt = |at: usize, value: u8| {
        let mut bytes = open().bytes();
        bytes[at] = value;
        bytes
    };
    let capabilities = |list: Vec<(u8, Vec<u8>)>| Open { capabilities: list, ..open() };
    let as4 = || (65, STRANGE.1.to_be_bytes().to_vec());
    vec![
        of("version 3", Open { version: 3, ..open() }, says(2, 1, &[0, 4])),
        of("version 5", Open { version: 5, ..open() }, says(2, 1, &[0, 4])),
        of("another AS", Open::new(65003, STRANGE.0), says(2, 2, &[])),
        of("AS 0", Open::new(0, STRANGE.0), says(2, 2, &[])),
        of("our own AS", Open::new(65000, STRANGE.0), says(2, 2, &[])),
        of("identifier 0.0.0.0", Open::new(STRANGE.1, "0.0.0.0"), says(2, 3, &[])),
        Case { from: OURS, ..of("our own identifier inside our AS", Open::new(OURS.1, US), says(2, 3, &[])) },
        of("hold time 1", Open { hold: 1, ..open() }, says(2, 6, &[])),
        of("hold time 2", Open { hold: 2, ..open() }, says(2, 6, &[])),
        case("parameters beyond the message", First, spoilt(28, 255), says(2, 0, &[])),
        case("parameters that end before the message", First, spoilt(28, 0), says(2, 0, &[])),
        case("parameter type 1 (authentication)", First, spoilt(29, 1), says(2, 4, &[])),
        case("parameter type 99", First, spoilt(29, 99), says(2, 4, &[])),
        case("a parameter beyond the others", First, spoilt(30, 200), says(2, 0, &[])),
        case("a capability beyond its parameter", First, spoilt(32, 200), says(2, 0, &[])),
        of(
            "a multiprotocol capability of 3 octets",
            capabilities(vec![(1, vec![0, 1, 0]), as4()]),
            says(2, 0, &[]),
        ),
        of("a 4-octet AS of 2 octets", capabilities(vec![(65, vec![0xfd, 0xea])]), says(2, 0, &[])),
        of("AS 0 in 4 octets", capabilities(vec![(65, vec![0; 4])]), says(2, 2, &[])),
        of(
            "no family of ours",
            capabilities(vec![(1, vec![0, 25, 0, 65]), as4()]),
            says(2, 7, &[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1]),
        ),
    ]
}

/// RFC 4271 §6.6, RFC 6608.
fn states() -> Vec<Case> {
    let refresh = message(ROUTE_REFRESH, &[0, 1, 0, 1]);
    let open = Open::new(STRANGE.1, STRANGE.0).bytes();
    vec![
        case("a KEEPALIVE", First, message(KEEPALIVE, &[]), says(5, 1, &[])),
        case("an UPDATE", First, update(&[], &[], &[]), says(5, 1, &[])),
        case("a ROUTE-REFRESH", First, refresh.clone(), says(5, 1, &[])),
        case("an UPDATE", Opened, update(&[], &[], &[]), says(5, 2, &[])),
        case("a ROUTE-REFRESH", Opened, refresh, says(5, 2, &[])),
        case("a second OPEN", Opened, open.clone(), says(5, 2, &[])),
        case("a second OPEN", Established, open, says(5, 3, &[])),
    ]
}

/// RFC 4271 §6.4: a NOTIFICATION is never answered. RFC 7313 §5.
fn notifications_and_refreshes() -> Vec<Case> {
    let short = message(ROUTE_REFRESH, &[0, 1, 0]);
    let long = message(ROUTE_REFRESH, &[0, 1, 0, 1, 0]);
    vec![
        case("Cease", First, message(NOTIFICATION, &[6, 2]), Closed),
        case("Cease", Opened, message(NOTIFICATION, &[6, 4]), Closed),
        case("a text that is not UTF-8", Established, message(NOTIFICATION, &[6, 2, 2, 0xff, 0xfe]), Closed),
        case(
            "a text longer than its message",
            Established,
            message(NOTIFICATION, &[6, 2, 200, b'x']),
            Closed,
        ),
        case("an unknown code", Established, message(NOTIFICATION, &[99, 77, 1, 2, 3]), Closed),
        case("a refresh of 22 octets", Established, short.clone(), says(7, 1, &short)),
        case("a refresh of 24 octets", Established, long.clone(), says(7, 1, &long)),
        case("a refresh of a family not in use", Established, message(ROUTE_REFRESH, &[0, 25, 0, 65]), Stays),
        case("a refresh of an unknown subtype", Established, message(ROUTE_REFRESH, &[0, 1, 9, 1]), Stays),
    ]
}

/// RFC 4271 §6.3 as RFC 7606 leaves it: what ends a session.
fn updates() -> Vec<Case> {
    let good = || attributes(&[STRANGE.1], "192.0.2.2".parse().unwrap());
    let prefix = || nlri("10.0.0.0/16");
    let of = |what, bytes, then| case(what, Established, bytes, then);
    let well_known = attribute(0x40, 99, &[1]);
    let reach = |value: &[u8]| attribute(0x80, 14, value);
    let (cut, spoilt) = (reach(&[0, 2, 1, 16]), reach(&[0, 2, 1, 3, 1, 2, 3, 0]));
    let unreach = attribute(0x80, 15, &[0, 2]);
    let origin = attribute(0x40, 1, &[7]);
    vec![
        of("withdrawn routes beyond the message", message(UPDATE, &[0, 9, 0, 0]), says(3, 1, &[])),
        of("attributes beyond the message", message(UPDATE, &[0, 0, 0, 9, 0]), says(3, 1, &[])),
        of("a withdrawn prefix of 33 bits", update(&[33, 10, 0, 0, 0, 0], &[], &[]), says(3, 10, &[])),
        of("a prefix of 33 bits", update(&[], &good(), &[33, 10, 0, 0, 0, 0]), says(3, 10, &[])),
        of("a prefix cut short", update(&[], &good(), &[24, 10, 0]), says(3, 10, &[])),
        of(
            "an unknown well-known attribute",
            update(&[], &[good(), well_known.clone()].concat(), &prefix()),
            says(3, 2, &well_known),
        ),
        of(
            "two MP_REACH_NLRI",
            update(&[], &[good(), cut.clone(), cut.clone()].concat(), &[]),
            says(3, 9, &cut),
        ),
        of(
            "MP_REACH_NLRI without NLRI",
            update(&[], &[good(), spoilt.clone()].concat(), &[]),
            says(3, 9, &spoilt),
        ),
        of("MP_UNREACH_NLRI of 2 octets", update(&[], &unreach, &[]), says(3, 9, &unreach)),
        of("a bad ORIGIN and nothing to withdraw", update(&[], &origin, &[]), says(3, 6, &origin)),
    ]
}

#[test]
fn every_malformed_message_is_answered_as_its_rfc_wants_and_harms_nobody_else() {
    let mut bench = Bench::new("bad-input");
    let all = [headers(), opens(), states(), notifications_and_refreshes(), updates()];
    for case in all.iter().flatten() {
        bench.judge(case);
    }
    let log = bench.us.notices();
    for wanted in ["192.0.2.2", "Bad Peer AS", "Bad BGP Identifier", "Unacceptable Hold Time"] {
        assert!(log.contains(wanted), "the log does not say {wanted:?}:\n{log}");
    }
    bench.end();
}

#[test]
fn malformed_attributes_cost_their_routes_or_themselves_and_not_the_session() {
    let bench = Bench::new("bad-attrs");
    let mut wire = bench.bring(STRANGE, Established);
    let good = attributes(&[STRANGE.1], "192.0.2.2".parse().unwrap());
    let communities = attribute(0xc0, 8, &[0xfd, 0xea, 0, 1]);
    let announce = |attributes: &[u8], prefix: &str| update(&[], attributes, &nlri(prefix));
    let with = |bad: &[u8]| [&good[..], bad].concat();
    // Treat-as-withdraw (RFC 7606 §2): what was there goes, and what was not there does not come.
    for (prefix, bad) in [
        ("10.1.0.0/16", with(&attribute(0xc0, 8, &[1, 2, 3]))),
        ("10.2.0.0/16", with(&attribute(0x40, 4, &[0, 0, 0, 1]))),
        ("10.3.0.0/16", attributes(&[65003], "192.0.2.2".parse().unwrap())),
        ("10.4.0.0/16", attributes(&[STRANGE.1], "127.0.0.1".parse().unwrap())),
        ("10.5.0.0/16", attribute(0x40, 1, &[0])),
        ("10.6.0.0/16", with(&[0xc0, 8, 200, 0])),
    ] {
        wire.send(&announce(&good, prefix)).unwrap();
        eventually(PATIENCE, || {
            bench
                .us
                .learned()?
                .contains_key(prefix)
                .then_some(())
                .ok_or_else(|| format!("{prefix} is not there"))
        });
        wire.send(&announce(&bad, prefix)).unwrap();
        eventually(PATIENCE, || match bench.us.learned()?.contains_key(prefix) {
            true => Err(format!("{prefix} is still there")),
            false => Ok(()),
        });
    }
    // Attribute discard: the route comes without it, and with the others.
    for (prefix, bad) in [
        ("10.7.0.0/16", attribute(0x40, 6, &[1])),
        ("10.8.0.0/16", attribute(0xc0, 7, &[1, 2, 3])),
        ("10.9.0.0/16", attribute(0x40, 5, &[0, 0, 0, 7])),
        ("10.10.0.0/16", attribute(0x80, 9, &[1, 2])),
    ] {
        wire.send(&announce(&[&with(&bad)[..], &communities].concat(), prefix)).unwrap();
        let learned = eventually(PATIENCE, || {
            bench.us.learned()?.remove(prefix).ok_or_else(|| format!("{prefix} is not there"))
        });
        assert_eq!(learned.communities, [(65002, 1)], "{prefix}");
        assert_eq!((learned.local_pref, learned.originator), (None, None), "{prefix}");
    }
    bench.still_speaks(&mut wire, "after all of it");
    let log = bench.us.notices();
    assert!(log.contains("COMMUNITIES") && log.contains("192.0.2.2"), "{log}");
    bench.us.established(STRANGE.0.parse().unwrap()).unwrap();
    bench.end();
}
