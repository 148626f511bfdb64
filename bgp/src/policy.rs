//! Import and export filters.
use alloc::vec::Vec;
/// An ordered list of rules; the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    rules: Vec<()>,
}
