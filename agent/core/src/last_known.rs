//! What the datastore said last, as one run of the agent leaves it to the next, joined with what it says now.
//!
//! The former run's word (the snapshot) stands in twice: while the datastore, or a kind in it, can't be had, for all of
//! that; and when it can, for what it holds but can't be used (a file that somebody broke), so that a restart does not
//! lose the last good state. What the datastore neither says nor rejects is gone.
//!
//! Of pods of other nodes, service accounts and endpoints of services the datastore says what is asked for, when it is
//! asked, and that the kind is in sync says nothing of the rest. So the former run's word on them is good until the
//! datastore has said the same (of pods: covers their namespace), or, once it had to stand in, until the datastore has
//! all that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::{Event, Key, Kind, Rejection, Resource, Scope, Source};

use crate::known::WATCHED;

/// Kinds of which the datastore says what it is asked for. (RemotePod is one too, with a word of its own on that.)
const ASKED_FOR: [Kind; 2] = [Kind::ServiceAccount, Kind::ServiceEndpoints];

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
    /// Of which namespaces the datastore has said all pods of other nodes.
    covered: Scope,
    /// Likewise the former run, where the datastore has not yet.
    formerly: Scope,
    /// Is that told to the agent?
    stands_in: bool,
    /// Of [`ASKED_FOR`], those of which the former run's word was told to the agent, and those of which it counts no
    /// more.
    stood_in: BTreeSet<Kind>,
    settled: BTreeSet<Kind>,
}

impl LastKnown {
    /// With what the former run left, perhaps nothing. It knew all pods of other nodes in `covered`.
    #[must_use]
    pub fn new(snapshot: Vec<Resource>, covered: Scope) -> Self {
        let resources: BTreeMap<Key, Resource> = snapshot.into_iter().map(|r| (r.key(), r)).collect();
        let unconfirmed = resources.keys().cloned().collect();
        let is_first = resources.is_empty();
        Self { resources, unconfirmed, is_first, formerly: covered, ..Self::default() }
    }

    /// These kinds can't be had, this is why: all of the former run's word on those the datastore has said nothing of
    /// in this run. Nothing where there was no former run.
    pub fn stand_in(&mut self, kinds: impl IntoIterator<Item = Kind>, why: &str) -> Vec<Event> {
        let mut out = Vec::new();
        for kind in kinds {
            out.push(Event::Unavailable { kind, why: why.to_owned() });
            let is_known = match kind {
                Kind::RemotePod => self.formerly == Scope::Nothing,
                kind if ASKED_FOR.contains(&kind) => {
                    let formerly = self.unconfirmed.iter().any(|key| key.kind == kind);
                    self.settled.contains(&kind) || (self.live.contains(&kind) && !formerly)
                }
                kind => self.live.contains(&kind),
            };
            if self.is_first || is_known {
                continue;
            }
            for key in self.unconfirmed.iter().filter(|key| key.kind == kind) {
                self.told.insert(key.clone());
                out.extend(self.resources.get(key).cloned().map(Event::Put));
            }
            if kind == Kind::RemotePod {
                self.stands_in = true;
                out.push(Event::Covered(self.covered()));
            }
            if ASKED_FOR.contains(&kind) {
                self.stood_in.insert(kind);
            }
            out.push(Event::InSync { kind, from: Source::Snapshot });
        }
        out
    }

    /// Of which namespaces all pods of other nodes are known, to this run or the former.
    #[must_use]
    pub fn covered(&self) -> Scope {
        self.covered.and(&self.formerly)
    }

