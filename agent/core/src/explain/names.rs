//! Whose an address is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corduroy_api::Pod;
use corduroy_api::policy::PolicyBody;
use ipnetwork::IpNetwork;

use crate::known::Known;

/// Whose these addresses are, in words. What nothing is known of is not in it. Other nodes' pods are looked through
/// once, however many addresses there are.
#[must_use]
pub fn names(known: &Known, addresses: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, String> {
    let near = addresses.iter().filter_map(|address| Some((*address, near(known, *address)?)));
    let mut found: BTreeMap<IpAddr, String> = near.collect();
    let mut wanted: BTreeSet<IpAddr> =
        addresses.iter().filter(|address| !found.contains_key(*address)).copied().collect();
    let is_there = |pod: &Pod| !pod.finished && !pod.host_network;
    for (name, pod) in known.model.remote_pods().iter().filter(|(_, pod)| is_there(pod)) {
        if wanted.is_empty() {
            break;
        }
        for address in pod.addresses.iter().filter(|address| wanted.remove(*address)) {
            found.insert(*address, format!("pod {name}"));
        }
    }
    let far = |address| service(known, address).or_else(|| set(known, address));
    found.extend(wanted.into_iter().filter_map(|address| Some((address, far(address)?))));
    found
}

/// Whose an address is, in words.
#[must_use]
pub fn name(known: &Known, address: IpAddr) -> Option<String> {
    names(known, &BTreeSet::from([address])).remove(&address)
}

/// A pod of this node, this node, another node.
fn near(known: &Known, address: IpAddr) -> Option<String> {
    if let Some(pod) = known.pods.by_address(address) {
        let has = |(_, pod): &(&String, &std::sync::Arc<Pod>)| pod.addresses.contains(&address);
        let owner = pod.owner.clone().or_else(|| known.model.pods().iter().find(has).map(|it| it.0.clone()));
        return Some(owner.map_or_else(|| format!("interface {}", pod.link), |name| format!("pod {name}")));
    }
    if known.is_own_address(address) {
        return Some(format!("node {}", known.me.name));
    }
    known.nodes.whose(address).map(|node| format!("node {}", node.metadata.name))
}

fn service(known: &Known, address: IpAddr) -> Option<String> {
    let has = |service: &corduroy_api::Service| {
        let spec = &service.spec;
        [&spec.cluster_ips, &spec.external_ips, &spec.load_balancer_ips]
            .into_iter()
            .any(|addresses| addresses.contains(&address))
    };
    let services = known.model.services();
    services.iter().find(|(_, service)| has(service)).map(|(name, _)| format!("service {name}"))
}

/// The narrowest network set it is in.
fn set(known: &Known, address: IpAddr) -> Option<String> {
    let sets = known.model.policies().iter().filter_map(|(key, policy)| match &policy.body {
        PolicyBody::NetworkSet(set) => Some((key, narrowest(&set.nets, address)?)),
        PolicyBody::GlobalNetworkSet(set) => Some((key, narrowest(&set.nets, address)?)),
        _ => None,
    });
    sets.max_by_key(|(_, len)| *len).map(|(key, _)| key.to_string())
}

fn narrowest(nets: &[IpNetwork], address: IpAddr) -> Option<u8> {
    nets.iter().filter(|net| net.contains(address)).map(IpNetwork::prefix).max()
}
