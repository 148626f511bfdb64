//! Random resources. They are few and alike on purpose: what never meets is never tested.

use std::net::IpAddr;

use corduroy_api::policy::host::NamedPort;
use corduroy_api::policy::{Protocol, cluster, kubernetes, own, tier};
use corduroy_api::service::ServiceEndpoint;
use corduroy_api::yaml::{self, Value};
use corduroy_api::{Labels, Metadata, ServiceEndpoints};
use corduroy_policy::{Class, Direction, Endpoint, EndpointKey, PolicyId, PolicyKind};

use crate::cluster::{Change, Cluster, Given};
use crate::judge::Packet;

/// Chance that can be had again: SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// So many of them, at most, each as it comes.
    fn some(&mut self, most: usize, one: impl Fn(&mut Self) -> String) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| one(self)).collect::<Vec<_>>().join(", ")
    }
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const KUBERNETES_SELECTORS: [&str; 6] = [
    "{}",
    "{matchLabels: {app: web}}",
    "{matchLabels: {app: db, tier: back}}",
    "{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}",
    "{matchExpressions: [{key: tier, operator: Exists}]}",
    "{matchExpressions: [{key: tier, operator: DoesNotExist}, {key: app, operator: In, values: [web, db]}]}",
];
const NAMESPACE_SELECTORS: [&str; 5] = [
    "{}",
    "{matchLabels: {team: red}}",
    "{matchLabels: {kubernetes.io/metadata.name: b}}",
    "{matchExpressions: [{key: team, operator: NotIn, values: [red]}]}",
    "{matchExpressions: [{key: team, operator: Exists}]}",
];
const SELECTORS: [&str; 9] = [
    "all()",
    "app == 'web'",
    "app != 'web'",
    "has(tier)",
    "!has(tier)",
    "app in {'web', 'db'} && has(tier)",
    "app starts with 'w' || kind == 'net'",
    "kind == 'net'",
    "kind == 'host'",
];
const PLACES: [&str; 5] = ["all()", "global()", "team == 'red'", "team != 'red'", "!has(team)"];
const NETS: [&str; 7] = [
    "10.0.0.0/24",
    "10.0.0.0/23",
    "10.0.1.2/32",
    "0.0.0.0/0",
    "198.51.100.0/24",
    "fd00::/16",
    "2001:db8::/32",
];
const PORTS: [&str; 4] = ["80", "http", "8080", "53"];

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn yaml(text: &str) -> Value {
    yaml::documents(text)[0].parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Two pods in each of two namespaces, two nodes.
pub(crate) fn start() -> Vec<Change> {
    let mut dice = Dice(7);
    let mut changes: Vec<Change> = (0..2).map(|n| node(n, &mut dice)).collect();
    changes.extend((0..4).map(|n| pod(n / 2, n % 2, &mut dice)));
    changes
}

fn node(n: u8, dice: &mut Dice) -> Change {
    let endpoint = Endpoint {
        labels: labels(&[("app", dice.of(&["web", "edge"]))]),
        addresses: vec![IpAddr::from([192, 0, 2, n])],
        ..Endpoint::default()
    };
    Change::Endpoint(EndpointKey::new(Class::Node, format!("n{n}")), Some(endpoint))
}

fn pod(namespace: usize, n: usize, dice: &mut Dice) -> Change {
    let key = EndpointKey::new(Class::Pod, format!("{}/p{n}", NAMESPACES[namespace]));
    let mut found = labels(&[("app", dice.of(&["web", "db"]))]);
    if dice.below(2) == 0 {
        found.insert("tier".into(), dice.of(&["front", "back"]).into());
    }
    let (group, host) = (u8::try_from(namespace).unwrap(), u8::try_from(n).unwrap() + 1);
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, u16::from(group), u16::from(host)]);
    let mut addresses = vec![IpAddr::from([10, 0, group, host])];
    if dice.below(4) > 0 {
        addresses.push(v6);
    }
    let http = NamedPort {
        name: "http".into(),
        protocol: *dice.of(&[&Protocol::TCP, &Protocol::TCP, &Protocol::UDP]),
        port: if dice.below(2) == 0 { 80 } else { 8080 },
    };
    let endpoint = Endpoint {
        labels: found,
        service_account: (dice.below(3) > 0).then(|| dice.of(&["one", "two"]).to_owned()),
        addresses,
        ports: vec![http],
        local: n < 2,
        absent: dice.below(8) == 0,
        ..Endpoint::default()
    };
    Change::Endpoint(key, Some(endpoint))
}

