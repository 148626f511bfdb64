//! Interfaces, addresses, neighbours, switches, pods, and connections of an address that changes hands.

use corduroy_kernel::{
    Address, Cause, Conf, Conf4, FdbEntry, IpNet, Link, LinkName, Neighbour, NetnsId, NextHop, Op, PodEnd,
    Route, Support, Sysctl, VethPeer,
};
use corduroy_kernel_linux::Kernel;

use crate::netns::Netns;
use crate::{HOST_MAC, POD_MAC, dev, done, open, quiet, tried};

pub(crate) fn birth(kernel: &mut Kernel, pod: &Netns) -> (LinkName, Vec<Op>) {
    let name = LinkName::pod(0xabcdef);
    let netns = NetnsId(7);
    kernel.hold(netns, pod.fd());
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
    let mut kernel = open(&host);
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
    done(&mut kernel, [Op::DeleteLink(name), Op::DeleteLink(name)]);
    let state = kernel.read().unwrap();
    assert!(state.routes.is_empty() && state.neighbours.is_empty(), "{state:?}");
}

#[test]
fn vxlan_with_its_neighbours_and_fdb_is_read_back_and_ipip_is_made_or_unsupported() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 192.0.2.1/32 dev lo");
    let mut kernel = open(&netns);
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
    let made = tried(&mut kernel, [Op::AddLink(Link::ipip(1480))]);
    match features.ipip {
        Support::Yes => {
            assert_eq!(made, [Ok(())]);
            let link = Link { up: false, ..Link::ipip(1480) };
            assert_eq!(kernel.read().unwrap().links[&LinkName::IPIP].link, link);
        }
        _ => assert_eq!(made[0].as_ref().unwrap_err().cause, Cause::Unsupported),
    }
}

#[test]
fn connections_of_an_address_are_forgotten_and_no_others() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 10.9.0.1/32 dev lo; ip addr add 10.9.0.2/32 dev lo");
    let mut kernel = open(&netns);
    // Connections are tracked once something asks for their state.
    let chain = "add chain ip t c { type filter hook input priority 0; }";
    netns.sh(&format!("nft 'add table ip t; {chain}; add rule ip t c ct state new'"));
    netns.sh("ping -c1 -W2 -I 10.9.0.1 10.9.0.1; ping -c1 -W2 -I 10.9.0.2 10.9.0.2");
    // One in which it only answers.
    netns.sh("ping -c1 -W2 -I 10.9.0.2 10.9.0.1");
    let tracked = |netns: &Netns| netns.sh("cat /proc/thread-self/net/nf_conntrack");
    let before = tracked(&netns);
    assert!(before.contains("src=10.9.0.1") && before.contains("src=10.9.0.2"), "{before}");
    done(&mut kernel, [Op::ForgetFlows("10.9.0.1".parse().unwrap())]);
    let after = tracked(&netns);
    assert!(!after.contains("src=10.9.0.1") && after.contains("src=10.9.0.2"), "{after}");
    done(&mut kernel, [Op::ForgetFlows("fd00::1".parse().unwrap())]);
}

#[test]
fn a_pod_that_is_there_already_or_nowhere_is_refused_and_the_rest_with_it() {
    let (host, pod) = (Netns::new(), Netns::new());
    let mut kernel = open(&host);
    let (name, ops) = birth(&mut kernel, &pod);
    let again = ops.first().cloned().unwrap();
    host.sh("ip addr add 192.0.2.1/32 dev lo; ip -6 addr add fd01::1/128 dev lo nodad; ip link set lo up");
    done(&mut kernel, ops);
    assert_eq!(tried(&mut kernel, [again]).remove(0).unwrap_err().cause, Cause::Exists);
    let nowhere = NetnsId(4711);
    let peer = VethPeer { netns: nowhere, name: dev("eth0"), mac: POD_MAC };
    let ops = [
        Op::AddVeth(Link::pod(LinkName::pod(2), HOST_MAC, 1400), peer),
        Op::PutNeighbour(Neighbour {
            dev: LinkName::pod(2),
            addr: "10.9.0.3".parse().unwrap(),
            mac: POD_MAC,
        }),
        Op::SetUp(LinkName::pod(2), true),
    ];
    for result in tried(&mut kernel, ops) {
        assert_eq!(result.unwrap_err().cause, Cause::Missing);
    }
    // Whoever deletes the pod's end takes the wire with it, and what hung on it.
    pod.sh("ip link del eth0");
    let state = kernel.read().unwrap();
    assert!(!state.links.contains_key(&name) && state.routes.is_empty() && state.neighbours.is_empty());
    let gone =
        tried(&mut kernel, [Op::DeleteLink(name), Op::DeleteNeighbour(name, "10.9.0.2".parse().unwrap())]);
    assert_eq!(gone, [Ok(()), Ok(())]);
}

