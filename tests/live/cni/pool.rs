//! Addresses: each once, all of them, and nobody under a false one.

use std::collections::BTreeSet;
use std::time::Duration;

use corduroy_tests::probe::Ping;
use corduroy_tests::{Namespace, eventually};
use serde_json::json;

use super::code;
use super::rig::{OneNode, PATIENCE, ip_of, with};

#[test]
fn fifty_adds_at_once_give_fifty_pods_that_answer_under_different_addresses() {
    let rig = OneNode::new("cni-fifty");
    let containers: Vec<_> = (0..50).map(|n| rig.container(&format!("p{n}"))).collect();
    let add = |pod: &Namespace| {
        let result = rig.add(pod);
        // The first packet after ADD already arrives.
        let ping = Ping::start(pod, "10.1.1.2", Duration::from_millis(50));
        ping.marker(PATIENCE);
        ping.stop(PATIENCE).expect_no_loss("a pod just wired");
        result
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let adds: Vec<_> = containers.iter().map(|pod| scope.spawn(|| add(pod))).collect();
        adds.into_iter().map(|add| add.join().unwrap()).collect()
    });
    for v6 in [false, true] {
        let addresses: BTreeSet<_> = results.iter().map(|result| ip_of(result, v6)).collect();
        assert_eq!(addresses.len(), 50);
        for address in addresses {
            rig.host().run(&format!("ping -c 1 -W 5 {address}"));
        }
    }
    std::thread::scope(|scope| containers.iter().for_each(|pod| drop(scope.spawn(|| rig.del(pod)))));
    rig.has_links(0);
}

#[test]
fn a_pool_that_is_exhausted_says_so_and_a_release_makes_room() {
    let rig = OneNode::with_pools("cni-exhausted", &[("small", "10.244.0.0/30", 30)]);
    let containers: Vec<_> = (0..5).map(|n| rig.container(&format!("p{n}"))).collect();
    let [first, .., last] = &containers[..] else { unreachable!() };
    let mut addresses: BTreeSet<_> = containers[..4].iter().map(|pod| ip_of(&rig.add(pod), false)).collect();
    assert_eq!(addresses.len(), 4, "every address of a block is for a pod");
    let outcome = rig.call("ADD", last).run(rig.host()).unwrap();
    assert_eq!(outcome.code(), code::NO_ADDRESS, "{outcome}");
    assert!(outcome.to_string().contains("small"), "the pool has to be named: {outcome}");
    rig.has_links(4);
    rig.del(first);
    // The address rests for half a minute; until then the runtime is told to come back.
    let result = eventually(2 * PATIENCE, || rig.call("ADD", last).run(rig.host())?.result());
    assert!(!addresses.insert(ip_of(&result, false)), "{result} is no address of the pool");
}

