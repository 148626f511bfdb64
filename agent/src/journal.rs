//! The endpoints' journal as a file.
//!
//! It lies on a tmpfs and is never synced: it has to outlive the process, not the boot. What `write` has
//! taken is in the page cache and survives a kill.
//!
//! What is damaged in it is left out by whoever reads it, and the whole is written anew soon after; so a
//! damaged journal is copied aside first, for whoever wants to know what happened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The boot this is: pods and journal end with it.
///
/// # Errors
/// `/proc` is not readable.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The open file.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: File,
    /// How long it is, all lines whole.
    len: u64,
}

impl JournalFile {
    /// Opens the journal in the agent's run directory, both made if need be, and reads it.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn open(run_dir: &Path) -> io::Result<(Self, Vec<u8>)> {
        let path = run_dir.join("endpoints.journal");
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::create_dir_all(run_dir).map_err(named)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(named)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(named)?;
        let len = content.len() as u64;
        Ok((Self { path, file, len }, content))
    }

    /// Keeps a copy of the journal as `endpoints.journal.damaged`, in the place of an earlier one, and says
    /// where.
    ///
    /// # Errors
    /// As the system says; the journal itself is as before.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("journal.damaged");
        std::fs::copy(&self.path, &aside)?;
        Ok(aside)
    }

    /// Appends whole lines. When it fails, the file is as before.
    ///
    /// # Errors
    /// As the system says; a full tmpfs most likely.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Half a line in the middle would look like damage when the next one follows it.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Replaces the whole journal; a kill leaves either the old or the new one.
    ///
    /// # Errors
    /// As the system says; the old one stays in force.
    pub fn rewrite(&mut self, content: &str) -> io::Result<()> {
        let unfinished = self.path.with_extension("new");
        let mut file = OpenOptions::new().append(true).create(true).open(&unfinished)?;
        file.set_len(0)?;
        file.write_all(content.as_bytes())?;
        std::fs::rename(&unfinished, &self.path)?;
        (self.file, self.len) = (file, content.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_and_rewritten_is_there_when_it_is_opened_again() {
        let dir = std::env::temp_dir().join(format!("corduroy-journal-{}", std::process::id()));
        let (mut journal, content) = JournalFile::open(&dir).unwrap();
        assert_eq!(content, b"");
        journal.append("one\n").unwrap();
        let (_, content) = JournalFile::open(&dir).unwrap();
        assert_eq!(content, b"one\n");
        journal.rewrite("two\n").unwrap();
        journal.append("three\n").unwrap();
        let (_, content) = JournalFile::open(&dir).unwrap();
        assert_eq!(content, b"two\nthree\n");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        let aside = journal.set_aside().unwrap();
        journal.rewrite("four\n").unwrap();
        assert_eq!(aside.file_name().unwrap(), "endpoints.journal.damaged");
        assert_eq!(std::fs::read(aside).unwrap(), b"two\nthree\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_half_written_line_is_taken_back() {
        // A file that takes no more: /dev/full fails every write with ENOSPC.
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut journal = JournalFile { path: "/dev/full".into(), file, len: 0 };
        assert!(journal.append("line\n").is_err());
        assert_eq!(journal.len, 0);
    }
}
