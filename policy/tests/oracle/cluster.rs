//! The resources of a small cluster, and changes to them.

use std::collections::BTreeMap;

use corduroy_api::Labels;
use corduroy_api::policy::{Judged, cluster, kubernetes, own, tier};
use corduroy_api::service::ServiceEndpoint;
use corduroy_policy::normal;
use corduroy_policy::{Direction, Endpoint, EndpointKey, Engine, PolicyId, PolicyKind, Tier};

/// A policy as it was read.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Kubernetes(Judged<kubernetes::NetworkPolicy>),
    Cluster(Judged<cluster::ClusterNetworkPolicy>),
    Network(Judged<own::NetworkPolicy>),
    Global(Judged<own::GlobalNetworkPolicy>),
}

impl Given {
    pub(crate) fn id(&self) -> PolicyId {
        let (kind, metadata) = match self {
            Self::Kubernetes(judged) => (PolicyKind::Kubernetes, &judged.policy.metadata),
            Self::Cluster(judged) => (PolicyKind::Cluster, &judged.policy.metadata),
            Self::Network(judged) => (PolicyKind::Network, &judged.policy.metadata),
            Self::Global(judged) => (PolicyKind::Global, &judged.policy.metadata),
        };
        PolicyId::new(kind, metadata.name.as_str())
    }

    /// Without a rule.
    pub(crate) fn without(mut self, direction: Direction, rule: usize) -> Self {
        let ingress = direction == Direction::Ingress;
        let own = |body: &mut own::Body| {
            let rules = if ingress { &mut body.ingress } else { &mut body.egress };
            rules.as_mut().unwrap().remove(rule);
        };
        match &mut self {
            Self::Kubernetes(judged) => {
                let policy = &mut judged.policy;
                let rules = if ingress { &mut policy.ingress } else { &mut policy.egress };
                rules.as_mut().unwrap().remove(rule);
            }
            Self::Cluster(judged) => {
                let policy = &mut judged.policy;
                let rules = if ingress { &mut policy.ingress } else { &mut policy.egress };
                rules.remove(rule);
            }
            Self::Network(judged) => own(&mut judged.policy.body),
            Self::Global(judged) => own(&mut judged.policy.body),
        }
        self
    }

    fn normal(&self) -> corduroy_policy::Policy {
        match self {
            Self::Kubernetes(judged) => normal::kubernetes::policy(judged),
            Self::Cluster(judged) => normal::cluster::policy(judged),
            Self::Network(judged) => normal::own::policy(judged),
            Self::Global(judged) => normal::own::global(judged),
        }
    }
}

/// Something comes, changes or (`None`) goes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Endpoint(EndpointKey, Option<Endpoint>),
    Namespace(String, Labels),
    Account(String, String, Option<Labels>),
    /// Without endpoints it is not there.
    Service(String, Vec<ServiceEndpoint>),
    Tier(String, Option<tier::Tier>),
    Policy(PolicyId, Option<Box<Given>>),
}

impl Change {
    pub(crate) fn tell(&self, engine: &mut Engine) {
        match self {
            Self::Endpoint(key, Some(endpoint)) => engine.put_endpoint(key, endpoint),
            Self::Endpoint(key, None) => engine.remove_endpoint(key),
            Self::Namespace(name, labels) => engine.put_namespace(name, labels),
            Self::Account(namespace, name, labels) => {
                engine.put_service_account(namespace, name, labels.as_ref());
            }
            Self::Service(name, endpoints) => engine.put_service(name, endpoints.clone()),
            Self::Tier(name, tier) => engine.put_tier(name, tier.as_ref().map(Tier::of)),
            Self::Policy(_, Some(given)) => engine.put_policy(given.normal()),
            Self::Policy(id, None) => engine.remove_policy(id),
        }
    }
}

/// All there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) endpoints: BTreeMap<EndpointKey, Endpoint>,
    pub(crate) namespaces: BTreeMap<String, Labels>,
    pub(crate) accounts: BTreeMap<(String, String), Labels>,
    pub(crate) services: BTreeMap<String, Vec<ServiceEndpoint>>,
    pub(crate) tiers: BTreeMap<String, tier::Tier>,
    pub(crate) policies: BTreeMap<PolicyId, Given>,
}

impl Cluster {
    /// Some pods and nodes to begin with.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::default();
        for change in crate::random::start() {
            cluster.apply(&change);
        }
        cluster
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Endpoint(key, endpoint) => put(&mut self.endpoints, key, endpoint),
            Change::Namespace(name, labels) => {
                put(&mut self.namespaces, name, Some(labels).filter(|labels| !labels.is_empty()));
            }
            Change::Account(namespace, name, labels) => put(&mut self.accounts, (namespace, name), labels),
            Change::Service(name, endpoints) => {
                put(&mut self.services, name, Some(endpoints).filter(|endpoints| !endpoints.is_empty()));
            }
            Change::Tier(name, tier) => put(&mut self.tiers, name, tier),
            Change::Policy(id, given) => put(&mut self.policies, id, given.map(|given| *given)),
        }
    }

    /// What brings all this about.
    pub(crate) fn as_changes(&self) -> Vec<Change> {
        let namespaces =
            self.namespaces.iter().map(|(name, labels)| Change::Namespace(name.clone(), labels.clone()));
        let accounts = self.accounts.iter().map(|((namespace, name), labels)| {
            Change::Account(namespace.clone(), name.clone(), Some(labels.clone()))
        });
        let tiers = self.tiers.iter().map(|(name, tier)| Change::Tier(name.clone(), Some(tier.clone())));
        let endpoints = self
            .endpoints
            .iter()
            .map(|(key, endpoint)| Change::Endpoint(key.clone(), Some(endpoint.clone())));
        let policies =
            self.policies.iter().map(|(id, given)| Change::Policy(id.clone(), Some(Box::new(given.clone()))));
        let services =
            self.services.iter().map(|(name, endpoints)| Change::Service(name.clone(), endpoints.clone()));
        namespaces.chain(accounts).chain(services).chain(tiers).chain(endpoints).chain(policies).collect()
    }

    /// What undoes all this.
    pub(crate) fn as_removals(&self) -> Vec<Change> {
        let undone = |change| match change {
            Change::Endpoint(key, _) => Change::Endpoint(key, None),
            Change::Namespace(name, _) => Change::Namespace(name, Labels::new()),
            Change::Account(namespace, name, _) => Change::Account(namespace, name, None),
            Change::Service(name, _) => Change::Service(name, Vec::new()),
            Change::Tier(name, _) => Change::Tier(name, None),
            Change::Policy(id, _) => Change::Policy(id, None),
        };
        self.as_changes().into_iter().map(undone).collect()
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
