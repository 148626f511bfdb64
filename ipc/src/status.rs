//! What `cordctl` asks a running agent or reflector, and what it gets back: plain data, ready for a table or
//! for `-o json`. Durations are whole seconds unless a field says otherwise; lists are sorted by what
//! identifies a row.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::policy::{PolicyAnswer, PolicyRequest};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum StatusRequest {
    /// How is this node?
    Status,
    /// Who are my peers?
    Peers,
    /// What routes are there? One page of them.
    Routes(RouteQuery),
    /// Why is this prefix as it is?
    Explain {
        /// The prefix; an address counts as its /32 or /128 and is looked up by longest match.
        net: IpNetwork,
    },
    /// Who has which addresses on this node?
    Ipam,
    /// Something about policies.
    Policy(PolicyRequest),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum StatusAnswer {
    /// To [`StatusRequest::Status`].
    Status(Box<Status>),
    /// To [`StatusRequest::Peers`].
    Peers {
        /// By address.
        peers: Vec<Peer>,
    },
    /// To [`StatusRequest::Routes`].
    Routes(RoutePage),
    /// To [`StatusRequest::Explain`].
    Explain(Box<Explanation>),
    /// To [`StatusRequest::Ipam`].
    Ipam(Ipam),
    /// To [`StatusRequest::Policy`].
    Policy(PolicyAnswer),
    /// The question can't be answered, and why (also: versions that do not meet, malformed requests).
    Failed {
        /// For a person.
        why: String,
    },
}

/// How a node (or a reflector) is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node's name, or the reflector's.
    pub node: String,
    /// `agent` or `routereflector`.
    pub role: String,
    /// The program's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// Is everything in force that the datastore said?
    pub ready: bool,
    /// The resource kinds of the datastore.
    pub kinds: Vec<KindStatus>,
    /// What a person should look at, worst first; empty when all is well.
    pub conditions: Vec<Condition>,
    /// The speaker.
    pub bgp: BgpSummary,
    /// The kernel side; none on a reflector.
    pub kernel: Option<KernelSummary>,
    /// The pods; none on a reflector.
    pub pods: Option<PodSummary>,
}

/// One kind of resource, as the datastore has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindStatus {
    /// `IPPool`, …
    pub kind: String,
    /// How well it is known.
    pub sync: Sync,
    /// How many resources are in force.
    pub count: u64,
    /// How many were refused, and so are in force as they were before or not at all.
    pub rejected: u64,
}

/// How well a kind of resource is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sync {
    /// The first listing is not through.
    Waiting,
    /// As the datastore has it now.
    Live,
    /// As it was at the last good time, kept on disk.
    Snapshot,
    /// It can't be had; the text says why.
    Unavailable(String),
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// How bad.
    pub severity: Severity,
    /// What it is about: a resource (`BGPPeer/tor-1`), an interface, a peer.
    pub about: String,
    /// What is wrong, and what can be done.
    pub message: String,
}

/// How bad a [`Condition`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warning,
}

/// The speaker in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpSummary {
    /// Our AS; 0 while there is no configuration.
    pub asn: u32,
    /// Our BGP identifier.
    pub router_id: Option<Ipv4Addr>,
    /// The cluster id, when this speaker reflects.
    pub cluster_id: Option<Ipv4Addr>,
    /// Peers configured.
    pub peers: u64,
    /// Peers established.
    pub established: u64,
    /// Prefixes with a best route, by family.
    pub prefixes: Vec<FamilyCount>,
    /// Prefixes of our own that are announced.
    pub originated: Vec<IpNetwork>,
}

/// A number for one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyCount {
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: String,
    /// How many.
    pub count: u64,
}

/// The kernel side in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelSummary {
    /// Routes of ours in the kernel.
    pub routes: u64,
    /// Links of ours.
    pub links: u64,
    /// Objects that should be otherwise than they are, right now.
    pub pending: u64,
    /// Objects the kernel refused, with its words, newest first.
    pub refused: Vec<String>,
    /// Objects of ours that something else had changed and that were put right, since the start.
    pub repaired: u64,
    /// Tunnel devices of this node and their addresses.
    pub tunnels: Vec<Tunnel>,
}

/// A tunnel device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// `ipip-cord` or `vxlan-cord`.
    pub device: String,
    /// The node's tunnel addresses on it.
    pub addresses: Vec<IpAddr>,
    /// How many nodes are reached by it.
    pub remotes: u64,
}

