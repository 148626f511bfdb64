//! What is freed of nodes that are gone.
//!
//! ```text
//!  resources, Loc-RIB ─► Seen ─► silent owners ─► absent from the API? ─► pods left? kubelet? ─► Judgement
//!                                (asks nobody)     (one list of Nodes)     (asked of these only)
//! ```
//! An owner is a node by name *and* uid: a Node that was made anew under its name does not speak for it. It is kept
//! when any of these holds:
//! * somebody announces a prefix within one of its blocks, in BGP as we hear it: that machine runs;
//! * the cluster has its Node;
//! * a pod is left: bound to its name where the cluster has no such Node, else with an address in one of its blocks;
//! * its kubelet has renewed its Lease since the look before;
//! * it was not seen gone for the whole time yet, or something of it changed meanwhile.
//!
//! Blocks go first; the FabricNode, on which other nodes' sessions hang, goes when no block is left. Where no block of
//! any other node is heard of in BGP (a reflector is down, a router aggregates), hearing nothing of one means nothing,
//! and nothing is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_api::block::block_name;
use corduroy_api::{Key, Kind, Version, Write};
use corduroy_bgp::Time;
use corduroy_fabric::{Model, Sync, blocks};
use ipnetwork::IpNetwork;

use crate::convert;
use crate::known::Known;

/// How many owners are asked about in one round.
const MOST: usize = 32;

/// A node by name and uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// The uid of its Node.
    pub uid: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (uid {})", self.node, self.uid)
    }
}

/// What an owner has, each in the state in which it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holding {
    blocks: BTreeMap<IpNetwork, Version>,
    /// The CIDRs that the cluster gave its Node, where those are its blocks.
    given: Vec<IpNetwork>,
    node: Option<Version>,
}

impl Holding {
    fn cidrs(&self) -> impl Iterator<Item = &IpNetwork> {
        self.blocks.keys().chain(&self.given)
    }
}

/// What an agent sees of all others, without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Those of whom nothing is heard.
    silent: BTreeMap<Owner, Holding>,
    /// Those who announce a block.
    heard: BTreeSet<Owner>,
    /// Those of the silent who have blocks that are to be announced.
    expected: BTreeSet<Owner>,
    /// The cluster's Nodes, uid by name: see [`Seen::beside`].
    nodes: BTreeMap<String, String>,
}

impl Seen {
    /// By the resources, and what is heard in BGP. `None` unless the datastore itself speaks.
    #[must_use]
    pub fn of(known: &Known) -> Option<Self> {
        let model = &known.model;
        let is_live = |kind| *model.sync(kind) == Sync::Live;
        if !(is_live(Kind::IpamBlock) && is_live(Kind::FabricNode) && is_live(Kind::IpPool)) {
            return None;
        }
        let mut seen = Self::default();
        for (owner, holding) in holdings(model) {
            let is_heard = |cidr: &IpNetwork| {
                convert::to_bgp(convert::from_network(*cidr)).is_some_and(|net| known.learned.has_within(net))
            };
            let us = owner.node == known.me.name && owner.uid == known.me.uid;
            if us || holding.cidrs().any(is_heard) {
                if !us {
                    seen.heard.insert(owner);
                }
                continue;
            }
            if holding.cidrs().any(|cidr| is_exported(model, *cidr)) {
                seen.expected.insert(owner.clone());
            }
            seen.silent.insert(owner, holding);
        }
        Some(seen)
    }

    /// Is there anybody to ask about?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.silent.is_empty()
    }

    /// The same beside the Nodes of the cluster, uid by name.
    #[must_use]
    pub fn beside(self, nodes: BTreeMap<String, String>) -> Self {
        Self { nodes, ..self }
    }

    fn is_there(&self, owner: &Owner) -> bool {
        self.nodes.get(&owner.node) == Some(&owner.uid)
    }

    /// Others should be heard, and none is.
    fn is_deaf_to(&self, owner: &Owner) -> bool {
        let others = || self.expected.iter().any(|other| self.is_there(other));
        self.expected.contains(owner) && self.heard.is_empty() && others()
    }
}

fn holdings(model: &Model) -> BTreeMap<Owner, Holding> {
    let mut all: BTreeMap<Owner, Holding> = BTreeMap::new();
    let version =
        |metadata: &corduroy_api::Metadata| Version(metadata.resource_version.clone().unwrap_or_default());
    for block in model.blocks().values() {
        let owner = Owner { node: block.node.clone(), uid: block.node_uid.clone() };
        all.entry(owner).or_default().blocks.insert(block.cidr, version(&block.metadata));
    }
    // Without a uid a FabricNode has its name for one: a person wrote it, and it is a person's to delete.
    for (name, node) in model.nodes().iter().filter(|(name, node)| node.uid != **name) {
        let owner = Owner { node: name.clone(), uid: node.uid.clone() };
        let holding = all.entry(owner).or_default();
        holding.node = Some(version(&node.metadata));
        holding.given.clone_from(&node.pod_cidrs);
    }
    all
}

/// Is a block one that its node announces to everybody?
fn is_exported(model: &Model, cidr: IpNetwork) -> bool {
    blocks::pool_of(model, cidr.network()).is_some_and(|pool| !pool.disable_bgp_export)
}

