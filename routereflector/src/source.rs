//! Where the speaker's configuration comes from: clients of our own, or what a datastore says about our FabricNode.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context as _;
use corduroy_api::Kind;
use corduroy_bgp::Time;
use corduroy_bgp::config::{Config, PeerKey};
use corduroy_bgp::status::PeerStatus;
use corduroy_datastore::{Datastore as _, FileStore, Watch};
use corduroy_fabric::peering::{self, Options};
use corduroy_fabric::reflector::{self, Place, Reflector};
use corduroy_fabric::sessions::Sessions;
use corduroy_fabric::{Changed, Model, status};
use corduroy_ipc::status::{Condition, KindStatus, Owner, Severity};

use crate::config::{self, Settings};

/// The kinds of resources a reflector watches and waits for: who peers with whom and how, and, to be shown, whose the
/// addresses are.
const WATCHED: [Kind; 7] = [
    Kind::Secret,
    Kind::BgpFilter,
    Kind::BgpConfiguration,
    Kind::FabricNode,
    Kind::BgpPeer,
    Kind::IpPool,
    Kind::IpamBlock,
];

/// The source in use.
#[derive(Debug)]
pub(crate) enum Source {
    /// Clients of our own.
    Clients(Clients),
    /// A datastore.
    Stored(Box<Stored>),
}

/// Clients of our own.
#[derive(Debug)]
pub(crate) struct Clients {
    reflector: Reflector,
    told: bool,
}

/// What a datastore said so far.
#[derive(Debug)]
pub(crate) struct Stored {
    name: String,
    watch: Watch,
    model: Model,
    sessions: Sessions,
}

impl Source {
    /// Opens the source that `settings` name.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        Ok(match &settings.source {
            config::Source::Clients(reflector) => {
                Self::Clients(Clients { reflector: (**reflector).clone(), told: false })
            }
            config::Source::Datastore { path, selection_deferral } => {
                let store = FileStore::open(path).context("datastore.file.path")?;
                let options = Options { selection_deferral: *selection_deferral, ..Options::default() };
                Self::Stored(Box::new(Stored {
                    name: settings.process.name.clone(),
                    watch: store.watch(&WATCHED),
                    model: Model::default(),
                    sessions: Sessions::new(options),
                }))
            }
        })
    }

    /// Other clients, from now on. `false` when that takes a new process, because the source itself is another.
    pub(crate) fn replace(&mut self, new: &config::Source) -> bool {
        match (self, new) {
            (Self::Clients(clients), config::Source::Clients(reflector)) => {
                clients.told &= clients.reflector == **reflector;
                clients.reflector.clone_from(reflector);
                true
            }
            _ => false,
        }
    }

    /// Waits until the datastore says something, and takes in all it says.
    pub(crate) async fn changed(&mut self) {
        match self {
            Self::Clients(_) => std::future::pending().await,
            Self::Stored(stored) => {
                let first = stored.watch.next().await;
                stored.take(first);
                stored.take_all();
            }
        }
    }

    /// The configuration for the speaker, when it is another than it has been told; nothing while that is not known.
    pub(crate) fn settle(&mut self, now: Time) -> Option<Config> {
        match self {
            Self::Clients(clients) => {
                let tell = !std::mem::replace(&mut clients.told, true);
                tell.then(|| reflector::config(&clients.reflector))
            }
            Self::Stored(stored) if stored.model.ready(&WATCHED) => {
                stored.sessions.settle(&stored.model, &stored.name, now)
            }
            Self::Stored(_) => None,
        }
    }

    /// Something happened to a session.
    pub(crate) fn something_happened(&mut self) {
        if let Self::Stored(stored) = self {
            stored.sessions.something_happened();
        }
    }

    /// Is it to be told how the peers are?
    pub(crate) fn wants_to_know(&mut self) -> bool {
        match self {
            Self::Clients(_) => false,
            Self::Stored(stored) => stored.sessions.wants_to_know(),
        }
    }

    /// How the peers are, and which of them alone give us some prefix.
    pub(crate) fn peers(&mut self, peers: &[PeerStatus], sole: BTreeSet<PeerKey>) {
        if let Self::Stored(stored) = self {
            stored.sessions.peers(peers, sole);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        match self {
            Self::Clients(_) => None,
            Self::Stored(stored) => stored.sessions.next_timeout(),
        }
    }

    pub(crate) fn timeout(&mut self, now: Time) {
        if let Self::Stored(stored) = self {
            stored.sessions.timeout(now);
        }
    }

    /// What is waited for before anything is done.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let Self::Stored(stored) = self else { return Ok(()) };
        match WATCHED.into_iter().find(|kind| !stored.model.ready(&[*kind])) {
            Some(kind) => Err(format!("waiting for the datastore to have said every {kind}")),
            None => Ok(()),
        }
    }

    /// Where peers come from, for people.
    pub(crate) fn origins(&self) -> BTreeMap<PeerKey, String> {
        match self {
            Self::Clients(clients) => {
                let named = clients.reflector.neighbours.iter().enumerate();
                named
                    .filter_map(|(i, neighbour)| match neighbour.place {
                        Place::Address { ip, .. } => Some((PeerKey::new(ip), format!("clients[{i}]"))),
                        Place::Range { .. } => None,
                    })
                    .collect()
            }
            Self::Stored(stored) => {
                stored.sessions.peering().map(|peering| status::origins(&peering.peers)).unwrap_or_default()
            }
        }
    }

    /// The kinds of the datastore.
    pub(crate) fn kinds(&self) -> Vec<KindStatus> {
        match self {
            Self::Clients(_) => Vec::new(),
            Self::Stored(stored) => status::kinds(&stored.model, &WATCHED),
        }
    }

    /// What a person should look at.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        match self {
            Self::Clients(_) => Vec::new(),
            Self::Stored(stored) => stored.conditions(),
        }
    }

    /// Whose block an address is in.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<Owner> {
        match self {
            Self::Clients(_) => None,
            Self::Stored(stored) => status::owner(&stored.model, address),
        }
    }

    /// The port to listen on where the settings name no address.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Clients(_) => 179,
            Self::Stored(stored) => peering::listen_port(&stored.model, &stored.name),
        }
    }
}

