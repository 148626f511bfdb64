//! A handful of policies, each as a filter and as what it means.

use super::*;
use crate::policy::{
    Action, Community, Filter, Match, Operation, Operator, Otherwise, PeerType, PrefixMatch, Rule, Source,
};

/// A policy of the random worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Everything passes.
    Open,
    /// Nothing does.
    Closed,
    /// What RFC 8212 wants when there is none.
    Unset,
    /// IPv4 gets a community, a MED and a longer path.
    Tagging,
    /// What lies in 10.0.0.0/18 with 24 bits gets another LOCAL_PREF; on sessions inside our AS another MED too.
    Lowering,
    /// What covers an address of ours is refused, and so is what carries NO_EXPORT.
    Guarding,
    /// Our own originations and nothing else.
    OwnOnly,
    /// What begins with AS 65010, or has LOCAL_PREF 200, is refused.
    Choosing,
}

/// What a policy does to a route it lets pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) community: Option<u32>,
    pub(super) prepend: Vec<Asn>,
    pub(super) local_pref: Option<u32>,
    pub(super) med: Option<u32>,
}

const TAG: u32 = OUR_AS << 16 | 7;

fn rule(matches: Match, action: Action) -> Rule {
    Rule { name: "rule".into(), matches, action }
}

fn prefix(net: &str, operator: Operator, length: Option<u8>) -> Option<PrefixMatch> {
    Some(PrefixMatch { net: net.parse().unwrap(), operator, length: length.map(|l| l..=l) })
}

impl Policy {
    pub(super) const ALL: [Self; 8] = [
        Self::Open,
        Self::Closed,
        Self::Unset,
        Self::Tagging,
        Self::Lowering,
        Self::Guarding,
        Self::OwnOnly,
        Self::Choosing,
    ];

    pub(super) fn filter(self) -> Filter {
        let any = Match::default;
        let (rules, otherwise) = match self {
            Self::Open => (vec![], Otherwise::Accept),
            Self::Closed => (vec![], Otherwise::Reject),
            Self::Unset => (vec![], Otherwise::ByPeerType),
            Self::Tagging => {
                let operations = vec![
                    Operation::AddCommunity(Community::Standard(TAG)),
                    Operation::SetMed(5),
                    Operation::PrependAsPath(vec![Asn(65099), Asn(65098)]),
                ];
                let v4 = Match { family: Some(Family::Ipv4Unicast), ..any() };
                (vec![rule(v4, Action::Accept(operations))], Otherwise::Accept)
            }
            Self::Lowering => {
                let inside = || prefix("10.0.0.0/18", Operator::In, Some(24));
                let internal = Match { prefix: inside(), peer_type: Some(PeerType::Internal), ..any() };
                let both = vec![Operation::SetLocalPref(30), Operation::SetMed(3)];
                let one = vec![Operation::SetLocalPref(30)];
                let rules = vec![
                    rule(internal, Action::Accept(both)),
                    rule(Match { prefix: inside(), ..any() }, Action::Accept(one)),
                ];
                (rules, Otherwise::Accept)
            }
            Self::Guarding => {
                let covers = prefix("10.0.5.1/32", Operator::Covers, None);
                let refused = vec![Community::Standard(Community::NO_EXPORT)];
                let rules = vec![
                    rule(Match { prefix: covers, ..any() }, Action::Protect),
                    rule(Match { communities: refused, ..any() }, Action::Reject),
                ];
                (rules, Otherwise::Accept)
            }
            Self::OwnOnly => {
                let own = Match { source: Some(Source::Local), ..any() };
                (vec![rule(own, Action::Accept(vec![]))], Otherwise::Reject)
            }
            Self::Choosing => {
                let path = Match { as_path_prefix: vec![Asn(65010)], ..any() };
                let pref = Match { local_pref: Some(200), ..any() };
                (vec![rule(path, Action::Reject), rule(pref, Action::Reject)], Otherwise::Accept)
            }
        };
        Filter { rules, otherwise }
    }

    /// What it says to a route, `None` when that does not pass.
    pub(super) fn says(
        self,
        net: Net,
        route: Attributes<'_>,
        own: bool,
        external_session: bool,
    ) -> Option<Said> {
        let v4 = net.family() == Family::Ipv4Unicast;
        let nth = match net {
            Net::V4(n) => n.addr().octets()[2],
            Net::V6(_) => 255,
        };
        let none = Said::default();
        match self {
            Self::Open => Some(none),
            Self::Closed => None,
            Self::Unset => (!external_session).then_some(none),
            Self::Tagging if v4 => Some(Said {
                community: Some(TAG),
                med: Some(5),
                prepend: vec![Asn(65099), Asn(65098)],
                ..none
            }),
            Self::Lowering if v4 && nth < 64 => {
                Some(Said { local_pref: Some(30), med: (!external_session).then_some(3), ..none })
            }
            Self::Tagging | Self::Lowering => Some(none),
            Self::Guarding => {
                let refused = v4 && nth == 5 || route.communities().any(|c| c == Community::NO_EXPORT);
                (!refused).then_some(none)
            }
            Self::OwnOnly => own.then_some(none),
            Self::Choosing => {
                let first = route.as_path().iter().next();
                let refused = first == Some(Asn(65010)) || route.local_pref() == Some(200);
                (!refused).then_some(none)
            }
        }
    }
}

impl Said {
    /// The changes to a block, `community` as the whole list that COMMUNITIES is to be.
    pub(super) fn communities(&self, route: Attributes<'_>, more: Option<u32>) -> Option<Vec<u32>> {
        let mut list: Vec<u32> = route.communities().collect();
        let before = list.len();
        for c in self.community.into_iter().chain(more) {
            if !list.contains(&c) {
                list.push(c);
            }
        }
        (list.len() > before).then_some(list)
    }
}
