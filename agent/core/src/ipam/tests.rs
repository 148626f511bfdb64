//! Stories of one or more nodes that share pools through a datastore of a few lines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_api::block::block_name;
use corduroy_api::{IpamBlock, Resource, Version, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_kernel::{Family, LinkName};
use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;

mod fixed;

/// A compare-and-swap datastore: objects by name, with a version that grows.
#[derive(Default)]
struct Store {
    blocks: BTreeMap<String, IpamBlock>,
    version: u64,
}

impl Store {
    fn write(&mut self, write: &Write) -> Result<Version, WriteError> {
        let key = write.key();
        self.version += 1;
        match write {
            Write::Create(Resource::IpamBlock(_)) if self.blocks.contains_key(&key.name) => {
                Err(WriteError::Exists { key })
            }
            Write::Create(Resource::IpamBlock(block)) => {
                let mut block = IpamBlock::clone(block);
                block.metadata.resource_version = Some(self.version.to_string());
                self.blocks.insert(key.name, block);
                Ok(Version(self.version.to_string()))
            }
            Write::Delete { version, .. } => match self.blocks.get(&key.name) {
                None => Err(WriteError::NotFound { key }),
                Some(b) if b.metadata.resource_version.as_ref() != Some(&version.0) => {
                    Err(WriteError::Conflict { key })
                }
                Some(_) => {
                    self.blocks.remove(&key.name);
                    Ok(Version(self.version.to_string()))
                }
            },
            Write::Update(Resource::IpamBlock(block)) => {
                let stands =
                    self.blocks.get_mut(&key.name).ok_or(WriteError::NotFound { key: key.clone() })?;
                if stands.metadata.resource_version != block.metadata.resource_version {
                    return Err(WriteError::Conflict { key });
                }
                *stands = IpamBlock::clone(block);
                stands.metadata.resource_version = Some(self.version.to_string());
                Ok(Version(self.version.to_string()))
            }
            other => panic!("the allocator writes blocks, not {other:?}"),
        }
    }

    /// Carries out what `node` wants, and tells it the outcome and shows it what became of it at once.
    fn serve(&mut self, node: &mut Allocator, now: Time) -> usize {
        let mut writes = 0;
        while let Some(effect) = node.poll() {
            if let Effect::Write(write) = effect {
                let before = self.blocks.get(&write.key().name).map(|block| block.cidr);
                let result = self.write(&write);
                node.written(&write.key(), &result, now);
                if result.is_ok() {
                    match (self.blocks.get(&write.key().name), before) {
                        (Some(block), _) => node.block_put(block, now),
                        (None, Some(cidr)) => node.block_gone(cidr, now),
                        (None, None) => {}
                    }
                }
                writes += 1;
            }
        }
        writes
    }

    /// Shows everything there is to a node, in no order, as a list does.
    fn show(&self, node: &mut Allocator, now: Time) {
        self.blocks.values().for_each(|block| node.block_put(block, now));
    }
}

fn seconds(s: u64) -> Time {
    Time(s * 1_000_000_000)
}

fn pool(name: &str, cidr: &str, block_len: u8) -> Pool {
    let cidr: IpNetwork = cidr.parse().unwrap();
    Pool {
        name: name.into(),
        cidr,
        block_len,
        for_pods: true,
        for_tunnels: true,
        automatic: true,
        namespaces: None,
        given: false,
    }
}

fn node(name: &str, pools: &[Pool]) -> Allocator {
    let mut node = restarted(name, 1, pools);
    node.set_in_sync(seconds(0));
    node
}

/// A node that has just started and knows its pools.
fn restarted(name: &str, first_epoch: u64, pools: &[Pool]) -> Allocator {
    let owner = Owner { node: name.into(), uid: format!("uid-of-{name}"), first_epoch };
    let mut node = Allocator::new(owner, Settings::default());
    node.set_pools(pools.to_vec(), seconds(0));
    node
}

fn pod(n: u64) -> LinkName {
    LinkName::pod(n)
}

fn any() -> Request {
    Request::any(Purpose::Pod)
}

fn wants(address: IpAddr) -> Request {
    Request { wanted: vec![address], ..any() }
}

fn blocks(node: &Allocator) -> Vec<IpNetwork> {
    node.usage().map(|block| block.cidr).collect()
}

#[test]
fn a_block_of_each_family_is_claimed_before_the_first_pod_comes() {
    let pools = [pool("v4", "10.0.0.0/16", 26), pool("v6", "fd00::/64", 122)];
    let (mut store, mut a) = (Store::default(), node("a", &pools));
    assert!(matches!(a.assign(pod(1), &any(), seconds(0)), Err(AssignError::Pending(_))));
    assert_eq!(store.serve(&mut a, seconds(0)), 2);
    let addresses = a.assign(pod(1), &any(), seconds(0)).unwrap();
    assert_eq!(addresses.iter().map(|a| Family::of(*a)).collect::<Vec<_>>(), Family::ALL);
    assert!(addresses.iter().all(|address| blocks(&a).iter().any(|block| block.contains(*address))));
    let claimed = store.blocks.values().next().unwrap();
    assert_eq!((claimed.node.as_str(), claimed.node_uid.as_str(), claimed.epoch), ("a", "uid-of-a", 1));
}

#[test]
fn a_block_that_only_a_snapshot_knows_serves_pods_whenever_pools_are_told_anew() {
    let pools = [pool("p", "10.0.0.0/16", 26)];
    let (mut store, mut former) = (Store::default(), node("a", &pools));
    store.serve(&mut former, seconds(0));
    let mut a = restarted("a", 2, &pools);
    for mut block in store.blocks.into_values() {
        block.metadata.resource_version = None;
        a.block_put(&block, seconds(0));
    }
    a.set_pools(pools.to_vec(), seconds(0));
    a.set_in_sync(seconds(0));
    a.assign(pod(1), &any(), seconds(0)).unwrap();
}

#[test]
fn the_next_block_is_claimed_when_three_quarters_are_busy_and_not_before() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/16", 26)]));
    store.serve(&mut a, seconds(0));
    for n in 0..47 {
        a.assign(pod(n), &any(), seconds(0)).unwrap();
    }
    assert_eq!(store.serve(&mut a, seconds(0)), 0);
    a.assign(pod(47), &any(), seconds(0)).unwrap();
    assert_eq!(store.serve(&mut a, seconds(0)), 1);
    assert_eq!(blocks(&a).len(), 2);
}

