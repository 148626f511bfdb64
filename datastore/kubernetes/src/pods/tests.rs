//! What becomes of a pod, and what is watched for a scope.

use super::*;

fn read(kind: Kind, text: &str) -> Pod {
    let pod: CorePod = serde_json::from_str(text).unwrap();
    match pod.read(kind).unwrap() {
        Resource::Pod(pod) | Resource::RemotePod(pod) => (*pod).clone(),
        other => panic!("{other:?}"),
    }
}

const WHOLE: &str = r#"{
  "metadata": {"name": "front", "namespace": "web", "uid": "u", "resourceVersion": "9",
    "labels": {"app": "front"}, "managedFields": [{"manager": "x"}],
    "annotations": {"corduroy.dev/ipv4pools": "[\"p\"]", "other": "note"}},
  "spec": {"nodeName": "b", "serviceAccountName": "web", "hostNetwork": false,
    "containers": [
      {"name": "c", "image": "i", "ports": [
        {"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9}]},
      {"name": "d", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
    "initContainers": [
      {"name": "once", "ports": [{"name": "setup", "containerPort": 1}]},
      {"name": "stays", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9090}]}]},
  "status": {"phase": "Running", "conditions": [{"type": "Ready"}], "podIP": "10.0.0.9",
    "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]}}"#;

#[test]
fn of_a_pod_that_is_kept_by_which_policies_know_it() {
    let pod = read(Kind::RemotePod, WHOLE);
    assert_eq!((pod.metadata.name.as_str(), pod.service_account.as_str()), ("web/front", "web"));
    assert_eq!(pod.metadata.labels["app"], "front");
    assert_eq!(pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.9", "fd00::9"]);
    let ports: Vec<_> = pod.ports.iter().map(|p| (p.name.as_str(), p.protocol.0, p.port)).collect();
    assert_eq!(
        ports,
        [("dns", 17, 53), ("http", 6, 8080), ("metrics", 6, 9090)],
        "not what ends before it begins"
    );
    assert_eq!((pod.node.as_deref(), pod.host_network, pod.finished), (Some("b"), false, false));
    assert!(pod.metadata.annotations.is_empty() && pod.metadata.resource_version.is_none(), "{pod:?}");
    let own = read(Kind::Pod, WHOLE);
    assert_eq!(own.metadata.annotations.keys().collect::<Vec<_>>(), ["corduroy.dev/ipv4pools"]);
    assert_eq!((own.ports, own.addresses), (pod.ports, pod.addresses));
}

#[test]
fn a_pod_that_was_just_made_has_no_node_and_no_addresses_yet_and_is_a_pod() {
    let bare = r#"{"metadata": {"name": "a", "namespace": "n"}, "spec": {"containers": [{"name": "c"}]}}"#;
    let pod = read(Kind::RemotePod, bare);
    assert_eq!((pod.node, pod.addresses, pod.ports), (None, vec![], vec![]));
    for phase in ["Succeeded", "Failed"] {
        let ended = format!(r#"{{"metadata": {{"name": "a"}}, "status": {{"phase": "{phase}"}}}}"#);
        assert!(read(Kind::RemotePod, &ended).finished);
    }
}

#[test]
fn a_few_namespaces_are_watched_each_for_itself_and_many_at_once() {
    let some = |n: usize| Scope::Namespaces((0..n).map(|i| format!("n{i}")).collect());
    assert_eq!(parts_of(&Scope::Nothing).len(), 0);
    assert_eq!(parts_of(&some(16)).len(), 16);
    assert_eq!(parts_of(&some(17)), BTreeSet::from([None]));
    assert_eq!(parts_of(&Scope::Everywhere), BTreeSet::from([None]));
    let mut held = Scope::Nothing;
    for part in parts_of(&some(2)) {
        held = held.and(&scope(&part));
    }
    assert_eq!(held, some(2));
    assert_eq!(held.and(&scope(&None)), Scope::Everywhere);
}

#[test]
fn the_pods_of_a_namespace_are_asked_for_without_those_of_the_own_node() {
    let scope = object::Scope { namespace: String::new(), node: Some("a".to_owned()) };
    let collection = Collection::of(Kind::RemotePod, &scope);
    let page = collection.clone().within("web").page(None);
    assert_eq!(page, "/api/v1/namespaces/web/pods?limit=500&fieldSelector=spec.nodeName!%3Da");
    assert_eq!(collection.page(None), "/api/v1/pods?limit=500&fieldSelector=spec.nodeName!%3Da");
}
