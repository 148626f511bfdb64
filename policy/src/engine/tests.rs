//! What the kernel is to hold, as `nft` writes it.

mod explain;

use std::net::IpAddr;

use corduroy_api::Metadata;
use corduroy_api::policy::host::NamedPort;
use corduroy_api::policy::{Protocol, cluster, kubernetes, own};
use corduroy_api::yaml::{self, Value};
use corduroy_kernel::nft::{Expr, Verdict};

use super::*;
use crate::normal;

fn yaml(text: &str) -> Value {
    yaml::documents(text)[0].parse().unwrap()
}

fn of_kubernetes(name: &str, spec: &str) -> Policy {
    let read = kubernetes::NetworkPolicy::read("shop", Metadata::named(name), &yaml(spec));
    normal::kubernetes::policy(&read.unwrap())
}

fn of_cluster(name: &str, spec: &str) -> Policy {
    normal::cluster::policy(&cluster::ClusterNetworkPolicy::read(Metadata::named(name), &yaml(spec)).unwrap())
}

fn of_all(name: &str, spec: &str) -> Policy {
    normal::own::global(&own::GlobalNetworkPolicy::read(Metadata::named(name), &yaml(spec)).unwrap())
}

fn pod(name: &str) -> EndpointKey {
    EndpointKey::new(Class::Pod, format!("shop/{name}"))
}

fn endpoint(labels: &[(&str, &str)], addresses: &[&str], local: bool) -> Endpoint {
    Endpoint {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: vec![NamedPort { name: "http".into(), protocol: Protocol::TCP, port: 8080 }],
        local,
        ..Endpoint::default()
    }
}

/// A node with one pod, and another pod elsewhere.
fn engine() -> Engine {
    let mut engine = Engine::default();
    engine.put_endpoint(&pod("web"), &endpoint(&[("app", "web")], &["10.0.0.1", "fd00::1"], true));
    engine.put_endpoint(&pod("db"), &endpoint(&[("app", "db")], &["10.0.1.1"], false));
    engine.take_changes();
    engine
}

fn text(rules: Option<Vec<Kernel>>) -> Vec<String> {
    rules.unwrap().iter().map(ToString::to_string).collect()
}

fn chain(engine: &Engine, name: &str) -> Vec<String> {
    text(engine.chain(&name.into()))
}

/// What a packet for the pod meets, one chain after the other.
fn tiers(engine: &Engine, direction: Direction) -> Vec<Vec<String>> {
    let program = engine.program(&pod("web"), Stage::Own, direction).unwrap();
    let rules = engine.chain(program).unwrap();
    let below = rules.iter().flat_map(Kernel::exprs).filter_map(|expr| match expr {
        Expr::Verdict(Verdict::Jump(to)) => Some(text(engine.chain(to))),
        _ => None,
    });
    below.collect()
}

fn elements(engine: &Engine, name: &Name) -> Vec<String> {
    engine.set(name).unwrap().elements.keys().map(ToString::to_string).collect()
}

#[test]
fn a_policy_reads_like_what_it_says_and_ends_in_silence() {
    let mut engine = engine();
    engine.put_policy(of_kubernetes(
        "web",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress],
          ingress: [{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 80}, {port: http}]}],
          egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}",
    ));
    let sets: Vec<Name> = engine.sets().cloned().collect();
    let has = |suffix: &str, rules: &[String]| {
        let set = sets.iter().filter(|set| set.as_str().ends_with(suffix));
        set.filter(|set| rules.iter().any(|rule| rule.contains(&format!("@{set}")))).count()
    };
    let ingress = chain(&engine, "netpol/shop/web/ingress");
    // Two families, each with a number and a name.
    assert_eq!(ingress.len(), 4, "{ingress:#?}");
    assert!(
        ingress[0].starts_with("ip saddr @set-") && ingress[0].contains("tcp dport 80 counter goto passed")
    );
    assert!(ingress[1].contains("ip daddr . meta l4proto . tcp dport @set-"), "{}", ingress[1]);
    assert!(ingress[3].ends_with("goto passed comment \"netpol/shop/web ingress rule 0\""), "{}", ingress[3]);
    assert_eq!((has("-4", &ingress), has("-6", &ingress)), (1, 1));
    let egress = chain(&engine, "netpol/shop/web/egress");
    let wanted = "ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 counter goto sent \
                  comment \"netpol/shop/web egress rule 0\"";
    assert_eq!(egress, [wanted]);
    let silence = "counter goto denied comment \"tier default, ingress: no rule matched\"";
    assert_eq!(tiers(&engine, Direction::Ingress), [["jump netpol/shop/web/ingress", silence]]);
}