fn network_set(dice: &mut Dice) -> Change {
    let global = dice.below(2) == 0;
    let class = if global { Class::GlobalNetworkSet } else { Class::NetworkSet };
    let name = if global { "s".to_owned() } else { format!("{}/s{}", dice.of(&NAMESPACES), dice.below(2)) };
    let nets = (0..=dice.below(3)).map(|_| dice.of(&NETS).parse().unwrap()).collect();
    let found = if dice.below(3) == 0 { labels(&[("app", "web")]) } else { labels(&[("kind", "net")]) };
    let endpoint = Endpoint { labels: found, nets, ..Endpoint::default() };
    Change::Endpoint(EndpointKey::new(class, name), Some(endpoint).filter(|_| dice.below(4) > 0))
}

fn host(dice: &mut Dice) -> Change {
    let endpoint = Endpoint {
        labels: labels(&[("kind", "host"), ("app", dice.of(&["web", "edge"]))]),
        addresses: vec![IpAddr::from([192, 0, 2, 0])],
        local: true,
        ..Endpoint::default()
    };
    Change::Endpoint(
        EndpointKey::new(Class::HostEndpoint, "eth0"),
        Some(endpoint).filter(|_| dice.below(4) > 0),
    )
}

/// Endpoints of a service: pods, and somebody else.
fn service(dice: &mut Dice) -> Change {
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1", "fd00::1:2", "198.51.100.5"];
    let name = format!("{}/s", dice.of(&NAMESPACES));
    let parts = (0..dice.below(4)).map(|_| ServiceEndpoint {
        address: dice.of(&addresses).parse().unwrap(),
        ports: (0..dice.below(3)).map(|_| *dice.of(&[&(6, 80), &(17, 53), &(6, 8080)])).collect(),
    });
    let endpoints = ServiceEndpoints::of(&name, parts).endpoints;
    Change::Service(name, endpoints)
}

/// Anything may happen.
pub(crate) fn change(dice: &mut Dice) -> Change {
    match dice.below(17) {
        0 => {
            let found = match dice.below(3) {
                0 => Labels::new(),
                1 => labels(&[("team", "red")]),
                _ => labels(&[("team", "blue"), ("kubernetes.io/metadata.name", "b")]),
            };
            Change::Namespace(dice.of(&NAMESPACES).to_owned(), found)
        }
        1 => {
            let found = labels(&[("role", dice.of(&["x", "y"]))]);
            let account = dice.of(&["one", "two"]).to_owned();
            Change::Account(
                dice.of(&NAMESPACES).to_owned(),
                account,
                Some(found).filter(|_| dice.below(4) > 0),
            )
        }
        2 => {
            let name = dice.of(&["default", "low", "high"]);
            let order = match name {
                "default" => "",
                _ => dice.of(&["", "order: 10, ", "order: 2000000, ", "order: 0.5, "]),
            };
            let action = if name == "default" { "Deny" } else { dice.of(&["Deny", "Pass"]) };
            let spec = yaml(&format!("{{{order}defaultAction: {action}}}"));
            let tier = tier::Tier::read(Metadata::named(name), &spec).unwrap();
            Change::Tier(name.to_owned(), Some(tier).filter(|_| dice.below(4) > 0))
        }
        3 => network_set(dice),
        4 => host(dice),
        5 => node(u8::try_from(dice.below(2)).unwrap(), dice),
        6 | 7 => {
            let (namespace, n) = (dice.below(3), dice.below(3));
            let key = EndpointKey::new(Class::Pod, format!("{}/p{n}", NAMESPACES[namespace]));
            if dice.below(4) == 0 { Change::Endpoint(key, None) } else { pod(namespace, n, dice) }
        }
        8 => {
            let kinds =
                [PolicyKind::Kubernetes, PolicyKind::Cluster, PolicyKind::Network, PolicyKind::Global];
            let id = id(kinds[dice.below(4)], dice);
            Change::Policy(id, None)
        }
        9 | 10 => given(kubernetes(dice)),
        11 | 12 => given(cluster(dice)),
        13 => given(network(dice)),
        14 => service(dice),
        _ => given(global(dice)),
    }
}

