//! What an agent says of its node: the report, and Events.

use corduroy_api::node_status::{KIND, NodeReport};
use corduroy_api::raw::Raw;
use corduroy_api::{Report, yaml};
use corduroy_datastore_kubernetes::{Announcement, Regarding};
use corduroy_tests::eventually;
use corduroy_tests::kube::PATIENCE;
use serde_json::Value;

use crate::world::{client, on_control_plane, shipped};

/// Every field there is.
const REPORT: &str = "
version: 0.1.0
addresses: [{address: 192.0.2.11/24, why: the cluster knows this node by it}]
tunnels: [{device: vxlan-cord, addresses: [10.244.0.1, 'fd00:244::1']}]
bgp:
  asNumber: 64512
  routerID: 192.0.2.11
  clusterID: 192.0.2.9
  summary: 1/2
  established: 1
  total: 2
  sessions:
  - {peer: BGPPeer/tor, address: 192.0.2.1, asNumber: 64513, state: Down, since: '2026-11-21T21:00:00Z', why: refused}
  - {peer: mesh (n2), address: 192.0.2.12, asNumber: 64512, state: Established, since: '2026-11-21T21:00:00Z',
     families: [ipv4-unicast]}
advertised: {count: 1, prefixes: [10.244.0.0/26]}
blocks: {count: 1, items: [{cidr: 10.244.0.0/26, pool: v4}]}
conditions:
- {type: Ready, status: 'True', lastTransitionTime: '2026-11-21T21:00:00Z', reason: Serving, message: it works}
problems: {count: 1, items: [{severity: Warning, about: nftables, message: drops}]}
";

fn report(text: &str) -> NodeReport {
    let value = yaml::documents(text)[0].parse().unwrap();
    let mut problems = Report::default();
    let report = NodeReport::read(&value, &mut problems).unwrap();
    problems.finish(Some(report)).unwrap()
}

#[test]
fn a_report_is_written_once_belongs_to_its_node_and_shows_in_kubectl() {
    on_control_plane("node-status", |control, runtime| {
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        let say = |uid: &str, report: &NodeReport| runtime.block_on(store.report("n1", uid, report));
        let first = report(REPORT);
        let why = say("x", &first).unwrap_err().to_string();
        assert!(why.contains("CustomResourceDefinition is missing"), "{why}");

        kubectl.run(&format!("apply -f {}", shipped().join("nodestatuses.yaml").display()));
        kubectl.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
        let node = kubectl.get("node n1").unwrap();
        let uid = node["metadata"]["uid"].as_str().unwrap();
        eventually(PATIENCE, || say(uid, &first).map_err(|error| error.to_string()));
        let there = || kubectl.get("nodestatus n1").unwrap();
        let object = there();
        assert_eq!(object["kind"], KIND);
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], uid);
        assert_eq!(object["status"], serde_json::to_value(&first).unwrap(), "a field is not in the schema");

        let table = kubectl.run("get nst");
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..7], ["n1", "True", "1/2", "1", "1", "1", "0.1.0"], "{table}");

        say(uid, &first).unwrap();
        assert_eq!(
            there()["metadata"]["resourceVersion"],
            object["metadata"]["resourceVersion"],
            "written twice"
        );
        let second = NodeReport { problems: None, ..first };
        say(uid, &second).unwrap();
        assert_eq!(there()["status"]["problems"], Value::Null, "what is said no more stays");
        kubectl.run("delete nodestatus n1");
        say(uid, &second).unwrap();
        assert_eq!(there()["status"]["version"], "0.1.0");

        let wrong = NodeReport { version: Some("1".repeat(100)), ..second };
        let why = say(uid, &wrong).unwrap_err().to_string();
        assert!(why.contains("status.version"), "{why}");
    });
}

#[test]
fn an_event_shows_with_its_object_and_what_is_said_again_is_a_series() {
    on_control_plane("events", |control, runtime| {
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        kubectl.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
        let uid = kubectl.get("node n1").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        let regarding = Regarding { api_version: "v1".into(), kind: "Node".into(), name: "n1".into(), uid };
        let event = |note: &str, count| Announcement {
            regarding: regarding.clone(),
            reporter: ("corduroy.dev/agent".into(), "n1".into()),
            is_warning: true,
            reason: "NotServing".into(),
            note: note.into(),
            count,
        };
        let say = |event: &Announcement| runtime.block_on(store.announce(event));
        say(&event("the kernel has not been read yet", 1)).unwrap();
        let described = kubectl.run("describe node n1");
        assert!(described.contains("the kernel has not been read yet"), "{described}");
        let all = || kubectl.get("events.events.k8s.io").unwrap()["items"].as_array().unwrap().clone();
        assert_eq!((all().len(), &all()[0]["series"]), (1, &Value::Null));
        // By the same run, and by the next one, which begins to count anew.
        for (count, series) in [(2, 2), (3, 3), (1, 2)] {
            say(&event("the kernel has not been read yet", count)).unwrap();
            assert_eq!((all().len(), &all()[0]["series"]["count"]), (1, &Value::from(series)));
        }
        say(&event("this node has no address", 1)).unwrap();
        assert_eq!(all().len(), 2);
    });
}
