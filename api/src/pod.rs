//! `Pod` of Kubernetes' core, as much of it as matters to the node it runs on: who it is, and the annotations that
//! speak of addresses. It is only read, and never stands in our YAML.

use std::collections::BTreeMap;

use crate::addressing;
use crate::meta::Metadata;

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Name ([`Pod::key_name`]), uid, and the annotations of [`addressing::ALL`].
    pub metadata: Metadata,
}

/// Where kubelet notes, on the pod that stands in the API for one of its static pods, the uid it knows that pod by.
const STATIC: &str = "kubernetes.io/config.mirror";

impl Pod {
    /// A pod with what of its metadata matters. `metadata.name` is the bare name.
    #[must_use]
    pub fn new(namespace: &str, metadata: Metadata) -> Self {
        let name = Self::key_name(namespace, &metadata.name);
        let matters = |key: &String| key == STATIC || addressing::ALL.iter().any(|known| known == key);
        let mut annotations = metadata.annotations;
        annotations.retain(|key, _| matters(key));
        let labels = BTreeMap::new();
        Self { metadata: Metadata { name, annotations, labels, ..metadata } }
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
