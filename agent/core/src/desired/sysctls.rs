//! Switches: pass packets on, and check where they come from as strictly as each interface bears.

use corduroy_kernel::{Conf, Conf4, Conf6, LinkName, Sysctl};

use crate::known::Known;

/// What a switch should say; `None`: not ours to set.
///
/// rp_filter is the larger of `all` and the interface. Pods get the strict check (1), for the way back to a pod's
/// address is always its interface; a tunnel device gets the loose one (2), for the way back to a remote pod may lead
/// by the uplink when the other side decides otherwise for a moment.
#[must_use]
pub fn sysctl(known: &Known, key: Sysctl) -> Option<u32> {
    match key {
        Sysctl::Ipv4Forward => Some(1),
        Sysctl::V6(Conf::All, Conf6::Forwarding) => known.ipv6().then_some(1),
        Sysctl::V4(Conf::Dev(dev), Conf4::RpFilter) => dev_value(known, dev, 1, 2),
        Sysctl::V6(Conf::Dev(dev), Conf6::AcceptRa) if known.ipv6() => dev_value(known, dev, 0, 0),
        Sysctl::V6(Conf::Dev(dev), Conf6::DisableIpv6) if known.ipv6() => dev_value(known, dev, 0, 0),
        Sysctl::V4(..) | Sysctl::V6(..) | Sysctl::MultipathHashPolicy(_) => None,
    }
}

fn dev_value(known: &Known, dev: LinkName, pod: u32, tunnel: u32) -> Option<u32> {
    if known.pods.by_link(dev).is_some() {
        Some(pod)
    } else {
        super::links::is_wanted(known, dev).then_some(tunnel)
    }
}

/// The switches of the whole node.
pub fn global() -> impl Iterator<Item = Sysctl> {
    [Sysctl::Ipv4Forward, Sysctl::V6(Conf::All, Conf6::Forwarding)].into_iter()
}

/// The switches of one interface of ours.
pub fn of_dev(dev: LinkName) -> impl Iterator<Item = Sysctl> {
    let dev = Conf::Dev(dev);
    let of_dev = [
        Sysctl::V4(dev, Conf4::RpFilter),
        Sysctl::V6(dev, Conf6::AcceptRa),
        Sysctl::V6(dev, Conf6::DisableIpv6),
    ];
    of_dev.into_iter()
}
