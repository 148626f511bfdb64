//! A node in a few lines: journal, kernel, datastore and plugins, all of which outlive the agent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{IpamBlock, Resource, Version, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_ipc::cni::{Add, Added, AttachmentKey, CniAnswer, CniRequest, Del};
use corduroy_kernel::{LinkName, NetnsId};

use super::super::*;
use crate::ipam::{Owner, Pool};
use crate::pods::Pod;

const BOOT: &str = "0d7c2f3a";

pub(super) struct World {
    pub(super) agent: Endpoints,
    pub(super) now: Time,
    pub(super) journal: Vec<u8>,
    pub(super) kernel: BTreeMap<LinkName, Pod>,
    pub(super) store: BTreeMap<String, IpamBlock>,
    /// What the agent wants done of the kernel and has not been done.
    pub(super) kernel_work: VecDeque<Output>,
    pub(super) answers: BTreeMap<RequestId, CniAnswer>,
    pub(super) open: BTreeSet<NetnsId>,
    pub(super) seen: Vec<Output>,
    pub(super) next: u64,
    pub(super) cidr: &'static str,
}

impl World {
    pub(super) fn new(cidr: &'static str) -> Self {
        let mut world = Self {
            agent: Endpoints::new(owner(), Settings::default(), b"", BOOT).0,
            now: Time(1_000_000_000),
            journal: Vec::new(),
            kernel: BTreeMap::new(),
            store: BTreeMap::new(),
            kernel_work: VecDeque::new(),
            answers: BTreeMap::new(),
            open: BTreeSet::new(),
            seen: Vec::new(),
            next: 0,
            cidr,
        };
        world.start(b"");
        world
    }

    /// A fresh agent, brought in sync but with nothing carried out yet.
    pub(super) fn start(&mut self, journal: &[u8]) -> Vec<Problem> {
        let (agent, problems) = Endpoints::new(owner(), Settings::default(), journal, BOOT);
        self.agent = agent;
        self.kernel_work.clear();
        self.open.clear();
        let cidr = self.cidr.parse().unwrap();
        let pool = Pool {
            name: "p".into(),
            cidr,
            block_len: 30,
            for_pods: true,
            for_tunnels: true,
            automatic: true,
            namespaces: None,
            given: false,
        };
        self.tell(Input::Pools(vec![pool]));
        for block in self.store.values().cloned().collect::<Vec<_>>() {
            self.tell(Input::Block(Arc::new(block)));
        }
        self.tell(Input::InSync);
        self.tell(Input::Mtu(1500));
        self.tell(Input::Found(self.kernel.values().cloned().collect()));
        self.tell(Input::Ready(Ok(())));
        problems
    }

    /// The process is killed: what it had not carried out is lost, and its last journal line may be torn.
    pub(super) fn kill(&mut self, torn: usize) {
        if torn > 0 && self.journal.last() == Some(&b'\n') && !self.seen.is_empty() {
            // Only what was being written at that moment can be torn.
            if let Some(Output::Append(line)) = self.agent.poll() {
                let cut = torn.min(line.len() - 1);
                self.journal.extend_from_slice(&line.as_bytes()[..cut]);
            }
        }
        let journal = std::mem::take(&mut self.journal);
        self.journal.clone_from(&journal);
        self.start(&journal);
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.agent.handle(input, self.now);
    }

