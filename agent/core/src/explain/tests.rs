use std::sync::Arc;

use corduroy_api::service::ServiceEndpoint;
use corduroy_api::{Event, Kind, Metadata, Namespace, Pod as Object, Resource, ServiceEndpoints, yaml};
use corduroy_ipc::policy::{Change, PolicyTrace, TraceQuery, Verdict};
use corduroy_kernel::nft::Counted;
use corduroy_kernel::{Flow, FlowKey, FlowStatus, LogEntry, Packet, Transport, Tuple, TupleId};

use super::drops::{Drops, Heard};
use super::judged;
use super::plan::{ground, plan};
use super::show::show;
use super::trace::trace;
use super::world::{names_services, world};
use crate::known::Known;
use crate::testing::{ip, known, node, pod, pool, put, resource};

/// `db` may be asked by `web`, and by nobody else.
const DB: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - {from: [{podSelector: {matchLabels: {app: web}}}], ports: [{protocol: TCP, port: 5432}]}
";

/// Nobody may ask `db` anything.
const NOBODY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
";

fn read(text: &str) -> Resource {
    Resource::read(&yaml::documents(text)[0].parse().unwrap()).unwrap()
}

fn object(name: &str, app: &str, address: &str) -> Arc<Object> {
    let mut metadata = Metadata::named(name);
    metadata.labels.insert("app".into(), app.into());
    Arc::new(Object { metadata, addresses: vec![ip(address)], ..Object::default() })
}

fn tell(known: &mut Known, resource: Resource) {
    let key = resource.key();
    known.model.apply(Event::Put(resource));
    known.police(&key);
}

/// Node `a` with pods `shop/web` (10.1.0.1) and `shop/db` (10.1.0.2); `shop/far` (10.1.9.9) is elsewhere.
fn shop() -> Known {
    let mut known = known();
    put(&mut known, [node("a", "192.0.2.1/24", ""), node("b", "192.0.2.2/24", "")]);
    tell(&mut known, Resource::Namespace(Arc::new(Namespace::new(Metadata::named("shop")))));
    for (n, app, address) in [(1, "web", "10.1.0.1"), (2, "db", "10.1.0.2")] {
        let name = format!("shop/{app}");
        known.pods.put(crate::pods::Pod { owner: Some(name.clone()), ..pod(n) });
        tell(&mut known, Resource::Pod(object(&name, app, address)));
    }
    tell(&mut known, Resource::RemotePod(object("shop/far", "far", "10.1.9.9")));
    tell(&mut known, read(DB));
    let _ = known.policies.take_changes();
    known
}

fn query(from: &str, to: &str) -> TraceQuery {
    TraceQuery { from: from.into(), to: to.into(), protocol: 6, port: Some(5432), ..TraceQuery::default() }
}

fn asked(known: &Known, from: &str, to: &str) -> PolicyTrace {
    trace(known, &query(from, to), &[]).unwrap()
}

/// A connection to `db`, by a program of former times.
fn flow(from: &str, port: u16) -> Flow {
    let ports = |source, destination| TupleId::Ports { source, destination };
    let tuple = |source, destination, id| Tuple { source, destination, protocol: 6, id };
    let original = tuple(ip(from), ip("10.96.0.1"), ports(40_000, 80));
    Flow {
        key: FlowKey { original, zone: 0 },
        reply: tuple(ip("10.1.0.2"), ip(from), ports(port, 40_000)),
        mark: 7 << 16,
        tcp: None,
        status: FlowStatus::default(),
    }
}

#[test]
fn a_trace_names_the_rule_that_allows_or_the_tier_that_denies_with_what_it_has_counted() {
    let known = shop();
    let engine = known.policies.engine();
    let chain = engine.chains().find(|name| name.as_str().starts_with("netpol/")).unwrap();
    let rules = engine.chain(chain).unwrap();
    let comment = rules[0].comment.clone();
    let counted = Counted { chain: chain.clone(), position: 0, packets: 3, bytes: 180, comment };
    let found = trace(&known, &query("shop/web", "shop/db"), &[counted]).unwrap();
    assert_eq!(found.verdict, Verdict::Allowed);
    let [egress, ingress] = found.judgements.as_slice() else { panic!("{found:?}") };
    assert_eq!(egress.why, "egress  of shop/web: allowed, no policy selects it");
    assert_eq!(ingress.why, "ingress of shop/db: allowed by netpol/shop/db ingress rule 0");
    assert_eq!(ingress.counted.map(|it| it.packets), Some(3));
    let found = asked(&known, "shop/far", "shop/db");
    assert_eq!(found.verdict, Verdict::Denied);
    assert!(
        found.judgements[0].why.contains("denied by tier default (netpol/shop/db selects it"),
        "{found:?}"
    );
}

