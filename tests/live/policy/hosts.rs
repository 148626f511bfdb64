//! HostEndpoints: what a node itself gets and sends, and what it forwards.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use corduroy_kernel::{Flow, FlowKey, TupleId};
use corduroy_kernel_linux::Kernel;
use corduroy_tests::eventually;
use corduroy_tests::probe::{Listening, Servers, Stream, Transport};

use super::{Ground, HTTP, OTHER, PATIENCE, UDP};

/// One of the ports that no policy closes.
const SSH: Transport = Transport::Tcp(22);
/// And one of others, that a node always reaches.
const API: Transport = Transport::Tcp(6443);

/// The interface to the world, by the name `gateway`.
#[track_caller]
fn host_endpoint(label: &str) -> (Ground, Servers) {
    let ground = Ground::new(label);
    let more = [("n1", 22), ("client", 6443)].map(|(name, port)| {
        let party = ground.party(name);
        Listening::open(name, &party.host.path(), &party.addresses, [&[port], &[]])
    });
    let servers = Servers::serve(more.into_iter().flatten().collect());
    ground.is_traced(&[
        ("client", "n1", SSH, true),
        ("n1", "client", API, true),
        ("n1", "client", HTTP, true),
    ]);
    ground.put("HostEndpoint", "gateway", "node: n1, interfaceName: eth0");
    (ground, servers)
}

/// The connections that the node tracks.
fn flows(ground: &Ground) -> Vec<Flow> {
    ground.host().enter(|| Kernel::open(None).unwrap().flows().unwrap())
}

#[test]
fn a_host_endpoint_is_closed_but_for_failsafe_ports_until_policies_open_it() {
    let (ground, _servers) = host_endpoint("closed");
    // What is forwarded, and the node's own pods, are nobody's of this.
    let beside = [
        ("client", "n1", SSH, true),
        ("n1", "client", API, true),
        ("client", "web", HTTP, true),
        ("web", "client", HTTP, true),
        ("n1", "web", HTTP, true),
        ("web", "n1", UDP, true),
    ];
    let table = |rows: [(&'static str, &'static str, Transport, bool); 5]| [&beside[..], &rows[..]].concat();
    ground.is_traced(&table([
        ("client", "n1", HTTP, false),
        ("client", "n1", UDP, false),
        ("client", "n1", Transport::Ping, false),
        ("n1", "client", HTTP, false),
        ("n1", "client", UDP, false),
    ]));
    ground.put(
        "GlobalNetworkPolicy",
        "open",
        "selector: role == 'gateway', ingress: [{action: Allow, protocol: TCP, source: $client, destination: {ports: \
         [80]}}], egress: [{action: Allow, protocol: UDP, destination: $client}]",
    );
    ground.is_traced(&table([
        ("client", "n1", HTTP, true),
        ("client", "n1", OTHER, false),
        ("client", "n1", UDP, false),
        ("n1", "client", HTTP, false),
        ("n1", "client", UDP, true),
    ]));
    ground.take("HostEndpoint", "gateway");
    ground.is_traced(&table([
        ("client", "n1", HTTP, true),
        ("client", "n1", OTHER, true),
        ("client", "n1", UDP, true),
        ("n1", "client", HTTP, true),
        ("n1", "client", UDP, true),
    ]));
}

#[test]
fn what_a_host_forwards_is_judged_by_policies_that_apply_on_forward_and_then_as_to_pods() {
    let (ground, _servers) = host_endpoint("forward");
    let rules = |forward: bool| {
        let spec = format!(
            "selector: role == 'gateway', applyOnForward: {forward}, types: [Ingress, Egress], \
             ingress: [{{action: Deny, protocol: TCP, destination: {{ports: [81]}}}}, {{action: Allow}}], \
             egress: [{{action: Deny, protocol: UDP, destination: $client}}, {{action: Allow}}]"
        );
        ground.put("GlobalNetworkPolicy", "transit", &spec);
    };
    rules(false);
    ground.is_traced(&[
        ("client", "n1", HTTP, true),
        ("client", "n1", OTHER, false),
        ("client", "web", OTHER, true),
        ("web", "client", UDP, true),
    ]);
    rules(true);
    ground.is_traced(&[
        ("client", "n1", HTTP, true),
        ("client", "n1", OTHER, false),
        ("client", "web", HTTP, true),
        ("client", "web", OTHER, false),
        ("web", "client", HTTP, true),
        ("web", "client", UDP, false),
        ("api", "web", OTHER, true),
        ("client", "n1", SSH, true),
    ]);
    // The pod's own policies are asked behind it.
    ground.put(
        "NetworkPolicy",
        "pods",
        "types: [Ingress], ingress: [{action: Deny, source: $client, destination: $web}, {action: Allow}]",
    );
    ground.is_traced(&[
        ("client", "web", HTTP, false),
        ("client", "api", HTTP, true),
        ("client", "api", OTHER, false),
        ("api", "web", OTHER, true),
    ]);
}

