//! Stories of addresses that somebody asks for by name, and of those that nobody gets who does not.

use super::*;

/// Node `a` with a block, and `b`, which knows of it.
fn owner_and_other() -> (Store, Allocator, Allocator) {
    let pools = [pool("p", "10.0.0.0/29", 30)];
    let (mut store, mut a, mut b) = (Store::default(), node("a", &pools), node("b", &pools));
    store.serve(&mut a, seconds(0));
    store.show(&mut b, seconds(0));
    while b.poll().is_some() {}
    (store, a, b)
}

#[test]
fn a_fixed_address_in_another_nodes_block_is_had_once_its_owner_lends_it_and_rests_when_it_comes_back() {
    let (mut store, mut a, mut b) = owner_and_other();
    let address = blocks(&a)[0].ip();
    let waits = |b: &mut Allocator| b.assign(pod(1), &wants(address), seconds(1)).unwrap_err().to_string();
    assert_eq!(
        waits(&mut b),
        format!("waiting for the datastore to confirm a block: {address}/32 is being claimed for {address}")
    );
    store.serve(&mut b, seconds(1));
    assert!(waits(&mut b).contains("node a, which owns"), "nothing before its owner has agreed");
    store.show(&mut a, seconds(1));
    assert_eq!(store.serve(&mut a, seconds(1)), 1);
    store.show(&mut b, seconds(1));
    assert_eq!(b.assign(pod(1), &wants(address), seconds(1)).unwrap(), [address]);
    for n in 0..3 {
        assert_ne!(a.assign(pod(n), &any(), seconds(1)).unwrap(), [address]);
    }
    assert!(a.assign(pod(3), &wants(address), seconds(1)).unwrap_err().to_string().contains("node b"));
    // A pod that moves gives it back in a moment; the owner uses it again after its rest.
    b.release(pod(1), seconds(2));
    b.handle_timeout(seconds(4));
    store.serve(&mut b, seconds(4));
    assert!(!store.blocks.values().any(|block| block.node == "b"));
    a.block_gone(IpNetwork::from(address), seconds(5));
    store.serve(&mut a, seconds(5));
    assert!(store.blocks.values().all(|block| block.lent.is_empty()));
    let ready = |a: &Allocator| a.usage().find(|block| block.cidr.contains(address)).unwrap().ready;
    assert_eq!((ready(&a), a.resting().next().map(|(_, address)| address)), (0, Some(address)));
    a.handle_timeout(seconds(35));
    assert_eq!((ready(&a), a.resting().count()), (1, 0));
}

#[test]
fn a_block_counts_for_its_owner_once_it_is_shown_to_him() {
    let pools = [pool("p", "10.0.0.0/30", 30)];
    let (mut store, mut a, mut b) = (Store::default(), node("a", &pools), node("b", &pools));
    while b.poll().is_some() {}
    // An address of the block is claimed first, the block itself a moment later; neither knows of the other.
    let address: IpAddr = "10.0.0.0".parse().unwrap();
    assert!(b.assign(pod(1), &wants(address), seconds(0)).is_err());
    store.serve(&mut b, seconds(0));
    assert_eq!(b.assign(pod(1), &wants(address), seconds(0)).unwrap(), [address]);
    let first = store.blocks.values().next().unwrap().clone();
    let Some(Effect::Write(claim)) = a.poll() else { panic!("a claims nothing") };
    a.written(&claim.key(), &store.write(&claim), seconds(0));
    let early = a.assign(pod(1), &any(), seconds(0));
    assert!(matches!(early, Err(AssignError::Pending(_))), "{early:?}");
    a.block_put(&first, seconds(0));
    store.show(&mut a, seconds(0));
    let given: Vec<IpAddr> = (0..3).map(|n| a.assign(pod(n), &any(), seconds(0)).unwrap()[0]).collect();
    assert!(!given.contains(&address), "{given:?}");
    assert!(matches!(a.assign(pod(3), &any(), seconds(0)), Err(AssignError::Exhausted { .. })));
}

#[test]
fn an_owner_does_not_lend_what_a_pod_of_its_own_has() {
    let (mut store, mut a, mut b) = owner_and_other();
    let address = a.assign(pod(1), &any(), seconds(0)).unwrap()[0];
    assert!(b.assign(pod(1), &wants(address), seconds(1)).is_err());
    store.serve(&mut b, seconds(1));
    store.show(&mut a, seconds(1));
    assert_eq!(store.serve(&mut a, seconds(1)), 0);
    store.show(&mut b, seconds(1));
    let waits = b.assign(pod(1), &wants(address), seconds(1)).unwrap_err();
    assert!(waits.may_pass() && waits.to_string().contains("has not let go of"), "{waits}");
    a.release(pod(1), seconds(2));
    assert_eq!(store.serve(&mut a, seconds(2)), 1);
    store.show(&mut b, seconds(2));
    assert_eq!(b.assign(pod(1), &wants(address), seconds(2)).unwrap(), [address]);
}