#[test]
fn an_empty_block_is_unannounced_first_and_then_given_back_but_never_the_last_one() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/24", 28)]));
    store.serve(&mut a, seconds(0));
    for n in 0..13 {
        a.assign(pod(n), &any(), seconds(0)).unwrap();
        store.serve(&mut a, seconds(0));
    }
    assert_eq!(blocks(&a).len(), 2);
    for n in 0..13 {
        a.release(pod(n), seconds(1));
    }
    a.handle_timeout(seconds(31));
    let leaving: Vec<_> = a.usage().filter(|block| block.leaving).collect();
    assert_eq!(leaving.len(), 1);
    assert_eq!(a.poll(), Some(Effect::BlockChanged(leaving[0].cidr)));
    assert_eq!(a.next_timeout(), Some(seconds(41)));
    assert_eq!(store.serve(&mut a, seconds(40)), 0);
    a.handle_timeout(seconds(41));
    assert_eq!(store.serve(&mut a, seconds(41)), 1);
    assert_eq!((blocks(&a).len(), store.blocks.len()), (1, 1));
    a.handle_timeout(seconds(1000));
    assert_eq!(store.serve(&mut a, seconds(1000)), 0);
}

#[test]
fn a_block_whose_deletion_was_asked_for_is_never_used_again_whatever_the_answer() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/27", 28)]));
    store.serve(&mut a, seconds(0));
    for n in 0..13 {
        a.assign(pod(n), &any(), seconds(0)).unwrap();
        store.serve(&mut a, seconds(0));
    }
    for n in 0..13 {
        a.release(pod(n), seconds(1));
    }
    a.handle_timeout(seconds(31));
    a.handle_timeout(seconds(41));
    let delete = std::iter::from_fn(|| a.poll()).find_map(|effect| match effect {
        Effect::Write(write) => Some(write),
        Effect::BlockChanged(_) => None,
    });
    let delete = delete.unwrap();
    let key = delete.key();
    let lost = WriteError::Unavailable { key: key.clone(), why: "connection reset".into() };
    a.written(&key, &Err(lost), seconds(42));
    let gone = blocks(&a).into_iter().find(|block| block_name(*block) == key.name).unwrap();
    for n in 0..16 {
        let given = a.assign(pod(100 + n), &any(), seconds(43)).unwrap();
        assert!(!gone.contains(given[0]), "{given:?} is of {gone}");
    }
    assert!(a.assign(pod(200), &any(), seconds(43)).is_err());
    a.handle_timeout(seconds(51));
    assert_eq!(a.poll(), Some(Effect::Write(delete)));
    // The first answer was lost, but the deletion had happened: the event says so, and the block can be
    // claimed anew.
    a.block_gone(gone, seconds(52));
    assert!(matches!(a.poll(), Some(Effect::Write(Write::Create(_)))));
}

