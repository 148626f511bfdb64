//! Import and export policy as data.
//!
//! A [`Filter`] is an ordered list of [`Rule`]s; the first rule all of whose conditions hold decides, and
//! [`Otherwise`] says what happens to a route that none decided. Filters hold no code: whoever configures a speaker
//! builds them (the operator's `BGPFilter` rules, then the built-in ones of the fabric), compares them with `==` and
//! shares them behind an `Arc`. The RIB compiles a filter once ([`Compiled`]) for a family and a kind of peer, and a
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
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

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
