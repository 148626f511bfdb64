//! How a change goes through: endpoints to the sets they belong to and to those who are alike, those to the policies
//! that select them, policies to the sets they ask, both to programs.

use super::*;

/// The programs groups had.
type Before = BTreeMap<GroupId, Programs>;

impl Engine {
    /// A policy's compiled rules, if it selects anybody here.
    pub(super) fn lines(&self, id: &PolicyId, direction: Direction) -> Option<&[Line]> {
        self.policies.get(id)?.active.as_ref()?.lines(direction)
    }

    /// An endpoint that was `old` is found by the addresses that it has now.
    pub(super) fn relocate(&mut self, key: &EndpointKey, old: Option<&Stored>) {
        for address in old.into_iter().flat_map(|old| &old.addresses) {
            if let Some(keys) = self.locals_at.get_mut(address) {
                keys.remove(key);
                if keys.is_empty() {
                    self.locals_at.remove(address);
                }
            }
        }
        let new = self.world.get(key).filter(|stored| stored.local && !stored.absent);
        for address in new.into_iter().flat_map(|new| &new.addresses) {
            self.locals_at.entry(*address).or_default().insert(key.clone());
        }
    }

    /// Everybody in a namespace belongs where they belong now.
    pub(super) fn settle_members(&mut self, namespace: &str) {
        let mut groups = BTreeSet::new();
        for key in self.world.members(namespace) {
            let old = self.world.get(&key).cloned();
            self.settle(&key, old.as_ref());
            groups.extend(self.groups.of(&key));
        }
        groups.into_iter().for_each(|id| self.select(id, None));
    }

    /// An endpoint that was `old` belongs where it belongs now.
    pub(super) fn settle(&mut self, key: &EndpointKey, old: Option<&Stored>) {
        let new = self.world.get(key);
        let belongs = self.sets.update(old, new, &self.world, &mut self.dirty);
        let likeness = new.filter(|stored| stored.local).map(Likeness::of);
        if let Some(stored) = self.world.get_mut(key) {
            stored.sets = belongs;
        }
        self.regroup(key, likeness);
    }

    /// An endpoint is one of those who are like this; `None`: it is not of this node.
    fn regroup(&mut self, key: &EndpointKey, likeness: Option<Likeness>) {
        let old = self.groups.of(key);
        let (new, is_first) = likeness.map(|likeness| self.groups.like(likeness)).unzip();
        if old == new {
            return;
        }
        if let (Some(id), Some(true)) = (new, is_first) {
            self.select(id, Some(key));
        }
        let programs = |id: Option<GroupId>| id.and_then(|id| self.groups.get(id)).map(|it| &it.programs);
        let nothing = Programs::new();
        if programs(old).unwrap_or(&nothing) != programs(new).unwrap_or(&nothing) {
            self.dirty.insert(Dirty::Program(key.clone()));
            // A host was there before its HostEndpoint, and has connections that nobody judged.
            let had_none = old.is_none() && key.class == Class::Pod;
            self.may_deny |= !had_none && new.is_some();
        }
        self.groups.enter(key, new);
        if let Some(id) = old.filter(|id| self.groups.get(*id).is_some_and(|it| it.members().is_empty())) {
            self.reselect(id, &BTreeSet::new());
            self.groups.remove(id);
        }
    }

    /// The policies that select a group are those that select one of them: this one, or any member.
    fn select(&mut self, id: GroupId, one: Option<&EndpointKey>) {
        let member = || self.groups.get(id).and_then(|group| group.members().first());
        let one = one.or_else(member).and_then(|key| self.world.get(key));
        let policies = one.map(|endpoint| self.policies_of(endpoint)).unwrap_or_default();
        self.reselect(id, &policies);
    }

    fn reselect(&mut self, id: GroupId, after: &BTreeSet<PolicyId>) {
        let Some(group) = self.groups.get_mut(id).filter(|group| group.policies != *after) else { return };
        let before = std::mem::replace(&mut group.policies, after.clone());
        let programs = self.unprogram(&BTreeSet::from([id]));
        for policy in after.difference(&before) {
            self.join(policy, id);
        }
        let gone: Vec<&PolicyId> = before.difference(after).collect();
        for policy in &gone {
            if let Some(kept) = self.policies.get_mut(*policy) {
                kept.locals.remove(&id);
            }
        }
        self.reprogram(&programs);
        for policy in gone {
            self.leave(policy);
        }
    }

