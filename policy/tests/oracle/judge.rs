//! The oracle: may this packet pass, as far as this endpoint and direction are concerned? Read off the resources, one
//! after the other, as their documentation says it.

use std::net::IpAddr;

use corduroy_api::policy::cluster::{self, Peer as ClusterPeer, Protocols};
use corduroy_api::policy::host::NamedPort;
use corduroy_api::policy::kubernetes::{self, Peer};
use corduroy_api::policy::own::{Body, Reach};
use corduroy_api::policy::rule::{self, Entity, Namespaces};
use corduroy_api::policy::tier::DefaultAction;
use corduroy_api::policy::{Ports, Protocol};
use corduroy_api::{Labels, Selector};
use corduroy_kernel::Transport;
use corduroy_policy::{Class, Direction, Endpoint, EndpointKey, PolicyId};

use crate::cluster::{Cluster, Given};

/// The first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) icmp_type: u8,
    pub(crate) icmp_code: u8,
}

impl Packet {
    /// As the engine knows it.
    pub(crate) fn given(&self) -> corduroy_kernel::Packet {
        let transport = match (self.protocol, self.source) {
            (1, IpAddr::V4(_)) | (58, IpAddr::V6(_)) => {
                Transport::Icmp { kind: self.icmp_type, code: self.icmp_code }
            }
            (6 | 17 | 132, _) => {
                Transport::Ports { source: self.source_port, destination: self.destination_port }
            }
            _ => Transport::Unknown,
        };
        let Self { source, destination, protocol, .. } = *self;
        corduroy_kernel::Packet { source, destination, protocol, transport }
    }
}

/// What a policy says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Allow,
    Deny,
    Pass,
}

/// May it pass, and which rule of which policy says so; none: no rule does.
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) by: Option<(PolicyId, usize)>,
}

pub(crate) fn passes(cluster: &Cluster, key: &EndpointKey, direction: Direction, packet: &Packet) -> bool {
    decides(cluster, key, direction, packet).allowed
}

pub(crate) fn decides(
    cluster: &Cluster,
    key: &EndpointKey,
    direction: Direction,
    packet: &Packet,
) -> Decision {
    // Order, name of the tier, what it does at its end; order and name of the policy.
    let mut asked = Vec::new();
    for (id, given) in &cluster.policies {
        if selects(cluster, given, key) && has(given, direction) {
            let (tier, order) = place(given);
            let (tier_order, end) = tier_of(cluster, &tier);
            asked.push(((tier_order, tier), (order, id.clone()), end, given));
        }
    }
    asked.sort_by(|a, b| {
        let tiers = a.0.0.total_cmp(&b.0.0).then_with(|| a.0.1.cmp(&b.0.1));
        tiers.then_with(|| a.1.0.total_cmp(&b.1.0)).then_with(|| a.1.1.name.cmp(&b.1.1.name))
    });
    for tier in asked.chunk_by(|a, b| a.0.1 == b.0.1) {
        let said = tier.iter().find_map(|(_, (_, id), _, given)| {
            let (said, rule) = says(cluster, given, direction, packet)?;
            Some((said, Some((id.clone(), rule))))
        });
        match said {
            Some((Says::Allow, by)) => return Decision { allowed: true, by },
            Some((Says::Deny, by)) => return Decision { allowed: false, by },
            Some((Says::Pass, _)) => {}
            None if tier[0].2 == DefaultAction::Deny => return Decision { allowed: false, by: None },
            None => {}
        }
    }
    Decision { allowed: true, by: None }
}

fn tier_of(cluster: &Cluster, name: &str) -> (f64, DefaultAction) {
    match (name, cluster.tiers.get(name)) {
        ("kube-admin", _) => (1_000.0, DefaultAction::Pass),
        ("kube-baseline", _) => (10_000_000.0, DefaultAction::Pass),
        ("default", _) => (1_000_000.0, DefaultAction::Deny),
        (_, Some(tier)) => (tier.order.map_or(f64::INFINITY, |order| order.get()), tier.default_action),
        (_, None) => (f64::INFINITY, DefaultAction::Deny),
    }
}

fn place(given: &Given) -> (String, f64) {
    let own = |body: &Body| (body.tier.clone(), body.order.map_or(f64::INFINITY, |order| order.get()));
    match given {
        Given::Kubernetes(_) => ("default".to_owned(), 1_000.0),
        Given::Cluster(judged) => {
            let tier = match judged.policy.tier {
                cluster::Tier::Admin => "kube-admin",
                cluster::Tier::Baseline => "kube-baseline",
            };
            (tier.to_owned(), judged.policy.priority.into())
        }
        Given::Network(judged) => own(&judged.policy.body),
        Given::Global(judged) => own(&judged.policy.body),
    }
}

