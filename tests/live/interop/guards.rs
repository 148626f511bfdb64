//! Who is let in, and how a session ends in words.

use corduroy_tests::daemons::{Daemon, Router, holds_exactly};
use corduroy_tests::interop::{Feature, note};
use corduroy_tests::wire::Wire;
use corduroy_tests::{Namespace, eventually};

use super::pair::{PATIENCE, Pair, THEIRS, Wish, ip};

const TEXT: &str = "replacing the fans";

pub(super) fn md5<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let pair = Pair::new(Wish { md5: true, ..Wish::default() }, start);
    pair.established();
    pair.complete();
    // The same address without the key: the kernel answers nothing.
    let stranger = Wire::connect(&pair.hosts[1], ip("192.0.2.2"), "192.0.2.1:179".parse().unwrap());
    assert!(stranger.is_err(), "a connection without the key was accepted");
    note::<D>(Feature::Md5);
}

pub(super) fn ttl_security<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish { ttl_security: true, ..Wish::default() }, start);
    pair.established();
    pair.complete();
    // From now on its packets look as if they came from behind a router: we hear nothing of what it says.
    let [_, there, _] = &pair.hosts;
    for rule in [
        "add table inet far",
        "add chain inet far out { type filter hook postrouting priority 0; }",
        "add rule inet far out ip daddr 192.0.2.1 ip ttl set 254",
    ] {
        there.run(&format!("nft {rule}"));
    }
    pair.other.announce("10.2.128.0/17");
    pair.other.announce("2001:db8:2:8000::/49");
    eventually(PATIENCE, || holds_exactly(&pair.ours, &[THEIRS[0], THEIRS[1], "2001:db8:2:8000::/49"]));
    there.run("nft delete table inet far");
    eventually(PATIENCE, || {
        holds_exactly(&pair.ours, &[THEIRS[0], THEIRS[1], "10.2.128.0/17", "2001:db8:2:8000::/49"])
    });
    note::<D>(Feature::TtlSecurity);
}

pub(super) fn its_shutdown<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    pair.complete();
    pair.other.shut_down(ip("192.0.2.1"), TEXT);
    eventually(PATIENCE, || said(&pair.ours.log()));
    eventually(PATIENCE, || holds_exactly(&pair.ours, &THEIRS[1..]));
    note::<D>(Feature::ItsShutdown);
}

pub(super) fn our_shutdown<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    pair.complete();
    pair.ours.shut_down(ip("192.0.2.2"), TEXT);
    eventually(PATIENCE, || said(&pair.other.log()));
    eventually(PATIENCE, || holds_exactly(&pair.other, &[]));
    note::<D>(Feature::OurShutdown);
}

fn said(log: &str) -> Result<(), String> {
    if log.contains(TEXT) { Ok(()) } else { Err(format!("no {TEXT:?} in its log")) }
}
