//! Corduroy installed by its manifests on three nodes in two racks: what it carries, what it lives through, and what is
//! left when it is removed. One cluster for all of it, since that is what costs time.

mod life;
mod reach;
mod removal;
mod workload;

use std::collections::BTreeSet;
use std::path::Path;

use corduroy_tests::cni::REFERENCE;
use corduroy_tests::kube::{Cluster, corduroy};

use removal::Picture;
use workload::Workload;

/// The version that is installed, and the one it is upgraded to.
const TAGS: [&str; 2] = ["v0.1.0", "v0.1.1"];
/// The nodes that have a plugin for host ports. The other has none but ours.
const WITH_PORTMAP: [&str; 2] = ["n1", "n2"];

#[test]
fn a_fabric_installed_by_manifest_carries_everything_lives_through_everything_and_leaves_nothing() {
    let cluster = Cluster::start("fabric", 3);
    for name in WITH_PORTMAP {
        let plugins = cluster.node(name).path("/opt/cni/bin").unwrap();
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::copy(Path::new(REFERENCE).join("portmap"), plugins.join("portmap")).unwrap();
    }
    let before: Vec<_> = cluster.nodes().iter().map(Picture::of).collect();
    TAGS.iter().for_each(|tag| corduroy::load(&cluster, tag));
    corduroy::install(&cluster, TAGS[0]);
    cluster.ready();
    cluster.name_server();

    let mut world = Workload::new(cluster);
    reach::pods_reach_everything(&world);
    reach::the_outside_reaches_pods(&world);
    life::everything_happens(&mut world);
    no_right_was_missing(&mut world);
    removal::nothing_is_left(world, &before);
}

/// The roles of the manifest hold all that the agents have asked for in their life here. An API server that has just
/// started denies everything for a moment, so what counts is what was never allowed.
fn no_right_was_missing(world: &mut Workload) {
    let requests = world.cluster.control().requests();
    let with = |wanted: fn(u64) -> bool| {
        let some = requests.keys().filter(move |(_, _, code)| wanted(*code));
        some.map(|(verb, what, _)| format!("{verb} {what}")).collect::<BTreeSet<_>>()
    };
    let (allowed, denied) = (with(|code| code != 403), with(|code| code == 403));
    assert!(allowed.contains("watch ippools/"), "the log has nothing of the agents: {requests:?}");
    let missing: Vec<_> = denied.difference(&allowed).collect();
    assert!(missing.is_empty(), "always denied: {missing:?}");
}
