//! A route reflector that stands alone and is told its neighbours, instead of finding them in a datastore.
//!
//! Inside its AS it passes on whatever it learns, next hops unchanged (RFC 4456), but default routes. A neighbour in
//! another AS takes and sends nothing unless it is said what (RFC 8212). What is said ([`Neighbour::accept`],
//! [`Neighbour::announce`]) is said by an operator and goes before the built-in rule: `0.0.0.0/0` lets everything
//! through, default routes too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::bgp_peer::Timers;
use corduroy_api::{AsNumber, IpNetwork};
use corduroy_bgp::config::{Config, DynamicRange, NextHop, PeerConfig, PeerKey, Secret, Transport, Ttl};
use corduroy_bgp::policy::{Action, Filter, Match, Operator, Otherwise, PrefixMatch, Rule};
use corduroy_bgp::{Asn, FamilySet, RouterId};

use crate::originate::net;
use crate::peering::session;

/// A reflector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflector {
    /// Its AS, and that of all neighbours that have none of their own.
    pub as_number: AsNumber,
    /// Its BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// Its cluster id; not 0.0.0.0.
    pub cluster_id: Ipv4Addr,
    /// How long route selection waits for End-of-RIB after a restart.
    pub selection_deferral: Duration,
    /// Its clients and other neighbours.
    pub neighbours: Vec<Neighbour>,
}

/// A neighbour, or as many as a range has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Where.
    pub place: Place,
    /// Its AS, when it is not the reflector's.
    pub as_number: Option<AsNumber>,
    /// Routes are reflected to it and from it. Else it is another reflector, or a node that is served by others.
    pub client: bool,
    /// The families that are offered to it.
    pub families: FamilySet,
    /// The next hop of what is announced to it.
    pub next_hop: NextHop,
    /// Only what lies in these prefixes is taken from it.
    pub accept: Option<Vec<IpNetwork>>,
    /// Only what lies in these prefixes is sent to it.
    pub announce: Option<Vec<IpNetwork>>,
    /// How its connection is guarded.
    pub guard: Guard,
    /// Its clocks.
    pub timers: Timers,
}

/// How connections are guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// TCP MD5 key.
    pub password: Option<Secret>,
    /// How many hops away the neighbour is, at most (RFC 5082).
    pub ttl_security: Option<u8>,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address.
    Address {
        /// Its address.
        ip: IpAddr,
        /// Its TCP port.
        port: u16,
        /// Wait for it to connect.
        passive: bool,
    },
    /// Whoever connects out of this prefix.
    Range {
        /// The prefix, without host bits.
        cidr: IpNetwork,
        /// The most sessions at one time.
        limit: u32,
    },
}

/// The speaker's configuration.
#[must_use]
pub fn config(reflector: &Reflector) -> Config {
    // Checked identifiers are not zero; the fallback is never taken.
    let id = |address| RouterId::new(address).unwrap_or(RouterId(std::num::NonZeroU32::MIN));
    let local_as = Asn(reflector.as_number.get());
    let mut config = Config {
        local_as,
        router_id: id(reflector.router_id),
        cluster_id: Some(id(reflector.cluster_id)),
        multipath: 1,
        multipath_relax: false,
        selection_deferral: reflector.selection_deferral,
        peers: BTreeMap::new(),
        dynamic: Vec::new(),
    };
    for neighbour in &reflector.neighbours {
        let base = peer(neighbour, local_as);
        match neighbour.place {
            Place::Address { ip, port, passive } => {
                let transport = Transport { port, passive, ..base.transport.clone() };
                config.peers.insert(PeerKey::new(ip), Arc::new(PeerConfig { transport, ..base }));
            }
            Place::Range { cidr, limit } => {
                let peer = Arc::new(base);
                config.dynamic.extend(net(cidr).map(|range| DynamicRange { range, limit, peer }));
            }
        }
    }
    config
}

