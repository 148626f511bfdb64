//! The queue's items and the steps they are done in.
//!
//! Items are taken strictly in order. One that concerns more than a few prefixes becomes jobs that remember how far
//! they are; the next item is taken when they are done, so nothing ever meets a half-done change.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::import::Fault;
use super::intern::{AttrId, Attrs};
use super::parts::InRib;
use super::paths::{LOCAL, Path};
use super::peers::{AdjIn, PeerFamily, PeerTables, peer_type};
use super::prefixes::Packed;
use super::table::Table;
use super::{Rib, Settings};
use crate::attrs::{NextHopValue, encode};
use crate::config::{MaxPrefixes, MaxPrefixesAction};
use crate::event::Event;
use crate::export::ExportView;
use crate::io::{Batch, Generation, Origination, PeerId, RibInput, RibOutput, Session};
use crate::{Asn, Family, FamilySet, Net, RouterId};

/// Something in the inbox.
#[derive(Debug)]
pub(super) enum Item {
    Input(RibInput),
    Originate(Net, Origination),
    Withdraw(Net),
    OriginationComplete,
    Configure(Settings),
    Drain,
}

/// Something that takes many steps.
#[derive(Debug)]
pub(super) enum Job {
    /// The NLRI of a batch from these offsets on.
    Batch { batch: Batch, reach: usize, unreach: usize, begun: bool },
    /// Something is done with every path of a peer.
    List { peer: u16, family: Family, what: Each, at: usize, kept: usize },
    /// Every prefix is decided again; after that, peers may be told.
    Decide { family: Family, at: u32 },
    /// A peer's first table is in.
    EndOfRib { peer: u16, family: Family },
    /// Selection is no longer deferred: first tables that came in meanwhile are decided now.
    Selected { family: Family },
    /// The slot is free.
    Forget { peer: u16 },
}

/// What is done with every path of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    /// It goes.
    Remove,
    /// It goes if it is stale.
    Sweep,
    /// It becomes stale.
    MakeStale,
    /// Import policy is run again.
    Reimport,
    /// It is decided and exported again: its peer is another to reflection or tie-breaks.
    Anew,
    /// Its list entry stays unless it is there twice or for nothing.
    Tidy,
    /// What the walk before left on the paths goes.
    Clear,
}

impl Rib {
    /// One step of the queue; false when there is none.
    pub(super) fn step(&mut self, left: &mut usize) -> bool {
        if let Some(job) = self.queue.jobs.pop_front() {
            if let Some(rest) = self.job(job, left) {
                self.queue.jobs.push_front(rest);
            }
            return true;
        }
        let Some(item) = self.queue.inbox.pop_front() else { return false };
        *left -= 1;
        match item {
            Item::Input(input) => self.input(input),
            Item::Originate(net, route) => self.originate_now(net, &route),
            Item::Withdraw(net) => self.withdraw_now(net),
            Item::OriginationComplete => {
                self.queue.originated = true;
                self.open();
            }
            // Not before: settings queued earlier may still have to come.
            Item::Configure(new) => self.settle(Settings { draining: self.settings.draining, ..new }),
            Item::Drain => self.settle(Settings { draining: true, ..self.settings }),
        }
        true
    }

    fn input(&mut self, input: RibInput) {
        if let RibInput::Update(batch) = input {
            self.queue.bytes -= batch.attrs.len() + batch.reach.len() + batch.unreach.len();
            self.queue.jobs.push_back(Job::Batch { batch, reach: 0, unreach: 0, begun: false });
            return;
        }
        // Whatever else happens to a peer finds the tables agreeing.
        self.flush();
        match input {
            RibInput::Update(_) => {}
            RibInput::Up { peer, generation, session, keep_stale } => {
                self.up(peer, generation, session, keep_stale);
                self.turned(peer);
            }
            RibInput::Down { peer, keep } => {
                self.down(peer, keep);
                self.turned(peer);
            }
            RibInput::EndOfRib { peer, generation, family } => {
                let current = self.peers.get(peer.0).is_some_and(|p| p.up && p.generation == generation);
                if current {
                    self.each(peer.0, family, Each::Sweep);
                    self.queue.jobs.push_back(Job::EndOfRib { peer: peer.0, family });
                }
            }
            RibInput::SweepStale { peer, families } => {
                families.iter().for_each(|f| self.each(peer.0, f, Each::Sweep));
            }
            RibInput::Refresh { peer, family } => match family {
                Family::Ipv4Unicast => self.v4.refresh(peer.0, &mut self.peers),
                Family::Ipv6Unicast => self.v6.refresh(peer.0, &mut self.peers),
            },
            RibInput::Reconfigured { peer, session } => self.reconfigure(peer.0, &session),
            RibInput::Removed { peer } => {
                self.down(peer, FamilySet::EMPTY);
                self.queue.jobs.push_back(Job::Forget { peer: peer.0 });
                self.turned(peer);
            }
            RibInput::Select { family } => {
                let table_selected = match family {
                    Family::Ipv4Unicast => core::mem::replace(&mut self.v4.selected, true),
                    Family::Ipv6Unicast => core::mem::replace(&mut self.v6.selected, true),
                };
                if !table_selected {
                    self.queue.jobs.extend([Job::Decide { family, at: 0 }, Job::Selected { family }]);
                }
            }
        }
    }

