//! Whether this is the first run since the machine came up. A reflector forwards nothing, so after any later start
//! its clients may go on with the routes they have from it (RFC 4724 §4.1: the forwarding state was preserved), and
//! it waits for theirs before it selects. The mark is made when sessions begin and taken away by a drain: after a
//! drain nobody has routes of ours.

use std::io;
use std::path::{Path, PathBuf};

use corduroy_bgp::FamilySet;
use corduroy_bgp::io::Start;

/// The mark of a run, in the run directory: the boot it belongs to.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    boot: String,
}

impl Mark {
    pub(crate) fn new(run_dir: &Path) -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        std::fs::create_dir_all(run_dir)?;
        Ok(Self { path: run_dir.join("started"), boot })
    }

    /// How this process comes up.
    pub(crate) fn start(&self) -> Start {
        match std::fs::read_to_string(&self.path) {
            Ok(boot) if boot.trim() == self.boot => Start::Again { forwarding: FamilySet::BOTH },
            // No mark, or one that nobody can read: waiting for nobody is right after the first start and costs a
            // flap after another.
            _ => Start::First,
        }
    }

    /// Sessions begin.
    pub(crate) fn make(&self) -> io::Result<()> {
        std::fs::write(&self.path, &self.boot)
    }

    /// Nobody has routes of ours any more.
    pub(crate) fn take_away(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_this_boot_that_was_not_drained_makes_the_next_one_a_restart() {
        let dir = std::env::temp_dir().join(format!("corduroy-started-{}", std::process::id()));
        let mark = Mark::new(&dir).unwrap();
        assert_eq!(mark.start(), Start::First);
        mark.make().unwrap();
        assert!(matches!(Mark::new(&dir).unwrap().start(), Start::Again { .. }));
        std::fs::write(dir.join("started"), "another boot").unwrap();
        assert_eq!(mark.start(), Start::First);
        mark.make().unwrap();
        mark.take_away().unwrap();
        assert_eq!(mark.start(), Start::First);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
