//! What a datastore says and what it is told: plain data, so that whoever makes sense of it (`fabric`) needs no
//! datastore crate, and so that it can be recorded and replayed.

use std::collections::BTreeSet;
use std::fmt;

use crate::meta::{Key, Kind};
use crate::report::Invalid;
use crate::resource::Resource;

/// What a watcher of a datastore learns, in order. Every `Put` carries a whole resource: later ones replace earlier
/// ones, and a slow watcher may see only the last.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A resource is now this.
    Put(Resource),
    /// A resource is no more.
    Gone(Key),
    /// Everything there is of this kind has been said. Comes once for each kind after the first replay, and again when
    /// the kind was unavailable or better known meanwhile (`Snapshot`, then `Live`).
    InSync {
        /// Of what.
        kind: Kind,
        /// How the datastore knows.
        from: Source,
    },
    /// This kind can't be had now. What was said of it before stays in force.
    Unavailable {
        /// Of what.
        kind: Kind,
        /// Why, in words for an operator.
        why: String,
    },
    /// What one source (a file, an object) holds that can't be used: the whole list, empty when nothing is wrong with
    /// it any more. The last good state of what is listed stays in force.
    Rejected {
        /// The file's path, or the object's key.
        source: String,
        /// What is wrong with it.
        rejections: Vec<Rejection>,
    },
    /// All pods of other nodes in these namespaces were said, and changes follow. Said again whenever it changes; what
    /// is known of pods beside them may be out of date.
    Covered(Scope),
}

/// What policies of a node need to know of others: as little as they can do with, since it is every pod of the cluster
/// that may be meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The pods of other nodes.
    pub pods: Scope,
    /// The labels of service accounts.
    pub service_accounts: bool,
    /// The endpoints of these services, by `namespace/name`. Those of a service are known once there is a
    /// [`ServiceEndpoints`](crate::ServiceEndpoints) of its name.
    pub services: BTreeSet<String>,
}

/// Namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// None.
    #[default]
    Nothing,
    /// These. (None of them is the same as `Nothing`.)
    Namespaces(BTreeSet<String>),
    /// All.
    Everywhere,
}

impl Scope {
    /// Is this namespace one of them?
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Namespaces(some) => some.contains(namespace),
            Self::Everywhere => true,
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everywhere, _) | (_, Self::Everywhere) => Self::Everywhere,
            (Self::Nothing, other) | (other, Self::Nothing) => other.clone(),
            (Self::Namespaces(some), Self::Namespaces(more)) => Self::Namespaces(some | more),
        }
    }

    /// Are all of those among these?
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Nothing) | (Self::Everywhere, _) => true,
            (_, Self::Namespaces(some)) => some.iter().all(|namespace| self.has(namespace)),
            (_, Self::Everywhere) => false,
        }
    }
}

/// How current a kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The last accepted resources, kept on disk: the datastore can't be reached.
    Snapshot,
    /// The datastore itself.
    Live,
}

/// A resource, or a part of a source that may be one, that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which resource, when that much can be told.
    pub key: Option<Key>,
    /// The line in the source, from 1, where it has lines.
    pub line: Option<usize>,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        self.why.fmt(f)
    }
}

/// Why something in a source can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A field says what it may not.
    #[error("{0}")]
    Invalid(Invalid),
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// The same resource stands somewhere else too; that one is in force.
    #[error("this resource stands in {0} too, which is in force; a resource may stand only once")]
    Duplicate(String),
    /// The source can't be read, as the system says.
    #[error("can't be read: {0}")]
    Unreadable(String),
    /// A source that held resources is empty, which is more often an accident than a wish.
    #[error("it is empty but held resources; to remove them, delete it")]
    Emptied,
}

/// A state of a resource in its datastore: opaque, good only for comparing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub String);

/// A change that someone wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// There must be no such resource yet.
    Create(Resource),
    /// `metadata.resource_version` must be that of the resource in force.
    Update(Resource),
    /// The resource must be in this state.
    Delete {
        /// Which.
        key: Key,
        /// In which state.
        version: Version,
    },
}

impl Write {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Create(resource) | Self::Update(resource) => resource.key(),
            Self::Delete { key, .. } => key.clone(),
        }
    }
}

/// Why a change did not happen. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The resource is in another state than the writer thinks (or is gone): read it again and decide anew.
    #[error("{key} has changed meanwhile: read it again")]
    Conflict {
        /// Which.
        key: Key,
    },
    /// There is one already.
    #[error("{key} exists already")]
    Exists {
        /// Which.
        key: Key,
    },
    /// There is none.
    #[error("{key} does not exist")]
    NotFound {
        /// Which.
        key: Key,
    },
    /// An update without `metadata.resource_version`: the writer never read it.
    #[error("{key}: an update needs metadata.resourceVersion")]
    NoVersion {
        /// Which.
        key: Key,
    },
    /// The datastore refuses what the resource says: the same again would be refused again.
    #[error("{key} is refused: {why}")]
    Refused {
        /// Which.
        key: Key,
        /// As the datastore says.
        why: String,
    },
    /// The datastore can't be reached or written to; trying again later may help.
    #[error("can't write {key}: {why}")]
    Unavailable {
        /// Which.
        key: Key,
        /// As the system says.
        why: String,
    },
}
