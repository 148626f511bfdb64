//! Our own speaker behind sockets, without anything around it: no datastore, no kernel, no policy. It runs on a
//! thread of this process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use corduroy_bgp::config::{
    Capabilities, Config, GracefulRestart, NextHop, PeerConfig, PeerKey, RemoteAs, Secret, Timers, Transport,
    Ttl,
};
use corduroy_bgp::io::{Command, Origination, Start, Stop};
use corduroy_bgp::policy::{Community, Filter, Otherwise};
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::status::{PeerStatus, Route, RouteQuery, Select, SessionState, Table};
use corduroy_bgp::{Asn, Family, FamilySet, Net, RouterId};
use corduroy_bgp_net::{Announcement, Driver, Handle, LocRib, Report};
use tokio::runtime::{Builder, Runtime};

use super::{Daemon, Families, Learned, Marks, Neighbour, Router};
use crate::{Namespace, eventually};

/// How long it may take until a port is free.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our speaker in a namespace.
#[derive(Debug)]
pub struct Corduroy {
    namespace: Namespace,
    router: Router,
    runtime: Runtime,
    running: Option<Running>,
    notices: Arc<Mutex<String>>,
}

#[derive(Debug)]
struct Running {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

impl Corduroy {
    /// Starts it; it listens when this returns.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|e| panic!("no runtime: {e}"));
        let notices = Arc::new(Mutex::new(String::new()));
        let mut daemon = Self { namespace: namespace.clone(), router, runtime, running: None, notices };
        daemon.launch(Start::First);
        daemon
    }

