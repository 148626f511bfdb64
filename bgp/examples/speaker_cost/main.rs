//! What a prefix and an advertisement cost the speaker, without sockets around it.
//!
//! ```text
//! speaker_cost one 200000 10          one peer announces so many prefixes, so many to an attribute set, one is told
//! speaker_cost fanout 50000 150       so many prefixes come from so many reflector clients, all others are told
//! ```
//!
//! It prints nanoseconds; run it under `valgrind --tool=callgrind` for a number that does not depend on the machine.
#![allow(clippy::panic, reason = "a measurement that went wrong says so and ends")]

mod scenario;

use std::time::{Duration, Instant};

use scenario::{Run, Table};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<u32>().ok());
    let scenario = arguments.first().map(String::as_str);
    match (scenario, number(1), number(2)) {
        (Some("one"), Some(prefixes), Some(per_set @ 1..)) => one(prefixes, per_set),
        (Some("fanout"), Some(prefixes), Some(peers @ 2..)) => {
            fanout(prefixes, u16::try_from(peers).unwrap_or(u16::MAX - 2));
        }
        _ => {
            eprintln!("usage: speaker_cost one PREFIXES PER_SET | speaker_cost fanout PREFIXES PEERS");
            std::process::exit(2);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn report(what: &str, took: Duration, count: u32) {
    println!(
        "{what}: {:.1} ms, {:.1} ns each",
        took.as_secs_f64() * 1e3,
        took.as_nanos() as f64 / f64::from(count)
    );
}

fn one(prefixes: u32, per_set: u32) {
    let mut run = Run::new(2, true);
    let table = Table { peer: 0, external: true, first: 0, prefixes, per_set };
    let (announced, withdrawn) = (table.announced(), table.withdrawn());
    let began = Instant::now();
    run.feed(0, &announced);
    report("announce, in and out", began.elapsed(), prefixes);
    println!("{} bytes in {} pieces, {:?}", run.bytes, run.pieces, run.speaker.sizes());
    let began = Instant::now();
    run.refresh(1);
    report("refresh, out", began.elapsed(), prefixes);
    let began = Instant::now();
    run.feed(0, &announced);
    report("the same again, in", began.elapsed(), prefixes);
    let began = Instant::now();
    run.feed(0, &withdrawn);
    report("withdraw, in and out", began.elapsed(), prefixes);
    println!("{:?}", run.speaker.sizes());
}

fn fanout(prefixes: u32, peers: u16) {
    let mut run = Run::new(peers, false);
    let each = prefixes / u32::from(peers);
    let table = |peer: u16| Table {
        peer,
        external: false,
        first: u32::from(peer) * each.next_multiple_of(10),
        prefixes: each,
        per_set: 10,
    };
    let feeds: Vec<Vec<u8>> = (0..peers).map(|n| table(n).announced()).collect();
    let told = each * u32::from(peers) * u32::from(peers - 1);
    let began = Instant::now();
    for (n, feed) in (0..).zip(&feeds) {
        run.feed(n, feed);
    }
    report("advertise", began.elapsed(), told);
    println!("{} bytes in {} pieces, {:?}", run.bytes, run.pieces, run.speaker.sizes());
}
