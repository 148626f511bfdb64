//! `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2`. It is only read.
//!
//! Its documentation says what becomes of a rule that an implementation does not understand: one that accepts matches
//! nothing, one that denies or passes denies everything. So here a rule, and not the policy, is broken.

use ipnetwork::IpNetwork;

use super::kubernetes::parse;
use super::labels::{self, LabelSelectorSpec};
use super::{Judged, Ports, Protocol, bounded, is_port_name, judged};
use crate::meta::Metadata;
use crate::raw::raw;
use crate::report::{Report, Step, Violations};
use crate::selector::Selector;
use crate::yaml::Value;

/// A policy of the cluster's administrator.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterNetworkPolicy {
    /// Name and so on.
    pub metadata: Metadata,
    /// Before or behind the policies of namespaces.
    pub tier: Tier,
    /// 0 to 1000; lower comes first.
    pub priority: u32,
    /// Whom it is about; pods on the host's network never.
    pub subject: Pods,
    /// What the subject gets, in order.
    pub ingress: Vec<Rule>,
    /// What it sends, in order.
    pub egress: Vec<Rule>,
}

/// When it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// First.
    Admin,
    /// Last.
    Baseline,
}

/// Pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Pods {
    /// Of such namespaces.
    pub namespaces: Selector,
    /// Such of them.
    pub pods: Selector,
}

/// One rule. Any of its peers and any of its protocols.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What people call it.
    pub name: Option<String>,
    /// What becomes of what it matches.
    pub action: Action,
    /// Whom.
    pub peers: Vec<Peer>,
    /// What; `None`: everything.
    pub protocols: Option<Vec<Protocols>>,
    /// What was not understood of it.
    pub broken: Option<Violations>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It may pass.
    Accept,
    /// It is dropped.
    Deny,
    /// The next tier says.
    Pass,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods, but for those on the host's network.
    Pods(Pods),
    /// Nodes, by their addresses. For what is sent only.
    Nodes(Selector),
    /// Whoever has such an address. For what is sent only.
    Networks(Vec<IpNetwork>),
}

/// What of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// A protocol, and ports of the receiver when it names some.
    Of(Protocol, Option<Ports>),
    /// What the receiver calls by this name, of any protocol.
    Named(String),
}

raw! {
    /// `spec:` of a ClusterNetworkPolicy.
    pub struct ClusterNetworkPolicySpec {
        /// Admin, Baseline.
        tier: String = "tier",
        /// 0 to 1000.
        priority: u64 = "priority",
        /// Whom it is about.
        subject: SubjectSpec = "subject",
        /// What they get.
        ingress: Vec<IngressSpec> = "ingress",
        /// What they send.
        egress: Vec<EgressSpec> = "egress",
    }
}

raw! {
    /// `subject:`, exactly one field; a peer of what is received is the same.
    pub struct SubjectSpec {
        /// All pods of such namespaces.
        namespaces: LabelSelectorSpec = "namespaces",
        /// Such pods of such namespaces.
        pods: PodsSpec = "pods",
    }
}

raw! {
    /// `pods:`.
    pub struct PodsSpec {
        /// Such namespaces.
        namespace_selector: LabelSelectorSpec = "namespaceSelector",
        /// Such pods.
        pod_selector: LabelSelectorSpec = "podSelector",
    }
}

raw! {
    /// A rule of `ingress`.
    pub struct IngressSpec {
        /// For people.
        name: String = "name",
        /// Accept, Deny, Pass.
        action: String = "action",
        /// From whom.
        from: Vec<SubjectSpec> = "from",
        /// What.
        protocols: Vec<ProtocolSpec> = "protocols",
    }
}

raw! {
    /// A rule of `egress`.
    pub struct EgressSpec {
        /// For people.
        name: String = "name",
        /// Accept, Deny, Pass.
        action: String = "action",
        /// To whom.
        to: Vec<PeerSpec> = "to",
        /// What.
        protocols: Vec<ProtocolSpec> = "protocols",
    }
}

raw! {
    /// A peer of what is sent: exactly one field.
    pub struct PeerSpec {
        /// All pods of such namespaces.
        namespaces: LabelSelectorSpec = "namespaces",
        /// Such pods of such namespaces.
        pods: PodsSpec = "pods",
        /// Such nodes.
        nodes: LabelSelectorSpec = "nodes",
        /// CIDRs.
        networks: Vec<String> = "networks",
        /// Names of the DNS.
        domain_names: Vec<String> = "domainNames",
    }
}

raw! {
    /// An item of `protocols`: exactly one field.
    pub struct ProtocolSpec {
        /// TCP.
        tcp: TransportSpec = "tcp",
        /// UDP.
        udp: TransportSpec = "udp",
        /// SCTP.
        sctp: TransportSpec = "sctp",
        /// What the receiver calls so.
        destination_named_port: String = "destinationNamedPort",
    }
}

raw! {
    /// `tcp:` and so on.
    pub struct TransportSpec {
        /// Ports of the receiver.
        destination_port: PortSpec = "destinationPort",
    }
}

