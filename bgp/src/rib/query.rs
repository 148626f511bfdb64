//! Questions: numbers of a peer, pages of routes, and why a route is or is not somewhere.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::Rib;
use super::import::Fault;
use super::intern::{AttrId, Attrs};
use super::paths::{BEST, MULTIPATH, Path, STALE};
use super::peers::PeerTables;
use super::prefixes::Packed;
use super::table::{Table, source};
use crate::attrs::Attributes;
use crate::config::PeerKey;
use crate::decide::{Step, decide};
use crate::export::Member;
use crate::io::PeerId;
use crate::policy::{Community, Scope, Source};
use crate::status::{
    Advertised, ExplainedPath, Explanation, FamilyStatus, Outcome, Route, RouteAttributes, RoutePage,
    RouteQuery, Select, Table as Which, Unusable, Withheld,
};
use crate::{Family, Net};

/// Reads the tables; changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    rib: &'a Rib,
}

impl<'a> Query<'a> {
    pub(super) fn new(rib: &'a Rib) -> Self {
        Self { rib }
    }

    /// What a peer has in the tables, a row a family.
    #[must_use]
    pub fn families(&self, peer: PeerId) -> Vec<FamilyStatus> {
        let id = peer.0;
        let Some(peer) = self.rib.peers.get(id) else { return Vec::new() };
        let has =
            |f: &Family| peer.up && peer.session.families.contains(*f) || peer.family(*f).adj_in.received > 0;
        let views = |f: Family| match f {
            Family::Ipv4Unicast => &self.rib.v4.views,
            Family::Ipv6Unicast => &self.rib.v6.views,
        };
        let row = |family: Family| {
            let part = peer.family(family);
            let views = views(family);
            let view = part.out.and_then(|m| views.get(m.view));
            FamilyStatus {
                family,
                received: part.adj_in.received,
                accepted: part.adj_in.accepted,
                stale: part.adj_in.stale,
                advertised: view.map_or(0, |v| v.advertised(id)),
                end_of_rib_received: part.end_of_rib_received,
                end_of_rib_sent: part.end_of_rib_sent,
                pending: part.next_view.is_some() || part.out.is_some_and(|m| views.pending(&m)),
            }
        };
        Family::ALL.into_iter().filter(has).map(row).collect()
    }

    /// The peers without which we would have no usable path to some prefix. Prefixes are looked at one by one, though
    /// no more than some thousands a peer: for who is about to end a session, not for every look at the status.
    #[must_use]
    pub fn sole(&self) -> BTreeSet<PeerKey> {
        let is_sole = |(id, peer): &(u16, &PeerTables)| {
            let of = |family| &peer.family(family).adj_in;
            self.rib.v4.gives_alone(*id, of(Family::Ipv4Unicast))
                || self.rib.v6.gives_alone(*id, of(Family::Ipv6Unicast))
        };
        self.rib.peers.iter().filter(is_sole).map(|(_, peer)| peer.session.key).collect()
    }

