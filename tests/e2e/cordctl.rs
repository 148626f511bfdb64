//! An agent's report, and `cordctl` against the cluster it is in.

use std::process::Command;
use std::time::Duration;

use corduroy_tests::kube::{ControlPlane, PATIENCE};
use corduroy_tests::process::{self, Process};
use corduroy_tests::{Namespace, eventually};
use serde_json::Value;

/// A password that must not be in any bundle.
const PASSWORD: &str = "hunter2-hunter2-hunter2";
/// An Event waits for half a minute, and for the looks before and behind it.
const TOLD: Duration = Duration::from_secs(120);

fn resources() -> String {
    format!(
        "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {{name: v4}}
spec: {{cidr: 10.244.0.0/16}}
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPPeer
metadata: {{name: tor}}
spec: {{node: n1, peerIP: 192.0.2.200, asNumber: 65001}}
---
apiVersion: v1
kind: Secret
metadata: {{name: bgp}}
stringData: {{password: {PASSWORD}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: corduroy-system}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: planted, namespace: corduroy-system}}
data: {{agent.yaml: 'password: {PASSWORD}', other: 'Authorization: Bearer {PASSWORD}'}}
"
    )
}

/// A host in the place of the API server's, so that the agent reaches it.
fn agent(host: &Namespace, kubeconfig: &str) -> Process {
    host.ip("link add eth0 type veth peer name far");
    host.ip("link set far up");
    host.ip("link set eth0 up");
    host.address("eth0", "192.0.2.77/24");
    let dir = host.dir().join("agent");
    let text = format!(
        "nodeName: n1\nrunDir: {0}/run\nstateDir: {0}/state\naddress: {{v4: 192.0.2.77, v6: none}}\n\
         datastore:\n  kubernetes:\n    kubeconfig: {kubeconfig}\n",
        dir.display()
    );
    let mut command = Command::new(process::binary("corduroy-agent"));
    command.arg("--config").arg(host.file("agent.yaml", &text));
    Process::spawn(host, "corduroy-agent", command)
}

#[test]
fn an_agents_report_is_shown_for_the_whole_cluster_and_a_bundle_has_no_secret() {
    let control = ControlPlane::alone("cordctl");
    let kubectl = control.kubectl().clone();
    let kubeconfig = control.kubeconfig().display().to_string();
    let ctl = |line: &str| {
        let mut command = Command::new(process::binary("cordctl"));
        command.args(["--kubeconfig", &kubeconfig]).args(line.split_whitespace());
        control.host().enter(move || process::try_output(&mut command))
    };
    kubectl.run(&format!("apply -k {}", process::workspace().join("manifests/base/crds").display()));
    eventually(PATIENCE, || kubectl.try_apply(&resources()));
    kubectl.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
    kubectl.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n2}\n");
    let _agent = agent(control.host(), &kubeconfig);

    let report = eventually(PATIENCE, || {
        let report = kubectl.get("nodestatus n1")?["status"].clone();
        let ready = &report["conditions"][0];
        let is_whole =
            ready["status"] == "True" && report["bgp"]["total"] == 1 && report["blocks"]["count"] == 1;
        if is_whole { Ok(report) } else { Err(report.to_string()) }
    });
    assert_eq!(report["addresses"][0]["address"], "192.0.2.77/24");
    assert_eq!(report["bgp"]["summary"], "0/1");
    assert_eq!(report["bgp"]["sessions"][0]["peer"], "BGPPeer/tor");

    let status = ctl("status").unwrap();
    let rows: Vec<&str> = status.lines().collect();
    assert!(
        rows[0].starts_with("NODE") && rows[1].starts_with("n1") && rows[2].starts_with("n2"),
        "{status}"
    );
    assert!(status.contains("n2: no agent has reported of it"), "{status}");
    let peers: Value = serde_json::from_str(&ctl("peers --node n1 -o json").unwrap()).unwrap();
    assert_eq!((&peers[0]["node"], &peers[0]["state"]), (&"n1".into(), &"Down".into()));
    assert!(ctl("peers -o yaml").unwrap().contains("state: Down"));
    assert!(ctl("routes").unwrap_err().contains("kubectl -n corduroy-system exec"));

    let block = report["blocks"]["items"][0]["cidr"].as_str().unwrap();
    let first = block.split('/').next().unwrap();
    let explained = eventually(PATIENCE, || {
        let explained = ctl(&format!("explain {first}"))?;
        if explained.contains(&format!("{block} by n1")) { Ok(explained) } else { Err(explained) }
    });
    assert!(explained.contains("v4 (10.244.0.0/16)") && explained.contains("of node n1"), "{explained}");
    let usage: Value = serde_json::from_str(&ctl("ipam show -o json").unwrap()).unwrap();
    assert_eq!((&usage["pools"][0]["claimed"], &usage["nodes"][0]["name"]), (&1.into(), &"n1".into()));

    eventually(TOLD, || {
        let said = kubectl.try_run("describe bgppeer tor")?;
        if said.contains("SessionDown") { Ok(()) } else { Err(said) }
    });

    let file = control.host().dir().join("bundle.tar.gz");
    let said = ctl(&format!("support-bundle {}", file.display())).unwrap();
    assert!(said.contains("files"), "{said}");
    let all = control.host().run(&format!("tar -xzOf {}", file.display()));
    for wanted in ["10.244.0.0/16", "\"summary\": \"0/1\"", "SessionDown", "\"planted\"", "192.0.2.77"] {
        assert!(all.contains(wanted), "{wanted} is not in the bundle");
    }
    assert!(!all.contains(PASSWORD) && !all.contains("aHVudGVyMi"), "a secret is in the bundle");

    kubectl.run("delete node n1");
    let gone = ctl("status").unwrap();
    assert!(gone.contains("n2"), "{gone}");
}
