//! What policies do here, told to people: plain functions from what is known to answers.
//!
//! ```text
//! trace  a packet that is asked about ──┐
//! drops  a packet that was denied ──────┼─► judged: the engine's chains and sets, walked as the kernel walks them
//! plan   a connection there is ─────────┤
//! sweep  a connection there is ─────────┘
//! show   the policies in force, in the order they are asked
//! ```
//! Nothing here judges by itself: [`judged`] asks the engine, and leaves out only what the base chains never bring to
//! it. So what is explained is what is done.

pub mod drops;
mod hosts;
pub mod names;
pub mod plan;
pub mod show;
pub mod trace;
pub mod world;

use std::net::IpAddr;

use corduroy_kernel::{Flow, Packet, Transport, TupleId};
use corduroy_policy::{Class, Direction, Judgement, Said, Trace};

use crate::known::Known;

/// A packet as it came, and as it is once addresses are translated.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    came: Packet,
    goes: Packet,
}

impl From<Packet> for Passing {
    /// Nothing is translated.
    fn from(packet: Packet) -> Self {
        Self { came: packet, goes: packet }
    }
}

impl From<&Flow> for Passing {
    /// The first packet of a connection.
    fn from(flow: &Flow) -> Self {
        Self { came: flow.key.original.packet(), goes: first_packet(flow) }
    }
}

/// What the policies of endpoints of this node say of a packet. What no policy is asked about is left out: what a node
/// sends to its own pods, and what it gets from them as a host.
#[must_use]
pub fn judged(known: &Known, passing: &Passing) -> Trace {
    let packet = &passing.goes;
    let mut trace = known.policies.engine().trace(packet);
    let is_pod = |address| known.pods.by_address(address).is_some();
    let of_host = is_host_of(known, packet.source, packet.destination);
    let of_pod = is_pod(packet.source) || is_pod(packet.destination);
    // Of another node only the addresses of its interfaces are known.
    let by_address = known.facts.uplinks.is_empty() && !of_pod;
    trace.judgements.retain(|judgement| match (judgement.endpoint.class, judgement.direction) {
        (Class::Pod, Direction::Ingress) => !of_host,
        (Class::HostEndpoint, _) => by_address,
        _ => true,
    });
    let of_hosts = trace.judgements.iter_mut().filter(|it| it.endpoint.class == Class::HostEndpoint);
    of_hosts.for_each(|judgement| hosts::settle(known, packet, judgement));
    if !by_address {
        trace.judgements.extend(hosts::judgements(known, passing));
    }
    // In the order in which they are asked.
    trace.judgements.sort_by_key(|it| match (it.direction, it.endpoint.class) {
        (Direction::Egress, Class::HostEndpoint) => 1,
        (Direction::Egress, _) => 0,
        (Direction::Ingress, Class::HostEndpoint) => 2,
        (Direction::Ingress, _) => 3,
    });
    trace
}

/// Is the first address one of the node that the pod with the second one runs on?
fn is_host_of(known: &Known, address: IpAddr, pod: IpAddr) -> bool {
    let Some(pod) = known.pods.by_address(pod) else { return false };
    let runs_on = || known.model.pods().get(pod.owner.as_ref()?)?.node.as_deref();
    let node = || known.nodes.whose(address).map(|node| node.metadata.name.as_str());
    known.is_own_address(address) || node().is_some_and(|node| runs_on() == Some(node))
}

/// The first packet of a connection, as policies judge it: from who began it, to who really gets it, whatever was
/// translated on the way.
fn first_packet(flow: &Flow) -> Packet {
    let original = flow.key.original.packet();
    let transport = match (original.transport, flow.reply.id) {
        (Transport::Ports { source, .. }, TupleId::Ports { source: destination, .. }) => {
            Transport::Ports { source, destination }
        }
        (transport, _) => transport,
    };
    Packet { destination: flow.reply.source, transport, ..original }
}

/// Is it a connection of a pod of this node with anybody but its host?
#[must_use]
pub fn is_of_pods(known: &Known, flow: &Flow) -> bool {
    let (source, destination) = (flow.key.original.source, flow.reply.source);
    let is_pod = |address| known.pods.by_address(address).is_some();
    !known.is_own_address(source) && (is_pod(source) || is_pod(destination))
}

/// What decided: a rule, or the default action of a tier.
#[must_use]
pub fn decider(judgement: &Judgement) -> String {
    match judgement.steps.last() {
        None => "no policy selects it".to_owned(),
        Some(step) => match &step.said {
            Said::Rule(rule, _) => rule.to_string(),
            Said::Default(_) => {
                let policies: Vec<String> = step.policies.iter().map(ToString::to_string).collect();
                format!("tier {}: no rule matched of {}", step.tier, policies.join(", "))
            }
        },
    }
}

/// A protocol as people write it.
#[must_use]
pub fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        33 => "dccp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        136 => "udplite".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// Does this protocol have ports?
#[must_use]
pub fn has_ports(number: u8) -> bool {
    matches!(number, 6 | 17 | 33 | 132 | 136)
}

/// `tcp`, or `icmp type 8 code 0`.
#[must_use]
pub fn sort_of(packet: &Packet) -> String {
    let protocol = protocol(packet.protocol);
    match packet.transport {
        Transport::Icmp { kind, code } => format!("{protocol} type {kind} code {code}"),
        _ => protocol,
    }
}

#[cfg(test)]
mod tests;