    /// Those of this node who are meant.
    pub(super) fn selected_by(&self, who: &Who) -> impl Iterator<Item = GroupId> {
        let is = |key: &EndpointKey| self.world.get(key).is_some_and(|stored| self.world.is(stored, who));
        self.groups.each().filter(move |(_, one)| is(one)).map(|(id, _)| id)
    }

    fn policies_of(&self, endpoint: &Stored) -> BTreeSet<PolicyId> {
        let around = self.world.labels_of(endpoint.namespace);
        let candidates = self.subjects.candidates(endpoint.namespace, &endpoint.labels, around);
        let is = |id: &PolicyId| {
            self.policies.get(id).is_some_and(|kept| self.world.is(endpoint, &kept.policy.subject))
        };
        candidates.into_iter().filter(is).collect()
    }

    /// A policy selects a group now; with its first one it comes into the kernel.
    fn join(&mut self, id: &PolicyId, group: GroupId) {
        let Some(kept) = self.policies.get_mut(id) else { return };
        kept.locals.insert(group);
        if kept.active.is_none() {
            let policy = kept.policy.clone();
            let active = self.activate(&policy);
            if let Some(kept) = self.policies.get_mut(id) {
                kept.active = Some(active);
            }
        }
    }

    /// A policy that selects nobody any more leaves the kernel.
    fn leave(&mut self, id: &PolicyId) {
        let Some(kept) = self.policies.get_mut(id).filter(|kept| kept.locals.is_empty()) else { return };
        if let Some(active) = kept.active.take() {
            self.deactivate(active);
        }
    }

    pub(super) fn activate(&mut self, policy: &Policy) -> Active {
        let mut used = Vec::new();
        let (sets, world, dirty) = (&mut self.sets, &mut self.world, &mut self.dirty);
        let mut acquire = |content, risk| {
            let (id, base) = sets.acquire((&content, risk), world, dirty);
            used.push(id);
            base
        };
        let mut lines = |direction| {
            policy.rules(direction).is_some().then(|| compile::lines(policy, direction, &mut acquire))
        };
        let (ingress, egress) = (lines(Direction::Ingress), lines(Direction::Egress));
        Active { ingress, egress, sets: used }
    }

    fn deactivate(&mut self, active: Active) {
        for id in active.sets {
            self.sets.release(id, &mut self.world, &mut self.dirty);
        }
    }

    /// A policy becomes another, whose sets are there already; or comes; or goes.
    pub(super) fn replace(&mut self, id: &PolicyId, new: Option<Kept>) {
        let empty = BTreeSet::new();
        let old_locals = self.policies.get(id).map(|kept| kept.locals.clone()).unwrap_or_default();
        let new_locals = new.as_ref().map_or(&empty, |kept| &kept.locals).clone();
        let locals: BTreeSet<GroupId> = old_locals.union(&new_locals).copied().collect();
        self.may_deny |= !locals.is_empty();
        let programs = self.unprogram(&locals);
        let old = match new {
            Some(new) => self.policies.insert(id.clone(), new),
            None => self.policies.remove(id),
        };
        for (groups, selects) in [(&old_locals, false), (&new_locals, true)] {
            for group in groups {
                let Some(group) = self.groups.get_mut(*group) else { continue };
                match selects {
                    true => group.policies.insert(id.clone()),
                    false => group.policies.remove(id),
                };
            }
        }
        self.reprogram(&programs);
        if let Some(active) = old.and_then(|old| old.active) {
            self.deactivate(active);
        }
    }

    /// The index no longer finds a policy.
    pub(super) fn forget_subject(&mut self, id: &PolicyId) {
        if let Some(kept) = self.policies.get(id) {
            self.subjects.remove(id, &kept.policy.subject, &mut self.world.words);
        }
    }

    /// Takes their programs from groups; [`Engine::reprogram`] gives them those they should have.
    pub(super) fn unprogram(&mut self, groups: &BTreeSet<GroupId>) -> Before {
        let mut before = Before::new();
        for id in groups {
            let Some(group) = self.groups.get_mut(*id) else { continue };
            before.insert(*id, std::mem::take(&mut group.programs));
        }
        for name in before.values().flat_map(BTreeMap::values) {
            self.chains.release(name, &mut self.dirty);
        }
        before
    }

