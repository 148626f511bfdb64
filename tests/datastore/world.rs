//! An API server that has our kinds, and clients of it.

use std::path::PathBuf;
use std::time::Duration;

use corduroy_api::{Event, Kind, Version};
use corduroy_datastore::Watch;
use corduroy_datastore_contract::{cidr_of, until};
use corduroy_datastore_kubernetes::{Access, Kubernetes};
use corduroy_tests::kube::{ControlPlane, Kubectl, PATIENCE};
use corduroy_tests::{eventually, process};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The kinds with definitions of their own, each with its plural.
pub(crate) const KINDS: [(Kind, &str); 13] = [
    (Kind::IpPool, "ippools"),
    (Kind::IpamBlock, "ipamblocks"),
    (Kind::FabricNode, "fabricnodes"),
    (Kind::BgpConfiguration, "bgpconfigurations"),
    (Kind::BgpPeer, "bgppeers"),
    (Kind::BgpFilter, "bgpfilters"),
    (Kind::IpReservation, "ipreservations"),
    (Kind::NetworkPolicy, "networkpolicies"),
    (Kind::GlobalNetworkPolicy, "globalnetworkpolicies"),
    (Kind::Tier, "tiers"),
    (Kind::NetworkSet, "networksets"),
    (Kind::GlobalNetworkSet, "globalnetworksets"),
    (Kind::HostEndpoint, "hostendpoints"),
];

/// Runs a test where a control plane is, with a runtime there.
pub(crate) fn on_control_plane(label: &str, test: impl FnOnce(&mut ControlPlane, &Runtime) + Send) {
    let mut control = ControlPlane::alone(label);
    let host = control.host().clone();
    // A runtime's threads are where the one is that makes it.
    host.enter(|| test(&mut control, &Runtime::new().unwrap()));
}

/// A client with the rights of an administrator, or of one who has none.
pub(crate) fn client(control: &ControlPlane, runtime: &Runtime, who: &str) -> Kubernetes {
    let kubeconfig = control.kubeconfig().with_file_name(format!("{who}.kubeconfig"));
    let access = Access {
        kubeconfig: Some(kubeconfig),
        namespace: Some("corduroy".to_owned()),
        node: Some("n1".to_owned()),
    };
    runtime.block_on(Kubernetes::connect(&access)).unwrap()
}

/// The definitions as we ship them.
pub(crate) fn shipped() -> PathBuf {
    process::workspace().join("manifests/base/crds")
}

/// Waits until the API server knows our kinds.
pub(crate) fn established(kubectl: &Kubectl) {
    for (_, plural) in KINDS {
        eventually(PATIENCE, || kubectl.try_run(&format!("get {plural}.corduroy.dev")));
    }
}

/// A definition that lets everything pass.
pub(crate) fn permissive(kind: Kind, plural: &str) -> Value {
    let name = kind.name();
    let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
    let names = json!({ "kind": name, "plural": plural, "singular": name.to_lowercase() });
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let version = json!({
        "name": "v1alpha1", "served": true, "storage": true,
        "subresources": { "status": {} }, "schema": { "openAPIV3Schema": schema },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.corduroy.dev") },
        "spec": { "group": "corduroy.dev", "scope": scope, "names": names, "versions": [version] },
    })
}

/// What a watcher hears of how well a kind is known.
pub(crate) fn known(event: Event) -> Option<(Kind, Option<String>)> {
    match event {
        Event::InSync { kind, .. } => Some((kind, None)),
        Event::Unavailable { kind, why } => Some((kind, Some(why))),
        _ => None,
    }
}

/// Waits until a kind is in sync, or can't be had, for the reason returned.
pub(crate) async fn state(watch: &mut Watch, kind: Kind, available: bool) -> String {
    let what = format!("{kind} to be {}", if available { "in sync" } else { "unavailable" });
    let mut found = None;
    for _ in 0..4 {
        // A pause between two attempts may be as long as half a minute.
        let waiting = until(watch, &what, |event| {
            known(event).filter(|(k, why)| *k == kind && why.is_none() == available)
        });
        if let Ok(state) = tokio::time::timeout(Duration::from_secs(60), waiting).await {
            found = Some(state);
            break;
        }
    }
    found.unwrap_or_else(|| panic!("waited in vain for {what}")).1.unwrap_or_default()
}

/// No version in particular.
pub(crate) fn version(resource: &corduroy_api::Resource) -> Version {
    Version(resource.metadata().resource_version.clone().unwrap())
}

/// Behind the watcher's back the pool `doomed` went and 10.2.0.0/16 came; it hears of both, and of no other loss.
pub(crate) async fn all_that_happened(watch: &mut Watch) {
    let (mut second, mut gone, mut synced) = (false, false, false);
    until(watch, "all that happened meanwhile", |event| {
        match event {
            Event::Gone(key) if key.name == "doomed" => gone = true,
            Event::Gone(key) => panic!("{key} went although it is there"),
            Event::InSync { .. } => synced = true,
            event => second |= cidr_of(event).as_deref() == Some("10.2.0.0/16"),
        }
        (second && gone && synced).then_some(())
    })
    .await;
}
