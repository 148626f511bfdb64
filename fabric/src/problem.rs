//! What does not fit together between resources that are each right in themselves.

use std::fmt;

use corduroy_api::Key;

/// A field of a resource that can't have its effect as things stand. The rest of the fabric goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Whose field.
    pub key: Key,
    /// Which field, as in `spec.filters[0]`.
    pub field: String,
    /// What is wrong and what holds instead, for an operator.
    pub why: String,
}

impl Problem {
    pub(crate) fn new(key: Key, field: &str, why: impl Into<String>) -> Self {
        Self { key, field: field.to_owned(), why: why.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.key, self.field, self.why)
    }
}
