//! An update group: its Adj-RIB-Out, its stream and its walks.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::encode::Packer;
use super::log::{Audience, Cursor, Log};
use super::walk::Walk;
use super::{Export, ExportView, Source};
use crate::policy::Compiled;
use crate::rib::{AttrId, Attrs, Bitmap, Changed, Chunked, Lookup, NOBODY, Packed, Peers, source};
use crate::status::Withheld;

/// The stream holds at most about this much for those who have not read it; who lags more is told from the table.
/// (Bounds are small in unit tests, so that those meet them.)
const STREAM_MAX: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// More walks than this are merged.
const WALKS_MAX: usize = if cfg!(test) { 3 } else { 16 };

/// A peer's place in an update group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) view: u32,
    pub(crate) place: Place,
    pub(crate) cursor: Cursor,
    /// It is owed End-of-RIB when it has caught up.
    pub(crate) end_of_rib: bool,
}

/// What a member reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The group's stream.
    Stream,
    /// The walk with this id.
    Walk(u32),
}

/// What encoding needs while it works, shared by all groups of a family.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) packer: Packer,
    export: Export,
    /// What has to be said beside the announcements: for one peer, or withdrawals.
    aside: Vec<(AttrId, Audience, u32)>,
    build: Vec<Changed>,
}

impl Tools {
    pub(crate) fn new(packer: Packer) -> Self {
        Self { packer, export: Export::default(), aside: Vec::new(), build: Vec::new() }
    }
}

/// An update group.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) key: ExportView,
    filter: Arc<Compiled>,
    number: u32,
    pub(crate) adj_out: Chunked<AttrId>,
    announced: Announced,
    /// While the table is made: prefixes below are in it.
    built: Option<u32>,
    pub(crate) members: Vec<u16>,
    /// Peers that come when the table is made.
    pub(crate) waiting: Vec<u16>,
    pub(crate) stream: Log,
    /// Members at the stream.
    readers: u32,
    pub(crate) walks: Vec<Walk>,
    next_walk: u32,
}

/// How many prefixes a group announces.
#[derive(Debug, Default)]
struct Announced {
    prefixes: u32,
    /// Of them, by the peer whose path it is: what that peer is not told.
    by_source: Vec<u32>,
}

impl Announced {
    fn add(&mut self, from: u16) {
        self.prefixes += 1;
        if from >= NOBODY {
            return;
        }
        let at = usize::from(from);
        if at >= self.by_source.len() {
            self.by_source.resize(at + 1, 0);
        }
        if let Some(n) = self.by_source.get_mut(at) {
            *n += 1;
        }
    }

    fn remove(&mut self, from: u16) {
        self.prefixes -= 1;
        if let Some(n) = self.by_source.get_mut(usize::from(from)).filter(|_| from < NOBODY) {
            *n -= 1;
        }
    }
}

impl View {
    pub(crate) fn new(key: ExportView, filter: Arc<Compiled>, number: u32) -> Self {
        Self {
            key,
            filter,
            number,
            adj_out: Chunked::default(),
            announced: Announced::default(),
            built: Some(0),
            members: Vec::new(),
            waiting: Vec::new(),
            stream: Log::default(),
            readers: 0,
            walks: Vec::new(),
            next_walk: 0,
        }
    }

    pub(crate) fn ready(&self) -> bool {
        self.built.is_none()
    }

    /// How many prefixes this peer is told: all but its own.
    pub(crate) fn advertised(&self, peer: u16) -> u32 {
        self.announced.prefixes - self.own(peer)
    }

    /// How many announced prefixes are of this peer.
    pub(crate) fn own(&self, peer: u16) -> u32 {
        self.announced.by_source.get(usize::from(peer)).copied().unwrap_or(0)
    }

