use corduroy_api::{Event, Resource};
use corduroy_bgp::policy::{Action, Filter, Operator, Otherwise, Source};

use super::*;
use crate::tests::model;

const API: &str = "apiVersion: corduroy.dev/v1alpha1";

fn node(name: &str, addresses: &str, more: &str) -> String {
    format!(
        "---\n{API}\nkind: FabricNode\nmetadata:\n  name: {name}\n  labels: {{name: {name}}}\n\
         spec:\n  addresses: [{addresses}]\n{more}"
    )
}

fn peer(name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!("---\n{API}\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n")
}

fn settings(spec: &str) -> String {
    format!("---\n{API}\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {spec}\n")
}

fn three() -> String {
    node("a", "192.0.2.1/24, 2001:db8::1/64", "")
        + &node("b", "192.0.2.2/24, 2001:db8::2/64", "")
        + &node("c", "198.51.100.3/24", "")
}

fn of(documents: &str, me: &str) -> Peering {
    peering(&model(documents), me, &Options::default())
}

fn addresses(peering: &Peering) -> Vec<String> {
    peering.config.peers.keys().map(ToString::to_string).collect()
}

fn problems(peering: &Peering) -> Vec<String> {
    peering.problems.iter().map(ToString::to_string).collect()
}

fn at<'p>(peering: &'p Peering, address: &str) -> &'p PeerConfig {
    &peering.config.peers[&PeerKey::new(address.parse().unwrap())]
}

#[test]
fn nodes_mesh_in_every_family_that_both_have_unless_they_are_told_not_to() {
    let a = of(&three(), "a");
    assert_eq!(addresses(&a), ["192.0.2.2", "198.51.100.3", "2001:db8::2"]);
    assert_eq!(a.problems, []);
    assert_eq!(a.config.local_as, Asn(64512));
    assert_eq!(a.config.router_id.to_string(), "192.0.2.1");
    let b = at(&a, "2001:db8::2");
    assert_eq!(b.remote_as, corduroy_bgp::config::RemoteAs::Exactly(Asn(64512)));
    assert_eq!(b.transport.local, Some("2001:db8::1".parse().unwrap()));
    assert!(b.capabilities.families.contains(corduroy_bgp::Family::Ipv6Unicast));
    assert!(!b.capabilities.families.contains(corduroy_bgp::Family::Ipv4Unicast));
    let off = of(&(three() + &settings("{nodeToNodeMeshEnabled: false}")), "a");
    assert_eq!(addresses(&off), Vec::<String>::new());
}

#[test]
fn a_node_without_its_fabric_node_has_no_peers_and_is_told_why() {
    let stranger = of(&three(), "z");
    assert!(stranger.config.peers.is_empty());
    let why = "FabricNode/z: metadata.name: there is no such FabricNode, so this node has no sessions";
    assert_eq!(problems(&stranger), [why]);
}

#[test]
fn a_reflector_leaves_the_mesh_and_has_the_others_for_clients() {
    let cluster = three()
        + &node("r", "192.0.2.9/24", "  routeReflectorClusterID: 192.0.2.9\n")
        + &node("s", "192.0.2.10/24", "  routeReflectorClusterID: 192.0.2.9\n")
        + &peer("reflectors", "peerSelector: name in {'r', 's'}");
    let a = of(&cluster, "a");
    assert_eq!(addresses(&a), ["192.0.2.2", "192.0.2.9", "192.0.2.10", "198.51.100.3", "2001:db8::2"]);
    assert!(!at(&a, "192.0.2.9").client);
    assert_eq!(at(&a, "192.0.2.9").export.otherwise, Otherwise::Reject);
    let r = of(&cluster, "r");
    assert_eq!(addresses(&r), ["192.0.2.1", "192.0.2.2", "192.0.2.10", "198.51.100.3"]);
    assert!(at(&r, "192.0.2.1").client, "a node of the same AS without a cluster id is a client");
    assert!(!at(&r, "192.0.2.10").client, "a reflector of the same cluster is not");
    assert_eq!(at(&r, "192.0.2.1").export.otherwise, Otherwise::Accept);
    assert_eq!(r.config.cluster_id.map(|id| id.to_string()), Some("192.0.2.9".to_owned()));
    assert_eq!((a.problems, r.problems), (vec![], vec![]));
}

