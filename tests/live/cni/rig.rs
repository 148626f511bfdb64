//! One node with an agent and pools of its own, and a runtime that calls the plugin.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corduroy_tests::cni::{Call, REFERENCE};
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::{Namespace, eventually, process};
use serde_json::Value;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct OneNode {
    fabric: Fabric,
    node: Node,
    plugin: PathBuf,
}

impl OneNode {
    /// A node with dual-stack pools that is ready for pods.
    #[track_caller]
    pub(super) fn new(label: &str) -> Self {
        Self::with_pools(label, &[("v4", "10.244.0.0/16", 26), ("v6", "fd00:244::/112", 122)])
    }

    /// A node with these pools: name, range, size of a block.
    #[track_caller]
    pub(super) fn with_pools(label: &str, pools: &[(&str, &str, u8)]) -> Self {
        let fabric = Fabric::new(label);
        let pool = |(name, cidr, block): &(&str, &str, u8)| {
            format!(
                "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: {name}\n\
                 spec:\n  cidr: {cidr}\n  blockSize: {block}\n---\n"
            )
        };
        fabric.put("pools", &pools.iter().map(pool).collect::<String>());
        let mut node = fabric.node("node", Segment::A, 2);
        node.launch();
        let mut rig = Self { fabric, node, plugin: process::binary("corduroy") };
        rig.ready();
        rig
    }

    /// Waits until an ADD would be served.
    #[track_caller]
    pub(super) fn ready(&mut self) {
        eventually(PATIENCE, || {
            self.node.agent().alive()?;
            self.bare("STATUS").run(self.host())?.result()
        });
    }

    pub(super) fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    pub(super) fn host(&self) -> &Namespace {
        self.node.host()
    }

    pub(super) fn network(&self) -> Value {
        self.node.network()
    }

    #[track_caller]
    pub(super) fn container(&self, label: &str) -> Namespace {
        self.fabric.container(label)
    }

    /// A host in the node's segment that is no node.
    #[track_caller]
    pub(super) fn outsider(&self, label: &str, n: u8) -> Namespace {
        self.fabric.host(label, Segment::A, n)
    }

    /// A command that is about no container.
    pub(super) fn bare(&self, command: &str) -> Call {
        self.bare_with(command, &self.network())
    }

    pub(super) fn bare_with(&self, command: &str, network: &Value) -> Call {
        Call::new(&self.plugin, command, network)
    }

    /// A command about eth0 of a container.
    pub(super) fn call(&self, command: &str, container: &Namespace) -> Call {
        self.call_with(command, container, &self.network())
    }

    pub(super) fn call_with(&self, command: &str, container: &Namespace, network: &Value) -> Call {
        about(self.bare_with(command, network), container)
    }

    /// A command of one of the reference plugins.
    pub(super) fn reference(
        &self,
        plugin: &str,
        command: &str,
        container: &Namespace,
        network: &Value,
    ) -> Call {
        about(Call::new(&Path::new(REFERENCE).join(plugin), command, network), container)
    }

    #[track_caller]
    pub(super) fn add(&self, container: &Namespace) -> Value {
        let outcome = self.call("ADD", container).run(self.host()).unwrap();
        outcome.result().unwrap_or_else(|why| panic!("ADD of {}: {why}", container.label()))
    }

    #[track_caller]
    pub(super) fn del(&self, container: &Namespace) {
        let outcome = self.call("DEL", container).run(self.host()).unwrap();
        assert!(outcome.ok, "DEL of {}: {outcome}", container.label());
    }

    /// Waits until the node has so many interfaces of pods. Their deletion goes on for some milliseconds after DEL.
    #[track_caller]
    pub(super) fn has_links(&self, wanted: usize) {
        eventually(PATIENCE, || {
            let links = self.host().ip("-brief link show type veth");
            let found = links.lines().filter(|line| line.starts_with("cord")).count();
            if found == wanted { Ok(()) } else { Err(format!("{found} interfaces of pods, not {wanted}")) }
        });
    }
}

fn about(call: Call, container: &Namespace) -> Call {
    let owner = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", container.label());
    call.attachment(container.name(), "eth0").netns(&container.path()).variable("CNI_ARGS", &owner)
}

/// A JSON object with the fields of another put into it.
pub(super) fn with(mut object: Value, fields: Value) -> Value {
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    object
}

/// The pod's address of a family in a result.
#[track_caller]
pub(super) fn ip_of(result: &Value, v6: bool) -> IpAddr {
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    let mut all = ips.iter().filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok());
    let found = all.find(|ip: &IpAddr| ip.is_ipv6() == v6);
    found.unwrap_or_else(|| panic!("no IPv{} address in {result}", if v6 { 6 } else { 4 }))
}
