//! Whether what is said of addresses fits together: `cordctl ipam check` asks this.
//!
//! Three sources are compared: the resources (pools, blocks, nodes), the pods as the cluster lists them, and what
//! agents say they have handed out. Each source may be missing; then what only it could show is not looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use corduroy_api::block::{block_lengths, block_of as block_around, contains, overlap};
use corduroy_api::{IpNetwork, IpamBlock, Key, Kind};

use crate::{Model, blocks};

/// A pod with addresses of its own, as the cluster lists it: not one of the host's network, and not one that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddresses {
    /// `namespace/name`.
    pub pod: String,
    /// The Node it runs on.
    pub node: String,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
}

/// An address that a node's agent says it has handed out to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The node.
    pub node: String,
    /// The address.
    pub address: IpAddr,
    /// Who has it, as the agent calls it.
    pub holder: String,
}

/// What is known beside the resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The cluster's Nodes: uid by name. `None`: nobody was asked.
    pub nodes: Option<BTreeMap<String, String>>,
    /// All pods with addresses. `None`: nobody was asked.
    pub pods: Option<Vec<PodAddresses>>,
    /// What agents have handed out; only nodes that were asked.
    pub allocations: Vec<Allocation>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Two pods have one address.
    DuplicateAddress,
    /// Two blocks have an address in common.
    DuplicateBlock,
    /// A pod's address is in a block of another node.
    ForeignAddress,
    /// A pod's address is in no block of any node.
    AddressOutsideBlocks,
    /// Two pools have an address in common.
    OverlappingPools,
    /// A block is of no pool.
    BlockOutsidePools,
    /// A block is of a node that is not there.
    BlockOfUnknownNode,
    /// An address was handed out, and no pod has it.
    LeakedAddress,
}

impl Fault {
    /// In one CamelCase word, for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateAddress => "DuplicateAddress",
            Self::DuplicateBlock => "DuplicateBlock",
            Self::ForeignAddress => "ForeignAddress",
            Self::AddressOutsideBlocks => "AddressOutsideBlocks",
            Self::OverlappingPools => "OverlappingPools",
            Self::BlockOutsidePools => "BlockOutsidePools",
            Self::BlockOfUnknownNode => "BlockOfUnknownNode",
            Self::LeakedAddress => "LeakedAddress",
        }
    }

    /// Does somebody's traffic suffer now? Else it is only room that is lost.
    #[must_use]
    pub fn hurts(self) -> bool {
        self <= Self::AddressOutsideBlocks
    }
}

/// One thing that is wrong. Its `Display` is one line for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// With which resource, pod or address: `IPPool/pods`, `pod default/web`, `10.244.0.7`.
    pub subject: String,
    /// Why it is wrong, and what to do.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.fault.name(), self.subject, self.why)
    }
}

/// Everything that does not fit together, what hurts first.
#[must_use]
pub fn check(model: &Model, evidence: &Evidence) -> Vec<Finding> {
    let mut out = Findings::default();
    let map: BlockMap<'_> = model.blocks().values().map(|block| (block.cidr, &**block)).collect();
    resources(model, &mut out);
    for block in map.values() {
        of_block(model, evidence.nodes.as_ref(), block, &mut out);
    }
    for pod in evidence.pods.iter().flatten() {
        of_pod(model, &map, pod, &mut out);
    }
    if let Some(pods) = &evidence.pods {
        of_addresses(model, pods, &evidence.allocations, &mut out);
    }
    out.0.sort();
    out.0
}

type BlockMap<'m> = BTreeMap<IpNetwork, &'m IpamBlock>;

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, fault: Fault, subject: impl fmt::Display, why: String) {
        self.0.push(Finding { fault, subject: subject.to_string(), why });
    }
}

/// Pools and blocks among themselves.
fn resources(model: &Model, out: &mut Findings) {
    for problem in blocks::problems(model) {
        let fault = match problem.key.kind {
            Kind::IpamBlock => Fault::DuplicateBlock,
            _ => Fault::OverlappingPools,
        };
        out.add(fault, problem.key, problem.why);
    }
}

