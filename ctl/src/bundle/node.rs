//! What this machine has, where it is a node.

use std::fs;
use std::path::Path;
use std::process::Command;

use corduroy_ipc::status::{RouteQuery, StatusRequest};

use super::Bundle;
use crate::client::Client;
use crate::doctor;

/// What a person would type; each is left out where the program is not there.
const COMMANDS: [(&str, &str); 16] = [
    ("uname.txt", "uname -a"),
    ("links.txt", "ip -d -s link show"),
    ("addresses.txt", "ip address show"),
    ("routes.txt", "ip route show table all"),
    ("routes-v6.txt", "ip -6 route show table all"),
    ("rules.txt", "ip rule show"),
    ("rules-v6.txt", "ip -6 rule show"),
    ("neighbours.txt", "ip neighbour show"),
    ("fdb.txt", "bridge fdb show"),
    ("sockets.txt", "ss -tanp"),
    ("nft.txt", "nft list ruleset"),
    ("iptables-legacy.txt", "iptables-legacy-save"),
    ("sysctls.txt", "sysctl net.ipv4.ip_forward net.ipv4.conf net.ipv6.conf"),
    ("modules.txt", "lsmod"),
    ("journal-agent.txt", "journalctl --no-pager -u corduroy-agent -n 5000"),
    ("journal-kernel.txt", "journalctl --no-pager -k -n 1000"),
];
/// Files, below the root of the node.
const FILES: [&str; 4] = [
    "etc/corduroy/agent.yaml",
    "run/corduroy/endpoints.journal",
    "var/lib/corduroy/node.json",
    "etc/os-release",
];

/// Gathers it.
pub(super) fn gather(bundle: &mut Bundle, socket: &Client<'_>, root: &Path) {
    for (name, request) in [
        ("status", StatusRequest::Status),
        ("peers", StatusRequest::Peers),
        ("routes", StatusRequest::Routes(RouteQuery::default())),
        ("ipam", StatusRequest::Ipam),
    ] {
        bundle.add_json(&format!("node/{name}.json"), socket.ask(request));
    }
    let checks = doctor::judge(&doctor::gather(root, socket));
    bundle.add_json::<_, String>("node/doctor.json", Ok(checks));
    for (name, line) in COMMANDS {
        bundle.add(format!("node/{name}"), output(line));
    }
    for file in FILES {
        let text = fs::read_to_string(root.join(file)).map_err(|error| error.to_string());
        bundle.add(format!("node/files/{}", file.replace('/', "-")), text);
    }
    let networks = fs::read_dir(root.join("etc/cni/net.d")).into_iter().flatten().flatten();
    // A directory here is another plugin's, with its credentials.
    for entry in networks.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).map_err(|error| error.to_string());
        bundle.add(format!("node/cni/{name}"), text);
    }
}

fn output(line: &str) -> Result<String, String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
