//! `Namespace` of Kubernetes' core, as much of it as matters to a fabric: labels, by which pools choose, and the
//! annotations that speak of addresses. It is only read, and never stands in our YAML.

use crate::addressing;
use crate::meta::Metadata;

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name, all labels, and the annotations of [`addressing::POOLS`].
    pub metadata: Metadata,
}

impl Namespace {
    /// The label by which Calico's selectors name a namespace; every namespace has it here.
    pub const NAME_LABEL: &str = "projectcalico.org/name";

    /// A namespace with what of its metadata matters.
    #[must_use]
    pub fn new(mut metadata: Metadata) -> Self {
        metadata.labels.insert(Self::NAME_LABEL.to_owned(), metadata.name.clone());
        metadata.annotations.retain(|key, _| addressing::POOLS.iter().flatten().any(|known| known == key));
        Self { metadata }
    }
}
