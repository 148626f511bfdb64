//! The real plugin and the real agent on one node: what a pod gets, and what each command says.

mod faults;
mod pool;
mod rig;

use serde_json::{Value, json};

use corduroy_tests::eventually;
use rig::{OneNode, PATIENCE, ip_of, with};

/// CNI error codes of the specification and of ours (docs/cni.md).
mod code {
    pub(super) const INCOMPATIBLE_VERSION: u64 = 1;
    pub(super) const INVALID_ENVIRONMENT: u64 = 4;
    pub(super) const DECODE: u64 = 6;
    pub(super) const INVALID_CONFIG: u64 = 7;
    pub(super) const INVALID_NETNS: u64 = 8;
    pub(super) const NOT_AVAILABLE: u64 = 50;
    pub(super) const NO_ADDRESS: u64 = 100;
    pub(super) const ADDRESS_REFUSED: u64 = 101;
    pub(super) const CHECK_FAILED: u64 = 103;
    pub(super) const ALREADY_ATTACHED: u64 = 105;
}

#[test]
fn a_pod_gets_an_address_of_each_family_and_a_gateway_that_nobody_has_to_look_for() {
    let rig = OneNode::new("cni-add");
    let pod = rig.container("pod");
    let result = rig.add(&pod);
    let [v4, v6] = [false, true].map(|v6| ip_of(&result, v6));
    assert!(v4.to_string().starts_with("10.244.") && v6.to_string().starts_with("fd00:244::"), "{result}");
    let [host, inside] = [0, 1].map(|n| &result["interfaces"][n]);
    assert!(host["name"].as_str().unwrap().starts_with("cord"), "{result}");
    assert_eq!((&inside["name"], &inside["sandbox"]), (&json!("eth0"), &json!(pod.path())));
    assert_eq!(result["ips"][0]["address"], json!(format!("{v4}/32")));
    assert_eq!(result["ips"][1]["address"], json!(format!("{v6}/128")));
    assert_eq!(result["ips"][0]["interface"], 1);

    let has = |text: String, what: &str| assert!(text.contains(what), "{what:?} is not in\n{text}");
    has(pod.ip("-4 address show dev eth0"), &format!("inet {v4}/32"));
    has(pod.ip("-6 address show dev eth0"), &format!("inet6 {v6}/128"));
    has(pod.ip("-4 route show"), "default via 169.254.1.1 dev eth0");
    has(pod.ip("-6 route show"), "default via fe80::1 dev eth0");
    let mac = host["mac"].as_str().unwrap();
    for gateway in ["169.254.1.1", "fe80::1"] {
        has(pod.ip("neighbour show dev eth0"), &format!("{gateway} lladdr {mac} PERMANENT"));
    }
    let node = rig.host();
    let link = host["name"].as_str().unwrap();
    has(
        node.ip(&format!("-4 route show {v4}")),
        &format!("{v4} dev {link} proto 67 scope link src 10.1.1.2"),
    );
    has(node.ip(&format!("-6 route show {v6}")), &format!("{v6} dev {link} proto 67 src fd00:1:1::2"));
    has(node.ip(&format!("neighbour show {v4}")), "PERMANENT");
    has(node.ip(&format!("neighbour show {v6}")), "PERMANENT");
    assert_eq!(node.ip("link show type bridge"), "", "a node has no bridge");
}

#[test]
fn pods_and_their_node_reach_each_other_without_a_single_arp_or_neighbour_solicitation() {
    let rig = OneNode::new("cni-ping");
    let [a, b] = ["a", "b"].map(|label| rig.container(label));
    let node = rig.host();
    node.run("nft add table netdev cable");
    let [of_a, of_b] = [&a, &b].map(|pod| rig.add(pod));
    for result in [&of_a, &of_b] {
        let link = result["interfaces"][0]["name"].as_str().unwrap();
        let hook = format!("{{ type filter hook ingress device {link} priority 0; }}");
        node.run(&format!("nft add chain netdev cable {link} {hook}"));
        node.run(&format!("nft add rule netdev cable {link} ether type arp counter"));
        node.run(&format!("nft add rule netdev cable {link} icmpv6 type nd-neighbor-solicit counter"));
        node.run(&format!("nft add rule netdev cable {link} icmp type echo-request counter"));
    }
    for v6 in [false, true] {
        let [to_a, to_b] = [&of_a, &of_b].map(|result| ip_of(result, v6));
        a.run(&format!("ping -c 2 -W 5 {to_b}"));
        b.run(&format!("ping -c 2 -W 5 {to_a}"));
        node.run(&format!("ping -c 2 -W 5 {to_a}"));
        let to_node = if v6 { "fd00:1:1::2" } else { "10.1.1.2" };
        b.run(&format!("ping -c 2 -W 5 {to_node}"));
    }
    let counted = node.run("nft list table netdev cable");
    for line in counted.lines().filter(|line| line.contains("arp") || line.contains("nd-neighbor")) {
        assert!(line.contains("packets 0"), "{line}\nin {counted}");
    }
    assert!(counted.contains("echo-request counter packets 2"), "the counters see nothing: {counted}");
}

