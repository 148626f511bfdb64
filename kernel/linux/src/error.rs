//! What an errno means for us.

use std::io;

use corduroy_kernel::{Cause, OpError};
use thiserror::Error;

/// Reading or watching the kernel failed as a whole.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A socket could not be had or talked to.
    #[error("netlink: {what}: {error}")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The network namespace can't be entered: the descriptor is not one, or we lack CAP_SYS_ADMIN.
    #[error("can't enter the network namespace: {0}")]
    Netns(io::Error),
}

/// An I/O error with what was tried.
pub(crate) fn netlink(what: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |error| KernelError::Netlink { what, error }
}

/// The kernel refused an operation with this errno (positive) and this text.
pub(crate) fn refused(errno: i32, text: &str) -> OpError {
    OpError { cause: cause(errno, text), errno, detail: text.to_owned() }
}

/// An operation that failed on the way to the kernel.
pub(crate) fn op_error(error: &io::Error) -> OpError {
    let errno = error.raw_os_error().unwrap_or_default();
    OpError { cause: cause(errno, ""), errno, detail: error.to_string() }
}

fn cause(errno: i32, text: &str) -> Cause {
    match errno {
        // A route's source address that no interface has is told apart by its text only; it is not malformed,
        // the address is not there yet (or no more).
        libc::EINVAL if text.contains("prefsrc") || text.contains("source address") => Cause::Missing,
        libc::EINVAL | libc::ERANGE | libc::EMSGSIZE | libc::E2BIG => Cause::Invalid,
        libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENXIO | libc::EADDRNOTAVAIL => Cause::Missing,
        libc::EEXIST => Cause::Exists,
        libc::ENETUNREACH | libc::EHOSTUNREACH => Cause::Unreachable,
        libc::ENETDOWN => Cause::LinkDown,
        libc::EBUSY => Cause::Busy,
        libc::EOPNOTSUPP | libc::ENOSYS | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT => Cause::Unsupported,
        libc::EPERM | libc::EACCES | libc::EROFS => Cause::Permission,
        libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC | libc::EMFILE | libc::ENFILE => Cause::NoMemory,
        _ => Cause::Other,
    }
}
