//! What a node announces: its own blocks, tagged as the configuration says. Announcing waits until the kernel delivers
//! what is announced; that is the agent's to know.

use std::collections::BTreeMap;

use corduroy_api::block::contains;
use corduroy_api::{BgpConfiguration, Community, IpNetwork};
use corduroy_bgp::Net;
use corduroy_bgp::io::Origination;

use crate::{Model, blocks};

/// A CIDR without host bits as the speaker's prefix. `None` when it has host bits; a checked pool or block has none.
#[must_use]
pub fn net(cidr: IpNetwork) -> Option<Net> {
    Net::new(cidr.ip(), cidr.prefix()).ok()
}

/// Every prefix that the node `me` announces once it forwards for it, and how: its blocks but those of pools with
/// `disableBGPExport`. Empty while its FabricNode is unknown.
#[must_use]
pub fn originations(model: &Model, me: &str) -> BTreeMap<Net, Origination> {
    let Some(node) = model.nodes().get(me) else { return BTreeMap::new() };
    let silent: Vec<IpNetwork> =
        model.pools().values().filter(|pool| pool.disable_bgp_export).map(|pool| pool.cidr).collect();
    blocks::owned_by(model, me, &node.uid)
        .filter(|block| !silent.iter().any(|pool| contains(*pool, *block)))
        .filter_map(|block| Some((net(block)?, origination(model, me, block))))
        .collect()
}

/// How the node `me` announces `cidr`: with the communities of the most specific `prefixAdvertisements` entry around
/// it, the node's own list going before the general one.
#[must_use]
pub fn origination(model: &Model, me: &str, cidr: IpNetwork) -> Origination {
    let configurations = model.configurations();
    let own = configurations.get(&format!("node.{me}"));
    let lists = [own, configurations.get(BgpConfiguration::DEFAULT_NAME)];
    let list = lists.into_iter().flatten().find(|c| !c.prefix_advertisements.is_empty());
    let entry = list.and_then(|c| {
        let around = c.prefix_advertisements.iter().filter(|ad| contains(ad.cidr, cidr));
        around.max_by_key(|ad| ad.cidr.prefix())
    });
    let mut out = Origination {
        next_hop: None,
        med: None,
        local_pref: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
    };
    for community in entry.map(|ad| ad.communities.as_slice()).unwrap_or_default() {
        match community {
            Community::Standard(c) => out.communities.push(*c),
            Community::Large(c) => out.large_communities.push(*c),
        }
    }
    out
}
