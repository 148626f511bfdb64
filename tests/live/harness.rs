//! The ground itself: what the other tests take for granted.

use std::path::Path;
use std::time::Duration;

use corduroy_tests::daemons::{Bird, Daemon, ExaBgp, Frr, GoBgp, Neighbour, OpenBgpd, Router, holds_exactly};
use corduroy_tests::probe::{Echo, Ping, Protocol, seen_over};
use corduroy_tests::{Namespace, Topology, eventually, vm};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two hosts with a router between them, dual stack.
fn two_hosts(net: &Topology) -> [Namespace; 3] {
    let [a, r, b] = ["a", "r", "b"].map(|label| net.namespace(label));
    for (host, subnet, port) in [(&a, 1, "to-a"), (&b, 2, "to-b")] {
        net.link(host, "eth0", &r, port);
        host.address("eth0", &format!("192.0.{subnet}.2/24"));
        host.address("eth0", &format!("2001:db8:{subnet}::2/64"));
        r.address(port, &format!("192.0.{subnet}.1/24"));
        r.address(port, &format!("2001:db8:{subnet}::1/64"));
        host.ip(&format!("route add default via 192.0.{subnet}.1"));
        host.ip(&format!("-6 route add default via 2001:db8:{subnet}::1"));
    }
    r.forward();
    [a, r, b]
}

#[test]
fn a_topology_forwards_and_leaves_nothing_behind() {
    let net = Topology::new("forwards");
    let [a, r, b] = two_hosts(&net);
    for target in ["192.0.2.2", "2001:db8:2::2"] {
        a.run(&format!("ping -c 1 -W 5 {target}"));
    }
    let path = b.path();
    assert!(path.exists());
    let mut sleeper = std::process::Command::new("sleep");
    sleeper.arg("1000");
    let process = corduroy_tests::process::Process::spawn(&r, "sleeper", sleeper);
    let proc = format!("/proc/{}", process.id());
    assert!(Path::new(&proc).exists());
    drop(net);
    assert!(!path.exists(), "the namespace is still there");
    drop(process);
    assert!(!Path::new(&proc).exists(), "the process is still there");
}

#[test]
fn a_ping_sees_what_is_lost_and_what_is_not() {
    let net = Topology::new("loss");
    let [a, r, _b] = two_hosts(&net);
    for (target, family) in [("192.0.2.2", "ip"), ("2001:db8:2::2", "ip6")] {
        let ping = Ping::start(&a, target, Duration::from_millis(5));
        ping.marker(PATIENCE);
        ping.marker(PATIENCE);
        ping.stop(PATIENCE).expect_no_loss("an idle network");
        let ping = Ping::start(&a, target, Duration::from_millis(5));
        ping.marker(PATIENCE);
        r.run(&format!("nft add table {family} cut"));
        r.run(&format!(
            "nft add chain {family} cut forward {{ type filter hook forward priority 0; policy drop; }}"
        ));
        let from = ping.sent();
        eventually(
            PATIENCE,
            || if ping.sent() > from + 3 { Ok(()) } else { Err("still sending".to_owned()) },
        );
        r.run(&format!("nft delete table {family} cut"));
        let report = ping.stop(PATIENCE);
        assert!(report.lost.len() >= 2, "a cut of three packets went unnoticed: {report:?}");
    }
}

#[test]
fn an_echo_tells_whom_it_saw() {
    let net = Topology::new("echo");
    let [a, r, b] = two_hosts(&net);
    let _echo = Echo::serve(&b, 7);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let plain = seen_over(protocol, &a, "192.0.2.2:7").unwrap();
        assert_eq!(plain.ip().to_string(), "192.0.1.2");
        let v6 = seen_over(protocol, &a, "[2001:db8:2::2]:7").unwrap();
        assert_eq!(v6.ip().to_string(), "2001:db8:1::2");
    }
    r.run("nft add table ip nat");
    r.run("nft add chain ip nat post { type nat hook postrouting priority 100; }");
    r.run("nft add rule ip nat post oifname to-b masquerade");
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let masked = seen_over(protocol, &a, "192.0.2.2:7").unwrap();
        assert_eq!(masked.ip().to_string(), "192.0.2.1", "{protocol:?}");
    }
}

#[test]
fn two_birds_learn_from_each_other() {
    let net = Topology::new("birds");
    let [a, b] = ["a", "b"].map(|label| net.namespace(label));
    net.link(&a, "eth0", &b, "eth0");
    for (host, n) in [(&a, 1), (&b, 2)] {
        host.address("eth0", &format!("192.0.2.{n}/24"));
        host.address("eth0", &format!("2001:db8::{n}/64"));
    }
    let one =
        Router::new(65001, "1.1.1.1").peer(Neighbour::new("192.0.2.2", 65002)).announcing("10.1.0.0/16");
    let two =
        Router::new(65002, "2.2.2.2").peer(Neighbour::new("192.0.2.1", 65001)).announcing("10.2.0.0/16");
    let mut one = Bird::start(&a, one.announcing("2001:db8:a::/48"));
    let two = Bird::start(&b, two);
    eventually(PATIENCE, || holds_exactly(&two, &["10.1.0.0/16", "2001:db8:a::/48"]));
    eventually(PATIENCE, || holds_exactly(&one, &["10.2.0.0/16"]));
    assert_eq!(one.learned().unwrap()["10.2.0.0/16"].as_path, [65002]);
    one.announce("10.3.0.0/16");
    one.withdraw("10.1.0.0/16");
    eventually(PATIENCE, || holds_exactly(&two, &["10.3.0.0/16", "2001:db8:a::/48"]));
}