#[test]
fn an_end_that_is_judged_elsewhere_is_said_and_the_verdict_is_only_of_this_node() {
    let known = shop();
    let found = asked(&known, "shop/web", "shop/far");
    assert_eq!((found.verdict, found.from.here, found.to.here), (Verdict::AllowedHere, true, false));
    assert!(found.remarks[0].starts_with("pod shop/far is not of this node: what it may get"), "{found:?}");
    let found = asked(&known, "shop/web", "203.0.113.7");
    assert_eq!(found.verdict, Verdict::Allowed);
    assert!(found.remarks[0].contains("is no pod"), "{found:?}");
}

#[test]
fn another_node_is_no_pod_by_its_end_of_a_tunnel_either() {
    let mut known = shop();
    let tunnel = "vxlan: {address: 10.1.9.0, mac: '02:00:00:00:00:0b'}";
    put(&mut known, [pool("pods", "10.1.0.0/16", ""), node("b", "192.0.2.2/24", tunnel)]);
    for address in ["192.0.2.2", "10.1.9.0"] {
        let found = asked(&known, address, "shop/web");
        assert_eq!(
            (found.verdict, found.from.name.as_deref()),
            (Verdict::Allowed, Some("node b")),
            "{found:?}"
        );
    }
    assert_eq!(asked(&known, "10.1.9.1", "shop/web").verdict, Verdict::AllowedHere, "somebody of a pool");
}

#[test]
fn a_node_reaches_its_own_pods_and_a_pod_itself_whatever_policies_say() {
    let mut known = shop();
    tell(&mut known, read(NOBODY));
    for (from, why) in [("192.0.2.1", "node a reaches the pods that run on it always"), ("shop/db", "itself")]
    {
        let found = asked(&known, from, "shop/db");
        assert_eq!((found.verdict, found.judgements.len()), (Verdict::Allowed, 0), "{found:?}");
        assert!(found.remarks[0].contains(why), "{found:?}");
    }
    assert_eq!(asked(&known, "192.0.2.2", "shop/db").verdict, Verdict::Denied);
}

#[test]
fn of_a_host_failsafe_ports_are_open_and_what_no_policy_speaks_of_is_closed() {
    let mut known = shop();
    let host = "{node: a, interfaceName: eth0, expectedIPs: [192.0.2.1]}";
    tell(&mut known, resource(Kind::HostEndpoint, "eth0", host));
    let of = |known: &Known, port| {
        let query = TraceQuery { port: Some(port), ..query("198.51.100.7", "192.0.2.1") };
        let found = trace(known, &query, &[]).unwrap();
        (found.verdict, found.judgements[0].why.clone())
    };
    let open = "ingress of host endpoint eth0: allowed, no policy closes this port";
    assert_eq!(of(&known, 22), (Verdict::Allowed, open.to_owned()));
    let closed = "ingress of host endpoint eth0: denied, no policy selects it in this direction";
    assert_eq!(of(&known, 80), (Verdict::Denied, closed.to_owned()));
    let rule = "{action: Allow, protocol: TCP, destination: {ports: [80]}}";
    let policy = format!("{{selector: all(), ingress: [{rule}]}}");
    tell(&mut known, resource(Kind::GlobalNetworkPolicy, "web", &policy));
    let web = "ingress of host endpoint eth0: allowed by gnp/web ingress rule 0";
    assert_eq!(of(&known, 80), (Verdict::Allowed, web.to_owned()));
    assert_eq!(of(&known, 22), (Verdict::Allowed, open.to_owned()));
    assert_eq!(of(&known, 81).0, Verdict::Denied);
}

