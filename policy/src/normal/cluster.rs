//! `ClusterNetworkPolicy`.
//!
//! A policy without rules for a direction does not affect it. A rule that is not understood fails closed as its
//! documentation has it: one that accepts is left out, one that denies or passes denies everything.

use corduroy_api::policy::cluster::{
    Action as GivenAction, ClusterNetworkPolicy, Peer, Pods, Protocols, Rule as Given, Tier as GivenTier,
};
use corduroy_api::policy::own::Reach;
use corduroy_api::policy::tier::Tier;
use corduroy_api::policy::{Judged, Ports, Protocol};

use super::{Action, Direction, Members, Place, Policy, PolicyId, PolicyKind, Rule, SetSpec, Side, Who, net};

/// The policy in normal form.
#[must_use]
pub fn policy(judged: &Judged<ClusterNetworkPolicy>) -> Policy {
    let given = &judged.policy;
    let mut broken = Vec::new();
    let mut rules = |direction, rules: &[Given]| {
        let translated: Vec<Rule> = rules
            .iter()
            .enumerate()
            .flat_map(|(i, rule)| {
                let what = rule.broken.iter().flat_map(|violations| &violations.0);
                broken.extend(what.map(ToString::to_string));
                translate(rule, i, direction)
            })
            .collect();
        (!rules.is_empty()).then_some(translated)
    };
    let ingress = rules(Direction::Ingress, &given.ingress);
    let egress = rules(Direction::Egress, &given.egress);
    let tier = match given.tier {
        GivenTier::Admin => Tier::KUBE_ADMIN,
        GivenTier::Baseline => Tier::KUBE_BASELINE,
    };
    let policy = Policy {
        id: PolicyId::new(PolicyKind::Cluster, given.metadata.name.as_str()),
        tier: tier.to_owned(),
        order: given.priority.into(),
        reach: Reach::Host,
        subject: pods(&given.subject),
        ingress,
        egress,
        broken,
    };
    match &judged.broken {
        None => policy,
        // A list of rules could not be read at all: both directions may have been meant.
        Some(violations) => {
            let policy = Policy { ingress: Some(Vec::new()), egress: Some(Vec::new()), ..policy };
            policy.closed(violations.0.iter().map(ToString::to_string).collect())
        }
    }
}

fn pods(given: &Pods) -> Who {
    Who {
        members: Members::Pods,
        place: Place::Namespaces(given.namespaces.clone()),
        endpoints: given.pods.clone(),
        accounts: None,
    }
}

fn translate(given: &Given, origin: usize, direction: Direction) -> Vec<Rule> {
    let action = match given.action {
        GivenAction::Accept => Action::Allow,
        GivenAction::Deny => Action::Deny,
        GivenAction::Pass => Action::Pass,
    };
    if given.broken.is_some() {
        return match action {
            Action::Allow => Vec::new(),
            _ => vec![Rule::of(Action::Deny, origin)],
        };
    }
    let what: Vec<(Option<u8>, Option<Ports>)> = match &given.protocols {
        None => vec![(None, None)],
        Some(protocols) => protocols.iter().flat_map(protocol).collect(),
    };
    let mut rules = Vec::new();
    for peer in &given.peers {
        for (protocol, ports) in &what {
            let mut rule = Rule::of(action, origin);
            *rule.peer(direction) = side(peer);
            rule.protocol = protocol.map(|protocol| (false, protocol));
            rule.destination.ports = ports.clone().map(|ports| vec![ports]);
            rules.push(rule);
        }
    }
    rules
}

fn protocol(given: &Protocols) -> Vec<(Option<u8>, Option<Ports>)> {
    match given {
        Protocols::Of(protocol, ports) => vec![(Some(protocol.0), ports.clone())],
        // A name stands for a port of whichever protocol the pod gave it to.
        Protocols::Named(name) => [Protocol::TCP, Protocol::UDP, Protocol::SCTP]
            .map(|protocol| (Some(protocol.0), Some(Ports::Named(name.clone()))))
            .into(),
    }
}

fn side(peer: &Peer) -> Side {
    let set = |who| Side { sets: vec![(false, SetSpec::Who(Box::new(who)))], ..Side::default() };
    match peer {
        Peer::Pods(given) => set(pods(given)),
        Peer::Nodes(selector) => set(Who { endpoints: selector.clone(), ..Who::all(Members::Nodes) }),
        Peer::Networks(nets) => {
            Side { nets: Some(nets.iter().copied().map(net).collect()), ..Side::default() }
        }
    }
}
