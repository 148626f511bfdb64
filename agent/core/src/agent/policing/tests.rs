use std::sync::Arc;

use corduroy_api::policy::PolicyResource;
use corduroy_api::service::ServiceEndpoint;
use corduroy_api::{
    Event, Key as ResourceKey, Kind, Metadata, Namespace, Pod, Resource, Scope, ServiceEndpoints, yaml,
};
use corduroy_bgp::Time;
use corduroy_ipc::cni::{Add, AttachmentKey, CniAnswer, CniRequest, code};
use corduroy_kernel::nft::{Change, Expr, Key, Rule, Table, Verdict};
use corduroy_kernel::{NetnsId, Op};

use super::super::tests::World;
use super::super::{Input, Output};
use super::{PACE, PATIENCE};
use crate::endpoints::RequestId;
use crate::me::{Membership, Reported};
use crate::testing::{bare_kernel, ip};

fn of(kind: Kind, name: &str, spec: &str) -> Event {
    let spec = yaml::documents(spec)[0].parse().unwrap();
    let read = PolicyResource::read(kind, Metadata::named(name), spec);
    Event::Put(Resource::Policy(Arc::new(read.unwrap().unwrap())))
}

pub(in super::super) fn policy(name: &str, spec: &str) -> Event {
    of(Kind::KubernetesNetworkPolicy, name, spec)
}

/// A service whose endpoints have these addresses, and port 80 of TCP.
fn service(name: &str, addresses: &[&str]) -> Event {
    let endpoints = addresses.iter().map(|it| ServiceEndpoint { address: ip(it), ports: vec![(6, 80)] });
    Event::Put(Resource::ServiceEndpoints(Arc::new(ServiceEndpoints::of(name, endpoints))))
}

fn pod(name: &str, app: &str, address: Option<&str>) -> Pod {
    let mut metadata = Metadata::named(name);
    metadata.labels.insert("app".into(), app.into());
    Pod { metadata, addresses: address.map(ip).into_iter().collect(), ..Pod::default() }
}

pub(in super::super) fn remote(name: &str, app: &str, address: &str) -> Event {
    Event::Put(Resource::RemotePod(Arc::new(pod(name, app, Some(address)))))
}

/// A node of a cluster with namespace `shop`, in which pods `web` and `db` are to run.
pub(in super::super) fn world() -> World {
    let mut world = World::of(Membership::Of(Reported::default()), bare_kernel());
    world.settle();
    world.fill();
    let namespace = Namespace::new(Metadata::named("shop"));
    let pods = ["web", "db"].map(|app| Arc::new(pod(&format!("shop/{app}"), app, None)));
    let told = pods.into_iter().map(|pod| Event::Put(Resource::Pod(pod)));
    tell(&mut world, told.chain([Event::Put(Resource::Namespace(Arc::new(namespace)))]));
    world
}

pub(in super::super) fn tell(world: &mut World, events: impl IntoIterator<Item = Event>) {
    world.agent.handle(Input::Datastore(events.into_iter().collect()), world.now);
    world.settle();
}

pub(in super::super) fn add(world: &mut World, name: &str, n: u32) {
    let key = AttachmentKey { network: "corduroy".into(), container_id: name.into(), ifname: "eth0".into() };
    let owner = corduroy_ipc::cni::Pod { namespace: "shop".into(), name: name.into(), uid: String::new() };
    let add = Add { key, pod: Some(owner), ips: vec![], mac: None, pools: vec![], mtu: None, started: 0 };
    let request = Box::new(CniRequest::Add(add));
    world.agent.handle(Input::Cni { id: RequestId(n.into()), request, netns: Some(NetnsId(n)) }, Time(2));
}

fn table(world: &World) -> &Table {
    world.agent.reconciler().picture().nft.as_ref().unwrap()
}

/// Where the map `name` sends the interface of the only pod.
fn verdict(world: &World, name: &str) -> String {
    let elements = &table(world).sets[&name.into()].elements;
    elements.values().map(|verdict| verdict.as_ref().unwrap().to_string()).collect::<Vec<_>>().join(" ")
}

pub(in super::super) const FROM_DB: &str = "{podSelector: {matchLabels: {app: web}},
    ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}";

