//! The simulated world, many times over. `SIM_SEEDS=1..5000 cargo test --test sim` plays those seeds instead, and
//! `SIM_SEEDS=4711` plays one and prints its log.

#![allow(clippy::panic, reason = "a panic with a sentence is a test's verdict")]

use std::collections::BTreeMap;
use std::env;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use corduroy_tests::world::run::{Case, Outcome, play};

/// Seeds played when nobody asks for others.
const SEEDS: RangeInclusive<u64> = 1..=700;

fn seeds() -> RangeInclusive<u64> {
    let Ok(asked) = env::var("SIM_SEEDS") else { return SEEDS };
    let number = |text: &str| -> u64 {
        text.trim().parse().unwrap_or_else(|_| panic!("SIM_SEEDS={asked}: wanted a seed, or first..last"))
    };
    match asked.split_once("..") {
        Some((first, last)) => number(first)..=number(last.trim_start_matches('=')),
        None => number(&asked)..=number(&asked),
    }
}

/// Lines of a failed run's log that are shown when more than one seed was played.
const TAIL: usize = 150;
/// After so many failed runs the rest is not played.
const ENOUGH: usize = 20;

/// Plays a case; when it fails, plays it again with its log and ends the test.
fn must_hold(case: Case) -> Outcome {
    play(case, false).unwrap_or_else(|_| panic!("{}", describe(case, usize::MAX)))
}

/// A failed case for people: its log, what was wrong, how to play it again.
fn describe(case: Case, tail: usize) -> String {
    let Err(failure) = play(case, true) else {
        return format!(
            "{case} did not fail when it was played again: the run is not determined by its seed"
        );
    };
    let lines: Vec<&str> = failure.log.lines().collect();
    let left_out = lines.len().saturating_sub(tail);
    let note = if left_out > 0 { format!("… {left_out} lines before these\n") } else { String::new() };
    format!(
        "{note}{}\n\n{}\n\n{case} failed; play it again, with its whole log, by\n    make sim SEED={}\n",
        lines[left_out..].join("\n"),
        failure.wrong.join("\n"),
        case.seed
    )
}

#[test]
fn every_network_comes_to_rest_in_a_state_the_oracle_allows() {
    let all = seeds();
    let next = AtomicU64::new(*all.start());
    let announced = AtomicU64::new(0);
    let failed: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::default();
    let failures = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !all.contains(&seed) || failures().len() >= ENOUGH {
                return;
            }
            match play(Case::of(seed), false) {
                Ok(outcome) => drop(announced.fetch_add(outcome.announcements, Ordering::Relaxed)),
                Err(failure) => drop(failures().insert(seed, failure.wrong)),
            }
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|_| drop(scope.spawn(worker)));
    });
    let failed = failures();
    if let Some(first) = failed.keys().next() {
        let tail = if all.start() == all.end() { usize::MAX } else { TAIL };
        for (seed, wrong) in failed.iter() {
            eprintln!("{}: {}", Case::of(*seed), wrong.first().map_or("", String::as_str));
        }
        panic!("{}", describe(Case::of(*first), tail));
    }
    // A world in which nothing is said proves nothing.
    assert!(announced.into_inner() > 0, "no route was announced in any run");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=35 {
        assert_eq!(must_hold(Case::of(seed)), must_hold(Case::of(seed)), "seed {seed}");
    }
}
