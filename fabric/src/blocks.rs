//! Which pools are in force, and who owns which block of them.
//!
//! A block is owned while its IPAMBlock exists, by the node whose name *and* UID it carries: a machine made anew under
//! an old name has another UID and inherits nothing. A node whose FabricNode has `podCIDRs` owns these as well: the
//! cluster gave them to it, and to no other. Pools that overlap would make an address mean two things, so of
//! those only the first by name is in force; the others keep what was claimed from them and give nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::block::{block_at, block_count, block_name, contains, overlap};
use corduroy_api::{FabricNode, IpNetwork, IpPool, IpamBlock, Key, Kind};

use crate::{Model, Problem};

/// Pools that overlap none with a smaller name, in order.
#[must_use]
pub fn pools_in_force(model: &Model) -> Vec<&Arc<IpPool>> {
    let mut taken: Vec<&Arc<IpPool>> = Vec::new();
    for pool in model.pools().values() {
        if !taken.iter().any(|other| overlap(other.cidr, pool.cidr)) {
            taken.push(pool);
        }
    }
    taken
}

/// The pool in force that has this address.
#[must_use]
pub fn pool_of(model: &Model, address: IpAddr) -> Option<&Arc<IpPool>> {
    pools_in_force(model).into_iter().find(|pool| pool.cidr.contains(address))
}

/// Whether this node may claim blocks of this pool: the pool is not disabled and its selector chooses the node.
#[must_use]
pub fn may_claim(model: &Model, pool: &IpPool, node: &str) -> bool {
    let chosen = model.nodes().get(node).is_some_and(|n| pool.node_selector.matches(&n.metadata.labels));
    chosen && !pool.disabled
}

/// The block that has this address, and the name of the node that owns it: the smallest such block, for a fixed address
/// may be another node's than the block around it.
#[must_use]
pub fn block_of(model: &Model, address: IpAddr) -> Option<(IpNetwork, &str)> {
    let claimed = model.blocks().values().map(|block| (block.cidr, block.node.as_str()));
    let given = model
        .nodes()
        .values()
        .flat_map(|node| node.pod_cidrs.iter().map(|cidr| (*cidr, node.metadata.name.as_str())));
    let around = claimed.chain(given).filter(|(cidr, _)| cidr.contains(address));
    around.max_by_key(|(cidr, _)| cidr.prefix())
}

/// The blocks that the node of this name and UID owns: those it has claimed in order of their names, then those that
/// the cluster gave it.
pub fn owned_by<'m>(model: &'m Model, node: &str, uid: &str) -> impl Iterator<Item = IpNetwork> + use<'m> {
    let (name, is) = (node.to_owned(), uid.to_owned());
    let given = model.nodes().get(node).filter(|node| node.uid == uid);
    let given = given.into_iter().flat_map(|node| node.pod_cidrs.iter().copied());
    let claimed = model.blocks().values().filter(move |block| block.node == name && block.node_uid == is);
    claimed.map(|block| block.cidr).chain(given)
}

/// Fixed addresses inside blocks of this node that other nodes have claimed.
pub fn claimed_from<'m>(model: &'m Model, node: &FabricNode) -> impl Iterator<Item = IpNetwork> + use<'m> {
    let (name, uid) = (node.metadata.name.clone(), node.uid.clone());
    let owned: Vec<IpNetwork> = owned_by(model, &name, &uid).collect();
    let others = model.blocks().values().filter(move |block| block.node != name || block.node_uid != uid);
    let fixed = others.map(|block| block.cidr).filter(|cidr| is_one(*cidr));
    fixed.filter(move |cidr| owned.iter().any(|block| contains(*block, *cidr)))
}

/// Is this one address?
#[must_use]
pub fn is_one(cidr: IpNetwork) -> bool {
    cidr.prefix() == if cidr.is_ipv4() { 32 } else { 128 }
}

/// A block of `pool` that nobody owns, or `None` when all are owned. Nodes begin their search at different places, so
/// that two of them that claim at the same time seldom want the same block; the datastore's compare-and-swap decides
/// when they do.
#[must_use]
pub fn unclaimed(model: &Model, pool: &IpPool, node: &str) -> Option<IpNetwork> {
    let count = block_count(pool.cidr, pool.block_size);
    let start = u128::from(hash(node)) % count.max(1);
    // Among more blocks than are claimed at least one is free: no need to look further.
    let enough = count.min(model.blocks().len() as u128 + 1);
    (0..enough).find_map(|i| {
        let block = block_at(pool.cidr, pool.block_size, (start + i) % count)?;
        is_free(model, block).then_some(block)
    })
}

