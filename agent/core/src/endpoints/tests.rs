//! Stories of one node's attachments.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_ipc::cni::{CniAnswer, CniRequest, Del, ValidAttachment, code};
use corduroy_kernel::{Family, LinkName};
use proptest::prelude::*;

use super::*;
use world::{World, add, key, link};

mod world;

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
fn a_del_that_began_before_the_add_is_about_an_attachment_that_is_gone() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.ask(CniRequest::Add(add(1, 10)));
    world.added(id);
    world.kill(0);
    let stale = world.ask(CniRequest::Del(Del { key: key(1), started: 9 }));
    assert_eq!(world.answer(stale), &CniAnswer::Done);
    assert_eq!(world.kernel.len(), 1);
    let del = world.ask(CniRequest::Del(Del { key: key(1), started: 11 }));
    assert_eq!(world.answer(del), &CniAnswer::Done);
    assert!(world.kernel.is_empty());
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
fn a_node_that_takes_in_no_pods_lets_those_go_that_it_has() {
    let mut world = World::new("10.0.0.0/24");
    let id = world.add(1);
    world.added(id);
    world.tell(Input::Closed(Some("the cluster has no Node a any more".into())));
    let (add, status, del) = (world.add(2), world.ask(CniRequest::Status), world.del(1));
    assert_eq!(world.answer(del), &CniAnswer::Done);
    assert_eq!(world.failure(status), code::NOT_AVAILABLE);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.failure(add), code::TRY_AGAIN_LATER);
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
