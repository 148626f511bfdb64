//! One agent against an API server that holds a large cluster: 5,000 nodes with a block each, for 100,000 pods in all,
//! and 1,000 namespaces.
//!
//! The mesh is off, as an operator of so many nodes has it. What is counted of the API server is what it dispatched for
//! service accounts, of which the agent's is the only one in use; a watch that ends after its minutes and is asked for
//! again counts like any other request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corduroy_tests::cni::Call;
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::process::Process;
use corduroy_tests::{Namespace, eventually, process};
use rustix::event::{Timespec, poll};
use serde_json::{Value, json};

use crate::report::{Figure, Unit};
use crate::usage::{cpu, peak};

const PATIENCE: Duration = Duration::from_secs(120);
const NODES: usize = 5_000;
const NAMESPACES: usize = 1_000;
/// Pods that are started and counted.
const PODS: usize = 20;
/// For how long nothing happens, and then for how many seconds how many nodes change each second.
const STILL: Duration = Duration::from_secs(60);
const CHURN: (u64, usize) = (20, 50);
/// How many write at the same time.
const WRITERS: usize = 8;
const PROXY: u16 = 8001;

const OURS: &str = "/apis/corduroy.dev/v1alpha1";

pub fn scale(_: &str) -> Vec<Figure> {
    let mut fabric = Fabric::of_cluster("bench");
    let kubectl = fabric.kubectl();
    let host = fabric.control().host().clone();
    let mut command = Command::new(kubectl.program());
    command.arg("--kubeconfig").arg(fabric.control().kubeconfig());
    command.args(["proxy", "--port", &PROXY.to_string(), "--disable-filter"]);
    let _proxy = Process::spawn(&host, "proxy", command);
    let server = Server(host);
    eventually(PATIENCE, || server.call("GET", "/readyz", "").map(drop));
    fill(&server);

    let mut node = fabric.node("n1", Segment::A, 11);
    let begun = (Instant::now(), server.dispatched());
    node.launch();
    node.ready();
    let (in_sync, start_cpu) = (begun.0.elapsed().as_secs_f64(), cpu(node.agent().id()));

    let idle = observe(&server, &mut node, || rest(STILL));
    let churn = observe(&server, &mut node, || change(&server));
    eventually(PATIENCE, || settled(&node));
    let per_pod = start_pods(&server, &fabric, &node);
    vec![
        Figure::new("start to ready", Unit::Seconds, in_sync),
        Figure::new("CPU to ready", Unit::Seconds, start_cpu),
        Figure::new("idle CPU", Unit::Percent, idle.0),
        Figure::new("idle requests", Unit::PerMinute, idle.1),
        Figure::new("CPU at 50 changes a second", Unit::Percent, churn.0),
        Figure::new("requests at 50 changes a second", Unit::PerMinute, churn.1),
        Figure::new("requests for a pod", Unit::Number, per_pod),
        Figure::new("peak memory", Unit::Mebibytes, peak(node.agent().id())),
    ]
}

/// Starts pods that the cluster has bound to the node; the requests that each of them costs.
fn start_pods(server: &Server, fabric: &Fabric, node: &Node) -> f64 {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    server.create("/api/v1/namespaces/default/serviceaccounts", &account);
    let name = |n: usize| format!("p{n}");
    for n in 0..PODS {
        let spec = json!({ "nodeName": node.name(), "containers": [{ "name": "c", "image": "i" }] });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name(n) }, "spec": spec });
        server.create("/api/v1/namespaces/default/pods", &pod);
    }
    let before = server.dispatched();
    for n in 0..PODS {
        let inside = fabric.container(&name(n));
        let call = Call::new(&process::binary("corduroy"), "ADD", &node.network());
        let call = call.attachment(&format!("id-{n}"), "eth0").netns(&inside.path());
        let call = call.variable("CNI_ARGS", &format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{n}"));
        let added = call.run(node.host()).and_then(|output| output.result());
        added.unwrap_or_else(|why| panic!("ADD of p{n}: {why}"));
    }
    (server.dispatched() - before) / f64::from(u32::try_from(PODS).unwrap_or(u32::MAX))
}

/// Processor of the agent in percent and requests a minute while something happens.
fn observe(server: &Server, node: &mut Node, what: impl FnOnce()) -> (f64, f64) {
    let pid = node.agent().id();
    let (start, cpu_before, before) = (Instant::now(), cpu(pid), server.dispatched());
    what();
    let seconds = start.elapsed().as_secs_f64();
    (100.0 * (cpu(pid) - cpu_before) / seconds, 60.0 * (server.dispatched() - before) / seconds)
}

/// Nothing to wait on but time.
fn rest(time: Duration) {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let _ = poll(&mut [], Some(&Timespec { tv_sec: seconds, tv_nsec: i64::from(time.subsec_nanos()) }));
}

