//! The endpoints joined with the allocator: inputs in, outputs out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use corduroy_bgp::Time;
use corduroy_ipc::cni::{CniAnswer, CniFailure, code};
use corduroy_kernel::{LinkName, NetnsId};
use ipnetwork::IpNetwork;

use super::directory::{Directory, Knowledge};
use super::journal::{self, Problem, Record};
use super::requests::Waiting;
use super::table::{Attachment, Check, Phase, Table, Teardown};
use super::tombstones::Tombstones;
use super::tunnels::Tunnels;
use super::{Endpoint, Input, Output, RequestId, Settings};
use crate::ipam::{Allocator, Effect, Owner};
use crate::pods::Pod;

/// How many lines the journal may have beyond twice what it would take to write it anew.
const SPARE_LINES: usize = 1024;

/// All attachments of this node and their addresses. See the module's head.
#[derive(Clone, Debug)]
pub struct Endpoints {
    pub(super) settings: Settings,
    pub(super) ipam: Allocator,
    pub(super) directory: Directory,
    pub(super) table: Table,
    /// Requests that can't start, in the order in which they came.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) teardowns: Vec<Teardown>,
    pub(super) checks: Vec<Check>,
    pub(super) tombstones: Tombstones,
    tunnels: Tunnels,
    pub(super) node: Node,
    /// The boot the journal is of, and how many lines it has.
    journal: (String, usize),
    out: VecDeque<Output>,
}

/// What requests need of the node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Were the pod interfaces in the kernel compared with the journal?
    pub(super) found: bool,
    /// Can pods be served, and if not, why?
    pub(super) ready: Result<(), String>,
    /// Why no new pods are taken in, though those that are here are served.
    pub(super) closed: Option<String>,
    /// The MTU of pods.
    pub(super) mtu: Option<u32>,
    /// Requests that failed since the start.
    pub(super) failed: u64,
}

