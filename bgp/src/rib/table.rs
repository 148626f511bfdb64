//! The tables of one family: Adj-RIBs-In and Loc-RIB together, a few bytes a path.
//!
//! Changes mark a prefix dirty; [`Table::flush`] decides every dirty prefix once, however often it changed, writes it
//! in the journal of the Loc-RIB and hands it to the update groups. Between two calls of `Rib::work` nothing is dirty,
//! so a prefix's first path is its best and every group's table agrees with the Loc-RIB.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Settings;
use super::chunked::Bitmap;
use super::import::Fault;
use super::intern::{AttrId, Attrs};
use super::paths::{BEST, CHANGED, LOCAL, MULTIPATH, Path, Runs, STALE};
use super::peers::{AdjIn, NOBODY, Peers};
use super::prefixes::{DEAD, DIRTY, LOC_CHANGED, Packed, Prefixes};
use crate::Net;
use crate::decide::{Candidate, Step, decide};
use crate::event::Event;
use crate::export::{Source, Views};
use crate::io::{Change, LocPath};

/// One family's tables.
#[derive(Debug)]
pub(crate) struct Table<P: Packed> {
    pub(crate) prefixes: Prefixes<P>,
    pub(crate) runs: Runs,
    pub(crate) views: Views,
    dirty: Vec<Dirty>,
    journal: Journal,
    /// Dead prefixes whose ids may still stand somewhere, with the epoch of their death.
    graveyard: VecDeque<(u32, u64)>,
    /// Selection is not deferred.
    pub(crate) selected: bool,
    /// Grows with each flush.
    epoch: u64,
    scratch: Scratch,
}

/// A prefix that waits for a decision.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    prefix: u32,
    /// Whose path was the best when the last decision was made.
    from: u16,
}

/// A prefix whose best path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    /// The best path's attributes now.
    pub(crate) attr: AttrId,
    /// Whose it is now.
    pub(crate) from: u16,
    /// Whose it was.
    pub(crate) was_from: u16,
    pub(crate) prefix: u32,
}

#[derive(Debug, Default)]
struct Scratch {
    candidates: Vec<Option<Candidate>>,
    lost: Vec<Option<Step>>,
    changed: Vec<Changed>,
}

/// What of the Loc-RIB has changed and was not drained: a bit a prefix, so that it is bounded and several changes of
/// one prefix are one. It starts with the first drain, which sees everything; a speaker that nobody drains pays
/// nothing.
#[derive(Debug, Default)]
struct Journal {
    started: bool,
    waiting: Bitmap,
    cursor: u32,
    laps: u64,
}

impl Journal {
    fn note(&mut self, prefix: u32) {
        if self.started {
            self.waiting.insert(prefix);
        }
    }
}

impl<P: Packed> Table<P> {
    pub(crate) fn new(seed: u64, selected: bool) -> Self {
        Self {
            prefixes: Prefixes::new(seed),
            runs: Runs::default(),
            views: Views::new(P::FAMILY, seed, selected),
            dirty: Vec::new(),
            journal: Journal::default(),
            graveyard: VecDeque::new(),
            selected,
            epoch: 0,
            scratch: Scratch::default(),
        }
    }

    /// The paths of a prefix; of a decided one the best stands first.
    pub(crate) fn paths(&self, prefix: u32) -> &[Path] {
        let entry = self.prefixes.get(prefix);
        self.runs.get(entry.run, entry.n)
    }

    /// The best path, when the prefix has one.
    pub(crate) fn best(&self, prefix: u32) -> Option<&Path> {
        self.paths(prefix).first().filter(|p| p.flags & BEST != 0)
    }

    /// Is there, among the first prefixes of the peer's list, one to which it alone has a usable path?
    pub(crate) fn gives_alone(&self, peer: u16, adj: &AdjIn) -> bool {
        // More than a node has blocks; few enough for a reflector with hundreds of clients to be asked each second.
        const LOOKED_AT: usize = 4096;
        adj.list.iter().take(LOOKED_AT).any(|prefix| {
            let mut usable = self.paths(*prefix).iter().filter(|path| !path.attr.is_none());
            usable.next().is_some_and(|path| path.peer == peer) && usable.next().is_none()
        })
    }

