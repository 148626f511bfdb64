//! The pods of this node as desired state sees them: interfaces and addresses. Who they are, how they come and go, is
//! the business of whoever keeps the endpoints; it puts them in here once they are to be wired and takes them out when
//! they are to be unwired.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corduroy_kernel::{LinkName, Mac};

/// A pod's interface, seen from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The host side's name.
    pub link: LinkName,
    /// The host side's MAC: the pod's gateway.
    pub host_mac: Mac,
    /// The pod side's MAC.
    pub mac: Mac,
    /// Octets of a packet at most.
    pub mtu: u32,
    /// The pod's addresses, at most one of a family.
    pub addresses: Vec<IpAddr>,
    /// `namespace/name` of the cluster's pod it belongs to, where the runtime said it.
    pub owner: Option<String>,
}

/// The pods, by interface and by address.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    by_link: BTreeMap<LinkName, Pod>,
    by_address: BTreeMap<IpAddr, LinkName>,
}

impl Pods {
    /// A pod is now this; returns what its interface was before.
    pub fn put(&mut self, pod: Pod) -> Option<Pod> {
        let old = self.remove(pod.link);
        for address in &pod.addresses {
            self.by_address.insert(*address, pod.link);
        }
        self.by_link.insert(pod.link, pod);
        old
    }

    /// There is no pod behind this interface any more.
    pub fn remove(&mut self, link: LinkName) -> Option<Pod> {
        let old = self.by_link.remove(&link)?;
        for address in &old.addresses {
            if self.by_address.get(address) == Some(&link) {
                self.by_address.remove(address);
            }
        }
        Some(old)
    }

    /// The pod behind this interface.
    #[must_use]
    pub fn by_link(&self, link: LinkName) -> Option<&Pod> {
        self.by_link.get(&link)
    }

    /// The pod that has this address.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&Pod> {
        self.by_link(*self.by_address.get(&address)?)
    }

    /// The interfaces of the cluster's pod of this name: for a moment it may have two. One whose owner is not recorded
    /// is its own when it has one of its addresses.
    pub fn of(&self, owner: &str, addresses: &[IpAddr]) -> impl Iterator<Item = &Pod> {
        let has = |pod: &Pod| pod.addresses.iter().any(|address| addresses.contains(address));
        self.by_link.values().filter(move |pod| match &pod.owner {
            Some(found) => found == owner,
            None => has(pod),
        })
    }

    /// Every pod, by interface.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.by_link.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_link.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_link.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(link: u64, addresses: &[&str]) -> Pod {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Pod {
            link: LinkName::pod(link),
            host_mac: Mac([2; 6]),
            mac: Mac([4; 6]),
            mtu: 1500,
            addresses,
            owner: None,
        }
    }

    #[test]
    fn an_address_that_moved_to_another_pod_does_not_go_with_the_first() {
        let mut pods = Pods::default();
        pods.put(pod(1, &["10.0.0.1"]));
        pods.put(pod(2, &["10.0.0.1", "fd00::1"]));
        pods.remove(LinkName::pod(1));
        assert_eq!(pods.by_address("10.0.0.1".parse().unwrap()).unwrap().link, LinkName::pod(2));
        assert_eq!(pods.put(pod(2, &["10.0.0.9"])).unwrap().addresses.len(), 2);
        assert_eq!(pods.by_address("fd00::1".parse().unwrap()), None);
    }
}
