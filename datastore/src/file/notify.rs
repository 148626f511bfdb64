//! The watching thread: inotify in, reloads out.
//!
//! Watches are set before anything is read, so that no change falls between. Only the end of a change counts
//! (closed after writing, renamed, deleted, attributes changed), never the middle. When the kernel's queue
//! overflows, everything is read again. When the directory goes away, the last good state stays and every second we
//! look whether it is back.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

use super::Shared;
use super::files::SECRETS;
use super::load;
use crate::hub::lock;

/// How often a directory that went away is looked for.
const RETRY: Duration = Duration::from_secs(1);

/// Reads the directory and starts its thread, which ends when the answer is dropped.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<OwnedFd> {
    let (stop, keep) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let inotify = Inotify::init()?;
    let mut watcher = Watcher { shared: Arc::downgrade(shared), inotify, main: None, stop };
    watcher.connect(shared);
    std::thread::Builder::new().name("datastore".to_owned()).spawn(move || watcher.run())?;
    Ok(keep)
}

struct Watcher {
    shared: Weak<Shared>,
    inotify: Inotify,
    /// The watch on the directory itself; `None` while it is away.
    main: Option<WatchDescriptor>,
    stop: OwnedFd,
}

/// What has to be read again.
#[derive(Debug, Default)]
struct Dirty {
    files: BTreeSet<String>,
    all: bool,
    lost: bool,
}

impl Watcher {
    fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(ready) = self.wait() {
            let Some(shared) = self.shared.upgrade() else { return };
            let dirty = if ready { self.read(&mut buffer) } else { Dirty::default() };
            if dirty.lost {
                self.main = None;
            }
            if self.main.is_none() || dirty.all {
                self.connect(&shared);
            } else {
                self.reload(&shared, &dirty.files);
            }
        }
    }

    /// Whether there is something to read; an error when the store is gone.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
        ];
        let retry = Timespec { tv_sec: RETRY.as_secs().cast_signed(), tv_nsec: 0 };
        let timeout = self.main.is_none().then_some(&retry);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let [inotify, stop] = &fds;
        if !stop.revents().is_empty() {
            return Err(io::Error::other("the store was dropped"));
        }
        Ok(!inotify.revents().is_empty())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Dirty {
        let mut dirty = Dirty::default();
        let Ok(events) =
            self.inotify.read_events(buffer).map(|events| events.map(|e| e.to_owned()).collect::<Vec<_>>())
        else {
            dirty.all = true;
            return dirty;
        };
        for event in events {
            let of_main = Some(&event.wd) == self.main.as_ref();
            let ends =
                EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED | EventMask::UNMOUNT;
            let name = event.name.as_deref().and_then(OsStr::to_str).unwrap_or_default();
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                dirty.all = true;
            } else if of_main && event.mask.intersects(ends) {
                dirty.lost = true;
            } else if !of_main || name == SECRETS {
                dirty.files.insert(SECRETS.to_owned());
            } else if name == "..data" {
                // A mounted ConfigMap changes all its files by renaming this one link.
                dirty.all = true;
            } else if load::is_ours(name)
                && !(event.mask.contains(EventMask::CREATE) && self.is_being_written(name))
            {
                dirty.files.insert(name.to_owned());
            }
        }
        dirty
    }

    /// A new plain file is empty or half written, and will be closed; a new link is whole.
    fn is_being_written(&self, name: &str) -> bool {
        let about = self.shared.upgrade().and_then(|s| std::fs::symlink_metadata(s.dir.join(name)).ok());
        about.is_some_and(|about| about.is_file() && about.nlink() == 1)
    }

    /// Watches the directory (again) and reads all of it.
    fn connect(&mut self, shared: &Shared) {
        let mut files = lock(&shared.files);
        let read = self.inotify.watches().add(&shared.dir, mask()).and_then(|main| {
            self.main = Some(main);
            self.watch_secrets(shared);
            files.reload_all()
        });
        match read {
            Ok(()) => {
                files.publish(&shared.hub);
                shared.in_sync();
            }
            Err(why) => {
                self.main = None;
                shared.unavailable(&why);
            }
        }
    }

    fn reload(&mut self, shared: &Shared, names: &BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        if names.contains(SECRETS) {
            self.watch_secrets(shared);
        }
        let mut files = lock(&shared.files);
        for name in names {
            files.reload(name);
        }
        files.publish(&shared.hub);
    }

    /// Watches the directories of secrets; adding one that is watched changes nothing. One that can't be watched is
    /// gone by now, or will be rejected when it is read.
    fn watch_secrets(&mut self, shared: &Shared) {
        let top = shared.dir.join(SECRETS);
        let names = load::names(&top).unwrap_or_default();
        for dir in std::iter::once(top.clone()).chain(names.iter().map(|name| top.join(name))) {
            let _ = self.inotify.watches().add(dir, mask());
        }
    }
}

/// The ends of changes; of `CREATE` only what comes whole (directories, links).
fn mask() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_TO
        | WatchMask::MOVED_FROM
        | WatchMask::DELETE
        | WatchMask::CREATE
        | WatchMask::ATTRIB
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR
}
