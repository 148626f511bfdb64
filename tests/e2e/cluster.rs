//! The cluster itself, on a plugin that is not ours: what all other tests here take for granted.

use std::time::Duration;

use corduroy_tests::eventually;
use corduroy_tests::kube::{AGNHOST, Cluster, Kubectl, PATIENCE};
use serde_json::Value;

/// A server on every node, and a Service before it.
fn servers() -> String {
    format!(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: server
spec:
  selector:
    matchLabels: {{app: server}}
  template:
    metadata:
      labels: {{app: server}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: server
        image: {AGNHOST}
        args: [netexec, --http-port=8080]
        readinessProbe:
          httpGet: {{path: /healthz, port: 8080}}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: server
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: server}}
  ports:
  - port: 80
    targetPort: 8080
"
    )
}

/// A server's pod.
struct Pod {
    name: String,
    node: String,
    /// IPv4 and IPv6, as a URL has them: the latter in brackets.
    addresses: Vec<String>,
}

fn strings(list: &Value, field: &str) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|one| if field.is_empty() { one.as_str() } else { one[field].as_str() })
        .map(url_host)
        .collect()
}

fn url_host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// The servers' pods, when all of `nodes` have one that is Ready.
fn pods(kubectl: &Kubectl, nodes: usize) -> Result<Vec<Pod>, String> {
    let list = kubectl.get("pods -l app=server")?;
    let ready = |pod: &Value| {
        let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let all = list["items"].as_array().cloned().unwrap_or_default();
    let found = all.iter().filter(|pod| ready(pod)).map(|pod| Pod {
        name: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        addresses: strings(&pod["status"]["podIPs"], "ip"),
    });
    let found: Vec<_> = found.collect();
    if found.len() == nodes { Ok(found) } else { Err(format!("{} of {nodes} pods are ready", found.len())) }
}

/// Whether a pod reads the name of one of the servers at `host`.
fn reads(kubectl: &Kubectl, from: &Pod, host: &str) -> Result<String, String> {
    kubectl.exec(&from.name, &format!("curl -gsS --max-time 5 http://{host}/hostname"))
}

#[test]
fn a_cluster_comes_up_and_survives_the_loss_of_a_node() {
    let mut cluster = Cluster::start("cluster", 2);
    for node in cluster.nodes() {
        eventually(PATIENCE, || cluster.condition(node.name(), "Ready", "False"));
    }
    cluster.stand_in();
    cluster.ready();
    let kubectl = cluster.kubectl().clone();
    kubectl.apply(&servers());
    cluster.name_server();
    let running = eventually(PATIENCE, || pods(&kubectl, 2));

    let service = kubectl.get("service server").unwrap();
    let service = strings(&service["spec"]["clusterIPs"], "");
    assert_eq!(service.len(), 2, "a dual-stack Service: {service:?}");
    for from in &running {
        for to in &running {
            assert_eq!(to.addresses.len(), 2, "{} is not dual stack: {:?}", to.name, to.addresses);
            for address in &to.addresses {
                let name = eventually(PATIENCE, || reads(&kubectl, from, &format!("{address}:8080")));
                assert_eq!(name, to.name, "from {} to {address}", from.node);
            }
        }
        for address in &service {
            eventually(PATIENCE, || reads(&kubectl, from, address));
        }
        eventually(PATIENCE, || reads(&kubectl, from, "server.default.svc.cluster.local"));
        eventually(PATIENCE, || {
            kubectl.exec(&from.name, "curl -ksS --max-time 5 https://kubernetes.default/readyz")
        });
        let log = kubectl.run(&format!("logs {}", from.name));
        assert!(log.contains("Started HTTP server"), "{log}");
    }

    cluster.power_off("n2");
    eventually(PATIENCE, || cluster.condition("n2", "Ready", "Unknown"));
    cluster.power_on("n2");
    eventually(PATIENCE, || cluster.registered());
    cluster.stand_in();
    cluster.ready();
    let back = eventually(PATIENCE, || pods(&kubectl, 2));
    for from in &back {
        for to in &back {
            eventually(Duration::from_secs(60), || {
                reads(&kubectl, from, &format!("{}:8080", to.addresses[0]))
            });
        }
    }
}
