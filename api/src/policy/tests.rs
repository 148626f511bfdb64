//! What policies may say, and what is said of them that may not.

use super::*;
use crate::Metadata;
use crate::selector::Selector;

fn yaml(text: &str) -> Value {
    crate::yaml::documents(text)[0].parse().unwrap()
}

fn named(name: &str) -> Metadata {
    Metadata::named(name)
}

fn kubernetes(spec: &str) -> Result<Judged<kubernetes::NetworkPolicy>, Violations> {
    kubernetes::NetworkPolicy::read("shop", named("web"), &yaml(spec))
}

fn cluster(spec: &str) -> Result<Judged<cluster::ClusterNetworkPolicy>, Violations> {
    cluster::ClusterNetworkPolicy::read(named("all"), &yaml(spec))
}

fn own(spec: &str) -> Result<Judged<own::NetworkPolicy>, Violations> {
    own::NetworkPolicy::read("shop", named("web"), &yaml(spec))
}

fn global(spec: &str) -> Result<Judged<own::GlobalNetworkPolicy>, Violations> {
    own::GlobalNetworkPolicy::read(named("all"), &yaml(spec))
}

fn words(violations: &Option<Violations>) -> Vec<String> {
    violations.iter().flat_map(|violations| &violations.0).map(ToString::to_string).collect()
}

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

#[test]
fn a_policy_of_kubernetes_is_read_as_its_documentation_has_it() {
    let read = kubernetes(
        "{podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress, Egress],
          ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}},
                            {namespaceSelector: {matchLabels: {project: myproject}}},
                            {podSelector: {matchLabels: {role: frontend}}}],
                     ports: [{protocol: TCP, port: 6379}]}],
          egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}],
                    ports: [{protocol: UDP, port: 32000, endPort: 32768}, {port: http}, {protocol: SCTP}]}]}",
    )
    .unwrap();
    assert_eq!(read.broken, None);
    let policy = read.policy;
    assert_eq!(
        (policy.metadata.name.as_str(), policy.pods.to_string().as_str()),
        ("shop/web", "role == 'db'")
    );
    let ingress = &policy.ingress.unwrap()[0];
    let peers = ingress.peers.as_ref().unwrap();
    assert_eq!(
        peers[0],
        kubernetes::Peer::Block {
            cidr: "172.17.0.0/16".parse().unwrap(),
            except: vec!["172.17.1.0/24".parse().unwrap()]
        }
    );
    assert!(matches!(&peers[1], kubernetes::Peer::Pods { namespaces: Some(s), pods }
        if s.to_string() == "project == 'myproject'" && *pods == Selector::all()));
    assert!(matches!(&peers[2], kubernetes::Peer::Pods { namespaces: None, .. }));
    let ports: Vec<_> = policy.egress.unwrap()[0].ports.clone().unwrap();
    let wanted = [
        (Protocol::UDP, Some(Ports::Range(32000, 32768))),
        (Protocol::TCP, Some(Ports::Named("http".into()))),
        (Protocol::SCTP, None),
    ];
    assert_eq!(ports.iter().map(|port| (port.protocol, port.ports.clone())).collect::<Vec<_>>(), wanted);
}

#[test]
fn without_types_a_policy_of_kubernetes_has_ingress_and_egress_if_it_has_rules_for_it() {
    let cases = [
        ("{podSelector: {}}", [true, false]),
        ("{podSelector: {}, ingress: []}", [true, false]),
        ("{podSelector: {}, egress: [{}]}", [true, true]),
        ("{podSelector: {}, egress: [{}], policyTypes: [Egress]}", [false, true]),
        ("{podSelector: {}, policyTypes: [Egress]}", [false, true]),
        ("{podSelector: {}, ingress: [{}], policyTypes: [Egress]}", [false, true]),
    ];
    for (spec, wanted) in cases {
        let policy = kubernetes(spec).unwrap().policy;
        assert_eq!([policy.ingress.is_some(), policy.egress.is_some()], wanted, "{spec}");
    }
}

