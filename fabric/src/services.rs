//! Which addresses of services a node announces, and why.
//!
//! The packets are kube-proxy's to translate, on whichever node they reach. So the ranges that a BGPConfiguration names
//! are announced by every node, and a router spreads what it has for them over all nodes. Where a policy of a Service
//! is Local, a node translates only to its own endpoints and drops the rest: such an address is announced by itself
//! (/32, /128) from nodes that have an endpoint, which goes before the range.
//!
//! | address | range | externalTrafficPolicy, internalTrafficPolicy | announced by itself |
//! |---|---|---|---|
//! | ClusterIP | `serviceClusterIPs` | either is Local | by nodes with an endpoint |
//! | external IP | `serviceExternalIPs` | external is Local | by nodes with an endpoint |
//! | load balancer's | `serviceLoadBalancerIPs` | external is Local | by nodes with an endpoint |
//! | any, in a range of one address or (load balancers) not aggregated | | else | by every node |
//!
//! * **An endpoint** counts when it is ready; one that is being ended and still serves counts while no endpoint of the
//!   Service is ready anywhere. kube-proxy still serves the packets under way to a node that has just withdrawn.
//! * **Families** are apart: an IPv6 address needs an IPv6 endpoint.
//! * **A node** with the label `node.kubernetes.io/exclude-from-external-load-balancers` announces none of it.
//! * **A range of one address** is announced only while a Service has it. A range that overlaps a pool would make an
//!   address mean two things: it is not in force, and a [`Problem`] says so.
//!
//! [`Services`] keeps the answer up to date at the cost of what a change touches: one Service and its slices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use corduroy_api::block::{contains, overlap};
use corduroy_api::service::{EndpointSliceSpec, ServiceSpec, Serving};
use corduroy_api::{BgpConfiguration, IpNetwork, Key, Kind};

use crate::{Model, Problem};

#[cfg(test)]
mod tests;

/// The label of nodes that announce no addresses of services; its value does not matter.
pub const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How a Service has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `spec.clusterIPs`.
    Cluster,
    /// `spec.externalIPs`.
    External,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::External, Self::LoadBalancer];

    /// The field of a BGPConfiguration that has its ranges.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Cluster => "serviceClusterIPs",
            Self::External => "serviceExternalIPs",
            Self::LoadBalancer => "serviceLoadBalancerIPs",
        }
    }

    /// The addresses that a Service has so.
    #[must_use]
    pub fn of(self, service: &ServiceSpec) -> &[IpAddr] {
        match self {
            Self::Cluster => &service.cluster_ips,
            Self::External => &service.external_ips,
            Self::LoadBalancer => &service.load_balancer_ips,
        }
    }

    /// Does it matter on which nodes the Service's endpoints are?
    fn is_local(self, service: &ServiceSpec) -> bool {
        match self {
            Self::Cluster => service.is_local(),
            Self::External | Self::LoadBalancer => service.external_local,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "ClusterIP",
            Self::External => "external IP",
            Self::LoadBalancer => "load balancer",
        })
    }
}

/// The ranges in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// By role, as [`Role::ALL`] has them.
    ranges: [Vec<IpNetwork>; 3],
    /// Load balancers' addresses are announced one by one.
    apart: bool,
}

impl Ranges {
    /// The ranges of the BGPConfiguration `default`, but those that overlap a pool.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let Some(default) = model.configurations().get(BgpConfiguration::DEFAULT_NAME) else {
            return Self::default();
        };
        let services = &default.services;
        let in_force = |ranges: &[IpNetwork]| {
            ranges.iter().filter(|range| overlapped(model, **range).is_none()).copied().collect()
        };
        Self {
            ranges: [&services.cluster, &services.external, &services.load_balancer]
                .map(|ranges| in_force(ranges)),
            apart: services.load_balancer_apart,
        }
    }

    /// Every range with the role it is for.
    pub fn iter(&self) -> impl Iterator<Item = (Role, IpNetwork)> + '_ {
        let by_role = Role::ALL.into_iter().zip(&self.ranges);
        by_role.flat_map(|(role, ranges)| ranges.iter().map(move |range| (role, *range)))
    }

    /// Every range once.
    #[must_use]
    pub fn all(&self) -> BTreeSet<IpNetwork> {
        self.iter().map(|(_, range)| range).collect()
    }

    /// The widest range around `cidr`, if it lies in one.
    #[must_use]
    pub fn around(&self, cidr: IpNetwork) -> Option<IpNetwork> {
        let around = self.iter().map(|(_, range)| range).filter(|range| contains(*range, cidr));
        around.min_by_key(IpNetwork::prefix)
    }

    /// Is the range announced as such?
    #[must_use]
    pub fn is_whole(&self, role: Role, range: IpNetwork) -> bool {
        !is_host(range) && (role != Role::LoadBalancer || !self.apart)
    }

    /// How an address of a Service stands on a node.
    #[must_use]
    pub fn standing(&self, role: Role, address: IpAddr, service: &ServiceSpec, serves: bool) -> Standing {
        let around = |(of, range): &(Role, IpNetwork)| *of == role && range.contains(address);
        let around: Vec<IpNetwork> = self.iter().filter(around).map(|(_, range)| range).collect();
        let whole = around.iter().find(|range| self.is_whole(role, **range)).copied();
        let single = around.iter().any(|range| !self.is_whole(role, *range));
        match (around.is_empty(), role.is_local(service), serves, whole) {
            (true, ..) => Standing::InNoRange(role),
            (_, true, true, _) => Standing::Endpoint,
            (_, true, false, _) => Standing::NoEndpoint,
            (_, false, _, Some(range)) if !single => Standing::InRange(range),
            (_, false, ..) => Standing::EveryNode,
        }
    }
}

