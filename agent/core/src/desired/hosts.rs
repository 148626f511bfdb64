//! Policies of this host itself: HostEndpoints.
//!
//! ```text
//! host-raw-in, -out    before connections are tracked    failsafe ─► vmap ─► programs of doNotTrack policies
//! host-prednat         before destinations are translated  failsafe ─► vmap ─► programs of preDNAT policies
//! input ─► host-in     what the host gets             judged before? allowed early? failsafe ─► vmap host-input
//! output ─► host-out   what the host sends            judged before? allowed early? failsafe ─► vmap host-output
//! forward              what it forwards: allowed early? vmap host-forward-in, then as to pods, then host-forward-out
//! ```
//! None of this is there on a node without HostEndpoints. On an interface of one, what the host gets and sends and no
//! policy speaks of is denied, but for what must work for the node to be mended and the fabric to live: the failsafe
//! ports, and tunnelled packets between nodes. What the host forwards is denied only by policies.
//!
//! What a doNotTrack or preDNAT policy allows, no policy of the host behind it is asked about, as it comes; those of
//! a pod that it is forwarded to are, and those of the host where it leaves. Of doNotTrack that is seen in that it
//! is not tracked. Of preDNAT the connection has it in a bit of its mark; a packet that fits no connection has none,
//! and is judged by all.

use std::collections::BTreeSet;
use std::net::IpAddr;

use corduroy_api::policy::host::{HostEndpoint, Interfaces};
use corduroy_kernel::nft::{
    Base, Chain, ChainKind, CtState, DataType, Expr, Field, Hook, Key, L4, Match, Name, Policy, Rule, Set,
    Value, Verdict,
};
use corduroy_kernel::{Family, IpNet, LinkName, Packet, Transport, Vxlan};
use corduroy_policy::engine::{self, DENIED, PASSED, SENT};
use corduroy_policy::{Class, Direction, EndpointKey, Stage};

use super::nft::{IPIP, judged_before};
use crate::known::Known;
use crate::policies::LET_IN;

/// The verdict maps: what they judge, and by which interface they find it.
const MAPS: [(&str, Stage, Direction); 7] = [
    ("host-raw-in", Stage::Untracked, Direction::Ingress),
    ("host-raw-out", Stage::Untracked, Direction::Egress),
    ("host-prednat", Stage::PreDnat, Direction::Ingress),
    ("host-input", Stage::Own, Direction::Ingress),
    ("host-output", Stage::Own, Direction::Egress),
    (FORWARD_IN, Stage::Forward, Direction::Ingress),
    (FORWARD_OUT, Stage::Forward, Direction::Egress),
];
/// What comes to be forwarded.
pub(super) const FORWARD_IN: &str = "host-forward-in";
/// What leaves, having been forwarded.
pub(super) const FORWARD_OUT: &str = "host-forward-out";

const LOOPBACK: &str = "lo";

const FAILSAFE: [(&str, Direction, L4); 4] = [
    ("failsafe-in-tcp", Direction::Ingress, L4::Tcp),
    ("failsafe-in-udp", Direction::Ingress, L4::Udp),
    ("failsafe-out-tcp", Direction::Egress, L4::Tcp),
    ("failsafe-out-udp", Direction::Egress, L4::Udp),
];

const CHAINS: [&str; 8] = [
    "failsafe-in",
    "failsafe-out",
    "host-raw-in",
    "host-raw-out",
    "host-prednat",
    engine::LET_IN,
    "host-in",
    "host-out",
];

/// Ports that no policy of a host closes, so that nobody locks himself out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failsafe {
    /// Of the host, for others.
    pub inbound: BTreeSet<FailsafePort>,
    /// Of others, for the host.
    pub outbound: BTreeSet<FailsafePort>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailsafePort {
    /// TCP or UDP.
    pub l4: L4,
    /// From 1.
    pub port: u16,
    /// The others that it is open to; `None`: all.
    pub net: Option<IpNet>,
}

/// SSH, DHCP, DNS, BGP, etcd and the API server.
impl Default for Failsafe {
    fn default() -> Self {
        let ports = |l4, ports: &'static [u16]| {
            ports.iter().map(move |port| FailsafePort { l4, port: *port, net: None })
        };
        let inbound = ports(L4::Tcp, &[22, 179, 2379, 2380, 6443]).chain(ports(L4::Udp, &[68])).collect();
        let outbound = ports(L4::Tcp, &[179, 2379, 2380, 6443]).chain(ports(L4::Udp, &[53, 67])).collect();
        Self { inbound, outbound }
    }
}

