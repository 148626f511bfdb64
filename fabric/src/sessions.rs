//! The speaker's configuration over time: what [`peering`] makes of the Model, by way of the
//! [`transition`](crate::transition) from what was in force. Whoever holds a speaker (agent, reflector) does with it
//!
//! ```text
//! model_changed(), something_happened()     what it hears of
//! wants_to_know() == true                   ask the speaker for its peers, answer with peers()
//! settle() == Some(config)                  tell the speaker
//! next_timeout(), timeout()                 the clock
//! ```
//! To look at everybody takes the longer the more nodes there are, and in a large fabric some node changes all the
//! time. So a change is looked at at once, and the next one after a pause that grows with the fabric: a quarter of a
//! second at 5,000 nodes, none below 250.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_bgp::config::{Config, PeerKey};
use corduroy_bgp::status::{PeerStatus, SessionState};

use crate::peering::{self, Options, Peering};
use crate::transition::{Progress, Transition};
use crate::{Model, Problem};

/// A fabric of fewer nodes is looked at after every change.
const FEW: usize = 250;
/// The pause after a look at a larger one, for each of its nodes.
const PAUSE_FOR_A_NODE: Duration = Duration::from_micros(50);

/// What is wanted, what the speaker has been told, and how far its sessions are.
#[derive(Debug)]
pub struct Sessions {
    options: Options,
    transition: Transition,
    wanted: Option<Peering>,
    told: Option<Config>,
    progress: Progress,
    model_changed: bool,
    /// The model is not looked at before.
    rest: Time,
    /// The transition is to be asked again.
    step: bool,
    asking: Asking,
}

/// Whether the speaker is asked how its peers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    No,
    Wanted,
    UnderWay,
}

impl Sessions {
    /// Nothing is known, and the speaker has been told nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            transition: Transition::new(),
            wanted: None,
            told: None,
            progress: Progress::default(),
            model_changed: true,
            rest: Time(0),
            step: false,
            asking: Asking::No,
        }
    }

    /// The model changed in a way that may matter here.
    pub fn model_changed(&mut self) {
        self.model_changed = true;
    }

    /// Something happened to a session: matters while old ones stay for new ones to deliver.
    pub fn something_happened(&mut self) {
        if self.is_in_transition() {
            self.ask();
        }
    }

    fn ask(&mut self) {
        if self.asking == Asking::No {
            self.asking = Asking::Wanted;
        }
    }

    /// Shall the speaker be asked how its peers are?
    pub fn wants_to_know(&mut self) -> bool {
        let wants = self.asking == Asking::Wanted;
        if wants {
            self.asking = Asking::UnderWay;
        }
        wants
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Time) {
        if self.transition.next_timeout().is_some_and(|time| time <= now) {
            if self.is_in_transition() {
                self.ask();
            } else {
                self.step = true;
            }
        }
    }

    /// How far the peers are, and which of them alone give us some prefix.
    pub fn peers(&mut self, peers: &[PeerStatus], sole: BTreeSet<PeerKey>) {
        let mut progress = Progress { sole, ..Progress::default() };
        for peer in peers {
            let established = peer.session.state == SessionState::Established;
            if established || peer.families.iter().any(|family| family.stale > 0) {
                progress.alive.insert(peer.session.key);
            }
            if established && peer.families.iter().all(|family| family.end_of_rib_received) {
                progress.delivered.insert(peer.session.key);
            }
        }
        self.progress = progress;
        self.asking = Asking::No;
        self.step = true;
    }

    /// Are there sessions that are no longer asked for?
    fn is_in_transition(&self) -> bool {
        match (&self.wanted, &self.told) {
            (Some(wanted), Some(told)) => told.peers.keys().any(|key| !wanted.config.peers.contains_key(key)),
            _ => false,
        }
    }

    /// The configuration for the speaker, when it is another than it has been told. Before sessions go, it is asked
    /// which of them are alive.
    pub fn settle(&mut self, model: &Model, me: &str, now: Time) -> Option<Config> {
        if self.model_changed && self.rest <= now {
            self.model_changed = false;
            self.rest = now + pause(model.nodes().len());
            let wanted = peering::peering(model, me, &self.options);
            let is_new = self.wanted.as_ref().is_none_or(|before| before.config != wanted.config);
            self.wanted = Some(wanted);
            if is_new && self.is_in_transition() {
                self.ask();
            } else {
                self.step |= is_new;
            }
        }
        if !std::mem::take(&mut self.step) {
            return None;
        }
        let wanted = &self.wanted.as_ref()?.config;
        let config = self.transition.step(wanted, &self.progress, now);
        if self.told.as_ref() == Some(&config) {
            return None;
        }
        self.told = Some(config.clone());
        Some(config)
    }

    /// The addresses of the peers there are.
    #[must_use]
    pub fn peer_addresses(&self) -> BTreeSet<IpAddr> {
        self.told.iter().flat_map(|config| config.peers.keys()).map(|key: &PeerKey| key.address).collect()
    }

    /// What the speaker has been told.
    #[must_use]
    pub fn told(&self) -> Option<&Config> {
        self.told.as_ref()
    }

    /// What could not be done as asked.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.wanted.as_ref().map(|peering| peering.problems.as_slice()).unwrap_or_default()
    }

    /// What is wanted, and who each peer is.
    #[must_use]
    pub fn peering(&self) -> Option<&Peering> {
        self.wanted.as_ref()
    }

    /// When [`Sessions::timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let look = self.model_changed.then_some(self.rest);
        look.into_iter().chain(self.transition.next_timeout()).min()
    }
}

fn pause(nodes: usize) -> Duration {
    let nodes = if nodes < FEW { 0 } else { u32::try_from(nodes).unwrap_or(u32::MAX) };
    PAUSE_FOR_A_NODE.saturating_mul(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::model;

    fn fabric(nodes: usize) -> Model {
        let node = |n: usize| {
            let (high, low) = (n / 250, n % 250 + 1);
            format!(
                "---\napiVersion: corduroy.dev/v1alpha1\nkind: FabricNode\nmetadata: {{name: n{n}}}\n\
                 spec: {{uid: u{n}, addresses: [10.0.{high}.{low}/16]}}\n"
            )
        };
        model(&(0..nodes).map(node).collect::<String>())
    }

    fn peers(sessions: &mut Sessions, nodes: usize, now: Time) -> Option<usize> {
        sessions.model_changed();
        sessions.settle(&fabric(nodes), "n0", now).map(|config| config.peers.len())
    }

    #[test]
    fn a_large_fabric_is_looked_at_at_once_and_then_after_a_pause_and_a_small_one_always() {
        let (mut large, mut small) = (Sessions::new(Options::default()), Sessions::new(Options::default()));
        let start = Time(1);
        assert_eq!(peers(&mut small, 2, start), Some(1));
        assert_eq!(peers(&mut small, 3, start), Some(2));
        assert_eq!(peers(&mut large, 300, start), Some(299));
        assert_eq!(large.next_timeout(), None, "nothing is left to do");
        assert_eq!(peers(&mut large, 301, start), None);
        let due = start + Duration::from_millis(15);
        assert_eq!(large.next_timeout(), Some(due));
        assert_eq!(peers(&mut large, 302, due), Some(301));
    }
}