    fn turned(&mut self, peer: PeerId) {
        if let Some(n) = self.queue.turning.get_mut(&peer.0) {
            *n -= 1;
            if *n == 0 {
                self.queue.turning.remove(&peer.0);
            }
        }
    }

    fn each(&mut self, peer: u16, family: Family, what: Each) {
        let Some(p) = self.peers.get(peer) else { return };
        let adj = &p.family(family).adj_in;
        let nothing = match what {
            Each::Sweep => adj.stale == 0,
            Each::Remove | Each::MakeStale | Each::Reimport | Each::Anew | Each::Tidy | Each::Clear => {
                adj.list.is_empty()
            }
        };
        if !nothing {
            self.queue.jobs.push_back(Job::List { peer, family, what, at: 0, kept: 0 });
        }
    }

    fn up(&mut self, id: PeerId, generation: Generation, session: Arc<Session>, keep_stale: FamilySet) {
        let kind = peer_type(&session);
        let [import_v4, import_v6] =
            Family::ALL.map(|family| self.filters.compile(&session.config.import, family, kind));
        if let Some(peer) = self.peers.get_mut(id.0) {
            let another = standing(&peer.session) != standing(&session);
            let mut other_policy = loops(&peer.session) != loops(&session);
            (peer.session, peer.generation, peer.up, peer.refused) = (session, generation, true, false);
            peer.notified = false;
            for (part, import) in peer.families.iter_mut().zip([import_v4, import_v6]) {
                other_policy |= !Arc::ptr_eq(&part.import, &import);
                part.import = import;
                (part.end_of_rib_received, part.end_of_rib_sent, part.adj_in.warned) = (false, false, false);
            }
            for family in Family::ALL {
                if !keep_stale.contains(family) {
                    self.each(id.0, family, Each::Sweep);
                } else if other_policy {
                    self.each(id.0, family, Each::Reimport);
                }
                if another {
                    self.each(id.0, family, Each::Anew);
                }
            }
        } else {
            let part = |import| PeerFamily {
                import,
                adj_in: AdjIn::default(),
                end_of_rib_received: false,
                end_of_rib_sent: false,
                out: None,
                next_view: None,
            };
            let families = [part(import_v4), part(import_v6)];
            let peer =
                PeerTables { session, generation, up: true, notified: false, refused: false, families };
            self.peers.put(id, peer);
        }
        self.join(id.0);
    }

    /// Puts a peer in the update groups its session asks for.
    fn join(&mut self, peer: u16) {
        let Some(session) = self.peers.get(peer).filter(|p| p.up).map(|p| p.session.clone()) else { return };
        for family in session.families.iter() {
            let filter = self.filters.compile(&session.config.export, family, peer_type(&session));
            let key = ExportView::new(&session, family, &filter, &self.settings);
            match family {
                Family::Ipv4Unicast => self.v4.views.join(peer, &key, &filter, &mut self.peers),
                Family::Ipv6Unicast => self.v6.views.join(peer, &key, &filter, &mut self.peers),
            }
        }
    }

    fn down(&mut self, id: PeerId, keep: FamilySet) {
        self.v4.views.leave(id.0, &mut self.peers);
        self.v6.views.leave(id.0, &mut self.peers);
        let Some(peer) = self.peers.get_mut(id.0) else { return };
        peer.up = false;
        for family in Family::ALL {
            let what = if keep.contains(family) { Each::MakeStale } else { Each::Remove };
            self.each(id.0, family, what);
        }
    }

