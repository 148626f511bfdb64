//! How parts of the normal form are written. The text of a [`SetSpec`] says all of it, so that two of the same text are
//! the same: sets are shared by it.

use std::fmt::{self, Display, Formatter};

use super::{Accounts, Direction, Members, Place, PolicyId, PolicyKind, SetSpec, Who};

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

impl PolicyKind {
    /// Its short name, as `kubectl` has it; `np` is our NetworkPolicy.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::Kubernetes => "netpol",
            Self::Cluster => "cnp",
            Self::Network => "np",
            Self::Global => "gnp",
        }
    }
}

impl Display for PolicyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}

impl Display for SetSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Who(who) => who.fmt(f),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.members {
            Members::Pods => "pods",
            Members::Endpoints => "endpoints",
            Members::Nodes => "nodes",
        })?;
        match &self.place {
            Place::Anywhere => Ok(()),
            Place::Global => f.write_str(" of no namespace"),
            Place::Namespace(name) => write!(f, " of namespace {name:?}"),
            Place::Namespaces(selector) => write!(f, " of namespaces {:?}", selector.to_string()),
        }?;
        if let Some(accounts) = &self.accounts {
            write!(f, " with {accounts}")?;
        }
        write!(f, " such that {:?}", self.endpoints.to_string())
    }
}

impl Display for Accounts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "service accounts {:?}", self.names)?;
        match &self.selector {
            None => Ok(()),
            Some(selector) => write!(f, " such that {:?}", selector.to_string()),
        }
    }
}
