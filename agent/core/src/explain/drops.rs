//! The packets that were denied last, each with who sent it to whom and which rule denied it, as it was when it came.
//!
//! The kernel hands over ten a second at most (chain `denied`), so what is done for each may cost something.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use corduroy_ipc::policy::{Drop, PolicyDrops};
use corduroy_kernel::{LogEntry, Packet, Transport};

use super::{decider, judged, names, sort_of};
use crate::known::Known;

/// The group of the packet log in which denied packets are.
pub const GROUP: u16 = 67;
/// What the rule says of them.
pub const PREFIX: &str = "denied";
/// Octets of each packet: room for IPv6 with some extension headers, and TCP.
pub const SNAPLEN: u32 = 128;
/// How many are kept.
const KEPT: usize = 1_000;

/// What the packet log brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Packets that were denied, and how many were lost before them.
    Denied(Vec<LogEntry>, u32),
    /// It is listened to from now on, or it can't be, and why.
    Listening(Result<(), String>),
}

/// The packets that were denied last.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    kept: VecDeque<Drop>,
    last: u64,
    lost: u64,
    deaf: Option<String>,
}

impl Drops {
    /// The packet log brought this.
    pub fn heard(&mut self, known: &Known, heard: Heard) {
        let (entries, lost) = match heard {
            Heard::Denied(entries, lost) => (entries, lost),
            Heard::Listening(how) => {
                self.deaf = how.err();
                return;
            }
        };
        self.lost = self.lost.saturating_add(lost.into());
        let read = |entry: &LogEntry| Some((entry.time.unwrap_or_default(), entry.packet?));
        let packets: Vec<(Duration, Packet)> = entries.iter().filter_map(read).collect();
        let ends = packets.iter().flat_map(|(_, packet)| [packet.source, packet.destination]);
        let names = names::names(known, &ends.collect::<BTreeSet<_>>());
        for (time, packet) in packets {
            self.last += 1;
            let (direction, by) = why(known, &packet);
            let ports = match packet.transport {
                Transport::Ports { source, destination } => Some((source, destination)),
                _ => None,
            };
            self.kept.push_back(Drop {
                number: self.last,
                time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                from: names.get(&packet.source).cloned(),
                source: packet.source,
                source_port: ports.map(|(source, _)| source),
                to: names.get(&packet.destination).cloned(),
                destination: packet.destination,
                port: ports.map(|(_, destination)| destination),
                protocol: sort_of(&packet),
                direction,
                by,
            });
        }
        let over = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..over);
    }

    /// Those behind this number. One that is ahead of all is of a former run: then all of them.
    #[must_use]
    pub fn after(&self, number: u64) -> PolicyDrops {
        let number = if number > self.last { 0 } else { number };
        let drops: Vec<Drop> = self.kept.iter().filter(|drop| drop.number > number).cloned().collect();
        let wanted = self.last - number;
        PolicyDrops {
            forgotten: wanted.saturating_sub(drops.len() as u64),
            drops,
            last: self.last,
            lost: self.lost,
            deaf: self.deaf.clone(),
        }
    }

    /// How many the kernel handed over in vain.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Why none are heard of, if so.
    #[must_use]
    pub fn deaf(&self) -> Option<&str> {
        self.deaf.as_deref()
    }
}

/// In which direction a packet was denied, and by what.
fn why(known: &Known, packet: &Packet) -> (Option<String>, String) {
    let trace = judged(known, &(*packet).into());
    if let Some(judgement) = trace.judgements.iter().find(|judgement| !judgement.allowed) {
        return (Some(judgement.direction.to_string()), decider(judgement));
    }
    let of_host = known.policies.has_hosts() && trace.judgements.is_empty();
    let by = if of_host {
        "the policies of a HostEndpoint of this node, or that there are none for it"
    } else {
        "policies that allow it by now"
    };
    (None, by.to_owned())
}
