//! The container's network namespace, opened here because only the runtime's mounts have it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use corduroy_ipc::cni::{CniFailure, code};

/// `f_type` of a namespace file (`NSFS_MAGIC` in linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Opens `CNI_NETNS`, and makes sure that it is a namespace and not the one we are in.
pub(crate) fn open(path: &str) -> Result<File, CniFailure> {
    let file = File::open(path).map_err(|error| {
        let code =
            if error.kind() == ErrorKind::NotFound { code::UNKNOWN_CONTAINER } else { code::INVALID_NETNS };
        CniFailure::new(code, format!("CNI_NETNS {path} can't be opened")).details(error.to_string())
    })?;
    let invalid = |why: &str| CniFailure::new(code::INVALID_NETNS, format!("CNI_NETNS {path} {why}"));
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type depends on the architecture")]
    let is_namespace = rustix::fs::fstatfs(&file).is_ok_and(|stat| stat.f_type as i64 == NSFS_MAGIC);
    if !is_namespace {
        return Err(invalid("is not a namespace"));
    }
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let theirs = file.metadata().map(id);
    let ours = std::fs::metadata("/proc/self/ns/net").map(id);
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) if theirs == ours => Err(invalid("is the host's own namespace")),
        _ => Ok(file),
    }
}
