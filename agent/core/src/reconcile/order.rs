//! In which order, and how much at a time.
//!
//! Keys are ordered so that what is referred to is made first; removal goes the other way. Three lanes say what is
//! urgent: what everything stands on, then pods, then the bulk of learned routes in slices. A plan is cut from one
//! lane, and while it is being applied whatever becomes more urgent is queued, so a pod waits for one slice at most.
//!
//! All changes of the table that are in one plan are one transaction.

use std::collections::BTreeMap;

use corduroy_kernel::nft::{Change, Name};
use corduroy_kernel::{Lane, LinkName, Op};

use super::Asked;
use super::diff::Piece;
use super::owned::is_tunnel;
use crate::key::Key;
use crate::known::Known;

/// The lane of a key. Where it depends on what is known (is this the route of a pod?), the answer is about urgency
/// only: in any lane the outcome is the same.
#[must_use]
pub fn lane(known: &Known, key: &Key) -> Lane {
    let by_dev = |dev: LinkName| if is_tunnel(dev) { Lane::Foundation } else { Lane::Endpoints };
    match key {
        Key::Link(dev) | Key::Up(dev) | Key::Address(dev, _) => by_dev(*dev),
        Key::Sysctl(switch) => switch.dev().map_or(Lane::Foundation, by_dev),
        Key::NftSet(_) | Key::NftChain(_) => Lane::Foundation,
        Key::NftElement(set, _) => match set.as_str() {
            "pods4" | "pods6" | "egress" | "ingress" => Lane::Endpoints,
            _ => Lane::Foundation,
        },
        Key::Neighbour(dev, _) if dev.is_pod() => Lane::Endpoints,
        Key::Neighbour(..) | Key::Fdb(..) | Key::StrayRoute(..) => Lane::Learned,
        Key::Route(dst) if known.owned.contains(dst) => Lane::Foundation,
        Key::Route(dst) if dst.is_host() && known.pods.by_address(dst.addr()).is_some() => Lane::Endpoints,
        Key::Route(_) => Lane::Learned,
    }
}

/// Operations in their order, each with the keys it is for.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// What is to be done.
    pub ops: Vec<Op>,
    /// For each operation, whose it is and what it asks: looked up when the kernel refuses it.
    pub asked: Vec<Parties>,
}

/// The keys that an operation is for, each with what it asks.
pub type Parties = Vec<(Key, Asked)>;

impl Assembled {
    /// Adds an operation that belongs to no key.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
        self.asked.push(Vec::new());
    }
}

/// Puts the pieces of many keys together: everything of the table becomes one transaction, which stands where its
/// first piece stood.
#[must_use]
pub fn assemble(pieces: Vec<(Key, Vec<Piece>)>, needs_table: bool) -> Assembled {
    let mut out = Assembled::default();
    let mut transaction: Vec<Change> = Vec::new();
    let mut place = None;
    let mut parties = Vec::new();
    for (key, pieces) in pieces {
        let asked = Asked::of(&pieces);
        if pieces.iter().any(|piece| matches!(piece, Piece::Nft(_))) {
            place.get_or_insert(out.ops.len());
            parties.push((key.clone(), asked));
        }
        for piece in pieces {
            match piece {
                Piece::Nft(change) => transaction.push(change),
                Piece::Op(op) => {
                    out.ops.push(op);
                    out.asked.push(vec![(key.clone(), asked)]);
                }
            }
        }
    }
    if let Some(place) = place {
        if needs_table {
            transaction.push(Change::AddTable);
        }
        out.ops.insert(place, Op::Nft(ordered(transaction)));
        out.asked.insert(place, parties);
    }
    out
}

/// Puts a transaction in an order in which nothing refers to what is not there (yet), and gathers elements by set.
fn ordered(changes: Vec<Change>) -> Vec<Change> {
    let mut gone: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    let mut new: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    let mut rest = Vec::new();
    for change in changes {
        match change {
            Change::DeleteElements(set, keys) => gone.entry(set).or_default().extend(keys),
            Change::AddElements(set, elements) => new.entry(set).or_default().extend(elements),
            other => rest.push(other),
        }
    }
    rest.extend(gone.into_iter().map(|(set, keys)| Change::DeleteElements(set, keys)));
    rest.extend(new.into_iter().map(|(set, elements)| Change::AddElements(set, elements)));
    rest.sort_by_key(rank);
    rest
}

fn rank(change: &Change) -> u8 {
    match change {
        Change::DeleteTable => 0,
        Change::AddTable => 1,
        Change::AddSet(..) => 2,
        Change::AddChain(..) => 3,
        Change::DeleteElements(..) => 4,
        Change::AddElements(..) => 5,
        Change::SetRules(..) => 6,
        Change::DeleteChain(_) => 7,
        Change::DeleteSet(_) => 8,
    }
}
