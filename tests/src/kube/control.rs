//! The control plane: etcd, kube-apiserver and, where wanted, kube-controller-manager and kube-scheduler on one host.
//!
//! The host's addresses are its own, so ports are the usual ones however many control planes run side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::kubectl::Kubectl;
use super::pki::Pki;
use super::{CLUSTER_CIDRS, PATIENCE, SERVICE_CIDRS, program};
use crate::process::Process;
use crate::{Namespace, Topology, eventually};

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";
/// A control plane by itself has this address, on its loopback interface.
const ALONE: &str = "192.0.2.1";

/// What the API server notes of those who are not part of Kubernetes: who asked for what, and what came of it.
const AUDIT: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: [system:serviceaccounts:corduroy-system]
- level: None
";

/// One process of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store of all objects.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: podCIDRs, EndpointSlices, taints of silent nodes, Deployments, DaemonSets, ….
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// A control plane. Dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    running: BTreeMap<Part, Process>,
    host: Namespace,
    address: String,
    pki: Pki,
    kubectl: Kubectl,
    /// What the API server is told beside the usual.
    flags: Vec<String>,
    /// What it stands on when nobody else brought the host.
    _alone: Option<Topology>,
}

impl ControlPlane {
    /// etcd and an API server, ready, in a network namespace of their own without any way out. A client enters
    /// [`Self::host`] to reach it.
    #[track_caller]
    #[must_use]
    pub fn alone(label: &str) -> Self {
        let net = Topology::new(label);
        let host = net.namespace("control");
        host.address("lo", &format!("{ALONE}/32"));
        let mut control = Self::on(&host, ALONE);
        control._alone = Some(net);
        control
    }

    /// etcd and an API server, ready, on a host that others reach at `address`.
    #[track_caller]
    #[must_use]
    pub fn on(host: &Namespace, address: &str) -> Self {
        Self::on_with(host, address, &[])
    }

    /// As [`Self::on`], with more flags for the API server.
    #[track_caller]
    #[must_use]
    pub fn on_with(host: &Namespace, address: &str, flags: &[&str]) -> Self {
        let mut control = Self::prepare(host, address);
        control.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        control.start(Part::Etcd);
        control.start(Part::ApiServer);
        control.ready();
        control
    }

