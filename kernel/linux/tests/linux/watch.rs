//! What others change is reported, what we change is not, and what was lost is known to be lost.

use std::time::{Duration, Instant};

use corduroy_kernel::{Changed, LinkName, NextHop, Op, Route};
use corduroy_kernel_linux::Watch;

use crate::links::birth;
use crate::netns::Netns;
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

#[test]
fn a_pod_that_we_wire_and_unwire_is_no_news_and_one_that_others_touch_is() {
    let (host, pod) = (Netns::new(), Netns::new());
    host.sh("ip addr add 192.0.2.1/32 dev lo; ip -6 addr add fd01::1/128 dev lo nodad; ip link set lo up");
    let mut kernel = open(&host);
    let mut watch = kernel.watch().unwrap();
    until_quiet(&mut watch);
    let (name, ops) = birth(&mut kernel, &pod);
    for _ in 0..3 {
        done(&mut kernel, ops.clone());
        done(&mut kernel, [Op::DeleteLink(name)]);
    }
    // One of the same name is made when the one before is gone, so all notices of that one are out.
    done(&mut kernel, ops);
    host.sh("ip link add marker type veth peer name rekram");
    let mut changed = watch.wait(Duration::ZERO);
    while !changed.contains(&Changed::Link(dev("marker"))) {
        changed.extend(watch.wait(Duration::from_secs(10)));
    }
    let of_pods = |changed: &Changed| matches!(changed, Changed::Link(name) if name.is_pod());
    assert!(!changed.iter().any(of_pods), "{changed:?}");

    for touch in ["down", "up mtu 1300"] {
        host.sh(&format!("ip link set {name} {touch}"));
        assert!(until(&mut watch, &Changed::Link(name)), "{touch}");
    }
    host.sh(&format!("ip link del {name}"));
    assert!(until(&mut watch, &Changed::Link(name)), "deleted");
    let foreign = LinkName::pod(0xbad);
    host.sh(&format!("ip link add {foreign} type bridge"));
    assert!(until(&mut watch, &Changed::Link(foreign)), "made");
}
