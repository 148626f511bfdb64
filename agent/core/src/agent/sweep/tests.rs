use corduroy_api::{Event, Scope};
use corduroy_bgp::Time;
use corduroy_kernel::{Flow, FlowKey, FlowStatus, Op, TcpState, Tuple, TupleId};

use super::super::policing::tests::{FROM_DB, add, policy, remote, tell, world};
use super::super::tests::World;
use super::super::{Input, Output};
use super::{MARK, SLICE};
use crate::policies::Generation;
use crate::testing::ip;

/// A UDP connection from `from` to the pod.
fn flow(world: &World, from: &str, mark: u32) -> Flow {
    let pod = world.agent.known().pods.iter().next().unwrap().addresses[0];
    let ports = |source, destination| TupleId::Ports { source, destination };
    let tuple = |source, destination, id| Tuple { source, destination, protocol: 17, id };
    Flow {
        key: FlowKey { original: tuple(ip(from), pod, ports(40_000, 53)), zone: 0 },
        reply: tuple(pod, ip(from), ports(53, 40_000)),
        mark,
        tcp: None,
        status: FlowStatus::default(),
    }
}

/// Lets time pass; whether connections were asked for.
fn asks(world: &mut World, now: Time) -> bool {
    world.agent.handle(Input::Timeout, now);
    let mut asked = false;
    while let Some(output) = world.agent.poll() {
        match output {
            Output::ReadFlows => asked = true,
            Output::Apply(plan) => {
                let results = plan.ops.iter().map(|_| Ok(())).collect();
                world.applied.extend(plan.ops);
                world.agent.handle(Input::Applied(results), now);
            }
            _ => {}
        }
    }
    asked
}

/// The connections that were marked as denied.
fn marked(world: &World) -> Vec<FlowKey> {
    let of = |op: &Op| match op {
        Op::MarkFlows { mask: MARK, value: Generation::DENIED, flows } => flows.clone(),
        _ => Vec::new(),
    };
    world.applied.iter().flat_map(of).collect()
}

/// `web` runs, may be asked by `db` (10.1.9.9) only, and a sweep was asked for.
fn swept() -> World {
    let mut world = world();
    add(&mut world, "web", 1);
    world.settle();
    let told = [policy("shop/from-db", FROM_DB), remote("shop/db-0", "db", "10.1.9.9")];
    tell(&mut world, told.into_iter().chain([Event::Covered(Scope::Everywhere)]));
    world
}

#[test]
fn only_connections_of_former_programs_that_are_denied_by_now_are_marked() {
    let mut world = swept();
    let now = world.agent.known().policies.generation().mark();
    let old = 0x7ffe << 16;
    let over = Flow { tcp: Some(TcpState::TimeWait), ..flow(&world, "10.1.9.5", old) };
    let flows = vec![
        over,
        flow(&world, "10.1.9.8", old),
        flow(&world, "10.1.9.9", old),
        flow(&world, "10.1.9.7", now),
        flow(&world, "10.1.9.6", Generation::DENIED),
        flow(&world, "192.0.2.1", old),
    ];
    let denied = flows[1].key;
    world.agent.handle(Input::Flows(Some(flows)), Time(2));
    world.settle();
    assert_eq!(marked(&world), [denied]);
}

#[test]
fn many_connections_are_judged_a_slice_at_a_time() {
    let mut world = swept();
    let flows = vec![flow(&world, "10.1.9.8", 0x7ffe << 16); SLICE + 1];
    world.agent.handle(Input::Flows(Some(flows)), Time(2));
    assert_eq!(world.agent.next_timeout(), Some(Time(2)));
    world.settle();
    assert_eq!(marked(&world).len(), SLICE + 1);
}

#[test]
fn a_new_generation_is_swept_a_second_after_the_last_sweep_and_not_again_without_one() {
    let mut world = swept();
    let second = std::time::Duration::from_secs(1);
    let begun = Time(2);
    world.agent.handle(Input::Flows(Some(Vec::new())), begun);
    world.settle();
    assert!(!asks(&mut world, begun + second * 5), "nothing has changed");
    tell(&mut world, [policy("shop/none", "{podSelector: {}, policyTypes: [Ingress]}")]);
    assert!(!asks(&mut world, begun + second / 2), "too early");
    assert!(asks(&mut world, begun + second * 2));
    world.agent.handle(Input::Flows(None), begun + second * 2);
    assert!(!asks(&mut world, begun + second * 2));
    assert!(asks(&mut world, begun + second * 4), "what could not be read is read again");
}

#[test]
fn a_sweep_that_took_long_is_followed_by_another_within_ten_seconds() {
    let mut world = swept();
    let second = std::time::Duration::from_secs(1);
    let read = world.now + second * 3;
    world.agent.handle(Input::Flows(Some(Vec::new())), read);
    world.settle();
    tell(&mut world, [policy("shop/none", "{podSelector: {}, policyTypes: [Ingress]}")]);
    assert!(!asks(&mut world, read + second * 9), "it had taken three seconds");
    assert!(asks(&mut world, read + second * 11));
}