impl Failsafe {
    fn of(&self, direction: Direction) -> &BTreeSet<FailsafePort> {
        match direction {
            Direction::Ingress => &self.inbound,
            Direction::Egress => &self.outbound,
        }
    }

    /// The ports that are open to some only.
    fn narrow(&self, direction: Direction) -> impl Iterator<Item = (L4, u16, IpNet)> {
        self.of(direction).iter().filter_map(|it| Some((it.l4, it.port, it.net?)))
    }
}

/// The HostEndpoint that is asked about what goes by the interface which has this address.
pub(crate) fn at(known: &Known, address: IpAddr) -> Option<&str> {
    by(known, known.facts.holder(address)?.0)
}

/// The HostEndpoint that is asked about what goes by this interface.
pub(crate) fn by(known: &Known, dev: LinkName) -> Option<&str> {
    let named = known.policies.hosts().find(|(_, host)| links(known, host).contains(&dev));
    let is_meant = |host: &HostEndpoint| host.interfaces == Interfaces::All && !is_beside(dev);
    let all = || known.policies.hosts().find(|(_, host)| is_meant(host));
    named.or_else(all).map(|(name, _)| name)
}

/// Is it an interface that who means all does not mean?
fn is_beside(dev: LinkName) -> bool {
    dev.is_ours() || LinkName::new(LOOPBACK).is_ok_and(|loopback| dev == loopback)
}

/// Does the chain of failsafe ports let this packet pass, whatever policies say of a host?
pub(crate) fn is_failsafe(known: &Known, packet: &Packet, direction: Direction) -> bool {
    let peer = match direction {
        Direction::Ingress => packet.source,
        Direction::Egress => packet.destination,
    };
    let port = match packet.transport {
        Transport::Ports { destination, .. } => Some(destination),
        _ => None,
    };
    let is_vxlan = packet.protocol == L4::Udp.number() && port == Some(Vxlan::PORT);
    let is_tunnelled = (is_vxlan || packet.protocol == IPIP) && known.nodes.at(peer).is_some();
    let is_meant = |it: &FailsafePort| {
        it.l4.number() == packet.protocol
            && port == Some(it.port)
            && it.net.is_none_or(|net| net.contains(peer))
    };
    is_tunnelled || known.failsafe.of(direction).iter().any(is_meant)
}

/// The names of sets and chains, where there are any.
pub(super) fn names(known: &Known) -> impl Iterator<Item = (bool, Name)> {
    let maps = MAPS.into_iter().map(|(name, ..)| (true, name));
    let ports = FAILSAFE.into_iter().map(|(name, ..)| (true, name));
    let chains = CHAINS.into_iter().map(|name| (false, name));
    let is_there = known.policies.has_hosts();
    maps.chain(ports).chain(chains).filter(move |_| is_there).map(|(is_set, name)| (is_set, name.into()))
}

/// The elements that may be in the sets.
pub(super) fn elements(known: &Known) -> impl Iterator<Item = (Name, Key)> + '_ {
    let links = known.policies.hosts().flat_map(|(_, host)| links(known, host));
    let of_links = links.flat_map(|dev| MAPS.into_iter().map(move |(name, ..)| (name.into(), dev.into())));
    let all = known.failsafe.inbound.iter().chain(&known.failsafe.outbound);
    let wide = all.filter(|it| known.policies.has_hosts() && it.net.is_none());
    let ports = wide.flat_map(|FailsafePort { l4, port, .. }| {
        let sets = FAILSAFE.into_iter().filter(move |(.., of)| of == l4);
        sets.map(move |(name, ..)| (name.into(), Value::Port(*port).into()))
    });
    of_links.chain(ports)
}

/// A set without its elements.
pub(super) fn set(known: &Known, name: &str) -> Option<Set> {
    let is = |found: &str| found == name && known.policies.has_hosts();
    let maps = MAPS.iter().find(|(map, ..)| is(map)).map(|_| Set::vmap([DataType::IfName]));
    maps.or_else(|| FAILSAFE.iter().find(|(set, ..)| is(set)).map(|_| Set::hash([DataType::Port])))
}

