//! A router: a speaker, what it was told to be, and the kernel table it feeds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_bgp::config::{
    Capabilities, Config, GracefulRestart, NextHop, PeerConfig, PeerKey, RemoteAs, Secret, Timers, Transport,
    Ttl,
};
use corduroy_bgp::io::{Change, ConnId, LocPath, Origination};
use corduroy_bgp::policy::{Action, Filter, Match, Operation, Operator, Otherwise, PrefixMatch, Rule};
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Asn, Family, FamilySet, Net, RouterId, Time};

use super::plan::{End, Own, Pfx, Plan};

/// How long peers wait for a restarted router.
pub const RESTART_TIME: Duration = Duration::from_secs(60);

/// A router that runs, or does not.
#[derive(Debug)]
pub struct Node {
    /// The process; `None` while it is down.
    pub speaker: Option<Speaker>,
    /// How often it was started.
    pub run: u32,
    /// The last id given to an accepted connection.
    pub last_accepted: u32,
    /// Which connection is which.
    pub conns: BTreeMap<ConnId, (usize, usize)>,
    /// What its listening socket demands.
    pub keys: Vec<(Net, Secret)>,
    /// Its Loc-RIB as the changes tell it.
    pub loc_rib: BTreeMap<Pfx, Vec<LocPath>>,
    /// A slice of work is on the calendar.
    pub working: bool,
    /// The timer on the calendar.
    pub alarm: Option<Time>,
}

impl Node {
    /// One that does not run.
    #[must_use]
    pub fn new() -> Self {
        Self {
            speaker: None,
            run: 0,
            last_accepted: 0,
            conns: BTreeMap::new(),
            keys: Vec::new(),
            loc_rib: BTreeMap::new(),
            working: false,
            alarm: None,
        }
    }

    /// An id for an accepted connection: odd, never used before.
    pub fn accepted_id(&mut self) -> ConnId {
        self.last_accepted = if self.last_accepted == 0 { 1 } else { self.last_accepted + 2 };
        ConnId(self.last_accepted)
    }

    /// The key its listening socket demands of `remote`: that of the longest prefix.
    #[must_use]
    pub fn key_for(&self, remote: IpAddr) -> Option<&Secret> {
        let host = Net::new(remote, if remote.is_ipv4() { 32 } else { 128 }).ok()?;
        let mut matching: Vec<_> = self.keys.iter().filter(|(net, _)| net.contains(host)).collect();
        matching.sort_by_key(|(net, _)| net.prefix_len());
        matching.pop().map(|(_, key)| key)
    }

    /// The Loc-RIB changed.
    pub fn apply(&mut self, change: Change) {
        let pfx = pfx(change.net);
        if change.paths.is_empty() {
            self.loc_rib.remove(&pfx);
        } else {
            self.loc_rib.insert(pfx, change.paths);
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

/// A prefix of the speaker as the plan has it.
#[must_use]
pub fn pfx(net: Net) -> Pfx {
    Pfx { addr: net.addr(), len: net.prefix_len() }
}

/// And back.
///
/// # Panics
/// When its host bits are not zero.
#[must_use]
pub fn net(pfx: Pfx) -> Net {
    Net::new(pfx.addr, pfx.len).expect("a plan's prefixes have no host bits")
}

/// How a router is told to originate.
#[must_use]
pub fn origination(own: &Own) -> Origination {
    Origination {
        next_hop: None,
        med: own.med,
        local_pref: own.local_pref,
        communities: own.communities.clone(),
        large_communities: Vec::new(),
    }
}

/// What a router of the plan is told to be.
///
/// # Panics
/// When the plan says something that no configuration can say.
#[must_use]
pub fn config(plan: &Plan, router: usize) -> Config {
    let me = &plan.routers[router];
    let id = |id: u32| RouterId::new(id.into()).expect("a plan's router ids are not zero");
    let peers = plan.links_of(router).map(|link| {
        let other = &plan.routers[plan.other(link, router)];
        let key = PeerKey::new(other.addr(plan.links[link].v6));
        (key, Arc::new(peer(plan, router, link)))
    });
    Config {
        local_as: Asn(me.asn),
        router_id: id(me.id),
        cluster_id: me.cluster.map(id),
        multipath: u8::try_from(me.multipath).unwrap_or(64),
        multipath_relax: me.relax,
        selection_deferral: Duration::from_secs(30),
        peers: peers.collect(),
        dynamic: Vec::new(),
    }
}

fn peer(plan: &Plan, router: usize, link: usize) -> PeerConfig {
    let session = &plan.links[link];
    let (here, there) = plan.ends(link, router);
    let family = if session.v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
    PeerConfig {
        remote_as: RemoteAs::Exactly(Asn(plan.routers[there.router].asn)),
        local_as: None,
        transport: Transport {
            port: 179,
            local: Some(plan.routers[router].addr(session.v6)),
            passive: here.passive,
            password: here.password.as_ref().and_then(|key| Secret::new(key.as_bytes())),
            ttl: Ttl::Send(64),
        },
        timers: Timers {
            hold: Duration::from_secs(u64::from(session.hold)),
            keepalive: None,
            connect_retry: Duration::from_secs(3),
            send_hold: Duration::from_secs(60),
        },
        capabilities: Capabilities {
            families: FamilySet::EMPTY.with(family),
            route_refresh: true,
            extended_messages: link.is_multiple_of(2),
            graceful_restart: session.graceful.then_some(GracefulRestart {
                restart_time: RESTART_TIME,
                stale_time: Duration::from_secs(90),
                notification: true,
            }),
        },
        client: here.client,
        next_hop: if here.next_hop_self { NextHop::SelfAddress } else { NextHop::Auto },
        allow_own_as: 0,
        import: Arc::new(import(here)),
        export: Arc::new(export(here)),
        max_prefixes: None,
        shutdown: here.shutdown,
    }
}

fn import(here: &End) -> Filter {
    let prefer = here.import_pref.map(|pref| Rule {
        name: "prefer".into(),
        matches: Match::default(),
        action: Action::Accept(vec![Operation::SetLocalPref(pref)]),
    });
    Filter { rules: prefer.into_iter().collect(), otherwise: Otherwise::Accept }
}

fn export(here: &End) -> Filter {
    let deny = here.export_deny.map(|pfx| Rule {
        name: "deny".into(),
        matches: Match {
            prefix: Some(PrefixMatch { net: net(pfx), operator: Operator::Equal, length: None }),
            ..Match::default()
        },
        action: Action::Reject,
    });
    Filter { rules: deny.into_iter().collect(), otherwise: Otherwise::Accept }
}
