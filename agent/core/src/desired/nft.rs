//! Table `inet corduroy`.
//!
//! ```text
//! prerouting raw   iifname cord*  is the source the pod's own?
//! input filter     iifname cord*  ─► pod-limits: no tunnels, no BGP; tunnelled packets only from nodes
//! forward filter   established: accept
//!                  to a range of services, untranslated: drop
//!                  iifname cord*  ─► from-pods ─► pod-limits, vmap egress   (unknown: drop)
//!                  oifname cord*  ─► to-pods ─► vmap ingress                (unknown: drop)
//! output filter    oifname cord*  only to an address the interface has
//! postrouting nat  from a pool with natOutgoing to neither pool nor node ─► masquerade, fully random
//! ```
//! What every packet of every pod meets is kept short, since it pays for each base chain and each lookup: the
//! source check, and one rule that lets through what belongs to a connection judged before. The source
//! check stands before connection tracking, so that a forged packet costs no entry and takes part in nobody's
//! connection. Both judgements of a new connection are chains that one base chain jumps to, and that *return* to let it
//! pass: traffic between two pods of this node is what one may send and the other may get, and an accept would end the
//! base chain before the second is asked. The verdict maps send each pod where its rules are; a pod without any
//! returns. An interface that is in no map passes nothing: an agent that is late or dead fails closed.
//!
//! A packet to an address in an announced range of services that kube-proxy has not translated by now is for nobody:
//! it would leave by the default route, to a router that sends it back. No route can stop it, because the kernel looks
//! for a route of what this host itself sends *before* kube-proxy translates that. Addresses of nodes pass, since they
//! may be external IPs too.
//!
//! Sets of exact addresses are hash sets, which take an element at any size in the same time; only pools and ranges of
//! services, few and rarely changed, are interval sets. Nothing but elements changes when pods and nodes come and go.

use std::net::{IpAddr, Ipv6Addr};

use corduroy_kernel::nft::{
    AddrType, Base, Chain, ChainKind, CtState, DataType, Field, Hook, Key, L4, Match, Name, Policy, Rule,
    Set, Value, Verdict,
};
use corduroy_kernel::{Family, IpNet, LinkName, Vxlan};

use super::links;
use crate::convert;
use crate::known::Known;

/// The BGP port, which pods may not reach on nodes.
const BGP_PORT: u16 = 179;
/// IP protocol number of IPIP.
const IPIP: u8 = 4;

/// The sets and maps of the table.
pub const SETS: [&str; 12] = [
    "nodes4",
    "nodes6",
    "pools4",
    "pools6",
    "masq4",
    "masq6",
    "services4",
    "services6",
    "pods4",
    "pods6",
    "egress",
    "ingress",
];
/// The chains of the table.
pub const CHAINS: [&str; 8] =
    ["prerouting", "pod-limits", "input", "forward", "from-pods", "to-pods", "output", "postrouting"];

/// A set or map without its elements.
#[must_use]
pub fn set(name: &Name) -> Option<Set> {
    Some(match name.as_str() {
        "nodes4" => Set::hash([DataType::Ipv4]),
        "nodes6" => Set::hash([DataType::Ipv6]),
        "pools4" | "masq4" | "services4" => Set::interval(DataType::Ipv4),
        "pools6" | "masq6" | "services6" => Set::interval(DataType::Ipv6),
        "pods4" => Set::hash([DataType::IfName, DataType::Ipv4]),
        "pods6" => Set::hash([DataType::IfName, DataType::Ipv6]),
        "egress" | "ingress" => Set::vmap([DataType::IfName]),
        _ => return None,
    })
}

/// Whether an element should be in a set or map, and with which verdict.
#[must_use]
pub fn element(known: &Known, set: &Name, key: &Key) -> Option<Option<Verdict>> {
    let wanted = match (set.as_str(), key.values()) {
        ("nodes4" | "nodes6", [Value::Addr(addr)]) => known.nodes.at(*addr).is_some(),
        ("pools4" | "pools6", [Value::Net(net)]) => is_outermost(*net, pools(known, |_| true)),
        ("masq4" | "masq6", [Value::Net(net)]) => is_outermost(*net, pools(known, |pool| pool.nat_outgoing)),
        ("services4" | "services6", [Value::Net(net)]) => is_outermost(*net, ranges(known)),
        ("pods4" | "pods6", [Value::IfName(dev), Value::Addr(addr)]) => {
            known.pods.by_address(*addr).is_some_and(|endpoint| endpoint.link == *dev)
        }
        ("egress" | "ingress", [Value::IfName(dev)]) => {
            return known.pods.by_link(*dev).map(|_| Some(Verdict::Return));
        }
        _ => false,
    };
    wanted.then_some(None)
}

