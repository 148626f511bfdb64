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
    /// The attributes they carry beyond those that all routes carry.
    pub marks: Option<Marks>,
    /// Put what it learns into the kernel of its namespace (BIRD only), by protocol `bird`.
    pub kernel: bool,
    /// Listens for sessions on this port.
    pub port: u16,
    /// Logs nothing and keeps no copy of what peers sent beyond what it works with: for measurements.
    pub quiet: bool,
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
            marks: None,
            kernel: false,
            port: 179,
            quiet: false,
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

    /// With these attributes on everything it originates from the start.
    #[must_use]
    pub fn marked(mut self, marks: Marks) -> Self {
        self.marks = Some(marks);
        self
    }

    /// Its prefixes of one family.
    pub(super) fn own(&self, v6: bool) -> impl Iterator<Item = &str> {
        self.announce.iter().map(String::as_str).filter(move |prefix| prefix.contains(':') == v6)
    }
}

/// Attributes that a router puts on what it originates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// MULTI_EXIT_DISC.
    pub med: u32,
    /// LOCAL_PREF: sent to iBGP peers only.
    pub local_pref: u32,
    /// One of COMMUNITIES (RFC 1997).
    pub community: (u16, u16),
    /// One of LARGE_COMMUNITIES (RFC 8092).
    pub large_community: [u32; 3],
}

/// What a session carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 and IPv6 unicast, whatever the session runs over. FRR (without zebra), OpenBGPD and ExaBGP have no good
    /// next hop for the family that the session does not run over; BIRD and GoBGP find one.
    #[default]
    Both,
    /// IPv4 unicast.
    V4,
    /// IPv6 unicast.
    V6,
}

impl Families {
    /// Whether it carries IPv6 (`v6`) or IPv4.
    #[must_use]
    pub fn has(self, v6: bool) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => !v6,
            Self::V6 => v6,
        }
    }
}

/// One peer of a [`Router`].
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// What the session carries.
    pub families: Families,
    /// The address to speak from, where there is a choice.
    pub local: Option<IpAddr>,
    /// TCP MD5 key (RFC 2385).
    pub password: Option<String>,
    /// Generalised TTL security at one hop (RFC 5082).
    pub ttl_security: bool,
    /// An eBGP peer that need not be on a subnet of ours. BIRD then sends no link-local next hop.
    pub multihop: bool,
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
            families: Families::Both,
            local: None,
            password: None,
            ttl_security: false,
            multihop: false,
            client: false,
            passive: false,
            hold: 90,
            graceful_restart: None,
        }
    }
}

impl Neighbour {
    /// A peer whose session carries only the family it runs over.
    #[must_use]
    pub fn one_family(address: &str, asn: u32) -> Self {
        let families = if address.contains(':') { Families::V6 } else { Families::V4 };
        Self { families, ..Self::new(address, asn) }
    }
}
