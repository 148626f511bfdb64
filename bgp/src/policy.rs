//! Import and export policy as data.
//!
//! A [`Filter`] is an ordered list of [`Rule`]s; the first rule all of whose conditions hold decides, and
//! [`Otherwise`] says what happens to a route that none decided. Filters hold no code: whoever configures a speaker
//! builds them (the operator's `BGPFilter` rules, then the built-in ones of the fabric), compares them with `==` and
//! shares them behind an `Arc`. The RIB compiles a filter once (`Compiled`) for a family and a kind of peer, and a
//! compiled filter declares what it reads, so that export policy runs once per update group and attribute set
//! whenever it looks at nothing else.
//!
//! | Where | What |
//! |---|---|
//! | RFC 8212 | [`Otherwise::ByPeerType`], the default: eBGP without policy takes and sends nothing |
//! | RFC 4271 §9.1.1 | import sets the degree of preference: [`Operation::SetLocalPref`] |
//! | RFC 1997, 8092 | [`Match::communities`], [`Operation::AddCommunity`] |
//! | built-in import rules | [`Filter::protecting`]: no default route, nothing that covers our own addresses |

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;
use core::ops::RangeInclusive;
use core::str::FromStr;

use foldhash::fast::FixedState;

use crate::attrs::Attributes;
use crate::attrs::encode::{Edit, Edits};
use crate::{Asn, Family, Net};

/// An ordered list of rules; the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Tried in this order.
    pub rules: Vec<Rule>,
    /// What happens to a route that no rule decided.
    pub otherwise: Otherwise,
}

/// What happens to a route that no rule of a [`Filter`] decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Otherwise {
    /// It passes, unchanged.
    Accept,
    /// It does not pass.
    Reject,
    /// It passes inside our AS and does not pass to or from another (RFC 8212).
    #[default]
    ByPeerType,
}

/// One rule of a [`Filter`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What an operator calls it; `explain` names the rule that decided.
    pub name: Box<str>,
    /// All of these must hold.
    pub matches: Match,
    /// What then happens.
    pub action: Action,
}

/// The conditions of a rule: all that are set must hold, one that is not set always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// Only routes of this family.
    pub family: Option<Family>,
    /// Only these prefixes. A prefix condition never holds for the other family.
    pub prefix: Option<PrefixMatch>,
    /// Only routes that came from there.
    pub source: Option<Source>,
    /// Only on sessions of this kind (the session the filter works on, not the one the route came from).
    pub peer_type: Option<PeerType>,
    /// All of these communities are on the route.
    pub communities: Vec<Community>,
    /// The AS_PATH begins with these numbers (its first AS_SEQUENCE, the neighbour's AS first).
    pub as_path_prefix: Vec<Asn>,
    /// LOCAL_PREF is this; a route without the attribute counts as 100.
    pub local_pref: Option<u32>,
}

/// A condition on the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrefixMatch {
    /// What the route's prefix is compared with.
    pub net: Net,
    /// How.
    pub operator: Operator,
    /// And its length lies in here.
    pub length: Option<RangeInclusive<u8>>,
}

/// How a route's prefix is compared with that of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The very same prefix.
    Equal,
    /// Any other.
    NotEqual,
    /// The same, or one inside it.
    In,
    /// Neither the same nor inside it.
    NotIn,
    /// The same, or one that contains it: what a peer must not announce over our own addresses.
    Covers,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// We originate it.
    Local,
    /// A peer announced it.
    RemotePeers,
}

/// The two kinds of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerType {
    /// Another AS.
    External,
    /// Our own AS.
    Internal,
}

/// A standard (RFC 1997) or large (RFC 8092) community. Text forms `64512:100` and `64512:1:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two halves of 16 bits.
    Standard(u32),
    /// Three numbers of 32 bits.
    Large([u32; 3]),
}

impl Community {
    /// Not beyond our AS (RFC 1997).
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// To nobody (RFC 1997).
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
    /// Not beyond our member AS; without confederations the same as NO_EXPORT (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
    /// About to go away: prefer anything else (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Standard(c) => write!(f, "{}:{}", c >> 16, c & 0xffff),
            Self::Large([global, one, two]) => write!(f, "{global}:{one}:{two}"),
        }
    }
}

