//! One network namespace.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ledger;
use crate::process;

/// A network namespace: a host, a router, a pod. Clones are the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    label: String,
    dir: PathBuf,
}

impl Namespace {
    #[track_caller]
    pub(super) fn create(long_label: &str, label: &str, dir: PathBuf) -> Self {
        let name = ledger::enter(long_label);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("can't make {}: {e}", dir.display()));
        let mut add = Command::new("ip");
        add.args(["netns", "add", &name]);
        process::output(add);
        let namespace = Self(Arc::new(Inner { name, label: label.to_owned(), dir }));
        // Duplicate address detection would keep every IPv6 address unusable for a second or two.
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0");
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// What it is called in this network.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Its name for `ip netns`, unique on this machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The file that stands for it, as a CNI runtime hands it over.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name())
    }

    /// A directory of its own for configuration, logs and sockets; it goes with the network.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Writes a file into [`Self::dir`] and returns its path.
    #[track_caller]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        let parent = path.parent().unwrap_or(self.dir());
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("can't make {}: {e}", parent.display()));
        fs::write(&path, text).unwrap_or_else(|e| panic!("can't write {}: {e}", path.display()));
        path
    }

    /// Runs `body` on a thread inside the namespace. Sockets opened and processes started there belong to it.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        enter(&self.path(), body)
    }

    /// Runs a command line (words split at blanks, no quoting) inside and returns its output; the test fails when
    /// the command does.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|why| panic!("in {}: {why}", self.label()))
    }

    /// Runs a command line (words split at blanks, no quoting) inside.
    ///
    /// # Errors
    /// It can't be started or fails: what it was and what it said.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("true"));
        command.args(words);
        self.enter(move || process::try_output(&mut command))
    }

    /// `ip -n <this namespace> …`.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        process::output(self.ip_command(arguments))
    }

    /// `ip -n <this namespace> …`, when it may fail.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn try_ip(&self, arguments: &str) -> Result<String, String> {
        process::try_output(&mut self.ip_command(arguments))
    }

    fn ip_command(&self, arguments: &str) -> Command {
        let mut ip = Command::new("ip");
        ip.args(["-n", self.name()]).args(arguments.split_whitespace());
        ip
    }

    /// Gives `device` an address with its prefix length, IPv4 or IPv6.
    #[track_caller]
    pub fn address(&self, device: &str, cidr: &str) {
        self.ip(&format!("address add {cidr} dev {device}"));
    }

    /// Sets a sysctl of the namespace, named with dots (`net.ipv4.ip_forward`).
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        let written = self.enter(|| fs::write(&path, value));
        written.unwrap_or_else(|e| panic!("in {}: can't set {key}={value}: {e}", self.label()));
    }

    /// Makes a router of it: forwards IPv4 and IPv6.
    #[track_caller]
    pub fn forward(&self) {
        self.sysctl("net.ipv4.ip_forward", "1");
        self.sysctl("net.ipv6.conf.all.forwarding", "1");
    }

    /// Its links, addresses and routes, for the report of a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        let show = |what: &str| self.try_ip(what).unwrap_or_else(|why| why);
        let parts = ["-brief address", "route show table all", "-6 route show table main"].map(show);
        let lines = parts.iter().flat_map(|part| part.lines()).take(60);
        lines.fold(format!("---- network of {}\n", self.label()), |text, line| text + "  " + line + "\n")
    }

    /// Kills every process in it whose name is `command`; all of them when that is empty.
    pub fn kill_all(&self, command: &str) {
        let pids = Command::new("ip").args(["netns", "pids", self.name()]).output();
        let pids = pids.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        for pid in pids.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid.filter(|_| command.is_empty() || name.trim() == command) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Kills what lives in it and deletes it.
    pub(super) fn remove(&self) {
        self.kill_all("");
        let _ = Command::new("ip").args(["netns", "del", self.name()]).output();
        ledger::strike(self.name());
    }
}

/// Runs `body` on a thread inside the network namespace that the file at `path` stands for: one of ours, or any
/// process's (`/proc/PID/ns/net`).
pub fn enter<T: Send>(path: &Path, body: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        let file = File::open(path).unwrap_or_else(|e| panic!("namespace {}: {e}", path.display()));
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        moved.unwrap_or_else(|e| panic!("can't enter namespace {}: {e}", path.display()));
        body()
    };
    let joined = std::thread::scope(|scope| scope.spawn(inside).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
