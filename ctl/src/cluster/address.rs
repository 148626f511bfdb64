//! `cordctl explain ADDRESS` of a cluster: what an address is, of whom, and who says how to get there.

use std::net::IpAddr;

use corduroy_api::node_status::NodeReport;
use corduroy_api::{IpNetwork, Kind};
use corduroy_fabric::{Model, blocks};
use serde::Serialize;
use serde_json::Value;

use super::Cluster;
use super::ipam::{PODS, pods};
use crate::client::NoAnswer;

/// The kinds that say something of an address.
const KINDS: [Kind; 4] = [Kind::IpPool, Kind::IpamBlock, Kind::FabricNode, Kind::IpReservation];

/// What is known of an address.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Address {
    address: Option<IpAddr>,
    /// The pool in force that has it.
    pool: Option<Pool>,
    /// The block that has it.
    block: Option<Block>,
    /// IPReservations that keep it from whoever does not ask for it by name.
    reserved: Vec<String>,
    /// Pods that have it, as `namespace/name`, each with its node.
    pods: Vec<Holder>,
    /// The node it is an address of.
    node: Option<String>,
    /// The node and device of the tunnel end it is.
    tunnel: Option<String>,
    /// Nodes that announce a prefix around it, each with the prefix.
    announced: Vec<Announced>,
    /// What does not fit together.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Pool {
    name: String,
    cidr: IpNetwork,
    disabled: bool,
}

#[derive(Debug, Serialize)]
struct Block {
    cidr: IpNetwork,
    node: String,
}

#[derive(Debug, Serialize)]
struct Holder {
    pod: String,
    node: String,
}

#[derive(Debug, Serialize)]
struct Announced {
    prefix: IpNetwork,
    node: String,
}

/// Asks the cluster.
pub(crate) fn explain(cluster: &Cluster, address: IpAddr) -> Result<Address, NoAnswer> {
    let model = cluster.model(&KINDS)?;
    let reports = cluster.reports()?;
    let listed = cluster.objects(&format!("{PODS}?fieldSelector=status.podIP%3D{address}"));
    // The field holds a pod's first address only.
    let listed = match listed {
        Ok(some) if !some.is_empty() => Ok(some),
        _ => cluster.objects(PODS),
    };
    let mut known = judge(&model, &reports, listed.as_deref().unwrap_or_default(), address);
    if let Err(why) = listed {
        known.problems.push(format!("which pod has it is not known: {why}"));
    }
    Ok(known)
}

fn judge(model: &Model, reports: &[(String, NodeReport)], listed: &[Value], address: IpAddr) -> Address {
    let pool = blocks::pool_of(model, address);
    let block = blocks::block_of(model, address);
    let holds = |cidrs: &[IpNetwork]| cidrs.iter().any(|cidr| cidr.contains(address));
    let reserved = model.reservations().iter().filter(|(_, reservation)| holds(&reservation.cidrs));
    let mut out = Address {
        address: Some(address),
        pool: pool.map(|pool| Pool {
            name: pool.metadata.name.clone(),
            cidr: pool.cidr,
            disabled: pool.disabled,
        }),
        block: block.map(|(cidr, node)| Block { cidr, node: node.to_owned() }),
        reserved: reserved.map(|(name, _)| name.clone()).collect(),
        node: model.node_at(address).map(|node| node.metadata.name.clone()),
        tunnel: tunnel(model, address),
        announced: announced(reports, address),
        ..Address::default()
    };
    for pod in pods(listed).into_iter().filter(|pod| pod.addresses.contains(&address)) {
        out.pods.push(Holder { pod: pod.pod, node: pod.node });
    }
    out.problems = problems(model, &out);
    out
}

fn tunnel(model: &Model, address: IpAddr) -> Option<String> {
    model.nodes().values().find_map(|node| {
        let tunnels = &node.tunnels;
        let is_ipip = tunnels.ipip.is_some_and(|end| IpAddr::V4(end) == address);
        let is_vxlan = tunnels.vxlan_v4.is_some_and(|end| IpAddr::V4(end.address) == address)
            || tunnels.vxlan_v6.is_some_and(|end| IpAddr::V6(end.address) == address);
        let device = match (is_ipip, is_vxlan) {
            (true, _) => "ipip-cord",
            (false, true) => "vxlan-cord",
            (false, false) => return None,
        };
        Some(format!("{device} of {}", node.metadata.name))
    })
}