/// A text is not a community: wanted `aa:nn` (each 0 to 65535) or `aa:nn:mm` (each 0 to 4294967295).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACommunity;

impl fmt::Display for NotACommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a community: wanted aa:nn, each 0 to 65535, or aa:nn:mm, each 0 to 4294967295")
    }
}

impl core::error::Error for NotACommunity {}

impl FromStr for Community {
    type Err = NotACommunity;
    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        let mut parts = text.split(':');
        let (a, b, c) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(NotACommunity);
        }
        let half = |t: Option<&str>| t.and_then(|t| t.parse::<u16>().ok()).ok_or(NotACommunity);
        let whole = |t: Option<&str>| t.and_then(|t| t.parse::<u32>().ok()).ok_or(NotACommunity);
        match c {
            None => Ok(Self::Standard(u32::from(half(a)?) << 16 | u32::from(half(b)?))),
            Some(_) => Ok(Self::Large([whole(a)?, whole(b)?, whole(c)?])),
        }
    }
}

/// What a rule does with a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It passes, after these changes in this order.
    Accept(Vec<Operation>),
    /// It does not pass.
    Reject,
    /// It does not pass, and an event says so: the rule guards our own addresses.
    Protect,
}

/// A change to a route that passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// One community more; nothing when the route has it.
    AddCommunity(Community),
    /// These numbers in front of AS_PATH, in this order. On export they stand behind our own AS.
    PrependAsPath(Vec<Asn>),
    /// LOCAL_PREF (RFC 4271 §5.1.5). Without effect on export to another AS.
    SetLocalPref(u32),
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    SetMed(u32),
}

impl Filter {
    /// Everything passes, unchanged.
    #[must_use]
    pub fn accept_all() -> Self {
        Self { rules: Vec::new(), otherwise: Otherwise::Accept }
    }

    /// Nothing passes.
    #[must_use]
    pub fn reject_all() -> Self {
        Self { rules: Vec::new(), otherwise: Otherwise::Reject }
    }

    /// The built-in import rules: default routes are refused, and so is whatever covers one of `protected` (the
    /// addresses of nodes, peers, the API server, services, our own blocks). Put an operator's rules in front of
    /// them to let one in.
    #[must_use]
    pub fn protecting(protected: &[Net]) -> Vec<Rule> {
        let rule = |name: Box<str>, net, operator| Rule {
            name,
            matches: Match { prefix: Some(PrefixMatch { net, operator, length: None }), ..Match::default() },
            action: Action::Protect,
        };
        let defaults = ["0.0.0.0/0", "::/0"]
            .into_iter()
            .filter_map(|t| t.parse().ok())
            .map(|net: Net| rule("built-in: no default route".into(), net, Operator::Equal));
        let covers = protected
            .iter()
            .map(|net| rule(alloc::format!("built-in: protects {net}").into(), *net, Operator::Covers));
        defaults.chain(covers).collect()
    }
}

/// A filter made ready for one family and one kind of session: only the rules that can hold there, and what they read.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Equal filters have equal ids while any of them is in use.
    pub(crate) id: u32,
    filter: Arc<Filter>,
    family: Family,
    peer_type: PeerType,
    rules: Box<[u16]>,
}

/// What a filter says to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The rule with this number in the filter.
    Rule(u16),
    /// No rule took it.
    Otherwise,
}

/// The rules that are left when everything about a route but its prefix is known.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    rules: Vec<u16>,
    /// The verdict, when the prefix can't change it.
    pub(crate) fixed: Option<Verdict>,
}

impl Compiled {
    fn new(filter: &Arc<Filter>, family: Family, peer_type: PeerType, id: u32) -> Self {
        let applies = |m: &Match| {
            let of_family = m.family.is_none_or(|f| f == family);
            let of_prefix = m.prefix.as_ref().is_none_or(|p| p.net.family() == family);
            of_family && of_prefix && m.peer_type.is_none_or(|t| t == peer_type)
        };
        let rules = filter.rules.iter().zip(0..).filter(|(r, _)| applies(&r.matches)).map(|(_, i)| i);
        Self { id, rules: rules.collect(), filter: filter.clone(), family, peer_type }
    }

