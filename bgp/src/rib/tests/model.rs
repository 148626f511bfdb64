//! What must be: every peer's view of us, computed from what everybody announced, with nothing remembered.

use super::*;
use crate::attrs::encode::{Edit, Reflection};
use crate::policy::Community;
use crate::status::{RouteQuery, Select, Table};

/// Whose path it is, `None` for our own; and its attributes after import.
type Candidate = (Option<u16>, Vec<u8>);

fn external(peer: Option<u16>) -> bool {
    peer.is_some_and(|p| p < 2)
}

impl World {
    fn cluster(&self) -> Option<RouterId> {
        self.config.cluster_id
    }

    /// What import makes of a peer's announcement.
    fn imported(&self, peer: u16, net: Net) -> Option<Vec<u8>> {
        let setup = self.setups[usize::from(peer)];
        let (block, _) = self.remotes[usize::from(peer)].announced.get(&net)?;
        let route = Attributes::new(block);
        let own = route.as_path().iter().filter(|a| a.0 == OUR_AS).count();
        let cluster = self.cluster().is_some_and(|own| route.cluster_list().any(|c| c == own.get()));
        let ours = route.next_hop().unwrap().address() == our_address(peer);
        if own > usize::from(setup.allow_own_as) || cluster || route.originator_id() == Some(id(254)) || ours
        {
            return None;
        }
        let said = setup.import.says(net, route, false, external(Some(peer)))?;
        let going = route.communities().any(|c| c == Community::GRACEFUL_SHUTDOWN);
        let communities = said.communities(route, None);
        let edits = Edits {
            prepend: &said.prepend,
            med: said.med.map_or(Edit::Keep, Edit::Set),
            local_pref: if going { Edit::Set(0) } else { said.local_pref.map_or(Edit::Keep, Edit::Set) },
            communities: communities.as_deref(),
            ..Edits::default()
        };
        let mut out = Vec::new();
        edits.apply(block, &mut out);
        Some(out)
    }

    fn candidates(&self, net: Net) -> Vec<Candidate> {
        let own = self.originated.get(&net).map(|b| (None, b.clone()));
        let theirs = (0..PEERS).filter_map(|peer| Some((Some(peer), self.imported(peer, net)?)));
        own.into_iter().chain(theirs).collect()
    }

    /// Those that only a tie-break tells apart.
    fn top(candidates: &[Candidate]) -> Vec<&Candidate> {
        let rank = |(peer, block): &Candidate| {
            let route = Attributes::new(block);
            let pref = route.local_pref().unwrap_or(100);
            (core::cmp::Reverse(pref), peer.is_some(), route.as_path().hops(), route.origin())
        };
        let med = |(_, block): &Candidate| {
            let route = Attributes::new(block);
            (route.as_path().iter().next(), route.med().unwrap_or(0))
        };
        let best = candidates.iter().map(rank).min();
        let equal: Vec<_> = candidates.iter().filter(|c| Some(rank(c)) == best).collect();
        let beaten = |c: &Candidate| equal.iter().any(|o| med(o).0 == med(c).0 && med(o).1 < med(c).1);
        let left: Vec<_> = equal.iter().copied().filter(|c| !beaten(c)).collect();
        let some_external = left.iter().any(|(peer, _)| external(*peer));
        left.into_iter().filter(|(peer, _)| external(*peer) || !some_external).collect()
    }