#[test]
fn del_takes_everything_back_as_often_as_it_is_asked_and_needs_no_namespace() {
    let rig = OneNode::new("cni-del");
    let pod = rig.container("pod");
    let result = rig.add(&pod);
    assert_eq!(rig.call("ADD", &pod).run(rig.host()).unwrap().code(), code::ALREADY_ATTACHED);
    rig.has_links(1);
    let address = ip_of(&result, false);
    for _ in 0..2 {
        rig.del(&pod);
        rig.has_links(0);
        assert_eq!(rig.host().ip(&format!("route show {address} proto 67")), "");
        let gone = || pod.try_ip("link show eth0").map_or(Ok(()), |_| Err("eth0 is still there".to_owned()));
        eventually(PATIENCE, gone);
    }
    let again = rig.add(&pod);
    assert_ne!(ip_of(&again, false), address, "an address has to rest before somebody else gets it");
    let bare = rig.bare("DEL").attachment(pod.name(), "eth0").run(rig.host()).unwrap();
    assert!(bare.ok, "{bare}");
    rig.has_links(0);
}

#[test]
fn check_names_what_is_not_as_add_left_it() {
    let rig = OneNode::new("cni-check");
    let pod = rig.container("pod");
    let result = rig.add(&pod);
    let check = |result: &Value| {
        let network = with(rig.network(), json!({ "prevResult": result }));
        rig.call_with("CHECK", &pod, &network).run(rig.host()).unwrap()
    };
    let fine = check(&result);
    assert!(fine.ok, "{fine}");
    let v4 = ip_of(&result, false);
    // In this order, since neighbours and routes of a family go with its last address.
    let changes = [
        ("neighbour del 169.254.1.1 dev eth0".to_owned(), "neighbour 169.254.1.1 is missing".to_owned()),
        ("-6 route del default".to_owned(), "route ::/0 via fe80::1 is missing".to_owned()),
        (format!("address del {v4}/32 dev eth0"), format!("address {v4}/32 is missing")),
        ("link set eth0 down".to_owned(), "the interface is down".to_owned()),
    ];
    for (change, message) in changes {
        pod.ip(&change);
        let outcome = check(&result);
        assert_eq!(outcome.code(), code::CHECK_FAILED, "{outcome}");
        assert!(outcome.to_string().contains(&message), "{message:?} is not in {outcome}");
    }
    let foreign = result.to_string().replace(&v4.to_string(), "10.244.200.200");
    let outcome = check(&serde_json::from_str(&foreign).unwrap());
    assert_eq!(outcome.code(), code::CHECK_FAILED, "{outcome}");
    assert!(outcome.to_string().contains("10.244.200.200"), "{outcome}");
    rig.del(&pod);
    assert_eq!(check(&result).code(), code::CHECK_FAILED, "a pod that is gone passed its CHECK");
}

#[test]
fn gc_removes_what_is_not_listed_of_its_own_network_only() {
    let rig = OneNode::new("cni-gc");
    let [kept, gone, other] = ["kept", "gone", "other"].map(|label| rig.container(label));
    let _ = [&kept, &gone].map(|pod| rig.add(pod));
    let elsewhere = with(rig.network(), json!({ "name": "elsewhere" }));
    let added = rig.call_with("ADD", &other, &elsewhere).run(rig.host()).unwrap();
    assert!(added.ok, "{added}");
    rig.has_links(3);
    let valid = json!([{ "containerID": kept.name(), "ifname": "eth0" }]);
    let network = with(rig.network(), json!({ "cni.dev/valid-attachments": valid }));
    let outcome = rig.bare_with("GC", &network).run(rig.host()).unwrap();
    assert!(outcome.ok, "{outcome}");
    rig.has_links(2);
    for (pod, is_there) in [(&kept, true), (&gone, false), (&other, true)] {
        let found = || pod.try_ip("link show eth0").is_ok();
        eventually(PATIENCE, || if found() == is_there { Ok(()) } else { Err(pod.label().to_owned()) });
    }
}