/// What the policies of eth0 say of what is forwarded: `rules` are those of the policy.
fn with_transit(known: &mut Known, rules: &str) {
    let host = "{node: a, interfaceName: eth0, expectedIPs: [192.0.2.1]}";
    tell(known, resource(Kind::HostEndpoint, "eth0", host));
    let policy = format!("{{selector: '!has(app)', applyOnForward: true, {rules}}}");
    tell(known, resource(Kind::GlobalNetworkPolicy, "transit", &policy));
}

#[test]
fn what_goes_by_an_interface_to_or_from_a_pod_is_judged_as_forwarded_by_its_host_endpoint_too() {
    let mut known = shop();
    let deny = "{action: Deny, protocol: TCP, destination: {ports: [5432]}}, {action: Allow}";
    with_transit(&mut known, &format!("types: [Egress], egress: [{deny}]"));
    let found = asked(&known, "shop/web", "203.0.113.7");
    assert_eq!(found.verdict, Verdict::Denied, "{found:?}");
    let words: Vec<&str> = found.judgements.iter().map(|it| it.why.as_str()).collect();
    let denied = "egress  of host endpoint eth0 as it forwards: denied by gnp/transit egress rule 0";
    assert_eq!(words, ["egress  of shop/web: allowed, no policy selects it", denied]);
    // What stays on the node goes by no interface of the host; of what comes this policy does not speak.
    assert_eq!(asked(&known, "shop/web", "shop/db").judgements.len(), 2);
    assert_eq!(asked(&known, "203.0.113.7", "shop/web").verdict, Verdict::Allowed);
    // A port that is open to the host is none that is open to pods.
    let ssh = TraceQuery { port: Some(22), ..query("shop/web", "203.0.113.7") };
    assert_eq!(trace(&known, &ssh, &[]).unwrap().verdict, Verdict::Allowed);
    with_transit(&mut known, "types: [Egress], egress: [{action: Deny}]");
    assert_eq!(trace(&known, &ssh, &[]).unwrap().verdict, Verdict::Denied);
}

#[test]
fn what_a_policy_before_translation_lets_in_is_judged_by_the_pod_and_not_by_the_host_it_passes() {
    let mut known = shop();
    with_transit(&mut known, "types: [Ingress], ingress: [{action: Deny}]");
    let from = "203.0.113.7";
    assert_eq!(asked(&known, from, "shop/web").verdict, Verdict::Denied);
    let early = |ports: &str| {
        let rule = format!("{{action: Allow, protocol: TCP, destination: {{ports: [{ports}]}}}}");
        format!(
            "{{selector: '!has(app)', applyOnForward: true, preDNAT: true, types: [Ingress], ingress: [{rule}]}}"
        )
    };
    tell(&mut known, resource(Kind::GlobalNetworkPolicy, "early", &early("22, 5432")));
    let found = asked(&known, from, "shop/web");
    let words: Vec<&str> = found.judgements.iter().map(|it| it.why.as_str()).collect();
    let let_in = "ingress of host endpoint eth0 before translation: allowed by gnp/early ingress rule 0";
    assert_eq!(words, [let_in, "ingress of shop/web: allowed, no policy selects it"]);
    assert_eq!(asked(&known, from, "shop/db").verdict, Verdict::Denied, "the pod's own policy");
    // Policies before translation leave failsafe ports alone, and those of what is forwarded do not.
    let ssh = TraceQuery { port: Some(22), ..query(from, "shop/web") };
    assert_eq!(trace(&known, &ssh, &[]).unwrap().verdict, Verdict::Denied);
    // A connection is judged early by the port that it came for, and then by the one that it got to.
    let flow = Flow { reply: Tuple { source: ip("10.1.0.1"), ..flow(from, 5432).reply }, ..flow(from, 5432) };
    let verdict = |known: &Known| judged(known, &(&flow).into()).allowed();
    assert!(!verdict(&known));
    tell(&mut known, resource(Kind::GlobalNetworkPolicy, "early", &early("80")));
    assert!(verdict(&known));
}

#[test]
fn a_question_that_makes_no_sense_is_refused_with_the_option_and_its_value() {
    let known = shop();
    let why = |query: TraceQuery| trace(&known, &query, &[]).unwrap_err().to_string();
    let base = || query("shop/web", "shop/db");
    assert!(why(query("shop/none", "shop/db")).contains("--from shop/none: no such pod is known here"));
    assert!(why(query("shop/web", "db")).contains("--to \"db\": NAMESPACE/POD or an IP address"));
    assert!(why(TraceQuery { port: None, ..base() }).contains("tcp needs --port"));
    assert!(why(TraceQuery { protocol: 1, ..base() }).contains("icmp has no ports"));
    assert!(why(TraceQuery { icmp: Some((8, 0)), ..base() }).contains("--icmp"));
    assert!(why(TraceQuery { family: Some(6), ..base() }).contains("IPv6"));
}

