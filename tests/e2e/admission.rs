//! What a real API server says of our kinds: the definitions are taken, good resources are let in, and each bad one is
//! refused with its field named. Nothing is stored: every question is a dry run, as `kubectl --dry-run=server`.

use std::path::Path;

use corduroy_tests::kube::{ControlPlane, Kubectl, PATIENCE};
use corduroy_tests::{eventually, process};

/// Resources that are right in every field: kind, name, spec.
const GOOD: &[(&str, &str, &str)] = &[
    (
        "IPPool",
        "pods",
        "{cidr: 10.244.0.0/16, blockSize: 28, ipipMode: CrossSubnet, vxlanMode: Never, natOutgoing: true, \
         disabled: true, disableBGPExport: true, nodeSelector: rack == 'one', \
         allowedUses: [Workload, Tunnel], assignmentMode: Manual}",
    ),
    ("IPPool", "six", "{cidr: 'fd00:10::/64', blockSize: 122, vxlanMode: Always}"),
    ("IPPool", "red", "{cidr: 10.9.0.0/16, namespaceSelector: team == 'red', allowedUses: [Workload]}"),
    ("IPReservation", "routers", "{reservedCIDRs: [10.9.0.0/28, 'fd00::1/128']}"),
    ("IPPool", "small", "{cidr: 192.0.2.0/30}"),
    ("IPAMBlock", "10-244-0-64-26", "{cidr: 10.244.0.64/26, node: a, nodeUID: 6f1c, epoch: 1758000000}"),
    (
        "IPAMBlock",
        "10-244-1-0-26",
        "{cidr: 10.244.1.0/26, node: a, nodeUID: 6f1c, epoch: 1, \
         lent: [{address: 10.244.1.5, node: b, nodeUID: '77', epoch: 2}]}",
    ),
    ("IPAMBlock", "fd00--40-122", "{cidr: 'fd00::40/122', node: a, nodeUID: 6f1c, epoch: 1}"),
    (
        "FabricNode",
        "a",
        "{uid: 6f1c, addresses: [192.0.2.11/24, '2001:db8::11/64'], asNumber: '1.10', \
         routeReflectorClusterID: 192.0.2.9, tunnels: {ipip: {address: 10.244.0.1}, \
         vxlan: {address: 10.244.0.2, mac: '66:00:00:00:00:01', \
         addressV6: 'fd00::1', macV6: '66:00:00:00:00:02'}}, podCIDRs: [10.244.3.0/24, 'fd00:3::/64']}",
    ),
    (
        "BGPConfiguration",
        "default",
        "{asNumber: 4200000000, nodeToNodeMeshEnabled: true, nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}, \
         nodeMeshMaxRestartTime: 2m30s, nodeMeshHoldTime: 9s, nodeMeshKeepaliveTime: 3s, listenPort: 1790, \
         communities: [{name: pods, value: '64512:100'}, {name: big, value: '4200000000:1:2'}], \
         prefixAdvertisements: [{cidr: 10.244.0.0/16, communities: [pods, '64512:7', big]}]}",
    ),
    ("BGPConfiguration", "node.a", "{listenPort: 1179}"),
    ("BGPConfiguration", "default", "{nodeMeshHoldTime: 0s, nodeMeshKeepaliveTime: 100s}"),
    (
        "BGPPeer",
        "tor",
        "{node: a, peerIP: '192.0.2.1:1790', asNumber: 65001, localASNumber: '1.1', \
         password: {secretKeyRef: {name: bgp, key: tor.key}}, sourceAddress: None, maxRestartTime: 0s, holdTime: 1m, \
         keepaliveTime: 1000ms, numAllowedLocalASNumbers: 10, ttlSecurity: 254, nextHopMode: Self, passive: true, \
         filters: [first, second]}",
    ),
    ("BGPPeer", "v6", "{nodeSelector: has(rack), peerIP: '[2001:db8::1]:179'}"),
    ("BGPPeer", "bare", "{peerIP: '2001:db8::1'}"),
    ("BGPPeer", "nodes", "{peerSelector: has(rr), reversePeering: Manual}"),
    (
        "BGPFilter",
        "all",
        "{importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 8, max: 32}, \
         source: RemotePeers, peerType: eBGP, communities: {values: ['64512:1']}, asPathPrefix: [65001, '1.1'], \
         operations: [{addCommunity: {value: '64512:1:2'}}, {prependASPath: {prefix: [64512, '1.1']}}, \
         {setPriority: {value: 4294967295}}]}, {action: Reject}], \
         exportV6: [{action: Accept, cidr: 'fd00::/8', matchOperator: NotIn, prefixLength: {max: 128}}]}",
    ),
    ("Tier", "ops", "{order: 5.5, defaultAction: Pass}"),
    ("NetworkSet", "offices", "{nets: [192.0.2.0/24, 'fd00::/64']}"),
    ("GlobalNetworkSet", "offices", "{nets: []}"),
    (
        "HostEndpoint",
        "a",
        "{node: a, interfaceName: eth0, expectedIPs: [192.0.2.1], ports: [{name: ssh, protocol: TCP, port: 22}]}",
    ),
    (
        "NetworkPolicy",
        "front",
        "{tier: ops, order: 1, selector: app == 'front', types: [Ingress, Egress], ingress: [{action: Allow, \
         protocol: TCP, source: {selector: has(app), namespaceSelector: has(team), notNets: [10.0.0.0/8]}, \
         destination: {ports: [80, '81:90', http]}}, {action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}}]}",
    ),
    (
        "GlobalNetworkPolicy",
        "all",
        "{namespaceSelector: has(team), applyOnForward: true, egress: [{action: Pass}]}",
    ),
];

