//! What HostEndpoints say of a packet, which depends on the interfaces that it goes by.
//!
//! ```text
//! to this host  comes by the interface that has the address      early, else as its own, unless the port is failsafe
//! of this host  leaves by the interface that leads to the other  the same; failsafe ports are those of the other
//! of a pod      leaves by the interface that leads to the other  as forwarded
//! to a pod      comes by the interface that leads to the other   early unless failsafe, else as forwarded
//! ```
//! Early is what doNotTrack and preDNAT policies decide, by the packet as it came. By which interface a packet goes is
//! for the kernel to say; here it is taken from routes and addresses, so that of two ways to the same place the other
//! one may be meant. A connection that is cut for that is judged again, by the kernel, with its next packet. What a
//! host sends to itself or to its own pods is asked of nobody, and of what goes between two others it is not known
//! whether it goes by this host.

use std::net::IpAddr;

use corduroy_kernel::{LinkName, Packet};
use corduroy_policy::{Class, Direction, EndpointKey, Judgement, Settled, Stage};

use super::Passing;
use crate::desired::{hosts, routes};
use crate::known::Known;

/// What they say, first of what they send.
pub(super) fn judgements(known: &Known, passing: &Passing) -> Vec<Judgement> {
    // Sweeps ask of each connection of a node, and most nodes have no HostEndpoint.
    if !known.policies.has_hosts() {
        return Vec::new();
    }
    let Passing { goes, .. } = passing;
    let is_pod = |address| known.pods.by_address(address).is_some();
    let sides = [
        (Direction::Egress, goes.source, goes.destination),
        (Direction::Ingress, goes.destination, goes.source),
    ];
    let judged = sides.into_iter().filter_map(|(direction, end, other)| {
        if known.is_own_address(other) || is_pod(other) {
            return None;
        }
        let (dev, stage) = match known.is_own_address(end) {
            true => (own(known, direction, end, other)?, Stage::Own),
            false if is_pod(end) => (routes::device(known, other)?, Stage::Forward),
            false => return None,
        };
        let key = EndpointKey::new(Class::HostEndpoint, hosts::by(known, dev)?);
        judgement(known, passing, (&key, stage), direction)
    });
    judged.collect()
}

/// The interface by which this host sends to another, or gets it at an address of its own.
fn own(known: &Known, direction: Direction, end: IpAddr, other: IpAddr) -> Option<LinkName> {
    let has_it = || known.facts.holder(end).map(|(dev, _)| dev);
    match direction {
        Direction::Egress => routes::device(known, other).or_else(has_it),
        Direction::Ingress => has_it().or_else(|| routes::device(known, other)),
    }
}

fn judgement(
    known: &Known,
    passing: &Passing,
    (key, stage): (&EndpointKey, Stage),
    direction: Direction,
) -> Option<Judgement> {
    let engine = known.policies.engine();
    // What leaves is judged early only where the host itself sends.
    let is_early = stage == Stage::Own || direction == Direction::Ingress;
    let is_open = hosts::is_failsafe(known, &passing.came, direction);
    let early =
        (is_early && !is_open).then(|| engine.judgement_early(&passing.came, key, direction)).flatten();
    if early.is_some() || (stage == Stage::Forward && engine.program(key, stage, direction).is_none()) {
        return early;
    }
    let mut judgement = engine.judgement(&passing.goes, (key, stage), direction);
    settle(known, &passing.goes, &mut judgement);
    Some(judgement)
}

/// What the base chains settle about a host's own before policies are asked, and when none of them is.
pub(super) fn settle(known: &Known, packet: &Packet, judgement: &mut Judgement) {
    if judgement.stage == Stage::Forward {
        return;
    }
    let (engine, direction) = (known.policies.engine(), judgement.direction);
    let is_open = hosts::is_failsafe(known, packet, direction);
    let speaks =
        judgement.stage != Stage::Own || engine.program(&judgement.endpoint, Stage::Own, direction).is_some();
    judgement.settled = match (is_open, speaks) {
        (true, _) => Some(Settled::Failsafe),
        (false, false) => Some(Settled::Closed),
        (false, true) => return,
    };
    judgement.allowed = is_open;
    judgement.steps.clear();
}
