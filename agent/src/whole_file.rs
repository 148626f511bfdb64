//! Files that are there whole or not at all, whatever is cut off when.
//!
//! What is written goes beside its place first, under [`unfinished`], is synced and renamed, and the directory is
//! synced: after a crash or a power cut the old content is there or the new, never a part of either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file was not replaced; what was there still is.
#[derive(Debug, thiserror::Error)]
#[error("write {path}: {why}")]
pub struct NotWritten {
    /// The file that was being written: the place itself, or the one beside it.
    pub path: PathBuf,
    /// As the system says.
    pub why: io::Error,
}

/// Has `path` be a file of this content and mode (permission bits), at once or not at all.
///
/// # Errors
/// [`NotWritten`]; nothing unfinished is left, as far as the system lets us.
pub fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), NotWritten> {
    let beside = unfinished(path);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| NotWritten { path, why }
    };
    let written = write(&beside, content, mode)
        .map_err(failed(&beside))
        .and_then(|()| fs::rename(&beside, path).and_then(|()| sync_directory(path)).map_err(failed(path)));
    if written.is_err() {
        // The reason is already known; what can't be removed is overwritten by the next run.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Where a file is written until it is whole. No container runtime takes such a name for a network or a plugin.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!(".{name}.unfinished"))
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What a run that was cut off has left may be a link to anywhere.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    // The mode at creation is narrowed by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Has the directory of `path` keep what was done in it.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