#[test]
fn what_is_wrong_with_rules_is_kept_with_the_policy_and_what_is_wrong_with_its_subject_refuses_it() {
    let cases = [
        (
            "ingress: [{from: [{}]}]",
            "spec.ingress[0].from[0]: this peer is not allowed: ipBlock, or one or both",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: ten}}]}]",
            "spec.ingress[0].from[0].ipBlock.cidr: \"ten\" is not",
        ),
        (
            "ingress: [{ports: [{port: 0}]}]",
            "spec.ingress[0].ports[0].port: \"0\" is not allowed: a port from 1",
        ),
        (
            "ingress: [{ports: [{endPort: 9}]}]",
            "spec.ingress[0].ports[0].endPort: 9 is not allowed: left out, or",
        ),
        ("egress: [{ports: [{port: 9, endPort: 8}]}]", "spec.egress[0].ports[0].endPort: 8 is not allowed"),
        (
            "egress: [{ports: [{protocol: GRE}]}]",
            "spec.egress[0].ports[0].protocol: \"GRE\" is not allowed: one of",
        ),
        ("egress: [{tow: []}]", "spec.egress[0].tow: [] is not allowed: no such field; did you mean to?"),
        (
            "policyTypes: [Sideways]",
            "spec.policyTypes[0]: \"Sideways\" is not allowed: one of Ingress, Egress",
        ),
    ];
    for (rest, wanted) in cases {
        let read = kubernetes(&format!("{{podSelector: {{}}, {rest}}}")).unwrap();
        let words = words(&read.broken);
        assert!(words.len() == 1 && words[0].starts_with(wanted), "{words:?} for {rest}");
    }
    let subject = "{podSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}";
    let refused = kubernetes(subject).unwrap_err().to_string();
    assert!(refused.contains("matchExpressions[0].operator: \"Near\" is not allowed"), "{refused}");
    assert!(kubernetes("[]").is_err());
}

#[test]
fn a_cluster_network_policy_is_read_as_its_documentation_has_it() {
    let read = cluster(
        "{tier: Admin, priority: 10, subject: {namespaces: {}},
          ingress: [{name: dns, action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {}}}],
                     protocols: [{tcp: {destinationPort: {number: 53}}}, {destinationNamedPort: web}]}],
          egress: [{action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]},
                   {action: Pass, to: [{nodes: {matchLabels: {role: edge}}}],
                    protocols: [{udp: {destinationPort: {range: {start: 1, end: 9}}}}, {sctp: {}}]}]}",
    )
    .unwrap();
    assert_eq!(read.broken, None);
    let policy = read.policy;
    assert_eq!((policy.tier, policy.priority), (cluster::Tier::Admin, 10));
    assert!(policy.ingress.iter().chain(&policy.egress).all(|rule| rule.broken.is_none()));
    let web = cluster::Protocols::Named("web".into());
    let dns = cluster::Protocols::Of(Protocol::TCP, Some(Ports::Range(53, 53)));
    assert_eq!(policy.ingress[0].protocols, Some(vec![dns, web]));
    assert!(matches!(&policy.egress[1].peers[0], cluster::Peer::Nodes(s) if *s == selector("role == 'edge'")
        || s.to_string() == "role == 'edge'"));
}

