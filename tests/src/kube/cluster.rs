//! A whole cluster on two racks.

use std::path::{Path, PathBuf};

use super::control::{ControlPlane, Part};
use super::image::Image;
use super::kubectl::Kubectl;
use super::machine::Machine;
use super::{DNS, PATIENCE, program};
use crate::fabric::{Fabric, Node, Pod, Segment};
use crate::{Namespace, eventually};

/// The image of pods under test: Kubernetes' own all-round server, with a shell, curl and nc.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";

const CONTROL: u8 = 10;
const FIRST_NODE: u8 = 11;
const NAME_SERVER: &str = include_str!("../../kube/coredns.yaml");

/// A cluster without a CNI plugin.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Machine>,
    control: ControlPlane,
    images: Vec<PathBuf>,
    fabric: Fabric,
}

impl Cluster {
    /// A control plane that is ready and so many nodes n1, n2, … that have registered. They alternate between the
    /// racks.
    #[track_caller]
    #[must_use]
    pub fn start(label: &str, nodes: u8) -> Self {
        let fabric = Fabric::new(label);
        let host = fabric.host("control", Segment::Outside, CONTROL);
        let mut control = ControlPlane::prepare(&host, &Segment::Outside.v4(CONTROL));
        for part in [Part::Etcd, Part::ApiServer] {
            control.start(part);
        }
        // While these come up.
        let images = images(&fabric.disk("images"));
        control.ready();
        for part in [Part::ControllerManager, Part::Scheduler] {
            control.start(part);
        }
        let mut cluster = Self { nodes: Vec::new(), control, images, fabric };
        for n in 0..nodes {
            let segment = if n % 2 == 0 { Segment::A } else { Segment::B };
            cluster.join(&format!("n{}", n + 1), segment);
        }
        eventually(PATIENCE, || cluster.registered());
        cluster
    }

    /// The control plane.
    pub fn control(&mut self) -> &mut ControlPlane {
        &mut self.control
    }

