//! The wire between speakers: connections are made at once, bytes arrive in order, nothing is lost unless cut.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use crate::config::*;
use crate::event::Event;
use crate::io::*;
use crate::policy::Filter;
use crate::sessions::Sessions;
use crate::status::{SessionState, SessionStatus};
use crate::{Asn, FamilySet, RouterId, Time};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Node `n` lives at 10.0.0.n.
pub(super) fn key(n: u8) -> PeerKey {
    PeerKey::new(Ipv4Addr::new(10, 0, 0, n).into())
}

pub(super) fn peer_config(remote: RemoteAs) -> PeerConfig {
    PeerConfig {
        remote_as: remote,
        local_as: None,
        transport: Transport { port: 179, local: None, passive: false, password: None, ttl: Ttl::Send(64) },
        timers: Timers::default(),
        capabilities: Capabilities {
            families: FamilySet::BOTH,
            route_refresh: true,
            extended_messages: true,
            graceful_restart: Some(GracefulRestart {
                restart_time: secs(120),
                stale_time: secs(180),
                notification: true,
            }),
        },
        client: false,
        next_hop: NextHop::Auto,
        allow_own_as: 0,
        import: Arc::new(Filter::default()),
        export: Arc::new(Filter::default()),
        max_prefixes: None,
        shutdown: false,
    }
}

/// Node `n` of AS 64512 with these peers, all internal.
pub(super) fn config(n: u8, peers: &[u8]) -> Config {
    let peer = Arc::new(peer_config(RemoteAs::Internal));
    Config {
        local_as: Asn(64512),
        router_id: RouterId::new(Ipv4Addr::new(10, 0, 0, n)).unwrap(),
        cluster_id: None,
        multipath: 1,
        multipath_relax: false,
        selection_deferral: secs(60),
        peers: peers.iter().map(|p| (key(*p), peer.clone())).collect(),
        dynamic: Vec::new(),
    }
}

/// The same, with every peer changed by `change`.
pub(super) fn with_peers(mut config: Config, change: impl Fn(&mut PeerConfig)) -> Config {
    for peer in config.peers.values_mut() {
        change(Arc::make_mut(peer));
    }
    config
}

struct Node {
    sessions: Sessions,
    events: Vec<Event>,
    rib: Vec<RibInput>,
    other: Vec<Output>,
}

/// Where a connection leads.
type End = (u8, ConnId);

/// What is on its way to a node. All ways are equally long, so things arrive in the order in which they were sent.
enum Arrival {
    Connected { conn: ConnId, local: SocketAddr },
    Accepted { conn: ConnId, remote: SocketAddr, local: SocketAddr },
    Received { conn: ConnId, bytes: Vec<u8> },
    Closed { conn: ConnId },
}