impl Stored {
    fn take(&mut self, event: corduroy_datastore::Event) {
        // A block changes what is shown and not who peers with whom: a reflector owns none.
        match self.model.apply(event) {
            Changed::Resource(key) if key.kind != Kind::IpamBlock => self.sessions.model_changed(),
            Changed::Sync(_) => self.sessions.model_changed(),
            Changed::Resource(_) | Changed::Rejections(_) | Changed::Covered | Changed::Nothing => {}
        }
    }

    fn take_all(&mut self) {
        while let Some(event) = self.watch.try_next() {
            self.take(event);
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let mut out = status::conditions(&self.model, self.sessions.problems());
        let node = self.model.nodes().get(&self.name);
        if let Some(node) = node.filter(|node| node.route_reflector_cluster_id.is_none()) {
            out.push(Condition {
                severity: Severity::Error,
                about: format!("FabricNode/{}", node.metadata.name),
                message:
                    "spec.routeReflectorClusterID: missing: a cluster id, as in 192.0.2.9; without one this \
                          process peers like any node and reflects nothing"
                        .to_owned(),
            });
        }
        out
    }
}

/// Judges what `settings` lead to, without doing anything: a line for people, or everything that is wrong.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<String> {
    let config = match Source::open(settings)? {
        Source::Clients(clients) => reflector::config(&clients.reflector),
        Source::Stored(mut stored) => {
            stored.take_all();
            let config = stored.sessions.settle(&stored.model, &stored.name, Time(0));
            let wrong: Vec<String> =
                stored.conditions().iter().map(|c| format!("{}: {}", c.about, c.message)).collect();
            if !wrong.is_empty() {
                anyhow::bail!("{}", wrong.join("\n"));
            }
            config.context("the datastore has said nothing")?
        }
    };
    let local = config.local_as.0;
    let (peers, ranges) = (config.peers.len(), config.dynamic.len());
    Ok(format!("right: AS {local}, {peers} neighbours by address, {ranges} ranges"))
}
