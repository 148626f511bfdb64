//! A wall clock of its own for one process (libfaketime). The clock that never jumps stays this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Namespace;

/// Writes how far off the clock is; returns the file. It appears whole: the clock is read at any moment.
#[track_caller]
pub(super) fn set(host: &Namespace, offset: &str) -> PathBuf {
    let draft = host.file("clock.draft", &format!("{offset}\n"));
    let path = host.dir().join("clock");
    fs::rename(&draft, &path).unwrap_or_else(|e| panic!("can't write {}: {e}", path.display()));
    path
}

/// Has the process go by that clock.
#[track_caller]
pub(super) fn go_by(command: &mut Command, clock: &Path) {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    assert!(Path::new(&library).exists(), "there is no {library}; `make setup` installs what tests need");
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
    command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
}
