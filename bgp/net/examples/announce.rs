//! Announces a prefix to a router, for instance to BIRD:
//!
//! ```text
//! cargo run -p corduroy-bgp-net --example announce -- 127.0.0.2 127.0.0.1 1179 198.51.100.0/24
//! ```
//!
//! where BIRD has
//!
//! ```text
//! router id 192.0.2.1;
//! protocol bgp corduroy {
//!     local 127.0.0.1 port 1179 as 64513;
//!     neighbor 127.0.0.2 external;
//!     multihop;                       # loopback addresses are no interface's neighbours
//!     ipv4 { import all; export none; };
//! }
//! ```
//!
//! It stays until it is interrupted; `birdc show route` shows the prefix.

use std::env;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corduroy_bgp::config::{
    Capabilities, Config, NextHop, PeerConfig, PeerKey, RemoteAs, Timers, Transport, Ttl,
};
use corduroy_bgp::io::{Origination, Start};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Asn, FamilySet, Net, RouterId};
use corduroy_bgp_net::{Announcement, Driver, LocRib, Report, now};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [local, peer, port, prefix] = args.as_slice() else {
        return Err("usage: announce LOCAL_ADDRESS PEER_ADDRESS PEER_PORT PREFIX".into());
    };
    let local: IpAddr = local.parse()?;
    let prefix: Net = prefix.parse()?;

    let peer_config = PeerConfig {
        remote_as: RemoteAs::External,
        local_as: None,
        transport: Transport {
            port: port.parse()?,
            local: Some(local),
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
        next_hop: NextHop::SelfAddress,
        allow_own_as: 0,
        import: Arc::new(Filter::reject_all()),
        // RFC 8212: without a filter an external peer is told nothing.
        export: Arc::new(Filter::accept_all()),
        max_prefixes: None,
        shutdown: false,
    };
    let config = Config {
        local_as: Asn(64512),
        router_id: RouterId::new(Ipv4Addr::new(192, 0, 2, 2)).ok_or("a router id is not 0.0.0.0")?,
        cluster_id: None,
        multipath: 1,
        multipath_relax: false,
        selection_deferral: Duration::from_secs(60),
        peers: [(PeerKey::new(peer.parse()?), Arc::new(peer_config))].into(),
        dynamic: Vec::new(),
    };

    let speaker = Speaker::new(config, Start::First, u64::from(std::process::id()), now());
    let (driver, speaker, mut reports) = Driver::new(speaker, &[], LocRib::Ignore)?;
    driver.spawn()?;

    let how = Origination {
        next_hop: None,
        med: None,
        local_pref: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
    };
    speaker.announce(vec![Announcement::Originate(prefix, how)]).await?;
    speaker.origination_complete().await?;
    while let Some(report) = reports.recv().await {
        if let Report::Notice(notice) = report {
            println!("{notice}");
        }
    }
    Ok(())
}
