//! Learned routes that a former run of this process left in the kernel.
//!
//! They forward while the sessions come up, so they stay until their owner has spoken. The owner of a route is its next
//! hop: when that is a peer of ours, the peer's End-of-RIB releases it, whatever other peers do; a dead peer delays its
//! own routes and nobody else's. A route whose next hop is no peer (it came through a reflector, or lies behind the
//! uplink's gateway) goes when every peer has spoken. A bounded wait ends all of it (RFC 4724 §4.1 bounds it likewise).
//!
//! Released does not mean removed: whoever holds the routes looks at each released prefix again, and what is desired
//! by then stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corduroy_bgp::{Family, Net, Time};
use corduroy_kernel::{NextHop, State};

use crate::known::Known;
use crate::{convert, desired};

/// The routes still held, and whom they wait for.
#[derive(Clone, Debug, Default)]
pub struct Former {
    held: BTreeMap<Net, Box<[IpAddr]>>,
    peers: BTreeSet<IpAddr>,
    spoken: BTreeSet<(Family, IpAddr)>,
    deadline: Option<Time>,
}

impl Former {
    /// Holds `routes` (prefix and next hops) until their owners have spoken, at the latest until `deadline`.
    pub fn hold(&mut self, routes: impl IntoIterator<Item = (Net, Box<[IpAddr]>)>, deadline: Time) {
        self.held = routes.into_iter().collect();
        self.deadline = (!self.held.is_empty()).then_some(deadline);
    }

    /// Must this prefix's route stay although nothing desires it?
    #[must_use]
    pub fn holds(&self, net: Net) -> bool {
        self.held.contains_key(&net)
    }

    /// The prefix has a desired route now: it is held no longer.
    pub fn settle(&mut self, net: Net) {
        self.held.remove(&net);
        if self.held.is_empty() {
            self.deadline = None;
        }
    }

    /// How many routes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Does nothing wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the bounded wait ends, if anything waits.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.deadline
    }

    /// The peers there are from now on; returns what waits for nobody any more.
    pub fn set_peers(&mut self, peers: BTreeSet<IpAddr>) -> Vec<Net> {
        self.peers = peers;
        self.release()
    }

    /// A peer's first table is complete and desired routes show it; returns the prefixes released.
    pub fn end_of_rib(&mut self, peer: IpAddr, family: Family) -> Vec<Net> {
        self.spoken.insert((family, peer));
        self.release()
    }

    /// The wait is over when `now` has reached the deadline; returns the prefixes released.
    pub fn expire(&mut self, now: Time) -> Vec<Net> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.deadline = None;
        std::mem::take(&mut self.held).into_keys().collect()
    }

    fn release(&mut self) -> Vec<Net> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let spoken = &self.spoken;
        let all_spoken =
            Family::ALL.map(|family| self.peers.iter().all(|peer| spoken.contains(&(family, *peer))));
        let released: Vec<Net> = self
            .held
            .iter()
            .filter(|(net, hops)| {
                let family = net.family();
                all_spoken[family.index()]
                    || (!hops.is_empty() && hops.iter().all(|hop| spoken.contains(&(family, *hop))))
            })
            .map(|(net, _)| *net)
            .collect();
        for net in &released {
            self.settle(*net);
        }
        released
    }
}

/// The routes in the kernel that a former run learned: by way of somebody, and desired by nothing yet. With each its
/// owners: the nodes behind its next hops.
#[must_use]
pub fn left_behind(known: &Known, state: &State) -> Vec<(Net, Box<[IpAddr]>)> {
    let owner = |hop: &NextHop| match hop.encap {
        Some(encap) => Some(IpAddr::V4(encap.dst)),
        None => hop.via.map(|via| behind_gateway(known, via).unwrap_or(via)),
    };
    let learned = state.routes.values().filter_map(|route| {
        let owners: Box<[IpAddr]> = route.hops().iter().filter_map(owner).collect();
        let is_desired = || desired::routes::route(known, route.dst).is_some();
        (!owners.is_empty() && !is_desired()).then_some((convert::to_bgp(route.dst)?, owners))
    });
    learned.collect()
}

/// The address of the node whose VXLAN device is this gateway, of the same family: what its routes have as next hop.
fn behind_gateway(known: &Known, gateway: IpAddr) -> Option<IpAddr> {
    let node = known.nodes.at_gateway(gateway)?;
    crate::nodes::addresses(node).find(|addr| addr.is_ipv4() == gateway.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> Net {
        text.parse().unwrap()
    }

    fn two_owners() -> Former {
        let mut former = Former::default();
        former.set_peers([ip("192.0.2.1"), ip("192.0.2.2")].into());
        former.hold(
            [
                (net("10.1.0.0/26"), [ip("192.0.2.1")].into()),
                (net("10.2.0.0/26"), [ip("192.0.2.2")].into()),
                (net("10.3.0.0/26"), [ip("192.0.2.3")].into()),
                (net("fd00:1::/122"), [ip("2001:db8::1")].into()),
            ],
            Time(120),
        );
        former
    }

    #[test]
    fn a_dead_peer_delays_its_own_routes_and_nobody_elses() {
        let mut former = two_owners();
        assert_eq!(former.end_of_rib(ip("192.0.2.1"), Family::Ipv4Unicast), [net("10.1.0.0/26")]);
        assert!(former.holds(net("10.2.0.0/26")));
        assert_eq!(former.next_timeout(), Some(Time(120)));
        assert_eq!(former.expire(Time(119)), []);
        assert_eq!(former.expire(Time(120)).len(), 3);
        assert_eq!(former.next_timeout(), None);
    }

    #[test]
    fn a_route_through_a_reflector_goes_when_every_peer_has_spoken() {
        let mut former = two_owners();
        former.end_of_rib(ip("192.0.2.1"), Family::Ipv4Unicast);
        let last = former.end_of_rib(ip("192.0.2.2"), Family::Ipv4Unicast);
        assert_eq!(last, [net("10.2.0.0/26"), net("10.3.0.0/26")]);
        assert!(former.holds(net("fd00:1::/122")), "the other family waits for its own End-of-RIB");
    }

    #[test]
    fn a_peer_that_is_configured_away_is_waited_for_no_longer() {
        let mut former = two_owners();
        former.end_of_rib(ip("192.0.2.1"), Family::Ipv4Unicast);
        let released = former.set_peers([ip("192.0.2.1")].into());
        assert_eq!(released, [net("10.2.0.0/26"), net("10.3.0.0/26")]);
    }

    #[test]
    fn what_is_desired_again_is_held_no_longer_and_without_any_the_clock_stops() {
        let mut former = two_owners();
        for held in ["10.1.0.0/26", "10.2.0.0/26", "10.3.0.0/26", "fd00:1::/122"] {
            former.settle(net(held));
        }
        assert_eq!(former.next_timeout(), None);
        assert!(former.is_empty());
    }
}
