//! What has to be known of others: as little as the rules that are in use here can do with.

use std::collections::BTreeSet;

use corduroy_api::{Asked, Scope};

use super::Engine;
use crate::normal::{Members, Place, Who};

/// What the policies in force here ask of pods elsewhere, of service accounts and of services.
pub(super) fn asked(engine: &Engine) -> Asked {
    let mut pods = Scope::Nothing;
    for who in engine.sets.whos().filter(|who| who.members != Members::Nodes) {
        pods = widened(pods, places(engine, who));
    }
    let of_rules = engine.sets.whos().filter_map(|who| who.accounts.as_ref());
    let of_subjects = engine.policies.values().filter_map(|kept| kept.policy.subject.accounts.as_ref());
    let service_accounts = of_rules.chain(of_subjects).any(|accounts| accounts.selector.is_some());
    let services: BTreeSet<String> = engine.sets.services().map(str::to_owned).collect();
    Asked { pods, service_accounts, services }
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

fn widened(scope: Scope, more: Scope) -> Scope {
    match (scope, more) {
        (Scope::Everywhere, _) | (_, Scope::Everywhere) => Scope::Everywhere,
        (Scope::Nothing, scope) | (scope, Scope::Nothing) => scope,
        (Scope::Namespaces(mut some), Scope::Namespaces(more)) => {
            some.extend(more);
            Scope::Namespaces(some)
        }
    }
}
