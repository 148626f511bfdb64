//! Who reaches whom, and as whom.

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_tests::fabric::Segment;
use corduroy_tests::kube::{Kubectl, PATIENCE};
use corduroy_tests::probe::Echo;
use corduroy_tests::{Namespace, eventually};

use super::WITH_PORTMAP;
use super::workload::{HOST_PORT, NATIVE_PORT, NODE_PORT, PORT, Pod, Workload, strings, url};

const ECHO: u16 = 7000;
/// So often that each of three endpoints has very likely been chosen.
const ASKED: usize = 10;
/// Pods take the change of a pool within moments; a busy machine takes longer.
const SOON: Duration = Duration::from_secs(60);

/// From a pod on every node: pods of the same node, the same rack and the other rack, nodes, Services, names, the API
/// server, both families; and from every node: all pods.
pub(super) fn pods_reach_everything(world: &Workload) {
    let (servers, clients) = (world.running("server"), world.running("client"));
    world.running("native");
    for pod in servers.values().chain(clients.values()) {
        assert_eq!(pod.addresses.len(), 2, "{} is not dual stack: {:?}", pod.name, pod.addresses);
    }
    for client in clients.values() {
        let pairs: Vec<_> = servers.values().flat_map(|s| s.addresses.iter().map(move |a| (s, a))).collect();
        let names: Vec<_> = pairs.iter().map(|(_, a)| format!("{}/hostname", url(a, PORT))).collect();
        let answers = eventually(PATIENCE, || world.ask(client, &names));
        let expected: Vec<_> = pairs.iter().map(|(server, _)| server.name.clone()).collect();
        assert_eq!(answers, expected, "from {}", client.node);
        // No translation between pods.
        let whom: Vec<_> = pairs.iter().map(|(_, a)| format!("{}/clientip", url(a, PORT))).collect();
        let seen = eventually(PATIENCE, || world.ask(client, &whom));
        for (seen, (server, asked)) in seen.iter().zip(&pairs) {
            let own = client.addresses.iter().find(|own| own.contains(':') == asked.contains(':')).unwrap();
            assert!(
                seen.contains(own.as_str()),
                "{} saw {} as {seen}, not as {own}",
                server.node,
                client.node
            );
        }
        services_and_nodes(world, client);
    }
    for node in world.cluster.nodes() {
        for pod in servers.values() {
            for address in &pod.addresses {
                let curl = format!("curl -gsS --max-time 5 {}/hostname", url(address, PORT));
                let name = eventually(PATIENCE, || node.run(&curl));
                assert_eq!(name, pod.name, "from the node {}", node.name());
            }
        }
    }
    probes_and_logs(&world.kubectl, clients.values().chain(servers.values()));
}

fn services_and_nodes(world: &Workload, client: &Pod) {
    let service = world.kubectl.get("service server").unwrap();
    let addresses = strings(&service["spec"]["clusterIPs"], "");
    assert_eq!(addresses.len(), 2, "a dual-stack Service: {addresses:?}");
    let mut urls: Vec<_> = addresses.iter().map(|a| format!("{}/hostname", url(a, 80))).collect();
    urls.push("http://server.default.svc.cluster.local/hostname".to_owned());
    for node in world.cluster.nodes() {
        urls.extend(node.addresses().map(|address| format!("{}/hostname", url(address, NATIVE_PORT))));
    }
    urls.push("https://kubernetes.default/readyz".to_owned());
    let answers = eventually(PATIENCE, || world.ask(client, &urls));
    assert_eq!(answers.last().unwrap(), "ok", "the API server's Service");
    let nodes = world.cluster.nodes().iter().flat_map(|node| [node.name(); 2]);
    assert_eq!(answers[3..answers.len() - 1], nodes.collect::<Vec<_>>(), "the nodes' own network");
}