#[test]
fn a_reflector_never_passes_routes_on_to_another_as() {
    let cluster = node("r", "192.0.2.9/24", "  routeReflectorClusterID: 192.0.2.9\n")
        + &peer("tor", "peerIP: 192.0.2.254\nasNumber: 65001");
    let r = of(&cluster, "r");
    let export = &at(&r, "192.0.2.254").export;
    assert_eq!(export.otherwise, Otherwise::Reject);
    assert_eq!(export.rules.len(), 1);
    assert_eq!(export.rules[0].matches.source, Some(Source::Local));
}

#[test]
fn both_ends_of_a_selected_peering_open_it_unless_reverse_peering_is_manual() {
    let pair = |reverse: &str| {
        let spec = format!("node: a\npeerSelector: name == 'c'{reverse}");
        three() + &settings("{nodeToNodeMeshEnabled: false}") + &peer("one-way", &spec)
    };
    assert_eq!(addresses(&of(&pair(""), "a")), ["198.51.100.3"]);
    assert_eq!(addresses(&of(&pair(""), "c")), ["192.0.2.1"]);
    assert_eq!(addresses(&of(&pair("\nreversePeering: Manual"), "c")), Vec::<String>::new());
    assert_eq!(addresses(&of(&pair(""), "b")), Vec::<String>::new());
}

#[test]
fn a_peer_takes_its_settings_from_its_resource_and_its_port_from_its_node() {
    let mesh =
        "{listenPort: 1790, nodeMeshHoldTime: 9s, nodeMeshKeepaliveTime: 3s, nodeMeshMaxRestartTime: 0s}";
    let tor = "node: a\npeerIP: '[2001:db8::fe]:10179'\nasNumber: 65001\nholdTime: 30s\nkeepaliveTime: 10s\n\
               ttlSecurity: 1\nnextHopMode: Self\nnumAllowedLocalASNumbers: 1\nlocalASNumber: '1.1'\n\
               sourceAddress: None\npassive: true";
    let a = of(&(three() + &settings(mesh) + &peer("tor", tor)), "a");
    let b = at(&a, "192.0.2.2");
    assert_eq!((b.transport.port, b.timers.hold.as_secs()), (1790, 9));
    assert_eq!(b.timers.keepalive, Some(Duration::from_secs(3)));
    assert_eq!(b.capabilities.graceful_restart, None);
    let tor = at(&a, "2001:db8::fe");
    assert_eq!(tor.transport.port, 10179);
    assert_eq!((tor.transport.local, tor.transport.passive), (None, true));
    assert_eq!(tor.transport.ttl, corduroy_bgp::config::Ttl::Security { hops: 1 });
    assert_eq!(tor.next_hop, corduroy_bgp::config::NextHop::SelfAddress);
    assert_eq!((tor.allow_own_as, tor.local_as), (1, Some(Asn(65537))));
    assert_eq!(tor.timers.hold.as_secs(), 30);
    assert_eq!(a.problems, []);
}

