//! The Model: everything the datastore said, by kind and name, and how well each kind is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::policy::PolicyResource;
use corduroy_api::{
    BgpConfiguration, BgpFilter, BgpPeer, EndpointSlice, Event, FabricNode, IpPool, IpReservation, IpamBlock,
    Key, Kind, Namespace, Pod, Rejection, Resource, Scope, Secret, SecretRef, SecretValue, Service,
    ServiceAccount, ServiceEndpoints, Source,
};

type Map<T> = BTreeMap<String, Arc<T>>;

/// The kinds that [`PolicyResource`] holds.
macro_rules! policies {
    () => {
        Kind::KubernetesNetworkPolicy
            | Kind::ClusterNetworkPolicy
            | Kind::NetworkPolicy
            | Kind::GlobalNetworkPolicy
            | Kind::Tier
            | Kind::NetworkSet
            | Kind::GlobalNetworkSet
            | Kind::HostEndpoint
    };
}

/// All resources, in order, and how well each kind is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pools: Map<IpPool>,
    blocks: Map<IpamBlock>,
    nodes: Map<FabricNode>,
    configurations: Map<BgpConfiguration>,
    peers: Map<BgpPeer>,
    filters: Map<BgpFilter>,
    reservations: Map<IpReservation>,
    secrets: Map<Secret>,
    core: Core,
    policies: BTreeMap<Key, Arc<PolicyResource>>,
    sync: BTreeMap<Kind, Sync>,
    rejected: BTreeMap<String, Vec<Rejection>>,
}

/// Objects of the cluster's core that are only read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Core {
    namespaces: Map<Namespace>,
    pods: Map<Pod>,
    services: Map<Service>,
    slices: Map<EndpointSlice>,
    remote_pods: Map<Pod>,
    service_accounts: Map<ServiceAccount>,
    service_endpoints: Map<ServiceEndpoints>,
    /// Where all pods of other nodes are known.
    covered: Scope,
}