    /// The datastore covers this. What the former run knew of it counts no more; `None`: nor does anything else.
    fn covers(&mut self, scope: Option<&Scope>) -> Event {
        self.covered = scope.unwrap_or(&self.covered).clone();
        self.formerly = match (&self.formerly, scope) {
            (_, None | Some(Scope::Everywhere)) => Scope::Nothing,
            (Scope::Namespaces(some), Some(live)) => {
                let left: BTreeSet<String> =
                    some.iter().filter(|namespace| !live.has(namespace)).cloned().collect();
                if left.is_empty() { Scope::Nothing } else { Scope::Namespaces(left) }
            }
            (former, Some(_)) => former.clone(),
        };
        self.stands_in &= self.formerly != Scope::Nothing;
        Event::Covered(if self.stands_in { self.covered() } else { self.covered.clone() })
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
                    if *kind == Kind::RemotePod && self.stands_in {
                        out.push(self.covers(None));
                    }
                    if self.stood_in.contains(kind) {
                        self.settled.insert(*kind);
                    }
                }
                Event::Covered(scope) => {
                    out.push(self.covers(Some(scope)));
                    continue;
                }
                Event::Unavailable { kind, why } => {
                    self.explained.insert(*kind);
                    out.extend(self.stand_in([*kind], why));
                    continue;
                }
                Event::InSync { from: Source::Snapshot, .. } => {}
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
        let namespace = |key: &Key| key.name.split('/').next().unwrap_or_default().to_owned();
        let is_said = |key: &&Key| match key.kind {
            Kind::RemotePod => !self.formerly.has(&namespace(key)) || self.covered.has(&namespace(key)),
            kind if ASKED_FOR.contains(&kind) => self.settled.contains(&kind),
            kind => self.live.contains(&kind),
        };
        let said: Vec<Key> = self.unconfirmed.iter().filter(is_said).cloned().collect();
        for key in said {
            if key.kind != Kind::RemotePod && self.may_be_rejected(&key) {
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
        LastKnown::new(vec![pool("p", "10.0.0.0/16", ""), node("b", "192.0.2.2/24", "")], Scope::Nothing)
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

    fn pod(name: &str) -> Resource {
        let (namespace, name) = name.split_once('/').unwrap();
        Resource::RemotePod(corduroy_api::Pod::new(namespace, corduroy_api::Metadata::named(name)).into())
    }

    fn some(namespaces: &[&str]) -> Scope {
        Scope::Namespaces(namespaces.iter().map(|name| (*name).to_owned()).collect())
    }

    fn covered(events: &[Event]) -> Option<&Scope> {
        events
            .iter()
            .rev()
            .find_map(|event| if let Event::Covered(scope) = event { Some(scope) } else { None })
    }

    fn remote(event: &str) -> Event {
        let kind = Kind::RemotePod;
        match event {
            "in sync" => Event::InSync { kind, from: Source::Live },
            why => Event::Unavailable { kind, why: why.to_owned() },
        }
    }

    #[test]
    fn pods_of_other_nodes_are_known_from_the_former_run_until_their_namespace_is_covered() {
        let mut known = LastKnown::new(vec![pod("a/old"), pod("a/stays"), pod("b/other")], some(&["a", "b"]));
        let at_first = known.live(vec![Event::Covered(Scope::Nothing), remote("in sync")]);
        assert_eq!((resources(&at_first), covered(&at_first)), (vec![], Some(&Scope::Nothing)));
        assert_eq!(known.covered(), some(&["a", "b"]), "the next run is left all of it");
        let away = known.live(vec![remote("no answer")]);
        assert_eq!(resources(&away), ["+RemotePod/a/old", "+RemotePod/a/stays", "+RemotePod/b/other"]);
        assert_eq!(covered(&away), Some(&some(&["a", "b"])));
        let back = known.live(vec![Event::Put(pod("a/stays")), Event::Covered(some(&["a"]))]);
        assert_eq!(resources(&back), ["+RemotePod/a/stays", "-RemotePod/a/old"]);
        assert_eq!(covered(&back), Some(&some(&["a", "b"])), "b still by the former run");
        let all = known.live(vec![remote("in sync")]);
        assert_eq!(
            (resources(&all), covered(&all)),
            (vec!["-RemotePod/b/other".to_owned()], Some(&some(&["a"])))
        );
        assert_eq!((known.covered(), known.resources().count()), (some(&["a"]), 1));
        assert_eq!(
            known.live(vec![remote("no answer")]),
            [remote("no answer")],
            "what was said in this run stays"
        );
    }

    #[test]
    fn what_is_said_only_when_it_is_asked_for_is_known_from_the_former_run_when_it_can_not_be_had() {
        let service = |name: &str| {
            Resource::ServiceEndpoints(corduroy_api::ServiceEndpoints::of(name, Vec::new()).into())
        };
        let account = corduroy_api::ServiceAccount::new("a", corduroy_api::Metadata::named("robot"));
        let former = vec![service("a/old"), service("a/web"), Resource::ServiceAccount(account.into())];
        let mut known = LastKnown::new(former, Scope::Nothing);
        assert_eq!(resources(&known.live(live())), [] as [&str; 0], "nobody has asked yet");
        assert_eq!(known.resources().count(), 3, "the next run is left all of it");
        let away = |kind| Event::Unavailable { kind, why: "no answer".into() };
        let told = known.live(vec![away(Kind::ServiceEndpoints), away(Kind::ServiceAccount)]);
        assert_eq!(
            resources(&told),
            ["+ServiceEndpoints/a/old", "+ServiceEndpoints/a/web", "+ServiceAccount/a/robot"]
        );
        let in_sync = |kind| Event::InSync { kind, from: Source::Live };
        let back = known.live(vec![Event::Put(service("a/web")), in_sync(Kind::ServiceEndpoints)]);
        assert_eq!(resources(&back), ["+ServiceEndpoints/a/web", "-ServiceEndpoints/a/old"]);
        assert_eq!(resources(&known.live(vec![in_sync(Kind::ServiceAccount)])), ["-ServiceAccount/a/robot"]);
        assert_eq!(known.live(vec![away(Kind::ServiceEndpoints)]), [away(Kind::ServiceEndpoints)]);
    }

    #[test]
    fn without_datastore_and_former_run_every_kind_is_unavailable() {
        let events = LastKnown::new(Vec::new(), Scope::Nothing).stand_in(WATCHED, "gone");
        assert!(events.iter().all(|e| matches!(e, Event::Unavailable { why, .. } if why == "gone")));
    }
}