#[test]
fn what_cannot_be_a_peer_is_a_problem_that_names_resource_and_field() {
    let cases = [
        (
            "peerIP: 192.0.2.1\nasNumber: 65001",
            "spec.peerIP: 192.0.2.1 is an address of a itself; it has no such session",
        ),
        (
            "peerIP: 203.0.113.7",
            "spec.asNumber: missing: 203.0.113.7 is no FabricNode's address, so the AS of this peer must be given",
        ),
        (
            "peerIP: 192.0.2.2\nasNumber: 65001",
            "spec.asNumber: 192.0.2.2 is FabricNode/b, whose AS is 64512, not 65001; it will refuse",
        ),
        (
            "peerIP: fe80::1\nasNumber: 65001",
            "spec.peerIP: fe80::1 is link-local, which is not enough to find a neighbour; use a global address",
        ),
        (
            "peerSelector: rack == 'nowhere'",
            "spec.peerSelector: rack == 'nowhere' chooses no node but possibly this one, so there is no session",
        ),
        (
            "peerIP: 192.0.2.254\nasNumber: 65001\nfilters: [gone]",
            "spec.filters[0]: there is no BGPFilter/gone; until there is, no route passes this session",
        ),
        (
            "peerIP: 192.0.2.254\nasNumber: 65001\npassword: {secretKeyRef: {name: bgp, key: tor}}",
            "spec.password.secretKeyRef: there is no secret bgp with a key tor; without its password there is no \
             session",
        ),
    ];
    for (spec, why) in cases {
        let a = of(&(three() + &peer("wrong", spec)), "a");
        assert_eq!(problems(&a), [format!("BGPPeer/wrong: {why}")]);
        assert!(
            a.config.peers.contains_key(&PeerKey::new("198.51.100.3".parse().unwrap())),
            "the rest goes on"
        );
    }
    let c = of(&(three() + &peer("wrong", "node: c\npeerIP: 2001:db8::99\nasNumber: 65001")), "c");
    assert_eq!(
        problems(&c),
        ["BGPPeer/wrong: spec.peerIP: c has no IPv6 address to reach 2001:db8::99 from"]
    );
}

#[test]
fn two_nodes_of_one_address_are_told_apart_by_a_problem() {
    let shared = "is an address of FabricNode/b too; there is no session with twin";
    let twins = three() + &node("twin", "192.0.2.2/24", "") + &node("self", "192.0.2.1/24", "");
    let a = of(&twins, "a");
    assert_eq!(
        problems(&a),
        [
            "FabricNode/self: spec.addresses: 192.0.2.1 is also an address of a".to_owned(),
            format!("FabricNode/twin: spec.addresses: 192.0.2.2 {shared}"),
        ]
    );
    assert_eq!(a.peers[&PeerKey::new("192.0.2.2".parse().unwrap())].node.as_deref(), Some("b"));
}

#[test]
fn of_two_resources_for_one_neighbour_the_first_counts_and_the_second_is_told_so() {
    let same = peer("one", "peerIP: 192.0.2.254\nasNumber: 65001")
        + &peer("two", "peerIP: 192.0.2.254\nasNumber: 65001");
    assert_eq!(of(&(three() + &same), "a").problems, []);
    let other = peer("one", "peerIP: 192.0.2.254\nasNumber: 65001")
        + &peer("two", "peerIP: 192.0.2.254\nasNumber: 65002");
    let a = of(&(three() + &other), "a");
    assert_eq!(
        problems(&a),
        ["BGPPeer/two: spec.peerIP: BGPPeer/one means 192.0.2.254 too and shapes the session"]
    );
}

#[test]
fn a_password_comes_from_its_secret_and_from_nowhere_else() {
    let mut model =
        model(&(three() + &settings("{nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}}")));
    let without = peering(&model, "a", &Options::default());
    assert!(without.config.peers.is_empty());
    assert_eq!(without.problems.len(), 1, "said once for the whole mesh: {:?}", without.problems);
    let data = BTreeMap::from([("mesh".to_owned(), corduroy_api::SecretValue::new(b"s3cret"))]);
    model.apply(Event::Put(Resource::Secret(Arc::new(corduroy_api::Secret::new("bgp", data).unwrap()))));
    let with = peering(&model, "a", &Options::default());
    assert_eq!(with.problems, []);
    let password = at(&with, "192.0.2.2").transport.password.as_ref();
    assert_eq!(password.map(corduroy_bgp::config::Secret::expose), Some(&b"s3cret"[..]));
    assert!(!format!("{with:?}").contains("s3cret"));
}