/// Is no part of `block` claimed? Claims of another block size (the pool was made anew) count too.
fn is_free(model: &Model, block: IpNetwork) -> bool {
    !model.blocks().contains_key(&block_name(block))
        && !model.blocks().values().any(|claimed| overlap(claimed.cidr, block))
}

/// FNV-1a over the name, finished so that names that differ in one digit lie far apart; only has to spread.
fn hash(name: &str) -> u64 {
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Addresses it has.
    pub addresses: u128,
    /// Blocks it has.
    pub blocks: u128,
    /// Blocks that are claimed.
    pub claimed: u128,
}

/// How full `pool` is.
#[must_use]
pub fn capacity(model: &Model, pool: &IpPool) -> Capacity {
    // A fixed address takes no block.
    let is_of = |cidr: IpNetwork| contains(pool.cidr, cidr) && (!is_one(cidr) || is_one_a_block(pool));
    let claimed = model.blocks().values().filter(|block| is_of(block.cidr)).count();
    let addresses = block_count(pool.cidr, if pool.cidr.is_ipv4() { 32 } else { 128 });
    Capacity { addresses, blocks: block_count(pool.cidr, pool.block_size), claimed: claimed as u128 }
}

fn is_one_a_block(pool: &IpPool) -> bool {
    pool.block_size == if pool.cidr.is_ipv4() { 32 } else { 128 }
}

/// Pools that overlap, and blocks that do.
#[must_use]
pub fn problems(model: &Model) -> Vec<Problem> {
    let mut out = pool_problems(model);
    block_problems(model, &mut out);
    out
}

/// Pools that overlap one that is in force.
#[must_use]
pub fn pool_problems(model: &Model) -> Vec<Problem> {
    let in_force = pools_in_force(model);
    let mut out = Vec::new();
    for (name, pool) in model.pools() {
        let other = in_force.iter().find(|o| o.metadata.name != *name && overlap(o.cidr, pool.cidr));
        let is_in_force = in_force.iter().any(|o| o.metadata.name == *name);
        if let Some(other) = other.filter(|_| !is_in_force) {
            let why = format!(
                "{} overlaps {} of IPPool/{}, which is in force; nothing new is claimed from this pool",
                pool.cidr, other.cidr, other.metadata.name
            );
            out.push(Problem::new(Key::new(Kind::IpPool, name.clone()), "spec.cidr", why));
        }
    }
    out
}

fn block_problems(model: &Model, out: &mut Vec<Problem>) {
    for (block, other) in overlapping(model) {
        let why = format!("{} overlaps IPAMBlock/{} of node {}", block.cidr, other.metadata.name, other.node);
        out.push(Problem::new(Key::new(Kind::IpamBlock, block.metadata.name.clone()), "spec.cidr", why));
    }
}

/// Each block that overlaps one of a smaller name, with the first of those. A fixed address inside a block is meant to
/// be there.
///
/// Of two CIDRs that overlap one holds the other, and a block's name is its CIDR. So each block is looked for by what
/// those around it would be called, at every length that occurs: a fabric has thousands of blocks, and is asked often.
fn overlapping(model: &Model) -> impl Iterator<Item = (&IpamBlock, &IpamBlock)> {
    let blocks = || model.blocks().values().map(|block| &**block).filter(|block| !is_one(block.cidr));
    let lengths: BTreeSet<u8> = blocks().map(|block| block.cidr.prefix()).collect();
    let mut first: BTreeMap<&str, (&IpamBlock, &IpamBlock)> = BTreeMap::new();
    for block in blocks() {
        for len in lengths.range(..block.cidr.prefix()) {
            let around = shortened(block.cidr, *len).and_then(|cidr| model.blocks().get(&block_name(cidr)));
            let Some(around) = around else { continue };
            let mut pair: [&IpamBlock; 2] = [around, block];
            pair.sort_by_key(|block| &block.metadata.name);
            let [earlier, later] = pair;
            let known = first.entry(&later.metadata.name).or_insert((later, earlier));
            if earlier.metadata.name < known.1.metadata.name {
                known.1 = earlier;
            }
        }
    }
    first.into_values()
}

/// The CIDR of this length that holds it.
fn shortened(cidr: IpNetwork, len: u8) -> Option<IpNetwork> {
    let network = IpNetwork::new(cidr.ip(), len).ok()?;
    IpNetwork::new(network.network(), len).ok()
}
