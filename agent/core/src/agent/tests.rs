//! The whole agent against a kernel that takes everything.

use corduroy_api::{Event, Kind, Resource, Source, Write};
use corduroy_bgp::Time;
use corduroy_fabric::peering;
use corduroy_kernel::{Op, Route, State};

use super::{Agent, Declared, Input, Output, Read, Settings};
use crate::endpoints::{self, Endpoints};
use crate::ipam::Owner;
use crate::known::WATCHED;
use crate::me::{Membership, Reported, Wanted};
use crate::testing::{bare_kernel, block, net, node, pool};

/// Node `a`, its kernel, and what the speaker was told.
struct World {
    agent: Agent,
    kernel: State,
    said: Vec<String>,
    applied: Vec<Op>,
}

impl World {
    fn new(kernel: State) -> Self {
        Self::of(Membership::Itself, kernel)
    }

    fn of(member: Membership, kernel: State) -> Self {
        let owner = Owner { node: "a".into(), uid: "uid-a".into(), first_epoch: 7 };
        let (endpoints, _) = Endpoints::new(owner, endpoints::Settings::default(), b"", "boot");
        let settings = Settings {
            node: "a".into(),
            uid: "uid-a".into(),
            member,
            v4: Wanted::Auto,
            v6: Wanted::Nothing,
            declared: Declared::default(),
            peering: peering::Options::default(),
        };
        let agent = Agent::new(settings, endpoints);
        Self { agent, kernel, said: Vec::new(), applied: Vec::new() }
    }

    /// Answers what the agent wants until it wants nothing.
    fn settle(&mut self) {
        while let Some(output) = self.agent.poll() {
            let answer = match output {
                Output::Read(Read::Everything) => Input::Read(Box::new(self.kernel.clone())),
                Output::Read(Read::Again(state, _)) => Input::Read(state),
                Output::Apply(plan) => {
                    let results = plan.ops.iter().map(|_| Ok(())).collect();
                    self.applied.extend(plan.ops);
                    Input::Applied(results)
                }
                Output::Originate(net, _) => {
                    self.said.push(format!("+{net}"));
                    continue;
                }
                Output::Withdraw(net) => {
                    self.said.push(format!("-{net}"));
                    continue;
                }
                Output::OriginationComplete => {
                    self.said.push("complete".into());
                    continue;
                }
                _ => continue,
            };
            self.agent.handle(answer, Time(1));
        }
    }

    /// The datastore has a pool, a block of ours and our own node.
    fn fill(&mut self) {
        let puts = [node("a", "192.0.2.1/24", ""), pool("p", "10.1.0.0/16", ""), block("10.1.0.0/26", "a")];
        let puts = puts.into_iter().map(Event::Put);
        let synced = WATCHED.into_iter().map(|kind| Event::InSync { kind, from: Source::Live });
        self.agent.handle(Input::Datastore(puts.chain(synced).collect()), Time(1));
    }
}

#[test]
fn nothing_is_done_before_kernel_and_datastore_have_spoken() {
    let mut world = World::new(bare_kernel());
    world.settle();
    assert_eq!((world.said.len(), world.applied.len()), (0, 0));
    let before = world.agent.not_ready().unwrap();
    assert!(before.contains("has not said everything of"), "{before}");
    world.fill();
    world.settle();
    assert_eq!(world.said, ["+10.1.0.0/26", "complete"]);
    let blackhole = world.applied.iter().any(|op| *op == Op::PutRoute(Route::blackhole(net("10.1.0.0/26"))));
    assert!(blackhole, "{:?}", world.applied);
    assert_eq!(world.agent.not_ready(), None);
}

#[test]
fn after_a_restart_a_block_is_announced_though_nothing_of_it_has_to_be_applied() {
    let mut kernel = bare_kernel();
    let route = Route::blackhole(net("10.1.0.0/26"));
    kernel.routes.insert(route.dst, route);
    let mut world = World::new(kernel);
    world.settle();
    world.fill();
    world.settle();
    assert_eq!(world.said, ["+10.1.0.0/26", "complete"]);
    assert!(!world.applied.iter().any(|op| matches!(op, Op::PutRoute(_))), "{:?}", world.applied);
}

/// The writes of our FabricNode, by its identity.
fn written(world: &mut World) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(output) = world.agent.poll() {
        if let Output::Write(write) = output
            && let Write::Create(Resource::FabricNode(node)) | Write::Update(Resource::FabricNode(node)) =
                *write
        {
            out.push(node.uid.clone());
        }
    }
    out
}

#[test]
fn what_a_former_node_of_the_cluster_has_left_is_taken_over_and_what_another_machine_has_is_not() {
    let cluster = Membership::Of(Reported { v4: Some("192.0.2.1".parse().unwrap()), v6: None });
    for (member, expected) in [(cluster, vec!["uid-a"]), (Membership::Itself, vec![])] {
        let mut world = World::of(member, bare_kernel());
        world.settle();
        let mut former = node("a", "192.0.2.1/24", "");
        if let Resource::FabricNode(node) = &mut former {
            std::sync::Arc::make_mut(node).uid = "uid-before".into();
        }
        let synced = WATCHED.into_iter().map(|kind| Event::InSync { kind, from: Source::Live });
        let events = std::iter::once(Event::Put(former)).chain(synced).collect();
        world.agent.handle(Input::Datastore(events), Time(1));
        assert_eq!(written(&mut world), expected, "{member:?}");
    }
}

#[test]
fn a_node_removed_from_its_cluster_goes_on_and_takes_in_no_pods() {
    let mut world = World::of(Membership::Of(Reported::default()), bare_kernel());
    world.settle();
    world.fill();
    world.settle();
    assert_eq!(world.agent.not_ready(), None);
    world.agent.handle(Input::Member(Membership::Removed), Time(2));
    let key = corduroy_api::Key::new(Kind::FabricNode, "a");
    world.agent.handle(Input::Datastore(vec![Event::Gone(key)]), Time(2));
    assert_eq!(written(&mut world), [] as [&str; 0]);
    assert_eq!(world.agent.not_ready().unwrap(), "the cluster has no Node a any more");
    let block = net("10.1.0.0/26");
    assert!(world.agent.reconciler().picture().routes.contains_key(&block), "what runs here goes on");
    world.agent.handle(Input::Member(Membership::Of(Reported::default())), Time(3));
    assert_eq!(written(&mut world), ["uid-a"]);
}
