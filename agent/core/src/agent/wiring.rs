//! Pods on their way into the kernel and out of it.
//!
//! Up: the pair of interfaces is made (down) and the pod's end is set, the rest are ordinary keys: rules, then the
//! neighbour, up, the route. Down: the interface is deleted, and neighbour and route with it, then the rules go. The
//! tracked connections of its addresses are forgotten both times, so that nobody inherits them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_kernel::{Lane, Link, LinkName, NetnsId, Op, OpError, OpResult, PodEnd, VethPeer};

use crate::desired;
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;
use crate::pods::Pod;
use crate::reconcile::{Reconciler, Ticket};

/// What is on its way, by the host's end.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    tickets: u64,
    under_way: BTreeMap<LinkName, Work>,
    /// Pods the kernel did not let go of, and when that is tried again.
    again: BTreeMap<LinkName, (Time, Pod)>,
}

#[derive(Debug)]
struct Work {
    pod: Pod,
    direction: Direction,
    open: BTreeSet<Ticket>,
    keys: Vec<Key>,
    error: Option<OpError>,
    /// How long it waits at most for what its policies ask of others.
    until: Time,
}

/// Which way a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Into the kernel.
    Up,
    /// Out of it.
    Down,
}

/// How long a pod waits for what its policies ask of others before it fails: less than its plugin waits.
const PATIENCE: Duration = Duration::from_secs(6);
/// The pause before the kernel is asked again to let go of a pod.
const PAUSE: Duration = Duration::from_secs(1);

impl Wiring {
    /// Into the kernel.
    pub(super) fn up(
        &mut self,
        known: &mut Known,
        reconciler: &mut Reconciler,
        pod: &Pod,
        (netns, ifname, now): (NetnsId, LinkName, Time),
    ) {
        known.pods.put(pod.clone());
        known.police_pod(pod);
        let peer = VethPeer { netns, name: ifname, mac: pod.mac };
        let end = PodEnd {
            netns,
            name: ifname,
            addresses: pod.addresses.clone(),
            gateway_mac: pod.host_mac,
            route_mtu: None,
        };
        let forget = pod.addresses.iter().map(|address| Op::ForgetFlows(*address));
        let made = [Op::AddVeth(Link::pod(pod.link, pod.host_mac, pod.mtu), peer), Op::SetPod(end)];
        let until = now + PATIENCE;
        self.begin(reconciler, (pod, Direction::Up, until), forget.chain(made).collect());
    }

    /// Out of the kernel, as far as it ever got in.
    pub(super) fn down(&mut self, known: &mut Known, reconciler: &mut Reconciler, pod: &Pod, now: Time) {
        known.pods.remove(pod.link);
        known.police_pod(pod);
        let forget = pod.addresses.iter().map(|address| Op::ForgetFlows(*address));
        let ops = std::iter::once(Op::DeleteLink(pod.link)).chain(forget).collect();
        self.begin(reconciler, (pod, Direction::Down, now), ops);
    }

    fn begin(
        &mut self,
        reconciler: &mut Reconciler,
        (pod, direction, until): (&Pod, Direction, Time),
        ops: Vec<Op>,
    ) {
        self.again.remove(&pod.link);
        let keys: Vec<Key> = desired::of_pod(pod).collect();
        for key in &keys {
            reconciler.mark_in(Lane::Endpoints, key.clone());
        }
        let mut open = BTreeSet::new();
        for op in ops {
            self.tickets += 1;
            open.insert(Ticket(self.tickets));
            reconciler.queue(Ticket(self.tickets), op);
        }
        let work = Work { pod: pod.clone(), direction, open, keys, error: None, until };
        self.under_way.insert(pod.link, work);
    }

    /// What became of operations.
    pub(super) fn results(&mut self, tickets: Vec<(Ticket, OpResult)>) {
        for (ticket, result) in tickets {
            let work = self.under_way.values_mut().find(|work| work.open.contains(&ticket));
            if let Some(work) = work {
                work.open.remove(&ticket);
                work.error = work.error.take().or(result.err());
            }
        }
    }

    /// Those that are through, or that the kernel refused.
    pub(super) fn finished(
        &mut self,
        known: &Known,
        reconciler: &Reconciler,
        former: &Former,
        now: Time,
    ) -> Vec<(LinkName, Direction, Result<(), String>)> {
        let mut finished = Vec::new();
        let again = &mut self.again;
        self.under_way.retain(|link, work| {
            let Some(result) = work.result(known, reconciler, former, now) else { return true };
            if result.is_err() && work.direction == Direction::Down {
                again.insert(*link, (now + PAUSE, work.pod.clone()));
            }
            finished.push((*link, work.direction, result));
            false
        });
        finished
    }

    /// When the kernel is asked again to let go of a pod.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let ups =
            self.under_way.values().filter(|work| work.direction == Direction::Up && work.open.is_empty());
        self.again.values().map(|(time, _)| *time).chain(ups.map(|work| work.until)).min()
    }

    /// Time has passed.
    pub(super) fn timeout(&mut self, known: &mut Known, reconciler: &mut Reconciler, now: Time) {
        let due: Vec<Pod> =
            self.again.values().filter(|(time, _)| *time <= now).map(|(_, pod)| pod.clone()).collect();
        for pod in due {
            self.down(known, reconciler, &pod, now);
        }
    }

    /// Is this interface on its way in or out?
    pub(super) fn is_under_way(&self, link: LinkName) -> bool {
        self.under_way.contains_key(&link)
    }
}

impl Work {
    /// What came of it; `None` while it is under way.
    fn result(
        &self,
        known: &Known,
        reconciler: &Reconciler,
        former: &Former,
        now: Time,
    ) -> Option<Result<(), String>> {
        if !self.open.is_empty() {
            return None;
        }
        if let Some(error) = &self.error {
            return Some(Err(format!("{}: {error}", self.pod.link)));
        }
        if self.keys.iter().all(|key| reconciler.is_done(known, former, key)) {
            return self.policed(known, now);
        }
        let refusal = self.keys.iter().find_map(|key| reconciler.refusal(key).map(|error| (key, error)));
        refusal.map(|(key, error)| Err(format!("{key:?}: {error}")))
    }

    /// A pod that policies speak of comes up when all is known that they ask of others: before that, a rule that
    /// denies might not know whom.
    fn policed(&self, known: &Known, now: Time) -> Option<Result<(), String>> {
        let policies = &known.policies;
        let spoken_of = policies.is_waiting() || policies.speaks_of(self.pod.link);
        let waits = self.direction == Direction::Up && spoken_of;
        match known.lacks().filter(|_| waits) {
            None => Some(Ok(())),
            Some(_) if now < self.until => None,
            Some(what) => {
                Some(Err(format!("{}: the datastore has not said everything of {what}", self.pod.link)))
            }
        }
    }
}
