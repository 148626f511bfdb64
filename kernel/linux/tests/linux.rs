//! What only a real kernel can show: what we write is what `ip` and `nft` read, and the other way round.

#![allow(clippy::unwrap_used, reason = "a helper of a test that can't go on must end the test")]

mod common;

use std::time::{Duration, Instant};

use common::Netns;
use corduroy_kernel::nft::{
    AddrType, Base, Chain, ChainKind, Change, CtState, DataType, Field, Hook, Key, L4, Limit, Match, Per,
    Policy, Rule, Set, Table, Value, Verdict,
};
use corduroy_kernel::{
    Address, Changed, Family, FdbEntry, Gateway, IpNet, Lane, Link, LinkName, Mac, Neighbour, NextHop, Op,
    Plan, PodEnd, Route, Support, VethPeer,
};
use corduroy_kernel_linux::{Kernel, Watch};

const HOST_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
const POD_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);

fn plan(ops: Vec<Op>) -> Plan {
    Plan { lane: Lane::Foundation, ops }
}

fn done(kernel: &mut Kernel, ops: impl Into<Vec<Op>>) {
    let plan = plan(ops.into());
    for (op, result) in plan.ops.iter().zip(kernel.apply(&plan)) {
        assert!(result.is_ok(), "{op:?}: {}", result.unwrap_err());
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A table in which every kind of expression, set and element occurs.
fn everything() -> Table {
    let pod = LinkName::pod(0x1234);
    let cord = LinkName::new("cord").unwrap();
    let mut table = Table::default();
    let mut dispatch = Set::vmap([DataType::IfName]);
    dispatch.elements.insert(pod.into(), Some(Verdict::Goto("from-pod".into())));
    table.sets.insert("dispatch".into(), dispatch);
    let mut pools = Set::interval(DataType::Ipv4);
    for pool in ["10.0.0.0/9", "10.128.0.0/16", "192.0.2.1/32", "255.255.255.0/24"] {
        pools.elements.insert(net(pool).into(), None);
    }
    table.sets.insert("pools4".into(), pools);
    let mut pools = Set::interval(DataType::Ipv6);
    for pool in ["::/8", "fd00::/48", "ffff::/16"] {
        pools.elements.insert(net(pool).into(), None);
    }
    table.sets.insert("pools6".into(), pools);
    let mut allowed = Set::hash([DataType::IfName, DataType::Ipv4, DataType::Port]);
    let addr = Value::Addr("10.0.0.1".parse().unwrap());
    allowed.elements.insert(Key::from([Value::IfName(pod), addr, Value::Port(443)]), None);
    table.sets.insert("allowed".into(), allowed);
    table.sets.insert("peers6".into(), Set::hash([DataType::Ipv6]));
    let established = CtState::ESTABLISHED.or(CtState::RELATED);
    let rules = [
        Rule::new().when(Match::ct_state(established)).accept().comment("what is known"),
        Rule::new().when(Match::ct_state(CtState::INVALID.or(CtState::NEW)).not()).counter(),
        Rule::new().when(Match::iifname_prefix(cord)).vmap([Field::Iifname], "dispatch"),
        Rule::new().when(Match::oifname(pod).not()).when(Match::oifname_prefix(cord)).jump("log-drop"),
        Rule::new().not_in_set([Field::Saddr(Family::V4)], "pools4").drop(),
        Rule::new().in_set([Field::Daddr(Family::V6)], "pools6").accept(),
        Rule::new()
            .in_set([Field::Iifname, Field::Saddr(Family::V4), Field::Dport(L4::Tcp)], "allowed")
            .accept(),
        Rule::new().when(Match::saddr(net("10.0.0.0/8"))).when(Match::daddr(net("10.0.0.0/9"))).accept(),
        Rule::new().when(Match::saddr(net("fc00::/7")).not()).when(Match::dport(L4::Udp, 53, 53)).drop(),
        Rule::new().when(Match::saddr(net("fd00::1/128"))).when(Match::dport(L4::Tcp, 1, 1024).not()).drop(),
        Rule::new()
            .when(Match::dport(L4::Tcp, 30000, 32767))
            .when(Match::sport(L4::Tcp, 1, 1).not())
            .accept(),
        Rule::new().when(Match::icmp_type(Family::V6, 134)).drop(),
        Rule::new().when(Match::nfproto(Family::V6)).when(Match::l4proto(4)).goto("log-drop"),
        Rule::new().when(Match::mark(0xf0, 0x10).not()).set_mark(u32::MAX, 0x20).set_ct_mark(0xff00, 0x100),
        Rule::new().when(Match::ct_mark(u32::MAX, 7)).ret(),
        Rule::new()
            .when(Match::saddr_type(AddrType::Local))
            .when(Match::daddr_type(AddrType::Unicast))
            .accept(),
        Rule::new().when(Match::return_path(false)).drop(),
    ];
    let base = |kind, hook, priority, policy| Some(Base { kind, hook, priority, policy });
    let filter = base(ChainKind::Filter, Hook::Forward, -10, Policy::Accept);
    table.chains.insert("forward".into(), Chain { base: filter, rules: rules.into() });
    let raw = base(ChainKind::Filter, Hook::Prerouting, -300, Policy::Drop);
    let rules = vec![Rule::new().notrack()];
    table.chains.insert("raw".into(), Chain { base: raw, rules });
    let nat = base(ChainKind::Nat, Hook::Postrouting, 100, Policy::Accept);
    let rules = vec![Rule::new().in_set([Field::Saddr(Family::V4)], "pools4").masquerade()];
    table.chains.insert("nat".into(), Chain { base: nat, rules });
    table.chains.insert("from-pod".into(), Chain::default());
    let limit = Limit { rate: 10, per: Per::Minute, burst: 5 };
    let rules = vec![Rule::new().limit(limit).log("corduroy drop: "), Rule::new().drop()];
    table.chains.insert("log-drop".into(), Chain { base: None, rules });
    table
}

/// What makes a table from nothing.
fn changes(table: &Table) -> Vec<Change> {
    let mut changes = vec![Change::AddTable];
    changes.extend(table.chains.iter().map(|(name, chain)| Change::AddChain(name.clone(), chain.base)));
    for (name, set) in &table.sets {
        changes.push(Change::AddSet(name.clone(), set.kind.clone(), set.verdicts));
        let elements = set.elements.iter().map(|(key, verdict)| (key.clone(), verdict.clone())).collect();
        changes.push(Change::AddElements(name.clone(), elements));
    }
    for (name, chain) in &table.chains {
        changes.push(Change::SetRules(name.clone(), chain.rules.clone()));
    }
    changes
}

fn load_text(netns: &Netns, table: &Table) {
    let path = std::env::temp_dir().join(format!("corduroy-{}-{:p}.nft", std::process::id(), table));
    std::fs::write(&path, table.to_string()).unwrap();
    netns.sh(&format!("nft -f {}", path.display()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_table_is_read_back_as_it_was_written() {
    let netns = Netns::new();
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let table = everything();
    done(&mut kernel, vec![Op::Nft(changes(&table))]);
    let read = kernel.read().unwrap().nft.unwrap();
    assert_eq!(read.to_string(), table.to_string());
    assert_eq!(read, table);
}

#[test]
fn the_text_of_a_table_means_to_nft_what_the_encoder_writes() {
    let (by_us, by_nft) = (Netns::new(), Netns::new());
    let table = everything();
    done(&mut Kernel::open(Some(by_us.fd())).unwrap(), vec![Op::Nft(changes(&table))]);
    load_text(&by_nft, &table);
    let mut kernel = Kernel::open(Some(by_nft.fd())).unwrap();
    assert_eq!(kernel.read().unwrap().nft.unwrap().to_string(), table.to_string());
    let list = "nft -j list table inet corduroy";
    let read = |netns: &Netns| -> serde_json::Value { serde_json::from_str(&netns.sh(list)).unwrap() };
    assert_eq!(normal(&read(&by_us)), normal(&read(&by_nft)));
}

/// `nft -j` without handles and in an order that does not depend on who made what first.
fn normal(list: &serde_json::Value) -> Vec<String> {
    let mut lines: Vec<String> = list["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item.get("metainfo").is_none())
        .map(|item| {
            let mut item = item.clone();
            for inner in item.as_object_mut().unwrap().values_mut() {
                inner.as_object_mut().unwrap().remove("handle");
            }
            item.to_string()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_rule_somebody_slipped_in_shows_as_not_ours() {
    let netns = Netns::new();
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let table = everything();
    done(&mut kernel, vec![Op::Nft(changes(&table))]);
    netns.sh("nft add rule inet corduroy from-pod log group 3");
    netns.sh("nft 'add set inet corduroy strange { type ipv4_addr; flags timeout; }'");
    let read = kernel.read().unwrap().nft.unwrap();
    let text = read.to_string();
    assert!(text.contains("<log>"), "{text}");
    assert_eq!(read.sets[&"strange".into()].kind, corduroy_kernel::nft::SetKind::Other);
    // What it takes to put it right.
    let right = vec![Change::SetRules("from-pod".into(), vec![]), Change::DeleteSet("strange".into())];
    done(&mut kernel, vec![Op::Nft(right)]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn ten_thousand_elements_go_in_one_transaction_and_come_back() {
    let netns = Netns::new();
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let mut table = Table::default();
    let (mut hash, mut nets) = (Set::hash([DataType::Ipv6]), Set::interval(DataType::Ipv4));
    for i in 0..10_000u32 {
        hash.elements.insert(std::net::IpAddr::from(std::net::Ipv6Addr::from(u128::from(i))).into(), None);
        nets.elements.insert(IpNet::new(std::net::Ipv4Addr::from(i << 9).into(), 24).unwrap().into(), None);
    }
    table.sets.insert("hash".into(), hash);
    table.sets.insert("nets".into(), nets);
    done(&mut kernel, vec![Op::Nft(changes(&table))]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn routes_of_every_form_are_read_back_as_they_were_written() {
    let netns = Netns::new();
    netns.sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up");
    netns.sh("ip addr add 192.0.2.1/24 dev up0; ip -6 addr add fd01::1/64 dev up1 nodad");
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let (up0, up1) = (LinkName::new("up0").unwrap(), LinkName::new("up1").unwrap());
    let src = Some("192.0.2.1".parse().unwrap());
    let via = |dev, via: &str| NextHop { onlink: false, ..NextHop::onlink(dev, via.parse().unwrap()) };
    let onlink = |dev, via: &str| NextHop::onlink(dev, via.parse().unwrap());
    let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
    let encap = NextHop { dev: up0, ..NextHop::ipip(here, there) };
    let routes = [
        Route::blackhole(net("10.1.0.0/26")),
        Route::blackhole(net("fd02::/122")),
        Route::by(net("10.0.0.1/32"), NextHop::dev(up0)).with_src(src),
        Route::by(net("10.2.0.0/16"), via(up0, "192.0.2.254")).with_mtu(Some(1400)),
        Route::by(net("10.3.0.0/16"), onlink(up1, "198.51.100.1")),
        Route::by(net("10.4.0.0/16"), onlink(up1, "fe80::2")),
        Route::by(net("10.5.0.0/16"), encap).with_src(src),
        Route::via(net("10.6.0.0/16"), [via(up0, "192.0.2.3"), onlink(up1, "198.51.100.7")]).unwrap(),
        Route::by(net("fd03::1/128"), NextHop::dev(up1)).with_src(Some("fd01::1".parse().unwrap())),
        Route::by(net("fd04::/64"), via(up1, "fd01::2")),
        Route::by(net("fd05::/64"), onlink(up0, "fd09::2")).with_mtu(Some(1400)),
        Route::via(net("fd06::/64"), [via(up1, "fd01::3"), via(up1, "fd01::4")]).unwrap(),
        Route::by(IpNet::ANY_V4, via(up0, "192.0.2.254")),
    ];
    done(&mut kernel, routes.clone().map(Op::PutRoute));
    let state = kernel.read().unwrap();
    for route in &routes {
        assert_eq!(state.routes.get(&route.dst), Some(route));
    }
    assert_eq!(state.routes.len(), routes.len());
    assert!(state.stray_routes.is_empty(), "{:?}", state.stray_routes);
    netns.sh("ip route add default via 192.0.2.253 metric 9; ip route add default via 192.0.2.252 metric 8");
    let facts = kernel.read().unwrap().facts();
    let gateway = facts.gateway("203.0.113.1".parse().unwrap()).unwrap();
    assert_eq!(gateway, Gateway { dev: up0, via: "192.0.2.252".parse().unwrap() });
    // Replaced, not added beside.
    let other = Route::blackhole(net("fd06::/64"));
    done(&mut kernel, vec![Op::PutRoute(other.clone())]);
    assert_eq!(kernel.read().unwrap().routes.get(&other.dst), Some(&other));
    netns.sh("ip route add 10.7.0.0/16 dev up0 proto 67 metric 5");
    assert!(kernel.read().unwrap().stray_routes.contains(&(net("10.7.0.0/16"), 5)));
    let mut deletes: Vec<Op> = routes.iter().map(|route| Op::DeleteRoute(route.dst)).collect();
    deletes.push(Op::DeleteStrayRoute(net("10.7.0.0/16"), 5));
    done(&mut kernel, deletes.clone());
    done(&mut kernel, deletes);
    let state = kernel.read().unwrap();
    assert!(state.routes.is_empty() && state.stray_routes.is_empty(), "{:?}", state.routes);
}

fn birth(kernel: &mut Kernel, pod: &Netns) -> (LinkName, Vec<Op>) {
    let name = LinkName::pod(0xabcdef);
    let netns = kernel.hold(pod.fd());
    let peer = VethPeer { netns, name: LinkName::new("eth0").unwrap(), mac: POD_MAC };
    let end = PodEnd {
        netns,
        name: peer.name,
        addresses: vec!["10.9.0.2".parse().unwrap(), "fd09::2".parse().unwrap()],
        gateway_mac: HOST_MAC,
        route_mtu: None,
    };
    let mut ops = vec![Op::AddVeth(Link::pod(name, HOST_MAC, 1400), peer)];
    for addr in &end.addresses {
        ops.push(Op::PutNeighbour(Neighbour { dev: name, addr: *addr, mac: POD_MAC }));
    }
    ops.push(Op::SetPod(end.clone()));
    ops.push(Op::SetUp(name, true));
    for addr in &end.addresses {
        let src = if addr.is_ipv4() { "192.0.2.1" } else { "fd01::1" };
        let route = Route::by(IpNet::host(*addr), NextHop::dev(name)).with_src(Some(src.parse().unwrap()));
        ops.push(Op::PutRoute(route));
    }
    (name, ops)
}

#[test]
fn a_pod_is_born_in_one_plan_and_answers_without_arp() {
    let (host, pod) = (Netns::new(), Netns::new());
    host.sh("ip link set lo up; ip addr add 192.0.2.1/32 dev lo; ip -6 addr add fd01::1/128 dev lo nodad");
    let mut kernel = Kernel::open(Some(host.fd())).unwrap();
    let (name, ops) = birth(&mut kernel, &pod);
    done(&mut kernel, ops);
    host.sh("ping -c1 -W2 10.9.0.2; ping -c1 -W2 fd09::2");
    pod.sh("ping -c1 -W2 192.0.2.1; ping -c1 -W2 fd01::1");
    let state = kernel.read().unwrap();
    let seen = &state.links[&name];
    assert_eq!(seen.link, Link::pod(name, HOST_MAC, 1400));
    assert!(seen.running);
    assert_eq!(state.neighbours.len(), 2);
    assert!(host.sh(&format!("ip -6 addr show dev {name}")).is_empty(), "no link-local address");
    let inside = pod.sh("ip -o link show eth0; ip route; ip -6 route; ip neigh");
    assert!(inside.contains("mtu 1400") && inside.contains("default via 169.254.1.1"), "{inside}");
    assert!(inside.contains("fe80::1 dev eth0 lladdr 02:00:00:00:00:01 PERMANENT"), "{inside}");
    done(&mut kernel, vec![Op::DeleteLink(name), Op::DeleteLink(name)]);
    let state = kernel.read().unwrap();
    assert!(state.routes.is_empty() && state.neighbours.is_empty(), "{state:?}");
}

#[test]
fn vxlan_with_its_neighbours_and_fdb_is_read_back_and_ipip_is_made_or_unsupported() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 192.0.2.1/32 dev lo");
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let features = kernel.read().unwrap().features;
    assert_ne!(features.vxlan, Support::Unknown);
    assert_ne!(features.ipip, Support::Unknown);
    let vxlan = Link::vxlan("192.0.2.1".parse().unwrap(), HOST_MAC, 1450);
    let neighbour = Neighbour { dev: LinkName::VXLAN, addr: "10.8.0.1".parse().unwrap(), mac: POD_MAC };
    let fdb = FdbEntry { dev: LinkName::VXLAN, mac: POD_MAC, vtep: "192.0.2.7".parse().unwrap() };
    let address = Address::host(LinkName::VXLAN, "10.8.0.9".parse().unwrap());
    let ops = vec![
        Op::AddLink(vxlan.clone()),
        Op::PutAddress(address),
        Op::SetUp(LinkName::VXLAN, true),
        Op::PutNeighbour(neighbour),
        Op::PutFdb(fdb),
    ];
    done(&mut kernel, ops);
    let state = kernel.read().unwrap();
    assert_eq!(state.links[&LinkName::VXLAN].link, vxlan);
    assert!(state.addresses.contains(&address));
    assert_eq!(state.neighbours.get(&(neighbour.dev, neighbour.addr)), Some(&POD_MAC));
    assert_eq!(state.fdb.get(&(fdb.dev, fdb.mac)), Some(&fdb.vtep));
    let gone = vec![
        Op::DeleteNeighbour(neighbour.dev, neighbour.addr),
        Op::DeleteFdb(fdb.dev, fdb.mac),
        Op::DeleteAddress(address),
    ];
    done(&mut kernel, gone);
    let state = kernel.read().unwrap();
    assert!(state.neighbours.is_empty() && state.fdb.is_empty() && !state.addresses.contains(&address));
    let made = kernel.apply(&plan(vec![Op::AddLink(Link::ipip(1480))]));
    match features.ipip {
        Support::Yes => {
            assert_eq!(made, [Ok(())]);
            let link = Link { up: false, ..Link::ipip(1480) };
            assert_eq!(kernel.read().unwrap().links[&LinkName::IPIP].link, link);
        }
        _ => assert_eq!(made[0].as_ref().unwrap_err().cause, corduroy_kernel::Cause::Unsupported),
    }
}

/// Wait for a change, however many others come before it.
fn until(watch: &mut Watch, wanted: &Changed) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if watch.wait(Duration::from_millis(200)).contains(wanted) {
            return true;
        }
    }
    false
}

/// Interfaces report their carrier some time after they are set up.
fn until_quiet(watch: &mut Watch) {
    let end = Instant::now() + Duration::from_secs(10);
    while !watch.wait(Duration::from_millis(500)).is_empty() {
        assert!(Instant::now() < end, "it never gets quiet");
    }
}

#[test]
fn what_others_change_of_ours_is_reported_and_what_we_change_is_not() {
    let netns = Netns::new();
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    netns.sh("ip link add up0 type veth peer name up1; ip link set up1 up; ip link set up0 up");
    netns.sh("ip addr add 192.0.2.1/24 dev up0");
    let mut watch = kernel.watch().unwrap();
    until_quiet(&mut watch);
    let up0 = LinkName::new("up0").unwrap();
    let table = everything();
    let route = Route::by(net("10.1.0.0/16"), NextHop::dev(up0));
    done(&mut kernel, vec![Op::Nft(changes(&table)), Op::PutRoute(route)]);
    netns.sh("ip route add 10.2.0.0/16 dev up0 proto bird; nft add table ip other; nft add chain ip other c");
    assert_eq!(watch.wait(Duration::from_millis(300)), [].into(), "ours and others' own business");

    netns.sh("ip route del 10.1.0.0/16 proto 67");
    assert!(until(&mut watch, &Changed::Routes), "our route deleted");
    netns.sh("nft add rule inet corduroy from-pod accept");
    assert!(until(&mut watch, &Changed::Nft), "a rule added to our table");
    netns.sh("nft add table ip zzz; nft flush ruleset");
    assert!(until(&mut watch, &Changed::Nft), "everything flushed, ours not first");
    netns.sh("ip addr add 192.0.2.2/24 dev up0");
    assert!(until(&mut watch, &Changed::Addresses(up0)));
    netns.sh("ip link set up0 down");
    assert!(until(&mut watch, &Changed::Link(up0)));
    let mut state = kernel.read().unwrap();
    assert!(state.nft.is_none() && state.routes.is_empty());
    netns.sh("ip link set up0 up");
    assert!(until(&mut watch, &Changed::Link(up0)));
    kernel.refresh(&mut state, &[Changed::Link(up0)]).unwrap();
    assert!(state.links[&up0].link.up);
    assert_eq!(state.links[&up0].link, kernel.read().unwrap().links[&up0].link);
}

#[test]
fn somebody_elses_dropping_forward_chain_is_a_fact() {
    let netns = Netns::new();
    let chain = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
    netns.sh(&format!("nft 'add table ip filter; {chain}'"));
    let state = Kernel::open(Some(netns.fd())).unwrap().read().unwrap();
    let found = &state.facts().foreign_drops;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].family.as_str(), found[0].chain.as_str()), ("ip", "FORWARD"));
}

#[test]
fn connections_of_an_address_are_forgotten_and_no_others() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 10.9.0.1/32 dev lo; ip addr add 10.9.0.2/32 dev lo");
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    // Connections are tracked once something asks for their state.
    let chain = "add chain ip t c { type filter hook input priority 0; }";
    netns.sh(&format!("nft 'add table ip t; {chain}; add rule ip t c ct state new'"));
    netns.sh("ping -c1 -W2 -I 10.9.0.1 10.9.0.1; ping -c1 -W2 -I 10.9.0.2 10.9.0.2");
    let tracked = |netns: &Netns| netns.sh("cat /proc/thread-self/net/nf_conntrack");
    let before = tracked(&netns);
    assert!(before.contains("src=10.9.0.1") && before.contains("src=10.9.0.2"), "{before}");
    done(&mut kernel, vec![Op::ForgetFlows("10.9.0.1".parse().unwrap())]);
    let after = tracked(&netns);
    assert!(!after.contains("src=10.9.0.1") && after.contains("src=10.9.0.2"), "{after}");
    done(&mut kernel, vec![Op::ForgetFlows("fd00::1".parse().unwrap())]);
}

#[test]
fn a_refused_transaction_changes_nothing_and_names_the_change() {
    let netns = Netns::new();
    let mut kernel = Kernel::open(Some(netns.fd())).unwrap();
    let bad = vec![
        Change::AddTable,
        Change::AddChain("a".into(), None),
        Change::SetRules(
            "a".into(),
            vec![Rule::new().in_set([Field::Saddr(Family::V4)], "nowhere").accept()],
        ),
    ];
    let result = kernel.apply(&plan(vec![Op::Nft(bad)])).remove(0).unwrap_err();
    assert_eq!(result.cause, corduroy_kernel::Cause::Missing);
    assert!(result.detail.contains("rules of chain a"), "{result}");
    assert_eq!(kernel.read().unwrap().nft, None);
}
