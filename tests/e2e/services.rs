//! Addresses of services, from a real API server to a router at the top of the rack.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use corduroy_tests::daemons::{Bird, Daemon as _, Neighbour, Router};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Segment, patch_status};
use corduroy_tests::kube::{Kubectl, PATIENCE, Part};
use serde_json::{Value, json};

const SETTINGS: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata:
  name: default
spec:
  serviceClusterIPs:
  - cidr: 10.96.0.0/16
  serviceLoadBalancerIPs:
  - cidr: 203.0.113.0/24
  - cidr: fd00:b::/64
  communities:
  - name: balanced
    value: 64512:80
  prefixAdvertisements:
  - cidr: 203.0.113.0/24
    communities: [balanced]
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPPeer
metadata:
  name: tor
spec:
  peerIP: 10.1.1.1
  asNumber: 65001
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  externalTrafficPolicy: Local
  allocateLoadBalancerNodePorts: false
  ports:
  - port: 80
";

/// The router of the rack, peering with nodes 11 and 12 of it.
fn tor(fabric: &Fabric) -> Bird {
    let session =
        |n| Neighbour { graceful_restart: Some(120), ..Neighbour::one_family(&Segment::A.v4(n), 64512) };
    let router = Router::new(65001, "10.1.1.1").peer(session(11)).peer(session(12));
    // Only the kernel's table has several ways for a prefix; `show route` has them all.
    Bird::start(fabric.router(), router)
}

/// The endpoints of the Service, as the controller manager would write them.
fn endpoints(kubectl: &Kubectl, on: &[(&str, bool)]) {
    let endpoints: Vec<Value> = on
        .iter()
        .map(|(node, ready)| {
            let conditions = json!({ "ready": ready, "serving": ready, "terminating": !ready });
            json!({ "addresses": ["10.244.0.7"], "nodeName": node, "conditions": conditions })
        })
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "ports": [{ "port": 80 }], "endpoints": endpoints,
    });
    kubectl.apply(&slice.to_string());
}

/// From which of its peers the router has a prefix.
fn ways(tor: &Bird, prefix: &str) -> BTreeSet<String> {
    let text = tor.birdc(&format!("show route all for {prefix}")).unwrap_or_default();
    let exact = text.lines().skip_while(|line| !line.starts_with(prefix));
    let hops = exact.filter_map(|line| line.trim().strip_prefix("BGP.next_hop: "));
    hops.map(str::to_owned).collect()
}

#[track_caller]
fn come(tor: &Bird, prefix: &str, from: &[&str]) -> Duration {
    let begun = Instant::now();
    let wanted: BTreeSet<String> = from.iter().map(|hop| (*hop).to_owned()).collect();
    eventually(PATIENCE, || match ways(tor, prefix) {
        ways if ways == wanted => Ok(()),
        ways => Err(format!("{prefix}: {ways:?} instead of {wanted:?}")),
    });
    begun.elapsed()
}

const WEB: &str = "203.0.113.7/32";
const N1: &str = "10.1.1.11";
const N2: &str = "10.1.1.12";

fn told(node: &Node, question: &str, words: &str) {
    eventually(PATIENCE, || match node.ctl(question)? {
        said if said.contains(words) => Ok(()),
        said => Err(said),
    });
}

#[test]
fn service_addresses_reach_the_router_from_where_they_are_served_and_stay_while_agent_or_server_is_away() {
    let mut fabric = Fabric::of_cluster("services");
    let kubectl = fabric.kubectl();
    kubectl.apply(SETTINGS);
    let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }] } });
    patch_status(&kubectl, "service web", &ingress);
    let mut nodes = [fabric.node("n1", Segment::A, 11), fabric.node("n2", Segment::A, 12)];
    let tor = tor(&fabric);
    nodes.iter_mut().for_each(Node::start);

    for range in ["10.96.0.0/16", "203.0.113.0/24"] {
        come(&tor, range, &[N1, N2]);
    }
    let range = &tor.learned().unwrap()["203.0.113.0/24"];
    assert_eq!(range.communities, [(64512, 80)]);
    come(&tor, WEB, &[]);
    told(&nodes[0], "explain 203.0.113.7", "no ready endpoint is on this node");

    endpoints(&kubectl, &[("n1", true)]);
    let appeared = come(&tor, WEB, &[N1]);
    come(&tor, "10.96.0.80/32", &[N1]);
    told(&nodes[0], "explain 203.0.113.7", "load balancer of Service default/web: announced by this node");
    let kernel = nodes[1].host().ip("route show proto 67");
    assert!(!kernel.contains("203.0.113"), "a node has its own kube-proxy: {kernel}");
    let guard = nodes[1].host().run("nft list chain inet corduroy forward");
    assert!(guard.contains("@services4"), "{guard}");
    endpoints(&kubectl, &[("n1", true), ("n2", true)]);
    come(&tor, WEB, &[N1, N2]);
    endpoints(&kubectl, &[("n1", false), ("n2", true)]);
    let withdrawn = come(&tor, WEB, &[N2]);
    println!("services: /32 at the router {appeared:?} after the endpoint, gone {withdrawn:?} after it");

    kubectl.run("label node n2 node.kubernetes.io/exclude-from-external-load-balancers=");
    come(&tor, "203.0.113.0/24", &[N1]);
    endpoints(&kubectl, &[("n1", true), ("n2", true)]);
    come(&tor, WEB, &[N1]);

    // What is known is left to the next run a moment after it has changed.
    eventually(PATIENCE, || match std::fs::read_to_string(nodes[0].state("datastore.snapshot")) {
        Ok(text) if text.contains(r#""here":"Ready""#) => Ok(()),
        other => Err(format!("the snapshot: {other:?}")),
    });
    fabric.control().kill(Part::ApiServer);
    nodes[0].kill();
    nodes[0].launch();
    let steady = || match (ways(&tor, WEB), ways(&tor, "203.0.113.0/24")) {
        (web, range) if web.len() == 1 && range.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    // The agent is back when its session is; until then the router keeps what it had, and after that it has it anew.
    let up = || tor.established(N1.parse().unwrap());
    eventually(PATIENCE, || {
        steady().unwrap_or_else(|why| panic!("lost while the agent was away: {why}"));
        nodes[0]
            .status()
            .and_then(|status| if status["ready"] == true { Ok(()) } else { Err("not ready".into()) })?;
        up()
    });
    told(&nodes[0], "status", "Service");
    steady().unwrap();
    fabric.control().start(Part::ApiServer);
    fabric.control().ready();
    endpoints(&kubectl, &[("n2", true)]);
    come(&tor, WEB, &[]);
}
