//! The table of attachments, and what goes with one of them.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::Pod as ClusterPod;
use corduroy_ipc::cni::{self, Added, AttachmentKey, Interface, Ip};
use corduroy_ipc::hash::stable;
use corduroy_kernel::{LinkName, Mac, NetnsId, PodEnd};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::journal::Entry;
use super::{Endpoint, RequestId};
use crate::pods::Pod;

/// The attachments by the host's end.
pub(super) type Table = BTreeMap<LinkName, Attachment>;

/// An attachment, from the moment it has addresses to the moment they rest.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) key: Option<AttachmentKey>,
    pub(super) owner: Option<cni::Pod>,
    pub(super) pod: Pod,
    /// When the plugin of its ADD began, on the plugins' clock; 0 if unknown.
    pub(super) started: u64,
    pub(super) phase: Phase,
}

/// Where an attachment is in its life.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// On its way up, for this plugin.
    Wiring { id: RequestId, netns: NetnsId, ifname: LinkName },
    /// Up.
    Wired,
    /// On its way down, for whoever is in the list of [`Teardown`]s. The namespace stays open until then if
    /// it was on its way up: the kernel side may be at it.
    Unwiring { netns: Option<NetnsId> },
}

/// A request that is answered when these interfaces are gone.
#[derive(Clone, Debug)]
pub(super) struct Teardown {
    pub(super) id: RequestId,
    pub(super) links: BTreeSet<LinkName>,
}

/// A CHECK that is answered when the kernel was compared.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) id: RequestId,
    pub(super) link: LinkName,
    pub(super) netns: Option<NetnsId>,
}

impl Attachment {
    pub(super) fn is_wired(&self) -> bool {
        matches!(self.phase, Phase::Wired)
    }

    pub(super) fn from_journal(link: LinkName, entry: Entry) -> Self {
        let pod = Pod {
            link,
            host_mac: Mac(entry.host_mac.0),
            mac: Mac(entry.mac.0),
            mtu: entry.mtu,
            addresses: entry.addresses,
            owner: entry.owner.as_ref().map(|pod| ClusterPod::key_name(&pod.namespace, &pod.name)),
        };
        // What was on its way when the former run ended has lost its plugin.
        let phase = if entry.wired { Phase::Wired } else { Phase::Unwiring { netns: None } };
        Self { key: entry.key, owner: entry.owner, pod, started: entry.started, phase }
    }

    pub(super) fn to_journal(&self) -> Entry {
        Entry {
            link: self.pod.link.to_string(),
            key: self.key.clone(),
            owner: self.owner.clone(),
            host_mac: cni::Mac(self.pod.host_mac.0),
            mac: cni::Mac(self.pod.mac.0),
            mtu: self.pod.mtu,
            addresses: self.pod.addresses.clone(),
            wired: self.is_wired(),
            started: self.started,
        }
    }

    pub(super) fn to_endpoint(&self) -> Endpoint {
        Endpoint {
            key: self.key.clone(),
            owner: self.owner.clone(),
            pod: self.pod.clone(),
            wired: self.is_wired(),
        }
    }

    /// The answer to the ADD that made it.
    pub(super) fn added(&self, ifname: LinkName) -> Added {
        let (mtu, any4, any6) = (self.pod.mtu, IpNetwork::V4(ANY_V4), IpNetwork::V6(ANY_V6));
        let interface =
            |name: LinkName, mac: Mac| Interface { name: name.to_string(), mac: cni::Mac(mac.0), mtu };
        let gateway = |v4: bool| if v4 { PodEnd::GATEWAY_V4.into() } else { PodEnd::GATEWAY_V6.into() };
        let ips = self.pod.addresses.iter();
        let ips = ips.map(|ip| Ip { address: IpNetwork::from(*ip), gateway: gateway(ip.is_ipv4()) });
        let routes = self.pod.addresses.iter().map(|ip| cni::Route {
            dst: if ip.is_ipv4() { any4 } else { any6 },
            gw: Some(gateway(ip.is_ipv4())),
        });
        Added {
            host: interface(self.pod.link, self.pod.host_mac),
            container: interface(ifname, self.pod.mac),
            ips: ips.collect(),
            routes: routes.collect(),
        }
    }
}

const ANY_V4: Ipv4Network = match Ipv4Network::new_checked(std::net::Ipv4Addr::UNSPECIFIED, 0) {
    Some(any) => any,
    None => unreachable!(),
};
const ANY_V6: Ipv6Network = match Ipv6Network::new_checked(std::net::Ipv6Addr::UNSPECIFIED, 0) {
    Some(any) => any,
    None => unreachable!(),
};

/// A MAC of one end of an attachment's link: locally administered, unicast, and the same whenever it is
/// computed.
pub(super) fn mac(key: &AttachmentKey, end: &str) -> Mac {
    let [a, b, c, d, e, ..] = stable(&[end, &key.network, &key.container_id, &key.ifname]).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}
