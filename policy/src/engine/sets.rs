//! Sets of addresses, networks and ports, shared by what they are of.
//!
//! What a rule asks of a side is a [`Content`]; two rules that ask the same share its sets. Exact addresses stand in
//! hash sets, networks in interval sets, ports of endpoints in hash sets of address, protocol and port: so one content
//! has up to four sets in the kernel, one for each [`Part`]. Each member is counted, because for a moment two
//! endpoints may have one address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use corduroy_api::service::ServiceEndpoint;
use corduroy_kernel::nft::{self, DataType, Name, Value};
use corduroy_kernel::{Family, IpNet};

use super::Dirty;
use super::index::Index;
use super::names;
use super::world::{Stored, World};
use crate::normal::{Action, Members, SetSpec, Who};

/// The number of a content that is in use.
pub(super) type SetId = u32;

/// Which changes of a set may deny what was allowed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Risk {
    adding: bool,
    removing: bool,
}

impl Risk {
    /// Of a set that a rule asks for members, or (`negated`) for what is none. A rule that passes takes the packet to
    /// other rules, which may say anything; one that logs decides nothing.
    pub(super) fn of(action: Action, negated: bool) -> Self {
        match action {
            Action::Allow => Self { adding: negated, removing: !negated },
            Action::Deny => Self { adding: !negated, removing: negated },
            Action::Pass => Self { adding: true, removing: true },
            Action::Log => Self::default(),
        }
    }
}

/// What a set is of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// The addresses and networks of such endpoints.
    Who(Who),
    /// What such endpoints call by this name, of this protocol.
    Ports { who: Who, name: String, protocol: u8 },
    /// The addresses of a service's endpoints.
    Service(String),
    /// Their addresses and ports.
    ServicePorts(String),
    /// Networks that a rule names.
    Nets(Family, Vec<IpNet>),
    /// Ports that a rule names.
    PortRanges(Vec<(u16, u16)>),
}

/// Says all of it: what has the same text is the same.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Who(who) => write!(f, "addresses of {who}"),
            Self::Ports { who, name, protocol } => {
                write!(f, "ports {name:?} of protocol {protocol} of {who}")
            }
            Self::Service(name) => write!(f, "addresses of {}", SetSpec::Service(name.clone())),
            Self::ServicePorts(name) => write!(f, "ports of {}", SetSpec::Service(name.clone())),
            Self::Nets(_, nets) => write!(f, "networks {nets:?}"),
            Self::PortRanges(ranges) => write!(f, "ports {ranges:?}"),
        }
    }
}

/// A set in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Exact addresses.
    Addresses(Family),
    /// Networks.
    Nets(Family),
    /// Address, protocol, port.
    Ports(Family),
    /// Ranges of ports.
    Ranges,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Addresses(Family::V4) => "4",
            Self::Addresses(Family::V6) => "6",
            Self::Nets(Family::V4) => "net4",
            Self::Nets(Family::V6) => "net6",
            Self::Ports(Family::V4) => "port4",
            Self::Ports(Family::V6) => "port6",
            Self::Ranges => "ports",
        }
    }

    fn empty(self) -> nft::Set {
        match self {
            Self::Addresses(family) => nft::Set::hash([DataType::addr(family)]),
            Self::Nets(family) => nft::Set::interval(DataType::addr(family)),
            Self::Ports(family) => nft::Set::hash([DataType::addr(family), DataType::Proto, DataType::Port]),
            Self::Ranges => nft::Set::interval(DataType::Port),
        }
    }
}

impl Content {
    /// The sets that stand for it in the kernel.
    pub(super) fn parts(&self) -> Vec<Part> {
        let both = |part: fn(Family) -> Part| Family::ALL.map(part);
        match self {
            Self::Who(who) if may_have_nets(who) => [both(Part::Addresses), both(Part::Nets)].concat(),
            Self::Who(_) | Self::Service(_) => both(Part::Addresses).into(),
            Self::Ports { .. } | Self::ServicePorts(_) => both(Part::Ports).into(),
            Self::Nets(family, _) => vec![Part::Nets(*family)],
            Self::PortRanges(_) => vec![Part::Ranges],
        }
    }

    /// Whom its members come from, if from endpoints.
    pub(super) fn who(&self) -> Option<&Who> {
        match self {
            Self::Who(who) | Self::Ports { who, .. } => Some(who),
            _ => None,
        }
    }

    /// Which service they come from.
    fn service(&self) -> Option<&str> {
        match self {
            Self::Service(name) | Self::ServicePorts(name) => Some(name),
            _ => None,
        }
    }