/// What the cluster says of one owner that it may have lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The pods bound to a Node of its name that have not ended, each with its addresses.
    pub pods: Vec<Vec<IpAddr>>,
    /// The Lease that its kubelet renews, if there is one.
    pub kubelet: Option<KubeletLease>,
}

/// A kubelet's Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletLease {
    /// The Node it is of, where it says so.
    pub uid: Option<String>,
    /// When it was renewed, as it stands there: good for comparing.
    pub renewed: String,
}

/// Why something of an absent node is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No block of any other node is heard of either: not heard means nothing.
    Deaf,
    /// So many pods are left.
    Pods(usize),
    /// Its kubelet lives.
    Kubelet,
    /// It was not seen gone for long enough.
    Watched {
        /// Since when.
        since: Time,
    },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deaf => f.write_str(
                "no block of any other node is heard of in BGP, so silence is no sign: see `cordctl peers`",
            ),
            Self::Pods(1) => f.write_str("a pod is left"),
            Self::Pods(n) => write!(f, "{n} pods are left"),
            Self::Kubelet => f.write_str("its kubelet renews its Lease"),
            Self::Watched { .. } => f.write_str("it is watched for some minutes first"),
        }
    }
}

/// What becomes of one owner.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It is gone: these are to be written in this order, up to the first that fails.
    Free(Vec<Write>),
    /// It stays.
    Keep(Kept),
}

/// One that was found gone.
#[derive(Clone, Debug)]
struct Suspicion {
    since: Time,
    holding: Holding,
    kubelet: Option<KubeletLease>,
}

/// Who was found gone, since when.
#[derive(Clone, Debug)]
pub struct Gone {
    patience: Duration,
    suspicions: BTreeMap<Owner, Suspicion>,
    /// Where the next round goes on, when there were too many for one.
    after: Option<Owner>,
}

impl Gone {
    /// Nobody yet. `patience` is how long one must be seen gone.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, suspicions: BTreeMap::new(), after: None }
    }

    /// Of the silent, those that the cluster does not have, to be asked about: at most so many a round that it stays a
    /// small load.
    pub fn absent(&mut self, seen: &Seen) -> Vec<Owner> {
        let absent: BTreeSet<&Owner> = seen.silent.keys().filter(|owner| !seen.is_there(owner)).collect();
        self.suspicions.retain(|owner, _| absent.contains(owner));
        let later = |owner: &&&Owner| self.after.as_ref().is_some_and(|after| **owner > after);
        let mut order: Vec<Owner> = absent.iter().filter(later).map(|owner| (*owner).clone()).collect();
        order.extend(absent.iter().filter(|owner| !later(owner)).map(|owner| (*owner).clone()));
        order.truncate(MOST);
        self.after = order.last().cloned();
        order
    }

    /// Judges one of those, by the signs of its life.
    pub fn judge(&mut self, seen: &Seen, owner: &Owner, signs: &Signs, now: Time) -> Judgement {
        let Some(holding) = seen.silent.get(owner) else { return Judgement::Free(Vec::new()) };
        let sign = if seen.is_deaf_to(owner) {
            Some(Kept::Deaf)
        } else {
            let pods = pods_left(seen, owner, holding, signs);
            (pods > 0).then_some(Kept::Pods(pods)).or_else(|| self.kubelet_lives(owner, signs))
        };
        if let Some(sign) = sign {
            self.suspicions.remove(owner);
            return Judgement::Keep(sign);
        }
        let fresh = Suspicion { since: now, holding: holding.clone(), kubelet: signs.kubelet.clone() };
        let suspicion = self.suspicions.entry(owner.clone()).or_insert_with(|| fresh.clone());
        if suspicion.holding != *holding {
            *suspicion = fresh;
        }
        let since = suspicion.since;
        if now.since(since) < self.patience {
            return Judgement::Keep(Kept::Watched { since });
        }
        self.suspicions.remove(owner);
        Judgement::Free(holding.deletions(&owner.node))
    }

    fn kubelet_lives(&self, owner: &Owner, signs: &Signs) -> Option<Kept> {
        let before = self.suspicions.get(owner)?.kubelet.as_ref();
        let lease = signs.kubelet.as_ref()?;
        let of_another = lease.uid.as_ref().is_some_and(|uid| *uid != owner.uid);
        let renewed = before.is_none_or(|before| before.renewed != lease.renewed);
        (!of_another && renewed).then_some(Kept::Kubelet)
    }
}

impl Holding {
    fn deletions(&self, node: &str) -> Vec<Write> {
        let block = |(cidr, version): (&IpNetwork, &Version)| Write::Delete {
            key: Key::new(Kind::IpamBlock, block_name(*cidr)),
            version: version.clone(),
        };
        let fabric_node = self
            .node
            .iter()
            .map(|version| Write::Delete { key: Key::new(Kind::FabricNode, node), version: version.clone() });
        self.blocks.iter().map(block).chain(fabric_node).collect()
    }
}

fn pods_left(seen: &Seen, owner: &Owner, holding: &Holding, signs: &Signs) -> usize {
    // Those of a Node that came after it are its successor's.
    let succeeded = seen.nodes.contains_key(&owner.node);
    let inside = |address: &IpAddr| holding.cidrs().any(|cidr| cidr.contains(*address));
    signs.pods.iter().filter(|addresses| !succeeded || addresses.iter().any(inside)).count()
}

#[cfg(test)]
mod tests;
