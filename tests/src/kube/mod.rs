//! A real Kubernetes in network namespaces: the same programs that a data centre runs, two racks, nodes that can be
//! unplugged.
//!
//! ```text
//!                       control: etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!                          │ 10.1.3.10
//!   rack a: n1, n3, … ── router ── rack b: n2, n4, …
//! ```
//! [`ControlPlane`] alone is what tests of controllers and datastores need: etcd and an API server in seconds, any
//! part of it ended and started again at will. Nodes, pods' states and the like are objects that such a test writes
//! itself. [`Cluster`] adds nodes with a kubelet, containerd and kube-proxy each ([`Machine`]), on the racks of
//! [`crate::fabric`]. All of it is dual stack. It has no CNI plugin, so that its nodes are NotReady until somebody
//! brings one: [`corduroy`] as an operator would, or [`Cluster::stand_in`], Debian's plugins with routes by hand.
//!
//! # What a node is
//! A network, mount, process, host name and IPC namespace of its own, with a root file system that is this machine's
//! under a layer of the node's (see `node.sh`). Paths inside are the usual ones, so a manifest needs no change for it,
//! and what is written there stays there. [`Cluster::power_off`] ends all of it at once; its disk keeps what was
//! written.
//!
//! # Where the programs come from
//! `tests/tools/kube-bins.sh` builds them from source and keeps them; `make kube-bins` installs what else is needed.
//!
//! # Nothing stays behind
//! Namespaces and directories are the topology's and stand in its ledger; a node's cgroup bears its namespace's name
//! and goes with it. Sysctls that the kubelet sets for the whole machine are files of the node's own.

mod cluster;
mod control;
pub mod corduroy;
mod etcd;
mod image;
mod kubectl;
mod machine;
mod pki;
mod stand_in;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

pub use cluster::{AGNHOST, Cluster};
pub use control::{ControlPlane, Part};
pub use etcd::Etcd;
pub use image::Image;
pub use kubectl::Kubectl;
pub use machine::Machine;

use crate::process;

/// For what takes seconds on an idle machine, on one that is not.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Pods' addresses: each node gets a /24 and a /64 of them as its podCIDRs.
pub const CLUSTER_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/48"];

/// Services' addresses.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];

/// Where the cluster's name server is.
pub const DNS: [&str; 2] = ["10.96.0.10", "fd00:96::a"];

/// The folder of the programs, whether or not they are there.
fn programs() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let mut script = Command::new(process::workspace().join("tests/tools/kube-bins.sh"));
        script.arg("--dir");
        PathBuf::from(process::output(script).trim_end())
    })
}

/// One of them.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(path.is_file(), "there is no {}: `make kube-bins` builds it", path.display());
    path
}
