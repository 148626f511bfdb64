//! How BGPPeers stand.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corduroy_api::bgp_peer::{Local, Remote};
use corduroy_api::{AsNumber, BgpPeer, FabricNode};

use super::{Findings, Reason};
use crate::Model;
use crate::peering::as_of;

/// How many nodes a message names.
const NAMED: usize = 3;

/// What is to be said of every BGPPeer, in order of their names.
pub(super) fn findings(model: &Model) -> impl Iterator<Item = (&String, Findings)> {
    let mut peers = Peers::new(model);
    model.peers().iter().map(move |(name, peer)| (name, peers.judge(peer)))
}

/// The nodes, and the BGPPeers that were looked at before, which come first where two mean the same session.
struct Peers<'m> {
    model: &'m Model,
    nodes: Vec<&'m FabricNode>,
    at: BTreeMap<IpAddr, usize>,
    before: Vec<Sides<'m>>,
}

/// A BGPPeer with whom it chooses, each a yes or no for every node.
struct Sides<'m> {
    peer: &'m BgpPeer,
    local: Vec<bool>,
    /// Of a selector; of an address that is a node's, that node.
    remote: Vec<bool>,
}

/// The far end of a session.
#[derive(Clone, Copy)]
enum Far {
    Node { index: usize, ipv6: bool },
    Outside(IpAddr),
}

impl<'m> Peers<'m> {
    fn new(model: &'m Model) -> Self {
        let nodes: Vec<&FabricNode> = model.nodes().values().map(|node| &**node).collect();
        let addresses = nodes.iter().enumerate().flat_map(|(index, node)| {
            let both = [false, true].into_iter().filter_map(|ipv6| node.address(ipv6));
            both.map(move |net| (net.ip(), index))
        });
        // Of two nodes with one address the first has it.
        let at = addresses.collect::<Vec<_>>().into_iter().rev().collect();
        Self { model, nodes, at, before: Vec::new() }
    }

    fn judge(&mut self, peer: &'m BgpPeer) -> Findings {
        let mut found = Findings::default();
        for (i, name) in peer.filters.iter().enumerate() {
            if !self.model.filters().contains_key(name) {
                let why =
                    format!("there is no BGPFilter/{name}; until there is, no route passes its sessions");
                found.add(Reason::NoFilter, &format!("spec.filters[{i}]"), why);
            }
        }
        let password = found.0.len();
        found.password(self.model, "spec.password.secretKeyRef", peer.transport.password.as_ref());
        let runs = found.0.len() == password;
        let sides = Sides { peer, local: self.local(peer), remote: self.remote(peer) };
        let can_be = if sides.local.contains(&true) {
            match &peer.remote {
                Remote::Address { ip, as_number, .. } => self.by_address(&sides, *ip, *as_number, &mut found),
                Remote::Selector(_) => self.by_selector(&sides, &mut found),
            }
        } else {
            let (field, why) = nobody(peer);
            found.add(Reason::NoNode, field, why);
            false
        };
        if runs && can_be {
            self.before.push(sides);
        }
        found
    }

    fn local(&self, peer: &BgpPeer) -> Vec<bool> {
        let is_local = |node: &&FabricNode| match &peer.local {
            Local::All => true,
            Local::Node(name) => *name == node.metadata.name,
            Local::Selector(selector) => selector.matches(&node.metadata.labels),
        };
        self.nodes.iter().map(is_local).collect()
    }

    fn remote(&self, peer: &BgpPeer) -> Vec<bool> {
        match &peer.remote {
            Remote::Selector(selector) => {
                self.nodes.iter().map(|node| selector.matches(&node.metadata.labels)).collect()
            }
            Remote::Address { ip, .. } => {
                let index = self.at.get(ip).copied();
                (0..self.nodes.len()).map(|i| Some(i) == index).collect()
            }
        }
    }

