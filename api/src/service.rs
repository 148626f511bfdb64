//! `Service` and `EndpointSlice` of the Kubernetes core: as much of them as decides which service addresses a node
//! announces, and, where a policy names a Service, whom it means by it. Their names are `namespace/name`. They never
//! stand in our YAML and nobody here writes them.
//!
//! The balancing is kube-proxy's; what is kept here is what says where it can do it: the addresses of a Service that
//! it translates, the two traffic policies, and whether a node has an endpoint that it would send packets to.
//!
//! A policy asks something else of the same slices: every address in them with every port. So this is a kind of its
//! own, [`ServiceEndpoints`], put together of all slices of a Service, and only of those Services that are
//! [asked for](crate::Asked).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Name (`namespace/name`) and so on.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ServiceSpec,
}

/// What a Service says of its addresses. None where kube-proxy does nothing for it: headless ones, names of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`, but for those whose `ipMode` is Proxy: those are translated elsewhere.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy` is Local: a node sends packets to external addresses to its own endpoints only.
    pub external_local: bool,
    /// `internalTrafficPolicy` is Local: the same for cluster addresses.
    pub internal_local: bool,
}

impl ServiceSpec {
    /// Does it matter on which nodes its endpoints are?
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.external_local || self.internal_local
    }
}

/// Some of the endpoints of a Service, seen from one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Name (`namespace/name`) and so on.
    pub metadata: Metadata,
    /// What it says.
    pub spec: EndpointSliceSpec,
}

/// What an EndpointSlice says to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSliceSpec {
    /// The Service, as `namespace/name`.
    pub service: String,
    /// Are its endpoints IPv6 addresses? A slice has one family.
    pub ipv6: bool,
    /// The best of its endpoints on this node.
    pub here: Serving,
    /// The best of all its endpoints.
    pub anywhere: Serving,
}

/// How an endpoint serves, the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Serving {
    /// There is none, or it takes nothing.
    #[default]
    No,
    /// It is being ended and still answers: good for as long as there is no better one.
    Terminating,
    /// It is ready.
    Ready,
}

/// What a Service is to policies: all its endpoints, out of all its slices. Its name is the Service's, and that it is
/// there says that all of them are known, be it none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEndpoints {
    /// Name (`namespace/name`) and nothing else.
    pub metadata: Metadata,
    /// In the order of their addresses, each once. Ready or not: a policy says who may talk to whom and not who is up
    /// to it, and a pod that drains still ends its conversations.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Protocol (IANA) and port, in order, each once.
    pub ports: Vec<(u8, u16)>,
}

impl ServiceEndpoints {
    /// The endpoints of the Service `name` (`namespace/name`), of which parts may name the same address.
    #[must_use]
    pub fn of(name: &str, parts: impl IntoIterator<Item = ServiceEndpoint>) -> Self {
        let mut all: BTreeMap<IpAddr, BTreeSet<(u8, u16)>> = BTreeMap::new();
        for part in parts {
            all.entry(part.address).or_default().extend(part.ports);
        }
        let endpoint = |(address, ports): (_, BTreeSet<_>)| ServiceEndpoint {
            address,
            ports: ports.into_iter().collect(),
        };
        Self { metadata: Metadata::named(name), endpoints: all.into_iter().map(endpoint).collect() }
    }
}
