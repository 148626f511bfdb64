use super::*;

fn at(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

fn named(pools: &[(Arc<IpPool>, Source)]) -> Vec<(String, String, bool)> {
    let shown = |(pool, _): &(Arc<IpPool>, Source)| {
        (pool.metadata.name.clone(), pool.cidr.to_string(), pool.nat_outgoing)
    };
    pools.iter().map(shown).collect()
}

#[test]
fn a_pool_of_each_family_is_made_of_what_kubeadm_was_told() {
    let pools = derive(None, Some("10.244.0.0/16, fd00:10:244::/56")).unwrap();
    let expected =
        [("default-ipv4-ippool", "10.244.0.0/16", true), ("default-ipv6-ippool", "fd00:10:244::/56", true)];
    assert_eq!(named(&pools), expected.map(|(name, cidr, nat)| (name.to_owned(), cidr.to_owned(), nat)));
    let origin = &pools[0].0.metadata.annotations["corduroy.dev/derived-from"];
    assert_eq!(origin, "networking.podSubnet in ConfigMap kube-system/kubeadm-config");
    let public = derive(None, Some("2001:db8:1::/56")).unwrap();
    assert!(!public[0].0.nat_outgoing, "the outside can answer those");
}

#[test]
fn the_configuration_overrules_and_may_want_none() {
    let configured = ["100.64.0.0/24".parse().unwrap()];
    let pools = derive(Some(&configured), Some("10.244.0.0/16")).unwrap();
    assert_eq!(named(&pools), [("default-ipv4-ippool".to_owned(), "100.64.0.0/24".to_owned(), true)]);
    assert_eq!(pools[0].1, Source::Configuration);
    assert_eq!(derive(Some(&[]), Some("10.244.0.0/16")), Err(NoPool::Unwanted));
}

#[test]
fn what_is_no_pool_is_named_with_where_it_stands() {
    assert_eq!(derive(None, None), Err(NoPool::Unknown));
    assert_eq!(derive(None, Some(" ")), Err(NoPool::Unknown));
    for (subnets, why) in [
        ("10.244.0.0", "\"10.244.0.0\" (networking.podSubnet in ConfigMap kube-system/kubeadm-config): cidr"),
        ("everything", "it is no CIDR"),
        ("10.244.0.1/16", "cidr"),
        ("127.0.0.0/8", "not link-local, loopback"),
        ("10.1.0.0/16,10.2.0.0/16", "a second CIDR of its family"),
    ] {
        let error = derive(None, Some(subnets)).map(|pools| named(&pools)).unwrap_err().to_string();
        assert!(error.contains(why), "{subnets}: {error}");
    }
}

#[test]
fn pools_are_derived_once_and_not_while_somebody_may_still_be_making_them() {
    let mut defaults = DefaultPools::default();
    assert_eq!(defaults.settle(None, false, at(0)), Wish::Nothing, "not known");
    assert_eq!(defaults.settle(Some(false), false, at(1)), Wish::Nothing);
    assert_eq!(defaults.next_timeout(), Some(at(11)));
    assert_eq!(defaults.settle(Some(false), false, at(10)), Wish::Nothing);
    assert_eq!(defaults.settle(Some(false), false, at(11)), Wish::Derive);
    assert_eq!(defaults.settle(Some(true), false, at(12)), Wish::Mark);
    assert_eq!(defaults.settle(Some(true), true, at(13)), Wish::Nothing);
    for seconds in [20, 40] {
        assert_eq!(defaults.settle(Some(false), true, at(seconds)), Wish::Nothing, "somebody deleted them");
    }
}
