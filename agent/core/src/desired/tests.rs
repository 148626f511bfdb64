use corduroy_api::Kind;
use corduroy_kernel::nft::{Field, L4, Rule, Verdict};
use corduroy_kernel::{Conf, Conf4, Family, LinkName, Mac, Support, Sysctl};

use super::hosts::{Failsafe, FailsafePort};
use super::{links, neighbours, nft, routes, sysctls};
use crate::known::Known;
use crate::testing::{block, change, gone, ip, known, net, node, pod, pool, put, resource};

const IPIP: &str = "ipip: {address: 10.1.0.63}";

/// How a route would be written after `ip route add`.
fn route(known: &Known, dst: &str) -> String {
    let Some(route) = routes::route(known, net(dst)) else { return "none".into() };
    let mut words = Vec::new();
    if route.hops().is_empty() {
        words.push("blackhole".to_owned());
    }
    for hop in route.hops() {
        words.extend(hop.encap.map(|encap| format!("encap ip src {} dst {}", encap.src, encap.dst)));
        words.extend(hop.via.map(|via| format!("via {via}")));
        words.push(format!("dev {}", hop.dev));
        words.extend(hop.onlink.then(|| "onlink".to_owned()));
    }
    words.extend(route.src.map(|src| format!("src {src}")));
    words.join(" ")
}

fn learned(known: &mut Known, dst: &str, hops: &[&str]) {
    known.learned.apply(&change(dst, hops));
}

fn two_racks(pool_mode: &str) -> Known {
    let mut known = known();
    put(
        &mut known,
        [
            node("a", "192.0.2.1/24", IPIP),
            node("b", "192.0.2.2/24", "ipip: {address: 10.1.0.127}"),
            node("c", "198.51.100.3/24", "ipip: {address: 10.1.0.191}"),
            pool("p", "10.1.0.0/16", pool_mode),
            block("10.1.0.0/26", "a"),
        ],
    );
    known.me.tunnels.ipip = Some("10.1.0.63".parse().unwrap());
    learned(&mut known, "10.1.0.64/26", &["192.0.2.2"]);
    learned(&mut known, "10.1.0.128/26", &["198.51.100.3"]);
    learned(&mut known, "203.0.113.0/24", &["192.0.2.250"]);
    known
}

#[test]
fn a_next_hop_on_the_link_is_taken_directly_and_one_behind_the_gateway_by_it() {
    let known = two_racks("");
    assert_eq!(route(&known, "10.1.0.64/26"), "via 192.0.2.2 dev eth0 onlink src 192.0.2.1");
    assert_eq!(route(&known, "10.1.0.128/26"), "via 192.0.2.254 dev eth0 onlink src 192.0.2.1");
    assert_eq!(route(&known, "203.0.113.0/24"), "via 192.0.2.250 dev eth0 onlink src 192.0.2.1");
    assert_eq!(route(&known, "10.9.0.0/26"), "none");
}

#[test]
fn cross_subnet_wraps_only_between_racks_and_sends_from_the_tunnel_address() {
    let known = two_racks(", ipipMode: CrossSubnet");
    assert_eq!(route(&known, "10.1.0.64/26"), "via 192.0.2.2 dev eth0 onlink src 192.0.2.1");
    assert_eq!(
        route(&known, "10.1.0.128/26"),
        "encap ip src 192.0.2.1 dst 198.51.100.3 dev ipip-cord src 10.1.0.63"
    );
    assert_eq!(route(&known, "203.0.113.0/24"), "via 192.0.2.250 dev eth0 onlink src 192.0.2.1");
}

#[test]
fn an_address_is_behind_the_interface_of_the_longest_route_that_leads_to_it() {
    let mut known = two_racks(", ipipMode: CrossSubnet");
    let device = |known: &Known, address: &str| routes::device(known, ip(address)).map(|dev| dev.to_string());
    for (address, dev) in [
        ("192.0.2.77", Some("eth0")),
        ("10.1.0.65", Some("eth0")),
        ("10.1.0.130", Some("ipip-cord")),
        ("198.51.100.3", Some("eth0")),
        ("10.1.0.5", None),
        ("2001:db8::1", None),
    ] {
        assert_eq!(device(&known, address).as_deref(), dev, "{address}");
    }
    // A default route of ours counts where others have none.
    known.facts.gateways.clear();
    assert_eq!(device(&known, "203.0.114.1"), None);
    learned(&mut known, "0.0.0.0/0", &["192.0.2.250"]);
    assert_eq!(device(&known, "203.0.114.1").as_deref(), Some("eth0"));
}

