//! What others change is reported, what we change is not, and what was lost is known to be lost.

use std::time::{Duration, Instant};

use corduroy_kernel::{Changed, NextHop, Op, Route};
use corduroy_kernel_linux::Watch;

use crate::nft::{changes, everything};
use crate::{dev, done, net, open, uplinks};

/// Wait for a change, however many others come before it.
fn until(watch: &mut Watch, wanted: &Changed) -> bool {
    let end = Instant::now() + Duration::from_secs(100);
    while Instant::now() < end {
        if watch.wait(Duration::from_millis(200)).contains(wanted) {
            return true;
        }
    }
    false
}

/// Interfaces report their carrier some time after they are set up.
fn until_quiet(watch: &mut Watch) {
    let end = Instant::now() + Duration::from_secs(100);
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
