//! An etcd by itself: what the datastore for hosts outside Kubernetes is tested against.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::pki::Pki;
use super::{PATIENCE, program};
use crate::process::{self, Process};
use crate::{Namespace, Topology, eventually};

/// An etcd in a network namespace of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Etcd {
    running: Option<Process>,
    host: Namespace,
    /// Who signs certificates, where it wants some.
    pki: Option<Pki>,
    port: u16,
    _net: Topology,
}

impl Etcd {
    /// One that everybody may use, or one that wants certificates of its clients; it answers when this returns.
    #[track_caller]
    #[must_use]
    pub fn start(label: &str, secure: bool) -> Self {
        let net = Topology::new(label);
        let host = net.namespace("etcd");
        let pki = secure.then(|| {
            let pki = Pki::create(host.dir().join("pki"), &["IP:127.0.0.1".to_owned()]);
            // With authentication on, what serves JSON refuses certificates that name somebody (a CN).
            pki.client("/O=corduroy", host.dir());
            pki
        });
        let mut etcd = Self { running: None, host, pki, port: 0, _net: net };
        etcd.listen(2379);
        etcd
    }

    /// Starts it on a port, with what it knew.
    #[track_caller]
    pub fn listen(&mut self, port: u16) {
        self.port = port;
        let mut command = Command::new(program("etcd"));
        command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        command.arg("--data-dir").arg(self.host.dir().join("data"));
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.arg(flag).arg(self.url());
        }
        for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.arg(flag).arg("http://127.0.0.1:2380");
        }
        command.arg("--initial-cluster=default=http://127.0.0.1:2380");
        if let Some(pki) = &self.pki {
            command.arg("--client-cert-auth");
            command.arg("--trusted-ca-file").arg(pki.path("ca.crt"));
            command.arg("--cert-file").arg(pki.path("apiserver.crt"));
            command.arg("--key-file").arg(pki.path("apiserver.key"));
            // What serves JSON is a client of what serves gRPC.
            command.arg("--client-cert-file").arg(self.file("client.crt"));
            command.arg("--client-key-file").arg(self.file("client.key"));
        }
        self.running = Some(Process::spawn(&self.host, "etcd", command));
        eventually(PATIENCE, || {
            self.running.as_mut().map_or(Ok(()), Process::alive)?;
            self.curl("/health", &[])
        });
    }

    /// `kill -9`.
    #[track_caller]
    pub fn kill(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill();
        }
    }

    /// Where it runs: a client enters this to reach it.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.pki.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// `ca.crt`, `client.crt` or `client.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.host.dir().join(name)
    }

    /// A request past all of ours, as an operator makes it.
    ///
    /// # Errors
    /// What etcd or the way to it says.
    pub fn ask(&self, path: &str, body: &Value) -> Result<Value, String> {
        let question = self.host.file("question.json", &body.to_string());
        let data = format!("@{}", question.display());
        let answer = self.curl(path, &["-X", "POST", "--data-binary", &data])?;
        serde_json::from_str(&answer).map_err(|e| format!("{answer}: {e}"))
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--max-time", "10"]).args(arguments);
        if self.pki.is_some() {
            curl.arg("--cacert").arg(self.file("ca.crt"));
            curl.arg("--cert").arg(self.file("client.crt")).arg("--key").arg(self.file("client.key"));
        }
        curl.arg(format!("{}{path}", self.url()));
        self.host.enter(move || process::try_output(&mut curl))
    }
}