#[test]
fn in_a_cluster_both_ends_are_judged_as_on_their_nodes() {
    let namespace = Resource::Namespace(Arc::new(Namespace::new(Metadata::named("shop"))));
    let pods =
        [("shop/web", "web", "10.1.0.1"), ("shop/db", "db", "10.1.9.2"), ("shop/far", "far", "10.1.9.9")];
    let pods = pods.map(|(name, app, address)| Resource::RemotePod(object(name, app, address)));
    let all: Vec<Resource> = pods.into_iter().chain([read(DB), namespace]).collect();
    let known = world(all.clone(), ["shop/web", "10.1.9.2"]);
    let found = asked(&known, "shop/web", "10.1.9.2");
    assert_eq!((found.verdict, found.judgements.len()), (Verdict::Allowed, 2), "{found:?}");
    let found = asked(&world(all, ["shop/far", "shop/db"]), "shop/far", "shop/db");
    assert_eq!((found.verdict, found.judgements.len()), (Verdict::Denied, 2), "{found:?}");
}

#[test]
fn policies_are_shown_with_their_rules_and_those_they_select_and_an_unknown_name_is_an_error() {
    let known = shop();
    let all = show(&known, None, &[]).unwrap();
    let [policy] = all.policies.as_slice() else { panic!("{all:?}") };
    assert_eq!((policy.policy.as_str(), policy.tier.as_str()), ("netpol/shop/db", "default"));
    assert_eq!((policy.tier_order.as_deref(), policy.order.as_deref()), (Some("1000000"), Some("1000")));
    assert_eq!((policy.selects.as_slice(), policy.rules.len()), (["shop/db".to_owned()].as_slice(), 1));
    assert_eq!(show(&known, Some("netpol/shop/db"), &[]).unwrap().policies, all.policies);
    assert!(show(&known, Some("shop/none"), &[]).unwrap_err().to_string().contains("\"shop/none\""));
}

#[test]
fn a_plan_says_what_changes_and_which_connections_are_cut_and_changes_nothing() {
    let known = shop();
    let chains = |known: &Known| known.policies.engine().chains().cloned().collect::<Vec<_>>();
    let flows = [flow("10.1.0.1", 5432), flow("10.1.9.9", 5432), flow("192.0.2.1", 5432)];
    let found = plan(&known, NOBODY, false, &flows).unwrap();
    assert_eq!(found.resources[0].change, Change::Changed);
    assert!(found.chains.iter().any(|it| it.change == Change::Removed || it.less > 0), "{found:?}");
    assert!(found.sets.iter().any(|it| it.change == Change::Removed && it.less == 1), "{found:?}");
    // The second is denied already, the third is the node's.
    let [cut] = found.cut.as_slice() else { panic!("{found:?}") };
    assert_eq!(cut.flow, "tcp pod shop/web (10.1.0.1) port 40000 -> pod shop/db (10.1.0.2) port 5432");
    assert_eq!(cut.by, "ingress: tier default: no rule matched of netpol/shop/db");
    let (mut after, before) = (ground(&known), shop());
    assert_eq!(chains(&after), chains(&before));
    assert_eq!(after.policies.generation(), before.policies.generation());
    assert!(after.policies.take_changes().dirty.is_empty());
    assert_eq!(asked(&known, "shop/web", "shop/db").verdict, Verdict::Allowed);
}