#[derive(Default)]
pub(super) struct Lab {
    pub(super) now: Time,
    nodes: BTreeMap<u8, Node>,
    wires: BTreeMap<End, End>,
    arrivals: VecDeque<(u8, Arrival)>,
    next_accepted: u32,
    /// How many connections were asked for.
    pub(super) attempts: u32,
    /// Nodes nobody can connect to.
    pub(super) dark: Vec<u8>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self { now: Time(1_000_000_000_000), next_accepted: 1, ..Self::default() }
    }
    pub(super) fn start(&mut self, n: u8, config: Config, start: Start) {
        let sessions = Sessions::new(config, start, u64::from(n), self.now);
        let node = Node { sessions, events: Vec::new(), rib: Vec::new(), other: Vec::new() };
        assert!(self.nodes.insert(n, node).is_none(), "node {n} runs already");
    }
    /// The process of node `n` dies and the kernel closes its connections.
    pub(super) fn kill(&mut self, n: u8) {
        self.nodes.remove(&n);
        for (end, other) in self.wires.clone() {
            if end.0 == n {
                self.cut(end);
                self.wires.remove(&other);
            }
        }
        self.run();
    }
    /// Node `n` is switched off: nobody is told.
    pub(super) fn power_off(&mut self, n: u8) {
        self.nodes.remove(&n);
        self.wires.retain(|end, other| end.0 != n && other.0 != n);
    }
    pub(super) fn handle(&mut self, n: u8, input: Input<'_>) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&n) {
            node.sessions.handle(input, now);
        }
    }
    pub(super) fn rib_output(&mut self, n: u8, output: RibOutput) {
        let now = self.now;
        self.nodes.get_mut(&n).unwrap().sessions.rib_output(output, now);
    }
    /// Bytes out of nowhere on a connection of node `n`.
    pub(super) fn inject(&mut self, n: u8, conn: ConnId, bytes: &[u8]) {
        self.handle(n, Input::Received { conn, bytes });
        self.run();
    }
    /// Somebody who is no node connects to `n`.
    pub(super) fn accept_from(&mut self, n: u8, remote: IpAddr) -> ConnId {
        let conn = ConnId(self.next_accepted);
        self.next_accepted += 2;
        let (remote, local) = (SocketAddr::new(remote, 40000), SocketAddr::new(key(n).address, 179));
        self.handle(n, Input::Accepted { conn, remote, scope: 0, local });
        conn
    }
    /// Everything that happens without time passing.
    pub(super) fn run(&mut self) {
        for _ in 0..100_000 {
            let ids: Vec<u8> = self.nodes.keys().copied().collect();
            let any = ids.into_iter().map(|n| self.step(n)).filter(|any| *any).count() > 0;
            match self.arrivals.pop_front() {
                Some((n, arrival)) => self.deliver(n, arrival),
                None if any => {}
                None => return,
            }
        }
        panic!("the speakers never come to rest");
    }
    fn deliver(&mut self, n: u8, arrival: Arrival) {
        match arrival {
            Arrival::Connected { conn, local } => self.handle(n, Input::Connected { conn, local }),
            Arrival::Accepted { conn, remote, local } => {
                self.handle(n, Input::Accepted { conn, remote, scope: 0, local });
            }
            Arrival::Received { conn, bytes } => self.handle(n, Input::Received { conn, bytes: &bytes }),
            Arrival::Closed { conn } => {
                self.wires.remove(&(n, conn));
                self.handle(n, Input::Closed { conn });
            }
        }
    }
    /// One end is closed; the other learns of it behind what was sent before.
    fn cut(&mut self, end: End) {
        if let Some((m, conn)) = self.wires.remove(&end) {
            self.arrivals.push_back((m, Arrival::Closed { conn }));
        }
    }
    fn step(&mut self, n: u8) -> bool {
        let mut any = false;
        while let Some(output) = self.nodes.get_mut(&n).and_then(|node| node.sessions.poll()) {
            any = true;
            match output {
                Output::Connect(to) => self.connect(n, &to),
                Output::Writable(conn) => self.pump(n, conn),
                Output::Close { conn, how } => {
                    if how == Close::Flush {
                        self.pump(n, conn);
                    }
                    self.cut((n, conn));
                }
                Output::Event(event) => self.nodes.get_mut(&n).unwrap().events.push(event),
                other => self.nodes.get_mut(&n).unwrap().other.push(other),
            }
        }
        let Some(node) = self.nodes.get_mut(&n) else { return any };
        while let Some(input) = node.sessions.poll_rib() {
            if let RibInput::Removed { peer } = input {
                node.sessions.rib_output(RibOutput::Forgotten { peer }, self.now);
            }
            node.rib.push(input);
            any = true;
        }
        any
    }
    fn connect(&mut self, n: u8, to: &Connect) {
        self.attempts += 1;
        let IpAddr::V4(address) = to.peer.address else { panic!("the world is IPv4") };
        let m = address.octets()[3];
        if !self.nodes.contains_key(&m) || self.dark.contains(&m) {
            return self.handle(n, Input::ConnectFailed { conn: to.conn });
        }
        let conn = ConnId(self.next_accepted);
        self.next_accepted += 2;
        self.wires.insert((n, to.conn), (m, conn));
        self.wires.insert((m, conn), (n, to.conn));
        let (ours, theirs) = (SocketAddr::new(key(n).address, 40000), SocketAddr::new(address.into(), 179));
        self.arrivals.push_back((n, Arrival::Connected { conn: to.conn, local: ours }));
        self.arrivals.push_back((m, Arrival::Accepted { conn, remote: ours, local: theirs }));
    }
    fn pump(&mut self, n: u8, conn: ConnId) {
        loop {
            let bytes = self.transmit(n, conn);
            if bytes.is_empty() {
                return;
            }
            self.handle(n, Input::Sent { conn, bytes: bytes.len() });
            if let Some((m, conn)) = self.wires.get(&(n, conn)).copied() {
                self.arrivals.push_back((m, Arrival::Received { conn, bytes }));
            }
        }
    }
    /// What a driver would be given for a connection now.
    pub(super) fn transmit(&mut self, n: u8, conn: ConnId) -> Vec<u8> {
        let Some(node) = self.nodes.get_mut(&n) else { return Vec::new() };
        let mut out = Vec::new();
        node.sessions.transmit(conn, 65536, &mut out);
        node.sessions.handed(conn, &out);
        out.iter().flat_map(|b| b.to_vec()).collect()
    }
    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, d: Duration) {
        let end = self.now + d;
        self.run();
        loop {
            let next = self.nodes.values().filter_map(|n| n.sessions.next_timeout()).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            let now = self.now;
            for node in self.nodes.values_mut() {
                if node.sessions.next_timeout().is_some_and(|at| at <= now) {
                    node.sessions.handle_timeout(now);
                }
            }
            self.run();
        }
        self.now = end;
    }
    pub(super) fn status(&self, n: u8) -> Vec<SessionStatus> {
        self.nodes[&n].sessions.status().into_iter().map(|(_, s)| s).collect()
    }
    pub(super) fn state(&self, n: u8, peer: u8) -> SessionState {
        self.status(n).into_iter().find(|s| s.key == key(peer)).map_or(SessionState::Idle, |s| s.state)
    }
    /// What happened at `n` since it was asked last.
    pub(super) fn events(&mut self, n: u8) -> Vec<Event> {
        core::mem::take(&mut self.nodes.get_mut(&n).unwrap().events)
    }
    /// What the RIB of `n` was told since it was asked last.
    pub(super) fn rib(&mut self, n: u8) -> Vec<RibInput> {
        core::mem::take(&mut self.nodes.get_mut(&n).unwrap().rib)
    }
    /// What `n` wanted of the world besides connections.
    pub(super) fn other(&mut self, n: u8) -> Vec<Output> {
        core::mem::take(&mut self.nodes.get_mut(&n).unwrap().other)
    }
    /// The connections of `n`.
    pub(super) fn conns(&self, n: u8) -> Vec<ConnId> {
        self.wires.keys().filter(|end| end.0 == n).map(|end| end.1).collect()
    }
    pub(super) fn sessions(&mut self, n: u8) -> &mut Sessions {
        &mut self.nodes.get_mut(&n).unwrap().sessions
    }
    /// Two internal peers with an Established session, nothing left to be read.
    pub(super) fn pair(change: impl Fn(&mut PeerConfig)) -> Self {
        let mut world = Self::new();
        world.start(1, with_peers(config(1, &[2]), &change), Start::First);
        world.start(2, with_peers(config(2, &[1]), &change), Start::First);
        world.pass(SECOND * 10);
        assert_eq!(world.state(1, 2), SessionState::Established);
        assert_eq!(world.state(2, 1), SessionState::Established);
        for n in [1, 2] {
            world.rib(n);
            world.events(n);
            world.other(n);
        }
        world
    }
}
