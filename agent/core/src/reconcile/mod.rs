//! From what should be and what is to a plan, and from what became of the plan to the next one.
//!
//! ```text
//! dirty keys ─► step (desired against picture) ─► pieces ─► order ─► Plan ─► kernel ─► results
//!                        ▲                                                             │
//!                   picture ◄── drawn in when planned, read again when refused ◄───────┘
//! ```
//! * [`owned`] is the only judge of what is ours.
//! * [`diff`] compares one key; it has no memory.
//! * [`order`] puts pieces in the order in which nothing refers to what is not there.
//! * [`Reconciler`] remembers what is dirty, what is under way, and what the kernel refused.

mod changes;
pub mod diff;
pub mod order;
pub mod owned;
pub mod picture;
mod refused;

use std::collections::BTreeSet;

use corduroy_bgp::Time;
use corduroy_kernel::{Lane, Op, OpError, OpResult, Plan, State, nft};

use crate::desired;
use crate::former::Former;
use crate::key::Key;
use crate::known::Known;
use diff::{Piece, Step};
use order::{Assembled, Parties};
use refused::Refused;
pub use refused::{Asked, Refusal};

/// The most operations of the bulk lane in one plan: some milliseconds of the kernel's time.
pub const SLICE: usize = 1024;

/// A number by which whoever queued operations of its own hears what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What became of queued operations, in their order.
    pub tickets: Vec<(Ticket, OpResult)>,
    /// What was refused, and why, for the log: once for each key until it is done or something else is asked.
    pub refused: Vec<(Key, OpError)>,
    /// The picture of the kernel is wrong somewhere and has to be read again.
    pub reread: bool,
}

/// What is dirty, what is under way, what was refused, and the picture of the kernel.
#[derive(Clone, Debug, Default)]
pub struct Reconciler {
    picture: State,
    dirty: [BTreeSet<Key>; 3],
    /// Removals that wait until nothing is left to be made: something may still refer to them.
    removals: BTreeSet<Key>,
    queued: Vec<(Ticket, Op)>,
    in_flight: Option<InFlight>,
    refused: Refused,
    repaired: u64,
}

#[derive(Clone, Debug)]
struct InFlight {
    tickets: Vec<Ticket>,
    /// For each operation after those queued, whose it is and what it asks.
    asked: Vec<Parties>,
}

impl Reconciler {
    /// Looks at this key again.
    pub fn mark(&mut self, known: &Known, key: Key) {
        let lane = order::lane(known, &key);
        self.mark_in(lane, key);
    }

    /// Looks at this key again, as urgently as said: a pod's keys are urgent even when the pod is gone already.
    pub fn mark_in(&mut self, lane: Lane, key: Key) {
        if let Some(set) = self.dirty.get_mut(lane as usize) {
            set.insert(key);
        }
    }

    /// Looks at everything again: what may be desired and what is there.
    pub fn mark_all(&mut self, known: &Known) {
        let there: Vec<Key> = owned::keys(&self.picture).collect();
        for key in desired::keys(known).chain(there) {
            self.mark(known, key);
        }
    }

    /// Does this in the lane of pods, before the keys that are dirty there, in the order of the calls.
    pub fn queue(&mut self, ticket: Ticket, op: Op) {
        self.queued.push((ticket, op));
    }

    /// The kernel was read. Never while a plan is under way. What is otherwise than in the picture is looked at again.
    pub fn absorb(&mut self, known: &Known, former: &Former, state: State) {
        let changed = changes::between(&self.picture, &state);
        let is_first = self.picture == State::default();
        let was_right: Vec<Key> = changed
            .iter()
            .filter(|key| diff::step(known, &self.picture, former, key) == Step::Nothing)
            .cloned()
            .collect();
        self.picture = state;
        let is_wrong = |key: &&Key| diff::step(known, &self.picture, former, key) != Step::Nothing;
        if !is_first {
            // What the kernel refused was drawn in too early, and nobody changed it.
            let is_refused = |key: &&Key| self.refused.get(key).is_some();
            let changed_by_others = was_right.iter().filter(|key| !is_refused(key)).filter(is_wrong);
            self.repaired += changed_by_others.count() as u64;
        }
        for key in changed {
            self.mark(known, key);
        }
    }

