//! Who peers with whom: the Model as one node's (or reflector's) BGP configuration.
//!
//! * **Mesh.** Every node peers with every other, in both families that both have, unless `nodeToNodeMeshEnabled` is
//!   false. A node with a `routeReflectorClusterID` is in no mesh: it has the sessions that BGPPeers give it.
//! * **Explicit.** A BGPPeer gives each node of its local side a session with each neighbour of its remote side; with
//!   `peerSelector` and `reversePeering: Auto` the selected nodes open theirs too. Explicit sessions stand beside the
//!   mesh; where both mean the same neighbour there is one session and the BGPPeer shapes it. So a node that becomes a
//!   reflector keeps the connections it has.
//! * **Reflection** (RFC 4456). A neighbour is a client when this node has a cluster id and the neighbour is of the
//!   same AS and of another cluster id or none.
//! * **Families.** A session carries the family of its addresses.
//! * **Policy.** An operator's rules come first, the built-in ones behind them; see `policy`.
//!
//! Nothing here fails: what can't be is left out and named in [`Peering::problems`]. Without its password a session is
//! left out (never run unprotected); with a filter that does not exist it runs and passes nothing (RFC 8212).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::bgp_peer::Local;
use corduroy_api::{AsNumber, BgpConfiguration, FabricNode, IpNetwork, Key, Kind};
use corduroy_bgp::config::{Config, PeerConfig, PeerKey};
use corduroy_bgp::{Asn, RouterId};

use crate::{Model, Problem};

mod policy;
pub(crate) mod session;
#[cfg(test)]
mod tests;

/// What is the same for all sessions and does not come from the datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most equal paths for a prefix, 1 to 64.
    pub multipath: u8,
    /// How long route selection may wait for End-of-RIB after a restart.
    pub selection_deferral: Duration,
    /// Addresses that no peer may announce over unless a filter lets it: the API server's, the services'.
    pub protected: Vec<IpNetwork>,
}

impl Default for Options {
    fn default() -> Self {
        Self { multipath: 16, selection_deferral: Duration::from_secs(60), protected: Vec::new() }
    }
}

/// What a node's speaker is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// For the speaker.
    pub config: Config,
    /// Who each peer is, for people.
    pub peers: BTreeMap<PeerKey, Peer>,
    /// What could not be done as asked.
    pub problems: Vec<Problem>,
}

/// Who a peer is and why there is a session with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its FabricNode, when it has one.
    pub node: Option<String>,
    /// The BGPPeer that asks for the session; `None` for the mesh.
    pub resource: Option<String>,
}

/// The configuration of `me`'s speaker. While `me` has no FabricNode there are no peers, and a problem says so.
#[must_use]
pub fn peering(model: &Model, me: &str, options: &Options) -> Peering {
    let Some(node) = model.nodes().get(me) else {
        let why = "there is no such FabricNode, so this node has no sessions";
        let problem = Problem::new(Key::new(Kind::FabricNode, me), "metadata.name", why);
        let config = bare(model, None, router_id_of_name(me), options);
        return Peering { config, peers: BTreeMap::new(), problems: vec![problem] };
    };
    let mut sessions = session::Sessions::new(model, node, options);
    sessions.explicit();
    if mesh_enabled(model) && node.route_reflector_cluster_id.is_none() {
        sessions.mesh();
    }
    let mut config = bare(model, Some(node), router_id(node), options);
    let session::Sessions { configs, peers, problems, .. } = sessions;
    config.peers = configs;
    Peering { config, peers, problems }
}

fn bare(model: &Model, node: Option<&FabricNode>, router_id: RouterId, options: &Options) -> Config {
    Config {
        local_as: asn(node.map_or_else(|| fabric_as(model), |node| as_of(model, node))),
        router_id,
        cluster_id: node.and_then(|node| node.route_reflector_cluster_id).and_then(RouterId::new),
        multipath: options.multipath,
        // Racks with an AS each reach a destination over paths of equal length and different content.
        multipath_relax: true,
        selection_deferral: options.selection_deferral,
        peers: BTreeMap::<PeerKey, Arc<PeerConfig>>::new(),
        dynamic: Vec::new(),
    }
}

/// The AS of `node`: its own, else the fabric's.
#[must_use]
pub fn as_of(model: &Model, node: &FabricNode) -> AsNumber {
    node.as_number.unwrap_or_else(|| fabric_as(model))
}

/// The TCP port on which `node` listens for BGP.
#[must_use]
pub fn listen_port(model: &Model, node: &str) -> u16 {
    let own = model.configurations().get(&format!("node.{node}")).and_then(|c| c.listen_port);
    own.or_else(|| default_configuration(model).and_then(|c| c.listen_port)).unwrap_or(179)
}

/// Does every node peer with every other?
#[must_use]
pub fn mesh_enabled(model: &Model) -> bool {
    default_configuration(model).and_then(|c| c.mesh_enabled).unwrap_or(true)
}

/// The BGP identifier of `node`: its IPv4 address, or a hash of its IPv6 address where it has no other (RFC 6286 asks
/// only that it is not zero and unique within the AS).
#[must_use]
pub fn router_id(node: &FabricNode) -> RouterId {
    let v4 = node.address(false).map(|net| net.ip());
    let v6 = node.address(true).map(|net| net.ip());
    match (v4, v6) {
        (Some(IpAddr::V4(address)), _) => RouterId::new(address).unwrap_or_else(|| router_id_of_name("")),
        (_, Some(address)) => router_id_of_name(&address.to_string()),
        _ => router_id_of_name(&node.metadata.name),
    }
}

fn router_id_of_name(name: &str) -> RouterId {
    // FNV-1a, 32 bits; never zero thanks to the lowest bit.
    let hash = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    RouterId(std::num::NonZeroU32::MIN | hash)
}

fn default_configuration(model: &Model) -> Option<&Arc<BgpConfiguration>> {
    model.configurations().get(BgpConfiguration::DEFAULT_NAME)
}

fn fabric_as(model: &Model) -> AsNumber {
    default_configuration(model).and_then(|c| c.as_number).unwrap_or(AsNumber::DEFAULT)
}

fn asn(number: AsNumber) -> Asn {
    Asn(number.get())
}

fn chooses(local: &Local, node: &FabricNode) -> bool {
    match local {
        Local::All => true,
        Local::Node(name) => *name == node.metadata.name,
        Local::Selector(selector) => selector.matches(&node.metadata.labels),
    }
}

/// Are these two clusters such that a reflector of the first has the second's member for a client?
fn reflects_to(mine: Option<Ipv4Addr>, theirs: Option<Ipv4Addr>) -> bool {
    mine.is_some() && mine != theirs
}
