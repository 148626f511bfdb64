//! Everything desired state depends on, and the questions its functions ask of it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::{FabricNode, IpPool, Key as ResourceKey, Kind};
use corduroy_fabric::services::Services;
use corduroy_fabric::{Encap, Model, Sync, blocks, encapsulation};
use corduroy_kernel::{Facts, Family, IpNet, Support};

use crate::convert;
use crate::desired::hosts::Failsafe;
use crate::learned::Learned;
use crate::me::Me;
use crate::nodes::Nodes;
use crate::pods::{Pod, Pods};
use crate::policies::{Others, Policies};

/// The kinds of resources an agent watches, and of which it waits to have heard everything before it acts.
pub const WATCHED: [Kind; 23] = [
    Kind::Secret,
    Kind::BgpFilter,
    Kind::BgpConfiguration,
    Kind::FabricNode,
    Kind::BgpPeer,
    Kind::Namespace,
    Kind::IpReservation,
    Kind::IpPool,
    Kind::IpamBlock,
    Kind::Pod,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::ServiceAccount,
    Kind::RemotePod,
    Kind::ServiceEndpoints,
    Kind::Tier,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::ClusterNetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::NetworkPolicy,
    Kind::KubernetesNetworkPolicy,
];

/// What is known. Plain data; whoever changes a field tells the reconciler which keys that touches.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the datastore says.
    pub model: Model,
    /// The nodes of the model, by address.
    pub nodes: Nodes,
    /// The pools of the model: those in force first, behind them those that overlap one.
    pub pools: Vec<Arc<IpPool>>,
    /// What this node announces of services.
    pub services: Services,
    /// The blocks this node owns.
    pub owned: BTreeSet<IpNet>,
    /// What was observed of the kernel and is not ours.
    pub facts: Facts,
    /// Who we are.
    pub me: Me,
    /// What the speaker learned.
    pub learned: Learned,
    /// The pods of this node.
    pub pods: Pods,
    /// What the policies say here.
    pub policies: Policies,
    /// What they close to this host in no case.
    pub failsafe: Failsafe,
    /// The cluster has this node no more, and nothing runs here that needs the network: what it has goes back.
    pub retired: bool,
}

impl Known {
    /// Nothing but who we are.
    #[must_use]
    pub fn new(me: Me) -> Self {
        Self {
            model: Model::default(),
            nodes: Nodes::default(),
            pools: Vec::new(),
            services: Services::default(),
            owned: BTreeSet::new(),
            facts: Facts::default(),
            retired: false,
            me,
            learned: Learned::default(),
            pods: Pods::default(),
            policies: Policies::default(),
            failsafe: Failsafe::default(),
        }
    }

    /// A resource that policies depend on came, changed or went.
    pub fn police(&mut self, key: &ResourceKey) {
        let Self { policies, model, pods, nodes, me, .. } = self;
        policies.resource((model, pods, nodes), me, key);
    }

    /// A pod of this node was wired or unwired.
    pub fn police_pod(&mut self, pod: &Pod) {
        let has = |found: &corduroy_api::Pod| pod.addresses.iter().any(|it| found.addresses.contains(it));
        let name = match &pod.owner {
            Some(owner) => Some(owner.clone()),
            // Its record is lost; which pod has its address?
            None => self.model.pods().iter().find(|(_, found)| has(found)).map(|(name, _)| name.clone()),
        };
        if let Some(name) = name {
            self.policies.pod(&self.model, &self.pods, &name);
        }
    }

    /// Policies that waited for what is known by now wait no more; with `late`, none does.
    pub fn wake_policies(&mut self, late: bool) {
        let Self { policies, model, me, .. } = self;
        policies.wake((!late).then(|| Others::of(model, me)));
    }

    /// What policies ask of others that has not been said yet. What can't be had holds nobody up.
    #[must_use]
    pub fn lacks(&self) -> Option<&'static str> {
        let asked = self.policies.asked();
        let can_be_had = |kind| !matches!(self.model.sync(kind), Sync::Unavailable(_));
        let known = Others::of(&self.model, &self.me);
        if self.policies.is_waiting() {
            return Some("pods of other nodes and services that new policies name");
        }
        if can_be_had(Kind::RemotePod) && !known.covers_pods(asked) {
            return Some("pods of other nodes that policies select");
        }
        // What the former run knew stands in for them one by one, and says nothing of others.
        let may_come = matches!(self.model.sync(Kind::ServiceEndpoints), Sync::Waiting | Sync::Live);
        if may_come && !known.covers_services(asked) {
            return Some("services that policies name");
        }
        let accounts = asked.service_accounts && !self.model.ready(&[Kind::ServiceAccount]);
        accounts.then_some("service accounts that policies select by")
    }

    /// Takes the pools anew out of the model.
    pub fn refresh_pools(&mut self) {
        let in_force: Vec<Arc<IpPool>> = blocks::pools_in_force(&self.model).into_iter().cloned().collect();
        let is_in_force = |pool: &Arc<IpPool>| in_force.iter().any(|other| Arc::ptr_eq(other, pool));
        let others: Vec<Arc<IpPool>> =
            self.model.pools().values().filter(|pool| !is_in_force(pool)).cloned().collect();
        self.pools = in_force;
        self.pools.extend(others);
    }

    /// The pool that a destination is in.
    #[must_use]
    pub fn pool_of(&self, dst: IpNet) -> Option<&IpPool> {
        let pool = self.pools.iter().find(|pool| convert::from_network(pool.cidr).covers(dst));
        pool.map(AsRef::as_ref)
    }

    /// How packets to `dst` are wrapped on the way to `node`, by what both have declared.
    #[must_use]
    pub fn tunnel(&self, node: &FabricNode, dst: IpNet) -> Encap {
        match (self.pool_of(dst), self.nodes.get(&self.me.name)) {
            (Some(pool), Some(us)) => encapsulation(pool, us, node),
            _ => Encap::None,
        }
    }

    /// Is this an address of this node itself?
    #[must_use]
    pub fn is_own_address(&self, addr: IpAddr) -> bool {
        self.me.address(Family::of(addr)) == Some(addr)
            || self.me.tunnels.all().any(|(_, tunnel)| tunnel == addr)
            || self.facts.holder(addr).is_some()
    }

    /// Can this kernel do IPv6?
    #[must_use]
    pub fn ipv6(&self) -> bool {
        self.facts.features.ipv6 == Support::Yes
    }
}
