//! What the plugin does in the container: wait after ADD until it can send, look at it for CHECK.
//!
//! By the time of a CHECK the agent has compared the host's side. The container's side belongs to whoever runs in
//! there, so nobody watches it; this looks at it once: the interface with its MAC, its addresses, the routes by our
//! gateways, and the permanent neighbours that stand in for ARP and neighbour discovery.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corduroy_ipc::cni::{CniFailure, Mac, Route, code};
use ipnetwork::IpNetwork;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::env::Attachment;
use crate::netlink::{
    IFF_UP, IFINFOMSG, IFLA_IFNAME, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE, Rtnetlink, by_name,
    find, u16_at, u32_at,
};
use crate::result::Expected;

/// Octets before the attributes: ifaddrmsg, rtmsg, ndmsg.
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;
const NDMSG: usize = 12;

/// Numbers of linux/if_link.h, if_addr.h, rtnetlink.h and neighbour.h.
const IFLA_ADDRESS: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const IFLA_OPERSTATE: u16 = 16;
/// RFC 2863 ifOperStatus as the kernel counts it.
const IF_OPER_UP: u8 = 6;

/// How long ADD waits for the kernel's link watch, and how often it asks.
const SETTLES: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(1);

/// Waits until the container can send: an interface whose other end has come up drops what it is given until the
/// kernel's link watch, a thread of its own, has got round to it. A kernel from 6.8 on does that when it is asked. The
/// calling thread is in the container's namespace afterwards.
pub(crate) fn settle(netns: &File, ifname: &str) {
    let is_up = |socket: &Rtnetlink, body: &[u8]| {
        let link = socket.get(RTM_GETLINK, body).ok();
        // One that can't be asked is not waited for.
        link.is_none_or(|link| find(&link, IFINFOMSG, IFLA_OPERSTATE) == Some(&[IF_OPER_UP]))
    };
    let entered = move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network));
    let (Ok(()), Ok(socket), Some(body)) = (entered, Rtnetlink::open(), by_name(ifname)) else { return };
    let end = Instant::now() + SETTLES;
    while !is_up(&socket, &body) && Instant::now() < end {
        std::thread::sleep(AGAIN);
    }
}

/// Compares the container with what `prevResult` says, and names everything that differs. The calling thread
/// is in the container's namespace afterwards.
pub(crate) fn check(netns: &File, attachment: &Attachment, expected: &Expected) -> Result<(), CniFailure> {
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| {
        let why = format!("CNI_NETNS {} can't be entered", attachment.netns);
        CniFailure::new(code::INVALID_NETNS, why).details(error.to_string())
    })?;
    let inside = Inside::read(&attachment.ifname).map_err(|error| {
        CniFailure::new(code::IO, "the container's namespace can't be read").details(error.to_string())
    })?;
    let ifname = &attachment.ifname;
    let Some(inside) = inside else {
        return Err(CniFailure::new(code::CHECK_FAILED, format!("the container has no interface {ifname}")));
    };
    let differences = inside.differences(expected);
    if differences.is_empty() {
        return Ok(());
    }
    let failure =
        CniFailure::new(code::CHECK_FAILED, format!("{ifname} in the container is not as ADD left it"));
    Err(failure.details(differences.join("; ")))
}

/// One interface and what hangs on it.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) is_up: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) ips: Vec<IpNetwork>,
    routes: Vec<Route>,
    /// The permanent ones.
    neighbours: Vec<(IpAddr, Mac)>,
}

impl Inside {
    /// The interface of this name in the namespace of the calling thread.
    pub(crate) fn read(ifname: &str) -> Result<Option<Self>, Errno> {
        let socket = Rtnetlink::open()?;
        let links = socket.list(RTM_GETLINK, IFINFOMSG)?;
        let name = [ifname.as_bytes(), &[0]].concat();
        let Some(link) = links.iter().find(|link| find(link, IFINFOMSG, IFLA_IFNAME) == Some(&name)) else {
            return Ok(None);
        };
        let index = u32_at(link, 4);
        let of_link = |body: &[u8], fixed: usize| u32_at(body, 4) == index && body.len() >= fixed;
        let addresses = socket.list(RTM_GETADDR, IFADDRMSG)?;
        let routes = socket.list(RTM_GETROUTE, RTMSG)?;
        let neighbours = socket.list(RTM_GETNEIGH, NDMSG)?;
        let by_link = |route: &&Vec<u8>| find(route, RTMSG, RTA_OIF).and_then(|oif| u32_at(oif, 0)) == index;
        Ok(Some(Self {
            is_up: u32_at(link, 8).is_some_and(|flags| flags & IFF_UP != 0),
            mac: find(link, IFINFOMSG, IFLA_ADDRESS).and_then(mac),
            ips: addresses.iter().filter(|a| of_link(a, IFADDRMSG)).filter_map(|a| address(a)).collect(),
            routes: routes.iter().filter(by_link).filter_map(|r| route(r)).collect(),
            neighbours: neighbours
                .iter()
                .filter(|n| of_link(n, NDMSG))
                .filter_map(|n| neighbour(n))
                .collect(),
        }))
    }

