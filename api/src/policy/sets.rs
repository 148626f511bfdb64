//! `NetworkSet` and `GlobalNetworkSet`: networks with labels, which the selectors of rules find beside endpoints.

use ipnetwork::IpNetwork;

use super::bounded;
use crate::meta::Metadata;
use crate::raw::{Raw, raw};
use crate::report::{Report, Violations};
use crate::yaml::Value;

/// Networks of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSet {
    /// Name (`namespace/name`), labels and so on.
    pub metadata: Metadata,
    /// The networks.
    pub nets: Vec<IpNetwork>,
}

/// Networks of no namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalNetworkSet {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// The networks.
    pub nets: Vec<IpNetwork>,
}

raw! {
    /// `spec:` of either.
    pub struct NetworkSetSpec {
        /// CIDRs; a single address has the length 32 or 128.
        nets: Vec<String> = "nets" => .most(65_536).each(|net| net.cidr()),
    }
}

/// More are more than an API server keeps in one object.
const MOST: usize = 65_536;

fn nets(spec: &Value) -> Result<Vec<IpNetwork>, Violations> {
    let mut report = Report::default();
    let nets = report.within("spec", |r| {
        let list = NetworkSetSpec::read(spec, r)?.nets.unwrap_or_default();
        bounded("nets", list.len(), MOST, r);
        Some(r.within("nets", |r| {
            list.iter().enumerate().filter_map(|(i, text)| r.prefix(i, Some(text))).collect()
        }))
    });
    report.finish(nets)
}

impl NetworkSet {
    /// Reads the `spec:` of the set `name` of `namespace`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(namespace: &str, metadata: Metadata, spec: &Value) -> Result<Self, Violations> {
        let name = crate::Pod::key_name(namespace, &metadata.name);
        Ok(Self { metadata: Metadata { name, ..metadata }, nets: nets(spec)? })
    }
}

impl GlobalNetworkSet {
    /// Reads the `spec:` of a set.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(metadata: Metadata, spec: &Value) -> Result<Self, Violations> {
        Ok(Self { metadata, nets: nets(spec)? })
    }
}
