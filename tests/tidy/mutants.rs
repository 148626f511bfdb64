//! The planted bugs: that each still applies and names a test that exists. Whether it turns that test red is for
//! `make mutants` to say.

use std::process::Command;

use corduroy_tests::process;

use super::{Verdict, repository};

/// As many as the project promises at least.
const FEWEST: usize = 15;

#[test]
fn every_planted_bug_still_applies_and_names_a_test_that_exists() {
    let verdict = Verdict::default();
    let patches: Vec<_> = repository::files()
        .iter()
        .filter(|path| path.starts_with("tests/mutants/") && path.ends_with(".patch"))
        .collect();
    let sources: Vec<_> = repository::files().iter().filter(|path| path.ends_with(".rs")).collect();
    let sources: String = sources.into_iter().map(|path| repository::read(path)).collect();
    for path in &patches {
        let text = repository::read(path);
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let test = header("Red: ").and_then(|words| words.rsplit([':', ' ']).next());
        if header("What: ").is_none() || test.is_none() {
            verdict.breach("mutant", path, 1, "it lacks a line `What: …` or `Red: …`");
        }
        if test.is_some_and(|test| !sources.contains(&format!("fn {test}(")) && !is_asked(&sources, test)) {
            verdict.breach("mutant", path, 2, "its test does not exist");
        }
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(path).current_dir(process::workspace());
        if let Err(why) = process::try_output(&mut git) {
            verdict.breach("mutant", path, 3, &format!("it is stale: {why}"));
        }
    }
    if patches.len() < FEWEST {
        verdict.breach("mutant", "tests/mutants", 0, &format!("{} of at least {FEWEST}", patches.len()));
    }
    verdict.pass(&["mutant"]);
}

/// Whether a macro makes a test of this name: `question => name`.
fn is_asked(sources: &str, test: &str) -> bool {
    sources.contains(&format!("=> {test},"))
}