    /// Prefixes, attribute sets and update groups.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            prefixes: [self.rib.v4.prefixes.len(), self.rib.v6.prefixes.len()],
            attribute_sets: self.rib.attrs.len(),
            update_groups: self.rib.v4.views.len() + self.rib.v6.views.len(),
        }
    }

    /// A page of routes.
    #[must_use]
    pub fn routes(&self, query: &RouteQuery) -> RoutePage {
        match query.family {
            Family::Ipv4Unicast => self.page(&self.rib.v4, query),
            Family::Ipv6Unicast => self.page(&self.rib.v6, query),
        }
    }

    /// Every path to a prefix, the step that put it out, and who is told.
    #[must_use]
    pub fn explain(&self, net: Net) -> Explanation {
        match net {
            Net::V4(n) => self.explain_in(&self.rib.v4, n),
            Net::V6(n) => self.explain_in(&self.rib.v6, n),
        }
    }

    fn page<P: Packed>(&self, table: &Table<P>, query: &RouteQuery) -> RoutePage {
        let mut page = RoutePage::default();
        let whole = match query.select {
            Select::Exact(net) => {
                let id = P::from_net(net).and_then(|n| table.prefixes.find(n));
                id.map_or(0..0, |id| id..id + 1)
            }
            Select::All | Select::Within(_) | Select::Covering(_) => query.from..table.prefixes.end(),
        };
        let end = whole.end.min(whole.start.saturating_add(query.scan.max(1)));
        for prefix in whole.start..end {
            let net: Net = table.prefixes.prefix(prefix).into();
            let wanted = match query.select {
                Select::All | Select::Exact(_) => true,
                Select::Within(outer) => outer.contains(net),
                Select::Covering(inner) => net.contains(inner),
            };
            if wanted {
                self.rows(table, prefix, query.table, &mut page.routes);
            }
        }
        page.next = (end < whole.end).then_some(end);
        page
    }

    fn rows<P: Packed>(&self, table: &Table<P>, prefix: u32, which: Which, out: &mut Vec<Route>) {
        let net = table.prefixes.prefix(prefix).into();
        let paths = table.paths(prefix);
        match which {
            Which::LocRib => {
                let used = paths.iter().filter(|p| p.flags & MULTIPATH != 0);
                out.extend(used.map(|p| self.route(net, p, p.attr)));
            }
            Which::AdjRibIn(key) => {
                let Some((id, _)) = self.rib.peers.find(key) else { return };
                out.extend(paths.iter().filter(|p| p.peer == id).map(|p| self.route(net, p, p.attr_in)));
            }
            Which::AdjRibOut(key) => {
                let Some((id, peer)) = self.rib.peers.find(key) else { return };
                let view = peer.family(P::FAMILY).out.and_then(|m| table.views.get(m.view));
                let attr = view.map_or(AttrId::NONE, |v| v.adj_out.at(prefix));
                let told = table.best(prefix).filter(|p| p.peer != id && !attr.is_none());
                out.extend(told.map(|p| self.route(net, p, attr)));
            }
        }
    }

    fn route(&self, net: Net, path: &Path, attr: AttrId) -> Route {
        Route {
            net,
            peer: self.rib.peers.key(path.peer),
            best: path.flags & BEST != 0,
            multipath: path.flags & MULTIPATH != 0,
            stale: path.flags & STALE != 0,
            since: self.rib.began + core::time::Duration::from_secs(path.age.into()),
            attributes: attributes(&self.rib.attrs, attr),
        }
    }

    fn explain_in<P: Packed>(&self, table: &Table<P>, net: P) -> Explanation {
        let id = table.prefixes.find(net);
        let paths = id.map(|id| table.paths(id)).unwrap_or_default();
        let mut lost = Vec::new();
        let decision = decide(&table.candidates(paths, &self.rib.peers, &self.rib.attrs), &mut lost);
        let explained = paths.iter().zip(&lost).enumerate().map(|(i, (path, lost))| {
            let attr = if path.attr.is_none() { path.attr_in } else { path.attr };
            let outcome = match lost {
                None if decision.is_some_and(|d| d.best == i) => {
                    Outcome::Best { by: decision.and_then(|d| d.by) }
                }
                None => Outcome::Lost { at: Step::PeerAddress },
                Some(Step::Usable) => Outcome::Unusable(self.unusable(path, net)),
                Some(_) if path.flags & MULTIPATH != 0 => Outcome::Multipath,
                Some(at) => Outcome::Lost { at: *at },
            };
            ExplainedPath { route: self.route(net.into(), path, attr), outcome }
        });
        let advertised =
            self.rib.peers.iter().filter(|(_, p)| p.up && p.session.families.contains(P::FAMILY));
        Explanation {
            net: net.into(),
            paths: explained.collect(),
            advertised: advertised
                .map(|(peer, p)| Advertised {
                    peer: p.session.key,
                    how: self.told(table, (peer, p), id, net),
                })
                .collect(),
        }
    }

    fn unusable<P: Packed>(&self, path: &Path, net: P) -> Unusable {
        match Fault::unusable(path.flags) {
            Some(Unusable::Policy(_)) | None => {
                let filter = self.rib.peers.get(path.peer).map(|p| &p.family(P::FAMILY).import);
                let mut scope = Scope::default();
                Unusable::Policy(filter.and_then(|f| {
                    let route = Attributes::new(self.rib.attrs.block(path.attr_in));
                    f.scope(route, Source::RemotePeers, &mut scope);
                    f.name(f.verdict(&scope, net))
                }))
            }
            Some(other) => other,
        }
    }

    fn told<P: Packed>(
        &self,
        table: &Table<P>,
        (id, peer): (u16, &PeerTables),
        prefix: Option<u32>,
        net: P,
    ) -> Result<RouteAttributes, Withheld> {
        if !table.views.open {
            return Err(Withheld::Deferred);
        }
        let (prefix, best) = prefix.and_then(|p| Some((p, table.best(p)?))).ok_or(Withheld::NoPath)?;
        if best.peer == id {
            return Err(Withheld::FromThisPeer);
        }
        let member: Member = peer.family(P::FAMILY).out.ok_or(Withheld::Pending)?;
        let view = table.views.get(member.view).ok_or(Withheld::Pending)?;
        let subject = (best.attr, source(best.peer, &self.rib.peers));
        view.why(subject, net, &self.rib.attrs)?;
        if table.views.unread(&member).contains(prefix) {
            return Err(Withheld::Pending);
        }
        Ok(attributes(&self.rib.attrs, view.adj_out.at(prefix)))
    }
}

/// How much the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Prefixes of each family in the order of [`Family::ALL`], those about to be forgotten included.
    pub prefixes: [usize; 2],
    /// Distinct attribute sets, incoming and outgoing.
    pub attribute_sets: usize,
    /// Update groups.
    pub update_groups: usize,
}

fn attributes(attrs: &Attrs, attr: AttrId) -> RouteAttributes {
    let view = Attributes::new(attrs.block(attr));
    let standard = view.communities().map(Community::Standard);
    RouteAttributes {
        origin: view.origin() as u8,
        as_path: format!("{}", view.as_path()).into(),
        next_hop: view.next_hop().map(|hop| hop.address()),
        med: view.med(),
        local_pref: view.local_pref(),
        communities: standard.chain(view.large_communities().map(Community::Large)).collect(),
        originator_id: view.originator_id(),
        cluster_list: view.cluster_list().collect(),
    }
}
