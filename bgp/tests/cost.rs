//! What a prefix, an UPDATE and a peer cost the whole speaker, as gates without clocks: bytes and allocations by a
//! counting allocator, instructions by callgrind. The bounds stand about a quarter above
//! what was measured when they were set, so that another compiler is no failure and another complexity is.
//!
//! Instructions are counted of this very test binary, which valgrind runs again for one scenario in two sizes: the
//! difference has no start-up in it. They depend on the compiler and the profile, not on the machine or its load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

#[path = "../examples/speaker_cost/scenario.rs"]
mod scenario;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use scenario::{Run, Table};

/// Bytes in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Allocations so far, growth included.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// One measurement at a time: the counters are of the whole process.
static TURN: Mutex<()> = Mutex::new(());

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts")]
// SAFETY: everything is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promises are what the system's allocator asks for.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller's promises are what the system's allocator asks for.
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; `place` came from it.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `make` leaves allocated.
fn bytes_of<T>(make: impl FnOnce() -> T) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    let made = make();
    let used = LIVE.load(Ordering::Relaxed) - before;
    drop(made);
    used
}

/// How often `run` allocates.
fn allocations_of(run: impl FnOnce()) -> usize {
    let before = CALLS.load(Ordering::Relaxed);
    run();
    CALLS.load(Ordering::Relaxed) - before
}

fn at_most(what: &str, measured: usize, bound: usize) {
    println!("{measured} {what}");
    assert!(measured <= bound, "{measured} {what}, {bound} allowed");
}

/// What the first of two eBGP peers announces.
fn table(first: u32, prefixes: u32, per_set: u32) -> Table {
    Table { peer: 0, external: true, first, prefixes, per_set }
}

/// A table in and out, a part at a time.
fn one(prefixes: u32, per_set: u32) -> Run {
    let mut run = Run::new(2, true);
    let part = per_set * 1_000;
    for first in (0..prefixes).step_by(part as usize) {
        run.feed(0, &table(first, part.min(prefixes - first), per_set).announced());
    }
    run
}

/// A reflector's clients with so many prefixes each.
fn fanout(peers: u16, each: u32) -> Run {
    let mut run = Run::new(peers, false);
    for peer in 0..peers {
        let first = u32::from(peer) * each;
        run.feed(peer, &Table { peer, external: false, first, prefixes: each, per_set: 10 }.announced());
    }
    run
}

#[test]
fn a_prefix_in_and_out_takes_a_bounded_number_of_bytes() {
    let _turn = TURN.lock();
    at_most("bytes for each of 200,000 prefixes, 10 to a set", bytes_of(|| one(200_000, 10)) / 200_000, 75);
    at_most("bytes for each of 50,000 prefixes, 1 to a set", bytes_of(|| one(50_000, 1)) / 50_000, 290);
}

#[test]
fn an_idle_peer_takes_a_bounded_number_of_bytes() {
    let _turn = TURN.lock();
    let [few, many] = [100, 1_100].map(|peers| bytes_of(|| Run::new(peers, false)));
    at_most("bytes for each idle peer", (many - few) / 1_000, 2_000);
}

#[test]
fn an_update_takes_a_bounded_number_of_allocations() {
    let _turn = TURN.lock();
    let mut run = one(20_000, 10);
    let next = table(20_000, 20_000, 10);
    let new = next.announced();
    at_most("allocations for 2,000 UPDATEs with new prefixes", allocations_of(|| run.feed(0, &new)), 4_800);
    let gone = next.withdrawn();
    at_most("allocations for 2,000 withdrawals", allocations_of(|| run.feed(0, &gone)), 400);
}

#[test]
fn tables_that_come_and_go_leave_nothing_more_behind_each_time() {
    let _turn = TURN.lock();
    let cycles = |n: u32| {
        bytes_of(|| {
            let mut run = Run::new(2, true);
            for cycle in 0..n {
                // Other prefixes and other sets each time.
                let table = table(cycle * 20_000, 20_000, 10);
                run.feed(0, &table.announced());
                run.feed(0, &table.withdrawn());
                (0..10).for_each(|_| run.settle());
                let sizes = run.speaker.sizes();
                assert_eq!((sizes.attribute_sets, sizes.prefixes), (0, [0, 0]));
            }
            run
        })
    };
    let (few, many) = (cycles(2), cycles(8));
    at_most("bytes after 8 tables", many, few + few / 10);
}

/// Not a test of its own: what the instruction counts below run under callgrind, in a process of its own.
#[test]
fn a_scenario_runs_alone_when_valgrind_asks_for_it() {
    let Ok(what) = std::env::var("CORDUROY_COST") else { return };
    let (scenario, n) = what.split_once(' ').unwrap();
    let n: u32 = n.parse().unwrap();
    match scenario {
        "one" => drop(one(n, 10)),
        "fanout" => drop(fanout(150, n)),
        "refresh" => {
            let mut run = one(20_000, 10);
            (0..n).for_each(|_| run.refresh(1));
        }
        "withdraw" => {
            let mut run = one(20_000, 10);
            run.feed(0, &table(0, n, 10).withdrawn());
        }
        other => panic!("no scenario {other}"),
    }
}

fn instructions(scenario: &str, n: u32) -> usize {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_scenario_runs_alone_when_valgrind_asks_for_it"])
        .env("CORDUROY_COST", format!("{scenario} {n}"))
        .output()
        .expect("valgrind must be installed (apt-get install valgrind)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|l| l.split_once("Collected :"));
    line.and_then(|(_, n)| n.trim().parse().ok()).unwrap_or_else(|| panic!("no count in: {text}"))
}

/// Instructions for each of the `count` things that lie between two sizes of a scenario.
fn each(scenario: &str, (small, large): (u32, u32), count: usize) -> usize {
    (instructions(scenario, large) - instructions(scenario, small)) / count
}

#[test]
fn a_prefix_in_and_out_takes_a_bounded_number_of_instructions() {
    at_most("instructions for a prefix in and out", each("one", (10_000, 20_000), 10_000), 5_700);
    at_most("instructions for a withdrawn prefix", each("withdraw", (5_000, 15_000), 10_000), 4_100);
}

#[test]
fn an_advertisement_in_a_group_takes_a_bounded_number_of_instructions() {
    let advertisements = 50 * 150 * 149;
    at_most("instructions for an advertisement", each("fanout", (50, 100), advertisements), 50);
}

#[test]
fn a_prefix_sent_again_takes_a_bounded_number_of_instructions() {
    at_most("instructions for a prefix sent again", each("refresh", (1, 3), 40_000), 850);
}