    /// What peer `to` is told of a path, `None` when nothing.
    fn told(&self, to: u16, net: Net, (from, block): &Candidate) -> Option<(Vec<u8>, Vec<u8>)> {
        let (out, into) = (external(Some(to)), from.is_some() && !external(*from));
        let client = |p: u16| self.setups[usize::from(p)].client;
        let route = Attributes::new(block);
        let has = |c: u32| route.communities().any(|other| other == c);
        if *from == Some(to)
            || into && !out && !(self.cluster().is_some() && (client(to) || from.is_some_and(client)))
            || has(Community::NO_ADVERTISE)
            || out && has(Community::NO_EXPORT)
        {
            return None;
        }
        let setup = self.setups[usize::from(to)];
        let said = setup.export.says(net, route, from.is_none(), out)?;
        let own_hop = route.next_hop().unwrap().address().is_unspecified()
            || setup.next_hop == NextHop::SelfAddress
            || setup.next_hop == NextHop::Auto && out && from.is_some();
        let ours = our_address(to);
        if own_hop && ours.is_ipv4() != (net.family() == Family::Ipv4Unicast) {
            return None;
        }
        let mut prepend = said.prepend.clone();
        if out {
            prepend.insert(0, Asn(OUR_AS));
        }
        let communities = said.communities(route, self.draining.then_some(Community::GRACEFUL_SHUTDOWN));
        let going = self.draining || from.is_none() && has(Community::GRACEFUL_SHUTDOWN);
        let local_pref = match (out, going) {
            (true, _) => Edit::Drop,
            (false, true) => Edit::Set(0),
            (false, false) => Edit::Set(said.local_pref.or(route.local_pref()).unwrap_or(100)),
        };
        let med = match said.med {
            Some(n) => Edit::Set(n),
            None if out && from.is_some() => Edit::Drop,
            None => Edit::Keep,
        };
        let reflection = match (from, self.cluster()) {
            _ if out => Reflection::Drop,
            (Some(from), Some(cluster)) if into => {
                Reflection::Reflect { originator: id(u8::try_from(*from).unwrap() + 1), cluster }
            }
            _ => Reflection::Keep,
        };
        let next_hop = own_hop.then(|| NextHopValue::from(ours));
        let communities = communities.as_deref();
        let edits = Edits {
            prepend: &prepend,
            next_hop,
            med,
            local_pref,
            reflection,
            communities,
            ..Edits::default()
        };
        let mut block = Vec::new();
        edits.apply(route.bytes(), &mut block);
        Some(as_received(&block, to))
    }

    fn expected(&self, to: u16, best: &BTreeMap<Net, Candidate>) -> Held {
        best.iter().filter_map(|(net, c)| Some((*net, self.told(to, *net, c)?))).collect()
    }

    pub(super) fn check(&mut self, why: &str) {
        self.settle();
        let best = self.check_loc_rib(why);
        for peer in (0..PEERS).filter(|p| self.remotes[usize::from(*p)].up) {
            let expected = self.expected(peer, &best);
            let remote = &self.remotes[usize::from(peer)];
            assert!(
                remote.held == expected,
                "{why}: what peer {peer} holds: {}",
                differ(&remote.held, &expected)
            );
            assert_eq!(remote.end_of_rib.len(), 2, "{why}: peer {peer} has heard End-of-RIB");
            let rows = self.rib.query().families(PeerId(peer));
            let sum = |of: fn(&crate::status::FamilyStatus) -> u32| rows.iter().map(of).sum::<u32>() as usize;
            let accepted = remote.announced.keys().filter(|net| self.imported(peer, **net).is_some()).count();
            let stale = remote.announced.values().filter(|(_, stale)| *stale).count();
            assert_eq!(
                (sum(|r| r.advertised), sum(|r| r.received), sum(|r| r.accepted), sum(|r| r.stale)),
                (expected.len(), remote.announced.len(), accepted, stale),
                "{why}: advertised to {peer}, received, accepted, stale"
            );
            let alone = |net: &&Net| {
                let others = (0..PEERS).filter(|other| *other != peer);
                self.imported(peer, **net).is_some()
                    && !self.originated.contains_key(*net)
                    && others.into_iter().all(|other| self.imported(other, **net).is_none())
            };
            let sole = remote.announced.keys().any(|net| alone(&net));
            let key = session(peer, self.setups[usize::from(peer)]).key;
            assert_eq!(self.rib.query().sole().contains(&key), sole, "{why}: {peer} alone gives something");
            let nets = |table| self.query(table).into_iter().map(|r| r.0).collect::<BTreeSet<Net>>();
            assert!(
                nets(Table::AdjRibIn(key)).iter().eq(remote.announced.keys()),
                "{why}: Adj-RIB-In of {peer}"
            );
            assert!(nets(Table::AdjRibOut(key)).iter().eq(expected.keys()), "{why}: Adj-RIB-Out of {peer}");
            for net in best.keys().take(5) {
                let explanation = self.rib.query().explain(*net);
                let told = explanation.advertised.iter().find(|a| a.peer == key).unwrap().how.is_ok();
                assert_eq!(told, expected.contains_key(net), "{why}: explains {net} to {peer}");
            }
        }
    }

