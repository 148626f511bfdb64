//! The engine: who is there and what the policies say, in; what the kernel is to hold, out.
//!
//! What it hands out depends on what it was told and not on the order in which that came; what a change costs depends
//! on what the change touches. Only policies that select an endpoint of this node have chains, and only what their
//! rules ask has sets; so a policy that matters elsewhere costs one entry in an index here.
//!
//! ```text
//! put_endpoint ─► index of selectors ─► sets it belongs to ─► elements
//!              └► of this node: those who are alike
//! those alike ─► index of subjects ─► policies that select them ─► tiers ─► their programs
//! put_policy ──► those alike whom it selects ─► lines ─► sets they ask
//! ```
//! Each change leaves a note of what may differ now ([`Dirty`]); who has noted it reads that, by name, as it is then.

mod asked;
mod chains;
mod compile;
mod groups;
mod index;
mod join;
mod listing;
mod names;
mod origin;
mod sets;
mod words;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corduroy_api::policy::own::Reach;
use corduroy_api::policy::tier::DefaultAction;
use corduroy_api::service::ServiceEndpoint;
use corduroy_api::{Asked, Labels};
use corduroy_kernel::Packet;
use corduroy_kernel::nft::{self, Counted, Expr, Name, Rule as Kernel};

use chains::{At, Chains, TierPart, Use};
use compile::Line;
use groups::{Group, GroupId, Groups, Likeness};
use index::Index;
use sets::{SetId, Sets};
use world::{Stored, World};

pub use asked::widened;
pub use chains::{DENIED, LET_IN, PASSED, SENT};
pub use listing::Listed;
pub use origin::{Count, Origin, RuleRef};
pub use world::{Class, Endpoint, EndpointKey};

use crate::normal::{Direction, Order, Policy, PolicyId, Tier, Who};
use crate::trace::{self, Judgement, Trace};
use crate::warnings::{self, Warning};

/// Where on a packet's way a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What an endpoint itself gets and sends.
    Own,
    /// What a host forwards.
    Forward,
    /// All that a host gets and sends, before connections are tracked.
    Untracked,
    /// All that comes to a host, before destinations are translated.
    PreDnat,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Own, Self::Forward, Self::Untracked, Self::PreDnat];

    /// Those that there are for endpoints of a class.
    fn of(class: Class) -> &'static [Self] {
        if class == Class::HostEndpoint { &Self::ALL } else { &[Self::Own] }
    }

    /// Does a policy of such a reach speak here?
    fn hears(self, reach: Reach, direction: Direction) -> bool {
        match self {
            Self::Own => matches!(reach, Reach::Host | Reach::Forward),
            Self::Forward => reach == Reach::Forward,
            Self::Untracked => reach == Reach::Untracked,
            Self::PreDnat => reach == Reach::PreDnat && direction == Direction::Ingress,
        }
    }

    /// Does what no policy decides here come to those that do?
    fn is_early(self) -> bool {
        matches!(self, Self::Untracked | Self::PreDnat)
    }
}

/// What may be different now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dirty {
    /// This set came or went, with all its elements.
    Set(Name),
    /// This element of a set came or went.
    Element(Name, nft::Key),
    /// This chain came, went or has other rules.
    Chain(Name),
    /// The programs of this endpoint.
    Program(EndpointKey),
}

/// What came of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What may be different.
    pub dirty: Vec<Dirty>,
    /// Something that was allowed may be denied now, so that connections have to be judged again. Where only such
    /// members came or went as can only allow more, it is false; and where a pod came to this node, which can have no
    /// connections, or went.
    pub may_deny: bool,
}

/// A policy as it is kept.
#[derive(Clone, Debug)]
struct Kept {
    policy: Policy,
    /// Those of this node whom it selects.
    locals: BTreeSet<GroupId>,
    /// What its rules are in the kernel; there as long as it selects anybody here.
    active: Option<Active>,
}

#[derive(Clone, Debug, Default)]
struct Active {
    ingress: Option<Vec<Line>>,
    egress: Option<Vec<Line>>,
    sets: Vec<SetId>,
}

impl Active {
    fn lines(&self, direction: Direction) -> Option<&[Line]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

type Programs = BTreeMap<(Stage, Direction), Name>;

/// The engine of one node.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    world: World,
    groups: Groups,
    /// Those of this node that have this address.
    locals_at: BTreeMap<IpAddr, BTreeSet<EndpointKey>>,
    policies: BTreeMap<PolicyId, Kept>,
    tiers: BTreeMap<String, Tier>,
    subjects: Index<PolicyId>,
    sets: Sets,
    chains: Chains,
    dirty: BTreeSet<Dirty>,
    /// Programs may deny what they allowed.
    may_deny: bool,
}

