//! A pod: a namespace that our CNI plugin wires, called as a container runtime calls it.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::Node;
use crate::cni::Call;
use crate::{Namespace, eventually, process};

/// How long an ADD is tried again that was told to try again later, as runtimes do: on a machine under load the agent
/// may take longer to start than it lets an ADD wait.
const PATIENCE: Duration = Duration::from_secs(120);
/// CNI 1.1.0's code for that.
const TRY_AGAIN: &str = "error 11:";

/// One attachment: its namespace and what the plugin answered.
#[derive(Debug)]
pub struct Pod {
    container: Namespace,
    id: String,
    result: Value,
}

impl Pod {
    #[track_caller]
    pub(super) fn add(container: Namespace, id: String, node: &Node) -> Self {
        let answer = eventually(PATIENCE, || match call(node, "ADD", &container, &id, None) {
            Err(why) if why.starts_with(TRY_AGAIN) => {
                call(node, "DEL", &container, &id, None)?;
                Err(why)
            }
            answer => Ok(answer),
        });
        let answer = answer.unwrap_or_else(|why| panic!("ADD of {id} on {}: {why}", node.name()));
        Self { container, id, result: answer }
    }

    /// Its container id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What ADD answered.
    #[must_use]
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// Its namespace.
    #[must_use]
    pub fn inside(&self) -> &Namespace {
        &self.container
    }

    /// Its address of a family.
    #[track_caller]
    #[must_use]
    pub fn address(&self, v6: bool) -> IpAddr {
        let ips = self.result["ips"].as_array().cloned().unwrap_or_default();
        let all = ips.iter().filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok());
        let found = all.into_iter().find(|ip: &IpAddr| ip.is_ipv6() == v6);
        found.unwrap_or_else(|| panic!("no IPv{} address in {}", if v6 { 6 } else { 4 }, self.result))
    }

    /// The name of the host's end of its link.
    #[must_use]
    pub fn host_interface(&self) -> String {
        let first = self.result["interfaces"].as_array().and_then(|all| all.first().cloned());
        first.unwrap_or_default()["name"].as_str().unwrap_or_default().to_owned()
    }

    /// CHECK against what ADD answered.
    ///
    /// # Errors
    /// What the plugin said.
    pub fn check(&self, node: &Node) -> Result<(), String> {
        call(node, "CHECK", &self.container, &self.id, Some(&self.result)).map(drop)
    }

    /// DEL.
    #[track_caller]
    pub fn delete(self, node: &Node) {
        let done = call(node, "DEL", &self.container, &self.id, Some(&self.result));
        done.unwrap_or_else(|why| panic!("DEL of {} on {}: {why}", self.id, node.name()));
    }
}

fn call(
    node: &Node,
    command: &str,
    container: &Namespace,
    id: &str,
    previous: Option<&Value>,
) -> Result<Value, String> {
    let mut config = node.network();
    if let (Some(previous), Some(fields)) = (previous, config.as_object_mut()) {
        fields.insert("prevResult".to_owned(), previous.clone());
    }
    let call = Call::new(&process::binary("corduroy"), command, &config);
    let call = call.attachment(id, "eth0").netns(&container.path());
    let owner = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={id}");
    call.variable("CNI_ARGS", &owner).run(node.host())?.result()
}
