//! Resources that an API server lets in and that are wrong all the same: each says so in its condition `InForce`, with
//! the field named, and the fabric goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_tests::daemons::{Bird, Daemon as _, Neighbour, Router};
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::kube::{Kubectl, PATIENCE};
use corduroy_tests::probe::Ping;
use corduroy_tests::{eventually, process};
use serde_json::{Value, json};

use crate::peering::{POOL, peers, resource};

/// Wrong where no schema can see it: kind, name, spec, the field that must be named, the reason, and what mends it.
/// Nobody is at the addresses of these peers.
const BAD: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("IPPool", "overlaps", "{cidr: 10.244.4.0/24}", "spec.cidr", "Overlapping", ""),
    (
        "IPPool",
        "nowhere",
        "{cidr: 10.9.0.0/16, nodeSelector: has(gpu)}",
        "spec.nodeSelector",
        "NoNode",
        "{cidr: 10.9.0.0/16, nodeSelector: all()}",
    ),
    (
        "IPReservation",
        "outside",
        "{reservedCIDRs: [10.244.0.0/30, 10.77.0.0/30]}",
        "spec.reservedCIDRs[1]",
        "OutsidePools",
        "{reservedCIDRs: [10.244.0.0/30]}",
    ),
    (
        "BGPConfiguration",
        "default",
        "{serviceClusterIPs: [{cidr: 10.96.0.0/16}, {cidr: 10.244.8.0/24}]}",
        "spec.serviceClusterIPs[1].cidr",
        "Overlapping",
        "{serviceClusterIPs: [{cidr: 10.96.0.0/16}]}",
    ),
    ("BGPConfiguration", "node.n9", "{listenPort: 1179}", "metadata.name", "NoNode", ""),
    (
        "BGPPeer",
        "filter",
        "{peerIP: 10.1.1.70, asNumber: 65001, filters: [gone]}",
        "spec.filters[0]",
        "NoFilter",
        "{peerIP: 10.1.1.70, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "password",
        "{peerIP: 10.1.1.71, asNumber: 65001, password: {secretKeyRef: {name: gone, key: k}}}",
        "spec.password.secretKeyRef",
        "NoPassword",
        "{peerIP: 10.1.1.71, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "nodes",
        "{nodeSelector: has(gpu), peerIP: 10.1.1.72, asNumber: 65001}",
        "spec.nodeSelector",
        "NoNode",
        "{peerIP: 10.1.1.72, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "neighbours",
        "{peerSelector: has(gpu)}",
        "spec.peerSelector",
        "NoNeighbour",
        "{peerIP: 10.1.1.73, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "itself",
        "{node: n1, peerIP: 10.1.1.11}",
        "spec.peerIP",
        "OwnAddress",
        "{node: n1, peerIP: 10.1.1.74, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "nobody",
        "{node: n9, peerIP: 10.1.1.75, asNumber: 65001}",
        "spec.node",
        "NoNode",
        "{node: n1, peerIP: 10.1.1.75, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "no-as",
        "{peerIP: 10.1.1.76}",
        "spec.asNumber",
        "NoAS",
        "{peerIP: 10.1.1.76, asNumber: 65001}",
    ),
    (
        "BGPPeer",
        "second",
        "{peerIP: 10.1.1.70, asNumber: 65001, passive: true}",
        "spec.peerIP",
        "AnotherPeer",
        "{peerIP: 10.1.1.78, asNumber: 65001, passive: true}",
    ),
    (
        "BGPPeer",
        "wrong-as",
        "{node: n1, peerIP: 10.1.1.99, asNumber: 65001}",
        "spec.asNumber",
        "WrongAS",
        "{node: n1, peerIP: 10.1.1.99}",
    ),
    (
        "BGPPeer",
        "link-local",
        "{node: n1, peerIP: 'fe80::9', asNumber: 65001}",
        "spec.peerIP",
        "Unreachable",
        "{node: n1, peerIP: 'fd00:1:1::99', asNumber: 65001}",
    ),
];

