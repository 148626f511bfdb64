//! What is built: routers, links, rules. Plain numbers and std addresses: the oracle reads this and nothing of `bgp`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A prefix: an address with its host bits zero, and a length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfx {
    /// The network address.
    pub addr: IpAddr,
    /// Its length in bits.
    pub len: u8,
}

impl Pfx {
    /// Is this IPv6?
    #[must_use]
    pub fn v6(self) -> bool {
        self.addr.is_ipv6()
    }

    /// The `n`th prefix that scenarios use, of either family; lengths vary, no two are equal.
    #[must_use]
    pub fn nth(n: u16, v6: bool) -> Self {
        let [high, low] = n.to_be_bytes();
        if v6 {
            let addr = Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0).into();
            Self { addr, len: [48, 56, 64, 122][usize::from(low % 4)] }
        } else {
            let addr = Ipv4Addr::new(100 + high, low, 0, 0).into();
            Self { addr, len: [16, 24, 26, 32][usize::from(low % 4)] }
        }
    }
}

impl fmt::Display for Pfx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Pfx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A router.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its autonomous system.
    pub asn: u32,
    /// Its BGP identifier.
    pub id: u32,
    /// Its cluster id, when it reflects.
    pub cluster: Option<u32>,
    /// The most equal paths it uses.
    pub multipath: usize,
    /// Paths whose AS_PATHs differ but in length are equal too.
    pub relax: bool,
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its other address.
    pub v6: Ipv6Addr,
}

impl Router {
    /// Its address of a family.
    #[must_use]
    pub fn addr(&self, v6: bool) -> IpAddr {
        if v6 { self.v6.into() } else { self.v4.into() }
    }
}

/// One end of a link: what the router there does with the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The router.
    pub router: usize,
    /// The other end is a client of its.
    pub client: bool,
    /// It never connects.
    pub passive: bool,
    /// Import sets this LOCAL_PREF.
    pub import_pref: Option<u32>,
    /// Export refuses this prefix.
    pub export_deny: Option<Pfx>,
    /// It announces itself as next hop, always.
    pub next_hop_self: bool,
    /// The TCP MD5 key.
    pub password: Option<String>,
    /// Administratively down.
    pub shutdown: bool,
}

/// A session that should be: one family over addresses of the same family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Both ends.
    pub ends: [End; 2],
    /// IPv6 routes over IPv6; else IPv4 over IPv4.
    pub v6: bool,
    /// Both ends offer graceful restart.
    pub graceful: bool,
    /// Seconds.
    pub hold: u16,
}

impl Link {
    /// Nothing stands in the way of a session.
    #[must_use]
    pub fn may_be_up(&self) -> bool {
        let [a, b] = &self.ends;
        let down = a.shutdown || b.shutdown;
        let deaf = a.passive && b.passive;
        a.password == b.password && !down && !deaf
    }
}

/// How a router originates a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES, ascending.
    pub communities: Vec<u32>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The routers.
    pub routers: Vec<Router>,
    /// The links.
    pub links: Vec<Link>,
    /// What each router originates now.
    pub owns: Vec<BTreeMap<Pfx, Own>>,
}

impl Plan {
    /// Adds a router of AS `asn` and returns its number.
    pub fn router(&mut self, asn: u32) -> usize {
        let n = u8::try_from(self.routers.len() + 1).unwrap_or(u8::MAX);
        self.routers.push(Router {
            asn,
            id: u32::from(Ipv4Addr::new(192, 0, 2, n)),
            cluster: None,
            multipath: 1,
            relax: false,
            v4: Ipv4Addr::new(10, 0, 0, n),
            v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)),
        });
        self.owns.push(BTreeMap::new());
        self.routers.len() - 1
    }

    /// Adds a link between two routers and returns its number.
    pub fn link(&mut self, a: usize, b: usize, v6: bool) -> usize {
        let end = |router| End {
            router,
            client: false,
            passive: false,
            import_pref: None,
            export_deny: None,
            next_hop_self: false,
            password: None,
            shutdown: false,
        };
        self.links.push(Link { ends: [end(a), end(b)], v6, graceful: true, hold: 9 });
        self.links.len() - 1
    }

    /// Is the session of this link inside one AS?
    #[must_use]
    pub fn internal(&self, link: usize) -> bool {
        let [a, b] = &self.links[link].ends;
        self.routers[a.router].asn == self.routers[b.router].asn
    }

    /// The end of `link` at `router`, and the other.
    #[must_use]
    pub fn ends(&self, link: usize, router: usize) -> (&End, &End) {
        let [a, b] = &self.links[link].ends;
        if a.router == router { (a, b) } else { (b, a) }
    }

    /// The router at the other end of `link`.
    #[must_use]
    pub fn other(&self, link: usize, router: usize) -> usize {
        self.ends(link, router).1.router
    }

    /// The links of a router.
    pub fn links_of(&self, router: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.links.len()).filter(move |l| self.links[*l].ends.iter().any(|e| e.router == router))
    }

    /// The link between `router` and the router that has `addr`, if there is one.
    #[must_use]
    pub fn link_to(&self, router: usize, addr: IpAddr) -> Option<usize> {
        self.links_of(router).find(|l| {
            let v6 = self.links[*l].v6;
            self.routers[self.other(*l, router)].addr(v6) == addr
        })
    }
}