fn announced(reports: &[(String, NodeReport)], address: IpAddr) -> Vec<Announced> {
    let mut out = Vec::new();
    for (node, report) in reports {
        let prefixes = report.advertised.iter().flat_map(|all| all.prefixes.iter().flatten());
        let around =
            prefixes.filter_map(|prefix| prefix.parse().ok()).filter(|p: &IpNetwork| p.contains(address));
        out.extend(around.map(|prefix| Announced { prefix, node: node.clone() }));
    }
    // The longest match is the one that counts.
    out.sort_by_key(|announced| std::cmp::Reverse(announced.prefix.prefix()));
    out
}

fn problems(model: &Model, known: &Address) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(Block { cidr, node }) = &known.block {
        if known.pool.is_none() {
            out.push(format!("{cidr} is claimed, and no pool in force has it"));
        }
        if !model.nodes().contains_key(node) {
            out.push(format!("node {node}, which owns {cidr}, has no FabricNode: nobody routes to it"));
        }
        if known.announced.is_empty() {
            out.push(format!(
                "no node reports that it announces {cidr}: on {node}, `cordctl status` says why"
            ));
        }
        for pod in known.pods.iter().filter(|pod| pod.node != *node) {
            out.push(format!("{} runs on {}, and the block is of {node}", pod.pod, pod.node));
        }
    } else if let (Some(pool), false) = (&known.pool, known.pods.is_empty()) {
        out.push(format!("no node has claimed the block of {} around it", pool.name));
    }
    if known.pods.len() > 1 {
        out.push("more than one pod has it".to_owned());
    }
    out
}

/// As text.
pub(crate) fn show(known: &Address) -> String {
    let mut text = String::new();
    let mut say = |what: &str, words: String| text += &format!("{what:<11}{words}\n");
    say("Address", known.address.map(|a| a.to_string()).unwrap_or_default());
    match &known.pool {
        Some(Pool { name, cidr, disabled }) => {
            let disabled = if *disabled { ", disabled" } else { "" };
            say("Pool", format!("{name} ({cidr}{disabled})"));
        }
        None => say("Pool", "none in force has it".to_owned()),
    }
    match &known.block {
        Some(Block { cidr, node }) => say("Block", format!("{cidr} of node {node}")),
        None if known.pool.is_some() => say("Block", "not claimed by any node".to_owned()),
        None => {}
    }
    for name in &known.reserved {
        say("Reserved", format!("by IPReservation/{name}"));
    }
    if let Some(node) = &known.node {
        say("Node", format!("it is {node}'s own address"));
    }
    if let Some(tunnel) = &known.tunnel {
        say("Tunnel", format!("it is on {tunnel}"));
    }
    for Holder { pod, node } in &known.pods {
        say("Pod", format!("{pod} on {node}"));
    }
    for Announced { prefix, node } in &known.announced {
        say("Announced", format!("{prefix} by {node}"));
    }
    for problem in &known.problems {
        say("PROBLEM", problem.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::ipam::testing::model;
    use crate::cluster::testing::reports;

    fn listed(node: &str) -> Vec<Value> {
        vec![json!({ "metadata": { "namespace": "default", "name": "web" }, "spec": { "nodeName": node },
                     "status": { "phase": "Running", "podIPs": [{ "ip": "10.244.0.7" }] } })]
    }

    fn explained(address: &str, node: &str) -> String {
        show(&judge(&model(), &reports(), &listed(node), address.parse().unwrap()))
    }

    #[test]
    fn an_address_of_a_pod_is_explained_from_pool_to_announcement() {
        let expected = "\
Address    10.244.0.7
Pool       v4 (10.244.0.0/16)
Block      10.244.0.0/26 of node n1
Pod        default/web on n1
Announced  10.244.0.0/26 by n1
";
        assert_eq!(explained("10.244.0.7", "n1"), expected);
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let shown = explained("10.244.0.7", "n2");
        assert!(shown.contains("PROBLEM    default/web runs on n2, and the block is of n1"), "{shown}");
        let shown = explained("10.244.0.70", "n1");
        assert!(shown.contains("node gone, which owns 10.244.0.64/26, has no FabricNode"), "{shown}");
        assert!(shown.contains("no node reports that it announces 10.244.0.64/26"), "{shown}");
    }

    #[test]
    fn addresses_of_nodes_and_tunnels_are_known_and_others_are_nobodys() {
        assert!(explained("192.0.2.11", "n1").contains("it is n1's own address"));
        assert!(explained("10.244.0.1", "n1").contains("it is on vxlan-cord of n1"));
        assert_eq!(
            explained("203.0.113.1", "n1"),
            "Address    203.0.113.1\nPool       none in force has it\n"
        );
    }
}
