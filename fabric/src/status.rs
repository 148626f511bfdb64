//! What speaker and Model know, in the form that goes over the status socket. Agent and reflector answer `cordctl`
//! with the same functions. This is one of the two places (`bgp/net` is the other) where the speaker's words are put
//! into people's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use corduroy_api::{Kind, Rejection};
use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::status::{FamilyStatus, PeerStatus, SessionState};
use corduroy_bgp::{RouterId, Time};
use corduroy_ipc::status as ipc;

use crate::peering::Peer;
use crate::{Model, Problem, Sync, blocks};

mod routes;
mod services;
#[cfg(test)]
mod tests;

pub use routes::{Pager, QueryError, explanation, longest, owner};
pub use services::services;

/// Where peers come from, for [`peers`].
#[must_use]
pub fn origins(peers: &BTreeMap<PeerKey, Peer>) -> BTreeMap<PeerKey, String> {
    peers.iter().map(|(key, peer)| (*key, origin(peer))).collect()
}

/// Peers for people: their status, what was asked of them and where they come from.
#[must_use]
pub fn peers(
    statuses: &[PeerStatus],
    config: &Config,
    origins: &BTreeMap<PeerKey, String>,
    now: Time,
) -> Vec<ipc::Peer> {
    statuses.iter().map(|status| peer(status, config, origins.get(&status.session.key), now)).collect()
}

fn peer(status: &PeerStatus, config: &Config, origin: Option<&String>, now: Time) -> ipc::Peer {
    let session = &status.session;
    let configured = config.peers.get(&session.key);
    // The speaker takes the narrowest range, too.
    let around = config.dynamic.iter().filter(|dynamic| holds(dynamic.range, session.key));
    let range = around.max_by_key(|dynamic| dynamic.range.prefix_len());
    let peer = configured.or(range.filter(|_| session.dynamic).map(|dynamic| &dynamic.peer));
    let origin = match (origin, range) {
        (Some(origin), _) => origin.clone(),
        (None, Some(range)) if session.dynamic => format!("dynamic {}", range.range),
        // Kept while new ones come up, or being taken away.
        (None, _) => "leaving".to_owned(),
    };
    let remote = session.remote;
    let counters = session.counters;
    ipc::Peer {
        address: session.key.to_string(),
        origin,
        asn: remote.map_or_else(|| expected(peer.map(|peer| &**peer)), |remote| remote.asn.0),
        state: state(session.state),
        since: now.since(session.since).as_secs(),
        router_id: remote.map(|remote| address_of(remote.router_id)),
        reflector_client: peer.is_some_and(|peer| peer.client),
        hold_time: remote.map_or(0, |remote| u16::try_from(remote.hold.as_secs()).unwrap_or(u16::MAX)),
        capabilities: remote.map(|remote| capabilities(&remote)).unwrap_or_default(),
        families: status.families.iter().map(family).collect(),
        messages: ipc::MessageCounts {
            updates_in: counters.updates_received,
            total_in: counters.received,
            total_out: counters.sent,
            bytes_in: counters.bytes_received,
            bytes_out: counters.bytes_sent,
        },
        last_error: session.last_error.as_deref().map(str::to_owned),
    }
}

fn holds(range: corduroy_bgp::Net, key: PeerKey) -> bool {
    let len = if key.address.is_ipv6() { 128 } else { 32 };
    corduroy_bgp::Net::new(key.address, len).is_ok_and(|host| range.contains(host))
}

fn origin(who: &Peer) -> String {
    let from = who.resource.as_ref().map_or_else(|| "mesh".to_owned(), |name| format!("BGPPeer/{name}"));
    match &who.node {
        Some(node) => format!("{from} ({node})"),
        None => from,
    }
}

fn expected(peer: Option<&PeerConfig>) -> u32 {
    match peer.map(|peer| peer.remote_as) {
        Some(RemoteAs::Exactly(asn)) => asn.0,
        Some(RemoteAs::Internal | RemoteAs::External) | None => 0,
    }
}