/// Wrong in a way that the schema refuses, and stored before it did: kind, name, spec, field, and what mends it.
const OLD: &[(&str, &str, &str, &str, &str)] = &[
    (
        "BGPPeer",
        "old",
        "{peerIP: 10.1.1.80, asNumber: 65001, holdTime: 1s}",
        "spec.holdTime",
        "{peerIP: 10.1.1.80, asNumber: 65001, holdTime: 9s}",
    ),
    (
        "BGPFilter",
        "old",
        "{importV4: [{action: Drop}]}",
        "spec.importV4[0].action",
        "{importV4: [{action: Reject}]}",
    ),
    (
        "IPReservation",
        "old",
        "{reservedCIDRs: [10.244.0.9/24]}",
        "spec.reservedCIDRs[0]",
        "{reservedCIDRs: [10.244.9.0/30]}",
    ),
    ("IPPool", "old", "{cidr: 10.10.0.0/16, ipipMode: Sometimes}", "spec.ipipMode", "{cidr: 10.10.0.0/16}"),
];

/// Stored before the schema had an opinion on names, which is one about the whole: the server takes no status of it.
const MISNAMED: (&str, &str, &str) = ("BGPConfiguration", "mine", "{listenPort: 1179}");

/// The conditions of all resources of the kinds that people write, by `Kind/name`.
fn conditions(kubectl: &Kubectl) -> Result<BTreeMap<String, Value>, String> {
    let list = kubectl.get("ippools,ipreservations,bgpconfigurations,bgppeers,bgpfilters")?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let of = |item: Value| {
        let key = format!("{}/{}", item["kind"].as_str()?, item["metadata"]["name"].as_str()?);
        let all = item["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ours = all.into_iter().find(|condition| condition["type"] == "InForce").unwrap_or_default();
        // What is said of an older generation is not said.
        let is_current = ours["observedGeneration"] == item["metadata"]["generation"];
        Some((key, if is_current { ours } else { Value::Null }))
    };
    Ok(items.into_iter().filter_map(of).collect())
}

/// Waits until each of these is said: key, status, reason, and what the message begins with.
fn all_say(kubectl: &Kubectl, wanted: &[(String, &str, &str, &str)]) {
    eventually(PATIENCE, || {
        let said = conditions(kubectl)?;
        let wrong = wanted.iter().filter(|(key, status, reason, begins)| {
            let condition = said.get(key).cloned().unwrap_or_default();
            let message = condition["message"].as_str().unwrap_or_default();
            condition["status"] != *status
                || (!reason.is_empty() && condition["reason"] != *reason)
                || !message.starts_with(begins)
        });
        let wrong: Vec<String> = wrong.map(|want| format!("{want:?}: {:?}", said.get(&want.0))).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    });
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

/// What `kubectl get` prints for one in the column In-Force.
fn column(kubectl: &Kubectl, kind: &str, name: &str) -> String {
    let table = kubectl.run(&format!("get {kind} {name}"));
    let mut lines = table.lines();
    let at = lines.next().and_then(|heading| heading.find("IN-FORCE"));
    let at = at.unwrap_or_else(|| panic!("no column In-Force in\n{table}"));
    let word = lines.next().and_then(|row| row.get(at..)).and_then(|rest| rest.split_whitespace().next());
    word.unwrap_or_default().to_owned()
}

/// Whether the caretaker has said once of each object, in an Event, that it is not in force.
fn each_is_told_once(kubectl: &Kubectl) -> Result<(), String> {
    let list = kubectl.get("events.events.k8s.io -n default")?;
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        let by = event["reportingController"] == "corduroy.dev/caretaker" && event["type"] == "Warning";
        let about = &event["regarding"];
        if let (true, Some(kind), Some(name)) = (by, about["kind"].as_str(), about["name"].as_str()) {
            // A series was said at least twice.
            *told.entry(key(kind, name)).or_default() += if event["series"].is_null() { 1 } else { 2 };
        }
    }
    let wrong = wrong().filter(|key| told.get(key) != Some(&1));
    let wrong: Vec<String> = wrong.map(|key| format!("{key}: {:?}", told.get(&key))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

/// Everything that is wrong, by its key.
fn wrong() -> impl Iterator<Item = String> {
    let old = OLD.iter().map(|(kind, name, ..)| key(kind, name));
    BAD.iter().map(|(kind, name, ..)| key(kind, name)).chain(old).chain([key(MISNAMED.0, MISNAMED.1)])
}

/// Takes all rules out of the definitions, as if they were of a version that did not have them yet.
fn loosen(kubectl: &Kubectl) {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let path = "/spec/versions/0/schema/openAPIV3Schema";
    let patch = json!([{ "op": "replace", "path": path, "value": schema }]).to_string();
    for plural in ["bgppeers", "bgpfilters", "ipreservations", "ippools", "bgpconfigurations", "fabricnodes"]
    {
        kubectl
            .call(&["patch", "crd", &format!("{plural}.corduroy.dev"), "--type=json", "-p", &patch])
            .unwrap();
    }
}

/// Puts the definitions back as the manifests have them.
fn tighten(kubectl: &Kubectl) {
    let folder = process::workspace().join("manifests/base/crds");
    kubectl.run(&format!("replace -k {}", folder.display()));
    let bad = resource("BGPFilter", "asked", "{importV4: [{action: Drop}]}");
    eventually(PATIENCE, || match kubectl.try_apply(&bad) {
        Err(why) if why.contains("spec.importV4[0].action") => Ok(()),
        Err(why) => Err(why),
        Ok(_) => {
            kubectl.run("delete bgpfilter asked");
            Err("it is let in".to_owned())
        }
    });
}

/// A metric of an agent, by its name with labels.
fn metric(node: &Node, name: &str) -> Result<Option<u64>, String> {
    let text = node.host().try_run("curl -sS --max-time 5 http://127.0.0.1:9469/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    Ok(value)
}

fn caretaker(nodes: &[Node]) -> (&Node, &Node) {
    eventually(PATIENCE, || {
        let leads = |node: &Node| metric(node, "corduroy_caretaker").map(|value| value == Some(1));
        match nodes {
            [one, other] if leads(one)? && !leads(other)? => Ok((one, other)),
            [one, other] if leads(other)? && !leads(one)? => Ok((other, one)),
            _ => Err("not one of the two is the caretaker".to_owned()),
        }
    })
}

/// Makes everything that is wrong, and waits until all of it says so.
fn go_wrong(kubectl: &Kubectl) {
    let manifests = BAD.iter().map(|(kind, name, spec, ..)| resource(kind, name, spec));
    kubectl.apply(&manifests.collect::<Vec<_>>().join("---\n"));
    loosen(kubectl);
    let odd = ("FabricNode", "odd", "{addresses: [10.1.1.300/24]}");
    let old = OLD.iter().map(|(kind, name, spec, ..)| (*kind, *name, *spec)).chain([MISNAMED, odd]);
    let manifests =
        old.map(|(kind, name, spec)| resource(kind, name, spec)).collect::<Vec<_>>().join("---\n");
    eventually(PATIENCE, || kubectl.try_apply(&manifests));
    tighten(kubectl);
    let of_bad =
        BAD.iter().map(|(kind, name, _, field, reason, _)| (key(kind, name), "False", *reason, *field));
    let of_old = OLD.iter().map(|(kind, name, _, field, _)| (key(kind, name), "False", "Invalid", *field));
    all_say(kubectl, &of_bad.chain(of_old).collect::<Vec<_>>());
}

/// Mends everything that is wrong, and waits until all of it says so.
fn mend(kubectl: &Kubectl) {
    let bad = BAD.iter().map(|(kind, name, _, _, _, spec)| (*kind, *name, *spec));
    let old = OLD.iter().map(|(kind, name, _, _, spec)| (*kind, *name, *spec));
    let mut mended = Vec::new();
    for (kind, name, spec) in bad.chain(old) {
        if spec.is_empty() {
            kubectl.run(&format!("delete {kind} {name}"));
        } else {
            kubectl.apply(&resource(kind, name, spec));
            mended.push((key(kind, name), "True", "", ""));
        }
    }
    kubectl.run("delete fabricnode odd");
    kubectl.run("delete bgpconfiguration mine");
    all_say(kubectl, &mended);
}

fn not_in_force(caretaker: &Node, kind: &str, wanted: u64) {
    eventually(PATIENCE, || match metric(caretaker, &format!("corduroy_not_in_force{{kind=\"{kind}\"}}"))? {
        Some(some) if some == wanted => Ok(()),
        some => Err(format!("{some:?} instead of {wanted} {kind}s are not in force")),
    });
}

fn has_session(node: &Node, wanted: &str) {
    eventually(PATIENCE, || match peers(node)? {
        some if some.iter().any(|peer| peer == wanted) => Ok(()),
        some => Err(format!("{some:?}")),
    });
}

#[test]
fn what_admission_cannot_judge_is_said_in_a_condition_and_the_fabric_keeps_running() {
    let fabric = Fabric::of_cluster("conditions");
    let kubectl = fabric.kubectl();
    // A pool that overlaps is the later one by name.
    kubectl.apply(&POOL.replace("name: v4", "name: first"));
    kubectl.apply(&resource("FabricNode", "ghost", "{addresses: [10.1.1.99/24]}"));
    let mut nodes = [fabric.node("n1", Segment::A, 11), fabric.node("n2", Segment::A, 12)];
    nodes.iter_mut().for_each(Node::start);
    let (p1, p2) = (fabric.pod(&nodes[0], "p1"), fabric.pod(&nodes[1], "p2"));
    let target = p2.address(false).to_string();
    eventually(PATIENCE, || p1.inside().try_run(&format!("ping -c 1 -W 1 {target}")));
    let ping = Ping::start(p1.inside(), &target, Duration::from_millis(10));
    all_say(&kubectl, &[(key("IPPool", "first"), "True", "InForce", "")]);

    go_wrong(&kubectl);
    for (kind, name) in
        [("ippool", "overlaps"), ("ipreservation", "outside"), ("bgpconfiguration", "node.n9")]
    {
        assert_eq!(column(&kubectl, kind, name), "False", "{kind} {name}");
    }
    for (kind, name) in [("bgppeer", "filter"), ("bgpfilter", "old"), ("bgppeer", "old")] {
        assert_eq!(column(&kubectl, kind, name), "False", "{kind} {name}");
    }
    assert_eq!(column(&kubectl, "ippool", "first"), "True");
    eventually(PATIENCE, || each_is_told_once(&kubectl));
    // What agents write themselves has no condition: they say it.
    eventually(PATIENCE, || match nodes[0].ctl("status")? {
        said if said.contains("10.1.1.300") => Ok(()),
        said => Err(format!("nothing of FabricNode/odd in {said}")),
    });
    let (one, other) = caretaker(&nodes);
    not_in_force(one, "BGPPeer", 11);
    assert!(metric(one, "corduroy_caretaker_statuses_written_total").unwrap() >= Some(20));
    let pool = "corduroy_ipam_pool_blocks{pool=\"first\",state=\"claimed\"}";
    assert_eq!([metric(one, pool), metric(other, pool)], [Ok(Some(2)), Ok(None)]);

    // The fabric runs, and what is good takes effect beside all that.
    has_session(&nodes[0], "10.1.1.12 mesh (n2)");
    let router = Router::new(65001, "10.1.1.1")
        .peer(Neighbour { passive: true, ..Neighbour::one_family("10.1.1.11", 64512) });
    let tor = Bird::start(fabric.router(), router);
    kubectl.apply(&resource("BGPPeer", "good", "{node: n1, peerIP: 10.1.1.1, asNumber: 65001}"));
    eventually(PATIENCE, || tor.established("10.1.1.11".parse().unwrap()));

    mend(&kubectl);
    all_say(&kubectl, &[(key("BGPPeer", "good"), "True", "InForce", "")]);
    assert_eq!(column(&kubectl, "bgppeer", "filter"), "True");
    not_in_force(one, "BGPPeer", 0);
    each_is_told_once(&kubectl).unwrap();
    has_session(&nodes[1], "10.1.1.11 mesh (n1)");
    ping.stop(Duration::from_secs(5)).expect_no_loss("bad resources of every kind");
}
