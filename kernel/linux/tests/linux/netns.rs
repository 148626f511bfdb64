//! Network namespaces that are gone when the test is: nothing has a name, so nothing is left behind.
#![allow(unsafe_code, reason = "unshare and setns have no wrapper in std")]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

/// A namespace of its own, alive as long as this value.
pub(crate) struct Netns(OwnedFd);

impl Netns {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: no pointers; only this thread changes.
            let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(rc, 0, "unshare(CLONE_NEWNET) needs root: {}", std::io::Error::last_os_error());
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        });
        Self(made.join().unwrap())
    }
    pub(crate) fn fd(&self) -> OwnedFd {
        self.0.try_clone().unwrap()
    }
    /// Run `work` inside.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let fd = self.fd();
        let thread = std::thread::spawn(move || {
            // SAFETY: no pointers; the descriptor is open.
            let rc = unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(rc, 0, "setns: {}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap()
    }
    /// Run a command line inside and give back what it printed. It must succeed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let out = Command::new("sh").arg("-ec").arg(&line).output().unwrap();
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(out.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&out.stderr));
            said
        })
    }
}
