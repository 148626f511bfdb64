//! Services and EndpointSlices, as long as a BGPConfiguration asks for addresses of services, and no longer.
//!
//! ```text
//! BGPConfiguration names ranges ─► all Services ─► some have a Local policy ─► the slices of those
//! ```
//! Every node watches these, and slices are most of what changes in a cluster. So of Services nothing is kept but
//! their addresses and policies; slices are selected on the server by the names of the Services that need them, and of
//! a slice nothing is kept but whether this node and whether any node has an endpoint. What changes in the rest is no
//! news. A kind that nobody asks for is in sync, with nothing in it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::service::{EndpointSliceSpec, ServiceSpec, Serving};
use corduroy_api::{BgpConfiguration, EndpointSlice, Event, Kind, Metadata, Rejection, Resource, Service};
use corduroy_datastore::{Hub, Watch};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::follower::Follower;
use crate::object::{About, Collection, Object, Readable, Scope};
use crate::server::Server;
use crate::shelf::Settled;

/// The most characters of a selector: a request's path should not be longer than some thousand.
const LONGEST: usize = 3000;
/// Another selection is asked for at most so often.
const PAUSE: Duration = Duration::from_millis(500);
/// On a slice: the name of its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Keeps the hub of the kind Service true until it is dropped. `configurations` is a watch of BGPConfigurations.
pub(crate) async fn follow(server: Server, hub: Arc<Hub>, mut configurations: Watch) {
    let mut follower = Follower::<CoreService>::new(server, Kind::Service, hub, |_| {});
    let (mut asked, mut settled) = (false, Settled::default());
    loop {
        tokio::select! {
            event = configurations.next() => match event {
                Event::Put(Resource::BgpConfiguration(configuration)) if configuration.node().is_none() => {
                    asked = !configuration.services.is_empty();
                }
                Event::Gone(key) if key.name == BgpConfiguration::DEFAULT_NAME => asked = false,
                other => settled.take(other),
            },
            heard = follower.heard() => follower.take(heard),
        }
        match settled.of(&[Kind::BgpConfiguration]) {
            None => {}
            Some(Ok(())) => follower.want(asked.then(|| Collection::of(Kind::Service, &Scope::default()))),
            Some(Err(why)) => follower.away(why),
        }
    }
}

/// Keeps the hub of the kind EndpointSlice true until it is dropped. `services` is a watch of Services; `node` is
/// whose endpoints are looked for.
pub(crate) async fn follow_slices(server: Server, node: Arc<str>, hub: Arc<Hub>, mut services: Watch) {
    let seen = move |slice: &mut CoreSlice| slice.seen_from = Some(Arc::clone(&node));
    let mut follower = Follower::new(server, Kind::EndpointSlice, hub, seen);
    let slices = Collection::of(Kind::EndpointSlice, &Scope::default());
    let (mut local, mut settled) = (BTreeSet::new(), Settled::default());
    let (mut changed, mut again) = (true, Instant::now());
    loop {
        tokio::select! {
            event = services.next() => match event {
                Event::Put(Resource::Service(service)) if service.spec.is_local() => {
                    changed |= local.insert(service.metadata.name.clone());
                }
                Event::Put(Resource::Service(service)) => changed |= local.remove(&service.metadata.name),
                Event::Gone(key) => changed |= local.remove(&key.name),
                other => settled.take(other),
            },
            heard = follower.heard() => follower.take(heard),
            () = sleep_until(again), if changed && settled.of(&[Kind::Service]) == Some(Ok(())) => {
                changed = false;
                again = Instant::now() + PAUSE;
                follower.want((!local.is_empty()).then(|| slices.clone().labelled(selector(&local))));
            }
        }
        if let Some(Err(why)) = settled.of(&[Kind::Service]) {
            follower.away(why);
        }
    }
}