    /// Takes a path in. The references of `path` go over to the table.
    pub(crate) fn announce(&mut self, net: P, path: Path, adj: &mut AdjIn, attrs: &mut Attrs) {
        let prefix = self.prefixes.find_or_insert(net);
        let entry = self.prefixes.get(prefix);
        let paths = self.runs.get_mut(entry.run, entry.n);
        let Some(old) = paths.iter_mut().find(|p| p.peer == path.peer) else {
            return self.insert(prefix, path, adj, attrs);
        };
        let (was, fault) = (*old, path.flags);
        let same = was.attr_in == path.attr_in && was.attr == path.attr;
        old.flags = was.flags & (BEST | MULTIPATH) | fault | if same { was.flags & CHANGED } else { CHANGED };
        if !same {
            (old.attr_in, old.attr, old.age) = (path.attr_in, path.attr, path.age);
        }
        let [release_in, release] = if same { [path.attr_in, path.attr] } else { [was.attr_in, was.attr] };
        adj.stale -= u32::from(was.flags & STALE != 0);
        adj.accepted -= u32::from(!was.attr.is_none());
        adj.accepted += u32::from(!path.attr.is_none());
        if !same || was.flags & (STALE | MULTIPATH) == STALE | MULTIPATH {
            self.mark(prefix, was.flags & MULTIPATH != 0);
        }
        attrs.release(release_in);
        attrs.release(release);
    }

    fn insert(&mut self, prefix: u32, mut path: Path, adj: &mut AdjIn, attrs: &mut Attrs) {
        self.mark(prefix, false);
        path.flags |= CHANGED;
        let Some(entry) = self.prefixes.get_mut(prefix) else { return };
        if entry.n == u16::MAX {
            // More paths to one prefix than there are peer slots: can't be, and must not overflow.
            attrs.release(path.attr_in);
            attrs.release(path.attr);
            return;
        }
        entry.run = self.runs.push(entry.run, entry.n, path);
        entry.n += 1;
        entry.flags &= !DEAD;
        if path.peer != LOCAL {
            adj.list.push(prefix);
        }
        adj.received += 1;
        adj.accepted += u32::from(!path.attr.is_none());
    }

    /// The peer no longer announces a prefix.
    pub(crate) fn withdraw(&mut self, net: P, peer: u16, adj: &mut AdjIn, attrs: &mut Attrs) {
        if let Some(prefix) = self.prefixes.find(net) {
            self.remove((prefix, peer), 0, adj, attrs);
        }
    }

    /// Removes the peer's path to a prefix when it has all of `flags`.
    pub(crate) fn remove(
        &mut self,
        (prefix, peer): (u32, u16),
        flags: u16,
        adj: &mut AdjIn,
        attrs: &mut Attrs,
    ) {
        let entry = self.prefixes.get(prefix);
        let paths = self.runs.get(entry.run, entry.n);
        let wanted = |p: &Path| p.peer == peer && p.flags & flags == flags;
        let Some((at, path)) = paths.iter().copied().enumerate().find(|(_, p)| wanted(p)) else { return };
        self.mark(prefix, path.flags & MULTIPATH != 0);
        let run = self.runs.remove(entry.run, entry.n, at);
        if let Some(e) = self.prefixes.get_mut(prefix) {
            e.run = run;
            e.n -= 1;
            if e.n == 0 && !self.selected {
                e.flags |= DEAD;
                self.graveyard.push_back((prefix, self.epoch));
            }
        }
        adj.received -= 1;
        adj.accepted -= u32::from(!path.attr.is_none());
        adj.stale -= u32::from(path.flags & STALE != 0);
        attrs.release(path.attr_in);
        attrs.release(path.attr);
    }

    /// Marks the peer's path stale. One that is stale already stays so: whether it goes is for the first half to say.
    pub(crate) fn make_stale(&mut self, prefix: u32, peer: u16, adj: &mut AdjIn) {
        let Some(path) = self.path_mut(prefix, peer).filter(|p| p.flags & STALE == 0) else { return };
        path.flags |= STALE;
        let in_loc_rib = path.flags & MULTIPATH != 0;
        adj.stale += 1;
        if in_loc_rib {
            self.mark(prefix, true);
        }
    }

    /// The peer's path to a prefix.
    pub(crate) fn path_mut(&mut self, prefix: u32, peer: u16) -> Option<&mut Path> {
        let entry = self.prefixes.get(prefix);
        self.runs.get_mut(entry.run, entry.n).iter_mut().find(|p| p.peer == peer)
    }