#[test]
fn an_address_rests_before_the_next_pod_gets_it_and_the_longest_free_one_goes_first() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/30", 30)]));
    store.serve(&mut a, seconds(0));
    let given: Vec<IpAddr> = (0..4).map(|n| a.assign(pod(n), &any(), seconds(0)).unwrap()[0]).collect();
    a.release(pod(2), seconds(1));
    a.release(pod(0), seconds(2));
    let refused = a.assign(pod(9), &any(), seconds(3)).unwrap_err();
    assert!(matches!(refused, AssignError::Resting { seconds: 29, .. }), "{refused}");
    assert_eq!(a.assign(pod(9), &any(), seconds(40)).unwrap(), [given[2]]);
    assert_eq!(a.assign(pod(10), &any(), seconds(40)).unwrap(), [given[0]]);
}

#[test]
fn half_a_success_is_none() {
    let pools = [pool("v4", "10.0.0.0/16", 26), pool("v6", "fd00::/128", 128)];
    let (mut store, mut a) = (Store::default(), node("a", &pools));
    store.serve(&mut a, seconds(0));
    a.assign(pod(1), &any(), seconds(0)).unwrap();
    let refused = a.assign(pod(2), &any(), seconds(0)).unwrap_err();
    assert_eq!(refused, AssignError::Exhausted { pools: "v6".into() });
    assert_eq!(a.used().count(), 2);
    assert_eq!(a.addresses(pod(2)), &[] as &[IpAddr]);
}

#[test]
fn exhaustion_names_the_pools() {
    let pools = [pool("small", "10.0.0.0/31", 31), pool("tiny", "10.1.0.0/32", 32)];
    let (mut store, mut a) = (Store::default(), node("a", &pools));
    for n in 0..3 {
        store.serve(&mut a, seconds(0));
        a.assign(pod(n), &any(), seconds(0))
            .or_else(|_| {
                store.serve(&mut a, seconds(0));
                a.assign(pod(n), &any(), seconds(0))
            })
            .unwrap();
    }
    let refused = a.assign(pod(3), &any(), seconds(0)).unwrap_err();
    assert!(refused.to_string().contains("every block of small, tiny is owned"), "{refused}");
}