    /// What an endpoint that is meant brings.
    fn brought(&self, endpoint: &Stored, world: &World) -> Vec<Member> {
        match self {
            Self::Who(_) => {
                let nets = endpoint.nets.iter().map(|net| match net.is_host() {
                    true => Member::Addr(net.addr()),
                    false => Member::Net(*net),
                });
                endpoint.addresses.iter().map(|addr| Member::Addr(*addr)).chain(nets).collect()
            }
            Self::Ports { name, protocol, .. } => {
                let ports = endpoint.ports.iter();
                let ports =
                    ports.filter(|(called, of, _)| of == protocol && world.words.text(*called) == name);
                let at =
                    |port| endpoint.addresses.iter().map(move |addr| Member::Port(*addr, *protocol, port));
                ports.flat_map(|(_, _, port)| at(*port)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// May networks be among them, not only addresses?
pub(super) fn may_have_nets(who: &Who) -> bool {
    who.members == Members::Endpoints && who.accounts.is_none()
}

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Member {
    Net(IpNet),
    Addr(IpAddr),
    Port(IpAddr, u8, u16),
    Range(u16, u16),
}

impl Member {
    fn part(self) -> Part {
        match self {
            Self::Addr(addr) => Part::Addresses(Family::of(addr)),
            Self::Net(net) => Part::Nets(net.family()),
            Self::Port(addr, ..) => Part::Ports(Family::of(addr)),
            Self::Range(..) => Part::Ranges,
        }
    }

    fn key(self) -> nft::Key {
        match self {
            Self::Addr(addr) => addr.into(),
            Self::Net(net) => net.into(),
            Self::Port(addr, protocol, port) => {
                [Value::Addr(addr), Value::Proto(protocol), Value::Port(port)].into()
            }
            Self::Range(first, last) => Value::Ports(first, last).into(),
        }
    }

    fn of(key: &nft::Key) -> Option<Self> {
        Some(match key.values() {
            [Value::Addr(addr)] => Self::Addr(*addr),
            [Value::Net(net)] => Self::Net(*net),
            [Value::Addr(addr), Value::Proto(protocol), Value::Port(port)] => {
                Self::Port(*addr, *protocol, *port)
            }
            [Value::Ports(first, last)] => Self::Range(*first, *last),
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
struct State {
    content: Content,
    base: String,
    uses: u32,
    counts: BTreeMap<Member, u32>,
    /// Of all rules that asked for it since it came.
    risk: Risk,
    /// It came to be since the dirty were last taken: all of it will be read.
    fresh: bool,
}

impl State {
    /// In an interval set no two members may overlap: what is inside another is left out.
    fn stands(&self, member: Member) -> bool {
        let covered = |net: IpNet| {
            let mut shorter = (0..net.prefix_len()).filter_map(|len| IpNet::containing(net.addr(), len));
            shorter.any(|outer| self.counts.contains_key(&Member::Net(outer)))
        };
        self.counts.contains_key(&member) && !matches!(member, Member::Net(net) if covered(net))
    }

    fn name(&self, part: Part) -> Name {
        name(&self.base, part)
    }
}

/// The name of a set in the kernel.
pub(super) fn name(base: &str, part: Part) -> Name {
    format!("{base}-{}", part.suffix()).into()
}

/// All sets in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    by_text: BTreeMap<String, SetId>,
    states: BTreeMap<SetId, State>,
    by_name: BTreeMap<Name, (SetId, Part)>,
    index: Index<SetId>,
    services: BTreeMap<String, Vec<ServiceEndpoint>>,
    last: SetId,
    fresh: Vec<SetId>,
    may_deny: bool,
}

impl Sets {
    /// What the names of a content's sets begin with; from now on it is used once more.
    pub(super) fn acquire(
        &mut self,
        (content, risk): (&Content, Risk),
        world: &mut World,
        dirty: &mut BTreeSet<Dirty>,
    ) -> (SetId, String) {
        let text = content.to_string();
        if let Some(id) = self.by_text.get(&text)
            && let Some(state) = self.states.get_mut(id)
        {
            state.uses += 1;
            state.risk.adding |= risk.adding;
            state.risk.removing |= risk.removing;
            return (*id, state.base.clone());
        }
        // Numbers in use are skipped: they may have come round.
        let mut id = self.last.wrapping_add(1);
        while self.states.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.last = id;
        let first = content.parts().first().copied().unwrap_or(Part::Ranges);
        let base = names::of("set", &text, |base| self.by_name.contains_key(&name(base, first)));
        let state = State {
            content: content.clone(),
            base: base.clone(),
            uses: 1,
            counts: BTreeMap::new(),
            risk,
            fresh: true,
        };
        for part in content.parts() {
            let name = state.name(part);
            self.by_name.insert(name.clone(), (id, part));
            dirty.insert(Dirty::Set(name));
        }
        self.by_text.insert(text, id);
        self.states.insert(id, state);
        self.fresh.push(id);
        self.fill(id, world, dirty);
        (id, base)
    }

    fn fill(&mut self, id: SetId, world: &mut World, dirty: &mut BTreeSet<Dirty>) {
        let Some(content) = self.states.get(&id).map(|state| state.content.clone()) else { return };
        if let Some(who) = content.who() {
            self.index.insert(&id, who, &mut world.words);
            for number in world.find(who, &|endpoint| world.is(endpoint, who)) {
                let Some(endpoint) = world.at(number) else { continue };
                let brought = content.brought(endpoint, world);
                self.count(id, &brought, true, dirty);
                if let Some(endpoint) = world.at_mut(number)
                    && let Err(at) = endpoint.sets.binary_search(&id)
                {
                    endpoint.sets.insert(at, id);
                }
            }
        }
        let members = self.given(&content);
        self.count(id, &members, true, dirty);
    }

    /// Members that come from no endpoint.
    fn given(&self, content: &Content) -> Vec<Member> {
        match content {
            Content::Nets(_, nets) => nets.iter().copied().map(Member::Net).collect(),
            Content::PortRanges(ranges) => ranges.iter().map(|(a, b)| Member::Range(*a, *b)).collect(),
            Content::Service(name) => {
                self.services.get(name).into_iter().flatten().map(|one| Member::Addr(one.address)).collect()
            }
            Content::ServicePorts(name) => {
                let endpoints = self.services.get(name).into_iter().flatten();
                let ports = |one: &ServiceEndpoint| -> Vec<Member> {
                    one.ports.iter().map(|(p, n)| Member::Port(one.address, *p, *n)).collect()
                };
                endpoints.flat_map(ports).collect()
            }
            Content::Who(_) | Content::Ports { .. } => Vec::new(),
        }
    }

    /// Used once less; at the last time it goes.
    pub(super) fn release(&mut self, id: SetId, world: &mut World, dirty: &mut BTreeSet<Dirty>) {
        let Some(state) = self.states.get_mut(&id) else { return };
        state.uses = state.uses.saturating_sub(1);
        if state.uses > 0 {
            return;
        }
        let Some(state) = self.states.remove(&id) else { return };
        self.by_text.remove(&state.content.to_string());
        for part in state.content.parts() {
            let name = state.name(part);
            self.by_name.remove(&name);
            dirty.insert(Dirty::Set(name));
        }
        if let Some(who) = state.content.who() {
            self.index.remove(&id, who, &mut world.words);
            for number in world.find(who, &|endpoint| endpoint.sets.binary_search(&id).is_ok()) {
                if let Some(endpoint) = world.at_mut(number)
                    && let Ok(at) = endpoint.sets.binary_search(&id)
                {
                    endpoint.sets.remove(at);
                }
            }
        }
    }

    /// One endpoint more or less of each of these members.
    fn count(&mut self, id: SetId, members: &[Member], more: bool, dirty: &mut BTreeSet<Dirty>) {
        let Some(state) = self.states.get_mut(&id) else { return };
        for member in members {
            let count = state.counts.entry(*member).or_default();
            let before = *count > 0;
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
            let after = *count > 0;
            if !after {
                state.counts.remove(member);
            }
            if before == after || state.fresh {
                continue;
            }
            self.may_deny |= if after { state.risk.adding } else { state.risk.removing };
            let name = state.name(member.part());
            let hidden = match member {
                Member::Net(net) => inside(*net, &state.counts),
                _ => Vec::new(),
            };
            for changed in hidden.into_iter().map(Member::Net).chain([*member]) {
                dirty.insert(Dirty::Element(name.clone(), changed.key()));
            }
        }
    }

    /// Puts an endpoint into the sets it belongs to, and takes the one that was there before out of them.
    pub(super) fn update(
        &mut self,
        old: Option<&Stored>,
        new: Option<&Stored>,
        world: &World,
        dirty: &mut BTreeSet<Dirty>,
    ) -> Vec<SetId> {
        let belongs = new.map(|new| self.sets_of(new, world)).unwrap_or_default();
        // First what comes and then what goes, so that an address that stays is not taken out in between.
        for (endpoint, ids, more) in
            [(new, belongs.as_slice(), true), (old, old.map_or(&[][..], |old| old.sets.as_slice()), false)]
        {
            let Some(endpoint) = endpoint else { continue };
            for id in ids {
                let Some(content) = self.states.get(id).map(|state| &state.content) else { continue };
                let brought = content.brought(endpoint, world);
                self.count(*id, &brought, more, dirty);
            }
        }
        belongs
    }

    fn sets_of(&self, endpoint: &Stored, world: &World) -> Vec<SetId> {
        let around = world.labels_of(endpoint.namespace);
        let candidates = self.index.candidates(endpoint.namespace, &endpoint.labels, around);
        let is = |id: &SetId| {
            let who = self.states.get(id).and_then(|state| state.content.who());
            who.is_some_and(|who| world.is(endpoint, who))
        };
        candidates.into_iter().filter(is).collect()
    }

    /// Replaces the endpoints of a service; none: it is gone.
    pub(super) fn put_service(
        &mut self,
        name: &str,
        endpoints: Vec<ServiceEndpoint>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let of = |state: &State| state.content.service() == Some(name);
        let ids: Vec<SetId> = self.states.iter().filter(|(_, state)| of(state)).map(|(id, _)| *id).collect();
        let given = |sets: &Self| -> Vec<(SetId, Vec<Member>)> {
            let content = |id| sets.states.get(id).map(|state| &state.content);
            ids.iter().filter_map(|id| Some((*id, sets.given(content(id)?)))).collect()
        };
        let before = given(self);
        match endpoints.is_empty() {
            true => drop(self.services.remove(name)),
            false => drop(self.services.insert(name.to_owned(), endpoints)),
        }
        for (members, more) in [(given(self), true), (before, false)] {
            for (id, members) in members {
                self.count(id, &members, more, dirty);
            }
        }
    }

    /// A set with its elements.
    pub(super) fn set(&self, name: &Name) -> Option<nft::Set> {
        let (id, part) = self.by_name.get(name)?;
        let state = self.states.get(id)?;
        let mut set = part.empty();
        let members = state.counts.keys().filter(|member| member.part() == *part && state.stands(**member));
        set.elements.extend(members.map(|member| (member.key(), None)));
        Some(set)
    }

    /// A set without its elements.
    pub(super) fn empty(&self, name: &Name) -> Option<nft::Set> {
        self.by_name.get(name).map(|(_, part)| part.empty())
    }

    /// What a set is of, if it has no elements.
    pub(super) fn empty_of(&self, name: &Name) -> Option<String> {
        let (id, part) = self.by_name.get(name)?;
        let state = self.states.get(id)?;
        let empty = !state.counts.keys().any(|member| member.part() == *part);
        empty.then(|| state.content.to_string())
    }

    /// How many members all sets have.
    pub(super) fn elements(&self) -> usize {
        self.states.values().map(|state| state.counts.len()).sum()
    }

    /// Is it in the set?
    pub(super) fn has(&self, name: &Name, key: &nft::Key) -> bool {
        let state = self.by_name.get(name).and_then(|(id, part)| Some((self.states.get(id)?, part)));
        let member = Member::of(key);
        state
            .zip(member)
            .is_some_and(|((state, part), member)| member.part() == *part && state.stands(member))
    }

    /// The endpoints that sets are of.
    pub(super) fn whos(&self) -> impl Iterator<Item = &Who> {
        self.states.values().filter_map(|state| state.content.who())
    }

    /// The services that sets are of.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.states.values().filter_map(|state| state.content.service())
    }

    /// The names of all sets.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.by_name.keys()
    }

    /// Could a change to an element since this was last asked deny what was allowed before?
    pub(super) fn take_may_deny(&mut self) -> bool {
        std::mem::take(&mut self.may_deny)
    }

    /// From now on changes to single elements are told of all sets.
    pub(super) fn settle(&mut self) {
        for id in std::mem::take(&mut self.fresh) {
            if let Some(state) = self.states.get_mut(&id) {
                state.fresh = false;
            }
        }
    }
}

/// The networks of a set that are inside this one, and not it.
fn inside(net: IpNet, counts: &BTreeMap<Member, u32>) -> Vec<IpNet> {
    let from = std::ops::Bound::Excluded(Member::Net(net));
    let to = std::ops::Bound::Included(Member::Net(IpNet::host(net.last())));
    let found = counts.range((from, to)).map(|(member, _)| *member);
    found.filter_map(|member| if let Member::Net(inner) = member { Some(inner) } else { None }).collect()
}
