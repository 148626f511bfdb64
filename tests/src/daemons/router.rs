//! What a daemon shall be.

use std::net::{IpAddr, Ipv4Addr};

/// One BGP router. Build it with struct update syntax from [`Router::new`].
#[derive(Clone, Debug)]
pub struct Router {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub id: Ipv4Addr,
    /// Its peers.
    pub neighbours: Vec<Neighbour>,
    /// Prefixes it originates from the start.
    pub announce: Vec<String>,
    /// Put what it learns into the kernel of its namespace (BIRD only), by protocol `bird`.
    pub kernel: bool,
    /// Listens for sessions on this port.
    pub port: u16,
    /// More configuration in the daemon's own language, appended.
    pub extra: String,
}

impl Router {
    /// A router without peers, on port 179.
    #[must_use]
    pub fn new(asn: u32, id: &str) -> Self {
        let id = id.parse().unwrap_or_else(|e| panic!("router id {id}: {e}"));
        Self {
            asn,
            id,
            neighbours: Vec::new(),
            announce: Vec::new(),
            kernel: false,
            port: 179,
            extra: String::new(),
        }
    }

    /// With one more peer.
    #[must_use]
    pub fn peer(mut self, neighbour: Neighbour) -> Self {
        self.neighbours.push(neighbour);
        self
    }

    /// Originating one more prefix.
    #[must_use]
    pub fn announcing(mut self, prefix: &str) -> Self {
        self.announce.push(prefix.to_owned());
        self
    }

    /// Its prefixes of one family.
    pub(super) fn own(&self, v6: bool) -> impl Iterator<Item = &str> {
        self.announce.iter().map(String::as_str).filter(move |prefix| prefix.contains(':') == v6)
    }
}

/// One peer of a [`Router`]. The session carries IPv4 and IPv6 unicast, whatever it runs over.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// The address to speak from, where there is a choice; also the next hop of the other family is derived from
    /// the interface that holds it.
    pub local: Option<IpAddr>,
    /// TCP MD5 key (RFC 2385).
    pub password: Option<String>,
    /// Generalised TTL security at one hop (RFC 5082).
    pub ttl_security: bool,
    /// A reflector client of this router (RFC 4456).
    pub client: bool,
    /// Never connect, only accept.
    pub passive: bool,
    /// Hold time in seconds.
    pub hold: u16,
    /// Graceful restart with this restart time in seconds (RFC 4724).
    pub graceful_restart: Option<u16>,
}

impl Neighbour {
    /// A peer with the usual settings: hold time 90 s, nothing special.
    #[must_use]
    pub fn new(address: &str, asn: u32) -> Self {
        let address = address.parse().unwrap_or_else(|e| panic!("neighbour {address}: {e}"));
        Self {
            address,
            asn,
            local: None,
            password: None,
            ttl_security: false,
            client: false,
            passive: false,
            hold: 90,
            graceful_restart: None,
        }
    }
}