fn has(given: &Given, direction: Direction) -> bool {
    let ingress = direction == Direction::Ingress;
    let own = |body: &Body| if ingress { body.ingress.is_some() } else { body.egress.is_some() };
    match given {
        Given::Kubernetes(judged) if ingress => judged.policy.ingress.is_some(),
        Given::Kubernetes(judged) => judged.policy.egress.is_some(),
        Given::Cluster(judged) if ingress => !judged.policy.ingress.is_empty(),
        Given::Cluster(judged) => !judged.policy.egress.is_empty(),
        Given::Network(judged) => own(&judged.policy.body),
        Given::Global(judged) => own(&judged.policy.body),
    }
}

fn namespace_of(key: &EndpointKey) -> Option<&str> {
    match key.class {
        Class::Pod | Class::NetworkSet => key.name.split('/').next(),
        _ => None,
    }
}

fn labels_of<'a>(cluster: &'a Cluster, namespace: &str) -> &'a Labels {
    static NONE: Labels = Labels::new();
    cluster.namespaces.get(namespace).unwrap_or(&NONE)
}

fn in_namespaces(cluster: &Cluster, key: &EndpointKey, selector: &Selector) -> bool {
    namespace_of(key).is_some_and(|namespace| selector.matches(labels_of(cluster, namespace)))
}

fn selects(cluster: &Cluster, given: &Given, key: &EndpointKey) -> bool {
    let endpoint = &cluster.endpoints[key];
    if endpoint.absent {
        return false;
    }
    let is_pod = key.class == Class::Pod;
    match given {
        Given::Kubernetes(judged) => {
            let (namespace, _) = judged.policy.metadata.name.split_once('/').unwrap();
            is_pod && namespace_of(key) == Some(namespace) && judged.policy.pods.matches(&endpoint.labels)
        }
        Given::Cluster(judged) => {
            let subject = &judged.policy.subject;
            is_pod
                && in_namespaces(cluster, key, &subject.namespaces)
                && subject.pods.matches(&endpoint.labels)
        }
        Given::Network(judged) => {
            let (namespace, _) = judged.policy.metadata.name.split_once('/').unwrap();
            namespace_of(key) == Some(namespace) && body_selects(cluster, &judged.policy.body, key)
        }
        Given::Global(judged) => {
            let policy = &judged.policy;
            let there = match &policy.namespaces {
                Namespaces::Unsaid => true,
                Namespaces::Global => namespace_of(key).is_none(),
                Namespaces::Matching(selector) => in_namespaces(cluster, key, selector),
            };
            let now = matches!(policy.reach, Reach::Host | Reach::Forward);
            there && now && body_selects(cluster, &policy.body, key)
        }
    }
}

fn body_selects(cluster: &Cluster, body: &Body, key: &EndpointKey) -> bool {
    let endpoint = &cluster.endpoints[key];
    let account = body.service_accounts.as_ref().is_none_or(|selector| {
        let accounts = rule::ServiceAccounts { names: Vec::new(), selector: Some(selector.clone()) };
        has_account(cluster, key, endpoint, &accounts)
    });
    account && body.selector.matches(&endpoint.labels)
}

fn has_account(
    cluster: &Cluster,
    key: &EndpointKey,
    endpoint: &Endpoint,
    wanted: &rule::ServiceAccounts,
) -> bool {
    let (Some(namespace), Some(name)) = (namespace_of(key), &endpoint.service_account) else { return false };
    let labels = cluster.accounts.get(&(namespace.to_owned(), name.clone())).cloned().unwrap_or_default();
    (wanted.names.is_empty() || wanted.names.contains(name))
        && wanted.selector.as_ref().is_none_or(|selector| selector.matches(&labels))
}

fn says(cluster: &Cluster, given: &Given, direction: Direction, packet: &Packet) -> Option<(Says, usize)> {
    let ingress = direction == Direction::Ingress;
    match given {
        Given::Kubernetes(judged) if judged.broken.is_some() => None,
        Given::Network(judged) if judged.broken.is_some() => Some((Says::Deny, 0)),
        Given::Global(judged) if judged.broken.is_some() => Some((Says::Deny, 0)),
        Given::Kubernetes(judged) => {
            let (namespace, _) = judged.policy.metadata.name.split_once('/').unwrap();
            let rules = if ingress { &judged.policy.ingress } else { &judged.policy.egress };
            let peer = if ingress { packet.source } else { packet.destination };
            let allows = |rule: &kubernetes::Rule| {
                rule.peers
                    .as_ref()
                    .is_none_or(|peers| peers.iter().any(|p| is_peer(cluster, p, namespace, peer)))
                    && rule.ports.as_ref().is_none_or(|ports| {
                        ports.iter().any(|port| {
                            packet.protocol == port.protocol.0
                                && port.ports.as_ref().is_none_or(|port| to_port(cluster, port, packet))
                        })
                    })
            };
            Some((Says::Allow, rules.iter().flatten().position(allows)?))
        }
        Given::Cluster(judged) => {
            let rules = if ingress { &judged.policy.ingress } else { &judged.policy.egress };
            let mut said = rules.iter().map(|rule| says_cluster(cluster, rule, ingress, packet)).enumerate();
            said.find_map(|(i, said)| Some((said?, i)))
        }
        Given::Network(judged) => {
            let (namespace, _) = judged.policy.metadata.name.split_once('/').unwrap();
            says_own(cluster, &judged.policy.body, Some(namespace), ingress, packet)
        }
        Given::Global(judged) => says_own(cluster, &judged.policy.body, None, ingress, packet),
    }
}

