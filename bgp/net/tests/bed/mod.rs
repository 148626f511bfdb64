//! What the tests are done with: routers with a driver each, and raw peers that speak as much BGP as is wanted.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corduroy_bgp::config::{
    Capabilities, Config, NextHop, PeerConfig, PeerKey, RemoteAs, Timers, Transport, Ttl,
};
use corduroy_bgp::io::{Origination, Start, Stop};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::status::SessionState;
use corduroy_bgp::{Asn, FamilySet, Net, RouterId};
use corduroy_bgp_net::{Announcement, Driver, Handle, LocRib, Notice, Report, now};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(60);
/// Prefixes of a flood.
pub(crate) const FLOOD: u32 = 50_000;
/// Of every route: a loopback address, which the sessions run over, is no next hop and refused.
const NEXT_HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Runs a test in a current-thread runtime, drivers and all.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Waits until `holds`, and fails when that takes too long.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        looks.tick().await;
    }
}

/// A speaker behind a driver.
pub(crate) struct Router {
    address: IpAddr,
    listening: SocketAddr,
    config: Config,
    handle: Handle,
    reports: mpsc::Receiver<Report>,
    table: BTreeMap<Net, IpAddr>,
}

impl Router {
    pub(crate) async fn start(address: &str, asn: u32) -> Self {
        Self::start_on((address, 0), asn).await
    }