#[test]
fn an_address_that_is_asked_for_is_given_or_refused_with_the_reason() {
    let rig = OneNode::with_pools("cni-wanted", &[("a", "10.244.0.0/26", 26), ("b", "10.245.0.0/26", 26)]);
    let [one, two] = ["one", "two"].map(|label| rig.container(label));
    let ask = |pod, fields| rig.call_with("ADD", pod, &with(rig.network(), fields)).run(rig.host()).unwrap();
    let wish = |ip: &str| json!({ "runtimeConfig": { "ips": [ip] } });
    let given = ask(&one, wish("10.244.0.7")).result().unwrap();
    assert_eq!(ip_of(&given, false).to_string(), "10.244.0.7");
    for (ip, why) in [("10.244.0.7", "in use"), ("192.0.2.1", "none of the pools")] {
        let refused = ask(&two, wish(ip));
        assert_eq!(refused.code(), code::ADDRESS_REFUSED, "{refused}");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let refused = ask(&two, json!({ "ipam": { "pools": ["none"] } }));
    assert_eq!(refused.code(), code::NO_ADDRESS, "{refused}");
    let given = ask(&two, json!({ "ipam": { "pools": ["b"] } })).result().unwrap();
    assert!(ip_of(&given, false).to_string().starts_with("10.245.0."), "{given}");
}

#[test]
fn a_pod_that_forges_its_source_is_heard_by_nobody() {
    let rig = OneNode::new("cni-forged");
    let [forger, victim, target] = ["forger", "victim", "target"].map(|label| rig.container(label));
    let [of_forger, of_victim, of_target] = [&forger, &victim, &target].map(|pod| rig.add(pod));
    target.run("nft add table inet seen");
    target.run("nft add chain inet seen input { type filter hook input priority -10; }");
    for v6 in [false, true] {
        let (family, foreign, full) =
            if v6 { ("ip6", "2001:db8::66", 128) } else { ("ip", "192.0.2.66", 32) };
        let [own, neighbour, to] = [&of_forger, &of_victim, &of_target].map(|result| ip_of(result, v6));
        for forged in [foreign.to_owned(), neighbour.to_string()] {
            forger.address("eth0", &format!("{forged}/{full}"));
            target.run(&format!("nft add rule inet seen input {family} saddr {forged} counter"));
            let echoes = forger.try_run(&format!("ping -c 3 -i 0.2 -W 1 -I {forged} {to}"));
            assert!(echoes.is_err(), "{forged} was answered: {echoes:?}");
        }
        target.run(&format!("nft add rule inet seen input {family} saddr {own} counter"));
        forger.run(&format!("ping -c 3 -i 0.2 -W 5 -I {own} {to}"));
    }
    let seen = target.run("nft list chain inet seen input");
    let packets = |word: &str| seen.lines().filter(|line| line.contains(word)).count();
    assert_eq!((packets("packets 0 "), packets("packets 3 ")), (4, 2), "{seen}");
}

#[test]
fn what_the_agent_has_not_wired_passes_nothing_even_with_everything_set_by_hand() {
    let rig = OneNode::new("cni-closed");
    let [known, unknown] = ["known", "unknown"].map(|label| rig.container(label));
    let result = rig.add(&known);
    let node = rig.host();
    let peer = unknown.name();
    node.run("nft add table inet seen");
    node.run("nft add chain inet seen in { type filter hook prerouting priority -300; }");
    node.run("nft add rule inet seen in iifname cord0000000bad0 ip saddr 10.244.77.7 counter");
    unknown.run("nft add table inet seen");
    unknown.run("nft add chain inet seen in { type filter hook prerouting priority -300; }");
    unknown.run("nft add rule inet seen in meta l4proto icmp counter");
    node.ip(&format!("link add cord0000000bad0 type veth peer name eth0 netns {peer}"));
    unknown.address("eth0", "10.244.77.7/32");
    unknown.ip("link set eth0 up");
    unknown.ip("route add 169.254.1.1 dev eth0");
    unknown.ip("route add default via 169.254.1.1 dev eth0");
    // The agent may take the interface away at any moment; what it can't be is a way in.
    let set = |line: &str| drop(node.try_ip(line));
    set("link set cord0000000bad0 up");
    set("route add 10.244.77.7 dev cord0000000bad0");
    let mac = |of: &str| of.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let host_mac = node.try_ip("-brief link show dev cord0000000bad0").map(|line| mac(&line));
    if let Ok(host_mac) = host_mac {
        let pod_mac = mac(&unknown.ip("-brief link show dev eth0"));
        set(&format!("neighbour replace 10.244.77.7 lladdr {pod_mac} dev cord0000000bad0"));
        drop(unknown.try_ip(&format!("neighbour replace 169.254.1.1 lladdr {host_mac} dev eth0")));
    }
    let target = ip_of(&result, false);
    let out = unknown.try_run(&format!("ping -c 3 -i 0.2 -W 1 {target}"));
    assert!(out.is_err(), "an unknown interface reached a pod: {out:?}");
    let out = unknown.try_run("ping -c 3 -i 0.2 -W 1 10.1.1.2");
    assert!(out.is_err(), "an unknown interface reached the node: {out:?}");
    let into = known.try_run("ping -c 3 -i 0.2 -W 1 10.244.77.7");
    assert!(into.is_err(), "a pod reached an unknown interface: {into:?}");
    let arrived = unknown.run("nft list chain inet seen in");
    assert!(arrived.contains("packets 0 "), "{arrived}");
    known.run("ping -c 1 -W 5 10.1.1.2");
}

#[test]
fn a_pod_can_not_open_a_bgp_session_with_its_node() {
    let rig = OneNode::new("cni-walled");
    let pod = rig.container("pod");
    rig.add(&pod);
    let outsider = rig.outsider("router2", 9);
    let connect = |from: &Namespace| from.try_run("nc -z -w 2 10.1.1.2 179");
    eventually(PATIENCE, || connect(&outsider));
    assert!(connect(&pod).is_err(), "a pod opened a BGP session");
}
