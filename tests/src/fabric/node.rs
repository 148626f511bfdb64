//! A node: a host with our agent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::clock;
use crate::cni::Call;
use crate::process::{self, Process};
use crate::{Namespace, eventually};

/// A host with an agent, or one that will have it.
#[derive(Debug)]
pub struct Node {
    host: Namespace,
    name: String,
    config: PathBuf,
    run: PathBuf,
    agent: Option<Process>,
    /// What its agent's wall clock goes by, where that is not this machine's.
    clock: Option<PathBuf>,
}

impl Node {
    pub(super) fn new(host: Namespace, name: &str, store: &Path) -> Self {
        Self::with(host, name, &format!("datastore:\n  file:\n    path: {}\n", store.display()))
    }

    /// A host of a cluster, but without kubelet; `kubernetes` is that part of its agent's configuration, in one line.
    #[must_use]
    pub fn in_cluster(host: Namespace, name: &str, kubernetes: &str) -> Self {
        Self::with(host, name, &format!("datastore: {{kubernetes: {kubernetes}}}\n"))
    }

    /// With this in its agent's configuration, beside what only its place decides.
    pub(super) fn with(host: Namespace, name: &str, more: &str) -> Self {
        let run = host.dir().join("run");
        let text = format!(
            "nodeName: {name}\nrunDir: {}\nstateDir: {}\n{more}",
            run.display(),
            host.dir().join("state").display(),
        );
        let config = host.file("agent.yaml", &text);
        Self { host, name: name.to_owned(), config, run, agent: None, clock: None }
    }

    /// Its namespace.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Its name in the fabric.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of one of its agent's sockets.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// The network configuration that a runtime on this node has for our plugin.
    #[must_use]
    pub fn network(&self) -> serde_json::Value {
        serde_json::json!({
            "cniVersion": "1.1.0", "name": "corduroy", "type": "corduroy", "runDir": self.run,
        })
    }

    /// The running agent.
    #[track_caller]
    pub fn agent(&mut self) -> &mut Process {
        let name = &self.name;
        self.agent.as_mut().unwrap_or_else(|| panic!("{name} has no agent"))
    }

    /// Starts the agent and waits until it could wire a pod.
    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        self.ready();
    }

    /// Starts the agent without waiting.
    #[track_caller]
    pub fn launch(&mut self) {
        let mut command = Command::new(process::binary("corduroy-agent"));
        command.arg("--config").arg(&self.config);
        if let Some(clock) = &self.clock {
            clock::go_by(&mut command, clock);
        }
        self.agent = Some(Process::spawn(&self.host, "corduroy-agent", command));
    }

    /// Sets the wall clock of the agent, of one that runs too: so much off this machine's (`+6h`, `-90m`). The first
    /// call is before the agent is launched.
    #[track_caller]
    pub fn set_clock(&mut self, offset: &str) {
        assert!(self.clock.is_some() || self.agent.is_none(), "{} runs by this machine's clock", self.name);
        self.clock = Some(clock::set(&self.host, offset));
    }

    /// Waits until the agent could wire a pod, as the plugin's STATUS says it.
    #[track_caller]
    pub fn ready(&mut self) {
        let status = Call::new(&process::binary("corduroy"), "STATUS", &self.network());
        eventually(Duration::from_secs(120), || {
            self.agent().alive()?;
            status.run(&self.host)?.result().map(drop)
        });
    }

    /// What the agent says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<serde_json::Value, String> {
        serde_json::from_str(&self.ctl("status -o json")?).map_err(|e| e.to_string())
    }

    /// Runs the agent a second time, with the same configuration, to its end: what it said and whether it was content.
    #[must_use]
    pub fn run_again(&self) -> std::process::Output {
        let mut command = Command::new(process::binary("corduroy-agent"));
        command.arg("--config").arg(&self.config);
        let output = self.host.enter(move || command.output());
        output.unwrap_or_else(|e| panic!("can't run corduroy-agent: {e}"))
    }

    /// A file of the agent's state directory.
    #[must_use]
    pub fn state(&self, name: &str) -> PathBuf {
        self.host.dir().join("state").join(name)
    }

    /// `kill -9`.
    #[track_caller]
    pub fn kill(&mut self) {
        self.agent().kill();
        self.agent = None;
    }

    /// SIGTERM, as a rolling upgrade does it, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.agent().signal(Signal::TERM);
        self.ended();
    }

    /// SIGUSR1, as it is done before a node is taken out of service. [`Node::ended`] waits for the end.
    #[track_caller]
    pub fn drain(&mut self) {
        self.agent().signal(Signal::USR1);
    }

    /// Waits until the agent has ended by itself.
    #[track_caller]
    pub fn ended(&mut self) {
        self.agent().wait(Duration::from_secs(30));
        self.agent = None;
    }

    /// Pulls the cable, then the plug.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.host.ip("link set eth0 down");
        self.kill();
    }

    /// `cordctl` on this node; words split at blanks.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn ctl(&self, line: &str) -> Result<String, String> {
        let mut command = Command::new(process::binary("cordctl"));
        command.arg("--socket").arg(self.socket("status.sock")).args(line.split_whitespace());
        process::try_output(&mut command)
    }

    /// The IPv4 and IPv6 blocks this node routes to itself, as the kernel has them.
    #[must_use]
    pub fn blocks(&self) -> Vec<String> {
        let of = |family: &str| {
            let text = self.host.ip(&format!("{family} route show type blackhole proto 67"));
            let word = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            text.lines().filter_map(word).collect::<Vec<_>>()
        };
        [of("-4"), of("-6")].concat()
    }
}
