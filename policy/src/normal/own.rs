//! Our own `NetworkPolicy` and `GlobalNetworkPolicy`.
//!
//! What a selector means depends on where the policy is: in a namespace, endpoints of it, unless the rule names
//! namespaces; globally, endpoints of all namespaces and of none. `notSelector` takes away from what the rest of its
//! entity matches. Where a namespace is known (the policy's or the rule's), what is left is of it; otherwise what
//! belongs to no endpoint at all is left as well.

use corduroy_api::Selector;
use corduroy_api::policy::Judged;
use corduroy_api::policy::own::{Body, GlobalNetworkPolicy, NetworkPolicy, Reach};
use corduroy_api::policy::rule::{self, Entity, Namespaces, Rule as Given};
use corduroy_kernel::Family;

use super::{Accounts, Action, Members, Place, Policy, PolicyId, PolicyKind, Rule, SetSpec, Side, Who, net};

/// A policy of a namespace in normal form.
#[must_use]
pub fn policy(judged: &Judged<NetworkPolicy>) -> Policy {
    let given = &judged.policy;
    let name = given.metadata.name.clone();
    let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace).to_owned();
    let id = PolicyId::new(PolicyKind::Network, name);
    let place = Place::Namespace(namespace.clone());
    close(translate(id, &given.body, (place, Reach::Host), Some(&namespace)), judged)
}

/// A policy of all namespaces and hosts in normal form.
#[must_use]
pub fn global(judged: &Judged<GlobalNetworkPolicy>) -> Policy {
    let given = &judged.policy;
    let id = PolicyId::new(PolicyKind::Global, given.metadata.name.as_str());
    let place = place(&given.namespaces, None);
    close(translate(id, &given.body, (place, given.reach), None), judged)
}

fn close<T>(policy: Policy, judged: &Judged<T>) -> Policy {
    let violations = judged.broken.iter().flat_map(|violations| &violations.0);
    let why: Vec<String> = violations.map(ToString::to_string).collect();
    if why.is_empty() { policy } else { policy.closed(why) }
}

fn translate(id: PolicyId, body: &Body, (place, reach): (Place, Reach), namespace: Option<&str>) -> Policy {
    let rules = |rules: &Option<Vec<Given>>| {
        let rules = rules.as_ref()?.iter().enumerate();
        Some(rules.map(|(i, given)| rule(given, i, namespace)).collect())
    };
    let accounts = body.service_accounts.clone();
    let accounts = accounts.map(|selector| Accounts { names: Vec::new(), selector: Some(selector) });
    let endpoints = body.selector.clone();
    Policy {
        id,
        tier: body.tier.clone(),
        order: body.order.into(),
        reach,
        subject: Who { members: Members::Endpoints, place, endpoints, accounts },
        ingress: rules(&body.ingress),
        egress: rules(&body.egress),
        broken: Vec::new(),
    }
}

fn rule(given: &Given, origin: usize, namespace: Option<&str>) -> Rule {
    let action = match given.action {
        rule::Action::Allow => Action::Allow,
        rule::Action::Deny => Action::Deny,
        rule::Action::Pass => Action::Pass,
        rule::Action::Log => Action::Log,
    };
    Rule {
        action,
        version: given.ip_version.map(|version| if version == 4 { Family::V4 } else { Family::V6 }),
        protocol: given.protocol.map(|(negated, protocol)| (negated, protocol.0)),
        icmp: given.icmp,
        not_icmp: given.not_icmp,
        source: side(&given.source, namespace),
        destination: side(&given.destination, namespace),
        origin,
    }
}

fn place(namespaces: &Namespaces, namespace: Option<&str>) -> Place {
    match (namespaces, namespace) {
        (Namespaces::Matching(selector), _) => Place::Namespaces(selector.clone()),
        (Namespaces::Global, _) => Place::Global,
        (Namespaces::Unsaid, Some(namespace)) => Place::Namespace(namespace.to_owned()),
        (Namespaces::Unsaid, None) => Place::Anywhere,
    }
}

fn side(given: &Entity, namespace: Option<&str>) -> Side {
    let mut sets = Vec::new();
    let place = place(&given.namespaces, namespace);
    let narrows = given.selector.is_some() || given.service_accounts.is_some();
    // A namespace alone is said by naming namespaces, or by `notSelector` in a policy of one.
    let placed =
        given.namespaces != Namespaces::Unsaid || (given.not_selector.is_some() && place != Place::Anywhere);
    if narrows || placed {
        let accounts = given.service_accounts.as_ref();
        let accounts =
            accounts.map(|said| Accounts { names: said.names.clone(), selector: said.selector.clone() });
        let endpoints = given.selector.clone().unwrap_or_else(Selector::all);
        let who = Who { members: Members::Endpoints, place, endpoints, accounts };
        sets.push((false, SetSpec::Who(Box::new(who))));
    }
    if let Some(selector) = &given.not_selector {
        let who = Who { endpoints: selector.clone(), ..Who::all(Members::Endpoints) };
        sets.push((true, SetSpec::Who(Box::new(who))));
    }
    if let Some(service) = &given.service {
        let namespace = service.namespace.as_deref().or(namespace).unwrap_or_default();
        sets.push((false, SetSpec::Service(format!("{namespace}/{}", service.name))));
    }
    Side {
        nets: given
            .nets
            .as_ref()
            .filter(|nets| !nets.is_empty())
            .map(|nets| nets.iter().copied().map(net).collect()),
        not_nets: given.not_nets.iter().copied().map(net).collect(),
        sets,
        ports: given.ports.clone().filter(|ports| !ports.is_empty()),
        not_ports: given.not_ports.clone(),
    }
}
