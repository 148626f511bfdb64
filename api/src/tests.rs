//! Resources read from YAML: what is right comes back as it went in, what is wrong is told in full.

use crate::{API_VERSION, Key, Kind, Resource, yaml};

fn document(kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!("apiVersion: {API_VERSION}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  {spec}\n")
}

fn read(text: &str) -> Result<Resource, Vec<String>> {
    let documents = yaml::documents(text);
    let value = documents[0].parse().unwrap();
    Resource::read(&value).map_err(|refused| refused.problems.iter().map(ToString::to_string).collect())
}

/// Everything that is wrong with a spec, which must be something.
fn wrong(kind: &str, name: &str, spec: &str) -> Vec<String> {
    read(&document(kind, name, spec)).expect_err("this should have been refused")
}

fn right(kind: &str, name: &str, spec: &str) -> Resource {
    read(&document(kind, name, spec)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// One case a line: what the spec says, and the one message it gets.
fn each_is_wrong(kind: &str, name: &str, base: &str, cases: &[(&str, &str)]) {
    for (spec, message) in cases {
        assert_eq!(wrong(kind, name, &format!("{base}{spec}")), [*message], "{spec}");
    }
}

#[test]
fn every_kind_reads_back_as_it_was_written() {
    let all = [
        right(
            "IPPool",
            "pods",
            "cidr: 10.244.0.0/16\nblockSize: 28\nvxlanMode: CrossSubnet\nnatOutgoing: true\n\
             nodeSelector: rack == 'one'\nallowedUses: [Workload]\nassignmentMode: Manual\ndisableBGPExport: true",
        ),
        right("IPPool", "six", "cidr: fd00:10::/64\ndisabled: true"),
        right(
            "IPAMBlock",
            "10-244-0-64-26",
            "cidr: 10.244.0.64/26\nnode: a\nnodeUID: 6f1c\nepoch: 18446744073709551615",
        ),
        right(
            "FabricNode",
            "a",
            "uid: 6f1c\naddresses: [192.0.2.11/24, '2001:db8::11/64']\nasNumber: '1.10'\n\
             routeReflectorClusterID: 192.0.2.9\ntunnels:\n  ipip: {address: 10.244.0.1}\n  \
             vxlan: {address: 10.244.0.2, mac: '66:00:00:00:00:01', addressV6: 'fd00::1', macV6: '66:00:00:00:00:02'}",
        ),
        right(
            "BGPConfiguration",
            "default",
            "asNumber: 64512\nnodeToNodeMeshEnabled: true\n\
             nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}\nnodeMeshMaxRestartTime: 2m30s\n\
             nodeMeshHoldTime: 9s\nnodeMeshKeepaliveTime: 3s\nlistenPort: 1790\n\
             communities: [{name: pods, value: '64512:100'}]\n\
             prefixAdvertisements: [{cidr: 10.244.0.0/16, communities: [pods, '64512:1:2']}]",
        ),
        right("BGPConfiguration", "node.a", "listenPort: 1790"),
        right(
            "BGPPeer",
            "tor",
            "node: a\npeerIP: '[2001:db8::1]:1790'\nasNumber: 65001\nlocalASNumber: 65002\n\
             password: {secretKeyRef: {name: bgp, key: tor}}\nsourceAddress: None\nmaxRestartTime: 0s\n\
             holdTime: 0s\nnumAllowedLocalASNumbers: 2\nttlSecurity: 1\nnextHopMode: Keep\npassive: true\n\
             filters: [one, two]",
        ),
        right("BGPPeer", "rr", "nodeSelector: all()\npeerSelector: has(rr)\nreversePeering: Manual"),
        right(
            "BGPFilter",
            "f",
            "importV4:\n- {action: Accept, cidr: 10.0.0.0/8, matchOperator: NotIn, prefixLength: {min: 8, max: 24}}\n\
             exportV6:\n- action: Accept\n  source: RemotePeers\n  peerType: iBGP\n  communities: {values: ['1:2']}\n  \
             asPathPrefix: [65001, '1.2']\n  operations:\n  - addCommunity: {value: '1:2:3'}\n  \
             - prependASPath: {prefix: [65001]}\n  - setPriority: {value: 0}\n- {action: Reject}",
        ),
    ];
    for resource in all {
        let text = resource.to_yaml().unwrap();
        assert_eq!(read(&text), Ok(resource), "{text}");
    }
}

#[test]
fn all_violations_of_a_resource_are_told_at_once() {
    let problems =
        wrong("IPPool", "Pods_", "cidr: 10.244.0.1/16\nblockSize: '26'\nipipmode: Always\nnatOutgoing: 1");
    let name = "a name of lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit, \
                at most 253 characters";
    assert_eq!(
        problems,
        [
            format!("metadata.name: \"Pods_\" is not allowed: {name}"),
            "spec.ipipmode: \"Always\" is not allowed: no such field; did you mean ipipMode?".to_owned(),
            "spec.blockSize: \"26\" is not allowed: a whole number, zero or more".to_owned(),
            "spec.natOutgoing: 1 is not allowed: true or false".to_owned(),
            "spec.cidr: \"10.244.0.1/16\" is not allowed: bits behind the length must be zero; did you mean \
             10.244.0.0/16?"
                .to_owned(),
        ]
    );
}

#[test]
fn a_document_that_is_no_resource_says_what_one_is() {
    let kinds = "one of BGPFilter, BGPConfiguration, FabricNode, BGPPeer, IPReservation, IPPool, IPAMBlock, \
                 NetworkSet, GlobalNetworkSet, HostEndpoint, Tier, NetworkPolicy, GlobalNetworkPolicy";
    let cases = [
        ("[1, 2]", vec!["document: [1, 2] is not allowed: a mapping (`field: value` lines)".to_owned()]),
        (
            "kind: IPPol",
            vec![
                "apiVersion: missing: corduroy.dev/v1alpha1".to_owned(),
                format!("kind: \"IPPol\" is not allowed: {kinds}"),
                "metadata.name: missing: a name of lower-case letters, digits, '-' and '.', beginning and ending \
                 with a letter or digit, at most 253 characters"
                    .to_owned(),
            ],
        ),
        (
            "apiVersion: projectcalico.org/v3\nkind: Secret\nmetadata: {name: x}",
            vec![
                "apiVersion: \"projectcalico.org/v3\" is not allowed: one of corduroy.dev/v1alpha1, \
                 networking.k8s.io/v1, policy.networking.k8s.io/v1alpha2"
                    .to_owned(),
                "kind: Secret is not allowed: a secret is not read from YAML, only referred to by name and key"
                    .to_owned(),
            ],
        ),
    ];
    for (text, problems) in cases {
        assert_eq!(read(text), Err(problems), "{text}");
    }
}

#[test]
fn what_kubectl_adds_to_metadata_is_let_pass_and_labels_are_checked() {
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: IPPool\nmetadata:\n  name: p\n  uid: u\n  resourceVersion: '7'\n  \
         creationTimestamp: 2026-01-01T00:00:00Z\n  generation: 1\n  managedFields: [{{manager: kubectl}}]\n  \
         labels: {{rack: one, 'a/b/c': x, size: 'very big', count: 3}}\nspec: {{cidr: 10.0.0.0/16}}\nstatus: {{}}\n"
    );
    let words = "letters, digits, '-', '_' and '.', at most 63";
    assert_eq!(
        read(&text).unwrap_err(),
        [
            "metadata.labels.count: 3 is not allowed: text (put it in quotes)".to_owned(),
            format!("metadata.labels: \"a/b/c\" is not allowed: label keys of {words}, with at most one '/'"),
            format!("metadata.labels.size: \"very big\" is not allowed: {words} characters"),
        ]
    );
}

#[test]
fn a_pool_that_cannot_be_is_told_why() {
    let pair = "spec.ipipMode: \"Always\" is not allowed: Never when vxlanMode is not Never: a pool has one \
                encapsulation";
    let six =
        "spec.ipipMode: \"Always\" is not allowed: Never for an IPv6 pool: IPIP carries IPv4; use vxlanMode";
    let column = "spec.nodeSelector: \"rack = 'one'\" is not allowed: a selector; at column 6 wanted ==, !=, in, \
                  not in, contains, starts with or ends with, found \"=\"";
    let host = "unicast addresses that can be routed: not link-local, loopback, multicast or everything";
    each_is_wrong(
        "IPPool",
        "p",
        "",
        &[
            ("nodeSelector: all()", "spec.cidr: missing: a CIDR, as in 10.244.0.0/16 or fd00:10:244::/48"),
            (
                "cidr: 10.0.0.0",
                "spec.cidr: \"10.0.0.0\" is not allowed: a CIDR with its length, as in 10.0.0.0/32",
            ),
            (
                "cidr: ten",
                "spec.cidr: \"ten\" is not allowed: a CIDR, as in 10.244.0.0/16 or fd00:10:244::/48",
            ),
            ("cidr: 0.0.0.0/0", &format!("spec.cidr: \"0.0.0.0/0\" is not allowed: {host}")),
            ("cidr: 169.254.0.0/20", &format!("spec.cidr: \"169.254.0.0/20\" is not allowed: {host}")),
            ("cidr: 'fe80::/64'", &format!("spec.cidr: \"fe80::/64\" is not allowed: {host}")),
            (
                "cidr: 10.0.0.0/16\nblockSize: 19",
                "spec.blockSize: 19 is not allowed: a whole number from 20 to 32",
            ),
            (
                "cidr: 10.0.0.0/28\nblockSize: 26",
                "spec.blockSize: 26 is not allowed: a whole number from 28 to 32",
            ),
            (
                "cidr: 'fd00::/64'\nblockSize: 64",
                "spec.blockSize: 64 is not allowed: a whole number from 116 to 128",
            ),
            (
                "cidr: 10.0.0.0/16\nipipMode: Sometimes",
                "spec.ipipMode: \"Sometimes\" is not allowed: one of Never, CrossSubnet, Always",
            ),
            ("cidr: 10.0.0.0/16\nipipMode: Always\nvxlanMode: Always", pair),
            ("cidr: 'fd00::/64'\nipipMode: Always", six),
            ("cidr: 10.0.0.0/16\nnodeSelector: rack = 'one'", column),
            (
                "cidr: 10.0.0.0/16\nallowedUses: [Workload, LoadBalancer]",
                "spec.allowedUses[1]: \"LoadBalancer\" is not allowed: one of Workload, Tunnel",
            ),
            (
                "cidr: 10.0.0.0/16\nallowedUses: []",
                "spec.allowedUses: [] is not allowed: at least one of Workload, Tunnel",
            ),
        ],
    );
}

#[test]
fn a_block_must_be_a_block_and_have_its_own_name() {
    let rest = "node: a\nnodeUID: u\nepoch: 1\n";
    let name = "the CIDR of the resource's name; a block of this one is named 10-0-0-0-26";
    each_is_wrong(
        "IPAMBlock",
        "b",
        rest,
        &[
            ("cidr: 10.0.0.0/26", &format!("spec.cidr: \"10.0.0.0/26\" is not allowed: {name}")),
            ("", "spec.cidr: missing: the block's CIDR, as in 10.244.0.64/26"),
        ],
    );
    let text = "cidr: 10.0.0.0/16\nnode: ''\nnodeUID: u\nepoch: 0";
    assert_eq!(
        wrong("IPAMBlock", "10-0-0-0-16", text),
        [
            "spec.cidr: \"10.0.0.0/16\" is not allowed: a block of /20 to /32",
            "spec.node: \"\" is not allowed: a node's name",
            "spec.epoch: 0 is not allowed: a whole number from 1 to 18446744073709551615",
        ]
    );
}

#[test]
fn a_node_must_say_where_it_is() {
    let form = "the node's address with the length of its subnet, as in 192.0.2.11/24 or 2001:db8::11/64";
    let number = "an AS number from 1 to 4294967294, plain or dotted (\"1.10\"), other than the reserved 23456 \
                  and 65535";
    let tunnel = "the address of the tunnel device, without a length, of the right family";
    each_is_wrong(
        "FabricNode",
        "a",
        "",
        &[
            ("uid: u", &format!("spec.addresses: missing: at least one of: {form}")),
            ("addresses: [192.0.2.1]", &format!("spec.addresses[0]: \"192.0.2.1\" is not allowed: {form}")),
            (
                "addresses: [127.0.0.1/8]",
                &format!("spec.addresses[0]: \"127.0.0.1/8\" is not allowed: {form}"),
            ),
            (
                "addresses: [192.0.2.1/24, 192.0.2.2/24]",
                "spec.addresses[1]: \"192.0.2.2/24\" is not allowed: at most one address of each family",
            ),
            (
                "addresses: [192.0.2.1/24]\nasNumber: 0",
                &format!("spec.asNumber: \"0\" is not allowed: {number}"),
            ),
            (
                "addresses: [192.0.2.1/24]\nasNumber: 1.10",
                "spec.asNumber: 1.1 is not allowed: a whole number, or text; a dotted number needs quotes, as in \
                 \"1.10\"",
            ),
            (
                "addresses: [192.0.2.1/24]\nasNumber: '65536.1'",
                &format!("spec.asNumber: \"65536.1\" is not allowed: {number}"),
            ),
            (
                "addresses: [192.0.2.1/24]\nrouteReflectorClusterID: 0.0.0.0",
                "spec.routeReflectorClusterID: \"0.0.0.0\" is not allowed: a cluster id written like an IPv4 \
                 address, other than 0.0.0.0",
            ),
            (
                "addresses: [192.0.2.1/24]\ntunnels: {ipip: {}}",
                &format!("spec.tunnels.ipip.address: missing: {tunnel}"),
            ),
            (
                "addresses: [192.0.2.1/24]\ntunnels: {ipip: {address: 'fd00::1'}}",
                &format!("spec.tunnels.ipip.address: \"fd00::1\" is not allowed: {tunnel}"),
            ),
            (
                "addresses: [192.0.2.1/24]\ntunnels: {vxlan: {}}",
                "spec.tunnels.vxlan.address: missing: address and mac, addressV6 and macV6, or both pairs",
            ),
            (
                "addresses: [192.0.2.1/24]\ntunnels: {vxlan: {address: 10.0.0.1, mac: '01:00:5e:00:00:01'}}",
                "spec.tunnels.vxlan.mac: \"01:00:5e:00:00:01\" is not allowed: a unicast MAC, as in \
                 66:12:34:56:78:9a",
            ),
        ],
    );
}

#[test]
fn bgp_settings_that_contradict_themselves_are_refused() {
    let mesh = "left out when nodeToNodeMeshEnabled is false: it is about the mesh";
    let hold = "0s (no keepalives), or a duration of whole seconds from 3s to 65535s (RFC 4271 §4.2)";
    let community =
        "a community: aa:nn with numbers up to 65535, or aa:nn:mm (large) with numbers up to 4294967295";
    each_is_wrong(
        "BGPConfiguration",
        "default",
        "",
        &[
            (
                "nodeToNodeMeshEnabled: false\nnodeMeshMaxRestartTime: 120s",
                &format!("spec.nodeMeshMaxRestartTime: a value is not allowed: {mesh}"),
            ),
            ("nodeMeshHoldTime: 2s", &format!("spec.nodeMeshHoldTime: \"2s\" is not allowed: {hold}")),
            ("nodeMeshHoldTime: '90'", &format!("spec.nodeMeshHoldTime: \"90\" is not allowed: {hold}")),
            (
                "nodeMeshHoldTime: 9s\nnodeMeshKeepaliveTime: 9s",
                "spec.nodeMeshKeepaliveTime: \"9s\" is not allowed: less than the hold time, which is 9s",
            ),
            (
                "nodeMeshMaxRestartTime: 2h",
                "spec.nodeMeshMaxRestartTime: \"2h\" is not allowed: a duration of whole seconds from 0s to 4095s, \
                 as in 90s or 2m30s",
            ),
            ("listenPort: 0", "spec.listenPort: 0 is not allowed: a whole number from 1 to 65535"),
            (
                "nodeMeshPassword: {}",
                "spec.nodeMeshPassword.secretKeyRef: missing: name and key of a secret: a password never stands in \
                 a resource",
            ),
            (
                "communities: [{name: x, value: '70000:1'}]",
                &format!("spec.communities[0].value: \"70000:1\" is not allowed: {community}"),
            ),
            (
                "communities: [{name: x, value: '1:1'}, {name: x, value: '1:2'}]",
                "spec.communities[1].name: \"x\" is not allowed: a name not used above",
            ),
            (
                "communities: [{name: x, value: '1:1'}]\n\
                 prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [y]}]",
                "spec.prefixAdvertisements[0].communities[0]: \"y\" is not allowed: aa:nn, aa:nn:mm, or a name from \
                 spec.communities (x)",
            ),
        ],
    );
    let only = "only in the BGPConfiguration named default; one for a node has listenPort, communities and \
                prefixAdvertisements";
    assert_eq!(
        wrong("BGPConfiguration", "node.a", "asNumber: 65001"),
        [format!("spec.asNumber: a value is not allowed: {only}")]
    );
    assert_eq!(
        wrong("BGPConfiguration", "defualt", "asNumber: 65001"),
        [
            "spec: metadata.name \"defualt\" is not allowed: a BGPConfiguration named default or node.<node's name>"
        ]
    );
}

#[test]
fn ranges_of_services_are_prefixes_but_not_everything() {
    each_is_wrong(
        "BGPConfiguration",
        "default",
        "",
        &[
            (
                "serviceClusterIPs: [{cidr: 10.96.0.1/12}]",
                "spec.serviceClusterIPs[0].cidr: \"10.96.0.1/12\" is not allowed: bits behind the length must be zero; \
                 did you mean 10.96.0.0/12?",
            ),
            (
                "serviceExternalIPs: [{cidr: 203.0.113.0/24}, {}]",
                "spec.serviceExternalIPs[1].cidr: missing: a CIDR",
            ),
            (
                "serviceLoadBalancerIPs: [{cidr: '::/0'}]",
                "spec.serviceLoadBalancerIPs[0].cidr: ::/0 is not allowed: a range, not everything there is",
            ),
            (
                "serviceLoadBalancerAggregation: 'No'",
                "spec.serviceLoadBalancerAggregation: \"No\" is not allowed: one of Enabled, Disabled",
            ),
        ],
    );
    let refused = wrong("BGPConfiguration", "node.a", "serviceClusterIPs: [{cidr: 10.96.0.0/12}]");
    assert!(refused[0].contains("only in the BGPConfiguration named default"), "{refused:?}");
}

#[test]
fn a_peering_must_have_one_local_and_one_remote_side() {
    let form =
        "an address, with a port or without: 192.0.2.1, 192.0.2.1:1790, 2001:db8::1, [2001:db8::1]:1790";
    each_is_wrong(
        "BGPPeer",
        "p",
        "",
        &[
            (
                "asNumber: 65001",
                "spec.peerIP: missing: peerIP (an address), or peerSelector (nodes by label)",
            ),
            (
                "peerIP: 192.0.2.1\npeerSelector: all()",
                "spec.peerIP: \"192.0.2.1\" is not allowed: left out when there is a peerSelector: one or the other",
            ),
            (
                "peerIP: 192.0.2.1\nnode: a\nnodeSelector: all()",
                "spec.node: \"a\" is not allowed: left out when there is a nodeSelector: one or the other",
            ),
            (
                "peerSelector: all()\nasNumber: 65001",
                "spec.asNumber: 65001 is not allowed: left out when there is a peerSelector: the selected nodes know \
                 their AS",
            ),
            ("peerIP: tor.example", &format!("spec.peerIP: \"tor.example\" is not allowed: {form}")),
            ("peerIP: 192.0.2.1:0", &format!("spec.peerIP: \"192.0.2.1:0\" is not allowed: {form}")),
            ("peerIP: 224.0.0.1", &format!("spec.peerIP: \"224.0.0.1\" is not allowed: {form}")),
            (
                "peerIP: 192.0.2.1\nttlSecurity: 255",
                "spec.ttlSecurity: 255 is not allowed: a whole number from 1 to 254",
            ),
            (
                "peerIP: 192.0.2.1\nnumAllowedLocalASNumbers: 11",
                "spec.numAllowedLocalASNumbers: 11 is not allowed: a whole number from 0 to 10",
            ),
            (
                "peerIP: 192.0.2.1\nnextHopMode: self",
                "spec.nextHopMode: \"self\" is not allowed: one of Auto, Self, Keep",
            ),
            (
                "peerIP: 192.0.2.1\nkeepaliveTime: 90s",
                "spec.keepaliveTime: \"90s\" is not allowed: less than the hold time, which is 90s",
            ),
            (
                "peerIP: 192.0.2.1\nfilters: [one, one]",
                "spec.filters[1]: \"one\" is not allowed: a filter not named above",
            ),
            (
                "peerIP: 192.0.2.1\npassword: {secretKeyRef: {name: bgp, key: ../etc}}",
                "spec.password.secretKeyRef.key: \"../etc\" is not allowed: letters, digits, '-', '_' and '.', not \
                 beginning with '.'",
            ),
            (
                "peerIP: 192.0.2.1\nkeepOriginalNextHop: true",
                "spec.keepOriginalNextHop: true is not allowed: no such field; known here: node, nodeSelector, peerIP, \
                 asNumber, peerSelector, reversePeering, localASNumber, password, sourceAddress, maxRestartTime, \
                 holdTime, keepaliveTime, numAllowedLocalASNumbers, ttlSecurity, nextHopMode, passive, filters",
            ),
        ],
    );
}

#[test]
fn a_filter_rule_must_be_one_that_can_decide() {
    let rule = |rule: &str| format!("importV4:\n- {rule}");
    let cases = [
        ("{cidr: 10.0.0.0/8, matchOperator: In}", "action: missing: Accept or Reject"),
        ("{action: Drop}", "action: \"Drop\" is not allowed: one of Accept, Reject"),
        (
            "{action: Accept, cidr: 10.0.0.0/8}",
            "matchOperator: missing: one of Equal, NotEqual, In, NotIn, since there is a cidr",
        ),
        ("{action: Accept, matchOperator: In}", "cidr: missing: a CIDR, since there is a matchOperator"),
        (
            "{action: Accept, cidr: 'fd00::/8', matchOperator: In}",
            "cidr: \"fd00::/8\" is not allowed: an IPv4 CIDR in a V4 rule",
        ),
        (
            "{action: Accept, prefixLength: {min: 33}}",
            "prefixLength.min: 33 is not allowed: a whole number from 0 to 32",
        ),
        (
            "{action: Accept, prefixLength: {min: 24, max: 8}}",
            "prefixLength.min: 24 is not allowed: at most max, which is 8",
        ),
        ("{action: Accept, source: Local}", "source: \"Local\" is not allowed: one of RemotePeers"),
        (
            "{action: Accept, communities: {values: ['1:1', '1:2']}}",
            "communities.values: a list of 2 is not allowed: exactly one community",
        ),
        (
            "{action: Reject, operations: [{setPriority: {value: 1}}]}",
            "operations: 1 operations is not allowed: left out when action is Reject: what is dropped is not changed",
        ),
        (
            "{action: Accept, operations: [{}]}",
            "operations[0]: an operation is not allowed: exactly one of addCommunity, prependASPath, setPriority",
        ),
        (
            "{action: Accept, operations: [{setPriority: {value: 4294967296}}]}",
            "operations[0].setPriority.value: 4294967296 is not allowed: a whole number from 0 to 4294967295",
        ),
        (
            "{action: Accept, operations: [{prependASPath: {prefix: []}}]}",
            "operations[0].prependASPath.prefix: a list of 0 is not allowed: 1 to 10 AS numbers",
        ),
    ];
    for (text, message) in cases {
        let got = wrong("BGPFilter", "f", &rule(text));
        assert_eq!(got, [format!("spec.importV4[0].{message}")], "{text}");
    }
}

#[test]
fn a_field_is_found_on_its_line_in_a_file_of_many_documents() {
    let file = format!(
        "# pools\n{}--- # nodes\n{}",
        document("IPPool", "p", "cidr: 10.0.0.0/16"),
        document(
            "FabricNode",
            "a",
            "addresses:\n- 192.0.2.1/24\n- nonsense\ntunnels:\n  vxlan:\n    mac: none"
        )
    );
    let documents = yaml::documents(&file);
    assert_eq!(documents.len(), 2);
    let refused = Resource::read(&documents[1].parse().unwrap()).unwrap_err();
    assert_eq!(refused.key, Some(Key::new(Kind::FabricNode, "a")));
    let lines: Vec<_> = refused
        .problems
        .iter()
        .map(|problem| {
            let line = documents[1].line_of(&problem.field);
            (problem.field.to_string(), line, file.lines().nth(line - 1).unwrap().trim())
        })
        .collect();
    let field = |name: &str| name.to_owned();
    assert_eq!(
        lines,
        [
            (field("spec.addresses[1]"), 16, "- nonsense"),
            // What is missing is where the mapping around it starts.
            (field("spec.tunnels.vxlan.address"), 19, "mac: none"),
            (field("spec.tunnels.vxlan.mac"), 19, "mac: none"),
        ]
    );
}

#[test]
fn documents_are_cut_at_their_markers_and_nowhere_else() {
    let text = "---\na: 1\n---\n\n# nothing\n--- {b: 2}\n---\nc: |\n  --- not a marker\n----\n";
    let documents: Vec<_> = yaml::documents(text).iter().map(|d| (d.line, d.text.trim())).collect();
    assert_eq!(documents, [(1, "a: 1"), (6, "{b: 2}"), (7, "c: |\n  --- not a marker\n----")]);
    assert_eq!(yaml::documents("# only a comment\n"), []);
}

#[test]
fn a_key_that_stands_twice_and_an_alias_bomb_are_errors_and_no_more() {
    let twice = yaml::documents("a: 1\nb: 2\na: 3\n")[0].parse().unwrap_err();
    assert!(twice.to_string().contains("duplicate entry with key \"a\""), "{twice}");
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (i, name) in "bcdefghij".char_indices() {
        let before = "abcdefghij".get(i..=i).unwrap();
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","));
    }
    let error = yaml::documents(&bomb)[0].parse().unwrap_err();
    assert!(error.to_string().contains("repetition limit"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(yaml::documents(&deep)[0].parse().is_err());
}
