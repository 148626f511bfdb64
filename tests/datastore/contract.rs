//! What every backend must do.

use std::sync::Arc;

use corduroy_datastore::Datastore;
use corduroy_datastore_contract::{Backend, Put, demands};
use corduroy_tests::kube::Kubectl;

use crate::world::{KINDS, client, established, on_control_plane, permissive};

#[test]
fn kubernetes_meets_the_contract_of_a_datastore() {
    on_control_plane("contract", |control, runtime| {
        let kubectl = control.kubectl().clone();
        kubectl.run("create namespace corduroy");
        for (kind, plural) in KINDS {
            kubectl.apply(&permissive(kind, plural).to_string());
        }
        established(&kubectl);
        for (name, demand) in demands() {
            eprintln!("{name}");
            let store = || Arc::new(client(control, runtime, "admin")) as Arc<dyn Datastore>;
            let backend =
                Backend { one: store(), other: store(), put: Some(put(&kubectl)), keep: Box::new(()) };
            runtime.block_on(demand(backend));
            for (_, plural) in KINDS {
                kubectl.run(&format!("delete {plural}.corduroy.dev --all"));
            }
            kubectl.run("delete secrets --all -n corduroy");
        }
    });
}

fn put(kubectl: &Kubectl) -> Put {
    let kubectl = kubectl.clone();
    Box::new(move |text| {
        kubectl.apply(text);
        Box::pin(std::future::ready(()))
    })
}