    fn rule(&self, number: u16) -> Option<&Rule> {
        self.filter.rules.get(usize::from(number))
    }

    /// Leaves in `scope` the rules that hold whatever the prefix is.
    pub(crate) fn scope(&self, route: Attributes<'_>, source: Source, scope: &mut Scope) {
        scope.rules.clear();
        let holds = |m: &Match| {
            m.source.is_none_or(|s| s == source)
                && m.local_pref.is_none_or(|p| p == route.local_pref().unwrap_or(100))
                && m.communities.iter().all(|c| has_community(route, *c))
                && begins_with(route, &m.as_path_prefix)
        };
        for number in &self.rules {
            let Some(rule) = self.rule(*number).filter(|r| holds(&r.matches)) else { continue };
            scope.rules.push(*number);
            if rule.matches.prefix.is_none() {
                break;
            }
        }
        let first = scope.rules.first().map(|n| (*n, self.rule(*n)));
        scope.fixed = match first {
            None => Some(Verdict::Otherwise),
            Some((n, Some(rule))) if rule.matches.prefix.is_none() => Some(Verdict::Rule(n)),
            Some(_) => None,
        };
    }

    /// The verdict on one prefix.
    pub(crate) fn verdict(&self, scope: &Scope, net: impl Into<Net>) -> Verdict {
        if let Some(fixed) = scope.fixed {
            return fixed;
        }
        let net = net.into();
        let holds = |n: &&u16| {
            let condition = self.rule(**n).and_then(|r| r.matches.prefix.as_ref());
            condition.is_none_or(|p| p.holds(net))
        };
        scope.rules.iter().find(holds).map_or(Verdict::Otherwise, |n| Verdict::Rule(*n))
    }

    /// What happens to a route with this verdict: `Ok` with the changes to make, or `Err`, which is true when a
    /// protecting rule refused it.
    pub(crate) fn operations(&self, verdict: Verdict) -> Result<&[Operation], bool> {
        let rule = match verdict {
            Verdict::Rule(n) => self.rule(n),
            Verdict::Otherwise => None,
        };
        match (rule.map(|r| &r.action), self.filter.otherwise, self.peer_type) {
            (Some(Action::Accept(operations)), ..) => Ok(operations),
            (Some(Action::Reject), ..) => Err(false),
            (Some(Action::Protect), ..) => Err(true),
            (None, Otherwise::Accept, _) | (None, Otherwise::ByPeerType, PeerType::Internal) => Ok(&[]),
            (None, Otherwise::Reject, _) | (None, Otherwise::ByPeerType, PeerType::External) => Err(false),
        }
    }

    /// What an operator calls the rule that gave this verdict.
    pub(crate) fn name(&self, verdict: Verdict) -> Option<Box<str>> {
        match verdict {
            Verdict::Rule(n) => self.rule(n).map(|r| r.name.clone()),
            Verdict::Otherwise => None,
        }
    }
}

impl PrefixMatch {
    /// Does it hold for this prefix? Never for one of the other family.
    #[must_use]
    pub fn holds(&self, net: Net) -> bool {
        let compared = match self.operator {
            Operator::Equal => self.net == net,
            Operator::NotEqual => self.net != net,
            Operator::In => self.net.contains(net),
            Operator::NotIn => !self.net.contains(net),
            Operator::Covers => net.contains(self.net),
        };
        compared
            && self.net.family() == net.family()
            && self.length.as_ref().is_none_or(|l| l.contains(&net.prefix_len()))
    }
}

fn has_community(route: Attributes<'_>, community: Community) -> bool {
    match community {
        Community::Standard(c) => route.communities().any(|other| other == c),
        Community::Large(c) => route.large_communities().any(|other| other == c),
    }
}

fn begins_with(route: Attributes<'_>, prefix: &[Asn]) -> bool {
    if prefix.is_empty() {
        return true;
    }
    let first = route.as_path().segments().next().filter(|s| !s.is_set());
    first.is_some_and(|s| {
        s.numbers().map(Some).chain(core::iter::repeat(None)).zip(prefix).all(|(a, b)| a == Some(*b))
    })
}

