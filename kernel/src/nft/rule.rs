//! A rule, put together step by step.

use alloc::string::String;
use alloc::vec::Vec;

use super::Name;
use super::expr::{Expr, Field, Match, Verdict};
use super::value::Limit;

/// A rule: its steps and a comment.
///
/// ```
/// use corduroy_kernel::nft::{CtState, Match, Rule};
///
/// let rule = Rule::new().when(Match::ct_state(CtState::ESTABLISHED.or(CtState::RELATED))).accept();
/// assert_eq!(rule.to_string(), "ct state established,related accept");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    exprs: Vec<Expr>,
    /// What it is for, shown by `nft list`: at most 127 octets, longer ones are cut.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// …and then this.
    ///
    /// A test that the next step implies anyway (`meta nfproto ipv4` right before `ip saddr`) is left out, so
    /// that one meaning has one form and a rule read back equals the rule written.
    #[must_use]
    pub fn then(mut self, expr: Expr) -> Self {
        while self.exprs.last().is_some_and(|last| implied(last, &expr)) {
            self.exprs.pop();
        }
        self.exprs.push(expr);
        self
    }
    /// What it does, in order.
    #[must_use]
    pub fn exprs(&self) -> &[Expr] {
        &self.exprs
    }
    /// …if this matches.
    #[must_use]
    pub fn when(self, what: Match) -> Self {
        self.then(Expr::Match(what))
    }
    /// …if these fields together are in the set.
    #[must_use]
    pub fn in_set(self, fields: impl Into<Vec<Field>>, set: impl Into<Name>) -> Self {
        self.then(Expr::InSet(fields.into(), set.into()))
    }
    /// …if these fields together are not in the set.
    #[must_use]
    pub fn not_in_set(self, fields: impl Into<Vec<Field>>, set: impl Into<Name>) -> Self {
        self.then(Expr::NotInSet(fields.into(), set.into()))
    }
    /// …do what the verdict map says for these fields.
    #[must_use]
    pub fn vmap(self, fields: impl Into<Vec<Field>>, map: impl Into<Name>) -> Self {
        self.then(Expr::Vmap(fields.into(), map.into()))
    }
    /// …count it.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Expr::Counter)
    }
    /// …while within this rate.
    #[must_use]
    pub fn limit(self, limit: Limit) -> Self {
        self.then(Expr::Limit(limit))
    }
    /// …log it with this prefix (at most 127 octets).
    #[must_use]
    pub fn log(self, prefix: &str) -> Self {
        self.then(Expr::Log(prefix.into()))
    }
    /// …hand at most `snaplen` octets of it (0: all) to the listener of a group, with this prefix (at most 127
    /// octets).
    #[must_use]
    pub fn log_group(self, group: u16, prefix: &str, snaplen: u32) -> Self {
        self.then(Expr::LogGroup { group, prefix: prefix.into(), snaplen })
    }
    /// …write these bits of the packet's mark.
    #[must_use]
    pub fn set_mark(self, mask: u32, value: u32) -> Self {
        self.then(Expr::SetMark { mask, value })
    }
    /// …write these bits of the connection's mark.
    #[must_use]
    pub fn set_ct_mark(self, mask: u32, value: u32) -> Self {
        self.then(Expr::SetCtMark { mask, value })
    }
    /// …do not track its connection.
    #[must_use]
    pub fn notrack(self) -> Self {
        self.then(Expr::Notrack)
    }
    /// …masquerade, fully random.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.then(Expr::Masquerade)
    }
    /// …accept.
    #[must_use]
    pub fn accept(self) -> Self {
        self.then(Expr::Verdict(Verdict::Accept))
    }
    /// …drop.
    #[must_use]
    pub fn drop(self) -> Self {
        self.then(Expr::Verdict(Verdict::Drop))
    }
    /// …return.
    #[must_use]
    pub fn ret(self) -> Self {
        self.then(Expr::Verdict(Verdict::Return))
    }
    /// …jump to a chain.
    #[must_use]
    pub fn jump(self, chain: impl Into<Name>) -> Self {
        self.then(Expr::Verdict(Verdict::Jump(chain.into())))
    }
    /// …go to a chain.
    #[must_use]
    pub fn goto(self, chain: impl Into<Name>) -> Self {
        self.then(Expr::Verdict(Verdict::Goto(chain.into())))
    }
    /// This rule with a comment.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.into());
        self
    }
}

/// What the counter of a rule has counted since the rule was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// The chain it is in.
    pub chain: Name,
    /// Its place among the rules of the chain, from 0.
    pub position: usize,
    /// Its comment.
    pub comment: Option<String>,
    /// Packets that came as far as its (first) counter.
    pub packets: u64,
    /// Their octets, with IP header and without that of the link.
    pub bytes: u64,
}

/// Is `test` what a header field of `next` implies?
fn implied(test: &Expr, next: &Expr) -> bool {
    let Expr::Match(test) = test else { return false };
    let by = |field: &Field| {
        let family = field.family().is_some_and(|family| *test == Match::nfproto(family));
        family || field.protocol().is_some_and(|protocol| *test == Match::l4proto(protocol))
    };
    next.fields().iter().any(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;
    use crate::nft::L4;
    use alloc::string::ToString;

    #[test]
    fn a_test_that_the_next_step_implies_is_left_out() {
        let dport = Match::dport(L4::Tcp, 179, 179);
        let rule = Rule::new().when(Match::nfproto(Family::V4)).when(Match::l4proto(6)).when(dport).accept();
        assert_eq!(rule.to_string(), "meta nfproto ipv4 tcp dport 179 accept");
        let other = Rule::new().when(Match::l4proto(6)).counter().when(dport);
        assert_eq!(other.to_string(), "meta l4proto tcp counter tcp dport 179");
    }
}
