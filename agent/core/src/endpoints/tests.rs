//! A node in a few lines: journal, kernel, datastore and plugins, all of which outlive the agent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{IpamBlock, Resource, Version, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_ipc::cni::{Add, Added, AttachmentKey, CniAnswer, CniRequest, Del, ValidAttachment, code};
use corduroy_kernel::{Family, LinkName, NetnsId};
use proptest::prelude::*;

use super::*;
use crate::ipam::{Owner, Pool};
use crate::pods::Pod;

const BOOT: &str = "0d7c2f3a";

struct World {
    agent: Endpoints,
    now: Time,
    journal: Vec<u8>,
    kernel: BTreeMap<LinkName, Pod>,
    store: BTreeMap<String, IpamBlock>,
    /// What the agent wants done of the kernel and has not been done.
    kernel_work: VecDeque<Output>,
    answers: BTreeMap<RequestId, CniAnswer>,
    open: BTreeSet<NetnsId>,
    seen: Vec<Output>,
    next: u64,
    cidr: &'static str,
}

impl World {
    fn new(cidr: &'static str) -> Self {
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
    fn start(&mut self, journal: &[u8]) -> Vec<Problem> {
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
    fn kill(&mut self, torn: usize) {
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

    fn tell(&mut self, input: Input) {
        self.agent.handle(input, self.now);
    }

    /// Carries out one output.
    fn carry(&mut self) -> bool {
        let Some(output) = self.agent.poll() else { return false };
        self.seen.push(output.clone());
        match output {
            Output::Append(line) => self.journal.extend_from_slice(line.as_bytes()),
            Output::Rewrite(text) => self.journal = text.into_bytes(),
            Output::Write(write) => {
                let (key, result) = (write.key(), self.write(&write));
                self.tell(Input::Written { key, result });
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
            Output::BlockChanged(_) | Output::TunnelAddress { .. } => {}
        }
        true
    }

    fn write(&mut self, write: &Write) -> Result<Version, WriteError> {
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
    fn apply(&mut self) -> bool {
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

    fn settle(&mut self) {
        while self.carry() || self.apply() {}
    }

    fn ask(&mut self, request: CniRequest) -> RequestId {
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

    fn add(&mut self, n: u64) -> RequestId {
        let started = self.next;
        self.ask(CniRequest::Add(add(n, started)))
    }

    fn del(&mut self, n: u64) -> RequestId {
        let started = self.next;
        self.ask(CniRequest::Del(Del { key: key(n), started }))
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
        self.agent.handle_timeout(self.now);
    }

    fn answer(&mut self, id: RequestId) -> &CniAnswer {
        self.settle();
        self.answers.get(&id).unwrap_or_else(|| panic!("{id:?} has no answer"))
    }

    fn added(&mut self, id: RequestId) -> Added {
        match self.answer(id).clone() {
            CniAnswer::Added(added) => added,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&mut self, id: RequestId) -> u32 {
        match self.answer(id).clone() {
            CniAnswer::Failed(failure) => failure.code,
            other => panic!("{other:?}"),
        }
    }
}

fn owner() -> Owner {
    Owner { node: "n1".into(), uid: "u1".into(), first_epoch: 1 }
}

fn key(n: u64) -> AttachmentKey {
    AttachmentKey { network: "fabric".into(), container_id: format!("c{n}"), ifname: "eth0".into() }
}

fn add(n: u64, started: u64) -> Add {
    Add { key: key(n), pod: None, ips: vec![], mac: None, pools: vec![], mtu: None, started }
}

fn link(n: u64) -> LinkName {
    LinkName::pod(key(n).hash())
}

#[test]
fn an_add_is_journalled_wired_and_answered_in_this_order() {
    let mut world = World::new("10.0.0.0/24");
    world.settle();
    world.seen.clear();
    let id = world.add(1);
    let added = world.added(id);
    assert_eq!((added.host.name, added.container.name), (key(1).host_interface(), "eth0".to_owned()));
    assert_eq!((added.ips[0].address.prefix(), added.ips[0].gateway), (32, IpAddr::from([169, 254, 1, 1])));
    assert_eq!(added.routes[0].dst.to_string(), "0.0.0.0/0");
    let order: Vec<&str> = world
        .seen
        .iter()
        .map(|output| match output {
            Output::Append(_) => "journal",
            Output::Wire { .. } => "wire",
            Output::CloseNetns(_) => "close",
            Output::Answer { .. } => "answer",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, ["journal", "wire", "journal", "close", "answer"]);
}

#[test]
fn a_del_is_idempotent_and_its_address_rests() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    let address = world.added(id).ips[0].address.ip();
    for _ in 0..3 {
        let id = world.del(1);
        assert_eq!(world.answer(id), &CniAnswer::Done);
    }
    assert!(world.kernel.is_empty());
    assert_eq!(world.agent.ipam().resting().map(|(_, a)| a).collect::<Vec<_>>(), [address]);
}

#[test]
fn a_del_that_overtakes_its_add_leaves_a_tombstone_for_that_add_only() {
    let mut world = World::new("10.0.0.0/24");
    let late = add(1, 5);
    let del = world.ask(CniRequest::Del(Del { key: key(1), started: 9 }));
    assert_eq!(world.answer(del), &CniAnswer::Done);
    let id = world.ask(CniRequest::Add(late));
    assert_eq!(world.failure(id), code::SUPERSEDED);
    let id = world.ask(CniRequest::Add(add(1, 10)));
    world.added(id);
}

#[test]
fn a_del_ends_an_add_that_is_under_way_and_one_that_waits() {
    let mut world = World::new("10.0.0.0/24");
    world.settle();
    let wiring = world.add(1);
    while world.carry() {}
    assert_eq!(world.kernel_work.len(), 1);
    let del = world.del(1);
    assert_eq!(world.failure(wiring), code::SUPERSEDED);
    assert_eq!(world.answer(del), &CniAnswer::Done);
    world.tell(Input::Ready(Err("the datastore is away".into())));
    let (waiting, del) = (world.add(2), world.del(2));
    world.tell(Input::Ready(Ok(())));
    // Started in the order in which they came: the ADD is under way when the DEL ends it.
    assert_eq!(world.failure(waiting), code::SUPERSEDED);
    assert_eq!(world.answer(del), &CniAnswer::Done);
    assert!(world.kernel.is_empty() && world.open.is_empty());
}

#[test]
fn a_plugin_that_hangs_up_is_rolled_back() {
    let mut world = World::new("10.0.0.0/24");
    world.settle();
    let id = world.add(1);
    while world.carry() {}
    world.tell(Input::HungUp(id));
    world.settle();
    assert!(world.kernel.is_empty() && world.open.is_empty() && !world.answers.contains_key(&id));
    assert_eq!(world.agent.ipam().used().count(), 0);
}

#[test]
fn a_refusal_of_the_kernel_is_told_and_rolled_back() {
    let mut world = World::new("10.0.0.0/24");
    world.settle();
    let id = world.add(1);
    while world.carry() {}
    world.kernel_work.clear();
    world.tell(Input::Wired { link: link(1), result: Err("eth0 exists in the namespace".into()) });
    let answer = world.answer(id).clone();
    assert!(matches!(&answer, CniAnswer::Failed(f) if f.to_string().contains("eth0 exists")), "{answer:?}");
    assert_eq!(world.agent.ipam().used().count(), 0);
}

#[test]
fn a_del_that_the_kernel_refuses_keeps_the_address_until_the_link_is_gone() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    world.added(id);
    let id = world.del(1);
    while world.carry() {}
    world.tell(Input::Unwired { link: link(1), result: Err("busy".into()) });
    while world.carry() {}
    assert!(matches!(world.answers.get(&id), Some(CniAnswer::Failed(f)) if f.code == code::KERNEL));
    assert_eq!(world.agent.ipam().used().count(), 1);
    world.settle();
    assert_eq!(world.agent.ipam().used().count(), 0);
}

#[test]
fn who_waits_too_long_is_told_to_try_again_later_but_a_del_is_not_forgotten() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    world.added(id);
    world.tell(Input::Ready(Err("IPPool: permission denied".into())));
    let (add, del) = (world.add(2), world.del(1));
    world.pass(Duration::from_secs(7));
    world.settle();
    assert!(!world.answers.contains_key(&add));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.failure(add), code::TRY_AGAIN_LATER);
    let CniAnswer::Failed(failure) = world.answer(del) else { panic!("a DEL that was not done") };
    assert!(failure.details.contains("permission denied"));
    world.tell(Input::Ready(Ok(())));
    world.settle();
    assert!(world.kernel.is_empty() && world.open.is_empty());
}

#[test]
fn status_tells_at_once_whether_an_add_could_be_served() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.ask(CniRequest::Status);
    assert_eq!(world.answer(id), &CniAnswer::Done);
    world.tell(Input::Ready(Err("no node address".into())));
    let id = world.ask(CniRequest::Status);
    assert_eq!(world.failure(id), code::NOT_AVAILABLE);
}

#[test]
fn a_check_compares_addresses_and_kernel() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    let ip = world.added(id).ips[0].address;
    let check = |n, ips: Vec<IpNetwork>| CniRequest::Check { key: key(n), ips };
    let id = world.ask(check(1, vec![ip]));
    assert_eq!(world.answer(id), &CniAnswer::Done);
    let id = world.ask(check(1, vec!["10.9.9.9/32".parse().unwrap()]));
    assert_eq!(world.failure(id), code::CHECK_FAILED);
    let id = world.ask(check(2, vec![]));
    assert_eq!(world.failure(id), code::CHECK_FAILED);
    world.kernel.clear();
    let id = world.ask(check(1, vec![ip]));
    assert_eq!(world.failure(id), code::CHECK_FAILED);
    assert!(world.open.is_empty());
}

#[test]
fn gc_removes_what_is_not_in_the_list_and_stays_in_its_network() {
    let mut world = World::new("10.0.0.0/24");
    for n in 1..=3 {
        let id = world.add(n);
        world.added(id);
    }
    let valid = vec![ValidAttachment { container_id: "c2".into(), ifname: "eth0".into() }];
    let id = world.ask(CniRequest::Gc { network: "another".into(), valid: vec![] });
    assert_eq!(world.answer(id), &CniAnswer::Done);
    assert_eq!(world.kernel.len(), 3);
    let id = world.ask(CniRequest::Gc { network: "fabric".into(), valid });
    assert_eq!(world.answer(id), &CniAnswer::Done);
    assert_eq!(world.kernel.keys().copied().collect::<Vec<_>>(), [link(2)]);
}

#[test]
fn a_second_add_of_a_wired_attachment_is_refused_and_harms_nothing() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    let first = world.added(id);
    let id = world.add(1);
    assert_eq!(world.failure(id), code::ALREADY_ATTACHED);
    assert_eq!(world.kernel[&link(1)].addresses, [first.ips[0].address.ip()]);
}

#[test]
fn a_restart_keeps_what_was_wired_and_rolls_back_what_was_not() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    world.added(id);
    world.add(2);
    while world.carry() {}
    world.apply();
    // The link of 2 is there, but its plugin was never answered.
    assert_eq!(world.kernel.len(), 2);
    world.kill(0);
    world.settle();
    assert_eq!(world.kernel.keys().copied().collect::<Vec<_>>(), [link(1)]);
    assert_eq!(world.agent.ipam().used().count(), 1);
}

#[test]
fn without_a_journal_the_pods_in_the_kernel_keep_their_links_and_addresses() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    let address = world.added(id).ips[0].address.ip();
    world.journal = b"not a journal at all\n".to_vec();
    let journal = world.journal.clone();
    assert_eq!(world.start(&journal), [Problem::NoHeader]);
    world.settle();
    assert_eq!(world.agent.ipam().holder(address), Some(link(1)));
    // A DEL finds the link by its hash although nothing else is known of it; GC leaves it alone.
    let id = world.ask(CniRequest::Gc { network: "fabric".into(), valid: vec![] });
    assert_eq!(world.answer(id), &CniAnswer::Done);
    assert_eq!(world.kernel.len(), 1);
    let id = world.del(1);
    assert_eq!(world.answer(id), &CniAnswer::Done);
    assert!(world.kernel.is_empty());
}