#[test]
fn built_in_import_rules_guard_own_blocks_pools_and_subnets_in_this_order() {
    let more = "---\napiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata: {name: pods}\n\
        spec: {cidr: 10.244.0.0/16}\n\
        ---\napiVersion: corduroy.dev/v1alpha1\nkind: IPAMBlock\nmetadata: {name: 10-244-0-0-26}\n\
        spec: {cidr: 10.244.0.0/26, node: a, nodeUID: a, epoch: 1}\n\
        ---\napiVersion: corduroy.dev/v1alpha1\nkind: IPAMBlock\nmetadata: {name: 10-244-0-64-26}\n\
        spec: {cidr: 10.244.0.64/26, node: a, nodeUID: another, epoch: 1}\n";
    let model = model(&(three() + more));
    let options = Options { protected: vec!["10.96.0.0/12".parse().unwrap()], ..Options::default() };
    let a = peering(&model, "a", &options);
    let rules: Vec<(&str, bool)> = at(&a, "192.0.2.2")
        .import
        .rules
        .iter()
        .map(|rule| (&*rule.name, matches!(rule.action, Action::Accept(_))))
        .collect();
    assert_eq!(
        rules,
        [
            ("built-in: own block 10.244.0.0/26", false),
            ("built-in: inside own block 10.244.0.0/26", false),
            ("built-in: pool 10.244.0.0/16", true),
            ("built-in: no default route", false),
            ("built-in: no default route", false),
            ("built-in: covers nodes' subnet 192.0.2.0/24", false),
            ("built-in: inside nodes' subnet 192.0.2.0/24", false),
            ("built-in: covers nodes' subnet 198.51.100.0/24", false),
            ("built-in: inside nodes' subnet 198.51.100.0/24", false),
            ("built-in: covers nodes' subnet 2001:db8::/64", false),
            ("built-in: inside nodes' subnet 2001:db8::/64", false),
            ("built-in: covers 10.96.0.0/12", false),
        ]
    );
    let filters: Vec<_> = a.config.peers.values().map(|p| Arc::as_ptr(&p.import)).collect();
    assert!(filters.windows(2).all(|pair| pair[0] == pair[1]), "equal filters are one");
}

#[test]
fn of_a_fixed_address_and_the_block_around_it_each_node_takes_the_others_route() {
    let block = |name: &str, cidr: &str, owner: &str| {
        format!(
            "---\n{API}\nkind: IPAMBlock\nmetadata: {{name: {name}}}\n\
             spec: {{cidr: {cidr}, node: {owner}, nodeUID: {owner}, epoch: 1}}\n"
        )
    };
    let documents = three()
        + &block("10-244-0-0-26", "10.244.0.0/26", "a")
        + &block("10-244-0-5-32", "10.244.0.5/32", "b");
    let own = |me: &str, other: &str| -> Vec<String> {
        let peering = of(&documents, me);
        let names = at(&peering, other).import.rules.iter().map(|rule| rule.name.to_string());
        names.filter(|name| name.contains("own block") || name.contains("fixed")).collect()
    };
    // The owner of the block takes this one address of it from elsewhere, before it refuses the rest.
    assert_eq!(
        own("a", "192.0.2.2"),
        [
            "built-in: fixed address 10.244.0.5/32",
            "built-in: own block 10.244.0.0/26",
            "built-in: inside own block 10.244.0.0/26"
        ]
    );
    // Who has the address takes the block around it.
    assert_eq!(own("b", "192.0.2.1"), ["built-in: inside own block 10.244.0.5/32"]);
}

