//! What belongs to no node, on a real control plane: agents run as processes on hosts that no kubelet is on, with the
//! rights that the manifests give them and no others.

use std::collections::BTreeSet;
use std::time::Duration;

use corduroy_tests::eventually;
use corduroy_tests::fabric::{Node, Segment};
use corduroy_tests::kube::{CLUSTER_CIDRS, Cluster, Kubectl, PATIENCE};
use corduroy_tests::process;
use serde_json::{Value, json};

/// Blocks rest half a minute before they go back, and lists are read on a busy machine.
const LONG: Duration = Duration::from_secs(180);
/// Minutes become seconds; routes of a node that died go as fast.
const HASTE: &str = "caretaker: {lease: 6s, interval: 1s, patience: 8s}";

/// A control plane that has our kinds and rights, and was made by kubeadm.
fn control_plane(label: &str) -> Cluster {
    let cluster = Cluster::start(label, 0);
    let kubectl = cluster.kubectl();
    kubectl.run(&format!("apply -k {}", process::workspace().join("manifests/base").display()));
    // Its pods would be bound to our nodes, where nobody runs them.
    kubectl.run("delete daemonset corduroy-agent -n corduroy-system");
    kubectl.run("wait --for=condition=Established crd --all --timeout=60s");
    let told = format!("networking:\n  podSubnet: {}\n", CLUSTER_CIDRS.join(","));
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "ClusterConfiguration": told },
        "metadata": { "name": "kubeadm-config", "namespace": "kube-system" },
    });
    kubectl.apply(&map.to_string());
    kubectl.apply(
        "apiVersion: corduroy.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\n\
         spec: {nodeMeshMaxRestartTime: 1s}\n",
    );
    cluster
}

/// A kubeconfig by which an agent reaches the API server as the manifests' service account.
fn kubeconfig(cluster: &Cluster) -> String {
    let token = cluster.kubectl().run("create token corduroy-agent -n corduroy-system --duration=1h");
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({ "token": token.trim() });
    config["contexts"][0]["context"]["namespace"] = json!("corduroy-system");
    config.to_string()
}

/// A Node object, and a host of its name with an agent that is not started yet.
fn member(cluster: &Cluster, name: &str, n: u8) -> Node {
    let kubectl = cluster.kubectl();
    kubectl.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } }).to_string());
    let address = json!({ "type": "InternalIP", "address": Segment::A.v4(n) });
    let status = json!({ "status": { "addresses": [address] } }).to_string();
    kubectl.call(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]).unwrap();
    let host = cluster.host(name, Segment::A, n);
    let kubeconfig = host.file("kubeconfig", &kubeconfig(cluster));
    Node::in_cluster(host, name, &format!("{{kubeconfig: {}, {HASTE}}}", kubeconfig.display()))
}

