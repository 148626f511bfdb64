//! A schema says no other than the check of its kind: each word, range and required field of it is tried on examples.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use super::*;
use crate::{API_VERSION, Kind, Resource, Step, yaml};

/// Resources that are right and have every field there is, between them.
const EXAMPLES: &[&str] = &[
    "{kind: IPPool, metadata: {name: a}, spec: {cidr: 10.0.0.0/20, blockSize: 24, ipipMode: Always, natOutgoing: true, \
     disabled: true, disableBGPExport: true, nodeSelector: all(), allowedUses: [Tunnel], assignmentMode: Manual}}",
    "{kind: IPPool, metadata: {name: b}, spec: {cidr: 'fd00::/64', blockSize: 120, vxlanMode: Always}}",
    "{kind: IPPool, metadata: {name: c}, spec: {cidr: 10.0.0.0/20, namespaceSelector: has(team)}}",
    "{kind: IPReservation, metadata: {name: a}, spec: {reservedCIDRs: [10.0.0.0/28, 'fd00::1/128']}}",
    "{kind: IPAMBlock, metadata: {name: 10-0-0-0-26}, spec: {cidr: 10.0.0.0/26, node: a, nodeUID: u, epoch: 1, \
     lent: [{address: 10.0.0.5, node: b, nodeUID: v, epoch: 2}]}}",
    "{kind: FabricNode, metadata: {name: a}, spec: {uid: u, addresses: [192.0.2.1/24], asNumber: 64512, \
     routeReflectorClusterID: 192.0.2.9, tunnels: {ipip: {address: 10.0.0.1}, vxlan: {address: 10.0.0.2, \
     mac: '66:00:00:00:00:01', addressV6: 'fd00::1', macV6: '66:00:00:00:00:02'}}, podCIDRs: [10.9.0.0/24]}}",
    "{kind: BGPConfiguration, metadata: {name: default}, spec: {asNumber: '1.1', nodeToNodeMeshEnabled: true, \
     nodeMeshPassword: {secretKeyRef: {name: s, key: k}}, nodeMeshMaxRestartTime: 1s, nodeMeshHoldTime: 9s, \
     nodeMeshKeepaliveTime: 3s, listenPort: 179, communities: [{name: x, value: '1:1'}], \
     prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [x]}], serviceClusterIPs: [{cidr: 10.96.0.0/12}], \
     serviceExternalIPs: [{cidr: 'fd00:e::/64'}], serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}], \
     serviceLoadBalancerAggregation: Disabled}}",
    "{kind: BGPPeer, metadata: {name: a}, spec: {node: a, peerIP: 192.0.2.1, asNumber: 1, localASNumber: 2, \
     password: {secretKeyRef: {name: s, key: k}}, sourceAddress: None, maxRestartTime: 1s, holdTime: 9s, \
     keepaliveTime: 3s, numAllowedLocalASNumbers: 1, ttlSecurity: 1, nextHopMode: Self, passive: true, filters: [f]}}",
    "{kind: BGPPeer, metadata: {name: b}, spec: {nodeSelector: all(), peerSelector: all(), reversePeering: Manual}}",
    "{kind: BGPFilter, metadata: {name: a}, spec: {importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, \
     prefixLength: {min: 9, max: 9}, source: RemotePeers, peerType: eBGP, communities: {values: ['1:1']}, \
     asPathPrefix: [1], operations: [{addCommunity: {value: '1:1'}}, {prependASPath: {prefix: [1]}}, \
     {setPriority: {value: 1}}]}, {action: Reject}], exportV4: [{action: Reject}], \
     importV6: [{action: Accept, prefixLength: {min: 9}}, \
     {action: Accept, prefixLength: {max: 9}}], exportV6: [{action: Reject}]}}",
    "{kind: Tier, metadata: {name: a}, spec: {order: 5, defaultAction: Pass}}",
    "{kind: NetworkSet, metadata: {name: a, namespace: n}, spec: {nets: [192.0.2.0/24, 'fd00::/64']}}",
    "{kind: GlobalNetworkSet, metadata: {name: a}, spec: {nets: [192.0.2.0/24, 'fd00::/64']}}",
    "{kind: HostEndpoint, metadata: {name: a}, spec: {node: a, interfaceName: eth0, expectedIPs: [192.0.2.1], \
     ports: [{name: ssh, protocol: TCP, port: 22}]}}",
    "{kind: NetworkPolicy, metadata: {name: a, namespace: n}, spec: {tier: t, order: 1.5, selector: has(app), \
     serviceAccountSelector: has(app), types: [Ingress, Egress], performanceHints: [AssumeNeededOnEveryNode], \
     ingress: [{action: Allow, ipVersion: 4, protocol: TCP, metadata: {annotations: {}}, \
     source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16], selector: has(app), notSelector: has(other), \
     namespaceSelector: has(team), serviceAccounts: {names: [a], selector: has(app)}, ports: [1024], notPorts: [7]}, \
     destination: {ports: [80, '81:90', http], notPorts: [82]}}, \
     {action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}}, \
     {action: Log, protocol: ICMP, notICMP: {type: 8, code: 0}}, {action: Pass, notProtocol: UDP}], \
     egress: [{action: Allow, destination: {services: {name: s, namespace: n}}}]}}",
    "{kind: GlobalNetworkPolicy, metadata: {name: a}, spec: {tier: t, order: 1, selector: has(app), \
     namespaceSelector: has(team), serviceAccountSelector: has(app), types: [Ingress], applyOnForward: true, \
     doNotTrack: true, preDNAT: false, performanceHints: [AssumeNeededOnEveryNode], ingress: [{action: Allow}], \
     egress: [{action: Allow}]}}",
];

