//! `Secret`: passwords, referred to by name and key. A secret never stands in our YAML: the file backend has it in
//! `secrets/<name>/<key>`, one file a key, as Kubernetes mounts one.

use std::collections::BTreeMap;
use std::fmt;

use crate::bgp_peer::is_secret_key;
use crate::meta::{Metadata, NAME, is_name};
use crate::report::{Report, Violations, quoted};

/// A secret, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// Values by key.
    pub data: BTreeMap<String, SecretValue>,
}

impl Secret {
    /// A secret of this name.
    ///
    /// # Errors
    /// The name or a key is none.
    pub fn new(name: &str, data: BTreeMap<String, SecretValue>) -> Result<Self, Violations> {
        let mut report = Report::default();
        if !is_name(name) {
            report.within("metadata", |r| r.refuse_field("name", quoted(name), NAME));
        }
        for key in data.keys().filter(|key| !is_secret_key(key)) {
            report.within("data", |r| {
                r.refuse(quoted(key), "letters, digits, '-', '_' and '.', not beginning with '.'");
            });
        }
        report.finish(Some(Self { metadata: Metadata::named(name), data }))
    }
}

/// One value of a secret; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Box<[u8]>);

impl SecretValue {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}
