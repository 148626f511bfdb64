//! Words that have no place in a file of this project.

use crate::Verdict;
use crate::repository::{files, read};

/// Written in two halves, so that this file does not hold them.
const NEVER: &[(&str, &str, &str)] = &[
    ("unfinished", concat!("TO", "DO"), "finish it or leave it out"),
    ("unfinished", concat!("FIX", "ME"), "finish it or leave it out"),
    ("unfinished", concat!("XX", "X"), "finish it or leave it out"),
    ("machine", concat!("/wo", "rk/"), "a path of one machine"),
    ("machine", concat!("/ro", "ot/"), "a path of one machine"),
    ("machine", concat!("/ho", "me/"), "a path of one machine"),
    ("machine", concat!("artifact", "registry"), "a registry of one place"),
];

/// Kinds of file that hold text of ours.
const TEXT: &[&str] = &[
    "rs",
    "md",
    "toml",
    "sh",
    "yaml",
    "yml",
    "json",
    "conf",
    "patch",
    "Makefile",
    "Dockerfile",
    "run",
    "service",
    "gitignore",
    "conflist",
];

#[test]
fn no_file_holds_unfinished_business_or_a_machines_paths() {
    let verdict = Verdict::default();
    for path in files().iter().filter(|path| TEXT.iter().any(|kind| path.ends_with(kind))) {
        for (n, line) in read(path).lines().enumerate() {
            for (rule, word, why) in NEVER {
                if line.contains(word) {
                    verdict.breach(rule, path, n + 1, &format!("`{word}`: {why}"));
                }
            }
            if line.ends_with([' ', '\t']) && !path.ends_with(".patch") {
                verdict.breach("blank", path, n + 1, "blanks at the end of the line");
            }
        }
    }
    verdict.pass(&["unfinished", "machine", "blank"]);
}
