//! What the API server has: resources, reports, our pods with their logs, Events.

use corduroy_api::schema::crd;
use corduroy_api::{API_VERSION, Kind};
use serde_json::{Value, json};

use super::Bundle;
use crate::cluster::{Cluster, name};

/// Our namespace, as the manifests have it.
const NAMESPACE: &str = "corduroy-system";
/// The last lines of each log.
const LINES: u32 = 5000;
/// The most pods whose logs are fetched: those that are not well first.
const PODS: usize = 50;

/// Gathers it.
pub(super) fn gather(bundle: &mut Bundle, cluster: &Cluster) {
    bundle.add("cluster/version.json", cluster.text("/version"));
    let ours = Kind::ALL.into_iter().filter_map(crd::plural).chain(crd::reports().map(|(plural, _)| plural));
    for plural in ours {
        bundle.add_json(
            &format!("cluster/{plural}.json"),
            cluster.objects(&format!("/apis/{API_VERSION}/{plural}")),
        );
    }
    let core = |path: &str| cluster.objects(path);
    bundle.add_json("cluster/nodes.json", core("/api/v1/nodes").map(|all| nodes(&all)));
    bundle.add_json("cluster/pods.json", core("/api/v1/pods").map(|all| pods(&all)));
    let namespaced = |group: &str, plural: &str| format!("{group}/namespaces/{NAMESPACE}/{plural}");
    bundle.add_json("cluster/daemonsets.json", core(&namespaced("/apis/apps/v1", "daemonsets")));
    bundle.add_json("cluster/deployments.json", core(&namespaced("/apis/apps/v1", "deployments")));
    bundle.add_json("cluster/configmaps.json", core(&namespaced("/api/v1", "configmaps")));
    bundle.add_json("cluster/leases.json", core(&namespaced("/apis/coordination.k8s.io/v1", "leases")));
    bundle.add_json("cluster/events.json", core(&namespaced("/apis/events.k8s.io/v1", "events")));
    let reported = core("/apis/events.k8s.io/v1/namespaces/default/events");
    bundle.add_json("cluster/reported-events.json", reported.map(|all| of_ours(&all)));
    let agents = core(&namespaced("/api/v1", "pods"));
    if let Ok(agents) = &agents {
        logs(bundle, cluster, agents);
    }
    bundle.add_json("cluster/corduroy-pods.json", agents);
}

/// What of a Node matters here: its images alone are longer than all the rest.
fn nodes(all: &[Value]) -> Value {
    let status = |node: &Value| {
        let status = &node["status"];
        json!({ "addresses": status["addresses"], "conditions": status["conditions"], "nodeInfo": status["nodeInfo"] })
    };
    all.iter()
        .map(|node| json!({ "metadata": node["metadata"], "spec": node["spec"], "status": status(node) }))
        .collect()
}

/// Who has which address; what runs in other people's pods is their business.
fn pods(all: &[Value]) -> Value {
    let pod = |pod: &Value| {
        json!({
            "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
            "node": pod["spec"]["nodeName"], "hostNetwork": pod["spec"]["hostNetwork"],
            "phase": pod["status"]["phase"], "podIPs": pod["status"]["podIPs"],
        })
    };
    all.iter().map(pod).collect()
}

fn of_ours(all: &[Value]) -> Value {
    let is_ours = |event: &&Value| {
        event["reportingController"].as_str().is_some_and(|who| who.starts_with("corduroy.dev/"))
    };
    all.iter().filter(is_ours).cloned().collect()
}

fn logs(bundle: &mut Bundle, cluster: &Cluster, pods: &[Value]) {
    let containers = |pod: &Value| pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let restarts =
        |pod: &Value| containers(pod).iter().filter_map(|c| c["restartCount"].as_u64()).sum::<u64>();
    let is_well = |pod: &Value| containers(pod).iter().all(|container| container["ready"] == true);
    let mut pods: Vec<&Value> = pods.iter().collect();
    pods.sort_by_key(|pod| (is_well(pod), std::cmp::Reverse(restarts(pod))));
    for pod in pods.iter().skip(PODS) {
        bundle.add(
            format!("logs/{}.log", name(pod)),
            Err::<String, _>(format!("only {PODS} pods' logs are fetched")),
        );
    }
    for pod in pods.iter().take(PODS) {
        let pod_name = name(pod);
        for container in containers(pod) {
            let container_name = container["name"].as_str().unwrap_or_default();
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/pods/{pod_name}/log?container={container_name}&tailLines={LINES}\
                 &timestamps=true"
            );
            bundle.add(format!("logs/{pod_name}.{container_name}.log"), cluster.text(&path));
            if container["restartCount"].as_u64().unwrap_or_default() > 0 {
                let before = cluster.text(&format!("{path}&previous=true"));
                bundle.add(format!("logs/{pod_name}.{container_name}.before.log"), before);
            }
        }
    }
}
