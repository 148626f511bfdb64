//! Waiting for a fact. The only place of the tests that sleeps.

use std::time::{Duration, Instant};

use crate::process;

/// Asks `fact` again and again until it answers `Ok`, and returns that. Gives up after `deadline` by failing the test
/// with the last reason given and the logs of every process this test has started.
///
/// The deadline is a bound on patience for a slow machine, never an assertion: take a generous one.
#[track_caller]
pub fn eventually<T>(deadline: Duration, fact: impl FnMut() -> Result<T, String>) -> T {
    match wait_for(deadline, fact) {
        Ok(value) => value,
        Err(why) => panic!("gave up after {deadline:?}: {why}\n{}", process::logs()),
    }
}

/// [`eventually`] for those who carry on after a failure: the last reason instead of a panic.
///
/// # Errors
/// What `fact` said last, when it never answered `Ok` within `deadline`.
pub fn wait_for<T>(deadline: Duration, mut fact: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + deadline;
    // Quick at first, for what is nearly there; then at a pace that leaves the processors to those we wait for.
    let mut pause = Duration::from_millis(2);
    loop {
        match fact() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() >= end => return Err(why),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