/// The pods in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSummary {
    /// Attachments that are wired.
    pub attached: u64,
    /// Operations under way.
    pub pending: u64,
    /// Operations that failed since the start.
    pub failed: u64,
    /// Addresses handed out.
    pub addresses_used: u64,
    /// Addresses the node's blocks have.
    pub addresses_total: u64,
}

/// A BGP peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its address, with `%interface` when it is link-local.
    pub address: String,
    /// Where it comes from: `mesh`, `BGPPeer/name`, `dynamic 10.0.0.0/8`.
    pub origin: String,
    /// Its AS; 0 when any is accepted and none has come.
    pub asn: u32,
    /// RFC 4271 §8.2.2.
    pub state: SessionState,
    /// Seconds in that state.
    pub since: u64,
    /// Its BGP identifier, once it has sent OPEN.
    pub router_id: Option<Ipv4Addr>,
    /// Is it a client of ours (RFC 4456)?
    pub reflector_client: bool,
    /// Hold time in force, seconds; 0 is none.
    pub hold_time: u16,
    /// Capabilities both sides have, by name.
    pub capabilities: Vec<String>,
    /// Routes, by family.
    pub families: Vec<PeerFamily>,
    /// Messages of this session.
    pub messages: MessageCounts,
    /// What ended the last session, or keeps the next from coming up: who did it and why, with the NOTIFICATION's
    /// words where there was one.
    pub last_error: Option<String>,
}

/// RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionState {
    /// Not trying.
    Idle,
    /// Waiting for TCP.
    Connect,
    /// Listening, after TCP failed.
    Active,
    /// Waiting for OPEN.
    OpenSent,
    /// Waiting for KEEPALIVE.
    OpenConfirm,
    /// Up.
    Established,
}

/// A peer's routes in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerFamily {
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: String,
    /// Prefixes it sent.
    pub received: u64,
    /// Of those, prefixes that import let in.
    pub accepted: u64,
    /// Prefixes we sent.
    pub advertised: u64,
    /// Has it sent End-of-RIB (RFC 4724)?
    pub end_of_rib: bool,
    /// Prefixes kept from before its restart.
    pub stale: u64,
}

/// Messages of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// UPDATE received.
    pub updates_in: u64,
    /// All received.
    pub total_in: u64,
    /// All sent.
    pub total_out: u64,
    /// Octets received.
    pub bytes_in: u64,
    /// Octets sent.
    pub bytes_out: u64,
}

/// Which routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteQuery {
    /// Only this prefix and what is inside it.
    pub within: Option<IpNetwork>,
    /// Only routes from this peer, by its address.
    pub from: Option<String>,
    /// Only routes that are sent to this peer, as they are sent.
    pub to: Option<String>,
    /// Only best routes.
    pub best: bool,
    /// `RoutePage::next` of the page before.
    pub after: Option<String>,
    /// The most rows wanted; 0 and anything over 1,000 count as 1,000.
    pub limit: u32,
}

/// A page of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePage {
    /// In the speaker's own order, the paths of a prefix side by side.
    pub routes: Vec<Route>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The prefix.
    pub net: IpNetwork,
    /// Whose: a peer's address, or `local`.
    pub from: String,
    /// Is it (one of) the best?
    pub best: bool,
    /// Is it kept from before the peer's restart (RFC 4724)?
    pub stale: bool,
    /// Its next hop.
    pub next_hop: Option<IpAddr>,
    /// Its other attributes.
    pub attributes: Attributes,
    /// Is it in the kernel? None where there is no kernel side, or the route is not the best.
    pub installed: Option<bool>,
}

/// Path attributes in the form people write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attributes {
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: String,
    /// As in `64512 {1 2} (65001)`; empty for a route of this AS.
    pub as_path: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Standard, extended and large communities, `64512:1`, `rt:64512:1`, `64512:1:2`, well-known ones by
    /// name.
    pub communities: Vec<String>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456), nearest first.
    pub cluster_list: Vec<Ipv4Addr>,
}

/// Why a prefix is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The prefix that is explained: the asked one, or the longest match for an address.
    pub net: IpNetwork,
    /// Whose block it is or is in.
    pub owner: Option<Owner>,
    /// What is announced of services there, and why (not).
    #[serde(default)]
    pub services: Vec<ServiceAddress>,
    /// Every path, best first, with the reason for its place.
    pub candidates: Vec<Candidate>,
    /// What the kernel has.
    pub kernel: Option<String>,
    /// For every peer, whether it is sent, and why (not).
    pub advertised: Vec<Advertisement>,
}