raw! {
    /// `destinationPort:`: exactly one field.
    pub struct PortSpec {
        /// One.
        number: u64 = "number",
        /// Several.
        range: RangeSpec = "range",
    }
}

raw! {
    /// `range:`.
    pub struct RangeSpec {
        /// The first.
        start: u64 = "start",
        /// The last, greater than the first.
        end: u64 = "end",
    }
}

const RULES: usize = 25;

impl ClusterNetworkPolicy {
    /// Reads the `spec:` of a policy. What is wrong with rules stands in [`Rule::broken`] too.
    ///
    /// # Errors
    /// It can't be said whom it is about, or when it is asked.
    pub fn read(metadata: Metadata, spec: &Value) -> Result<Judged<Self>, Violations> {
        let vital = ["tier", "priority", "subject", "ingress", "egress"];
        let broken = |judged: &Judged<Self>| judged.broken.clone().unwrap_or(Violations(Vec::new()));
        // Where a rule was read, what is wrong with it is the rule's; where a list of rules was not, all is lost.
        let mut found =
            judged(spec, &vital[..3], |raw: ClusterNetworkPolicySpec, r| check(metadata, &raw, r))?;
        let mut left = broken(&found);
        for (list, rules) in [("ingress", &mut found.policy.ingress), ("egress", &mut found.policy.egress)] {
            for (i, rule) in rules.iter_mut().enumerate() {
                let (of_rule, others) = left.0.into_iter().partition(|invalid| {
                    invalid.field.0.get(1..3) == Some(&[Step::from(list), Step::from(i)])
                });
                left = Violations(others);
                rule.broken = Some(Violations(of_rule)).filter(|violations| !violations.0.is_empty());
            }
        }
        found.broken = (!left.0.is_empty()).then_some(left);
        Ok(found)
    }
}

fn check(
    metadata: Metadata,
    raw: &ClusterNetworkPolicySpec,
    report: &mut Report,
) -> Option<ClusterNetworkPolicy> {
    let words = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
    if raw.tier.is_none() {
        report.missing("tier", "Admin or Baseline");
    }
    let tier = report.choice("tier", raw.tier.as_ref(), &words);
    if raw.priority.is_none() {
        report.missing("priority", "a whole number from 0 to 1000");
    }
    let priority = report.ranged("priority", raw.priority, 0..=1000);
    let subject = report.within("subject", |r| check_pods(raw.subject.as_ref(), r));
    bounded("ingress", raw.ingress.as_ref().map_or(0, Vec::len), RULES, report);
    bounded("egress", raw.egress.as_ref().map_or(0, Vec::len), RULES, report);
    let ingress = report.within("ingress", |r| {
        let rules = raw.ingress.iter().flatten().enumerate();
        rules.map(|(i, rule)| r.within(i, |r| check_ingress(rule, r))).collect()
    });
    let egress = report.within("egress", |r| {
        let rules = raw.egress.iter().flatten().enumerate();
        rules.map(|(i, rule)| r.within(i, |r| check_egress(rule, r))).collect()
    });
    Some(ClusterNetworkPolicy {
        metadata,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress,
        egress,
    })
}

fn check_ingress(raw: &IngressSpec, report: &mut Report) -> Rule {
    let peers = raw.from.as_deref().unwrap_or_default();
    peers_are_few("from", peers.len(), report);
    let peers = report.within("from", |r| {
        let read = peers.iter().enumerate();
        read.filter_map(|(i, peer)| r.within(i, |r| check_pods(Some(peer), r).map(Peer::Pods))).collect()
    });
    let action = check_action(raw.action.as_ref(), report);
    let protocols = check_protocols(raw.protocols.as_deref(), report);
    Rule { name: raw.name.clone(), action, peers, protocols, broken: None }
}

fn check_egress(raw: &EgressSpec, report: &mut Report) -> Rule {
    let peers = raw.to.as_deref().unwrap_or_default();
    peers_are_few("to", peers.len(), report);
    let peers: Vec<Peer> = report.within("to", |r| {
        let read = peers.iter().enumerate();
        read.filter_map(|(i, peer)| r.within(i, |r| check_peer(peer, r))).collect()
    });
    let action = check_action(raw.action.as_ref(), report);
    let protocols = check_protocols(raw.protocols.as_deref(), report);
    let named = protocols.iter().flatten().any(|what| matches!(what, Protocols::Named(_)));
    if named && peers.iter().any(|peer| !matches!(peer, Peer::Pods(_))) {
        let allowed = "left out beside nodes and networks: they call no port by a name";
        report.refuse_field("protocols", "destinationNamedPort", allowed);
    }
    Rule { name: raw.name.clone(), action, peers, protocols, broken: None }
}

fn peers_are_few(name: &str, count: usize, report: &mut Report) {
    if count == 0 {
        report.missing(name, "at least one peer");
    }
    bounded(name, count, RULES, report);
}