/// Probes are asked by the node and have never failed; logs and `exec` come from it.
fn probes_and_logs<'a>(kubectl: &Kubectl, pods: impl Iterator<Item = &'a Pod>) {
    for pod in pods {
        let object = kubectl.get(&format!("pod {}", pod.name)).unwrap();
        assert_eq!(object["status"]["containerStatuses"][0]["restartCount"], 0, "{} was restarted", pod.name);
        let log = kubectl.run(&format!("logs {}", pod.name));
        assert!(log.contains("Started HTTP server"), "{log}");
    }
}

/// A host that is no node: it sees pods as their node where the pool says so, and as themselves where it does not; it
/// reaches them by a node's port, and by their own address where a router leads there.
pub(super) fn the_outside_reaches_pods(world: &Workload) {
    let outside = world.cluster.host("client", Segment::Outside, 20);
    let _echo = Echo::serve(&outside, ECHO);
    let (servers, clients) = (world.running("server"), world.running("client"));
    let client = clients.get("n2").unwrap();
    let targets = [Segment::Outside.v4(20), Segment::Outside.v6(20)];
    let node = world.cluster.node("n2").addresses().map(str::to_owned);
    for (target, node) in targets.iter().zip(&node) {
        seen_as(world, client, target, node);
    }
    ports_of_nodes(world, &outside, &servers);
    for pool in ["default-ipv4", "default-ipv6"] {
        world
            .kubectl
            .call(&["patch", "ippool", pool, "--type=merge", "-p", r#"{"spec":{"natOutgoing":false}}"#])
            .unwrap();
    }
    lead_to(world.cluster.router(), client, &node);
    for (target, own) in targets.iter().zip(&client.addresses) {
        seen_as(world, client, target, own);
        let curl = format!("curl -gsS --max-time 5 {}/hostname", url(own, PORT));
        assert_eq!(eventually(SOON, || outside.try_run(&curl)), client.name, "from outside to {own}");
    }
}

/// A pod's own port of its node, and the port of every node that leads to the Service, whose pod may be another node's:
/// by kube-proxy in both of its modes.
fn ports_of_nodes(world: &Workload, outside: &Namespace, servers: &BTreeMap<String, Pod>) {
    let ask = |address: &str, port: u16| {
        let curl = format!("curl -gsS --max-time 5 {}/hostname", url(address, port));
        eventually(PATIENCE, || outside.try_run(&curl))
    };
    for node in world.cluster.nodes() {
        for address in node.addresses() {
            if WITH_PORTMAP.contains(&node.name()) {
                let server = &servers[node.name()].name;
                assert_eq!(&ask(address, HOST_PORT), server, "the host port at {address}");
            }
            for _ in 0..ASKED {
                let answer = ask(address, NODE_PORT);
                assert!(servers.values().any(|server| server.name == answer), "{answer} at {address}");
            }
        }
    }
    let rules = world.cluster.node("n3").run("iptables-save -t nat").unwrap();
    assert!(rules.contains("KUBE-SERVICES"), "kube-proxy of n3 writes no iptables rules: {rules}");
}

/// The router learns the way to a pod, by hand.
fn lead_to(router: &Namespace, pod: &Pod, node: &[String; 2]) {
    for (address, via) in pod.addresses.iter().zip(node) {
        let bits = if address.contains(':') { 128 } else { 32 };
        router.ip(&format!("route replace {address}/{bits} via {via}"));
    }
}

fn seen_as(world: &Workload, client: &Pod, target: &str, expected: &str) {
    let ask = format!("nc -w 3 {target} {ECHO} </dev/null");
    eventually(SOON, || {
        let seen = world.kubectl.exec(&client.name, &ask)?;
        let whom = seen.rsplit_once(':').map_or("", |(address, _)| address.trim_matches(['[', ']']));
        if whom == expected {
            Ok(())
        } else {
            Err(format!("{target} saw {} as {seen:?}, not {expected}", client.name))
        }
    });
}