    /// The way to the running speaker.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.running.as_ref().unwrap_or_else(|| panic!("the speaker was stopped")).handle
    }

    /// Waits for the answer to a request.
    pub fn ask<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    /// What it has noticed so far, a line each.
    #[must_use]
    pub fn notices(&self) -> String {
        self.notices.lock().map(|text| text.clone()).unwrap_or_default()
    }

    /// Its peers.
    ///
    /// # Errors
    /// It has ended.
    pub fn peers(&self) -> Result<Vec<PeerStatus>, String> {
        self.ask(self.handle().peers()).map_err(|e| e.to_string())
    }

    /// Originates many prefixes at once.
    #[track_caller]
    pub fn announce_all(&mut self, prefixes: &[String]) {
        let all = prefixes.iter().map(|prefix| Announcement::Originate(net(prefix), origination(None)));
        self.ask(self.handle().announce(all.collect())).unwrap_or_else(|e| panic!("{e}"));
        self.router.announce.extend_from_slice(prefixes);
    }

    /// Changes what it is while it runs.
    #[track_caller]
    pub fn reconfigure(&mut self, router: Router) {
        let config = config(&router);
        self.ask(self.handle().configure(config)).unwrap_or_else(|e| panic!("{e}"));
        self.router = router;
    }

    /// Everything in one of its tables.
    ///
    /// # Errors
    /// It has ended.
    pub fn routes(&self, table: Table) -> Result<Vec<Route>, String> {
        let mut routes = Vec::new();
        for family in Family::ALL {
            let mut from = Some(0);
            while let Some(start) = from {
                let query = RouteQuery { family, table, select: Select::All, from: start, scan: 10_000 };
                let page = self.ask(self.handle().routes(query)).map_err(|e| e.to_string())?;
                routes.extend(page.routes);
                from = page.next;
            }
        }
        Ok(routes)
    }

    fn launch(&mut self, start: Start) {
        // A process that another test is just starting may hold a copy of the former listening socket until its exec.
        let (handle, threads) = eventually(PATIENCE, || {
            self.namespace.enter(|| launch(&self.router, start, Arc::clone(&self.notices)))
        });
        self.running = Some(Running { handle, threads });
        let own = announcements(&self.router);
        let said = self.ask(async {
            self.handle().announce(own).await?;
            self.handle().origination_complete().await
        });
        said.unwrap_or_else(|e| panic!("{e}"));
    }

    fn stop(&mut self, how: Stop) {
        let Some(running) = self.running.take() else { return };
        // It may have ended by itself.
        let _ = self.runtime.block_on(running.handle.stop(how));
        drop(running.handle);
        for thread in running.threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Corduroy {
    fn drop(&mut self) {
        self.stop(Stop::Restart);
        if std::thread::panicking() {
            eprintln!("---- our speaker in {}\n{}", self.namespace.label(), self.notices());
        }
    }
}

impl Daemon for Corduroy {
    const PACKAGE: &'static str = "corduroy";

    fn alive(&mut self) -> Result<(), String> {
        self.peers().map(drop)
    }

    fn log(&self) -> String {
        self.notices()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let peers = self.peers()?;
        let found = peers.iter().find(|status| status.session.key.address == peer);
        match found.map(|status| &status.session) {
            Some(session) if session.state == SessionState::Established => Ok(()),
            Some(session) => Err(format!("we say: {}, {:?}", session.state, session.last_error)),
            None => Err("we know no such peer".to_owned()),
        }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        let foreign =
            self.routes(Table::LocRib)?.into_iter().filter(|route| route.best && route.peer.is_some());
        Ok(foreign.map(|route| (route.net.to_string(), read(&route))).collect())
    }

    fn announce(&mut self, prefix: &str) {
        let one = vec![Announcement::Originate(net(prefix), origination(None))];
        self.ask(self.handle().announce(one)).unwrap_or_else(|e| panic!("{e}"));
        self.router.announce.push(prefix.to_owned());
    }

    fn withdraw(&mut self, prefix: &str) {
        let one = vec![Announcement::Withdraw(net(prefix))];
        self.ask(self.handle().announce(one)).unwrap_or_else(|e| panic!("{e}"));
        self.router.announce.retain(|own| own != prefix);
    }

    fn refresh(&self, peer: IpAddr) {
        let command = self.handle().command(PeerKey::new(peer), Command::RefreshIn);
        self.ask(command).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Drains the whole speaker: ours says its text when it goes for good, or when a peer's configuration does.
    fn shut_down(&mut self, _peer: IpAddr, text: &str) {
        self.stop(Stop::Drain { text: text.into() });
    }

    fn restart(&mut self) {
        self.stop(Stop::Restart);
        self.launch(Start::Again { forwarding: FamilySet::BOTH });
    }

    fn version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

fn launch(
    router: &Router,
    start: Start,
    notices: Arc<Mutex<String>>,
) -> Result<(Handle, Vec<JoinHandle<()>>), String> {
    let speaker = Speaker::new(config(router), start, 7, corduroy_bgp_net::now());
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let listen = any.map(|address| SocketAddr::new(address, router.port));
    let (driver, handle, mut reports) =
        Driver::new(speaker, &listen, LocRib::Ignore).map_err(|e| e.to_string())?;
    let serving = driver.spawn().map_err(|e| e.to_string())?;
    let serving = std::thread::spawn(move || drop(serving.join()));
    let listening = std::thread::spawn(move || {
        while let Some(report) = reports.blocking_recv() {
            if let (Report::Notice(notice), Ok(mut text)) = (report, notices.lock()) {
                text.push_str(&format!("{notice}\n"));
            }
        }
    });
    Ok((handle, vec![serving, listening]))
}

/// What a [`Router`] means for our speaker. Everything is let in and out: policy is not what these tests are about.
fn config(router: &Router) -> Config {
    let id = RouterId::new(router.id).unwrap_or_else(|| panic!("router id {} is none", router.id));
    let reflects = router.neighbours.iter().any(|peer| peer.client);
    let peers =
        router.neighbours.iter().map(|peer| (PeerKey::new(peer.address), Arc::new(session(router, peer))));
    Config {
        local_as: Asn(router.asn),
        router_id: id,
        cluster_id: reflects.then_some(id),
        multipath: 1,
        multipath_relax: false,
        selection_deferral: Duration::from_secs(60),
        peers: peers.collect(),
        dynamic: Vec::new(),
    }
}

fn session(router: &Router, peer: &Neighbour) -> PeerConfig {
    let open = Arc::new(Filter { rules: Vec::new(), otherwise: Otherwise::Accept });
    let internal = peer.asn == router.asn;
    let ttl = match (peer.ttl_security, internal || peer.multihop) {
        (true, _) => Ttl::Security { hops: 1 },
        (false, true) => Ttl::Send(64),
        (false, false) => Ttl::Send(1),
    };
    let families = match peer.families {
        Families::Both => FamilySet::BOTH,
        Families::V4 => FamilySet::EMPTY.with(Family::Ipv4Unicast),
        Families::V6 => FamilySet::EMPTY.with(Family::Ipv6Unicast),
    };
    let graceful_restart = peer.graceful_restart.map(|seconds| GracefulRestart {
        restart_time: Duration::from_secs(seconds.into()),
        stale_time: Duration::from_secs(300),
        notification: true,
    });
    PeerConfig {
        remote_as: RemoteAs::Exactly(Asn(peer.asn)),
        local_as: None,
        transport: Transport {
            port: router.port,
            local: peer.local,
            passive: peer.passive,
            password: peer.password.as_ref().and_then(|key| Secret::new(key.as_bytes())),
            ttl,
        },
        timers: Timers {
            hold: Duration::from_secs(peer.hold.into()),
            connect_retry: Duration::from_secs(1),
            ..Timers::default()
        },
        capabilities: Capabilities {
            families,
            route_refresh: true,
            extended_messages: true,
            graceful_restart,
        },
        client: peer.client,
        next_hop: NextHop::Auto,
        allow_own_as: 0,
        import: Arc::clone(&open),
        export: open,
        max_prefixes: None,
        shutdown: false,
    }
}

fn announcements(router: &Router) -> Vec<Announcement> {
    let marked = |prefix: &String| Announcement::Originate(net(prefix), origination(router.marks));
    router.announce.iter().map(marked).collect()
}

fn origination(marks: Option<Marks>) -> Origination {
    let community = |(high, low): (u16, u16)| u32::from(high) << 16 | u32::from(low);
    Origination {
        next_hop: None,
        med: marks.map(|marks| marks.med),
        local_pref: marks.map(|marks| marks.local_pref),
        communities: marks.iter().map(|marks| community(marks.community)).collect(),
        large_communities: marks.iter().map(|marks| marks.large_community).collect(),
    }
}

fn net(prefix: &str) -> Net {
    prefix.parse().unwrap_or_else(|e| panic!("prefix {prefix}: {e:?}"))
}

fn read(route: &Route) -> Learned {
    let attributes = &route.attributes;
    let communities = attributes.communities.iter().filter_map(|community| match community {
        Community::Standard(number) => Some(((number >> 16) as u16, (number & 0xffff) as u16)),
        Community::Large(..) => None,
    });
    let large = attributes.communities.iter().filter_map(|community| match community {
        Community::Large(parts) => Some(*parts),
        Community::Standard(_) => None,
    });
    Learned {
        next_hop: attributes.next_hop,
        as_path: super::as_path(&attributes.as_path),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: communities.collect(),
        large_communities: large.collect(),
        originator: attributes.originator_id.map(|id| id.to_string()),
        clusters: attributes.cluster_list.iter().map(|id| Ipv4Addr::from(*id).to_string()).collect(),
        stale: route.stale,
    }
}
