//! Switches under /proc/sys: each thread sees those of its own network namespace.

use std::fs;
use std::path::{Path, PathBuf};

use corduroy_kernel::{OpResult, Sysctl};

use crate::error::op_error;

fn path(sysctl: &Sysctl) -> PathBuf {
    Path::new("/proc/sys").join(sysctl.path())
}

/// The value; `None` when the kernel does not have it or shows no number.
pub(crate) fn read(sysctl: &Sysctl) -> Option<u32> {
    fs::read_to_string(path(sysctl)).ok()?.trim().parse().ok()
}

/// Set it.
pub(crate) fn write(sysctl: &Sysctl, value: u32) -> OpResult {
    let path = path(sysctl);
    fs::write(&path, format!("{value}\n")).map_err(|error| {
        let mut refused = op_error(&error);
        // /proc/sys is mounted read-only or from another place in a container without privileges.
        refused.detail = format!("{}: {error}", path.display());
        refused
    })
}
