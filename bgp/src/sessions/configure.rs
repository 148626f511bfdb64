//! A new configuration, with the least that the protocol forces: see [`crate::config::COSTS`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Sessions;
use crate::Net;
use crate::config::{Config, DynamicRange, PeerConfig, PeerKey, Secret};
use crate::event::Rejected;
use crate::io::{PeerId, RibInput};
use crate::peer::Peer;
use crate::session::Event;
use crate::wire::NotificationMessage;
use crate::wire::notification::{Cease, ErrorCode};

impl Sessions {
    pub(super) fn configure(&mut self, config: Config) {
        let renamed = config.router_id != self.config.router_id;
        let old_as = self.config.local_as;
        self.core.identity.router_id = config.router_id;
        self.core.identity.local_as = config.local_as;
        self.config = config;
        for (key, id) in self.keys.clone() {
            match self.wanted(key) {
                None => self.deconfigure(id),
                Some((wanted, dynamic)) => {
                    let shown = self.peer(id).map(|p| p.config.shown_as(old_as));
                    let reset = renamed || shown != Some(wanted.shown_as(self.config.local_as));
                    self.with(id, |peer, core| peer.reconfigure(wanted, dynamic, reset, core));
                }
            }
        }
        self.adopt();
    }

    /// Brings in peers of the configuration that are not here yet, and says which keys hold.
    pub(super) fn adopt(&mut self) {
        let new: Vec<PeerKey> =
            self.config.peers.keys().filter(|k| !self.keys.contains_key(k)).copied().collect();
        for key in new {
            if let Some(config) = self.config.peers.get(&key).cloned()
                && let Some(id) = self.add(key, config, false)
            {
                self.with(id, Peer::start);
            }
        }
        let secrets = secrets(&self.config);
        if secrets != self.secrets {
            self.core.outputs.push_back(crate::io::Output::SetKeys(secrets.clone()));
            self.secrets = secrets;
        }
    }

    /// What this peer should be now, and whether it is one out of a range.
    fn wanted(&self, key: PeerKey) -> Option<(Arc<PeerConfig>, bool)> {
        if let Some(config) = self.config.peers.get(&key) {
            return Some((config.clone(), false));
        }
        self.range_of(key).map(|range| (range.peer.clone(), true))
    }

    /// The narrowest dynamic range with this address.
    fn range_of(&self, key: PeerKey) -> Option<&DynamicRange> {
        let host = host(key)?;
        self.config.dynamic.iter().filter(|d| d.range.contains(host)).max_by_key(|d| d.range.prefix_len())
    }

    /// A peer that came unannounced.
    pub(super) fn add_dynamic(&mut self, key: PeerKey) -> Result<PeerId, Rejected> {
        let range = self.range_of(key).ok_or(Rejected::Unknown)?;
        let (net, limit, config) = (range.range, range.limit, range.peer.clone());
        let in_range =
            self.peers.iter().flatten().filter(|p| p.dynamic && host(p.key).is_some_and(|h| net.contains(h)));
        let full = in_range.take(usize::try_from(limit).unwrap_or(usize::MAX)).count();
        if u32::try_from(full).unwrap_or(u32::MAX) >= limit {
            return Err(Rejected::Limit);
        }
        self.add(key, config, true).ok_or(Rejected::Limit)
    }

    fn add(&mut self, key: PeerKey, config: Arc<PeerConfig>, dynamic: bool) -> Option<PeerId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.peers.len()).ok()?;
                self.peers.push(None);
                PeerId(id)
            }
        };
        let slot = self.peers.get_mut(usize::from(id.0))?;
        *slot = Some(Peer::new(id, key, config, dynamic, self.core.now));
        self.keys.insert(key, id);
        Some(id)
    }

    fn deconfigure(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(usize::from(id.0)).and_then(Option::as_mut) {
            let cease = NotificationMessage::new(ErrorCode::Cease(Cease::PeerDeconfigured));
            peer.stop(Event::ManualStop, &cease, true, &mut self.core);
        }
        self.remove(id);
    }

    /// Forgets a peer that has no connection any more.
    pub(super) fn remove(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        self.keys.remove(&peer.key);
        self.core.timers.clear_peer(id);
        self.core.deferral.finished(peer.key, crate::FamilySet::BOTH);
        if peer.was_up() {
            self.core.rib.push_back(RibInput::Removed { peer: id });
        } else {
            // The RIB has never heard of it.
            self.free.push(id);
        }
    }
}

/// The address as a prefix of its own.
fn host(key: PeerKey) -> Option<Net> {
    Net::new(key.address, if key.address.is_ipv4() { 32 } else { 128 }).ok()
}

/// MD5 keys by prefix, the longest (which the kernel prefers too) last.
fn secrets(config: &Config) -> Vec<(Net, Secret)> {
    let ranges = config.dynamic.iter().map(|d| (d.range, &d.peer));
    let peers = config.peers.iter().filter_map(|(key, peer)| Some((host(*key)?, peer)));
    let key = |(net, peer): (Net, &Arc<PeerConfig>)| Some((net, peer.transport.password.clone()?));
    ranges.chain(peers).filter_map(key).collect()
}
