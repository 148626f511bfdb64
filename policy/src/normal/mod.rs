//! The normal form: every kind of policy, said in one way.
//!
//! One translator a kind ([`kubernetes`], [`cluster`], [`own`]); what stands behind knows the normal form only. A rule
//! is a conjunction: alternatives of the resource (any of the peers, any of the ports) have become rules of the same
//! [`Rule::origin`], one behind the other.

pub mod cluster;
pub mod kubernetes;
pub mod own;
mod show;

use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::Selector;
use corduroy_api::policy::own::Reach;
use corduroy_api::policy::rule::Icmp;
use corduroy_api::policy::tier::{self, DefaultAction};
use corduroy_api::policy::{Number, Ports};
use corduroy_kernel::{Family, IpNet};
use ipnetwork::IpNetwork;

/// Which way packets go, seen from the endpoint that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// The kinds of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// NetworkPolicy of Kubernetes.
    Kubernetes,
    /// ClusterNetworkPolicy.
    Cluster,
    /// Our NetworkPolicy.
    Network,
    /// Our GlobalNetworkPolicy.
    Global,
}

/// What tells one policy from every other. Ordered by name first: that is how policies of one order are asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Its name; `namespace/name` of one in a namespace.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: PolicyKind,
}

impl PolicyId {
    /// The policy `name` of a kind.
    #[must_use]
    pub fn new(kind: PolicyKind, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), kind }
    }
}

/// A place in an order: what has no number comes behind all that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// By number, lower first.
    At(Number),
    /// Last.
    Last,
}

impl From<Option<Number>> for Order {
    fn from(number: Option<Number>) -> Self {
        number.map_or(Self::Last, Self::At)
    }
}

impl From<u32> for Order {
    fn from(number: u32) -> Self {
        Self::At(number.into())
    }
}

/// A tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its place.
    pub order: Order,
    /// What becomes of what its policies were asked about and did not decide.
    pub default_action: DefaultAction,
}

impl Tier {
    /// A tier that is there without a resource, or that a policy names and nobody made: it comes last and denies, so
    /// that what its policies do not allow is not let pass because of a name.
    #[must_use]
    pub fn given(name: &str) -> Self {
        let (order, default_action) = match name {
            tier::Tier::KUBE_ADMIN => (1_000.into(), DefaultAction::Pass),
            corduroy_api::policy::own::DEFAULT_TIER => (1_000_000.into(), DefaultAction::Deny),
            tier::Tier::KUBE_BASELINE => (10_000_000.into(), DefaultAction::Pass),
            _ => (Order::Last, DefaultAction::Deny),
        };
        Self { order, default_action }
    }

    /// The tier of a resource.
    #[must_use]
    pub fn of(resource: &tier::Tier) -> Self {
        let order = match resource.metadata.name.as_str() {
            corduroy_api::policy::own::DEFAULT_TIER => 1_000_000.into(),
            _ => resource.order.into(),
        };
        Self { order, default_action: resource.default_action }
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which it is.
    pub id: PolicyId,
    /// The name of its tier.
    pub tier: String,
    /// Its place in the tier.
    pub order: Order,
    /// To which packets of hosts it applies; nothing to pods.
    pub reach: Reach,
    /// Whom it is about.
    pub subject: Who,
    /// What they get; `None`: it does not say.
    pub ingress: Option<Vec<Rule>>,
    /// What they send; `None`: it does not say.
    pub egress: Option<Vec<Rule>>,
    /// What is wrong with it, if anything, and not in force because of that. It fails closed: a NetworkPolicy of
    /// Kubernetes allows nothing then, of a ClusterNetworkPolicy the rules that are wrong, and one of ours denies all.
    pub broken: Vec<String>,
}

impl Policy {
    /// Its rules in a direction; `None`: it does not say.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Denies in all directions it has, because of this.
    fn closed(mut self, why: Vec<String>) -> Self {
        for rules in [&mut self.ingress, &mut self.egress].into_iter().flatten() {
            *rules = vec![Rule::of(Action::Deny, 0)];
        }
        self.broken = why;
        self
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It may pass, as far as this direction is concerned.
    Allow,
    /// It is dropped.
    Deny,
    /// The next tier says.
    Pass,
    /// It is noted, and the next rule is asked.
    Log,
}

/// One rule: what all its parts match.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What becomes of what it matches.
    pub action: Action,
    /// Only this version of IP.
    pub version: Option<Family>,
    /// Only this protocol (IANA), or (`true`) every other.
    pub protocol: Option<(bool, u8)>,
    /// Only such ICMP messages; `protocol` says of which version.
    pub icmp: Option<Icmp>,
    /// All but such ICMP messages.
    pub not_icmp: Option<Icmp>,
    /// The sender.
    pub source: Side,
    /// The receiver.
    pub destination: Side,
    /// Its place in the resource's list, from 0.
    pub origin: usize,
}

impl Rule {
    /// A rule that matches everything.
    #[must_use]
    pub fn of(action: Action, origin: usize) -> Self {
        Self {
            action,
            version: None,
            protocol: None,
            icmp: None,
            not_icmp: None,
            source: Side::default(),
            destination: Side::default(),
            origin,
        }
    }

    /// The end that is not the subject.
    fn peer(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.source,
            Direction::Egress => &mut self.destination,
        }
    }
}

/// One end of a packet's way: what all its parts match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// An address in one of these; `None`: any.
    pub nets: Option<Vec<IpNet>>,
    /// An address in none of these.
    pub not_nets: Vec<IpNet>,
    /// An address in each of these sets, or (`true`) not in it.
    pub sets: Vec<(bool, SetSpec)>,
    /// One of these ports; `None`: any.
    pub ports: Option<Vec<Ports>>,
    /// None of these ports.
    pub not_ports: Vec<Ports>,
}

/// Addresses by who has them.
#[derive(Clone, Debug, PartialEq)]
pub enum SetSpec {
    /// Of such endpoints.
    Who(Box<Who>),
    /// Of the endpoints of this service (`namespace/name`), with the ports that it has there.
    Service(String),
}

/// Endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    /// Of such classes.
    pub members: Members,
    /// In such namespaces.
    pub place: Place,
    /// With such labels.
    pub endpoints: Selector,
    /// Pods with such service accounts; `None`: any, and what is no pod.
    pub accounts: Option<Accounts>,
}

impl Who {
    /// All of them, wherever they are.
    #[must_use]
    pub fn all(members: Members) -> Self {
        Self { members, place: Place::Anywhere, endpoints: Selector::all(), accounts: None }
    }
}

/// Classes of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Members {
    /// Pods: what the selectors of Kubernetes mean.
    Pods,
    /// Pods, network sets and host endpoints: what our selectors mean.
    Endpoints,
    /// Nodes.
    Nodes,
}

/// Where endpoints may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In any namespace, or in none.
    Anywhere,
    /// In none.
    Global,
    /// In this namespace.
    Namespace(String),
    /// In namespaces with such labels.
    Namespaces(Selector),
}

/// Service accounts: of one of the names, if there are any, and with such labels, if that is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Accounts {
    /// Their names; empty: any.
    pub names: Vec<String>,
    /// Their labels; `None`: any.
    pub selector: Option<Selector>,
}

/// As the kernel's type; bits behind the length are cleared.
#[must_use]
pub fn net(net: IpNetwork) -> IpNet {
    let addr: IpAddr = net.ip();
    IpNet::containing(addr, net.prefix()).unwrap_or_else(|| IpNet::host(addr))
}

#[cfg(test)]
mod tests;