fn given(given: Given) -> Change {
    Change::Policy(given.id(), Some(Box::new(given)))
}

fn id(kind: PolicyKind, dice: &mut Dice) -> PolicyId {
    let n = dice.below(3);
    let namespace = dice.of(&NAMESPACES);
    let name = match kind {
        PolicyKind::Kubernetes => format!("{namespace}/k{n}"),
        PolicyKind::Network => format!("{namespace}/n{n}"),
        PolicyKind::Cluster => format!("c{n}"),
        PolicyKind::Global => format!("g{n}"),
    };
    PolicyId::new(kind, name)
}

fn kubernetes(dice: &mut Dice) -> Given {
    let peer = |dice: &mut Dice| match dice.below(5) {
        0 => format!("{{ipBlock: {{cidr: {}, except: [10.0.1.0/24]}}}}", dice.of(&NETS)),
        1 => format!("{{podSelector: {}}}", dice.of(&KUBERNETES_SELECTORS)),
        2 => format!("{{namespaceSelector: {}}}", dice.of(&NAMESPACE_SELECTORS)),
        3 if dice.below(12) == 0 => "{}".to_owned(),
        _ => {
            let (pods, namespaces) = (dice.of(&KUBERNETES_SELECTORS), dice.of(&NAMESPACE_SELECTORS));
            format!("{{podSelector: {pods}, namespaceSelector: {namespaces}}}")
        }
    };
    let port = |dice: &mut Dice| match dice.below(4) {
        0 => format!("{{protocol: {}}}", dice.of(&["TCP", "UDP", "SCTP"])),
        1 => "{port: 80, endPort: 443}".to_owned(),
        _ => format!("{{protocol: {}, port: {}}}", dice.of(&["TCP", "UDP"]), dice.of(&PORTS)),
    };
    let rules = |side: &str, dice: &mut Dice| {
        let rule = |dice: &mut Dice| {
            let peers = if dice.below(4) == 0 { String::new() } else { dice.some(2, peer) };
            let ports = if dice.below(3) == 0 { String::new() } else { dice.some(3, port) };
            format!("{{{side}: [{peers}], ports: [{ports}]}}")
        };
        match dice.below(5) {
            0 => String::new(),
            1 => {
                let some = dice.some(2, rule);
                format!("{some}, {some}")
            }
            _ => dice.some(2, rule),
        }
    };
    let (ingress, egress) = (rules("from", dice), rules("to", dice));
    let types = dice.of(&["", "policyTypes: [Ingress], ", "policyTypes: [Egress], "]);
    let pods = dice.of(&KUBERNETES_SELECTORS);
    let spec = format!("{{{types}podSelector: {pods}, ingress: [{ingress}], egress: [{egress}]}}");
    let id = id(PolicyKind::Kubernetes, dice);
    let (namespace, name) = id.name.split_once('/').unwrap();
    let read = kubernetes::NetworkPolicy::read(namespace, Metadata::named(name), &yaml(&spec));
    Given::Kubernetes(read.unwrap())
}

