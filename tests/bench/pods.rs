//! The scenario of a full node: a hundred pods and more started at once by a real kubelet and removed at once.
//!
//! A cluster of one node each time. All contenders run the same pods, with the node's name in them, so that no
//! scheduler and no controller sets the pace; both families but for `hostNetwork`, which is what starting a pod costs
//! without any network of its own. The clock runs from kubectl's first request to the moment it has seen the last pod
//! Ready, or gone. `PODS=20` in the environment makes it a smaller crowd.

use std::time::Instant;

use corduroy_tests::eventually;
use corduroy_tests::kube::{Cluster, PATIENCE, corduroy};
use serde_json::{Value, json};

use crate::report::{Figure, Unit};

const TAG: &str = "v0.1.0";

/// One run.
pub fn crowd(contender: &str) -> Vec<Figure> {
    let count = std::env::var("PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(110);
    let cluster = Cluster::start("pods", 1);
    if contender == "bridge" {
        cluster.bridge();
    } else {
        corduroy::load(&cluster, TAG);
        corduroy::install(&cluster, TAG);
    }
    cluster.ready();
    let host_network = contender == "hostNetwork";
    // What is only done once has been done: blocks are claimed, the image is unpacked.
    round(&cluster, 1, host_network);
    let before = taken(&cluster);
    let [up, down] = round(&cluster, count, host_network);
    eventually(PATIENCE, || match taken(&cluster) {
        now if now == before => Ok(()),
        now => Err(format!("{contender} has {now:?} in use, {before:?} before")),
    });
    vec![Figure::new("all Ready", Unit::Seconds, up), Figure::new("all gone", Unit::Seconds, down)]
}

/// Starts so many pods, removes them; the seconds each took.
fn round(cluster: &Cluster, count: usize, host_network: bool) -> [f64; 2] {
    let items: Vec<_> = (0..count).map(|n| pod(n, host_network)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let kubectl = cluster.kubectl();
    let file = cluster.router().file("crowd.json", &list).display().to_string();
    let timed = |steps: &[&str]| {
        let start = Instant::now();
        steps.iter().for_each(|step| drop(kubectl.run(step)));
        start.elapsed().as_secs_f64()
    };
    let ready = "wait --for=condition=Ready pod --selector app=crowd --timeout=600s";
    let up = timed(&[&format!("create --filename {file}"), ready]);
    [up, timed(&["delete pod --selector app=crowd --wait --timeout=600s"])]
}

fn pod(n: usize, host_network: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("crowd-{n}"), "labels": { "app": "crowd" } },
        "spec": {
            "nodeName": "n1", "hostNetwork": host_network, "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{ "name": "pause", "image": "docker.io/local/pause:1", "imagePullPolicy": "Never" }],
        },
    })
}

/// What pods hold on the node: interfaces, and addresses as those count them who give them out.
fn taken(cluster: &Cluster) -> (usize, Vec<String>) {
    let node = cluster.node("n1");
    let links = node.run("ip -oneline link").unwrap_or_default();
    let metrics = node.run("curl -s http://127.0.0.1:9469/metrics").unwrap_or_default();
    let used =
        metrics.lines().filter(|line| line.starts_with("corduroy_ipam_addresses") && line.contains("used"));
    let files = node.run("find /var/lib/cni/networks -name *:* -o -name *.*").unwrap_or_default();
    let held = files.lines().filter(|name| !name.contains("last_reserved") && !name.ends_with("lock"));
    (links.lines().count(), used.chain(held).map(str::to_owned).collect())
}
