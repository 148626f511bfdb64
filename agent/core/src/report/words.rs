//! From what the agent sees to what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_api::IpNetwork;
use corduroy_api::instant;
use corduroy_api::node_status::{
    self, AddressReport, AdvertisedReport, BgpReport, BlockReport, BlocksReport, NodeReport, ProblemReport,
    ProblemsReport, SessionReport, TunnelReport, sentence,
};
use corduroy_api::schema::crd::ConditionSpec;
use corduroy_bgp::Time;
use corduroy_ipc::status::{Condition, Peer, SessionState, Severity, Status, Sync};

use super::{Moment, Seen};

/// Sessions that a session's age may differ by, since ages come in whole seconds.
const BLUR: Duration = Duration::from_secs(2);
/// How many of those that are down a condition names.
const NAMED: usize = 3;

/// When what is so began.
#[derive(Debug, Default)]
pub(super) struct Memory {
    sessions: BTreeMap<String, Began>,
    conditions: BTreeMap<&'static str, (bool, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    is_up: bool,
    at: Moment,
}

impl Memory {
    /// The report.
    pub(super) fn report(&mut self, seen: &Seen, moment: Moment) -> NodeReport {
        // One that is being taken away is nobody's business any more.
        let mut peers: Vec<&Peer> = seen.peers.iter().filter(|peer| peer.origin != "leaving").collect();
        peers.sort_by_key(|peer| (is_up(peer), peer.origin.starts_with("mesh"), peer.address.clone()));
        self.sessions.retain(|address, _| peers.iter().any(|peer| peer.address == *address));
        for peer in &peers {
            self.session(peer, moment);
        }
        let judged = judged(&seen.status, &peers);
        NodeReport {
            version: Some(seen.status.version.clone()),
            addresses: Some(seen.addresses.iter().map(|(net, why)| address(*net, why)).collect()),
            tunnels: Some(tunnels(&seen.status)),
            bgp: Some(self.bgp(&seen.status, &peers)),
            advertised: Some(advertised(&seen.status)),
            blocks: Some(blocks(seen)),
            conditions: Some(judged.into_iter().map(|one| self.condition(one, moment)).collect()),
            problems: Some(problems(&seen.status.conditions)),
        }
    }