/// An address of a service, or a range of such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// Whose address it is, or of what it is a range.
    pub what: String,
    /// Is it announced by this node, as it is?
    pub announced: bool,
    /// Why, or why not.
    pub why: String,
}

/// Who owns a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The block.
    pub block: IpNetwork,
    /// The pool it is cut from.
    pub pool: String,
    /// The node that owns it.
    pub node: String,
}

/// A path, and why it stands where it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The path.
    pub route: Route,
    /// `best`, or the step of the decision that it lost by, or why it was refused.
    pub why: String,
}

/// Whether a peer is sent a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertisement {
    /// The peer's address.
    pub to: String,
    /// Is it sent?
    pub sent: bool,
    /// Why, or why not.
    pub why: String,
}

/// Addresses on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// Pools, by name.
    pub pools: Vec<IpamPool>,
    /// Blocks of the cluster, by address.
    pub blocks: Vec<IpamBlock>,
    /// Addresses in use on this node, by address.
    pub addresses: Vec<IpamAddress>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamPool {
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub cidr: IpNetwork,
    /// The prefix length of its blocks.
    pub block_size: u8,
    /// How many blocks it has; as text, since an IPv6 pool has more than a JSON number can say.
    pub blocks_total: String,
    /// How many of them are claimed.
    pub blocks_claimed: u64,
    /// May this node claim from it, or why not: `disabled`, `nodeSelector`.
    pub not_here: Option<String>,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamBlock {
    /// Its prefix.
    pub cidr: IpNetwork,
    /// The pool it is cut from; empty when the pool is gone.
    pub pool: String,
    /// The node that owns it.
    pub node: String,
    /// How it is used, known only for blocks of this node.
    pub usage: Option<BlockUsage>,
}

/// How a block of this node is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockUsage {
    /// Addresses in use.
    pub used: u64,
    /// Addresses that are free again but rest before they are handed out.
    pub cooling: u64,
    /// Addresses ready to be handed out; saturates.
    pub free: u64,
    /// Addresses that are not handed out: reserved, or lent to another node.
    #[serde(default)]
    pub withheld: u64,
}

/// An address in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamAddress {
    /// The address.
    pub address: IpAddr,
    /// The block it is from.
    pub block: Option<IpNetwork>,
    /// What has it.
    pub holder: Holder,
}

/// What has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Holder {
    /// A container's interface.
    Attachment {
        /// The CNI network.
        network: String,
        /// The container.
        #[serde(rename = "containerID")]
        container_id: String,
        /// The interface inside it.
        ifname: String,
        /// The host's end.
        #[serde(rename = "hostInterface")]
        host_interface: String,
        /// `namespace/name` of the pod, when known.
        pod: Option<String>,
    },
    /// A tunnel device of the node.
    Tunnel {
        /// `ipip-cord` or `vxlan-cord`.
        device: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyDrops, TraceQuery};

    #[test]
    fn every_question_and_answer_reads_back_as_written() {
        let query =
            RouteQuery { within: Some("10.0.0.0/8".parse().unwrap()), best: true, ..RouteQuery::default() };
        let policy = [
            PolicyRequest::Trace(TraceQuery { icmp: Some((8, 0)), ..TraceQuery::default() }),
            PolicyRequest::Show { name: None },
            PolicyRequest::Drops { after: 7 },
        ];
        let policy = policy.map(StatusRequest::Policy);
        let others =
            [StatusRequest::Status, StatusRequest::Peers, StatusRequest::Routes(query), StatusRequest::Ipam];
        for request in others.into_iter().chain(policy) {
            let json = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<StatusRequest>(&json).unwrap(), request);
        }
        let address = IpamAddress {
            address: "10.1.0.1".parse().unwrap(),
            block: None,
            holder: Holder::Tunnel { device: "vxlan-cord".into() },
        };
        let answers = [
            StatusAnswer::Status(Box::default()),
            StatusAnswer::Ipam(Ipam { addresses: vec![address], ..Ipam::default() }),
            StatusAnswer::Policy(PolicyAnswer::Drops(PolicyDrops { last: 9, ..PolicyDrops::default() })),
            StatusAnswer::Failed { why: "no".into() },
        ];
        for answer in answers {
            let json = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<StatusAnswer>(&json).unwrap(), answer);
        }
    }

    #[test]
    fn a_query_that_says_nothing_means_the_first_page_of_everything() {
        assert_eq!(serde_json::from_str::<RouteQuery>("{}").unwrap(), RouteQuery::default());
    }
}