    /// Import policy says something new about the peer's path. The reference of `attr` goes over to the table.
    pub(crate) fn reimport(
        &mut self,
        (prefix, peer): (u32, u16),
        (attr, fault): (AttrId, Fault),
        adj: &mut AdjIn,
        attrs: &mut Attrs,
    ) {
        let Some(path) = self.path_mut(prefix, peer) else { return attrs.release(attr) };
        let was = *path;
        path.flags = was.flags & 0xff | fault.flags();
        if was.attr == attr {
            return attrs.release(attr);
        }
        path.attr = attr;
        path.flags |= CHANGED;
        adj.accepted -= u32::from(!was.attr.is_none());
        adj.accepted += u32::from(!attr.is_none());
        self.mark(prefix, was.flags & MULTIPATH != 0);
        attrs.release(was.attr);
    }

    /// The peer's path counts as changed.
    pub(crate) fn anew(&mut self, prefix: u32, peer: u16) {
        if let Some(path) = self.path_mut(prefix, peer) {
            path.flags |= CHANGED;
            self.mark(prefix, false);
        }
    }

    /// A prefix is to be decided again.
    pub(crate) fn mark(&mut self, prefix: u32, loc_changed: bool) {
        if !self.selected {
            return;
        }
        let from = self.best(prefix).map_or(NOBODY, |p| p.peer);
        let Some(entry) = self.prefixes.get_mut(prefix) else { return };
        if loc_changed {
            entry.flags |= LOC_CHANGED;
        }
        if entry.flags & DIRTY == 0 {
            entry.flags |= DIRTY;
            self.dirty.push(Dirty { prefix, from });
        }
    }

