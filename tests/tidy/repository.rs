//! What is judged: every file that git tracks.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use corduroy_tests::process;

/// A Rust file, read and parsed.
pub struct Source {
    /// Its path from the workspace's root.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

/// All tracked files, as paths from the workspace's root. New files count before they are committed.
pub fn files() -> &'static [String] {
    static FILES: OnceLock<Vec<String>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut git = Command::new("git");
        // In a checkout of somebody else's, as under sudo, git asks for this.
        git.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]);
        git.current_dir(process::workspace());
        let list = process::output(git);
        let mut files: Vec<_> = list.lines().map(str::to_owned).filter(|path| exists(path)).collect();
        files.sort();
        files
    })
}

/// Whether there is such a file or folder in the workspace.
pub fn exists(path: &str) -> bool {
    process::workspace().join(path).exists()
}

pub fn read(path: &str) -> String {
    let full = process::workspace().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

/// Every Rust file. `syn`'s trees can't be shared between threads, so each test parses for itself.
pub fn sources() -> Vec<Source> {
    let rust = files().iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| {
        let text = read(path);
        let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
        Source { path: path.clone(), text, syntax }
    })
    .collect()
}

/// The folder of the package a file belongs to, `bgp/net` for `bgp/net/src/lib.rs`.
pub fn package(path: &str) -> &str {
    let parents = Path::new(path).ancestors().skip(1);
    let owner = parents.filter_map(Path::to_str).find(|dir| exists(&join(dir, "Cargo.toml")));
    owner.unwrap_or_default()
}

pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Whether a whole file is test code: in a `tests` folder or file beside the code, or in the package of tests.
pub fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Whether attributes say `#[cfg(test)]`.
pub fn cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}