    /// Returns whether there is a session.
    fn by_address(
        &self,
        sides: &Sides<'m>,
        ip: IpAddr,
        given: Option<AsNumber>,
        found: &mut Findings,
    ) -> bool {
        let field = "spec.peerIP";
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            let why =
                format!("{ip} is link-local, which is not enough to find a neighbour; use a global address");
            found.add(Reason::Unreachable, field, why);
            return false;
        }
        let node = self.at.get(&ip).and_then(|index| self.nodes.get(*index));
        let known = node.map(|node| as_of(self.model, node));
        if let (Some(given), Some(known), Some(node)) = (given, known, node)
            && given != known
        {
            let name = &node.metadata.name;
            let why = format!("{ip} is FabricNode/{name}, whose AS is {known}, not {given}; it will refuse");
            found.add(Reason::WrongAS, "spec.asNumber", why);
        }
        if given.or(known).is_none() {
            let why =
                format!("missing: {ip} is no FabricNode's address, so the AS of this peer must be given");
            found.add(Reason::NoAS, "spec.asNumber", why);
            return false;
        }
        let locals: Vec<usize> =
            chosen(&sides.local).filter(|i| sides.remote.get(*i) != Some(&true)).collect();
        if locals.is_empty() {
            let why = format!("{ip} is an address of the only node it is for; there is no such session");
            found.add(Reason::OwnAddress, field, why);
            return false;
        }
        self.each_local(sides, ip, &locals, found)
    }

    /// From each of these nodes to an address.
    fn each_local(&self, sides: &Sides<'m>, ip: IpAddr, locals: &[usize], found: &mut Findings) -> bool {
        let field = "spec.peerIP";
        let far = match self.at.get(&ip) {
            Some(index) => Far::Node { index: *index, ipv6: ip.is_ipv6() },
            None => Far::Outside(ip),
        };
        let has = |i: &usize| {
            let node = self.nodes.get(*i);
            !sides.peer.transport.use_node_ip || node.is_some_and(|node| node.address(ip.is_ipv6()).is_some())
        };
        let (able, unable): (Vec<usize>, Vec<usize>) = locals.iter().partition(|i| has(i));
        let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
        if able.is_empty() {
            let why = format!("{ip} is not to be reached: no node it is for has an {family} address");
            found.add(Reason::Unreachable, field, why);
            return false;
        }
        if !unable.is_empty() {
            let (count, all) = (unable.len(), locals.len());
            let why = format!(
                "{count} of {all} nodes have no {family} address to reach {ip} from ({})",
                self.names(&unable)
            );
            found.add(Reason::InForceInPart, field, why);
        }
        let rivals = self.rivals(Some(ip));
        let shaped = |i: &usize| shaper(&rivals, sides, *i, far);
        let others: Vec<(usize, &BgpPeer)> = able.iter().filter_map(|i| Some((*i, shaped(i)?))).collect();
        let Some((_, other)) = others.first() else { return true };
        let name = &other.metadata.name;
        if others.len() == able.len() {
            found.add(
                Reason::AnotherPeer,
                field,
                format!("BGPPeer/{name} means {ip} too and shapes the session"),
            );
        } else {
            let nodes: Vec<usize> = others.iter().map(|(i, _)| *i).collect();
            let why = format!(
                "on {} of {} nodes BGPPeer/{name} or another means {ip} too and shapes the session ({})",
                nodes.len(),
                locals.len(),
                self.names(&nodes)
            );
            found.add(Reason::InForceInPart, field, why);
        }
        true
    }

    /// Between nodes. Returns whether there is a session.
    fn by_selector(&self, sides: &Sides<'m>, found: &mut Findings) -> bool {
        let field = "spec.peerSelector";
        let Remote::Selector(selector) = &sides.peer.remote else { return false };
        let rivals = self.rivals(None);
        let (mut pairs, mut sessions, mut other) = (false, false, None);
        for local in chosen(&sides.local) {
            for remote in chosen(&sides.remote).filter(|remote| *remote != local) {
                pairs = true;
                for ipv6 in self.families(local, remote) {
                    sessions = true;
                    // One that is its own is enough.
                    match shaper(&rivals, sides, local, Far::Node { index: remote, ipv6 }) {
                        None => return true,
                        shaper => other = other.or(shaper),
                    }
                }
            }
        }
        match (pairs, other) {
            (false, _) => {
                let why =
                    format!("{selector} chooses no node but possibly the one itself; there is no session");
                found.add(Reason::NoNeighbour, field, why);
            }
            (true, None) => {
                let why =
                    format!("{selector} chooses no node with an address of a family that the other has");
                found.add(Reason::Unreachable, field, why);
            }
            (true, Some(other)) => {
                let name = &other.metadata.name;
                let why = format!("BGPPeer/{name} or another means the same nodes and shapes the sessions");
                found.add(Reason::AnotherPeer, field, why);
            }
        }
        sessions
    }

    /// The families that both nodes have.
    fn families(&self, one: usize, other: usize) -> impl Iterator<Item = bool> + use<'m> {
        let both = self.nodes.get(one).copied().zip(self.nodes.get(other).copied());
        let has = move |ipv6: &bool| {
            both.is_some_and(|(one, other)| one.address(*ipv6).is_some() && other.address(*ipv6).is_some())
        };
        [false, true].into_iter().filter(has)
    }

    /// Those before that may mean a session with this address, or with nodes where none is given.
    fn rivals(&self, address: Option<IpAddr>) -> Vec<&Sides<'m>> {
        let is_node = address.is_none_or(|address| self.at.contains_key(&address));
        let may = |before: &&Sides<'_>| match (&before.peer.remote, address) {
            (Remote::Selector(_), _) => is_node,
            (Remote::Address { ip, .. }, Some(address)) => *ip == address,
            (Remote::Address { .. }, None) => before.remote.contains(&true),
        };
        self.before.iter().filter(may).collect()
    }

    fn names(&self, nodes: &[usize]) -> String {
        let names = nodes.iter().filter_map(|i| self.nodes.get(*i)).map(|node| node.metadata.name.as_str());
        let shown: Vec<&str> = names.take(NAMED).collect();
        let more = if nodes.len() > NAMED { ", …" } else { "" };
        format!("{}{more}", shown.join(", "))
    }
}

