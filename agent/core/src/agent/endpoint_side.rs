//! What endpoints and the rest have to say to each other.

use corduroy_api::block::block_name;
use corduroy_bgp::Time;
use corduroy_fabric::blocks;
use corduroy_kernel::LinkName;

use super::{Agent, Note, Output, wiring};
use crate::convert;
use crate::desired::{self, links};
use crate::endpoints::{Input, Output as Wish};
use crate::ipam::Pool;
use crate::key::Key;
use crate::reconcile::diff::{self, Step};

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
        if self.course.open && !std::mem::replace(&mut self.course.told_pools, true) {
            let usable = self.known.pools.iter().filter(|pool| {
                let in_force = blocks::pool_of(&self.known.model, pool.cidr.network());
                let is_in_force = in_force.is_some_and(|p| p.metadata.name == pool.metadata.name);
                is_in_force && blocks::may_claim(&self.known.model, pool, &self.known.me.name)
            });
            let usable: Vec<Pool> = usable.map(|pool| Pool::from(pool.as_ref())).collect();
            self.endpoints.handle(Input::Pools(usable), now);
            self.endpoints.handle(Input::InSync, now);
        }
        let mtu = links::pod_mtu(&self.known);
        if self.course.told_mtu.replace(mtu) != Some(mtu) {
            self.endpoints.handle(Input::Mtu(mtu), now);
        }
    }

    fn tell_ready(&mut self, now: Time) {
        let ready = self.not_ready().map_or(Ok(()), Err);
        if self.course.told_ready.as_ref() != Some(&ready) {
            self.course.told_ready = Some(ready.clone());
            self.endpoints.handle(Input::Ready(ready), now);
        }
    }

    fn wish(&mut self, wish: Wish, now: Time) {
        match wish {
            Wish::Append(lines) => self.out.push_back(Output::Append(lines)),
            Wish::Rewrite(journal) => self.out.push_back(Output::Rewrite(journal)),
            Wish::Write(write) => self.out.push_back(Output::Write(Box::new(write))),
            Wish::BlockChanged(_) => self.course.announce = true,
            Wish::Wire { pod, netns, ifname } => {
                self.wiring.up(&mut self.known, &mut self.reconciler, &pod, (netns, ifname));
            }
            Wish::Keep(pod) => {
                let keys: Vec<Key> = desired::of_pod(&pod).collect();
                self.known.pods.put(pod);
                keys.into_iter().for_each(|key| self.reconciler.mark(&self.known, key));
            }
            Wish::Unwire(pod) => self.wiring.down(&mut self.known, &mut self.reconciler, &pod),
            Wish::Verify { link, .. } => {
                let problems = self.verify(link);
                self.endpoints.handle(Input::Verified { link, problems }, now);
            }
            Wish::CloseNetns(netns) => self.out.push_back(Output::CloseNetns(netns)),
            Wish::Answer { id, answer } => self.out.push_back(Output::Answer(id, Box::new(answer))),
            Wish::TunnelAddress { device, result: Ok(addr), .. } => {
                self.known.me.tunnels.set(device, addr);
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

    /// Does a prefix of this node forward?
    pub(super) fn forwards(&self, net: corduroy_bgp::Net) -> bool {
        let dst = convert::from_bgp(net);
        dst.is_host() || self.reconciler.is_done(&self.known, &self.former, &Key::Route(dst))
    }
}
