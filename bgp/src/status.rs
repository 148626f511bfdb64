//! What a speaker answers when it is asked: peers, routes a page at a time, and why a route is or is not somewhere.
//! Plain data all of it; only the status code of a binary puts it in words.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::config::PeerKey;
use crate::decide::Step;
use crate::policy::Community;
use crate::{Asn, Family, FamilySet, Net, RouterId, Time};

/// A peer: its session and what it has in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The session.
    pub session: SessionStatus,
    /// One for each family of an Established session, or of which stale routes are kept.
    pub families: Vec<FamilyStatus>,
}

/// The session's side of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Who.
    pub key: PeerKey,
    /// The state of RFC 4271 §8.2.2.
    pub state: SessionState,
    /// When it entered this state.
    pub since: Time,
    /// It came out of a dynamic range.
    pub dynamic: bool,
    /// The AS we show it.
    pub local_as: Asn,
    /// What its OPEN said; `None` while there is no session.
    pub remote: Option<RemoteStatus>,
    /// How often a session reached Established.
    pub established: u32,
    /// What ended the last session, or keeps the next from coming up.
    pub last_error: Option<Box<str>>,
    /// Messages and bytes of the current session.
    pub counters: MessageCounters,
}

/// What was agreed with a peer in OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteStatus {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Our end of the connection.
    pub local: IpAddr,
    /// Families both sides offered.
    pub families: FamilySet,
    /// The hold time agreed; zero = none.
    pub hold: Duration,
    /// Families for which it helps us restart (RFC 4724).
    pub graceful: FamilySet,
}

/// What went over a session since it was Established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounters {
    /// Messages received.
    pub received: u64,
    /// UPDATE messages received.
    pub updates_received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
}

/// The state of a session (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Nothing is tried: shut down, or waiting after an error.
    Idle,
    /// TCP is being made.
    Connect,
    /// Waiting to try again, or for the peer to come.
    Active,
    /// Our OPEN is out.
    OpenSent,
    /// Both OPENs are in order.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// What a peer has in the tables of one family. Every number is kept, none is counted when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    /// Of what.
    pub family: Family,
    /// Prefixes in its Adj-RIB-In.
    pub received: u32,
    /// Of them, those that passed import policy and the loop checks.
    pub accepted: u32,
    /// Of them, those kept from a former session and not yet confirmed.
    pub stale: u32,
    /// Prefixes it has of us (its update group's table less its own routes).
    pub advertised: u32,
    /// Its End-of-RIB has come.
    pub end_of_rib_received: bool,
    /// Our first full table and End-of-RIB were given to its connection.
    pub end_of_rib_sent: bool,
    /// Something is waiting to be sent.
    pub pending: bool,
}

/// Which table a query looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The best paths.
    LocRib,
    /// What a peer sent, before import policy, rejected routes included.
    AdjRibIn(PeerKey),
    /// What we send a peer, after export policy.
    AdjRibOut(PeerKey),
}

/// Which prefixes a query wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// Every one.
    #[default]
    All,
    /// This one.
    Exact(Net),
    /// This one and those inside it.
    Within(Net),
    /// This one and those it lies in.
    Covering(Net),
}

/// A page of routes is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Of what family.
    pub family: Family,
    /// Out of which table.
    pub table: Table,
    /// Which prefixes.
    pub select: Select,
    /// Where to go on: 0, then [`RoutePage::next`].
    pub from: u32,
    /// The most prefixes looked at for this page (not: answered), so that a query never holds the speaker up.
    pub scan: u32,
}

/// A page of routes, in the table's own order (not sorted).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePage {
    /// The routes.
    pub routes: Vec<Route>,
    /// Where the next page begins; `None` when this was the last, or the query's peer is unknown.
    pub next: Option<u32>,
}

/// One path to one prefix, with its attributes spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub net: Net,
    /// Whose path it is; `None` for our own origination.
    pub peer: Option<PeerKey>,
    /// It is the best.
    pub best: bool,
    /// It is the best or one of its equals.
    pub multipath: bool,
    /// Kept across the peer's restart and not confirmed since.
    pub stale: bool,
    /// When it came.
    pub since: Time,
    /// Its attributes.
    pub attributes: RouteAttributes,
}

/// The attributes of a route, decoded for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteAttributes {
    /// ORIGIN: 0 IGP, 1 EGP, 2 INCOMPLETE.
    pub origin: u8,
    /// AS_PATH as text: sequences separated by spaces, sets in braces.
    pub as_path: Box<str>,
    /// NEXT_HOP.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Standard, then large communities.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (RFC 4456), as numbers in wire order.
    pub cluster_list: Vec<u32>,
}

/// Why a prefix is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The prefix asked about.
    pub net: Net,
    /// Every path, the best first.
    pub paths: Vec<ExplainedPath>,
    /// Who gets it, and why somebody does not.
    pub advertised: Vec<Advertised>,
}

/// One path of an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPath {
    /// The path, with its attributes after import policy (before it, when it did not pass).
    pub route: Route,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The best; the step says what told it from the last other path, `None` when it was the only one.
    Best {
        /// The step at which nothing else was left.
        by: Option<Step>,
    },
    /// As good as the best and used beside it.
    Multipath,
    /// Worse: this step put it out.
    Lost {
        /// The step.
        at: Step,
    },
    /// Not to be used at all.
    Unusable(Unusable),
}

/// Why a path can't be used (step 1 of the decision).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Import policy: the name of the rule, `None` when no rule took it and RFC 8212 or the filter's end refuses.
    Policy(Option<Box<str>>),
    /// Our own AS stands in AS_PATH more often than allowed (RFC 4271 §9.1.2).
    OwnAs,
    /// ORIGINATOR_ID is ours (RFC 4456 §8).
    OwnOriginator,
    /// Our cluster id stands in CLUSTER_LIST (RFC 4456 §8).
    OwnCluster,
    /// The next hop is our own address (RFC 4271 §5.1.3).
    OwnNextHop,
}

/// Whether a peer gets a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The peer.
    pub peer: PeerKey,
    /// `Ok`: with these attributes; `Err`: why not.
    pub how: Result<RouteAttributes, Withheld>,
}

/// Why a peer does not get a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// There is no usable path.
    NoPath,
    /// The best path is its own (split horizon).
    FromThisPeer,
    /// Learned inside our AS and not to be passed on inside it (RFC 4271 §9.2, RFC 4456 §6).
    NotReflected,
    /// A well-known community forbids it (RFC 1997).
    WellKnownCommunity(Community),
    /// Export policy: the name of the rule, `None` when no rule took it and RFC 8212 or the filter's end refuses.
    Policy(Option<Box<str>>),
    /// We have no address of the route's family to give as next hop.
    NoNextHop,
    /// The attributes with one prefix are longer than the largest message it takes.
    TooLong,
    /// Route selection waits for End-of-RIB after our restart (RFC 4724 §4.1).
    Deferred,
    /// It is to be sent, but has not been yet.
    Pending,
}