/// Why an address of a Service is announced by itself, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is: an endpoint is here, and only such nodes may have its packets.
    Endpoint,
    /// It is: any node will do, and no range is announced around it.
    EveryNode,
    /// It is not: any node will do, and this range brings its packets.
    InRange(IpNetwork),
    /// It is not: only a node with an endpoint may have its packets, and here is none.
    NoEndpoint,
    /// It is not: no range for such addresses has it.
    InNoRange(Role),
}

impl Standing {
    /// Is it announced by itself?
    #[must_use]
    pub fn is_announced(self) -> bool {
        matches!(self, Self::Endpoint | Self::EveryNode)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => {
                f.write_str("its traffic policy is Local, and a ready endpoint is on this node")
            }
            Self::EveryNode => f.write_str("every node announces it by itself"),
            Self::InRange(range) => write!(f, "every node announces {range} around it"),
            Self::NoEndpoint => {
                f.write_str("its traffic policy is Local, and no ready endpoint is on this node")
            }
            Self::InNoRange(role) => write!(f, "it is in no range of {}", role.field()),
        }
    }
}

/// The pool that a range overlaps.
fn overlapped(model: &Model, range: IpNetwork) -> Option<&str> {
    let pool = model.pools().values().find(|pool| overlap(pool.cidr, range))?;
    Some(&pool.metadata.name)
}

fn is_host(range: IpNetwork) -> bool {
    range.prefix() == if range.is_ipv6() { 128 } else { 32 }
}

/// The address by itself.
fn host(address: IpAddr) -> IpNetwork {
    IpNetwork::from(address)
}

/// Does the operator keep services away from this node?
#[must_use]
pub fn is_excluded(model: &Model, me: &str) -> bool {
    model.nodes().get(me).is_some_and(|node| node.metadata.labels.contains_key(EXCLUDED))
}

/// Would kube-proxy on this node have an endpoint of this family for a packet from outside, and should it get one?
pub fn serves<'m>(slices: impl IntoIterator<Item = &'m EndpointSliceSpec>, ipv6: bool) -> bool {
    let mut here = Serving::No;
    let mut anywhere = Serving::No;
    for slice in slices.into_iter().filter(|slice| slice.ipv6 == ipv6) {
        here = here.max(slice.here);
        anywhere = anywhere.max(slice.anywhere);
    }
    here != Serving::No && here == anywhere.max(here)
}

/// Ranges that are not in force.
#[must_use]
pub fn problems(model: &Model) -> Vec<Problem> {
    let Some(default) = model.configurations().get(BgpConfiguration::DEFAULT_NAME) else { return Vec::new() };
    let services = &default.services;
    let lists = [&services.cluster, &services.external, &services.load_balancer];
    let mut out = Vec::new();
    for (role, ranges) in Role::ALL.into_iter().zip(lists) {
        for (i, range) in ranges.iter().enumerate() {
            if let Some(pool) = overlapped(model, *range) {
                let key = Key::new(Kind::BgpConfiguration, BgpConfiguration::DEFAULT_NAME);
                let field = format!("spec.{}[{i}].cidr", role.field());
                let why = format!(
                    "{range} overlaps IPPool/{pool}, and an address is a pod's or a service's; not announced"
                );
                out.push(Problem::new(key, &field, why));
            }
        }
    }
    out
}