#[test]
fn a_wanted_address_is_given_or_refused_with_the_reason() {
    let pools = [pool("p", "10.0.0.0/24", 26)];
    let (mut store, mut a, mut b) = (Store::default(), node("a", &pools), node("b", &pools));
    store.serve(&mut a, seconds(0));
    store.serve(&mut b, seconds(0));
    let foreign = blocks(&b)[0].ip();
    b.assign(pod(1), &any(), seconds(0)).unwrap();
    store.show(&mut a, seconds(0));
    let tunnel = Request { wanted: vec![foreign], ..Request::any(Purpose::Tunnel) };
    let refused = a.assign(LinkName::IPIP, &tunnel, seconds(0)).unwrap_err();
    assert!(matches!(&refused, AssignError::Foreign { node, .. } if node == "b"), "{refused}");
    let outside: IpAddr = "192.0.2.1".parse().unwrap();
    let refused = a.assign(pod(1), &wants(outside), seconds(0)).unwrap_err().to_string();
    assert_eq!(refused, "address 192.0.2.1 is in none of the pools that may serve it: p (10.0.0.0/24)");
    // In a block that nobody owns: claimed alone.
    let free = (0..=255).map(|n| IpAddr::from([10, 0, 0, n]));
    let owned = |address: &IpAddr| store.blocks.values().any(|block| block.cidr.contains(*address));
    let unowned = free.into_iter().find(|address| !owned(address)).unwrap();
    assert!(matches!(a.assign(pod(1), &wants(unowned), seconds(0)), Err(AssignError::Pending(_))));
    store.serve(&mut a, seconds(0));
    assert_eq!(a.assign(pod(1), &wants(unowned), seconds(0)).unwrap(), [unowned]);
    assert!(blocks(&a).contains(&IpNetwork::from(unowned)));
    let refused = a.assign(pod(2), &wants(unowned), seconds(0)).unwrap_err();
    assert_eq!(refused, AssignError::InUse { address: unowned, holder: pod(1) });
    let both = Request { wanted: vec![unowned, outside], ..any() };
    assert_eq!(a.assign(pod(3), &both, seconds(0)), Err(AssignError::TwoOfAFamily(unowned, outside)));
}

#[test]
fn a_named_pool_that_can_not_serve_is_named_in_the_refusal_and_a_manual_pool_serves_only_by_name() {
    let manual = Pool { automatic: false, ..pool("manual", "10.9.0.0/24", 26) };
    let (mut store, mut a) = (Store::default(), node("a", &[manual]));
    assert_eq!(store.serve(&mut a, seconds(0)), 0);
    assert!(matches!(a.assign(pod(1), &any(), seconds(0)), Err(AssignError::NoPool(_))));
    let named = |name: &str| {
        let choice = || Choice::Among(vec![name.into()]);
        Request { pools: [choice(), choice()], ..any() }
    };
    assert!(a.assign(pod(1), &named("other"), seconds(0)).unwrap_err().to_string().contains("\"other\""));
    assert!(matches!(a.assign(pod(1), &named("manual"), seconds(0)), Err(AssignError::Pending(_))));
    store.serve(&mut a, seconds(0));
    assert!(a.assign(pod(1), &named("manual"), seconds(0)).is_ok());
}

#[test]
fn a_node_that_comes_back_under_its_name_with_another_uid_inherits_nothing() {
    let pools = [pool("p", "10.0.0.0/24", 26)];
    let (mut store, mut first) = (Store::default(), node("a", &pools));
    store.serve(&mut first, seconds(0));
    let owner = Owner { node: "a".into(), uid: "another".into(), first_epoch: 9 };
    let mut second = Allocator::new(owner, Settings::default());
    second.set_pools(pools, seconds(0));
    for block in store.blocks.values() {
        second.block_put(block, seconds(0));
    }
    second.set_in_sync(seconds(0));
    assert_eq!(blocks(&second), []);
    assert_eq!(store.serve(&mut second, seconds(0)), 1);
    assert_ne!(blocks(&second), blocks(&first));
}

