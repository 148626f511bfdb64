//! What the policies say on this node: the engine, told of whatever it depends on.
//!
//! ```text
//! Model (policies, tiers, sets, namespaces, nodes, pods, services) ─┐
//!                                                                   ├─► Engine ─► chains, sets, programs
//! Pods (which are wired here, with which addresses) ────────────────┘      │         ─► desired::nft
//!                                                                          └─► what is asked of others
//! ```
//! Everything here is looked up again by name: who calls [`Policies::pod`] twice, or in another order, ends in the same
//! place. A pod of this node is one that is wired here, whatever else is said of it: its addresses are those of its
//! interfaces, its labels those that its object had last, also when the object is gone before the interface is.
//!
//! **A policy waits** until the pods elsewhere and the services that its rules ask about are known: with half of them,
//! it would cut what it allows. What was in force before it stays so long, and no new pod comes up meanwhile.
//!
//! **Connections** that were let pass carry the number of the program that let them ([`Generation`]). What may deny
//! something that was allowed makes a new number, and from then on each connection is judged anew by its next packet.

use std::collections::BTreeMap;
use std::sync::Arc;

use corduroy_api::policy::PolicyBody;
use corduroy_api::policy::host::HostEndpoint;
use corduroy_api::{Asked, Key, Kind, Labels, Pod};
use corduroy_fabric::Model;
use corduroy_kernel::LinkName;
use corduroy_kernel::nft::{Expr, Name, Table, Verdict};
use corduroy_policy::engine::{PASSED, SENT, widened};
use corduroy_policy::normal::{self, cluster, kubernetes, own};
use corduroy_policy::{
    Changes, Class, Direction, Dirty, Endpoint, EndpointKey, Engine, Policy, PolicyId, PolicyKind, Stage,
    Tier,
};

use crate::me::{Me, Membership};
use crate::nodes::Nodes;
use crate::pods::Pods;

/// Bits of a connection's mark in which it is noted what became of it. Others' bits are let alone.
pub const MARK: u32 = 0x7fff_0000;

/// Bit of a connection's mark: a policy let it in before its destination was translated, and what the host gets of it
/// is not judged by the host's other policies.
pub const LET_IN: u32 = 0x8000_0000;

/// By which program a connection was let pass: a number from 1, never one that the program before had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u16);

impl Generation {
    const FIRST: u16 = 1;
    const LAST: u16 = 0x7ffe;

    /// The mark of a connection that was denied.
    pub const DENIED: u32 = MARK;

    /// The mark of a connection that was let pass.
    #[must_use]
    pub fn mark(self) -> u32 {
        u32::from(self.0) << 16
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The one after it.
    #[must_use]
    fn next(self) -> Self {
        Self(if self.0 >= Self::LAST { Self::FIRST } else { self.0 + 1 })
    }

    /// The one that a table has.
    fn of(table: &Table) -> Option<Self> {
        let rules = &table.chains.get(&Name::from(PASSED))?.rules;
        let mut exprs = rules.iter().flat_map(|rule| rule.exprs());
        let number = exprs.find_map(|expr| match expr {
            Expr::SetCtMark { mask: MARK, value } => u16::try_from(value >> 16).ok(),
            _ => None,
        });
        number.filter(|number| (Self::FIRST..=Self::LAST).contains(number)).map(Self)
    }
}

/// A pod that is wired here.
#[derive(Clone, Debug, Default)]
struct Wired {
    links: Vec<LinkName>,
    /// Its object as it was seen last.
    seen: Option<Arc<Pod>>,
}

/// What is known of others.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    model: &'a Model,
    /// There is no cluster, and so there are no others.
    none: bool,
}

impl<'a> Others<'a> {
    /// As far as the Model has them.
    #[must_use]
    pub fn of(model: &'a Model, me: &Me) -> Self {
        Self { model, none: me.member == Membership::Itself }
    }

