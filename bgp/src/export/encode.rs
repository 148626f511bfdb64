//! UPDATEs out of prefixes: as many NLRI as a message takes behind one attribute set, for one audience.

use alloc::vec::Vec;

use super::log::{Audience, Batch, Segment};
use crate::rib::{AttrId, Attrs, Lookup, Packed};
use crate::wire::nlri;
use crate::wire::update::Form;

/// A chunk is closed when it has this many bytes.
pub(crate) const CHUNK: usize = if cfg!(test) { 1 << 8 } else { 1 << 16 };

/// Packs prefixes into messages. Give it everything of one attribute set and audience in a row.
#[derive(Debug)]
pub(crate) struct Packer {
    form: Form,
    attr: AttrId,
    audience: Audience,
    /// The attributes of `attr` as an UPDATE carries them.
    attributes: Vec<u8>,
    nlri: Vec<u8>,
    room: usize,
    pub(crate) batch: Batch,
}

impl Packer {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            attr: AttrId::NONE,
            audience: Audience::ALL,
            attributes: Vec::new(),
            nlri: Vec::new(),
            room: form.unreach_room(),
            batch: Batch::default(),
        }
    }

    /// One prefix more: announced with `attr`, or withdrawn when that is none.
    #[inline]
    pub(crate) fn put<P: Packed>(
        &mut self,
        (attr, audience): (AttrId, Audience),
        prefix: u32,
        lookup: Lookup<'_, P>,
        attrs: &Attrs,
    ) {
        if (attr, audience) != (self.attr, self.audience) {
            self.turn(attr, audience, attrs);
        }
        let net = lookup.net(prefix);
        if self.nlri.len() + 1 + usize::from(net.len().div_ceil(8)) > self.room {
            self.close(attrs);
        }
        nlri::put(net, &mut self.nlri);
        self.batch.prefixes.push(prefix);
    }

    fn turn(&mut self, attr: AttrId, audience: Audience, attrs: &Attrs) {
        self.close(attrs);
        self.audience = audience;
        if attr == self.attr {
            return;
        }
        self.attr = attr;
        self.attributes.clear();
        self.room = if attr.is_none() {
            self.form.unreach_room()
        } else {
            let block = attrs.block(attr);
            self.form.put_attributes(block, &mut self.attributes);
            self.form.reach_room(block, &self.attributes)
        };
    }

    /// Ends the message that is being filled.
    pub(crate) fn close(&mut self, attrs: &Attrs) {
        if self.nlri.is_empty() {
            return;
        }
        let bytes = &mut self.batch.bytes;
        if self.attr.is_none() {
            self.form.put_unreach(&self.nlri, bytes);
        } else {
            self.form.put_reach(attrs.block(self.attr), &self.attributes, &self.nlri, bytes);
        }
        self.nlri.clear();
        let end = u32::try_from(self.batch.bytes.len()).unwrap_or(u32::MAX);
        self.batch.segments.push(Segment { end, audience: self.audience });
    }

    /// Is there enough for a chunk?
    pub(crate) fn full(&self) -> bool {
        self.batch.bytes.len() >= CHUNK
    }

    /// Begins for a group whose messages look like this.
    pub(crate) fn start(&mut self, form: Form) {
        // An attribute id may mean another set by now.
        self.attr = AttrId::NONE;
        self.audience = Audience::ALL;
        self.attributes.clear();
        self.form = form;
        self.room = form.unreach_room();
    }
}
