//! Endpoints of this node that no policy can tell apart: of one class, in one namespace, with the same labels and the
//! same service account. What selects one of them selects all, and they have the same programs. Whoever comes to others
//! of his kind, as the tenth pod of a Deployment does, costs no more than his entry here, however many the policies.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{Label, Word};
use super::world::Stored;
use super::{Class, EndpointKey, Programs};
use crate::normal::PolicyId;

/// By what policies select an endpoint. Its words are held by the endpoints that have it; without them it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Likeness {
    class: Class,
    absent: bool,
    namespace: Option<Word>,
    labels: Box<[Label]>,
    account: Option<Word>,
}

impl Likeness {
    /// An endpoint's.
    pub(super) fn of(endpoint: &Stored) -> Self {
        Self {
            class: endpoint.key.class,
            absent: endpoint.absent,
            namespace: endpoint.namespace,
            labels: endpoint.labels.clone(),
            account: endpoint.account,
        }
    }
}

/// What tells one group from every other, ever.
pub(super) type GroupId = u64;

/// Some who are alike.
#[derive(Clone, Debug)]
pub(super) struct Group {
    likeness: Likeness,
    members: BTreeSet<EndpointKey>,
    /// The policies that select them.
    pub(super) policies: BTreeSet<PolicyId>,
    /// Where they are judged.
    pub(super) programs: Programs,
}

impl Group {
    /// What sort of endpoints they are.
    pub(super) fn class(&self) -> Class {
        self.likeness.class
    }

    /// Who they are.
    pub(super) fn members(&self) -> &BTreeSet<EndpointKey> {
        &self.members
    }
}

/// All endpoints of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<GroupId, Group>,
    by_likeness: BTreeMap<Likeness, GroupId>,
    of: BTreeMap<EndpointKey, GroupId>,
    next: GroupId,
}

impl Groups {
    /// The group of those who are like this; `true`: it was made for them, and has nobody yet.
    pub(super) fn like(&mut self, likeness: Likeness) -> (GroupId, bool) {
        if let Some(id) = self.by_likeness.get(&likeness) {
            return (*id, false);
        }
        let id = self.next;
        self.next += 1;
        self.by_likeness.insert(likeness.clone(), id);
        let (members, policies) = (BTreeSet::new(), BTreeSet::new());
        self.groups.insert(id, Group { likeness, members, policies, programs: Programs::new() });
        (id, true)
    }

    /// An endpoint is in this group from now on, and in no other; `None`: in none.
    pub(super) fn enter(&mut self, key: &EndpointKey, id: Option<GroupId>) {
        let old = match id {
            Some(id) => self.of.insert(key.clone(), id),
            None => self.of.remove(key),
        };
        if let Some(old) = old.and_then(|old| self.groups.get_mut(&old)) {
            old.members.remove(key);
        }
        if let Some(new) = id.and_then(|id| self.groups.get_mut(&id)) {
            new.members.insert(key.clone());
        }
    }

    /// A group that has nobody goes.
    pub(super) fn remove(&mut self, id: GroupId) {
        if let Some(group) = self.groups.remove(&id) {
            self.by_likeness.remove(&group.likeness);
        }
    }

    /// The group that an endpoint is in; `None`: it is not of this node.
    pub(super) fn of(&self, key: &EndpointKey) -> Option<GroupId> {
        self.of.get(key).copied()
    }

    /// A group.
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// A group, to be changed.
    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    /// All of them, each with one of its members.
    pub(super) fn each(&self) -> impl Iterator<Item = (GroupId, &EndpointKey)> {
        self.groups.iter().filter_map(|(id, group)| Some((*id, group.members.first()?)))
    }
}