#[test]
fn pods_that_go_are_gone_from_every_reading_at_once_and_from_the_kernel_soon() {
    const PODS: u64 = 20;
    let (host, pod) = (Netns::new(), Netns::new());
    host.sh(
        "ip link set lo up; ip addr add 192.0.2.1/32 dev lo; ip link add other type veth peer name rehto",
    );
    let mut kernel = open(&host);
    let netns = NetnsId(1);
    kernel.hold(netns, pod.fd());
    let wire = |n: u64| {
        let peer = VethPeer { netns, name: dev(&format!("eth{n}")), mac: POD_MAC };
        let name = LinkName::pod(n);
        let addr = std::net::Ipv4Addr::from(0x0a09_0000 + u32::try_from(n).unwrap()).into();
        [
            Op::AddVeth(Link::pod(name, HOST_MAC, 1400), peer),
            Op::PutNeighbour(Neighbour { dev: name, addr, mac: POD_MAC }),
            Op::SetUp(name, true),
            Op::PutRoute(Route::by(IpNet::host(addr), NextHop::dev(name))),
        ]
    };
    done(&mut kernel, (0..PODS).flat_map(wire).collect::<Vec<_>>());
    let state = kernel.read().unwrap();
    assert_eq!((state.links.len(), state.routes.len()), (3 + 20, 20));
    done(&mut kernel, (0..PODS).map(|n| Op::DeleteLink(LinkName::pod(n))).collect::<Vec<_>>());
    let state = kernel.read().unwrap();
    assert_eq!((state.links.len(), state.routes.len(), state.neighbours.len()), (3, 0, 0));
    let links = host.sh("ip -o link");
    assert!(links.lines().filter(|l| l.contains("cord")).all(|l| l.contains("state DOWN")), "{links}");
    // A name that is used again waits for the one that had it.
    done(&mut kernel, wire(3));
    assert!(kernel.read().unwrap().links.contains_key(&LinkName::pod(3)));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(100);
    while host.sh("ip -o link").matches("cord").count() > 1 {
        assert!(std::time::Instant::now() < end, "they are still there: {}", host.sh("ip -o link"));
    }
    assert!(host.sh("ip -o link").contains("other"));
    assert!(pod.sh("ip -o link").contains("eth3"));
}

#[test]
fn every_switch_we_set_is_read_back() {
    let netns = Netns::new();
    netns.sh("ip link add up0 type veth peer name up1");
    let mut kernel = open(&netns);
    let state = kernel.read().unwrap();
    let switches: Vec<Sysctl> = Sysctl::global().chain(Sysctl::of(dev("up0"))).collect();
    for switch in &switches {
        assert!(state.sysctls.contains_key(switch), "{}", switch.path());
    }
    for value in [1, 0] {
        done(&mut kernel, switches.iter().map(|s| Op::SetSysctl(*s, value)).collect::<Vec<_>>());
        let state = kernel.read().unwrap();
        for switch in &switches {
            assert_eq!(state.sysctls.get(switch), Some(&value), "{}", switch.path());
        }
    }
    let gone = Sysctl::V4(Conf::Dev(dev("nowhere")), Conf4::RpFilter);
    assert_eq!(tried(&mut kernel, [Op::SetSysctl(gone, 1)]).remove(0).unwrap_err().cause, Cause::Missing);
}

#[test]
fn an_interface_somebody_changed_is_set_right_and_the_same_again_changes_nothing() {
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip addr add 192.0.2.1/32 dev lo");
    let mut kernel = open(&netns);
    let vxlan = Link::vxlan("192.0.2.1".parse().unwrap(), HOST_MAC, 1450);
    done(&mut kernel, [Op::AddLink(vxlan.clone()), Op::SetUp(vxlan.name, true)]);
    netns.sh("ip link set vxlan-cord mtu 1300 address 02:00:00:00:00:99 addrgenmode eui64");
    let ops = [
        Op::SetLink(vxlan.clone()),
        Op::PutAddress(Address::host(vxlan.name, "10.8.0.9".parse().unwrap())),
        Op::PutAddress(Address::host(vxlan.name, "fd08::9".parse().unwrap())),
        Op::PutNeighbour(Neighbour { dev: vxlan.name, addr: "10.8.0.1".parse().unwrap(), mac: POD_MAC }),
        Op::PutFdb(FdbEntry { dev: vxlan.name, mac: POD_MAC, vtep: "192.0.2.7".parse().unwrap() }),
    ];
    done(&mut kernel, ops.clone());
    let once = quiet(kernel.read().unwrap());
    assert_eq!(once.links[&vxlan.name].link, vxlan);
    assert!(netns.sh("ip -o addr show dev vxlan-cord").contains("10.8.0.9/32"));
    assert!(
        netns.sh("bridge fdb show dev vxlan-cord").contains("02:00:00:00:00:02 dst 192.0.2.7 self permanent")
    );
    assert!(netns.sh("ip neigh show dev vxlan-cord").contains("10.8.0.1 lladdr 02:00:00:00:00:02 PERMANENT"));
    done(&mut kernel, ops);
    assert_eq!(quiet(kernel.read().unwrap()), once);
    // Another place for the same key replaces.
    let moved = FdbEntry { dev: vxlan.name, mac: POD_MAC, vtep: "192.0.2.8".parse().unwrap() };
    done(&mut kernel, [Op::PutFdb(moved)]);
    assert_eq!(kernel.read().unwrap().fdb, [((moved.dev, moved.mac), moved.vtep)].into());
}

#[test]
fn neighbours_of_others_interfaces_are_not_ours_to_show() {
    let netns = crate::uplinks();
    netns.sh("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev up0 nud permanent");
    netns.sh("ip -6 neigh add fd01::7 lladdr 02:00:00:00:00:07 dev up1 nud permanent");
    let state = open(&netns).read().unwrap();
    assert!(state.neighbours.is_empty() && state.fdb.is_empty(), "{:?}", state.neighbours);
}