#[test]
fn nobody_is_tunnelled_to_who_does_not_say_he_takes_it() {
    let mut known = two_racks(", ipipMode: Always");
    assert!(route(&known, "10.1.0.64/26").starts_with("encap ip src 192.0.2.1 dst 192.0.2.2"));
    put(&mut known, [node("b", "192.0.2.2/24", "")]);
    assert_eq!(route(&known, "10.1.0.64/26"), "via 192.0.2.2 dev eth0 onlink src 192.0.2.1");
    learned(&mut known, "10.1.1.0/26", &["192.0.2.250"]);
    assert_eq!(route(&known, "10.1.1.0/26"), "via 192.0.2.250 dev eth0 onlink src 192.0.2.1");
}

#[test]
fn equal_paths_become_one_route_with_all_next_hops() {
    let mut known = two_racks("");
    learned(&mut known, "203.0.113.0/24", &["192.0.2.251", "192.0.2.250"]);
    assert_eq!(
        route(&known, "203.0.113.0/24"),
        "via 192.0.2.250 dev eth0 onlink via 192.0.2.251 dev eth0 onlink src 192.0.2.1"
    );
}

#[test]
fn an_own_block_is_a_blackhole_but_for_its_pods() {
    let mut known = two_racks("");
    known.pods.put(pod(7));
    assert_eq!(route(&known, "10.1.0.0/26"), "blackhole");
    assert_eq!(route(&known, "10.1.0.7/32"), "dev cord00000000007 src 192.0.2.1");
    put(&mut known, [block("10.1.2.1/32", "a")]);
    assert_eq!(route(&known, "10.1.2.1/32"), "none", "a block of one address has no room beside its pod");
}

#[test]
fn our_own_address_as_next_hop_is_no_way() {
    let mut known = two_racks("");
    learned(&mut known, "10.5.0.0/26", &["192.0.2.1"]);
    assert_eq!(route(&known, "10.5.0.0/26"), "none");
}

#[test]
fn vxlan_goes_by_the_other_nodes_device_with_its_neighbour_and_forwarding_entry() {
    let mut known = known();
    let vxlan = |address: &str, mac: &str| format!("vxlan: {{address: {address}, mac: \"{mac}\"}}");
    put(
        &mut known,
        [
            node("a", "192.0.2.1/24", &vxlan("10.1.0.63", "66:00:00:00:00:01")),
            node("c", "198.51.100.3/24", &vxlan("10.1.0.191", "66:00:00:00:00:03")),
            pool("p", "10.1.0.0/16", ", vxlanMode: CrossSubnet"),
        ],
    );
    known.me.tunnels.vxlan_v4 = Some("10.1.0.63".parse().unwrap());
    learned(&mut known, "10.1.0.128/26", &["198.51.100.3"]);
    let mac = Mac([0x66, 0, 0, 0, 0, 3]);
    assert_eq!(route(&known, "10.1.0.128/26"), "via 10.1.0.191 dev vxlan-cord onlink src 10.1.0.63");
    assert_eq!(neighbours::neighbour(&known, LinkName::VXLAN, ip("10.1.0.191")), Some(mac));
    assert_eq!(neighbours::fdb(&known, LinkName::VXLAN, mac), Some(ip("198.51.100.3")));
    assert_eq!(neighbours::fdb(&known, LinkName::VXLAN, Mac([0x66, 0, 0, 0, 0, 1])), None, "that is us");
    let link = links::link(&known, LinkName::VXLAN).unwrap();
    assert_eq!((link.mtu, link.mac), (1450, Some(known.me.vxlan_mac())));
}

#[test]
fn a_tunnel_device_is_there_while_a_pool_asks_for_it_or_other_nodes_may_still_use_it() {
    let mut known = two_racks(", ipipMode: CrossSubnet");
    assert_eq!(links::link(&known, LinkName::IPIP).unwrap().mtu, 1480);
    assert_eq!(links::pod_mtu(&known), 1480);
    assert!(links::address(&known, LinkName::IPIP, ip("10.1.0.63")).is_some());
    assert_eq!(links::address(&known, LinkName::IPIP, ip("10.1.0.62")), None);
    put(&mut known, [pool("p", "10.1.0.0/16", "")]);
    assert!(links::link(&known, LinkName::IPIP).is_some(), "our FabricNode still declares it");
    assert!(!links::is_asked_for(&known, LinkName::IPIP, Family::V4));
    put(&mut known, [node("a", "192.0.2.1/24", "")]);
    assert_eq!(links::link(&known, LinkName::IPIP), None);
    assert_eq!(links::pod_mtu(&known), 1500);
}