    /// Makes at most `budget` prefixes of the table; true when it is made.
    pub(crate) fn build<P: Packed>(&mut self, budget: u32, env: &mut Env<'_, P>) -> bool {
        let Some(from) = self.built else { return true };
        let end = env.lookup.end().min(from.saturating_add(budget));
        let mut changed = core::mem::take(&mut env.tools.build);
        changed.extend((from..end).filter_map(|prefix| {
            let (attr, from) = env.lookup.best(prefix)?;
            Some(Changed { attr, from, was_from: NOBODY, prefix })
        }));
        changed.sort_unstable();
        self.apply(&changed, u32::MAX, env);
        changed.clear();
        env.tools.build = changed;
        self.built = (end < env.lookup.end()).then_some(end);
        self.ready()
    }

    /// Takes in what the decision changed, sorted by attribute set and source, and says it in the stream. True when
    /// members have something to read.
    pub(crate) fn export<P: Packed>(&mut self, changed: &[Changed], env: &mut Env<'_, P>) -> bool {
        env.tools.packer.start(self.key.form);
        let before = self.stream.end();
        let limit = self.built.unwrap_or(u32::MAX);
        for group in changed.chunk_by(|a, b| (a.attr, a.from) == (b.attr, b.from)) {
            self.apply(group, limit, env);
            if env.tools.packer.full() {
                env.tools.packer.close(env.attrs);
                self.stream.append(&mut env.tools.packer.batch, env.epoch, self.readers);
            }
        }
        self.say_aside(env);
        self.stream.append(&mut env.tools.packer.batch, env.epoch, self.readers);
        self.stream.end() != before || !self.walks.is_empty()
    }

    /// Runs export policy over sorted changes of prefixes below `limit`.
    fn apply<P: Packed>(&mut self, changed: &[Changed], limit: u32, env: &mut Env<'_, P>) {
        let mut export = core::mem::take(&mut env.tools.export);
        let filter = self.filter.clone();
        for group in changed.chunk_by(|a, b| (a.attr, a.from) == (b.attr, b.from)) {
            let Some(first) = group.first() else { continue };
            let subject = (first.attr, source(first.from, env.peers));
            let permitted =
                !first.attr.is_none() && export.begin((&self.key, &filter), subject, env.attrs).is_ok();
            let mut fixed = (!permitted).then_some(AttrId::NONE);
            for c in group.iter().filter(|c| c.prefix < limit) {
                let out = fixed.unwrap_or_else(|| {
                    let net = env.lookup.net(c.prefix);
                    export.attr((&self.key, &filter), subject, net, env.attrs).unwrap_or(AttrId::NONE)
                });
                if permitted && export.fixed() {
                    fixed = Some(out);
                }
                self.set(c, out, env);
            }
        }
        export.end(env.attrs);
        env.tools.export = export;
    }

    /// Puts `out` in the table and says what that changes for whom.
    fn set<P: Packed>(&mut self, c: &Changed, out: AttrId, env: &mut Env<'_, P>) {
        let old = self.adj_out.at(c.prefix);
        if old == out && (c.from == c.was_from || out.is_none()) {
            return;
        }
        if !old.is_none() {
            self.announced.remove(c.was_from);
        }
        if !out.is_none() {
            self.announced.add(c.from);
        }
        if old != out {
            env.attrs.retain(out);
            self.adj_out.set(c.prefix, out);
        }
        self.walks.iter_mut().for_each(|w| w.touch(c.prefix));
        if self.readers > 0 {
            self.say(c, (old, out), env);
        }
        if old != out {
            env.attrs.release(old);
        }
    }