fn peer(neighbour: &Neighbour, local_as: Asn) -> PeerConfig {
    let remote_as = neighbour.as_number.map_or(local_as, |number| Asn(number.get()));
    let mut peer = session::base(remote_as, neighbour.families, neighbour.timers);
    peer.client = neighbour.client && remote_as == local_as;
    peer.next_hop = neighbour.next_hop;
    peer.import = Arc::new(match &neighbour.accept {
        Some(cidrs) => only("accept", cidrs),
        None => Filter { rules: Filter::protecting(&[]), otherwise: Otherwise::ByPeerType },
    });
    peer.export = Arc::new(match &neighbour.announce {
        Some(cidrs) => only("announce", cidrs),
        None => Filter::default(),
    });
    peer.transport.password.clone_from(&neighbour.guard.password);
    if let Some(hops) = neighbour.guard.ttl_security {
        peer.transport.ttl = Ttl::Security { hops };
    }
    peer
}

/// What lies in `cidrs` and nothing else.
fn only(list: &str, cidrs: &[IpNetwork]) -> Filter {
    let rules = cidrs.iter().filter_map(|cidr| {
        let prefix = Some(PrefixMatch { net: net(*cidr)?, operator: Operator::In, length: None });
        let name = format!("{list} {cidr}").into();
        Some(Rule { name, matches: Match { prefix, ..Match::default() }, action: Action::Accept(Vec::new()) })
    });
    Filter { rules: rules.collect(), otherwise: Otherwise::Reject }
}

#[cfg(test)]
mod tests {
    use corduroy_bgp::config::RemoteAs;

    use super::*;

    fn neighbour(place: Place) -> Neighbour {
        Neighbour {
            place,
            as_number: None,
            client: true,
            families: FamilySet::BOTH,
            next_hop: NextHop::Auto,
            accept: None,
            announce: None,
            guard: Guard::default(),
            timers: Timers::default(),
        }
    }

    fn at(ip: &str) -> Place {
        Place::Address { ip: ip.parse().unwrap(), port: 179, passive: false }
    }

    fn range(cidr: &str) -> Place {
        Place::Range { cidr: cidr.parse().unwrap(), limit: 10 }
    }

    fn configured(neighbours: Vec<Neighbour>) -> Config {
        config(&Reflector {
            as_number: AsNumber::DEFAULT,
            router_id: Ipv4Addr::new(192, 0, 2, 9),
            cluster_id: Ipv4Addr::new(192, 0, 2, 9),
            selection_deferral: Duration::from_secs(60),
            neighbours,
        })
    }

    #[test]
    fn clients_are_of_our_as_and_are_reflected_to() {
        let config = configured(vec![neighbour(at("192.0.2.1")), neighbour(range("10.0.0.0/8"))]);
        let peer = &config.peers[&PeerKey::new("192.0.2.1".parse().unwrap())];
        for peer in [peer, &config.dynamic[0].peer] {
            assert_eq!((peer.remote_as, peer.client), (RemoteAs::Exactly(Asn(64512)), true));
            assert_eq!(peer.capabilities.families, FamilySet::BOTH);
            assert_eq!(peer.export.otherwise, Otherwise::ByPeerType);
        }
        assert_eq!(config.cluster_id, RouterId::new(Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn a_neighbour_in_another_as_is_no_client_and_gets_what_is_listed_and_no_more() {
        let outside = Neighbour {
            as_number: AsNumber::new(65001),
            announce: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            ..neighbour(at("192.0.2.254"))
        };
        let config = configured(vec![outside]);
        let peer = config.peers.values().next().unwrap();
        assert_eq!((peer.remote_as, peer.client), (RemoteAs::Exactly(Asn(65001)), false));
        assert_eq!((peer.export.rules.len(), peer.export.otherwise), (1, Otherwise::Reject));
        assert_eq!(peer.import.otherwise, Otherwise::ByPeerType, "RFC 8212");
    }

    #[test]
    fn guards_become_those_of_the_connection() {
        let guard = Guard { password: Secret::new(b"corduroy"), ttl_security: Some(1) };
        let config = configured(vec![Neighbour { guard, ..neighbour(at("192.0.2.1")) }]);
        let transport = &config.peers.values().next().unwrap().transport;
        assert_eq!((transport.ttl, transport.password.is_some()), (Ttl::Security { hops: 1 }, true));
    }
}