    /// Are all these pods of other nodes known?
    #[must_use]
    pub fn covers_pods(self, asked: &Asked) -> bool {
        self.none || self.model.covered().covers(&asked.pods)
    }

    /// Are all these services known?
    #[must_use]
    pub fn covers_services(self, asked: &Asked) -> bool {
        let known = self.model.service_endpoints();
        self.none || asked.services.iter().all(|service| known.contains_key(service))
    }

    fn covers(self, asked: &Asked) -> bool {
        self.covers_pods(asked) && self.covers_services(asked)
    }
}

/// What the policies say here.
#[derive(Clone, Debug)]
pub struct Policies {
    engine: Engine,
    generation: Generation,
    wired: BTreeMap<String, Wired>,
    by_link: BTreeMap<LinkName, String>,
    hosts: BTreeMap<String, HostEndpoint>,
    waiting: Option<BTreeMap<PolicyId, Policy>>,
    asked: Asked,
    /// What is asked may be something else by now.
    ask_again: bool,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            generation: Generation(Generation::FIRST),
            wired: BTreeMap::new(),
            by_link: BTreeMap::new(),
            hosts: BTreeMap::new(),
            waiting: None,
            asked: Asked::default(),
            ask_again: false,
        }
    }
}

/// What it is told.
impl Policies {
    /// The first reading of the kernel: connections that a former run let pass are judged again, since what it knew is
    /// not known.
    pub fn begin(&mut self, table: Option<&Table>) {
        if let Some(former) = table.and_then(Generation::of) {
            self.generation = former.next();
        }
    }

    /// Something came, changed or went.
    pub fn resource(&mut self, (model, pods, nodes): (&Model, &Pods, &Nodes), me: &Me, key: &Key) {
        let name = key.name.as_str();
        let of_many = [Kind::Pod, Kind::RemotePod, Kind::FabricNode, Kind::ServiceEndpoints];
        self.ask_again |= !of_many.contains(&key.kind);
        match key.kind {
            Kind::Namespace => {
                let labels = model.namespaces().get(name).map(|namespace| &namespace.metadata.labels);
                self.engine.put_namespace(name, labels.unwrap_or(&Labels::new()));
            }
            Kind::ServiceAccount => {
                let Some((namespace, account)) = name.split_once('/') else { return };
                let found = model.service_accounts().get(name);
                self.engine.put_service_account(namespace, account, found.map(|it| &it.metadata.labels));
            }
            Kind::Pod | Kind::RemotePod => self.pod(model, pods, name),
            Kind::FabricNode => self.node(nodes, name),
            Kind::ServiceEndpoints => {
                let endpoints = model.service_endpoints().get(name).map(|it| it.endpoints.clone());
                self.engine.put_service(name, endpoints.unwrap_or_default());
            }
            _ => self.policy(model, me, key),
        }
    }

    /// A pod of this node or another one came, changed or went, or was wired or unwired.
    pub fn pod(&mut self, model: &Model, pods: &Pods, name: &str) {
        let key = EndpointKey::new(Class::Pod, name);
        let own = model.pods().get(name);
        let here: Vec<&crate::pods::Pod> =
            pods.of(name, own.map_or(&[], |pod| pod.addresses.as_slice())).collect();
        self.by_link.retain(|_, pod| pod != name);
        if here.is_empty() {
            self.wired.remove(name);
            match model.remote_pods().get(name) {
                Some(pod) => self.engine.put_endpoint(&key, &endpoint(pod)),
                None => self.engine.remove_endpoint(&key),
            }
            return;
        }
        let wired = self.wired.entry(name.to_owned()).or_default();
        wired.links = here.iter().map(|pod| pod.link).collect();
        self.by_link.extend(wired.links.iter().map(|link| (*link, name.to_owned())));
        if let Some(own) = own {
            wired.seen = Some(own.clone());
        }
        let said = wired.seen.as_ref().map(|pod| endpoint(pod)).unwrap_or_default();
        let addresses = here.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
        // A pod with an interface of its own is not on the host's network, whatever its object says.
        let absent = wired.seen.as_ref().is_some_and(|pod| pod.finished);
        self.engine.put_endpoint(&key, &Endpoint { addresses, local: true, absent, ..said });
    }

