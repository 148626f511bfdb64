//! Table `inet corduroy`.
//!
//! ```text
//! prerouting raw   iifname cord*  is the source the pod's own?
//! input filter     iifname cord*  ─► pods-to-host ─► pod-limits, vmap egress ─► … as below
//!                  tunnelled packets only from nodes
//! forward filter   of a connection judged before: accept, or drop if it is denied by now
//!                  to a range of services, untranslated: drop
//!                  iifname cord*  ─► from-pods ─► pod-limits, vmap egress ─► its program ─► sent: on to to-pods
//! to-pods filter   of a connection judged before: accept
//!                  oifname cord*  ─► vmap ingress ─► its program ─► passed
//!                  passed: noted in the connection's mark, accept        denied: reported, noted, drop
//! output filter    oifname cord*  only to an address the interface has
//! postrouting nat  from a pool with natOutgoing to neither pool nor node ─► masquerade, fully random
//! ```
//! What every packet of every pod meets is kept short, since it pays for each base chain and each lookup: the
//! source check, and one rule in each chain that lets through what belongs to a connection judged before. The source
//! check stands before connection tracking, so that a forged packet costs no entry and takes part in nobody's
//! connection. Traffic between two pods of this node is what one may send and the other may get: both are judged, the
//! receiver from a hook of its own, so that the kernel need not follow every way from the programs of all senders to
//! those of all receivers before it takes a change ([`SENT`]). The verdict maps send each pod where its program is. An
//! interface that is in no map passes nothing: an agent that is late or dead fails closed. What is denied is dropped
//! in silence.
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
    AddrType, Base, Chain, ChainKind, CtDirection, CtState, DataType, Field, Hook, Key, L4, Limit, Match,
    Name, Per, Policy, Rule, Set, Value, Verdict,
};
use corduroy_kernel::{Family, IpNet, LinkName, Vxlan};

use corduroy_policy::Direction;
use corduroy_policy::engine::{DENIED, PASSED, SENT};

use super::{hosts, links};
use crate::convert;
use crate::explain::drops;
use crate::known::Known;
use crate::policies::{Generation, MARK};

/// The chain that judges what goes to pods.
pub const TO_PODS: &str = "to-pods";
/// The BGP port, which pods may not reach on nodes.
const BGP_PORT: u16 = 179;
/// IP protocol number of IPIP.
pub(super) const IPIP: u8 = 4;
/// ICMPv6 types of neighbour discovery (RFC 4861 §4.3 and §4.4).
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;

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
/// The chains of the table that do not come from policies.
pub const CHAINS: [&str; 12] = [
    "prerouting",
    "pod-limits",
    "input",
    "pods-to-host",
    "forward",
    "from-pods",
    SENT,
    TO_PODS,
    PASSED,
    DENIED,
    "output",
    "postrouting",
];