    /// Keys and configuration for a control plane on `host`, which others reach at `address`; nothing runs yet.
    #[track_caller]
    pub(super) fn prepare(host: &Namespace, address: &str) -> Self {
        let service =
            |cidr: &str| cidr.split('/').next().unwrap_or(cidr).trim_end_matches('0').to_owned() + "1";
        let mut names: Vec<_> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
            .map(|name| format!("DNS:{name}"))
            .to_vec();
        names.extend(SERVICE_CIDRS.map(|cidr| format!("IP:{}", service(cidr))));
        names.extend([address, "127.0.0.1"].map(|address| format!("IP:{address}")));
        let pki = Pki::create(host.dir().join("pki"), &names);
        let url = url(address);
        for user in ["controller-manager", "scheduler"] {
            pki.kubeconfig(user, &url);
        }
        let kubectl = Kubectl::new(host, &pki.kubeconfig("admin", &url));
        host.file("audit.yaml", AUDIT);
        let (host, address) = (host.clone(), address.to_owned());
        Self { running: BTreeMap::new(), host, address, pki, kubectl, flags: Vec::new(), _alone: None }
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.address)
    }

    /// etcd's URL on [`Self::host`].
    #[must_use]
    pub fn etcd(&self) -> &'static str {
        ETCD
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki.path("admin.kubeconfig")
    }

    /// Writes a kubeconfig for the bearer of a token, in a namespace.
    #[track_caller]
    #[must_use]
    pub fn account_kubeconfig(&self, name: &str, token: &str, namespace: &str) -> PathBuf {
        self.pki.account_kubeconfig(name, &self.url(), token, namespace)
    }

    /// kubectl as that administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub(super) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Starts a part that does not run, without waiting.
    #[track_caller]
    pub fn start(&mut self, part: Part) {
        let mut command = Command::new(program(part.name()));
        command.args(self.arguments(part));
        let process = Process::spawn(&self.host, part.name(), command);
        let before = self.running.insert(part, process);
        assert!(before.is_none(), "{} was started twice", part.name());
    }

    /// A part that runs.
    #[track_caller]
    pub fn part(&mut self, part: Part) -> &mut Process {
        self.running.get_mut(&part).unwrap_or_else(|| panic!("{} does not run", part.name()))
    }

    /// `kill -9`.
    #[track_caller]
    pub fn kill(&mut self, part: Part) {
        self.part(part).kill();
        self.running.remove(&part);
    }

    /// SIGTERM, and waits for the end: an API server finishes what it does first, as in a rolling upgrade.
    #[track_caller]
    pub fn stop(&mut self, part: Part) {
        self.part(part).terminate(Duration::from_secs(60));
        self.running.remove(&part);
    }

    /// Waits until the API server says that it is ready.
    #[track_caller]
    pub fn ready(&mut self) {
        eventually(PATIENCE, || {
            for process in self.running.values_mut() {
                process.alive()?;
            }
            self.healthy()
        });
    }

    /// Whether the API server says that it is ready.
    ///
    /// # Errors
    /// What it says instead, or that it does not answer.
    pub fn healthy(&self) -> Result<(), String> {
        let ca = self.pki.path("ca.crt");
        let line = format!("curl -sS --max-time 5 --cacert {} {}/readyz", ca.display(), self.url());
        let answer = self.host.try_run(&line)?;
        if answer == "ok" { Ok(()) } else { Err(format!("the API server is not ready: {answer}")) }
    }

    /// All requests of Corduroy's service accounts so far: verb, resource and the status they were answered with.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<(String, String, u64), usize> {
        let log = fs::read_to_string(self.host.dir().join("audit.log")).unwrap_or_default();
        let mut all = BTreeMap::new();
        for entry in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let object = &entry["objectRef"];
            let words =
                [&object["resource"], &object["subresource"]].map(|word| word.as_str().unwrap_or_default());
            let verb = entry["verb"].as_str().unwrap_or_default().to_owned();
            let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
            *all.entry((verb, words.join("/"), code)).or_default() += 1;
        }
        all
    }

    fn arguments(&self, part: Part) -> Vec<String> {
        match part {
            Part::Etcd => self.etcd_arguments(),
            Part::ApiServer => self.apiserver_arguments(),
            Part::ControllerManager => self.controller_manager_arguments(),
            Part::Scheduler => self.client_arguments("scheduler"),
        }
    }

    fn file(&self, name: &str) -> String {
        self.pki.path(name).display().to_string()
    }

    fn etcd_arguments(&self) -> Vec<String> {
        // A test machine may crash; its etcd need not survive that. A killed etcd loses nothing.
        let mut all = vec!["--unsafe-no-fsync".to_owned(), "--log-level=warn".to_owned()];
        all.push(format!("--data-dir={}", self.host.dir().join("etcd").display()));
        for flag in ["listen-client-urls", "advertise-client-urls"] {
            all.push(format!("--{flag}={ETCD}"));
        }
        for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
            all.push(format!("--{flag}={ETCD_PEERS}"));
        }
        all.push(format!("--initial-cluster=default={ETCD_PEERS}"));
        all
    }

    fn apiserver_arguments(&self) -> Vec<String> {
        let mut all = vec![
            format!("--etcd-servers={ETCD}"),
            format!("--advertise-address={}", self.address),
            format!("--cert-dir={}", self.host.dir().join("apiserver").display()),
            format!("--tls-cert-file={}", self.file("apiserver.crt")),
            format!("--tls-private-key-file={}", self.file("apiserver.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            format!("--service-account-key-file={}", self.file("sa.pub")),
            format!("--service-account-signing-key-file={}", self.file("sa.key")),
            format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")),
            format!("--audit-policy-file={}", self.host.dir().join("audit.yaml").display()),
            format!("--audit-log-path={}", self.host.dir().join("audit.log").display()),
        ];
        let fixed = [
            "--secure-port=6443",
            "--bind-address=::",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--allow-privileged=true",
            // exec and logs would dial the node by its name otherwise.
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            "--profiling=false",
            // Loads as of a big cluster come from one client here.
            "--max-requests-inflight=1600",
            "--max-mutating-requests-inflight=800",
        ];
        all.extend(fixed.map(str::to_owned));
        all.extend(self.flags.iter().cloned());
        all
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let mut all = self.client_arguments("controller-manager");
        all.push(format!("--cluster-cidr={}", CLUSTER_CIDRS.join(",")));
        all.push(format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")));
        all.push(format!("--service-account-private-key-file={}", self.file("sa.key")));
        all.push(format!("--root-ca-file={}", self.file("ca.crt")));
        let fixed = [
            "--allocate-node-cidrs=true",
            "--node-cidr-mask-size-ipv4=24",
            "--node-cidr-mask-size-ipv6=64",
            "--use-service-account-credentials=true",
            // A silent node is noticed in 20 s, not 50.
            "--node-monitor-grace-period=20s",
            "--node-monitor-period=2s",
        ];
        all.extend(fixed.map(str::to_owned));
        all
    }

    /// What the parts that are clients of the API server have in common.
    fn client_arguments(&self, user: &str) -> Vec<String> {
        let config = self.file(&format!("{user}.kubeconfig"));
        let flags = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        let mut all: Vec<_> = flags.iter().map(|flag| format!("--{flag}={config}")).collect();
        all.push("--leader-elect=false".to_owned());
        all.push("--bind-address=127.0.0.1".to_owned());
        all.push(format!("--cert-dir={}", self.host.dir().join(user).display()));
        all
    }
}

fn url(address: &str) -> String {
    format!("https://{address}:6443")
}
