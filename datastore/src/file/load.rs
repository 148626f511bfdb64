//! One file's text, or the directory of secrets, as resources and what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

use corduroy_api::{API_VERSION, Key, Kind, Rejection, Resource, Secret, SecretValue, Why, yaml};

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

/// What a source holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Loaded {
    /// Resources that can be used, with their lines, in order.
    pub(super) good: Vec<Placed>,
    /// What can't.
    pub(super) bad: Vec<Rejection>,
}

/// A resource and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) resource: Resource,
    pub(super) line: Option<usize>,
}

/// Reads and checks a file.
pub(super) fn file(path: &Path) -> Loaded {
    match read(path) {
        Ok(text) => text_of(&text),
        Err(why) => Loaded { good: Vec::new(), bad: vec![unreadable(None, &why)] },
    }
}

/// The text of a file, which must be a plain one: opening a pipe would wait for ever.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        io::Error::other(format!("not UTF-8 text: byte {at} belongs to no character"))
    })
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    if about.len() > LARGEST {
        return Err(io::Error::other(format!("{} bytes long; at most {LARGEST} are read", about.len())));
    }
    fs::read(path)
}

fn unreadable(key: Option<Key>, why: &io::Error) -> Rejection {
    Rejection { key, line: None, why: Why::Unreadable(why.to_string()) }
}

fn text_of(text: &str) -> Loaded {
    let mut out = Loaded::default();
    for document in yaml::documents(text) {
        let value = match document.parse() {
            Ok(value) => value,
            Err(e) => {
                let line = e.line.or(Some(document.line));
                out.bad.push(Rejection { key: None, line, why: Why::Syntax(e.what) });
                continue;
            }
        };
        match Resource::read(&value) {
            Ok(resource) if !resource.kind().is_ours() => {
                let why = format!(
                    "only resources of {API_VERSION} stand in files; this one is read from an API server"
                );
                let key = Some(resource.key());
                out.bad.push(Rejection { key, line: Some(document.first_line()), why: Why::Unreadable(why) });
            }
            Ok(resource) => {
                let version = version(&resource);
                let line = Some(document.first_line());
                out.good.push(Placed { resource: resource.at_version(version), line });
            }
            Err(refused) => out.bad.extend(refused.problems.into_iter().map(|invalid| Rejection {
                key: refused.key.clone(),
                line: Some(document.line_of(&invalid.field)),
                why: Why::Invalid(invalid),
            })),
        }
    }
    out
}

/// The state of a resource: a hash of what it says. It is made anew by everyone who compares, and never stored.
pub(super) fn version(resource: &Resource) -> String {
    let mut hasher = DefaultHasher::new();
    match resource {
        Resource::Secret(secret) => {
            for (key, value) in &secret.data {
                (key, value.expose()).hash(&mut hasher);
            }
        }
        other => other.to_yaml().unwrap_or_default().hash(&mut hasher),
    }
    format!("{:016x}", hasher.finish())
}

/// Reads `secrets/<name>/<key>`. Without such a directory there are no secrets.
pub(super) fn secrets(dir: &Path) -> Loaded {
    let mut out = Loaded::default();
    for name in names(dir).unwrap_or_default() {
        let key = Key::new(Kind::Secret, name.clone());
        let secret =
            read_secret(&dir.join(&name)).and_then(|data| Secret::new(&name, data).map_err(io::Error::other));
        match secret {
            Ok(secret) => {
                let resource = Resource::Secret(Arc::new(secret));
                let version = version(&resource);
                out.good.push(Placed { resource: resource.at_version(version), line: None });
            }
            Err(why) => out.bad.push(unreadable(Some(key), &why)),
        }
    }
    out
}

fn read_secret(dir: &Path) -> io::Result<BTreeMap<String, SecretValue>> {
    let mut data = BTreeMap::new();
    for key in names(dir)? {
        let bytes = read_bytes(&dir.join(&key)).map_err(|e| io::Error::other(format!("{key}: {e}")))?;
        let value = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        data.insert(key, SecretValue::new(value));
    }
    Ok(data)
}

/// The names in a directory that are not hidden, in order.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        // A name that is not text is none of ours.
        names.extend(entry?.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

/// Does a file of this name hold resources?
pub(super) fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}
