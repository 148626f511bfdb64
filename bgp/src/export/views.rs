//! The update groups of one family, and how peers come to them, move between them and read.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::ExportView;
use super::encode::Packer;
use super::view::{Env, Member, Place, Tools, View};
use crate::Family;
use crate::event::Event;
use crate::policy::Compiled;
use crate::rib::{AttrId, Attrs, Bitmap, Changed, Chunked, Lookup, Packed, Peers};
use crate::wire::update::Form;

/// The update groups of one family.
#[derive(Debug)]
pub(crate) struct Views {
    family: Family,
    list: Vec<Option<Box<View>>>,
    index: HashMap<ExportView, u32, FixedState>,
    /// Tables of groups that are no more, to be taken apart, from the end.
    retired: Vec<(Chunked<AttrId>, u32)>,
    tools: Tools,
    /// Groups whose table is being made.
    building: Vec<u32>,
    /// Selection is not deferred and has been done: peers may be told.
    pub(crate) open: bool,
    /// Members that have something to read and were not told so.
    pub(crate) writable: Vec<u16>,
}

impl Views {
    pub(crate) fn new(family: Family, seed: u64, open: bool) -> Self {
        let form = Form { family, as4: true, message_max: crate::wire::MESSAGE_MAX };
        Self {
            family,
            list: Vec::new(),
            index: HashMap::with_hasher(FixedState::with_seed(seed)),
            retired: Vec::new(),
            tools: Tools::new(Packer::new(form)),
            building: Vec::new(),
            open,
            writable: Vec::new(),
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&View> {
        self.list.get(number as usize)?.as_deref()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut View> {
        self.list.get_mut(number as usize)?.as_deref_mut()
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// A peer is to be in the group of this view; with the first one it is made.
    pub(crate) fn join(&mut self, peer: u16, key: &ExportView, filter: &Arc<Compiled>, peers: &mut Peers) {
        let number = self.index.get(key).copied().unwrap_or_else(|| self.open_view(key, filter));
        let Some(part) = peers.get_mut(peer).map(|p| p.family_mut(self.family)) else { return };
        let stays = part.out.is_some_and(|m| m.view == number);
        let next = (!stays).then_some(number);
        let before = core::mem::replace(&mut part.next_view, next);
        if before == next {
            return;
        }
        self.unwait(peer, before);
        if let Some(number) = next {
            if let Some(view) = self.get_mut(number) {
                view.waiting.push(peer);
            }
            if !self.building.contains(&number) {
                self.building.push(number);
            }
        }
    }

    fn open_view(&mut self, key: &ExportView, filter: &Arc<Compiled>) -> u32 {
        let free = self.list.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() - 1
        });
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(slot) = self.list.get_mut(at) {
            *slot = Some(Box::new(View::new(key.clone(), filter.clone(), number)));
        }
        self.index.insert(key.clone(), number);
        number
    }

    fn unwait(&mut self, peer: u16, number: Option<u32>) {
        let Some(number) = number else { return };
        if let Some(view) = self.get_mut(number) {
            view.waiting.retain(|p| *p != peer);
        }
        self.retire_if_empty(number);
    }

    /// A peer is in no group any more.
    pub(crate) fn leave(&mut self, peer: u16, peers: &mut Peers) {
        let Some(part) = peers.get_mut(peer).map(|p| p.family_mut(self.family)) else { return };
        let (out, next) = (part.out.take(), part.next_view.take());
        self.unwait(peer, next);
        if let Some(member) = out {
            self.exit(peer, &member);
        }
    }

    fn exit(&mut self, peer: u16, member: &Member) {
        if let Some(view) = self.get_mut(member.view) {
            view.exit(member);
            view.members.retain(|p| *p != peer);
        }
        self.retire_if_empty(member.view);
    }

    fn retire_if_empty(&mut self, number: u32) {
        let Some(slot) = self.list.get_mut(number as usize) else { return };
        if let Some(view) = slot.take_if(|v| v.members.is_empty() && v.waiting.is_empty()) {
            self.index.remove(&view.key);
            self.building.retain(|n| *n != number);
            let end = view.adj_out.len();
            self.retired.push((view.adj_out, end));
        }
    }

    /// A member wants everything again (RFC 2918).
    pub(crate) fn refresh(&mut self, peer: u16, end: u32, peers: &mut Peers) {
        let Some(member) = peers.member(peer, self.family).copied() else { return };
        let Some(view) = self.get_mut(member.view) else { return };
        let unread = view.unread(&member);
        let walk = view.walk_all(end);
        if let Some(w) = view.walk_mut(walk) {
            w.add(unread.iter());
        }
        let cursor = view.enter(Place::Walk(walk));
        view.exit(&member);
        if let Some(m) = peers.member_mut(peer, self.family) {
            (m.place, m.cursor) = (Place::Walk(walk), cursor);
        }
        self.writable.push(peer);
    }

    /// Exports what was decided, sorted by attribute set and source.
    pub(crate) fn export<P: Packed>(
        &mut self,
        (changed, epoch): (&[Changed], u64),
        lookup: Lookup<'_, P>,
        peers: &mut Peers,
        attrs: &mut Attrs,
    ) {
        if changed.is_empty() {
            return;
        }
        for view in self.list.iter_mut().flatten() {
            let mut env = Env { lookup, peers: &*peers, attrs: &mut *attrs, tools: &mut self.tools, epoch };
            if view.export(changed, &mut env) {
                self.writable.extend_from_slice(&view.members);
            }
            view.shed(Place::Stream, peers);
        }
    }

    /// Makes tables of new groups and takes those of former ones apart, about `budget` prefixes; says whether work is
    /// left.
    pub(crate) fn work<P: Packed>(
        &mut self,
        (budget, epoch): (u32, u64),
        lookup: Lookup<'_, P>,
        peers: &mut Peers,
        attrs: &mut Attrs,
    ) -> bool {
        if let Some((table, end)) = self.retired.last_mut() {
            let from = end.saturating_sub(budget);
            (from..*end).for_each(|p| attrs.release(table.at(p)));
            *end = from;
            if from == 0 {
                self.retired.pop();
            }
        }
        if !self.open {
            return !self.retired.is_empty();
        }
        if let Some(number) = self.building.last().copied() {
            let view = self.list.get_mut(number as usize).and_then(Option::as_deref_mut);
            let mut env = Env { lookup, peers: &*peers, attrs, tools: &mut self.tools, epoch };
            if view.is_none_or(|v| v.build(budget, &mut env)) {
                self.building.pop();
                self.admit(number, lookup.end(), peers);
            }
        }
        !self.building.is_empty() || !self.retired.is_empty()
    }

    /// The group's table is made: those who waited for it come in.
    fn admit(&mut self, number: u32, end: u32, peers: &mut Peers) {
        let waiting = self.get_mut(number).map(|v| core::mem::take(&mut v.waiting)).unwrap_or_default();
        // Those who come from one group differ in the same prefixes: they walk together.
        let mut moved: Option<(u32, u32)> = None;
        for peer in waiting {
            let Some(part) = peers.get_mut(peer).map(|p| p.family_mut(self.family)) else { continue };
            (part.next_view, part.end_of_rib_sent) = (None, part.end_of_rib_sent && part.out.is_some());
            let before = part.out.take();
            let place = match &before {
                None => self.get_mut(number).map(|v| v.walk_all(end)),
                Some(old) => self.walk_difference(old, number, end, &mut moved),
            };
            let Some(view) = self.get_mut(number) else { return };
            let Some(place) = place.map(Place::Walk) else { continue };
            let cursor = view.enter(place);
            view.members.push(peer);
            let end_of_rib = before.is_none_or(|b| b.end_of_rib);
            let member = Member { view: number, place, cursor, end_of_rib };
            if let Some(p) = peers.get_mut(peer) {
                p.family_mut(self.family).out = Some(member);
            }
            if let Some(old) = before {
                self.exit(peer, &old);
            }
            self.writable.push(peer);
        }
    }

    /// A walk over what tells one group's table from another's, and what the member has not read of the old one.
    fn walk_difference(
        &mut self,
        old: &Member,
        to: u32,
        end: u32,
        moved: &mut Option<(u32, u32)>,
    ) -> Option<u32> {
        let mut differ = self.get(old.view)?.unread(old);
        if let Some((_, walk)) = moved.filter(|(view, _)| *view == old.view)
            && let Some(w) = self.get_mut(to)?.walk_mut(walk)
        {
            w.add(differ.iter());
            return Some(walk);
        }
        let (one, other) = (&self.get(old.view)?.adj_out, &self.get(to)?.adj_out);
        (0..end).filter(|p| one.at(*p) != other.at(*p)).for_each(|p| differ.insert(p));
        let walk = self.get_mut(to)?.walk_over(differ);
        *moved = Some((old.view, walk));
        Some(walk)
    }

    /// Gives a member what is for it.
    pub(crate) fn read<P: Packed>(
        &mut self,
        (peer, epoch): (u16, u64),
        lookup: Lookup<'_, P>,
        (peers, attrs): (&mut Peers, &mut Attrs),
        (room, out): (&mut usize, &mut Vec<Bytes>),
    ) -> Option<Event> {
        let mut member = *peers.member(peer, self.family)?;
        let view = self.list.get_mut(member.view as usize)?.as_deref_mut()?;
        let mut told = None;
        while *room > 0 {
            let Place::Walk(id) = member.place else {
                view.stream.read(&mut member.cursor, peer, room, out);
                break;
            };
            let walk = view.walk_mut(id)?;
            walk.log.read(&mut member.cursor, peer, room, out);
            if !walk.log.at_end(member.cursor) {
                break;
            }
            if walk.done() {
                view.exit(&member);
                (member.place, member.cursor) = (Place::Stream, view.enter(Place::Stream));
                if core::mem::take(&mut member.end_of_rib) {
                    let mut end = Vec::new();
                    view.key.form.put_end_of_rib(&mut end);
                    out.push(end.into());
                    told = Some(());
                }
                continue;
            }
            let mut env = Env { lookup, peers: &*peers, attrs: &mut *attrs, tools: &mut self.tools, epoch };
            view.advance(id, &mut env);
        }
        let walk = match member.place {
            Place::Walk(_) => Some(member.place),
            Place::Stream => None,
        };
        let part = peers.get_mut(peer)?;
        let key = part.session.key;
        part.family_mut(self.family).out = Some(member);
        if let Some(place) = walk {
            view.shed(place, peers);
        }
        told.map(|()| {
            if let Some(p) = peers.get_mut(peer) {
                p.family_mut(self.family).end_of_rib_sent = true;
            }
            Event::InitialTableSent { peer: key, family: self.family }
        })
    }

    /// Is there something for this member?
    pub(crate) fn pending(&self, member: &Member) -> bool {
        self.get(member.view).is_some_and(|v| match member.place {
            Place::Stream => !v.stream.at_end(member.cursor),
            Place::Walk(_) => true,
        })
    }

    /// Chunks of an older epoch than this are read by all.
    pub(crate) fn quiet_since(&self) -> u64 {
        self.list.iter().flatten().map(|v| v.quiet_since()).min().unwrap_or(u64::MAX)
    }

    /// Does a walk still have something to say about this prefix?
    pub(crate) fn refer_to(&self, prefix: u32) -> bool {
        self.list.iter().flatten().any(|v| v.refers_to(prefix))
    }

    /// What a group has told its members to forget or to know, for status: which prefixes differ is not kept.
    pub(crate) fn unread(&self, member: &Member) -> Bitmap {
        self.get(member.view).map(|v| v.unread(member)).unwrap_or_default()
    }
}