#[test]
fn a_kernel_without_ipip_makes_a_condition_and_no_device() {
    let mut known = two_racks(", ipipMode: Always");
    known.facts.features.lwtunnel = Support::No;
    assert_eq!(links::link(&known, LinkName::IPIP), None);
    assert_eq!(links::impossible(&known).collect::<Vec<_>>(), [LinkName::IPIP]);
}

#[test]
fn reverse_path_is_strict_for_pods_loose_for_tunnels_and_not_ours_elsewhere() {
    let mut known = two_racks(", ipipMode: Always");
    known.pods.put(pod(7));
    let rp_filter = |dev| sysctls::sysctl(&known, Sysctl::V4(Conf::Dev(dev), Conf4::RpFilter));
    assert_eq!(rp_filter(pod(7).link), Some(1));
    assert_eq!(rp_filter(LinkName::IPIP), Some(2));
    assert_eq!(rp_filter(LinkName::new("eth0").unwrap()), None);
    assert_eq!(sysctls::sysctl(&known, Sysctl::Ipv4Forward), Some(1));
}

#[test]
fn the_elements_of_the_table_follow_pods_nodes_and_pools() {
    let mut known = two_racks(", natOutgoing: true");
    known.pods.put(pod(7));
    let has = |known: &Known, (set, key)| nft::element(known, &set, &key);
    assert_eq!(has(&known, nft::node_element(ip("198.51.100.3"))), Some(None));
    assert_eq!(has(&known, nft::node_element(ip("192.0.2.250"))), None, "a ToR is no node");
    let [pools, masq] = nft::pool_elements(net("10.1.0.0/16"));
    assert_eq!((has(&known, pools), has(&known, masq)), (Some(None), Some(None)));
    let [egress, _] = nft::link_elements(pod(7).link);
    assert_eq!(has(&known, egress), Some(Some(Verdict::Goto("sent".into()))), "nobody says anything");
    assert_eq!(has(&known, nft::pod_element(pod(7).link, ip("10.1.0.7"))), Some(None));
    assert_eq!(has(&known, nft::pod_element(pod(8).link, ip("10.1.0.7"))), None);
    gone(&mut known, Kind::FabricNode, "c");
    assert_eq!(has(&known, nft::node_element(ip("198.51.100.3"))), None);
}

#[test]
fn of_overlapping_pools_only_the_outer_one_is_in_an_interval_set() {
    let mut known = known();
    put(&mut known, [pool("big", "10.0.0.0/8", ""), pool("small", "10.1.0.0/16", ", natOutgoing: true")]);
    let element = |cidr: &str, which: usize| {
        let (set, key) = nft::pool_elements(net(cidr))[which].clone();
        nft::element(&known, &set, &key)
    };
    assert_eq!((element("10.0.0.0/8", 0), element("10.1.0.0/16", 0)), (Some(None), None));
    assert_eq!((element("10.0.0.0/8", 1), element("10.1.0.0/16", 1)), (None, Some(None)));
}

/// The chains of the table, in the words of `nft`.
fn drawn(known: &Known) -> impl Fn(&str) -> Vec<String> + use<> {
    let mut table = corduroy_kernel::nft::Table::default();
    for name in nft::SETS {
        table.sets.insert(name.into(), nft::set(known, &name.into()).unwrap());
    }
    for name in nft::CHAINS {
        if let Some(chain) = nft::chain(known, &name.into()) {
            table.chains.insert(name.into(), chain);
        }
    }
    let text = table.to_string();
    move |name: &str| {
        let start =
            text.find(&format!("chain {name} {{")).unwrap_or_else(|| panic!("no chain {name}: {text}"));
        let body = text[start..].split_once("{\n").unwrap().1.split_once('}').unwrap().0;
        body.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    }
}

/// The whole table, in the words of `nft`, so that a change of any rule is seen for what it is.
#[test]
fn the_table_reads_as_it_is_drawn() {
    assert_eq!(nft::chain(&two_racks(""), &"postrouting".into()), None, "no pool asks for it");
    let chain = drawn(&two_racks(", ipipMode: CrossSubnet, natOutgoing: true"));
    assert_eq!(
        chain("input"),
        [
            "type filter hook input priority 0; policy accept;",
            "iifname \"cord*\" goto pods-to-host",
            "meta l4proto 4 ip saddr != @nodes4 counter drop comment \"IPIP from no node\"",
        ]
    );
    assert_eq!(
        chain("postrouting"),
        [
            "type nat hook postrouting priority 100; policy accept;",
            "ip saddr @masq4 ip daddr != @pools4 ip daddr != @nodes4 masquerade fully-random",
            "ip6 saddr @masq6 ip6 daddr != @pools6 ip6 daddr != @nodes6 masquerade fully-random",
        ]
    );
}

