//! `ServiceAccount` of Kubernetes' core, as much of it as policies ask for: who it is, and its labels. It is only read,
//! and never stands in our YAML.

use std::collections::BTreeMap;

use crate::meta::Metadata;
use crate::pod::Pod;

/// What a pod acts as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Name (`namespace/name`) and all labels.
    pub metadata: Metadata,
}

impl ServiceAccount {
    /// A service account with what of its metadata matters. `metadata.name` is the bare name.
    #[must_use]
    pub fn new(namespace: &str, metadata: Metadata) -> Self {
        let name = Pod::key_name(namespace, &metadata.name);
        let annotations = BTreeMap::new();
        Self { metadata: Metadata { name, annotations, resource_version: None, ..metadata } }
    }
}