#[test]
fn what_policies_say_changes_in_one_transaction_and_makes_a_new_generation() {
    let mut world = world();
    add(&mut world, "web", 1);
    world.settle();
    assert_eq!(
        (verdict(&world, "egress"), verdict(&world, "ingress")),
        ("goto sent".into(), "goto passed".into())
    );
    let before = world.agent.known().policies.generation();
    world.applied.clear();
    tell(
        &mut world,
        [
            policy("shop/from-db", FROM_DB),
            remote("shop/db-0", "db", "10.1.9.9"),
            Event::Covered(Scope::Everywhere),
        ],
    );
    assert!(verdict(&world, "ingress").starts_with("goto prog-"), "{}", verdict(&world, "ingress"));
    let chain = &table(&world).chains[&"netpol/shop/from-db/ingress".into()];
    assert!(chain.rules[0].to_string().ends_with("comment \"netpol/shop/from-db ingress rule 0\""));
    let transactions: Vec<&Op> = world.applied.iter().filter(|op| matches!(op, Op::Nft(_))).collect();
    assert_eq!(transactions.len(), 1, "{transactions:?}");
    assert_ne!(world.agent.known().policies.generation(), before);
    tell(&mut world, [Event::Gone(ResourceKey::new(Kind::KubernetesNetworkPolicy, "shop/from-db"))]);
    assert_eq!(verdict(&world, "ingress"), "goto passed");
    assert!(table(&world).chains.keys().all(|name| !name.as_str().starts_with("netpol")));
    assert!(table(&world).sets.keys().all(|name| !name.as_str().starts_with("set-")));
}

#[test]
fn a_member_that_comes_is_one_element_and_no_new_generation_and_one_that_goes_is_one() {
    let mut world = world();
    add(&mut world, "web", 1);
    tell(&mut world, [policy("shop/from-db", FROM_DB), Event::Covered(Scope::Everywhere)]);
    let before = world.agent.known().policies.generation();
    world.now = world.now + PACE;
    world.applied.clear();
    tell(&mut world, [remote("shop/db-1", "db", "10.1.9.9")]);
    let [Op::Nft(changes)] = world.applied.as_slice() else { panic!("{:?}", world.applied) };
    let [Change::AddElements(_, elements)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(elements.as_slice(), [(Key::from(ip("10.1.9.9")), None)]);
    assert_eq!(world.agent.known().policies.generation(), before);
    world.applied.clear();
    tell(&mut world, [Event::Gone(ResourceKey::new(Kind::RemotePod, "shop/db-1"))]);
    let [Op::Nft(changes)] = world.applied.as_slice() else { panic!("{:?}", world.applied) };
    let rules = changes.iter().filter(|change| matches!(change, Change::SetRules(..))).count();
    assert_eq!((changes.len(), rules), (5, 4), "{changes:?}");
    assert_ne!(world.agent.known().policies.generation(), before);
}

/// How many rules a kernel looks at that follows every way from the hooks through the table, as older ones do before
/// each transaction.
fn followed(table: &Table) -> usize {
    let bases = table.chains.values().filter(|chain| chain.base.is_some());
    bases.map(|chain| chain.rules.iter().map(|rule| ways(table, rule)).sum::<usize>()).sum()
}

fn ways(table: &Table, rule: &Rule) -> usize {
    let to = |verdict: &Verdict| match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => {
            table.chains[chain].rules.iter().map(|rule| ways(table, rule)).sum()
        }
        _ => 0,
    };
    let beyond = rule.exprs().iter().map(|expr| match expr {
        Expr::Verdict(verdict) => to(verdict),
        Expr::Vmap(_, map) => table.sets[map].elements.values().flatten().map(to).sum(),
        _ => 0,
    });
    1 + beyond.sum::<usize>()
}

#[test]
fn no_kernel_follows_ways_from_each_sender_to_each_receiver() {
    const PODS: u32 = 8;
    let followed = |policies: u32| {
        let mut world = world();
        let rule = "{ports: [{port: 80}]}";
        let spec = format!("{{podSelector: {{}}, ingress: [{rule}], egress: [{rule}]}}");
        tell(&mut world, (0..policies).map(|n| policy(&format!("shop/p{n}"), &spec)));
        for n in 0..PODS {
            let name = format!("web-{n}");
            let pod = pod(&format!("shop/{name}"), &name, None);
            tell(&mut world, [Event::Put(Resource::Pod(Arc::new(pod)))]);
            add(&mut world, &name, n);
            world.settle();
        }
        assert!(verdict(&world, "egress").matches("goto prog-").count() == PODS as usize);
        followed(table(&world))
    };
    let (few, many) = (followed(4), followed(8));
    assert!(many <= 2 * few, "with twice the policies {many} rules instead of {few}");
}