    /// How many prefixes wait for a decision.
    pub(crate) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Decides every dirty prefix and exports what changed.
    pub(crate) fn flush(&mut self, settings: &Settings, peers: &mut Peers, attrs: &mut Attrs) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = core::mem::take(&mut self.dirty);
        let mut changed = core::mem::take(&mut self.scratch.changed);
        self.epoch += 1;
        for d in dirty.drain(..) {
            changed.extend(self.decide(d, settings, peers, attrs));
        }
        self.dirty = dirty;
        changed.sort_unstable();
        let Self { views, prefixes, runs, epoch, .. } = self;
        views.export((&changed, *epoch), Lookup { prefixes, runs }, peers, attrs);
        changed.clear();
        self.scratch.changed = changed;
    }

    /// Decides one prefix; answers what the update groups must hear.
    fn decide(&mut self, dirty: Dirty, settings: &Settings, peers: &Peers, attrs: &Attrs) -> Option<Changed> {
        let entry = self.prefixes.get(dirty.prefix);
        let paths = self.runs.get_mut(entry.run, entry.n);
        let mut loc_changed = entry.flags & LOC_CHANGED != 0;
        let best = match paths {
            [only] => {
                let flags = if only.attr.is_none() { 0 } else { BEST | MULTIPATH };
                loc_changed |= set_loc(only, flags);
                (flags != 0).then_some(0)
            }
            _ => {
                let best = self.scratch.run(paths, peers, attrs);
                loc_changed |= select(paths, best, &self.scratch, settings, attrs);
                best
            }
        };
        let was_changed = match best {
            Some(at) => {
                paths.swap(0, at);
                paths.first().is_some_and(|p| p.flags & CHANGED != 0)
            }
            None => true,
        };
        let (attr, from) =
            paths.first().filter(|_| best.is_some()).map_or((AttrId::NONE, NOBODY), |p| (p.attr, p.peer));
        paths.iter_mut().for_each(|p| p.flags &= !CHANGED);
        if loc_changed {
            self.journal.note(dirty.prefix);
        }
        self.settle(dirty.prefix);
        let news = was_changed || from != dirty.from;
        news.then_some(Changed { attr, from, was_from: dirty.from, prefix: dirty.prefix })
    }

    fn settle(&mut self, prefix: u32) {
        if let Some(e) = self.prefixes.get_mut(prefix) {
            e.flags &= !(DIRTY | LOC_CHANGED);
            if e.n == 0 && e.flags & DEAD == 0 {
                e.flags |= DEAD;
                self.graveyard.push_back((prefix, self.epoch));
            }
        }
    }

    /// Marks prefixes from `at` on to be decided again; answers where to go on.
    pub(crate) fn redecide(&mut self, at: u32, left: &mut usize) -> Option<u32> {
        let budget = u32::try_from(*left).unwrap_or(u32::MAX);
        let end = self.prefixes.end().min(at.saturating_add(budget));
        *left -= (end - at) as usize;
        (at..end)
            .filter(|p| self.prefixes.get(*p).n > 0)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|p| self.mark(p, false));
        (end < self.prefixes.end()).then_some(end)
    }

    /// Peers may be told, if selection is done.
    pub(crate) fn open(&mut self) {
        self.views.open |= self.selected;
    }

    /// The peer wants everything again.
    pub(crate) fn refresh(&mut self, peer: u16, peers: &mut Peers) {
        self.views.refresh(peer, self.prefixes.end(), peers);
    }

    /// Gives a peer what is for it.
    pub(crate) fn read(
        &mut self,
        (peer, room): (u16, &mut usize),
        peers: &mut Peers,
        attrs: &mut Attrs,
        out: &mut Vec<Bytes>,
    ) -> Option<Event> {
        let Self { views, prefixes, runs, epoch, .. } = self;
        views.read((peer, *epoch), Lookup { prefixes, runs }, (peers, attrs), (room, out))
    }

    /// Work that no input asks for: tables of update groups, ids of dead prefixes. Says whether some is left.
    pub(crate) fn background(&mut self, budget: u32, peers: &mut Peers, attrs: &mut Attrs) -> bool {
        let Self { views, prefixes, runs, epoch, .. } = self;
        let more = views.work((budget, *epoch), Lookup { prefixes, runs }, peers, attrs);
        self.bury(budget as usize);
        more
    }

    /// Gives the ids of dead prefixes back, at most `budget` of them, once nothing refers to them.
    pub(crate) fn bury(&mut self, budget: usize) {
        let quiet = self.views.quiet_since();
        for _ in 0..budget.min(self.graveyard.len()) {
            let Some((prefix, _)) = self.graveyard.pop_front_if(|(_, death)| *death < quiet) else { return };
            if self.prefixes.get(prefix).flags & DEAD == 0 {
                continue;
            }
            if self.journal.waiting.contains(prefix) || self.views.refer_to(prefix) {
                self.graveyard.push_back((prefix, self.epoch));
            } else {
                self.prefixes.remove(prefix);
            }
        }
    }

    /// What each path brings to the decision; for `explain`, which runs it again.
    pub(crate) fn candidates(&self, paths: &[Path], peers: &Peers, attrs: &Attrs) -> Vec<Option<Candidate>> {
        paths.iter().map(|p| candidate(p, peers, attrs)).collect()
    }

    /// Takes at most `max` changes of the Loc-RIB.
    pub(crate) fn drain(&mut self, max: usize, peers: &Peers, attrs: &Attrs, out: &mut Vec<Change>) {
        if !self.journal.started {
            self.journal.started = true;
            for prefix in 0..self.prefixes.end() {
                if self.best(prefix).is_some() {
                    self.journal.waiting.insert(prefix);
                }
            }
        }
        for _ in 0..max {
            let journal = &mut self.journal;
            let next = journal.waiting.next(journal.cursor).or_else(|| {
                journal.laps += 1;
                journal.waiting.next(0)
            });
            let Some(prefix) = next else { return };
            journal.waiting.remove(prefix);
            journal.cursor = prefix + 1;
            out.push(self.change(prefix, peers, attrs));
        }
    }

    /// A mark that [`Table::drained`] takes.
    pub(crate) fn journal_mark(&self) -> u64 {
        self.journal.laps
    }

    /// Has everything been drained that was in the journal at this mark?
    pub(crate) fn drained(&self, mark: u64) -> bool {
        self.journal.waiting.is_empty() || self.journal.laps >= mark + 2
    }

    fn change(&self, prefix: u32, peers: &Peers, attrs: &Attrs) -> Change {
        let net: Net = self.prefixes.prefix(prefix).into();
        let used = self.paths(prefix).iter().filter(|p| p.flags & MULTIPATH != 0);
        let mut paths: Vec<LocPath> = used
            .filter_map(|p| {
                let next_hop = attrs.next_hop(p.attr)?.address();
                Some(LocPath { next_hop, peer: peers.key(p.peer), stale: p.flags & STALE != 0 })
            })
            .collect();
        if let Some((_best, equals)) = paths.split_first_mut() {
            equals.sort_unstable();
        }
        Change { net, paths }
    }
}