    fn query(&self, table: Table) -> Vec<(Net, Option<u16>, bool)> {
        let mut all = Vec::new();
        for family in Family::ALL {
            let query = RouteQuery { family, table, select: Select::All, from: 0, scan: u32::MAX };
            for r in self.rib.query().routes(&query).routes {
                let peer = r.peer.map(|key| self.peer(key));
                all.push((r.net, peer, r.best));
            }
        }
        all
    }

    fn peer(&self, key: PeerKey) -> u16 {
        (0..PEERS).find(|p| session(*p, self.setups[usize::from(*p)]).key == key).unwrap()
    }

    /// Every prefix has the best path it must have, and the kernel side was told so.
    fn check_loc_rib(&self, why: &str) -> BTreeMap<Net, Candidate> {
        let theirs = self.remotes.iter().flat_map(|r| r.announced.keys());
        let all: BTreeSet<Net> = theirs.chain(self.originated.keys()).copied().collect();
        let chosen: BTreeMap<Net, Option<u16>> =
            self.query(Table::LocRib).into_iter().filter(|r| r.2).map(|r| (r.0, r.1)).collect();
        let mut best = BTreeMap::new();
        for net in &all {
            let candidates = self.candidates(*net);
            let top = Self::top(&candidates);
            let winner = chosen.get(net).and_then(|p| top.iter().find(|c| c.0 == *p));
            assert_eq!(winner.is_some(), !candidates.is_empty(), "{why}: best of {net}");
            let change = self.loc_rib.get(net);
            assert_eq!(change.is_some(), winner.is_some(), "{why}: {net} in the journal");
            let (Some(change), Some(winner)) = (change, winner) else { continue };
            best.insert(*net, (*winner).clone());
            self.check_equals(&alloc::format!("{why}: {net}"), change, winner, &top);
        }
        assert!(chosen.keys().all(|net| all.contains(net)), "{why}: something is best that nobody announced");
        best
    }

    fn check_equals(&self, why: &str, change: &Change, winner: &Candidate, top: &[&Candidate]) {
        let path = |c: &Candidate| Attributes::new(&c.1).as_path().iter().collect::<Vec<_>>();
        let hop = |c: &Candidate| Attributes::new(&c.1).next_hop().unwrap().address();
        let equal = top.iter().filter(|c| self.config.multipath_relax || path(c) == path(winner));
        let hops: BTreeSet<IpAddr> = equal.map(|c| hop(c)).collect();
        let seen: BTreeSet<IpAddr> = change.paths.iter().map(|p| p.next_hop).collect();
        let first = change.paths[0];
        assert_eq!(
            (first.next_hop, first.peer.map(|k| self.peer(k))),
            (hop(winner), winner.0),
            "{why}: first"
        );
        assert_eq!(seen.len(), hops.len().min(self.config.multipath.into()), "{why}: equal paths");
        assert!(seen.is_subset(&hops), "{why}: next hops");
        for path in &change.paths {
            let stale = path.peer.is_some_and(|key| {
                let announced = &self.remotes[usize::from(self.peer(key))].announced;
                announced[&change.net].1
            });
            assert_eq!(path.stale, stale, "{why}: stale");
        }
    }
}

/// The first prefix of which two views differ.
fn differ(held: &Held, expected: &Held) -> alloc::string::String {
    let all: BTreeSet<&Net> = held.keys().chain(expected.keys()).collect();
    let first = all.into_iter().find(|net| held.get(net) != expected.get(net));
    first.map_or_else(alloc::string::String::new, |net| {
        alloc::format!("{net} with {:?}, expected {:?}", held.get(net), expected.get(net))
    })
}

/// A canonical block as [`Remote`] keeps what it is told.
fn as_received(block: &[u8], to: u16) -> (Vec<u8>, Vec<u8>) {
    let route = Attributes::new(block);
    let mut rest = Vec::new();
    for a in route.iter().filter(|a| a.code != code::NEXT_HOP) {
        rest.push(a.code);
        match a.value {
            // Two octets for each number; none of these worlds needs more.
            [kind, n, numbers @ ..] if a.code == code::AS_PATH && to == 1 => {
                rest.extend([kind, n]);
                numbers.chunks(4).for_each(|number| rest.extend_from_slice(&number[2..]));
            }
            value => rest.extend_from_slice(value),
        }
    }
    (route.next_hop().unwrap().octets().to_vec(), rest)
}
