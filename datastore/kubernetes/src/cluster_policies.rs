//! ClusterNetworkPolicies, where the cluster has such a kind.
//!
//! Their definition is not ours and most clusters lack it. Without it there are none for certain, which is no trouble
//! to anybody: the kind is in sync, with nothing in it. It may come at any time, so the definition of this one name is
//! watched; to try the kind itself again and again would cost a server of thousands of nodes more.

use std::sync::Arc;

use corduroy_api::Kind;
use corduroy_datastore::Hub;
use tokio::sync::mpsc;

use crate::Running;
use crate::follower::Follower;
use crate::object::{Bare, Collection, Custom, Object as _, Scope};
use crate::reflect::{Change, reflect};
use crate::server::Server;

const DEFINITION: &str = "clusternetworkpolicies.policy.networking.k8s.io";

/// Keeps the hub of the kind true until it is dropped.
pub(crate) async fn follow(server: Server, hub: Arc<Hub>) {
    let kind = Kind::ClusterNetworkPolicy;
    let mut follower = Follower::<Custom>::new(server.clone(), kind, hub, |_| {});
    let policies = Collection::of(kind, &Scope::default());
    let (said, mut hears) = mpsc::unbounded_channel();
    let say = move |change| {
        // Nobody listens only while this is being aborted.
        let _ = said.send(change);
    };
    let definition = reflect::<Bare>(server, Collection::definition(DEFINITION), say);
    let _task = Running(tokio::spawn(definition).abort_handle());
    let mut presence = Presence::default();
    loop {
        tokio::select! {
            Some(change) = hears.recv() => match presence.take(&change) {
                Some(true) => follower.want(Some(policies.clone())),
                Some(false) => follower.want(None),
                None => {}
            },
            heard = follower.heard() => follower.take(heard),
        }
    }
}

/// Whether the definition is there.
#[derive(Debug, Default)]
struct Presence {
    there: bool,
    /// As far as a replay has come.
    replay: Option<bool>,
    is_known: bool,
}

impl Presence {
    /// What is known after a change; `None` while that is open.
    fn take(&mut self, change: &Change<Bare>) -> Option<bool> {
        let being = self.replay.as_mut().unwrap_or(&mut self.there);
        match change {
            Change::Replay => self.replay = Some(false),
            Change::Put(definition) => *being = definition.about().deletion_timestamp.is_none(),
            Change::Gone(_) => *being = false,
            Change::InSync => {
                self.there = self.replay.take().unwrap_or(self.there);
                self.is_known = true;
            }
            // Who may not look for it asks for the policies themselves.
            Change::Away(_) if !self.is_known => return Some(true),
            Change::Away(_) => {}
        }
        self.is_known.then_some(self.there)
    }
}
