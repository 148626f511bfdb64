//! Routes a page at a time, and why one is where it is.

use std::net::{IpAddr, Ipv4Addr};

use corduroy_api::IpNetwork;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::status::{
    Advertised, ExplainedPath, Explanation, Outcome, Route, RouteAttributes, RoutePage, RouteQuery, Select,
    Table, Unusable, Withheld,
};
use corduroy_bgp::{Family, Net};
use corduroy_ipc::status as ipc;

use super::address_of;
use crate::{Model, blocks};

/// Prefixes looked at in one go, so that a question never holds the speaker up.
const SCAN: u32 = 4096;
/// The most rows of one answer.
const MOST: usize = 1000;

/// Turns one question into as many of the speaker's pages as it takes.
///
/// ```text
/// let mut pager = Pager::new(&query)?;
/// while let Some(query) = pager.query() { pager.take(&ask(query)) }
/// pager.finish()
/// ```
#[derive(Debug)]
pub struct Pager {
    table: Table,
    select: Select,
    best: bool,
    limit: usize,
    families: &'static [Family],
    from: u32,
    out: Vec<ipc::Route>,
}

/// A question about routes that can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `from` or `to` is no address.
    #[error("{0:?} is no peer: wanted its address, as in 192.0.2.1 or 2001:db8::1")]
    NoPeer(String),
    /// Both were given.
    #[error("routes from a peer and routes to a peer are two tables: ask for one of them")]
    BothWays,
    /// The prefix has host bits.
    #[error("{0} is no prefix: bits behind the length are set")]
    NoPrefix(IpNetwork),
    /// `after` did not come from a former answer.
    #[error("{0:?} is no place to go on from")]
    NoPlace(String),
}

impl Pager {
    /// For one answer.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn new(query: &ipc::RouteQuery) -> Result<Self, QueryError> {
        let peer = |text: &String| {
            text.parse::<IpAddr>().map(PeerKey::new).map_err(|_| QueryError::NoPeer(text.clone()))
        };
        let table = match (&query.from, &query.to) {
            (None, None) => Table::LocRib,
            (Some(from), None) => Table::AdjRibIn(peer(from)?),
            (None, Some(to)) => Table::AdjRibOut(peer(to)?),
            (Some(_), Some(_)) => return Err(QueryError::BothWays),
        };
        let within = query
            .within
            .map(|cidr| Net::new(cidr.ip(), cidr.prefix()).map_err(|_| QueryError::NoPrefix(cidr)));
        let within = within.transpose()?;
        let families: &'static [Family] = match within.map(Net::family) {
            None => &Family::ALL,
            Some(Family::Ipv4Unicast) => &[Family::Ipv4Unicast],
            Some(Family::Ipv6Unicast) => &[Family::Ipv6Unicast],
        };
        let (skipped, from) = query.after.as_ref().map_or(Ok((0, 0)), |after| place(after))?;
        let limit = usize::try_from(query.limit).unwrap_or(MOST);
        Ok(Self {
            table,
            select: within.map_or(Select::All, Select::Within),
            best: query.best,
            limit: if limit == 0 { MOST } else { limit.min(MOST) },
            families: families.get(skipped..).unwrap_or_default(),
            from,
            out: Vec::new(),
        })
    }

    /// What to ask the speaker next; `None` when the answer is complete.
    #[must_use]
    pub fn query(&self) -> Option<RouteQuery> {
        let family = *self.families.first().filter(|_| self.out.len() < self.limit)?;
        Some(RouteQuery { family, table: self.table, select: self.select, from: self.from, scan: SCAN })
    }

    /// The speaker's answer.
    pub fn take(&mut self, page: &RoutePage) {
        let wanted = page.routes.iter().filter(|route| route.best || !self.best);
        self.out.extend(wanted.map(route));
        match page.next {
            Some(next) => self.from = next,
            None => {
                self.families = self.families.get(1..).unwrap_or_default();
                self.from = 0;
            }
        }
    }

    /// The answer. A page may be a little longer than was asked for: the speaker's pages are not cut.
    #[must_use]
    pub fn finish(self) -> ipc::RoutePage {
        let left = self.families.len();
        let next = (left > 0).then(|| format!("{left}.{}", self.from));
        ipc::RoutePage { routes: self.out, next }
    }
}

/// How many families were done, and where to go on in the next. The text counts the families that are left.
fn place(text: &str) -> Result<(usize, u32), QueryError> {
    let wrong = || QueryError::NoPlace(text.to_owned());
    let (left, from) = text.split_once('.').ok_or_else(wrong)?;
    let left: usize = left.parse().map_err(|_| wrong())?;
    let skipped = Family::ALL.len().checked_sub(left).ok_or_else(wrong)?;
    Ok((skipped, from.parse().map_err(|_| wrong())?))
}