/// Operations worked out against the attributes they change.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) prepend: Vec<Asn>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) communities: Option<Vec<u32>>,
    pub(crate) large_communities: Option<Vec<[u32; 3]>>,
}

impl Changes {
    pub(crate) fn new(operations: &[Operation], route: Attributes<'_>) -> Self {
        let mut changes = Self::default();
        for operation in operations {
            match operation {
                Operation::AddCommunity(c) => changes.add_community(*c, route),
                Operation::PrependAsPath(asns) => {
                    changes.prepend.splice(0..0, asns.iter().copied());
                }
                Operation::SetLocalPref(n) => changes.local_pref = Some(*n),
                Operation::SetMed(n) => changes.med = Some(*n),
            }
        }
        changes
    }

    /// One community more; nothing when the route has it.
    pub(crate) fn add_community(&mut self, community: Community, route: Attributes<'_>) {
        match community {
            Community::Standard(c) => {
                let list = self.communities.get_or_insert_with(|| route.communities().collect());
                if !list.contains(&c) {
                    list.push(c);
                }
            }
            Community::Large(c) => {
                let list = self.large_communities.get_or_insert_with(|| route.large_communities().collect());
                if !list.contains(&c) {
                    list.push(c);
                }
            }
        }
    }

    /// Is there nothing to change?
    pub(crate) fn is_empty(&self) -> bool {
        self.prepend.is_empty()
            && self.local_pref.is_none()
            && self.med.is_none()
            && self.communities.is_none()
            && self.large_communities.is_none()
    }

    /// As edits of a canonical block.
    pub(crate) fn edits(&self) -> Edits<'_> {
        let number = |n: Option<u32>| n.map_or(Edit::Keep, Edit::Set);
        Edits {
            prepend: &self.prepend,
            med: number(self.med),
            local_pref: number(self.local_pref),
            communities: self.communities.as_deref(),
            large_communities: self.large_communities.as_deref(),
            ..Edits::default()
        }
    }
}

/// The compiled filters in use; equal ones are one.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    compiled: BTreeMap<u64, Vec<Arc<Compiled>>>,
    next: u32,
}

impl Filters {
    /// `filter` made ready for this family and kind of session.
    pub(crate) fn compile(
        &mut self,
        filter: &Arc<Filter>,
        family: Family,
        peer_type: PeerType,
    ) -> Arc<Compiled> {
        let hash = FixedState::default().hash_one((filter, family, peer_type));
        let same = |c: &&Arc<Compiled>| {
            c.family == family
                && c.peer_type == peer_type
                && (Arc::ptr_eq(&c.filter, filter) || c.filter == *filter)
        };
        if let Some(found) = self.compiled.get(&hash).and_then(|list| list.iter().find(same)) {
            return found.clone();
        }
        self.compiled.retain(|_, list| {
            list.retain(|c| Arc::strong_count(c) > 1);
            !list.is_empty()
        });
        let compiled = Arc::new(Compiled::new(filter, family, peer_type, self.next));
        self.next += 1;
        self.compiled.entry(hash).or_default().push(compiled.clone());
        compiled
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn communities_are_read_and_written_in_both_forms() {
        assert_eq!("64512:100".parse(), Ok(Community::Standard(0xfc00_0064)));
        assert_eq!("4200000000:1:2".parse(), Ok(Community::Large([4_200_000_000, 1, 2])));
        assert_eq!("70000:1".parse::<Community>(), Err(NotACommunity));
        assert_eq!("1:2:3:4".parse::<Community>(), Err(NotACommunity));
        assert_eq!(Community::Standard(Community::NO_EXPORT).to_string(), "65535:65281");
    }

    #[test]
    fn the_built_in_rules_name_what_they_protect() {
        let rules = Filter::protecting(&["10.0.0.0/24".parse().unwrap()]);
        assert_eq!(rules.len(), 3);
        assert_eq!(&*rules[2].name, "built-in: protects 10.0.0.0/24");
    }
}
