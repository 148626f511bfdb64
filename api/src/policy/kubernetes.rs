//! `NetworkPolicy` of `networking.k8s.io/v1`. It is only read: the API server has checked it, and what this version
//! does not know of it makes it deny.

use ipnetwork::IpNetwork;

use super::labels::{self, LabelSelectorSpec};
use super::{Judged, Ports, Protocol, judged, mentions, port};
use crate::meta::Metadata;
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, Violations, quoted};
use crate::selector::Selector;
use crate::yaml::Value;

/// A policy: what it allows is all that the pods it selects may get, or send, in the directions it has.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPolicy {
    /// Name (`namespace/name`) and so on.
    pub metadata: Metadata,
    /// Which pods of its namespace.
    pub pods: Selector,
    /// What they may get; `None`: it does not say.
    pub ingress: Option<Vec<Rule>>,
    /// What they may send; `None`: it does not say.
    pub egress: Option<Vec<Rule>>,
}

/// What is allowed: any of the peers with any of the ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Whom to get from, or send to; `None`: everybody.
    pub peers: Option<Vec<Peer>>,
    /// To which ports; `None`: all, and protocols without ports too.
    pub ports: Option<Vec<Port>>,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods.
    Pods {
        /// Of these namespaces; `None`: of the policy's own.
        namespaces: Option<Selector>,
        /// Such pods.
        pods: Selector,
    },
    /// Whoever has an address of these, pods too.
    Block {
        /// In this network…
        cidr: IpNetwork,
        /// …and in none of these.
        except: Vec<IpNetwork>,
    },
}

/// Ports at the receiving end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// `None`: all of this protocol.
    pub ports: Option<Ports>,
}

raw! {
    /// `spec:` of a NetworkPolicy.
    pub struct NetworkPolicySpec {
        /// Which pods; an empty selector selects all of the namespace.
        pod_selector: LabelSelectorSpec = "podSelector",
        /// What pods may get.
        ingress: Vec<IngressSpec> = "ingress",
        /// What pods may send.
        egress: Vec<EgressSpec> = "egress",
        /// Ingress, Egress.
        policy_types: Vec<String> = "policyTypes",
    }
}

raw! {
    /// A rule of `ingress`.
    pub struct IngressSpec {
        /// From whom.
        from: Vec<PeerSpec> = "from",
        /// To which ports.
        ports: Vec<PortSpec> = "ports",
    }
}

raw! {
    /// A rule of `egress`.
    pub struct EgressSpec {
        /// To whom.
        to: Vec<PeerSpec> = "to",
        /// To which ports.
        ports: Vec<PortSpec> = "ports",
    }
}

raw! {
    /// A peer.
    pub struct PeerSpec {
        /// Such pods.
        pod_selector: LabelSelectorSpec = "podSelector",
        /// Of such namespaces.
        namespace_selector: LabelSelectorSpec = "namespaceSelector",
        /// Addresses; neither of the others with it.
        ip_block: BlockSpec = "ipBlock",
    }
}

raw! {
    /// `ipBlock:`.
    pub struct BlockSpec {
        /// A network.
        cidr: String = "cidr",
        /// Networks inside it that are not meant.
        except: Vec<String> = "except",
    }
}

raw! {
    /// An item of `ports`.
    pub struct PortSpec {
        /// TCP (default), UDP, SCTP.
        protocol: String = "protocol",
        /// A number or a name; all ports by default.
        port: NumberOrText = "port",
        /// The last, when `port` is the first of several.
        end_port: u64 = "endPort",
    }
}

impl NetworkPolicy {
    /// Reads the `spec:` of the policy `name` of `namespace`.
    ///
    /// # Errors
    /// It can't be said which pods it is about.
    pub fn read(namespace: &str, metadata: Metadata, spec: &Value) -> Result<Judged<Self>, Violations> {
        let name = crate::Pod::key_name(namespace, &metadata.name);
        let metadata = Metadata { name, ..metadata };
        judged(spec, &["podSelector"], |raw: NetworkPolicySpec, report| {
            let pods = raw.pod_selector.unwrap_or_default();
            let pods = report.within("podSelector", |r| labels::selector(&pods, r));
            let [ingress, egress] = directions(raw.policy_types.as_deref(), mentions(spec, "egress"), report);
            let ingress_rules = report.within("ingress", |r| {
                let rules = raw.ingress.iter().flatten().enumerate();
                rules
                    .filter_map(|(i, rule)| r.within(i, |r| check("from", &rule.from, &rule.ports, r)))
                    .collect()
            });
            let egress_rules = report.within("egress", |r| {
                let rules = raw.egress.iter().flatten().enumerate();
                rules.filter_map(|(i, rule)| r.within(i, |r| check("to", &rule.to, &rule.ports, r))).collect()
            });
            Some(Self {
                metadata,
                pods: pods?,
                ingress: ingress.then_some(ingress_rules),
                egress: egress.then_some(egress_rules),
            })
        })
    }
}

