//! What would change if policies were others: the same engine, told of them in a copy of what is known, and compared
//! with what it said before. Nothing of it reaches the kernel; who asks hands in the copy.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::{Event, Key, Resource, yaml};
use corduroy_ipc::policy::{Change, CutFlow, Planned, PlannedProgram, PlannedResource, PolicyPlan};
use corduroy_kernel::nft::{Expr, Key as Element, Name, Verdict};
use corduroy_kernel::{Flow, Transport};
use corduroy_policy::{Class, Direction, Dirty, EndpointKey, Engine, Origin, Stage};

use super::{decider, first_packet, is_of_pods, judged, names, sort_of};
use crate::known::Known;
use crate::policies::{Generation, MARK};

/// A document that can't be planned with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// There is none.
    #[error("there is no document: YAML with at least one resource of a policy kind is wanted")]
    Nothing,
    /// It is not YAML.
    #[error("document {number}{}: not YAML: {what}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Syntax {
        /// Which, from 1.
        number: usize,
        /// The line of the file, from 1.
        line: Option<usize>,
        /// What the parser said.
        what: String,
    },
    /// It is no resource, or one that would be refused.
    #[error("document {number}, line {line}{}: {}", resource.as_ref().map(|it| format!(", {it}")).unwrap_or_default(),
            problems.join("; "))]
    Refused {
        /// Which, from 1.
        number: usize,
        /// The line of the file with the first problem, from 1.
        line: usize,
        /// Which resource it would have been.
        resource: Option<String>,
        /// Fields, their values, and what is allowed.
        problems: Vec<String>,
    },
    /// It is of a kind that is nothing to policies.
    #[error(
        "document {number}: {resource}: only policies, tiers, network sets and HostEndpoints can be planned with"
    )]
    NoPolicy {
        /// Which, from 1.
        number: usize,
        /// Its kind and name.
        resource: String,
    },
}

/// What a plan can't have.
const UNKNOWN: &str = "pods of other nodes or services that this names are not known here: a node learns of them when \
                       a policy in force names them, so that sets have more than this shows";

/// A copy of what is known, without what is not needed to plan: it may be large.
#[must_use]
pub fn ground(known: &Known) -> Known {
    Known {
        model: known.model.clone(),
        nodes: known.nodes.clone(),
        pools: known.pools.clone(),
        services: known.services.clone(),
        owned: known.owned.clone(),
        facts: known.facts.clone(),
        me: known.me.clone(),
        learned: known.learned.clone(),
        pods: known.pods.clone(),
        policies: known.policies.clone(),
        failsafe: known.failsafe.clone(),
        retired: known.retired,
    }
}

/// What would change with these documents, or (`delete`) without the resources they name. `flows` are the connections
/// there are.
///
/// # Errors
/// [`BadDocument`]: then none of the others is planned with.
pub fn plan(
    before: &Known,
    documents: &str,
    delete: bool,
    flows: &[Flow],
) -> Result<PolicyPlan, BadDocument> {
    let mut after = ground(before);
    // What is noted already is no change of the plan's.
    let _ = after.policies.take_changes();
    let mut resources = Vec::new();
    let mut keys = BTreeSet::new();
    for resource in read(documents)? {
        let key = resource.key();
        resources
            .push(PlannedResource { resource: key.to_string(), change: put(&mut after, resource, delete) });
        after.police(&key);
        keys.insert(key);
    }
    // Nothing is asked of anybody for a plan: it goes by what is known.
    let waits = after.policies.is_waiting();
    after.wake_policies(true);
    let dirty = after.policies.take_changes().dirty;
    let engines = (before.policies.engine(), after.policies.engine());
    let (cut, looked_at) = cut(before, &after, flows);
    Ok(PolicyPlan {
        resources,
        chains: chains(engines, &dirty),
        sets: sets(engines, &dirty),
        programs: programs(engines, &dirty),
        cut,
        flows: looked_at,
        remarks: waits.then(|| UNKNOWN.to_owned()).into_iter().chain(remarks(engines, &keys)).collect(),
    })
}

