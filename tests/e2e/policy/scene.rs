//! Who is there. Nine pods in three namespaces on three nodes, so that of every kind of pair there are some: of one
//! namespace on one node and on two, of two namespaces on one node and on two, in one rack and in two. A pod in the
//! network of its node. Two hosts outside, to whom a router leads, and back.
//!
//! ```text
//!            n1 (rack a)   n2 (rack b)        n3 (rack a)
//! x (red)    a* b          c    host
//! v (red)    a*            b                  c
//! z (blue)                 a                  b c
//! ```
//! There is no y, which YAML takes for a truth.
//!
//! A pod's labels are `pod: a` and so on; a namespace's are `ns: x` and `team: red`. Pods with a star run as the
//! service account `robot`, whose label in x is `duty: shop` and in v `duty: post`; the others as `default`. The port
//! called `web` (TCP) is 80 of every a, 81 of every b, 82 of every c; the one called `talk` (UDP) is 80 of all.
//!
//! The containers run a server that the kubelet asks whether it is ready. What the tests ask is served by the tests
//! themselves, inside the pods' network namespaces, and asked from there.

use std::net::IpAddr;
use std::path::PathBuf;

use corduroy_tests::eventually;
use corduroy_tests::fabric::Segment;
use corduroy_tests::kube::{AGNHOST, Cluster, Kubectl, PATIENCE};
use corduroy_tests::probe::{Listening, Servers};
use serde_json::Value;

/// Every pod, its node, and its service account.
const PODS: [(&str, &str, &str); 9] = [
    ("x/a", "n1", "robot"),
    ("x/b", "n1", "default"),
    ("x/c", "n2", "default"),
    ("v/a", "n1", "robot"),
    ("v/b", "n2", "default"),
    ("v/c", "n3", "default"),
    ("z/a", "n2", "default"),
    ("z/b", "n3", "default"),
    ("z/c", "n3", "default"),
];
const NAMESPACES: [(&str, &str); 3] = [("x", "red"), ("v", "red"), ("z", "blue")];
const OUTSIDE: [(&str, u8); 2] = [("out", 20), ("far", 21)];
/// What everybody listens on: TCP, then UDP.
pub(super) const PORTS: [&[u16]; 2] = [&[80, 81, 82], &[80, 81]];
/// Ports of every node that lead to x/a: from wherever they are asked, and for what arrives at its own node only.
pub(super) const NODE_PORTS: [u16; 2] = [30080, 30081];
/// Before x/a.
pub(super) const SERVICE: &str = "a";

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Node,
    Outside,
}

/// Somebody who asks and is asked.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The node it is on, or is; of the outside none.
    pub(super) node: String,
    pub(super) netns: PathBuf,
    /// IPv4 and IPv6.
    pub(super) addresses: [IpAddr; 2],
}

/// All of them, and their servers.
pub(super) struct Scene {
    pub(super) parties: Vec<Party>,
    pub(super) servers: Servers,
    /// The addresses of the Service.
    pub(super) service: [IpAddr; 2],
}

fn pod_manifest((name, node, account): (&str, &str, &str)) -> String {
    let (namespace, pod) = name.split_once('/').unwrap();
    let web = match pod {
        "a" => 80,
        "b" => 81,
        _ => 82,
    };
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {pod}, namespace: {namespace}, labels: {{pod: {pod}}}}}
spec:
  nodeName: {node}
  serviceAccountName: {account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: pod
    image: {AGNHOST}
    args: [netexec, --http-port=8080]
    ports:
    - {{name: web, containerPort: {web}}}
    - {{name: talk, containerPort: 80, protocol: UDP}}
    readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 2, timeoutSeconds: 10}}
"
    )
}

fn manifest() -> String {
    let mut all = Vec::new();
    for (name, team) in NAMESPACES {
        all.push(format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{ns: {name}, team: {team}}}}}}}"
        ));
    }
    for (namespace, duty) in [("x", "shop"), ("v", "post")] {
        all.push(format!(
            "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: robot, namespace: {namespace}, \
             labels: {{duty: {duty}}}}}}}"
        ));
    }
    all.extend(PODS.map(pod_manifest));
    all.push(format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: host, namespace: x, labels: {{pod: host}}}}