/// A daemon in `b`, started by `start`, speaks with BIRD in `a`: one session for each family.
fn speaks_with_bird<D: Daemon>(label: &str, start: impl Fn(&Namespace, Router) -> D) {
    let net = Topology::new(label);
    let [a, b] = ["a", "b"].map(|label| net.namespace(label));
    net.link(&a, "eth0", &b, "eth0");
    for (host, n) in [(&a, 1), (&b, 2)] {
        host.address("eth0", &format!("192.0.2.{n}/24"));
        host.address("eth0", &format!("2001:db8::{n}/64"));
    }
    let session = |peer: &str, local: &str, asn| Neighbour {
        local: Some(local.parse().unwrap()),
        password: Some("corduroy".to_owned()),
        multihop: D::PACKAGE == "frr",
        ..Neighbour::one_family(peer, asn)
    };
    let bird = Router::new(65001, "1.1.1.1").announcing("10.1.0.0/16").announcing("2001:db8:1::/48");
    let bird = bird.peer(session("192.0.2.2", "192.0.2.1", 65002));
    let bird = Bird::start(&a, bird.peer(session("2001:db8::2", "2001:db8::1", 65002)));
    let other = Router::new(65002, "2.2.2.2").announcing("10.2.0.0/16").announcing("2001:db8:2::/48");
    let other = other.peer(session("192.0.2.1", "192.0.2.2", 65001));
    let mut other = start(&b, other.peer(session("2001:db8::1", "2001:db8::2", 65001)));
    for address in ["192.0.2.1", "2001:db8::1"] {
        eventually(PATIENCE, || other.established(address.parse().unwrap()));
    }
    eventually(PATIENCE, || holds_exactly(&bird, &["10.2.0.0/16", "2001:db8:2::/48"]));
    eventually(PATIENCE, || holds_exactly(&other, &["10.1.0.0/16", "2001:db8:1::/48"]));
    let learned = other.learned().unwrap();
    assert_eq!(learned["10.1.0.0/16"].as_path, [65001]);
    assert_eq!(learned["10.1.0.0/16"].next_hop, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(learned["2001:db8:1::/48"].next_hop, Some("2001:db8::1".parse().unwrap()));
    other.announce("10.3.0.0/16");
    other.withdraw("10.2.0.0/16");
    eventually(PATIENCE, || holds_exactly(&bird, &["10.3.0.0/16", "2001:db8:2::/48"]));
    assert!(!D::version().is_empty());
    other.restart();
    eventually(PATIENCE, || other.established("192.0.2.1".parse().unwrap()));
    eventually(PATIENCE, || holds_exactly(&bird, &["10.3.0.0/16", "2001:db8:2::/48"]));
    other.shut_down("192.0.2.1".parse().unwrap(), "going home");
    if D::PACKAGE != "exabgp" {
        eventually(PATIENCE, || holds_exactly(&bird, &["2001:db8:2::/48"]));
    }
}

#[test]
fn frr_speaks_with_bird() {
    speaks_with_bird("frr", Frr::start);
}

#[test]
fn gobgp_speaks_with_bird() {
    speaks_with_bird("gobgp", GoBgp::start);
}

#[test]
fn openbgpd_speaks_with_bird() {
    speaks_with_bird("openbgpd", OpenBgpd::start);
}

#[test]
fn exabgp_speaks_with_bird() {
    speaks_with_bird("exabgp", ExaBgp::start);
}

#[test]
fn the_virtual_machine_has_what_this_kernel_may_lack() {
    if !vm::here("harness::the_virtual_machine_has_what_this_kernel_may_lack", &[]) {
        return;
    }
    let net = Topology::new("ipip");
    let [a, b] = ["a", "b"].map(|label| net.namespace(label));
    net.link(&a, "eth0", &b, "eth0");
    for (host, own, other) in [(&a, 1, 2), (&b, 2, 1)] {
        host.address("eth0", &format!("192.0.2.{own}/24"));
        host.ip("link add tunnel type ipip external");
        host.address("tunnel", &format!("10.0.0.{own}/32"));
        host.ip("link set tunnel up");
        let inner =
            format!("10.0.0.{other}/32 encap ip id 0 dst 192.0.2.{other} dev tunnel src 10.0.0.{own}");
        host.ip(&format!("route add {inner}"));
    }
    Ping::start(&a, "10.0.0.2", Duration::from_millis(50)).stop(PATIENCE).expect_no_loss("a tunnel");
}