/// A set or map without its elements.
#[must_use]
pub fn set(known: &Known, name: &Name) -> Option<Set> {
    Some(match name.as_str() {
        "nodes4" => Set::hash([DataType::Ipv4]),
        "nodes6" => Set::hash([DataType::Ipv6]),
        "pools4" | "masq4" | "services4" => Set::interval(DataType::Ipv4),
        "pools6" | "masq6" | "services6" => Set::interval(DataType::Ipv6),
        "pods4" => Set::hash([DataType::IfName, DataType::Ipv4]),
        "pods6" => Set::hash([DataType::IfName, DataType::Ipv6]),
        "egress" | "ingress" => Set::vmap([DataType::IfName]),
        other => return hosts::set(known, other).or_else(|| known.policies.engine().empty_set(name)),
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
            let way = if set.as_str() == "egress" { Direction::Egress } else { Direction::Ingress };
            return known.pods.by_link(*dev).map(|_| Some(known.policies.verdict(*dev, way)));
        }
        (other, _) if hosts::set(known, other).is_some() => return hosts::element(known, other, key),
        _ => known.policies.engine().has_element(set, key),
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
    let rules = match name.as_str() {
        "prerouting" => prerouting(),
        "pod-limits" => pod_limits(),
        "input" => input(known),
        "pods-to-host" => pods_to_host(known),
        "forward" => forward(known),
        "from-pods" => from_pods_chain(),
        SENT => vec![Rule::new().accept()],
        TO_PODS => to_pods_chain(known),
        PASSED => noted(known.policies.generation().mark(), Rule::new().accept()),
        DENIED => denied(),
        "output" => output(known),
        // Without a chain of this type the kernel looks at no packet for address translation.
        "postrouting" if known.pools.iter().any(|pool| pool.nat_outgoing) => postrouting(),
        other => match hosts::chain(known, other) {
            Some(chain) => return Some(chain),
            None => known.policies.engine().chain(name)?,
        },
    };
    Some(Chain { base: base(name), rules })
}

/// Where a chain is hooked in, if it is there; `None`: it is not, or has no hook of its own.
#[must_use]
pub fn base(name: &Name) -> Option<Base> {
    let (kind, hook, priority) = match name.as_str() {
        "prerouting" => (ChainKind::Filter, Hook::Prerouting, -300),
        "input" => (ChainKind::Filter, Hook::Input, 0),
        "forward" => (ChainKind::Filter, Hook::Forward, 0),
        TO_PODS => (ChainKind::Filter, Hook::Forward, 1),
        "output" => (ChainKind::Filter, Hook::Output, 0),
        "postrouting" => (ChainKind::Nat, Hook::Postrouting, 100),
        other => return hosts::base(other),
    };
    Some(Base { kind, hook, priority, policy: Policy::Accept })
}

/// Ten a second are handed to whoever reports them, in a burst fifty: noting each costs more than dropping it.
fn denied() -> Vec<Rule> {
    let some = Limit { rate: 10, per: Per::Second, burst: 50 };
    let reported = Rule::new().limit(some).log_group(drops::GROUP, drops::PREFIX, drops::SNAPLEN);
    let mut rules = vec![reported];
    rules.extend(noted(Generation::DENIED, Rule::new().drop()));
    rules
}

/// What became of a connection, and then what becomes of its packet. One that belongs to no connection, because it fits
/// none or is not to be tracked, has no mark: a rule that would set it is left there, so the verdict is another's.
fn noted(mark: u32, verdict: Rule) -> Vec<Rule> {
    vec![Rule::new().set_ct_mark(MARK, mark), verdict]
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
    let mut rules = vec![from_pods().goto("pods-to-host")];
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
    rules.extend(hosts::input(known));
    rules
}

fn forward(known: &Known) -> Vec<Rule> {
    let mut rules = judged_before(known);
    for family in [Family::V4, Family::V6] {
        if ranges(known).any(|range| range.family() == family) {
            let services = by_family("services4", "services6", family);
            let nodes = by_family("nodes4", "nodes6", family);
            let nobodys = Rule::new().in_set([Field::Daddr(family)], services.as_str());
            let nobodys = nobodys.not_in_set([Field::Daddr(family)], nodes.as_str());
            rules.push(nobodys.counter().drop().comment("no service has this address"));
        }
    }
    rules.push(from_pods().goto("from-pods"));
    rules.extend(hosts::forward(known));
    rules
}

/// What belongs to a connection that was judged before. Its own packets pass as long as nothing may be denied since;
/// then the next of them is judged. Answers, and errors it causes, pass unless it was denied: they can't be judged
/// themselves, being the other way round.
pub(super) fn judged_before(known: &Known) -> Vec<Rule> {
    let denied = Match::ct_mark(MARK, Generation::DENIED);
    vec![
        let_pass_before(known),
        answer().when(denied.not()).accept(),
        answer().counter().drop().comment("of a connection that is denied by now"),
        related().when(denied.not()).accept(),
    ]
}

/// By all who judge it, as they do now.
fn let_pass_before(known: &Known) -> Rule {
    tracked().when(Match::ct_mark(MARK, known.policies.generation().mark())).accept()
}

fn tracked() -> Rule {
    Rule::new().when(Match::ct_state(CtState::ESTABLISHED.or(CtState::RELATED)))
}

fn answer() -> Rule {
    tracked().when(Match::ct_direction(CtDirection::Reply))
}

fn related() -> Rule {
    Rule::new().when(Match::ct_state(CtState::RELATED))
}

/// What a pod sends to its own host is judged as what it sends to others, but for neighbour discovery. Nobody judges it
/// behind that, so that it is noted as let pass before; one that is denied is noted as that.
fn pods_to_host(known: &Known) -> Vec<Rule> {
    let mut rules = judged_before(known);
    for kind in [SOLICIT, ADVERTISE] {
        rules.push(Rule::new().when(Match::icmp_type(Family::V6, kind)).accept());
    }
    rules.push(Rule::new().jump("pod-limits"));
    rules.extend(noted(known.policies.generation().mark(), Rule::new().vmap([Field::Iifname], "egress")));
    rules.push(unknown());
    rules
}

/// What a new connection from a pod's interface may be: the map sends it to that pod's program.
fn from_pods_chain() -> Vec<Rule> {
    let mut rules = vec![Rule::new().jump("pod-limits")];
    rules.extend(to_itself(SENT));
    rules.extend([Rule::new().vmap([Field::Iifname], "egress"), unknown()]);
    rules
}

/// A pod reaches itself, also by a service: then the source is an address of the interface it leaves by.
fn to_itself(onward: &str) -> [Rule; 2] {
    [(Family::V4, "pods4"), (Family::V6, "pods6")].map(|(family, set)| {
        let own = Rule::new().in_set([Field::Oifname, Field::Saddr(family)], set);
        own.goto(onward).comment("a pod and itself")
    })
}

/// What a new connection to a pod's interface may be. Others end here too, having passed what was to be asked of them.
/// What `forward` let through as an answer, or as an error that a connection causes, is not judged here either. A
/// connection that nobody has answered may have been let pass to somewhere else: to where the address of a new pod led
/// before the pod was there.
fn to_pods_chain(known: &Known) -> Vec<Rule> {
    let mut rules = vec![let_pass_before(known), answer().accept(), related().accept()];
    rules.extend(to_itself(PASSED));
    rules.push(Rule::new().vmap([Field::Oifname], "ingress"));
    rules.push(to_pods().counter().drop().comment("an interface that is not known"));
    rules.extend(hosts::forwarded(known));
    rules.push(from_pods().goto(PASSED));
    rules
}

fn unknown() -> Rule {
    Rule::new().counter().drop().comment("an interface that is not known")
}

/// What this host itself sends to a pod goes to an address that the interface has.
fn output(known: &Known) -> Vec<Rule> {
    let unknown = |family, set: &str| {
        to_pods().not_in_set([Field::Oifname, Field::Daddr(family)], set).counter().drop()
    };
    let pods = [unknown(Family::V4, "pods4"), unknown(Family::V6, "pods6")];
    pods.into_iter().chain(hosts::output(known)).collect()
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
