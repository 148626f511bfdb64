//! Routes of the main table that are ours.
//!
//! A route is identified by its destination: all of ours carry one protocol number and one metric. The metric
//! is reserved for us because a replacing RTM_NEWROUTE (NLM_F_REPLACE) looks at destination and metric only
//! and would overwrite a foreign route of the same metric, whatever its protocol.

use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use crate::{IpNet, LinkName};

/// The protocol number of our routes (`ip route show proto 67`).
pub const PROTOCOL: u8 = 67;
/// The metric of our routes, used by nobody else.
pub const METRIC: u32 = 1067;

/// A route of ours in the main table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destination: the key.
    pub dst: IpNet,
    /// Where it goes.
    pub kind: RouteKind,
    /// The source address of what this host sends by it itself: the node's address for a pod, the tunnel
    /// address for a tunnel route.
    pub src: Option<IpAddr>,
    /// Octets of a packet at most; `None`: the interface's.
    pub mtu: Option<u32>,
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Pass it to the next hop.
    Unicast(NextHop),
    /// Spread flows over two or more next hops of equal weight, in ascending order without duplicates: use
    /// [`Route::via`], which makes it so.
    Ecmp(Box<[NextHop]>),
    /// Drop it silently: our own blocks, so that what no pod has does not leave by the default route.
    Blackhole,
}

/// One next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The interface.
    pub dev: LinkName,
    /// The gateway; `None` when the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// Take the gateway to be on the link although no address of ours says so (`onlink`).
    pub onlink: bool,
    /// The outer header a device in external mode puts around the packet.
    pub encap: Option<Encap>,
}

/// An outer IPv4 header for an external tunnel device (`encap ip src … dst …`, a lightweight tunnel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encap {
    /// This node's address.
    pub src: Ipv4Addr,
    /// The other node's address.
    pub dst: Ipv4Addr,
}

impl NextHop {
    /// Straight out of the interface, no gateway.
    #[must_use]
    pub fn dev(dev: LinkName) -> Self {
        Self { dev, via: None, onlink: false, encap: None }
    }
    /// By way of a gateway taken to be on the interface's link.
    #[must_use]
    pub fn onlink(dev: LinkName, via: IpAddr) -> Self {
        Self { dev, via: Some(via), onlink: true, encap: None }
    }
    /// Into `ipip-cord`, towards the node at `dst`.
    #[must_use]
    pub fn ipip(src: Ipv4Addr, dst: Ipv4Addr) -> Self {
        Self { dev: LinkName::IPIP, via: None, onlink: false, encap: Some(Encap { src, dst }) }
    }
}

impl Route {
    /// A blackhole.
    #[must_use]
    pub fn blackhole(dst: IpNet) -> Self {
        Self { dst, kind: RouteKind::Blackhole, src: None, mtu: None }
    }
    /// A route by one next hop.
    #[must_use]
    pub fn by(dst: IpNet, hop: NextHop) -> Self {
        Self { dst, kind: RouteKind::Unicast(hop), src: None, mtu: None }
    }
    /// A route by one or more next hops, in any order; `None` when there is none.
    #[must_use]
    pub fn via(dst: IpNet, hops: impl IntoIterator<Item = NextHop>) -> Option<Self> {
        let mut hops: alloc::vec::Vec<NextHop> = hops.into_iter().collect();
        hops.sort_unstable();
        hops.dedup();
        let kind = match hops.as_slice() {
            [] => return None,
            [one] => RouteKind::Unicast(*one),
            _ => RouteKind::Ecmp(hops.into_boxed_slice()),
        };
        Some(Self { dst, kind, src: None, mtu: None })
    }
    /// This route with a source address for what the host itself sends.
    #[must_use]
    pub fn with_src(mut self, src: Option<IpAddr>) -> Self {
        self.src = src;
        self
    }
    /// This route with a largest packet size.
    #[must_use]
    pub fn with_mtu(mut self, mtu: Option<u32>) -> Self {
        self.mtu = mtu;
        self
    }
    /// Its next hops: none for a blackhole.
    #[must_use]
    pub fn hops(&self) -> &[NextHop] {
        match &self.kind {
            RouteKind::Unicast(hop) => core::slice::from_ref(hop),
            RouteKind::Ecmp(hops) => hops,
            RouteKind::Blackhole => &[],
        }
    }
}

/// As `ip route` shows it, without protocol and metric.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RouteKind::Blackhole => write!(f, "blackhole {}", self.dst)?,
            RouteKind::Unicast(hop) => write!(f, "{} {hop}", self.dst)?,
            RouteKind::Ecmp(hops) => {
                write!(f, "{}", self.dst)?;
                hops.iter().try_for_each(|hop| write!(f, " nexthop {hop}"))?;
            }
        }
        self.src.map_or(Ok(()), |src| write!(f, " src {src}"))?;
        self.mtu.map_or(Ok(()), |mtu| write!(f, " mtu {mtu}"))
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Encap { src, dst }) = self.encap {
            write!(f, "encap ip src {src} dst {dst} ")?;
        }
        self.via.map_or(Ok(()), |via| write!(f, "via {via} "))?;
        write!(f, "dev {}", self.dev)?;
        if self.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn routes_read_as_ip_shows_them() {
        let dst: IpNet = "10.1.0.0/26".parse().unwrap();
        let eth0 = LinkName::new("eth0").unwrap();
        let via = |last| IpAddr::from([192, 0, 2, last]);
        assert_eq!(Route::blackhole(dst).to_string(), "blackhole 10.1.0.0/26");
        let tunnelled = NextHop::ipip(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let route = Route::by(dst, tunnelled).with_src(Some(via(9))).with_mtu(Some(1480));
        assert_eq!(
            route.to_string(),
            "10.1.0.0/26 encap ip src 192.0.2.1 dst 192.0.2.2 dev ipip-cord src 192.0.2.9 mtu 1480"
        );
        let both = [NextHop::onlink(eth0, via(3)), NextHop::onlink(eth0, via(2))];
        assert_eq!(
            Route::via(dst, both).unwrap().to_string(),
            "10.1.0.0/26 nexthop via 192.0.2.2 dev eth0 onlink nexthop via 192.0.2.3 dev eth0 onlink"
        );
    }
}
