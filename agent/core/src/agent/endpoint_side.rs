//! What endpoints and the rest have to say to each other.

use corduroy_api::block::block_name;
use corduroy_api::{Key as ResourceKey, Kind};
use corduroy_bgp::Time;
use corduroy_fabric::{Sync, blocks};
use corduroy_kernel::{IpNet, LinkName};
use ipnetwork::IpNetwork;

use super::{Agent, Note, Output, gate, wiring};
use crate::desired::{self, links};
use crate::endpoints::{Input, Knowledge, Output as Wish};
use crate::ipam::Pool;
use crate::key::Key;
use crate::known::Known;
use crate::me::Membership;
use crate::pods::Pod;
use crate::reconcile::diff::{self, Step};

/// What can be about a pod.
const POLICIES: [Kind; 4] = [
    Kind::KubernetesNetworkPolicy,
    Kind::ClusterNetworkPolicy,
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
];

impl Agent {
    /// A block was claimed, changed hands or went.
    pub(super) fn block(&mut self, name: &str, now: Time) {
        match self.known.model.blocks().get(name) {
            Some(block) => self.endpoints.handle(Input::Block(block.clone()), now),
            None => {
                let gone = self.endpoints.ipam().known_blocks().map(|block| block.cidr);
                let gone: Vec<_> = gone.filter(|cidr| block_name(*cidr) == name).collect();
                for cidr in gone {
                    self.endpoints.handle(Input::BlockGone(cidr), now);
                }
            }
        }
    }

    /// A pod of this node came, changed or went.
    pub(super) fn pod(&mut self, name: &str, now: Time) {
        let pod = self.known.model.pods().get(name).cloned();
        self.endpoints.handle(Input::Pod(name.to_owned(), pod), now);
    }

    /// A namespace came, changed or went.
    pub(super) fn namespace(&mut self, name: &str, now: Time) {
        let namespace = self.known.model.namespaces().get(name).cloned();
        self.endpoints.handle(Input::Namespace(name.to_owned(), namespace), now);
    }

    /// Tells the endpoints what changed of what they depend on, and does what they wish.
    pub(super) fn serve_endpoints(&mut self, now: Time) {
        self.tell_endpoints(now);
        let is_there = |device: LinkName| self.reconciler.picture().links.contains_key(&device);
        for input in self.tunnels.settle(&mut self.known, is_there) {
            self.endpoints.handle(input, now);
        }
        self.tell_ready(now);
        loop {
            while let Some(wish) = self.endpoints.poll() {
                self.wish(wish, now);
            }
            let finished = self.wiring.finished(&self.known, &self.reconciler, &self.former, now);
            if finished.is_empty() {
                return;
            }
            for (link, direction, result) in finished {
                let input = match direction {
                    wiring::Direction::Up => Input::Wired { link, result },
                    wiring::Direction::Down => Input::Unwired { link, result },
                };
                self.endpoints.handle(input, now);
            }
        }
    }

    fn tell_endpoints(&mut self, now: Time) {
        // What a node that was removed has stays as it is until nothing here needs it.
        let keeps = self.known.me.member == Membership::Removed && !self.known.retired;
        if self.course.open && !keeps && !std::mem::replace(&mut self.course.told_pools, true) {
            let usable = if self.known.retired { Vec::new() } else { self.usable() };
            let reservations = self.known.model.reservations().values();
            let reserved = reservations.flat_map(|reservation| reservation.cidrs.iter().copied()).collect();
            self.endpoints.handle(Input::Reserved(reserved), now);
            self.endpoints.handle(Input::Pools(usable), now);
            self.endpoints.handle(Input::InSync, now);
        }
        let knowledge = self.knowledge();
        if *self.endpoints.knowledge() != knowledge {
            self.endpoints.handle(Input::Knowledge(knowledge), now);
        }
        let mtu = links::pod_mtu(&self.known);
        if self.course.told_mtu.replace(mtu) != Some(mtu) {
            self.endpoints.handle(Input::Mtu(mtu), now);
        }
    }

    /// The pools this node may use: those it may claim blocks of, or the CIDRs that the cluster gave it.
    fn usable(&self) -> Vec<Pool> {
        let Known { model, me, pools, .. } = &self.known;
        if me.given {
            let named = |cidr: IpNetwork| {
                let around = blocks::pool_of(model, cidr.network()).map(|pool| pool.metadata.name.clone());
                Pool::given(around.unwrap_or_else(|| format!("podCIDR {cidr}")), cidr)
            };
            return me.pod_cidrs().into_iter().map(named).collect();
        }
        let usable = pools.iter().filter(|pool| {
            let in_force = blocks::pool_of(model, pool.cidr.network());
            let is_in_force = in_force.is_some_and(|p| p.metadata.name == pool.metadata.name);
            is_in_force && blocks::may_claim(model, pool, &me.name)
        });
        usable.map(|pool| Pool::from(pool.as_ref())).collect()
    }