impl Endpoints {
    /// The endpoints as a former run of this boot left them in its journal. Nothing is done before
    /// [`Input::Found`].
    #[must_use]
    pub fn new(owner: Owner, settings: Settings, journal: &[u8], boot: &str) -> (Self, Vec<Problem>) {
        let mut replay = journal::replay(journal, boot);
        let mut ipam = Allocator::new(owner, settings.ipam);
        let mut table = Table::new();
        for (device, addresses) in replay.tunnels {
            if let Ok(device) = LinkName::new(&device) {
                ipam.restore(device, &addresses);
            }
        }
        for entry in replay.entries {
            let Ok(link) = LinkName::new(&entry.link) else { continue };
            let taken = entry.addresses.iter().find_map(|a| ipam.holder(*a).map(|holder| (*a, holder)));
            if let Some((address, holder)) = taken {
                replay.problems.push(Problem::Twice { address, link, holder });
                continue;
            }
            ipam.restore(link, &entry.addresses);
            table.insert(link, Attachment::from_journal(link, entry));
        }
        for (address, until) in replay.resting {
            ipam.restore_resting(address, until);
        }
        let ready = Err("the agent has just started".to_owned());
        let endpoints = Self {
            settings,
            ipam,
            directory: Directory::default(),
            table,
            waiting: VecDeque::new(),
            teardowns: Vec::new(),
            checks: Vec::new(),
            tombstones: Tombstones::default(),
            tunnels: Tunnels::default(),
            node: Node { found: false, ready, closed: None, mtu: None, failed: 0 },
            journal: (boot.to_owned(), 0),
            out: VecDeque::new(),
        };
        (endpoints, replay.problems)
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Request { id, request, netns } => self.request(id, request, netns, now),
            Input::HungUp(id) => self.hung_up(id),
            Input::Found(pods) => self.found(pods, now),
            Input::Wired { link, result } => self.wired(link, result),
            Input::Unwired { link, result } => self.unwired(link, result, now),
            Input::Verified { link, problems } => self.verified(link, &problems),
            Input::Lost(link) => {
                if self.table.get(&link).is_some_and(Attachment::is_wired) {
                    self.unwire(link);
                }
            }
            Input::Ready(ready) => self.node.ready = ready,
            Input::Closed(closed) => self.node.closed = closed,
            Input::Mtu(mtu) => self.node.mtu = Some(mtu),
            Input::Pools(pools) => self.ipam.set_pools(pools, now),
            Input::Reserved(cidrs) => self.ipam.set_reserved(cidrs, now),
            Input::Knowledge(knowledge) => self.directory.knowledge = knowledge,
            Input::Pod(name, pod) => set(&mut self.directory.pods, name, pod),
            Input::Namespace(name, namespace) => set(&mut self.directory.namespaces, name, namespace),
            Input::Block(block) => self.ipam.block_put(&block, now),
            Input::BlockGone(cidr) => self.ipam.block_gone(cidr, now),
            Input::InSync => self.ipam.set_in_sync(now),
            Input::Written { key, result } => self.ipam.written(&key, &result, now),
            Input::Tunnel { device, family, wanted } => {
                self.tunnels.wish(device, family, wanted);
            }
            Input::NoTunnel(device) => self.no_tunnel(device, now),
        }
        self.advance(now);
    }

    /// What has to be done next; in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Endpoints::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.waiting.iter().filter_map(|w| w.deadline).chain(self.ipam.next_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.ipam.handle_timeout(now);
        self.advance(now);
        self.out_of_patience(now);
    }

    /// How well pods and namespaces are known.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.directory.knowledge
    }

    /// The allocator, for those who want to know about blocks and addresses.
    #[must_use]
    pub fn ipam(&self) -> &Allocator {
        &self.ipam
    }

    /// Is this block of ours on its way back, so that it must not be announced any more?
    #[must_use]
    pub fn is_leaving(&self, cidr: IpNetwork) -> bool {
        self.ipam.is_leaving(cidr)
    }

    /// Every attachment, by the host's interface.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.table.values().map(Attachment::to_endpoint)
    }

    /// Requests that are under way, and requests that failed since the start.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        let busy = self.table.values().filter(|a| !a.is_wired()).count();
        (self.waiting.len() + busy, self.node.failed)
    }

    /// Starts what can start, serves tunnels and passes the allocator's wishes on.
    fn advance(&mut self, now: Time) {
        if self.node.found {
            self.serve_tunnels(now);
            self.start_waiting(now);
        }
        while let Some(effect) = self.ipam.poll() {
            self.out.push_back(match effect {
                Effect::Write(write) => Output::Write(write),
                Effect::BlockChanged(cidr) => Output::BlockChanged(cidr),
            });
        }
    }

    fn found(&mut self, pods: Vec<Pod>, now: Time) {
        if self.node.found {
            return;
        }
        self.node.found = true;
        let links: BTreeSet<LinkName> = pods.iter().map(|pod| pod.link).collect();
        for pod in pods {
            let free = pod.addresses.iter().all(|address| self.ipam.holder(*address).is_none());
            if !self.table.contains_key(&pod.link) && free {
                self.ipam.restore(pod.link, &pod.addresses);
                let unknown = Attachment { key: None, owner: None, pod, started: 0, phase: Phase::Wired };
                self.table.insert(unknown.pod.link, unknown);
            }
        }
        self.rewrite_journal();
        for (link, attachment) in &mut self.table {
            if attachment.is_wired() && links.contains(link) {
                self.out.push_back(Output::Keep(attachment.pod.clone()));
            } else {
                attachment.phase = Phase::Unwiring { netns: None };
                self.out.push_back(Output::Unwire(attachment.pod.clone()));
            }
        }
        self.ipam.handle_timeout(now);
    }

    fn wired(&mut self, link: LinkName, result: Result<(), String>) {
        let Some(attachment) = self.table.get_mut(&link) else { return };
        let Phase::Wiring { id, netns, ifname } = attachment.phase else { return };
        match result {
            Ok(()) => {
                attachment.phase = Phase::Wired;
                let added = CniAnswer::Added(attachment.added(ifname));
                self.record(&Record::Wired { link: link.to_string() });
                self.out.push_back(Output::CloseNetns(netns));
                self.out.push_back(Output::Answer { id, answer: added });
            }
            Err(why) => {
                let failure = CniFailure::new(code::KERNEL, "the kernel refused to wire the container");
                self.fail(Some(id), failure.details(why));
                self.unwire(link);
            }
        }
    }

    fn unwired(&mut self, link: LinkName, result: Result<(), String>, now: Time) {
        let Some(Phase::Unwiring { netns }) = self.table.get(&link).map(|a| &a.phase) else { return };
        let netns = *netns;
        if let Err(why) = result {
            let failed: Vec<_> = self.teardowns.extract_if(.., |t| t.links.contains(&link)).collect();
            for teardown in failed {
                let failure = CniFailure::new(code::KERNEL, format!("the kernel refused to remove {link}"));
                self.fail(Some(teardown.id), failure.details(why.clone()));
            }
            return;
        }
        self.close(netns);
        self.table.remove(&link);
        self.ipam.release(link, now);
        self.dropped(link, now);
        for teardown in &mut self.teardowns {
            teardown.links.remove(&link);
        }
        self.answer_teardowns();
    }

    /// Answers those whose interfaces are all gone.
    pub(super) fn answer_teardowns(&mut self) {
        for teardown in self.teardowns.extract_if(.., |t| t.links.is_empty()) {
            self.out.push_back(Output::Answer { id: teardown.id, answer: CniAnswer::Done });
        }
    }

    /// Begins to unwire, whatever the attachment was doing. The plugin that was having it wired is told
    /// nothing here.
    pub(super) fn unwire(&mut self, link: LinkName) {
        let Some(attachment) = self.table.get_mut(&link) else { return };
        let netns = match attachment.phase {
            Phase::Wiring { netns, .. } => Some(netns),
            Phase::Wired => None,
            Phase::Unwiring { .. } => return,
        };
        attachment.phase = Phase::Unwiring { netns };
        let pod = attachment.pod.clone();
        self.out.push_back(Output::Unwire(pod));
        self.fail_checks(link, "it was removed meanwhile");
    }

    pub(super) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Answers with a failure, if there is somebody to answer.
    pub(super) fn fail(&mut self, id: Option<RequestId>, failure: CniFailure) {
        self.node.failed += 1;
        if let Some(id) = id {
            self.out.push_back(Output::Answer { id, answer: CniAnswer::Failed(failure) });
        }
    }
}

