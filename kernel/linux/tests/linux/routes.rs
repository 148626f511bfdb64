//! Routes of every form, refusals, and routes that are not ours.

use corduroy_kernel::{Cause, Gateway, IpNet, NextHop, Op, Remedy, Route};

use crate::netns::Netns;
use crate::{dev, done, net, open, quiet, tried, uplinks};

#[test]
fn routes_of_every_form_are_read_back_as_they_were_written() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    let (up0, up1) = (dev("up0"), dev("up1"));
    let src = Some("192.0.2.1".parse().unwrap());
    let via = |dev, via: &str| NextHop { onlink: false, ..NextHop::onlink(dev, via.parse().unwrap()) };
    let onlink = |dev, via: &str| NextHop::onlink(dev, via.parse().unwrap());
    let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
    let encap = NextHop { dev: up0, ..NextHop::ipip(here, there) };
    let routes = [
        Route::blackhole(net("10.1.0.0/26")),
        Route::blackhole(net("fd02::/122")),
        Route::by(net("10.0.0.1/32"), NextHop::dev(up0)).with_src(src),
        Route::by(net("10.2.0.0/16"), via(up0, "192.0.2.254")).with_mtu(Some(1400)),
        Route::by(net("10.3.0.0/16"), onlink(up1, "198.51.100.1")),
        Route::by(net("10.4.0.0/16"), onlink(up1, "fe80::2")),
        Route::by(net("10.5.0.0/16"), encap).with_src(src),
        Route::via(net("10.6.0.0/16"), [via(up0, "192.0.2.3"), onlink(up1, "198.51.100.7")]).unwrap(),
        Route::by(net("fd03::1/128"), NextHop::dev(up1)).with_src(Some("fd01::1".parse().unwrap())),
        Route::by(net("fd04::/64"), via(up1, "fd01::2")),
        Route::by(net("fd05::/64"), onlink(up0, "fd09::2")).with_mtu(Some(1400)),
        Route::via(net("fd06::/64"), [via(up1, "fd01::3"), via(up1, "fd01::4")]).unwrap(),
        Route::by(IpNet::ANY_V4, via(up0, "192.0.2.254")),
    ];
    done(&mut kernel, routes.clone().map(Op::PutRoute));
    let state = kernel.read().unwrap();
    for route in &routes {
        assert_eq!(state.routes.get(&route.dst), Some(route));
    }
    assert_eq!(state.routes.len(), routes.len());
    assert!(state.stray_routes.is_empty(), "{:?}", state.stray_routes);
    netns.sh("ip route add default via 192.0.2.253 metric 9; ip route add default via 192.0.2.252 metric 8");
    let facts = kernel.read().unwrap().facts();
    let gateway = facts.gateway("203.0.113.1".parse().unwrap()).unwrap();
    assert_eq!(gateway, Gateway { dev: up0, via: "192.0.2.252".parse().unwrap() });
    // Replaced, not added beside.
    let other = Route::blackhole(net("fd06::/64"));
    done(&mut kernel, [Op::PutRoute(other.clone())]);
    assert_eq!(kernel.read().unwrap().routes.get(&other.dst), Some(&other));
    netns.sh("ip route add 10.7.0.0/16 dev up0 proto 67 metric 5");
    assert!(kernel.read().unwrap().stray_routes.contains(&(net("10.7.0.0/16"), 5)));
    let mut deletes: Vec<Op> = routes.iter().map(|route| Op::DeleteRoute(route.dst)).collect();
    deletes.push(Op::DeleteStrayRoute(net("10.7.0.0/16"), 5));
    done(&mut kernel, deletes.clone());
    done(&mut kernel, deletes);
    let state = kernel.read().unwrap();
    assert!(state.routes.is_empty() && state.stray_routes.is_empty(), "{:?}", state.routes);
}