#[test]
fn a_rule_of_a_cluster_network_policy_that_is_not_understood_is_broken_and_the_others_are_not() {
    let read = cluster(
        "{tier: Baseline, priority: 0, subject: {pods: {namespaceSelector: {}, podSelector: {}}},
          egress: [{action: Accept, to: [{domainNames: [example.org]}]},
                   {action: Deny, to: [{planets: [mars]}]},
                   {action: Accept, to: [{networks: [10.0.0.0/8]}]},
                   {action: Accept, to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: web}]}]}",
    )
    .unwrap();
    assert_eq!(read.broken, None);
    let broken: Vec<bool> = read.policy.egress.iter().map(|rule| rule.broken.is_some()).collect();
    assert_eq!(broken, [true, true, false, true]);
    let what = words(&read.policy.egress[0].broken);
    assert!(
        what[0].contains("egress[0].to[0].domainNames: example.org is not allowed: left out"),
        "{what:?}"
    );
    for missing in ["{priority: 1, subject: {namespaces: {}}}", "{tier: Admin, subject: {namespaces: {}}}"] {
        assert!(cluster(missing).is_err(), "{missing}");
    }
    let far = cluster("{tier: Admin, priority: 1001, subject: {namespaces: {}}}").unwrap_err().to_string();
    assert_eq!(far, "spec.priority: 1001 is not allowed: a whole number from 0 to 1000");
}

#[test]
fn the_directions_of_our_policies_are_told_by_their_rules_when_they_do_not_say() {
    let cases = [
        ("{}", [true, false]),
        ("{ingress: [{action: Allow}]}", [true, false]),
        ("{egress: [{action: Allow}]}", [false, true]),
        ("{ingress: [{action: Allow}], egress: [{action: Allow}]}", [true, true]),
        ("{types: [Egress], ingress: [{action: Allow}]}", [false, true]),
    ];
    for (spec, wanted) in cases {
        let body = own(spec).unwrap().policy.body;
        assert_eq!([body.ingress.is_some(), body.egress.is_some()], wanted, "{spec}");
        assert_eq!((body.tier.as_str(), body.order), ("default", None));
    }
    let global = global("{order: 10.5, tier: security, applyOnForward: true, namespaceSelector: global()}");
    let global = global.unwrap().policy;
    assert_eq!(global.body.order.map(Number::get), Some(10.5));
    assert_eq!((global.namespaces, global.reach), (rule::Namespaces::Global, own::Reach::Forward));
}

#[test]
fn an_error_in_a_rule_of_ours_names_the_field_the_value_and_what_is_allowed() {
    let cases = [
        ("action: Reject", "action: \"Reject\" is not allowed: one of Allow, Deny, Log, Pass"),
        ("ipVersion: 5", "ipVersion: 5 is not allowed: 4 or 6"),
        ("protocol: 0", "protocol: \"0\" is not allowed: TCP, UDP, ICMP"),
        (
            "protocol: TCP, notProtocol: UDP",
            "notProtocol: a protocol is not allowed: left out beside protocol",
        ),
        ("icmp: {type: 8}", "icmp: a match of ICMP is not allowed: left out, or there with protocol ICMP"),
        ("protocol: ICMP, icmp: {code: 8}", "icmp.type: missing: a whole number from 0 to 254"),
        ("http: {}", "http: a match of HTTP is not allowed: left out"),
        (
            "source: {ports: [80]}",
            "source.ports: 1 of them is not allowed: left out, or there with protocol TCP",
        ),
        (
            "protocol: TCP, source: {ports: ['9:8']}",
            "source.ports[0]: \"9:8\" is not allowed: a range of ports",
        ),
        ("source: {nets: [10.0.0.1/8]}", "source.nets[0]: \"10.0.0.1/8\" is not allowed: "),
        (
            "ipVersion: 6, source: {nets: [10.0.0.0/8]}",
            "source.nets[0]: \"10.0.0.0/8\" is not allowed: a CIDR of",
        ),
        ("source: {selector: a = b}", "source.selector: \"a = b\" is not allowed: a selector; at column 3"),
        ("source: {selector: global()}", "source.selector: \"global()\" is not allowed: a selector without"),
        ("source: {serviceAccounts: {}}", "source.serviceAccounts: {} is not allowed: names, a selector, or"),
        (
            "destination: {services: {name: a}}",
            "destination.services: a service is not allowed: alone: in source",
        ),
    ];
    for (rest, wanted) in cases {
        let action = if rest.starts_with("action") { "" } else { "action: Allow, " };
        let broken = own(&format!("{{ingress: [{{{action}{rest}}}]}}")).unwrap().broken;
        let wanted = format!("spec.ingress[0].{wanted}");
        assert!(
            words(&broken).iter().any(|word| word.starts_with(&wanted)),
            "{:?} for {rest}",
            words(&broken)
        );
    }
}