/// What it is told.
impl Engine {
    /// An endpoint came or changed.
    pub fn put_endpoint(&mut self, key: &EndpointKey, endpoint: &Endpoint) {
        let old = self.world.put(key, endpoint);
        self.relocate(key, old.as_ref());
        self.settle(key, old.as_ref());
        if let Some(old) = old {
            self.world.drop_words(&old);
        }
    }

    /// An endpoint went.
    pub fn remove_endpoint(&mut self, key: &EndpointKey) {
        let Some(old) = self.world.remove(key) else { return };
        self.relocate(key, Some(&old));
        self.settle(key, Some(&old));
        self.world.drop_words(&old);
    }

    /// A namespace came, or its labels changed; none: it went.
    pub fn put_namespace(&mut self, name: &str, labels: &Labels) {
        let old = self.world.put_namespace(name, labels);
        self.settle_members(name);
        self.world.drop_labels(&old);
    }

    /// A service account came, or its labels changed; `None`: it went.
    pub fn put_service_account(&mut self, namespace: &str, name: &str, labels: Option<&Labels>) {
        self.world.put_account(namespace, name, labels);
        self.settle_members(namespace);
    }

    /// The endpoints of a service (`namespace/name`) are these now; none: it went.
    pub fn put_service(&mut self, name: &str, endpoints: Vec<ServiceEndpoint>) {
        self.sets.put_service(name, endpoints, &mut self.dirty);
    }

    /// A tier came or changed; `None`: it went, and what names it nonetheless comes last.
    pub fn put_tier(&mut self, name: &str, tier: Option<Tier>) {
        match tier {
            Some(tier) => drop(self.tiers.insert(name.to_owned(), tier)),
            None => drop(self.tiers.remove(name)),
        }
        let locals = self.groups.each().map(|(id, _)| id).collect();
        let before = self.unprogram(&locals);
        self.reprogram(&before);
    }

    /// A policy came or changed.
    pub fn put_policy(&mut self, policy: Policy) {
        let (id, subject) = (policy.id.clone(), policy.subject.clone());
        let locals = self.selected_by(&subject).collect();
        self.forget_subject(&id);
        self.subjects.insert(&id, &subject, &mut self.world.words);
        let mut kept = Kept { policy, locals, active: None };
        if !kept.locals.is_empty() {
            kept.active = Some(self.activate(&kept.policy));
        }
        self.replace(&id, Some(kept));
    }

    /// A policy went.
    pub fn remove_policy(&mut self, id: &PolicyId) {
        self.forget_subject(id);
        self.replace(id, None);
    }
}

/// What it tells.
impl Engine {
    /// What may be different since this was last asked, each thing once, in an order that depends on nothing else.
    pub fn take_changes(&mut self) -> Changes {
        self.sets.settle();
        let dirty: Vec<Dirty> = std::mem::take(&mut self.dirty).into_iter().collect();
        let may_deny = self.sets.take_may_deny() | std::mem::take(&mut self.may_deny);
        Changes { dirty, may_deny }
    }

    /// The rules of a chain, if there is one of this name.
    #[must_use]
    pub fn chain(&self, name: &Name) -> Option<Vec<Kernel>> {
        let rules = self.written(name)?;
        Some(rules.into_iter().map(|(rule, _)| rule).collect())
    }

    /// The rules of a chain, each with what it stands for.
    pub(crate) fn written(&self, name: &Name) -> Option<Vec<(Kernel, Origin)>> {
        self.chains.chain(name, &|id, direction| self.lines(id, direction))
    }

    /// What the rules of a chain stand for.
    #[must_use]
    pub fn origins(&self, name: &Name) -> Option<Vec<Origin>> {
        Some(self.written(name)?.into_iter().map(|(_, origin)| origin).collect())
    }

    /// What the rules of policies have counted, by rule, from what those of the kernel have. What is not counted by a
    /// rule of the engine's, as it has it now, is left out.
    #[must_use]
    pub fn counts(&self, counted: &[Counted]) -> BTreeMap<Origin, Count> {
        origin::counts(self, counted)
    }

    /// What becomes of a packet that an endpoint of this node sends, or one gets, or both: which tiers and policies are
    /// asked and what they say. What is not for policies to say is not in it: the traffic of a node with its own pods
    /// passes whatever they say, and answers belong to connections.
    #[must_use]
    pub fn trace(&self, packet: &Packet) -> Trace {
        trace::trace(self, packet)
    }