    /// Says a change to the members at the stream. Split horizon: a prefix is not told to the peer whose path it is,
    /// so when the best path moves from A to B, A must now hear of it and B must forget it.
    fn say<P: Packed>(&mut self, c: &Changed, (old, out): (AttrId, AttrId), env: &mut Env<'_, P>) {
        let here = |peer: u16| self.reads_stream(peer, env.peers);
        let (from, was_from) = (here(c.from), here(c.was_from));
        let but = |peer: u16, here: bool| if here { Audience::AllBut(peer) } else { Audience::ALL };
        let aside = &mut env.tools.aside;
        if out.is_none() {
            return aside.push((out, but(c.was_from, was_from), c.prefix));
        }
        if from && c.from != c.was_from && !old.is_none() {
            aside.push((AttrId::NONE, Audience::Only(c.from), c.prefix));
        }
        if old == out {
            if was_from {
                aside.push((out, Audience::Only(c.was_from), c.prefix));
            }
        } else {
            env.tools.packer.put((out, but(c.from, from)), c.prefix, env.lookup, env.attrs);
        }
    }

    fn say_aside<P: Packed>(&mut self, env: &mut Env<'_, P>) {
        env.tools.aside.sort_unstable();
        for (attr, audience, prefix) in env.tools.aside.drain(..) {
            env.tools.packer.put((attr, audience), prefix, env.lookup, env.attrs);
        }
        env.tools.packer.close(env.attrs);
    }

    fn reads_stream(&self, peer: u16, peers: &Peers) -> bool {
        let member = peers.member(peer, self.key.form.family);
        member.is_some_and(|m| m.view == self.number && m.place == Place::Stream)
    }

    /// A walk for members that were told nothing.
    pub(crate) fn walk_all(&mut self, end: u32) -> u32 {
        if let Some(walk) = self.walks.iter().find(|w| w.joinable()) {
            return walk.id;
        }
        let id = self.new_walk_id();
        self.walks.push(Walk::all(id, end));
        id
    }

    /// A walk over these prefixes, for members that were told something about them.
    pub(crate) fn walk_over(&mut self, prefixes: Bitmap) -> u32 {
        if self.walks.len() >= WALKS_MAX
            && let Some(walk) = self.walks.iter_mut().rfind(|w| w.is_resync())
        {
            walk.add(prefixes.iter());
            return walk.id;
        }
        let id = self.new_walk_id();
        self.walks.push(Walk::resync(id, prefixes));
        id
    }

    fn new_walk_id(&mut self) -> u32 {
        self.next_walk = self.next_walk.wrapping_add(1);
        self.next_walk
    }

    pub(crate) fn walk_mut(&mut self, id: u32) -> Option<&mut Walk> {
        self.walks.iter_mut().find(|w| w.id == id)
    }

    /// A member comes to this place; answers where it begins to read.
    pub(crate) fn enter(&mut self, place: Place) -> Cursor {
        match place {
            Place::Stream => {
                self.readers += 1;
                self.stream.end()
            }
            Place::Walk(id) => self.walk_mut(id).map_or_else(Cursor::default, |w| {
                w.members += 1;
                w.log.end()
            }),
        }
    }

    /// A member leaves its place; a walk without members goes.
    pub(crate) fn exit(&mut self, member: &Member) {
        match member.place {
            Place::Stream => {
                self.readers -= 1;
                self.stream.leave(member.cursor);
            }
            Place::Walk(id) => {
                if let Some(walk) = self.walk_mut(id) {
                    walk.members -= 1;
                    walk.log.leave(member.cursor);
                }
                self.walks.retain(|w| w.members > 0);
            }
        }
    }

    /// What the member was told or would have been told since it last read: it must hear of these again elsewhere.
    pub(crate) fn unread(&self, member: &Member) -> Bitmap {
        let mut ids = Bitmap::default();
        match member.place {
            Place::Stream => self.stream.unread(member.cursor).for_each(|p| ids.insert(p)),
            Place::Walk(id) => {
                for walk in self.walks.iter().filter(|w| w.id == id) {
                    walk.left().chain(walk.log.unread(member.cursor)).for_each(|p| ids.insert(p));
                }
            }
        }
        ids
    }