#[test]
fn connections_are_judged_by_their_first_packet_and_again_when_more_may_be_denied() {
    let chain = drawn(&two_racks(""));
    assert_eq!(
        chain("forward")[1..],
        [
            "ct state established,related ct mark & 0x7fff0000 == 0x00010000 accept",
            "ct state established,related ct direction reply ct mark & 0x7fff0000 != 0x7fff0000 accept",
            "ct state established,related ct direction reply counter drop \
             comment \"of a connection that is denied by now\"",
            "ct state related ct mark & 0x7fff0000 != 0x7fff0000 accept",
            "iifname \"cord*\" goto from-pods",
        ]
    );
    let unknown = "counter drop comment \"an interface that is not known\"";
    assert_eq!(
        chain("from-pods"),
        [
            "jump pod-limits",
            "oifname . ip saddr @pods4 goto sent comment \"a pod and itself\"",
            "oifname . ip6 saddr @pods6 goto sent comment \"a pod and itself\"",
            "iifname vmap @egress",
            unknown,
        ]
    );
    assert_eq!(chain("sent"), ["accept"]);
    assert_eq!(
        chain("to-pods"),
        [
            "type filter hook forward priority 1; policy accept;",
            "ct state established,related ct mark & 0x7fff0000 == 0x00010000 accept",
            "ct state established,related ct direction reply accept",
            "ct state related accept",
            "oifname . ip saddr @pods4 goto passed comment \"a pod and itself\"",
            "oifname . ip6 saddr @pods6 goto passed comment \"a pod and itself\"",
            "oifname vmap @ingress",
            &format!("oifname \"cord*\" {unknown}"),
            "iifname \"cord*\" goto passed",
        ]
    );
    assert_eq!(chain("passed"), ["ct mark set ct mark & 0x8000ffff | 0x00010000", "accept"]);
    assert_eq!(
        chain("denied"),
        [
            "limit rate 10/second burst 50 packets log prefix \"denied\" group 67 snaplen 128",
            "ct mark set ct mark & 0x8000ffff | 0x7fff0000",
            "drop",
        ]
    );
    assert_eq!(
        chain("pods-to-host")[4..],
        [
            "icmpv6 type 135 accept",
            "icmpv6 type 136 accept",
            "jump pod-limits",
            "ct mark set ct mark & 0x8000ffff | 0x00010000",
            "iifname vmap @egress",
            unknown,
        ]
    );
    assert_eq!(
        chain("prerouting")[1..3],
        ["iifname != \"cord*\" accept", "iifname . ip saddr @pods4 accept"]
    );
    assert_eq!(chain("prerouting")[8], "iifname . ip6 saddr @pods6 accept");
}

#[test]
fn what_no_service_has_is_dropped_unless_a_node_has_it_and_nothing_learned_there_goes_to_the_kernel() {
    let mut known = two_racks("");
    assert_ne!(route(&known, "203.0.113.0/24"), "none");
    let ranges =
        "{serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}, {cidr: 203.0.113.128/25}, {cidr: 'fd00:b::/64'}]}";
    put(&mut known, [resource(Kind::BgpConfiguration, "default", ranges)]);
    assert_eq!(route(&known, "203.0.113.0/24"), "none", "kube-proxy is here, too");
    assert_ne!(route(&known, "10.1.0.64/26"), "none");
    let chain = nft::chain(&known, &"forward".into()).unwrap();
    for (rule, daddr, services, nodes) in
        [(4, Family::V4, "services4", "nodes4"), (5, Family::V6, "services6", "nodes6")]
    {
        let nobodys =
            Rule::new().in_set([Field::Daddr(daddr)], services).not_in_set([Field::Daddr(daddr)], nodes);
        assert_eq!(chain.rules[rule], nobodys.counter().drop().comment("no service has this address"));
    }
    let is_in = |range: &str| {
        let (set, key) = nft::range_element(net(range));
        nft::element(&known, &set, &key).is_some()
    };
    assert!(is_in("203.0.113.0/24") && is_in("fd00:b::/64"));
    assert!(!is_in("203.0.113.128/25"), "members of an interval set must not overlap");
}

