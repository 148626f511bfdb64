//! Which addresses this node's pods and tunnels have.
//!
//! A pool is cut into blocks; a block belongs to one node at a time. Ownership is an object in the datastore
//! ([`IpamBlock`](corduroy_api::IpamBlock)) that exists exactly while somebody owns the block and that is
//! created and deleted by compare-and-swap, so two agents that race for a block never both have it. Which
//! addresses of a block are in use is the node's own business and never leaves it, so no pod start costs a
//! write to the datastore.
//!
//! * [`Allocator`] is the whole of it. The parts below know nothing of each other.
//! * `claims`: what the datastore says of blocks, in which order this node claims them, what is under way.
//! * `block`: the addresses of one block of ours: the ready ones in the order they will be handed out.
//! * `resting`: addresses given back lately. Connection tracking, neighbours' caches and policies of other
//!   nodes may still mean the former holder, so an address rests before somebody else gets it.
//! * `supply`: when to claim another block, and when to let one go.
//! * `fixed`: addresses that were asked for by name and lie outside the node's blocks; and those of the node's
//!   blocks that other nodes have in this way.
//!
//! The first block of a family is claimed as soon as pools and blocks are known, the next when three quarters
//! of the node's addresses are busy, so an ADD hardly ever waits for the datastore. A block that has been
//! empty for a while and is not needed goes back. There is no borrowing: an address outside the node's own
//! blocks is handed out only to who asks for it by name (`fixed`).
//!
//! A block is ours from the moment the datastore *shows* it with our name and UID, not when the write has
//! succeeded: by then everything that was claimed before it has been shown too. It stops being ours before its
//! deletion is asked for; from then on nothing of it is handed out, whatever becomes of the write.
//!
//! Where the cluster gives each node its CIDRs (`node.spec.podCIDRs`), these are the blocks ([`Pool::given`]):
//! there is nothing to claim and nothing to give back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{IpPool, Namespace, Selector};
use corduroy_kernel::{Family, LinkName};
use ipnetwork::IpNetwork;

mod allocator;
mod block;
mod claims;
mod fixed;
mod resting;
mod supply;

pub use allocator::{Allocator, Effect};

/// The node as the owner of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// Its identity: what another node that takes the same name later does not have.
    pub uid: String,
    /// The number of the first claim of this run; larger than any of a former run, as the microseconds since
    /// 1970 are.
    pub first_epoch: u64,
}

/// A pool that this node may claim blocks of: enabled, and its selector matches the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// All its addresses.
    pub cidr: IpNetwork,
    /// The prefix length of its blocks.
    pub block_len: u8,
    /// Do pods get addresses of it?
    pub for_pods: bool,
    /// Do tunnel devices get addresses of it?
    pub for_tunnels: bool,
    /// Are addresses of it handed out to those who ask for no pool by name?
    pub automatic: bool,
    /// Only pods of these namespaces get addresses of it; `None`: pods of all.
    pub namespaces: Option<Selector>,
    /// It is one block, and this node's without a claim.
    pub given: bool,
}

impl From<&IpPool> for Pool {
    fn from(pool: &IpPool) -> Self {
        Self {
            name: pool.metadata.name.clone(),
            cidr: pool.cidr,
            block_len: pool.block_size,
            for_pods: pool.allowed_uses.workload,
            for_tunnels: pool.allowed_uses.tunnel,
            automatic: pool.automatic,
            namespaces: pool.namespace_selector.clone(),
            given: false,
        }
    }
}

impl Pool {
    /// A CIDR that the cluster gave this node.
    #[must_use]
    pub fn given(name: String, cidr: IpNetwork) -> Self {
        let namespaces = None;
        let block_len = cidr.prefix();
        Self {
            name,
            cidr,
            block_len,
            for_pods: true,
            for_tunnels: true,
            automatic: true,
            namespaces,
            given: true,
        }
    }
    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.cidr.ip())
    }
    /// May addresses of it be handed out for this, to a pod of this namespace?
    #[must_use]
    pub fn is_for(&self, purpose: Purpose, namespace: Option<&Namespace>) -> bool {
        let chooses = |selector: &Selector| namespace.is_some_and(|n| selector.matches(&n.metadata.labels));
        match purpose {
            Purpose::Pod => self.for_pods && self.namespaces.as_ref().is_none_or(chooses),
            Purpose::Tunnel => self.for_tunnels,
        }
    }
    /// Does it serve whatever pod comes, so that it pays to have a block of it before one comes?
    #[must_use]
    pub fn is_general(&self) -> bool {
        self.automatic && self.for_pods && self.namespaces.is_none()
    }
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A pod's interface.
    Pod,
    /// A tunnel device of the node.
    Tunnel,
}

