//! Each kind, from its YAML to the normal form, written so that one sees both.

use corduroy_api::Metadata;
use corduroy_api::policy::{cluster as api_cluster, kubernetes as api_kubernetes, own as api_own};
use corduroy_api::yaml::{self, Value};

use super::*;

fn yaml(text: &str) -> Value {
    yaml::documents(text)[0].parse().unwrap()
}

fn of_kubernetes(spec: &str) -> Policy {
    let metadata = Metadata::named("web");
    kubernetes::policy(&api_kubernetes::NetworkPolicy::read("shop", metadata, &yaml(spec)).unwrap())
}

fn of_cluster(spec: &str) -> Policy {
    let metadata = Metadata::named("all");
    cluster::policy(&api_cluster::ClusterNetworkPolicy::read(metadata, &yaml(spec)).unwrap())
}

fn of_namespace(spec: &str) -> Policy {
    let metadata = Metadata::named("web");
    own::policy(&api_own::NetworkPolicy::read("shop", metadata, &yaml(spec)).unwrap())
}

fn of_all(spec: &str) -> Policy {
    own::global(&api_own::GlobalNetworkPolicy::read(Metadata::named("all"), &yaml(spec)).unwrap())
}

/// `0 Allow 6 from(…) to(…)`: origin, action, protocol, and of each side what it asks.
fn show(rules: &Option<Vec<Rule>>) -> Vec<String> {
    let side = |side: &Side| {
        let mut parts = Vec::new();
        parts.extend(side.nets.as_ref().map(|nets| format!("in {nets:?}")));
        parts.extend((!side.not_nets.is_empty()).then(|| format!("not in {:?}", side.not_nets)));
        let sets = side.sets.iter();
        parts.extend(sets.map(|(negated, set)| format!("{}{set}", if *negated { "not " } else { "" })));
        let ports = |ports: &[Ports]| {
            let one = |ports: &Ports| match ports {
                Ports::Range(first, last) => format!("{first}-{last}"),
                Ports::Named(name) => name.clone(),
            };
            ports.iter().map(one).collect::<Vec<_>>().join(",")
        };
        parts.extend(side.ports.as_ref().map(|list| format!("port {}", ports(list))));
        parts.extend((!side.not_ports.is_empty()).then(|| format!("not port {}", ports(&side.not_ports))));
        parts.join("; ")
    };
    let rule = |rule: &Rule| {
        let protocol = rule.protocol.map(|(negated, n)| format!(" {}{n}", if negated { "not " } else { "" }));
        let version = rule.version.map(|version| format!(" {version:?}"));
        let icmp = rule.icmp.map(|icmp| match icmp.code {
            None => format!(" type {}", icmp.kind),
            Some(code) => format!(" type {} code {code}", icmp.kind),
        });
        format!(
            "{} {:?}{}{}{} from({}) to({})",
            rule.origin,
            rule.action,
            version.unwrap_or_default(),
            protocol.unwrap_or_default(),
            icmp.unwrap_or_default(),
            side(&rule.source),
            side(&rule.destination)
        )
    };
    rules.iter().flatten().map(rule).collect()
}

#[test]
fn policies_of_kubernetes_become_rules_for_each_peer_and_protocol() {
    let own = "pods of namespace \"shop\" such that";
    let cases = [
        // Default deny, default allow, as the documentation has them.
        ("ingress: []", vec![]),
        ("ingress: [{}]", vec!["0 Allow from() to()".to_owned()]),
        ("ingress: [{from: [], ports: []}]", vec!["0 Allow from() to()".to_owned()]),
        (
            "ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}]}]",
            vec![format!("0 Allow from({own} \"role == 'frontend'\") to()")],
        ),
        // Two peers are alternatives; one peer with both selectors is pods of those namespaces.
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {user: alice}}}, {podSelector: {}}]}]",
            vec![
                "0 Allow from(pods of namespaces \"user == 'alice'\" such that \"all()\") to()".to_owned(),
                format!("0 Allow from({own} \"all()\") to()"),
            ],
        ),
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {user: alice}},
                                podSelector: {matchLabels: {role: client}}}]}]",
            vec![
                "0 Allow from(pods of namespaces \"user == 'alice'\" such that \"role == 'client'\") to()"
                    .to_owned(),
            ],
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}]}]",
            vec!["0 Allow from(in [172.17.0.0/16]; not in [172.17.1.0/24]) to()".to_owned()],
        ),
        (
            "ingress: [{ports: [{port: 80}, {port: http}, {protocol: UDP, port: 1, endPort: 9}, {protocol: SCTP}]}]",
            vec![
                "0 Allow 6 from() to(port 80-80,http)".to_owned(),
                "0 Allow 17 from() to(port 1-9)".to_owned(),
                "0 Allow 132 from() to()".to_owned(),
            ],
        ),
        ("ingress: [{ports: [{port: 80}, {protocol: TCP}]}]", vec!["0 Allow 6 from() to()".to_owned()]),
        (
            "ingress: [{ports: [{port: 1}]}, {ports: [{port: 2}]}]",
            vec!["0 Allow 6 from() to(port 1-1)".to_owned(), "1 Allow 6 from() to(port 2-2)".to_owned()],
        ),
    ];
    for (rules, wanted) in cases {
        let policy = of_kubernetes(&format!("{{podSelector: {{}}, {rules}}}"));
        assert_eq!(show(&policy.ingress), wanted, "{rules}");
        assert_eq!((policy.egress, policy.broken.len()), (None, 0));
        assert_eq!((policy.tier.as_str(), policy.order), ("default", 1_000.into()));
    }
    let egress = of_kubernetes(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress],
          egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}], ports: [{port: 5978}]}]}",
    );
    assert_eq!(show(&egress.egress), ["0 Allow 6 from() to(in [10.0.0.0/24]; port 5978-5978)"]);
    assert_eq!(egress.ingress, None);
    assert_eq!(egress.subject.to_string(), "pods of namespace \"shop\" such that \"app == 'web'\"");
}

