//! What a writer may count on.

use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Resource, Write, WriteError};
use corduroy_datastore::Datastore;

use crate::{Backend, at, block, pool, resource, until};

/// By a list as by the answer to the write before.
pub async fn what_is_read_carries_the_version_that_a_write_needs(backend: Backend) {
    let version = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
    let listed = backend.one.list(Kind::IpPool).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].metadata().resource_version.as_ref(), Some(&version.0));
    backend.one.write(Write::Update(listed[0].clone())).await.unwrap();
}

/// By its namespace and its own, from creation to deletion.
pub async fn a_resource_in_a_namespace_is_known_by_both_names(backend: Backend) {
    let set = |nets: &str| {
        let head =
            "apiVersion: corduroy.dev/v1alpha1\nkind: NetworkSet\nmetadata: {name: s, namespace: default}";
        resource(&format!("{head}\nspec: {{nets: [{nets}]}}\n"))
    };
    let spec = |resource: &Resource| match resource {
        Resource::Policy(set) => Some(set.spec.clone()),
        _ => None,
    };
    let key = Key::new(Kind::NetworkSet, "default/s");
    assert_eq!(set("10.1.0.0/16").key(), key);
    let mut watch = backend.other.watch(&[Kind::NetworkSet]);
    let version = backend.one.write(Write::Create(set("10.1.0.0/16"))).await.unwrap();
    let again = backend.one.write(Write::Create(set("10.1.0.0/16"))).await;
    assert_eq!(again, Err(WriteError::Exists { key: key.clone() }));
    let version = backend.one.write(Write::Update(at(set("10.2.0.0/16"), &version))).await.unwrap();
    let wanted = set("10.2.0.0/16");
    until(&mut watch, "the change", |event| match event {
        Event::Put(resource) => (resource.key() == key && spec(&resource) == spec(&wanted)).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(backend.one.list(Kind::NetworkSet).await.unwrap().len(), 1);
    backend.one.write(Write::Delete { key: key.clone(), version }).await.unwrap();
    until(&mut watch, "its end", |event| (event == Event::Gone(key.clone())).then_some(())).await;
}

/// For updates and deletions; creation of what is there, and updates that name no state.
pub async fn a_write_on_another_state_than_was_read_is_a_conflict_and_changes_nothing(backend: Backend) {
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
    let listed = backend.one.list(Kind::IpPool).await.unwrap();
    let [Resource::IpPool(stands)] = &listed[..] else { panic!("one pool was made: {listed:?}") };
    assert_eq!(stands.cidr.to_string(), "10.2.0.0/16");
    assert_eq!(stands.metadata.resource_version.as_ref(), Some(&new.0));
    let nobody = Key::new(Kind::IpPool, "q");
    let missing = backend.one.write(Write::Delete { key: nobody.clone(), version: new }).await;
    assert_eq!(missing, Err(WriteError::NotFound { key: nobody }));
}

/// And what is made anew is in a state of its own.
pub async fn what_is_gone_can_be_neither_updated_nor_deleted_but_created_anew(backend: Backend) {
    let key = Key::new(Kind::IpPool, "p");
    let old = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
    backend.other.write(Write::Delete { key: key.clone(), version: old.clone() }).await.unwrap();
    let missing = Err(WriteError::NotFound { key: key.clone() });
    assert_eq!(backend.one.write(Write::Update(at(pool("p", "10.2.0.0/16"), &old))).await, missing);
    assert_eq!(backend.one.write(Write::Delete { key: key.clone(), version: old.clone() }).await, missing);
    assert_eq!(backend.one.list(Kind::IpPool).await.unwrap(), []);
    let new = backend.other.write(Write::Create(pool("p", "10.3.0.0/16"))).await.unwrap();
    assert_ne!(old, new);
    let late = backend.one.write(Write::Delete { key: key.clone(), version: old }).await;
    assert_eq!(late, Err(WriteError::Conflict { key }));
}

/// Claims of blocks are what compare-and-swap is for.
pub async fn of_two_writers_racing_for_a_block_exactly_one_gets_it_every_time(backend: Backend) {
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

/// Whoever loses reads again and tries again.
pub async fn no_increment_is_lost_when_many_writers_compare_and_swap_one_resource(backend: Backend) {
    backend.one.write(Write::Create(block("n", 1))).await.unwrap();
    let mut seen = backend.other.watch(&[Kind::IpamBlock]);
    until(&mut seen, "the block", |event| matches!(event, Event::Put(_)).then_some(())).await;
    let doors = [&backend.one, &backend.other, &backend.one, &backend.other];
    let writers: Vec<_> = doors.into_iter().map(|store| tokio::spawn(count(Arc::clone(store)))).collect();
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

/// Adds fifteen.
async fn count(store: Arc<dyn Datastore>) {
    for _ in 0..15 {
        loop {
            let Some(Resource::IpamBlock(old)) = store.list(Kind::IpamBlock).await.unwrap().pop() else {
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
}
