//! What the machine's configuration says to others who manage networks.

use std::fs;
use std::path::{Path, PathBuf};

/// Our interfaces, as a pattern may mean them.
const OURS: [&str; 3] = ["cord0123456789a", "ipip-cord", "vxlan-cord"];

/// A network of the container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The file in /etc/cni/net.d.
    pub(crate) file: String,
    /// Is it ours?
    pub(crate) is_ours: bool,
}

/// What systemd-networkd does with what is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networkd {
    /// It takes away routes that are not in its configuration.
    pub(crate) takes_routes: bool,
    /// A file of it that means an interface of ours.
    pub(crate) takes_links: Option<String>,
}

/// In the order the runtime looks at them.
pub(crate) fn networks(root: &Path) -> Vec<Network> {
    let all = entries(&root.join("etc/cni/net.d"), &["conf", "conflist", "json"]);
    let network = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let compact: String = text.split_whitespace().collect();
        Network { file: name(&path), is_ours: compact.contains("\"type\":\"corduroy\"") }
    };
    all.into_iter().map(network).collect()
}

/// Whether NetworkManager leaves our interfaces alone; `None` where it does not run.
pub(crate) fn network_manager(root: &Path) -> Option<bool> {
    if !root.join("run/NetworkManager").is_dir() {
        return None;
    }
    let mut files = vec![root.join("etc/NetworkManager/NetworkManager.conf")];
    for dir in ["usr/lib", "run", "etc"] {
        files.extend(entries(&root.join(dir).join("NetworkManager/conf.d"), &["conf"]));
    }
    let leaves = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        settings(&text).any(|(key, value)| key == "unmanaged-devices" && value.contains("cord"))
    };
    Some(files.iter().any(leaves))
}

/// What systemd-networkd does; `None` where it does not run.
pub(crate) fn networkd(root: &Path) -> Option<Networkd> {
    if !root.join("run/systemd/netif").is_dir() {
        return None;
    }
    let mut configuration = vec![root.join("etc/systemd/networkd.conf")];
    let mut networks = Vec::new();
    for dir in ["usr/lib", "run", "etc"] {
        let dir = root.join(dir).join("systemd");
        configuration.extend(entries(&dir.join("networkd.conf.d"), &["conf"]));
        networks.extend(entries(&dir.join("network"), &["network"]));
    }
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    // What is said last holds.
    let routes = configuration.iter().flat_map(|path| {
        let text = read(path);
        let said = settings(&text).filter(|(key, _)| *key == "ManageForeignRoutes");
        said.map(|(_, value)| !matches!(value, "no" | "false" | "0" | "off")).collect::<Vec<_>>()
    });
    let means_ours = |path: &&PathBuf| {
        let text = read(path);
        let is_left_alone = settings(&text).any(|(key, value)| key == "Unmanaged" && is_yes(value));
        let mut names =
            settings(&text).filter(|(key, _)| *key == "Name").flat_map(|(_, v)| v.split_whitespace());
        !is_left_alone && names.any(|pattern| OURS.iter().any(|name| matches(pattern, name)))
    };
    let takes_links = networks.iter().find(means_ours).map(|path| name(path));
    Some(Networkd { takes_routes: routes.last().unwrap_or(true), takes_links })
}

fn is_yes(value: &str) -> bool {
    matches!(value, "yes" | "true" | "1" | "on")
}

/// Does a pattern of a shell mean this name? Only `*` at an end is known; what has others is taken as not meaning it.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) | (Some(_), Some(_)) => pattern == name,
    }
}

/// `key=value` lines that are no comments.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

/// The files in a directory with one of these endings, by name.
fn entries(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let has_ending = |path: &PathBuf| {
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| endings.contains(&ending))
    };
    let mut all: Vec<PathBuf> = all.filter(has_ending).collect();
    all.sort();
    all
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
