//! An UPDATE taken apart into batches for the RIB. This is the hot path: one walk over the attributes, NLRI counted
//! once, and everything handed on is a shared slice of the read buffer, unless the attributes are not canonical as they
//! came; then they are written into an arena, a few KiB allocated at a time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::Family;
use crate::attrs::{self, Context, Malformed, Outcome, Scan};
use crate::io::{Batch, Generation, PeerId, RibInput};
use crate::wire::notification::{ErrorCode, UpdateError};
use crate::wire::{NotificationMessage, nlri, update};

const ARENA: usize = 8192;

/// Whose UPDATE it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    pub(crate) peer: PeerId,
    pub(crate) generation: Generation,
    pub(crate) context: &'a Context,
}

/// What an UPDATE had in it that was not as it should be, and did not end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blemish {
    None,
    Discarded(Malformed),
    Withdrawn(Malformed),
}

/// Working memory, used for one UPDATE after another.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    scan: Scan,
    block: Vec<u8>,
    arena: BytesMut,
}

impl Ingest {
    /// Appends what the UPDATE says to `out`.
    ///
    /// # Errors
    /// The NOTIFICATION that ends the session; then nothing was appended.
    pub(crate) fn update(
        &mut self,
        body: &Bytes,
        from: From<'_>,
        out: &mut VecDeque<RibInput>,
    ) -> Result<Blemish, NotificationMessage> {
        let fields = update::split(body)?;
        let part = |range: Range<usize>| body.get(range).unwrap_or_default();
        let (withdrawn, announced) = (part(fields.withdrawn.clone()), part(fields.nlri.clone()));
        for field in [withdrawn, announced] {
            let invalid = || NotificationMessage::new(ErrorCode::Update(UpdateError::InvalidNetwork));
            nlri::count(Family::Ipv4Unicast, field).ok_or_else(invalid)?;
        }
        if body.len() == 4 {
            Sink { from, keep: true, out }.end_of_rib(Family::Ipv4Unicast);
            return Ok(Blemish::None);
        }
        let raw = part(fields.attributes.clone());
        let outcome = attrs::sanitize(raw, !announced.is_empty(), from.context, &mut self.scan);
        let blemish = match outcome {
            Outcome::Reset(notification) => return Err(notification),
            Outcome::TreatAsWithdraw(malformed) => Blemish::Withdrawn(malformed),
            Outcome::Keep => self.scan.discarded.map_or(Blemish::None, Blemish::Discarded),
        };
        let keep = !matches!(blemish, Blemish::Withdrawn(_));
        let mut sink = Sink { from, keep, out };
        if from.context.families.contains(Family::Ipv4Unicast) {
            let reach = body.slice(fields.nlri.clone());
            let unreach = body.slice(fields.withdrawn.clone());
            let attrs = if reach.is_empty() || !keep {
                Bytes::new()
            } else if self.scan.is_canonical() {
                body.slice(fields.attributes.clone())
            } else {
                self.canonical(raw, None)
            };
            sink.push(Batch { attrs, reach, unreach, ..sink.batch(Family::Ipv4Unicast) });
        }
        self.multiprotocol(body, fields.attributes, &mut sink);
        Ok(blemish)
    }

    fn multiprotocol(&mut self, body: &Bytes, attributes: Range<usize>, sink: &mut Sink<'_>) {
        let slice = |r: Range<usize>| body.slice(attributes.start + r.start..attributes.start + r.end);
        let (reach, unreach) = (self.scan.reach.take(), self.scan.unreach.take());
        match unreach {
            // Beside announcements an empty withdrawal says nothing (RFC 4724 §2).
            Some(u) if u.nlri.is_empty() && reach.is_none() && attributes.end == body.len() => {
                sink.end_of_rib(u.family);
            }
            Some(u) => {
                let batch = Batch { unreach: slice(u.nlri), ..sink.batch(u.family) };
                sink.push(batch);
            }
            None => {}
        }
        if let Some(r) = reach {
            let raw = body.get(attributes.clone()).unwrap_or_default();
            let attrs = if sink.keep { self.canonical(raw, Some(r.next_hop)) } else { Bytes::new() };
            let batch = Batch { attrs, reach: slice(r.nlri), ..sink.batch(r.family) };
            sink.push(batch);
        }
    }

    fn canonical(&mut self, raw: &[u8], next_hop: Option<attrs::NextHopValue>) -> Bytes {
        self.block.clear();
        self.scan.put_canonical(raw, next_hop, &mut self.block);
        if self.arena.capacity() < self.block.len() {
            self.arena = BytesMut::with_capacity(ARENA.max(self.block.len()));
        }
        self.arena.extend_from_slice(&self.block);
        self.arena.split().freeze()
    }
}

/// Where batches go.
struct Sink<'a> {
    from: From<'a>,
    /// Announcements stand; else they count as withdrawals.
    keep: bool,
    out: &'a mut VecDeque<RibInput>,
}

impl Sink<'_> {
    fn batch(&self, family: Family) -> Batch {
        let From { peer, generation, .. } = self.from;
        let (attrs, reach, unreach) = (Bytes::new(), Bytes::new(), Bytes::new());
        Batch { peer, generation, family, attrs, reach, unreach }
    }
    fn push(&mut self, mut batch: Batch) {
        if !self.keep && !batch.reach.is_empty() {
            // A batch of its own: the prefixes do not lie beside those withdrawn.
            let unreach = core::mem::take(&mut batch.reach);
            let withdrawal = Batch { unreach, ..self.batch(batch.family) };
            self.out.push_back(RibInput::Update(withdrawal));
        }
        if !(batch.reach.is_empty() && batch.unreach.is_empty()) {
            self.out.push_back(RibInput::Update(batch));
        }
    }
    fn end_of_rib(&mut self, family: Family) {
        let From { peer, generation, context } = self.from;
        if context.families.contains(family) {
            self.out.push_back(RibInput::EndOfRib { peer, generation, family });
        }
    }
}