    fn reconfigure(&mut self, id: u16, session: &Arc<Session>) {
        let kind = peer_type(session);
        let imports = Family::ALL.map(|family| self.filters.compile(&session.config.import, family, kind));
        let Some(peer) = self.peers.get_mut(id) else { return };
        let other_loops = loops(&peer.session) != loops(session);
        let another = standing(&peer.session) != standing(session);
        peer.session = session.clone();
        let mut again = FamilySet::EMPTY;
        for ((part, import), family) in peer.families.iter_mut().zip(imports).zip(Family::ALL) {
            if other_loops || !Arc::ptr_eq(&part.import, &import) {
                part.import = import;
                again = again.with(family);
            }
        }
        again.iter().for_each(|f| self.each(id, f, Each::Reimport));
        if another {
            Family::ALL.into_iter().for_each(|f| self.each(id, f, Each::Anew));
        }
        self.join(id);
    }

    /// Other settings: the least that they ask for.
    fn settle(&mut self, settings: Settings) {
        let before = core::mem::replace(&mut self.settings, settings);
        let ids = |s: &Settings| (s.cluster_id, s.router_id, s.local_as);
        let paths = |s: &Settings| (s.multipath, s.multipath_relax);
        let peers: Vec<u16> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in peers {
            if ids(&before) != ids(&settings) {
                Family::ALL.into_iter().for_each(|f| self.each(peer, f, Each::Reimport));
            }
            self.join(peer);
        }
        if paths(&before) != paths(&settings) {
            let families = Family::ALL.into_iter();
            self.queue.jobs.extend(families.map(|family| Job::Decide { family, at: 0 }));
        }
    }

    fn open(&mut self) {
        if self.queue.originated {
            self.v4.open();
            self.v6.open();
        }
    }

    fn originate_now(&mut self, net: Net, route: &Origination) {
        let [v4, v6] = &mut self.local;
        match net {
            Net::V4(n) => originate(n, route, &mut self.v4, v4, (&mut self.attrs, self.clock)),
            Net::V6(n) => originate(n, route, &mut self.v6, v6, (&mut self.attrs, self.clock)),
        }
    }

    fn withdraw_now(&mut self, net: Net) {
        let [v4, v6] = &mut self.local;
        match net {
            Net::V4(n) => self.v4.withdraw(n, LOCAL, v4, &mut self.attrs),
            Net::V6(n) => self.v6.withdraw(n, LOCAL, v6, &mut self.attrs),
        }
    }

    /// Some steps of a job; what is left of it.
    fn job(&mut self, job: Job, left: &mut usize) -> Option<Job> {
        match job {
            Job::Batch { batch, reach, unreach, begun } => match batch.family {
                Family::Ipv4Unicast => self.batch::<crate::Net4>(batch, (reach, unreach, begun), left),
                Family::Ipv6Unicast => self.batch::<crate::Net6>(batch, (reach, unreach, begun), left),
            },
            Job::List { peer, family, what, at, kept } => match family {
                Family::Ipv4Unicast => self.list::<crate::Net4>((peer, what, at, kept), left),
                Family::Ipv6Unicast => self.list::<crate::Net6>((peer, what, at, kept), left),
            },
            Job::Decide { family, at } => {
                let at = match family {
                    Family::Ipv4Unicast => self.v4.redecide(at, left),
                    Family::Ipv6Unicast => self.v6.redecide(at, left),
                };
                if at.is_none() {
                    self.flush();
                    self.open();
                }
                at.map(|at| Job::Decide { family, at })
            }
            Job::EndOfRib { peer, family } => {
                self.flush();
                if let Some(p) = self.peers.get_mut(peer) {
                    p.family_mut(family).end_of_rib_received = true;
                    self.complete(peer, family);
                }
                None
            }
            Job::Selected { family } => {
                let in_full = |p: &PeerTables| p.up && p.family(family).end_of_rib_received;
                let peers: Vec<u16> =
                    self.peers.iter().filter(|(_, p)| in_full(p)).map(|(id, _)| id).collect();
                peers.into_iter().for_each(|peer| self.complete(peer, family));
                None
            }
            Job::Forget { peer } => {
                self.flush();
                self.peers.remove(PeerId(peer));
                self.said.outputs.push_back(RibOutput::Forgotten { peer: PeerId(peer) });
                None
            }
        }
    }

    /// Says that a peer's first table is in and decided, once the Loc-RIB is drained so far; nothing is decided while
    /// selection is deferred.
    fn complete(&mut self, peer: u16, family: Family) {
        let (selected, mark) = match family {
            Family::Ipv4Unicast => (self.v4.selected, self.v4.journal_mark()),
            Family::Ipv6Unicast => (self.v6.selected, self.v6.journal_mark()),
        };
        if let Some(peer) = self.peers.key(peer).filter(|_| selected) {
            self.said.after_drain.push_back((family, mark, Event::EndOfRib { peer, family }));
        }
    }
}

