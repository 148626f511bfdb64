//! Writes the manifests that are made out of the code.
#![allow(clippy::panic, reason = "a tool of the tests says in one sentence what is wrong and ends")]

use corduroy_tests::manifests::{FOLDER, definitions};
use corduroy_tests::process;

fn main() {
    let folder = process::workspace().join(FOLDER);
    let files = definitions().unwrap_or_else(|e| panic!("{e}"));
    if let Err(e) = std::fs::create_dir_all(&folder) {
        panic!("{}: {e}", folder.display());
    }
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
