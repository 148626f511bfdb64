//! What has to be known of others: as little as the rules that are in use here can do with.

use std::collections::BTreeSet;

use corduroy_api::{Asked, Scope};

use super::{Engine, compile};
use crate::normal::{Members, Place, Policy, Who};

/// What the policies in force here ask of pods elsewhere, of service accounts and of services.
pub(super) fn asked(engine: &Engine) -> Asked {
    let pods = pods_of(engine, engine.sets.whos());
    let of_rules = engine.sets.whos().filter_map(|who| who.accounts.as_ref());
    let of_subjects = engine.policies.values().filter_map(|kept| kept.policy.subject.accounts.as_ref());
    let service_accounts = of_rules.chain(of_subjects).any(|accounts| accounts.selector.is_some());
    let services: BTreeSet<String> = engine.sets.services().map(str::to_owned).collect();
    Asked { pods, service_accounts, services }
}

/// Which pods elsewhere and services have to be known for a policy to be in force here; none, if it selects nobody.
pub(super) fn asked_by(engine: &Engine, policy: &Policy) -> Asked {
    if engine.selected_by(&policy.subject).next().is_none() {
        return Asked::default();
    }
    let pods = pods_of(engine, compile::whos(policy).iter());
    Asked { pods, services: compile::services(policy), ..Asked::default() }
}

fn pods_of<'a>(engine: &Engine, whos: impl Iterator<Item = &'a Who>) -> Scope {
    let pods = whos.filter(|who| who.members != Members::Nodes);
    pods.fold(Scope::Nothing, |scope, who| widened(scope, places(engine, who)))
}

/// The namespaces in which such endpoints can be.
fn places(engine: &Engine, who: &Who) -> Scope {
    match &who.place {
        Place::Anywhere => Scope::Everywhere,
        Place::Global => Scope::Nothing,
        Place::Namespace(name) => Scope::Namespaces(BTreeSet::from([name.clone()])),
        Place::Namespaces(selector) if selector.is_all() => Scope::Everywhere,
        Place::Namespaces(selector) => Scope::Namespaces(engine.world.namespaces_with(selector)),
    }
}

/// The namespaces of both.
#[must_use]
pub fn widened(scope: Scope, more: Scope) -> Scope {
    match (scope, more) {
        (Scope::Everywhere, _) | (_, Scope::Everywhere) => Scope::Everywhere,
        (Scope::Nothing, scope) | (scope, Scope::Nothing) => scope,
        (Scope::Namespaces(mut some), Scope::Namespaces(more)) => {
            some.extend(more);
            Scope::Namespaces(some)
        }
    }
}
