//! Rules that are there for nothing. What is said here is certain; not everything that is for nothing is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use corduroy_api::policy::Ports;

use crate::engine::RuleRef;
use crate::normal::{Action, Direction, Policy, Rule, Side};

/// A rule that is there for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: RuleRef,
    /// Why it is for nothing.
    pub why: Why,
}

/// Why a rule is for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It asks for members of these, and they have none, now.
    SelectsNothing(BTreeSet<String>),
    /// All that it matches is decided by rules before it, these (from 0).
    Shadowed(BTreeSet<usize>),
}

/// `gnp/all ingress rule 2: rule 0 decides all that it matches`
impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        match &self.why {
            Why::SelectsNothing(sets) => {
                let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
                write!(f, "it matches nothing, since there are none: {}", sets.join("; "))
            }
            Why::Shadowed(by) => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                let (rules, decide) = if by.len() == 1 { ("rule", "decides") } else { ("rules", "decide") };
                write!(f, "{rules} {} {decide} all that it matches", by.join(", "))
            }
        }
    }
}

/// The warnings about a policy's rules of a direction, of which some match `nothing` now.
pub(crate) fn warnings(
    policy: &Policy,
    direction: Direction,
    nothing: &BTreeMap<usize, BTreeSet<String>>,
) -> Vec<Warning> {
    let rules = policy.rules(direction).unwrap_or_default();
    let mut by_rule = shadowed(rules);
    let mut all = Vec::new();
    for rule in rules.chunk_by(|a, b| a.origin == b.origin).filter_map(<[Rule]>::first) {
        let at = RuleRef { policy: policy.id.clone(), direction, rule: rule.origin };
        let selects = nothing.get(&rule.origin).cloned().map(Why::SelectsNothing);
        let shadowed = by_rule.remove(&rule.origin).map(Why::Shadowed);
        all.extend([selects, shadowed].into_iter().flatten().map(|why| Warning { rule: at.clone(), why }));
    }
    all
}

/// The rules of a list that never decide anything, each with those that do it before. Of a rule with alternatives,
/// each has to be covered by one alternative of a rule before it.
fn shadowed(rules: &[Rule]) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut found = BTreeMap::new();
    for alternatives in rules.chunk_by(|a, b| a.origin == b.origin) {
        let Some(origin) = alternatives.first().map(|rule| rule.origin) else { continue };
        let before = || rules.iter().filter(|rule| rule.origin < origin && rule.action != Action::Log);
        let by = |rule: &Rule| before().find(|earlier| covers(earlier, rule)).map(|rule| rule.origin);
        let by: Option<BTreeSet<usize>> = alternatives.iter().map(by).collect();
        found.extend(by.map(|by| (origin, by)));
    }
    found
}

/// Does a rule match everything that the other one matches? It does when it asks nothing that the other does not ask
/// as well.
fn covers(rule: &Rule, other: &Rule) -> bool {
    let same_protocol = rule.protocol == other.protocol;
    // Of ports and messages the protocol says what they are.
    let of_protocol = rule.icmp.is_some()
        || rule.not_icmp.is_some()
        || [&rule.source, &rule.destination]
            .into_iter()
            .any(|side| side.ports.is_some() || !side.not_ports.is_empty());
    rule.version.is_none_or(|version| other.version == Some(version))
        && (same_protocol || (rule.protocol.is_none() && !of_protocol))
        && (rule.icmp.is_none() || rule.icmp == other.icmp)
        && (rule.not_icmp.is_none() || rule.not_icmp == other.not_icmp)
        && covers_side(&rule.source, &other.source)
        && covers_side(&rule.destination, &other.destination)
}

fn covers_side(side: &Side, other: &Side) -> bool {
    let nets = side.nets.as_ref().is_none_or(|nets| {
        let inside = |net| nets.iter().any(|outer| outer.covers(net));
        other.nets.as_ref().is_some_and(|others| others.iter().all(|net| inside(*net)))
    });
    // What a name of a port stands for depends on whose port it is.
    let named = |ports: &[Ports]| ports.iter().any(|ports| matches!(ports, Ports::Named(_)));
    let named = side.ports.as_deref().is_some_and(named) || named(&side.not_ports);
    nets && side.not_nets.iter().all(|net| other.not_nets.contains(net))
        && side.sets.iter().all(|set| other.sets.contains(set))
        && (!named || side.sets == other.sets)
        && (side.ports.is_none() || side.ports == other.ports)
        && side.not_ports.iter().all(|ports| other.not_ports.contains(ports))
}
