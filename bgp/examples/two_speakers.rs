//! Two speakers and no socket: one announces a prefix, the other learns it. What `transmit` gives one is what the other
//! has `Received`; a driver (`corduroy-bgp-net`) puts TCP in between.
//!
//! ```text
//! cargo run -p corduroy-bgp --example two_speakers
//! ```

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use corduroy_bgp::config::{Config, PeerConfig, PeerKey, RemoteAs};
use corduroy_bgp::io::{ConnId, Input, More, Origination, Output, Start};
use corduroy_bgp::policy::Filter;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp::{Asn, RouterId, Time};

const NOW: Time = Time(0);

fn speaker(me: Ipv4Addr, peer: Ipv4Addr) -> Result<Speaker, &'static str> {
    let mut config = Config::new(Asn(64512), RouterId::new(me).ok_or("0.0.0.0 is no router id")?);
    let mut with = PeerConfig::new(RemoteAs::Internal);
    (with.import, with.export) = (Filter::accept_all().into(), Filter::accept_all().into());
    config.peers.insert(PeerKey::new(peer.into()), with.into());
    Ok(Speaker::new(config, Start::First, 7, NOW))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (one, two) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let end = |address: Ipv4Addr| SocketAddr::new(IpAddr::V4(address), 179);
    let (mut a, mut b) = (speaker(one, two)?, speaker(two, one)?);
    a.handle(Input::Originate { net: "198.51.100.0/24".parse()?, route: Origination::default() }, NOW);
    a.handle(Input::OriginationComplete, NOW);
    b.handle(Input::OriginationComplete, NOW);

    // Each side names a connection itself; here the first speaker connects and the second accepts.
    let conn = std::iter::from_fn(|| a.poll())
        .find_map(|output| if let Output::Connect(to) = output { Some(to.conn) } else { None });
    let (at_a, at_b) = (conn.ok_or("no connection is wanted")?, ConnId(1));
    a.handle(Input::Connected { conn: at_a, local: end(one) }, NOW);
    b.handle(Input::Accepted { conn: at_b, remote: end(one), scope: 0, local: end(two) }, NOW);

    let mut learned = Vec::new();
    while learned.is_empty() {
        exchange((&mut a, at_a), (&mut b, at_b));
        exchange((&mut b, at_b), (&mut a, at_a));
        b.drain_loc_rib(100, &mut learned);
    }
    for change in learned {
        println!("{two} has {} by way of {}", change.net, change.paths[0].next_hop);
    }
    Ok(())
}

/// What one has to say, the other hears.
fn exchange((from, at_from): (&mut Speaker, ConnId), (to, at_to): (&mut Speaker, ConnId)) {
    let mut said = Vec::new();
    from.transmit(at_from, usize::MAX, &mut said);
    said.iter().for_each(|bytes| to.handle(Input::Received { conn: at_to, bytes }, NOW));
    while to.work(100, NOW) == More::Yes {}
}
