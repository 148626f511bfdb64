//! `Pod` of Kubernetes' core, as much of it as matters here: who it is, the annotations that speak of addresses, and
//! what policies know pods by. It is only read, and never stands in our YAML.
//!
//! A pod is one of two kinds: `Pod` is one of this node, `RemotePod` one of another, of which a node learns only what
//! its policies [ask for](crate::Asked).

use std::net::IpAddr;

use crate::addressing;
use crate::meta::Metadata;
use crate::policy::host::NamedPort;

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Name ([`Pod::key_name`]), uid, labels, and the annotations of [`addressing::ALL`].
    pub metadata: Metadata,
    /// The service account it acts as, by its bare name; empty when nothing is said of it.
    pub service_account: String,
    /// All its addresses; none until it has some.
    pub addresses: Vec<IpAddr>,
    /// What its containers call their ports, those of init containers that go on running included.
    pub ports: Vec<NamedPort>,
    /// Does it use the network of its node? Then its addresses are the node's, and policies for pods don't mean it.
    pub host_network: bool,
    /// Has it ended for good? Then its addresses may belong to another pod.
    pub finished: bool,
    /// The node it runs on, once it is bound to one.
    pub node: Option<String>,
}

/// Where kubelet notes, on the pod that stands in the API for one of its static pods, the uid it knows that pod by.
const STATIC: &str = "kubernetes.io/config.mirror";

impl Pod {
    /// A pod with what of its metadata matters, and of which nothing more is known. `metadata.name` is the bare name.
    /// The version is left out: nobody writes pods here, and most of them differ in nothing else.
    #[must_use]
    pub fn new(namespace: &str, metadata: Metadata) -> Self {
        let name = Self::key_name(namespace, &metadata.name);
        let matters = |key: &String| key == STATIC || addressing::ALL.iter().any(|known| known == key);
        let mut annotations = metadata.annotations;
        annotations.retain(|key, _| matters(key));
        let metadata = Metadata { name, annotations, resource_version: None, ..metadata };
        Self { metadata, ..Self::default() }
    }

    /// What a pod is known by: `namespace/name`.
    #[must_use]
    pub fn key_name(namespace: &str, name: &str) -> String {
        format!("{namespace}/{name}")
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.name.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Is this the pod that kubelet knows by this uid? Another one of its name was there before or comes after it.
    #[must_use]
    pub fn is(&self, uid: &str) -> bool {
        let known = [self.metadata.uid.as_ref(), self.metadata.annotations.get(STATIC)];
        known.into_iter().flatten().any(|known| known == uid)
    }
}