/// The directions it has. Without a word about it: what pods get, and what they send if it has rules for that.
fn directions(types: Option<&[String]>, has_egress: bool, report: &mut Report) -> [bool; 2] {
    let Some(types) = types.filter(|types| !types.is_empty()) else { return [true, has_egress] };
    let mut found = [false, false];
    report.within("policyTypes", |r| {
        for (i, word) in types.iter().enumerate() {
            match (word.as_str(), &mut found) {
                ("Ingress", [ingress, _]) => *ingress = true,
                ("Egress", [_, egress]) => *egress = true,
                (other, both) => {
                    r.within(i, |r| r.refuse(quoted(other), "one of Ingress, Egress"));
                    // It may be a direction this version does not know: rather too much is denied than too little.
                    *both = [true, true];
                }
            }
        }
    });
    found
}

fn check(
    side: &str,
    peers: &Option<Vec<PeerSpec>>,
    ports: &Option<Vec<PortSpec>>,
    report: &mut Report,
) -> Option<Rule> {
    let some = |list: usize| list > 0;
    let peers = peers.as_ref().filter(|list| some(list.len())).map(|list| {
        report.within(side, |r| {
            let peers = list.iter().enumerate();
            peers.filter_map(|(i, raw)| r.within(i, |r| check_peer(raw, r))).collect()
        })
    });
    let ports = ports.as_ref().filter(|list| some(list.len())).map(|list| {
        report.within("ports", |r| {
            let ports = list.iter().enumerate();
            ports.filter_map(|(i, raw)| r.within(i, |r| check_port(raw, r))).collect()
        })
    });
    Some(Rule { peers, ports })
}

fn check_peer(raw: &PeerSpec, report: &mut Report) -> Option<Peer> {
    match (&raw.ip_block, &raw.pod_selector, &raw.namespace_selector) {
        (Some(block), None, None) => report.within("ipBlock", |r| check_block(block, r)),
        (None, pods, namespaces) if pods.is_some() || namespaces.is_some() => {
            let pods = match pods {
                Some(pods) => report.within("podSelector", |r| labels::selector(pods, r)),
                None => Some(Selector::all()),
            };
            let namespaces = match namespaces {
                Some(raw) => Some(report.within("namespaceSelector", |r| labels::selector(raw, r))?),
                None => None,
            };
            Some(Peer::Pods { namespaces, pods: pods? })
        }
        _ => {
            let allowed = "ipBlock, or one or both of podSelector and namespaceSelector";
            report.refuse("this peer", allowed);
            None
        }
    }
}

fn check_block(raw: &BlockSpec, report: &mut Report) -> Option<Peer> {
    if raw.cidr.is_none() {
        report.missing("cidr", "a CIDR, as in 192.0.2.0/24 or 2001:db8::/32");
    }
    let cidr = network("cidr", raw.cidr.as_ref(), report);
    let except = raw.except.as_deref().unwrap_or_default();
    let except = report.within("except", |r| {
        let read = except.iter().enumerate();
        read.filter_map(|(i, text)| r.within(i, |r| parse(text, r))).collect()
    });
    Some(Peer::Block { cidr: cidr?, except })
}

fn network(name: &str, raw: Option<&String>, report: &mut Report) -> Option<IpNetwork> {
    let raw = raw?;
    report.within(name, |r| parse(raw, r))
}

/// A network as Kubernetes takes it: bits behind the length are let pass and mean nothing.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<IpNetwork> {
    let read = text.contains('/').then(|| text.parse::<IpNetwork>().ok()).flatten();
    let net = read.and_then(|net| IpNetwork::new(net.network(), net.prefix()).ok());
    if net.is_none() {
        report.refuse(quoted(text), "a CIDR, as in 192.0.2.0/24 or 2001:db8::/32");
    }
    net
}

fn check_port(raw: &PortSpec, report: &mut Report) -> Option<Port> {
    let words = [("TCP", Protocol::TCP), ("UDP", Protocol::UDP), ("SCTP", Protocol::SCTP)];
    let protocol = report.choice("protocol", raw.protocol.as_ref(), &words);
    let first = match &raw.port {
        Some(raw) => Some(report.within("port", |r| port(raw, r))?),
        None => None,
    };
    let ports = match (first, raw.end_port) {
        (Some(Ports::Range(first, _)), Some(end)) => {
            let last = report.ranged("endPort", Some(end), first.into()..=65535)?;
            Some(Ports::Range(first, last))
        }
        (_, Some(end)) => {
            report.refuse_field("endPort", end, "left out, or there with a port that is a number");
            return None;
        }
        (ports, None) => ports,
    };
    Some(Port { protocol: protocol?, ports })
}