fn capabilities(remote: &corduroy_bgp::status::RemoteStatus) -> Vec<String> {
    let families = remote.families.iter().map(|family| family.to_string());
    families.chain(remote.graceful.iter().map(|family| format!("graceful-restart {family}"))).collect()
}

fn state(state: SessionState) -> ipc::SessionState {
    match state {
        SessionState::Idle => ipc::SessionState::Idle,
        SessionState::Connect => ipc::SessionState::Connect,
        SessionState::Active => ipc::SessionState::Active,
        SessionState::OpenSent => ipc::SessionState::OpenSent,
        SessionState::OpenConfirm => ipc::SessionState::OpenConfirm,
        SessionState::Established => ipc::SessionState::Established,
    }
}

fn family(family: &FamilyStatus) -> ipc::PeerFamily {
    ipc::PeerFamily {
        family: family.family.to_string(),
        received: family.received.into(),
        accepted: family.accepted.into(),
        advertised: family.advertised.into(),
        end_of_rib: family.end_of_rib_received,
        stale: family.stale.into(),
    }
}

/// The speaker in numbers; how many prefixes it has and which it originates is added by who knows.
#[must_use]
pub fn summary(config: &Config, statuses: &[PeerStatus]) -> ipc::BgpSummary {
    let up = statuses.iter().filter(|peer| peer.session.state == SessionState::Established);
    ipc::BgpSummary {
        asn: config.local_as.0,
        router_id: Some(address_of(config.router_id)),
        cluster_id: config.cluster_id.map(address_of),
        peers: statuses.len() as u64,
        established: up.count() as u64,
        ..ipc::BgpSummary::default()
    }
}

/// How well each of the kinds that are watched is known, how much there is of it and how much was refused.
#[must_use]
pub fn kinds(model: &Model, watched: &[Kind]) -> Vec<ipc::KindStatus> {
    watched
        .iter()
        .map(|&kind| ipc::KindStatus {
            kind: kind.to_string(),
            sync: match model.sync(kind) {
                Sync::Waiting => ipc::Sync::Waiting,
                Sync::Live => ipc::Sync::Live,
                Sync::Snapshot => ipc::Sync::Snapshot,
                Sync::Unavailable(why) => ipc::Sync::Unavailable(why.clone()),
            },
            count: model.count(kind) as u64,
            rejected: rejected(model, kind),
        })
        .collect()
}

fn rejected(model: &Model, kind: Kind) -> u64 {
    let is_of = |rejection: &&Rejection| rejection.key.as_ref().is_some_and(|key| key.kind == kind);
    model.rejected().values().flatten().filter(is_of).count() as u64
}

/// What a person should know of resources: those that can't be used, kinds that can't be had, what does not fit
/// together.
#[must_use]
pub fn conditions(model: &Model, problems: &[Problem]) -> Vec<ipc::Condition> {
    let mut out = Vec::new();
    for (source, rejections) in model.rejected() {
        out.extend(rejections.iter().map(|rejection| ipc::Condition {
            severity: ipc::Severity::Error,
            about: source.clone(),
            message: rejection.to_string(),
        }));
    }
    for kind in Kind::ALL {
        if let Sync::Unavailable(why) = model.sync(kind) {
            let (about, message) = (kind.to_string(), format!("can't be had: {why}"));
            out.push(ipc::Condition { severity: ipc::Severity::Error, about, message });
        }
    }
    out.extend(
        problems
            .iter()
            .chain(&blocks::problems(model))
            .chain(&crate::services::problems(model))
            .chain(&crate::standing::policies::problems(model))
            .map(|problem| ipc::Condition {
                severity: ipc::Severity::Warning,
                about: problem.key.to_string(),
                message: format!("{}: {}", problem.field, problem.why),
            }),
    );
    out
}

fn address_of(id: RouterId) -> Ipv4Addr {
    Ipv4Addr::from(id.get())
}