#[test]
fn what_is_not_to_be_tracked_is_judged_packet_by_packet_and_leaves_no_connection() {
    let (ground, _servers) = host_endpoint("untracked");
    ground.put(
        "GlobalNetworkPolicy",
        "raw",
        "selector: role == 'gateway', applyOnForward: true, doNotTrack: true, types: [Ingress, Egress], \
         ingress: [{action: Allow, protocol: UDP, source: $client, destination: {ports: [80]}}, \
                   {action: Deny, protocol: TCP, source: $client, destination: {ports: [22, 81]}}], \
         egress: [{action: Allow, protocol: UDP, source: {ports: [80]}, destination: $client}]",
    );
    ground.is_traced(&[
        ("client", "n1", UDP, true),
        ("client", "n1", OTHER, false),
        ("client", "n1", HTTP, false),
        ("client", "n1", SSH, true),
        ("n1", "client", API, true),
        // Forwarded, but none of the rules' business.
        ("client", "web", HTTP, true),
        ("client", "web", OTHER, false),
    ]);
    // Before the policy was in force they were tracked.
    let before: BTreeSet<FlowKey> = flows(&ground).iter().map(|flow| flow.key).collect();
    ground.is(&[("client", "n1", UDP, true), ("client", "n1", SSH, true)]).unwrap();
    let [client, node] = ["client", "n1"].map(|name| ground.party(name).addresses);
    let new: Vec<u8> = flows(&ground)
        .iter()
        .filter(|flow| !before.contains(&flow.key))
        .map(|flow| flow.key.original)
        .filter(|way| client.contains(&way.source) && node.contains(&way.destination))
        .map(|way| way.protocol)
        .collect();
    assert_eq!(new, [6, 6], "of SSH, in both families, and no datagrams");
}

/// What comes for ports 30080 and 30081 goes to port 80 of `web`.
fn translate(ground: &Ground) {
    let chain = |family: &str, n: usize| {
        let to = ground.party("web").addresses[n];
        let to = if to.is_ipv6() { format!("[{to}]:80") } else { format!("{to}:80") };
        let hook = "type nat hook prerouting priority -100;";
        let rule = format!("tcp dport {{ 30080, 30081 }} dnat to {to};");
        format!("table {family} proxy {{ chain in {{ {hook} {rule} }}\n}}\n")
    };
    let file = ground.host().file("proxy.nft", &(chain("ip", 0) + &chain("ip6", 1)));
    ground.host().run(&format!("nft -f {}", file.display()));
}

#[test]
fn a_policy_before_translation_decides_by_the_untranslated_port_and_for_all_of_the_hosts_policies() {
    const PUBLISHED: Transport = Transport::Tcp(30080);
    const ALSO: Transport = Transport::Tcp(30081);
    let (ground, _servers) = host_endpoint("prednat");
    translate(&ground);
    // What is translated is forwarded, and no matter of the closed host.
    ground.becomes(&[("client", "n1", PUBLISHED, true), ("client", "n1", HTTP, false)]);
    let published = |open: &str| {
        format!(
            "selector: role == 'gateway', applyOnForward: true, preDNAT: true, types: [Ingress], \
             ingress: [{{action: Deny, protocol: TCP, destination: {{ports: [30080]}}}}, \
                       {{action: Allow, protocol: TCP, destination: {{ports: [{open}]}}}}]"
        )
    };
    ground.put("GlobalNetworkPolicy", "published", &published("80, 82, 30081"));
    // What it allows, the closed host is not asked about; what it says nothing of, it is.
    let rows = [
        ("client", "n1", PUBLISHED, false),
        ("client", "n1", HTTP, true),
        ("client", "n1", OTHER, false),
        ("client", "n1", UDP, false),
        ("client", "web", HTTP, true),
        ("client", "n1", SSH, true),
    ];
    ground.becomes(&[&rows[..], &[("client", "n1", ALSO, true)]].concat());
    let [client, node] = ["client", "n1"].map(|name| ground.party(name));
    let target = SocketAddr::new(node.addresses[0], 82);
    let stream = Stream::open(&client.host.path(), &node.host.path(), target);
    ground.put(
        "NetworkPolicy",
        "pods",
        "types: [Ingress], ingress: [{action: Deny, source: $client}, {action: Allow}]",
    );
    ground.becomes(&[&rows[..4], &[("client", "n1", ALSO, false), ("client", "web", HTTP, false)]].concat());
    // It is judged again by now, and as before.
    stream.marker(PATIENCE);
    ground.put("GlobalNetworkPolicy", "published", &published("80, 30081"));
    eventually(PATIENCE, || {
        let flows = flows(&ground);
        let to_it = |id: TupleId| matches!(id, TupleId::Ports { destination: 82, .. });
        let flow = flows.iter().find(|flow| to_it(flow.key.original.id)).ok_or("no such connection")?;
        let is_denied = flow.mark == 0x7fff_0000;
        if is_denied { Ok(()) } else { Err(format!("mark {:#x}: {flow:?}", flow.mark)) }
    });
    ground.take("NetworkPolicy", "pods");
    ground.take("GlobalNetworkPolicy", "published");
    ground.becomes(&[("client", "n1", PUBLISHED, true), ("client", "n1", HTTP, false)]);
}
