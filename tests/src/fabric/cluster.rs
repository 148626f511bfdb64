//! A fabric whose datastore is an API server: agents run as processes, each for a Node of the cluster, under the
//! service account of the manifests and with its rights only. There is no kubelet: what it and the controllers would
//! write (Nodes, EndpointSlices, a Service's load balancer) the test writes.

use serde_json::{Value, json};

use super::{Fabric, Node, Segment};
use crate::kube::{ControlPlane, Kubectl};
use crate::process;

/// The number of the control plane's host, outside the racks.
const CONTROL: u8 = 10;
/// Our namespace.
const NAMESPACE: &str = "corduroy-system";

/// The API server of a fabric, and how agents reach it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) control: ControlPlane,
    pub(super) kubeconfig: std::path::PathBuf,
}

impl Server {
    #[track_caller]
    fn start(fabric: &Fabric, flags: &[&str]) -> Self {
        let host = fabric.host("control", Segment::Outside, CONTROL);
        let control = ControlPlane::on_with(&host, &Segment::Outside.v4(CONTROL), flags);
        let kubectl = control.kubectl();
        let base = process::workspace().join("manifests/base");
        kubectl.run(&format!("apply -k {}", base.join("crds").display()));
        kubectl.run("wait --for=condition=Established crd --all --timeout=60s");
        kubectl.run(&format!("create namespace {NAMESPACE}"));
        kubectl.run(&format!("apply -n {NAMESPACE} -f {}", base.join("agent/rbac.yaml").display()));
        let token = kubectl.run(&format!("create token corduroy-agent -n {NAMESPACE}"));
        let kubeconfig = control.account_kubeconfig("agent", token.trim(), NAMESPACE);
        Self { control, kubeconfig }
    }
}

impl Fabric {
    /// As [`Fabric::new`], with an API server for a datastore.
    #[track_caller]
    #[must_use]
    pub fn of_cluster(label: &str) -> Self {
        Self::of_cluster_with(label, &[])
    }

    /// As [`Fabric::of_cluster`], with more flags for the API server.
    #[track_caller]
    #[must_use]
    pub fn of_cluster_with(label: &str, flags: &[&str]) -> Self {
        let mut fabric = Self::new(label);
        fabric.cluster = Some(Server::start(&fabric, flags));
        fabric
    }

    /// The control plane.
    #[track_caller]
    pub fn control(&mut self) -> &mut ControlPlane {
        &mut self.cluster.as_mut().unwrap_or_else(|| panic!("this fabric is of no cluster")).control
    }

    /// kubectl as an administrator.
    #[track_caller]
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        let cluster = self.cluster.as_ref().unwrap_or_else(|| panic!("this fabric is of no cluster"));
        cluster.control.kubectl().clone()
    }

    /// A node with its Node object, its agent not started yet; `more` is of the agent's configuration of
    /// `datastore.kubernetes`.
    #[track_caller]
    pub fn registered(&self, label: &str, segment: Segment, n: u8, more: &str) -> Node {
        let cluster = self.cluster.as_ref().unwrap_or_else(|| panic!("this fabric is of no cluster"));
        self.register(label, segment, n);
        self.member(self.host(label, segment, n), label, &cluster.kubeconfig, more)
    }

    /// The machine of a node whose agent has ended, under another name: with its Node object, and with all that is on
    /// its disk.
    #[track_caller]
    pub fn renamed(&self, node: &Node, name: &str, segment: Segment, n: u8) -> Node {
        let cluster = self.cluster.as_ref().unwrap_or_else(|| panic!("this fabric is of no cluster"));
        self.register(name, segment, n);
        self.member(node.host().clone(), name, &cluster.kubeconfig, "")
    }

    /// The Node object of host `n` of `segment`, as kubelet would make it.
    #[track_caller]
    pub fn register(&self, name: &str, segment: Segment, n: u8) {
        let kubectl = self.kubectl();
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": segment.name(),
        } } });
        kubectl.apply(&node.to_string());
        let addresses =
            [segment.v4(n), segment.v6(n)].map(|ip| json!({ "type": "InternalIP", "address": ip }));
        patch_status(&kubectl, &format!("node {name}"), &json!({ "addresses": addresses }));
    }
}

/// A Pod of the namespace `default` on a node, as a scheduler would have bound it.
#[track_caller]
pub(super) fn bind(kubectl: &Kubectl, name: &str, node: &str) {
    kubectl.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}");
    let metadata = json!({ "name": name, "namespace": "default" });
    let container = json!({ "name": "c", "image": "i" });
    let spec = json!({ "nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    kubectl.apply(&pod.to_string());
}

/// Writes into the status of an object of the core.
///
/// # Panics
/// The API server refuses it.
#[track_caller]
pub fn patch_status(kubectl: &Kubectl, object: &str, status: &Value) {
    let patch = json!({ "status": status }).to_string();
    let mut words = vec!["patch"];
    words.extend(object.split_whitespace());
    words.extend(["--subresource=status", "--type=merge", "-p", &patch]);
    let _ = kubectl.call(&words).unwrap_or_else(|why| panic!("{why}"));
}