fn read(documents: &str) -> Result<Vec<Resource>, BadDocument> {
    let mut all = Vec::new();
    for (number, document) in (1..).zip(yaml::documents(documents)) {
        let value = document.parse().map_err(|error| BadDocument::Syntax {
            number,
            line: error.line,
            what: error.what,
        })?;
        let resource = Resource::read(&value).map_err(|refused| BadDocument::Refused {
            number,
            line: refused.problems.first().map_or(document.line, |it| document.line_of(&it.field)),
            resource: refused.key.as_ref().map(Key::to_string),
            problems: refused.problems.iter().map(ToString::to_string).collect(),
        })?;
        if !resource.key().kind.is_policy() {
            return Err(BadDocument::NoPolicy { number, resource: resource.key().to_string() });
        }
        all.push(resource);
    }
    if all.is_empty() { Err(BadDocument::Nothing) } else { Ok(all) }
}

/// Puts it into the copy, or takes it out.
fn put(after: &mut Known, resource: Resource, delete: bool) -> Change {
    let key = resource.key();
    let there = after.model.policy(&key).is_some();
    let event = if delete { Event::Gone(key) } else { Event::Put(resource) };
    let changed = matches!(after.model.apply(event), corduroy_fabric::Changed::Resource(_));
    match (there, delete) {
        (true, true) => Change::Removed,
        (false, false) => Change::Added,
        (true, false) if changed => Change::Changed,
        _ => Change::Unchanged,
    }
}

fn chains((before, after): (&Engine, &Engine), dirty: &[Dirty]) -> Vec<Planned> {
    let names = dirty.iter().filter_map(|it| if let Dirty::Chain(name) = it { Some(name) } else { None });
    let rules = |engine: &Engine, name: &Name| {
        let rules = engine.chain(name)?;
        Some(rules.iter().map(ToString::to_string).collect::<Vec<String>>())
    };
    names
        .filter_map(|name| planned(name, rules(before, name).as_deref(), rules(after, name).as_deref()))
        .collect()
}

fn sets((before, after): (&Engine, &Engine), dirty: &[Dirty]) -> Vec<Planned> {
    let names: BTreeSet<&Name> = dirty
        .iter()
        .filter_map(|it| match it {
            Dirty::Set(name) | Dirty::Element(name, _) => Some(name),
            _ => None,
        })
        .collect();
    let elements = |engine: &Engine, name: &Name| -> Option<Vec<Element>> {
        Some(engine.set(name)?.elements.into_keys().collect())
    };
    names
        .into_iter()
        .filter_map(|name| planned(name, elements(before, name).as_deref(), elements(after, name).as_deref()))
        .collect()
}

/// How something with parts changes; `None`: it does not.
fn planned<T: Ord>(name: &Name, before: Option<&[T]>, after: Option<&[T]>) -> Option<Planned> {
    let change = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(before), Some(after)) if before == after => return None,
        (Some(_), Some(_)) => Change::Changed,
    };
    let mut balance: BTreeMap<&T, i64> = BTreeMap::new();
    before.into_iter().flatten().for_each(|part| *balance.entry(part).or_default() -= 1);
    after.into_iter().flatten().for_each(|part| *balance.entry(part).or_default() += 1);
    let sum = |sign: i64| balance.values().map(|n| (n * sign).max(0).unsigned_abs()).sum();
    Some(Planned { name: name.to_string(), change, more: sum(1), less: sum(-1) })
}

fn programs((before, after): (&Engine, &Engine), dirty: &[Dirty]) -> Vec<PlannedProgram> {
    let keys = dirty.iter().filter_map(|it| if let Dirty::Program(key) = it { Some(key) } else { None });
    let mut all = Vec::new();
    for key in keys {
        let class = if key.class == Class::HostEndpoint { "host endpoint" } else { "pod" };
        for direction in Direction::ALL {
            let of = |engine: &Engine| policies(engine, key, direction);
            let (before, after) = (of(before), of(after));
            if before != after {
                let endpoint = format!("{class} {}", key.name);
                all.push(PlannedProgram { endpoint, direction: direction.to_string(), before, after });
            }
        }
    }
    all
}