/// The agent knows all nodes.
fn settled(node: &Node) -> Result<(), String> {
    let status = node.status()?;
    let kinds = status["datastore"]["kinds"].as_array().or_else(|| status["kinds"].as_array()).cloned();
    let nodes = kinds.unwrap_or_default().into_iter().find(|kind| kind["kind"] == "FabricNode");
    let count = nodes.and_then(|kind| kind["count"].as_u64());
    if count == u64::try_from(NODES + 1).ok() { Ok(()) } else { Err(format!("{count:?} nodes are known")) }
}

/// Makes the cluster. Another agent is its caretaker, as one of thousands is: this is one of the others.
fn fill(server: &Server) {
    let now = process::output(words("date -u +%Y-%m-%dT%H:%M:%S.000000Z"));
    let spec = json!({ "holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": now.trim() });
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "corduroy-caretaker" }, "spec": spec });
    server.create("/apis/coordination.k8s.io/v1/namespaces/corduroy-system/leases", &lease);
    let mesh = json!({ "nodeToNodeMeshEnabled": false, "asNumber": 64512 });
    server.create(&format!("{OURS}/bgpconfigurations"), &resource("BGPConfiguration", "default", &mesh));
    let pool = json!({ "cidr": "10.0.0.0/8", "vxlanMode": "Always" });
    server.create(&format!("{OURS}/ippools"), &resource("IPPool", "pods", &pool));
    many(NAMESPACES, |n| {
        let name = format!("team-{n}");
        let labels = json!({ "team": name, "tier": format!("t{}", n % 7) });
        let object = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": labels } });
        server.call("POST", "/api/v1/namespaces", &object.to_string()).map(drop)
    });
    many(NODES, |n| {
        let spec = json!({ "uid": format!("uid-{n}"), "addresses": [format!("{}/16", address(n))] });
        let mut object = resource("FabricNode", &name(n), &spec);
        object["metadata"]["labels"] = json!({ "rack": format!("r{}", n / 40) });
        server.call("POST", &format!("{OURS}/fabricnodes"), &object.to_string()).map(drop)
    });
    many(NODES, |n| {
        // From the far end of the pool; the node's own is somewhere in its walk.
        let (high, low) = (255 - n / 1024, (n % 1024) * 64);
        let cidr = format!("10.{high}.{}.{}/26", low / 256, low % 256);
        let spec = json!({ "cidr": cidr, "node": name(n), "nodeUID": format!("uid-{n}"), "epoch": 1 });
        let called = cidr.replace(['.', '/'], "-");
        let object = resource("IPAMBlock", &called, &spec);
        server.call("POST", &format!("{OURS}/ipamblocks"), &object.to_string()).map(drop)
    });
}

/// Another label on so many nodes a second, as evenly as the clock allows.
fn change(server: &Server) {
    let (seconds, rate) = CHURN;
    let start = Instant::now();
    let total = usize::try_from(seconds).unwrap_or(usize::MAX).saturating_mul(rate);
    many(total, |n| {
        let due = Duration::from_micros(u64::try_from(n * 1_000_000 / rate).unwrap_or(u64::MAX));
        rest(due.saturating_sub(start.elapsed()));
        let patch = json!([{ "op": "add", "path": "/metadata/labels/turn", "value": format!("t{n}") }]);
        let path = format!("{OURS}/fabricnodes/{}", name(n % NODES));
        server.call("PATCH", &path, &patch.to_string()).map(drop)
    });
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

fn name(n: usize) -> String {
    format!("node-{n}")
}

fn address(n: usize) -> String {
    format!("10.1.{}.{}", 32 + n / 250, 1 + n % 250)
}

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "corduroy.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Does something so many times, some at once.
fn many(count: usize, what: impl Fn(usize) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    what(n).unwrap_or_else(|why| panic!("{n}: {why}"));
                }
            });
        }
    });
}

/// The API server, by way of `kubectl proxy`, as an administrator.
struct Server(Namespace);

impl Server {
    fn create(&self, path: &str, object: &Value) {
        self.call("POST", path, &object.to_string()).unwrap_or_else(|why| panic!("{path}: {why}"));
    }

    /// A request and the body of its answer.
    fn call(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let media = if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.0.enter(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", PROXY))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let answer = answer.map_err(|e| e.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).unwrap_or_default();
        if code.starts_with('2') { Ok(body.to_owned()) } else { Err(format!("{code}: {body}")) }
    }

    /// The requests dispatched for service accounts since the server's start.
    fn dispatched(&self) -> f64 {
        let metrics = self.call("GET", "/metrics", "").unwrap_or_else(|why| panic!("metrics: {why}"));
        let ours = metrics.lines().filter(|line| {
            line.starts_with("apiserver_flowcontrol_dispatched_requests_total{")
                && line.contains("flow_schema=\"service-accounts\"")
        });
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