#[test]
fn an_operators_rules_come_first_and_an_accept_does_not_make_a_node_a_transit() {
    let filter = "---\napiVersion: corduroy.dev/v1alpha1\nkind: BGPFilter\nmetadata: {name: tor}\nspec:\n\
        \x20 importV4:\n\
        \x20 - {action: Accept, cidr: 0.0.0.0/0, matchOperator: Equal, operations: [{setPriority: {value: 50}}]}\n\
        \x20 exportV4:\n\
        \x20 - {action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {max: 26}}\n\
        \x20 - {action: Accept, source: RemotePeers, prefixLength: {min: 32}}\n\
        \x20 - {action: Reject}\n";
    let tor = peer("tor", "peerIP: 192.0.2.254\nasNumber: 65001\nfilters: [tor]");
    let a = of(&(three() + filter + &tor), "a");
    assert_eq!(a.problems, []);
    let tor = at(&a, "192.0.2.254");
    assert_eq!(&*tor.import.rules[0].name, "BGPFilter/tor importV4[0]");
    let export = &tor.export.rules;
    let sources: Vec<_> = export.iter().map(|rule| rule.matches.source).collect();
    assert_eq!(sources, [Some(Source::Local), Some(Source::RemotePeers), None, Some(Source::Local)]);
    let length = export[1].matches.prefix.as_ref().unwrap();
    assert_eq!((length.net.to_string(), length.operator), ("0.0.0.0/0".to_owned(), Operator::In));
    assert_eq!(length.length, Some(32..=32));
    assert_eq!(tor.export.otherwise, Otherwise::Reject);
}

#[test]
fn a_v6_only_node_has_a_router_id_all_the_same() {
    let only = node("six", "2001:db8::6/64", "") + &node("seven", "2001:db8::7/64", "");
    let (six, seven) = (of(&only, "six"), of(&only, "seven"));
    assert_ne!(six.config.router_id, seven.config.router_id);
    assert_eq!(six.config.router_id, of(&only, "six").config.router_id);
}

#[test]
fn nodes_of_different_as_peer_over_ebgp_in_the_mesh() {
    let racks = node("a", "192.0.2.1/24", "  asNumber: 65101\n")
        + &node("b", "198.51.100.2/24", "  asNumber: 65102\n");
    let a = of(&racks, "a");
    assert_eq!(a.config.local_as, Asn(65101));
    assert_eq!(at(&a, "198.51.100.2").remote_as, corduroy_bgp::config::RemoteAs::Exactly(Asn(65102)));
    assert!(!at(&a, "198.51.100.2").client);
}

#[test]
fn addresses_of_services_go_to_routers_and_reflectors_and_not_between_nodes() {
    let tor = peer("tor", "peerIP: 192.0.2.250\nasNumber: 65000");
    let to_r = peer("reflectors", "nodeSelector: all()\npeerSelector: name == 'r'");
    let reflector = node("r", "192.0.2.9/24", "  routeReflectorClusterID: 192.0.2.9\n");
    let services = settings("{serviceClusterIPs: [{cidr: 10.96.0.0/16}]}");
    let documents = three() + &tor + &to_r + &reflector + &services;
    let a = of(&documents, "a");
    let rules = |filter: &Filter| filter.rules.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>();
    let (ours, kept) = ("built-in: our own prefixes", "built-in: services 10.96.0.0/16");
    assert_eq!(rules(&at(&a, "192.0.2.2").export), [kept, ours], "a node of the mesh");
    for other in ["192.0.2.250", "192.0.2.9"] {
        assert_eq!(rules(&at(&a, other).export), [ours], "{other}");
        assert!(rules(&at(&a, other).import).contains(&kept.to_owned()), "{other}");
    }
    let r = of(&documents, "r");
    assert_eq!(rules(&at(&r, "192.0.2.2").export), [kept], "a reflector passes them on to no node");
    assert!(!rules(&at(&r, "192.0.2.2").import).contains(&kept.to_owned()), "but takes them for others");
}