    pub(super) fn reprogram(&mut self, before: &Before) {
        for (id, old) in before {
            let new = self.programs_of(*id);
            let Some(group) = self.groups.get_mut(*id) else { continue };
            if new != *old && !group.members().is_empty() {
                self.dirty.extend(group.members().iter().cloned().map(Dirty::Program));
                self.may_deny = true;
            }
            group.programs = new;
        }
    }

    fn programs_of(&mut self, id: GroupId) -> Programs {
        let Some(group) = self.groups.get(id) else { return Programs::new() };
        let (class, selecting) = (group.class(), self.kept_for(group));
        let places = Stage::of(class).iter().flat_map(|stage| Direction::ALL.map(|way| (*stage, way)));
        let tiers = places.map(|(stage, way)| ((stage, way), self.tiers_of(&selecting, stage, way)));
        let tiers: Vec<((Stage, Direction), Vec<TierPart>)> =
            tiers.filter(|(_, it)| !it.is_empty()).collect();
        let mut programs = Programs::new();
        for ((stage, direction), tiers) in tiers {
            let usage = match (class, stage) {
                (_, Stage::Untracked) => Use::Untracked,
                (_, Stage::PreDnat) => Use::PreDnat,
                (_, Stage::Forward) => Use::Forward,
                (Class::HostEndpoint, _) => Use::Host,
                _ => Use::Pod,
            };
            let policies = &self.policies;
            let rules = |id: &PolicyId, direction| policies.get(id)?.active.as_ref()?.lines(direction);
            let at = At { direction, usage };
            let name = self.chains.acquire(at, &tiers, &rules, &mut self.dirty);
            programs.insert((stage, direction), name);
        }
        programs
    }

    /// The policies that select a group, by name.
    fn kept_for(&self, group: &Group) -> Vec<&Kept> {
        group.policies.iter().filter_map(|id| self.policies.get(id)).collect()
    }

    /// The tiers that have a word in it, in order, as far as a packet can come, each with those of its policies that
    /// select the endpoint.
    pub(crate) fn selecting(
        &self,
        key: &EndpointKey,
        stage: Stage,
        direction: Direction,
    ) -> Vec<(String, Vec<PolicyId>)> {
        let group = self.groups.of(key).and_then(|id| self.groups.get(id));
        let selecting = group.map(|group| self.kept_for(group)).unwrap_or_default();
        let tiers = self.tiers_of(&selecting, stage, direction);
        tiers.into_iter().map(|TierPart { name, policies, .. }| (name, policies)).collect()
    }

    /// The tiers that have a word in it, in order, as far as a packet can come: of these policies, given by name.
    fn tiers_of(&self, selecting: &[&Kept], stage: Stage, direction: Direction) -> Vec<TierPart> {
        let mut tiers: BTreeMap<(Order, &str), (Tier, Vec<&Kept>)> = BTreeMap::new();
        for kept in selecting {
            let policy = &kept.policy;
            if policy.rules(direction).is_none() || !stage.hears(policy.reach, direction) {
                continue;
            }
            let name = policy.tier.as_str();
            let tier = self.tiers.get(name).cloned().unwrap_or_else(|| Tier::given(name));
            let of = tiers.entry((tier.order, name)).or_insert_with(|| (tier, Vec::new()));
            of.1.push(kept);
        }
        let mut parts = Vec::new();
        for ((_, name), (tier, mut kept)) in tiers {
            let default_action = if stage.is_early() { DefaultAction::Pass } else { tier.default_action };
            // Those of one order stay sorted by name.
            kept.sort_by_key(|kept| kept.policy.order);
            let active = kept.iter().filter_map(|kept| kept.active.as_ref());
            let passes = active.filter_map(|active| active.lines(direction)).any(chains::passes);
            let policies = kept.iter().map(|kept| kept.policy.id.clone()).collect();
            let last = default_action == DefaultAction::Deny && !passes;
            parts.push(TierPart { name: name.to_owned(), default_action, policies });
            if last {
                break;
            }
        }
        parts
    }
}
