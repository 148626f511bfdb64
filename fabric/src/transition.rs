//! From one configuration to another without losing a packet: make before break.
//!
//! Mesh to reflectors, reflectors to mesh, one reflector to another: in each case sessions inside the AS go and others
//! come, and between the moment the old ones end and the moment the new ones have delivered their tables the kernel
//! would have no routes. So a session that is no longer asked for is kept, just as it was, while it is up and until
//! **every newly asked-for session inside the AS has delivered** its first table (End-of-RIB), and [`SETTLE`] longer
//! (also when no new one is awaited), because the other end of the old session waits for new sessions of its own, which
//! may be slower than ours. Then it stays for as long as it alone gives us some prefix, [`LONGEST`] at most: its other
//! end has not told the new sessions' peers yet. An end that is done first closes with a NOTIFICATION that, by graceful
//! restart with the N bit (RFC 8538), lets the other keep the routes while its own wait goes on.
//!
//! What this means for an operator: changing `nodeToNodeMeshEnabled` and BGPPeers in one step is safe. A new session
//! that never comes up keeps the old ones; `cordctl peers` shows them as *leaving*. That is on purpose: with the new
//! ones missing the old ones are all there is.
//!
//! A node that is no longer to reflect goes on with it for [`SETTLE`], to those that were its clients: by then they
//! have the sessions among themselves that take its place. Without, their routes would go before these sessions come.
//!
//! Only sessions inside the AS are kept. One with another AS that is removed ends at once: that is an order about
//! somebody else's network, not a change of how the fabric is wired. The same holds for a peer whose key stays while
//! its settings change; the speaker does then what the protocol forces and no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::{Asn, Time};

/// How long old sessions stay after the last new one has delivered, and at the least.
pub const SETTLE: Duration = Duration::from_secs(5);

/// How long they stay for the sake of prefixes that nobody else gives us.
pub const LONGEST: Duration = Duration::from_secs(120);
/// How often it is looked whether somebody else does.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the sessions are, as the speaker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Peers that still give us routes: Established, or gone with their routes kept as stale.
    pub alive: BTreeSet<PeerKey>,
    /// Peers whose End-of-RIB has come for every family of an Established session.
    pub delivered: BTreeSet<PeerKey>,
    /// Peers that alone give us some prefix.
    pub sole: BTreeSet<PeerKey>,
}

/// The configuration on its way from what was to what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    in_force: Option<Config>,
    /// Newly asked-for sessions inside the AS that have not delivered.
    awaited: BTreeSet<PeerKey>,
    /// When the last of them delivered, or the last session became unasked for.
    settled: Option<Time>,
    /// Sessions have come since the last transition was over: what old ones alone give may yet come by them.
    arrived: bool,
    /// When to look again at what old sessions alone give.
    again: Option<Time>,
    /// Sessions asked for the last time.
    asked: BTreeSet<PeerKey>,
    /// Since when reflection, which is in force, is no longer asked for.
    reflects: Option<Time>,
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
        self.arrived |= awaited > 0;
        self.awaited.retain(|key| wanted.peers.contains_key(key) && !progress.delivered.contains(key));
        let unasked = |key: &PeerKey| !wanted.peers.contains_key(key) && progress.alive.contains(key);
        let leaves = self.asked.iter().any(unasked);
        if self.awaited.is_empty() && (awaited > 0 || leaves) {
            self.settled = Some(now);
        }
        self.asked = wanted.peers.keys().copied().collect();
        let waiting = !self.awaited.is_empty() || self.settled.is_some_and(|at| now < at + SETTLE);
        let patient = self.arrived && self.settled.is_some_and(|at| now < at + LONGEST);
        let mut config = wanted.clone();
        let mut is_needed = false;
        for (key, peer) in leaving(before, wanted) {
            let stays = waiting || patient && progress.sole.contains(&key);
            if stays && internal(&peer) && progress.alive.contains(&key) {
                is_needed = true;
                config.peers.insert(key, peer);
            }
        }
        self.again = (is_needed && !waiting).then(|| now + AGAIN);
        if !is_needed && !waiting {
            (self.settled, self.arrived) = (None, false);
        }
        self.reflect_on(&mut config, now);
        self.in_force = Some(config.clone());
        config
    }

    /// Reflection goes on for a while after it is no longer asked for.
    fn reflect_on(&mut self, config: &mut Config, now: Time) {
        let before = self.in_force.as_ref().filter(|before| before.cluster_id.is_some());
        let (Some(before), None) = (before, config.cluster_id) else {
            self.reflects = None;
            return;
        };
        if now >= *self.reflects.get_or_insert(now) + SETTLE {
            self.reflects = None;
            return;
        }
        config.cluster_id = before.cluster_id;
        for (key, peer) in &mut config.peers {
            // Just as it was: its filters let through what is reflected, and those of others do not.
            if let Some(old) = before.peers.get(key).filter(|old| old.client) {
                *peer = Arc::clone(old);
            }
        }
    }

    /// When [`Transition::step`] may answer something else although nothing was heard.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let sessions = || self.settled.filter(|_| self.awaited.is_empty()).map(|at| at + SETTLE);
        let reflection = self.reflects.map(|since| since + SETTLE);
        self.again.or_else(sessions).into_iter().chain(reflection).min()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::{Options, peering};
    use crate::tests::model;

    const NODES: &str = "\
apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {name: a}\nspec: {addresses: [192.0.2.1/24]}\n---
apiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {name: b}\nspec: {addresses: [192.0.2.2/24]}\n---
apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}
spec: {peerIP: 192.0.2.254, asNumber: 65001}\n";
    const REFLECTOR: &str = "---
apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: rr}\nspec: {peerIP: 192.0.2.9, asNumber: 64512}\n";
    const NO_MESH: &str = "---
apiVersion: corduroy.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}\n";
    const MESH: &str = "192.0.2.2";
    const RR: &str = "192.0.2.9";
    const TOR: &str = "192.0.2.254";

    fn wanted(parts: &[&str]) -> Config {
        peering(&model(&parts.concat()), "a", &Options::default()).config
    }

    fn keys(addresses: &[&str]) -> BTreeSet<PeerKey> {
        addresses.iter().map(|a| PeerKey::new(a.parse().unwrap())).collect()
    }

    fn progress(alive: &[&str], delivered: &[&str]) -> Progress {
        Progress { alive: keys(alive), delivered: keys(delivered), sole: BTreeSet::new() }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn peers(config: &Config) -> BTreeSet<PeerKey> {
        config.peers.keys().copied().collect()
    }

    #[test]
    fn the_mesh_stays_until_the_reflector_has_delivered_and_the_others_had_time_too() {
        let mut transition = Transition::new();
        let mesh = transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        assert_eq!(peers(&mesh), keys(&[MESH, TOR]));
        let reflected = wanted(&[NODES, REFLECTOR, NO_MESH]);
        let both = transition.step(&reflected, &progress(&[MESH, TOR], &[MESH, TOR]), at(10));
        assert_eq!(peers(&both), keys(&[MESH, RR, TOR]));
        assert_eq!(transition.kept(&reflected), keys(&[MESH]));
        assert_eq!(transition.awaited(), &keys(&[RR]));
        assert_eq!(transition.next_timeout(), None, "the reflector may take as long as it likes");
        let mesh_peer = &both.peers[&PeerKey::new(MESH.parse().unwrap())];
        assert!(Arc::ptr_eq(mesh_peer, &mesh.peers[&PeerKey::new(MESH.parse().unwrap())]), "just as it was");
        let late = transition.step(&reflected, &progress(&[MESH, TOR, RR], &[MESH, TOR]), at(900));
        assert_eq!(peers(&late), keys(&[MESH, RR, TOR]), "up is not delivered");
        let delivered = progress(&[MESH, TOR, RR], &[MESH, TOR, RR]);
        assert_eq!(peers(&transition.step(&reflected, &delivered, at(901))), keys(&[MESH, RR, TOR]));
        assert_eq!(transition.next_timeout(), Some(at(906)));
        assert_eq!(peers(&transition.step(&reflected, &delivered, at(906))), keys(&[RR, TOR]));
        assert_eq!((transition.next_timeout(), transition.awaited().len()), (None, 0));
    }

    #[test]
    fn a_neighbour_that_is_slow_to_reach_the_reflector_keeps_its_session_until_the_reflector_has_its_routes()
    {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        let reflected = wanted(&[NODES, REFLECTOR, NO_MESH]);
        let mut delivered = progress(&[MESH, TOR, RR], &[MESH, TOR, RR]);
        delivered.sole = keys(&[MESH, TOR]);
        for second in [10, 15, 16, 60] {
            let config = transition.step(&reflected, &delivered, at(second));
            assert_eq!(peers(&config), keys(&[MESH, RR, TOR]), "{second}");
        }
        assert_eq!(transition.next_timeout(), Some(at(61)));
        let mut late = transition.clone();
        delivered.sole = keys(&[TOR]);
        assert_eq!(peers(&transition.step(&reflected, &delivered, at(61))), keys(&[RR, TOR]));
        assert_eq!(transition.next_timeout(), None);
        delivered.sole = keys(&[MESH]);
        assert_eq!(peers(&late.step(&reflected, &delivered, at(130))), keys(&[RR, TOR]), "not for ever");
    }

    #[test]
    fn a_neighbour_that_goes_without_another_coming_takes_its_routes_along() {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        let alone = wanted(&[&NODES.replace("name: b", "name: a")]);
        let mut up = progress(&[MESH, TOR], &[MESH, TOR]);
        transition.step(&wanted(&[NODES]), &up, at(1));
        up.sole = keys(&[MESH]);
        assert_eq!(peers(&transition.step(&alone, &up, at(10))), keys(&[MESH, TOR]));
        assert_eq!(peers(&transition.step(&alone, &up, at(15))), keys(&[TOR]));
    }

    #[test]
    fn the_reflector_stays_until_the_mesh_has_delivered() {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES, REFLECTOR, NO_MESH]), &Progress::default(), at(0));
        let mesh = wanted(&[NODES]);
        let before = progress(&[RR, TOR], &[RR, TOR]);
        assert_eq!(peers(&transition.step(&mesh, &before, at(10))), keys(&[MESH, RR, TOR]));
        let after = progress(&[RR, TOR, MESH], &[RR, TOR, MESH]);
        assert_eq!(peers(&transition.step(&mesh, &after, at(11))), keys(&[MESH, RR, TOR]));
        assert_eq!(peers(&transition.step(&mesh, &after, at(16))), keys(&[MESH, TOR]));
    }

    #[test]
    fn a_reflector_that_is_one_no_longer_reflects_until_its_clients_have_sessions_of_their_own() {
        let is_client = |config: &Config| config.peers[&PeerKey::new(MESH.parse().unwrap())].client;
        let mesh = wanted(&[NODES]);
        let mut reflector = mesh.clone();
        reflector.cluster_id = Some(reflector.router_id);
        let peer = reflector.peers.get_mut(&PeerKey::new(MESH.parse().unwrap())).unwrap();
        Arc::make_mut(peer).client = true;
        let mut transition = Transition::new();
        let up = progress(&[MESH, TOR], &[MESH, TOR]);
        transition.step(&reflector, &up, at(0));
        for second in [10, 14] {
            let config = transition.step(&mesh, &up, at(second));
            assert_eq!((config.cluster_id, is_client(&config)), (reflector.cluster_id, true));
            assert_eq!(transition.next_timeout(), Some(at(15)));
        }
        assert_eq!(transition.step(&mesh, &up, at(15)), mesh);
        assert_eq!(transition.next_timeout(), None);
    }

    #[test]
    fn a_session_that_is_down_or_leads_out_of_the_as_is_not_kept() {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        let without_tor = NODES.split("---\n").take(2).collect::<Vec<_>>().join("---\n");
        let reflected = wanted(&[&without_tor, REFLECTOR, NO_MESH]);
        let tor_only = transition.step(&reflected, &progress(&[TOR], &[TOR]), at(1));
        assert_eq!(peers(&tor_only), keys(&[RR]));
    }

    #[test]
    fn a_kept_session_that_ends_does_not_come_back() {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        let reflected = wanted(&[NODES, REFLECTOR, NO_MESH]);
        transition.step(&reflected, &progress(&[MESH], &[MESH]), at(1));
        assert_eq!(peers(&transition.step(&reflected, &progress(&[], &[]), at(2))), keys(&[RR, TOR]));
        let again = transition.step(&reflected, &progress(&[MESH], &[MESH]), at(3));
        assert_eq!(peers(&again), keys(&[RR, TOR]));
    }

    #[test]
    fn a_session_that_leaves_with_nothing_new_gives_the_other_end_its_time() {
        let mut transition = Transition::new();
        let both = wanted(&[NODES, REFLECTOR]);
        transition.step(&both, &Progress::default(), at(0));
        let up = progress(&[MESH, RR, TOR], &[MESH, RR, TOR]);
        assert_eq!(peers(&transition.step(&both, &up, at(60))), keys(&[MESH, RR, TOR]));
        let reflected = wanted(&[NODES, REFLECTOR, NO_MESH]);
        assert_eq!(peers(&transition.step(&reflected, &up, at(60))), keys(&[MESH, RR, TOR]));
        assert_eq!(transition.next_timeout(), Some(at(65)));
        assert_eq!(peers(&transition.step(&reflected, &up, at(65))), keys(&[RR, TOR]));
    }

    #[test]
    fn changing_ones_mind_forgets_what_was_awaited() {
        let mut transition = Transition::new();
        transition.step(&wanted(&[NODES]), &Progress::default(), at(0));
        let up = progress(&[MESH, TOR], &[MESH, TOR]);
        transition.step(&wanted(&[NODES, REFLECTOR, NO_MESH]), &up, at(1));
        let back = transition.step(&wanted(&[NODES]), &up, at(2));
        assert_eq!(peers(&back), keys(&[MESH, TOR]));
        assert!(transition.awaited().is_empty());
    }
}
