//! From one configuration to another without losing a packet: make before break.
//!
//! Mesh to reflectors, reflectors to mesh, one reflector to another: in each case sessions inside the AS go and others
//! come, and between the moment the old ones end and the moment the new ones have delivered their tables the kernel
//! would have no routes. So a session that is no longer asked for is kept, just as it was, while it is up and until
//! **every newly asked-for session inside the AS has delivered** its first table (End-of-RIB), and [`SETTLE`] longer,
//! because the other end of the old session waits for new sessions of its own, which may be slower than ours. An end
//! that is done first closes with a NOTIFICATION that, by graceful restart with the N bit (RFC 8538), lets the other
//! keep the routes while its own wait goes on.
//!
//! What this means for an operator: changing `nodeToNodeMeshEnabled` and BGPPeers in one step is safe. A new session
//! that never comes up keeps the old ones; `cordctl peers` shows them as *leaving*. That is on purpose: with the new
//! ones missing the old ones are all there is.
//!
//! Only sessions inside the AS are kept. One with another AS that is removed ends at once: that is an order about
//! somebody else's network, not a change of how the fabric is wired. The same holds for a peer whose key stays while
//! its settings change; the speaker does then what the protocol forces and no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::{Asn, Time};

/// How long old sessions stay after the last new one has delivered.
pub const SETTLE: Duration = Duration::from_secs(5);

/// How far the sessions are, as the speaker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Peers that still give us routes: Established, or gone with their routes kept as stale.
    pub alive: BTreeSet<PeerKey>,
    /// Peers whose End-of-RIB has come for every family of an Established session.
    pub delivered: BTreeSet<PeerKey>,
}

/// The configuration on its way from what was to what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    in_force: Option<Config>,
    /// Newly asked-for sessions inside the AS that have not delivered.
    awaited: BTreeSet<PeerKey>,
    /// When the last of them delivered.
    settled: Option<Time>,
}

impl Transition {
    /// Nothing in force yet: the first configuration is taken as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the speaker is to be now, given what is wanted and how far the sessions are. To be asked whenever either
    /// changes and when [`Transition::next_timeout`] has come; the answer is often the same as before.
    pub fn step(&mut self, wanted: &Config, progress: &Progress, now: Time) -> Config {
        let before = self.in_force.as_ref();
        let is_new = |key: &PeerKey| before.is_some_and(|config| !config.peers.contains_key(key));
        let internal = |peer: &PeerConfig| is_internal(wanted.local_as, peer);
        let arrivals = wanted.peers.iter().filter(|(key, peer)| is_new(key) && internal(peer));
        self.awaited.extend(arrivals.map(|(key, _)| *key));
        let awaited = self.awaited.len();
        self.awaited.retain(|key| wanted.peers.contains_key(key) && !progress.delivered.contains(key));
        if self.awaited.is_empty() && awaited > 0 {
            self.settled = Some(now);
        }
        let waiting = !self.awaited.is_empty() || self.settled.is_some_and(|at| now < at + SETTLE);
        let mut config = wanted.clone();
        for (key, peer) in leaving(before, wanted) {
            if waiting && internal(&peer) && progress.alive.contains(&key) {
                config.peers.insert(key, peer);
            }
        }
        if !waiting {
            self.settled = None;
        }
        self.in_force = Some(config.clone());
        config
    }

    /// When [`Transition::step`] will answer something else although nothing changed.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.settled.filter(|_| self.awaited.is_empty()).map(|at| at + SETTLE)
    }

    /// Sessions that are kept although `wanted` does not ask for them.
    #[must_use]
    pub fn kept(&self, wanted: &Config) -> BTreeSet<PeerKey> {
        leaving(self.in_force.as_ref(), wanted).into_iter().map(|(key, _)| key).collect()
    }

    /// New sessions that old ones wait for.
    #[must_use]
    pub fn awaited(&self) -> &BTreeSet<PeerKey> {
        &self.awaited
    }
}

fn leaving(before: Option<&Config>, wanted: &Config) -> Vec<(PeerKey, Arc<PeerConfig>)> {
    let peers = before.into_iter().flat_map(|config| &config.peers);
    peers
        .filter(|(key, _)| !wanted.peers.contains_key(key))
        .map(|(key, peer)| (*key, Arc::clone(peer)))
        .collect()
}

fn is_internal(local_as: Asn, peer: &PeerConfig) -> bool {
    match peer.remote_as {
        RemoteAs::Exactly(remote) => peer.local_as.unwrap_or(local_as) == remote,
        RemoteAs::Internal => true,
        RemoteAs::External => false,
    }
}