    /// Remembers since when a session is as it is.
    fn session(&mut self, peer: &Peer, moment: Moment) {
        let age = Duration::from_secs(peer.since);
        let entered = Time(moment.now.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
        let now = Began {
            is_up: is_up(peer),
            at: Moment { now: entered, wall: moment.wall.saturating_sub(peer.since) },
        };
        match self.sessions.get(&peer.address) {
            // A session that is down goes through many states, and is down since the first of them.
            Some(was) if !was.is_up && !now.is_up => {}
            Some(was) if was.is_up && now.is_up && entered <= was.at.now + BLUR => {}
            _ => {
                self.sessions.insert(peer.address.clone(), now);
            }
        }
    }

    fn bgp(&self, status: &Status, peers: &[&Peer]) -> BgpReport {
        let established = peers.iter().filter(|peer| is_up(peer)).count();
        let session = |peer: &&Peer| SessionReport {
            peer: Some(peer.origin.clone()),
            address: Some(peer.address.clone()),
            as_number: (peer.asn != 0).then_some(peer.asn.into()),
            state: Some(if is_up(peer) { "Established" } else { "Down" }.to_owned()),
            since: self.sessions.get(&peer.address).map(|began| instant::write(began.at.wall)),
            why: peer.last_error.as_deref().filter(|_| !is_up(peer)).map(sentence),
            families: is_up(peer).then(|| peer.families.iter().map(|f| f.family.clone()).collect()),
        };
        BgpReport {
            as_number: (status.bgp.asn != 0).then_some(status.bgp.asn.into()),
            router_id: status.bgp.router_id.map(|id| id.to_string()),
            cluster_id: status.bgp.cluster_id.map(|id| id.to_string()),
            summary: Some(format!("{established}/{}", peers.len())),
            established: Some(established as u64),
            total: Some(peers.len() as u64),
            sessions: Some(peers.iter().take(node_status::SESSIONS).map(session).collect()),
        }
    }

    fn condition(&mut self, judged: Judged, moment: Moment) -> ConditionSpec {
        let Judged { kind, holds, reason, message } = judged;
        let kept = self.conditions.get(kind).filter(|(was, _)| *was == holds);
        let since = kept.map_or(moment.wall, |(_, since)| *since);
        self.conditions.insert(kind, (holds, since));
        ConditionSpec {
            kind: Some(kind.to_owned()),
            status: Some(if holds { "True" } else { "False" }.to_owned()),
            observed_generation: None,
            last_transition_time: Some(instant::write(since)),
            reason: Some(reason.to_owned()),
            message: Some(sentence(&message)),
        }
    }
}

/// A condition without its time.
struct Judged {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

fn judged(status: &Status, peers: &[&Peer]) -> [Judged; 4] {
    [ready(status), in_sync(status), established(peers), kernel(status)]
}

fn ready(status: &Status) -> Judged {
    let why = status.conditions.iter().find(|condition| condition.about == "agent");
    let (reason, message) = match why {
        _ if status.ready => ("Serving", "pods are taken in and their routes are in the kernel".to_owned()),
        Some(why) => ("NotServing", why.message.clone()),
        None => ("NotServing", "pods are not taken in".to_owned()),
    };
    Judged { kind: "Ready", holds: status.ready, reason, message }
}

fn in_sync(status: &Status) -> Judged {
    let mut gone = Vec::new();
    let (mut waiting, mut old) = (Vec::new(), Vec::new());
    for kind in &status.kinds {
        match &kind.sync {
            Sync::Live => {}
            Sync::Waiting => waiting.push(kind.kind.as_str()),
            Sync::Snapshot => old.push(kind.kind.as_str()),
            Sync::Unavailable(why) => gone.push(format!("{}: {why}", kind.kind)),
        }
    }
    let (reason, message) = if !gone.is_empty() {
        ("Unavailable", format!("can't be had, what was known of them stays in force: {}", gone.join("; ")))
    } else if !waiting.is_empty() {
        ("Waiting", format!("not known yet: {}", waiting.join(", ")))
    } else if !old.is_empty() {
        ("Snapshot", format!("in force as it was when it could last be had: {}", old.join(", ")))
    } else {
        ("Live", "everything the datastore says is known".to_owned())
    };
    Judged { kind: "DatastoreInSync", holds: reason == "Live", reason, message }
}

fn established(peers: &[&Peer]) -> Judged {
    let down: Vec<&&Peer> = peers.iter().filter(|peer| !is_up(peer)).collect();
    let named: Vec<String> =
        down.iter().take(NAMED).map(|peer| format!("{} ({})", peer.address, peer.origin)).collect();
    let more = if down.len() > NAMED { ", …" } else { "" };
    let (reason, message) = match (peers.len(), down.len()) {
        (0, _) => ("NoSessions", "this node is to have no BGP sessions".to_owned()),
        (all, 0) => ("AllEstablished", format!("all {all} sessions are established")),
        (all, n) => (
            if n == all { "AllDown" } else { "SomeDown" },
            format!("{n} of {all} sessions are down: {}{more}", named.join(", ")),
        ),
    };
    Judged { kind: "SessionsEstablished", holds: down.is_empty(), reason, message }
}

fn kernel(status: &Status) -> Judged {
    let mut refused: Vec<&str> =
        status.kernel.iter().flat_map(|kernel| &kernel.refused).map(String::as_str).collect();
    refused.sort_unstable();
    let (reason, message) = match refused.first() {
        None => ("Applied", "the kernel has taken everything".to_owned()),
        Some(first) => ("Refused", format!("the kernel refused {}: {first}", refused.len())),
    };
    Judged { kind: "KernelInSync", holds: refused.is_empty(), reason, message }
}

fn is_up(peer: &Peer) -> bool {
    peer.state == SessionState::Established
}

fn address(net: IpNetwork, why: &str) -> AddressReport {
    AddressReport { address: Some(net.to_string()), why: Some(sentence(why)) }
}

fn tunnels(status: &Status) -> Vec<TunnelReport> {
    let tunnels = status.kernel.iter().flat_map(|kernel| &kernel.tunnels);
    tunnels
        .map(|tunnel| TunnelReport {
            device: Some(tunnel.device.clone()),
            addresses: Some(tunnel.addresses.iter().map(ToString::to_string).collect()),
        })
        .collect()
}

fn advertised(status: &Status) -> AdvertisedReport {
    let mut all = status.bgp.originated.clone();
    all.sort_unstable();
    AdvertisedReport {
        count: Some(all.len() as u64),
        prefixes: Some(all.iter().take(node_status::PREFIXES).map(ToString::to_string).collect()),
    }
}

fn blocks(seen: &Seen) -> BlocksReport {
    let mut all: Vec<_> = seen.blocks.iter().collect();
    all.sort_unstable();
    let block = |(cidr, pool): &&(_, Option<String>)| BlockReport {
        cidr: Some(ToString::to_string(cidr)),
        pool: pool.clone(),
    };
    BlocksReport {
        count: Some(all.len() as u64),
        items: Some(all.iter().take(node_status::BLOCKS).map(block).collect()),
    }
}

fn problems(conditions: &[Condition]) -> ProblemsReport {
    let mut all: Vec<&Condition> = conditions.iter().collect();
    all.sort_by(|a, b| (a.severity, &a.about, &a.message).cmp(&(b.severity, &b.about, &b.message)));
    let problem = |condition: &&Condition| ProblemReport {
        severity: Some(
            match condition.severity {
                Severity::Error => "Error",
                Severity::Warning => "Warning",
            }
            .to_owned(),
        ),
        about: Some(condition.about.chars().take(512).collect()),
        message: Some(sentence(&condition.message)),
    };
    ProblemsReport {
        count: Some(all.len() as u64),
        items: Some(all.iter().take(node_status::PROBLEMS).map(problem).collect()),
    }
}
