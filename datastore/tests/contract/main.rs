//! What every backend must do, run over each. A backend that comes later is one more line in [`on_every_backend!`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{
    Event, IpamBlock, Key, Kind, Resource, Secret, SecretValue, Source, Version, Write, WriteError, yaml,
};
use corduroy_datastore::{Datastore, FileStore, Memory, Watch};

mod directory;
mod files;

use directory::Directory;

/// A datastore and, where two processes could share it, a second door to the same resources.
struct Backend {
    one: Arc<dyn Datastore>,
    other: Arc<dyn Datastore>,
    _dir: Option<Directory>,
}

fn memory() -> Backend {
    let store = Memory::new();
    Backend { one: Arc::new(store.clone()), other: Arc::new(store), _dir: None }
}

fn file() -> Backend {
    let dir = Directory::new();
    let open = || Arc::new(FileStore::open(dir.path()).unwrap()) as Arc<dyn Datastore>;
    Backend { one: open(), other: open(), _dir: Some(dir) }
}

/// Each contract test as one test for each backend.
macro_rules! on_every_backend {
    ($($(#[$doc:meta])* async fn $name:ident($backend:ident: Backend) $body:block)*) => {
        $($(#[$doc])* async fn $name($backend: Backend) $body)*
        mod on_memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::memory()).await; })* }
        mod on_files { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::file()).await; })* }
    };
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The next event; a test that waits in vain fails and says for what.
pub(crate) async fn next(watch: &mut Watch, what: &str) -> Event {
    tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap_or_else(|_| panic!("no event came: wanted {what}"))
}

/// Events until one that `wanted` takes, which is returned.
pub(crate) async fn until<T>(watch: &mut Watch, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(next(watch, what).await) {
            return found;
        }
    }
}

pub(crate) fn resource(text: &str) -> Resource {
    let documents = yaml::documents(text);
    Resource::read(&documents[0].parse().unwrap()).unwrap()
}

fn pool(name: &str, cidr: &str) -> Resource {
    let head = "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool";
    resource(&format!("{head}\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n"))
}

fn block(node: &str, epoch: u64) -> Resource {
    let cidr = "10.244.0.0/26".parse().unwrap();
    Resource::IpamBlock(Arc::new(IpamBlock::claim(cidr, node, &format!("uid-{node}"), epoch)))
}

fn at(resource: Resource, version: &Version) -> Resource {
    resource.at_version(version.0.clone())
}

fn cidr_of(event: Event) -> Option<String> {
    match event {
        Event::Put(Resource::IpPool(pool)) => Some(pool.cidr.to_string()),
        _ => None,
    }
}

