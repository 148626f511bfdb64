//! A node: namespaces that make up a machine, with containerd, kubelet and kube-proxy on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::control::ControlPlane;
use super::{CLUSTER_CIDRS, DNS, programs};
use crate::fabric::Segment;
use crate::process::{self, Process};
use crate::{Namespace, wait_for};

const INIT: &str = include_str!("node.sh");
const CONTAINERD: &str = include_str!("../../kube/containerd.toml");
const KUBELET: &str = include_str!("../../kube/kubelet.yaml");
/// The node whose kube-proxy writes iptables rules. Those of all others write nftables.
const IPTABLES: &str = "n3";
const PROXY: &str = include_str!("../../kube/kube-proxy.yaml");

/// A node. Dropping it pulls the plug; its disk goes with the cluster.
#[derive(Debug)]
pub struct Machine {
    host: Namespace,
    place: (Segment, u8),
    addresses: [String; 2],
    disk: PathBuf,
    running: Option<Process>,
}

impl Machine {
    /// Number `place` of a segment, its disk prepared, switched off.
    #[track_caller]
    pub(super) fn new(host: Namespace, disk: PathBuf, place: (Segment, u8), control: &ControlPlane) -> Self {
        let (segment, number) = place;
        let addresses = [segment.v4(number), segment.v6(number)];
        let node = Self { host, place, addresses, disk, running: None };
        node.prepare(control);
        node
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.label()
    }

    /// Its network namespace, another one each time it is switched on.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// The rack it stands in.
    #[must_use]
    pub fn segment(&self) -> Segment {
        self.place.0
    }

    /// The rack and its number there.
    pub(super) fn place(&self) -> (Segment, u8) {
        self.place
    }

    /// Its IPv4 and IPv6 address.
    #[must_use]
    pub fn addresses(&self) -> [&str; 2] {
        self.addresses.each_ref().map(String::as_str)
    }

    #[track_caller]
    fn prepare(&self, control: &ControlPlane) {
        for dir in ["images", "static"] {
            fs::create_dir_all(self.disk.join(dir))
                .unwrap_or_else(|e| panic!("{}: {e}", self.disk.display()));
        }
        control.pki().kubelet(self.name(), &control.url(), &self.disk, Path::new("/node"));
        self.configure("containerd.toml", CONTAINERD);
        let zone = format!("topology.kubernetes.io/zone={}", self.segment().name());
        let flags = format!("--node-ip={} --node-labels={zone} --v=2\n", self.addresses.join(","));
        self.configure("kubelet.flags", &flags);
        let mode = if self.name() == IPTABLES { "iptables" } else { "nftables" };
        let proxy = PROXY.replace("@MODE@", mode).replace("@CIDRS@", &CLUSTER_CIDRS.join(","));
        self.configure("kube-proxy.yaml", &proxy);
        self.configure("resolv.conf", "");
    }