/// Everybody who has this address now.
fn at(cluster: &Cluster, address: IpAddr) -> impl Iterator<Item = (&EndpointKey, &Endpoint)> {
    cluster.endpoints.iter().filter(move |(_, endpoint)| {
        !endpoint.absent
            && (endpoint.addresses.contains(&address)
                || endpoint.nets.iter().any(|net| net.contains(address)))
    })
}

fn is_peer(cluster: &Cluster, peer: &Peer, own: &str, address: IpAddr) -> bool {
    match peer {
        Peer::Block { cidr, except } => {
            cidr.contains(address) && !except.iter().any(|except| except.contains(address))
        }
        Peer::Pods { namespaces, pods } => at(cluster, address).any(|(key, endpoint)| {
            let there = match namespaces {
                None => namespace_of(key) == Some(own),
                Some(selector) => in_namespaces(cluster, key, selector),
            };
            key.class == Class::Pod && there && pods.matches(&endpoint.labels)
        }),
    }
}

fn to_port(cluster: &Cluster, port: &Ports, packet: &Packet) -> bool {
    is_port(cluster, port, packet.destination, packet.destination_port, packet.protocol)
}

fn is_port(cluster: &Cluster, wanted: &Ports, address: IpAddr, port: u16, protocol: u8) -> bool {
    match wanted {
        Ports::Range(first, last) => (*first..=*last).contains(&port),
        Ports::Named(name) => at(cluster, address).any(|(_, endpoint)| {
            let called = NamedPort { name: name.clone(), protocol: Protocol(protocol), port };
            endpoint.ports.contains(&called)
        }),
    }
}

fn says_cluster(cluster: &Cluster, rule: &cluster::Rule, ingress: bool, packet: &Packet) -> Option<Says> {
    if rule.broken.is_some() {
        return (rule.action != cluster::Action::Accept).then_some(Says::Deny);
    }
    let address = if ingress { packet.source } else { packet.destination };
    let who = rule.peers.iter().any(|peer| match peer {
        ClusterPeer::Pods(pods) => at(cluster, address).any(|(key, endpoint)| {
            key.class == Class::Pod
                && in_namespaces(cluster, key, &pods.namespaces)
                && pods.pods.matches(&endpoint.labels)
        }),
        ClusterPeer::Nodes(selector) => at(cluster, address)
            .any(|(key, endpoint)| key.class == Class::Node && selector.matches(&endpoint.labels)),
        ClusterPeer::Networks(nets) => nets.iter().any(|net| net.contains(address)),
    });
    let what = rule.protocols.as_ref().is_none_or(|protocols| {
        protocols.iter().any(|protocol| match protocol {
            Protocols::Of(protocol, ports) => {
                packet.protocol == protocol.0
                    && ports.as_ref().is_none_or(|ports| to_port(cluster, ports, packet))
            }
            Protocols::Named(name) => to_port(cluster, &Ports::Named(name.clone()), packet),
        })
    });
    match (who && what, rule.action) {
        (false, _) => None,
        (_, cluster::Action::Accept) => Some(Says::Allow),
        (_, cluster::Action::Deny) => Some(Says::Deny),
        (_, cluster::Action::Pass) => Some(Says::Pass),
    }
}

fn says_own(
    cluster: &Cluster,
    body: &Body,
    namespace: Option<&str>,
    ingress: bool,
    packet: &Packet,
) -> Option<(Says, usize)> {
    let rules = if ingress { &body.ingress } else { &body.egress };
    for (i, rule) in rules.iter().flatten().enumerate() {
        if !matches_own(cluster, rule, namespace, ingress, packet) {
            continue;
        }
        match rule.action {
            rule::Action::Allow => return Some((Says::Allow, i)),
            rule::Action::Deny => return Some((Says::Deny, i)),
            rule::Action::Pass => return Some((Says::Pass, i)),
            rule::Action::Log => {}
        }
    }
    None
}