/// Sets what a path is in the Loc-RIB; says whether the Loc-RIB looks different for it.
fn set_loc(path: &mut Path, flags: u16) -> bool {
    let was = path.flags & (BEST | MULTIPATH);
    path.flags = path.flags & !(BEST | MULTIPATH) | flags;
    was != flags || flags != 0 && path.flags & CHANGED != 0
}

fn candidate(path: &Path, peers: &Peers, attrs: &Attrs) -> Option<Candidate> {
    let peer = peers.rank(path.peer);
    let usable = !path.attr.is_none() && (peer.is_some() || path.peer == LOCAL);
    usable.then(|| Candidate { key: attrs.key(path.attr), peer, existing: path.flags & BEST != 0 })
}

impl Scratch {
    fn run(&mut self, paths: &[Path], peers: &Peers, attrs: &Attrs) -> Option<usize> {
        self.candidates.clear();
        self.candidates.extend(paths.iter().map(|p| candidate(p, peers, attrs)));
        decide(&self.candidates, &mut self.lost).map(|d| d.best)
    }
}

/// Marks the best path and its equals; says whether the Loc-RIB looks different for it.
///
/// Equals are paths that only a tie-break told apart, from as many different next hops as `multipath` allows. Without
/// `multipath_relax` their AS_PATHs must be the same.
fn select(
    paths: &mut [Path],
    best: Option<usize>,
    scratch: &Scratch,
    settings: &Settings,
    attrs: &Attrs,
) -> bool {
    let mut equals = Vec::new();
    if let Some(at) = best.filter(|_| settings.multipath > 1) {
        let key = |i: usize| scratch.candidates.get(i).copied().flatten();
        let hash = key(at).map(|c| c.key.as_path_hash);
        for (i, lost) in scratch.lost.iter().enumerate() {
            if lost.is_some_and(|step| step >= Step::Existing) {
                let Some(c) = key(i) else { continue };
                if settings.multipath_relax || Some(c.key.as_path_hash) == hash {
                    equals.push((c.router_id(), c.peer.map(|p| p.address), i));
                }
            }
        }
        equals.sort_unstable();
        let mut hops: Vec<_> = paths.get(at).and_then(|p| attrs.next_hop(p.attr)).into_iter().collect();
        equals.retain(|(_, _, i)| {
            let hop = paths.get(*i).and_then(|p| attrs.next_hop(p.attr));
            let new = hop.filter(|h| hops.len() < usize::from(settings.multipath) && !hops.contains(h));
            hops.extend(new);
            new.is_some()
        });
    }
    let mut changed = false;
    for (i, path) in paths.iter_mut().enumerate() {
        let flags = if best == Some(i) {
            BEST | MULTIPATH
        } else if equals.iter().any(|(_, _, e)| *e == i) {
            MULTIPATH
        } else {
            0
        };
        changed |= set_loc(path, flags);
    }
    changed
}

/// Who announced a best path, as export sees it.
pub(crate) fn source(from: u16, peers: &Peers) -> Source {
    match peers.get(from) {
        None => Source::Local,
        Some(p) if !p.session.internal() => Source::External,
        Some(p) => Source::Internal { client: p.session.config.client, router_id: p.session.router_id },
    }
}

/// The tables, as update groups look into them.
#[derive(Debug)]
pub(crate) struct Lookup<'a, P: Packed> {
    prefixes: &'a Prefixes<P>,
    runs: &'a Runs,
}

impl<P: Packed> Clone for Lookup<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Packed> Copy for Lookup<'_, P> {}

impl<P: Packed> Lookup<'_, P> {
    /// Beyond every prefix id.
    pub(crate) fn end(self) -> u32 {
        self.prefixes.end()
    }

    #[inline]
    pub(crate) fn net(self, prefix: u32) -> P {
        self.prefixes.prefix(prefix)
    }

    /// The best path's attributes, and whose it is.
    #[inline]
    pub(crate) fn best(self, prefix: u32) -> Option<(AttrId, u16)> {
        let entry = self.prefixes.get(prefix);
        let best = self.runs.get(entry.run, entry.n).first().filter(|p| p.flags & BEST != 0);
        best.map(|p| (p.attr, p.peer))
    }
}
