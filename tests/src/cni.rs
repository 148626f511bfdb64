//! Calls a CNI plugin as a container runtime does: parameters in the environment, the network configuration on
//! standard input, the result on standard output. Ours and others', so that both are driven alike.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Namespace;

/// Where Debian's package `containernetworking-plugins` puts the reference plugins.
pub const REFERENCE: &str = "/usr/lib/cni";

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    plugin: PathBuf,
    environment: Vec<(&'static str, String)>,
    stdin: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Did it exit with 0?
    pub ok: bool,
    /// Its standard output; `Null` when that was empty.
    pub json: Value,
    /// From its start to its end.
    pub took: Duration,
}

impl Call {
    /// `command` (`ADD`, …) of the program `plugin` with `config` on standard input.
    #[must_use]
    pub fn new(plugin: &Path, command: &str, config: &Value) -> Self {
        let environment = vec![("CNI_COMMAND", command.to_owned()), ("CNI_PATH", REFERENCE.to_owned())];
        Self { plugin: plugin.to_owned(), environment, stdin: config.to_string().into_bytes() }
    }

    /// Which attachment it is about.
    #[must_use]
    pub fn attachment(self, container_id: &str, ifname: &str) -> Self {
        self.variable("CNI_CONTAINERID", container_id).variable("CNI_IFNAME", ifname)
    }

    /// The container's namespace.
    #[must_use]
    pub fn netns(self, path: &Path) -> Self {
        self.variable("CNI_NETNS", &path.display().to_string())
    }

    /// Any variable.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Something else on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// Runs it on `host` to its end.
    ///
    /// # Errors
    /// It can't be started, or answers something that is not JSON.
    pub fn run(&self, host: &Namespace) -> Result<Outcome, String> {
        host.enter(|| self.run_here())
    }

    /// Runs it in the namespace of the calling thread to its end.
    ///
    /// # Errors
    /// As [`Call::run`].
    pub fn run_here(&self) -> Result<Outcome, String> {
        let begin = Instant::now();
        let output = self.start_here().and_then(Child::wait_with_output);
        let took = begin.elapsed();
        let output = output.map_err(|e| format!("can't run {}: {e}", self.plugin.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let json = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        let json = json.map_err(|e| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!(
                "{} ended with {}, said {text:?} ({e}) and {stderr:?}",
                self.plugin.display(),
                output.status
            )
        })?;
        Ok(Outcome { ok: output.status.success(), json, took })
    }

    /// Starts it on `host`, with its standard input written, and leaves it running.
    #[track_caller]
    #[must_use]
    pub fn start(&self, host: &Namespace) -> Child {
        let started = host.enter(|| self.start_here());
        started.unwrap_or_else(|e| panic!("can't run {}: {e}", self.plugin.display()))
    }

    fn start_here(&self) -> io::Result<Child> {
        let mut plugin = Command::new(&self.plugin);
        plugin.envs(self.environment.iter().map(|(name, value)| (name, value)));
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = plugin.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(&self.stdin) {
                // One that has seen enough ends before it has read everything.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
        }
        Ok(child)
    }
}

impl Outcome {
    /// The result of a success.
    ///
    /// # Errors
    /// The failure: code, message and details in a line.
    pub fn result(self) -> Result<Value, String> {
        if self.ok { Ok(self.json) } else { Err(self.to_string()) }
    }

    /// The code of a failure; 0 for a success.
    #[must_use]
    pub fn code(&self) -> u64 {
        if self.ok { 0 } else { self.json["code"].as_u64().unwrap_or(u64::MAX) }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.ok {
            return write!(f, "success {}", self.json);
        }
        let text = |name: &str| self.json[name].as_str().unwrap_or_default();
        write!(f, "error {}: {} {}", self.code(), text("msg"), text("details"))
    }
}