    pub(crate) async fn start_on((address, port): (&str, u16), asn: u32) -> Self {
        let address: IpAddr = address.parse().unwrap();
        // The AS number tells two routers at one address apart.
        let id = match address {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(_) => asn.into(),
        };
        let config = Config {
            local_as: Asn(asn),
            router_id: RouterId::new(id).unwrap(),
            cluster_id: None,
            multipath: 1,
            multipath_relax: false,
            selection_deferral: Duration::from_secs(60),
            peers: BTreeMap::new(),
            dynamic: Vec::new(),
        };
        let speaker = Speaker::new(config.clone(), Start::First, u64::from(asn), now());
        let listen = [SocketAddr::new(address, port)];
        let (driver, handle, reports) = Driver::new(speaker, &listen, LocRib::Report).unwrap();
        let listening = driver.listening()[0];
        tokio::task::spawn_local(driver.run());
        handle.origination_complete().await.unwrap();
        Self { address, listening, config, handle, reports, table: BTreeMap::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listening.port()
    }

    fn key(&self) -> PeerKey {
        PeerKey::new(self.address)
    }

    /// Peers with `address` from now on, with the changes that `edit` makes.
    pub(crate) async fn peer_with(
        &mut self,
        address: &str,
        port: u16,
        asn: u32,
        edit: impl FnOnce(&mut PeerConfig),
    ) {
        let mut peer = PeerConfig {
            remote_as: RemoteAs::Exactly(Asn(asn)),
            local_as: None,
            transport: Transport {
                port,
                local: Some(self.address),
                passive: false,
                password: None,
                ttl: Ttl::Send(64),
            },
            timers: Timers { connect_retry: Duration::from_millis(200), ..Timers::default() },
            capabilities: Capabilities {
                families: FamilySet::BOTH,
                route_refresh: true,
                extended_messages: false,
                graceful_restart: None,
            },
            client: false,
            next_hop: NextHop::Auto,
            allow_own_as: 0,
            import: Arc::new(Filter::accept_all()),
            export: Arc::new(Filter::accept_all()),
            max_prefixes: None,
            shutdown: false,
        };
        edit(&mut peer);
        self.config.peers.insert(PeerKey::new(address.parse().unwrap()), Arc::new(peer));
        self.handle.configure(self.config.clone()).await.unwrap();
    }

    pub(crate) async fn state_of(&self, other: &Self) -> SessionState {
        self.state(other.key()).await
    }

    pub(crate) async fn state_at(&self, address: &str) -> SessionState {
        self.state(PeerKey::new(address.parse().unwrap())).await
    }

    async fn state(&self, key: PeerKey) -> SessionState {
        let peers = self.handle.peers().await.unwrap();
        peers.iter().find(|p| p.session.key == key).map_or(SessionState::Idle, |p| p.session.state)
    }

    pub(crate) async fn wait_established(&self, address: &str) {
        let up = async || self.state_at(address).await == SessionState::Established;
        eventually(&format!("{address} is Established"), up).await;
    }

    pub(crate) async fn originate(&self, net: &str) {
        self.announce(vec![Announcement::Originate(net.parse().unwrap(), origination(&[]))]).await;
    }

    pub(crate) async fn withdraw(&self, net: &str) {
        self.announce(vec![Announcement::Withdraw(net.parse().unwrap())]).await;
    }

    /// Originates `n` prefixes, none with the attributes of another.
    pub(crate) async fn originate_many(&self, n: u32) {
        let one = |i: u32| Announcement::Originate(nth(i), origination(&[i + 1, 0xfc00_0001, 0xfc00_0002]));
        self.announce((0..n).map(one).collect()).await;
    }

    async fn announce(&self, all: Vec<Announcement>) {
        self.handle.announce(all).await.unwrap();
    }

    /// Waits for a route.
    pub(crate) async fn learns(&mut self, net: &str) {
        let net = net.parse().unwrap();
        self.until(|table| table.get(&net) == Some(&NEXT_HOP)).await;
    }

    pub(crate) async fn learns_many(&mut self, n: u32) {
        let all: BTreeSet<Net> = (0..n).map(nth).collect();
        self.until(|table| all.iter().all(|net| table.contains_key(net))).await;
    }

    pub(crate) async fn forgets(&mut self, net: &str) {
        let net = net.parse().unwrap();
        self.until(|table| !table.contains_key(&net)).await;
    }

    async fn until(&mut self, holds: impl Fn(&BTreeMap<Net, IpAddr>) -> bool) {
        while !holds(&self.table) {
            if let Report::Changes(changes) = self.report().await {
                for change in changes {
                    match change.paths.first() {
                        Some(best) => drop(self.table.insert(change.net, best.next_hop)),
                        None => drop(self.table.remove(&change.net)),
                    }
                }
            }
        }
    }

    /// Waits for a notice and returns its words.
    pub(crate) async fn notice(&mut self, wanted: impl Fn(&Notice) -> bool) -> String {
        loop {
            match self.report().await {
                Report::Notice(notice) if wanted(&notice) => return notice.to_string(),
                Report::Notice(_) | Report::Changes(_) => {}
            }
        }
    }

    async fn report(&mut self) -> Report {
        let report = tokio::time::timeout(DEADLINE, self.reports.recv()).await;
        report.expect("a report comes before the deadline").expect("the driver runs")
    }

    /// Stops; returns when the driver has ended.
    pub(crate) async fn stop(self, how: Stop) {
        self.handle.stop(how).await.unwrap();
    }
}

/// Makes each a peer of the other; `edit` is told which end it edits (0: the first).
pub(crate) async fn configure_both(a: &mut Router, b: &mut Router, edit: impl Fn(&mut PeerConfig, usize)) {
    let (a_at, b_at) = (a.listening, b.listening);
    let (a_as, b_as) = (a.config.local_as.0, b.config.local_as.0);
    a.peer_with(&b_at.ip().to_string(), b_at.port(), b_as, |peer| edit(peer, 0)).await;
    b.peer_with(&a_at.ip().to_string(), a_at.port(), a_as, |peer| edit(peer, 1)).await;
}

/// And waits until they are Established.
pub(crate) async fn introduce(a: &mut Router, b: &mut Router, edit: impl Fn(&mut PeerConfig, usize)) {
    configure_both(a, b, edit).await;
    established(a, b).await;
}

pub(crate) async fn established(a: &Router, b: &Router) {
    a.wait_established(&b.address.to_string()).await;
    b.wait_established(&a.address.to_string()).await;
}

/// A port at which nobody listens.
pub(crate) fn free_port(address: &str) -> u16 {
    std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

fn nth(i: u32) -> Net {
    Net::new(Ipv4Addr::from(0x2000_0000 + (i << 8)).into(), 24).unwrap()
}

fn origination(communities: &[u32]) -> Origination {
    Origination {
        next_hop: Some(NEXT_HOP),
        med: None,
        local_pref: None,
        communities: communities.to_vec(),
        large_communities: Vec::new(),
    }
}

/// Segments that the kernel dropped for a wrong or missing MD5 signature.
pub(crate) fn md5_failures() -> u64 {
    ["TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"].into_iter().map(netstat).sum()
}

/// Segments that the kernel dropped for a TTL below what the socket demands.
pub(crate) fn ttl_drops() -> u64 {
    netstat("TCPMinTTLDrop")
}

fn netstat(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    let pairs = lines.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let value = pairs.into_iter().find(|(n, _)| **n == name).map(|(_, v)| *v);
    value.unwrap_or_else(|| panic!("the kernel has no counter {name}")).parse().unwrap()
}

/// A message as it was on the wire, without its header.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// A peer of bare bytes.
pub(crate) struct Raw {
    stream: TcpStream,
    id: [u8; 4],
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], &len.to_be_bytes()[..], &[kind], body].concat()
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(4, &[])
}

