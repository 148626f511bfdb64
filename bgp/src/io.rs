//! Everything that crosses the speaker's edge, and the batches between its two halves. Plain data all of it, so that
//! it can be recorded, replayed and sent between threads.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use crate::config::{Config, PeerConfig, PeerKey, Secret, Ttl};
use crate::event::Event;
use crate::{Asn, Family, FamilySet, Net, RouterId};

/// One TCP connection. Whoever opens it chooses the id: the speaker takes even numbers, the driver (for accepted
/// connections) odd ones; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A peer's slot in the speaker, dense and small so that a path needs 16 bits for it. Reused only after the RIB has
/// let go of the former holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// Which session of a peer something belongs to; grows with each that reaches Established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// What the world tells a speaker.
#[derive(Debug)]
pub enum Input<'a> {
    /// The whole configuration, from now on.
    Configure(Box<Config>),
    /// A connection the speaker asked for is up.
    Connected {
        /// The id from [`Output::Connect`].
        conn: ConnId,
        /// Our end of it.
        local: SocketAddr,
    },
    /// A connection the speaker asked for could not be made.
    ConnectFailed {
        /// The id from [`Output::Connect`].
        conn: ConnId,
    },
    /// Somebody connected to us.
    Accepted {
        /// Odd, chosen by the driver.
        conn: ConnId,
        /// Their end.
        remote: SocketAddr,
        /// The interface index when `remote` is link-local, else 0.
        scope: u32,
        /// Our end.
        local: SocketAddr,
    },
    /// Bytes came; any cut is fine.
    Received {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: &'a [u8],
    },
    /// The socket took this many bytes of what `transmit` gave: the send hold timer (RFC 9687) lives on it.
    Sent {
        /// Where.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// The connection is gone: end of stream, reset or error.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Announce a prefix of our own (or change how).
    Originate {
        /// The prefix.
        net: Net,
        /// How.
        route: Origination,
    },
    /// No longer announce a prefix of our own.
    Withdraw {
        /// The prefix.
        net: Net,
    },
    /// Everything this process originates after a start has been said: our End-of-RIB may follow once the peers'
    /// routes are selected (RFC 4724 §4.1).
    OriginationComplete,
    /// An operator's wish about one peer.
    Command {
        /// Whom.
        peer: PeerKey,
        /// What.
        command: Command,
    },
    /// The process ends.
    Stop(Stop),
}

/// How a prefix of our own is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origination {
    /// The next hop when it is not our own address on the session.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF towards iBGP, 100 when there is none.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<[u32; 3]>,
}

/// What an operator can ask of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the session with Cease/Administrative Reset and start anew.
    Reset,
    /// Ask the peer for its routes again (RFC 2918).
    RefreshIn,
    /// Send it ours again.
    RefreshOut,
}

/// Why a process ends, which decides what its peers do with its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It comes back: connections close without a NOTIFICATION, so that peers with graceful restart keep our routes.
    Restart,
    /// It does not: GRACEFUL_SHUTDOWN community (RFC 8326), withdraw, Cease/Administrative Shutdown with this text
    /// (RFC 9003, at most 255 bytes of UTF-8).
    Drain {
        /// For the peer's operator.
        text: Box<str>,
    },
}

/// How the process came up, which decides what its OPENs say about forwarding state (RFC 4724 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// For the first time (in this boot): R bit clear, nothing deferred.
    First,
    /// After a former run of this process: R bit set, F bit for the families whose forwarding state was kept,
    /// selection deferred until End-of-RIB or the timer.
    Again {
        /// Families whose routes are still in the kernel.
        forwarding: FamilySet,
    },
}

/// What a speaker wants of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection and answer with `Connected` or `ConnectFailed`.
    Connect(Box<Connect>),
    /// Close a connection; no `Closed` need follow.
    Close {
        /// Which.
        conn: ConnId,
        /// Whether what `transmit` still has for it goes out first.
        how: Close,
    },
    /// From now on listening sockets demand these MD5 keys, and no others.
    SetKeys(Vec<(Net, Secret)>),
    /// From now on a connection sends and demands this TTL.
    SetTtl {
        /// Which.
        conn: ConnId,
        /// How.
        ttl: Ttl,
    },
    /// Do not read this socket until `ResumeRead`: its batches wait for work.
    PauseRead(ConnId),
    /// Read it again.
    ResumeRead(ConnId),
    /// `transmit` has something for this connection. Said once until `transmit` has answered with nothing.
    Writable(ConnId),
    /// Something happened that a log, a metric or a condition may want.
    Event(Event),
}

/// A connection to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Even, never used before.
    pub conn: ConnId,
    /// Whom to.
    pub peer: PeerKey,
    /// The port.
    pub port: u16,
    /// From where, if that is decided.
    pub local: Option<IpAddr>,
    /// The MD5 key.
    pub password: Option<Secret>,
    /// The TTL rule.
    pub ttl: Ttl,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// After what is queued (a NOTIFICATION) has gone out.
    Flush,
    /// At once.
    Abort,
}