#[test]
fn an_owners_word_is_for_one_claim_and_not_for_the_next() {
    let (mut store, mut a, mut b) = owner_and_other();
    let address = blocks(&a)[0].ip();
    assert!(b.assign(pod(1), &wants(address), seconds(1)).is_err());
    store.serve(&mut b, seconds(1));
    store.show(&mut a, seconds(1));
    store.serve(&mut a, seconds(1));
    // Nobody came for it: it goes back, and is claimed again before the owner has heard of anything.
    b.handle_timeout(seconds(9));
    store.serve(&mut b, seconds(9));
    assert!(b.assign(pod(1), &wants(address), seconds(10)).is_err());
    store.serve(&mut b, seconds(10));
    store.show(&mut b, seconds(10));
    let waits = b.assign(pod(1), &wants(address), seconds(10)).unwrap_err();
    assert!(waits.to_string().contains("has not let go of"), "{waits}");
}

#[test]
fn a_reserved_address_is_had_only_by_name_and_a_block_of_them_is_not_claimed() {
    let (mut store, mut a) = (Store::default(), node("a", &[]));
    a.set_reserved(vec!["10.0.0.0/30".parse().unwrap(), "10.0.0.5/32".parse().unwrap()], seconds(0));
    a.set_pools([pool("p", "10.0.0.0/29", 30)], seconds(0));
    store.serve(&mut a, seconds(0));
    assert_eq!(blocks(&a).iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.4/30"]);
    let given: Vec<IpAddr> = (0..3).map(|n| a.assign(pod(n), &any(), seconds(0)).unwrap()[0]).collect();
    let reserved: IpAddr = "10.0.0.5".parse().unwrap();
    assert!(!given.contains(&reserved));
    assert!(matches!(a.assign(pod(3), &any(), seconds(0)), Err(AssignError::Exhausted { .. })));
    let block = a.usage().next().unwrap();
    assert_eq!((block.used, block.ready, block.withheld), (3, 0, 1));
    assert_eq!(a.assign(pod(4), &wants(reserved), seconds(0)).unwrap(), [reserved]);
    // Lifted: the block is worth claiming.
    a.set_reserved(Vec::new(), seconds(1));
    assert_eq!(store.serve(&mut a, seconds(1)), 1);
}

fn namespace(name: &str, team: &str) -> Arc<Namespace> {
    let mut metadata = corduroy_api::Metadata::named(name);
    metadata.labels.insert("team".into(), team.into());
    Arc::new(Namespace::new(metadata))
}

#[test]
fn a_pool_with_a_namespace_selector_serves_these_namespaces_first_and_no_other() {
    let red = Pool {
        namespaces: Some("team == 'red'".parse().unwrap()),
        for_tunnels: false,
        ..pool("red", "10.9.0.0/31", 31)
    };
    let (mut store, mut a) = (Store::default(), node("a", &[pool("all", "10.0.0.0/24", 26), red]));
    assert_eq!(store.serve(&mut a, seconds(0)), 1, "no block of it before somebody asks");
    let of = |team: &str| Request { namespace: Some(namespace("n", team)), ..any() };
    assert!(a.assign(pod(1), &of("blue"), seconds(0)).unwrap()[0].to_string().starts_with("10.0."));
    assert!(matches!(a.assign(pod(2), &of("red"), seconds(0)), Err(AssignError::Pending(_))));
    store.serve(&mut a, seconds(0));
    let mut given = |n| a.assign(pod(n), &of("red"), seconds(0)).unwrap()[0].to_string();
    assert!(given(2).starts_with("10.9.") && given(3).starts_with("10.9."));
    assert!(given(4).starts_with("10.0."), "then of the others");
    let choice = || Choice::Only(vec!["red".into()]);
    let named = Request { pools: [choice(), Choice::Automatic], ..of("blue") };
    let refused = a.assign(pod(5), &named, seconds(0)).unwrap_err().to_string();
    assert!(refused.contains("\"red\"") && refused.ends_with("for V4 there are: all"), "{refused}");
}

#[test]
fn the_cidrs_that_the_cluster_gave_are_blocks_that_nobody_claims_or_gives_back() {
    let given = |cidr: &str, len| Pool { given: true, ..pool(cidr, cidr, len) };
    let (mut store, mut a) =
        (Store::default(), node("a", &[given("10.1.0.0/30", 30), given("fd00::/64", 64)]));
    let both = a.assign(pod(1), &any(), seconds(0)).unwrap();
    assert_eq!(both.len(), 2);
    for n in 2..5 {
        a.assign(pod(n), &any(), seconds(0)).unwrap();
    }
    assert!(matches!(a.assign(pod(5), &any(), seconds(0)), Err(AssignError::Exhausted { .. })));
    let outside = "10.2.0.1".parse().unwrap();
    assert!(matches!(a.assign(pod(5), &wants(outside), seconds(0)), Err(AssignError::Outside { .. })));
    for n in 1..5 {
        a.release(pod(n), seconds(1));
    }
    a.handle_timeout(seconds(1000));
    assert_eq!(store.serve(&mut a, seconds(1000)), 0);
    assert_eq!(a.usage().filter(|block| !block.leaving).count(), 2);
}