    /// How well pods and namespaces are known.
    fn knowledge(&self) -> Knowledge {
        if self.known.me.member == Membership::Itself {
            return Knowledge::NoCluster;
        }
        let not_live =
            [Kind::Pod, Kind::Namespace].into_iter().find_map(|kind| match self.known.model.sync(kind) {
                Sync::Live => None,
                Sync::Unavailable(why) => Some(format!("{kind} can't be had: {why}")),
                Sync::Waiting | Sync::Snapshot => Some(format!("{kind} is known from a former run only")),
            });
        let is_policy = |key: &ResourceKey| POLICIES.contains(&key.kind);
        let policies = || self.known.model.policies().keys().any(is_policy);
        not_live.map_or(Knowledge::Live, |why| Knowledge::Stale { why, policies: policies() })
    }

    fn tell_ready(&mut self, now: Time) {
        let ready = gate::not_serving(self).map_or(Ok(()), Err);
        let told = (ready, gate::closed(self));
        if self.course.told_ready.as_ref() != Some(&told) {
            self.course.told_ready = Some(told.clone());
            self.endpoints.handle(Input::Closed(told.1), now);
            self.endpoints.handle(Input::Ready(told.0), now);
        }
    }

    fn wish(&mut self, wish: Wish, now: Time) {
        match wish {
            Wish::Append(lines) => self.out.push_back(Output::Append(lines)),
            Wish::Rewrite(journal) => self.out.push_back(Output::Rewrite(journal)),
            Wish::Write(write) => self.out.push_back(Output::Write(Box::new(write))),
            Wish::BlockChanged(_) => self.course.announce = true,
            Wish::Wire { pod, netns, ifname } => {
                self.announce_with(&pod);
                self.wiring.up(&mut self.known, &mut self.reconciler, &pod, (netns, ifname, now));
            }
            Wish::Keep(pod) => {
                self.announce_with(&pod);
                let keys: Vec<Key> = desired::of_pod(&pod).collect();
                self.known.pods.put(pod.clone());
                self.known.police_pod(&pod);
                keys.into_iter().for_each(|key| self.reconciler.mark(&self.known, key));
            }
            Wish::Unwire(pod) => {
                self.announce_with(&pod);
                self.wiring.down(&mut self.known, &mut self.reconciler, &pod, now);
            }
            Wish::Verify { link, .. } => {
                let problems = self.verify(link);
                self.endpoints.handle(Input::Verified { link, problems }, now);
            }
            Wish::Warn(what) => self.note(Note::Unknown(what)),
            Wish::CloseNetns(netns) => self.out.push_back(Output::CloseNetns(netns)),
            Wish::Answer { id, answer } => self.out.push_back(Output::Answer(id, Box::new(answer))),
            Wish::TunnelAddress { device, result: Ok(addr), .. } => {
                self.known.me.tunnels.set(device, addr);
                self.course.announce = true;
                self.reconciler.mark_all(&self.known);
                self.note(Note::TunnelAddress(device, addr));
            }
            Wish::TunnelAddress { device, result: Err(why), .. } => {
                self.note(Note::NoTunnelAddress(device, why));
            }
        }
    }

    /// How the kernel differs from what it should hold for this pod.
    fn verify(&self, link: LinkName) -> Vec<String> {
        let Some(pod) = self.known.pods.by_link(link) else {
            return vec![format!("{link} is not known")];
        };
        if !self.reconciler.picture().links.contains_key(&link) {
            return vec![format!("{link} is missing")];
        }
        let differs = |key: &Key| {
            diff::step(&self.known, self.reconciler.picture(), &self.former, key) != Step::Nothing
        };
        let wrong = desired::of_pod(pod).filter(differs);
        wrong.map(|key| format!("{key:?} is not as it should be")).collect()
    }

    /// A pod comes or goes: with it goes what is announced, if its address is a block.
    fn announce_with(&mut self, pod: &Pod) {
        if pod.addresses.iter().any(|address| self.known.owned.contains(&IpNet::host(*address))) {
            self.course.announce = true;
        }
    }
}