#[test]
fn members_that_go_soon_after_each_other_go_at_once_and_share_the_second_generation() {
    let mut world = world();
    add(&mut world, "web", 1);
    let pods = ["db-1", "db-2", "db-3"];
    let told = pods.map(|name| remote(&format!("shop/{name}"), "db", &format!("10.1.9.{}", &name[3..])));
    let policies = [policy("shop/from-db", FROM_DB), Event::Covered(Scope::Everywhere)];
    tell(&mut world, policies.into_iter().chain(told));
    world.now = world.now + PACE;
    let gone = |name| Event::Gone(ResourceKey::new(Kind::RemotePod, format!("shop/{name}")));
    tell(&mut world, [gone("db-1")]);
    let before = world.agent.known().policies.generation();
    for name in ["db-2", "db-3"] {
        world.applied.clear();
        tell(&mut world, [gone(name)]);
        let [Op::Nft(changes)] = world.applied.as_slice() else { panic!("{:?}", world.applied) };
        assert!(matches!(changes.as_slice(), [Change::DeleteElements(..)]), "{changes:?}");
    }
    assert_eq!(world.agent.known().policies.generation(), before);
    assert_eq!(world.agent.next_timeout(), Some(world.now + PACE));
    world.now = world.now + PACE;
    world.agent.handle(Input::Timeout, world.now);
    world.settle();
    assert_eq!(world.agent.known().policies.generation().number(), before.number() + 1);
}

#[test]
fn only_namespaces_that_a_policy_here_selects_are_asked_for_and_a_pod_waits_until_they_are_known() {
    let mut world = world();
    tell(&mut world, [policy("shop/from-db", FROM_DB)]);
    add(&mut world, "web", 1);
    let mut outputs = Vec::new();
    while let Some(output) = world.agent.poll() {
        if let Output::Apply(plan) = &output {
            world.agent.handle(Input::Applied(plan.ops.iter().map(|_| Ok(())).collect()), Time(2));
        }
        outputs.push(output);
    }
    let asked = outputs.iter().find_map(|it| if let Output::Ask(asked) = it { Some(asked) } else { None });
    assert_eq!(asked.unwrap().pods, Scope::Namespaces(["shop".to_owned()].into()));
    let answered = |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Answer(..)));
    assert!(!answered(&outputs));
    assert!(world.agent.next_timeout().is_some());
    world.agent.handle(Input::Datastore(vec![Event::Covered(asked.unwrap().pods.clone())]), Time(3));
    let outputs: Vec<Output> = std::iter::from_fn(|| world.agent.poll()).collect();
    assert!(answered(&outputs), "{outputs:?}");
}

#[test]
fn a_pod_whose_object_is_gone_is_judged_by_its_last_labels_until_its_interface_is_gone() {
    let mut world = world();
    tell(&mut world, [policy("shop/from-db", FROM_DB), Event::Covered(Scope::Everywhere)]);
    add(&mut world, "web", 1);
    world.settle();
    assert!(verdict(&world, "ingress").starts_with("goto prog-"));
    tell(&mut world, [Event::Gone(ResourceKey::new(Kind::Pod, "shop/web"))]);
    assert!(verdict(&world, "ingress").starts_with("goto prog-"));
}

#[test]
fn a_policy_that_asks_about_pods_not_known_yet_waits_and_cuts_nothing_but_not_for_ever() {
    let mut world = world();
    add(&mut world, "web", 1);
    world.settle();
    tell(&mut world, [policy("shop/from-db", FROM_DB)]);
    assert_eq!(verdict(&world, "ingress"), "goto passed");
    tell(&mut world, [remote("shop/db-0", "db", "10.1.9.9"), Event::Covered(Scope::Everywhere)]);
    assert!(verdict(&world, "ingress").starts_with("goto prog-"));
    let gone = Event::Gone(ResourceKey::new(Kind::KubernetesNetworkPolicy, "shop/from-db"));
    tell(&mut world, [gone, Event::Covered(Scope::Nothing)]);
    tell(&mut world, [policy("shop/from-db", FROM_DB)]);
    assert_eq!(verdict(&world, "ingress"), "goto passed");
    world.now = world.now + PATIENCE;
    world.agent.handle(Input::Timeout, world.now);
    world.settle();
    assert!(verdict(&world, "ingress").starts_with("goto prog-"));
}