spec:
  nodeName: n2
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: pod
    image: {AGNHOST}
    args: [pause]
"
    ));
    for (name, policy, port) in [(SERVICE, "Cluster", NODE_PORTS[0]), ("a-local", "Local", NODE_PORTS[1])] {
        all.push(format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: x}}
spec:
  type: NodePort
  externalTrafficPolicy: {policy}
  ipFamilyPolicy: RequireDualStack
  selector: {{pod: a}}
  ports: [{{port: 80, nodePort: {port}}}]
"
        ));
    }
    all.join("\n---\n")
}

/// Pods that are to be ready, by `namespace/name`.
pub(super) fn ready(kubectl: &Kubectl, name: &str) -> Result<Value, String> {
    let (namespace, pod) = name.split_once('/').unwrap();
    let object = kubectl.get(&format!("-n {namespace} pod {pod}"))?;
    match object["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready") {
        Some(condition) if condition["status"] == "True" => Ok(object),
        other => Err(format!("{name}: {other:?}")),
    }
}

fn both(list: &Value, field: &str) -> [IpAddr; 2] {
    let text = |one: &Value| if field.is_empty() { one.clone() } else { one[field].clone() };
    let all = list.as_array().into_iter().flatten().filter_map(|one| text(one).as_str()?.parse().ok());
    let mut all: Vec<IpAddr> = all.collect();
    all.sort();
    all.try_into().unwrap_or_else(|all| panic!("not one address of each family: {all:?}"))
}

/// A container that runs, as a party.
pub(super) fn pod(cluster: &Cluster, name: &str, object: &Value) -> Party {
    let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
    let container = object["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
    Party {
        name: name.to_owned(),
        kind: Kind::Pod,
        node: node.to_owned(),
        netns: cluster.node(node).container(container).unwrap(),
        addresses: both(&object["status"]["podIPs"], "ip"),
    }
}

/// The way to a pod, which no cluster tells the outside's router unless it is asked to.
pub(super) fn lead_to(cluster: &Cluster, pod: &Party) {
    let node = cluster.node(&pod.node).addresses();
    for (address, via) in pod.addresses.iter().zip(node) {
        let bits = if address.is_ipv6() { 128 } else { 32 };
        cluster.router().ip(&format!("route replace {address}/{bits} via {via}"));
    }
}

impl Scene {
    /// Makes all of it on a cluster of three nodes.
    #[track_caller]
    pub(super) fn set(cluster: &Cluster) -> Self {
        let kubectl = cluster.kubectl();
        let manifest = manifest();
        // A namespace has its service account a moment after it is made.
        eventually(PATIENCE, || kubectl.try_apply(&manifest));
        let mut parties = Vec::new();
        for (name, ..) in PODS {
            let object = eventually(PATIENCE, || ready(kubectl, name));
            let pod = pod(cluster, name, &object);
            lead_to(cluster, &pod);
            parties.push(pod);
        }
        eventually(PATIENCE, || ready(kubectl, "x/host"));
        for node in cluster.nodes() {
            parties.push(Party {
                name: node.name().to_owned(),
                kind: Kind::Node,
                node: node.name().to_owned(),
                netns: node.host().path(),
                addresses: node.addresses().map(|address| address.parse().unwrap()),
            });
        }
        for (name, n) in OUTSIDE {
            let host = cluster.host(name, Segment::Outside, n);
            parties.push(Party {
                name: name.to_owned(),
                kind: Kind::Outside,
                node: String::new(),
                netns: host.path(),
                addresses: [Segment::Outside.v4(n), Segment::Outside.v6(n)].map(|a| a.parse().unwrap()),
            });
        }
        let listening = parties.iter().flat_map(|p| Listening::open(&p.name, &p.netns, &p.addresses, PORTS));
        let servers = Servers::serve(listening.collect());
        let service = kubectl.get(&format!("-n x service {SERVICE}")).unwrap();
        let service = both(&service["spec"]["clusterIPs"], "");
        Self { parties, servers, service }
    }

    /// The party of this name.
    #[track_caller]
    pub(super) fn party(&self, name: &str) -> &Party {
        let found = self.parties.iter().find(|party| party.name == name);
        found.unwrap_or_else(|| panic!("there is nobody called {name:?} in the scene"))
    }
}