/// Journal and tunnels.
impl Endpoints {
    pub(super) fn record(&mut self, record: &Record) {
        self.out.push_back(Output::Append(journal::line(record)));
        self.journal.1 += 1;
        let needed = self.table.len() + self.ipam.resting().count();
        if self.journal.1 > 2 * needed + SPARE_LINES {
            self.rewrite_journal();
        }
    }

    fn rewrite_journal(&mut self) {
        let devices = self.ipam.used().map(|(_, holder)| holder).filter(|holder| !holder.is_pod());
        let devices: BTreeSet<LinkName> = devices.collect();
        let tunnels = devices.into_iter().map(|device| tunnel_record(&self.ipam, device));
        let entries = self.table.values().map(|attachment| Record::Wiring(attachment.to_journal()));
        let resting = self.ipam.resting().map(|(until, address)| Record::Resting { address, until: until.0 });
        let records: Vec<Record> = tunnels.chain(entries).chain(resting).collect();
        self.journal.1 = 1 + records.len();
        let lines = records.iter().map(journal::line);
        let text = std::iter::once(journal::header(&self.journal.0)).chain(lines).collect();
        self.out.push_back(Output::Rewrite(text));
    }

    fn dropped(&mut self, link: LinkName, now: Time) {
        let until = now + self.settings.ipam.rest;
        self.record(&Record::Dropped { link: link.to_string(), until: until.0 });
    }

    fn serve_tunnels(&mut self, now: Time) {
        let (answers, changed) = self.tunnels.serve(&mut self.ipam, now);
        for device in changed {
            self.record(&tunnel_record(&self.ipam, device));
        }
        self.out.extend(answers);
    }

    fn no_tunnel(&mut self, device: LinkName, now: Time) {
        self.tunnels.forget(device);
        if !self.ipam.release(device, now).is_empty() {
            self.dropped(device, now);
        }
    }

    pub(super) fn close(&mut self, netns: Option<NetnsId>) {
        self.out.extend(netns.map(Output::CloseNetns));
    }
}

fn set<T>(map: &mut BTreeMap<String, Arc<T>>, name: String, what: Option<Arc<T>>) {
    match what {
        Some(what) => map.insert(name, what),
        None => map.remove(&name),
    };
}

fn tunnel_record(ipam: &Allocator, device: LinkName) -> Record {
    Record::Tunnel { device: device.to_string(), addresses: ipam.addresses(device).to_vec() }
}
