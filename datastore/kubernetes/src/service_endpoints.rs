//! The endpoints of the services that policies name, and of no others.
//!
//! ```text
//! Asked ─► watches of namespaces, or one over all (parts), of slices with those names
//!                ─► slices by name ─► once all were said: one ServiceEndpoints for each service asked for ─► Hub
//! ```
//! Slices are most of what changes in a cluster, and every node may be asked for the same service: so a watch has only
//! the slices of the services that are named, within their namespaces, and of a slice nothing is kept but addresses
//! and ports. That an endpoint is ready, or no more, is no news.
//!
//! A service that is asked for is in the hub when its slices have been said, even when there are none: that it is
//! there says that it is known. While another watch takes the place of one, what is there stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_api::policy::Protocol;
use corduroy_api::service::ServiceEndpoint;
use corduroy_api::{Asked, Event, Kind, Rejection, Resource, ServiceEndpoints};
use corduroy_datastore::Hub;
use serde::Deserialize;
use tokio::sync::watch;

use crate::object::{About, Collection, Object, Readable, Scope};
use crate::parts::{Asking, Part, Parts, parts};
use crate::reflect::Change;
use crate::server::Server;
use crate::services::{SERVICE_NAME, selector};

/// An EndpointSlice as it comes over the wire: what policies ask of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortSlice {
    metadata: About,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<RawEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<RawPort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawEndpoint {
    addresses: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawPort {
    protocol: Option<String>,
    port: Option<u16>,
}

impl RawPort {
    /// A port without a number means whatever its reader makes of it: here, none.
    fn read(&self) -> Option<(u8, u16)> {
        let protocol = Protocol::named(self.protocol.as_deref().unwrap_or("TCP"))?;
        Some((protocol.0, self.port?))
    }
}

impl Object for PortSlice {
    fn about(&self) -> &About {
        &self.metadata
    }
}

impl Readable for PortSlice {
    /// What it brings to its service.
    fn read(&self, _: Kind) -> Result<Resource, Vec<Rejection>> {
        Ok(Resource::ServiceEndpoints(Arc::new(self.part())))
    }
}

impl PortSlice {
    fn part(&self) -> ServiceEndpoints {
        let service = self.metadata.labels.get(SERVICE_NAME).map(String::as_str).unwrap_or_default();
        let ports: Vec<(u8, u16)> = self.ports.iter().flatten().filter_map(RawPort::read).collect();
        // A slice of names has no addresses.
        let endpoints = self.endpoints.iter().flatten().filter(|_| self.address_type != "FQDN");
        let addresses = endpoints.flat_map(|it| &it.addresses).filter_map(|text| text.parse().ok());
        let parts = addresses.map(|address| ServiceEndpoint { address, ports: ports.clone() });
        ServiceEndpoints::of(&self.metadata.in_namespace(service), parts)
    }
}

/// What all slices bring to their services.
pub(crate) fn joined(slices: &[Resource]) -> Vec<Resource> {
    let parts = slices.iter().filter_map(|slice| match slice {
        Resource::ServiceEndpoints(part) => Some(&**part),
        _ => None,
    });
    let parts: Vec<&ServiceEndpoints> = parts.collect();
    let services: BTreeSet<&String> = parts.iter().map(|part| &part.metadata.name).collect();
    let of = |service| Resource::ServiceEndpoints(Arc::new(join(service, parts.iter().copied())));
    services.into_iter().map(|service| of(service)).collect()
}

fn join<'a>(service: &str, parts: impl Iterator<Item = &'a ServiceEndpoints>) -> ServiceEndpoints {
    let parts = parts.filter(|part| part.metadata.name == service);
    ServiceEndpoints::of(service, parts.flat_map(|part| part.endpoints.iter().cloned()))
}

/// Keeps the hub of the kind ServiceEndpoints true until it is dropped.
pub(crate) async fn follow(server: Server, hub: Arc<Hub>, asked: watch::Receiver<Asked>) {
    let (parts, services, slices) = (Parts::new(server), BTreeSet::new(), BTreeMap::new());
    let mut known = Services { parts, hub, services, slices };
    known.tell_how_well();
    let mut asking = Asking::new(asked);
    loop {
        tokio::select! {
            asked = asking.next() => known.ask(asked.services),
            (part, change) = known.parts.heard() => known.take(&part, change),
        }
    }
}

