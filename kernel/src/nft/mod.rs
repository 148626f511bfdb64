//! Our nftables table as typed data.
//!
//! All our rules live in one table, `inet corduroy`. A [`Table`] is its whole content: base chains with hook
//! and priority, chains, sets, verdict maps, rules as typed expressions. It prints itself in the syntax of
//! `nft` (that text is what tests compare), and `corduroy-kernel-linux` turns it into nf_tables messages and
//! back.
//!
//! Two costs shape the types (measured): a **hash** set takes a new element in 0.3 ms whatever its size, an
//! **interval** set costs 8 ms for each transaction at 100,000 members, and a set that is both concatenated
//! and interval far more. So [`SetKind`] has no such set, exact addresses belong in hash sets and only true
//! networks in interval sets.
//!
//! Rules have no identity of their own: a chain's rules are replaced as a whole, in one transaction
//! ([`Change::SetRules`]). What changes with every pod is a set element, not a rule.

mod expr;
mod rule;
mod text;
mod value;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use expr::{Cmp, Expr, Field, L4, Match, Verdict};
pub use rule::{Counted, Rule};
pub use value::{AddrType, CtDirection, CtState, DataType, Key, Limit, Per, Value};

/// The name of our table, of family `inet`.
pub const TABLE: &str = "corduroy";

/// The name of a chain, a set or a map: up to 255 octets, cheap to copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name from text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything in our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Chains by name.
    pub chains: BTreeMap<Name, Chain>,
    /// Sets and verdict maps by name: both share one space of names.
    pub sets: BTreeMap<Name, Set>,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it; `None` for a chain that others jump to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// What it may do.
    pub kind: ChainKind,
    /// When it is asked.
    pub hook: Hook,
    /// Lower is earlier: -300 raw, -200 conntrack, -150 mangle, -100 dstnat, 0 filter, 100 srcnat.
    pub priority: i32,
    /// What happens to a packet that no rule decided.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainKind {
    /// Accept and drop.
    Filter,
    /// Translate addresses: sees the first packet of a connection only.
    Nat,
}

/// Where in its way a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// On arrival, before the routing decision.
    Prerouting,
    /// For this host.
    Input,
    /// From one interface to another.
    Forward,
    /// From this host.
    Output,
    /// Before it leaves, after the routing decision.
    Postrouting,
}

/// What a base chain does with a packet that no rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Let it on to the next chain.
    Accept,
    /// Drop it.
    Drop,
}

/// A set or verdict map and its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// How it is keyed.
    pub kind: SetKind,
    /// Has every element a verdict (a map for `vmap`)?
    pub verdicts: bool,
    /// Its elements: the verdict is `Some` exactly when `verdicts`. In an interval set no two may overlap.
    pub elements: BTreeMap<Key, Option<Verdict>>,
}

/// How a set is keyed. There is no concatenated interval set, because a change to one costs 34 to 80 ms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Exact match on one field or a concatenation of fields.
    Hash(Vec<DataType>),
    /// Networks and ranges of one field.
    Interval(DataType),
    /// Found, and not of a kind we make: somebody else made it. Never asked for.
    Other,
}

impl Set {
    /// An empty set for exact matches.
    #[must_use]
    pub fn hash(key: impl Into<Vec<DataType>>) -> Self {
        Self { kind: SetKind::Hash(key.into()), verdicts: false, elements: BTreeMap::new() }
    }
    /// An empty set of networks.
    #[must_use]
    pub fn interval(key: DataType) -> Self {
        Self { kind: SetKind::Interval(key), verdicts: false, elements: BTreeMap::new() }
    }
    /// An empty verdict map for exact matches.
    #[must_use]
    pub fn vmap(key: impl Into<Vec<DataType>>) -> Self {
        Self { kind: SetKind::Hash(key.into()), verdicts: true, elements: BTreeMap::new() }
    }
}

/// One step of a transaction on our table. A transaction is applied as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Make the table if it is not there.
    AddTable,
    /// Delete the table with everything in it, if it is there.
    DeleteTable,
    /// Make an empty chain. Of a base chain that is there, the policy is set; hook and priority must be the
    /// same.
    AddChain(Name, Option<Base>),
    /// Delete a chain with its rules; nothing may jump to it any more.
    DeleteChain(Name),
    /// Replace the rules of a chain.
    SetRules(Name, Vec<Rule>),
    /// Make an empty set or map of this kind; the flag says whether elements have verdicts.
    AddSet(Name, SetKind, bool),
    /// Delete a set with its elements; no rule may look it up any more.
    DeleteSet(Name),
    /// Add elements. One that is there with the same verdict is left as it is; with another verdict it is
    /// refused.
    AddElements(Name, Vec<(Key, Option<Verdict>)>),
    /// Delete elements; each must be there.
    DeleteElements(Name, Vec<Key>),
}
