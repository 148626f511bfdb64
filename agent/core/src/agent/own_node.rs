//! This node's FabricNode: what of it is ours to write, and writing it by compare-and-swap.
//!
//! The agent owns identity, addresses and tunnels. Labels, AS number and cluster id are the operator's: the agent's
//! configuration may set them, and in a cluster the Node says the rest ([`crate::marks`]). Where there is no cluster,
//! what the configuration does not name is left alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::fabric_node::{Addresses, Tunnels};
use corduroy_api::{AsNumber, FabricNode, Key, Kind, Metadata, Resource, Version, Write, WriteError};
use corduroy_bgp::Time;
use ipnetwork::{Ipv4Network, Ipv6Network};

use crate::me::{Chosen, Me};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the agent's configuration says of its FabricNode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Labels it has at least.
    pub labels: BTreeMap<String, String>,
    /// Its AS number.
    pub as_number: Option<AsNumber>,
    /// It reflects, under this id.
    pub route_reflector_cluster_id: Option<Ipv4Addr>,
    /// Its blocks are the CIDRs that the cluster gives it.
    pub given: bool,
}

/// The FabricNode as it should be, given what the datastore has under this name; `None` while there is no address.
#[must_use]
pub(super) fn desired(
    me: &Me,
    declared: &Declared,
    tunnels: Tunnels,
    there: Option<&FabricNode>,
) -> Option<FabricNode> {
    let addresses = Addresses { v4: v4(me.v4.as_ref()), v6: v6(me.v6.as_ref()) };
    if addresses == Addresses::default() {
        return None;
    }
    let mut metadata = there.map_or_else(|| Metadata::named(me.name.clone()), |node| node.metadata.clone());
    let marks = me.member.marks();
    if let Some(marks) = marks {
        metadata.labels.clone_from(&marks.labels);
    }
    metadata.labels.extend(declared.labels.clone());
    let as_number = there.and_then(|node| node.as_number);
    let as_number = marks.map_or(as_number, |marks| marks.as_number.or_stays(as_number));
    let cluster_id = there.and_then(|node| node.route_reflector_cluster_id);
    let cluster_id = marks.map_or(cluster_id, |marks| marks.route_reflector_cluster_id.or_stays(cluster_id));
    Some(FabricNode {
        metadata,
        uid: me.uid.clone(),
        addresses,
        as_number: declared.as_number.or(as_number),
        route_reflector_cluster_id: declared.route_reflector_cluster_id.or(cluster_id),
        tunnels,
        pod_cidrs: me.pod_cidrs(),
    })
}

fn v4(chosen: Option<&Chosen>) -> Option<Ipv4Network> {
    match chosen {
        Some(Chosen { address: IpAddr::V4(address), prefix_len, .. }) => {
            Ipv4Network::new(*address, *prefix_len).ok()
        }
        _ => None,
    }
}

fn v6(chosen: Option<&Chosen>) -> Option<Ipv6Network> {
    match chosen {
        Some(Chosen { address: IpAddr::V6(address), prefix_len, .. }) => {
            Ipv6Network::new(*address, *prefix_len).ok()
        }
        _ => None,
    }
}

/// The writing of it: one write at a time, again after a pause that grows when it fails.
#[derive(Debug, Default)]
pub(super) struct OwnNode {
    writing: bool,
    /// Written and not seen in the datastore yet.
    written: Option<FabricNode>,
    /// The datastore said something new of it while it was written.
    news: bool,
    again: Option<Time>,
    pause: Option<Duration>,
}

impl OwnNode {
    /// The write that makes the datastore's FabricNode what it should be, unless one is under way or has to wait.
    pub(super) fn settle(
        &mut self,
        desired: FabricNode,
        there: Option<&FabricNode>,
        now: Time,
    ) -> Option<Write> {
        let is_seen = self.written.as_ref().is_some_and(|written| there.is_some_and(|t| same(t, written)));
        if is_seen {
            self.written = None;
        }
        let is_as_wanted = there.is_some_and(|node| same(node, &desired));
        self.again = self.again.filter(|again| now < *again);
        // Before what was written is seen, its version is not known either: another write would only collide with it.
        if self.writing || self.written.is_some() || is_as_wanted || self.again.is_some() {
            return None;
        }
        (self.writing, self.news) = (true, false);
        self.written = Some(desired.clone());
        let resource = Resource::FabricNode(Arc::new(desired));
        Some(if there.is_some() { Write::Update(resource) } else { Write::Create(resource) })
    }

    /// The write that takes it out of the datastore, where it stands in this version, unless one is under way or has
    /// to wait.
    pub(super) fn give_back(&mut self, there: &FabricNode, now: Time) -> Option<Write> {
        self.again = self.again.filter(|again| now < *again);
        let version = there.metadata.resource_version.clone()?;
        if self.writing || self.again.is_some() {
            return None;
        }
        (self.writing, self.news) = (true, false);
        Some(Write::Delete { key: key(&there.metadata.name), version: Version(version) })
    }

    /// What became of the write.
    pub(super) fn finished(&mut self, result: &Result<Version, WriteError>, now: Time) {
        self.writing = false;
        if result.is_ok() {
            self.pause = None;
            if self.news {
                self.written = None;
            }
        } else {
            let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
            self.pause = Some(pause);
            self.again = Some(now + pause);
            self.written = None;
        }
    }

    /// The datastore says something new of it: what was written is known, or was overtaken.
    pub(super) fn seen(&mut self) {
        self.news = true;
        if !self.writing {
            self.written = None;
        }
    }

    /// When a failed write is tried again.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.again
    }
}

/// Equal but for the state the datastore has it in.
fn same(a: &FabricNode, b: &FabricNode) -> bool {
    let mut b = b.clone();
    b.metadata.resource_version.clone_from(&a.metadata.resource_version);
    *a == b
}

/// The key of the FabricNode of this name.
pub(super) fn key(name: &str) -> Key {
    Key::new(Kind::FabricNode, name)
}