#[test]
fn a_claim_that_somebody_deleted_is_made_again_while_its_addresses_are_in_use() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/24", 26)]));
    store.serve(&mut a, seconds(0));
    let address = a.assign(pod(1), &any(), seconds(0)).unwrap()[0];
    let block = blocks(&a)[0];
    store.blocks.clear();
    a.block_gone(block, seconds(1));
    assert_eq!(a.strays().collect::<Vec<_>>(), [(address, pod(1))]);
    store.serve(&mut a, seconds(1));
    assert!(store.blocks.values().any(|b| b.cidr == block && b.epoch > 1));
    assert_eq!(a.strays().count(), 0);
    for n in 2..65 {
        assert!(!a.assign(pod(n), &any(), seconds(1)).unwrap().contains(&address));
        store.serve(&mut a, seconds(1));
    }
}

#[test]
fn a_late_event_about_a_block_given_back_does_not_bring_it_back() {
    let (mut store, mut a) = (Store::default(), node("a", &[pool("p", "10.0.0.0/27", 28)]));
    store.serve(&mut a, seconds(0));
    let old: Vec<IpamBlock> = store.blocks.values().cloned().collect();
    a.set_pools([], seconds(1));
    a.handle_timeout(seconds(11));
    while let Some(effect) = a.poll() {
        if let Effect::Write(write) = effect {
            a.written(&write.key(), &store.write(&write), seconds(11));
        }
    }
    assert!(store.blocks.is_empty() && blocks(&a).is_empty());
    a.block_put(&old[0], seconds(12));
    assert_eq!(blocks(&a), []);
}

#[test]
fn a_datastore_that_is_away_is_asked_again_after_growing_pauses() {
    let mut a = node("a", &[pool("p", "10.0.0.0/24", 26)]);
    let mut now = seconds(0);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let Some(Effect::Write(write)) = a.poll() else { panic!("no claim at {now:?}") };
        assert_eq!(a.poll(), None);
        let key = write.key();
        a.written(&key, &Err(WriteError::Unavailable { key: key.clone(), why: "down".into() }), now);
        let waiting = a.assign(pod(1), &any(), now).unwrap_err();
        assert!(waiting.to_string().contains("down"), "{waiting}");
        let next = a.next_timeout().unwrap();
        pauses.push(next.since(now).as_millis());
        now = next;
        a.handle_timeout(now);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
}

#[test]
fn two_nodes_walk_a_pool_in_different_orders_and_each_meets_every_block() {
    let pools = [pool("p", "10.0.0.0/24", 28)];
    for name in ["a", "b", "node-17", "node-18"] {
        let (mut store, mut a) = (Store::default(), node(name, &pools));
        for n in 0..256 {
            store.serve(&mut a, seconds(0));
            a.assign(pod(n), &any(), seconds(0)).unwrap();
        }
        assert_eq!(store.blocks.len(), 16, "{name}");
    }
    let starts: std::collections::BTreeSet<_> = (0..20)
        .map(|n| {
            let (mut store, mut a) = (Store::default(), node(&format!("node-{n}"), &pools));
            store.serve(&mut a, seconds(0));
            blocks(&a)
        })
        .collect();
    assert!(starts.len() > 8, "20 nodes began with only {} blocks of 16", starts.len());
}

#[derive(Clone, Debug)]
enum Step {
    Assign(u8, u64),
    Fixed(u8, u64, u8),
    Release(u8, u64),
    Pass(u64),
    /// The agent is killed and starts anew; its pods run on, or the whole machine was started anew and there are none.
    Restart(u8, bool),
    Write(u8),
    Tell(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u8, 0..40u64).prop_map(|(n, p)| Step::Assign(n, p)),
        4 => (0..3u8, 0..40u64, 0..64u8).prop_map(|(n, p, a)| Step::Fixed(n, p, a)),
        5 => (0..3u8, 0..40u64).prop_map(|(n, p)| Step::Release(n, p)),
        2 => (1..40u64).prop_map(Step::Pass),
        1 => (0..3u8, proptest::bool::ANY).prop_map(|(n, reboot)| Step::Restart(n, reboot)),
        5 => (0..3u8).prop_map(Step::Write),
        3 => (0..3u8).prop_map(Step::Tell),
    ]
}

