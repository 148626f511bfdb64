//! Changing one resource in one file, in one step that readers see whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use corduroy_api::{Key, Resource, Secret, Version, Write, WriteError, yaml};
use rustix::fs::FlockOperation;

use super::files::{Files, SECRETS};
use super::load;
use crate::memory::decide;

/// The directory's lock, free again when this is dropped (or its process dies).
#[derive(Debug)]
pub(super) struct Locked {
    _file: fs::File,
}

/// Waits for the directory's lock.
pub(super) fn lock_directory(dir: &Path) -> io::Result<Locked> {
    let path = dir.join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(path)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Locked { _file: file }),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl Files {
    /// Makes a change, if the files are as the writer thinks. The directory is locked and the files are caught up.
    pub(super) fn write(&mut self, write: Write) -> Result<Version, WriteError> {
        let key = write.key();
        let union = self.union();
        let wanted = match &write {
            Write::Create(resource) | Write::Update(resource) => Some(resource.clone()),
            Write::Delete { .. } => None,
        };
        let (_, version) = decide(write, union.resources.get(&key), |r| Version(load::version(r)))?;
        let unavailable = |why: io::Error| WriteError::Unavailable { key: key.clone(), why: why.to_string() };
        let place = match (&wanted, union.places.get(&key)) {
            (Some(Resource::Secret(secret)), _) => {
                write_secret(&self.dir, secret).map_err(unavailable)?;
                SECRETS.to_owned()
            }
            (None, Some(place)) if place == SECRETS => {
                fs::remove_dir_all(self.dir.join(SECRETS).join(&key.name)).map_err(unavailable)?;
                SECRETS.to_owned()
            }
            (None, None) => {
                let why =
                    "its document can't be used as it stands, so it can't be told what to remove".to_owned();
                return Err(WriteError::Unavailable { key, why });
            }
            (wanted, place) => {
                let place = place.cloned().unwrap_or_else(|| file_name(&key));
                let old = union.resources.get(&key);
                self.splice(&place, &key, old, wanted.as_ref())?;
                place
            }
        };
        self.reload(&place);
        Ok(version)
    }

    /// Replaces, adds or removes one document of a file. The text is read afresh and compared with what the writer
    /// thinks, so this is what makes the swap safe, however late the view of the other files is.
    fn splice(
        &self,
        name: &str,
        key: &Key,
        old: Option<&Resource>,
        new: Option<&Resource>,
    ) -> Result<(), WriteError> {
        let unavailable = |why: io::Error| WriteError::Unavailable { key: key.clone(), why: why.to_string() };
        let path = self.dir.join(name);
        let text = match load::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(unavailable(e)),
        };
        let documents = yaml::documents(&text);
        let found = documents.iter().find_map(|d| usable(d).filter(|r| r.key() == *key).map(|r| (d, r)));
        let given = old.and_then(|r| r.metadata().resource_version.clone());
        if found.as_ref().is_some_and(|(_, stands)| Some(load::version(stands)) != given) {
            let key = key.clone();
            return Err(if old.is_some() {
                WriteError::Conflict { key }
            } else {
                WriteError::Exists { key }
            });
        }
        let new = new.map(|r| r.to_yaml().map_err(|e| unavailable(io::Error::other(e)))).transpose()?;
        let text = match (found, new) {
            (Some((document, _)), Some(new)) => replaced(&text, document, &new),
            (Some((document, _)), None) => without(&text, document),
            // A file of our own in which nothing can be used is written anew; any other keeps what it has.
            (None, Some(new)) if name == file_name(key) && documents.iter().all(|d| usable(d).is_none()) => {
                new
            }
            (None, Some(new)) if old.is_none() => appended(&text, &new),
            // It stood here and does no more, or in a form that can't be used.
            (None, _) => return Err(WriteError::Conflict { key: key.clone() }),
        };
        if yaml::documents(&text).is_empty() {
            return fs::remove_file(path).map_err(unavailable);
        }
        let mode = fs::metadata(&path).map_or(0o644, |about| about.permissions().mode() & 0o777);
        put(&path, text.as_bytes(), mode).map_err(unavailable)
    }
}

/// The file of its own that a resource gets.
fn file_name(key: &Key) -> String {
    // A namespace has no dot in its name.
    format!("{}.{}.yaml", key.kind.name().to_lowercase(), key.name.replace('/', "."))
}

fn usable(document: &yaml::Document<'_>) -> Option<Resource> {
    document.parse().ok().and_then(|value| Resource::read(&value).ok())
}

fn replaced(text: &str, document: &yaml::Document<'_>, new: &str) -> String {
    let (before, after) = around(text, document);
    let newline = if before.is_empty() { "" } else { "\n" };
    format!("{before}{newline}{new}{after}")
}

fn without(text: &str, document: &yaml::Document<'_>) -> String {
    let (before, after) = around(text, document);
    format!("{}{}", before.strip_suffix("---").unwrap_or(before), after)
}

fn appended(text: &str, new: &str) -> String {
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let marker = if text.is_empty() { "" } else { "---\n" };
    format!("{text}{newline}{marker}{new}")
}

fn around<'t>(text: &'t str, document: &yaml::Document<'_>) -> (&'t str, &'t str) {
    let end = document.offset + document.text.len();
    (text.get(..document.offset).unwrap_or_default(), text.get(end..).unwrap_or_default())
}

fn write_secret(dir: &Path, secret: &Secret) -> io::Result<()> {
    let dir = dir.join(SECRETS).join(&secret.metadata.name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    for (key, value) in &secret.data {
        // A value that ends with a newline keeps it, since one is taken off when it is read.
        let mut bytes = value.expose().to_vec();
        bytes.push(b'\n');
        put(&dir.join(key), &bytes, 0o600)?;
    }
    for key in load::names(&dir)? {
        if !secret.data.contains_key(&key) {
            fs::remove_file(dir.join(key))?;
        }
    }
    Ok(())
}

/// Puts a file into place: whole, on the disk, in one step.
fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".tmp-{}-{number}", std::process::id());
    let temporary = path.with_file_name(name);
    let written = write_file(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What failed is told; whether the rest could be tidied up changes nothing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
