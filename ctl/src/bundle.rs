//! `cordctl support-bundle`: everything an engineer asks for first, in one archive.
//!
//! ```text
//! cluster.rs (resources, reports, events, logs)  ─┐
//! node.rs (the agent's answers, kernel, journal)  ─┴► Bundle: each text ─ secrets ─► tar ─► gzip ─► file
//! ```
//! What can't be had is named in `missing.txt` and does not keep the rest away. Secrets are never asked for, and
//! whatever looks like one in what was asked for is taken out on the one way into the archive.

mod archive;
mod node;
mod of_cluster;
mod secrets;

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::client::{Client, NoAnswer};
use crate::cluster::Cluster;

/// What goes into the archive.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Bundle {
    /// Adds a text, or notes why there is none.
    fn add<E: Display>(&mut self, name: impl Into<String>, text: Result<String, E>) {
        // The header of an archive has room for so much, and who reads it may have a file system of another kind.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let name: String = name.into().chars().map(|c| if is_plain(c) { c } else { '_' }).take(64).collect();
        match text {
            Ok(text) => self.files.push((name, secrets::without(&text))),
            Err(why) => self.missing.push(format!("{name}: {}", secrets::without(&why.to_string()))),
        }
    }

    /// Adds an object as JSON, or notes why there is none.
    fn add_json<T: Serialize, E: Display>(&mut self, name: &str, value: Result<T, E>) {
        let object = value.map_err(|why| why.to_string()).and_then(|value| {
            let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
            serde_json::to_string_pretty(&secrets::without_in(value)).map_err(|error| error.to_string())
        });
        match object {
            // What was made of fields is looked at as text too: a secret may stand in a sentence.
            Ok(text) => self.add::<String>(name, Ok(text)),
            Err(why) => self.add(name, Err::<String, _>(why)),
        }
    }
}

/// Gathers what can be had and writes it; returns what to tell.
pub(crate) fn write(
    file: Option<PathBuf>,
    socket: &Client<'_>,
    cluster: Result<Cluster, NoAnswer>,
    root: &Path,
) -> Result<String, NoAnswer> {
    let written = corduroy_api::instant::write(crate::cluster::now());
    let stamp: String = written.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let file = file.unwrap_or_else(|| PathBuf::from(format!("corduroy-support-{stamp}.tar.gz")));
    let mut bundle = Bundle::default();
    bundle.add::<String>("version.txt", Ok(format!("cordctl {}\n{written}\n", env!("CARGO_PKG_VERSION"))));
    match cluster {
        Ok(cluster) => of_cluster::gather(&mut bundle, &cluster),
        Err(why) => bundle.missing.push(format!("cluster: {why}")),
    }
    node::gather(&mut bundle, socket, root);
    let missing = bundle.missing.iter().map(|line| format!("{}\n", line.replace('\n', " "))).collect();
    bundle.files.push(("missing.txt".to_owned(), missing));
    let (count, left_out) = (bundle.files.len(), bundle.missing.len());
    let bytes = archive::tar_gz(&format!("corduroy-support-{stamp}"), &bundle.files);
    let failed = |error: io::Error| NoAnswer::Failed(format!("{}: {error}", file.display()));
    store(&file, &bytes.map_err(failed)?).map_err(failed)?;
    Ok(format!(
        "{}: {count} files; {left_out} things could not be had, missing.txt in it says which and why\n\
         Passwords, tokens and keys were taken out. Names and addresses are in it: look before you hand it on.\n",
        file.display()
    ))
}

/// For its owner only, and not over something that is there.
fn store(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_in_but_by_the_way_that_takes_secrets_out() {
        let mut bundle = Bundle::default();
        bundle.add::<String>("a.txt", Ok("password: hunter2hunter2\n".to_owned()));
        bundle.add("b.txt", Err::<String, _>("Authorization: Bearer hunter2hunter2"));
        bundle.add_json::<_, String>(
            "c.json",
            Ok(serde_json::json!({ "token": "hunter2hunter2", "name": "n" })),
        );
        let all = format!("{bundle:?}");
        assert!(!all.contains("hunter2"), "{all}");
        assert_eq!((bundle.files.len(), bundle.missing.len()), (2, 1));
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let path = std::env::temp_dir().join(format!("cordctl-bundle-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        store(&path, b"one").unwrap();
        assert_eq!(store(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        std::fs::remove_file(&path).unwrap();
    }
}
