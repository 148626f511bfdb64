//! Why packets pass or not, what was counted by whom, and which rules are there for nothing.

use corduroy_kernel::Transport;

use super::*;

/// A node with two pods, one of which may send to the other as far as it is concerned.
fn shop() -> Engine {
    let mut engine = engine();
    engine.put_endpoint(&pod("client"), &endpoint(&[("app", "client")], &["10.0.0.2", "fd00::2"], true));
    engine.put_policy(of_kubernetes(
        "web-out",
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress],
          egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}, {port: http}]}]}",
    ));
    engine.put_policy(of_kubernetes(
        "web",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}",
    ));
    engine
}

fn packet(source: &str, destination: &str, port: u16) -> Packet {
    let transport = Transport::Ports { source: 40_000, destination: port };
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Packet { source, destination, protocol: 6, transport }
}

fn traced(engine: &Engine, packet: &Packet) -> Vec<String> {
    engine.trace(packet).to_string().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_decided_before_tracking_or_translation_is_all_that_is_said_of_a_host() {
    let mut engine = engine();
    let key = EndpointKey::new(Class::HostEndpoint, "eth0");
    engine.put_endpoint(&key, &endpoint(&[("role", "host")], &["192.0.2.1"], true));
    let early = |name: &str, how: &str, action: &str, port: u16| {
        let rule = format!("{{action: {action}, protocol: TCP, destination: {{ports: [{port}]}}}}");
        of_all(
            name,
            &format!("{{selector: role == 'host', applyOnForward: true, {how}: true, ingress: [{rule}]}}"),
        )
    };
    engine.put_policy(early("raw", "doNotTrack", "Allow", 53));
    engine.put_policy(early("early", "preDNAT", "Deny", 23));
    let from = |port| packet("198.51.100.1", "192.0.2.1", port);
    let wanted = "ingress of host endpoint eth0 before tracking: allowed by gnp/raw ingress rule 0";
    assert_eq!(traced(&engine, &from(53)), [wanted]);
    let wanted = "ingress of host endpoint eth0 before translation: denied by gnp/early ingress rule 0";
    assert_eq!(traced(&engine, &from(23)), [wanted]);
    engine.put_policy(of_all(
        "web",
        "{selector: role == 'host', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}",
    ));
    let wanted = "ingress of host endpoint eth0: allowed by gnp/web ingress rule 0";
    assert_eq!(traced(&engine, &from(80)), [wanted]);
}

#[test]
fn a_trace_reads_like_an_answer() {
    let mut engine = shop();
    let to_web = packet("10.0.0.2", "10.0.0.1", 8080);
    let wanted = [
        "egress  of shop/client: allowed by netpol/shop/web-out egress rule 0",
        "ingress of shop/web: denied by tier default (netpol/shop/web selects it, no rule matched)",
    ];
    assert_eq!(traced(&engine, &to_web), wanted);
    assert!(!engine.trace(&to_web).allowed());
    let from_db = packet("10.0.1.1", "10.0.0.1", 9);
    assert_eq!(traced(&engine, &from_db), ["ingress of shop/web: allowed by netpol/shop/web ingress rule 0"]);
    let answer = packet("10.0.0.1", "198.51.100.1", 9);
    assert_eq!(traced(&engine, &answer), ["egress  of shop/web: allowed, no policy selects it"]);
    // What has no rules for it denies it all the same.
    engine.put_policy(of_kubernetes("none", "{podSelector: {matchLabels: {app: client}}, ingress: []}"));
    engine.put_policy(of_kubernetes("bare", "{podSelector: {matchLabels: {app: client}}, ingress: []}"));
    let wanted = "ingress of shop/client: denied by tier default (netpol/shop/bare, netpol/shop/none select it, no \
                  rule matched)";
    assert_eq!(traced(&engine, &packet("10.0.1.1", "10.0.0.2", 9)), [wanted]);
    for name in ["shop/none", "shop/bare"] {
        engine.remove_policy(&PolicyId { name: name.into(), kind: normal::PolicyKind::Kubernetes });
    }
    // Between others, and of a pod with itself, nothing is judged here.
    assert_eq!(traced(&engine, &packet("10.0.1.1", "198.51.100.1", 9)), Vec::<String>::new());
    assert_eq!(traced(&engine, &packet("10.0.0.1", "10.0.0.1", 9)), Vec::<String>::new());
    engine.put_policy(of_cluster(
        "a",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [
            {action: Pass, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 8080}}}]},
            {action: Deny, from: [{namespaces: {}}]}]}",
    ));
    engine.put_policy(of_all(
        "noted",
        "{order: 1, selector: app == 'web', ingress: [{action: Log}, {action: Allow, protocol: TCP,
            destination: {ports: ['8000:9000', 1]}}]}",
    ));
    let wanted =
        "ingress of shop/web: allowed by gnp/noted ingress rule 1, passed on by cnp/a ingress rule 0";
    assert_eq!(traced(&engine, &to_web)[1], wanted);
    let steps = &engine.trace(&to_web).judgements[1].steps;
    let tiers: Vec<_> = steps.iter().map(|step| (step.tier.as_str(), step.noted.len())).collect();
    assert_eq!(tiers, [("kube-admin", 0), ("default", 1)]);
    let wanted = "ingress of shop/web: denied by cnp/a ingress rule 1";
    assert_eq!(traced(&engine, &packet("10.0.1.1", "10.0.0.1", 9)), [wanted]);
    engine.remove_policy(&PolicyId::new(normal::PolicyKind::Global, "noted"));
    engine.remove_policy(&PolicyId::new(normal::PolicyKind::Kubernetes, "shop/web"));
    let wanted = "ingress of shop/web: allowed, no tier denies it, passed on by cnp/a ingress rule 0";
    assert_eq!(traced(&engine, &to_web)[1], wanted);
}

