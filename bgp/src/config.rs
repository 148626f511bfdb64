//! What a speaker is told to be. These types are checked already: whoever reads configuration from people (the
//! `fabric` crate, a reflector's file) refuses what is wrong and builds these, so nothing in here re-validates.
//!
//! A speaker takes a whole [`Config`] at any time ([`crate::io::Input::Configure`]), compares it with the one in
//! force and does the least that the protocol forces: [`COSTS`] says for every field what a change costs.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::policy::Filter;
use crate::{Asn, FamilySet, Net, RouterId};

/// The whole configuration of a speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our autonomous system, unless a peer says otherwise.
    pub local_as: Asn,
    /// Our BGP identifier (RFC 6286).
    pub router_id: RouterId,
    /// Set on a route reflector: the id it puts in front of CLUSTER_LIST (RFC 4456 §7).
    pub cluster_id: Option<RouterId>,
    /// The most equal best paths handed to the kernel for a prefix, 1 to 64.
    pub multipath: u8,
    /// ECMP also over paths that differ in AS_PATH content but not in its length.
    pub multipath_relax: bool,
    /// How long route selection may wait for End-of-RIB after a restart (RFC 4724 §4.1 Selection_Deferral_Timer).
    pub selection_deferral: Duration,
    /// Peers by address.
    pub peers: BTreeMap<PeerKey, Arc<PeerConfig>>,
    /// Prefixes out of which any neighbour may open a session.
    pub dynamic: Vec<DynamicRange>,
}

impl Config {
    /// A speaker without peers: one path a prefix, selection deferred by 60 s at most.
    #[must_use]
    pub fn new(local_as: Asn, router_id: RouterId) -> Self {
        Self {
            local_as,
            router_id,
            cluster_id: None,
            multipath: 1,
            multipath_relax: false,
            selection_deferral: Duration::from_secs(60),
            peers: BTreeMap::new(),
            dynamic: Vec::new(),
        }
    }
}

/// Who a peer is: its address, with the interface for a link-local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The neighbour's address.
    pub address: IpAddr,
    /// The interface index when `address` is link-local, else 0.
    pub scope: u32,
}

impl PeerKey {
    /// A peer at a global address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self { address, scope: 0 }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            0 => self.address.fmt(f),
            scope => write!(f, "{}%{scope}", self.address),
        }
    }
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// What its OPEN must say.
    pub remote_as: RemoteAs,
    /// The AS we show to this peer when it is not [`Config::local_as`].
    pub local_as: Option<Asn>,
    /// How TCP is made.
    pub transport: Transport,
    /// The clocks of the session.
    pub timers: Timers,
    /// What we offer in OPEN.
    pub capabilities: Capabilities,
    /// A client of ours, when we reflect (RFC 4456 §3).
    pub client: bool,
    /// The next hop we announce.
    pub next_hop: NextHop,
    /// How often our own AS may stand in a path we accept (0 = never).
    pub allow_own_as: u8,
    /// What we take.
    pub import: Arc<Filter>,
    /// What we send.
    pub export: Arc<Filter>,
    /// How many prefixes of a family it may send.
    pub max_prefixes: Option<MaxPrefixes>,
    /// Administratively down: no session, an open one ends with Cease/Administrative Shutdown (RFC 9003).
    pub shutdown: bool,
}

/// What a peer's OPEN may say about its AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoteAs {
    /// This number and no other.
    Exactly(Asn),
    /// Our own.
    Internal,
    /// Any but our own.
    External,
}

/// How the TCP connection is made and guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The port we connect to.
    pub port: u16,
    /// The address we connect from; the kernel chooses when there is none.
    pub local: Option<IpAddr>,
    /// Never connect, only accept.
    pub passive: bool,
    /// TCP MD5 key (RFC 2385).
    pub password: Option<Secret>,
    /// What TTL we send and demand.
    pub ttl: Ttl,
}

/// TTL rules of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// Send this TTL, demand nothing: 1 for a directly connected eBGP peer, 64 for iBGP, more for multihop.
    Send(u8),
    /// Generalised TTL security (RFC 5082): send 255, demand at least 256 − hops. 1 = directly connected.
    Security {
        /// How many routers may lie on the way, 1 to 254.
        hops: u8,
    },
}

/// A TCP MD5 key: 1 to 80 bytes, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// `None` when `key` is empty or over 80 bytes (Linux TCP_MD5SIG_MAXKEYLEN).
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        (1..=80).contains(&key.len()).then(|| Self(key.into()))
    }
    /// The key itself, for the socket.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The clocks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    /// Hold time offered: zero (never) or at least 3 s (RFC 4271 §4.2).
    pub hold: Duration,
    /// Keepalive interval, when it is not a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// ConnectRetryTime before jitter.
    pub connect_retry: Duration,
    /// How long the peer may refuse to read before we end the session (RFC 9687); zero = never.
    pub send_hold: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(90),
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            send_hold: Duration::from_secs(480),
        }
    }
}

/// What our OPEN offers (RFC 5492).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Multiprotocol families (RFC 4760).
    pub families: FamilySet,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Messages up to 65,535 bytes (RFC 8654).
    pub extended_messages: bool,
    /// Graceful restart (RFC 4724); `None` = not offered.
    pub graceful_restart: Option<GracefulRestart>,
}

/// Our side of graceful restart with a peer (RFC 4724).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// The Restart Time we announce: whole seconds, 0 to 4095.
    pub restart_time: Duration,
    /// How long we keep a restarted peer's stale routes when no End-of-RIB comes.
    pub stale_time: Duration,
    /// Also across NOTIFICATION and hold timer expiry (RFC 8538).
    pub notification: bool,
}

