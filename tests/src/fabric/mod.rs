//! A whole Corduroy fabric in namespaces: two racks joined by a router, nodes with our agent, pods wired by our CNI
//! plugin, one file datastore (or API server, see `cluster`) that all agents share.
//!
//! ```text
//!              10.1.3.0/24 ── client
//!                   │
//!                router ── rack b: 10.1.2.0/24, fd00:1:2::/64
//!                   │
//!             rack a: 10.1.1.0/24, fd00:1:1::/64
//! ```
//! Host number n of a rack has the addresses `10.1.<rack>.n` and `fd00:1:<rack>::n`; the router is number 1 of each.
//! Pods live in 10.244.0.0/16 and fd00:244::/112, cut into the blocks of the pool that the test puts.

mod clock;
mod cluster;
mod node;
mod pod;

use std::fs;
use std::path::{Path, PathBuf};

pub use cluster::patch_status;
pub use node::Node;
pub use pod::Pod;

use crate::kube::Kubectl;
use crate::{Namespace, Topology};

/// One of the two racks, or what lies behind the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The rack whose router is its ToR.
    A,
    /// The other rack.
    B,
    /// Behind the router: hosts that are no nodes.
    Outside,
}

impl Segment {
    fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
            Self::Outside => 3,
        }
    }
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "rack-a",
            Self::B => "rack-b",
            Self::Outside => "outside",
        }
    }
    /// The IPv4 address of host `n` in it.
    #[must_use]
    pub fn v4(self, n: u8) -> String {
        format!("10.1.{}.{n}", self.number())
    }
    /// The IPv6 address of host `n` in it.
    #[must_use]
    pub fn v6(self, n: u8) -> String {
        format!("fd00:1:{}::{n:x}", self.number())
    }
}

/// Two racks, a router, a datastore.
#[derive(Debug)]
pub struct Fabric {
    net: Topology,
    router: Namespace,
    store: PathBuf,
    cluster: Option<cluster::Server>,
}

impl Fabric {
    /// The racks and their router, no host in them yet, an empty datastore.
    #[track_caller]
    #[must_use]
    pub fn new(label: &str) -> Self {
        let net = Topology::new(label);
        let router = net.namespace("router");
        router.forward();
        for segment in [Segment::A, Segment::B, Segment::Outside] {
            // The router is its own switch: hosts of a segment share a broadcast domain.
            router.ip(&format!("link add {} type bridge stp_state 0 forward_delay 0", segment.name()));
            // Left to itself a bridge takes another hardware address when a host is unplugged, and the others would
            // have to find it again.
            let address = format!("02:00:00:00:{:02x}:01", segment.number());
            router.ip(&format!("link set {} address {address} up", segment.name()));
            router.address(segment.name(), &format!("{}/24", segment.v4(1)));
            router.address(segment.name(), &format!("{}/64", segment.v6(1)));
        }
        let store = router.dir().join("datastore");
        fs::create_dir_all(&store).unwrap_or_else(|e| panic!("can't make {}: {e}", store.display()));
        Self { net, router, store, cluster: None }
    }

    /// The router between the racks.
    #[must_use]
    pub fn router(&self) -> &Namespace {
        &self.router
    }

    /// A directory on disk that goes with the fabric.
    #[track_caller]
    pub fn disk(&self, label: &str) -> PathBuf {
        self.net.disk(label)
    }

    /// The directory that is the datastore.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// A plain host, number `n` of `segment`, its default route by the router.
    #[track_caller]
    pub fn host(&self, label: &str, segment: Segment, n: u8) -> Namespace {
        let host = self.net.namespace(label);
        self.net.link(&host, "eth0", &self.router, label);
        self.router.ip(&format!("link set {label} master {}", segment.name()));
        host.address("eth0", &format!("{}/24", segment.v4(n)));
        host.address("eth0", &format!("{}/64", segment.v6(n)));
        host.ip(&format!("route add default via {}", segment.v4(1)));
        host.ip(&format!("-6 route add default via {}", segment.v6(1)));
        host
    }

    /// Takes a host away, cable and all.
    pub fn unplug(&self, host: &Namespace) {
        self.net.remove(host);
    }

    /// A node, number `n` of `segment`, its agent not started yet.
    #[track_caller]
    pub fn node(&self, label: &str, segment: Segment, n: u8) -> Node {
        match &self.cluster {
            Some(_) => self.registered(label, segment, n, ""),
            None => Node::new(self.host(label, segment, n), label, &self.store),
        }
    }

    /// A node whose datastore is a cluster's API server, with `more` in its agent's configuration. The Node object of
    /// its name is the test's to make.
    #[track_caller]
    pub fn member(&self, host: Namespace, name: &str, kubeconfig: &Path, more: &str) -> Node {
        let store = format!("datastore:\n  kubernetes:\n    kubeconfig: {}\n{more}", kubeconfig.display());
        Node::with(host, name, &store)
    }

    /// A host that was given the name of a node that exists.
    #[track_caller]
    pub fn namesake(&self, label: &str, of: &Node, segment: Segment, n: u8) -> Node {
        Node::new(self.host(label, segment, n), of.name(), &self.store)
    }

    /// A pod on `node`, wired by the plugin.
    #[track_caller]
    pub fn pod(&self, node: &Node, label: &str) -> Pod {
        self.pod_of(self.cluster.as_ref().map(|cluster| cluster.control.kubectl()), node, label)
    }

    /// A pod on `node`, wired by the plugin; in a cluster there is a Pod of its name first.
    #[track_caller]
    pub(crate) fn pod_of(&self, cluster: Option<&Kubectl>, node: &Node, label: &str) -> Pod {
        let container = self.net.namespace(label);
        let name = format!("{label}-{}", container.name());
        if let Some(kubectl) = cluster {
            cluster::bind(kubectl, &name, node.name());
        }
        Pod::add(container, name, node)
    }

    /// A namespace for a pod of which nothing is asked yet.
    #[track_caller]
    pub fn container(&self, label: &str) -> Namespace {
        self.net.namespace(label)
    }

    /// Puts resources (YAML, any number of documents) into the datastore, as an operator would: by a file that
    /// appears whole.
    #[track_caller]
    pub fn put(&self, name: &str, yaml: &str) {
        let path = self.store.join(format!("{name}.yaml"));
        let draft = self.store.join(format!(".{name}.draft"));
        let written = fs::write(&draft, yaml).and_then(|()| fs::rename(&draft, &path));
        written.unwrap_or_else(|e| panic!("can't write {}: {e}", path.display()));
    }

    /// Takes back what `put` put under this name.
    #[track_caller]
    pub fn take_back(&self, name: &str) {
        let path = self.store.join(format!("{name}.yaml"));
        fs::remove_file(&path).unwrap_or_else(|e| panic!("can't remove {}: {e}", path.display()));
    }

    /// The usual pools, dual stack, masqueraded, encapsulated between the racks as `mode` says (`vxlanMode` or
    /// `ipipMode`; IPIP carries IPv4 only, so IPv6 takes VXLAN then).
    #[track_caller]
    pub fn pools(&self, mode: &str) {
        let pool = |name: &str, cidr: &str, mode: &str| {
            format!(
                "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: {name}\n\
                 spec:\n  cidr: {cidr}\n  {mode}: CrossSubnet\n  natOutgoing: true\n---\n"
            )
        };
        self.put("pools", &(pool("v4", "10.244.0.0/16", mode) + &pool("v6", "fd00:244::/112", "vxlanMode")));
    }
}