    /// The same of one endpoint of this node in one stage, whatever its addresses are.
    #[must_use]
    pub fn judgement(
        &self,
        packet: &Packet,
        (key, stage): (&EndpointKey, Stage),
        direction: Direction,
    ) -> Judgement {
        trace::judge_at(self, packet, (key, stage), direction)
    }

    /// What its doNotTrack or preDNAT policies decide of a packet as it came; `None`: nothing.
    #[must_use]
    pub fn judgement_early(
        &self,
        packet: &Packet,
        key: &EndpointKey,
        direction: Direction,
    ) -> Option<Judgement> {
        trace::early(self, packet, key, direction)
    }

    /// The endpoints of this node that have an address.
    pub(crate) fn locals_at(&self, address: IpAddr) -> impl Iterator<Item = &EndpointKey> {
        self.locals_at.get(&address).into_iter().flatten()
    }

    /// What the policies in force here ask of pods elsewhere, of service accounts and of services.
    #[must_use]
    pub fn asked(&self) -> Asked {
        asked::asked(self)
    }

    /// The policies that select an endpoint of this node, in the order in which they are asked.
    #[must_use]
    pub fn in_force(&self) -> Vec<Listed<'_>> {
        listing::in_force(self)
    }

    /// How many endpoints are known, those of this node among them.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.world.count()
    }

    /// How many elements all sets have.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.sets.elements()
    }

    /// The rules that match nothing, or nothing that comes to them, of policies that select an endpoint of this node.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let active = self.policies.values().filter(|kept| kept.active.is_some());
        let both = active.flat_map(|kept| Direction::ALL.map(|direction| (&kept.policy, direction)));
        both.flat_map(|(policy, direction)| {
            let lines = self.lines(&policy.id, direction).unwrap_or_default();
            warnings::warnings(policy, direction, &self.matching_nothing(lines))
        })
        .collect()
    }

    /// Of the rules these lines are of, those of which no line can match, since it asks for members of a set that has
    /// none, and what those sets are of.
    fn matching_nothing(&self, lines: &[Line]) -> BTreeMap<usize, BTreeSet<String>> {
        let mut nothing: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        let mut something = BTreeSet::new();
        for line in lines {
            let empty = line.asks.exprs().iter().find_map(|ask| match ask {
                Expr::InSet(_, set) => self.sets.empty_of(set),
                _ => None,
            });
            match empty {
                Some(what) => drop(nothing.entry(line.origin).or_default().insert(what)),
                None => drop(something.insert(line.origin)),
            }
        }
        nothing.retain(|rule, _| !something.contains(rule));
        nothing
    }

    /// A set with all its elements, if there is one of this name.
    #[must_use]
    pub fn set(&self, name: &Name) -> Option<nft::Set> {
        self.sets.set(name)
    }

    /// The set without its elements.
    #[must_use]
    pub fn empty_set(&self, name: &Name) -> Option<nft::Set> {
        self.sets.empty(name)
    }

    /// Is this an element of that set?
    #[must_use]
    pub fn has_element(&self, set: &Name, key: &nft::Key) -> bool {
        self.sets.has(set, key)
    }

    /// The names of all chains there are.
    pub fn chains(&self) -> impl Iterator<Item = &Name> {
        self.chains.names()
    }

    /// The names of all sets there are.
    pub fn sets(&self) -> impl Iterator<Item = &Name> {
        self.sets.names()
    }

    /// The chain that judges what an endpoint of this node gets or sends; `None`: nothing is said of it.
    #[must_use]
    pub fn program(&self, key: &EndpointKey, stage: Stage, direction: Direction) -> Option<&Name> {
        self.groups.get(self.groups.of(key)?)?.programs.get(&(stage, direction))
    }

    /// The policies that are not in force as they were written, and why.
    pub fn broken(&self) -> impl Iterator<Item = (&PolicyId, &[String])> {
        let kept = self.policies.iter().map(|(id, kept)| (id, kept.policy.broken.as_slice()));
        kept.filter(|(_, why)| !why.is_empty())
    }

    /// The policies that name a tier which nobody has made.
    pub fn homeless(&self) -> impl Iterator<Item = (&PolicyId, &str)> {
        let kept = self.policies.iter().map(|(id, kept)| (id, kept.policy.tier.as_str()));
        kept.filter(|(_, tier)| !self.tiers.contains_key(*tier) && Tier::given(tier).order == Order::Last)
    }

    /// Which pods elsewhere and services have to be known before this policy can be in force here.
    #[must_use]
    pub fn asked_by(&self, policy: &Policy) -> Asked {
        asked::asked_by(self, policy)
    }

    /// How many different words are kept: keys and values of labels, names.
    #[must_use]
    pub fn words(&self) -> usize {
        self.world.words.count()
    }
}

#[cfg(test)]
mod tests;