#[test]
fn a_host_endpoint_is_closed_but_for_the_failsafe_ports_and_what_it_forwards_is_not() {
    let mut known = two_racks("");
    assert_eq!(nft::chain(&known, &"host-in".into()), None, "nothing of it without one");
    let host = resource(Kind::HostEndpoint, "eth0", "{node: a, interfaceName: eth0}");
    let other = resource(Kind::HostEndpoint, "other", "{node: b, interfaceName: eth1}");
    let ssh = "{selector: all(), preDNAT: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, \
                destination: {ports: [23]}}]}";
    let policies = [host, other, resource(Kind::GlobalNetworkPolicy, "no-telnet", ssh)];
    let keys: Vec<_> = policies.iter().map(corduroy_api::Resource::key).collect();
    put(&mut known, policies);
    keys.iter().for_each(|key| known.police(key));
    let eth0: LinkName = LinkName::new("eth0").unwrap();
    let element = |map: &str, dev: LinkName| nft::element(&known, &map.into(), &dev.into()).flatten();
    let denied = Some(Verdict::Goto("denied".into()));
    assert_eq!((element("host-input", eth0), element("host-output", eth0)), (denied.clone(), denied));
    assert_eq!((element("host-forward-in", eth0), element("host-raw-in", eth0)), (None, None));
    assert!(matches!(element("host-prednat", eth0), Some(Verdict::Goto(_))));
    assert_eq!(element("host-input", LinkName::new("eth1").unwrap()), None);
    let ssh = nft::element(&known, &"failsafe-in-tcp".into(), &corduroy_kernel::nft::Value::Port(22).into());
    assert_eq!(ssh, Some(None));
    let chain = drawn(&known);
    assert_eq!(chain("input").last().unwrap(), "goto host-in");
    assert_eq!(chain("output").last().unwrap(), "oifname != \"cord*\" goto host-out");
    let forward = chain("forward");
    assert_eq!(forward.last().unwrap(), "iifname vmap @host-forward-in");
    let to_pods = chain("to-pods");
    let ends = ["oifname vmap @host-forward-out", "goto passed", "iifname \"cord*\" goto passed"];
    assert_eq!(to_pods[to_pods.len() - 3..], ends);
    let all = "{node: a, interfaceName: '*'}";
    let all = resource(Kind::HostEndpoint, "all", all);
    let key = all.key();
    put(&mut known, [all]);
    known.police(&key);
    let rules = nft::chain(&known, &"host-in".into()).unwrap().rules;
    let last = "iifname != \"cord*\" iifname != \"ipip-cord\" iifname != \"vxlan-cord\" iifname != \"lo\" goto denied";
    assert_eq!(rules.last().unwrap().to_string(), last);
}

#[test]
fn a_failsafe_port_for_some_is_a_rule_with_them_and_its_answers_are_let_in_untracked() {
    let mut known = two_racks("");
    let host = resource(Kind::HostEndpoint, "eth0", "{node: a, interfaceName: eth0}");
    let key = host.key();
    put(&mut known, [host]);
    known.police(&key);
    let port = |l4, port, of: Option<&str>| FailsafePort { l4, port, net: of.map(net) };
    known.failsafe = Failsafe {
        inbound: [port(L4::Tcp, 22, Some("192.0.2.0/24")), port(L4::Tcp, 2222, None)].into(),
        outbound: [port(L4::Udp, 53, Some("fd00::/8")), port(L4::Tcp, 443, Some("0.0.0.0/0"))].into(),
    };
    let is_open = |port: u16| {
        let value = corduroy_kernel::nft::Value::Port(port);
        nft::element(&known, &"failsafe-in-tcp".into(), &value.into()).is_some()
    };
    assert_eq!([2222, 22, 6443].map(is_open), [true, false, false]);
    let has = |chain: &str, wanted: &str| {
        let rules = nft::chain(&known, &chain.into()).unwrap().rules;
        let drawn: Vec<String> = rules.iter().map(ToString::to_string).collect();
        assert!(drawn.iter().any(|rule| rule == wanted), "{chain}: {drawn:#?} without {wanted}");
    };
    has("failsafe-in", "ip saddr 192.0.2.0/24 tcp dport 22 accept");
    has("failsafe-out", "ip6 daddr fd00::/8 udp dport 53 accept");
    has("failsafe-out", "meta nfproto ipv4 tcp dport 443 accept");
    has("host-raw-in", "ip6 saddr fd00::/8 udp sport 53 accept");
    has("host-raw-out", "ip daddr 192.0.2.0/24 tcp sport 22 accept");
}
