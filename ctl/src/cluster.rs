//! The cluster's side: what agents report, and resources, through the API server with the rights of whoever asks.
//!
//! Everything is read once, by whole collections: a person asks seldom, and what the server keeps it can list.

pub(crate) mod address;
pub(crate) mod check;
pub(crate) mod ipam;
pub(crate) mod nodes;
pub(crate) mod peers;

use std::time::{SystemTime, UNIX_EPOCH};

use corduroy_api::node_status::{NodeReport, PLURAL};
use corduroy_api::raw::Raw;
use corduroy_api::{API_VERSION, Event, Kind, Report, Resource, Source, yaml};
use corduroy_datastore::Datastore;
use corduroy_datastore_kubernetes::{Identity, Kubernetes};
use corduroy_fabric::Model;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::client::NoAnswer;

/// A way to the API server.
pub(crate) struct Cluster {
    runtime: Runtime,
    kubernetes: Kubernetes,
}

impl Cluster {
    pub(crate) fn connect(identity: &Identity) -> Result<Self, NoAnswer> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| NoAnswer::Cluster(error.to_string()))?;
        let kubernetes = runtime.block_on(Kubernetes::connect_as(identity));
        let kubernetes = kubernetes.map_err(|error| NoAnswer::Cluster(error.to_string()))?;
        Ok(Self { runtime, kubernetes })
    }

    /// Everything at a path of the API.
    pub(crate) fn objects(&self, path: &str) -> Result<Vec<Value>, NoAnswer> {
        let objects = self.runtime.block_on(self.kubernetes.objects(path));
        objects.map_err(|why| NoAnswer::Cluster(format!("{path}: {why}")))
    }

    /// What is at a path of the API, as text.
    pub(crate) fn text(&self, path: &str) -> Result<String, NoAnswer> {
        let text = self.runtime.block_on(self.kubernetes.text(path));
        text.map_err(|why| NoAnswer::Cluster(format!("{path}: {why}")))
    }

    /// The resources of these kinds.
    pub(crate) fn model(&self, kinds: &[Kind]) -> Result<Model, NoAnswer> {
        let mut model = Model::default();
        for kind in kinds {
            for resource in self.resources(&[*kind])? {
                model.apply(Event::Put(resource));
            }
            model.apply(Event::InSync { kind: *kind, from: Source::Live });
        }
        Ok(model)
    }

    /// The resources of these kinds, as they are.
    pub(crate) fn resources(&self, kinds: &[Kind]) -> Result<Vec<Resource>, NoAnswer> {
        let mut found = Vec::new();
        for kind in kinds {
            let all = self.runtime.block_on(self.kubernetes.list(*kind));
            found.extend(all.map_err(|error| NoAnswer::Cluster(error.to_string()))?);
        }
        Ok(found)
    }

    /// What agents report, by node.
    pub(crate) fn reports(&self) -> Result<Vec<(String, NodeReport)>, NoAnswer> {
        let objects = self.objects(&format!("/apis/{API_VERSION}/{PLURAL}"))?;
        Ok(objects.into_iter().map(|object| (name(&object), report(object))).collect())
    }
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The report in a NodeStatus. What a later version says beyond it is let go.
fn report(mut object: Value) -> NodeReport {
    let status = object.get_mut("status").map(Value::take).unwrap_or_default();
    let status = serde_json::from_value::<yaml::Value>(status).unwrap_or_default();
    NodeReport::read(&status, &mut Report::default()).unwrap_or_default()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
pub(crate) mod testing {
    use serde_json::json;

    use super::*;

    /// Two nodes' reports: of one all is well, of the other not.
    pub(crate) fn reports() -> Vec<(String, NodeReport)> {
        let one = json!({ "metadata": { "name": "n1" }, "status": {
            "version": "0.1.0", "later": "unknown here",
            "addresses": [{ "address": "192.0.2.11/24", "why": "the cluster knows this node by it" }],
            "bgp": { "asNumber": 64512, "summary": "1/1", "established": 1, "total": 1, "sessions": [
                { "peer": "mesh (n2)", "address": "192.0.2.12", "asNumber": 64512, "state": "Established",
                  "since": "2026-11-21T21:00:00Z", "families": ["ipv4-unicast"] }] },
            "advertised": { "count": 1, "prefixes": ["10.244.0.0/26"] },
            "blocks": { "count": 1, "items": [{ "cidr": "10.244.0.0/26", "pool": "v4" }] },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Serving", "message": "",
                             "lastTransitionTime": "2026-11-21T20:00:00Z" }],
            "problems": { "count": 0, "items": [] },
        }});
        let two = json!({ "metadata": { "name": "n2" }, "status": {
            "version": "0.1.0",
            "bgp": { "summary": "0/1", "established": 0, "total": 1, "sessions": [
                { "peer": "BGPPeer/tor", "address": "192.0.2.1", "asNumber": 64513, "state": "Down",
                  "since": "2026-11-21T21:30:00Z", "why": "connection refused" }] },
            "conditions": [{ "type": "Ready", "status": "False", "reason": "NotServing",
                             "message": "the kernel has not been read yet",
                             "lastTransitionTime": "2026-11-21T21:00:00Z" }],
            "problems": { "count": 1, "items": [
                { "severity": "Error", "about": "vxlan-cord", "message": "the kernel can't make it" }] },
        }});
        [one, two].into_iter().map(|object| (name(&object), report(object))).collect()
    }

    #[test]
    fn a_report_of_a_later_version_is_read_as_far_as_it_is_known() {
        let reports = reports();
        assert_eq!(reports[0].0, "n1");
        assert_eq!(reports[0].1.version.as_deref(), Some("0.1.0"));
    }
}