/// Resources with one thing wrong: kind, name, spec, the field that must be named.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("IPPool", "a", "{}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 10.0.0.0}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 10.0.0.0/99}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 10.0.0.1/8}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 169.254.0.0/16}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 127.0.0.0/8}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 'ff00::/8'}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 0.0.0.0/0}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 10}", "spec.cidr"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, blockSize: 19}", "spec.blockSize"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, blockSize: 33}", "spec.blockSize"),
    ("IPPool", "a", "{cidr: 10.0.0.0/24, blockSize: 23}", "spec.blockSize"),
    ("IPPool", "a", "{cidr: 'fd00::/64', blockSize: 64}", "spec.blockSize"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, blockSize: '26'}", "spec.blockSize"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, ipipMode: Sometimes}", "spec.ipipMode"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, vxlanMode: always}", "spec.vxlanMode"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, ipipMode: Always, vxlanMode: Always}", "spec.ipipMode"),
    ("IPPool", "a", "{cidr: 'fd00::/64', ipipMode: Always}", "spec.ipipMode"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, natOutgoing: 'yes'}", "spec.natOutgoing"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, nodeSelector: ''}", "spec.nodeSelector"),
    (
        "IPPool",
        "a",
        "{cidr: 10.0.0.0/16, namespaceSelector: all(), allowedUses: [Tunnel]}",
        "spec.namespaceSelector",
    ),
    ("IPReservation", "a", "{}", "spec.reservedCIDRs"),
    ("IPReservation", "a", "{reservedCIDRs: []}", "spec.reservedCIDRs"),
    ("IPReservation", "a", "{reservedCIDRs: [10.0.0.1/24]}", "spec.reservedCIDRs[0]"),
    ("IPReservation", "a", "{reservedCIDRs: [10.0.0.1]}", "spec.reservedCIDRs[0]"),
    ("FabricNode", "a", "{addresses: [192.0.2.1/24], podCIDRs: [10.0.0.0/24, 10.0.1.0/24]}", "spec.podCIDRs"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, allowedUses: []}", "spec.allowedUses"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, allowedUses: [Pods]}", "spec.allowedUses[0]"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, assignmentMode: automatic}", "spec.assignmentMode"),
    ("IPPool", "a", "{cidr: 10.0.0.0/16, natoutgoing: true}", "spec.natoutgoing"),
    ("IPAMBlock", "10-0-0-0-26", "{cidr: 10.0.0.64/26, node: a, nodeUID: u, epoch: 1}", "spec.cidr"),
    ("IPAMBlock", "10-0-0-0-16", "{cidr: 10.0.0.0/16, node: a, nodeUID: u, epoch: 1}", "spec.cidr"),
    ("IPAMBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, nodeUID: u, epoch: 1}", "spec.node"),
    ("IPAMBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, node: a, epoch: 1}", "spec.nodeUID"),
    ("IPAMBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, node: a, nodeUID: u, epoch: 0}", "spec.epoch"),
    ("FabricNode", "a", "{}", "spec.addresses"),
    ("FabricNode", "a", "{addresses: []}", "spec.addresses"),
    ("FabricNode", "a", "{addresses: [192.0.2.1]}", "spec.addresses[0]"),
    ("FabricNode", "a", "{addresses: [0.0.0.0/8]}", "spec.addresses[0]"),
    ("FabricNode", "a", "{addresses: [127.0.0.1/8]}", "spec.addresses[0]"),
    ("FabricNode", "a", "{addresses: [192.0.2.1/24, 192.0.2.2/24]}", "spec.addresses"),
    ("FabricNode", "a", "{addresses: [192.0.2.1/24], asNumber: 0}", "spec.asNumber"),
    (
        "FabricNode",
        "a",
        "{addresses: [192.0.2.1/24], routeReflectorClusterID: '7'}",
        "spec.routeReflectorClusterID",
    ),
    (
        "FabricNode",
        "a",
        "{addresses: [192.0.2.1/24], routeReflectorClusterID: 0.0.0.0}",
        "spec.routeReflectorClusterID",
    ),
    ("FabricNode", "a", "{addresses: [192.0.2.1/24], tunnels: {ipip: {}}}", "spec.tunnels.ipip.address"),
    (
        "FabricNode",
        "a",
        "{addresses: [192.0.2.1/24], tunnels: {ipip: {address: 'fd00::1'}}}",
        "spec.tunnels.ipip.address",
    ),
    ("FabricNode", "a", "{addresses: [192.0.2.1/24], tunnels: {vxlan: {}}}", "spec.tunnels.vxlan.address"),
    (
        "FabricNode",
        "a",
        "{addresses: [192.0.2.1/24], tunnels: {vxlan: {address: 10.0.0.1}}}",
        "spec.tunnels.vxlan.mac",
    ),
    (
        "FabricNode",
        "a",
        "{addresses: [192.0.2.1/24], tunnels: {vxlan: {address: 10.0.0.1, mac: '01:00:00:00:00:01'}}}",
        "spec.tunnels.vxlan.mac",
    ),
    ("BGPConfiguration", "other", "{asNumber: 64512}", "metadata.name"),
    ("BGPConfiguration", "node.a", "{asNumber: 64512}", "spec.asNumber"),
    ("BGPConfiguration", "node.a", "{nodeToNodeMeshEnabled: false}", "spec.nodeToNodeMeshEnabled"),
    ("BGPConfiguration", "node.a", "{nodeMeshHoldTime: 9s}", "spec.nodeMeshHoldTime"),
    ("BGPConfiguration", "default", "{asNumber: 65535}", "spec.asNumber"),
    ("BGPConfiguration", "default", "{asNumber: '1.65536'}", "spec.asNumber"),
    ("BGPConfiguration", "default", "{asNumber: 4294967295}", "spec.asNumber"),
    ("BGPConfiguration", "default", "{asNumber: many}", "spec.asNumber"),
    (
        "BGPConfiguration",
        "default",
        "{nodeToNodeMeshEnabled: false, nodeMeshPassword: {secretKeyRef: {name: a, key: b}}}",
        "spec.nodeMeshPassword",
    ),
    ("BGPConfiguration", "default", "{nodeMeshPassword: {}}", "spec.nodeMeshPassword.secretKeyRef"),
    (
        "BGPConfiguration",
        "default",
        "{nodeMeshPassword: {secretKeyRef: {name: UP, key: b}}}",
        "spec.nodeMeshPassword.secretKeyRef.name",
    ),
    (
        "BGPConfiguration",
        "default",
        "{nodeMeshPassword: {secretKeyRef: {name: a, key: ../b}}}",
        "spec.nodeMeshPassword.secretKeyRef.key",
    ),
    ("BGPConfiguration", "default", "{nodeMeshMaxRestartTime: 4096s}", "spec.nodeMeshMaxRestartTime"),
    ("BGPConfiguration", "default", "{nodeMeshMaxRestartTime: '120'}", "spec.nodeMeshMaxRestartTime"),
    ("BGPConfiguration", "default", "{nodeMeshHoldTime: 2s}", "spec.nodeMeshHoldTime"),
    ("BGPConfiguration", "default", "{nodeMeshHoldTime: 3500ms}", "spec.nodeMeshHoldTime"),
    ("BGPConfiguration", "default", "{nodeMeshHoldTime: 9999999999h}", "spec.nodeMeshHoldTime"),
    (
        "BGPConfiguration",
        "default",
        "{nodeMeshHoldTime: 9s, nodeMeshKeepaliveTime: 9s}",
        "spec.nodeMeshKeepaliveTime",
    ),
    ("BGPConfiguration", "default", "{listenPort: 0}", "spec.listenPort"),
    ("BGPConfiguration", "default", "{listenPort: 65536}", "spec.listenPort"),
    (
        "BGPConfiguration",
        "default",
        "{communities: [{name: a, value: '1:70000'}]}",
        "spec.communities[0].value",
    ),
    ("BGPConfiguration", "default", "{communities: [{value: '1:7'}]}", "spec.communities[0].name"),
    (
        "BGPConfiguration",
        "default",
        "{communities: [{name: a, value: '1:7'}, {name: a, value: '1:8'}]}",
        "spec.communities[1]",
    ),
    (
        "BGPConfiguration",
        "default",
        "{prefixAdvertisements: [{communities: ['1:7']}]}",
        "spec.prefixAdvertisements[0].cidr",
    ),
    (
        "BGPConfiguration",
        "default",
        "{prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [pods]}]}",
        "spec.prefixAdvertisements",
    ),
    ("BGPPeer", "a", "{}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, peerSelector: all()}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.256}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: tor.example.org}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: '192.0.2.1:0'}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: '192.0.2.1:70000'}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: '[2001:db8::1'}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: '::'}", "spec.peerIP"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, node: a, nodeSelector: all()}", "spec.node"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, node: A_B}", "spec.node"),
    ("BGPPeer", "a", "{peerSelector: all(), asNumber: 1}", "spec.asNumber"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, asNumber: 23456}", "spec.asNumber"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, localASNumber: -1}", "spec.localASNumber"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, password: secret}", "spec.password"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, sourceAddress: 192.0.2.7}", "spec.sourceAddress"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, holdTime: 1s}", "spec.holdTime"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, keepaliveTime: 90s}", "spec.keepaliveTime"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, numAllowedLocalASNumbers: 11}", "spec.numAllowedLocalASNumbers"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, ttlSecurity: 0}", "spec.ttlSecurity"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, nextHopMode: Peer}", "spec.nextHopMode"),
    ("BGPPeer", "a", "{peerIP: 192.0.2.1, filters: [a, a]}", "spec.filters[1]"),
    ("BGPPeer", "a", "{peerSelector: all(), reversePeering: Never}", "spec.reversePeering"),
    ("BGPFilter", "a", "{importV4: [{}]}", "spec.importV4[0].action"),
    ("BGPFilter", "a", "{importV4: [{action: Drop}]}", "spec.importV4[0].action"),
    ("BGPFilter", "a", "{importV4: [{action: Accept, cidr: 10.0.0.0/8}]}", "spec.importV4[0].matchOperator"),
    ("BGPFilter", "a", "{importV4: [{action: Accept, matchOperator: In}]}", "spec.importV4[0].matchOperator"),
    (
        "BGPFilter",
        "a",
        "{importV4: [{action: Accept, cidr: 'fd00::/8', matchOperator: In}]}",
        "spec.importV4",
    ),
    (
        "BGPFilter",
        "a",
        "{exportV6: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}]}",
        "spec.exportV6",
    ),
    ("BGPFilter", "a", "{importV4: [{action: Accept, prefixLength: {max: 33}}]}", "spec.importV4"),
    (
        "BGPFilter",
        "a",
        "{importV6: [{action: Accept, prefixLength: {max: 129}}]}",
        "spec.importV6[0].prefixLength.max",
    ),
    (
        "BGPFilter",
        "a",
        "{importV6: [{action: Accept, prefixLength: {min: 9, max: 8}}]}",
        "spec.importV6[0].prefixLength.min",
    ),
    ("BGPFilter", "a", "{importV4: [{action: Accept, source: Peers}]}", "spec.importV4[0].source"),
    ("BGPFilter", "a", "{importV4: [{action: Accept, peerType: EBGP}]}", "spec.importV4[0].peerType"),
    (
        "BGPFilter",
        "a",
        "{importV4: [{action: Accept, communities: {values: ['1:1', '1:2']}}]}",
        "spec.importV4[0].communities.values",
    ),
    (
        "BGPFilter",
        "a",
        "{importV4: [{action: Accept, asPathPrefix: [0]}]}",
        "spec.importV4[0].asPathPrefix[0]",
    ),
    (
        "BGPFilter",
        "a",
        "{importV4: [{action: Reject, operations: [{setPriority: {value: 1}}]}]}",
        "spec.importV4[0].operations",
    ),
    ("BGPFilter", "a", "{exportV4: [{action: Accept, operations: [{}]}]}", "spec.exportV4[0].operations[0]"),
    (
        "BGPFilter",
        "a",
        "{exportV4: [{action: Accept, operations: [{setPriority: {value: 4294967296}}]}]}",
        "spec.exportV4[0].operations[0].setPriority.value",
    ),
    (
        "BGPFilter",
        "a",
        "{exportV4: [{action: Accept, operations: [{prependASPath: {prefix: []}}]}]}",
        "spec.exportV4[0].operations[0].prependASPath.prefix",
    ),
    (
        "BGPFilter",
        "a",
        "{exportV4: [{action: Accept, operations: [{addCommunity: {value: red}}]}]}",
        "spec.exportV4[0].operations[0].addCommunity.value",
    ),
    ("Tier", "ops", "{defaultAction: Allow}", "spec.defaultAction"),
    ("NetworkSet", "a", "{nets: [192.0.2.1]}", "spec.nets[0]"),
    ("HostEndpoint", "a", "{interfaceName: '*'}", "spec.node"),
    ("NetworkPolicy", "a", "{types: [Both]}", "spec.types[0]"),
    ("NetworkPolicy", "a", "{ingress: [{action: Reject}]}", "spec.ingress[0].action"),
    ("GlobalNetworkPolicy", "a", "{egress: [{}]}", "spec.egress[0].action"),
];

