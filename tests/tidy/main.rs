//! The house rules that a machine can judge, as tests: each says what is wrong where, all of it at once.
//!
//! Rules have no silent exceptions. What must break one is written in [`EXCEPTIONS`] with its reason, and an entry
//! that excuses nothing any more fails like a breach does.
#![allow(unreachable_pub, reason = "the modules of a test binary see each other only")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod docs;
mod manifests;
mod mutants;
mod names;
mod purity;
mod reach;
mod repository;
mod size;
mod words;

use std::cell::RefCell;
use std::collections::BTreeSet;

/// (rule, file, why it may). The rule is the name its message begins with.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("sleep", "tests/src/wait.rs", "this is the one place that waits")];

/// Collects breaches of one group of rules and fails once, with all of them.
#[derive(Default)]
struct Verdict {
    breaches: RefCell<Vec<String>>,
    excused: RefCell<BTreeSet<usize>>,
}

impl Verdict {
    /// Notes a breach of `rule` unless the file is excepted.
    fn breach(&self, rule: &str, file: &str, line: usize, what: &str) {
        match EXCEPTIONS.iter().position(|(r, f, _)| *r == rule && *f == file) {
            Some(entry) => {
                self.excused.borrow_mut().insert(entry);
            }
            None => self.breaches.borrow_mut().push(format!("{file}:{line}: {rule}: {what}")),
        }
    }

    /// Fails when something was noted, or when an exception for one of `rules` is no longer needed.
    #[track_caller]
    fn pass(self, rules: &[&str]) {
        let mut breaches = self.breaches.into_inner();
        for (n, (rule, file, _)) in EXCEPTIONS.iter().enumerate() {
            if rules.contains(rule) && !self.excused.borrow().contains(&n) {
                breaches.push(format!("{file}: the exception from `{rule}` excuses nothing: delete it"));
            }
        }
        breaches.sort();
        assert!(
            breaches.is_empty(),
            "{} breaches of the house rules:\n{}",
            breaches.len(),
            breaches.join("\n")
        );
    }
}