/// Selects the slices of these Services (and of those of the same names in other namespaces); `None` when they are too
/// many to be named.
pub(crate) fn selector(services: &BTreeSet<String>) -> Option<String> {
    let names: BTreeSet<&str> =
        services.iter().map(|name| name.split_once('/').map_or(name.as_str(), |(_, name)| name)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    // Commas, blanks and brackets as a query has them.
    let selector = format!("{}%20in%20({})", SERVICE_NAME.replace('/', "%2F"), names.join("%2C"));
    (selector.len() <= LONGEST).then_some(selector)
}

/// A Service as it comes over the wire.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CoreService {
    metadata: About,
    #[serde(default)]
    spec: RawService,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawService {
    r#type: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    external_traffic_policy: Option<String>,
    internal_traffic_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    load_balancer: RawBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawBalancer {
    ingress: Vec<RawIngress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawIngress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

impl Object for CoreService {
    fn about(&self) -> &About {
        &self.metadata
    }

    fn called(&self) -> String {
        self.metadata.in_namespace(&self.metadata.name)
    }
}

impl Readable for CoreService {
    fn read(&self, _: Kind) -> Result<Resource, Vec<Rejection>> {
        let metadata = bare(&self.metadata);
        Ok(Resource::Service(Arc::new(Service { metadata, spec: self.addresses() })))
    }
}

impl CoreService {
    /// The addresses kube-proxy translates: none of a Service that has no ClusterIP or is a name of something else.
    fn addresses(&self) -> ServiceSpec {
        let RawService { r#type, cluster_ips, external_ips, .. } = &self.spec;
        let cluster_ips = addresses(cluster_ips.iter());
        if cluster_ips.is_empty() || r#type.as_deref() == Some("ExternalName") {
            return ServiceSpec::default();
        }
        let is_ours = |ingress: &&RawIngress| ingress.ip_mode.as_deref() != Some("Proxy");
        let ingress = self.status.load_balancer.ingress.iter().filter(is_ours);
        let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        ServiceSpec {
            cluster_ips,
            external_ips: addresses(external_ips.iter()),
            load_balancer_ips: addresses(ingress.filter_map(|ingress| ingress.ip.as_ref())),
            external_local: local(&self.spec.external_traffic_policy),
            internal_local: local(&self.spec.internal_traffic_policy),
        }
    }
}

/// Those that are addresses; `None` is written as one too.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Labels and annotations matter to nobody here, and change.
fn bare(about: &About) -> Metadata {
    Metadata {
        name: about.in_namespace(&about.name),
        uid: Some(about.uid.clone()),
        resource_version: Some(about.resource_version.clone()),
        ..Metadata::default()
    }
}

/// An EndpointSlice as it comes over the wire.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CoreSlice {
    metadata: About,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<RawEndpoint>>,
    /// The node whose endpoints are looked for.
    #[serde(skip)]
    pub(crate) seen_from: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawEndpoint {
    node_name: Option<String>,
    conditions: Conditions,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Conditions {
    /// As kube-proxy judges: what is not said is good.
    fn serving(self) -> Serving {
        if self.ready.unwrap_or(true) {
            Serving::Ready
        } else if self.serving.unwrap_or(true) && self.terminating.unwrap_or(false) {
            Serving::Terminating
        } else {
            Serving::No
        }
    }
}

impl Object for CoreSlice {
    fn about(&self) -> &About {
        &self.metadata
    }

    fn called(&self) -> String {
        self.metadata.in_namespace(&self.metadata.name)
    }
}

impl Readable for CoreSlice {
    fn read(&self, _: Kind) -> Result<Resource, Vec<Rejection>> {
        let service = self.metadata.labels.get(SERVICE_NAME).map(String::as_str).unwrap_or_default();
        let mut spec = EndpointSliceSpec {
            service: self.metadata.in_namespace(service),
            ipv6: self.address_type == "IPv6",
            here: Serving::No,
            anywhere: Serving::No,
        };
        // Names instead of addresses are nothing to kube-proxy.
        for endpoint in self.endpoints.iter().flatten().filter(|_| self.address_type != "FQDN") {
            let serving = endpoint.conditions.serving();
            spec.anywhere = spec.anywhere.max(serving);
            if endpoint.node_name.is_some() && endpoint.node_name.as_deref() == self.seen_from.as_deref() {
                spec.here = spec.here.max(serving);
            }
        }
        let slice = EndpointSlice { metadata: bare(&self.metadata), spec };
        Ok(Resource::EndpointSlice(Arc::new(slice)))
    }
}

#[cfg(test)]
mod tests;
