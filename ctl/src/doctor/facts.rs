//! What is so on this machine. Nothing is judged here, and nothing changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use corduroy_ipc::status::{Status, StatusAnswer, StatusRequest};
use corduroy_kernel::State;
use corduroy_kernel_linux::Kernel;

use super::files::{self, Network, Networkd};
use crate::client::Client;
use crate::cluster::now;

/// Everything that is judged.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `uname -r`.
    pub(crate) release: String,
    /// The kernel's networking, or why it can't be read.
    pub(crate) kernel: Result<State, String>,
    /// What iptables' old half drops on the way through; `None`: it has no rules, or can't be asked.
    pub(crate) legacy: Legacy,
    /// The networks of the container runtime, in its order; the first is the one it uses.
    pub(crate) networks: Vec<Network>,
    /// Is NetworkManager here, and does it leave our interfaces alone?
    pub(crate) network_manager: Option<bool>,
    /// Is systemd-networkd here, and what does it do with what is ours?
    pub(crate) networkd: Option<Networkd>,
    /// Is firewalld here?
    pub(crate) firewalld: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// Does something keep the clock right? `None`: nobody can say.
    pub(crate) clock_is_kept: Option<bool>,
    /// What the agent says, or why it does not.
    pub(crate) agent: Result<Status, String>,
}

/// The old half of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Legacy {
    /// It has no filter rules.
    Absent,
    /// It has, and lets pass what it does not know.
    Accepts,
    /// It drops what it does not know.
    Drops,
    /// It has, and there is no program to ask it.
    Unknown,
}

/// Finds everything out. Files are those below `root`.
pub(crate) fn gather(root: &Path, agent: &Client<'_>) -> Facts {
    let kernel = Kernel::open(None).and_then(|mut kernel| kernel.read());
    let status = agent.ask(StatusRequest::Status).map_err(|why| why.to_string());
    Facts {
        release: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        kernel: kernel.map_err(|error| error.to_string()),
        legacy: legacy(),
        networks: files::networks(root),
        network_manager: files::network_manager(root),
        networkd: files::networkd(root),
        firewalld: root.join("run/firewalld").exists(),
        now: now(),
        clock_is_kept: clock_is_kept(),
        agent: status.and_then(|answer| match answer {
            StatusAnswer::Status(status) => Ok(*status),
            other => Err(format!("an unexpected answer: {other:?}")),
        }),
    }
}

fn legacy() -> Legacy {
    let tables = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if !tables.lines().any(|table| table == "filter") {
        return Legacy::Absent;
    }
    match output("iptables-legacy", &["-S", "FORWARD"]) {
        Some(rules) if rules.lines().any(|rule| rule == "-P FORWARD DROP") => Legacy::Drops,
        Some(_) => Legacy::Accepts,
        None => Legacy::Unknown,
    }
}

fn clock_is_kept() -> Option<bool> {
    let said = output("timedatectl", &["show", "--property=NTPSynchronized", "--value"])?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What a program says; `None` where it is not there or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
