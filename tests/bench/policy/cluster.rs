//! A cluster as its API server would tell of it: 500 namespaces of 25 teams in 4 environments, pods of 20 applications
//! spread over them, and policies as people write them.
//!
//! A quarter of the policies deny by default, one in each namespace. Most of the others are for one application in one
//! namespace and let in one to three kinds of peers: pods of the namespace, pods of a team, or an application wherever
//! it runs. Of hundred policies one is an administrator's for all namespaces of a team, one ours for an environment.
//!
//! The first pods are those of the node that is measured, one in a namespace; between them, policies for them mean
//! every application anywhere, so every pod of the cluster is in a set of this node.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use corduroy_agent_core::known::WATCHED;
use corduroy_api::policy::PolicyResource;
use corduroy_api::{Event, Key, Kind, Labels, Metadata, Namespace, Pod, Resource, Scope, Source, yaml};
use corduroy_kernel::LinkName;
use serde_json::{Value, json};

use super::Sizes;

/// The node that is measured.
pub const NODE: &str = "n1";
pub const UID: &str = "uid-n1";

const NAMESPACES: usize = 500;
const TEAMS: usize = 25;
const ENVIRONMENTS: usize = 4;
const APPLICATIONS: usize = 20;
const PODS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);

/// Pool, and the node's blocks in it.
const GROUND: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.64.0.0/10}
---
apiVersion: corduroy.dev/v1alpha1
kind: IPAMBlock
metadata: {name: 10-64-0-0-26}
spec: {cidr: 10.64.0.0/26, node: n1, nodeUID: uid-n1, epoch: 1}
---
apiVersion: corduroy.dev/v1alpha1
kind: IPAMBlock
metadata: {name: 10-64-0-64-26}
spec: {cidr: 10.64.0.64/26, node: n1, nodeUID: uid-n1, epoch: 1}
";

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(PODS) + u32::try_from(number).unwrap_or(u32::MAX))
}

/// What `ip -batch` makes the interfaces of the node's pods of.
pub fn links(local: usize) -> String {
    let mut text = String::new();
    for number in 0..local {
        let dev = LinkName::pod(u64::try_from(number).unwrap_or(u64::MAX));
        let mac = format!("02:00:00:00:{:02x}:{:02x}", number >> 8 & 0xff, number & 0xff);
        let _ = write!(
            text,
            "link add {dev} type veth peer name p{number}\nlink set {dev} up\nlink set p{number} up\n\
             neigh add {} dev {dev} lladdr {mac} nud permanent\n",
            address(number)
        );
    }
    text
}

fn namespace(number: usize) -> Resource {
    let labels = [
        ("kubernetes.io/metadata.name", format!("ns-{number}")),
        ("team", format!("t{}", number % TEAMS)),
        ("env", format!("e{}", number % ENVIRONMENTS)),
    ];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let metadata = Metadata { labels, ..Metadata::named(format!("ns-{number}")) };
    Resource::Namespace(Arc::new(Namespace::new(metadata)))
}

fn application(number: usize) -> usize {
    (number / NAMESPACES + number) % APPLICATIONS
}

fn key(number: usize, sizes: &Sizes) -> Key {
    let kind = if number < sizes.local { Kind::Pod } else { Kind::RemotePod };
    Key::new(kind, format!("ns-{}/pod-{number}", number % NAMESPACES))
}

/// A pod, its application so many further than it was at first.
fn pod(number: usize, shift: usize, sizes: &Sizes) -> Event {
    let application = (application(number) + shift) % APPLICATIONS;
    let labels: Labels = [
        ("app", format!("a{application}")),
        ("role", format!("r{}", number % 3)),
        ("pod-template-hash", format!("{:x}", number / 3 + 4096)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let metadata = Metadata { labels, ..Metadata::named(format!("pod-{number}")) };
    let node = if number < sizes.local { NODE.to_owned() } else { format!("n{}", 2 + number / 100) };
    let pod = Arc::new(Pod {
        service_account: "default".to_owned(),
        addresses: vec![IpAddr::V4(address(number))],
        node: Some(node),
        ..Pod::new(&format!("ns-{}", number % NAMESPACES), metadata)
    });
    Event::Put(if number < sizes.local { Resource::Pod(pod) } else { Resource::RemotePod(pod) })
}

fn policy(kind: Kind, name: String, spec: &Value) -> Event {
    let text = spec.to_string();
    let documents = yaml::documents(&text);
    let spec = documents.first().map(yaml::Document::parse);
    let Some(Ok(spec)) = spec else { panic!("{name} is not YAML: {text}") };
    match PolicyResource::read(kind, Metadata::named(name), spec) {
        Some(Ok(policy)) => match policy.body.broken() {
            None => Event::Put(Resource::Policy(Arc::new(policy))),
            Some(why) => panic!("{}: {why:?}", policy.metadata.name),
        },
        other => panic!("{text}: {other:?}"),
    }
}

fn denies(number: usize) -> Event {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    policy(Kind::KubernetesNetworkPolicy, format!("ns-{number}/default-deny"), &spec)
}

/// Policy `number` for a namespace, the `round`th of it. The first is for the application of the namespace's first pod,
/// and lets in an application wherever it runs.
fn allows(number: usize, namespace: usize, round: usize) -> Event {
    let of = |n: usize| json!({ "matchLabels": { "app": format!("a{}", n % APPLICATIONS) } });
    let peers = [
        json!({ "namespaceSelector": {}, "podSelector": of(namespace + round) }),
        json!({ "podSelector": of(namespace + 3) }),
        json!({ "namespaceSelector": { "matchLabels": { "team": format!("t{}", number % TEAMS) } },
                "podSelector": of(namespace + 5) }),
    ];
    let peers = peers.get(..=number % 3).unwrap_or_default();
    let ports =
        json!([{ "protocol": "TCP", "port": 8_000 + number % 100 }, { "protocol": "TCP", "port": 9_090 }]);
    let mut spec = json!({
        "podSelector": of(application(namespace) + round), "policyTypes": ["Ingress"],
        "ingress": [{ "from": peers, "ports": ports }],
    });
    if number.is_multiple_of(4) {
        spec["policyTypes"] = json!(["Ingress", "Egress"]);
        spec["egress"] = json!([
            { "to": [{ "namespaceSelector": {}, "podSelector": of(namespace + 7) }],
              "ports": [{ "protocol": "UDP", "port": 53 }] },
            { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }] },
        ]);
    }
    policy(Kind::KubernetesNetworkPolicy, format!("ns-{namespace}/allow-{number}"), &spec)
}

