use corduroy_api::{Event, Source};
use corduroy_datastore::Watch;
use serde_json::{Value, json};

use super::*;
use crate::object::Bare;

const SECOND: Duration = Duration::from_secs(1);

/// A ledger of pools or nodes on node `a`, what a watcher of it hears, and the time.
struct World {
    ledger: Ledger,
    watch: Watch,
    definitions: Definitions,
    now: Instant,
}

fn about(name: &str, uid: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": uid, "resourceVersion": "1" } })
}

impl World {
    fn new(kind: Kind) -> Self {
        let scope = Scope { namespace: "corduroy".to_owned(), node: Some("a".to_owned()) };
        let hub = Arc::new(Hub::default());
        let watch = Watch::over(&[(kind, &hub)], Arc::new(()));
        let ledger = Ledger::new(kind, &scope, hub);
        let mut world = Self { ledger, watch, definitions: Definitions::default(), now: Instant::now() };
        world.definition(Some("first"));
        world
    }

    /// The definition is there under this uid, or being deleted.
    fn definition(&mut self, uid: Option<&str>) {
        let mut object = about(&self.ledger.definition.clone(), uid.unwrap_or("gone"));
        if uid.is_none() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let object: Bare = serde_json::from_value(object).unwrap();
        self.definitions.take(Change::Put(object), &mut None);
        self.definitions.take(Change::InSync, &mut None);
    }

    fn put(&mut self, name: &str, spec: &Value) {
        let mut object = about(name, "u");
        object["spec"] = spec.clone();
        let object = serde_json::from_value(object).unwrap();
        self.ledger.change(Change::Put(object), self.now);
    }

    fn pool(&mut self, name: &str) {
        self.put(name, &json!({ "cidr": "10.0.0.0/16" }));
    }

    fn node(&mut self, name: &str, address: &str) {
        self.put(name, &json!({ "addresses": [address] }));
    }

    fn gone(&mut self, name: &str) {
        let object = serde_json::from_value(about(name, "u")).unwrap();
        self.ledger.change(Change::Gone(object), self.now);
    }

    fn replay(&mut self) {
        self.ledger.change(Change::Replay, self.now);
    }

    fn in_sync(&mut self) {
        self.ledger.change(Change::InSync, self.now);
    }

    /// Lets time pass; what is written again meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut again = Vec::new();
        loop {
            let written = self.ledger.judge(&self.definitions, self.now);
            again.extend(written.iter().map(|resource| resource.key().to_string()));
            match self.ledger.next_timeout().filter(|next| *next <= until) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = until;
        again
    }

    /// What a watcher heard since it was last asked.
    fn heard(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.watch.try_next());
        let show = |event| match event {
            Event::Put(resource) => format!("+{}", resource.metadata().name),
            Event::Gone(key) => format!("-{}", key.name),
            Event::InSync { from: Source::Live, .. } => "in sync".to_owned(),
            Event::Unavailable { why, .. } => why,
            other => format!("{other:?}"),
        };
        events.map(show).collect()
    }

    /// Everything is lost with the definition, which is gone.
    fn lose(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.gone(name));
        self.definition(None);
        self.pass(2 * SECOND);
        self.ledger.change(Change::Away("no such kind".to_owned()), self.now);
        assert_eq!(self.heard(), ["no such kind"]);
    }

    /// The definition is applied again, and nothing is there.
    fn return_empty(&mut self) {
        self.definition(Some("second"));
        self.replay();
        self.in_sync();
    }
}

fn pools() -> World {
    let mut world = World::new(Kind::IpPool);
    world.replay();
    world.pool("p");
    world.pool("q");
    world.in_sync();
    world.pass(SECOND);
    assert_eq!(world.heard(), ["+p", "+q", "in sync"]);
    world
}

#[test]
fn a_deletion_is_told_a_moment_later_and_not_at_all_when_the_object_is_there_again() {
    let mut world = pools();
    world.gone("p");
    world.gone("q");
    world.pass(SECOND / 2);
    world.pool("q");
    assert_eq!(world.heard(), [] as [&str; 0]);
    world.pass(SECOND);
    assert_eq!(world.heard(), ["-p"]);
}

#[test]
fn what_a_replay_leaves_out_is_gone() {
    let mut world = pools();
    world.replay();
    world.pool("q");
    world.in_sync();
    world.pass(2 * SECOND);
    assert_eq!(world.heard(), ["-p"]);
}

#[test]
fn what_goes_with_its_definition_stays_and_comes_back_without_a_word() {
    let mut world = pools();
    world.lose(&["p", "q"]);
    assert_eq!(world.pass(1000 * SECOND), [] as [&str; 0], "without a definition nothing can be written");
    world.return_empty();
    assert_eq!(world.pass(100 * SECOND), [] as [&str; 0], "an operator's pools are not ours to write");
    world.pool("p");
    assert_eq!(world.heard(), ["in sync"]);
    world.pass(300 * SECOND);
    assert_eq!(world.heard(), ["-q"], "nobody has brought it back");
    world.gone("p");
    world.pass(2 * SECOND);
    assert_eq!(world.heard(), ["-p"], "under its new definition a deletion is one");
}

#[test]
fn a_definition_that_went_and_came_while_nobody_could_look_is_told_by_its_uid() {
    let mut world = pools();
    world.replay();
    world.in_sync();
    world.definition(Some("second"));
    world.pass(2 * SECOND);
    assert_eq!(world.heard(), [] as [&str; 0]);
}

#[test]
fn a_node_writes_again_what_is_its_own_until_it_is_there() {
    let mut world = World::new(Kind::FabricNode);
    world.replay();
    world.node("a", "192.0.2.1/24");
    world.node("b", "192.0.2.2/24");
    world.in_sync();
    world.pass(SECOND);
    world.heard();
    world.lose(&["a", "b"]);
    world.return_empty();
    let again = world.pass(60 * SECOND);
    assert!(again.len() >= 5 && again.iter().all(|key| key == "FabricNode/a"), "{again:?}");
    world.node("a", "192.0.2.1/24");
    assert_eq!(world.pass(60 * SECOND), [] as [&str; 0]);
    assert_eq!(world.heard(), ["in sync"]);
}

#[test]
fn without_a_look_at_definitions_a_deletion_is_a_deletion() {
    let mut world = World::new(Kind::IpPool);
    world.definitions = Definitions::default();
    world.replay();
    world.pool("p");
    world.in_sync();
    assert_eq!(world.heard(), ["+p", "in sync"]);
    world.gone("p");
    world.pass(2 * SECOND);
    assert_eq!(world.heard(), ["-p"]);
}
