//! What a watcher may count on.

use std::collections::BTreeMap;
use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Resource, Secret, SecretValue, Source, Write};

use crate::{Backend, at, block, cidr_of, in_sync, next, pool, pool_text, resource, until};

/// Everything there is of a kind comes before its `InSync`, in order of the names, and nothing of other kinds.
pub async fn a_watch_replays_what_is_there_then_says_in_sync_for_each_kind(backend: Backend) {
    backend.one.write(Write::Create(pool("b", "10.2.0.0/16"))).await.unwrap();
    backend.one.write(Write::Create(pool("a", "10.1.0.0/16"))).await.unwrap();
    backend.one.write(Write::Create(block("n", 1))).await.unwrap();
    let mut watch = backend.one.watch(&[Kind::IpPool, Kind::BgpPeer]);
    let mut said: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for _ in 0..4 {
        let (kind, words) = match next(&mut watch, "the replay").await {
            Event::Put(resource) => (resource.kind(), resource.key().to_string()),
            Event::InSync { kind, from: Source::Live } => (kind, "in sync".to_owned()),
            other => panic!("not part of a replay: {other:?}"),
        };
        said.entry(kind).or_default().push(words);
    }
    let wanted = [(Kind::IpPool, vec!["IPPool/a", "IPPool/b", "in sync"]), (Kind::BgpPeer, vec!["in sync"])];
    for (kind, words) in wanted {
        assert_eq!(said[&kind], words);
    }
    assert_eq!(watch.try_next(), None, "a kind that was not asked for stays silent");
}

/// Creation, change and end.
pub async fn a_change_through_one_door_reaches_the_watcher_at_the_other(backend: Backend) {
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

/// What waits for a watcher that takes nothing is bounded by what there is, and ends with the last state.
pub async fn a_slow_watcher_may_miss_states_but_never_the_last(backend: Backend) {
    let mut watch = backend.one.watch(&[Kind::IpPool]);
    let mut brisk = backend.one.watch(&[Kind::IpPool]);
    let gone = backend.one.write(Write::Create(pool("gone", "10.99.0.0/16"))).await.unwrap();
    let mut version = backend.one.write(Write::Create(pool("p", "10.0.0.0/16"))).await.unwrap();
    for i in 1..50 {
        let next = at(pool("p", &format!("10.{i}.0.0/16")), &version);
        version = backend.one.write(Write::Update(next)).await.unwrap();
    }
    until(&mut brisk, "the last state", |event| (cidr_of(event)? == "10.49.0.0/16").then_some(())).await;
    let key = Key::new(Kind::IpPool, "gone");
    backend.one.write(Write::Delete { key: key.clone(), version: gone }).await.unwrap();
    until(&mut brisk, "an end", |event| (event == Event::Gone(key.clone())).then_some(())).await;
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

/// Coalescing never makes an end of what is there again.
pub async fn what_came_and_went_and_came_again_is_there_in_the_end(backend: Backend) {
    let mut slow = backend.other.watch(&[Kind::IpPool]);
    in_sync(&mut slow, 1).await;
    let mut brisk = backend.other.watch(&[Kind::IpPool]);
    let key = Key::new(Kind::IpPool, "p");
    for i in 1..=3 {
        let cidr = format!("10.{i}.0.0/16");
        let version = backend.one.write(Write::Create(pool("p", &cidr))).await.unwrap();
        until(&mut brisk, "it", |event| (cidr_of(event)? == cidr).then_some(())).await;
        if i < 3 {
            backend.one.write(Write::Delete { key: key.clone(), version }).await.unwrap();
            until(&mut brisk, "its end", |event| (event == Event::Gone(key.clone())).then_some(())).await;
        }
    }
    assert_eq!(slow.try_next().and_then(cidr_of).as_deref(), Some("10.3.0.0/16"));
    assert_eq!(slow.try_next(), None);
}

/// The watcher hears of the change after it, and of nothing before.
pub async fn a_write_that_says_what_is_said_already_tells_nobody(backend: Backend) {
    let version = backend.one.write(Write::Create(pool("p", "10.1.0.0/16"))).await.unwrap();
    let mut watch = backend.one.watch(&[Kind::IpPool]);
    in_sync(&mut watch, 1).await;
    let same = backend.one.write(Write::Update(at(pool("p", "10.1.0.0/16"), &version))).await.unwrap();
    backend.one.write(Write::Update(at(pool("p", "10.2.0.0/16"), &same))).await.unwrap();
    // A backend with a version for every write may tell of the new version of the same words.
    let next = until(&mut watch, "a change", |event| cidr_of(event).filter(|cidr| cidr != "10.1.0.0/16"));
    assert_eq!(next.await, "10.2.0.0/16");
    assert_eq!(watch.try_next(), None);
}

/// Whether others watch on or nobody does.
pub async fn a_watch_that_was_dropped_has_ended_and_the_next_one_hears_everything(backend: Backend) {
    let mut first = backend.one.watch(&[Kind::IpPool]);
    let mut other = backend.one.watch(&[Kind::IpPool]);
    in_sync(&mut first, 1).await;
    drop(first);
    backend.other.write(Write::Create(pool("a", "10.1.0.0/16"))).await.unwrap();
    until(&mut other, "the change", cidr_of).await;
    drop(other);
    let version = backend.other.write(Write::Create(pool("b", "10.2.0.0/16"))).await.unwrap();
    let again = backend.one.watch(&[Kind::IpPool]);
    drop(again);
    backend.other.write(Write::Delete { key: Key::new(Kind::IpPool, "b"), version }).await.unwrap();
    backend.other.write(Write::Create(pool("c", "10.3.0.0/16"))).await.unwrap();
    let mut last = backend.one.watch(&[Kind::IpPool]);
    let mut there = BTreeMap::new();
    // The store may have been on its way to the present, so it is the end that counts.
    while there.len() != 2 || !there.contains_key("c") || there.contains_key("b") {
        match next(&mut last, "a and c").await {
            Event::Put(Resource::IpPool(pool)) => {
                there.insert(pool.metadata.name.clone(), pool.cidr.to_string());
            }
            Event::Gone(key) => {
                there.remove(&key.name);
            }
            _ => {}
        }
    }
}

/// Field, value and what is allowed are told; when it is mended that is told too.
pub async fn a_resource_that_cannot_be_used_is_rejected_and_its_last_good_state_stays(backend: Backend) {
    // What can hold nothing but checked resources has nothing to reject.
    let Some(put) = &backend.put else { return };
    let mut watch = backend.one.watch(&[Kind::IpPool]);
    in_sync(&mut watch, 1).await;
    put(&pool_text("p", "10.1.0.0/16")).await;
    until(&mut watch, "the good state", cidr_of).await;
    put(&pool_text("p", "10.1.0.0/99")).await;
    let told = until(&mut watch, "what is wrong", |event| match event {
        Event::Rejected { rejections, .. } => Some(rejections),
        Event::Gone(key) => panic!("{key} went because its new state is wrong"),
        _ => None,
    })
    .await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].key, Some(Key::new(Kind::IpPool, "p")));
    let words = told[0].to_string();
    assert!(words.contains("IPPool/p: spec.cidr: \"10.1.0.0/99\" is not allowed: a CIDR"), "{words}");
    let mut late = backend.one.watch(&[Kind::IpPool]);
    assert_eq!(until(&mut late, "the last good state", cidr_of).await, "10.1.0.0/16");
    put(&pool_text("p", "10.2.0.0/16")).await;
    let (mut mended, mut cidr) = (false, None);
    while !mended || cidr.is_none() {
        match next(&mut watch, "that it is mended").await {
            Event::Rejected { rejections, .. } => mended = rejections.is_empty(),
            event => cidr = cidr_of(event).or(cidr),
        }
    }
    assert_eq!(cidr.as_deref(), Some("10.2.0.0/16"));
}

