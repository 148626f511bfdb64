//! Bad input: a clear message, and nothing lost.

use std::fs;

use corduroy_tests::daemons::{Bird, Neighbour, Router};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Segment};

use super::{PATIENCE, peers};

fn one(label: &str) -> (Fabric, Node) {
    let fabric = Fabric::new(label);
    fabric.pools("vxlanMode");
    let mut node = fabric.node("n1", Segment::A, 11);
    node.start();
    (fabric, node)
}

/// Waits for a condition whose text has all these words.
fn condition(node: &Node, words: &[&str]) {
    eventually(PATIENCE, || {
        let status = node.status()?;
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let says = |text: String| words.iter().all(|word| text.contains(word));
        if all.iter().any(|one| says(one.to_string())) { Ok(()) } else { Err(format!("{words:?}: {all:?}")) }
    });
}

#[test]
fn a_second_agent_on_a_node_is_refused_and_told_who_is_there() {
    let (_fabric, mut node) = one("second");
    let output = node.run_again();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let first = node.agent().id();
    assert!(said.contains(&format!("another agent (process {first}) runs on this node")), "{said}");
    node.agent().alive().unwrap();
}

#[test]
fn a_half_written_file_and_then_a_restart_keep_the_last_good_state() {
    let (fabric, mut node) = one("half");
    let pod = fabric.pod(&node, "web");
    let snapshot = node.state("datastore.snapshot");
    eventually(PATIENCE, || fs::read(&snapshot).map_err(|e| e.to_string()));
    let path = fabric.store().join("pools.yaml");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, &whole[..whole.find("cidr").unwrap() + 4]).unwrap();
    condition(&node, &["pools.yaml", "line"]);
    node.kill();
    node.start();
    condition(&node, &["pools.yaml", "line"]);
    let other = fabric.pod(&node, "db");
    pod.inside().run(&format!("ping -c 1 -W 5 {}", other.address(false)));
    fs::write(&path, whole).unwrap();
    eventually(PATIENCE, || {
        let status = node.status()?;
        if status["conditions"] == serde_json::json!([]) { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_node_starts_without_its_datastore_and_a_corrupt_snapshot_is_set_aside() {
    let (fabric, mut node) = one("snapshot");
    let pod = fabric.pod(&node, "web");
    let snapshot = node.state("datastore.snapshot");
    eventually(PATIENCE, || fs::read(&snapshot).map_err(|e| e.to_string()));
    let away = fabric.store().with_extension("away");
    node.kill();
    fs::rename(fabric.store(), &away).unwrap();
    node.start();
    let status = node.status().unwrap();
    assert!(status["kinds"].as_array().unwrap().iter().all(|kind| kind["sync"] == "snapshot"), "{status}");
    let other = fabric.pod(&node, "db");
    pod.inside().run(&format!("ping -c 1 -W 5 {}", other.address(false)));
    fs::rename(&away, fabric.store()).unwrap();
    eventually(PATIENCE, || {
        let status = node.status()?;
        let kinds = status["kinds"].as_array().cloned().unwrap_or_default();
        if kinds.iter().all(|kind| kind["sync"] == "live") { Ok(()) } else { Err(status.to_string()) }
    });

    node.kill();
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&snapshot, &bytes).unwrap();
    node.start();
    let log = node.agent().log();
    assert!(log.contains("is damaged (its check sum is wrong); it is kept as"), "{log}");
    assert_eq!(fs::read(snapshot.with_extension("damaged")).unwrap(), bytes);
    pod.inside().run(&format!("ping -c 1 -W 5 {}", other.address(false)));
}

#[test]
fn a_second_machine_of_a_name_does_nothing_and_says_why() {
    let (fabric, node) = one("namesake");
    let mut other = fabric.namesake("other", &node, Segment::A, 12);
    other.launch();
    let words = ["FabricNode/n1", "belongs to another machine", "give this node another name"];
    condition(&other, &words);
    assert_eq!(other.status().unwrap()["ready"], false);
    assert_eq!(other.host().ip("route show proto 67"), "");
    assert_eq!(node.status().unwrap()["conditions"], serde_json::json!([]));
    fabric.pod(&node, "web");
}

#[test]
fn a_peer_with_our_own_router_id_is_refused_with_the_reason() {
    let (fabric, node) = one("same-id");
    let router = Router::new(64512, "10.1.1.11").peer(Neighbour::one_family("10.1.1.11", 64512));
    let _bird = Bird::start(fabric.router(), router);
    fabric.put("peers", &peers(64512));
    eventually(PATIENCE, || {
        let peers = node.ctl("peers -o json")?;
        if peers.contains("Bad BGP Identifier") { Ok(()) } else { Err(peers) }
    });
}

#[test]
fn of_overlapping_pools_the_first_serves_and_the_other_is_named() {
    let (fabric, node) = one("overlap");
    let pool = "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: wide\n\
                spec:\n  cidr: 10.240.0.0/12\n";
    fabric.put("wide", pool);
    condition(&node, &["IPPool/wide", "10.244.0.0/16"]);
    let pod = fabric.pod(&node, "web");
    assert!(pod.address(false).to_string().starts_with("10.244."));
}