#[test]
fn ip_shows_our_routes_as_they_were_meant() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    let onlink = |via: &str| NextHop::onlink(dev("up1"), via.parse().unwrap());
    let src = Some("192.0.2.1".parse().unwrap());
    let routes = [
        Route::blackhole(net("10.1.0.0/26")),
        Route::by(net("10.2.0.1/32"), NextHop::dev(dev("up0"))).with_src(src),
        Route::via(net("10.3.0.0/16"), [onlink("169.254.1.1"), onlink("169.254.1.2")]).unwrap(),
        Route::blackhole(net("fd02::/122")),
        Route::via(net("fd03::/64"), [onlink("fd09::1"), onlink("fd09::2")]).unwrap(),
    ];
    done(&mut kernel, routes.map(Op::PutRoute));
    let shown: Vec<String> =
        netns.sh("ip route show proto 67").lines().map(|l| l.trim().to_owned()).collect();
    let wanted = [
        "blackhole 10.1.0.0/26 metric 1067",
        "10.2.0.1 dev up0 scope link src 192.0.2.1 metric 1067",
        "10.3.0.0/16 metric 1067",
        "nexthop via 169.254.1.1 dev up1 weight 1 onlink",
        "nexthop via 169.254.1.2 dev up1 weight 1 onlink",
    ];
    assert_eq!(shown, wanted);
    let shown = netns.sh("ip -6 route show proto 67");
    assert!(shown.contains("blackhole fd02::/122 dev lo metric 1067"), "{shown}");
    assert!(shown.contains("nexthop via fd09::1 dev up1 weight 1 onlink"), "{shown}");
    assert!(shown.contains("nexthop via fd09::2 dev up1 weight 1 onlink"), "{shown}");
}

#[test]
fn a_route_with_other_next_hops_replaces_the_one_that_was_there() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    for (dst, prefix) in [("10.6.0.0/16", "192.0.2."), ("fd06::/64", "fd01::")] {
        let up = if dst.starts_with("fd") { dev("up1") } else { dev("up0") };
        let hop = |n: &u8| NextHop {
            onlink: false,
            ..NextHop::onlink(up, format!("{prefix}{n}").parse().unwrap())
        };
        for hops in [&[2, 3, 4][..], &[3, 5], &[6], &[2, 3], &[], &[3, 4, 5, 6, 7, 8], &[9]] {
            let route = Route::via(net(dst), hops.iter().map(hop)).unwrap_or(Route::blackhole(net(dst)));
            done(&mut kernel, [Op::PutRoute(route.clone())]);
            let state = kernel.read().unwrap();
            assert_eq!(state.routes.get(&route.dst), Some(&route), "{hops:?}");
            let family = if dst.starts_with("fd") { "-6" } else { "-4" };
            let shown = netns.sh(&format!("ip {family} route show {dst}"));
            assert_eq!(shown.matches("via").count(), hops.len(), "{shown}");
        }
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    let hop = |via: &str| NextHop::onlink(dev("up1"), via.parse().unwrap());
    let routes = [
        Route::blackhole(net("10.1.0.0/26")),
        Route::via(net("fd03::/64"), [hop("fd09::1"), hop("fd09::2")]).unwrap(),
        Route::by(net("10.2.0.1/32"), NextHop::dev(dev("up0"))),
    ];
    let ops = routes.map(Op::PutRoute);
    done(&mut kernel, ops.clone());
    let once = quiet(kernel.read().unwrap());
    done(&mut kernel, ops);
    assert_eq!(quiet(kernel.read().unwrap()), once);
}

#[test]
fn each_refusal_is_told_of_its_own_operation_and_stops_no_other() {
    let netns = uplinks();
    netns.sh("ip link add low0 type veth peer name low1");
    let mut kernel = open(&netns);
    let via = |via: &str| NextHop { onlink: false, ..NextHop::onlink(dev("up0"), via.parse().unwrap()) };
    let good = |dst| Route::by(net(dst), via("192.0.2.2"));
    let not_here = Some("203.0.113.1".parse().unwrap());
    let ops = [
        good("10.1.0.0/16"),
        Route::by(net("10.2.0.0/16"), NextHop::dev(dev("nowhere"))),
        Route::by(net("10.3.0.0/16"), via("203.0.113.1")),
        good("10.4.0.0/16"),
        Route::by(net("10.5.0.0/16"), NextHop::dev(dev("low0"))),
        good("10.6.0.0/16").with_src(not_here),
        Route::by(net("fd07::/64"), NextHop { dev: dev("up1"), ..via("fd0a::1") }),
        good("10.8.0.0/16"),
    ];
    let results = tried(&mut kernel, ops.map(Op::PutRoute));
    let causes: Vec<Option<Cause>> = results.iter().map(|r| r.as_ref().err().map(|e| e.cause)).collect();
    let (missing, unreachable) = (Some(Cause::Missing), Some(Cause::Unreachable));
    let wanted = [None, missing, unreachable, None, Some(Cause::LinkDown), missing, unreachable, None];
    assert_eq!(causes, wanted, "{results:?}");
    assert!(results.iter().flat_map(|r| r.as_ref().err()).all(|e| e.remedy() == Remedy::Reread));
    let there: Vec<String> = kernel.read().unwrap().routes.keys().map(IpNet::to_string).collect();
    assert_eq!(there, ["10.1.0.0/16", "10.4.0.0/16", "10.8.0.0/16"]);
}