/// The examples with the schema of each.
fn examples() -> impl Iterator<Item = (Kind, Value, Value)> {
    EXAMPLES.iter().map(|text| {
        let text = format!("{{apiVersion: {API_VERSION}, {}", text.strip_prefix('{').unwrap());
        let value = yaml::documents(&text)[0].parse().unwrap();
        let kind = Kind::named(value["kind"].as_str().unwrap()).unwrap();
        let definition = crd::definition(kind).unwrap();
        let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        (kind, value, schema)
    })
}

/// Calls `visit` with the path and schema of everything that stands in `value` and in the schema's `properties`.
fn walk(value: &Value, schema: &Value, path: &mut Vec<Step>, visit: &mut impl FnMut(&[Step], &Value)) {
    visit(path, schema);
    if let (Some(map), Some(properties)) = (value.as_mapping(), schema["properties"].as_mapping()) {
        for (key, inner) in map {
            path.push(key.as_str().unwrap().into());
            walk(inner, &properties[key], path, visit);
            path.pop();
        }
    }
    for (i, item) in value.as_sequence().into_iter().flatten().enumerate() {
        path.push(i.into());
        walk(item, &schema["items"], path, visit);
        path.pop();
    }
}

/// Everything below `spec` of an example, with its schema.
fn fields(value: &Value, schema: &Value) -> Vec<(Vec<Step>, Value)> {
    let mut out = Vec::new();
    walk(&value["spec"], &schema["properties"]["spec"], &mut vec!["spec".into()], &mut |path, schema| {
        out.push((path.to_vec(), schema.clone()));
    });
    out
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

/// Whether the check of the kind finds fault with what stands at `path`, or in it, once it is `new`.
fn refused(value: &Value, path: &[Step], new: Value) -> bool {
    let mut changed = value.clone();
    *at(&mut changed, path) = new;
    // A policy that is only half understood is kept, and says what is wrong with it.
    let broken = |resource: &Resource| match resource {
        Resource::Policy(policy) => policy.body.broken().map(|broken| broken.0.clone()),
        _ => None,
    };
    let problems = match Resource::read(&changed) {
        Ok(resource) => broken(&resource).unwrap_or_default(),
        Err(refused) => refused.problems,
    };
    problems.iter().any(|problem| problem.field.0.starts_with(path))
}

fn shown(kind: Kind, path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(_) => "[]".to_owned(),
    });
    format!("{kind} {}", steps.collect::<Vec<_>>().join("."))
}