    /// Carries out one output.
    pub(super) fn carry(&mut self) -> bool {
        let Some(output) = self.agent.poll() else { return false };
        self.seen.push(output.clone());
        match output {
            Output::Append(line) => self.journal.extend_from_slice(line.as_bytes()),
            Output::Rewrite(text) => self.journal = text.into_bytes(),
            Output::Write(write) => {
                let (key, result) = (write.key(), self.write(&write));
                let stands = self.store.get(&key.name).cloned();
                self.tell(Input::Written { key, result });
                if let Some(block) = stands {
                    self.tell(Input::Block(Arc::new(block)));
                }
            }
            Output::Wire { .. } | Output::Unwire(_) => self.kernel_work.push_back(output),
            Output::CloseNetns(netns) => assert!(self.open.remove(&netns), "{netns:?} closed twice"),
            Output::Answer { id, answer } => {
                assert!(self.answers.insert(id, answer).is_none(), "{id:?} answered twice");
            }
            Output::Verify { link, .. } => {
                let gone = !self.kernel.contains_key(&link);
                let problems = gone.then(|| "no such interface".to_owned()).into_iter().collect();
                self.tell(Input::Verified { link, problems });
            }
            Output::Keep(pod) => assert!(self.kernel.get(&pod.link).is_none_or(|there| *there == pod)),
            Output::BlockChanged(_) | Output::TunnelAddress { .. } | Output::Warn(_) => {}
        }
        true
    }

    pub(super) fn write(&mut self, write: &Write) -> Result<Version, WriteError> {
        let key = write.key();
        match write {
            Write::Create(Resource::IpamBlock(block)) => {
                if self.store.contains_key(&key.name) {
                    return Err(WriteError::Exists { key });
                }
                let mut block = IpamBlock::clone(block);
                block.metadata.resource_version = Some("1".into());
                self.store.insert(key.name, block);
            }
            _ => drop(self.store.remove(&key.name)),
        }
        Ok(Version("1".into()))
    }

    /// The kernel does one thing.
    pub(super) fn apply(&mut self) -> bool {
        let Some(work) = self.kernel_work.pop_front() else { return false };
        match work {
            Output::Wire { pod, netns, .. } => {
                assert!(self.open.contains(&netns), "wired into a namespace that was given back");
                for other in self.kernel.values() {
                    let shared = other.addresses.iter().find(|a| pod.addresses.contains(a));
                    assert_eq!(shared, None, "{} and {}", other.link, pod.link);
                }
                let link = pod.link;
                self.kernel.insert(link, pod);
                self.tell(Input::Wired { link, result: Ok(()) });
            }
            Output::Unwire(pod) => {
                self.kernel.remove(&pod.link);
                self.tell(Input::Unwired { link: pod.link, result: Ok(()) });
            }
            _ => {}
        }
        true
    }

    pub(super) fn settle(&mut self) {
        while self.carry() || self.apply() {}
    }

    pub(super) fn ask(&mut self, request: CniRequest) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        let netns = matches!(request, CniRequest::Add(_) | CniRequest::Check { .. }).then(|| {
            let netns = NetnsId(u32::try_from(self.next).unwrap());
            self.open.insert(netns);
            netns
        });
        self.tell(Input::Request { id, request, netns });
        id
    }

    pub(super) fn add(&mut self, n: u64) -> RequestId {
        let started = self.next;
        self.ask(CniRequest::Add(add(n, started)))
    }

    pub(super) fn del(&mut self, n: u64) -> RequestId {
        let started = self.next;
        self.ask(CniRequest::Del(Del { key: key(n), started }))
    }

    pub(super) fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
        self.agent.handle_timeout(self.now);
    }

    pub(super) fn answer(&mut self, id: RequestId) -> &CniAnswer {
        self.settle();
        self.answers.get(&id).unwrap_or_else(|| panic!("{id:?} has no answer"))
    }

    pub(super) fn added(&mut self, id: RequestId) -> Added {
        match self.answer(id).clone() {
            CniAnswer::Added(added) => added,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn failure(&mut self, id: RequestId) -> u32 {
        match self.answer(id).clone() {
            CniAnswer::Failed(failure) => failure.code,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn owner() -> Owner {
    Owner { node: "n1".into(), uid: "u1".into(), first_epoch: 1 }
}

pub(super) fn key(n: u64) -> AttachmentKey {
    AttachmentKey { network: "fabric".into(), container_id: format!("c{n}"), ifname: "eth0".into() }
}

pub(super) fn add(n: u64, started: u64) -> Add {
    Add { key: key(n), pod: None, ips: vec![], mac: None, pools: vec![], mtu: None, started }
}

pub(super) fn link(n: u64) -> LinkName {
    LinkName::pod(key(n).hash())
}
