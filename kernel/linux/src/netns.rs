//! Work inside another network namespace.
//!
//! A namespace belongs to a thread, and a socket stays in the namespace it was made in. So whatever has to
//! happen inside another one happens on a thread of its own that ends with it: no other thread is ever in the
//! wrong place.
#![allow(unsafe_code, reason = "setns has no wrapper in std")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Run `work` on a new thread inside the network namespace of `netns`.
///
/// # Errors
/// The namespace can't be entered, or the thread can't be started.
pub(crate) fn inside<T: Send>(netns: impl AsFd + Sync, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let handle = thread.spawn_scoped(scope, || {
            // SAFETY: no pointers; the descriptor is open as long as the borrow lives.
            let rc = unsafe { libc::setns(netns.as_fd().as_raw_fd(), libc::CLONE_NEWNET) };
            if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(work()) }
        })?;
        handle.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}

/// Run `work` on a new thread inside a new network namespace, which is gone when it returns.
///
/// # Errors
/// A namespace can't be made (CAP_SYS_ADMIN is missing), or the thread can't be started.
pub(crate) fn in_new<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let handle = thread.spawn_scoped(scope, || {
            // SAFETY: no pointers; only this thread changes.
            let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(work()) }
        })?;
        handle.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