#[test]
fn a_policy_that_is_not_understood_fails_closed_in_the_directions_it_has() {
    let policy = of_kubernetes("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{}]}]}");
    // Those of Kubernetes only allow: what others of them allow stands.
    assert_eq!((policy.egress, policy.ingress), (Some(Vec::new()), None));
    assert!(policy.broken[0].starts_with("spec.egress[0].to[0]"), "{:?}", policy.broken);
    let policy = of_namespace("{ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 256}}]}");
    assert_eq!(show(&policy.ingress), ["0 Deny from() to()"]);
    assert!(policy.broken[0].starts_with("spec.ingress[0].icmp.code: 256"), "{:?}", policy.broken);
    let policy = of_all("{egress: [{action: Allow, http: {}}]}");
    assert_eq!((show(&policy.egress).len(), policy.ingress), (1, None));
}

#[test]
fn cluster_network_policies_have_their_tiers_and_the_order_of_their_priority() {
    let head = "tier: Admin, priority: 7, subject: {namespaces: {matchLabels: {team: red}}}";
    let policy = of_cluster(&format!(
        "{{{head}, ingress: [
            {{action: Pass, from: [{{namespaces: {{}}}}, {{pods: {{namespaceSelector: {{}}, podSelector: {{}}}}}}]}},
            {{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}},
                                                                     {{sctp: {{}}}}]}}]}}"
    ));
    let everybody = "from(pods of namespaces \"all()\" such that \"all()\")";
    let wanted = [
        format!("0 Pass {everybody} to()"),
        format!("0 Pass {everybody} to()"),
        format!("1 Deny 6 {everybody} to(port 80-80)"),
        format!("1 Deny 132 {everybody} to()"),
    ];
    assert_eq!(show(&policy.ingress), wanted);
    assert_eq!((policy.tier.as_str(), policy.order, policy.egress), ("kube-admin", 7.into(), None));
    let policy = of_cluster(
        "{tier: Baseline, priority: 0, subject: {pods: {namespaceSelector: {}, podSelector: {}}}, egress: [
            {action: Accept, to: [{nodes: {matchLabels: {role: edge}}}, {networks: [10.0.0.0/8, 'fd00::/8']}]},
            {action: Accept, to: [{namespaces: {}}], protocols: [{destinationNamedPort: web}]}]}",
    );
    let pods = "pods of namespaces \"all()\" such that \"all()\"";
    let wanted = [
        "0 Allow from() to(nodes such that \"role == 'edge'\")".to_owned(),
        "0 Allow from() to(in [10.0.0.0/8, fd00::/8])".to_owned(),
        format!("1 Allow 6 from() to({pods}; port web)"),
        format!("1 Allow 17 from() to({pods}; port web)"),
        format!("1 Allow 132 from() to({pods}; port web)"),
    ];
    assert_eq!((show(&policy.egress), policy.tier.as_str()), (wanted.into(), "kube-baseline"));
}

