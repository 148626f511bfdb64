//! One agent a node: a lock on a file in the run directory, which every agent of a node shares. The kernel lets go of
//! it when the process ends, however that happens.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock, held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs here.
    #[error(
        "another agent (process {holder}) runs on this node and holds {path}: stop it first, or give this one \
         another runDir if it is meant for another network namespace"
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// Its process id, as far as it is known.
        holder: String,
    },
    /// The file can't be had.
    #[error("lock {path}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// As the system says.
        why: io::Error,
    },
}

impl Lock {
    /// Takes the lock in `run_dir`, which is made if need be.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(run_dir: &Path) -> Result<Self, LockError> {
        let path = run_dir.join("agent.lock");
        let unusable = |why| LockError::Unusable { path: path.clone(), why };
        std::fs::create_dir_all(run_dir).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok_and(|n| n > 0);
                let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
                return Err(LockError::Held { path, holder });
            }
            Err(error) => return Err(unusable(error.into())),
        }
        // Who holds it, for whoever is refused.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_with_the_id_of_the_first_until_that_is_gone() {
        let dir = std::env::temp_dir().join(format!("corduroy-lock-{}", std::process::id()));
        let first = Lock::take(&dir).unwrap();
        let refused = Lock::take(&dir).unwrap_err().to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        Lock::take(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