fn cluster(dice: &mut Dice) -> Given {
    let pods = |dice: &mut Dice| match dice.below(2) {
        0 => format!("{{namespaces: {}}}", dice.of(&NAMESPACE_SELECTORS)),
        _ => {
            let (namespaces, pods) = (dice.of(&NAMESPACE_SELECTORS), dice.of(&KUBERNETES_SELECTORS));
            format!("{{pods: {{namespaceSelector: {namespaces}, podSelector: {pods}}}}}")
        }
    };
    let far = |dice: &mut Dice| match dice.below(8) {
        0 => format!("{{networks: [{}]}}", dice.some(3, |dice| format!("'{}'", dice.of(&NETS)))),
        1 => format!("{{nodes: {}}}", dice.of(&["{}", "{matchLabels: {app: web}}"])),
        2 if dice.below(3) == 0 => "{domainNames: [example.org]}".to_owned(),
        _ => pods(dice),
    };
    let protocol = |dice: &mut Dice| match dice.below(5) {
        0 => "{destinationNamedPort: http}".to_owned(),
        1 => "{udp: {}}".to_owned(),
        2 => "{tcp: {destinationPort: {range: {start: 53, end: 80}}}}".to_owned(),
        _ => format!("{{{}: {{destinationPort: {{number: 80}}}}}}", dice.of(&["tcp", "udp", "sctp"])),
    };
    let mut rules = |side: &str, peer: &dyn Fn(&mut Dice) -> String| {
        let rule = |dice: &mut Dice| {
            let action = dice.of(&["Accept", "Deny", "Pass"]);
            let what = if dice.below(2) == 0 {
                String::new()
            } else {
                format!(", protocols: [{}]", dice.some(2, protocol))
            };
            format!("{{action: {action}, {side}: [{}]{what}}}", dice.some(2, |dice| peer(dice)))
        };
        if dice.below(3) == 0 { String::new() } else { dice.some(3, rule) }
    };
    let (ingress, egress) = (rules("from", &pods), rules("to", &far));
    let (tier, priority) = (dice.of(&["Admin", "Baseline"]), dice.below(3));
    let subject = pods(dice);
    let spec = format!(
        "{{tier: {tier}, priority: {priority}, subject: {subject}, ingress: [{ingress}], egress: [{egress}]}}"
    );
    let id = id(PolicyKind::Cluster, dice);
    Given::Cluster(cluster::ClusterNetworkPolicy::read(Metadata::named(&*id.name), &yaml(&spec)).unwrap())
}

fn entity(dice: &mut Dice, ports: bool) -> String {
    let mut parts = Vec::new();
    for _ in 0..=dice.below(2) {
        parts.push(match dice.below(9) {
            0 => format!("nets: [{}]", dice.some(3, |dice| format!("'{}'", dice.of(&NETS)))),
            1 => format!("notNets: [{}]", dice.some(2, |dice| format!("'{}'", dice.of(&NETS)))),
            2 | 3 => format!("selector: \"{}\"", dice.of(&SELECTORS)),
            4 => format!("notSelector: \"{}\"", dice.of(&SELECTORS)),
            5 => format!("namespaceSelector: \"{}\"", dice.of(&PLACES)),
            6 => format!("serviceAccounts: {}", dice.of(&["{names: [one]}", "{selector: \"role == 'x'\"}"])),
            7 if ports => format!("ports: [{}]", dice.of(&["80", "http", "'53:80', 8080", "http, 80, 443"])),
            8 if ports => format!("notPorts: [{}]", dice.of(&["80", "http", "53, 80", "'1:60', http"])),
            _ => continue,
        });
    }
    parts.sort();
    parts.dedup_by_key(|part| part.split(':').next().unwrap().to_owned());
    format!("{{{}}}", parts.join(", "))
}

/// Up to three rules. Some look at what one before them looked at, some at everything.
fn own_rules(dice: &mut Dice, ingress: bool) -> String {
    let mut asked: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for _ in 0..=dice.below(3) {
        let action = dice.of(&["Allow", "Allow", "Deny", "Pass", "Log"]);
        let asks = match (dice.below(8), asked.is_empty()) {
            (0 | 1, false) => asked[dice.below(asked.len())].clone(),
            (2, _) => String::new(),
            _ => own_asks(dice, ingress),
        };
        rules.push(format!("{{action: {action}{asks}}}"));
        asked.push(asks);
    }
    rules.join(", ")
}