on_every_backend! {
    async fn a_watch_replays_what_is_there_then_says_in_sync_for_each_kind(backend: Backend) {
        backend.one.write(Write::Create(pool("b", "10.2.0.0/16"))).await.unwrap();
        backend.one.write(Write::Create(pool("a", "10.1.0.0/16"))).await.unwrap();
        backend.one.write(Write::Create(block("n", 1))).await.unwrap();
        let mut watch = backend.one.watch(&[Kind::IpPool, Kind::BgpPeer]);
        let mut said = Vec::new();
        while said.len() < 4 {
            said.push(match next(&mut watch, "the replay").await {
                Event::Put(resource) => resource.key().to_string(),
                Event::InSync { kind, from: Source::Live } => format!("in sync: {kind}"),
                other => panic!("not part of a replay: {other:?}"),
            });
        }
        assert_eq!(said, ["IPPool/a", "IPPool/b", "in sync: IPPool", "in sync: BGPPeer"]);
        assert_eq!(watch.try_next(), None, "a kind that was not asked for stays silent");
    }

    async fn a_change_through_one_door_reaches_the_watcher_at_the_other(backend: Backend) {
        let mut watch = backend.other.watch(&[Kind::IpPool]);
        let first = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
        assert_eq!(until(&mut watch, "the first state", cidr_of).await, "10.1.0.0/16");
        let second = backend.one.write(Write::Update(at(pool("p", "10.2.0.0/16"), &first))).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(until(&mut watch, "the second state", cidr_of).await, "10.2.0.0/16");
        let key = Key::new(Kind::IpPool, "p");
        backend.one.write(Write::Delete { key: key.clone(), version: second }).await.unwrap();
        let gone = until(&mut watch, "its end", |event| matches!(event, Event::Gone(_)).then_some(event)).await;
        assert_eq!(gone, Event::Gone(key));
    }

    async fn what_is_read_carries_the_version_that_a_write_needs(backend: Backend) {
        let version = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
        let listed = backend.one.list(Kind::IpPool).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].metadata().resource_version.as_ref(), Some(&version.0));
        backend.one.write(Write::Update(listed[0].clone())).await.unwrap();
    }

    async fn a_write_on_another_state_than_was_read_is_a_conflict_and_changes_nothing(backend: Backend) {
        let key = Key::new(Kind::IpPool, "p");
        let old = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
        let new = backend.one.write(Write::Update(at(pool("p", "10.2.0.0/16"), &old))).await.unwrap();
        let late = backend.one.write(Write::Update(at(pool("p", "10.3.0.0/16"), &old))).await;
        assert_eq!(late, Err(WriteError::Conflict { key: key.clone() }));
        let late = backend.one.write(Write::Delete { key: key.clone(), version: old }).await;
        assert_eq!(late, Err(WriteError::Conflict { key: key.clone() }));
        assert_eq!(late.unwrap_err().to_string(), "IPPool/p has changed meanwhile: read it again");
        let again = backend.one.write(Write::Create(pool("p", "10.4.0.0/16"))).await;
        assert_eq!(again, Err(WriteError::Exists { key: key.clone() }));
        let blind = backend.one.write(Write::Update(pool("p", "10.5.0.0/16"))).await;
        assert_eq!(blind, Err(WriteError::NoVersion { key }));
        let listed = backend.one.list(Kind::IpPool).await;
        assert_eq!(listed, [at(pool("p", "10.2.0.0/16"), &new)]);
        let nobody = Key::new(Kind::IpPool, "q");
        let missing = backend.one.write(Write::Delete { key: nobody.clone(), version: new }).await;
        assert_eq!(missing, Err(WriteError::NotFound { key: nobody }));
    }

    async fn of_two_writers_racing_for_a_block_exactly_one_gets_it_every_time(backend: Backend) {
        for epoch in 1..=25 {
            let claim = |store: &Arc<dyn Datastore>, node: &'static str| {
                let store = Arc::clone(store);
                tokio::spawn(async move { store.write(Write::Create(block(node, epoch))).await })
            };
            let (a, b) = (claim(&backend.one, "a"), claim(&backend.other, "b"));
            let results = [a.await.unwrap(), b.await.unwrap()];
            let key = block("a", 1).key();
            let winners = results.iter().filter(|r| r.is_ok()).count();
            assert_eq!(winners, 1, "{results:?}");
            assert!(results.contains(&Err(WriteError::Exists { key: key.clone() })), "{results:?}");
            let version = results.into_iter().find_map(Result::ok).unwrap();
            backend.other.write(Write::Delete { key, version }).await.unwrap();
        }
    }

    async fn no_increment_is_lost_when_many_writers_compare_and_swap_one_resource(backend: Backend) {
        backend.one.write(Write::Create(block("n", 1))).await.unwrap();
        let mut seen = backend.other.watch(&[Kind::IpamBlock]);
        until(&mut seen, "the block", |event| matches!(event, Event::Put(_)).then_some(())).await;
        let count = |store: Arc<dyn Datastore>| tokio::spawn(async move {
            for _ in 0..15 {
                loop {
                    let Some(Resource::IpamBlock(old)) = store.list(Kind::IpamBlock).await.pop() else {
                        panic!("the block is gone");
                    };
                    let mut new = (*old).clone();
                    new.epoch += 1;
                    match store.write(Write::Update(Resource::IpamBlock(Arc::new(new)))).await {
                        Ok(_) => break,
                        Err(WriteError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
        let doors = [&backend.one, &backend.other, &backend.one, &backend.other];
        let writers: Vec<_> = doors.into_iter().map(|store| count(Arc::clone(store))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut watch = backend.other.watch(&[Kind::IpamBlock]);
        until(&mut watch, "the sum of all increments", |event| match event {
            Event::Put(Resource::IpamBlock(block)) => (block.epoch == 61).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn a_slow_watcher_may_miss_states_but_never_the_last(backend: Backend) {
        let mut watch = backend.one.watch(&[Kind::IpPool]);
        let gone = backend.one.write(Write::Create(pool("gone", "10.99.0.0/16"))).await.unwrap();
        let mut version = backend.one.write(Write::Create(pool("p", "10.0.0.0/16"))).await.unwrap();
        for i in 1..50 {
            let next = at(pool("p", &format!("10.{i}.0.0/16")), &version);
            version = backend.one.write(Write::Update(next)).await.unwrap();
        }
        let key = Key::new(Kind::IpPool, "gone");
        backend.one.write(Write::Delete { key: key.clone(), version: gone }).await.unwrap();
        let (mut last, mut ended, mut events) = (None, false, 0);
        while let Some(event) = watch.try_next() {
            events += 1;
            ended |= event == Event::Gone(key.clone());
            last = cidr_of(event).or(last);
        }
        assert_eq!(last.as_deref(), Some("10.49.0.0/16"));
        assert!(ended, "the end of what came and went is told");
        assert!(events <= 3, "{events} events wait for two resources and one kind");
    }

    async fn a_write_that_says_what_is_said_already_tells_nobody(backend: Backend) {
        let version = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
        let mut watch = backend.one.watch(&[Kind::IpPool]);
        until(&mut watch, "in sync", |event| matches!(event, Event::InSync { .. }).then_some(())).await;
        let same = backend.one.write(Write::Update(at(pool("p", "10.1.0.0/16"), &version))).await.unwrap();
        backend.one.write(Write::Update(at(pool("p", "10.2.0.0/16"), &same))).await.unwrap();
        assert_eq!(until(&mut watch, "the change", cidr_of).await, "10.2.0.0/16");
    }

    async fn a_secret_is_a_resource_like_any_other(backend: Backend) {
        let secret = |value: &[u8]| {
            let data = BTreeMap::from([("mesh".to_owned(), SecretValue::new(value))]);
            Resource::Secret(Arc::new(Secret::new("bgp", data).unwrap()))
        };
        let mut watch = backend.other.watch(&[Kind::Secret]);
        let version = backend.one.write(Write::Create(secret(b"one"))).await.unwrap();
        let version = backend.one.write(Write::Update(at(secret(b"two\n"), &version))).await.unwrap();
        until(&mut watch, "the second value", |event| match event {
            Event::Put(Resource::Secret(s)) => (s.data["mesh"].expose() == b"two\n").then_some(()),
            _ => None,
        })
        .await;
        let key = Key::new(Kind::Secret, "bgp");
        backend.one.write(Write::Delete { key: key.clone(), version }).await.unwrap();
        until(&mut watch, "its end", |event| (event == Event::Gone(key.clone())).then_some(())).await;
    }
}