/// How well a kind is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Not all of it was said yet: nobody may act on what is missing.
    #[default]
    Waiting,
    /// All of it, and changes follow.
    Live,
    /// All of it as it was when it was last reachable.
    Snapshot,
    /// It can't be had, and this is why. What was known of it stays.
    Unavailable(String),
}

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing that was not so before.
    Nothing,
    /// This resource came, changed or went.
    Resource(Key),
    /// How well this kind is known.
    Sync(Kind),
    /// What is wrong with this source.
    Rejections(String),
    /// Of which namespaces all pods of other nodes are known.
    Covered,
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, event: Event) -> Changed {
        match event {
            Event::Put(resource) => self.put(resource),
            Event::Gone(key) => {
                if self.remove(&key) {
                    Changed::Resource(key)
                } else {
                    Changed::Nothing
                }
            }
            Event::InSync { kind, from: Source::Live } => self.set_sync(kind, Sync::Live),
            Event::InSync { kind, from: Source::Snapshot } => self.set_sync(kind, Sync::Snapshot),
            Event::Unavailable { kind, why } => self.set_sync(kind, Sync::Unavailable(why)),
            Event::Rejected { source, rejections } => {
                let before = if rejections.is_empty() {
                    self.rejected.remove(&source)
                } else {
                    self.rejected.insert(source.clone(), rejections.clone())
                };
                if before.unwrap_or_default() == rejections {
                    Changed::Nothing
                } else {
                    Changed::Rejections(source)
                }
            }
            Event::Covered(scope) if self.core.covered == scope => Changed::Nothing,
            Event::Covered(scope) => {
                self.core.covered = scope;
                Changed::Covered
            }
        }
    }

    fn put(&mut self, resource: Resource) -> Changed {
        let key = resource.key();
        let name = key.name.clone();
        let changed = match resource {
            Resource::IpPool(r) => replace(&mut self.pools, name, r),
            Resource::IpamBlock(r) => replace(&mut self.blocks, name, r),
            Resource::FabricNode(r) => replace(&mut self.nodes, name, r),
            Resource::BgpConfiguration(r) => replace(&mut self.configurations, name, r),
            Resource::BgpPeer(r) => replace(&mut self.peers, name, r),
            Resource::BgpFilter(r) => replace(&mut self.filters, name, r),
            Resource::IpReservation(r) => replace(&mut self.reservations, name, r),
            Resource::Secret(r) => replace(&mut self.secrets, name, r),
            Resource::Namespace(r) => replace(&mut self.core.namespaces, name, r),
            Resource::Pod(r) => replace(&mut self.core.pods, name, r),
            Resource::Service(r) => replace(&mut self.core.services, name, r),
            Resource::EndpointSlice(r) => replace(&mut self.core.slices, name, r),
            Resource::RemotePod(r) => replace(&mut self.core.remote_pods, name, r),
            Resource::ServiceAccount(r) => replace(&mut self.core.service_accounts, name, r),
            Resource::ServiceEndpoints(r) => replace(&mut self.core.service_endpoints, name, r),
            Resource::Policy(r) => replace(&mut self.policies, key.clone(), r),
        };
        if changed { Changed::Resource(key) } else { Changed::Nothing }
    }

    fn remove(&mut self, key: &Key) -> bool {
        let name = &key.name;
        match key.kind {
            Kind::IpPool => self.pools.remove(name).is_some(),
            Kind::IpamBlock => self.blocks.remove(name).is_some(),
            Kind::FabricNode => self.nodes.remove(name).is_some(),
            Kind::BgpConfiguration => self.configurations.remove(name).is_some(),
            Kind::BgpPeer => self.peers.remove(name).is_some(),
            Kind::BgpFilter => self.filters.remove(name).is_some(),
            Kind::IpReservation => self.reservations.remove(name).is_some(),
            Kind::Secret => self.secrets.remove(name).is_some(),
            Kind::Namespace => self.core.namespaces.remove(name).is_some(),
            Kind::Pod => self.core.pods.remove(name).is_some(),
            Kind::Service => self.core.services.remove(name).is_some(),
            Kind::EndpointSlice => self.core.slices.remove(name).is_some(),
            Kind::RemotePod => self.core.remote_pods.remove(name).is_some(),
            Kind::ServiceAccount => self.core.service_accounts.remove(name).is_some(),
            Kind::ServiceEndpoints => self.core.service_endpoints.remove(name).is_some(),
            policies!() => self.policies.remove(key).is_some(),
        }
    }

    /// Of these kinds all that is known, and nothing of others. Resources are shared, so it costs their names.
    #[must_use]
    pub fn part(&self, kinds: &[Kind]) -> Self {
        let mut part = Self::default();
        for kind in kinds {
            match kind {
                Kind::IpPool => part.pools.clone_from(&self.pools),
                Kind::IpamBlock => part.blocks.clone_from(&self.blocks),
                Kind::FabricNode => part.nodes.clone_from(&self.nodes),
                Kind::BgpConfiguration => part.configurations.clone_from(&self.configurations),
                Kind::BgpPeer => part.peers.clone_from(&self.peers),
                Kind::BgpFilter => part.filters.clone_from(&self.filters),
                Kind::IpReservation => part.reservations.clone_from(&self.reservations),
                Kind::Secret => part.secrets.clone_from(&self.secrets),
                Kind::Namespace => part.core.namespaces.clone_from(&self.core.namespaces),
                Kind::Pod => part.core.pods.clone_from(&self.core.pods),
                Kind::Service => part.core.services.clone_from(&self.core.services),
                Kind::EndpointSlice => part.core.slices.clone_from(&self.core.slices),
                Kind::RemotePod => {
                    part.core.remote_pods.clone_from(&self.core.remote_pods);
                    part.core.covered.clone_from(&self.core.covered);
                }
                Kind::ServiceAccount => part.core.service_accounts.clone_from(&self.core.service_accounts),
                Kind::ServiceEndpoints => {
                    part.core.service_endpoints.clone_from(&self.core.service_endpoints);
                }
                policies!() => {
                    let of_kind = self.policies.iter().filter(|(key, _)| key.kind == *kind);
                    part.policies.extend(of_kind.map(|(key, policy)| (key.clone(), policy.clone())));
                }
            }
            part.sync.extend(self.sync.get(kind).map(|sync| (*kind, sync.clone())));
        }
        let is_of =
            |rejection: &Rejection| rejection.key.as_ref().is_some_and(|key| kinds.contains(&key.kind));
        let rejected = self.rejected.iter().filter(|(_, rejections)| rejections.iter().any(is_of));
        part.rejected = rejected.map(|(source, rejections)| (source.clone(), rejections.clone())).collect();
        part
    }

    fn set_sync(&mut self, kind: Kind, sync: Sync) -> Changed {
        if self.sync.get(&kind) == Some(&sync) {
            return Changed::Nothing;
        }
        self.sync.insert(kind, sync);
        Changed::Sync(kind)
    }

    /// Pools by name.
    #[must_use]
    pub fn pools(&self) -> &BTreeMap<String, Arc<IpPool>> {
        &self.pools
    }
    /// Claimed blocks by name.
    #[must_use]
    pub fn blocks(&self) -> &BTreeMap<String, Arc<IpamBlock>> {
        &self.blocks
    }
    /// Nodes by name.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<String, Arc<FabricNode>> {
        &self.nodes
    }
    /// BGP settings by name.
    #[must_use]
    pub fn configurations(&self) -> &BTreeMap<String, Arc<BgpConfiguration>> {
        &self.configurations
    }
    /// Explicit peerings by name.
    #[must_use]
    pub fn peers(&self) -> &BTreeMap<String, Arc<BgpPeer>> {
        &self.peers
    }
    /// Filters by name.
    #[must_use]
    pub fn filters(&self) -> &BTreeMap<String, Arc<BgpFilter>> {
        &self.filters
    }
    /// Reservations by name.
    #[must_use]
    pub fn reservations(&self) -> &BTreeMap<String, Arc<IpReservation>> {
        &self.reservations
    }
    /// The cluster's namespaces by name.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, Arc<Namespace>> {
        &self.core.namespaces
    }
    /// This node's pods by [`Pod::key_name`].
    #[must_use]
    pub fn pods(&self) -> &BTreeMap<String, Arc<Pod>> {
        &self.core.pods
    }
    /// Services by namespace and name.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<String, Arc<Service>> {
        &self.core.services
    }
    /// Where the endpoints of services are, by namespace and name.
    #[must_use]
    pub fn slices(&self) -> &BTreeMap<String, Arc<EndpointSlice>> {
        &self.core.slices
    }
    /// All that is of a policy kind, tiers and sets included.
    #[must_use]
    pub fn policies(&self) -> &BTreeMap<Key, Arc<PolicyResource>> {
        &self.policies
    }
    /// One of them.
    #[must_use]
    pub fn policy(&self, key: &Key) -> Option<&Arc<PolicyResource>> {
        self.policies.get(key)
    }
    /// Pods of other nodes, as many as were asked for, by [`Pod::key_name`].
    #[must_use]
    pub fn remote_pods(&self) -> &BTreeMap<String, Arc<Pod>> {
        &self.core.remote_pods
    }
    /// Service accounts by namespace and name.
    #[must_use]
    pub fn service_accounts(&self) -> &BTreeMap<String, Arc<ServiceAccount>> {
        &self.core.service_accounts
    }
    /// All endpoints of services that were asked for, by the services' namespace and name.
    #[must_use]
    pub fn service_endpoints(&self) -> &BTreeMap<String, Arc<ServiceEndpoints>> {
        &self.core.service_endpoints
    }
    /// Of which namespaces all pods of other nodes are known.
    #[must_use]
    pub fn covered(&self) -> &Scope {
        &self.core.covered
    }
    /// The value a reference means.
    #[must_use]
    pub fn secret(&self, reference: &SecretRef) -> Option<&SecretValue> {
        self.secrets.get(&reference.name)?.data.get(&reference.key)
    }
    /// The node that has this address.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&Arc<FabricNode>> {
        self.nodes.values().find(|node| node.has_address(address))
    }
    /// A resource of any kind.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Resource> {
        let name = &key.name;
        match key.kind {
            Kind::IpPool => self.pools.get(name).cloned().map(Resource::IpPool),
            Kind::IpamBlock => self.blocks.get(name).cloned().map(Resource::IpamBlock),
            Kind::FabricNode => self.nodes.get(name).cloned().map(Resource::FabricNode),
            Kind::BgpConfiguration => self.configurations.get(name).cloned().map(Resource::BgpConfiguration),
            Kind::BgpPeer => self.peers.get(name).cloned().map(Resource::BgpPeer),
            Kind::BgpFilter => self.filters.get(name).cloned().map(Resource::BgpFilter),
            Kind::IpReservation => self.reservations.get(name).cloned().map(Resource::IpReservation),
            Kind::Secret => self.secrets.get(name).cloned().map(Resource::Secret),
            Kind::Namespace => self.core.namespaces.get(name).cloned().map(Resource::Namespace),
            Kind::Pod => self.core.pods.get(name).cloned().map(Resource::Pod),
            Kind::Service => self.core.services.get(name).cloned().map(Resource::Service),
            Kind::EndpointSlice => self.core.slices.get(name).cloned().map(Resource::EndpointSlice),
            Kind::RemotePod => self.core.remote_pods.get(name).cloned().map(Resource::RemotePod),
            Kind::ServiceAccount => {
                self.core.service_accounts.get(name).cloned().map(Resource::ServiceAccount)
            }
            Kind::ServiceEndpoints => {
                self.core.service_endpoints.get(name).cloned().map(Resource::ServiceEndpoints)
            }
            policies!() => self.policies.get(key).cloned().map(Resource::Policy),
        }
    }
    /// How many resources of `kind` are in force.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::IpPool => self.pools.len(),
            Kind::IpamBlock => self.blocks.len(),
            Kind::FabricNode => self.nodes.len(),
            Kind::BgpConfiguration => self.configurations.len(),
            Kind::BgpPeer => self.peers.len(),
            Kind::BgpFilter => self.filters.len(),
            Kind::IpReservation => self.reservations.len(),
            Kind::Secret => self.secrets.len(),
            Kind::Namespace => self.core.namespaces.len(),
            Kind::Pod => self.core.pods.len(),
            Kind::Service => self.core.services.len(),
            Kind::EndpointSlice => self.core.slices.len(),
            Kind::RemotePod => self.core.remote_pods.len(),
            Kind::ServiceAccount => self.core.service_accounts.len(),
            Kind::ServiceEndpoints => self.core.service_endpoints.len(),
            policies!() => self.policies.keys().filter(|key| key.kind == kind).count(),
        }
    }
    /// How well `kind` is known.
    #[must_use]
    pub fn sync(&self, kind: Kind) -> &Sync {
        self.sync.get(&kind).unwrap_or(&Sync::Waiting)
    }
    /// May one act on these kinds? A kind that can't be had holds nobody up.
    #[must_use]
    pub fn ready(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| *self.sync(*kind) != Sync::Waiting)
    }
    /// What can't be used, by source.
    #[must_use]
    pub fn rejected(&self) -> &BTreeMap<String, Vec<Rejection>> {
        &self.rejected
    }
}

fn replace<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, Arc<T>>, name: K, new: Arc<T>) -> bool {
    let same = map.get(&name).is_some_and(|old| *old == new);
    if !same {
        map.insert(name, new);
    }
    !same
}
