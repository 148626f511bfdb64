//! Makes docs/interop.md out of what a run of the live tests has noted: `interop NOTES` compares, `interop NOTES
//! --write` writes it.
#![allow(clippy::panic, reason = "a tool of the tests says in one sentence what is wrong and ends")]

use std::process::Command;

use corduroy_tests::interop::{DATED, table};
use corduroy_tests::process;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else { panic!("usage: interop NOTES [--write]") };
    let write = arguments.next().is_some_and(|word| word == "--write");
    let notes = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let page = process::workspace().join("docs/interop.md");
    let new = match table(&notes, &dated()) {
        Ok(new) => new,
        Err(problems) => panic!("no table can be made of {path}:\n{problems}"),
    };
    if write {
        std::fs::write(&page, new).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        return;
    }
    let old = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let same = |text: &str| {
        text.lines().filter(|line| !line.starts_with(DATED)).map(str::to_owned).collect::<Vec<_>>()
    };
    let (old, new) = (same(&old), same(&new));
    if old != new {
        let differ = new.iter().filter(|line| !old.contains(line)).cloned().collect::<Vec<_>>();
        panic!(
            "docs/interop.md is not what this run found; `make interop` writes it:\n{}",
            differ.join("\n")
        );
    }
}

/// The day, and the last commit that changed the speaker.
fn dated() -> String {
    let mut day = Command::new("date");
    day.args(["-u", "+%F"]);
    let mut commit = Command::new("git");
    commit.arg("-C").arg(process::workspace()).args(["log", "-1", "--format=%h", "--", "bgp"]);
    format!("{} at {}.", process::output(day).trim(), process::output(commit).trim())
}
