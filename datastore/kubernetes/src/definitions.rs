//! Whether the definitions of our kinds are there, and the same ones as before.
//!
//! Who deletes a CustomResourceDefinition deletes every object of the kind with it; a watcher of the objects hears of
//! one deletion after the other and can't tell that from the wish that they go. The definition tells: it is being
//! deleted before the first of its objects is, and one that is applied again has another uid. One watch on the metadata
//! of our definitions serves all kinds.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::object::{Bare, Collection, Object as _};
use crate::reflect::{self, Change};
use crate::server::Server;

/// What is known of all definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Definitions {
    /// By name (`ippools.corduroy.dev`), those that are there to stay, with their uids.
    there: BTreeMap<String, String>,
}

impl Definitions {
    /// The uid of the definition of this name; `None` when it is missing or being deleted, or when there is no right to
    /// look.
    pub(crate) fn uid(&self, name: &str) -> Option<&str> {
        self.there.get(name).map(String::as_str)
    }

    pub(crate) fn take(&mut self, change: Change<Bare>, replay: &mut Option<BTreeMap<String, String>>) {
        let being = replay.as_mut().unwrap_or(&mut self.there);
        match change {
            Change::Replay => *replay = Some(BTreeMap::new()),
            Change::Put(definition) if definition.about().deletion_timestamp.is_none() => {
                being.insert(definition.about().name.clone(), definition.about().uid.clone());
            }
            Change::Put(definition) | Change::Gone(definition) => {
                being.remove(&definition.about().name);
            }
            Change::InSync => {
                if let Some(said) = replay.take() {
                    self.there = said;
                }
            }
            // What was known of them is still the best there is.
            Change::Away(_) => {}
        }
    }
}

/// Keeps up with the definitions for as long as the future is polled.
pub(crate) async fn follow(server: Server, sender: watch::Sender<Definitions>) {
    let (mut replay, mut trouble) = (None, None);
    let say = move |change| {
        match &change {
            Change::InSync => trouble = None,
            Change::Away(why) if trouble.as_ref() != Some(why) => {
                tracing::warn!(
                    "the definitions of our kinds can't be had: {why}; what goes with its definition counts as deleted"
                );
                trouble = Some(why.clone());
            }
            _ => {}
        }
        sender.send_if_modified(|definitions| {
            let before = definitions.clone();
            definitions.take(change, &mut replay);
            *definitions != before
        });
    };
    reflect::reflect::<Bare>(server, Collection::definitions(), say).await;
}