    /// The kernel as it is or soon will be.
    #[must_use]
    pub fn picture(&self) -> &State {
        &self.picture
    }

    /// Is nothing dirty or under way? What was refused may still differ.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending() == 0 && self.in_flight.is_none()
    }

    /// Is a plan being applied?
    #[must_use]
    pub fn is_applying(&self) -> bool {
        self.in_flight.is_some()
    }

    /// How many keys are to be looked at.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.dirty.iter().map(BTreeSet::len).sum::<usize>() + self.removals.len() + self.queued.len()
    }

    /// How many things of ours something else had changed.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// What the kernel refuses.
    pub fn refusals(&self) -> impl Iterator<Item = (&Key, &Refusal)> {
        self.refused.iter()
    }

    /// Is this as it should be, in the kernel, now?
    #[must_use]
    pub fn is_done(&self, known: &Known, former: &Former, key: &Key) -> bool {
        let waits = self.dirty.iter().any(|set| set.contains(key)) || self.removals.contains(key);
        let flies = self.in_flight.as_ref().is_some_and(|f| f.asked.iter().flatten().any(|(k, _)| k == key));
        !waits && !flies && diff::step(known, &self.picture, former, key) == Step::Nothing
    }

    /// Why this is not as it should be, if the kernel refused it.
    #[must_use]
    pub fn refusal(&self, key: &Key) -> Option<&OpError> {
        self.refused.get(key).map(|refusal| &refusal.error)
    }

    /// When something refused is worth another try.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.refused.next_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, known: &Known, now: Time) {
        for key in self.refused.due(now) {
            self.mark(known, key);
        }
    }

    /// The next plan, unless one is under way or there is nothing to do.
    pub fn plan(&mut self, known: &Known, former: &Former, now: Time) -> Option<Plan> {
        if self.in_flight.is_some() {
            return None;
        }
        for lane in Lane::ALL {
            loop {
                let keys = self.take(lane);
                let queued =
                    if lane == Lane::Endpoints { std::mem::take(&mut self.queued) } else { Vec::new() };
                if keys.is_empty() && queued.is_empty() {
                    break;
                }
                for (_, op) in &queued {
                    picture::draw(&mut self.picture, op);
                }
                let needs_table = self.picture.nft.is_none();
                let pieces = self.pieces(known, former, lane, (keys, now));
                if !pieces.is_empty() || !queued.is_empty() {
                    return Some(self.launch(lane, queued, order::assemble(pieces, needs_table)));
                }
            }
        }
        self.plan_removals(known, former, now)
    }

    fn plan_removals(&mut self, known: &Known, former: &Former, now: Time) -> Option<Plan> {
        let mut pieces = Vec::new();
        for key in std::mem::take(&mut self.removals).into_iter().rev() {
            if let Step::Make(found) | Step::Remove(found) = diff::step(known, &self.picture, former, &key)
                && self.refused.permits(&key, &found, now)
            {
                self.draw(&found);
                pieces.push((key, found));
            }
        }
        (!pieces.is_empty()).then(|| self.launch(Lane::Learned, Vec::new(), order::assemble(pieces, false)))
    }

    /// Dirty keys of a lane: all of an urgent one, a slice of the bulk. What changes in the table changes together,
    /// whatever the lane: chains, the sets they look up and the maps that lead to them are of one moment.
    fn take(&mut self, lane: Lane) -> BTreeSet<Key> {
        let [foundation, endpoints, learned] = &mut self.dirty;
        match lane {
            Lane::Foundation => {
                let mut keys = std::mem::take(foundation);
                if keys.iter().any(Key::is_nft) {
                    for other in [endpoints, learned] {
                        keys.extend(other.extract_if(.., |key| key.is_nft()));
                    }
                }
                keys
            }
            Lane::Endpoints => std::mem::take(endpoints),
            Lane::Learned => {
                let rest = learned.iter().nth(SLICE).cloned().map(|key| learned.split_off(&key));
                std::mem::replace(learned, rest.unwrap_or_default())
            }
        }
    }

    fn pieces(
        &mut self,
        known: &Known,
        former: &Former,
        lane: Lane,
        (keys, now): (BTreeSet<Key>, Time),
    ) -> Vec<(Key, Vec<Piece>)> {
        let mut makes = self.rebuild(known, &keys);
        let mut removes = Vec::new();
        let keys =
            if makes.is_empty() { keys } else { keys.into_iter().chain(self.all_nft(known)).collect() };
        for key in keys {
            match diff::step(known, &self.picture, former, &key) {
                Step::Nothing => self.refused.forget(&key),
                Step::Make(found) if self.refused.permits(&key, &found, now) => {
                    self.draw(&found);
                    makes.push((key, found));
                }
                Step::Remove(_) if lane != Lane::Endpoints && !key.is_route() && !key.is_nft() => {
                    self.removals.insert(key);
                }
                Step::Remove(found) if self.refused.permits(&key, &found, now) => removes.push((key, found)),
                Step::Make(_) | Step::Remove(_) => {}
            }
        }
        for (_, found) in removes.iter().rev() {
            self.draw(found);
        }
        makes.extend(removes.into_iter().rev());
        makes
    }

    /// A table of another build (an upgrade changed a set's type or a chain's place) is deleted and made again in the
    /// same transaction.
    fn rebuild(&mut self, known: &Known, keys: &BTreeSet<Key>) -> Vec<(Key, Vec<Piece>)> {
        let Some(table) = &self.picture.nft else { return Vec::new() };
        let is_other = |key: &&Key| diff::is_of_another_build(known, table, key);
        let Some(key) = keys.iter().find(is_other).cloned() else { return Vec::new() };
        let pieces = vec![Piece::Nft(nft::Change::DeleteTable), Piece::Nft(nft::Change::AddTable)];
        self.draw(&pieces);
        vec![(key, pieces)]
    }

    fn all_nft(&mut self, known: &Known) -> Vec<Key> {
        desired::keys(known).filter(Key::is_nft).collect()
    }

    fn draw(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Op(op) => picture::draw(&mut self.picture, op),
                Piece::Nft(change) => picture::draw_nft(&mut self.picture.nft, change),
            }
        }
    }

    fn launch(&mut self, lane: Lane, queued: Vec<(Ticket, Op)>, assembled: Assembled) -> Plan {
        let (tickets, mut ops): (Vec<Ticket>, Vec<Op>) = queued.into_iter().unzip();
        ops.extend(assembled.ops);
        self.in_flight = Some(InFlight { tickets, asked: assembled.asked });
        Plan { lane, ops }
    }

    /// What became of the plan under way, operation by operation.
    pub fn applied(&mut self, results: Vec<OpResult>, now: Time) -> Outcome {
        let Some(InFlight { tickets, asked }) = self.in_flight.take() else { return Outcome::default() };
        let mut results = results.into_iter();
        let mut outcome = Outcome::default();
        for (ticket, result) in tickets.into_iter().zip(results.by_ref()) {
            outcome.reread |= result.is_err();
            outcome.tickets.push((ticket, result));
        }
        for (parties, result) in asked.into_iter().zip(results) {
            match result {
                Ok(()) => parties.iter().for_each(|(key, _)| self.refused.forget(key)),
                Err(error) => {
                    outcome.reread = true;
                    for (key, asked) in parties {
                        if self.refused.get(&key).is_none() {
                            outcome.refused.push((key.clone(), error.clone()));
                        }
                        self.refused.note(key, Refusal::new(asked, error.clone()), now);
                    }
                }
            }
        }
        outcome
    }
}