fn own_asks(dice: &mut Dice, ingress: bool) -> String {
    let (protocol, ports) = match dice.below(9) {
        0 => ("protocol: UDP, ", true),
        1 => ("notProtocol: TCP, ", false),
        2 => ("protocol: ICMP, icmp: {type: 8}, ", false),
        3 => ("protocol: ICMPv6, notICMP: {type: 128}, ", false),
        4 => ("", false),
        5 => ("protocol: ICMP, icmp: {type: 3, code: 4}, ", false),
        6 => ("protocol: ICMP, notICMP: {type: 3, code: 4}, ", false),
        7 => ("protocol: ICMPv6, icmp: {type: 128, code: 0}, notICMP: {type: 128, code: 4}, ", false),
        _ => ("protocol: TCP, ", true),
    };
    let (mut source, mut destination) = (entity(dice, ports), entity(dice, ports));
    // Only the far end can be a service.
    if dice.below(6) == 0 {
        let service = format!("{{services: {{name: s, namespace: {}}}}}", dice.of(&NAMESPACES));
        *(if ingress { &mut source } else { &mut destination }) = service;
    }
    format!(", {protocol}source: {source}, destination: {destination}")
}

/// What both of our kinds have.
fn body(dice: &mut Dice) -> String {
    let tier = dice.of(&["", "tier: low, ", "tier: high, "]);
    let order = dice.of(&["", "order: 10, ", "order: 1000, ", "order: 10.5, "]);
    let selector = dice.of(&SELECTORS);
    let types = dice.of(&["", "types: [Ingress], ", "types: [Ingress, Egress], "]);
    let account = dice.of(&["", "", "", "serviceAccountSelector: \"role == 'x'\", "]);
    let mut rules = |ingress| if dice.below(4) == 0 { String::new() } else { own_rules(dice, ingress) };
    let (ingress, egress) = (rules(true), rules(false));
    format!("{tier}{order}{types}{account}selector: \"{selector}\", ingress: [{ingress}], egress: [{egress}]")
}

fn network(dice: &mut Dice) -> Given {
    let spec = format!("{{{}}}", body(dice));
    let id = id(PolicyKind::Network, dice);
    let (namespace, name) = id.name.split_once('/').unwrap();
    Given::Network(own::NetworkPolicy::read(namespace, Metadata::named(name), &yaml(&spec)).unwrap())
}

fn global(dice: &mut Dice) -> Given {
    let place = match dice.below(2) {
        0 => String::new(),
        _ => format!(", namespaceSelector: \"{}\"", dice.of(&PLACES)),
    };
    let reach = dice.of(&["", "", "", ", applyOnForward: true", ", applyOnForward: true, doNotTrack: true"]);
    let spec = format!("{{{}{place}{reach}}}", body(dice));
    let id = id(PolicyKind::Global, dice);
    Given::Global(own::GlobalNetworkPolicy::read(Metadata::named(&*id.name), &yaml(&spec)).unwrap())
}

/// A packet that this endpoint gets or sends; `None` when it has no address to do so.
pub(crate) fn packet(
    cluster: &Cluster,
    endpoint: &Endpoint,
    direction: Direction,
    dice: &mut Dice,
) -> Option<Packet> {
    let own = *endpoint.addresses.get(dice.below(endpoint.addresses.len().max(1)))?;
    let strangers = ["198.51.100.5", "203.0.113.9", "10.0.1.9", "2001:db8::5", "2a00::1"];
    let known = cluster.endpoints.values().flat_map(|endpoint| endpoint.addresses.iter().copied());
    let all: Vec<IpAddr> = known
        .chain(strangers.map(|text| text.parse().unwrap()))
        .filter(|address| address.is_ipv4() == own.is_ipv4())
        .collect();
    let other = all[dice.below(all.len())];
    let (source, destination) = match direction {
        Direction::Ingress => (other, own),
        Direction::Egress => (own, other),
    };
    let ports = [53, 80, 443, 8080, 9];
    Some(Packet {
        source,
        destination,
        protocol: [6, 6, 6, 17, 17, 132, 1, 58, 47][dice.below(9)],
        source_port: ports[dice.below(5)],
        destination_port: ports[dice.below(5)],
        icmp_type: [8, 3, 128][dice.below(3)],
        icmp_code: [0, 0, 4][dice.below(3)],
    })
}