/// Changes that are refused: name, the spec as it is, as it is to be, the field that must be named.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("one", "{cidr: 10.0.0.0/16}", "{cidr: 10.1.0.0/16}", "spec.cidr"),
    ("two", "{cidr: 10.0.0.0/16, blockSize: 26}", "{cidr: 10.0.0.0/16, blockSize: 27}", "spec.blockSize"),
    ("three", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, blockSize: 27}", "spec.blockSize"),
    ("four", "{cidr: 10.0.0.0/16, blockSize: 26}", "{cidr: 10.0.0.0/16}", "spec.blockSize"),
];

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: corduroy.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// An API server that has our kinds.
fn server(label: &str) -> ControlPlane {
    let control = ControlPlane::alone(label);
    let folder = process::workspace().join("manifests/base/crds");
    control.kubectl().run(&format!("apply -k {}", folder.display()));
    control.kubectl().run("wait --for=condition=Established crd --all --timeout=60s");
    control
}

/// What the API server says to a resource; nothing is stored.
fn ask(kubectl: &Kubectl, file: &Path, document: &str) -> Result<String, String> {
    std::fs::write(file, document).unwrap();
    kubectl.call(&["create", "--dry-run=server", "-f", file.to_str().unwrap()])
}

/// Whether a refusal names this field, and not one whose name begins with it.
fn names(refusal: &str, field: &str) -> bool {
    refusal.contains(&format!("{field}: ")) || refusal.contains(&format!("\"{field}\""))
}