#[test]
fn a_policy_that_is_taken_away_or_selects_others_gives_pods_other_programs() {
    let known = shop();
    let found = plan(&known, DB, true, &[]).unwrap();
    assert_eq!(found.resources[0].change, Change::Removed);
    let [program] = found.programs.as_slice() else { panic!("{found:?}") };
    assert_eq!((program.endpoint.as_str(), program.direction.as_str()), ("pod shop/db", "ingress"));
    assert_eq!(
        (program.before.as_slice(), program.after.len()),
        (["netpol/shop/db".to_owned()].as_slice(), 0)
    );
    let web = DB.replace("name: db", "name: web").replace("app: db", "app: web");
    let found = plan(&known, &format!("{DB}---{web}"), false, &[]).unwrap();
    assert_eq!(
        found.resources.iter().map(|it| it.change).collect::<Vec<_>>(),
        [Change::Unchanged, Change::Added]
    );
    assert_eq!(found.programs[0].endpoint, "pod shop/web");
    assert!(
        found.chains.iter().any(|it| it.change == Change::Added && it.name.starts_with("netpol/shop/web"))
    );
}

#[test]
fn a_bad_document_is_named_with_its_field_and_what_is_allowed() {
    let known = shop();
    let why = |text: &str| plan(&known, text, false, &[]).unwrap_err().to_string();
    assert!(why("# nothing\n").contains("at least one"));
    assert!(why("{").starts_with("document 1, line "), "{}", why("{"));
    let pool =
        "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}";
    assert!(why(pool).contains("IPPool/p: only policies"), "{}", why(pool));
    let bad = DB.replace("name: db,", "name: Not_A_Name,");
    let text = why(&format!("{DB}---{bad}"));
    assert!(text.starts_with("document 2") && text.contains("Not_A_Name"), "{text}");
}

#[test]
fn a_drop_is_kept_with_the_names_of_the_pods_and_what_denied_it() {
    let known = shop();
    let mut drops = Drops::default();
    let packet = Packet {
        source: ip("10.1.9.9"),
        destination: ip("10.1.0.2"),
        protocol: 6,
        transport: Transport::Ports { source: 40_000, destination: 5432 },
    };
    let entry = |packet| LogEntry {
        prefix: "denied".into(),
        iif: None,
        oif: None,
        mark: 0,
        time: Some(std::time::Duration::from_secs(9)),
        packet,
        tcp_flags: None,
    };
    drops.heard(&known, Heard::Denied(vec![entry(Some(packet)), entry(None)], 4));
    let found = drops.after(0);
    let [drop] = found.drops.as_slice() else { panic!("{found:?}") };
    assert_eq!((drop.from.as_deref(), drop.to.as_deref()), (Some("pod shop/far"), Some("pod shop/db")));
    assert_eq!((drop.protocol.as_str(), drop.port, drop.time), ("tcp", Some(5432), 9000));
    assert_eq!(drop.direction.as_deref(), Some("ingress"));
    assert_eq!(drop.by, "tier default: no rule matched of netpol/shop/db");
    assert_eq!((found.last, found.lost, found.forgotten), (1, 4, 0));
    assert!(drops.after(1).drops.is_empty());
    for _ in 0..1_000 {
        drops.heard(&known, Heard::Denied(vec![entry(Some(packet))], 0));
    }
    let found = drops.after(0);
    assert_eq!((found.drops.len(), found.forgotten, found.last), (1_000, 1, 1_001));
    assert_eq!(drops.after(5_000).drops.len(), 1_000, "a number of a former run");
    drops.heard(&known, Heard::Listening(Err("taken".into())));
    assert_eq!(drops.after(0).deaf.as_deref(), Some("taken"));
}

/// `web` may send to the service `db`, and to nobody else.
const TO_DB: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec: {selector: app == 'web', egress: [{action: Allow, destination: {services: {name: db}}}]}
";

#[test]
fn a_cluster_is_judged_by_the_endpoints_of_services_that_its_policies_name() {
    let pods = [object("shop/web", "web", "10.1.0.1"), object("shop/db", "db", "10.1.0.2")];
    let mut all: Vec<Resource> = pods.into_iter().map(Resource::RemotePod).chain([read(DB)]).collect();
    assert!(!names_services(&all));
    all.push(read(TO_DB));
    assert!(names_services(&all));
    let ends = ["shop/web", "shop/db"];
    let of =
        |all: &[Resource]| asked(&world(all.to_vec(), ends), "shop/web", "shop/db").judgements[0].allowed;
    assert!(!of(&all));
    let endpoint = ServiceEndpoint { address: ip("10.1.0.2"), ports: vec![(6, 5432)] };
    all.push(Resource::ServiceEndpoints(Arc::new(ServiceEndpoints::of("shop/db", [endpoint]))));
    assert!(of(&all));
}