    fn node(&mut self, nodes: &Nodes, name: &str) {
        let key = EndpointKey::new(Class::Node, name);
        let Some(node) = nodes.get(name) else { return self.engine.remove_endpoint(&key) };
        let addresses = crate::nodes::addresses(node).chain(crate::nodes::tunnels(node)).collect();
        let labels = node.metadata.labels.clone();
        self.engine.put_endpoint(&key, &Endpoint { labels, addresses, ..Endpoint::default() });
    }

    fn policy(&mut self, model: &Model, me: &Me, key: &Key) {
        let Some(resource) = model.policies().get(key) else { return self.gone(key) };
        let known = Some(Others::of(model, me));
        let set = |class, nets: &[ipnetwork::IpNetwork]| {
            let labels = resource.metadata.labels.clone();
            let nets = nets.iter().copied().map(normal::net).collect();
            (EndpointKey::new(class, key.name.as_str()), Endpoint { labels, nets, ..Endpoint::default() })
        };
        let (key, endpoint) = match &resource.body {
            PolicyBody::Kubernetes(policy) => return self.put_policy(kubernetes::policy(policy), known),
            PolicyBody::Cluster(policy) => return self.put_policy(cluster::policy(policy), known),
            PolicyBody::Network(policy) => return self.put_policy(own::policy(policy), known),
            PolicyBody::Global(policy) => return self.put_policy(own::global(policy), known),
            PolicyBody::Tier(tier) => return self.engine.put_tier(&key.name, Some(Tier::of(tier))),
            PolicyBody::NetworkSet(found) => set(Class::NetworkSet, &found.nets),
            PolicyBody::GlobalNetworkSet(found) => set(Class::GlobalNetworkSet, &found.nets),
            PolicyBody::HostEndpoint(host) => {
                match host.node == me.name {
                    true => drop(self.hosts.insert(key.name.clone(), host.clone())),
                    false => drop(self.hosts.remove(&key.name)),
                }
                let endpoint = Endpoint {
                    labels: resource.metadata.labels.clone(),
                    addresses: host.expected_ips.clone(),
                    ports: host.ports.clone(),
                    local: host.node == me.name,
                    ..Endpoint::default()
                };
                (EndpointKey::new(Class::HostEndpoint, key.name.as_str()), endpoint)
            }
        };
        self.engine.put_endpoint(&key, &endpoint);
    }

    /// It is in force once that is known which it asks about; with `None`, at once.
    fn put_policy(&mut self, policy: Policy, known: Option<Others<'_>>) {
        match &mut self.waiting {
            Some(waiting) if known.is_some_and(|known| !known.covers(&self.engine.asked_by(&policy))) => {
                waiting.insert(policy.id.clone(), policy);
            }
            waiting => {
                waiting.as_mut().map(|waiting| waiting.remove(&policy.id));
                self.engine.put_policy(policy);
            }
        }
    }

    fn remove_policy(&mut self, id: &PolicyId) {
        self.waiting.as_mut().map(|waiting| waiting.remove(id));
        self.engine.remove_policy(id);
    }

    /// From now on policies wait until what they ask about is known.
    pub fn begin_to_wait(&mut self) {
        self.waiting.get_or_insert_default();
    }

    /// Is there any that waits?
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// More is known now: those that waited for it wait no more; with `None`, none does.
    pub fn wake(&mut self, known: Option<Others<'_>>) {
        let Some(waiting) = self.waiting.take() else { return };
        self.waiting = Some(BTreeMap::new());
        self.ask_again |= !waiting.is_empty();
        for policy in waiting.into_values() {
            self.put_policy(policy, known);
        }
    }