    /// Writes a file that the node sees in /node.
    #[track_caller]
    fn configure(&self, name: &str, text: &str) {
        let path = self.disk.join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("can't write {}: {e}", path.display()));
    }

    /// Has an image imported when it is next switched on.
    #[track_caller]
    pub(super) fn preload(&self, archive: &Path) {
        let to = self.disk.join("images").join(archive.file_name().unwrap_or_default());
        // Both lie on one disk; the node removes its link when it is done.
        fs::hard_link(archive, &to).unwrap_or_else(|e| panic!("can't link {}: {e}", to.display()));
    }

    /// Switches it on, at the end of the cable `host`, without waiting for anything.
    #[track_caller]
    pub(super) fn power_on(&mut self, host: Namespace) {
        assert!(self.running.is_none(), "{} is on already", self.name());
        self.host = host;
        // One family is enough to ask about both.
        let kubelet = KUBELET.replace("@CGROUP@", self.host.name());
        self.configure("kubelet.yaml", &kubelet.replace("@DNS@", DNS[0]));
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            INIT,
            "node.sh",
        ]);
        command.arg(self.name()).arg(&self.disk).arg(self.host.name()).arg(programs());
        self.running = Some(Process::spawn(&self.host, "node", command));
        for service in ["containerd", "kube-proxy", "kubelet"] {
            let log = self.disk.join("log").join(format!("{service}.log"));
            process::remember(&format!("{service} on {}", self.name()), &log);
        }
    }

    /// Pulls the plug: everything on it ends at once, without a word to anybody. Its disk stays as it is.
    pub(super) fn power_off(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill();
        }
        self.host.kill_all("");
        // What ran in it takes a moment to go. Should it not, the next run sweeps.
        let _ = wait_for(Duration::from_secs(20), || remove_cgroups(self.host.name()));
    }

    /// The id of its first process.
    ///
    /// # Errors
    /// It is off.
    fn init(&self) -> Result<String, String> {
        let process = self.running.as_ref().ok_or_else(|| format!("{} is off", self.name()))?;
        let mut children = Command::new("pgrep");
        children.args(["--parent", &process.id().to_string()]);
        let children = process::try_output(&mut children)?;
        Ok(children.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// Where a file of a running node is found from outside: `/etc/cni/net.d`, `/run`, whatever.
    ///
    /// # Errors
    /// It is off.
    pub fn path(&self, inside: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.init()?)).join(inside.trim_start_matches('/')))
    }

    /// What it is that runs `arguments` on the node, for a shell on this machine.
    ///
    /// # Errors
    /// It is off.
    pub fn enter(&self) -> Result<Vec<String>, String> {
        let init = self.init()?;
        let words = ["nsenter", "--target", &init, "--mount", "--net", "--pid", "--uts", "--ipc", "--"];
        Ok(words.map(str::to_owned).to_vec())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let enter = self.enter()?;
        let mut command = Command::new("nsenter");
        command.args(enter.iter().skip(1)).args(arguments);
        Ok(command)
    }

    /// Runs a command line (words split at blanks, no quoting) on the node.
    ///
    /// # Errors
    /// It is off; what the command was and what it said.
    pub fn run(&self, line: &str) -> Result<String, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        process::try_output(&mut self.command(&words)?)
    }

    /// The ids of the processes of this name, as the node counts them.
    ///
    /// # Errors
    /// There is none.
    pub fn processes(&self, name: &str) -> Result<Vec<String>, String> {
        Ok(self.run(&format!("pgrep -x {name}"))?.split_whitespace().map(str::to_owned).collect())
    }

    /// `kill -9` of all processes of this name.
    #[track_caller]
    pub fn kill(&self, name: &str) {
        let killed = self.processes(name).and_then(|ids| self.run(&format!("kill -9 {}", ids.join(" "))));
        killed.unwrap_or_else(|why| panic!("no {name} on {} to be killed: {why}", self.name()));
    }

    /// The network namespace of a container that runs here (`containerd://…`, as a pod's status names it).
    ///
    /// # Errors
    /// It does not run.
    pub fn container(&self, id: &str) -> Result<PathBuf, String> {
        let id = id.trim_start_matches("containerd://");
        let tasks = self.run("ctr --namespace k8s.io tasks ls")?;
        let task = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid = task.filter(|words| words.first() == Some(&id)).find_map(|words| words.get(1).copied());
        let pid = pid.ok_or_else(|| format!("{}: no container {id}", self.name()))?;
        self.path(&format!("/proc/{pid}/ns/net"))
    }

    /// A pod that the kubelet runs without being told by an API server, until there is none of this name.
    #[track_caller]
    pub fn static_pod(&self, name: &str, manifest: Option<&str>) {
        let path = self.disk.join("static").join(format!("{name}.yaml"));
        let done = match manifest {
            Some(manifest) => fs::write(&path, manifest),
            None => fs::remove_file(&path),
        };
        done.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// All that the containers called `container` have written here, oldest first; kubelets keep the last two of each.
    #[must_use]
    pub fn pod_logs(&self, container: &str) -> String {
        let mut files: Vec<_> =
            entries(&self.disk.join("var/log/pods")).flat_map(|pod| entries(&pod.join(container))).collect();
        files.sort_by_key(|file| fs::metadata(file).and_then(|metadata| metadata.modified()).ok());
        files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
    }

    /// Shows the end of what agents have written here.
    pub(super) fn show_agent(&self) {
        let log = self.pod_logs("agent");
        let lines: Vec<_> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
        eprintln!("---- agent on {}: the end of its log\n{}", self.name(), end.join("\n"));
    }

    /// Brings a container image to the node: an archive as `docker save` or `make images` writes it.
    #[track_caller]
    pub fn import(&self, archive: &Path) {
        let imported = self.try_import(archive);
        imported.unwrap_or_else(|why| panic!("{} does not take {}: {why}", self.name(), archive.display()));
    }

    fn try_import(&self, archive: &Path) -> Result<(), String> {
        let file = File::open(archive).map_err(|e| e.to_string())?;
        let mut command = self.command(&["ctr", "--namespace", "k8s.io", "images", "import", "-"])?;
        let done = command.stdin(file).output().map_err(|e| e.to_string())?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Removes the cgroups of this name and all below them, in every hierarchy.
fn remove_cgroups(name: &str) -> Result<(), String> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    for cgroup in hierarchies.chain([top.to_owned()]).map(|hierarchy| hierarchy.join(name)) {
        if cgroup.exists() {
            remove_tree(&cgroup).map_err(|e| format!("{}: {e}", cgroup.display()))?;
        }
    }
    Ok(())
}

/// Removes directories depth first; the files of a cgroup go by themselves.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}
