//! Documents that speak of files which are there.

use std::path::Path;

use crate::Verdict;
use crate::repository::{exists, files, join, package, read};

#[test]
fn documents_name_files_that_exist() {
    let verdict = Verdict::default();
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        let dir = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
        for (n, line) in read(path).lines().enumerate() {
            for link in links(line) {
                if !exists(&join(dir, link)) {
                    verdict.breach("link", path, n + 1, &format!("there is no `{link}`"));
                }
            }
            for name in quoted(line).filter(|name| is_ours(name)) {
                if !exists(name) && !exists(&join(dir, name)) {
                    verdict.breach("file name", path, n + 1, &format!("there is no `{name}`"));
                }
            }
        }
    }
    verdict.pass(&["link", "file name"]);
}

/// Targets of `[text](target)` within the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter_map(|target| target.split(['#', ' ']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// What stands between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether something quoted is the path of a file in this repository: it begins with a folder of ours and has no
/// character that only a pattern or a command has.
fn is_ours(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let Some((top, rest)) = name.split_once('/') else { return false };
    plain && !rest.is_empty() && files().iter().any(|file| file.starts_with(&format!("{top}/")))
}

#[test]
fn every_package_says_what_it_is() {
    let verdict = Verdict::default();
    for manifest in files().iter().filter(|path| path.ends_with("Cargo.toml") && !package(path).is_empty()) {
        if !read(manifest).contains("\ndescription = ") {
            verdict.breach("description", manifest, 1, "no description");
        }
    }
    verdict.pass(&["description"]);
}
