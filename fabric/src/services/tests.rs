//! Which addresses of services a node announces.

use std::sync::Arc;

use corduroy_api::{EndpointSlice, Event, Metadata, Resource, Service};

use super::*;
use crate::Changed;
use crate::tests::model;

const CONFIGURATION: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  serviceClusterIPs: [{cidr: 10.96.0.0/16}, {cidr: 'fd00:96::/112'}]
  serviceExternalIPs: [{cidr: 198.51.100.0/28}, {cidr: 198.51.100.77/32}]
  serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}]
";

fn node(label: &str) -> String {
    let api = "apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode";
    format!("---\n{api}\nmetadata: {{name: me, labels: {{{label}}}}}\nspec: {{addresses: [192.0.2.1/24]}}\n")
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn service(name: &str, spec: ServiceSpec) -> Resource {
    Resource::Service(Arc::new(Service { metadata: Metadata::named(name), spec }))
}

fn slice(name: &str, service: &str, here: Serving, anywhere: Serving) -> Resource {
    let spec = EndpointSliceSpec { service: service.to_owned(), ipv6: false, here, anywhere };
    Resource::EndpointSlice(Arc::new(EndpointSlice { metadata: Metadata::named(name), spec }))
}

/// A Model and what is made of it change by change.
struct World {
    model: Model,
    services: Services,
}

impl World {
    fn new(documents: &str) -> Self {
        let model = model(documents);
        let services = anew(&model);
        Self { model, services }
    }

    fn say(&mut self, event: Event) {
        if let Changed::Resource(key) = self.model.apply(event) {
            self.services.apply(&self.model, "me", &key);
        }
    }

    fn put(&mut self, resource: Resource) {
        self.say(Event::Put(resource));
    }

    /// What has changed since the last time: with `+` what has come, with `-` what has gone.
    fn news(&mut self) -> Vec<String> {
        let changed = self.services.take_changed();
        let show = |prefix: &IpNetwork| if self.services.wants(*prefix) { '+' } else { '-' };
        changed.iter().map(|prefix| format!("{}{prefix}", show(prefix))).collect()
    }
}

/// The same from everything there is.
fn anew(model: &Model) -> Services {
    let mut services = Services::default();
    services.apply(model, "me", &Key::new(Kind::BgpConfiguration, "default"));
    for name in model.slices().keys() {
        services.apply(model, "me", &Key::new(Kind::EndpointSlice, name.clone()));
    }
    services
}

fn web(local: bool) -> ServiceSpec {
    ServiceSpec {
        cluster_ips: addresses(&["10.96.0.9", "fd00:96::9"]),
        external_ips: addresses(&["198.51.100.3", "198.51.100.77", "192.0.2.200"]),
        load_balancer_ips: addresses(&["203.0.113.7"]),
        external_local: local,
        internal_local: false,
    }
}

const RANGES: [&str; 4] = ["+10.96.0.0/16", "+198.51.100.0/28", "+203.0.113.0/24", "+fd00:96::/112"];

#[test]
fn ranges_are_announced_by_every_node_but_those_that_are_excluded() {
    let mut world = World::new(&format!("{CONFIGURATION}{}", node("")));
    assert_eq!(world.news(), RANGES, "a range of one address waits for a Service");
    world.put(service("a/web", web(false)));
    assert_eq!(world.news(), ["+198.51.100.77/32"]);
    let excluded = model(&node(&format!("{EXCLUDED}: ''"))).nodes()["me"].clone();
    world.put(Resource::FabricNode(excluded));
    assert_eq!(world.news().len(), 5);
    assert_eq!(world.services.wanted().count(), 0);
}

#[test]
fn an_address_of_a_local_service_comes_with_the_first_ready_endpoint_and_goes_with_the_last() {
    use Serving::{No, Ready, Terminating};
    let mut world = World::new(CONFIGURATION);
    world.put(service("a/web", web(true)));
    assert_eq!(world.news(), RANGES);
    world.put(slice("a/web-1", "a/web", No, Ready));
    assert_eq!(world.news(), [] as [&str; 0], "a ready endpoint elsewhere");
    let v4 = ["10.96.0.9/32", "198.51.100.3/32", "198.51.100.77/32", "203.0.113.7/32"];
    let all = |sign: &str| v4.map(|prefix| format!("{sign}{prefix}"));
    world.put(slice("a/web-2", "a/web", Ready, Ready));
    assert_eq!(world.news(), all("+"), "of the family of the endpoint only");
    world.put(slice("a/web-3", "a/web", Ready, Ready));
    world.put(slice("a/web-2", "a/web", Terminating, Terminating));
    assert_eq!(world.news(), [] as [&str; 0], "one of two");
    world.put(slice("a/web-3", "a/web", Terminating, Terminating));
    assert_eq!(world.news(), all("-"), "there is a ready one elsewhere");
    world.put(slice("a/web-1", "a/web", No, Terminating));
    assert_eq!(world.news(), all("+"), "all are being ended, and some of them here");
    world.say(Event::Gone(Key::new(Kind::EndpointSlice, "a/web-2")));
    world.say(Event::Gone(Key::new(Kind::EndpointSlice, "a/web-3")));
    assert_eq!(world.news(), all("-"));
}

#[test]
fn cluster_addresses_follow_the_internal_policy_too() {
    let mut world = World::new(CONFIGURATION);
    world.news();
    world.put(service("a/web", ServiceSpec { internal_local: true, ..web(false) }));
    assert_eq!(world.news(), ["+198.51.100.77/32"]);
    world.put(slice("a/web-1", "a/web", Serving::Ready, Serving::Ready));
    assert_eq!(world.news(), ["+10.96.0.9/32"]);
}

#[test]
fn load_balancers_that_are_not_aggregated_are_announced_one_by_one() {
    let mut world = World::new(CONFIGURATION);
    world.put(service("a/web", web(false)));
    world.news();
    let apart = format!("{CONFIGURATION}  serviceLoadBalancerAggregation: Disabled\n");
    let apart = model(&apart).configurations()["default"].clone();
    world.put(Resource::BgpConfiguration(apart));
    assert_eq!(world.news(), ["-203.0.113.0/24", "+203.0.113.7/32"]);
}

#[test]
fn two_services_with_one_address_are_two_reasons() {
    let mut world = World::new(CONFIGURATION);
    world.news();
    world.put(service("a/web", web(false)));
    world.put(service("b/web", web(false)));
    assert_eq!(world.news(), ["+198.51.100.77/32"]);
    world.say(Event::Gone(Key::new(Kind::Service, "a/web")));
    assert_eq!(world.news(), [] as [&str; 0]);
    world.say(Event::Gone(Key::new(Kind::Service, "b/web")));
    assert_eq!(world.news(), ["-198.51.100.77/32"]);
}

#[test]
fn a_range_that_overlaps_a_pool_is_not_in_force_and_a_problem_says_so() {
    let pool = "---\napiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {name: p}\n\
                spec: {cidr: 10.96.64.0/18}\n";
    let world = World::new(&format!("{CONFIGURATION}{pool}"));
    assert!(!world.services.wants("10.96.0.0/16".parse().unwrap()));
    let problems: Vec<String> = problems(&world.model).iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["BGPConfiguration/default: spec.serviceClusterIPs[0].cidr: 10.96.0.0/16 overlaps IPPool/p, and an \
          address is a pod's or a service's; not announced"]
    );
}