#[test]
fn version_and_status_say_what_is_there() {
    let mut rig = OneNode::new("cni-status");
    let version = rig.bare("VERSION").run(rig.host()).unwrap().result().unwrap();
    assert_eq!(version["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    assert!(rig.bare("STATUS").run(rig.host()).unwrap().ok);
    rig.node().kill();
    let away = rig.bare("STATUS").run(rig.host()).unwrap();
    assert_eq!(away.code(), code::NOT_AVAILABLE, "{away}");
    rig.node().launch();
    eventually(PATIENCE, || rig.bare("STATUS").run(rig.host())?.result());
}

#[test]
fn every_version_of_the_specification_gets_a_result_of_its_own_shape() {
    let rig = OneNode::new("cni-versions");
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = rig.container(&format!("pod-{version}"));
        let network = with(rig.network(), json!({ "cniVersion": version }));
        let result = rig.call_with("ADD", &pod, &network).run(rig.host()).unwrap().result().unwrap();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"][0]["version"].is_string(), version.starts_with("0."), "{result}");
        assert_eq!(result["interfaces"][1]["mtu"].is_number(), version == "1.1.0", "{result}");
        let gone = rig.call_with("DEL", &pod, &network).run(rig.host()).unwrap();
        assert!(gone.ok, "{gone}");
    }
    let network = with(rig.network(), json!({ "cniVersion": "2.0.0" }));
    let outcome = rig.call_with("ADD", &rig.container("late"), &network).run(rig.host()).unwrap();
    assert_eq!(outcome.code(), code::INCOMPATIBLE_VERSION, "{outcome}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name_and_leaves_nothing() {
    let rig = OneNode::new("cni-garbage");
    let pod = rig.container("pod");
    let host_netns = rig.host().path();
    let add = || rig.call("ADD", &pod);
    let oversized = with(rig.network(), json!({ "filler": "x".repeat(5 << 20) })).to_string().into_bytes();
    let cases = [
        ("garbage", add().stdin(vec![0xfe; 100]), code::DECODE, "not JSON"),
        ("cut", add().stdin(br#"{"cniVersion":"1.1.0","na"#.to_vec()), code::DECODE, "not JSON"),
        ("a list", add().stdin(b"[1]".to_vec()), code::DECODE, "not a JSON object"),
        ("nothing", add().stdin(Vec::new()), code::DECODE, "not JSON"),
        ("oversized", add().stdin(oversized), code::INVALID_CONFIG, "more than"),
        ("no container", add().variable("CNI_CONTAINERID", ""), code::INVALID_ENVIRONMENT, "CNI_CONTAINERID"),
        ("bad name", add().variable("CNI_IFNAME", "et/h0"), code::INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ("own namespace", add().netns(&host_netns), code::INVALID_NETNS, "the host's own"),
        (
            "no namespace",
            add().variable("CNI_NETNS", "/etc/hostname"),
            code::INVALID_NETNS,
            "not a namespace",
        ),
    ];
    for (what, call, code, message) in cases {
        let outcome = call.run(rig.host()).unwrap();
        assert_eq!(outcome.code(), code, "{what}: {outcome}");
        assert!(outcome.to_string().contains(message), "{what}: {message:?} is not in {outcome}");
    }
    rig.has_links(0);
    rig.add(&pod);
}

#[test]
fn a_chain_with_portmap_serves_a_port_of_the_node() {
    let rig = OneNode::new("cni-portmap");
    let [pod, client] = [rig.container("pod"), rig.outsider("client", 9)];
    let result = rig.add(&pod);
    let echo = corduroy_tests::probe::Echo::serve(&pod, 8080);
    let chained = json!({
        "cniVersion": "1.0.0", "name": "corduroy", "type": "portmap", "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": [{ "hostPort": 30080, "containerPort": 8080, "protocol": "tcp" }] },
        "prevResult": with(result, json!({ "cniVersion": "1.0.0" })),
    });
    let portmap = |command: &str| rig.reference("portmap", command, &pod, &chained).run(rig.host()).unwrap();
    let outcome = portmap("ADD");
    assert!(outcome.ok, "{outcome}");
    let protocol = corduroy_tests::probe::Protocol::Tcp;
    let seen = corduroy_tests::probe::seen_over(protocol, &client, "10.1.1.2:30080").unwrap();
    assert_eq!(seen.ip().to_string(), "10.1.1.9", "the pod has to see who asks");
    drop(echo);
    assert!(portmap("DEL").ok);
    rig.del(&pod);
}
