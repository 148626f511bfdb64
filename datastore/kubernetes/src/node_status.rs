//! The NodeStatus of this node: written whole, never watched.

use corduroy_api::API_VERSION;
use corduroy_api::node_status::{KIND, NodeReport, PLURAL};
use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::server::{Call, Failure, Server};

/// Why a NodeStatus could not be written; trying again later may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NodeStatus/{node}: {why}")]
pub struct NotReported {
    /// Of which node.
    pub node: String,
    /// As the API server says.
    pub why: String,
}

/// Makes it say this.
pub(crate) async fn write(
    server: &Server,
    node: &str,
    uid: &str,
    report: &NodeReport,
) -> Result<(), NotReported> {
    let not = |why| NotReported { node: node.to_owned(), why };
    let report = serde_json::to_value(report).map_err(|error| not(error.to_string()))?;
    let owners = json!([{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": uid }]);
    match patch(server, node, &owners, &report).await {
        Err(Failure::Answer { code: 404, named: true, .. }) => create(server, node, &owners, &report).await,
        result => result,
    }
    .map_err(|failure| not(failure.words()))
}

fn collection() -> String {
    format!("/apis/{API_VERSION}/{PLURAL}")
}

/// The owner too: what a former Node of this name has left is ours now, and not to go with that one.
async fn patch(server: &Server, node: &str, owners: &Value, report: &Value) -> Result<(), Failure> {
    let operations = json!([
        { "op": "add", "path": "/metadata/ownerReferences", "value": owners },
        { "op": "add", "path": "/status", "value": report },
    ]);
    let path = format!("{}/{node}", collection());
    let body = Some(("application/json-patch+json", operations));
    server
        .call::<IgnoredAny>(Call { method: Method::PATCH, path: &path, body, accept: None })
        .await
        .map(|_| ())
}

async fn create(server: &Server, node: &str, owners: &Value, report: &Value) -> Result<(), Failure> {
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": { "name": node, "ownerReferences": owners },
        "status": report,
    });
    let body = Some(("application/json", object));
    server
        .call::<IgnoredAny>(Call { method: Method::POST, path: &collection(), body, accept: None })
        .await
        .map(|_| ())
}
