//! One session after another: which there are, and what each is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::bgp_peer::{NextHopMode, Remote};
use corduroy_api::{AsNumber, BgpPeer, FabricNode, Key, Kind, SecretRef};
use corduroy_bgp::config::{
    Capabilities, GracefulRestart, NextHop, PeerConfig, PeerKey, RemoteAs, Secret, Timers, Transport, Ttl,
};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::{Asn, Family, FamilySet};

use super::policy::{Policies, To};
use super::{Options, Peer, as_of, asn, chooses, default_configuration, listen_port, reflects_to};
use crate::{Model, Problem};

/// Restart Time where the resource names none.
const RESTART_TIME: Duration = Duration::from_secs(120);
/// How long stale routes of a peer that is back wait for its End-of-RIB.
const STALE_TIME: Duration = Duration::from_secs(300);
/// What TTL a session's packets carry without `ttlSecurity`: enough for a neighbour some routers away, since
/// `peerIP` may name one and nothing in a BGPPeer says how far it is.
const TTL: u8 = 64;

/// The TCP port where nobody names one (RFC 4271 §4).
const PORT: u16 = 179;

/// What every session of the fabric has in common; it takes and sends everything.
pub(crate) fn base(
    remote_as: Asn,
    families: FamilySet,
    timers: corduroy_api::bgp_peer::Timers,
) -> PeerConfig {
    let restart_time = timers.max_restart.unwrap_or(RESTART_TIME);
    let all = Arc::new(Filter::accept_all());
    PeerConfig {
        remote_as: RemoteAs::Exactly(remote_as),
        local_as: None,
        transport: Transport { port: PORT, local: None, passive: false, password: None, ttl: Ttl::Send(TTL) },
        timers: Timers {
            hold: timers.hold.unwrap_or(Timers::default().hold),
            keepalive: timers.keepalive,
            ..Timers::default()
        },
        capabilities: Capabilities {
            families,
            route_refresh: true,
            extended_messages: true,
            graceful_restart: (!restart_time.is_zero()).then_some(GracefulRestart {
                restart_time,
                stale_time: STALE_TIME,
                notification: true,
            }),
        },
        client: false,
        next_hop: NextHop::Auto,
        allow_own_as: 0,
        import: Arc::clone(&all),
        export: all,
        max_prefixes: None,
        shutdown: false,
    }
}

/// The password that a reference leads to, or why it leads to none.
pub(crate) fn read_password(model: &Model, reference: &SecretRef) -> Result<Secret, String> {
    let SecretRef { name, key } = reference;
    let value = model.secret(reference).ok_or_else(|| {
        format!("there is no secret {name} with a key {key}; without its password there is no session")
    })?;
    let secret = Secret::new(value.expose());
    secret.ok_or_else(|| format!("{key} of secret {name} must be 1 to 80 bytes; there is no session"))
}

/// The sessions of one node, being collected.
pub(super) struct Sessions<'m> {
    model: &'m Model,
    me: &'m FabricNode,
    policies: Policies<'m>,
    pub(super) configs: BTreeMap<PeerKey, Arc<PeerConfig>>,
    pub(super) peers: BTreeMap<PeerKey, Peer>,
    pub(super) problems: Vec<Problem>,
}

/// The neighbour of one session.
#[derive(Clone, Copy)]
struct Neighbour<'m> {
    address: IpAddr,
    node: Option<&'m FabricNode>,
    port: Option<u16>,
    remote_as: AsNumber,
}

/// What shapes a session: the fields that a BGPPeer and the mesh settings have in common, and the BGPPeer if it is one.
struct Shape<'m> {
    password: Option<&'m SecretRef>,
    timers: corduroy_api::bgp_peer::Timers,
    peer: Option<&'m BgpPeer>,
}