impl Rib {
    /// Some NLRI of a batch.
    fn batch<P: InRib>(&mut self, batch: Batch, at: (usize, usize, bool), left: &mut usize) -> Option<Job> {
        let (mut reach, mut unreach, begun) = at;
        let id = batch.peer.0;
        let mut p = P::parts(self);
        let current = |p: &PeerTables| p.up && !p.refused && p.generation == batch.generation;
        if !p.peers.get(id).is_some_and(current) {
            return None;
        }
        if !begun {
            *left = left.saturating_sub(1);
            if !batch.reach.is_empty() {
                p.begin(id, &batch.attrs);
            }
        }
        let refused = p.take((&batch, &mut reach, &mut unreach), left);
        let done = reach >= batch.reach.len() && unreach >= batch.unreach.len();
        if done {
            p.import.end(p.attrs);
        }
        for net in refused {
            let key = self.peers.key(id);
            let event = key.map(|peer| RibOutput::Event(Event::Refused { peer, net }));
            self.said.outputs.extend(event);
        }
        if !done {
            return Some(Job::Batch { batch, reach, unreach, begun: true });
        }
        self.check_limit(id, batch.family);
        let untidy = self.peers.get(id).is_some_and(|p| p.family(batch.family).adj_in.untidy());
        if untidy {
            self.each(id, batch.family, Each::Tidy);
        }
        None
    }

    fn check_limit(&mut self, id: u16, family: Family) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(MaxPrefixes { limit, action }) = peer.session.config.max_prefixes else { return };
        let key = peer.session.key;
        let adj = &mut peer.family_mut(family).adj_in;
        let count = adj.received;
        let said = core::mem::replace(&mut adj.warned, count > limit);
        if count <= limit || said {
            return;
        }
        let output = match action {
            MaxPrefixesAction::Warn => {
                RibOutput::Event(Event::PrefixLimitExceeded { peer: key, family, count })
            }
            MaxPrefixesAction::Restart(hold_off) => {
                peer.refused = true;
                RibOutput::TooManyPrefixes { peer: PeerId(id), family, count, hold_off }
            }
        };
        self.said.outputs.push_back(output);
    }

    /// Something is done with some paths of a peer.
    fn list<P: InRib>(&mut self, job: (u16, Each, usize, usize), left: &mut usize) -> Option<Job> {
        let (peer, what, at, mut kept) = job;
        let mut p = P::parts(self);
        let mut list = core::mem::take(&mut p.peers.get_mut(peer)?.family_mut(P::FAMILY).adj_in.list);
        let end = list.len().min(at.saturating_add(*left));
        *left -= end - at;
        for i in at..end {
            let Some(prefix) = list.get(i).copied() else { break };
            if what != Each::Tidy {
                p.one(peer, prefix, what);
            } else if p.first_visit(prefix, peer) {
                list.swap(kept, i);
                kept += 1;
            }
        }
        let done = end == list.len();
        if done {
            p.import.end(p.attrs);
            match what {
                Each::Remove => list = Vec::new(),
                Each::Tidy => list.truncate(kept),
                Each::Sweep | Each::MakeStale | Each::Reimport | Each::Anew | Each::Clear => {}
            }
        }
        p.peers.get_mut(peer)?.family_mut(P::FAMILY).adj_in.list = list;
        let job = |what, at| Job::List { peer, family: P::FAMILY, what, at, kept };
        match (done, what) {
            (false, _) => Some(job(what, end)),
            (true, Each::Tidy) => Some(job(Each::Clear, 0)),
            (true, _) => None,
        }
    }
}

/// What of a peer the decision and reflection look at.
fn standing(session: &Session) -> (bool, RouterId, bool) {
    (session.internal(), session.router_id, session.config.client)
}

/// What of a peer the loop checks of import look at.
fn loops(session: &Session) -> (u8, Asn, IpAddr) {
    (session.config.allow_own_as, session.local_as, session.local)
}

fn originate<P: Packed>(
    net: P,
    route: &Origination,
    table: &mut Table<P>,
    local: &mut AdjIn,
    (attrs, age): (&mut Attrs, u32),
) {
    let unset = match P::FAMILY {
        Family::Ipv4Unicast => NextHopValue::V4([0; 4]),
        Family::Ipv6Unicast => NextHopValue::V6([0; 16]),
    };
    let mut block = Vec::new();
    encode::put_originated(route.next_hop.map_or(unset, NextHopValue::from), route, &mut block);
    let attr = attrs.intern(&block);
    if attr == AttrId::NONE {
        return;
    }
    attrs.retain(attr);
    let path = Path { attr_in: attr, attr, peer: LOCAL, flags: Fault::None.flags(), age };
    table.announce(net, path, local, attrs);
}
