//! Whether what people wrote is in force, over the whole fabric: what the condition `InForce` of a resource says.
//!
//! Agents note what does not fit on *their* node ([`Problem`](crate::Problem)). This is the same asked once for all
//! nodes, per resource, so that one who looks at the resource sees it.
//!
//! * **Not in force** is what has no effect anywhere, wholly or in one of its fields: the message names each such field
//!   with its value, and what holds instead. So a list with one entry that leads nowhere is not in force as written.
//! * **In force** is the rest. A session that some of the nodes can't have is in force where it can be; the message
//!   counts the others, and their own NodeStatus says what they lack.
//! * **Not known** is what hangs on passwords that can't be read.
//! * A resource that our own check refuses (it was stored before a definition became as strict) says that and no more.
//!
//! # Cost
//! With N nodes and P BGPPeers each selector is asked once a node, so N·P questions; a peering between nodes is looked
//! at pair by pair only until one session is found that no other BGPPeer shapes. `peering` for every node would be N²
//! sessions with their filters: it is not asked. With 5,000 nodes and 52 BGPPeers it takes 17 ms; with a peering of all
//! with all twice over, which has to be looked at to its end, 0.6 s.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::block::overlap;
use corduroy_api::{BgpConfiguration, IpPool, IpReservation, Key, Kind, Rejection, SecretRef};

use crate::peering::session::read_password;
use crate::{Model, Sync, blocks, services};

mod peers;
pub(crate) mod policies;
#[cfg(test)]
mod tests;

/// The kinds of which it is said: those that people write.
pub const KINDS: [Kind; 11] = [
    Kind::BgpFilter,
    Kind::BgpConfiguration,
    Kind::BgpPeer,
    Kind::IpReservation,
    Kind::IpPool,
    Kind::Tier,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
];

/// Is a resource in force?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is.
    InForce,
    /// It is not, or a field of it is not.
    NotInForce,
    /// It can't be told.
    Unknown,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing is in its way.
    InForce,
    /// Some of the nodes it is for can't have the session.
    InForceInPart,
    /// It is asked to give nothing new.
    Disabled,
    /// Nobody refers to it.
    NotReferred,
    /// A field says what it may not.
    Invalid,
    /// It has addresses in common with a pool.
    Overlapping,
    /// Its addresses are in no pool.
    OutsidePools,
    /// There is no node that it is for.
    NoNode,
    /// It selects no neighbour.
    NoNeighbour,
    /// It refers to a filter that is not there.
    NoFilter,
    /// It is in a tier that is not there.
    NoTier,
    /// It refers to a password that is not there, or can't be one.
    NoPassword,
    /// The neighbour's AS is not given, and not known.
    NoAS,
    /// The neighbour's AS is known to be another.
    WrongAS,
    /// The address is of a kind that no session can be with, or that its nodes have none to match.
    Unreachable,
    /// The neighbour is the node itself.
    OwnAddress,
    /// Another BGPPeer shapes the session.
    AnotherPeer,
    /// Passwords can't be read.
    SecretsUnavailable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::InForce,
        Self::InForceInPart,
        Self::Disabled,
        Self::NotReferred,
        Self::Invalid,
        Self::Overlapping,
        Self::OutsidePools,
        Self::NoNode,
        Self::NoNeighbour,
        Self::NoFilter,
        Self::NoTier,
        Self::NoPassword,
        Self::NoAS,
        Self::WrongAS,
        Self::Unreachable,
        Self::OwnAddress,
        Self::AnotherPeer,
        Self::SecretsUnavailable,
    ];

    /// In one CamelCase word, as a condition has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InForce => "InForce",
            Self::InForceInPart => "InForceInPart",
            Self::Disabled => "Disabled",
            Self::NotReferred => "NotReferred",
            Self::Invalid => "Invalid",
            Self::Overlapping => "Overlapping",
            Self::OutsidePools => "OutsidePools",
            Self::NoNode => "NoNode",
            Self::NoNeighbour => "NoNeighbour",
            Self::NoFilter => "NoFilter",
            Self::NoTier => "NoTier",
            Self::NoPassword => "NoPassword",
            Self::NoAS => "NoAS",
            Self::WrongAS => "WrongAS",
            Self::Unreachable => "Unreachable",
            Self::OwnAddress => "OwnAddress",
            Self::AnotherPeer => "AnotherPeer",
            Self::SecretsUnavailable => "SecretsUnavailable",
        }
    }

    /// What it makes of a resource.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::InForce | Self::InForceInPart | Self::Disabled | Self::NotReferred => Verdict::InForce,
            Self::SecretsUnavailable => Verdict::Unknown,
            _ => Verdict::NotInForce,
        }
    }
}

/// How a resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why it is in force or not: the first of what was found.
    pub reason: Reason,
    /// All that was found, for an operator.
    pub why: String,
}

