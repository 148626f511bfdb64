//! Graceful restart (RFC 4724) in both roles.

use std::time::Duration;

use corduroy_tests::daemons::{Corduroy, Daemon, Neighbour, Router, holds_exactly};
use corduroy_tests::interop::{Feature, note};
use corduroy_tests::wire::{End, Open, UPDATE, Wire, nlri};
use corduroy_tests::{Namespace, eventually};

use super::pair::{OURS, PATIENCE, Pair, THEIRS, Wish, ip};

const GRACEFUL: Wish = Wish {
    md5: false,
    ttl_security: false,
    graceful: true,
    internal: false,
    marked: false,
    reflector: super::pair::Reflector::Nobody,
};

/// We restart: the other keeps our routes all the while. A witness that peers with it sees no withdrawal up to a route
/// that was announced after we were back.
pub(super) fn we_restart<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut witness = Neighbour { passive: true, ..Neighbour::one_family("192.0.2.3", 65_003) };
    witness.local = Some(ip("192.0.2.2"));
    let mut pair = Pair::new(GRACEFUL, |namespace, router| start(namespace, router.peer(witness)));
    pair.established();
    pair.complete();
    let mut wire = eventually(PATIENCE, || {
        let mut wire = Wire::connect(&pair.hosts[2], ip("192.0.2.3"), "192.0.2.2:179".parse().unwrap())
            .map_err(|e| e.to_string())?;
        wire.establish(&Open::new(65_003, "3.3.3.3"), Duration::from_secs(5))?;
        Ok(wire)
    });
    read_until(&mut wire, OURS[0]);
    pair.ours.restart();
    pair.established();
    pair.complete();
    pair.other.announce("203.0.113.0/24");
    let withdrawn = read_until(&mut wire, "203.0.113.0/24");
    assert!(withdrawn.is_empty(), "our restart was seen further on: {withdrawn:?}");
    note::<D>(Feature::OurRestart);
}

/// Reads updates until one announces `prefix`; what was withdrawn before, as bytes.
fn read_until(wire: &mut Wire, prefix: &str) -> Vec<u8> {
    let wanted = nlri(prefix);
    let mut withdrawn = Vec::new();
    loop {
        let message = wire.receive(PATIENCE).unwrap_or_else(|end: End| panic!("no {prefix}: {end:?}"));
        if message.kind != UPDATE {
            continue;
        }
        let len = usize::from(u16::from_be_bytes([message.body[0], message.body[1]]));
        withdrawn.extend_from_slice(&message.body[2..2 + len]);
        if message.body.windows(wanted.len()).any(|window| window == wanted) {
            return withdrawn;
        }
    }
}

/// The other restarts: we keep its routes, and they are fresh again afterwards.
pub(super) fn it_restarts<D: Daemon>(start: impl FnOnce(&Namespace, Router) -> D) {
    let mut pair = Pair::new(GRACEFUL, start);
    pair.established();
    pair.complete();
    let sessions =
        |ours: &Corduroy| -> u32 { ours.peers().unwrap().iter().map(|peer| peer.session.established).sum() };
    let before = sessions(&pair.ours);
    pair.other.restart();
    eventually(PATIENCE, || {
        // At no look may one of them be gone.
        holds_exactly(&pair.ours, &THEIRS).unwrap();
        let fresh = pair.ours.learned()?.values().all(|route| !route.stale);
        let back = sessions(&pair.ours) >= before + 2;
        if fresh && back { Ok(()) } else { Err(format!("fresh: {fresh}, back: {back}")) }
    });
    pair.complete();
    note::<D>(Feature::ItsRestart);
}
