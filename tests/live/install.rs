//! Plugin and network put on a node, and everything taken off it again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use corduroy_tests::cni::{Call, REFERENCE};
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::{Namespace, eventually, process};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// `corduroy-agent install` or `uninstall` on a node: what it said, and whether it was content.
fn task(node: &Node, task: &str) -> Result<String, String> {
    let mut command = Command::new(process::binary("corduroy-agent"));
    let dir = node.host().dir();
    command.arg(task);
    for (option, name) in
        [("--plugins", "bin"), ("--networks", "net.d"), ("--run-dir", "run"), ("--state-dir", "state")]
    {
        command.arg(option).arg(dir.join(name));
    }
    node.host().enter(move || process::try_output(&mut command))
}

/// What of a node an agent changes: interfaces, addresses, routes, neighbours that stay, rules.
fn picture(host: &Namespace) -> Vec<String> {
    let links = host
        .ip("-oneline link")
        .lines()
        .map(|l| l.split(": ").nth(1).unwrap().to_owned())
        .collect::<Vec<_>>();
    let routes = ["-4 route show table all", "-6 route show table all"].map(|what| {
        let text = host.ip(what);
        let mut lines: Vec<_> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines.join("\n")
    });
    let addresses = ["-4 -brief address", "-6 -brief address"].map(|what| host.ip(what));
    let neighbours = host.ip("neighbour show nud permanent");
    let rules = host.run("nft list ruleset");
    [vec![links.join(" ")], routes.to_vec(), addresses.to_vec(), vec![neighbours, rules]].concat()
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_uninstalled_node_is_as_it_was_before() {
    let fabric = Fabric::new("uninstall");
    fabric.pools("vxlanMode");
    let mut nodes = [fabric.node("n1", Segment::A, 11), fabric.node("n2", Segment::B, 12)];
    // The switches that make a router of a node stay, and change its routes a little.
    nodes[0].host().forward();
    // IPv6 addresses are tentative for a second.
    let before = eventually(PATIENCE, || match picture(nodes[0].host()) {
        picture if nodes[0].host().ip("-6 address").contains("tentative") => Err(format!("{picture:?}")),
        picture => Ok(picture),
    });
    task(&nodes[0], "install").unwrap();
    nodes.iter_mut().for_each(Node::launch);
    nodes.iter_mut().for_each(Node::ready);
    let pods = [fabric.pod(&nodes[0], "web"), fabric.pod(&nodes[0], "api"), fabric.pod(&nodes[1], "db")];
    eventually(PATIENCE, || pods[0].inside().try_run(&format!("ping -c 1 -W 1 {}", pods[2].address(false))));
    assert!(nodes[0].host().ip("link").contains("vxlan-cord"), "there should be a tunnel to take away");
    let dir = nodes[0].host().dir().to_owned();

    let refused = task(&nodes[0], "uninstall").unwrap_err();
    assert!(refused.contains("another agent (process "), "{refused}");
    assert!(dir.join("net.d/10-corduroy.conflist").exists(), "nothing is removed while an agent runs");
    pods[0].inside().run(&format!("ping -c 1 -W 5 {}", pods[2].address(false)));

    nodes[0].stop();
    let said = task(&nodes[0], "uninstall").unwrap();
    assert!(said.contains("interfaces, routes and tables of ours removed"), "{said}");
    assert_eq!(picture(nodes[0].host()), before, "{said}");
    for name in ["run", "state"] {
        assert!(!dir.join(name).exists(), "{name} has {:?}", entries(&dir.join(name)));
    }
    assert_eq!((entries(&dir.join("bin")), entries(&dir.join("net.d"))), (vec![], vec![]));
    std::fs::write(dir.join("bin/loopback"), "another's").unwrap();
    let said = task(&nodes[0], "uninstall").unwrap();
    assert!(said.contains("kernel: 0 interfaces"), "once more finds nothing: {said}");
    assert_eq!(entries(&dir.join("bin")), ["loopback"], "what is not ours stays");
}

/// A runtime calls it for every pod, so it must say what the one says that everybody has.
#[test]
fn the_installed_loopback_does_what_the_reference_plugin_does() {
    let fabric = Fabric::new("loopback");
    let node = fabric.node("n1", Segment::A, 11);
    task(&node, "install").unwrap();
    let ours = node.host().dir().join("bin/loopback");
    let theirs = Path::new(REFERENCE).join("loopback");
    let config = |version: &str| json!({ "cniVersion": version, "name": "cni-loopback", "type": "loopback" });
    for version in ["0.3.1", "1.0.0"] {
        let said = [&ours, &theirs].map(|plugin| {
            let container = fabric.container("box");
            container.ip("link set lo down");
            let call = |command: &str, config: &serde_json::Value| {
                let call = Call::new(plugin, command, config);
                let call = call.attachment(container.name(), "lo").netns(&container.path());
                call.run(node.host()).unwrap()
            };
            let mut result = call("ADD", &config(version)).result().unwrap();
            container.run("ping -c 1 -W 5 127.0.0.1");
            container.run("ping -c 1 -W 5 ::1");
            if version != "0.3.1" {
                let mut compared = config(version);
                compared["prevResult"] = result.clone();
                assert!(call("CHECK", &compared).ok);
                container.ip("link set lo down");
                assert!(!call("CHECK", &compared).ok, "{} finds nothing wrong", plugin.display());
            }
            call("DEL", &config(version)).result().unwrap();
            assert_eq!(result["interfaces"][0]["sandbox"], container.path().display().to_string());
            result["interfaces"][0]["sandbox"] = json!("");
            for ip in result["ips"].as_array_mut().unwrap() {
                // Results of 0.3.1 have it (CNI 0.3.1, Result); Debian's plugin leaves it out.
                ip.as_object_mut().unwrap().remove("version");
            }
            result
        });
        for field in ["cniVersion", "interfaces", "ips"] {
            assert_eq!(said[0][field], said[1][field], "{version}: {field}");
        }
    }
}

/// What `install` writes is what a runtime uses: each plugin of the list is called as libcni calls it, with the list's
/// name and version put into its part.
#[test]
fn the_installed_network_wires_a_pod_with_a_host_port() {
    let fabric = Fabric::new("install");
    fabric.pools("vxlanMode");
    let mut node = fabric.node("n1", Segment::A, 11);
    let plugins = node.host().dir().join("bin");
    std::fs::create_dir_all(&plugins).unwrap();
    for name in ["portmap", "bandwidth"] {
        std::fs::copy(Path::new(REFERENCE).join(name), plugins.join(name)).unwrap();
    }
    task(&node, "install").unwrap();
    node.start();
    let network: serde_json::Value =
        serde_json::from_slice(&std::fs::read(node.host().dir().join("net.d/10-corduroy.conflist")).unwrap())
            .unwrap();
    assert_eq!(network["cniVersions"], json!(["1.0.0"]), "what Debian's plugins speak");
    let container = fabric.container("web");
    let mut result = serde_json::Value::Null;
    for plugin in network["plugins"].as_array().unwrap() {
        let mut config = plugin.clone();
        config["name"] = network["name"].clone();
        config["cniVersion"] = network["cniVersion"].clone();
        config["runtimeConfig"] = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000},
        });
        if !result.is_null() {
            config["prevResult"] = result.clone();
        }
        let call = Call::new(&plugins.join(plugin["type"].as_str().unwrap()), "ADD", &config);
        let call = call.attachment(container.name(), "eth0").netns(&container.path());
        result = call.run(node.host()).unwrap().result().unwrap();
    }
    let address = result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    node.host().run(&format!("ping -c 1 -W 5 {address}"));
    let rules = node.host().run("iptables-save -t nat");
    assert!(rules.contains(&format!("{address}:80")), "{rules}");
    let link = result["interfaces"][0]["name"].as_str().unwrap();
    let queues = node.host().run(&format!("tc qdisc show dev {link}"));
    assert!(queues.contains("tbf") && queues.contains("8Mbit"), "{queues}");
}