#[test]
fn every_standing_says_why() {
    let ranges = Ranges::of(&model(CONFIGURATION));
    let say = |role, address: &str, local, serves| {
        let standing = ranges.standing(role, address.parse().unwrap(), &web(local), serves);
        (standing.is_announced(), standing.to_string())
    };
    let cases = [
        (say(Role::LoadBalancer, "203.0.113.7", true, true), true, "a ready endpoint is on this node"),
        (say(Role::LoadBalancer, "203.0.113.7", true, false), false, "no ready endpoint is on this node"),
        (say(Role::LoadBalancer, "203.0.113.7", false, false), false, "every node announces 203.0.113.0/24"),
        (say(Role::External, "198.51.100.77", false, false), true, "every node announces it by itself"),
        (say(Role::External, "192.0.2.200", false, true), false, "in no range of serviceExternalIPs"),
    ];
    for ((announced, why), expected, words) in cases {
        assert_eq!(announced, expected, "{why}");
        assert!(why.contains(words), "{why}");
    }
}

/// A number, and the next one (xorshift).
fn roll(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap() % below
}

fn random(state: &mut u64) -> Event {
    let name = format!("a/{}", roll(state, 4));
    let serving = |n: usize| [Serving::No, Serving::Terminating, Serving::Ready][n];
    match roll(state, 9) {
        0 => Event::Gone(Key::new(Kind::Service, name)),
        1 => Event::Gone(Key::new(Kind::EndpointSlice, name)),
        2 => {
            let label = if roll(state, 3) == 0 { format!("{EXCLUDED}: 'true'") } else { String::new() };
            Event::Put(Resource::FabricNode(model(&node(&label)).nodes()["me"].clone()))
        }
        3 if roll(state, 2) == 0 => Event::Gone(Key::new(Kind::BgpConfiguration, "default")),
        3 => {
            let way = ["Enabled", "Disabled"][roll(state, 2)];
            let text = format!("{CONFIGURATION}  serviceLoadBalancerAggregation: {way}\n");
            Event::Put(Resource::BgpConfiguration(model(&text).configurations()["default"].clone()))
        }
        4..=6 => {
            let of = format!("a/{}", roll(state, 4));
            let (here, other) = (serving(roll(state, 3)), serving(roll(state, 3)));
            Event::Put(slice(&name, &of, here, here.max(other)))
        }
        _ => {
            let last = roll(state, 3);
            let spec = ServiceSpec {
                cluster_ips: addresses(&[&format!("10.96.0.{last}")]),
                external_ips: addresses(&["198.51.100.77"]),
                load_balancer_ips: addresses(&[&format!("203.0.113.{last}")]),
                external_local: roll(state, 2) == 0,
                internal_local: roll(state, 2) == 0,
            };
            Event::Put(service(&name, spec))
        }
    }
}

#[test]
fn whatever_order_things_come_in_the_answer_is_that_of_a_fresh_look_and_changes_are_told() {
    for seed in 1..=200_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut world = World::new(CONFIGURATION);
        let mut told = BTreeSet::new();
        for step in 0..60 {
            world.say(random(&mut state));
            for prefix in world.services.take_changed() {
                if world.services.wants(prefix) {
                    told.insert(prefix);
                } else {
                    told.remove(&prefix);
                }
            }
            let fresh: BTreeSet<IpNetwork> = anew(&world.model).wanted().collect();
            let kept: BTreeSet<IpNetwork> = world.services.wanted().collect();
            assert_eq!(kept, fresh, "seed {seed} step {step}");
            assert_eq!(told, fresh, "seed {seed} step {step}: what was told");
        }
    }
}