/// The policies that judge an endpoint, in order.
fn policies(engine: &Engine, key: &EndpointKey, direction: Direction) -> Vec<String> {
    let mut found = Vec::new();
    let mut names: Vec<Name> =
        Stage::ALL.iter().rev().filter_map(|stage| engine.program(key, *stage, direction).cloned()).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = names.pop() {
        let Some(origins) = engine.origins(&name).filter(|_| seen.insert(name.clone())) else { continue };
        let rules = engine.chain(&name).unwrap_or_default();
        let below = rules.iter().flat_map(|rule| rule.exprs()).filter_map(|expr| match expr {
            Expr::Verdict(Verdict::Jump(to)) => Some(to.clone()),
            _ => None,
        });
        names.extend(below.collect::<Vec<_>>().into_iter().rev());
        for origin in origins {
            let policy = match origin {
                Origin::Policy(policy) => policy.to_string(),
                Origin::Rule(rule, _) => rule.policy.to_string(),
                _ => continue,
            };
            if !found.contains(&policy) {
                found.push(policy);
            }
        }
    }
    found
}

/// The connections that are let pass now and would be denied, and how many were looked at.
fn cut(before: &Known, after: &Known, flows: &[Flow]) -> (Vec<CutFlow>, u64) {
    let is_live = |flow: &&Flow| flow.mark & MARK != Generation::DENIED && is_of_pods(before, flow);
    let live: Vec<&Flow> = flows.iter().filter(is_live).collect();
    let denied = |known: &Known, flow: &Flow| {
        let trace = judged(known, &flow.into());
        trace.judgements.into_iter().find(|judgement| !judgement.allowed)
    };
    let cut: Vec<_> = live
        .iter()
        .filter_map(|flow| Some((*flow, denied(after, flow)?)))
        .filter(|(flow, _)| denied(before, flow).is_none())
        .collect();
    let ends = cut.iter().flat_map(|(flow, _)| [flow.key.original.source, flow.reply.source]).collect();
    let names = names::names(before, &ends);
    let shown = cut.iter().map(|(flow, judgement)| CutFlow {
        flow: words(flow, &names),
        by: format!("{}: {}", judgement.direction, decider(judgement)),
    });
    (shown.collect(), live.len() as u64)
}

/// `tcp pod shop/web (10.1.0.1) port 40000 -> pod shop/db (10.1.0.2) port 5432`
fn words(flow: &Flow, names: &BTreeMap<std::net::IpAddr, String>) -> String {
    let packet = first_packet(flow);
    let (from, to) = match packet.transport {
        Transport::Ports { source, destination } => {
            (format!(" port {source}"), format!(" port {destination}"))
        }
        _ => Default::default(),
    };
    let end = |address| match names.get(&address) {
        Some(name) => format!("{name} ({address})"),
        None => address.to_string(),
    };
    format!("{} {}{from} -> {}{to}", sort_of(&packet), end(packet.source), end(packet.destination))
}

/// What would be wrong with what is planned, and what would be for nothing that is not now.
fn remarks((before, after): (&Engine, &Engine), keys: &BTreeSet<Key>) -> Vec<String> {
    let planned: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let broken = after.broken().filter(|(id, _)| planned.contains(&*id.name));
    let broken = broken.map(|(id, why)| format!("{id} would not be in force as written: {}", why.join("; ")));
    let homeless = after.homeless().filter(|(id, _)| planned.contains(&*id.name));
    let homeless = homeless
        .map(|(id, tier)| format!("{id} names tier {tier:?}, which nobody has made: it is asked last"));
    let had = before.warnings();
    let warnings = after.warnings().into_iter().filter(|warning| !had.contains(warning));
    broken.chain(homeless).chain(warnings.map(|warning| warning.to_string())).collect()
}
