//! What others change is reported, what we change is not, and what was lost is known to be lost.

use std::time::{Duration, Instant};

use corduroy_kernel::{Changed, IpNet, NextHop, Op, Route};
use corduroy_kernel_linux::Watch;

use crate::nft::{changes, everything};
use crate::{dev, done, net, open, quiet, uplinks};

/// Wait for a change, however many others come before it.
fn until(watch: &mut Watch, wanted: &Changed) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if watch.wait(Duration::from_millis(200)).contains(wanted) {
            return true;
        }
    }
    false
}

/// Interfaces report their carrier some time after they are set up.
fn until_quiet(watch: &mut Watch) {
    let end = Instant::now() + Duration::from_secs(10);
    while !watch.wait(Duration::from_millis(500)).is_empty() {
        assert!(Instant::now() < end, "it never gets quiet");
    }
}

#[test]
fn what_others_change_of_ours_is_reported_and_what_we_change_is_not() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    let mut watch = kernel.watch().unwrap();
    until_quiet(&mut watch);
    let up0 = dev("up0");
    let table = everything();
    let route = Route::by(net("10.1.0.0/16"), NextHop::dev(up0));
    done(&mut kernel, [Op::Nft(changes(&table)), Op::PutRoute(route)]);
    netns.sh("ip route add 10.2.0.0/16 dev up0 proto bird; nft add table ip other; nft add chain ip other c");
    assert_eq!(watch.wait(Duration::from_millis(300)), [].into(), "ours and others' own business");

    netns.sh("ip route del 10.1.0.0/16 proto 67");
    assert!(until(&mut watch, &Changed::Routes), "our route deleted");
    netns.sh("nft add rule inet corduroy from-pod accept");
    assert!(until(&mut watch, &Changed::Nft), "a rule added to our table");
    netns.sh("nft add table ip zzz; nft flush ruleset");
    assert!(until(&mut watch, &Changed::Nft), "everything flushed, ours not first");
    netns.sh("ip addr add 192.0.2.2/24 dev up0");
    assert!(until(&mut watch, &Changed::Addresses(up0)));
    netns.sh("ip link set up0 down");
    assert!(until(&mut watch, &Changed::Link(up0)));
    let mut state = kernel.read().unwrap();
    assert!(state.nft.is_none() && state.routes.is_empty());
    netns.sh("ip link set up0 up");
    assert!(until(&mut watch, &Changed::Link(up0)));
    kernel.refresh(&mut state, &[Changed::Link(up0)]).unwrap();
    assert!(state.links[&up0].link.up);
    assert_eq!(state.links[&up0].link, kernel.read().unwrap().links[&up0].link);
}

#[test]
fn a_storm_too_large_for_the_buffer_is_an_overrun_and_reading_again_shows_the_truth() {
    const ROUTES: u32 = 100_000;
    let netns = uplinks();
    let mut kernel = open(&netns);
    let mut watch = kernel.watch().unwrap();
    until_quiet(&mut watch);
    let mut state = kernel.read().unwrap();
    // Somebody else with our number: not this kernel's socket, so every route is reported.
    let mut other = open(&netns);
    let route = |i: u32| {
        let dst = IpNet::new(std::net::Ipv4Addr::from((10 << 24) + (i << 6)).into(), 26).unwrap();
        Route::by(dst, NextHop::onlink(dev("up0"), "192.0.2.2".parse().unwrap()))
    };
    done(&mut other, (0..ROUTES).map(|i| Op::PutRoute(route(i))).collect::<Vec<_>>());
    let changed = watch.wait(Duration::from_secs(10));
    assert_eq!(Vec::from_iter(&changed), [&Changed::Overrun]);
    kernel.refresh(&mut state, &changed).unwrap();
    assert_eq!(state.routes.len(), ROUTES as usize);
    assert_eq!(state.routes.values().last(), Some(&route(ROUTES - 1)));
    assert_eq!(quiet(state), quiet(kernel.read().unwrap()));
    // It goes on watching.
    until_quiet(&mut watch);
    netns.sh("ip route del 10.0.0.0/26 proto 67");
    assert!(until(&mut watch, &Changed::Routes));
    assert_eq!(watch.wait(Duration::ZERO), [].into());
}