    /// Moves members that read too slowly from a place that holds too much to a walk of their own.
    pub(crate) fn shed(&mut self, place: Place, peers: &mut Peers) {
        let log = match place {
            Place::Stream => &self.stream,
            Place::Walk(id) => match self.walks.iter().find(|w| w.id == id) {
                Some(walk) => &walk.log,
                None => return,
            },
        };
        if log.bytes() <= STREAM_MAX {
            return;
        }
        let family = self.key.form.family;
        let lags = |peer: &u16| {
            let member = peers.member(*peer, family);
            member.copied().filter(|m| m.place == place && log.lags(m.cursor)).map(|m| (*peer, m))
        };
        let slow: Vec<(u16, Member)> = self.members.iter().filter_map(lags).collect();
        let mut unread = Bitmap::default();
        for (_, member) in &slow {
            self.unread(member).iter().for_each(|p| unread.insert(p));
        }
        if slow.is_empty() {
            return;
        }
        let to = Place::Walk(self.walk_over(unread));
        for (peer, member) in slow {
            let cursor = self.enter(to);
            self.exit(&member);
            if let Some(m) = peers.member_mut(peer, family) {
                (m.place, m.cursor) = (to, cursor);
            }
        }
    }

    /// Encodes the next chunk of a walk, if it has one.
    pub(crate) fn advance<P: Packed>(&mut self, id: u32, env: &mut Env<'_, P>) {
        env.tools.packer.start(self.key.form);
        let (number, family) = (self.number, self.key.form.family);
        let Some(walk) = self.walks.iter_mut().find(|w| w.id == id) else { return };
        while !walk.done() && !env.tools.packer.full() {
            let Some((attr, prefix)) = walk.next() else {
                walk.refill(env.attrs.end(), |p| self.adj_out.at(p));
                continue;
            };
            if self.adj_out.at(prefix) != attr {
                // It changed while it was queued; that set its bit, so it comes again.
                continue;
            }
            if attr.is_none() {
                env.tools.aside.push((attr, Audience::ALL, prefix));
                continue;
            }
            let from = env.lookup.best(prefix).map_or(NOBODY, |(_, from)| from);
            let walks = |m: &Member| m.view == number && m.place == Place::Walk(id);
            let own = env.peers.member(from, family).is_some_and(walks);
            let audience = if own { Audience::AllBut(from) } else { Audience::ALL };
            env.tools.packer.put((attr, audience), prefix, env.lookup, env.attrs);
            if own && walk.may_withdraw(prefix) {
                env.tools.aside.push((AttrId::NONE, Audience::Only(from), prefix));
            }
        }
        env.tools.aside.sort_unstable();
        for (attr, audience, prefix) in env.tools.aside.drain(..) {
            env.tools.packer.put((attr, audience), prefix, env.lookup, env.attrs);
        }
        env.tools.packer.close(env.attrs);
        walk.log.append(&mut env.tools.packer.batch, env.epoch, walk.members);
    }

    /// Why the group is not told about a prefix with this best path; `Ok` when it is.
    pub(crate) fn why(
        &self,
        subject: (AttrId, Source),
        net: impl Into<crate::Net>,
        attrs: &Attrs,
    ) -> Result<(), Withheld> {
        super::why((&self.key, &self.filter), subject, net.into(), attrs)
    }

    /// May ids of dead prefixes stand in a walk's queue or stream?
    pub(crate) fn quiet_since(&self) -> u64 {
        if self.walks.iter().all(Walk::quiet) { self.stream.oldest() } else { 0 }
    }

    pub(crate) fn refers_to(&self, prefix: u32) -> bool {
        self.walks.iter().any(|w| w.refers_to(prefix))
    }
}

/// What an update group works with.
pub(crate) struct Env<'a, P: Packed> {
    pub(crate) lookup: Lookup<'a, P>,
    pub(crate) peers: &'a Peers,
    pub(crate) attrs: &'a mut Attrs,
    pub(crate) tools: &'a mut Tools,
    /// Of this flush.
    pub(crate) epoch: u64,
}
