//! What the datastore said last, as one run of the agent leaves it to the next, joined with what it says now.
//!
//! The former run's word (the snapshot) stands in twice: while the datastore, or a kind in it, can't be had, for all of
//! that; and when it can, for what it holds but can't be used (a file that somebody broke), so that a restart does not
//! lose the last good state. What the datastore neither says nor rejects is gone.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::{Event, Key, Kind, Rejection, Resource, Source};

use crate::known::WATCHED;

/// The last accepted resources, and which of them only the former run knows.
#[derive(Clone, Debug, Default)]
pub struct LastKnown {
    resources: BTreeMap<Key, Resource>,
    /// Out of the snapshot, and not said since.
    unconfirmed: BTreeSet<Key>,
    /// Told to the agent, and not said since.
    told: BTreeSet<Key>,
    live: BTreeSet<Kind>,
    /// The datastore has said why these can't be had.
    explained: BTreeSet<Kind>,
    /// There was no former run.
    is_first: bool,
    rejected: BTreeMap<String, Vec<Rejection>>,
}

impl LastKnown {
    /// With what the former run left, perhaps nothing.
    #[must_use]
    pub fn new(snapshot: Vec<Resource>) -> Self {
        let resources: BTreeMap<Key, Resource> = snapshot.into_iter().map(|r| (r.key(), r)).collect();
        let unconfirmed = resources.keys().cloned().collect();
        let is_first = resources.is_empty();
        Self { resources, unconfirmed, is_first, ..Self::default() }
    }

    /// These kinds can't be had, this is why: all of the former run's word on those the datastore has said nothing of
    /// in this run. Nothing where there was no former run.
    pub fn stand_in(&mut self, kinds: impl IntoIterator<Item = Kind>, why: &str) -> Vec<Event> {
        let mut out = Vec::new();
        for kind in kinds {
            out.push(Event::Unavailable { kind, why: why.to_owned() });
            if self.is_first || self.live.contains(&kind) {
                continue;
            }
            for key in self.unconfirmed.iter().filter(|key| key.kind == kind) {
                self.told.insert(key.clone());
                out.extend(self.resources.get(key).cloned().map(Event::Put));
            }
            out.push(Event::InSync { kind, from: Source::Snapshot });
        }
        out
    }

    /// The kinds that the datastore has not said everything of in this run.
    pub fn awaited(&self) -> impl Iterator<Item = Kind> + use<> {
        let live = self.live.clone();
        WATCHED.into_iter().filter(move |kind| !live.contains(kind))
    }

    /// Those of them of which it has said nothing at all.
    pub fn silent(&self) -> impl Iterator<Item = Kind> + use<> {
        let explained = self.explained.clone();
        self.awaited().filter(move |kind| !explained.contains(kind))
    }

    /// What the datastore says, as much of it as was waiting; returns what the agent is to hear.
    pub fn live(&mut self, batch: Vec<Event>) -> Vec<Event> {
        let mut out = Vec::with_capacity(batch.len());
        for event in batch {
            match &event {
                Event::Put(resource) => {
                    let key = resource.key();
                    self.unconfirmed.remove(&key);
                    self.resources.insert(key, resource.clone());
                }
                Event::Gone(key) => {
                    self.unconfirmed.remove(key);
                    self.resources.remove(key);
                }
                Event::InSync { kind, from: Source::Live } => {
                    self.live.insert(*kind);
                }
                Event::Unavailable { kind, why } => {
                    self.explained.insert(*kind);
                    out.extend(self.stand_in([*kind], why));
                    continue;
                }
                Event::InSync { from: Source::Snapshot, .. } | Event::Covered(_) => {}
                Event::Rejected { source, rejections } if rejections.is_empty() => {
                    self.rejected.remove(source);
                }
                Event::Rejected { source, rejections } => {
                    self.rejected.insert(source.clone(), rejections.clone());
                }
            }
            out.push(event);
        }
        self.judge(&mut out);
        out
    }

    /// What only the former run knows stays while the datastore has something in its place that can't be used.
    fn judge(&mut self, out: &mut Vec<Event>) {
        let said: Vec<Key> =
            self.unconfirmed.iter().filter(|key| self.live.contains(&key.kind)).cloned().collect();
        for key in said {
            if self.may_be_rejected(&key) {
                if self.told.insert(key.clone())
                    && let Some(resource) = self.resources.get(&key)
                {
                    out.push(Event::Put(resource.clone()));
                }
            } else {
                self.unconfirmed.remove(&key);
                self.resources.remove(&key);
                if self.told.remove(&key) {
                    out.push(Event::Gone(key));
                }
            }
        }
    }

