//! `make demo`: a fabric in network namespaces, shown at work.
//!
//! Two racks joined by a router, three nodes with our agent, two pods on each, BIRD on the router as rack a's ToR,
//! GoBGP as an outside collector, our route reflector. Each check is a story of a few lines in [`checks`]; this file
//! runs them one after another, prints each as it happens and a table at the end. The exit code tells whether all held.
//! With `KEEP=1` in the environment everything stays up until Enter is pressed.
#![allow(clippy::panic, clippy::expect_used, reason = "a check fails by panicking, like a test")]

mod checks;
mod scene;

use std::io::BufRead as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use scene::Scene;

/// What one check came to.
struct Row {
    name: &'static str,
    seconds: Duration,
    verdict: Result<String, String>,
}

fn main() -> ExitCode {
    println!("{}", scene::PICTURE);
    let begin = Instant::now();
    let mut rows = Vec::new();
    let Some(mut scene) = step(&mut rows, "the fabric comes up", Scene::start) else {
        table(&rows);
        return ExitCode::FAILURE;
    };
    for (name, check) in checks::ALL {
        step(&mut rows, name, || {
            let detail = check(&mut scene);
            ((), detail)
        });
    }
    table(&rows);
    println!("{} checks in {:.0?}", rows.len(), begin.elapsed());
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        look_around(&scene);
    }
    drop(scene);
    if rows.iter().all(|row| row.verdict.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one step and prints it; a panic is its failure, not ours.
fn step<T>(rows: &mut Vec<Row>, name: &'static str, body: impl FnOnce() -> (T, String)) -> Option<T> {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let seconds = begin.elapsed();
    let (value, verdict) = match outcome {
        Ok((value, detail)) => (Some(value), Ok(detail)),
        Err(panic) => (None, Err(reason(panic.as_ref()))),
    };
    match &verdict {
        Ok(detail) => println!("ok    {name}\n        {detail}"),
        Err(why) => println!("FAIL  {name}\n        {}", why.replace('\n', "\n        ")),
    }
    rows.push(Row { name, seconds, verdict });
    value
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it failed without a word").to_owned()
}

fn table(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    println!("\n{:width$}  result  seconds", "check");
    for Row { name, seconds, verdict } in rows {
        let result = if verdict.is_ok() { "ok" } else { "FAIL" };
        println!("{name:width$}  {result:6}  {:7.2}", seconds.as_secs_f64());
    }
}

fn look_around(scene: &Scene) {
    println!("\nEverything stays up. Look around:\n{}\nEnter ends it.", scene.directions());
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