#[test]
fn the_examples_are_right_and_have_every_field_there_is() {
    let (mut all, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (kind, value, schema) in examples() {
        let read = Resource::read(&value).unwrap();
        assert!(!matches!(&read, Resource::Policy(policy) if policy.body.broken().is_some()), "{read:?}");
        for (path, schema) in fields(&value, &schema) {
            seen.insert(shown(kind, &path));
            for (name, _) in schema["properties"].as_mapping().into_iter().flatten() {
                let below = [path.clone(), vec![name.as_str().unwrap().into()]].concat();
                all.insert(shown(kind, &below));
            }
        }
    }
    // What stands in one list of a filter's rules may stand in each, and so it is with those of policies and their
    // ends. Some fields there are only to be refused.
    let same = |path: &String| {
        let of_filter = path.contains("importV6.[]") || path.contains("export");
        let of_policy =
            path.contains("gress.[].") && !path.starts_with("NetworkPolicy spec.ingress.[].source");
        of_filter
            || of_policy
            || ["http", "profiles", "services"].iter().any(|refused| path.contains(refused))
    };
    let missing: Vec<_> = all.difference(&seen).filter(|path| !same(path)).collect();
    assert!(missing.is_empty(), "no example has {missing:?}");
}

#[test]
fn words_and_ranges_of_a_schema_are_those_of_the_check() {
    // Each edge must be right in one example: a block of /128 is none in an IPv4 pool, a length of 128 none in a rule
    // for IPv4.
    let mut edges: BTreeMap<String, bool> = BTreeMap::new();
    for (kind, value, schema) in examples() {
        for (path, schema) in fields(&value, &schema) {
            let name = shown(kind, &path);
            let mut right = |new: Value| {
                let edge = format!("{} = {}", name.replace("V6", "V4"), yaml::show(&new));
                *edges.entry(edge).or_default() |= !refused(&value, &path, new);
            };
            if let Some(words) = schema["enum"].as_sequence() {
                words.iter().cloned().for_each(&mut right);
                assert!(refused(&value, &path, "Bogus".into()), "{name}: Bogus is taken");
            }
            if let Some(least) = schema["minimum"].as_u64() {
                let most = schema["maximum"].as_u64();
                std::iter::once(least).chain(most).map(Value::from).for_each(&mut right);
                for wrong in least.checked_sub(1).into_iter().chain(most.map(|most| most + 1)) {
                    assert!(refused(&value, &path, wrong.into()), "{name}: {wrong} is taken");
                }
            }
            if schema["minItems"].as_u64().is_some_and(|least| least > 0) {
                assert!(
                    refused(&value, &path, Value::Sequence(Vec::new())),
                    "{name}: an empty list is taken"
                );
            }
        }
    }
    let wrong: Vec<_> = edges.iter().filter(|(_, right)| !**right).map(|(edge, _)| edge).collect();
    assert!(wrong.is_empty(), "the schema lets in what the check does not: {wrong:#?}");
}

#[test]
fn a_field_that_a_schema_requires_is_missed_by_the_check() {
    for (kind, value, schema) in examples() {
        for (path, schema) in fields(&value, &schema) {
            let Some(map) = schema["properties"].as_mapping() else { continue };
            let required: Vec<_> = schema["required"].as_sequence().into_iter().flatten().collect();
            for name in map.keys().filter(|name| at(&mut value.clone(), &path).get(name).is_some()) {
                let field = [path.clone(), vec![name.as_str().unwrap().into()]].concat();
                let is_required = required.contains(&name);
                assert!(!is_required || refused(&value, &field, Value::Null), "{}", shown(kind, &field));
            }
        }
    }
}

/// The API server refuses rules over texts and lists that may be of any length.
#[test]
fn every_text_and_list_has_a_bound() {
    for (kind, value, schema) in examples() {
        for (path, schema) in fields(&value, &schema) {
            let bounded = match schema["type"].as_str() {
                Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_sequence(),
                Some("array") => schema["maxItems"].is_u64(),
                _ => true,
            };
            assert!(bounded, "{} has no bound", shown(kind, &path));
            assert!(
                schema["description"].is_string() || path.last().is_some_and(|s| matches!(s, Step::Index(_)))
            );
        }
    }
}

#[test]
fn a_definition_names_its_kind_as_kubernetes_wants() {
    let definition = crd::definition(Kind::IpamBlock).unwrap();
    assert_eq!(definition["metadata"]["name"], "ipamblocks.corduroy.dev");
    assert_eq!(definition["spec"]["scope"], "Cluster");
    assert_eq!(definition["spec"]["versions"][0]["subresources"]["status"], Value::Mapping(Mapping::new()));
    assert_eq!(definition["spec"]["versions"][0]["selectableFields"][0]["jsonPath"], ".spec.node");
    assert_eq!(crd::definition(Kind::Secret), None);
    let plurals: BTreeSet<_> = Kind::ALL.into_iter().filter_map(crd::plural).collect();
    assert_eq!(plurals.len(), 13);
    assert_eq!(crd::definition(Kind::NetworkPolicy).unwrap()["spec"]["scope"], "Namespaced");
}

#[test]
fn a_report_has_no_spec_and_is_written_by_one_request() {
    for (plural, definition) in crd::reports() {
        let version = &definition["spec"]["versions"][0];
        assert_eq!(definition["spec"]["names"]["plural"], Value::from(plural));
        assert_eq!(version.get("subresources"), None, "a create would drop the status");
        let properties = &version["schema"]["openAPIV3Schema"]["properties"];
        assert!(properties.get("spec").is_none() && properties.get("status").is_some());
    }
}
