//! What happens to a cluster's API server, and what a watcher makes of it.

use std::sync::Arc;

use corduroy_api::{Event, Key, Kind, Resource, Write, WriteError};
use corduroy_datastore::{Datastore, Watch};
use corduroy_datastore_contract::{cidr_of, pool_text, resource, until};
use corduroy_tests::eventually;
use corduroy_tests::kube::{ControlPlane, PATIENCE, Part};

use crate::world::{
    KINDS, all_that_happened, client, established, known, on_control_plane, shipped, state, version,
};

fn install(control: &ControlPlane) {
    control.kubectl().run("create namespace corduroy");
    control.kubectl().run(&format!("apply -k {}", shipped().display()));
    established(control.kubectl());
}

#[test]
fn an_api_server_that_dies_and_returns_costs_a_watcher_nothing_but_time() {
    on_control_plane("restart", |control, runtime| {
        install(control);
        let store = client(control, runtime, "admin");
        let first = resource(&pool_text("first", "10.1.0.0/16"));
        let doomed = resource(&pool_text("doomed", "10.9.0.0/16"));
        runtime.block_on(async {
            store.write(Write::Create(first.clone())).await.unwrap();
            store.write(Write::Create(doomed.clone())).await.unwrap();
        });
        let mut watch = store.watch(&[Kind::IpPool]);
        runtime.block_on(state(&mut watch, Kind::IpPool, true));

        control.kill(Part::ApiServer);
        let why = runtime.block_on(state(&mut watch, Kind::IpPool, false));
        assert!(why.contains("can't be reached") && why.contains("refused"), "{why}");
        let lost = runtime.block_on(store.write(Write::Create(resource(&pool_text("q", "10.8.0.0/16")))));
        let lost = lost.unwrap_err();
        assert!(matches!(lost, WriteError::Unavailable { .. }), "{lost}");
        assert!(runtime.block_on(store.list(Kind::IpPool)).is_err());

        // Another client changes things before the watcher is back; what it knew of the past is compacted.
        control.start(Part::ApiServer);
        control.ready();
        control.kubectl().run("delete ippools.corduroy.dev doomed");
        let state_of = control.kubectl().get("ippools.corduroy.dev first").unwrap();
        let revision = state_of["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        compact(control, &revision);
        control.kill(Part::ApiServer);
        control.start(Part::ApiServer);
        control.ready();
        control.kubectl().apply(&pool_text("second", "10.2.0.0/16"));
        runtime.block_on(all_that_happened(&mut watch));
    });
}

/// Makes etcd forget what was before `revision`.
fn compact(control: &ControlPlane, revision: &str) {
    let url = format!("{}/v3/kv/compaction", control.etcd());
    let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
    control.host().run(&format!("curl -sS -f -X POST {url} -d {body}"));
}

#[test]
fn a_kind_without_definition_is_unavailable_and_the_others_are_none_the_worse() {
    on_control_plane("definitions", |control, runtime| {
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        let kinds = KINDS.map(|(kind, _)| kind);
        let mut watch = store.watch(&kinds);
        let why = runtime.block_on(state(&mut watch, Kind::BgpFilter, false));
        assert!(why.contains("CustomResourceDefinition is missing"), "{why}");
        install(control);
        for kind in kinds {
            let mut again = store.watch(&[kind]);
            runtime.block_on(state(&mut again, kind, true));
        }
        kubectl.run("delete crd bgpfilters.corduroy.dev");
        let mut watch = store.watch(&kinds);
        let why = runtime.block_on(state(&mut watch, Kind::BgpFilter, false));
        assert!(why.contains("CustomResourceDefinition is missing"), "{why}");
        kubectl.apply(&pool_text("p", "10.1.0.0/16"));
        assert_eq!(runtime.block_on(until(&mut watch, "a pool", cidr_of)), "10.1.0.0/16");
        kubectl.run(&format!("apply -k {}", shipped().display()));
        runtime.block_on(state(&mut watch, Kind::BgpFilter, true));
    });
}

#[test]
fn what_is_lost_with_its_definition_stays_in_force_and_a_node_writes_its_own_again() {
    on_control_plane("lost", |control, runtime| {
        install(control);
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        let kinds = [Kind::IpPool, Kind::FabricNode];
        for text in
            [pool_text("p", "10.1.0.0/16"), node_text("n1", "192.0.2.1"), node_text("n2", "192.0.2.2")]
        {
            runtime.block_on(store.write(Write::Create(resource(&text)))).unwrap();
        }
        let mut watches = kinds.map(|kind| store.watch(&[kind]));
        for (watch, kind) in watches.iter_mut().zip(kinds) {
            runtime.block_on(state(watch, kind, true));
        }
        kubectl.run("delete crd ippools.corduroy.dev fabricnodes.corduroy.dev");
        for (watch, kind) in watches.iter_mut().zip(kinds) {
            runtime.block_on(without_loss(watch, kind, false));
        }
        kubectl.run(&format!("apply -k {}", shipped().display()));
        for (watch, kind) in watches.iter_mut().zip(kinds) {
            runtime.block_on(without_loss(watch, kind, true));
        }
        eventually(PATIENCE, || kubectl.try_run("get fabricnodes.corduroy.dev n1"));
        // Another node's is not ours to write; an operator's pool is applied as it was and taken away for good.
        assert!(kubectl.try_run("get fabricnodes.corduroy.dev n2").is_err());
        kubectl.apply(&pool_text("p", "10.1.0.0/16"));
        kubectl.apply(&pool_text("marker", "10.2.0.0/16"));
        let [pools, nodes] = &mut watches;
        runtime.block_on(until(pools, "the marker", |event| match event {
            Event::Gone(key) => panic!("{key} went although it is there again"),
            event => cidr_of(event).filter(|cidr| cidr == "10.2.0.0/16"),
        }));
        kubectl.run("delete ippools.corduroy.dev p");
        let gone = runtime.block_on(until(pools, "the deletion", |event| match event {
            Event::Gone(key) => Some(key.name),
            _ => None,
        }));
        assert_eq!(gone, "p");
        let lost = std::iter::from_fn(|| nodes.try_next()).find(|event| matches!(event, Event::Gone(_)));
        assert_eq!(lost, None, "nodes stay until they have had time to come back");
    });
}

/// A FabricNode as its agent would write it.
fn node_text(name: &str, address: &str) -> String {
    format!(
        "apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {{name: {name}}}\n\
         spec: {{addresses: [{address}/24]}}\n"
    )
}

/// As [`state`]; nothing may be gone meanwhile.
async fn without_loss(watch: &mut Watch, kind: Kind, available: bool) {
    until(watch, &format!("{kind} to be {available}"), |event| match event {
        Event::Gone(key) => panic!("{key} went with its definition"),
        event => known(event).filter(|(_, why)| why.is_none() == available),
    })
    .await;
}

#[test]
fn a_kind_that_is_not_permitted_is_unavailable_until_it_is() {
    on_control_plane("rights", |control, runtime| {
        install(control);
        control
            .kubectl()
            .run("create clusterrole some --verb=get,list,watch --resource=ippools.corduroy.dev");
        control
            .kubectl()
            .run("create clusterrolebinding some --clusterrole=some --user=system:kube-scheduler");
        // Somebody who has no business here.
        let store = client(control, runtime, "scheduler");
        let mut pools = store.watch(&[Kind::IpPool]);
        let mut nodes = store.watch(&[Kind::FabricNode]);
        runtime.block_on(state(&mut pools, Kind::IpPool, true));
        let why = runtime.block_on(state(&mut nodes, Kind::FabricNode, false));
        assert!(why.contains("403") && why.contains("cannot"), "{why}");
        let denied = runtime.block_on(store.write(Write::Create(resource(&pool_text("p", "10.1.0.0/16")))));
        let denied = denied.unwrap_err();
        assert!(matches!(denied, WriteError::Unavailable { .. }), "{denied}");
        assert!(denied.to_string().contains("cannot"), "{denied}");
        control
            .kubectl()
            .run("create clusterrole more --verb=list,watch --resource=fabricnodes.corduroy.dev");
        control
            .kubectl()
            .run("create clusterrolebinding more --clusterrole=more --user=system:kube-scheduler");
        runtime.block_on(state(&mut nodes, Kind::FabricNode, true));
    });
}

#[test]
fn an_update_leaves_alone_what_we_do_not_read_and_a_status_is_no_news() {
    on_control_plane("updates", |control, runtime| {
        install(control);
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        runtime.block_on(store.write(Write::Create(resource(&pool_text("p", "10.1.0.0/16"))))).unwrap();
        kubectl.run(
            r#"patch ippools.corduroy.dev p --type=merge -p {"metadata":{"finalizers":["example.org/keep"]}}"#,
        );
        let mut watch = store.watch(&[Kind::IpPool]);
        let wanted = |event| match event {
            Event::Put(pool) => Some(pool),
            _ => None,
        };
        let pool = runtime.block_on(until(&mut watch, "the pool", wanted));
        runtime.block_on(state(&mut watch, Kind::IpPool, true));
        kubectl.run(
            r#"patch ippools.corduroy.dev p --subresource=status --type=merge -p {"status":{"conditions":[]}}"#,
        );
        // The version that watchers know is not the newest any more, and says the same.
        let Resource::IpPool(mut changed) = pool.clone() else { panic!("{pool:?} is no pool") };
        Arc::make_mut(&mut changed).nat_outgoing = true;
        let changed = Resource::IpPool(changed);
        let after = runtime.block_on(store.write(Write::Update(changed))).unwrap();
        let seen = runtime.block_on(until(&mut watch, "the change", wanted));
        assert_eq!(version(&seen), after, "nothing was told in between");
        let object = kubectl.get("ippools.corduroy.dev p").unwrap();
        assert_eq!(object["metadata"]["finalizers"][0], "example.org/keep");
        assert_eq!(object["spec"]["natOutgoing"], true);
        let refused = resource(&pool_text("p", "10.2.0.0/16")).at_version(after.0);
        let refused = runtime.block_on(store.write(Write::Update(refused))).unwrap_err();
        let key = Key::new(Kind::IpPool, "p");
        assert!(matches!(&refused, WriteError::Refused { key: k, .. } if *k == key), "{refused}");
        assert!(refused.to_string().contains("cidr"), "the field is named: {refused}");
    });
}