/// The prefix a question about `net` is about: itself if the table has it, else the longest around it. `covering` is
/// the table's answer to [`Select::Covering`].
#[must_use]
pub fn longest(net: Net, covering: &[Route]) -> Net {
    covering.iter().map(|route| route.net).max_by_key(|found| found.prefix_len()).unwrap_or(net)
}

fn route(route: &Route) -> ipc::Route {
    ipc::Route {
        net: cidr(route.net),
        from: from(route.peer),
        best: route.best || route.multipath,
        stale: route.stale,
        next_hop: route.attributes.next_hop,
        attributes: attributes(&route.attributes),
        installed: None,
    }
}

fn from(peer: Option<PeerKey>) -> String {
    peer.map_or_else(|| "local".to_owned(), |peer| peer.to_string())
}

fn cidr(net: Net) -> IpNetwork {
    // A prefix's length is right for its family, so the second arm is never taken.
    IpNetwork::new(net.addr(), net.prefix_len()).unwrap_or_else(|_| IpNetwork::from(net.addr()))
}

fn attributes(attributes: &RouteAttributes) -> ipc::Attributes {
    ipc::Attributes {
        origin: match attributes.origin {
            0 => "IGP",
            1 => "EGP",
            _ => "incomplete",
        }
        .to_owned(),
        as_path: attributes.as_path.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: attributes.communities.iter().map(ToString::to_string).collect(),
        originator_id: attributes.originator_id.map(address_of),
        cluster_list: attributes.cluster_list.iter().map(|id| Ipv4Addr::from(*id)).collect(),
    }
}

/// Why a prefix is where it is, for people. What only the kernel's side knows is added by who has one.
#[must_use]
pub fn explanation(explained: &Explanation) -> ipc::Explanation {
    ipc::Explanation {
        net: cidr(explained.net),
        owner: None,
        services: Vec::new(),
        candidates: explained.paths.iter().map(candidate).collect(),
        kernel: None,
        advertised: explained.advertised.iter().map(advertisement).collect(),
    }
}

/// Whose block an address is in, for [`ipc::Explanation::owner`].
#[must_use]
pub fn owner(model: &Model, address: IpAddr) -> Option<ipc::Owner> {
    let (block, node) = blocks::block_of(model, address)?;
    let pool = blocks::pool_of(model, address).map(|pool| pool.metadata.name.clone());
    Some(ipc::Owner { block, pool: pool.unwrap_or_default(), node: node.to_owned() })
}

fn candidate(path: &ExplainedPath) -> ipc::Candidate {
    let why = match &path.outcome {
        Outcome::Best { by: None } => "best: the only path".to_owned(),
        Outcome::Best { by: Some(step) } => format!("best by {step}"),
        Outcome::Multipath => "used beside the best".to_owned(),
        Outcome::Lost { at } => format!("lost at {at}"),
        Outcome::Unusable(why) => format!("not usable: {}", unusable(why)),
    };
    ipc::Candidate { route: route(&path.route), why }
}

fn unusable(why: &Unusable) -> String {
    match why {
        Unusable::Policy(Some(rule)) => format!("refused by the import rule {rule}"),
        Unusable::Policy(None) => "no import rule accepts it".to_owned(),
        Unusable::OwnAs => "our own AS stands in its AS_PATH".to_owned(),
        Unusable::OwnOriginator => "its ORIGINATOR_ID is ours".to_owned(),
        Unusable::OwnCluster => "our cluster id stands in its CLUSTER_LIST".to_owned(),
        Unusable::OwnNextHop => "its next hop is our own address".to_owned(),
    }
}

fn advertisement(advertised: &Advertised) -> ipc::Advertisement {
    let (sent, why) = match &advertised.how {
        Ok(attributes) => {
            let next_hop = attributes.next_hop.map(|hop| hop.to_string()).unwrap_or_default();
            (true, format!("next hop {next_hop}, AS path [{}]", attributes.as_path))
        }
        Err(why) => (false, withheld(why)),
    };
    ipc::Advertisement { to: advertised.peer.to_string(), sent, why }
}

fn withheld(why: &Withheld) -> String {
    match why {
        Withheld::NoPath => "there is no usable path".to_owned(),
        Withheld::FromThisPeer => "the best path is its own".to_owned(),
        Withheld::NotReflected => "learned inside our AS and not passed on inside it".to_owned(),
        Withheld::WellKnownCommunity(community) => format!("its community {community} forbids it"),
        Withheld::Policy(Some(rule)) => format!("refused by the export rule {rule}"),
        Withheld::Policy(None) => "no export rule accepts it".to_owned(),
        Withheld::NoNextHop => "we have no address of its family to give as next hop".to_owned(),
        Withheld::TooLong => "its attributes do not fit a message".to_owned(),
        Withheld::Deferred => "route selection waits for the peers after our restart".to_owned(),
        Withheld::Pending => "it is about to be sent".to_owned(),
    }
}