#[test]
fn what_passes_goes_on_with_the_next_tier_and_what_no_tier_denies_is_accepted() {
    let mut engine = engine();
    let subject = "subject: {namespaces: {}}";
    let pass = "{action: Deny, from: [{namespaces: {}}]}, {action: Pass, from: [{namespaces: {}}]}, \
                {action: Accept, from: [{namespaces: {}}]}";
    engine
        .put_policy(of_cluster("a", &format!("{{tier: Admin, priority: 1, {subject}, ingress: [{pass}]}}")));
    let [admin] = tiers(&engine, Direction::Ingress).try_into().unwrap();
    let ends = |rule: &String, with: &str| assert!(rule.contains(with), "{rule}");
    ends(&admin[0], "jump cnp/a/ingress");
    ends(&admin[1], "counter return comment \"cnp/a ingress rule 1\"");
    ends(&admin[2], "counter return");
    ends(&admin[3], "jump cnp/a/ingress/2");
    assert_eq!(admin.len(), 4);
    let program = engine.program(&pod("web"), Stage::Own, Direction::Ingress).unwrap();
    assert_eq!(text(engine.chain(program))[1], "goto passed comment \"no tier denied it\"");
    engine.put_policy(of_kubernetes("deny", "{podSelector: {}}"));
    engine.put_policy(of_cluster(
        "b",
        &format!("{{tier: Baseline, priority: 1, {subject}, ingress: [{pass}]}}"),
    ));
    // Behind the tier that denies nobody comes.
    assert_eq!(tiers(&engine, Direction::Ingress).len(), 2);
    assert_eq!(engine.program(&pod("web"), Stage::Own, Direction::Egress), None);
}

#[test]
fn an_address_is_in_a_set_as_long_as_anybody_who_is_meant_has_it() {
    let mut engine = engine();
    engine.put_policy(of_kubernetes(
        "web",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}",
    ));
    let set = engine.sets().find(|set| set.as_str().ends_with("-4")).unwrap().clone();
    assert_eq!(elements(&engine, &set), ["10.0.1.1"]);
    engine.take_changes();
    // Another pod gets the address before the old one is known to be gone.
    engine.put_endpoint(&pod("new"), &endpoint(&[("app", "db")], &["10.0.1.1"], false));
    engine.remove_endpoint(&pod("db"));
    assert_eq!((engine.take_changes().dirty, elements(&engine, &set).len()), (vec![], 1));
    engine.put_endpoint(&pod("new"), &endpoint(&[("app", "other")], &["10.0.1.1"], false));
    let key: nft::Key = "10.0.1.1".parse::<IpAddr>().unwrap().into();
    assert_eq!(engine.take_changes().dirty, [Dirty::Element(set.clone(), key.clone())]);
    assert!(!engine.has_element(&set, &key));
    let absent = Endpoint { absent: true, ..endpoint(&[("app", "db")], &["10.0.1.1"], false) };
    engine.put_endpoint(&pod("new"), &absent);
    assert_eq!(engine.take_changes().dirty, []);
}

#[test]
fn a_policy_that_selects_nobody_here_has_neither_chains_nor_sets() {
    let mut engine = engine();
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}";
    engine.put_policy(of_kubernetes("db", spec));
    assert_eq!((engine.take_changes().dirty, engine.sets().count(), engine.chains().count()), (vec![], 0, 0));
    engine.put_endpoint(&pod("web"), &endpoint(&[("app", "db")], &["10.0.0.1"], true));
    assert_eq!((engine.sets().count(), engine.chains().count()), (2, 3));
    engine.take_changes();
    engine.remove_endpoint(&pod("web"));
    assert_eq!((engine.sets().count(), engine.chains().count()), (0, 0));
    assert!(engine.take_changes().dirty.contains(&Dirty::Program(pod("web"))));
}

