//! A real etcd, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use corduroy_api::{Event, Kind, Write, WriteError};
use corduroy_datastore::Datastore;
use corduroy_datastore_contract::{Backend, Put, cidr_of, demands, pool_text, resource, until};
use corduroy_datastore_etcd::{Access, Etcd as Store};
use corduroy_tests::kube::Etcd as Server;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::world::{all_that_happened, state, version};

/// Runs a test where an etcd is, with a runtime there.
fn on_etcd(label: &str, secure: bool, test: impl FnOnce(&mut Server, &Runtime) + Send) {
    let mut server = Server::start(label, secure);
    let host = server.host().clone();
    // A runtime's threads are where the one is that makes it.
    host.enter(|| test(&mut server, &Runtime::new().unwrap()));
}

fn access(server: &Server, prefix: &str) -> Access {
    Access { endpoints: vec![server.url()], prefix: prefix.to_owned(), ..Access::default() }
}

fn store(runtime: &Runtime, access: &Access) -> Store {
    runtime.block_on(Store::connect(access)).unwrap()
}

fn bytes(text: &str) -> String {
    BASE64.encode(text)
}

/// Puts a pool as an operator would with etcdctl.
fn put_pool(server: &Server, prefix: &str, text: &str) -> Value {
    let name = text.split("name: ").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let key = bytes(&format!("{prefix}/ippools/{name}"));
    server.ask("/v3/kv/put", &json!({ "key": key, "value": bytes(text) })).unwrap()
}

#[test]
fn etcd_meets_the_contract_of_a_datastore() {
    let server = Arc::new(Server::start("etcd-contract", false));
    let host = server.host().clone();
    let turn = AtomicU32::new(0);
    host.enter(|| {
        let runtime = Runtime::new().unwrap();
        for (name, demand) in demands() {
            eprintln!("{name}");
            let prefix = format!("/demand/{}", turn.fetch_add(1, Ordering::Relaxed));
            let access = access(&server, &prefix);
            let door = || Arc::new(store(&runtime, &access)) as Arc<dyn Datastore>;
            let through = Arc::clone(&server);
            let put: Put = Box::new(move |text| {
                put_pool(&through, &prefix, text);
                Box::pin(std::future::ready(()))
            });
            let backend = Backend { one: door(), other: door(), put: Some(put), keep: Box::new(()) };
            runtime.block_on(demand(backend));
        }
    });
}

#[test]
fn an_etcd_that_goes_and_returns_costs_a_watcher_nothing_but_time_even_when_it_has_forgotten() {
    on_etcd("etcd-away", false, |server, runtime| {
        let store = store(runtime, &access(server, "/corduroy"));
        let first = resource(&pool_text("first", "10.1.0.0/16"));
        let doomed = resource(&pool_text("doomed", "10.9.0.0/16"));
        runtime.block_on(async {
            store.write(Write::Create(first)).await.unwrap();
            store.write(Write::Create(doomed.clone())).await.unwrap();
        });
        let mut watch = store.watch(&[Kind::IpPool]);
        runtime.block_on(state(&mut watch, Kind::IpPool, true));

        server.kill();
        let why = runtime.block_on(state(&mut watch, Kind::IpPool, false));
        assert!(why.contains("etcd can't be reached"), "{why}");
        let lost = runtime.block_on(store.write(Write::Create(resource(&pool_text("q", "10.8.0.0/16")))));
        assert!(matches!(lost, Err(WriteError::Unavailable { .. })), "{lost:?}");
        assert!(runtime.block_on(store.list(Kind::IpPool)).is_err());

        // Where the watcher does not look, things change, and what it knows of the past is forgotten.
        server.listen(2479);
        server.ask("/v3/kv/deleterange", &json!({ "key": bytes("/corduroy/ippools/doomed") })).unwrap();
        let put = put_pool(server, "/corduroy", &pool_text("second", "10.2.0.0/16"));
        let revision = put["header"]["revision"].clone();
        server.ask("/v3/kv/compaction", &json!({ "revision": revision, "physical": true })).unwrap();
        server.kill();
        server.listen(2379);
        runtime.block_on(all_that_happened(&mut watch));
        let there = runtime.block_on(store.list(Kind::IpPool)).unwrap();
        assert_eq!(there.len(), 2);
        runtime.block_on(async {
            let delete = Write::Delete { key: there[0].key(), version: version(&there[0]) };
            store.write(delete).await.unwrap();
            until(&mut watch, "that it is gone", |event| matches!(event, Event::Gone(_)).then_some(())).await;
        });
    });
}

#[test]
fn etcd_wants_certificates_a_user_and_a_password_and_a_token_that_ran_out_is_got_anew() {
    on_etcd("etcd-secure", true, |server, runtime| {
        for (path, body) in [
            ("/v3/auth/user/add", json!({ "name": "root", "password": "r" })),
            ("/v3/auth/role/add", json!({ "name": "root" })),
            ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
            ("/v3/auth/user/add", json!({ "name": "corduroy", "password": "one" })),
            ("/v3/auth/role/add", json!({ "name": "corduroy" })),
            ("/v3/auth/user/grant", json!({ "user": "corduroy", "role": "corduroy" })),
            (
                "/v3/auth/role/grant",
                json!({ "name": "corduroy", "perm": { "permType": "READWRITE",
                    "key": bytes("/corduroy/"), "range_end": bytes("/corduroy0") } }),
            ),
            ("/v3/auth/enable", json!({})),
        ] {
            server.ask(path, &body).unwrap_or_else(|why| panic!("{path}: {why}"));
        }
        let password = server.host().file("password", "one\n");
        let access = |prefix: &str| Access {
            ca: Some(server.file("ca.crt")),
            certificate: Some((server.file("client.crt"), server.file("client.key"))),
            user: Some(("corduroy".to_owned(), password.clone())),
            ..access(server, prefix)
        };
        let ours = store(runtime, &access("/corduroy"));
        let pool = resource(&pool_text("p", "10.1.0.0/16"));
        runtime.block_on(ours.write(Write::Create(pool))).unwrap();
        let mut watch = ours.watch(&[Kind::IpPool]);
        runtime.block_on(state(&mut watch, Kind::IpPool, true));

        let theirs = store(runtime, &access("/other"));
        let mut denied = theirs.watch(&[Kind::IpPool]);
        let why = runtime.block_on(state(&mut denied, Kind::IpPool, false));
        assert!(why.contains("permission denied"), "{why}");
        let stranger = Access { user: None, ..access("/corduroy") };
        let refused = runtime.block_on(store(runtime, &stranger).list(Kind::IpPool)).unwrap_err();
        assert!(refused.why.contains("etcd says: "), "{refused}");
        let bare = Access { certificate: None, ..access("/corduroy") };
        let refused = runtime.block_on(store(runtime, &bare).list(Kind::IpPool)).unwrap_err();
        assert!(refused.why.contains("etcd can't be reached"), "{refused}");

        let again = access("/corduroy");
        // A new process of etcd knows none of the tokens that the old one gave.
        server.kill();
        server.listen(2379);
        let anew = store(runtime, &again);
        let second = resource(&pool_text("second", "10.2.0.0/16"));
        runtime.block_on(anew.write(Write::Create(second))).unwrap();
        runtime.block_on(until(&mut watch, "the pool of another client", |event| {
            cidr_of(event).filter(|cidr| cidr == "10.2.0.0/16")
        }));
        assert_eq!(runtime.block_on(ours.list(Kind::IpPool)).unwrap().len(), 2);
    });
}
