//! One transaction on our table as a batch of messages.

use corduroy_kernel::nft::{
    Base, ChainKind, Change, DataType, Hook, Key, Name, Policy, Rule, SetKind, TABLE, Verdict,
};
use corduroy_kernel::{Cause, OpError};

use super::value::{interval, key, key_len, key_type, write_data, write_verdict};
use super::{
    BATCH_BEGIN, BATCH_END, DATA_TYPE_VERDICT, DELCHAIN, DELRULE, DELSET, DELSETELEM, DELTABLE, INTERVAL_END,
    LIST_ELEM, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, NFPROTO_INET, NFPROTO_UNSPEC, SET_INTERVAL,
    SET_MAP, expr, nfta,
};
use crate::wire::{APPEND, Batch, CREATE};

/// A nested attribute has at most 65,535 octets: elements are split before that.
const ELEMENTS_MAX: usize = 60_000;
/// The longest comment of a rule, without its NUL: user data is at most 256 octets.
const COMMENT_MAX: usize = 127;

/// A transaction, and which change each of its messages belongs to.
pub(crate) struct Transaction {
    /// The messages.
    pub(crate) batch: Batch,
    /// The number of the first message.
    pub(crate) first: u32,
    /// For each message behind the first, the place of its change.
    pub(crate) changes: Vec<usize>,
    seq: u32,
    change: usize,
    sets: u32,
}

/// Write a transaction whose messages are numbered from `first` on; the last but one (the end of the batch is
/// not answered by older kernels) asks for an answer.
///
/// # Errors
/// A rule holds an expression that is not ours to write.
pub(crate) fn transaction(changes: &[Change], first: u32) -> Result<Transaction, OpError> {
    let batch = Batch::default();
    let mut t = Transaction { batch, first, changes: Vec::new(), seq: first, change: 0, sets: 0 };
    t.bracket(BATCH_BEGIN);
    for (place, change) in changes.iter().enumerate() {
        t.change = place;
        t.change(change)?;
    }
    t.batch.ask_ack();
    t.bracket(BATCH_END);
    Ok(t)
}

impl Transaction {
    /// The number of the message that asks for an answer.
    pub(crate) fn last(&self) -> u32 {
        self.seq - 2
    }
    /// The change that the message of this number belongs to.
    pub(crate) fn change_of(&self, seq: u32) -> Option<usize> {
        let place = usize::try_from(seq.checked_sub(self.first)?.checked_sub(1)?).ok()?;
        self.changes.get(place).copied()
    }
    fn bracket(&mut self, kind: u16) {
        self.batch.begin(kind, 0, self.seq);
        // struct nfgenmsg with the subsystem where others have zero.
        self.batch.raw(&[NFPROTO_UNSPEC, 0, 0, 10]);
        self.batch.end();
        self.seq += 1;
    }
    fn begin(&mut self, kind: u16, flags: u16) {
        self.batch.begin(kind, flags, self.seq);
        self.batch.raw(&[NFPROTO_INET, 0, 0, 0]);
        // The table is attribute 1 of every kind of message.
        self.batch.string(nfta::TABLE_NAME, TABLE);
        self.seq += 1;
        self.changes.push(self.change);
    }