impl Sides<'_> {
    /// Does it give this node a session with that end?
    fn means(&self, local: usize, far: Far) -> bool {
        let is = |side: &[bool], index: usize| side.get(index) == Some(&true);
        match (&self.peer.remote, far) {
            (Remote::Selector(_), Far::Node { index, .. }) => {
                let forward = is(&self.local, local) && is(&self.remote, index);
                forward || (self.peer.reverse && is(&self.remote, local) && is(&self.local, index))
            }
            (Remote::Address { ip, .. }, Far::Node { index, ipv6 }) => {
                is(&self.local, local) && is(&self.remote, index) && ip.is_ipv6() == ipv6
            }
            (Remote::Address { ip, .. }, Far::Outside(to)) => *ip == to && is(&self.local, local),
            (Remote::Selector(_), Far::Outside(_)) => false,
        }
    }
}

/// The BGPPeer that comes first for a session, when it would make another one of it.
fn shaper<'m>(rivals: &[&Sides<'m>], sides: &Sides<'m>, local: usize, far: Far) -> Option<&'m BgpPeer> {
    let first = rivals.iter().find(|before| before.means(local, far))?;
    (!same_shape(first.peer, sides.peer)).then_some(first.peer)
}

fn chosen(side: &[bool]) -> impl Iterator<Item = usize> + '_ {
    side.iter().enumerate().filter(|(_, is)| **is).map(|(i, _)| i)
}

/// That it is for no node.
fn nobody(peer: &BgpPeer) -> (&'static str, String) {
    match &peer.local {
        Local::Node(name) => ("spec.node", format!("there is no FabricNode {name}; there is no session")),
        Local::Selector(selector) => {
            ("spec.nodeSelector", format!("{selector} chooses no node; there is no session"))
        }
        Local::All => ("spec.nodeSelector", "there is no node; there is no session".to_owned()),
    }
}

/// Would both make the same of a session?
fn same_shape(a: &BgpPeer, b: &BgpPeer) -> bool {
    let port = |peer: &BgpPeer| match peer.remote {
        Remote::Address { port, .. } => port,
        Remote::Selector(_) => None,
    };
    let shape = |peer: &BgpPeer| {
        (peer.transport.clone(), peer.timers, peer.next_hop_mode, peer.num_allowed_local_as_numbers)
    };
    let more = |peer: &BgpPeer| (peer.local_as_number, peer.filters.clone(), port(peer));
    shape(a) == shape(b) && more(a) == more(b)
}
