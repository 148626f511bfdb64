//! kubectl, as an administrator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::{Namespace, process};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Runs kubectl on a host that reaches the API server.
#[derive(Clone, Debug)]
pub struct Kubectl {
    host: Namespace,
    program: PathBuf,
    config: PathBuf,
}

impl Kubectl {
    #[track_caller]
    pub(super) fn new(host: &Namespace, config: &Path) -> Self {
        Self { host: host.clone(), program: super::program("kubectl"), config: config.to_owned() }
    }

    /// The program itself.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it with these arguments (words split at blanks, no quoting) and returns what it says; the test fails when
    /// it does.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|why| panic!("{why}\n{}", process::logs()))
    }

    /// Runs it with these arguments, words split at blanks.
    ///
    /// # Errors
    /// What it was and what it said.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        self.call(&words)
    }

    /// Runs it with exactly these arguments.
    ///
    /// # Errors
    /// What it was and what it said.
    pub fn call(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config);
        command.arg("--cache-dir").arg(self.host.dir().join("kubectl-cache"));
        command.args(arguments);
        self.host.enter(move || process::try_output(&mut command))
    }

    /// `kubectl get …` as JSON.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn get(&self, what: &str) -> Result<Value, String> {
        let text = self.try_run(&format!("get {what} -o json"))?;
        serde_json::from_str(&text).map_err(|e| format!("kubectl get {what}: {e}"))
    }

    /// `kubectl apply` of a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        self.try_apply(manifest).unwrap_or_else(|why| panic!("{why}\n{}", process::logs()));
    }

    /// `kubectl apply` of a manifest, which may be refused.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn try_apply(&self, manifest: &str) -> Result<String, String> {
        self.call(&["apply", "-f", &self.file(manifest)])
    }

    /// `kubectl delete` of what a manifest names, as far as it is there.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn delete(&self, manifest: &str) -> Result<String, String> {
        self.call(&["delete", "--ignore-not-found", "-f", &self.file(manifest)])
    }

    #[track_caller]
    fn file(&self, manifest: &str) -> String {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        self.host.file(&format!("manifest-{n}.yaml"), manifest).display().to_string()
    }

    /// Runs a shell script in a pod of the default namespace and returns what it says.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn exec(&self, pod: &str, script: &str) -> Result<String, String> {
        self.call(&["exec", pod, "--", "/bin/sh", "-c", script])
    }
}