    /// Everything that is not as it should be, a phrase for each.
    fn differences(&self, expected: &Expected) -> Vec<String> {
        let mut out = Vec::new();
        if !self.is_up {
            out.push("the interface is down".to_owned());
        }
        if let (Some(wanted), Some(mac)) = (expected.mac, self.mac)
            && wanted != mac
        {
            out.push(format!("its MAC is {mac}, not {wanted}"));
        }
        out.extend(
            expected
                .ips
                .iter()
                .filter(|ip| !self.ips.contains(ip))
                .map(|ip| format!("address {ip} is missing")),
        );
        for route in expected.routes.iter().filter(|route| !self.routes.contains(route)) {
            let Some(gw) = route.gw else { continue };
            out.push(format!("route {} via {gw} is missing", route.dst));
        }
        for gw in expected.routes.iter().filter_map(|route| route.gw) {
            let found = self.neighbours.iter().find(|(ip, _)| *ip == gw).map(|(_, mac)| *mac);
            match (found, expected.host_mac) {
                (None, _) => out.push(format!("the permanent neighbour {gw} is missing")),
                (Some(mac), Some(wanted)) if mac != wanted => {
                    out.push(format!("neighbour {gw} has MAC {mac}, not {wanted}"));
                }
                _ => {}
            }
        }
        out
    }
}

fn address(body: &[u8]) -> Option<IpNetwork> {
    // IPv4 has its own address in IFA_LOCAL, and the peer's in IFA_ADDRESS.
    let local = find(body, IFADDRMSG, IFA_LOCAL).or_else(|| find(body, IFADDRMSG, IFA_ADDRESS))?;
    IpNetwork::new(ip(local)?, *body.get(1)?).ok()
}

fn route(body: &[u8]) -> Option<Route> {
    let gw = ip(find(body, RTMSG, RTA_GATEWAY)?)?;
    let all: IpAddr = if gw.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let dst = find(body, RTMSG, RTA_DST).map_or(Some(all), ip)?;
    Some(Route { dst: IpNetwork::new(dst, *body.get(1)?).ok()?, gw: Some(gw) })
}

fn neighbour(body: &[u8]) -> Option<(IpAddr, Mac)> {
    u16_at(body, 8).filter(|state| state & NUD_PERMANENT != 0)?;
    Some((ip(find(body, NDMSG, NDA_DST)?)?, mac(find(body, NDMSG, NDA_LLADDR)?)?))
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

fn mac(octets: &[u8]) -> Option<Mac> {
    octets.try_into().ok().map(Mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected {
            mac: Some(Mac([2, 0, 0, 0, 0, 2])),
            host_mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            ips: vec!["10.0.0.5/32".parse().unwrap()],
            routes: vec![Route { dst: "0.0.0.0/0".parse().unwrap(), gw: "169.254.1.1".parse().ok() }],
        }
    }

    fn as_left() -> Inside {
        let Expected { mac, host_mac, ips, routes } = expected();
        let neighbours = vec![("169.254.1.1".parse().unwrap(), host_mac.unwrap())];
        Inside { is_up: true, mac, ips, routes, neighbours }
    }

    #[test]
    fn everything_that_differs_is_named() {
        assert_eq!(as_left().differences(&expected()), [""; 0]);
        let empty = Inside::default().differences(&expected()).join("; ");
        assert_eq!(
            empty,
            "the interface is down; address 10.0.0.5/32 is missing; route 0.0.0.0/0 via 169.254.1.1 is \
             missing; the permanent neighbour 169.254.1.1 is missing"
        );
        let other = Mac([9; 6]);
        let neighbours = vec![("169.254.1.1".parse().unwrap(), other)];
        let changed =
            Inside { mac: Some(other), neighbours, ..as_left() }.differences(&expected()).join("; ");
        assert_eq!(
            changed,
            "its MAC is 09:09:09:09:09:09, not 02:00:00:00:00:02; \
             neighbour 169.254.1.1 has MAC 09:09:09:09:09:09, not 02:00:00:00:00:01"
        );
    }

    #[test]
    fn the_kernels_own_messages_are_read() {
        let lo = Inside::read("lo").unwrap().expect("every namespace has lo");
        assert_eq!(lo.mac, Some(Mac([0; 6])));
        assert!(Inside::read("notthere0").unwrap().is_none());
    }
}
