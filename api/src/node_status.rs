//! `NodeStatus`: how a node's fabric is, for people. Its agent writes it, on change; nobody acts on it, so it is no
//! resource of the fabric's: no datastore watches it and no [`Kind`](crate::Kind) names it.
//!
//! It says what does not change by itself: no counters, no ages, no use of addresses. A session is `Established` or
//! `Down` and since when; the states it passes through while it tries are the status socket's to tell. Every list has a
//! bound, what is down or wrong stands first, and the count beside it says how many there are in truth.
//!
//! It belongs to the Node of its name (`ownerReferences`), so that it goes with it.

use crate::raw::raw;
use crate::schema::crd::ConditionSpec;

/// The kind's name.
pub const KIND: &str = "NodeStatus";
/// As it stands in paths of the API.
pub const PLURAL: &str = "nodestatuses";

/// The most sessions that are listed.
pub const SESSIONS: usize = 64;
/// The most prefixes that are listed.
pub const PREFIXES: usize = 64;
/// The most blocks that are listed.
pub const BLOCKS: usize = 64;
/// The most problems that are listed.
pub const PROBLEMS: usize = 32;
/// The most characters of a sentence.
pub const SENTENCE: usize = 1024;

raw! {
    /// `status:` of a NodeStatus.
    pub struct NodeReport {
        /// The agent's version.
        version: String = "version" => .most(64),
        /// The addresses other nodes reach this one by.
        addresses: Vec<AddressReport> = "addresses" => .most(2),
        /// The tunnel devices it has.
        tunnels: Vec<TunnelReport> = "tunnels" => .most(2),
        /// The speaker and its sessions.
        bgp: BgpReport = "bgp",
        /// What the node announces of its own.
        advertised: AdvertisedReport = "advertised",
        /// The blocks it owns.
        blocks: BlocksReport = "blocks",
        /// Ready, DatastoreInSync, SessionsEstablished, KernelInSync.
        conditions: Vec<ConditionSpec> = "conditions" => .most(16).keyed("type"),
        /// What somebody should look at, worst first.
        problems: ProblemsReport = "problems",
    }
}

raw! {
    /// An address of the node.
    pub struct AddressReport {
        /// The address with the length of its subnet.
        address: String = "address" => .required().most(49),
        /// Why it is this one.
        why: String = "why" => .most(1024),
    }
}

raw! {
    /// A tunnel device.
    pub struct TunnelReport {
        /// ipip-cord or vxlan-cord.
        device: String = "device" => .required().most(16),
        /// Its addresses.
        addresses: Vec<String> = "addresses" => .most(2).each(|item| item.most(49)),
    }
}

raw! {
    /// The speaker.
    pub struct BgpReport {
        /// Its AS.
        as_number: u64 = "asNumber",
        /// Its BGP identifier.
        router_id: String = "routerID" => .most(15),
        /// Its cluster id, when it reflects.
        cluster_id: String = "clusterID" => .most(15),
        /// How many of its sessions are established, of how many, as in 2/3.
        summary: String = "summary" => .most(32),
        /// How many of its sessions are established.
        established: u64 = "established",
        /// How many sessions it is to have.
        total: u64 = "total",
        /// The sessions, those that are down first.
        sessions: Vec<SessionReport> = "sessions" => .most(64),
    }
}

raw! {
    /// A session.
    pub struct SessionReport {
        /// Where it comes from: mesh, or BGPPeer/ and its name; in brackets the node it is with.
        peer: String = "peer" => .most(600),
        /// The neighbour's address.
        address: String = "address" => .required().most(64),
        /// The neighbour's AS; left out while any is accepted and none has come.
        as_number: u64 = "asNumber",
        /// Established or Down.
        state: String = "state" => .required().words(&["Established", "Down"]),
        /// Since when.
        since: String = "since" => .date_time(),
        /// What ended the last session, or keeps the next from coming up.
        why: String = "why" => .most(1024),
        /// Address families it carries.
        families: Vec<String> = "families" => .most(8).each(|item| item.most(32)),
    }
}

raw! {
    /// Prefixes of the node's own that are announced.
    pub struct AdvertisedReport {
        /// How many.
        count: u64 = "count" => .required(),
        /// The first of them.
        prefixes: Vec<String> = "prefixes" => .most(64).each(|item| item.most(49)),
    }
}

raw! {
    /// Blocks of the node.
    pub struct BlocksReport {
        /// How many.
        count: u64 = "count" => .required(),
        /// The first of them.
        items: Vec<BlockReport> = "items" => .most(64),
    }
}

raw! {
    /// A block.
    pub struct BlockReport {
        /// Its prefix.
        cidr: String = "cidr" => .required().most(49),
        /// The pool it is cut from; left out when that is gone.
        pool: String = "pool" => .most(253),
    }
}

raw! {
    /// What somebody should look at.
    pub struct ProblemsReport {
        /// How many.
        count: u64 = "count" => .required(),
        /// The worst of them.
        items: Vec<ProblemReport> = "items" => .most(32),
    }
}

raw! {
    /// Something that is not as it should be.
    pub struct ProblemReport {
        /// Error: something does not work. Warning: something works less well than it could.
        severity: String = "severity" => .required().words(&["Error", "Warning"]),
        /// What it is about: a resource, an interface, a peer.
        about: String = "about" => .required().most(512),
        /// What is wrong, and what can be done.
        message: String = "message" => .required().most(1024),
    }
}

impl NodeReport {
    /// What holds of a condition: `True`, `False` or `Unknown`.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&ConditionSpec> {
        self.conditions.iter().flatten().find(|condition| condition.kind.as_deref() == Some(kind))
    }
}

/// At most [`SENTENCE`] characters of a text, so that no peer's or kernel's words make the API server refuse the whole.
#[must_use]
pub fn sentence(text: &str) -> String {
    if text.chars().count() <= SENTENCE {
        return text.to_owned();
    }
    text.chars().take(SENTENCE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_to_what_the_schema_lets_in() {
        assert_eq!(sentence("short"), "short");
        let cut = sentence(&"ü".repeat(5000));
        assert_eq!(cut.chars().count(), SENTENCE);
        assert!(cut.ends_with('…'));
    }
}