/// Without a word that is known it denies: that is what a rule that was not understood does at most.
fn check_action(raw: Option<&String>, report: &mut Report) -> Action {
    let words = [("Deny", Action::Deny), ("Accept", Action::Accept), ("Pass", Action::Pass)];
    if raw.is_none() {
        report.missing("action", "Accept, Deny or Pass");
    }
    report.choice("action", raw, &words).unwrap_or(Action::Deny)
}

fn check_pods(raw: Option<&SubjectSpec>, report: &mut Report) -> Option<Pods> {
    match raw {
        Some(SubjectSpec { namespaces: Some(namespaces), pods: None }) => {
            let namespaces = report.within("namespaces", |r| labels::selector(namespaces, r))?;
            Some(Pods { namespaces, pods: Selector::all() })
        }
        Some(SubjectSpec { namespaces: None, pods: Some(pods) }) => {
            report.within("pods", |r| check_namespaced(pods, r))
        }
        _ => {
            report.refuse("what stands here", "exactly one of namespaces, pods");
            None
        }
    }
}

fn check_namespaced(raw: &PodsSpec, report: &mut Report) -> Option<Pods> {
    let namespaces = raw.namespace_selector.clone().unwrap_or_default();
    let pods = raw.pod_selector.clone().unwrap_or_default();
    let namespaces = report.within("namespaceSelector", |r| labels::selector(&namespaces, r));
    let pods = report.within("podSelector", |r| labels::selector(&pods, r));
    Some(Pods { namespaces: namespaces?, pods: pods? })
}

fn check_peer(raw: &PeerSpec, report: &mut Report) -> Option<Peer> {
    let pods = SubjectSpec { namespaces: raw.namespaces.clone(), pods: raw.pods.clone() };
    let is_pods = pods.namespaces.is_some() || pods.pods.is_some();
    match (is_pods, &raw.nodes, &raw.networks, &raw.domain_names) {
        (true, None, None, None) => check_pods(Some(&pods), report).map(Peer::Pods),
        (false, Some(nodes), None, None) => {
            report.within("nodes", |r| labels::selector(nodes, r)).map(Peer::Nodes)
        }
        (false, None, Some(networks), None) => {
            bounded("networks", networks.len(), RULES, report);
            report.within("networks", |r| {
                let read = networks.iter().enumerate();
                let nets: Vec<_> = read.filter_map(|(i, text)| r.within(i, |r| parse(text, r))).collect();
                (nets.len() == networks.len()).then_some(Peer::Networks(nets))
            })
        }
        (false, None, None, Some(names)) => {
            let shown = names.join(", ");
            report.refuse_field("domainNames", shown, "left out: names of the DNS are not supported");
            None
        }
        _ => {
            let allowed = "exactly one of namespaces, pods, nodes, networks, domainNames";
            report.refuse("what stands here", allowed);
            None
        }
    }
}

fn check_protocols(raw: Option<&[ProtocolSpec]>, report: &mut Report) -> Option<Vec<Protocols>> {
    let raw = raw?;
    bounded("protocols", raw.len(), RULES, report);
    let read = report.within("protocols", |r| {
        let read = raw.iter().enumerate();
        read.filter_map(|(i, one)| r.within(i, |r| check_protocol(one, r))).collect()
    });
    Some(read)
}

fn check_protocol(raw: &ProtocolSpec, report: &mut Report) -> Option<Protocols> {
    let of = |name, protocol, raw: &TransportSpec, report: &mut Report| {
        let ports = match &raw.destination_port {
            None => None,
            Some(port) => Some(
                report.within(name, |r: &mut Report| r.within("destinationPort", |r| check_port(port, r)))?,
            ),
        };
        Some(Protocols::Of(protocol, ports))
    };
    match (&raw.tcp, &raw.udp, &raw.sctp, &raw.destination_named_port) {
        (Some(tcp), None, None, None) => of("tcp", Protocol::TCP, tcp, report),
        (None, Some(udp), None, None) => of("udp", Protocol::UDP, udp, report),
        (None, None, Some(sctp), None) => of("sctp", Protocol::SCTP, sctp, report),
        (None, None, None, Some(name)) => {
            let fine = report.within("destinationNamedPort", |r| is_port_name(name, r));
            fine.then(|| Protocols::Named(name.clone()))
        }
        _ => {
            report.refuse("what stands here", "exactly one of tcp, udp, sctp, destinationNamedPort");
            None
        }
    }
}

fn check_port(raw: &PortSpec, report: &mut Report) -> Option<Ports> {
    match (raw.number, &raw.range) {
        (Some(number), None) => {
            report.ranged("number", Some(number), 1..=65535).map(|number| Ports::Range(number, number))
        }
        (None, Some(range)) => report.within("range", |r| {
            let start: u16 = r.ranged("start", range.start, 1..=65534)?;
            let end = r.ranged("end", range.end, u64::from(start) + 1..=65535);
            if range.end.is_none() {
                r.missing("end", "the last port");
            }
            Some(Ports::Range(start, end?))
        }),
        _ => {
            report.refuse("what stands here", "exactly one of number, range");
            None
        }
    }
}