/// The CIDRs of such pools.
fn pools(known: &Known, such: impl Fn(&corduroy_api::IpPool) -> bool) -> impl Iterator<Item = IpNet> {
    known.pools.iter().filter(move |pool| such(pool)).map(|pool| convert::from_network(pool.cidr))
}

/// The ranges of services that are announced.
fn ranges(known: &Known) -> impl Iterator<Item = IpNet> {
    known.services.ranges().iter().map(|(_, range)| convert::from_network(range))
}

/// Is it one of these and in no larger one? Members of an interval set must not overlap.
fn is_outermost(net: IpNet, mut nets: impl Iterator<Item = IpNet>) -> bool {
    let mut found = false;
    nets.all(|other| {
        found |= other == net;
        other == net || !other.covers(net)
    }) && found
}

/// The element that stands for a node address.
#[must_use]
pub fn node_element(addr: IpAddr) -> (Name, Key) {
    (by_family("nodes4", "nodes6", Family::of(addr)), addr.into())
}

/// The elements that stand for a pool.
#[must_use]
pub fn pool_elements(net: IpNet) -> [(Name, Key); 2] {
    let family = net.family();
    [(by_family("pools4", "pools6", family), net.into()), (by_family("masq4", "masq6", family), net.into())]
}

/// The element that stands for a range of services.
#[must_use]
pub fn range_element(net: IpNet) -> (Name, Key) {
    (by_family("services4", "services6", net.family()), net.into())
}

/// The elements that stand for an interface of a pod.
#[must_use]
pub fn link_elements(dev: LinkName) -> [(Name, Key); 2] {
    [("egress".into(), dev.into()), ("ingress".into(), dev.into())]
}

/// The element that stands for an address of a pod.
#[must_use]
pub fn pod_element(dev: LinkName, addr: IpAddr) -> (Name, Key) {
    let key = [Value::IfName(dev), Value::Addr(addr)].into();
    (by_family("pods4", "pods6", Family::of(addr)), key)
}

fn by_family(v4: &str, v6: &str, family: Family) -> Name {
    match family {
        Family::V4 => v4.into(),
        Family::V6 => v6.into(),
    }
}

/// A chain with its rules.
#[must_use]
pub fn chain(known: &Known, name: &Name) -> Option<Chain> {
    let hook = |kind, hook, priority| Some(Base { kind, hook, priority, policy: Policy::Accept });
    let (base, rules) = match name.as_str() {
        "prerouting" => (hook(ChainKind::Filter, Hook::Prerouting, -300), prerouting()),
        "pod-limits" => (None, pod_limits()),
        "input" => (hook(ChainKind::Filter, Hook::Input, 0), input(known)),
        "forward" => (hook(ChainKind::Filter, Hook::Forward, 0), forward(known)),
        "from-pods" => (None, judge(Field::Iifname, "egress")),
        "to-pods" => (None, judge(Field::Oifname, "ingress")),
        "output" => (hook(ChainKind::Filter, Hook::Output, 0), output()),
        // Without a chain of this type the kernel looks at no packet for address translation.
        "postrouting" if known.pools.iter().any(|pool| pool.nat_outgoing) => {
            (hook(ChainKind::Nat, Hook::Postrouting, 100), postrouting())
        }
        _ => return None,
    };
    Some(Chain { base, rules })
}

/// What comes from a pod's interface.
fn from_pods() -> Rule {
    Rule::new().when(Match::iifname_prefix(LinkName::PODS))
}

/// What goes to a pod's interface.
fn to_pods() -> Rule {
    Rule::new().when(Match::oifname_prefix(LinkName::PODS))
}

