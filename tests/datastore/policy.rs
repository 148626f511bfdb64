//! Policies in an API server, and what is read of others for them.

use corduroy_api::policy::{PolicyBody, PolicyResource};
use corduroy_api::{Asked, Event, Kind, Pod, Resource, Scope};
use corduroy_datastore::{Datastore, Watch};
use corduroy_datastore_contract::until;
use corduroy_tests::kube::{ControlPlane, Kubectl};
use corduroy_tests::process;
use serde_json::json;

use crate::world::{client, established, on_control_plane, shipped, state};

fn install(control: &ControlPlane) {
    control.kubectl().run("create namespace corduroy");
    control.kubectl().run(&format!("apply -k {}", shipped().display()));
    established(control.kubectl());
}

fn namespaces(names: &[&str]) -> Scope {
    Scope::Namespaces(names.iter().map(|name| (*name).to_owned()).collect())
}

fn asking(pods: Scope) -> Asked {
    Asked { pods, ..Asked::default() }
}

/// A pod that nobody runs; with a status as a kubelet would write it when it has an address.
fn pod(kubectl: &Kubectl, namespace: &str, name: &str, node: &str, address: Option<&str>) {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name }, "annotations": { "note": "x" } },
        "spec": {
            "nodeName": node, "serviceAccountName": "default", "automountServiceAccountToken": false,
            "containers": [{ "name": "c", "image": "i", "ports": [{ "name": "http", "containerPort": 8080 }] }],
        },
    });
    kubectl.apply(&object.to_string());
    if let Some(ip) = address {
        let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] } });
        let patch = status.to_string();
        kubectl
            .call(&[
                "patch",
                "pod",
                name,
                "-n",
                namespace,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ])
            .unwrap();
    }
}

fn namespace(kubectl: &Kubectl, name: &str) {
    kubectl.run(&format!("create namespace {name}"));
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": name, "labels": { "team": name } },
    });
    kubectl.apply(&account.to_string());
}

async fn remote(watch: &mut Watch, name: &str) -> Pod {
    until(watch, &format!("the pod {name} with its address"), |event| match event {
        Event::Put(Resource::RemotePod(pod)) if pod.metadata.name == name && !pod.addresses.is_empty() => {
            Some((*pod).clone())
        }
        Event::Put(Resource::RemotePod(pod)) => {
            assert!(!pod.metadata.name.ends_with("/own"), "a pod of the own node is none of another");
            None
        }
        _ => None,
    })
    .await
}

/// What went until this is covered.
async fn covered(watch: &mut Watch, scope: &Scope) -> Vec<String> {
    let mut gone = Vec::new();
    until(watch, &format!("{scope:?} to be covered"), |event| match event {
        Event::Gone(key) => {
            gone.push(key.name);
            None
        }
        Event::Covered(covered) => (covered == *scope).then_some(()),
        _ => None,
    })
    .await;
    gone
}

async fn gone(watch: &mut Watch, name: &str) {
    let wanted = |event| matches!(event, Event::Gone(key) if key.name == name).then_some(());
    until(watch, &format!("{name} to go"), wanted).await;
}

#[test]
fn pods_of_other_nodes_are_known_as_far_as_they_are_asked_for() {
    on_control_plane("pods", |control, runtime| {
        let kubectl = control.kubectl().clone();
        for name in ["red", "blue"] {
            namespace(&kubectl, name);
            pod(&kubectl, name, "far", "n2", Some(if name == "red" { "10.0.0.1" } else { "10.0.0.2" }));
        }
        pod(&kubectl, "red", "own", "n1", Some("10.0.0.3"));
        let store = client(control, runtime, "admin");
        runtime.block_on(async {
            let mut watch = store.watch(&[Kind::RemotePod]);
            covered(&mut watch, &Scope::Nothing).await;
            state(&mut watch, Kind::RemotePod, true).await;

            store.ask(asking(namespaces(&["red"])));
            let far = remote(&mut watch, "red/far").await;
            assert_eq!((far.service_account.as_str(), far.node.as_deref()), ("default", Some("n2")));
            assert_eq!((far.ports.len(), far.metadata.labels["app"].as_str()), (1, "far"));
            assert!(
                far.metadata.annotations.is_empty() && far.metadata.resource_version.is_none(),
                "{far:?}"
            );
            covered(&mut watch, &namespaces(&["red"])).await;

            // One more, and a pod whose address comes later.
            store.ask(asking(namespaces(&["red", "blue"])));
            remote(&mut watch, "blue/far").await;
            covered(&mut watch, &namespaces(&["blue", "red"])).await;
            pod(&kubectl, "blue", "late", "n3", None);
            let put = |event| matches!(event, Event::Put(Resource::RemotePod(_))).then_some(());
            until(&mut watch, "the pod without an address", put).await;
            pod(&kubectl, "blue", "late", "n3", Some("10.0.0.4"));
            remote(&mut watch, "blue/late").await;

            // Less, and then all: what is no news is not said again.
            store.ask(asking(namespaces(&["red"])));
            assert_eq!(
                covered(&mut watch, &namespaces(&["red"])).await,
                Vec::<String>::new(),
                "said before they go"
            );
            gone(&mut watch, "blue/late").await;
            store.ask(asking(Scope::Everywhere));
            remote(&mut watch, "blue/far").await;
            assert_eq!(covered(&mut watch, &Scope::Everywhere).await, Vec::<String>::new());
            kubectl.run("delete pod far -n red --force --grace-period=0");
            gone(&mut watch, "red/far").await;
            store.ask(Asked::default());
            covered(&mut watch, &Scope::Nothing).await;
            gone(&mut watch, "blue/late").await;
        });
    });
}