impl<'m> Sessions<'m> {
    pub(super) fn new(model: &'m Model, me: &'m FabricNode, options: &'m Options) -> Self {
        Self {
            model,
            me,
            policies: Policies::new(model, me, options),
            configs: BTreeMap::new(),
            peers: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The sessions that BGPPeers ask for, in order of their names: of two that mean the same neighbour the first
    /// counts.
    pub(super) fn explicit(&mut self) {
        for peer in self.model.peers().values() {
            let local = chooses(&peer.local, self.me);
            match &peer.remote {
                Remote::Address { ip, port, as_number } if local => {
                    self.by_address(peer, *ip, *port, *as_number);
                }
                Remote::Address { .. } => {}
                Remote::Selector(selector) => {
                    let selected = selector.matches(&self.me.metadata.labels);
                    let mut found = !local;
                    for other in self.others() {
                        let forward = local && selector.matches(&other.metadata.labels);
                        let reverse = peer.reverse && selected && chooses(&peer.local, other);
                        found |= forward || reverse;
                        if forward || reverse {
                            self.by_node(other, Some(peer));
                        }
                    }
                    if !found {
                        let why = format!(
                            "{selector} chooses no node but possibly this one, so there is no session"
                        );
                        self.problem(peer, "spec.peerSelector", why);
                    }
                }
            }
        }
    }

    /// A session with every node that is in the mesh.
    pub(super) fn mesh(&mut self) {
        for other in self.others() {
            if other.route_reflector_cluster_id.is_none() {
                self.by_node(other, None);
            }
        }
    }

    fn others(&self) -> impl Iterator<Item = &'m FabricNode> + use<'m> {
        let name = self.me.metadata.name.clone();
        self.model.nodes().values().map(|node| &**node).filter(move |node| node.metadata.name != name)
    }

    fn by_address(&mut self, peer: &'m BgpPeer, ip: IpAddr, port: Option<u16>, given: Option<AsNumber>) {
        if self.me.has_address(ip) {
            let why =
                format!("{ip} is an address of {} itself; it has no such session", self.me.metadata.name);
            return self.problem(peer, "spec.peerIP", why);
        }
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            let why =
                format!("{ip} is link-local, which is not enough to find a neighbour; use a global address");
            return self.problem(peer, "spec.peerIP", why);
        }
        let node = self.model.node_at(ip).map(|node| &**node);
        let known = node.map(|node| as_of(self.model, node));
        let Some(remote_as) = given.or(known) else {
            let why =
                format!("missing: {ip} is no FabricNode's address, so the AS of this peer must be given");
            return self.problem(peer, "spec.asNumber", why);
        };
        if let (Some(known), Some(node)) = (known.filter(|known| *known != remote_as), node) {
            let name = &node.metadata.name;
            let why =
                format!("{ip} is FabricNode/{name}, whose AS is {known}, not {remote_as}; it will refuse");
            self.problem(peer, "spec.asNumber", why);
        }
        if peer.transport.use_node_ip && self.me.address(ip.is_ipv6()).is_none() {
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let why = format!("{} has no {family} address to reach {ip} from", self.me.metadata.name);
            return self.problem(peer, "spec.peerIP", why);
        }
        self.add(Neighbour { address: ip, node, port, remote_as }, Some(peer));
    }

    /// A session in each family that both have.
    fn by_node(&mut self, other: &'m FabricNode, peer: Option<&'m BgpPeer>) {
        let remote_as = as_of(self.model, other);
        let mut common = false;
        for ipv6 in [false, true] {
            let (Some(ours), Some(theirs)) = (self.me.address(ipv6), other.address(ipv6)) else { continue };
            common = true;
            if ours.ip() == theirs.ip() {
                let why = format!("{} is also an address of {}", theirs.ip(), self.me.metadata.name);
                self.node_problem(other, why);
                continue;
            }
            self.add(Neighbour { address: theirs.ip(), node: Some(other), port: None, remote_as }, peer);
        }
        if !common {
            let why = format!("has no address of a family that {} has", self.me.metadata.name);
            self.node_problem(other, why);
        }
    }

    fn add(&mut self, to: Neighbour<'m>, peer: Option<&'m BgpPeer>) {
        let key = PeerKey::new(to.address);
        let who = Peer {
            node: to.node.map(|node| node.metadata.name.clone()),
            resource: peer.map(|peer| peer.metadata.name.clone()),
        };
        let shape = self.shape(peer);
        if let Some(first) = self.peers.get(&key).cloned() {
            return self.second(to, &first, &who, &shape);
        }
        if let Some(config) = self.config(to, &shape) {
            self.configs.insert(key, Arc::new(config));
            self.peers.insert(key, who);
        }
    }

    /// A neighbour that has a session already: no harm if it would be the same one, or if the mesh means it too.
    fn second(&mut self, to: Neighbour<'m>, first: &Peer, who: &Peer, shape: &Shape<'m>) {
        if first.node != who.node {
            let (one, other) = (first.node.as_deref().unwrap_or("?"), who.node.as_deref().unwrap_or("?"));
            if let Some(node) = to.node {
                let why = format!(
                    "{} is an address of FabricNode/{one} too; there is no session with {other}",
                    to.address
                );
                return self.node_problem(node, why);
            }
        }
        let (Some(resource), Some(peer)) = (&first.resource, shape.peer) else { return };
        let problems = self.problems.len();
        let wanted = self.config(to, shape).map(Arc::new);
        // What is wrong with the second was said for the first, or does not matter.
        self.problems.truncate(problems);
        if wanted.as_ref() != self.configs.get(&PeerKey::new(to.address)) && *resource != peer.metadata.name {
            let field = if matches!(peer.remote, Remote::Address { .. }) {
                "spec.peerIP"
            } else {
                "spec.peerSelector"
            };
            let why = format!("BGPPeer/{resource} means {} too and shapes the session", to.address);
            self.problem(peer, field, why);
        }
    }

    fn shape(&self, peer: Option<&'m BgpPeer>) -> Shape<'m> {
        let Some(peer) = peer else {
            let mesh = default_configuration(self.model);
            return Shape {
                password: mesh.and_then(|c| c.mesh_password.as_ref()),
                timers: mesh.map(|c| c.mesh_timers).unwrap_or_default(),
                peer: None,
            };
        };
        Shape { password: peer.transport.password.as_ref(), timers: peer.timers, peer: Some(peer) }
    }

    /// `None`, with a problem noted, when it must not run.
    fn config(&mut self, to: Neighbour<'m>, shape: &Shape<'m>) -> Option<PeerConfig> {
        let mine = as_of(self.model, self.me);
        let shown = shape.peer.and_then(|peer| peer.local_as_number).filter(|shown| *shown != mine);
        let internal = shown.unwrap_or(mine) == to.remote_as;
        let password = self.password(shape)?;
        let (import, export) = self.filters(internal, to.node, shape.peer);
        let family = if to.address.is_ipv6() { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
        let use_node_ip = shape.peer.is_none_or(|peer| peer.transport.use_node_ip);
        let port = to.port.or_else(|| to.node.map(|node| listen_port(self.model, &node.metadata.name)));
        let theirs = to.node.and_then(|node| node.route_reflector_cluster_id);
        let base = base(asn(to.remote_as), FamilySet::EMPTY.with(family), shape.timers);
        let ttl = shape.peer.and_then(|peer| peer.transport.ttl_security);
        Some(PeerConfig {
            local_as: shown.map(asn),
            transport: Transport {
                port: port.unwrap_or(PORT),
                local: use_node_ip
                    .then(|| self.me.address(to.address.is_ipv6()).map(|net| net.ip()))
                    .flatten(),
                passive: shape.peer.is_some_and(|peer| peer.transport.passive),
                password,
                ttl: ttl.map_or(base.transport.ttl, |hops| Ttl::Security { hops }),
            },
            client: internal && reflects_to(self.me.route_reflector_cluster_id, theirs),
            next_hop: match shape.peer.map(|peer| peer.next_hop_mode).unwrap_or_default() {
                NextHopMode::Auto => NextHop::Auto,
                NextHopMode::SelfAddress => NextHop::SelfAddress,
                NextHopMode::Keep => NextHop::Keep,
            },
            allow_own_as: shape.peer.map_or(0, |peer| peer.num_allowed_local_as_numbers),
            import,
            export,
            ..base
        })
    }

    /// `None` when there must be a password and is none.
    #[expect(clippy::option_option, reason = "no session, a session without a password, a session with one")]
    fn password(&mut self, shape: &Shape<'m>) -> Option<Option<Secret>> {
        let Some(reference) = shape.password else { return Some(None) };
        let why = match read_password(self.model, reference) {
            Ok(secret) => return Some(Some(secret)),
            Err(why) => why,
        };
        let (owner, field) = match shape.peer {
            Some(peer) => (Key::new(Kind::BgpPeer, peer.metadata.name.clone()), "spec.password.secretKeyRef"),
            None => {
                let default = corduroy_api::BgpConfiguration::DEFAULT_NAME;
                (Key::new(Kind::BgpConfiguration, default), "spec.nodeMeshPassword.secretKeyRef")
            }
        };
        self.note(Problem::new(owner, field, why));
        None
    }

    fn filters(
        &mut self,
        internal: bool,
        node: Option<&'m FabricNode>,
        peer: Option<&'m BgpPeer>,
    ) -> (Arc<Filter>, Arc<Filter>) {
        let names = peer.map(|peer| peer.filters.as_slice()).unwrap_or_default();
        for (i, name) in names.iter().enumerate() {
            if let Some(peer) = peer.filter(|_| !self.model.filters().contains_key(name)) {
                let why =
                    format!("there is no BGPFilter/{name}; until there is, no route passes this session");
                self.problem(peer, &format!("spec.filters[{i}]"), why);
            }
        }
        let to = To {
            reflects: internal && self.me.route_reflector_cluster_id.is_some(),
            plain_node: node.is_some_and(|node| node.route_reflector_cluster_id.is_none()),
        };
        (self.policies.import(names), self.policies.export(names, to))
    }

    fn problem(&mut self, peer: &BgpPeer, field: &str, why: String) {
        self.note(Problem::new(Key::new(Kind::BgpPeer, peer.metadata.name.clone()), field, why));
    }

    fn node_problem(&mut self, node: &FabricNode, why: String) {
        self.note(Problem::new(
            Key::new(Kind::FabricNode, node.metadata.name.clone()),
            "spec.addresses",
            why,
        ));
    }

    /// Once is enough: a mesh has the same trouble with every node.
    fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