fn matches_own(
    cluster: &Cluster,
    rule: &rule::Rule,
    namespace: Option<&str>,
    ingress: bool,
    packet: &Packet,
) -> bool {
    let version = if packet.source.is_ipv4() { 4 } else { 6 };
    let of_protocol =
        rule.protocol.is_none_or(|(negated, protocol)| negated != (protocol.0 == packet.protocol));
    // ICMP is a protocol of IPv4 and ICMPv6 of IPv6: in a packet of the other version the number means nothing.
    let is_message = (packet.protocol, version) == (1, 4) || (packet.protocol, version) == (58, 6);
    let such = |icmp: rule::Icmp| {
        icmp.kind == packet.icmp_type && icmp.code.is_none_or(|code| code == packet.icmp_code)
    };
    let icmp = rule.icmp.is_none_or(|icmp| is_message && such(icmp));
    let not_icmp = rule.not_icmp.is_none_or(|icmp| is_message && !such(icmp));
    rule.ip_version.is_none_or(|wanted| wanted == version)
        && of_protocol
        && icmp
        && not_icmp
        && is_entity(cluster, &rule.source, namespace, &End { ingress, source: true, packet })
        && is_entity(cluster, &rule.destination, namespace, &End { ingress, source: false, packet })
}

/// An end of a packet's way, asked about by a rule of such a direction.
struct End<'a> {
    ingress: bool,
    source: bool,
    packet: &'a Packet,
}

fn is_entity(cluster: &Cluster, entity: &Entity, namespace: Option<&str>, end: &End<'_>) -> bool {
    let Packet { protocol, .. } = *end.packet;
    let (address, port) = match end.source {
        true => (end.packet.source, end.packet.source_port),
        false => (end.packet.destination, end.packet.destination_port),
    };
    let nets =
        entity.nets.as_ref().is_none_or(|nets| nets.is_empty() || nets.iter().any(|n| n.contains(address)));
    let not_nets = !entity.not_nets.iter().any(|net| net.contains(address));
    let in_question = entity.selector.is_some()
        || entity.service_accounts.is_some()
        || entity.namespaces != Namespaces::Unsaid
        || (entity.not_selector.is_some() && namespace.is_some());
    let everybody = |address| at(cluster, address).filter(|(key, _)| key.class != Class::Node);
    let is_meant = |(key, endpoint): &(&EndpointKey, &Endpoint)| {
        let there = match (&entity.namespaces, namespace) {
            (Namespaces::Unsaid, Some(own)) => namespace_of(key) == Some(own),
            (Namespaces::Unsaid, None) => true,
            (Namespaces::Global, _) => namespace_of(key).is_none(),
            (Namespaces::Matching(selector), _) => in_namespaces(cluster, key, selector),
        };
        let account = entity.service_accounts.as_ref();
        there
            && account.is_none_or(|wanted| has_account(cluster, key, endpoint, wanted))
            && entity.selector.as_ref().is_none_or(|selector| selector.matches(&endpoint.labels))
    };
    let meant = everybody(address).any(|it| is_meant(&it));
    let excluded = entity
        .not_selector
        .as_ref()
        .is_some_and(|selector| everybody(address).any(|(_, endpoint)| selector.matches(&endpoint.labels)));
    // What a name stands for is said by those who are meant, not by others whose address a network of theirs covers.
    let named_by = |it: &(&EndpointKey, &Endpoint)| !in_question || end.ingress != end.source || is_meant(it);
    let wanted = |ports: &Vec<Ports>| {
        ports.iter().any(|wanted| match wanted {
            Ports::Range(first, last) => (*first..=*last).contains(&port),
            Ports::Named(name) => at(cluster, address).filter(named_by).any(|(_, endpoint)| {
                let called = NamedPort { name: name.clone(), protocol: Protocol(protocol), port };
                endpoint.ports.contains(&called)
            }),
        })
    };
    // As receiver it is its endpoints at their ports, as sender just they.
    let serves = |service: &rule::ServiceRef| {
        let namespace = service.namespace.as_deref().or(namespace).unwrap_or_default();
        let endpoints = cluster.services.get(&format!("{namespace}/{}", service.name));
        endpoints.into_iter().flatten().any(|endpoint| {
            endpoint.address == address && (end.source || endpoint.ports.contains(&(protocol, port)))
        })
    };
    nets && not_nets
        && entity.service.as_ref().is_none_or(serves)
        && (!in_question || meant)
        && !excluded
        && entity.ports.as_ref().is_none_or(|ports| ports.is_empty() || wanted(ports))
        && !wanted(&entity.not_ports)
}