#[test]
fn a_lost_namespace_frees_what_it_had() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    world.added(id);
    world.kernel.clear();
    world.tell(Input::Lost(link(1)));
    world.settle();
    assert_eq!(world.agent.ipam().used().count(), 0);
}

#[test]
fn a_tunnel_device_gets_the_address_it_had_or_another_and_keeps_it_over_a_restart() {
    let mut world = World::new("10.0.0.0/24");
    world.settle();
    let ask = |wanted: Option<&str>| Input::Tunnel {
        device: LinkName::VXLAN,
        family: Family::V4,
        wanted: wanted.map(|a| a.parse().unwrap()),
    };
    let told = |world: &mut World| {
        world.seen.clear();
        world.settle();
        world.seen.iter().rev().find_map(|output| match output {
            Output::TunnelAddress { result, .. } => Some(result.clone()),
            _ => None,
        })
    };
    world.tell(ask(Some("192.0.2.1")));
    let address = told(&mut world).unwrap().unwrap();
    world.kill(0);
    world.tell(ask(None));
    assert_eq!(told(&mut world), Some(Ok(address)));
    world.tell(Input::NoTunnel(LinkName::VXLAN));
    world.settle();
    assert_eq!(world.agent.ipam().used().count(), 0);
}

#[test]
fn the_journal_is_written_anew_before_it_grows_without_bound() {
    let mut world = World::new("10.0.0.0/24");
    for _ in 0..1000 {
        let (add, del) = (world.add(1), world.del(1));
        world.settle();
        assert!(world.answers.contains_key(&add) && world.answers.contains_key(&del));
        world.pass(Duration::from_secs(31));
    }
    let lines = world.journal.iter().filter(|octet| **octet == b'\n').count();
    assert!(lines < 1100, "{lines} lines");
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Del(u64),
    HangUp(u64),
    Carry(usize),
    Apply(usize),
    LoseNamespace(u64),
    Pass(u64),
    Kill(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6u64).prop_map(Step::Add),
        4 => (0..6u64).prop_map(Step::Del),
        1 => (0..4u64).prop_map(Step::HangUp),
        8 => (1..6usize).prop_map(Step::Carry),
        5 => (1..3usize).prop_map(Step::Apply),
        1 => (0..6u64).prop_map(Step::LoseNamespace),
        2 => (1..40u64).prop_map(Step::Pass),
        2 => (0..80usize).prop_map(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn killed_anywhere_no_address_is_used_twice_and_none_leaks(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new("10.0.0.0/28");
        // What the runtime believes is attached: it was told so and has not asked for its removal.
        let mut attached: BTreeMap<u64, (RequestId, Vec<IpAddr>)> = BTreeMap::new();
        let mut asked: BTreeMap<RequestId, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(n) => drop(asked.insert(world.add(n), n)),
                Step::Del(n) => {
                    attached.remove(&n);
                    asked.retain(|_, of| *of != n);
                    world.del(n);
                }
                Step::HangUp(ago) => {
                    let id = RequestId(world.next.saturating_sub(ago));
                    if !world.answers.contains_key(&id) {
                        world.tell(Input::HungUp(id));
                        asked.remove(&id);
                    }
                }
                Step::Carry(times) => drop((0..times).take_while(|_| world.carry()).count()),
                Step::Apply(times) => drop((0..times).take_while(|_| world.apply()).count()),
                Step::LoseNamespace(n) => {
                    if world.kernel.remove(&link(n)).is_some() {
                        attached.remove(&n);
                        asked.retain(|_, of| *of != n);
                        world.tell(Input::Lost(link(n)));
                    }
                }
                Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
                Step::Kill(torn) => {
                    asked.retain(|id, _| world.answers.contains_key(id));
                    world.kill(torn);
                }
            }
            for (id, n) in &asked {
                if let Some(CniAnswer::Added(added)) = world.answers.get(id) {
                    let ips = added.ips.iter().map(|ip| ip.address.ip()).collect();
                    attached.insert(*n, (*id, ips));
                }
            }
            asked.retain(|id, _| !world.answers.contains_key(id));
            for (n, (_, ips)) in &attached {
                let pod = world.kernel.get(&link(*n));
                prop_assert_eq!(pod.map(|pod| &pod.addresses), Some(ips), "attachment {}", n);
                for ip in ips {
                    prop_assert_eq!(world.agent.ipam().holder(*ip), Some(link(*n)));
                }
            }
        }
        world.settle();
        for n in 0..6 {
            world.del(n);
            world.settle();
        }
        prop_assert!(world.kernel.is_empty(), "{:?}", world.kernel);
        prop_assert_eq!(world.agent.ipam().used().count(), 0);
        prop_assert!(world.open.is_empty(), "{:?} never given back", world.open);
        prop_assert_eq!(world.agent.iter().count(), 0);
        world.kill(0);
        prop_assert_eq!(world.agent.iter().count(), 0);
    }
}