/// An administrator's policy, for all namespaces of a team.
fn administers(number: usize) -> Event {
    let team = |n: usize| json!({ "matchLabels": { "team": format!("t{}", n % TEAMS) } });
    let spec = json!({
        "tier": "Admin", "priority": number % 1_000, "subject": { "namespaces": team(number) },
        "ingress": [{ "name": "monitoring", "action": "Accept", "from": [{ "namespaces": team(number + 1) }] }],
    });
    policy(Kind::ClusterNetworkPolicy, format!("admin-{number}"), &spec)
}

/// One of ours, for an environment.
fn blocks(number: usize) -> Event {
    let nets = [format!("203.0.{}.0/24", number % 256)];
    let spec = json!({
        "order": 10 + number, "namespaceSelector": format!("env == 'e{}'", number % ENVIRONMENTS),
        "types": ["Ingress"],
        "ingress": [{ "action": "Deny", "protocol": "TCP", "source": { "nets": nets },
                      "destination": { "ports": [22] } }],
    });
    policy(Kind::GlobalNetworkPolicy, format!("block-{number}"), &spec)
}

fn policies(count: usize) -> impl Iterator<Item = Event> {
    let namespaces = (count / 4).clamp(1, NAMESPACES);
    (0..count).map(move |number| match number {
        _ if number < namespaces => denies(number),
        _ if number % 100 == 98 => administers(number),
        _ if number % 100 == 99 => blocks(number),
        _ => allows(number, number % namespaces, number / namespaces - 1),
    })
}

/// Everything there is, and that it is everything.
pub fn events(sizes: Sizes) -> impl Iterator<Item = Event> {
    let ground = yaml::documents(GROUND).into_iter().map(|document| {
        let value = document.parse().unwrap_or_else(|e| panic!("the ground: {e}"));
        Event::Put(Resource::read(&value).unwrap_or_else(|refused| panic!("the ground: {refused:?}")))
    });
    let ground: Vec<Event> = ground.collect();
    let namespaces = (0..NAMESPACES).map(|number| Event::Put(namespace(number)));
    let pods = (0..sizes.endpoints).map(move |number| pod(number, 0, &sizes));
    let synced = WATCHED.into_iter().map(|kind| Event::InSync { kind, from: Source::Live });
    let all = ground.into_iter().chain(namespaces).chain(policies(sizes.policies)).chain(pods);
    all.chain([Event::Covered(Scope::Everywhere)]).chain(synced)
}

/// What happens in it, always the same: labels change, pods go and come back, most of them on other nodes.
pub struct Churn {
    sizes: Sizes,
    made: usize,
    /// How far the application of a pod is from what it was at first.
    shifts: Vec<usize>,
    gone: VecDeque<usize>,
}

impl Churn {
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes, made: 0, shifts: vec![0; sizes.endpoints], gone: VecDeque::new() }
    }

    /// The next change.
    pub fn change(&mut self) -> Event {
        let made = self.made;
        self.made += 1;
        match made % 4 {
            _ if made % 100 == 98 => self.relabel(made / 100 % self.sizes.local),
            2 => {
                let number = self.remote(made);
                self.gone.push_back(number);
                Event::Gone(key(number, &self.sizes))
            }
            3 => match self.gone.pop_front() {
                Some(number) => pod(number, self.shift(number), &self.sizes),
                None => self.relabel(self.remote(made)),
            },
            _ => self.relabel(self.remote(made)),
        }
    }

    /// A pod of another node that is there.
    fn remote(&self, made: usize) -> usize {
        let remote = self.sizes.endpoints - self.sizes.local;
        let mut candidates = (0..remote).map(|step| self.sizes.local + (made * 7_919 + step) % remote);
        candidates.find(|number| !self.gone.contains(number)).unwrap_or(self.sizes.local)
    }

    fn shift(&self, number: usize) -> usize {
        self.shifts.get(number).copied().unwrap_or_default()
    }

    fn relabel(&mut self, number: usize) -> Event {
        if let Some(shift) = self.shifts.get_mut(number) {
            *shift = (*shift + 1) % APPLICATIONS;
        }
        pod(number, self.shift(number), &self.sizes)
    }
}
