//! How a change goes through: endpoints to the sets and policies they belong to, policies to the sets they ask, both to
//! the programs of endpoints.

use super::*;

/// The programs endpoints had.
type Before = BTreeMap<EndpointKey, Programs>;

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
        for key in self.world.members(namespace) {
            let old = self.world.get(&key).cloned();
            self.settle(&key, old.as_ref());
        }
    }

    /// An endpoint that was `old` belongs where it belongs now.
    pub(super) fn settle(&mut self, key: &EndpointKey, old: Option<&Stored>) {
        let new = self.world.get(key);
        let belongs = self.sets.update(old, new, &self.world, &mut self.dirty);
        let after = new.filter(|stored| stored.local).map(|it| self.policies_of(it)).unwrap_or_default();
        let before = old.map(|old| old.policies.clone()).unwrap_or_default();
        if let Some(stored) = self.world.get_mut(key) {
            stored.sets = belongs;
            stored.policies.clone_from(&after);
        }
        if before == after {
            return;
        }
        let programs = self.unprogram(&BTreeSet::from([key.clone()]));
        for id in after.difference(&before) {
            self.join(id, key);
        }
        let gone: Vec<&PolicyId> = before.difference(&after).collect();
        for id in &gone {
            if let Some(kept) = self.policies.get_mut(*id) {
                kept.locals.remove(key);
            }
        }
        self.reprogram(&programs);
        for id in gone {
            self.leave(id);
        }
    }

    fn policies_of(&self, endpoint: &Stored) -> BTreeSet<PolicyId> {
        let around = self.world.labels_of(endpoint.namespace);
        let candidates = self.subjects.candidates(endpoint.namespace, &endpoint.labels, around);
        let is = |id: &PolicyId| {
            self.policies.get(id).is_some_and(|kept| self.world.is(endpoint, &kept.policy.subject))
        };
        candidates.into_iter().filter(is).collect()
    }

    /// A policy selects an endpoint now; with its first one it comes into the kernel.
    fn join(&mut self, id: &PolicyId, key: &EndpointKey) {
        let Some(kept) = self.policies.get_mut(id) else { return };
        kept.locals.insert(key.clone());
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
        let programs = self.unprogram(&old_locals.union(&new_locals).cloned().collect());
        let old = match new {
            Some(new) => self.policies.insert(id.clone(), new),
            None => self.policies.remove(id),
        };
        for (keys, selects) in [(&old_locals, false), (&new_locals, true)] {
            for key in keys {
                let Some(stored) = self.world.get_mut(key) else { continue };
                match selects {
                    true => stored.policies.insert(id.clone()),
                    false => stored.policies.remove(id),
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

    /// Takes their programs from endpoints; [`Engine::reprogram`] gives them those they should have.
    pub(super) fn unprogram(&mut self, keys: &BTreeSet<EndpointKey>) -> Before {
        let taken = keys.iter().map(|key| (key.clone(), self.programs.remove(key).unwrap_or_default()));
        let taken: Before = taken.collect();
        for name in taken.values().flat_map(BTreeMap::values) {
            self.chains.release(name, &mut self.dirty);
        }
        taken
    }

    pub(super) fn reprogram(&mut self, before: &Before) {
        for (key, old) in before {
            let new = self.programs_of(key);
            if new != *old {
                self.dirty.insert(Dirty::Program(key.clone()));
            }
            if !new.is_empty() {
                self.programs.insert(key.clone(), new);
            }
        }
    }

    fn programs_of(&mut self, key: &EndpointKey) -> Programs {
        let selecting = self.kept_for(key);
        let places = Stage::of(key.class).iter().flat_map(|stage| Direction::ALL.map(|way| (*stage, way)));
        let tiers =
            places.map(|(stage, way)| ((stage, way), self.tiers_of(&selecting, key.class, (stage, way))));
        let tiers: Vec<((Stage, Direction), Vec<TierPart>)> =
            tiers.filter(|(_, it)| !it.is_empty()).collect();
        let mut programs = Programs::new();
        for ((stage, direction), tiers) in tiers {
            let usage = match (key.class, stage) {
                (_, Stage::Untracked) => Use::Untracked,
                (_, Stage::Forward) => Use::Forward,
                (Class::HostEndpoint, _) => Use::Host,
                _ => Use::Pod,
            };
            let policies = &self.policies;
            let rules = |id: &PolicyId, direction| policies.get(id)?.active.as_ref()?.lines(direction);
            let at = At { direction, usage };
            let name = self.chains.acquire(at, tiers, &rules, &mut self.dirty);
            programs.insert((stage, direction), name);
        }
        programs
    }

    /// The policies that select an endpoint of this node, by name.
    fn kept_for(&self, key: &EndpointKey) -> Vec<&Kept> {
        let selecting = self.world.get(key).into_iter().flat_map(|stored| &stored.policies);
        selecting.filter_map(|id| self.policies.get(id)).collect()
    }

    /// The tiers that have a word in it, in order, as far as a packet can come, each with those of its policies that
    /// select the endpoint.
    pub(crate) fn selecting(
        &self,
        key: &EndpointKey,
        stage: Stage,
        direction: Direction,
    ) -> Vec<(String, Vec<PolicyId>)> {
        let tiers = self.tiers_of(&self.kept_for(key), key.class, (stage, direction));
        tiers.into_iter().map(|TierPart { name, policies, .. }| (name, policies)).collect()
    }

    /// The tiers that have a word in it, in order, as far as a packet can come: of these policies, given by name.
    fn tiers_of(
        &self,
        selecting: &[&Kept],
        class: Class,
        (stage, direction): (Stage, Direction),
    ) -> Vec<TierPart> {
        let mut tiers: BTreeMap<(Order, &str), (Tier, Vec<&Kept>)> = BTreeMap::new();
        for kept in selecting {
            let policy = &kept.policy;
            if policy.rules(direction).is_none() || !stage.hears(policy.reach, class, direction) {
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