/// Where a resource refers to it.
pub async fn a_secret_is_a_resource_like_any_other(backend: Backend) {
    let secret = |value: &[u8]| {
        let data = BTreeMap::from([("mesh".to_owned(), SecretValue::new(value))]);
        Resource::Secret(Arc::new(Secret::new("bgp", data).unwrap()))
    };
    let peer = resource(
        "apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}\nspec:\n  peerIP: 192.0.2.1\n  \
         asNumber: 64513\n  password: {secretKeyRef: {name: bgp, key: mesh}}\n",
    );
    let mut watch = backend.other.watch(&[Kind::Secret]);
    let version = backend.one.write(Write::Create(secret(b"one"))).await.unwrap();
    let peering = backend.one.write(Write::Create(peer.clone())).await.unwrap();
    let value = |event| match event {
        Event::Put(Resource::Secret(secret)) => Some(secret.data["mesh"].expose().to_vec()),
        _ => None,
    };
    until(&mut watch, "the first value", |event| (value(event)? == b"one").then_some(())).await;
    let version = backend.one.write(Write::Update(at(secret(b"two\n"), &version))).await.unwrap();
    until(&mut watch, "the second value", |event| (value(event)? == b"two\n").then_some(())).await;
    let listed = backend.one.list(Kind::Secret).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].metadata().resource_version.as_ref(), Some(&version.0));
    let key = Key::new(Kind::Secret, "bgp");
    backend.one.write(Write::Delete { key: key.clone(), version }).await.unwrap();
    until(&mut watch, "its end", |event| (event == Event::Gone(key.clone())).then_some(())).await;
    backend.one.write(Write::Delete { key: peer.key(), version: peering }).await.unwrap();
}
