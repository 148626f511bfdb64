//! All files as they were last read, and what they come to together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corduroy_api::{Event, Key, Kind, Rejection, Resource, Why};

use super::load::{self, Loaded, Placed};
use crate::hub::Hub;

/// The name under which the directory of secrets is kept among the files.
pub(super) const SECRETS: &str = "secrets";

/// Every file by name.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    files: BTreeMap<String, File>,
    /// Sources that watchers know to be in part unusable.
    told: BTreeSet<String>,
}

/// A file as it was last read.
#[derive(Debug, Default)]
struct File {
    loaded: Loaded,
    /// What it held before and now has in a form that can't be used, or may have.
    kept: Vec<Resource>,
    /// Which file had this name when it was read: one renamed into place is another.
    identity: Option<Identity>,
}

/// Inode and birth: an inode alone is used again.
type Identity = (u64, Option<SystemTime>);

/// What all files come to.
#[derive(Debug, Default)]
pub(super) struct Union {
    pub(super) resources: BTreeMap<Key, Resource>,
    /// The file in which each stands usably.
    pub(super) places: BTreeMap<Key, String>,
    rejected: BTreeMap<String, Vec<Rejection>>,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), files: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// Reads everything again.
    pub(super) fn reload_all(&mut self) -> io::Result<()> {
        let names = self.present()?;
        let gone: Vec<String> = self.files.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in names.iter().chain(&gone) {
            self.reload(name);
        }
        Ok(())
    }

    /// Reads what others of our kind have written since: they rename files into place. A file somebody edits in
    /// place is left until he closes it.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        let names = self.present()?;
        let stale = |name: &String| {
            let identity = identity(&self.dir.join(name));
            name == SECRETS || self.files.get(name).is_none_or(|file| file.identity != identity)
        };
        let mut changed: Vec<String> = names.iter().filter(|name| stale(name)).cloned().collect();
        changed.extend(self.files.keys().filter(|name| !names.contains(*name)).cloned());
        for name in changed {
            self.reload(&name);
        }
        Ok(())
    }

    fn present(&self) -> io::Result<BTreeSet<String>> {
        let names = load::names(&self.dir)?;
        Ok(names.into_iter().filter(|name| load::is_ours(name) || name == SECRETS).collect())
    }

    /// Reads one file again; one that is gone takes its resources with it.
    pub(super) fn reload(&mut self, name: &str) {
        let path = self.dir.join(name);
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            self.files.remove(name);
            return;
        }
        let identity = identity(&path);
        let mut loaded = if name == SECRETS { load::secrets(&path) } else { load::file(&path) };
        let before = self.files.remove(name).unwrap_or_default();
        let had = !before.loaded.good.is_empty() || !before.kept.is_empty();
        if had && name != SECRETS && loaded == Loaded::default() {
            loaded.bad.push(Rejection { key: None, line: None, why: Why::Emptied });
        }
        let kept = keep(before, &loaded);
        self.files.insert(name.to_owned(), File { loaded, kept, identity });
    }

    /// What all files come to: a usable resource goes before a kept one, then the first file by name counts.
    pub(super) fn union(&self) -> Union {
        let mut union = Union::default();
        for (name, file) in &self.files {
            let source = self.source(name);
            let mut bad = file.loaded.bad.clone();
            for Placed { resource, line } in &file.loaded.good {
                let key = resource.key();
                if let Some(first) = union.places.get(&key) {
                    let why = Why::Duplicate(self.source(first));
                    bad.push(Rejection { key: Some(key), line: *line, why });
                } else {
                    union.places.insert(key.clone(), name.clone());
                    union.resources.insert(key, resource.clone());
                }
            }
            if !bad.is_empty() {
                union.rejected.insert(source, bad);
            }
        }
        for resource in self.files.values().flat_map(|file| &file.kept) {
            union.resources.entry(resource.key()).or_insert_with(|| resource.clone());
        }
        union
    }

    /// Tells the watchers what is new.
    pub(super) fn publish(&mut self, hub: &Hub) {
        let union = self.union();
        let mut healed = std::mem::replace(&mut self.told, union.rejected.keys().cloned().collect());
        healed.retain(|source| !union.rejected.contains_key(source));
        hub.update(|known, events| {
            let gone = known.keys().filter(|key| !union.resources.contains_key(*key));
            events.extend(gone.map(|key| Event::Gone(key.clone())));
            // What others refer to comes first.
            for kind in Kind::ALL {
                let new =
                    union.resources.values().filter(|r| r.kind() == kind && known.get(&r.key()) != Some(*r));
                events.extend(new.map(|resource| Event::Put(resource.clone())));
            }
            events
                .extend(healed.into_iter().map(|source| Event::Rejected { source, rejections: Vec::new() }));
            let rejected = union.rejected.into_iter();
            events.extend(rejected.map(|(source, rejections)| Event::Rejected { source, rejections }));
        });
    }

    fn source(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// What a file held and must stay in force although the file does not say it usably any more.
fn keep(before: File, now: &Loaded) -> Vec<Resource> {
    let anonymous = now.bad.iter().any(|rejection| rejection.key.is_none());
    let held = before.loaded.good.into_iter().map(|placed| placed.resource).chain(before.kept);
    let mut kept: Vec<Resource> = Vec::new();
    for resource in held {
        let key = resource.key();
        let good = now.good.iter().any(|placed| placed.resource.key() == key);
        let bad = now.bad.iter().any(|rejection| rejection.key.as_ref() == Some(&key));
        if !good && (bad || anonymous) && !kept.iter().any(|k| k.key() == key) {
            kept.push(resource);
        }
    }
    kept
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|about| (about.ino(), about.created().ok()))
}
