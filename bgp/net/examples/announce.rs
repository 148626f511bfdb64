//! Announces a prefix to a router, for instance to BIRD on a neighbouring machine:
//!
//! ```text
//! cargo run -p corduroy-bgp-net --example announce -- 192.0.2.2 192.0.2.1 179 198.51.100.0/24
//! ```
//!
//! where BIRD has
//!
//! ```text
//! router id 192.0.2.1;
//! protocol device {}
//! protocol bgp corduroy {
//!     local 192.0.2.1 as 64513;
//!     neighbor 192.0.2.2 as 64512;
//!     ipv4 { import all; export none; };
//! }
//! ```
//!
//! It stays until it is interrupted; `birdc show route` shows the prefix.

use std::env;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::io::{Origination, Start};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Asn, Net, RouterId};
use corduroy_bgp_net::{Announcement, Driver, LocRib, Report, now};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [local, peer, port, prefix] = args.as_slice() else {
        return Err("usage: announce LOCAL_ADDRESS PEER_ADDRESS PEER_PORT PREFIX".into());
    };
    let local: IpAddr = local.parse()?;
    let prefix: Net = prefix.parse()?;

    let mut peer_config = PeerConfig::new(RemoteAs::External);
    peer_config.transport.port = port.parse()?;
    peer_config.transport.local = Some(local);
    // RFC 8212: without a filter an external peer is told nothing.
    peer_config.export = Arc::new(Filter::accept_all());
    let router_id = RouterId::new(Ipv4Addr::new(192, 0, 2, 2)).ok_or("a router id is not 0.0.0.0")?;
    let mut config = Config::new(Asn(64512), router_id);
    config.peers.insert(PeerKey::new(peer.parse()?), Arc::new(peer_config));

    let speaker = Speaker::new(config, Start::First, u64::from(std::process::id()), now());
    let (driver, speaker, mut reports) = Driver::new(speaker, &[], LocRib::Ignore)?;
    driver.spawn()?;

    speaker.announce(vec![Announcement::Originate(prefix, Origination::default())]).await?;
    speaker.origination_complete().await?;
    while let Some(report) = reports.recv().await {
        if let Report::Notice(notice) = report {
            println!("{notice}");
        }
    }
    Ok(())
}
