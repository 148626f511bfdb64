//! `NetworkPolicy` of Kubernetes.
//!
//! Its policies only allow: what a pod may do is what any of those that select it allows, and a pod that none selects
//! may do all. As policies of one tier that denies behind its last one, that is what asking them in turn gives. They
//! have the order 1,000 in it, as Calico's users know them.

use corduroy_api::policy::Judged;
use corduroy_api::policy::kubernetes::{NetworkPolicy, Peer, Port, Rule as Given};
use corduroy_api::policy::own::{DEFAULT_TIER, Reach};

use super::{Action, Direction, Members, Place, Policy, PolicyId, PolicyKind, Rule, SetSpec, Side, Who, net};

const ORDER: u32 = 1_000;

/// The policy in normal form.
#[must_use]
pub fn policy(judged: &Judged<NetworkPolicy>) -> Policy {
    let given = &judged.policy;
    let name = given.metadata.name.clone();
    let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace).to_owned();
    let rules = |direction, rules: &Option<Vec<Given>>| {
        let rules = rules.as_ref()?.iter().enumerate();
        Some(rules.flat_map(|(i, rule)| translate(rule, i, direction, &namespace)).collect())
    };
    let subject = Who {
        members: Members::Pods,
        place: Place::Namespace(namespace.clone()),
        endpoints: given.pods.clone(),
        accounts: None,
    };
    let policy = Policy {
        id: PolicyId::new(PolicyKind::Kubernetes, name),
        tier: DEFAULT_TIER.to_owned(),
        order: ORDER.into(),
        reach: Reach::Host,
        subject,
        ingress: rules(Direction::Ingress, &given.ingress),
        egress: rules(Direction::Egress, &given.egress),
        broken: Vec::new(),
    };
    match &judged.broken {
        None => policy,
        Some(violations) => allowing_nothing(policy, violations.0.iter().map(ToString::to_string).collect()),
    }
}

/// A policy that is not understood allows nothing. It does not deny either: what another one allows stands, whichever
/// of the two is called what.
fn allowing_nothing(mut policy: Policy, why: Vec<String>) -> Policy {
    for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
        rules.clear();
    }
    policy.broken = why;
    policy
}

/// One rule for each peer and protocol.
fn translate(given: &Given, origin: usize, direction: Direction, namespace: &str) -> Vec<Rule> {
    let peers = match &given.peers {
        None => vec![Side::default()],
        Some(peers) => peers.iter().map(|peer| side(peer, namespace)).collect(),
    };
    let ports = match &given.ports {
        None => vec![None],
        Some(ports) => by_protocol(ports).into_iter().map(Some).collect(),
    };
    let mut rules = Vec::new();
    for peer in &peers {
        for what in &ports {
            let mut rule = Rule::of(Action::Allow, origin);
            *rule.peer(direction) = peer.clone();
            if let Some((protocol, ports)) = what {
                rule.protocol = Some((false, *protocol));
                rule.destination.ports.clone_from(ports);
            }
            rules.push(rule);
        }
    }
    rules
}

type OfProtocol = (u8, Option<Vec<corduroy_api::policy::Ports>>);

/// Ports of one protocol are asked about together; one without a port means all of its protocol.
fn by_protocol(ports: &[Port]) -> Vec<OfProtocol> {
    let mut found: Vec<OfProtocol> = Vec::new();
    for port in ports {
        let at = found.iter().position(|(protocol, _)| *protocol == port.protocol.0);
        match (at.and_then(|at| found.get_mut(at)), &port.ports) {
            (None, ports) => found.push((port.protocol.0, ports.clone().map(|ports| vec![ports]))),
            (Some((_, all)), None) => *all = None,
            (Some((_, Some(list))), Some(ports)) => list.push(ports.clone()),
            (Some((_, None)), Some(_)) => {}
        }
    }
    found
}

fn side(peer: &Peer, namespace: &str) -> Side {
    match peer {
        Peer::Block { cidr, except } => Side {
            nets: Some(vec![net(*cidr)]),
            not_nets: except.iter().copied().map(net).collect(),
            ..Side::default()
        },
        Peer::Pods { namespaces, pods } => {
            let place = match namespaces {
                None => Place::Namespace(namespace.to_owned()),
                Some(selector) => Place::Namespaces(selector.clone()),
            };
            let who = Who { members: Members::Pods, place, endpoints: pods.clone(), accounts: None };
            Side { sets: vec![(false, SetSpec::Who(Box::new(who)))], ..Side::default() }
        }
    }
}