/// What a pod that the datastore does not know is answered, once it has waited as long as it may.
fn answer(world: &mut World, n: u32) -> Option<CniAnswer> {
    world.answers.clear();
    add(world, "front", n);
    world.settle();
    while world.answers.is_empty()
        && let Some(due) = world.agent.next_timeout()
    {
        world.agent.handle(Input::Timeout, due);
        world.settle();
    }
    world.answers.pop()
}

#[test]
fn a_pod_that_is_not_known_is_not_let_in_while_there_is_a_policy_that_could_be_about_it() {
    let mut world = world();
    let away = Event::Unavailable { kind: Kind::Pod, why: "no answer".into() };
    tell(&mut world, [policy("other/from-db", FROM_DB), away]);
    let Some(CniAnswer::Failed(failure)) = answer(&mut world, 1) else { panic!("it was let in") };
    assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    let why = failure.details;
    assert!(
        why.contains("Pod shop/front is not known and which policies") && why.contains("no answer"),
        "{why}"
    );
    tell(&mut world, [Event::Gone(ResourceKey::new(Kind::KubernetesNetworkPolicy, "other/from-db"))]);
    let answered = answer(&mut world, 2);
    assert!(matches!(answered, Some(CniAnswer::Added(..))), "{answered:?}");
}

const TO_DB: &str =
    "{selector: app == 'web', egress: [{action: Allow, destination: {services: {name: db}}}]}";

#[test]
fn a_policy_that_names_a_service_asks_for_it_and_is_in_force_when_its_endpoints_are_known() {
    let mut world = world();
    add(&mut world, "web", 1);
    world.settle();
    assert!(world.agent.known().policies.asked().services.is_empty());
    tell(&mut world, [of(Kind::NetworkPolicy, "shop/out", TO_DB)]);
    assert_eq!(world.agent.known().policies.asked().services, ["shop/db".to_owned()].into());
    assert_eq!(verdict(&world, "egress"), "goto sent", "it waits");
    tell(&mut world, [service("shop/db", &["10.1.9.9", "fd00::9"])]);
    assert!(verdict(&world, "egress").starts_with("goto prog-"));
    let ports = |world: &World, suffix: &str| -> Vec<String> {
        let sets = table(world).sets.iter().filter(|(name, _)| name.as_str().ends_with(suffix));
        sets.flat_map(|(_, set)| set.elements.keys().map(ToString::to_string)).collect()
    };
    assert_eq!(ports(&world, "-port4"), ["10.1.9.9 . tcp . 80"]);
    assert_eq!(ports(&world, "-port6"), ["fd00::9 . tcp . 80"]);

    let before = world.agent.known().policies.generation();
    world.now = world.now + PACE;
    world.applied.clear();
    tell(&mut world, [service("shop/db", &["10.1.9.9", "10.1.9.10", "fd00::9"])]);
    let [Op::Nft(changes)] = world.applied.as_slice() else { panic!("{:?}", world.applied) };
    assert!(matches!(changes.as_slice(), [Change::AddElements(..)]), "{changes:?}");
    assert_eq!(world.agent.known().policies.generation(), before, "it can only allow more");
    tell(&mut world, [service("shop/db", &[])]);
    assert_eq!((ports(&world, "-port4"), ports(&world, "-port6")), (vec![], vec![]));
    assert_ne!(world.agent.known().policies.generation(), before);
    assert!(verdict(&world, "egress").starts_with("goto prog-"), "a service without endpoints is known too");

    tell(&mut world, [Event::Gone(ResourceKey::new(Kind::NetworkPolicy, "shop/out"))]);
    assert!(world.agent.known().policies.asked().services.is_empty());
}

#[test]
fn services_that_can_not_be_had_hold_no_policy_up_for_ever() {
    let mut world = world();
    add(&mut world, "web", 1);
    world.settle();
    let why = "no right".to_owned();
    tell(
        &mut world,
        [
            Event::Unavailable { kind: Kind::ServiceEndpoints, why },
            of(Kind::NetworkPolicy, "shop/out", TO_DB),
        ],
    );
    assert_eq!(verdict(&world, "egress"), "goto sent");
    let due = world.agent.next_timeout().unwrap();
    world.agent.handle(Input::Timeout, due);
    world.settle();
    assert!(verdict(&world, "egress").starts_with("goto prog-"));
    assert!(world.agent.known().lacks().is_none());
}