#[test]
fn the_own_nodes_pods_are_known_with_what_policies_ask_of_them() {
    on_control_plane("own", |control, runtime| {
        let kubectl = control.kubectl().clone();
        namespace(&kubectl, "red");
        pod(&kubectl, "red", "own", "n1", Some("10.0.0.3"));
        pod(&kubectl, "red", "far", "n2", Some("10.0.0.1"));
        let store = client(control, runtime, "admin");
        let mut watch = store.watch(&[Kind::Pod]);
        let own = runtime.block_on(until(&mut watch, "the own pod", |event| match event {
            Event::Put(Resource::Pod(pod)) => Some(pod),
            _ => None,
        }));
        assert_eq!(own.metadata.name, "red/own");
        assert_eq!((own.addresses[0].to_string().as_str(), own.ports[0].port), ("10.0.0.3", 8080));
        // Nobody asked for service accounts.
        let mut watch = store.watch(&[Kind::ServiceAccount]);
        runtime.block_on(state(&mut watch, Kind::ServiceAccount, true));
        store.ask(Asked { service_accounts: true, ..Asked::default() });
        let account = |event| match event {
            Event::Put(Resource::ServiceAccount(account)) if account.metadata.name == "red/default" => {
                Some(account)
            }
            _ => None,
        };
        let account = runtime.block_on(until(&mut watch, "the service account", account));
        assert_eq!(account.metadata.labels["team"], "red");
        store.ask(Asked::default());
        runtime.block_on(gone(&mut watch, "red/default"));
    });
}

/// A part of the endpoints of a service, at port 80 of TCP.
fn slice(kubectl: &Kubectl, (namespace, service, n): (&str, &str, u8), addresses: &[&str]) {
    let endpoints: Vec<_> = addresses.iter().map(|it| json!({ "addresses": [it] })).collect();
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("{service}-{n}"), "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service } },
        "endpoints": endpoints, "ports": [{ "protocol": "TCP", "port": 80 }],
    });
    kubectl.apply(&object.to_string());
}

/// The addresses that the service has next.
async fn endpoints(watch: &mut Watch, name: &str) -> Vec<String> {
    until(watch, &format!("the endpoints of {name}"), |event| match event {
        Event::Put(Resource::ServiceEndpoints(service)) if service.metadata.name == name => {
            assert!(service.endpoints.iter().all(|it| it.ports == [(6, 80)]), "{service:?}");
            Some(service.endpoints.iter().map(|it| it.address.to_string()).collect())
        }
        _ => None,
    })
    .await
}

