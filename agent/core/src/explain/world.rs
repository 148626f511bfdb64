//! A cluster as one who asks its API server sees it: no node's view, but the pods that are asked about stand in it as
//! if they were wired here, so that both are judged, by the same code as on their nodes.

use corduroy_api::policy::PolicyBody;
use corduroy_api::{Event, Kind, Resource};
use corduroy_kernel::{LinkName, Mac};

use crate::known::Known;
use crate::me::{Me, Membership, TunnelAddresses};
use crate::pods::Pod;

/// What has to be known of a cluster to judge in it.
pub const KINDS: [Kind; 14] = [
    Kind::FabricNode,
    Kind::IpPool,
    Kind::Service,
    Kind::ServiceAccount,
    Kind::Namespace,
    Kind::RemotePod,
    Kind::Tier,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::ClusterNetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::NetworkPolicy,
    Kind::KubernetesNetworkPolicy,
];

/// Does any policy name a service? Then [`Kind::ServiceEndpoints`] has to be known as well, which is much.
#[must_use]
pub fn names_services(resources: &[Resource]) -> bool {
    let policies = resources.iter().filter_map(|resource| match resource {
        Resource::Policy(policy) => Some(&policy.body),
        _ => None,
    });
    let mut bodies = policies.filter_map(|body| match body {
        PolicyBody::Network(judged) => Some(&judged.policy.body),
        PolicyBody::Global(judged) => Some(&judged.policy.body),
        _ => None,
    });
    bodies.any(|body| {
        let mut rules = body.ingress.iter().chain(&body.egress).flatten();
        rules.any(|rule| rule.source.service.is_some() || rule.destination.service.is_some())
    })
}

/// What is known with these resources. `ends` are the pods that are asked about, by name (`namespace/name`) or address.
#[must_use]
pub fn world(resources: Vec<Resource>, ends: [&str; 2]) -> Known {
    let me = Me {
        name: String::new(),
        uid: String::new(),
        v4: None,
        v6: None,
        tunnels: TunnelAddresses::default(),
        member: Membership::Itself,
        given: false,
    };
    let mut known = Known::new(me);
    let mut keys = Vec::new();
    let mut wired = 0;
    for resource in resources {
        let resource = match resource {
            Resource::Pod(pod) | Resource::RemotePod(pod) if is_end(&pod, ends) => {
                if !pod.host_network && !pod.finished && !pod.addresses.is_empty() {
                    wired += 1;
                    known.pods.put(wire(&pod, wired));
                }
                Resource::Pod(pod)
            }
            Resource::Pod(pod) => Resource::RemotePod(pod),
            other => other,
        };
        if let Resource::FabricNode(node) = &resource {
            known.nodes.set(&node.metadata.name, Some(node));
        }
        keys.push(resource.key());
        known.model.apply(Event::Put(resource));
    }
    known.refresh_pools();
    keys.iter().for_each(|key| known.police(key));
    known
}

fn is_end(pod: &corduroy_api::Pod, ends: [&str; 2]) -> bool {
    ends.iter().any(|end| match end.parse() {
        Ok(address) => pod.addresses.contains(&address) && !pod.host_network && !pod.finished,
        Err(_) => pod.metadata.name == *end,
    })
}

fn wire(pod: &corduroy_api::Pod, number: u64) -> Pod {
    Pod {
        link: LinkName::pod(number),
        host_mac: Mac([0; 6]),
        mac: Mac([0; 6]),
        mtu: 0,
        addresses: pod.addresses.clone(),
        owner: Some(pod.metadata.name.clone()),
    }
}