/// How every resource of [`KINDS`] stands. What is not known of a kind yet counts as not there: whether a kind is in
/// sync is for the caller to ask.
#[must_use]
pub fn standings(model: &Model) -> BTreeMap<Key, Standing> {
    let mut out = BTreeMap::new();
    let mut say = |kind, name: &String, found: Findings, else_: (Reason, &str)| {
        out.insert(Key::new(kind, name.clone()), found.standing(else_));
    };
    let overlaps: BTreeMap<String, String> =
        blocks::pool_problems(model).into_iter().map(|problem| (problem.key.name, problem.why)).collect();
    for (name, pool) in model.pools() {
        let in_force = match pool.disabled {
            true => (Reason::Disabled, "addresses in use stay; no new blocks are claimed of it"),
            false => (Reason::InForce, "nodes that it selects claim blocks of it"),
        };
        say(Kind::IpPool, name, of_pool(model, pool, overlaps.get(name)), in_force);
    }
    for (name, reservation) in model.reservations() {
        let in_force = (Reason::InForce, "its addresses are handed out only to pods that name them");
        say(Kind::IpReservation, name, of_reservation(model, reservation), in_force);
    }
    for (name, configuration) in model.configurations() {
        let in_force = (Reason::InForce, "nodes go by it");
        say(Kind::BgpConfiguration, name, of_configuration(model, configuration), in_force);
    }
    let named: BTreeSet<&String> = model.peers().values().flat_map(|peer| &peer.filters).collect();
    for name in model.filters().keys() {
        let in_force = match named.contains(name) {
            true => (Reason::InForce, "sessions of BGPPeers that name it go by it"),
            false => (Reason::NotReferred, "no BGPPeer names it in spec.filters"),
        };
        say(Kind::BgpFilter, name, Findings::default(), in_force);
    }
    for (name, found) in peers::findings(model) {
        say(Kind::BgpPeer, name, found, (Reason::InForce, "its sessions are as it says"));
    }
    for (key, found, in_force) in policies::findings(model) {
        say(key.kind, &key.name, found, (Reason::InForce, in_force));
    }
    for rejections in model.rejected().values() {
        out.extend(refused(model, rejections));
    }
    out
}

/// What was found of one resource.
#[derive(Clone, Debug, Default)]
struct Findings(Vec<(Reason, String)>);

impl Findings {
    fn add(&mut self, reason: Reason, field: &str, why: impl AsRef<str>) {
        self.0.push((reason, format!("{field}: {}", why.as_ref())));
    }

    /// What is worst decides; where nothing was found, what is said else.
    fn standing(mut self, (reason, why): (Reason, &str)) -> Standing {
        let worst = |reason: &Reason| match reason.verdict() {
            Verdict::NotInForce => 0,
            Verdict::Unknown => 1,
            Verdict::InForce => 2,
        };
        self.0.sort_by_key(|(reason, _)| worst(reason));
        let reason = self.0.first().map_or(reason, |(reason, _)| *reason);
        let all: Vec<&str> = self.0.iter().map(|(_, why)| why.as_str()).collect();
        Standing { reason, why: if all.is_empty() { why.to_owned() } else { all.join("; ") } }
    }

    /// A password that is missing, or that nobody can tell to be.
    fn password(&mut self, model: &Model, field: &str, reference: Option<&SecretRef>) {
        let Some(reference) = reference else { return };
        let Err(why) = read_password(model, reference) else { return };
        match model.sync(Kind::Secret) {
            Sync::Live => self.add(Reason::NoPassword, field, why),
            Sync::Unavailable(away) => {
                let why = format!("whether there is a secret {} can't be told: {away}", reference.name);
                self.add(Reason::SecretsUnavailable, field, why);
            }
            Sync::Waiting | Sync::Snapshot => {
                let why = format!("secret {} was not read yet", reference.name);
                self.add(Reason::SecretsUnavailable, field, why);
            }
        }
    }
}

fn of_pool(model: &Model, pool: &IpPool, overlap: Option<&String>) -> Findings {
    let mut found = Findings::default();
    if let Some(why) = overlap {
        found.add(Reason::Overlapping, "spec.cidr", why);
    }
    let selects = || model.nodes().values().any(|node| pool.node_selector.matches(&node.metadata.labels));
    if !pool.disabled && !selects() {
        let why = format!("{} chooses no node; no block of it is claimed", pool.node_selector);
        found.add(Reason::NoNode, "spec.nodeSelector", why);
    }
    found
}

fn of_reservation(model: &Model, reservation: &IpReservation) -> Findings {
    let mut found = Findings::default();
    for (i, cidr) in reservation.cidrs.iter().enumerate() {
        if !model.pools().values().any(|pool| overlap(pool.cidr, *cidr)) {
            let why = format!("{cidr} is in no IPPool, so nobody would hand it out; it keeps nothing back");
            found.add(Reason::OutsidePools, &format!("spec.reservedCIDRs[{i}]"), why);
        }
    }
    found
}

fn of_configuration(model: &Model, configuration: &BgpConfiguration) -> Findings {
    let mut found = Findings::default();
    if let Some(node) = configuration.node() {
        if !model.nodes().contains_key(node) {
            let why = format!("there is no FabricNode {node} that would go by it");
            found.add(Reason::NoNode, "metadata.name", why);
        }
        return found;
    }
    if configuration.mesh_enabled.unwrap_or(true) {
        let field = "spec.nodeMeshPassword.secretKeyRef";
        found.password(model, field, configuration.mesh_password.as_ref());
    }
    for problem in services::problems(model) {
        found.add(Reason::Overlapping, &problem.field, problem.why);
    }
    found
}

/// What our own check refuses.
fn refused(model: &Model, rejections: &[Rejection]) -> Option<(Key, Standing)> {
    let key = rejections.iter().find_map(|rejection| rejection.key.clone())?;
    let all: Vec<String> = rejections.iter().map(|rejection| rejection.why.to_string()).collect();
    let instead =
        if model.get(&key).is_some() { "what it said before stays in force" } else { "it has no effect" };
    KINDS.contains(&key.kind).then_some(())?;
    let why = format!("{}; {instead}", all.join("; "));
    Some((key, Standing { reason: Reason::Invalid, why }))
}
