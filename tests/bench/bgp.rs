//! The BGP scenarios: prefixes in, prefixes out, and what that costs the speaker's process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use corduroy_tests::daemons::{Bird, Frr, Neighbour, Router};
use corduroy_tests::process::{self, Process};
use corduroy_tests::wire::{Open, Wire};
use corduroy_tests::{Namespace, Topology, wait_for};

use crate::load::{Sink, attributes, send, shuffled, updates};
use crate::report::{Figure, Unit};
use crate::usage::{cpu, peak};

const PATIENCE: Duration = Duration::from_secs(120);
const SPEAKER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OUR_AS: u32 = 65_000;

/// Two eBGP peers, 200,000 prefixes from one to the other.
pub fn one(contender: &str) -> Vec<Figure> {
    const PREFIXES: u32 = 200_000;
    let peers = [65_001, 65_002];
    let rig = Rig::new(contender, &peers, false);
    let [sender, receiver] = &rig.sessions[..] else { panic!("two sessions were asked for") };
    let own = client(0);
    let bytes = updates(&shuffled(PREFIXES), 10, |set| attributes(peers.first().copied(), own, set));
    let mut sink = Sink::new(vec![clone(receiver)], PREFIXES, |_| PREFIXES).unwrap_or_else(|e| panic!("{e}"));
    rig.measure(&mut sink, vec![(clone(sender), bytes)])
}

/// 150 clients of a reflector, each with its share of 50,000 prefixes; each gets all the others'.
pub fn rr150(contender: &str) -> Vec<Figure> {
    const CLIENTS: u32 = 150;
    const PREFIXES: u32 = 50_000;
    let rig = Rig::new(contender, &[OUR_AS; CLIENTS as usize], true);
    let numbers = shuffled(PREFIXES);
    let share = |index: usize| {
        let per = numbers.len().div_ceil(CLIENTS as usize);
        numbers.chunks(per).nth(index).unwrap_or_default()
    };
    let streams: Vec<_> = rig.sessions.iter().map(clone).collect();
    let got = |index: usize| PREFIXES - u32::try_from(share(index).len()).unwrap_or(0);
    let mut sink = Sink::new(streams, PREFIXES, got).unwrap_or_else(|e| panic!("{e}"));
    let loads = rig.sessions.iter().enumerate().map(|(index, stream)| {
        let number = u32::try_from(index).unwrap_or(0);
        // No two clients send the same set.
        let path = |set| attributes(None, client(number), number * 40 + set);
        (clone(stream), updates(share(index), 10, path))
    });
    let loads = loads.collect();
    rig.measure(&mut sink, loads)
}

/// The speaker under test with every session established and idle.
struct Rig {
    speaker: Contender,
    sessions: Vec<TcpStream>,
    _net: Topology,
}

/// A running speaker.
enum Contender {
    Bird(Bird),
    Frr(Frr),
    Ours(Process),
}

impl Rig {
    fn new(contender: &str, peers: &[u32], clients: bool) -> Self {
        let net = Topology::new("bench");
        let [dut, load] = ["speaker", "load"].map(|label| net.namespace(label));
        net.link(&dut, "eth0", &load, "eth0");
        dut.address("eth0", &format!("{SPEAKER_ADDRESS}/16"));
        let mut router = Router::new(OUR_AS, "10.0.0.1");
        for (n, asn) in (0..).zip(peers) {
            let address = client(n);
            load.address("eth0", &format!("{address}/16"));
            let neighbour = Neighbour::one_family(&address.to_string(), *asn);
            router = router.peer(Neighbour { passive: true, client: clients, ..neighbour });
        }
        let speaker = start(contender, &dut, router);
        let sessions = (0..).zip(peers).map(|(n, asn)| establish(&load, n, *asn));
        Self { speaker, sessions: sessions.collect(), _net: net }
    }

    /// Sends everything, waits until the sink has everything.
    fn measure(&self, sink: &mut Sink, loads: Vec<(TcpStream, Vec<u8>)>) -> Vec<Figure> {
        let pid = self.speaker.id();
        let before = cpu(pid);
        let start = Instant::now();
        let senders: Vec<_> = loads.into_iter().map(|(stream, bytes)| send(stream, bytes)).collect();
        let done = sink.drain(PATIENCE);
        let sent: Result<Vec<()>, String> = senders
            .into_iter()
            .map(|sender| sender.join().unwrap_or_else(|_| Err("the sender panicked".to_owned())))
            .collect();
        let end = sent.and(done).unwrap_or_else(|why| panic!("{why}\n{}", corduroy_tests::process::logs()));
        vec![
            Figure::new("wall", Unit::Seconds, (end - start).as_secs_f64()),
            Figure::new("CPU", Unit::Seconds, cpu(pid) - before),
            Figure::new("peak memory", Unit::Mebibytes, peak(pid)),
        ]
    }
}

impl Contender {
    fn id(&self) -> u32 {
        match self {
            Self::Bird(bird) => bird.id(),
            Self::Frr(frr) => frr.id(),
            Self::Ours(process) => process.id(),
        }
    }
}

fn start(contender: &str, dut: &Namespace, router: Router) -> Contender {
    match contender {
        "bird" => Contender::Bird(Bird::start(dut, Router { quiet: true, ..router })),
        "frr" => Contender::Frr(Frr::start(dut, Router { quiet: true, ..router })),
        _ => Contender::Ours(reflector(dut, &router)),
    }
}

/// Our reflector, as users run it: the binary, with a configuration file.
fn reflector(dut: &Namespace, router: &Router) -> Process {
    let dir = dut.dir();
    let head = format!(
        "asNumber: {}\nrouterID: {}\nstatusSocket: {}\nrunDir: {}\nclients:\n",
        router.asn,
        router.id,
        dir.join("status.sock").display(),
        dir.join("run").display()
    );
    let text = router.neighbours.iter().fold(head, |text, peer| text + &entry(router, peer));
    let file = dir.join("routereflector.yaml");
    std::fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut command = Command::new(process::binary("corduroy-routereflector"));
    command.arg("--config").arg(file).env("RUST_LOG", "warn");
    Process::spawn(dut, "corduroy-routereflector", command)
}

/// An entry of `clients`. A peer in another AS takes and gives nothing unless it is said what (RFC 8212).
fn entry(router: &Router, peer: &Neighbour) -> String {
    let open = "accept: [0.0.0.0/0], announce: [0.0.0.0/0], ";
    format!(
        "- {{address: {}, asNumber: {}, {}families: [ipv4-unicast], passive: true}}\n",
        peer.address,
        peer.asn,
        if peer.asn == router.asn { "" } else { open }
    )
}

/// The address of peer `n`.
fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 1, 1)) + n)
}

fn establish(load: &Namespace, n: u32, asn: u32) -> TcpStream {
    let local = client(n);
    let mut open = Open::new(asn, &local.to_string());
    open.hold = 240;
    open.capabilities.retain(|(code, value)| *code != 1 || value == &[0, 1, 0, 1]);
    let remote = SocketAddr::from((SPEAKER_ADDRESS, 179));
    let session = wait_for(PATIENCE, || {
        let wire = Wire::connect(load, IpAddr::from(local), remote);
        let mut wire = wire.map_err(|e| e.to_string())?;
        wire.establish(&open, Duration::from_secs(5))?;
        Ok(clone(wire.stream()))
    });
    session.unwrap_or_else(|why| panic!("{local}: {why}\n{}", corduroy_tests::process::logs()))
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().unwrap_or_else(|e| panic!("a socket can't be shared: {e}"))
}