/// What one node announces of services, kept up to date change by change.
#[derive(Clone, Debug, Default)]
pub struct Services {
    ranges: Ranges,
    excluded: bool,
    /// The slices of each Service, and the Service of each slice.
    slices: BTreeMap<String, BTreeSet<String>>,
    service_of: BTreeMap<String, String>,
    /// What is announced because of each Service.
    because_of: BTreeMap<String, BTreeSet<IpNetwork>>,
    /// How many reasons there are for each prefix.
    reasons: BTreeMap<IpNetwork, usize>,
    changed: BTreeSet<IpNetwork>,
}

impl Services {
    /// The Model has changed in this resource; `me` is this node's name.
    pub fn apply(&mut self, model: &Model, me: &str, key: &Key) {
        match key.kind {
            Kind::Service => self.service(model, &key.name),
            Kind::EndpointSlice => self.slice(model, &key.name),
            Kind::BgpConfiguration | Kind::IpPool => self.frame(model, me),
            Kind::FabricNode if key.name == me => self.frame(model, me),
            _ => {}
        }
    }

    /// What all depends on may have changed.
    fn frame(&mut self, model: &Model, me: &str) {
        let (ranges, excluded) = (Ranges::of(model), is_excluded(model, me));
        if (&ranges, excluded) == (&self.ranges, self.excluded) {
            return;
        }
        let old = self.whole();
        (self.ranges, self.excluded) = (ranges, excluded);
        let new = self.whole();
        self.count(&old, &new);
        for service in model.services().keys() {
            self.service(model, service);
        }
    }

    /// The ranges that are announced as such.
    fn whole(&self) -> BTreeSet<IpNetwork> {
        let whole = self.ranges.iter().filter(|(role, range)| self.ranges.is_whole(*role, *range));
        whole.filter(|_| !self.excluded).map(|(_, range)| range).collect()
    }

    fn slice(&mut self, model: &Model, name: &str) {
        let slice = model.slices().get(name);
        let before = self.service_of.remove(name);
        if let Some(before) = &before
            && let Some(slices) = self.slices.get_mut(before)
        {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(before);
            }
        }
        if let Some(slice) = slice {
            self.slices.entry(slice.spec.service.clone()).or_default().insert(name.to_owned());
            self.service_of.insert(name.to_owned(), slice.spec.service.clone());
        }
        let services: BTreeSet<String> =
            before.into_iter().chain(self.service_of.get(name).cloned()).collect();
        for service in services {
            self.service(model, &service);
        }
    }

    fn service(&mut self, model: &Model, name: &str) {
        let new = model.services().get(name).filter(|_| !self.excluded);
        let new = new.map(|service| self.announced(model, name, &service.spec)).unwrap_or_default();
        let old = self.because_of.remove(name).unwrap_or_default();
        self.count(&old, &new);
        if !new.is_empty() {
            self.because_of.insert(name.to_owned(), new);
        }
    }

    /// What is announced because of a Service.
    fn announced(&self, model: &Model, name: &str, service: &ServiceSpec) -> BTreeSet<IpNetwork> {
        let mut out = BTreeSet::new();
        for role in Role::ALL {
            for address in role.of(service) {
                // Only of those is it asked where the endpoints are.
                let serves = role.is_local(service) && self.serves(model, name, address.is_ipv6());
                if self.ranges.standing(role, *address, service, serves).is_announced() {
                    out.insert(host(*address));
                }
            }
        }
        out
    }

    fn serves(&self, model: &Model, service: &str, ipv6: bool) -> bool {
        let names = self.slices.get(service).into_iter().flatten();
        serves(names.filter_map(|name| model.slices().get(name)).map(|slice| &slice.spec), ipv6)
    }

    /// These reasons were there, those are there now.
    fn count(&mut self, old: &BTreeSet<IpNetwork>, new: &BTreeSet<IpNetwork>) {
        for prefix in new.difference(old) {
            let count = self.reasons.entry(*prefix).or_default();
            *count += 1;
            if *count == 1 {
                self.changed.insert(*prefix);
            }
        }
        for prefix in old.difference(new) {
            if let Some(count) = self.reasons.get_mut(prefix) {
                *count -= 1;
                if *count == 0 {
                    self.reasons.remove(prefix);
                    self.changed.insert(*prefix);
                }
            }
        }
    }

    /// The ranges in force.
    #[must_use]
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// Is this prefix to be announced?
    #[must_use]
    pub fn wants(&self, prefix: IpNetwork) -> bool {
        self.reasons.contains_key(&prefix)
    }

    /// Everything that is to be announced, in order.
    pub fn wanted(&self) -> impl Iterator<Item = IpNetwork> + '_ {
        self.reasons.keys().copied()
    }

    /// The prefixes that have come or gone since this was asked last.
    pub fn take_changed(&mut self) -> BTreeSet<IpNetwork> {
        std::mem::take(&mut self.changed)
    }
}