/// A wish for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What for.
    pub purpose: Purpose,
    /// Of which family; `None`: one of each family that has a pool.
    pub family: Option<Family>,
    /// These addresses, at most one of a family; the others are chosen.
    pub wanted: Vec<IpAddr>,
    /// Where the others may come from: IPv4, then IPv6.
    pub pools: [Choice; 2],
    /// Of which namespace the pod is.
    pub namespace: Option<Arc<Namespace>>,
}

/// A choice of pools for one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Those that are automatic.
    #[default]
    Automatic,
    /// Only those of these names that are of the family; when none is, there is no address of it.
    Among(Vec<String>),
    /// Only these, each of which has to be of the family.
    Only(Vec<String>),
}

impl Request {
    /// One address of each family there is, from any automatic pool.
    #[must_use]
    pub fn any(purpose: Purpose) -> Self {
        Self { purpose, family: None, wanted: Vec::new(), pools: Default::default(), namespace: None }
    }
}

/// Why addresses were not handed out. Nothing was, not even of the other family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// A block is being claimed; ask again after the next event or timeout.
    #[error("waiting for the datastore to confirm a block: {0}")]
    Pending(String),
    /// Every free address has been given back too lately; ask again later.
    #[error("all free addresses of {pools} rest after their last use, the next is ready in {seconds} s")]
    Resting {
        /// The pools that were tried.
        pools: String,
        /// When it is worth asking again, in seconds.
        seconds: u64,
    },
    /// No pool can serve the request.
    #[error("{0}")]
    NoPool(String),
    /// Every address of this node's blocks is in use and no block is left to claim.
    #[error("no address left: every block of {pools} is owned by a node and this node's are full")]
    Exhausted {
        /// The pools that were tried.
        pools: String,
    },
    /// The wanted address is in use on this node.
    #[error("address {address} is in use by {holder}")]
    InUse {
        /// Which.
        address: IpAddr,
        /// The interface that has it.
        holder: LinkName,
    },
    /// The wanted address is in no pool that may serve the request.
    #[error("address {address} is in none of the pools that may serve it: {pools}")]
    Outside {
        /// Which.
        address: IpAddr,
        /// The pools.
        pools: String,
    },
    /// The wanted address is in a block of another node.
    #[error("address {address} is in block {block}, which node {node} owns")]
    Foreign {
        /// Which.
        address: IpAddr,
        /// The block around it.
        block: IpNetwork,
        /// Who owns that.
        node: String,
    },
    /// Another node has the wanted address for a pod of its own.
    #[error("address {address} is claimed by node {node}")]
    Claimed {
        /// Which.
        address: IpAddr,
        /// Who has it.
        node: String,
    },
    /// Two wanted addresses are of one family.
    #[error("{0} and {1} were both asked for, but an interface has one address of a family")]
    TwoOfAFamily(IpAddr, IpAddr),
}

impl AssignError {
    /// Can the same request succeed in a little while, when nobody changes anything?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Resting { .. } | Self::Claimed { .. })
    }
}

/// How the allocator behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an address rests between two holders.
    pub rest: Duration,
    /// How long a block that is to be given back stays claimed but unannounced, so that its route is
    /// withdrawn first.
    pub linger: Duration,
    /// The same for a claim of one address, whose route goes with the pod.
    pub linger_fixed: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rest: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            linger_fixed: Duration::from_secs(2),
        }
    }
}

/// A block of this node, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockUse {
    /// The block.
    pub cidr: IpNetwork,
    /// The pool it is of, when there still is one.
    pub pool: Option<String>,
    /// Addresses in use.
    pub used: u32,
    /// Addresses that rest.
    pub resting: u32,
    /// Addresses ready to be handed out.
    pub ready: u32,
    /// Addresses that are not handed out: reserved, or lent to another node.
    pub withheld: u32,
    /// Is it on its way back?
    pub leaving: bool,
}

#[cfg(test)]
mod tests;