    fn change(&mut self, change: &Change) -> Result<(), OpError> {
        match change {
            Change::AddTable => self.add_table(),
            Change::DeleteTable => {
                // Deleting what is not there would fail: make it first. DESTROYTABLE needs Linux 6.3.
                self.add_table();
                self.begin(DELTABLE, 0);
                self.batch.end();
            }
            Change::AddChain(name, base) => self.add_chain(name, base.as_ref()),
            Change::DeleteChain(name) => self.named(DELCHAIN, nfta::CHAIN_NAME, name),
            Change::SetRules(chain, rules) => {
                self.named(DELRULE, nfta::RULE_CHAIN, chain);
                rules.iter().try_for_each(|rule| self.add_rule(chain, rule))?;
            }
            Change::AddSet(name, kind, verdicts) => self.add_set(name, kind, *verdicts)?,
            Change::DeleteSet(name) => self.named(DELSET, nfta::SET_NAME, name),
            Change::AddElements(set, elements) => {
                let each = elements.iter().map(|(key, verdict)| (key, verdict.as_ref()));
                self.elements(NEWSETELEM, CREATE, set, each);
            }
            Change::DeleteElements(set, keys) => {
                let each = keys.iter().map(|key| (key, None));
                self.elements(DELSETELEM, 0, set, each);
            }
        }
        Ok(())
    }
    fn add_table(&mut self) {
        self.begin(NEWTABLE, CREATE);
        self.batch.end();
    }
    fn named(&mut self, kind: u16, attr: u16, name: &Name) {
        self.begin(kind, 0);
        self.batch.string(attr, name.as_str());
        self.batch.end();
    }
    fn add_chain(&mut self, name: &Name, base: Option<&Base>) {
        self.begin(NEWCHAIN, CREATE);
        self.batch.string(nfta::CHAIN_NAME, name.as_str());
        if let Some(base) = base {
            let nest = self.batch.nest(nfta::CHAIN_HOOK);
            self.batch.be32(nfta::HOOK_NUM, hook_number(base.hook));
            self.batch.be32(nfta::HOOK_PRIORITY, base.priority.cast_unsigned());
            self.batch.close(nest);
            self.batch.be32(nfta::CHAIN_POLICY, policy_number(base.policy));
            self.batch.string(nfta::CHAIN_TYPE, kind_name(base.kind));
        }
        self.batch.end();
    }
    fn add_rule(&mut self, chain: &Name, rule: &Rule) -> Result<(), OpError> {
        self.begin(NEWRULE, CREATE | APPEND);
        self.batch.string(nfta::RULE_CHAIN, chain.as_str());
        let nest = self.batch.nest(nfta::RULE_EXPRESSIONS);
        let written = expr::write_rule(&mut self.batch, rule);
        self.batch.close(nest);
        if let Some(comment) = &rule.comment {
            self.batch.attr(nfta::RULE_USERDATA, &userdata(comment));
        }
        self.batch.end();
        if written { Ok(()) } else { Err(not_ours(&format!("rule of chain {chain}: {rule}"))) }
    }
    fn add_set(&mut self, name: &Name, kind: &SetKind, verdicts: bool) -> Result<(), OpError> {
        let (fields, interval): (&[DataType], _) = match kind {
            SetKind::Hash(fields) => (fields, 0),
            SetKind::Interval(field) => (std::slice::from_ref(field), SET_INTERVAL),
            SetKind::Other => return Err(not_ours(&format!("set {name}"))),
        };
        self.sets += 1;
        let id = self.sets;
        self.begin(NEWSET, CREATE);
        let batch = &mut self.batch;
        batch.string(nfta::SET_NAME, name.as_str());
        batch.be32(nfta::SET_FLAGS, interval | if verdicts { SET_MAP } else { 0 });
        batch.be32(nfta::SET_KEY_TYPE, key_type(fields));
        batch.be32(nfta::SET_KEY_LEN, u32::try_from(key_len(fields)).unwrap_or_default());
        if verdicts {
            batch.be32(nfta::SET_DATA_TYPE, DATA_TYPE_VERDICT);
            batch.be32(nfta::SET_DATA_LEN, 0);
        }
        batch.be32(nfta::SET_ID, id);
        if let [field] = fields {
            batch.attr(nfta::SET_USERDATA, &byte_order(*field));
        }
        batch.end();
        Ok(())
    }
    fn elements<'a>(
        &mut self,
        message: u16,
        flags: u16,
        set: &Name,
        elements: impl Iterator<Item = (&'a Key, Option<&'a Verdict>)>,
    ) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            self.begin(message, flags);
            self.batch.string(nfta::LIST_SET, set.as_str());
            let start = self.batch.len();
            let nest = self.batch.nest(nfta::LIST_ELEMENTS);
            while self.batch.len() - start < ELEMENTS_MAX {
                let Some((key, verdict)) = elements.next() else { break };
                write_element(&mut self.batch, key, verdict);
            }
            self.batch.close(nest);
            self.batch.end();
        }
    }
}

fn write_element(batch: &mut Batch, of: &Key, verdict: Option<&Verdict>) {
    let (begin, end) = match of {
        Key::One(value) if value.is_interval() => interval(value),
        _ => (key(of), None),
    };
    let item = batch.nest(LIST_ELEM);
    write_data(batch, nfta::ELEM_KEY, &begin);
    if let Some(verdict) = verdict {
        write_verdict(batch, nfta::ELEM_DATA, verdict);
    }
    batch.close(item);
    if let Some(end) = end {
        let item = batch.nest(LIST_ELEM);
        write_data(batch, nfta::ELEM_KEY, &end);
        batch.be32(nfta::ELEM_FLAGS, INTERVAL_END);
        batch.close(item);
    }
}

/// User data of a set: how `nft list` shall show a key. The kernel does not look at it.
fn byte_order(field: DataType) -> Vec<u8> {
    const KEY_BYTE_ORDER: u8 = 0;
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    let order = match field {
        DataType::IfName | DataType::Mark => HOST,
        DataType::Ipv4 | DataType::Ipv6 | DataType::Proto | DataType::Port => NETWORK,
    };
    [KEY_BYTE_ORDER, 4].into_iter().chain(order.to_ne_bytes()).collect()
}

/// User data of a rule as `nft` writes it: type 0 is the comment, then its length with NUL, then text and
/// NUL.
fn userdata(comment: &str) -> Vec<u8> {
    let comment = expr::cut(comment, COMMENT_MAX);
    let len = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    [0, len].into_iter().chain(comment.bytes()).chain([0]).collect()
}

fn not_ours(what: &str) -> OpError {
    let detail = format!("{what}: found in the kernel, not to be written");
    OpError { cause: Cause::Invalid, errno: 0, detail }
}

/// NF_INET_*.
pub(super) fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

pub(super) fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

pub(super) fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    }
}

/// A change in a few words, for an error.
pub(crate) fn describe(change: &Change) -> String {
    match change {
        Change::AddTable => "the table".to_owned(),
        Change::DeleteTable => "deleting the table".to_owned(),
        Change::AddChain(name, _) => format!("chain {name}"),
        Change::DeleteChain(name) => format!("deleting chain {name}"),
        Change::SetRules(name, rules) => format!("{} rules of chain {name}", rules.len()),
        Change::AddSet(name, _, _) => format!("set {name}"),
        Change::DeleteSet(name) => format!("deleting set {name}"),
        Change::AddElements(name, elements) => format!("{} elements of set {name}", elements.len()),
        Change::DeleteElements(name, keys) => format!("deleting {} elements of set {name}", keys.len()),
    }
}