/// The next hop of what we announce to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// As RFC 4271 §5.1.3 has it: ours to eBGP peers and for what we originate, unchanged to iBGP peers.
    #[default]
    Auto,
    /// Always our address on the session.
    SelfAddress,
    /// Never changed.
    Keep,
}

/// A bound on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPrefixes {
    /// Prefixes in one family's Adj-RIB-In.
    pub limit: u32,
    /// What happens beyond it.
    pub action: MaxPrefixesAction,
}

/// What a peer that sends too many prefixes meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxPrefixesAction {
    /// An event, nothing else.
    Warn,
    /// Cease/Maximum Number of Prefixes Reached (RFC 4486), and no new session before this has passed.
    Restart(Duration),
}

/// A prefix out of which neighbours may come unannounced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicRange {
    /// Addresses let in.
    pub range: Net,
    /// The most sessions out of it at one time.
    pub limit: u32,
    /// What every such peer is; `transport.passive` holds by nature.
    pub peer: Arc<PeerConfig>,
}

/// What a change of a field costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// It holds from now on; nothing is done again.
    Nothing,
    /// The session goes on as it was agreed; it holds from the next one.
    NextSession,
    /// What we send is computed again.
    ReExport,
    /// What was received is filtered again.
    ReImport,
    /// Both.
    Both,
    /// The session is reset if the peer as it is would not be let in any more.
    ResetIfRefused,
    /// The session is reset (Cease/Other Configuration Change).
    Reset,
}

/// One field of the configuration and what its change costs.
#[derive(Debug)]
pub struct Field {
    /// Its name, as in `peers.timers.hold`.
    pub name: &'static str,
    /// What it costs.
    pub cost: Cost,
    differs: fn(&PeerConfig, &PeerConfig) -> bool,
}

macro_rules! fields {
    ($($name:literal $cost:ident $($path:ident).+;)+) => {
        &[$(Field { name: $name, cost: Cost::$cost, differs: |a, b| a.$($path).+ != b.$($path).+ }),+]
    };
}

/// What every field of a peer costs. Of the speaker's own fields `local_as` (for peers without one of their own) and
/// `router_id` reset sessions, because OPEN carries them; `cluster_id` costs a new import and export, `multipath` and
/// `multipath_relax` a new decision, `selection_deferral` nothing; a dynamic peer whose range is gone is de-configured.
pub const COSTS: &[Field] = fields! {
    "remote_as" ResetIfRefused remote_as;
    "local_as" Reset local_as;
    "transport.port" NextSession transport.port;
    "transport.local" NextSession transport.local;
    "transport.passive" Nothing transport.passive;
    "transport.password" NextSession transport.password;
    "transport.ttl" Nothing transport.ttl;
    "timers.hold" NextSession timers.hold;
    "timers.keepalive" NextSession timers.keepalive;
    "timers.connect_retry" Nothing timers.connect_retry;
    "timers.send_hold" Nothing timers.send_hold;
    "capabilities.families" Reset capabilities.families;
    "capabilities.route_refresh" NextSession capabilities.route_refresh;
    "capabilities.extended_messages" NextSession capabilities.extended_messages;
    "capabilities.graceful_restart" NextSession capabilities.graceful_restart;
    "client" Both client;
    "next_hop" ReExport next_hop;
    "allow_own_as" ReImport allow_own_as;
    "import" ReImport import;
    "export" ReExport export;
    "max_prefixes" Nothing max_prefixes;
    "shutdown" Reset shutdown;
};

/// What the difference between two configurations of a peer costs, all fields together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// What we send is computed again.
    pub re_export: bool,
    /// What was received is filtered again.
    pub re_import: bool,
    /// The session is reset if the peer would not be let in any more.
    pub reset_if_refused: bool,
    /// The session is reset.
    pub reset: bool,
}

impl PeerConfig {
    /// A peer at port 179 that is offered both families, route refresh and extended messages, and of whom nothing is
    /// taken and to whom nothing is sent until there are filters that say otherwise.
    #[must_use]
    pub fn new(remote_as: RemoteAs) -> Self {
        Self {
            remote_as,
            local_as: None,
            transport: Transport {
                port: 179,
                local: None,
                passive: false,
                password: None,
                ttl: Ttl::Send(64),
            },
            timers: Timers::default(),
            capabilities: Capabilities {
                families: FamilySet::BOTH,
                route_refresh: true,
                extended_messages: true,
                graceful_restart: None,
            },
            client: false,
            next_hop: NextHop::Auto,
            allow_own_as: 0,
            import: Arc::new(Filter::reject_all()),
            export: Arc::new(Filter::reject_all()),
            max_prefixes: None,
            shutdown: false,
        }
    }

    /// What becoming `new` costs.
    #[must_use]
    pub fn costs(&self, new: &Self) -> Costs {
        let mut costs = Costs::default();
        for field in COSTS.iter().filter(|f| (f.differs)(self, new)) {
            match field.cost {
                Cost::Nothing | Cost::NextSession => {}
                Cost::ReExport => costs.re_export = true,
                Cost::ReImport => costs.re_import = true,
                Cost::Both => (costs.re_export, costs.re_import) = (true, true),
                Cost::ResetIfRefused => costs.reset_if_refused = true,
                Cost::Reset => costs.reset = true,
            }
        }
        costs
    }
}