#[test]
fn of_networks_that_overlap_only_the_outer_one_stands() {
    let mut engine = engine();
    let rule = "{action: Allow, source: {selector: kind == 'net'}}";
    engine.put_policy(of_all("all", &format!("{{selector: app == 'web', ingress: [{rule}]}}")));
    let set = |nets: &[&str]| Endpoint {
        nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
        ..endpoint(&[("kind", "net")], &[], false)
    };
    let key = |name: &str| EndpointKey::new(Class::GlobalNetworkSet, name);
    engine.put_endpoint(&key("inner"), &set(&["10.1.0.0/16", "192.0.2.1/32"]));
    let name = |suffix: &str| engine.sets().find(|set| set.as_str().ends_with(suffix)).unwrap().clone();
    let (nets, addresses) = (name("-net4"), name("-4"));
    assert_eq!(elements(&engine, &addresses), ["192.0.2.1"]);
    engine.take_changes();
    engine.put_endpoint(&key("outer"), &set(&["10.0.0.0/8"]));
    assert_eq!(
        (elements(&engine, &nets), engine.take_changes().dirty.len()),
        (vec!["10.0.0.0/8".to_owned()], 2)
    );
    engine.remove_endpoint(&key("outer"));
    assert_eq!(
        (elements(&engine, &nets), engine.take_changes().dirty.len()),
        (vec!["10.1.0.0/16".to_owned()], 2)
    );
}

#[test]
fn a_service_is_its_endpoints_at_their_ports() {
    let mut engine = engine();
    let rule = "{action: Allow, destination: {services: {name: dns, namespace: sys}}}";
    engine.put_policy(of_all("all", &format!("{{selector: app == 'web', egress: [{rule}]}}")));
    let set = engine.sets().find(|set| set.as_str().ends_with("-port4")).unwrap().clone();
    assert_eq!(chain(&engine, "gnp/all/egress").len(), 6);
    assert_eq!(elements(&engine, &set), Vec::<String>::new());
    engine.take_changes();
    let address = IpAddr::from([10, 0, 3, 1]);
    engine.put_service("sys/dns", vec![ServiceEndpoint { address, ports: vec![(17, 53), (6, 53)] }]);
    assert_eq!(elements(&engine, &set), ["10.0.3.1 . tcp . 53", "10.0.3.1 . udp . 53"]);
    assert_eq!(engine.take_changes().dirty.len(), 2);
    engine.put_service("sys/dns", Vec::new());
    assert_eq!((elements(&engine, &set).len(), engine.take_changes().dirty.len()), (0, 2));
}

#[test]
fn a_service_that_sends_is_its_addresses_and_is_asked_about_while_its_policy_selects_somebody() {
    let mut engine = engine();
    let rule = "{action: Allow, source: {services: {name: dns, namespace: sys}}}";
    let policy = |selector: &str| of_all("all", &format!("{{selector: {selector}, ingress: [{rule}]}}"));
    let services = BTreeSet::from(["sys/dns".to_owned()]);
    assert_eq!(engine.asked_by(&policy("app == 'web'")).services, services);
    assert_eq!(engine.asked_by(&policy("app == 'nobody'")).services, BTreeSet::new());
    engine.put_service(
        "sys/dns",
        vec![ServiceEndpoint { address: IpAddr::from([10, 0, 3, 1]), ports: vec![] }],
    );
    engine.put_policy(policy("app == 'web'"));
    let sets: Vec<Name> = engine.sets().cloned().collect();
    assert_eq!(sets.iter().flat_map(|set| elements(&engine, set)).collect::<Vec<_>>(), ["10.0.3.1"]);
    assert_eq!(engine.asked().services, services);
    engine.put_policy(policy("app == 'nobody'"));
    assert_eq!(engine.asked().services, BTreeSet::new());
}

#[test]
fn a_host_meets_policies_where_they_say_they_apply() {
    let mut engine = engine();
    let key = EndpointKey::new(Class::HostEndpoint, "eth0");
    engine.put_endpoint(&key, &endpoint(&[("host", "yes")], &["192.0.2.1"], true));
    let policy = |name: &str, reach: &str| {
        let rules = "ingress: [{action: Allow, protocol: TCP, destination: {ports: [22]}}]";
        of_all(name, &format!("{{selector: has(host), {reach}{rules}}}"))
    };
    engine.put_policy(policy("own", ""));
    engine.put_policy(policy("raw", "applyOnForward: true, doNotTrack: true, "));
    engine.put_policy(policy("nat", "applyOnForward: true, preDNAT: true, "));
    let meets = |engine: &Engine| Stage::ALL.map(|at| engine.program(&key, at, Direction::Ingress).is_some());
    assert_eq!(meets(&engine), [true, false, true, true]);
    engine.put_policy(policy("forward", "applyOnForward: true, "));
    assert_eq!(meets(&engine), [true; 4]);
    assert!(chain(&engine, "gnp/own/ingress/host")[0].contains("tcp dport 22 counter goto passed"));
    assert!(chain(&engine, "gnp/raw/ingress/raw")[0].contains("tcp dport 22 counter notrack accept"));
    // What is not decided early is decided later: nothing is dropped there for want of a rule.
    let program = engine.program(&key, Stage::Untracked, Direction::Ingress).unwrap();
    let rules = text(engine.chain(program));
    assert!(rules.len() == 2 && rules[1].starts_with("accept"), "and tracked: {rules:?}");
    assert!(chain(&engine, "gnp/nat/ingress/prednat")[0].contains("tcp dport 22 counter goto let-in"));
    let program = engine.program(&key, Stage::PreDnat, Direction::Ingress).unwrap();
    assert!(text(engine.chain(program))[1].starts_with("accept"), "and let in by nobody");
}