#[test]
fn endpoints_of_services_are_known_as_far_as_they_are_asked_for() {
    on_control_plane("services", |control, runtime| {
        let kubectl = control.kubectl().clone();
        namespace(&kubectl, "red");
        slice(&kubectl, ("red", "web", 1), &["10.0.0.1"]);
        slice(&kubectl, ("red", "web", 2), &["10.0.0.2", "10.0.0.1"]);
        slice(&kubectl, ("red", "other", 1), &["10.0.0.9"]);
        let store = client(control, runtime, "admin");
        let asking = |services: &[&str]| {
            let services = services.iter().map(|name| (*name).to_owned()).collect();
            store.ask(Asked { services, ..Asked::default() });
        };
        runtime.block_on(async {
            let mut watch = store.watch(&[Kind::ServiceEndpoints]);
            state(&mut watch, Kind::ServiceEndpoints, true).await;
            asking(&["red/web"]);
            assert_eq!(endpoints(&mut watch, "red/web").await, ["10.0.0.1", "10.0.0.2"]);
            slice(&kubectl, ("red", "web", 1), &["10.0.0.3"]);
            assert_eq!(endpoints(&mut watch, "red/web").await, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
            kubectl.run("delete endpointslice web-2 -n red");
            assert_eq!(endpoints(&mut watch, "red/web").await, ["10.0.0.3"]);
            // One that nobody has made is known to have none, and what stays is no news.
            asking(&["red/web", "red/none"]);
            assert_eq!(endpoints(&mut watch, "red/none").await, [] as [&str; 0]);
            asking(&["red/none"]);
            gone(&mut watch, "red/web").await;
            slice(&kubectl, ("red", "none", 1), &["10.0.0.4"]);
            assert_eq!(endpoints(&mut watch, "red/none").await, ["10.0.0.4"]);
            let listed = store.list(Kind::ServiceEndpoints).await.unwrap();
            let names: Vec<String> = listed.iter().map(|it| it.key().name).collect();
            assert!(
                names.contains(&"red/other".to_owned()) && names.contains(&"red/web".to_owned()),
                "{names:?}"
            );
        });
    });
}

/// The next policy that comes.
async fn policy(watch: &mut Watch, name: &str) -> std::sync::Arc<PolicyResource> {
    until(watch, name, |event| match event {
        Event::Put(Resource::Policy(policy)) if policy.metadata.name == name => Some(policy),
        _ => None,
    })
    .await
}

#[test]
fn policies_of_every_kind_are_read_and_those_of_the_cluster_once_it_has_them() {
    on_control_plane("policies", |control, runtime| {
        install(control);
        let kubectl = control.kubectl().clone();
        namespace(&kubectl, "red");
        let store = client(control, runtime, "admin");
        let mut watch = store.watch(&Kind::POLICIES);
        for kind in Kind::POLICIES {
            let mut one = store.watch(&[kind]);
            runtime.block_on(state(&mut one, kind, true));
        }
        kubectl.apply(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: red}\n\
             spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}",
        );
        let found = runtime.block_on(policy(&mut watch, "red/p"));
        assert!(
            matches!(&found.body, PolicyBody::Kubernetes(judged) if judged.broken.is_none()),
            "{found:?}"
        );
        let ours = "apiVersion: corduroy.dev/v1alpha1\nkind: NetworkPolicy\nmetadata: {name: q, namespace: red}\n\
                    spec: {selector: has(app), ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}";
        kubectl.apply(ours);
        let found = runtime.block_on(policy(&mut watch, "red/q"));
        assert!(matches!(found.body, PolicyBody::Network(_)), "{found:?}");
        assert_eq!(store_list(runtime, &store, Kind::ClusterNetworkPolicy), 0, "and no error");

        let definition = process::workspace().join("tests/kube/clusternetworkpolicies.yaml");
        kubectl.run(&format!("apply -f {}", definition.display()));
        kubectl.run("wait --for=condition=Established crd --all --timeout=60s");
        let all = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n\
                   spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, \
                   ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
        corduroy_tests::eventually(corduroy_tests::kube::PATIENCE, || kubectl.try_apply(all));
        let found = runtime.block_on(policy(&mut watch, "c"));
        assert!(matches!(found.body, PolicyBody::Cluster(_)), "{found:?}");
        // Who can't be said to be about whom is rejected, and stays as it was.
        let bad = all.replace("tier: Admin", "tier: Middle");
        kubectl.apply(&bad);
        let rejected = |event| match event {
            Event::Rejected { source, rejections } if !rejections.is_empty() => Some((source, rejections)),
            _ => None,
        };
        let (source, why) = runtime.block_on(until(&mut watch, "the rejection", rejected));
        assert!(source == "ClusterNetworkPolicy/c" && why[0].to_string().contains("spec.tier"), "{why:?}");
        kubectl.run("delete crd clusternetworkpolicies.policy.networking.k8s.io");
        runtime.block_on(gone(&mut watch, "c"));
    });
}

fn store_list(runtime: &tokio::runtime::Runtime, store: &impl Datastore, kind: Kind) -> usize {
    runtime.block_on(store.list(kind)).unwrap().len()
}