/// Is it in the set, and with which verdict?
pub(super) fn element(known: &Known, set: &str, key: &Key) -> Option<Option<Verdict>> {
    match key.values() {
        [Value::IfName(dev)] => {
            let (_, stage, direction) = MAPS.iter().find(|(map, ..)| *map == set)?;
            let mut hosts = known.policies.hosts();
            let (name, _) = hosts.find(|(_, host)| links(known, host).contains(dev))?;
            verdict(known, name, *stage, *direction).map(Some)
        }
        [Value::Port(port)] => {
            let (_, direction, l4) = FAILSAFE.iter().find(|(found, ..)| *found == set)?;
            let wide = FailsafePort { l4: *l4, port: *port, net: None };
            known.failsafe.of(*direction).contains(&wide).then_some(None)
        }
        _ => None,
    }
}

/// The interfaces that a HostEndpoint names, if it does not mean all.
fn links(known: &Known, host: &HostEndpoint) -> Vec<LinkName> {
    match &host.interfaces {
        Interfaces::All => Vec::new(),
        Interfaces::Named(name) => LinkName::new(name).into_iter().collect(),
        Interfaces::ByAddress => {
            let has = |addresses: &[(IpAddr, u8)]| {
                addresses.iter().any(|(address, _)| host.expected_ips.contains(address))
            };
            let uplinks = known.facts.uplinks.iter();
            uplinks.filter(|(_, uplink)| has(&uplink.addresses)).map(|(name, _)| *name).collect()
        }
    }
}

fn verdict(known: &Known, name: &str, stage: Stage, direction: Direction) -> Option<Verdict> {
    let key = EndpointKey::new(Class::HostEndpoint, name);
    match known.policies.engine().program(&key, stage, direction) {
        Some(program) => Some(Verdict::Goto(program.clone())),
        None if stage == Stage::Own => Some(Verdict::Goto(DENIED.into())),
        None => None,
    }
}

/// The map's rule, and those of HostEndpoints that mean all interfaces which no other names.
pub(super) fn dispatch(known: &Known, map: &str) -> Vec<Rule> {
    let Some((_, stage, direction)) = MAPS.iter().find(|(name, ..)| *name == map) else { return Vec::new() };
    let comes = *direction == Direction::Ingress;
    let field = if comes { Field::Iifname } else { Field::Oifname };
    let mut rules = vec![Rule::new().vmap([field], map)];
    let all = known.policies.hosts().filter(|(_, host)| host.interfaces == Interfaces::All);
    for (name, _) in all {
        let ours = [LinkName::PODS, LinkName::IPIP, LinkName::VXLAN];
        let is = |dev: LinkName| match (dev == LinkName::PODS, comes) {
            (true, true) => Match::iifname_prefix(dev),
            (true, false) => Match::oifname_prefix(dev),
            (false, true) => Match::iifname(dev),
            (false, false) => Match::oifname(dev),
        };
        let loopback = LinkName::new(LOOPBACK).ok();
        let rule = ours.into_iter().chain(loopback).fold(Rule::new(), |rule, dev| rule.when(is(dev).not()));
        rules.extend(verdict(known, name, *stage, *direction).map(|to| rule.then(Expr::Verdict(to))));
    }
    rules
}

/// A chain with its rules.
pub(super) fn chain(known: &Known, name: &str) -> Option<Chain> {
    if !known.policies.has_hosts() {
        return None;
    }
    let rules = match name {
        "failsafe-in" => failsafe(known, Direction::Ingress),
        "failsafe-out" => failsafe(known, Direction::Egress),
        "host-raw-in" => raw(known, Direction::Ingress),
        "host-raw-out" => raw(known, Direction::Egress),
        "host-prednat" => {
            let anew = Rule::new().set_ct_mark(LET_IN, 0);
            judged(known, [is_untracked().accept(), anew], "failsafe-in", "host-prednat")
        }
        engine::LET_IN => vec![Rule::new().set_ct_mark(LET_IN, LET_IN), Rule::new().accept()],
        "host-in" => judged(known, allowed_early(PASSED), "failsafe-in", "host-input"),
        "host-out" => judged(known, allowed_early(PASSED), "failsafe-out", "host-output"),
        _ => return None,
    };
    Some(Chain { base: base(name), rules })
}

/// Where a chain is hooked in.
pub(super) fn base(name: &str) -> Option<Base> {
    let (hook, priority) = match name {
        "host-raw-in" => (Hook::Prerouting, -310),
        "host-raw-out" => (Hook::Output, -310),
        "host-prednat" => (Hook::Prerouting, -150),
        _ => return None,
    };
    Some(Base { kind: ChainKind::Filter, hook, priority, policy: Policy::Accept })
}