/// The services that are asked for.
struct Services {
    parts: Parts<PortSlice>,
    hub: Arc<Hub>,
    /// `namespace/name`.
    services: BTreeSet<String>,
    slices: BTreeMap<Part, Slices>,
}

/// The slices of a part, by name.
#[derive(Default)]
struct Slices {
    known: BTreeMap<String, ServiceEndpoints>,
    /// All that its watch has to say was said once.
    whole: bool,
    /// What was said since a replay began.
    replay: Option<BTreeMap<String, ServiceEndpoints>>,
}

impl Slices {
    /// Takes a change in; returns the services that may have other endpoints now, or `None`: any of them may.
    fn take(&mut self, change: Change<PortSlice>) -> Option<BTreeSet<String>> {
        let mut touched = BTreeSet::new();
        let known = self.replay.as_mut().unwrap_or(&mut self.known);
        match change {
            Change::Replay => self.replay = Some(BTreeMap::new()),
            Change::Put(slice) => {
                let part = slice.part();
                touched.insert(part.metadata.name.clone());
                touched.extend(known.insert(slice.called(), part).map(|before| before.metadata.name));
            }
            Change::Gone(slice) => touched.extend(known.remove(&slice.called()).map(|it| it.metadata.name)),
            Change::InSync => {
                if let Some(said) = self.replay.take() {
                    self.known = said;
                }
                self.whole = true;
                return None;
            }
            Change::Away(_) => {}
        }
        if self.replay.is_some() {
            touched.clear();
        }
        Some(touched)
    }
}

impl Services {
    /// These are what there is to know from now on.
    fn ask(&mut self, services: BTreeSet<String>) {
        self.services = services;
        self.hub.update(|known, events| {
            let left = known.keys().filter(|key| !self.services.contains(&key.name));
            events.extend(left.cloned().map(Event::Gone));
        });
        let namespace = |service: &String| service.split('/').next().unwrap_or_default().to_owned();
        let parts = parts(&self.services.iter().map(namespace).collect());
        self.slices.retain(|part, _| parts.contains(part));
        let slices = Collection::of(Kind::EndpointSlice, &Scope::default());
        let collection = |part: &Part| {
            let within = match part {
                Some(namespace) => slices.clone().within(namespace),
                None => slices.clone(),
            };
            within.labelled(selector(&self.of(part).cloned().collect()))
        };
        let wanted = parts.iter().map(|part| (part.clone(), collection(part))).collect();
        for part in self.parts.want(wanted) {
            self.slices.entry(part).or_default().whole = false;
        }
        // What a watch without a selector has may be asked for only now.
        for part in &parts {
            self.tell(part, None);
        }
        self.tell_how_well();
    }

    /// The services of a part.
    fn of(&self, part: &Part) -> impl Iterator<Item = &String> {
        let is_there = move |service: &&String| match part {
            Some(namespace) => service.split('/').next() == Some(namespace),
            None => true,
        };
        self.services.iter().filter(is_there)
    }

    /// One of the watches has said something.
    fn take(&mut self, part: &Part, change: Change<PortSlice>) {
        let says_how_well = matches!(change, Change::InSync | Change::Away(_));
        let Some(slices) = self.slices.get_mut(part) else { return };
        let touched = slices.take(change);
        self.tell(part, touched.as_ref());
        if says_how_well {
            self.tell_how_well();
        }
    }

    /// These services of a part have these endpoints; all of its services, with `None`.
    fn tell(&self, part: &Part, touched: Option<&BTreeSet<String>>) {
        let Some(slices) = self.slices.get(part).filter(|slices| slices.whole) else { return };
        for service in
            self.of(part).filter(|service| touched.is_none_or(|touched| touched.contains(*service)))
        {
            let endpoints = join(service, slices.known.values());
            self.hub.say(Event::Put(Resource::ServiceEndpoints(Arc::new(endpoints))));
        }
    }

    /// How well the kind is known. A service that is still being read is not there yet.
    fn tell_how_well(&self) {
        self.hub.say(self.parts.known().event(Kind::ServiceEndpoints));
    }
}

#[cfg(test)]
mod tests;