/// The names of a kind's objects; of blocks only those of `node`, where one is named.
fn names(kubectl: &Kubectl, kind: &str, node: Option<&str>) -> Result<BTreeSet<String>, String> {
    let list = kubectl.get(kind)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().filter(|item| node.is_none_or(|node| item["spec"]["node"] == node));
    Ok(ours.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

fn lease(kubectl: &Kubectl) -> Result<Value, String> {
    kubectl.get("lease corduroy-caretaker -n corduroy-system").map(|lease| lease["spec"].clone())
}

fn holder(kubectl: &Kubectl) -> Result<String, String> {
    let holder = lease(kubectl)?["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let (node, _) = holder.split_once('_').ok_or(format!("held by {holder:?}"))?;
    Ok(node.to_owned())
}

fn must<T>(holds: bool, value: T, what: impl FnOnce() -> String) -> Result<T, String> {
    if holds { Ok(value) } else { Err(what()) }
}

/// Waits until the caretaker has been at work for so many rounds more, by its renewals.
fn rounds(kubectl: &Kubectl, renewals: usize) {
    let mut seen = BTreeSet::new();
    eventually(LONG, || {
        seen.insert(lease(kubectl)?["renewTime"].to_string());
        must(seen.len() > renewals, (), || format!("{} renewals", seen.len()))
    });
}

#[test]
fn the_caretaker_makes_pools_frees_what_is_gone_and_nothing_that_is_used() {
    let cluster = control_plane("caretaker");
    let kubectl = cluster.kubectl();
    let mut nodes = ["n1", "n2", "n3"].into_iter().zip(11u8..).map(|(name, n)| member(&cluster, name, n));
    let mut nodes: Vec<Node> = nodes.by_ref().collect();
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);

    // There was no pool: one of each family is made of what kubeadm was told.
    eventually(PATIENCE, || {
        let pools = names(kubectl, "ippools", None)?;
        let wanted = ["default-ipv4-ippool", "default-ipv6-ippool"].map(str::to_owned);
        must(pools == BTreeSet::from(wanted), (), || format!("{pools:?}"))
    });
    eventually(PATIENCE, || {
        let pool = kubectl.get("ippool default-ipv4-ippool")?;
        let status = &pool["status"];
        let said = [&status["addresses"], &status["blocks"], &status["blocksClaimed"], &status["blocksFree"]];
        let said = said.map(Value::as_u64) == [65_536, 1_024, 3, 1_021].map(Some);
        must(said && status["conditions"][0]["status"] == "True", (), || status.to_string())
    });

    // The Node of an agent with a pod is deleted: it goes on, and keeps what it has.
    let [ref mut n1, ref n2, ref mut n3] = nodes[..] else { panic!("three nodes") };
    let pod = cluster.pod(n2, "pod");
    let of = |node: &str| names(kubectl, "ipamblocks", Some(node));
    let used = of("n2").unwrap();
    kubectl.run("delete node n2");
    // And then one that dies: all that it had is freed, which takes as long as it would have taken with the other.
    let lost = of("n3").unwrap();
    assert!(!used.is_empty() && !lost.is_empty(), "{used:?}, {lost:?}");
    n3.kill();
    kubectl.run("delete node n3");
    eventually(LONG, || {
        let left = of("n3")?;
        must(left.is_empty(), (), || format!("{left:?} are left of n3"))
    });
    eventually(PATIENCE, || {
        let left = names(kubectl, "fabricnodes", None)?;
        must(!left.contains("n3"), (), || format!("{left:?}"))
    });
    rounds(kubectl, 6);
    assert_eq!(of("n2").unwrap(), used, "a block that is announced was freed");
    assert!(names(kubectl, "fabricnodes", None).unwrap().contains("n2"));

    // Its pod goes: it gives back what it has by itself.
    pod.delete(n2);
    eventually(LONG, || {
        let left = (of("n2")?, names(kubectl, "fabricnodes", None)?);
        must(left.0.is_empty() && !left.1.contains("n2"), (), || format!("{left:?}"))
    });

    // Without pools there are none: an operator does not get one back.
    kubectl.run("delete ippools --all");
    rounds(kubectl, 8);
    assert_eq!(names(kubectl, "ippools", None).unwrap(), BTreeSet::new());
    n1.stop();
}

#[test]
fn a_caretaker_that_dies_or_loses_its_lease_is_followed_by_another() {
    let cluster = control_plane("caretakers");
    let kubectl = cluster.kubectl();
    let mut nodes: Vec<Node> =
        ["n1", "n2"].into_iter().zip(11u8..).map(|(name, n)| member(&cluster, name, n)).collect();
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);
    let first = eventually(PATIENCE, || holder(kubectl));

    // Somebody takes the Lease and does nothing with it: who had it stops, and when it has run out one takes it back.
    let stolen =
        json!({ "spec": { "holderIdentity": "nobody_at-all", "leaseDurationSeconds": 6 } }).to_string();
    let patch =
        ["patch", "lease", "corduroy-caretaker", "-n", "corduroy-system", "--type=merge", "-p", &stolen];
    eventually(PATIENCE, || kubectl.call(&patch));
    let changes = |lease: &Value| lease["leaseTransitions"].as_u64().unwrap_or_default();
    let before = changes(&lease(kubectl).unwrap());
    eventually(LONG, || {
        let now = lease(kubectl)?;
        must(holder(kubectl)? != "nobody" && changes(&now) > before, (), || now.to_string())
    });

    // The one who has it dies.
    let leader = holder(kubectl).unwrap();
    let index = usize::from(leader == "n2");
    nodes[index].kill();
    let next = eventually(LONG, || {
        let next = holder(kubectl)?;
        must(next != leader, next.clone(), || format!("still {next}"))
    });
    assert!(["n1", "n2"].contains(&next.as_str()) && !first.is_empty(), "{first}, {leader}, {next}");
    // And it is at work: a pool that comes to overlap another is told so.
    for (name, cidr) in [("first", "10.245.0.0/16"), ("second", "10.245.4.0/24")] {
        kubectl.apply(&format!(
            "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {{name: {name}}}\n\
             spec: {{cidr: {cidr}}}\n",
        ));
    }
    eventually(PATIENCE, || {
        let condition = kubectl.get("ippool second")?["status"]["conditions"][0].clone();
        let right = condition["reason"] == "Overlapping" && condition["status"] == "False";
        must(right, (), || condition.to_string())
    });
}