#[test]
fn the_api_server_takes_what_is_right_and_refuses_what_is_wrong_with_the_field_named() {
    let control = server("admission");
    let kubectl = control.kubectl();
    let file = control.host().dir().join("question.yaml");
    let mut faults = Vec::new();
    for (kind, name, spec) in GOOD {
        // Kinds that were just defined are served a moment later.
        let taken = eventually(PATIENCE, || match ask(kubectl, &file, &document(kind, name, spec)) {
            Err(why) if why.contains("no matches for kind") || why.contains("NotFound") => Err(why),
            answer => Ok(answer),
        });
        faults.extend(taken.err().map(|why| format!("{kind} {spec} was refused: {why}")));
    }
    for (kind, name, spec, field) in BAD {
        match ask(kubectl, &file, &document(kind, name, spec)) {
            Ok(_) => faults.push(format!("{kind} {spec} was let in")),
            Err(why) if !names(&why, field) => {
                faults.push(format!("{kind} {spec}: {field} is not named: {why}"));
            }
            Err(_) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_must_not_change_is_kept_and_status_is_written_apart() {
    let control = server("immutable");
    let kubectl = control.kubectl();
    for (name, spec, changed, field) in CHANGES {
        eventually(PATIENCE, || kubectl.try_apply(&document("IPPool", name, spec)));
        let refused = kubectl.try_apply(&document("IPPool", name, changed)).unwrap_err();
        assert!(names(&refused, field), "{changed}: {refused}");
    }
    kubectl.apply(&document("IPPool", "free", "{cidr: 10.9.0.0/16, natOutgoing: true}"));
    kubectl.apply(&document("IPPool", "free", "{cidr: 10.9.0.0/16, disabled: true}"));

    let condition = r#"{"status": {"conditions": [{"type": "Disabled", "status": "True", "reason": "Asked",
        "message": "spec.disabled is true", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;
    kubectl
        .call(&["patch", "ippool", "free", "--subresource=status", "--type=merge", "-p", condition])
        .unwrap();
    let pool = kubectl.get("ipp free").unwrap();
    assert_eq!(pool["status"]["conditions"][0]["reason"], "Asked");
    // Who writes a spec does not write a status with it.
    kubectl
        .call(&["patch", "ippool", "free", "--type=merge", "-p", r#"{"status": {"conditions": []}}"#])
        .unwrap();
    assert_eq!(kubectl.get("ipp free").unwrap()["status"]["conditions"][0]["type"], "Disabled");
    let bad = condition.replace(r#""True""#, r#""Maybe""#);
    let refused =
        kubectl.call(&["patch", "ippool", "free", "--subresource=status", "--type=merge", "-p", &bad]);
    assert!(names(&refused.unwrap_err(), "status.conditions[0].status"));

    let table = kubectl.run("get corduroy");
    assert!(table.contains("CIDR") && table.contains("10.9.0.0/16"), "{table}");
    for (name, node) in [("10-0-0-0-26", "a"), ("10-0-0-64-26", "b")] {
        let spec = format!(
            "{{cidr: {}, node: {node}, nodeUID: u, epoch: 1}}",
            name.replacen('-', ".", 3).replace('-', "/")
        );
        kubectl.apply(&document("IPAMBlock", name, &spec));
    }
    let of_a = kubectl.get("ipamblocks --field-selector spec.node=a").unwrap();
    assert_eq!(of_a["items"].as_array().map(Vec::len), Some(1), "{of_a}");
    assert_eq!(of_a["items"][0]["metadata"]["name"], "10-0-0-0-26");
}

/// kubectl looks every kind up before it makes the first thing, so resources of ours need their kinds to be there.
#[test]
fn the_mesh_is_installed_in_one_go_and_every_other_overlay_once_the_kinds_are_known() {
    let control = ControlPlane::alone("overlays");
    let kubectl = control.kubectl();
    let overlays = process::workspace().join("manifests/overlays");
    let install = |overlay: &Path| {
        let said = kubectl.run(&format!("apply -k {}", overlay.display()));
        assert!(said.contains("daemonset.apps/corduroy-agent"), "{said}");
    };
    install(&overlays.join("mesh"));
    kubectl.run("wait --for=condition=Established crd --all --timeout=60s");
    let entries: Vec<_> = std::fs::read_dir(&overlays).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(entries.len() >= 5, "{entries:?}");
    for overlay in entries {
        install(&overlay);
        kubectl.run("delete ippools,bgppeers,bgpfilters,bgpconfigurations --all");
    }
    kubectl.run(&format!("apply -k {}", process::workspace().join("manifests/uninstall").display()));
}