impl Raw {
    pub(crate) async fn connect(from: &str, to: &Router) -> Self {
        Self::open(from, to, None).await
    }

    pub(crate) async fn connect_with_small_buffer(from: &str, to: &Router) -> Self {
        Self::open(from, to, Some(4096)).await
    }

    async fn open(from: &str, to: &Router, buffer: Option<u32>) -> Self {
        let from: Ipv4Addr = from.parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(size) = buffer {
            socket.set_recv_buffer_size(size).unwrap();
        }
        socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
        Self { stream: socket.connect(to.listening).await.unwrap(), id: from.octets() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends what the socket takes, if it takes anything.
    pub(crate) fn try_send(&self, bytes: &[u8]) {
        let _ = self.stream.try_write(bytes);
    }

    /// OPEN (hold time 90 s, IPv4 unicast, 4-octet AS) and KEEPALIVE, after reading theirs.
    pub(crate) async fn establish(&mut self, asn: u32) {
        let capabilities = [&[1, 4, 0, 1, 0, 1], &[65, 4][..], &asn.to_be_bytes()].concat();
        let len = u8::try_from(capabilities.len()).unwrap();
        let my_as = u16::try_from(asn).unwrap().to_be_bytes();
        let open =
            [&[4], &my_as[..], &90u16.to_be_bytes(), &self.id, &[len + 2, 2, len], &capabilities].concat();
        self.send(&message(1, &open)).await;
        self.reads(1).await;
        self.send(&keepalive()).await;
        self.reads(4).await;
    }

    /// Announces one prefix a message as fast as it is read, [`FLOOD`] different ones in turn, until it is `enough`.
    /// Returns how many.
    pub(crate) async fn flood(mut self, asn: u16, enough: Rc<Cell<bool>>) -> u32 {
        let [high, low] = asn.to_be_bytes();
        let mut sent = 0;
        while !enough.get() {
            let mut messages = Vec::new();
            for _ in 0..256 {
                let [a, b, c, _] = (0x2000_0000_u32 + ((sent % FLOOD) << 8)).to_be_bytes();
                // A MED that changes with every round, so that none is a repetition.
                let [.., med] = (sent / FLOOD).to_be_bytes();
                let attributes = [
                    &[0x40, 1, 1, 0][..],
                    &[0x40, 2, 6, 2, 1, 0, 0, high, low],
                    &[0x40, 3, 4, 192, 0, 2, 1],
                    &[0x80, 4, 4, 0, 0, 0, med],
                ]
                .concat();
                let len = u8::try_from(attributes.len()).unwrap();
                let body = [&[0, 0, 0, len], &attributes[..], &[24, a, b, c]].concat();
                messages.extend(message(2, &body));
                sent += 1;
            }
            self.send(&messages).await;
        }
        // Hanging up would take the routes away.
        tokio::task::spawn_local(async move { self.until_closed().await });
        sent
    }

    /// Reads messages up to one of this kind.
    pub(crate) async fn reads(&mut self, kind: u8) {
        loop {
            let next = self.next().await.expect("the connection lives");
            assert_ne!(next.kind, 3, "a NOTIFICATION instead of a message of type {kind}: {next:?}");
            if next.kind == kind {
                return;
            }
        }
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn until_closed(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }

    async fn next(&mut self) -> Option<Message> {
        let read = async {
            let mut header = [0; 19];
            self.stream.read_exact(&mut header).await.ok()?;
            let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
            let mut body = vec![0; len - 19];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Message { kind: header[18], body })
        };
        tokio::time::timeout(DEADLINE, read).await.expect("a message or the end comes before the deadline")
    }
}
