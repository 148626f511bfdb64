//! The engine against an oracle: random resources, random changes to them, random packets.
//!
//! ```text
//! cluster  the resources, as they stand        random  changes to them
//! judge    packet ─► verdict, from the resources alone: slow, obvious, sharing nothing with the crate
//! kernel   what a kernel would hold that was only told of what is dirty, and packet ─► verdict by walking its rules
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod cluster;
mod judge;
mod kernel;
mod random;

use cluster::{Change, Cluster};
use corduroy_policy::normal::Action;
use corduroy_policy::{Class, Direction, EndpointKey, Engine, Judgement, Said, Stage, Why};
use kernel::Kernel;
use proptest::prelude::*;
use random::Dice;

/// How often each property is tried; `POLICY_CASES` says otherwise.
fn cases() -> u32 {
    std::env::var("POLICY_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// How many packets are sent after each step.
const PACKETS: usize = 24;

/// Judges packets of all endpoints of this node by both ways, and says where they differ.
fn agree(cluster: &Cluster, kernel: &Kernel, dice: &mut Dice) -> Result<(), TestCaseError> {
    let locals: Vec<_> = cluster.endpoints.iter().filter(|(_, endpoint)| endpoint.local).collect();
    for _ in 0..PACKETS {
        for (key, endpoint) in &locals {
            for direction in Direction::ALL {
                let Some(packet) = random::packet(cluster, endpoint, direction, dice) else { continue };
                let wanted = judge::passes(cluster, key, direction, &packet);
                let found = kernel.passes(key, Stage::Own, direction, &packet);
                prop_assert_eq!(
                    found,
                    wanted,
                    "{:?} {} {:?}\n{:#?}\n{}",
                    key,
                    direction,
                    packet,
                    cluster.policies,
                    kernel
                );
            }
        }
    }
    Ok(())
}

/// Traces packets of all endpoints of this node, and holds what decides them against what the resources say.
fn explained(
    (cluster, kernel): (&Cluster, &Kernel),
    engine: &Engine,
    dice: &mut Dice,
) -> Result<(), TestCaseError> {
    for (key, endpoint) in cluster.endpoints.iter().filter(|(_, it)| it.local && !it.absent) {
        for direction in Direction::ALL {
            let Some(packet) = random::packet(cluster, endpoint, direction, dice) else { continue };
            let trace = engine.trace(&packet.given());
            let is = |it: &&Judgement| it.endpoint == *key && it.direction == direction;
            let Some(found) = trace.judgements.iter().find(is) else {
                prop_assert_eq!(packet.source, packet.destination);
                continue;
            };
            if found.stage != Stage::Own {
                prop_assert_eq!(found.allowed, kernel.passes(key, found.stage, direction, &packet));
                continue;
            }
            let wanted = judge::decides(cluster, key, direction, &packet);
            let by = found.steps.last().and_then(|step| match &step.said {
                Said::Rule(rule, action) if *action != Action::Pass => Some(rule),
                _ => None,
            });
            let by = by.map(|rule| (rule.policy.clone(), rule.rule));
            prop_assert_eq!((found.allowed, by), (wanted.allowed, wanted.by), "{:?} {}", packet, trace);
        }
    }
    Ok(())
}

/// Takes out the rules that are said to be for nothing, each by itself. What becomes of packets is to stay the same.
fn for_nothing(cluster: &Cluster, engine: &Engine, dice: &mut Dice) -> Result<(), TestCaseError> {
    for warning in engine.warnings() {
        let rule = &warning.rule;
        let given = &cluster.policies[&rule.policy];
        let mut without = cluster.clone();
        without.policies.insert(rule.policy.clone(), given.clone().without(rule.direction, rule.rule));
        for (key, endpoint) in cluster.endpoints.iter().filter(|(_, it)| it.local) {
            for _ in 0..PACKETS {
                let Some(packet) = random::packet(cluster, endpoint, rule.direction, dice) else { continue };
                let (with, without) = (cluster, &without);
                let found = judge::passes(without, key, rule.direction, &packet);
                let wanted = judge::passes(with, key, rule.direction, &packet);
                prop_assert_eq!(found, wanted, "{:?} {} {:#?}", packet, warning, given);
            }
        }
    }
    Ok(())
}

/// Some packets that a kernel lets pass.
fn allowed(
    cluster: &Cluster,
    kernel: &Kernel,
    dice: &mut Dice,
) -> Vec<(EndpointKey, Direction, judge::Packet)> {
    let mut allowed = Vec::new();
    for (key, endpoint) in cluster.endpoints.iter().filter(|(_, endpoint)| endpoint.local) {
        for direction in Direction::ALL {
            let packets = (0..PACKETS).filter_map(|_| random::packet(cluster, endpoint, direction, dice));
            let packets: Vec<_> = packets.collect();
            let passing = packets.into_iter().filter(|it| kernel.passes(key, Stage::Own, direction, it));
            allowed.extend(passing.map(|packet| (key.clone(), direction, packet)));
        }
    }
    allowed
}

/// The pods that came to this node: what is wired anew has no connections.
fn newcomers(before: &Cluster, after: &Cluster) -> Vec<EndpointKey> {
    let is_here = |cluster: &Cluster, key| cluster.endpoints.get(key).is_some_and(|it| it.local);
    let pods = after.endpoints.keys().filter(|key| key.class == Class::Pod);
    pods.filter(|key| is_here(after, *key) && !is_here(before, *key)).cloned().collect()
}

/// An engine that is told all at once, in the order that `backwards` says.
fn told_at_once(cluster: &Cluster, backwards: bool) -> Engine {
    let mut engine = Engine::default();
    let mut changes = cluster.as_changes();
    if backwards {
        changes.reverse();
    }
    for change in changes {
        change.tell(&mut engine);
    }
    engine
}

fn changes(seeds: &[u64]) -> Vec<Change> {
    seeds.iter().map(|seed| random::change(&mut Dice(*seed))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn after_any_changes_the_kernel_does_what_the_resources_say(
        seeds in proptest::collection::vec(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        let (mut cluster, mut engine, mut kernel) = (Cluster::start(), Engine::default(), Kernel::default());
        cluster.as_changes().iter().for_each(|change| change.tell(&mut engine));
        let mut dice = Dice(seed);
        let mut new = Vec::new();
        for change in changes(&seeds) {
            let before = cluster.clone();
            cluster.apply(&change);
            new.extend(newcomers(&before, &cluster));
            change.tell(&mut engine);
            // Sometimes several changes come before anybody looks, as in life.
            if dice.below(3) > 0 {
                let mut allowed = allowed(&cluster, &kernel, &mut dice);
                allowed.retain(|(key, ..)| !new.contains(key));
                new.clear();
                if !kernel.catch_up(&mut engine) {
                    for (key, direction, packet) in allowed {
                        let still = kernel.passes(&key, Stage::Own, direction, &packet);
                        prop_assert!(still, "{:?} {} {:?} is denied now", key, direction, packet);
                    }
                }
                agree(&cluster, &kernel, &mut dice)?;
            }
        }
        kernel.catch_up(&mut engine);
        agree(&cluster, &kernel, &mut dice)?;
    }

    #[test]
    fn a_trace_names_the_rule_that_decides_and_a_rule_for_nothing_decides_nothing(
        seeds in proptest::collection::vec(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut cluster = Cluster::start();
        changes(&seeds).iter().for_each(|change| cluster.apply(change));
        let engine = told_at_once(&cluster, false);
        let kernel = Kernel::of(&engine);
        let mut dice = Dice(seed);
        for _ in 0..PACKETS / 4 {
            explained((&cluster, &kernel), &engine, &mut dice)?;
        }
        for_nothing(&cluster, &engine, &mut dice)?;
    }

    #[test]
    fn who_was_told_of_changes_one_by_one_holds_what_who_was_told_at_once_does(
        seeds in proptest::collection::vec(any::<u64>(), 1..40),
        stops in any::<u64>(),
    ) {
        let (mut cluster, mut engine, mut kernel) = (Cluster::start(), Engine::default(), Kernel::default());
        cluster.as_changes().iter().for_each(|change| change.tell(&mut engine));
        let mut dice = Dice(stops);
        for change in changes(&seeds) {
            cluster.apply(&change);
            change.tell(&mut engine);
            if dice.below(2) == 0 {
                kernel.catch_up(&mut engine);
            }
        }
        kernel.catch_up(&mut engine);
        for backwards in [false, true] {
            let whole = Kernel::of(&told_at_once(&cluster, backwards));
            prop_assert_eq!(kernel.to_string(), whole.to_string(), "backwards: {}", backwards);
        }
    }

    #[test]
    fn when_everything_is_gone_nothing_is_left(seeds in proptest::collection::vec(any::<u64>(), 1..40)) {
        let (mut cluster, mut engine, mut kernel) = (Cluster::start(), Engine::default(), Kernel::default());
        cluster.as_changes().iter().for_each(|change| change.tell(&mut engine));
        for change in changes(&seeds) {
            cluster.apply(&change);
            change.tell(&mut engine);
        }
        kernel.catch_up(&mut engine);
        for change in cluster.as_removals() {
            change.tell(&mut engine);
        }
        kernel.catch_up(&mut engine);
        prop_assert_eq!(kernel.to_string(), Kernel::default().to_string());
        prop_assert_eq!((engine.chains().count(), engine.sets().count(), engine.words()), (0, 0, 0));
    }
}

#[test]
fn the_random_packets_and_policies_meet_often_enough_to_mean_something() {
    let (mut allowed, mut denied, mut judged) = (0, 0, 0);
    let (mut decided, mut shadowed, mut nothing) = (0, 0, 0);
    for seed in 0..60u64 {
        let mut cluster = Cluster::start();
        for change in changes(&(0..30).map(|n| seed * 1_000 + n).collect::<Vec<_>>()) {
            cluster.apply(&change);
        }
        let engine = told_at_once(&cluster, false);
        for warning in engine.warnings() {
            match warning.why {
                Why::Shadowed(_) => shadowed += 1,
                Why::SelectsNothing(_) => nothing += 1,
            }
        }
        let kernel = Kernel::of(&engine);
        let mut dice = Dice(seed);
        for (key, endpoint) in
            cluster.endpoints.iter().filter(|(key, it)| it.local && key.class == Class::Pod)
        {
            for direction in Direction::ALL {
                let Some(packet) = random::packet(&cluster, endpoint, direction, &mut dice) else { continue };
                judged += usize::from(kernel.has_program(key, Stage::Own, direction));
                decided += usize::from(judge::decides(&cluster, key, direction, &packet).by.is_some());
                match judge::passes(&cluster, key, direction, &packet) {
                    true => allowed += 1,
                    false => denied += 1,
                }
            }
        }
    }
    assert!(allowed > 50 && denied > 50 && judged > 100, "{allowed} {denied} {judged}");
    assert!(decided > 50 && shadowed > 50 && nothing > 50, "{decided} {shadowed} {nothing}");
}