#[test]
fn a_policy_of_ours_whose_subject_is_wrong_is_refused() {
    let cases = [
        ("selector: a = b", "spec.selector: \"a = b\" is not allowed: a selector; at column 3 wanted"),
        ("namespaceSelector: 'global() && has(a)'", "spec.namespaceSelector: \"global() && has(a)\" is not"),
        ("order: .inf", "spec.order: "),
        ("doNotTrack: true", "spec.applyOnForward: false is not allowed: true with doNotTrack or preDNAT"),
        (
            "doNotTrack: true, preDNAT: true, applyOnForward: true",
            "spec.preDNAT: true is not allowed: left out",
        ),
        (
            "preDNAT: true, applyOnForward: true, egress: []",
            "spec.preDNAT: true is not allowed: left out with",
        ),
    ];
    for (spec, wanted) in cases {
        let refused = global(&format!("{{{spec}}}")).unwrap_err().to_string();
        assert!(refused.starts_with(wanted), "{refused}");
    }
}

#[test]
fn tiers_sets_and_host_endpoints_are_read() {
    let tier = |name: &str, spec: &str| tier::Tier::read(named(name), &yaml(spec));
    let pass = tier("security", "{order: 100, defaultAction: Pass}").unwrap();
    assert_eq!((pass.order, pass.default_action), (Some(100.into()), tier::DefaultAction::Pass));
    assert_eq!(tier("late", "{}").unwrap().default_action, tier::DefaultAction::Deny);
    assert!(tier("kube-admin", "{}").unwrap_err().to_string().contains("built in"));
    assert!(tier("default", "{defaultAction: Pass}").unwrap_err().to_string().contains("Deny for the tier"));
    assert!(tier("default", "{order: 5}").unwrap_err().to_string().contains("1000000"));

    let set = sets::NetworkSet::read("shop", named("bad"), &yaml("{nets: [192.0.2.0/24, 2001:db8::1/128]}"));
    assert_eq!(set.unwrap().nets.len(), 2);
    let error = sets::GlobalNetworkSet::read(named("bad"), &yaml("{nets: [192.0.2.1/24]}")).unwrap_err();
    assert!(error.to_string().starts_with("spec.nets[0]: \"192.0.2.1/24\" is not allowed"), "{error}");

    let host = |spec: &str| host::HostEndpoint::read(named("eth0"), &yaml(spec));
    let eth0 =
        host("{node: one, interfaceName: eth0, ports: [{name: ssh, protocol: TCP, port: 22}]}").unwrap();
    assert_eq!(eth0.interfaces, host::Interfaces::Named("eth0".into()));
    assert!(eth0.ports[0].is_in(&Ports::Named("ssh".into())) && eth0.ports[0].is_in(&Ports::Range(1, 22)));
    assert_eq!(host("{node: one, interfaceName: '*'}").unwrap().interfaces, host::Interfaces::All);
    for (spec, wanted) in [
        ("{interfaceName: eth0}", "spec.node: missing"),
        ("{node: one}", "spec.interfaceName: missing: the name of an interface or \"*\", or expectedIPs"),
        ("{node: one, expectedIPs: [ten]}", "spec.expectedIPs[0]: \"ten\" is not allowed: an address"),
        ("{node: one, interfaceName: a/b}", "spec.interfaceName: \"a/b\" is not allowed"),
        ("{node: one, interfaceName: a, profiles: [x]}", "spec.profiles: 1 is not allowed: left out"),
    ] {
        assert!(host(spec).unwrap_err().to_string().starts_with(wanted), "{:?}", host(spec));
    }
}