    fn gone(&mut self, key: &Key) {
        let name = key.name.clone();
        let endpoint = |class| EndpointKey::new(class, name.clone());
        let policy = |kind| PolicyId::new(kind, name.as_str());
        match key.kind {
            Kind::KubernetesNetworkPolicy => self.remove_policy(&policy(PolicyKind::Kubernetes)),
            Kind::ClusterNetworkPolicy => self.remove_policy(&policy(PolicyKind::Cluster)),
            Kind::NetworkPolicy => self.remove_policy(&policy(PolicyKind::Network)),
            Kind::GlobalNetworkPolicy => self.remove_policy(&policy(PolicyKind::Global)),
            Kind::Tier => self.engine.put_tier(&name, None),
            Kind::NetworkSet => self.engine.remove_endpoint(&endpoint(Class::NetworkSet)),
            Kind::GlobalNetworkSet => self.engine.remove_endpoint(&endpoint(Class::GlobalNetworkSet)),
            Kind::HostEndpoint => {
                self.hosts.remove(&key.name);
                self.engine.remove_endpoint(&endpoint(Class::HostEndpoint));
            }
            _ => {}
        }
    }

    /// From now on connections get another number, and those that have the one before are judged again.
    pub fn begin_generation(&mut self) {
        self.generation = self.generation.next();
    }

    /// What may be different since this was last asked. If something is denied that was not, a generation is to begin.
    pub fn take_changes(&mut self) -> Changes {
        let changes = self.engine.take_changes();
        self.ask_again |= changes.dirty.iter().any(|dirty| matches!(dirty, Dirty::Set(_)));
        changes
    }

    /// What is to be asked from now on, if it is something else than before.
    pub fn take_asked(&mut self) -> Option<Asked> {
        if !std::mem::take(&mut self.ask_again) {
            return None;
        }
        let mut asked = self.engine.asked();
        for policy in self.waiting.iter().flat_map(BTreeMap::values) {
            let more = self.engine.asked_by(policy);
            asked.pods = widened(asked.pods, more.pods);
            asked.services.extend(more.services);
        }
        (asked != self.asked).then(|| self.asked.clone_from(&asked)).map(|()| asked)
    }
}

/// What it tells.
impl Policies {
    /// The number that connections get now.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where packets of the pod behind this interface are judged.
    #[must_use]
    pub fn verdict(&self, link: LinkName, direction: Direction) -> Verdict {
        let key = self.by_link.get(&link).map(|name| EndpointKey::new(Class::Pod, name.as_str()));
        let program = key.and_then(|key| self.engine.program(&key, Stage::Own, direction));
        let unsaid = match direction {
            Direction::Ingress => PASSED,
            Direction::Egress => SENT,
        };
        Verdict::Goto(program.cloned().unwrap_or_else(|| unsaid.into()))
    }

    /// Is anything said of the pod behind this interface?
    #[must_use]
    pub fn speaks_of(&self, link: LinkName) -> bool {
        let key = self.by_link.get(&link).map(|name| EndpointKey::new(Class::Pod, name.as_str()));
        key.is_some_and(|key| {
            Direction::ALL.iter().any(|way| self.engine.program(&key, Stage::Own, *way).is_some())
        })
    }

    /// The interfaces of a pod of this node.
    #[must_use]
    pub fn links(&self, pod: &str) -> &[LinkName] {
        self.wired.get(pod).map_or(&[], |wired| &wired.links)
    }

    /// The HostEndpoints of this node, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &HostEndpoint)> {
        self.hosts.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// Are there any?
    #[must_use]
    pub fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// What is asked of other nodes' pods, of service accounts and of services.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }
}

/// A pod as its object has it.
fn endpoint(pod: &Pod) -> Endpoint {
    Endpoint {
        labels: pod.metadata.labels.clone(),
        service_account: Some(pod.service_account.clone()).filter(|name| !name.is_empty()),
        addresses: pod.addresses.clone(),
        ports: pod.ports.clone(),
        absent: pod.host_network || pod.finished,
        ..Endpoint::default()
    }
}