/// Three nodes on one store. What each has not been told yet are events in the order of the store, late by as much as
/// the steps say.
struct Race {
    store: Store,
    nodes: [Allocator; 3],
    events: [Vec<Result<IpamBlock, IpNetwork>>; 3],
    now: Time,
    runs: u64,
}

impl Race {
    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn pools() -> [Pool; 1] {
        [pool("p", "10.0.0.0/26", 29)]
    }

    fn new() -> Self {
        let nodes = Self::NAMES.map(|name| node(name, &Self::pools()));
        Self { store: Store::default(), nodes, events: Default::default(), now: seconds(1), runs: 0 }
    }

    fn act(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Assign(n, p) => drop(self.nodes[usize::from(n)].assign(pod(p), &any(), now)),
            Step::Fixed(n, p, address) => {
                let wanted = wants(IpAddr::from([10, 0, 0, address]));
                drop(self.nodes[usize::from(n)].assign(pod(p), &wanted, now));
            }
            Step::Release(n, p) => drop(self.nodes[usize::from(n)].release(pod(p), now)),
            Step::Pass(s) => {
                self.now = now + Duration::from_secs(s);
                self.nodes.iter_mut().for_each(|node| node.handle_timeout(self.now));
            }
            Step::Restart(n, reboot) => self.restart(usize::from(n), reboot),
            Step::Write(n) => self.write(usize::from(n)),
            Step::Tell(n) => {
                let n = usize::from(n);
                if !self.events[n].is_empty() {
                    match self.events[n].remove(0) {
                        Ok(block) => self.nodes[n].block_put(&block, now),
                        Err(cidr) => self.nodes[n].block_gone(cidr, now),
                    }
                }
            }
        }
    }

    fn restart(&mut self, n: usize, reboot: bool) {
        let used: Vec<_> = self.nodes[n].used().collect();
        self.runs += 1;
        self.nodes[n] = restarted(Self::NAMES[n], self.runs * 1000, &Self::pools());
        for (address, holder) in used.iter().filter(|_| !reboot) {
            self.nodes[n].restore(*holder, &[*address]);
        }
        // A list: everything as it is now. Only then is anything done.
        self.events[n].clear();
        self.store.show(&mut self.nodes[n], self.now);
        self.nodes[n].set_in_sync(self.now);
    }

    fn write(&mut self, n: usize) {
        let Some(Effect::Write(write)) = self.nodes[n].poll() else { return };
        let name = write.key().name;
        let before = self.store.blocks.get(&name).map(|block| block.cidr);
        let result = self.store.write(&write);
        if result.is_ok() {
            let event = self.store.blocks.get(&name).cloned().ok_or(before);
            let event = event.map_err(|cidr| cidr.unwrap());
            self.events.iter_mut().for_each(|queue| queue.push(event.clone()));
        }
        self.nodes[n].written(&write.key(), &result, self.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn racing_nodes_never_share_a_block_or_an_address(steps in proptest::collection::vec(step(), 1..250)) {
        let mut race = Race::new();
        for step in &steps {
            race.act(step);
            let mut seen = BTreeMap::new();
            for (n, node) in race.nodes.iter().enumerate() {
                for (address, holder) in node.used() {
                    prop_assert!(seen.insert(address, (n, holder)).is_none(), "{} is used twice", address);
                    prop_assert_eq!(node.addresses(holder), &[address]);
                }
                for block in node.usage() {
                    let size = corduroy_api::block::block_size(block.cidr);
                    prop_assert_eq!(block.used + block.resting + block.ready + block.withheld, size);
                }
            }
        }
    }
}
