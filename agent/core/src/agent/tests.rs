//! The whole agent against a kernel that takes everything.

use std::sync::Arc;

use corduroy_api::service::{EndpointSliceSpec, ServiceSpec, Serving};
use corduroy_api::{EndpointSlice, Event, Key, Kind, Metadata, Resource, Service, Source, Write};
use corduroy_bgp::Time;
use corduroy_fabric::peering;
use corduroy_ipc::cni::{Add, AttachmentKey, CniAnswer, CniRequest, Del};
use corduroy_kernel::{NetnsId, Op, Route, State};

use super::{Agent, Declared, Input, Output, Read, Settings};
use crate::desired::hosts::Failsafe;
use crate::endpoints::{self, Endpoints};
use crate::ipam::Owner;
use crate::known::WATCHED;
use crate::me::{Membership, Reported, Wanted};
use crate::testing::{bare_kernel, block, ip, net, node, pool, resource};

/// Node `a`, its kernel, and what the speaker was told.
pub(super) struct World {
    pub(super) agent: Agent,
    kernel: State,
    said: Vec<String>,
    pub(super) applied: Vec<Op>,
    pub(super) answers: Vec<CniAnswer>,
    pub(super) now: Time,
}

impl World {
    fn new(kernel: State) -> Self {
        Self::of(Membership::Itself, kernel)
    }