fn is_untracked() -> Rule {
    Rule::new().when(Match::ct_state(CtState::UNTRACKED))
}

/// What a policy allowed before connections were tracked or destinations translated goes on there.
fn allowed_early(onward: &str) -> [Rule; 2] {
    let is_let_in = Rule::new().when(Match::ct_mark(LET_IN, LET_IN));
    [is_untracked(), is_let_in].map(|rule| rule.goto(onward))
}

/// What was not judged before, nor is settled by what comes `first`, is judged by the programs of a map.
fn judged(known: &Known, first: [Rule; 2], failsafe: &str, map: &str) -> Vec<Rule> {
    let mut rules = judged_before(known);
    rules.extend(first);
    rules.push(Rule::new().jump(failsafe));
    rules.extend(dispatch(known, map));
    rules
}

/// Each packet is for itself here, so that answers must be let through as well.
fn raw(known: &Known, direction: Direction) -> Vec<Rule> {
    let (failsafe, answers, map) = match direction {
        Direction::Ingress => ("failsafe-in", Direction::Egress, "host-raw-in"),
        Direction::Egress => ("failsafe-out", Direction::Ingress, "host-raw-out"),
    };
    let narrow = known.failsafe.narrow(answers).map(|(l4, port, net)| {
        Rule::new().when(from_or_to(direction, net)).when(Match::sport(l4, port, port)).accept()
    });
    let answers = FAILSAFE.into_iter().filter(|(_, of, _)| *of == answers);
    let answers = answers.map(|(set, _, l4)| Rule::new().in_set([Field::Sport(l4)], set).accept());
    let failsafe = std::iter::once(Rule::new().jump(failsafe));
    failsafe.chain(answers).chain(narrow).chain(dispatch(known, map)).collect()
}

/// Is the other end in this network?
fn from_or_to(direction: Direction, net: IpNet) -> Match {
    match direction {
        _ if net.prefix_len() == 0 => Match::nfproto(net.family()),
        Direction::Ingress => Match::saddr(net),
        Direction::Egress => Match::daddr(net),
    }
}

/// The ports, and tunnelled packets from nodes and to them.
fn failsafe(known: &Known, direction: Direction) -> Vec<Rule> {
    let ports = FAILSAFE.into_iter().filter(|(_, of, _)| *of == direction);
    let ports = ports.map(|(set, _, l4)| Rule::new().in_set([Field::Dport(l4)], set).accept());
    let tunnels = [(Family::V4, "nodes4"), (Family::V6, "nodes6")].into_iter().flat_map(|(family, nodes)| {
        let peer = match direction {
            Direction::Ingress => Field::Saddr(family),
            Direction::Egress => Field::Daddr(family),
        };
        let of = move |what| Rule::new().when(what).in_set([peer], nodes).accept();
        let ipip = (family == Family::V4).then(|| of(Match::l4proto(IPIP)));
        ipip.into_iter().chain([of(Match::dport(L4::Udp, Vxlan::PORT, Vxlan::PORT))])
    });
    let narrow = known.failsafe.narrow(direction).map(|(l4, port, net)| {
        Rule::new().when(from_or_to(direction, net)).when(Match::dport(l4, port, port)).accept()
    });
    ports.chain(narrow).chain(tunnels).collect()
}

/// What the base chains do for hosts, behind what they do for pods.
pub(super) fn input(known: &Known) -> Option<Rule> {
    known.policies.has_hosts().then(|| Rule::new().goto("host-in"))
}

/// As [`input`].
pub(super) fn output(known: &Known) -> Option<Rule> {
    let to_host = Rule::new().when(Match::oifname_prefix(LinkName::PODS).not());
    known.policies.has_hosts().then(|| to_host.goto("host-out"))
}

/// What is forwarded from an interface of the host: judged, and behind that as what it is forwarded to.
pub(super) fn forward(known: &Known) -> Vec<Rule> {
    if !known.policies.has_hosts() {
        return Vec::new();
    }
    allowed_early(SENT).into_iter().chain(dispatch(known, FORWARD_IN)).collect()
}

/// What is forwarded to an interface of the host.
pub(super) fn forwarded(known: &Known) -> Vec<Rule> {
    if !known.policies.has_hosts() {
        return Vec::new();
    }
    dispatch(known, FORWARD_OUT).into_iter().chain([Rule::new().goto(PASSED)]).collect()
}
