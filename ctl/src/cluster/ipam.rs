//! `cordctl ipam show` of a cluster: how full pools, nodes and blocks are.
//!
//! What is used is counted from the pods that the cluster lists and the tunnel ends that FabricNodes declare. Agents
//! write nothing when a pod starts, so no resource says it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corduroy_api::{FabricNode, IpNetwork, Kind};
use corduroy_fabric::check::PodAddresses;
use corduroy_fabric::{Model, blocks};
use serde::Serialize;
use serde_json::Value;

use super::{Cluster, name};
use crate::client::NoAnswer;
use crate::table::{or_dash, table};

/// All pods of the cluster.
pub(crate) const PODS: &str = "/api/v1/pods";
/// The kinds that say who may use what.
pub(crate) const KINDS: [Kind; 3] = [Kind::IpPool, Kind::IpamBlock, Kind::FabricNode];

/// How full everything is.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pools: Vec<PoolUsage>,
    nodes: Vec<NodeUsage>,
    blocks: Vec<BlockUsage>,
    /// Why it is not known what is used, if it is not.
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolUsage {
    name: String,
    cidr: IpNetwork,
    block_size: u8,
    /// As text, since an IPv6 pool has more than a JSON number can say.
    blocks: String,
    claimed: u64,
    used: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NodeUsage {
    name: String,
    blocks: u64,
    /// Addresses its blocks have.
    addresses: u64,
    used: Option<u64>,
}

#[derive(Debug, Serialize)]
struct BlockUsage {
    cidr: IpNetwork,
    pool: Option<String>,
    node: String,
    addresses: u64,
    used: Option<u64>,
}

/// The pods that have addresses of their own, as the cluster lists them.
pub(crate) fn pods(listed: &[Value]) -> Vec<PodAddresses> {
    let has_own = |pod: &&Value| {
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        !ended && pod["spec"]["hostNetwork"] != true
    };
    let all = listed.iter().filter(has_own).map(|pod| PodAddresses {
        pod: format!("{}/{}", pod["metadata"]["namespace"].as_str().unwrap_or_default(), name(pod)),
        node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        addresses: pod["status"]["podIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip["ip"].as_str()?.parse().ok())
            .collect(),
    });
    all.filter(|pod| !pod.addresses.is_empty()).collect()
}

/// Asks the cluster how full everything is.
pub(crate) fn usage(cluster: &Cluster) -> Result<Usage, NoAnswer> {
    let model = cluster.model(&KINDS)?;
    let listed = cluster.objects(PODS);
    let mut out = count(&model, listed.as_ref().ok().map(|listed| pods(listed)).as_deref());
    out.unknown = listed.err().map(|why| why.to_string());
    Ok(out)
}

fn count(model: &Model, pods: Option<&[PodAddresses]>) -> Usage {
    let used: Option<Vec<IpAddr>> = pods.map(|pods| {
        let of_pods = pods.iter().flat_map(|pod| pod.addresses.iter().copied());
        of_pods.chain(model.nodes().values().flat_map(|node| tunnel_ends(node))).collect()
    });
    let within = |cidr: IpNetwork| {
        used.as_ref().map(|all| all.iter().filter(|address| cidr.contains(**address)).count() as u64)
    };
    let block = |cidr: IpNetwork, node: &str| BlockUsage {
        cidr,
        pool: blocks::pool_of(model, cidr.ip()).map(|pool| pool.metadata.name.clone()),
        node: node.to_owned(),
        addresses: size(cidr),
        used: within(cidr),
    };
    let claimed = model.blocks().values().map(|claim| block(claim.cidr, &claim.node));
    // Where the cluster gives each node its addresses nothing is claimed.
    let given = model.nodes().values().flat_map(|node| {
        node.pod_cidrs.iter().map(|cidr| block(*cidr, &node.metadata.name)).collect::<Vec<_>>()
    });
    let mut all: Vec<BlockUsage> = claimed.chain(given).collect();
    all.sort_by_key(|block| block.cidr);
    let mut nodes: BTreeMap<&str, NodeUsage> = BTreeMap::new();
    for block in &all {
        let zero = || NodeUsage { name: block.node.clone(), blocks: 0, addresses: 0, used: Some(0) };
        let node = nodes.entry(&block.node).or_insert_with(zero);
        node.blocks += 1;
        node.addresses = node.addresses.saturating_add(block.addresses);
        node.used = node.used.zip(block.used).map(|(sum, more)| sum + more);
    }
    let pool = |pool: &corduroy_api::IpPool| {
        let capacity = blocks::capacity(model, pool);
        PoolUsage {
            name: pool.metadata.name.clone(),
            cidr: pool.cidr,
            block_size: pool.block_size,
            blocks: capacity.blocks.to_string(),
            claimed: u64::try_from(capacity.claimed).unwrap_or(u64::MAX),
            used: within(pool.cidr),
        }
    };
    Usage {
        pools: model.pools().values().map(|p| pool(p)).collect(),
        nodes: nodes.into_values().collect(),
        blocks: all,
        unknown: None,
    }
}

fn tunnel_ends(node: &FabricNode) -> impl Iterator<Item = IpAddr> + use<> {
    let tunnels = node.tunnels;
    let ipip = tunnels.ipip.map(IpAddr::V4);
    let v4 = tunnels.vxlan_v4.map(|end| IpAddr::V4(end.address));
    let v6 = tunnels.vxlan_v6.map(|end| IpAddr::V6(end.address));
    ipip.into_iter().chain(v4).chain(v6)
}

/// How many addresses a block has.
fn size(cidr: IpNetwork) -> u64 {
    let all = if cidr.is_ipv6() { 128 } else { 32 };
    1_u64.checked_shl(all - u32::from(cidr.prefix())).unwrap_or(u64::MAX)
}

/// As text. Wide has the blocks, too.
pub(crate) fn show(usage: &Usage, wide: bool) -> String {
    let Usage { pools, nodes, blocks, unknown } = usage;
    let pool = |pool: &PoolUsage| {
        [
            pool.name.clone(),
            pool.cidr.to_string(),
            format!("/{}", pool.block_size),
            pool.blocks.clone(),
            pool.claimed.to_string(),
            or_dash(pool.used),
        ]
    };
    let node = |node: &NodeUsage| {
        [node.name.clone(), node.blocks.to_string(), node.addresses.to_string(), or_dash(node.used)]
    };
    let mut text =
        table(["POOL", "CIDR", "BLOCK", "BLOCKS", "CLAIMED", "USED"], pools.iter().map(pool).collect());
    if text.is_empty() {
        text = "there are no pools\n".to_owned();
    }
    if !nodes.is_empty() {
        text += &format!(
            "\n{}",
            table(["NODE", "BLOCKS", "ADDRESSES", "USED"], nodes.iter().map(node).collect())
        );
    }
    if wide && !blocks.is_empty() {
        let row = |block: &BlockUsage| {
            let pool = or_dash(block.pool.clone());
            let addresses = block.addresses.to_string();
            [block.cidr.to_string(), pool, block.node.clone(), addresses, or_dash(block.used)]
        };
        let headers = ["BLOCK", "POOL", "NODE", "ADDRESSES", "USED"];
        text += &format!("\n{}", table(headers, blocks.iter().map(row).collect()));
    }
    if let Some(why) = unknown {
        text += &format!("\nwhat is used is not known: {why}\n");
    }
    text
}

#[cfg(test)]
pub(crate) mod testing {
    use corduroy_api::{Event, Resource, yaml};
    use corduroy_fabric::Model;
    use serde_json::{Value, json};

    /// A pool, a block of a node that is there and one of a node that is gone.
    pub(crate) fn model() -> Model {
        let mut model = Model::default();
        for text in [
            "{kind: IPPool, metadata: {name: v4}, spec: {cidr: 10.244.0.0/16}}",
            "{kind: IPAMBlock, metadata: {name: 10-244-0-0-26}, \
             spec: {cidr: 10.244.0.0/26, node: n1, nodeUID: u, epoch: 1}}",
            "{kind: IPAMBlock, metadata: {name: 10-244-0-64-26}, \
             spec: {cidr: 10.244.0.64/26, node: gone, nodeUID: g, epoch: 1}}",
            "{kind: FabricNode, metadata: {name: n1}, spec: {uid: u, addresses: [192.0.2.11/24], \
             tunnels: {vxlan: {address: 10.244.0.1, mac: '66:00:00:00:00:01'}}}}",
        ] {
            let text = text.replacen('{', "{apiVersion: corduroy.dev/v1alpha1, ", 1);
            let value = yaml::documents(&text)[0].parse().unwrap();
            model.apply(Event::Put(Resource::read(&value).unwrap()));
        }
        model
    }

    /// Pods of its own and others.
    pub(crate) fn listed() -> Vec<Value> {
        let pod = |name: &str, address: &str, host: bool, phase: &str| {
            json!({ "metadata": { "namespace": "default", "name": name },
                    "spec": { "nodeName": "n1", "hostNetwork": host },
                    "status": { "phase": phase, "podIPs": [{ "ip": address }] } })
        };
        vec![
            pod("a", "10.244.0.7", false, "Running"),
            pod("b", "10.244.0.8", false, "Running"),
            pod("host", "192.0.2.11", true, "Running"),
            pod("done", "10.244.0.9", false, "Succeeded"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{listed, model};
    use super::*;

    #[test]
    fn pods_of_the_host_and_those_that_ended_have_no_address() {
        let names: Vec<String> = pods(&listed()).into_iter().map(|pod| pod.pod).collect();
        assert_eq!(names, ["default/a", "default/b"]);
    }

    #[test]
    fn what_is_used_is_counted_by_pool_node_and_block() {
        let usage = count(&model(), Some(&pods(&listed())));
        let expected = "\
POOL  CIDR           BLOCK  BLOCKS  CLAIMED  USED
v4    10.244.0.0/16  /26    1024    2        3

NODE  BLOCKS  ADDRESSES  USED
gone  1       64         0
n1    1       64         3

BLOCK           POOL  NODE  ADDRESSES  USED
10.244.0.0/26   v4    n1    64         3
10.244.0.64/26  v4    gone  64         0
";
        assert_eq!(show(&usage, true), expected);
    }

    #[test]
    fn without_the_pods_nothing_is_said_to_be_free() {
        let shown = show(&count(&model(), None), false);
        assert!(shown.contains("1024    2        -"), "{shown}");
    }
}