/// Whatever is not from a pod passes. Neighbour discovery passes; a pod is no router. Everything else must come from an
/// address of the interface.
fn prerouting() -> Vec<Rule> {
    const SOLICIT: u8 = 135;
    const ADVERTISE: u8 = 136;
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const REDIRECT: u8 = 137;
    let icmp6 = |kind| Rule::new().when(Match::icmp_type(Family::V6, kind));
    let link_local = IpNet::containing(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
    let from_link_local =
        |kind| link_local.into_iter().fold(icmp6(kind), |rule, net| rule.when(Match::saddr(net)));
    let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let known = |family, set: &str| Rule::new().in_set([Field::Iifname, Field::Saddr(family)], set).accept();
    vec![
        Rule::new().when(Match::iifname_prefix(LinkName::PODS).not()).accept(),
        known(Family::V4, "pods4"),
        icmp6(ROUTER_ADVERTISEMENT).drop().comment("a pod is no router"),
        icmp6(REDIRECT).drop(),
        from_link_local(SOLICIT).accept(),
        from_link_local(ADVERTISE).accept(),
        icmp6(SOLICIT).when(Match::saddr_is(unspecified)).accept().comment("duplicate address detection"),
        known(Family::V6, "pods6"),
        Rule::new().counter().drop().comment("not an address of this interface"),
    ]
}

/// What no pod may send to a node: tunnelled packets, which would come out as if a node had sent them, and BGP.
fn pod_limits() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (family, nodes) in [(Family::V4, "nodes4"), (Family::V6, "nodes6")] {
        let to_node = |what| Rule::new().when(what).in_set([Field::Daddr(family)], nodes).counter().drop();
        if family == Family::V4 {
            rules.push(to_node(Match::l4proto(IPIP)).comment("IPIP from a pod"));
        }
        rules.push(to_node(Match::dport(L4::Udp, Vxlan::PORT, Vxlan::PORT)).comment("VXLAN from a pod"));
        rules.push(to_node(Match::dport(L4::Tcp, BGP_PORT, BGP_PORT)).comment("BGP from a pod"));
    }
    let to_us = Rule::new().when(Match::dport(L4::Tcp, BGP_PORT, BGP_PORT));
    rules.push(to_us.when(Match::daddr_type(AddrType::Local)).counter().drop().comment("BGP from a pod"));
    rules
}

/// Tunnelled packets come from nodes. Said only of the tunnels we terminate: others' are not ours to judge.
fn input(known: &Known) -> Vec<Rule> {
    let mut rules = vec![from_pods().jump("pod-limits")];
    if links::is_wanted(known, LinkName::IPIP) {
        let ipip = Rule::new().when(Match::l4proto(IPIP)).not_in_set([Field::Saddr(Family::V4)], "nodes4");
        rules.push(ipip.counter().drop().comment("IPIP from no node"));
    }
    if links::is_wanted(known, LinkName::VXLAN) {
        for (family, nodes) in [(Family::V4, "nodes4"), (Family::V6, "nodes6")] {
            let vxlan = Rule::new().when(Match::dport(L4::Udp, Vxlan::PORT, Vxlan::PORT));
            let vxlan = vxlan.not_in_set([Field::Saddr(family)], nodes);
            rules.push(vxlan.counter().drop().comment("VXLAN from no node"));
        }
    }
    rules
}

fn forward(known: &Known) -> Vec<Rule> {
    let judged = CtState::ESTABLISHED.or(CtState::RELATED);
    let mut rules = vec![Rule::new().when(Match::ct_state(judged)).accept()];
    for family in [Family::V4, Family::V6] {
        if ranges(known).any(|range| range.family() == family) {
            let services = by_family("services4", "services6", family);
            let nodes = by_family("nodes4", "nodes6", family);
            let nobodys = Rule::new().in_set([Field::Daddr(family)], services.as_str());
            let nobodys = nobodys.not_in_set([Field::Daddr(family)], nodes.as_str());
            rules.push(nobodys.counter().drop().comment("no service has this address"));
        }
    }
    rules.extend([from_pods().jump("from-pods"), to_pods().jump("to-pods")]);
    rules
}

/// What a new connection from a pod's interface, or to one, may be: the map sends it to that pod's rules.
fn judge(interface: Field, map: &str) -> Vec<Rule> {
    let judged = Rule::new().vmap([interface], map);
    let unknown = Rule::new().counter().drop().comment("an interface that is not known");
    if interface == Field::Iifname {
        vec![Rule::new().jump("pod-limits"), judged, unknown]
    } else {
        vec![judged, unknown]
    }
}

/// What this host itself sends to a pod goes to an address that the interface has.
fn output() -> Vec<Rule> {
    let unknown = |family, set: &str| {
        to_pods().not_in_set([Field::Oifname, Field::Daddr(family)], set).counter().drop()
    };
    vec![unknown(Family::V4, "pods4"), unknown(Family::V6, "pods6")]
}

/// Nodes are left out beside pools: pods and nodes see each other's own addresses.
fn postrouting() -> Vec<Rule> {
    let masquerade = |family, masq: &str, pools: &str, nodes: &str| {
        let from = Rule::new().in_set([Field::Saddr(family)], masq);
        from.not_in_set([Field::Daddr(family)], pools).not_in_set([Field::Daddr(family)], nodes).masquerade()
    };
    vec![
        masquerade(Family::V4, "masq4", "pools4", "nodes4"),
        masquerade(Family::V6, "masq6", "pools6", "nodes6"),
    ]
}