#[test]
fn ten_thousand_refusals_are_told_one_by_one() {
    let netns = uplinks();
    let mut kernel = open(&netns);
    let ops = (0..10_000u32).map(|i| {
        let dst = IpNet::host(std::net::Ipv4Addr::from((10 << 24) + i).into());
        let gateway = if i % 100 == 0 { "192.0.2.2" } else { "203.0.113.1" };
        Op::PutRoute(Route::by(
            dst,
            NextHop { onlink: false, ..NextHop::onlink(dev("up0"), gateway.parse().unwrap()) },
        ))
    });
    let results = tried(&mut kernel, ops.collect::<Vec<_>>());
    for (i, result) in results.iter().enumerate() {
        let wanted = if i % 100 == 0 { None } else { Some(Cause::Unreachable) };
        assert_eq!(result.as_ref().err().map(|error| error.cause), wanted, "{i}: {result:?}");
    }
    assert_eq!(kernel.read().unwrap().routes.len(), 100);
}

#[test]
fn routes_of_others_are_neither_shown_nor_touched() {
    let netns = uplinks();
    netns.sh("ip route add 10.1.0.0/16 dev up0 proto bird metric 20");
    netns.sh("ip route add 10.1.0.0/16 dev up0 proto bird metric 1068");
    netns.sh("ip route add 10.1.0.0/16 dev up0 proto 67 metric 1067 table 100");
    netns.sh("ip route add 10.2.0.0/16 dev up0 proto bird metric 1067");
    netns.sh("ip -6 route add fd03::/64 dev up1 proto bird metric 20");
    netns.sh("ip -6 route add fd04::/64 dev up1 proto bird metric 1067");
    let mut kernel = open(&netns);
    let shown = |netns: &Netns| {
        netns.sh("(ip route show table all; ip -6 route show table all) | grep -E 'proto (bird|67)'")
    };
    let before = shown(&netns);
    assert_eq!(kernel.read().unwrap().routes.len(), 0);
    assert!(kernel.read().unwrap().stray_routes.is_empty());
    let ours = ["10.1.0.0/16", "fd03::/64"].map(|dst| Route::blackhole(net(dst)));
    done(&mut kernel, ours.map(Op::PutRoute));
    assert_eq!(kernel.read().unwrap().routes.len(), 2);
    let all = ["10.1.0.0/16", "10.2.0.0/16", "fd03::/64", "fd04::/64"];
    done(&mut kernel, all.map(|dst| Op::DeleteRoute(net(dst))));
    assert_eq!(shown(&netns), before);
}

#[test]
fn a_route_of_our_number_that_we_do_not_write_is_a_stray_and_is_put_right() {
    let netns = uplinks();
    netns.sh("ip route add prohibit 10.1.0.0/16 proto 67 metric 1067");
    netns.sh("ip route add 10.2.0.0/16 dev up0 proto 67 metric 7");
    let mut kernel = open(&netns);
    let strays = kernel.read().unwrap().stray_routes;
    assert_eq!(Vec::from_iter(strays), [(net("10.1.0.0/16"), 1067), (net("10.2.0.0/16"), 7)]);
    let right = Route::blackhole(net("10.1.0.0/16"));
    done(&mut kernel, [Op::PutRoute(right.clone()), Op::DeleteStrayRoute(net("10.2.0.0/16"), 7)]);
    let state = kernel.read().unwrap();
    assert_eq!(Vec::from_iter(state.routes.into_values()), [right]);
    assert!(state.stray_routes.is_empty());
}
