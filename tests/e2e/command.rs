//! `kube`, the cluster for people.

use std::fs;
use std::path::Path;
use std::process::Command;

use corduroy_tests::kube::PATIENCE;
use corduroy_tests::{Topology, eventually, process};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What bears the mark of the process `pid` in a directory.
fn marked(dir: &str, pid: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let marks = [format!("cdt-{pid}-"), format!("{pid}-")];
    let found = names.filter(|name| marks.iter().any(|mark| name.starts_with(mark)));
    found.map(|name| format!("{dir}/{name}")).collect()
}

/// All that a cluster is made of, as far as this machine sees it.
fn remains(pid: &str) -> Vec<String> {
    let mut all = marked("/run/netns", pid);
    all.extend(marked("/run/corduroy-tests", pid));
    all.extend(marked("/var/tmp/corduroy-tests", pid));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        all.extend(marked(&hierarchy.path().to_string_lossy(), pid));
    }
    all
}

#[test]
fn a_cluster_for_people_answers_and_leaves_nothing_when_it_is_killed() {
    let place = Topology::new("kube-command");
    let dir = place.disk("state");
    let kube = |line: &str| {
        let mut command = Command::new(process::binary("kube"));
        command.args(line.split_whitespace()).env("CORDUROY_KUBE_DIR", &dir);
        process::try_output(&mut command)
    };
    let refused = kube("kubectl get nodes").unwrap_err();
    assert!(refused.contains("make kube-up"), "{refused}");
    let sysctl = || fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
    let before = sysctl();

    let said = kube("up 1").unwrap();
    assert!(said.contains("kubectl get nodes"), "{said}");
    assert!(kube("kubectl get nodes").unwrap().contains("NotReady"));
    assert_eq!(kube("node n1 hostname").unwrap().trim(), "n1");
    assert!(kube("node n1 ip address").unwrap().contains("10.1.1.11/24"));
    kube("node n1 touch /etc/only-there /run/only-there").unwrap();
    assert!(!Path::new("/etc/only-there").exists(), "a node wrote into this machine");

    let state: Value = serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap();
    let pid = state["pid"].as_i64().unwrap();
    assert!(remains(&pid.to_string()).len() > 5, "the cluster is not where we look for it");
    let holder = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(holder, Signal::KILL).unwrap();
    eventually(PATIENCE, || match remains(&pid.to_string()) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("left behind: {some:?}")),
    });
    assert_eq!(sysctl(), before, "a sysctl of this machine");
    assert!(kube("info").is_err(), "a killed cluster is said to be up");
}