#[test]
fn endpoints_that_no_policy_tells_apart_have_one_program_and_moving_between_such_denies_nothing() {
    let mut engine = engine();
    engine.put_policy(of_kubernetes("web", "{podSelector: {matchLabels: {app: web}}}"));
    engine.take_changes();
    let program = |engine: &Engine, name| engine.program(&pod(name), Stage::Own, Direction::Ingress).cloned();
    let said = |dirty: &[Dirty]| dirty.iter().filter(|it| !matches!(it, Dirty::Element(..))).count();
    engine.put_endpoint(&pod("twin"), &endpoint(&[("app", "web")], &["10.0.0.2"], true));
    let changes = engine.take_changes();
    assert_eq!(program(&engine, "twin"), program(&engine, "web"));
    assert_eq!((said(&changes.dirty), changes.may_deny), (1, false), "its program, no chain: {changes:?}");
    // Another label, by which nobody asks, makes it one of others with the same program.
    let odd = endpoint(&[("app", "web"), ("odd", "yes")], &["10.0.0.2"], true);
    engine.put_endpoint(&pod("twin"), &odd);
    let changes = engine.take_changes();
    assert_eq!((said(&changes.dirty), changes.may_deny), (0, false), "{changes:?}");
    assert_eq!(program(&engine, "twin"), program(&engine, "web"));
    engine.remove_endpoint(&pod("web"));
    assert!(!engine.take_changes().may_deny);
    engine.put_endpoint(&pod("twin"), &endpoint(&[("app", "db")], &["10.0.0.2"], true));
    engine.put_endpoint(&pod("twin"), &odd);
    assert!(engine.take_changes().may_deny);
    engine.put_endpoint(&pod("twin"), &endpoint(&[("app", "db")], &["10.0.0.2"], true));
    assert_eq!(program(&engine, "twin"), None);
    assert_eq!(engine.chains().count(), 0);
}

#[test]
fn many_networks_and_ports_of_a_rule_stand_in_sets_and_single_ones_in_the_rule() {
    let mut engine = engine();
    let rule = "{action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8, 10.1.0.0/16, 192.0.2.0/24]}, \
                destination: {ports: [80, 81, '90:99'], notPorts: [95]}}";
    engine.put_policy(of_all("all", &format!("{{selector: app == 'web', ingress: [{rule}]}}")));
    let rules = chain(&engine, "gnp/all/ingress");
    assert_eq!(rules.len(), 1, "no IPv6 network, no rule for IPv6: {rules:?}");
    assert!(rules[0].contains("tcp dport != 95"), "{}", rules[0]);
    let all: Vec<_> = engine.sets().map(|set| elements(&engine, set).join(", ")).collect();
    assert!(all.contains(&"10.0.0.0/8, 192.0.2.0/24".to_owned()), "{all:?}");
    assert!(all.contains(&"80-81, 90-99".to_owned()), "{all:?}");
}

#[test]
fn a_rule_of_all_but_one_icmp_message_asks_for_other_types_and_for_other_codes_of_its_type() {
    let mut engine = engine();
    let rules = "{action: Allow, protocol: ICMP, icmp: {type: 3, code: 4}}, \
                 {action: Deny, protocol: ICMPv6, notICMP: {type: 1, code: 4}}";
    engine.put_policy(of_all("all", &format!("{{selector: app == 'web', ingress: [{rules}]}}")));
    let comment = |n| format!("comment \"gnp/all ingress rule {n}\"");
    let wanted = [
        format!("icmp type 3 icmp code 4 counter goto passed {}", comment(0)),
        format!("icmpv6 type != 1 counter goto denied {}", comment(1)),
        format!("icmpv6 type 1 icmpv6 code != 4 counter goto denied {}", comment(1)),
    ];
    assert_eq!(chain(&engine, "gnp/all/ingress"), wanted);
}