fn of_block(model: &Model, nodes: Option<&BTreeMap<String, String>>, block: &IpamBlock, out: &mut Findings) {
    let key = Key::new(Kind::IpamBlock, block.metadata.name.clone());
    if !model.pools().values().any(|pool| contains(pool.cidr, block.cidr)) {
        let partly = model.pools().values().find(|pool| overlap(pool.cidr, block.cidr));
        let why = match partly {
            Some(pool) => {
                format!("{} is larger than {} of IPPool/{}", block.cidr, pool.cidr, pool.metadata.name)
            }
            None => format!(
                "{} is in no IPPool: node {} gives it back once its pods have ended",
                block.cidr, block.node
            ),
        };
        out.add(Fault::BlockOutsidePools, &key, why);
    }
    let of = format!("{} is of node {} with uid {}", block.cidr, block.node, block.node_uid);
    let missing = match nodes {
        Some(nodes) => match nodes.get(&block.node) {
            None => Some("which the cluster does not have".to_owned()),
            Some(uid) if *uid != block.node_uid => Some(format!("while the Node of that name now has {uid}")),
            Some(_) => None,
        },
        None => match model.nodes().get(&block.node) {
            None => Some("which has no FabricNode".to_owned()),
            Some(node) if node.uid != block.node_uid => {
                Some(format!("while the FabricNode of that name now has {}", node.uid))
            }
            Some(_) => None,
        },
    };
    if let Some(missing) = missing {
        let why = format!("{of}, {missing}; the caretaker frees it once it finds no sign of use");
        out.add(Fault::BlockOfUnknownNode, &key, why);
    }
}

fn of_pod(model: &Model, map: &BlockMap<'_>, pod: &PodAddresses, out: &mut Findings) {
    for address in &pod.addresses {
        let subject = format!("pod {}", pod.pod);
        match find(map, *address) {
            Some(block) if block.node == pod.node => {}
            Some(block) => {
                let why = format!(
                    "{address} is in {} of node {}, but the pod runs on {}",
                    block.cidr, block.node, pod.node
                );
                out.add(Fault::ForeignAddress, subject, why);
            }
            // Addresses that are not ours to give are somebody else's business.
            None if blocks::pool_of(model, *address).is_none() => {}
            None => {
                let why = format!("{address} is in no block of its node {}: nobody announces it", pod.node);
                out.add(Fault::AddressOutsideBlocks, subject, why);
            }
        }
    }
}

/// The block that has this address.
fn find<'m>(map: &BlockMap<'m>, address: IpAddr) -> Option<&'m IpamBlock> {
    let (lengths, _) = block_lengths(IpNetwork::from(address));
    lengths.filter_map(|len| map.get(&block_around(address, len)?).copied()).next()
}

fn of_addresses(model: &Model, pods: &[PodAddresses], allocations: &[Allocation], out: &mut Findings) {
    let mut holders: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for (pod, address) in pods.iter().flat_map(|pod| pod.addresses.iter().map(move |address| (pod, address)))
    {
        holders.entry(*address).or_default().insert(&pod.pod);
    }
    for (address, pods) in holders.iter().filter(|(_, pods)| pods.len() > 1) {
        let all: Vec<&str> = pods.iter().copied().collect();
        out.add(Fault::DuplicateAddress, address, format!("{} have it", all.join(" and ")));
    }
    let tunnels = model.nodes().values().flat_map(|node| {
        let v4 = [node.tunnels.ipip, node.tunnels.vxlan_v4.map(|end| end.address)];
        let v6 = node.tunnels.vxlan_v6.map(|end| IpAddr::V6(end.address));
        v4.into_iter().flatten().map(IpAddr::V4).chain(v6)
    });
    let tunnels: BTreeSet<IpAddr> = tunnels.collect();
    for allocation in allocations {
        let Allocation { node, address, holder } = allocation;
        if !holders.contains_key(address) && !tunnels.contains(address) {
            let why = format!("node {node} has handed it out to {holder}, but no pod of the cluster has it");
            out.add(Fault::LeakedAddress, address, why);
        }
    }
}

#[cfg(test)]
mod tests;