/// What the kernel would have counted: of each chain, its first counter once, its second one twice, and so on.
fn counted(engine: &Engine) -> Vec<Counted> {
    let mut all = Vec::new();
    for chain in engine.chains() {
        let rules = engine.chain(chain).unwrap();
        let counting = rules.iter().enumerate().filter(|(_, rule)| rule.exprs().contains(&Expr::Counter));
        all.extend(counting.zip(1..).map(|((position, rule), packets)| Counted {
            chain: chain.clone(),
            position,
            comment: rule.comment.clone(),
            packets,
            bytes: 100 * packets,
        }));
    }
    all
}

#[test]
fn what_was_counted_is_told_by_rule_even_where_comments_had_to_be_cut() {
    let mut engine = shop();
    let long = "x".repeat(200);
    let rules = "{action: Deny, source: {nets: [10.0.0.0/8]}}, {action: Log}, {action: Allow}";
    engine.put_policy(of_all(&long, &format!("{{selector: app == 'web', egress: [{rules}]}}")));
    let mut counted = counted(&engine);
    let counts = engine.counts(&counted);
    let packets = |text: &str| -> Vec<u64> {
        let named = counts.iter().filter(|(origin, _)| match origin {
            Origin::Rule(rule, _) => rule.to_string() == text,
            Origin::Silence { tier, direction } => format!("{tier} {direction}") == text,
            _ => false,
        });
        named.map(|(_, count)| count.packets).collect()
    };
    // Two families, each with a number and a name.
    assert_eq!(packets("netpol/shop/web-out egress rule 0"), [1 + 2 + 3 + 4]);
    assert_eq!(packets("netpol/shop/web ingress rule 0"), [1 + 2]);
    assert_eq!((packets("default ingress"), packets("default egress")), (vec![1], vec![1 + 1]));
    let of_long = |rule: usize| packets(&format!("gnp/{long} egress rule {rule}"));
    assert_eq!((of_long(0), of_long(1), of_long(2)), (vec![1], vec![2], vec![3]));
    assert!(counted.iter().all(|one| one.comment.as_ref().is_some_and(|comment| comment.len() <= 127)));
    // Rules that are not as the engine has them count for nobody.
    for one in &mut counted {
        one.comment = Some("another".into());
    }
    assert_eq!(engine.counts(&counted), BTreeMap::new());
}

#[test]
fn rules_that_match_nothing_and_rules_that_others_leave_nothing_are_told() {
    let mut engine = engine();
    engine.put_policy(of_all(
        "all",
        "{selector: app == 'web', ingress: [
            {action: Deny, source: {selector: app == 'nobody'}},
            {action: Log},
            {action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8]}},
            {action: Deny, protocol: TCP, source: {nets: [10.1.0.0/16]}, destination: {ports: [80]}},
            {action: Deny, protocol: UDP, source: {nets: [10.1.0.0/16]}},
            {action: Pass},
            {action: Allow, source: {selector: app == 'db'}}]}",
    ));
    engine.put_policy(of_all(
        "elsewhere",
        "{selector: app == 'db', ingress: [{action: Deny}, {action: Deny}]}",
    ));
    let found: Vec<String> = engine.warnings().iter().map(ToString::to_string).collect();
    let wanted = [
        "gnp/all ingress rule 0: it matches nothing, since there are none: \
         addresses of endpoints such that \"app == 'nobody'\"",
        "gnp/all ingress rule 3: rule 2 decides all that it matches",
        "gnp/all ingress rule 6: rule 5 decides all that it matches",
    ];
    assert_eq!(found, wanted);
    engine.put_endpoint(&pod("new"), &endpoint(&[("app", "nobody")], &["10.0.2.1"], false));
    assert_eq!(engine.warnings().len(), 2);
    // Of two alternatives both have to be covered.
    let policy = |name: &str, first: &str| {
        let peers = "{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/9}}";
        of_kubernetes(
            name,
            &format!("{{podSelector: {{}}, ingress: [{{from: [{first}]}}, {{from: [{peers}]}}]}}"),
        )
    };
    engine.remove_policy(&PolicyId::new(normal::PolicyKind::Global, "all"));
    engine.put_policy(policy("one", "{ipBlock: {cidr: 10.0.0.0/8}}"));
    assert_eq!(engine.warnings(), []);
    engine.put_policy(policy("both", "{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}"));
    let found: Vec<String> = engine.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["netpol/shop/both ingress rule 1: rule 0 decides all that it matches"]);
}