    pub(super) fn of(member: Membership, kernel: State) -> Self {
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
            failsafe: Failsafe::default(),
        };
        let agent = Agent::new(settings, endpoints);
        let (said, applied, answers) = (Vec::new(), Vec::new(), Vec::new());
        Self { agent, kernel, said, applied, answers, now: Time(1) }
    }

    /// Answers what the agent wants until it wants nothing.
    pub(super) fn settle(&mut self) {
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
                Output::Answer(_, answer) => {
                    self.answers.push(*answer);
                    continue;
                }
                Output::OriginationComplete => {
                    self.said.push("complete".into());
                    continue;
                }
                _ => continue,
            };
            self.agent.handle(answer, self.now);
        }
    }

    /// The datastore has a pool, a block of ours and our own node.
    pub(super) fn fill(&mut self) {
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
    let cluster = Membership::Of(Reported { v4: Some("192.0.2.1".parse().unwrap()), ..Reported::default() });
    for (member, expected) in [(cluster, vec!["uid-a"]), (Membership::Itself, vec![])] {
        let mut world = World::of(member.clone(), bare_kernel());
        world.settle();
        let mut former = node("a", "192.0.2.1/24", "");
        if let Resource::FabricNode(node) = &mut former {
            Arc::make_mut(node).uid = "uid-before".into();
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

/// A world in which the datastore has these as well.
fn with(world: &mut World, resources: Vec<Resource>) {
    world.agent.handle(Input::Datastore(resources.into_iter().map(Event::Put).collect()), Time(1));
    world.settle();
}

#[test]
fn a_fixed_address_is_announced_while_a_pod_has_it_and_not_before_or_after() {
    let mut world = World::new(bare_kernel());
    world.settle();
    world.fill();
    with(&mut world, vec![block("10.1.9.5/32", "a")]);
    assert_eq!(world.said, ["+10.1.0.0/26", "complete"]);
    let key = AttachmentKey { network: "n".into(), container_id: "c".into(), ifname: "eth0".into() };
    let ips = vec!["10.1.9.5".parse().unwrap()];
    let add = Add { key: key.clone(), pod: None, ips, mac: None, pools: vec![], mtu: None, started: 0 };
    let request = Box::new(CniRequest::Add(add));
    let netns = Some(NetnsId(1));
    world.agent.handle(Input::Cni { id: endpoints::RequestId(1), request, netns }, Time(2));
    world.settle();
    assert_eq!(world.said.last().unwrap(), "+10.1.9.5/32");
    let request = Box::new(CniRequest::Del(Del { key, started: 0 }));
    world.agent.handle(Input::Cni { id: endpoints::RequestId(2), request, netns: None }, Time(3));
    let first = std::iter::from_fn(|| world.agent.poll()).find_map(|output| match output {
        Output::Withdraw(net) => Some(net.to_string()),
        Output::Apply(_) => Some("the kernel".into()),
        _ => None,
    });
    assert_eq!(first.unwrap(), "10.1.9.5/32", "withdrawn before it goes");
}

#[test]
fn a_node_whose_blocks_the_cluster_gives_says_what_is_wrong_with_them() {
    let mut world = World::of(Membership::Of(Reported::default()), bare_kernel());
    world.agent.known.me.given = true;
    world.settle();
    world.fill();
    world.settle();
    let why = world.agent.not_ready().unwrap();
    assert!(why.contains("Node a has no spec.podCIDRs"), "{why}");
    let member =
        |cidr: &str| Membership::Of(Reported { pods_v4: Some(cidr.parse().unwrap()), ..Reported::default() });
    world.agent.handle(Input::Member(member("10.1.8.0/24")), Time(2));
    assert_eq!(world.agent.not_ready(), None);
    let asked: Vec<_> = std::iter::from_fn(|| world.agent.poll()).collect();
    let written = asked.iter().find_map(|output| match output {
        Output::Write(write) => match write.as_ref() {
            Write::Update(Resource::FabricNode(node)) => Some(node.pod_cidrs.clone()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(written.unwrap()[0].to_string(), "10.1.8.0/24");
    world.agent.handle(Input::Member(member("10.1.0.0/24")), Time(3));
    assert!(world.agent.not_ready().unwrap().contains("overlap 10.1.0.0/26, which node a has"));
    with(&mut world, vec![block("10.1.7.0/26", "b")]);
    world.agent.handle(Input::Member(member("10.1.7.0/24")), Time(4));
    assert!(world.agent.not_ready().unwrap().contains("overlap 10.1.7.0/26, which node b has"));
}

/// Lets time pass to the next deletion that is asked for, and lets it succeed.
fn deleted(world: &mut World) -> String {
    for _ in 0..200 {
        while let Some(output) = world.agent.poll() {
            match output {
                Output::Write(write) => {
                    let Write::Delete { key, version } = *write else { continue };
                    world.agent.handle(Input::Written { key: key.clone(), result: Ok(version) }, Time(3));
                    world.agent.handle(Input::Datastore(vec![Event::Gone(key.clone())]), Time(3));
                    return key.to_string();
                }
                Output::Apply(plan) => {
                    let results = plan.ops.iter().map(|_| Ok(())).collect();
                    world.agent.handle(Input::Applied(results), Time(3));
                }
                Output::Withdraw(net) => world.said.push(format!("-{net}")),
                _ => {}
            }
        }
        let next = world.agent.next_timeout().expect("nothing is waited for");
        world.agent.handle(Input::Timeout, next);
    }
    panic!("nothing is deleted");
}

#[test]
fn a_node_removed_from_its_cluster_gives_back_what_it_has_once_its_last_pod_has_gone() {
    let mut world = World::of(Membership::Of(Reported::default()), bare_kernel());
    world.settle();
    let own = node("a", "192.0.2.1/24", "").at_version("7".to_owned());
    let owned = block("10.1.0.0/26", "a").at_version("8".to_owned());
    let puts = [own, pool("p", "10.1.0.0/16", ""), owned].into_iter().map(Event::Put);
    let synced = WATCHED.into_iter().map(|kind| Event::InSync { kind, from: Source::Live });
    world.agent.handle(Input::Datastore(puts.chain(synced).collect()), Time(1));
    world.settle();
    assert!(!world.agent.known().retired);
    world.agent.handle(Input::Member(Membership::Removed), Time(2));
    assert!(world.agent.known().retired);
    assert_eq!(deleted(&mut world), "IPAMBlock/10-1-0-0-26");
    assert_eq!(world.said, ["+10.1.0.0/26", "complete", "-10.1.0.0/26"], "withdrawn before it is given back");
    assert_eq!(deleted(&mut world), "FabricNode/a");
}

const RANGES: &str = "{serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}], \
                      prefixAdvertisements: [{cidr: 203.0.113.0/24, communities: ['64512:7']}]}";

fn web(local: bool) -> Event {
    let spec = ServiceSpec {
        cluster_ips: vec![ip("10.96.0.9")],
        load_balancer_ips: vec![ip("203.0.113.7")],
        external_local: local,
        ..ServiceSpec::default()
    };
    Event::Put(Resource::Service(Arc::new(Service { metadata: Metadata::named("x/web"), spec })))
}

fn web_1(here: Serving) -> Event {
    let spec = EndpointSliceSpec { service: "x/web".to_owned(), ipv6: false, here, anywhere: Serving::Ready };
    let slice = EndpointSlice { metadata: Metadata::named("x/web-1"), spec };
    Event::Put(Resource::EndpointSlice(Arc::new(slice)))
}

#[test]
fn addresses_of_services_are_announced_once_nothing_untranslated_passes_and_follow_their_endpoints() {
    let mut world = World::new(bare_kernel());
    let configuration = resource(Kind::BgpConfiguration, "default", RANGES);
    let say = |world: &mut World, events: Vec<Event>| {
        world.said.clear();
        world.agent.handle(Input::Datastore(events), Time(1));
        world.settle();
        world.said.clone()
    };
    say(&mut world, vec![Event::Put(configuration.clone()), web(true), web_1(Serving::Ready)]);
    world.fill();
    world.settle();
    assert_eq!(world.said, ["+10.1.0.0/26", "+203.0.113.0/24", "+203.0.113.7/32", "complete"]);
    let guarded = |op: &Op| format!("{op:?}").contains("services4");
    assert!(world.applied.iter().any(guarded), "{:?}", world.applied);
    assert_eq!(say(&mut world, vec![web_1(Serving::No)]), ["-203.0.113.7/32"]);
    assert_eq!(say(&mut world, vec![web_1(Serving::Ready)]), ["+203.0.113.7/32"]);
    assert_eq!(say(&mut world, vec![web(false)]), ["-203.0.113.7/32"], "any node will do");
    let gone = Event::Gone(Key::new(Kind::BgpConfiguration, "default"));
    assert_eq!(say(&mut world, vec![gone]), ["-203.0.113.0/24"]);
    assert_eq!(say(&mut world, vec![Event::Put(configuration)]), ["+203.0.113.0/24"]);
}
