//! `cordctl doctor` on hosts that have a fault each.

use std::path::{Path, PathBuf};
use std::process::Command;

use corduroy_tests::{Namespace, Topology, process};
use serde_json::Value;

/// Somebody else's rules.
const DROPS: &str = "table inet fw {
    chain through {
        type filter hook forward priority 0; policy drop;
    }
}
";

/// A host on which nothing is wrong but that there is no agent.
fn host(net: &Topology, label: &str) -> Namespace {
    let host = net.namespace(label);
    host.ip("link add eth0 mtu 1500 type veth peer name far");
    host.ip("link set far up");
    host.ip("link set eth0 up");
    host.address("eth0", "192.0.2.11/24");
    host.ip("route add default via 192.0.2.1");
    host.forward();
    for device in ["all", "default", "eth0"] {
        host.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0");
    }
    put(&root(&host), "etc/cni/net.d/10-corduroy.conflist", "{\"plugins\": [{\"type\": \"corduroy\"}]}");
    host
}

fn root(host: &Namespace) -> PathBuf {
    host.dir().join("root")
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What `doctor` finds wrong or can't tell, as `verdict about: found`, and its exit code.
fn examine(host: &Namespace) -> (Vec<String>, i32) {
    let mut command = Command::new(process::binary("cordctl"));
    command.args(["-o", "json", "--socket", "/nonexistent/status.sock", "doctor", "--root"]).arg(root(host));
    let output = host.enter(move || command.output()).unwrap();
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let wrong = checks.iter().filter(|check| text(check, "verdict") != "Ok");
    let told = wrong.map(|check| {
        assert!(!text(check, "advice").is_empty(), "nothing to do about it: {check}");
        format!("{} {}: {}", text(check, "verdict"), text(check, "about"), text(check, "found"))
    });
    (told.collect(), output.status.code().unwrap_or(-1))
}

/// A name, how it is made, and what doctor says of it.
type Fault<'a> = (&'a str, &'a dyn Fn(&Namespace), &'a str);

#[test]
fn doctor_finds_each_fault_that_a_host_has() {
    let net = Topology::new("doctor");
    let usual = examine(&host(&net, "well")).0;
    assert!(usual.iter().any(|line| line.starts_with("Error agent: nobody listens")), "{usual:?}");
    let faults: [Fault<'_>; 10] = [
        (
            "forward",
            &|host| host.sysctl("net.ipv4.ip_forward", "0"),
            "Error forwarding: net.ipv4.ip_forward is 0",
        ),
        (
            "rpfilter",
            &|host| host.sysctl("net.ipv4.conf.eth0.rp_filter", "1"),
            "Warning reverse path: rp_filter is strict on eth0",
        ),
        (
            "drop",
            &|host| {
                let file = host.file("rules.nft", DROPS);
                host.run(&format!("nft -f {}", file.display()));
            },
            "Error nftables: inet fw through drops forwarded packets by default",
        ),
        (
            "mtu",
            &|host| {
                host.ip("link add vxlan-cord mtu 1450 type vxlan id 4096 local 192.0.2.11 dstport 4789");
                host.ip("link set eth0 mtu 1400");
            },
            "Error MTU: vxlan-cord has 1450 and needs 1500 of eth0, which has 1400",
        ),
        (
            "address",
            &|host| drop(host.ip("address flush dev eth0")),
            "Error node address: no interface has a global address",
        ),
        (
            "route",
            &|host| drop(host.ip("route del default")),
            "Warning node address: there is no default route",
        ),
        (
            "other",
            &|host| put(&root(host), "etc/cni/net.d/05-other.conflist", "{\"plugins\": []}"),
            "Error container network: 05-other.conflist stands before 10-corduroy.conflist",
        ),
        (
            "manager",
            &|host| put(&root(host), "run/NetworkManager/here", ""),
            "Warning NetworkManager: runs, and is not told to leave our interfaces alone",
        ),
        (
            "networkd",
            &|host| put(&root(host), "run/systemd/netif/state", ""),
            "Warning systemd-networkd: takes away routes it does not know",
        ),
        (
            "firewalld",
            &|host| put(&root(host), "run/firewalld/here", ""),
            "Warning firewalld: runs, and rejects forwarded packets",
        ),
    ];
    for (label, plant, expected) in faults {
        let host = host(&net, label);
        plant(&host);
        let (found, code) = examine(&host);
        let is_told = found.iter().any(|line| line.starts_with(expected) && !usual.contains(line));
        assert!(is_told && code == 1, "{label}: {found:?}, exit code {code}");
    }
}