#[test]
fn a_rule_that_is_not_understood_fails_closed_as_its_documentation_has_it() {
    let policy = of_cluster(
        "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [
            {action: Accept, to: [{domainNames: [example.org]}]},
            {action: Pass, to: [{planets: [mars]}]},
            {action: Accept, to: [{networks: [10.0.0.0/8]}]}]}",
    );
    let wanted = ["1 Deny from() to()", "2 Allow from() to(in [10.0.0.0/8])"];
    assert_eq!((show(&policy.egress), policy.broken.len()), (wanted.map(str::to_owned).into(), 3));
    let policy = of_cluster("{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: all}");
    assert_eq!((show(&policy.ingress).len(), show(&policy.egress).len(), policy.broken.len()), (1, 1, 1));
}

#[test]
fn what_a_selector_of_ours_means_depends_on_where_the_policy_is() {
    let cases = [
        ("selector: has(a)", "of namespace \"shop\" such that \"has(a)\"", " such that \"has(a)\""),
        ("namespaceSelector: has(b)", "of namespaces \"has(b)\" such that \"all()\"", ""),
        ("namespaceSelector: global()", "of no namespace such that \"all()\"", ""),
        ("selector: has(a), namespaceSelector: has(b)", "of namespaces \"has(b)\" such that \"has(a)\"", ""),
        (
            "serviceAccounts: {names: [one], selector: has(c)}",
            "of namespace \"shop\" with service accounts [\"one\"] such that \"has(c)\" such that \"all()\"",
            " with service accounts [\"one\"] such that \"has(c)\" such that \"all()\"",
        ),
    ];
    for (entity, inside, everywhere) in cases {
        let rules = format!("{{ingress: [{{action: Allow, source: {{{entity}}}}}]}}");
        let wanted = format!("0 Allow from(endpoints {inside}) to()");
        assert_eq!(show(&of_namespace(&rules).ingress), std::slice::from_ref(&wanted));
        let global =
            if everywhere.is_empty() { wanted } else { format!("0 Allow from(endpoints{everywhere}) to()") };
        assert_eq!(show(&of_all(&rules).ingress), [global]);
    }
    let not = "{ingress: [{action: Allow, source: {notSelector: has(a)}}]}";
    let excluded = "not endpoints such that \"has(a)\"";
    let here = "endpoints of namespace \"shop\" such that \"all()\"";
    assert_eq!(show(&of_namespace(not).ingress), [format!("0 Allow from({here}; {excluded}) to()")]);
    assert_eq!(show(&of_all(not).ingress), [format!("0 Allow from({excluded}) to()")]);
}

#[test]
fn rules_of_ours_keep_what_they_say() {
    let policy = of_all(
        "{tier: security, order: 10, types: [Egress], egress: [
            {action: Log, ipVersion: 4, notProtocol: 47, destination: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}},
            {action: Deny, protocol: TCP, source: {ports: ['1:9']}, destination: {ports: [80, web], notPorts: [81]}},
            {action: Pass, protocol: ICMP, icmp: {type: 8}},
            {action: Pass, protocol: ICMPv6, icmp: {type: 1, code: 4}},
            {action: Allow, destination: {services: {name: dns, namespace: kube-system}}}]}",
    );
    let wanted = [
        "0 Log V4 not 47 from() to(in [10.0.0.0/8]; not in [10.1.0.0/16])",
        "1 Deny 6 from(port 1-9) to(port 80-80,web; not port 81-81)",
        "2 Pass 1 type 8 from() to()",
        "3 Pass 58 type 1 code 4 from() to()",
        "4 Allow from() to(service kube-system/dns)",
    ];
    assert_eq!(show(&policy.egress), wanted);
    assert_eq!((policy.tier.as_str(), policy.order, policy.ingress), ("security", 10.into(), None));
}

#[test]
fn tiers_without_an_order_and_tiers_that_nobody_made_come_last() {
    let made = |name: &str, spec: &str| {
        Tier::of(&corduroy_api::policy::tier::Tier::read(Metadata::named(name), &yaml(spec)).unwrap())
    };
    let mut tiers = [
        ("none", made("none", "{}")),
        ("kube-baseline", Tier::given("kube-baseline")),
        ("default", made("default", "{}")),
        ("early", made("early", "{order: 999.5}")),
        ("kube-admin", Tier::given("kube-admin")),
        ("between", made("between", "{order: 1000000.5}")),
        ("forgotten", Tier::given("forgotten")),
    ];
    tiers.sort_by_key(|(name, tier)| (tier.order, *name));
    let names = ["early", "kube-admin", "default", "between", "kube-baseline", "forgotten", "none"];
    assert_eq!(tiers.each_ref().map(|(name, _)| *name), names);
    let pass = tiers.iter().filter(|(_, tier)| tier.default_action == DefaultAction::Pass);
    assert_eq!(pass.map(|(name, _)| *name).collect::<Vec<_>>(), ["kube-admin", "kube-baseline"]);
}
