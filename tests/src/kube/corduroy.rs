//! Corduroy on the cluster as an operator brings it there: an image on every node, then `kubectl apply -k`, in the
//! steps of docs/operations.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster::Cluster;
use super::{Machine, PATIENCE};
use crate::{eventually, process};

/// Across the racks in VXLAN, with a pool for the other family beside the overlay's.
const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata:
  name: default-ipv6
spec:
  cidr: fd00:244::/112
  vxlanMode: CrossSubnet
  natOutgoing: true
";
/// What is in the agent's image.
const PROGRAMS: [&str; 3] = ["corduroy-agent", "corduroy", "cordctl"];
const NAMESPACE: &str = "corduroy-system";

/// Makes an image of the agent as it is built now, tagged `tag`, and brings it to all nodes.
#[track_caller]
pub fn load(cluster: &Cluster, tag: &str) {
    let archive = cluster.disk("images").join(format!("agent-{tag}.tar"));
    let mut image = Command::new(process::workspace().join("tests/tools/image.sh"));
    image.arg(format!("corduroy.dev/agent:{tag}")).arg(&archive);
    let programs = process::static_programs();
    image.args(PROGRAMS.map(|name| programs.join(name)));
    process::output(image);
    cluster.import(&archive);
}

/// Installs or upgrades: the definitions, then `manifests/overlays/cross-subnet-vxlan` with this image and a pool
/// for IPv6. Returns when all agents are ready.
#[track_caller]
pub fn install(cluster: &Cluster, tag: &str) {
    let kubectl = cluster.kubectl();
    kubectl.run(&format!("apply -k {}", manifests().join("base/crds").display()));
    kubectl.run("wait --for=condition=Established crd --all");
    let overlay = self::overlay(cluster, "overlays/cross-subnet-vxlan", tag, POOL);
    kubectl.run(&format!("apply -k {}", overlay.display()));
    kubectl.run(&format!("-n {NAMESPACE} rollout status daemonset/corduroy-agent --timeout=180s"));
}

/// Removes it from nodes and cluster. Returns when all nodes say that they are clean.
#[track_caller]
pub fn uninstall(cluster: &Cluster, tag: &str) {
    let kubectl = cluster.kubectl();
    kubectl.run(&format!("-n {NAMESPACE} delete daemonset corduroy-agent --wait"));
    let clean = overlay(cluster, "uninstall", tag, "");
    kubectl.run(&format!("apply -k {}", clean.display()));
    kubectl.run("-n corduroy-uninstall rollout status daemonset/corduroy-uninstall --timeout=180s");
    kubectl.run(&format!("delete -k {}", clean.display()));
    let overlay = self::overlay(cluster, "overlays/cross-subnet-vxlan", tag, POOL);
    kubectl.run(&format!("delete -k {} --ignore-not-found", overlay.display()));
}

/// `kill -9` of the agent of a node. Returns when another runs.
#[track_caller]
pub fn kill_agent(node: &Machine) {
    let before = node.processes(PROGRAMS[0]).unwrap_or_default();
    node.kill(PROGRAMS[0]);
    eventually(PATIENCE, || match node.processes(PROGRAMS[0])? {
        now if now != before => Ok(()),
        now => Err(format!("still {now:?}")),
    });
}

/// A kustomization upon one of ours, with another tag and, if wanted, more resources.
#[track_caller]
fn overlay(cluster: &Cluster, base: &str, tag: &str, resources: &str) -> PathBuf {
    let dir = cluster.disk("manifests").join(base.replace('/', "-"));
    let base = relative(&dir, &manifests().join(base));
    let mut text = format!("resources:\n- {}\n", base.display());
    let written = fs::create_dir_all(&dir).and_then(|()| {
        if !resources.is_empty() {
            text.push_str("- resources.yaml\n");
            fs::write(dir.join("resources.yaml"), resources)?;
        }
        text.push_str(&format!("images:\n- {{name: corduroy.dev/agent, newTag: {tag}}}\n"));
        fs::write(dir.join("kustomization.yaml"), text)
    });
    written.unwrap_or_else(|e| panic!("can't write {}: {e}", dir.display()));
    dir
}

fn manifests() -> PathBuf {
    process::workspace().join("manifests")
}

/// The way from one directory to another: kustomize wants no absolute paths.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let up = from.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>().join(to.strip_prefix("/").unwrap_or(to))
}
