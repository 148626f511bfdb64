//! Interface names and the kernel's numbers for them.

use std::collections::{BTreeMap, HashMap};

use corduroy_kernel::{Cause, LinkName, OpError};

/// Both directions, as of the last look. An interface made anew has a new number, so what is remembered of an
/// interface somebody else replaced is refused by the kernel (ENODEV) and put right by the next reading.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_name: HashMap<LinkName, u32>,
    by_index: BTreeMap<u32, LinkName>,
}

impl Index {
    pub(crate) fn insert(&mut self, name: LinkName, index: u32) {
        self.forget(name);
        self.by_name.insert(name, index);
        self.by_index.insert(index, name);
    }
    pub(crate) fn forget(&mut self, name: LinkName) {
        if let Some(index) = self.by_name.remove(&name) {
            self.by_index.remove(&index);
        }
    }
    /// The number of this interface.
    pub(crate) fn of(&self, name: LinkName) -> Result<u32, OpError> {
        self.by_name.get(&name).copied().ok_or_else(|| missing(name))
    }
    /// The name of this interface.
    pub(crate) fn name(&self, index: u32) -> Option<LinkName> {
        self.by_index.get(&index).copied()
    }
}

fn missing(name: LinkName) -> OpError {
    let detail = format!("there is no interface {name}");
    OpError { cause: Cause::Missing, errno: libc::ENODEV, detail }
}
