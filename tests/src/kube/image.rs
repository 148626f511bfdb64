//! Container images made of files that lie around on this machine, without a registry.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::process;

/// An image to be: one layer, one entry point.
#[derive(Debug)]
pub struct Image {
    tag: String,
    root: PathBuf,
    entrypoint: Vec<String>,
}

impl Image {
    /// An image without any file, to be called `tag` (`registry/name:version`). `work` is a directory to build in.
    #[track_caller]
    #[must_use]
    pub fn scratch(tag: &str, work: &Path) -> Self {
        let root = work.join(tag.replace(['/', ':', '.'], "_"));
        for dir in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"] {
            fs::create_dir_all(root.join(dir))
                .unwrap_or_else(|e| panic!("can't make {}: {e}", root.display()));
        }
        let image = Self { tag: tag.to_owned(), root, entrypoint: Vec::new() };
        image.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n");
        image.text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
        image
    }

    /// Adds a file of this machine as `to` (`bin/name`), and the libraries it needs where it needs any.
    #[track_caller]
    #[must_use]
    pub fn program(self, from: &Path, to: &str) -> Self {
        self.copy(from, to);
        let mut ldd = Command::new("ldd");
        ldd.arg(from);
        // A static program is no error of ours.
        let libraries = process::try_output(&mut ldd).unwrap_or_default();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(library), library.trim_start_matches('/'));
        }
        self
    }

    /// Adds busybox, statically linked, and those of its commands that are not there yet.
    #[track_caller]
    #[must_use]
    pub fn busybox(self) -> Self {
        let busybox = Path::new("/bin/busybox");
        self.copy(busybox, "bin/busybox");
        let mut list = Command::new(busybox);
        list.arg("--list");
        for name in process::output(list).lines() {
            // What is there already stays.
            let _ = std::os::unix::fs::symlink("busybox", self.root.join("bin").join(name));
        }
        self
    }

    /// What a container of it runs.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Writes it as an archive that `ctr images import` takes and returns its path.
    #[track_caller]
    #[must_use]
    pub fn write(self) -> PathBuf {
        let parts = self.root.with_extension("parts");
        fs::create_dir_all(&parts).unwrap_or_else(|e| panic!("can't make {}: {e}", parts.display()));
        tar(&parts.join("layer.tar"), &self.root);
        let layer = sum(&parts.join("layer.tar"));
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Entrypoint": self.entrypoint },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [self.tag], "Layers": ["layer.tar"] }]);
        for (name, value) in [("config.json", &config), ("manifest.json", &manifest)] {
            let written = fs::write(parts.join(name), value.to_string());
            written.unwrap_or_else(|e| panic!("can't write {name}: {e}"));
        }
        let archive = self.root.with_extension("tar");
        tar(&archive, &parts);
        for dir in [&self.root, &parts] {
            let _ = fs::remove_dir_all(dir);
        }
        archive
    }

    #[track_caller]
    fn copy(&self, from: &Path, to: &str) {
        let to = self.root.join(to);
        let parent = to.parent().unwrap_or(&self.root);
        let copied = fs::create_dir_all(parent).and_then(|()| fs::copy(from, &to));
        copied.unwrap_or_else(|e| panic!("can't copy {} into {}: {e}", from.display(), self.tag));
    }

    #[track_caller]
    fn text(&self, to: &str, text: &str) {
        let written = fs::write(self.root.join(to), text);
        written.unwrap_or_else(|e| panic!("can't write {to} of {}: {e}", self.tag));
    }
}

#[track_caller]
fn tar(archive: &Path, root: &Path) {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--file",
    ]);
    // Names without `./`: containerd looks for manifest.json.
    let names = fs::read_dir(root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let names: BTreeSet<_> = names.flatten().map(|entry| entry.file_name()).collect();
    tar.arg(archive).arg("--directory").arg(root).arg("--").args(names);
    process::output(tar);
}

#[track_caller]
fn sum(file: &Path) -> String {
    let mut sum = Command::new("sha256sum");
    sum.arg(file);
    process::output(sum).split_whitespace().next().unwrap_or_default().to_owned()
}
