//! Pods on every node, and questions they ask.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corduroy_tests::eventually;
use corduroy_tests::kube::{AGNHOST, Cluster, Kubectl, PATIENCE};
use serde_json::Value;

/// A pod's own port, and the node's port that leads to it.
pub(super) const PORT: u16 = 8080;
pub(super) const HOST_PORT: u16 = 8088;
/// The port of every node that leads to the Service.
pub(super) const NODE_PORT: u16 = 30080;
/// The port of the pods in the nodes' own networks.
pub(super) const NATIVE_PORT: u16 = 9080;

/// Three pods on every node (a server, another, one in the node's network), and a Service before the first.
fn pods() -> String {
    let set = |name: &str, spec: &str, port: u16, ports: &str| {
        format!(
            "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {name}
spec:
  selector:
    matchLabels: {{app: {name}}}
  updateStrategy:
    rollingUpdate: {{maxUnavailable: 100%}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 1
      {spec}
      containers:
      - name: {name}
        image: {AGNHOST}
        args: [netexec, --http-port={port}]
        {ports}
        readinessProbe:
          httpGet: {{path: /healthz, port: {port}}}
          periodSeconds: 1
          timeoutSeconds: 5
        livenessProbe:
          httpGet: {{path: /healthz, port: {port}}}
          periodSeconds: 2
          timeoutSeconds: 5
---"
        )
    };
    let host_port = format!("ports: [{{containerPort: {PORT}, hostPort: {HOST_PORT}}}]");
    let sets = [
        set("server", "", PORT, &host_port),
        set("client", "", PORT, ""),
        set("native", "hostNetwork: true", NATIVE_PORT, ""),
    ];
    let service = format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: server
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {{app: server}}
  ports:
  - port: 80
    targetPort: {PORT}
    nodePort: {NODE_PORT}
"
    );
    sets.concat() + &service
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) node: String,
    /// IPv4 and IPv6.
    pub(super) addresses: Vec<String>,
    /// `containerd://…`
    pub(super) container: String,
}

impl Pod {
    fn of(object: &Value) -> Option<Self> {
        let conditions = object["status"]["conditions"].as_array()?;
        let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let leaves = object["metadata"].get("deletionTimestamp").is_some();
        (is_ready && !leaves).then(|| Self {
            name: text(&object["metadata"]["name"]),
            node: text(&object["spec"]["nodeName"]),
            addresses: strings(&object["status"]["podIPs"], "ip"),
            container: text(&object["status"]["containerStatuses"][0]["containerID"]),
        })
    }
}

/// A field of each of a list of objects, or the list's own texts.
pub(super) fn strings(list: &Value, field: &str) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|one| if field.is_empty() { one.as_str() } else { one[field].as_str() })
        .map(str::to_owned)
        .collect()
}

/// An address as a URL has it.
pub(super) fn url(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("http://[{address}]:{port}")
    } else {
        format!("http://{address}:{port}")
    }
}

/// The cluster with its pods.
pub(super) struct Workload {
    pub(super) cluster: Cluster,
    pub(super) kubectl: Kubectl,
}

impl Workload {
    pub(super) fn new(cluster: Cluster) -> Self {
        let kubectl = cluster.kubectl().clone();
        kubectl.apply(&pods());
        Self { cluster, kubectl }
    }

    /// The pods of a DaemonSet by their node, once all nodes have one that is ready.
    pub(super) fn pods(&self, app: &str) -> Result<BTreeMap<String, Pod>, String> {
        let list = self.kubectl.get(&format!("pods -l app={app}"))?;
        let all = list["items"].as_array().into_iter().flatten().filter_map(Pod::of);
        let all: BTreeMap<_, _> = all.map(|pod| (pod.node.clone(), pod)).collect();
        let nodes = self.cluster.nodes().len();
        if all.len() == nodes { Ok(all) } else { Err(format!("{} of {nodes} {app} are ready", all.len())) }
    }

    /// Those pods, waited for.
    #[track_caller]
    pub(super) fn running(&self, app: &str) -> BTreeMap<String, Pod> {
        eventually(PATIENCE, || self.pods(app))
    }

    /// The network namespace of a pod.
    #[track_caller]
    pub(super) fn netns(&self, pod: &Pod) -> PathBuf {
        let found = self.cluster.node(&pod.node).container(&pod.container);
        found.unwrap_or_else(|why| panic!("{}: {why}", pod.name))
    }

    /// What each URL answers a pod, in their order. One call of kubectl for all.
    pub(super) fn ask(&self, from: &Pod, urls: &[String]) -> Result<Vec<String>, String> {
        let asks = urls.iter().map(|url| {
            format!("curl -kgsS --connect-timeout 3 --max-time 5 '{url}' || echo 'refused: {url}' >&2; echo;")
        });
        let script = asks.collect::<String>();
        let answers = self.kubectl.exec(&from.name, &format!("exec 2>&1; {script}"))?;
        let answers: Vec<_> = answers.lines().map(str::to_owned).collect();
        let failed: Vec<_> =
            answers.iter().filter(|line| line.contains("refused: ") || line.contains("curl: ")).collect();
        if failed.is_empty() && answers.len() == urls.len() {
            Ok(answers)
        } else {
            Err(format!(
                "from {} on {}: {failed:?}, {} answers to {} questions",
                from.name,
                from.node,
                answers.len(),
                urls.len()
            ))
        }
    }
}
