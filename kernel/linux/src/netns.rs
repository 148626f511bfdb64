//! Work inside another network namespace.
//!
//! A namespace belongs to a thread, and a socket stays in the namespace it was made in. So the calling thread
//! goes in, does what has to be done there, and is back before the call returns, also when the work panics.
//! Going there and back costs some microseconds; a thread made for it would cost as little only as long as a
//! processor is idle, and else waits for its turn, in the middle of wiring a pod.
#![allow(unsafe_code, reason = "setns and unshare have no wrapper in std")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Where the calling thread returns to when this is dropped.
struct Home(File);

impl Home {
    fn of_this_thread() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = enter(self.0.as_fd()) {
            // Whatever this thread does from here on would happen to a pod instead of the node.
            eprintln!("can't return to the network namespace of the node: {error}");
            std::process::abort();
        }
    }
}

fn enter(netns: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open as long as the borrow lives. Only this thread changes.
    let rc = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Run `work` inside the network namespace of `netns`.
///
/// # Errors
/// The namespace can't be entered: the descriptor is not one, or CAP_SYS_ADMIN is missing.
pub(crate) fn inside<T>(netns: impl AsFd, work: impl FnOnce() -> T) -> io::Result<T> {
    let home = Home::of_this_thread()?;
    enter(netns.as_fd())?;
    let done = work();
    drop(home);
    Ok(done)
}

/// Run `work` inside a new network namespace, which is gone when nothing of it is left open.
///
/// # Errors
/// A namespace can't be made: CAP_SYS_ADMIN is missing.
pub(crate) fn in_new<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let home = Home::of_this_thread()?;
    // SAFETY: no pointers; only this thread changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let done = work();
    drop(home);
    Ok(done)
}