/// Whether a step left work behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum More {
    /// Call again soon.
    Yes,
    /// Nothing is queued.
    No,
}

/// What the RIB must know of an Established session. It does not change while the session lives, except `config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub key: PeerKey,
    /// Its configuration: filters, next hop, client, limits.
    pub config: Arc<PeerConfig>,
    /// Our end's address: the next hop self.
    pub local: IpAddr,
    /// The AS we show it.
    pub local_as: Asn,
    /// Its AS, from OPEN.
    pub remote_as: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Families both sides offered.
    pub families: FamilySet,
    /// Both speak 4-octet AS numbers; else AS_PATH is squeezed and AS4_PATH added.
    pub as4: bool,
    /// The largest message it takes: 4,096 or 65,535 (RFC 8654).
    pub message_max: u16,
    /// Families for which it keeps our routes and sends End-of-RIB (RFC 4724).
    pub graceful: FamilySet,
}

impl Session {
    /// Same AS on both sides.
    #[must_use]
    pub fn internal(&self) -> bool {
        self.local_as == self.remote_as
    }
}

/// What the first half hands the second. In the order it happened, for each peer.
#[derive(Clone, Debug)]
pub enum RibInput {
    /// A session reached Established.
    Up {
        /// Whose.
        peer: PeerId,
        /// Which.
        generation: Generation,
        /// All about it.
        session: Arc<Session>,
        /// Families whose stale routes from the session before stay until End-of-RIB; those of the rest go now.
        keep_stale: FamilySet,
    },
    /// It ended.
    Down {
        /// Whose.
        peer: PeerId,
        /// Families whose routes are kept as stale (RFC 4724 §4.2); those of the rest go now.
        keep: FamilySet,
    },
    /// One UPDATE, or the part of it that is of one family.
    Update(Batch),
    /// The peer's first table is complete (RFC 4724 §2): its stale routes of this family go.
    EndOfRib {
        /// Whose.
        peer: PeerId,
        /// Which session's.
        generation: Generation,
        /// Of what.
        family: Family,
    },
    /// The wait for a restarted peer is over: what is still stale goes.
    SweepStale {
        /// Whose.
        peer: PeerId,
        /// Of what.
        families: FamilySet,
    },
    /// The peer asks for everything again (RFC 2918), or an operator does.
    Refresh {
        /// Who.
        peer: PeerId,
        /// Of what.
        family: Family,
    },
    /// Filters, next hop or the like changed under a living session: re-import or re-export as the fields ask.
    Reconfigured {
        /// Whose.
        peer: PeerId,
        /// From now on.
        session: Arc<Session>,
    },
    /// The peer is no more: forget the slot and say [`RibOutput::Forgotten`].
    Removed {
        /// Whose.
        peer: PeerId,
    },
    /// Selection was deferred after our restart; from now on decide and export (RFC 4724 §4.1).
    Select {
        /// Of what.
        family: Family,
    },
}

/// One UPDATE's routes of one family, checked: the NLRI parse, the attributes are canonical, RFC 7606's outcomes are
/// applied (`reach` of a treat-as-withdraw stands in `unreach`). A prefix in both counts as announced (RFC 4271 §4.3).
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who sent it.
    pub peer: PeerId,
    /// In which session.
    pub generation: Generation,
    /// Of what family all its NLRI are.
    pub family: Family,
    /// The path attributes of `reach` in canonical form (see `attrs`); empty when `reach` is.
    pub attrs: Bytes,
    /// NLRI announced.
    pub reach: Bytes,
    /// NLRI withdrawn.
    pub unreach: Bytes,
}

/// What the second half answers.
#[derive(Clone, Debug)]
pub enum RibOutput {
    /// There is something to send to this peer.
    Writable {
        /// Whom.
        peer: PeerId,
    },
    /// More prefixes than allowed: the first half ends the session.
    TooManyPrefixes {
        /// Who.
        peer: PeerId,
        /// Of what.
        family: Family,
        /// How many it had sent.
        count: u32,
        /// How long to stay away.
        hold_off: Duration,
    },
    /// Nothing of a removed peer is left: its slot may be given to another.
    Forgotten {
        /// Whose slot it was.
        peer: PeerId,
    },
    /// For the log, metrics or a condition.
    Event(Event),
}

/// The Loc-RIB's new word on one prefix, for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub net: Net,
    /// The best path and its equals, best first; empty when there is none left.
    pub paths: Vec<LocPath>,
}

/// One usable path of the Loc-RIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocPath {
    /// Where to.
    pub next_hop: IpAddr,
    /// Whose path it is; `None` for our own origination.
    pub peer: Option<PeerKey>,
    /// Kept across the peer's restart and not confirmed since.
    pub stale: bool,
}