    /// kubectl as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        self.control.kubectl()
    }

    /// The kubeconfig of an administrator, for who reaches the control plane: any host of the fabric.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.control.kubeconfig()
    }

    /// The router between the racks: their ToR, if need be.
    #[must_use]
    pub fn router(&self) -> &Namespace {
        self.fabric.router()
    }

    /// A pod on a host that has our agent and no kubelet, wired by the plugin.
    #[track_caller]
    pub fn pod(&self, node: &Node, label: &str) -> Pod {
        self.fabric.pod_of(Some(self.kubectl()), node, label)
    }

    /// A host that is no node.
    #[track_caller]
    pub fn host(&self, label: &str, segment: Segment, n: u8) -> Namespace {
        self.fabric.host(label, segment, n)
    }

    /// A directory on disk that goes with the cluster.
    #[track_caller]
    pub(super) fn disk(&self, label: &str) -> PathBuf {
        self.fabric.disk(label)
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Machine] {
        &self.nodes
    }

    /// The node of this name.
    #[track_caller]
    #[must_use]
    pub fn node(&self, name: &str) -> &Machine {
        &self.nodes[self.index(name)]
    }

    #[track_caller]
    fn index(&self, name: &str) -> usize {
        let found = self.nodes.iter().position(|node| node.name() == name);
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// One more node, switched on; nothing is waited for.
    #[track_caller]
    pub fn join(&mut self, name: &str, segment: Segment) {
        let number = u8::try_from(self.nodes.len()).ok().and_then(|count| count.checked_add(FIRST_NODE));
        let number = number.unwrap_or_else(|| panic!("a rack has no address left for {name}"));
        let host = self.plug(name, segment, number);
        let mut node = Machine::new(host.clone(), self.fabric.disk(name), (segment, number), &self.control);
        for image in &self.images {
            node.preload(image);
        }
        node.power_on(host);
        self.nodes.push(node);
    }

    /// Pulls a node's plug: everything on it ends at once, without a word to anybody, and its switch port goes down.
    /// Its disk stays as it is.
    #[track_caller]
    pub fn power_off(&mut self, name: &str) {
        let n = self.index(name);
        self.nodes[n].power_off();
        self.fabric.unplug(self.nodes[n].host());
    }

    /// Switches a node on again; nothing is waited for. Its network is as when it was new.
    #[track_caller]
    pub fn power_on(&mut self, name: &str) {
        let n = self.index(name);
        let (segment, number) = self.nodes[n].place();
        let host = self.plug(name, segment, number);
        self.nodes[n].power_on(host);
    }

    /// A machine's network card on its cable. It has the same hardware address each time.
    #[track_caller]
    fn plug(&self, name: &str, segment: Segment, number: u8) -> Namespace {
        let host = self.fabric.host(name, segment, number);
        let rack = if segment == Segment::A { 1 } else { 2 };
        host.ip(&format!("link set eth0 address 02:00:00:00:{rack:02x}:{number:02x}"));
        host
    }

    /// Whether all nodes have registered and got their podCIDRs.
    ///
    /// # Errors
    /// Which have not.
    pub fn registered(&self) -> Result<(), String> {
        for node in &self.nodes {
            self.pod_cidrs(node)?;
        }
        Ok(())
    }

    /// The podCIDRs of a node, of both families.
    ///
    /// # Errors
    /// It has not registered, or has none yet.
    pub fn pod_cidrs(&self, node: &Machine) -> Result<[String; 2], String> {
        let object = self.kubectl().get(&format!("node {}", node.name()))?;
        let cidrs: Option<Vec<String>> = serde_json::from_value(object["spec"]["podCIDRs"].clone()).ok();
        let cidrs = cidrs.and_then(|cidrs| cidrs.try_into().ok());
        cidrs.ok_or_else(|| format!("{} has no podCIDRs: {}", node.name(), object["spec"]))
    }

    /// Waits until every node is Ready.
    #[track_caller]
    pub fn ready(&self) {
        eventually(PATIENCE, || {
            for node in &self.nodes {
                self.condition(node.name(), "Ready", "True")?;
            }
            Ok(())
        });
    }

    /// Whether a condition of a node has this status.
    ///
    /// # Errors
    /// What it says instead.
    pub fn condition(&self, node: &str, kind: &str, status: &str) -> Result<(), String> {
        let object = self.kubectl().get(&format!("node {node}"))?;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|condition| condition["type"] == kind);
        let found = found.ok_or_else(|| format!("{node} has no condition {kind}"))?;
        if found["status"] == status { Ok(()) } else { Err(format!("{node}: {found}")) }
    }

    /// Brings a container image to all nodes.
    #[track_caller]
    pub fn import(&self, archive: &Path) {
        for node in &self.nodes {
            node.import(archive);
        }
    }

    /// Installs the name server and waits until it answers. Its pod needs the network of a CNI plugin.
    #[track_caller]
    pub fn name_server(&self) {
        self.kubectl().apply(&NAME_SERVER.replace("@V4@", DNS[0]).replace("@V6@", DNS[1]));
        self.kubectl().run("-n kube-system rollout status deployment/coredns --timeout=180s");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pods = self.kubectl().try_run("get pods -A -o wide --request-timeout=5s");
            eprintln!("---- pods\n{}", pods.unwrap_or_else(|why| why));
            self.nodes.iter().for_each(Machine::show_agent);
        }
    }
}

/// What every node holds from the start.
#[track_caller]
fn images(work: &Path) -> Vec<PathBuf> {
    let pause =
        Image::scratch("docker.io/local/pause:1", work).busybox().entrypoint(&["sleep", "2147483647"]);
    let name_server = Image::scratch("docker.io/local/coredns:1", work);
    let name_server = name_server.program(&program("coredns"), "coredns").entrypoint(&["/coredns"]);
    let agnhost =
        Image::scratch(AGNHOST, work).program(&program("agnhost"), "agnhost").entrypoint(&["/agnhost"]);
    // busybox's own shell would prefer its own nc and wget to what lies in /bin.
    let tools = [("/bin/dash", "bin/sh"), ("/usr/bin/curl", "bin/curl"), ("/bin/nc.openbsd", "bin/nc")];
    let agnhost =
        tools.iter().fold(agnhost, |image, (from, to)| image.program(Path::new(from), to)).busybox();
    [pause, name_server, agnhost].map(Image::write).to_vec()
}