    /// Is it among what can't be used? What does not even say who it is may be anything.
    fn may_be_rejected(&self, key: &Key) -> bool {
        let mut all = self.rejected.values().flatten();
        all.any(|rejection| rejection.key.as_ref().is_none_or(|rejected| rejected == key))
    }

    /// Has the datastore said everything at least once, so that this is worth keeping?
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.awaited().next().is_none()
    }

    /// What is to be left to the next run.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }
}

#[cfg(test)]
mod tests {
    use corduroy_api::Why;

    use super::*;
    use crate::testing::{node, pool};

    fn live() -> Vec<Event> {
        WATCHED.into_iter().map(|kind| Event::InSync { kind, from: Source::Live }).collect()
    }

    fn snapshot() -> LastKnown {
        LastKnown::new(vec![pool("p", "10.0.0.0/16", ""), node("b", "192.0.2.2/24", "")])
    }

    fn resources(events: &[Event]) -> Vec<String> {
        let show = |event: &Event| match event {
            Event::Put(resource) => Some(format!("+{}", resource.key())),
            Event::Gone(key) => Some(format!("-{key}")),
            _ => None,
        };
        events.iter().filter_map(show).collect()
    }

    fn rejected(key: Option<Key>) -> Event {
        let rejection = Rejection { key, line: Some(1), why: Why::Syntax("no".into()) };
        Event::Rejected { source: "f".into(), rejections: vec![rejection] }
    }

    #[test]
    fn without_a_datastore_the_former_run_speaks_and_what_is_gone_goes_once_it_is_back() {
        let mut known = snapshot();
        let events = known.stand_in(WATCHED, "no such directory");
        assert_eq!(resources(&events), ["+FabricNode/b", "+IPPool/p"]);
        assert!(!known.is_live());
        let mut batch = live();
        batch.push(Event::Put(pool("p", "10.0.0.0/16", "")));
        assert_eq!(resources(&known.live(batch)), ["+IPPool/p", "-FabricNode/b"]);
        assert!(known.is_live());
        assert_eq!(known.resources().count(), 1);
    }

    #[test]
    fn a_kind_that_can_not_be_had_goes_by_the_former_run_and_keeps_what_was_said_in_this_one() {
        let mut known = snapshot();
        let gone = |kind| Event::Unavailable { kind, why: "forbidden".into() };
        let events = known.live(vec![gone(Kind::IpPool)]);
        assert_eq!(resources(&events), ["+IPPool/p"]);
        assert_eq!(events[0], gone(Kind::IpPool));
        assert_eq!(events[2], Event::InSync { kind: Kind::IpPool, from: Source::Snapshot });
        known.live(live());
        assert_eq!(known.live(vec![gone(Kind::FabricNode)]), [gone(Kind::FabricNode)]);
    }

    #[test]
    fn of_a_kind_that_can_not_be_had_the_datastores_own_reason_stays() {
        let mut known = snapshot();
        known.live(vec![Event::Unavailable { kind: Kind::IpPool, why: "forbidden".into() }]);
        assert!(known.awaited().any(|kind| kind == Kind::IpPool));
        assert!(known.silent().all(|kind| kind != Kind::IpPool));
        assert!(known.silent().any(|kind| kind == Kind::FabricNode));
    }

    #[test]
    fn with_a_datastore_the_former_run_is_not_heard() {
        let mut known = snapshot();
        assert_eq!(resources(&known.live(live())), [] as [&str; 0]);
        assert_eq!(known.resources().count(), 0);
    }

    #[test]
    fn what_was_broken_while_nobody_looked_stays_as_it_was_until_it_is_mended_or_removed() {
        for key in [Some(Key::new(Kind::IpPool, "p")), None] {
            let mut known = snapshot();
            let mut batch = live();
            batch.extend([Event::Put(node("b", "192.0.2.2/24", "")), rejected(key)]);
            assert_eq!(resources(&known.live(batch)), ["+FabricNode/b", "+IPPool/p"]);
            assert_eq!(known.resources().count(), 2, "the next run has it too");
            let mended = Event::Rejected { source: "f".into(), rejections: Vec::new() };
            assert_eq!(resources(&known.live(vec![mended])), ["-IPPool/p"]);
        }
    }

    #[test]
    fn without_datastore_and_former_run_every_kind_is_unavailable() {
        let events = LastKnown::new(Vec::new()).stand_in(WATCHED, "gone");
        assert!(events.iter().all(|e| matches!(e, Event::Unavailable { why, .. } if why == "gone")));
    }
}
