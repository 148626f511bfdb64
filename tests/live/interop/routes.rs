//! Routes, their attributes, and how they are asked for.

use corduroy_tests::daemons::{Corduroy, Daemon, Learned, Router, holds_exactly};
use corduroy_tests::interop::{Feature, note};
use corduroy_tests::{Namespace, eventually};

use super::pair::{MARKS, OUR_AS, OURS, PATIENCE, Pair, Reflector, THEIR_AS, THEIRS, THIRD, Wish, ip};

pub(super) fn both_ways<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    note::<D>(Feature::Established);
    pair.complete();
    let ours = pair.ours.learned().unwrap();
    assert_eq!(ours[THEIRS[0]].as_path, [THEIR_AS]);
    assert_eq!(ours[THEIRS[0]].next_hop, Some(ip("192.0.2.2")));
    assert_eq!(ours[THEIRS[1]].next_hop, Some(ip("2001:db8::2")));
    let theirs = pair.other.learned().unwrap();
    assert_eq!(theirs[OURS[0]].as_path, [OUR_AS]);
    assert_eq!(theirs[OURS[0]].next_hop, Some(ip("192.0.2.1")));
    assert_eq!(theirs[OURS[1]].next_hop, Some(ip("2001:db8::1")));
    note::<D>(Feature::FourOctetAs);
    pair.ours.announce("10.1.128.0/17");
    pair.ours.withdraw(OURS[1]);
    pair.other.announce("10.2.128.0/17");
    pair.other.withdraw(THEIRS[1]);
    eventually(PATIENCE, || holds_exactly(&pair.other, &[OURS[0], "10.1.128.0/17"]));
    eventually(PATIENCE, || holds_exactly(&pair.ours, &[THEIRS[0], "10.2.128.0/17"]));
    note::<D>(Feature::Routes);
}

fn assert_marked(route: &Learned, who: &str) {
    assert_eq!(route.med, Some(MARKS.med), "{who}: {route:?}");
    assert_eq!(route.communities, [MARKS.community], "{who}: {route:?}");
    assert_eq!(route.large_communities, [MARKS.large_community], "{who}: {route:?}");
}

pub(super) fn external<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let pair = Pair::new(Wish { marked: true, ..Wish::default() }, start);
    pair.complete();
    for (own, foreign) in OURS.iter().zip(THEIRS) {
        assert_marked(&pair.other.learned().unwrap()[*own], "the other");
        assert_marked(&pair.ours.learned().unwrap()[foreign], "ours");
    }
    note::<D>(Feature::External);
}

pub(super) fn internal<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let pair = Pair::new(Wish { internal: true, marked: true, ..Wish::default() }, start);
    pair.complete();
    for (own, foreign) in OURS.iter().zip(THEIRS) {
        for (route, who) in [
            (&pair.other.learned().unwrap()[*own], "the other"),
            (&pair.ours.learned().unwrap()[foreign], "ours"),
        ] {
            assert_marked(route, who);
            assert_eq!(route.local_pref, Some(MARKS.local_pref), "{who}: {route:?}");
            assert!(route.as_path.is_empty(), "{who}: {route:?}");
        }
    }
    note::<D>(Feature::Internal);
}

/// Waits until the routes came by a reflector with this id from a client with that one, their next hops untouched.
fn await_reflected(at: &impl Daemon, reflector: &str, client: &str, routes: [(&str, &str); 2]) {
    eventually(PATIENCE, || {
        let learned = at.learned()?;
        for (net, next_hop) in routes {
            let route: &Learned = learned.get(net).ok_or_else(|| format!("no {net}"))?;
            let by = (route.originator.as_deref(), &route.clusters[..], route.next_hop);
            if by != (Some(client), &[reflector.to_owned()][..], Some(ip(next_hop))) {
                return Err(format!("{net}: {route:?}"));
            }
        }
        Ok(())
    });
}

pub(super) fn reflected<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let pair = Pair::new(Wish { reflector: Reflector::We, ..Wish::default() }, start);
    pair.complete();
    let of_third = [(THIRD[0], "192.0.2.3"), (THIRD[1], "2001:db8::3")];
    await_reflected(&pair.other, "1.1.1.1", "3.3.3.3", of_third);
    let of_other = [(THEIRS[0], "192.0.2.2"), (THEIRS[1], "2001:db8::2")];
    await_reflected(pair.third.as_ref().unwrap(), "1.1.1.1", "2.2.2.2", of_other);
    note::<D>(Feature::Reflected);
}

pub(super) fn reflecting<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let pair = Pair::new(Wish { reflector: Reflector::It, ..Wish::default() }, start);
    pair.complete();
    let of_third = [(THIRD[0], "192.0.2.3"), (THIRD[1], "2001:db8::3")];
    await_reflected(&pair.ours, "2.2.2.2", "3.3.3.3", of_third);
    note::<D>(Feature::Reflecting);
}

/// More prefixes with equal attributes than a message of 4,096 octets holds, and room for a KEEPALIVE beside it.
const MANY: u16 = 2_500;

pub(super) fn extended<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    pair.complete();
    let many: Vec<_> = (0..MANY).map(|n| format!("100.{}.{}.0/24", 64 + n / 256, n % 256)).collect();
    let before = pair.counters();
    pair.ours.announce_all(&many);
    let own: Vec<_> = many.iter().map(String::as_str).chain(OURS).collect();
    eventually(PATIENCE, || holds_exactly(&pair.other, &own));
    let after = pair.counters();
    let (messages, bytes) = (after.sent - before.sent, after.bytes_sent - before.bytes_sent);
    assert!(bytes > 4096 * messages, "{messages} messages of {bytes} octets: none need be long");
    note::<D>(Feature::Extended);
}

pub(super) fn refresh_by_us<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    pair.complete();
    let before = pair.counters().updates_received;
    pair.ours.refresh(ip("192.0.2.2"));
    eventually(PATIENCE, || {
        let now = pair.counters().updates_received;
        if now > before { Ok(()) } else { Err(format!("{now} updates as before")) }
    });
    // Nothing was lost or left half done: a later route comes through and the rest is as it was.
    pair.other.announce("10.2.128.0/17");
    eventually(PATIENCE, || holds_exactly(&pair.ours, &[THEIRS[0], THEIRS[1], "10.2.128.0/17"]));
    note::<D>(Feature::RefreshByUs);
}

pub(super) fn refresh_by_it<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    /// A KEEPALIVE is a header and nothing more.
    const KEEPALIVE: u64 = 19;
    let mut pair = Pair::new(Wish::default(), start);
    pair.established();
    pair.complete();
    let before = pair.counters();
    pair.other.refresh(ip("192.0.2.1"));
    eventually(PATIENCE, || {
        let now = pair.counters();
        let updates = now.bytes_sent - before.bytes_sent > KEEPALIVE * (now.sent - before.sent);
        if updates { Ok(()) } else { Err(format!("only keepalives: {now:?}")) }
    });
    let ours: &mut Corduroy = &mut pair.ours;
    ours.announce("10.1.128.0/17");
    eventually(PATIENCE, || holds_exactly(&pair.other, &[OURS[0], OURS[1], "10.1.128.0/17"]));
    note::<D>(Feature::RefreshByIt);
}
