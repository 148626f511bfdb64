//! What may be announced: what is wanted and forwards. A block of this node is announced when the blackhole route under
//! it is in the kernel, and withdrawn before that goes; one of a single address has no blackhole and is announced with
//! the pod that has it. What is announced of services waits for the rule that lets nothing through that kube-proxy did
//! not translate.
//!
//! Only prefixes of which something has changed, or that wait to forward, are looked at: a node may announce some
//! thousand addresses of services.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_bgp::Net;
use corduroy_bgp::io::Origination;

/// What the speaker has been told, and what it is to be told.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    wanted: BTreeMap<Net, Origination>,
    announced: BTreeMap<Net, Origination>,
    /// Of these the speaker may have been told something else than is wanted.
    unsettled: BTreeSet<Net>,
    /// Those of `wanted` that are blocks.
    blocks: BTreeSet<Net>,
    complete: bool,
}

/// A word to the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A prefix that was not announced until now.
    Originate(Net, Origination),
    /// One that was, otherwise.
    Change(Net, Origination),
    Withdraw(Net),
    Complete,
}

impl Announcer {
    /// The blocks to be announced are these now.
    pub(super) fn want_blocks(&mut self, blocks: BTreeMap<Net, Origination>) {
        let gone: Vec<Net> = self.blocks.iter().filter(|net| !blocks.contains_key(net)).copied().collect();
        for net in gone {
            self.want(net, None);
        }
        self.blocks = blocks.keys().copied().collect();
        for (net, how) in blocks {
            self.want(net, Some(how));
        }
    }

    /// A prefix is to be announced so, or not at all.
    pub(super) fn want(&mut self, net: Net, how: Option<Origination>) {
        let changed = match how {
            Some(how) if self.wanted.get(&net) == Some(&how) => false,
            Some(how) => {
                self.wanted.insert(net, how);
                true
            }
            None => self.wanted.remove(&net).is_some(),
        };
        if changed {
            self.unsettled.insert(net);
        }
    }

    /// What is to be said, given what of it forwards: what goes before what comes. What is announced already stays
    /// while it is wanted: a blackhole that somebody deleted is back in a moment, and no reason for the whole fabric to
    /// move.
    pub(super) fn settle(&mut self, forwards: impl Fn(Net) -> bool) -> Vec<Word> {
        let mut words = Vec::new();
        let (wanted, announced) = (&self.wanted, &mut self.announced);
        self.unsettled.retain(|net| {
            let gone = !wanted.contains_key(net);
            if gone && announced.remove(net).is_some() {
                words.push(Word::Withdraw(*net));
            }
            !gone
        });
        self.unsettled.retain(|net| {
            let Some(how) = wanted.get(net) else { return false };
            if !announced.contains_key(net) && !forwards(*net) {
                return true;
            }
            match announced.insert(*net, how.clone()) {
                None => words.push(Word::Originate(*net, how.clone())),
                Some(told) if told != *how => words.push(Word::Change(*net, how.clone())),
                Some(_) => {}
            }
            false
        });
        if self.unsettled.is_empty() && !self.complete {
            self.complete = true;
            words.push(Word::Complete);
        }
        words
    }

    /// Does something that is wanted not forward yet?
    pub(super) fn is_waiting(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Every announced prefix, in order.
    pub(super) fn announced(&self) -> impl Iterator<Item = Net> + '_ {
        self.announced.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Origination {
        Origination {
            next_hop: None,
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        }
    }

    fn blocks(nets: &[&str]) -> BTreeMap<Net, Origination> {
        nets.iter().map(|net| (net.parse().unwrap(), plain())).collect()
    }

    fn show(words: &[Word]) -> Vec<String> {
        let show = |word: &Word| match word {
            Word::Originate(net, _) => format!("+{net}"),
            Word::Change(net, how) => format!("{net} {:?}", how.communities),
            Word::Withdraw(net) => format!("-{net}"),
            Word::Complete => "complete".into(),
        };
        words.iter().map(show).collect()
    }

    #[test]
    fn only_what_forwards_is_announced_and_end_of_rib_waits_for_the_rest() {
        let mut announcer = Announcer::default();
        let two = ["10.1.0.0/26", "10.2.0.0/26"];
        let first: Net = two[0].parse().unwrap();
        announcer.want_blocks(blocks(&two));
        assert_eq!(show(&announcer.settle(|net| net == first)), ["+10.1.0.0/26"]);
        assert!(announcer.is_waiting());
        assert_eq!(show(&announcer.settle(|_| true)), ["+10.2.0.0/26", "complete"]);
        announcer.want_blocks(blocks(&two));
        assert_eq!(show(&announcer.settle(|_| false)), [] as [&str; 0]);
        announcer.want_blocks(blocks(&two[1..]));
        assert_eq!(show(&announcer.settle(|_| true)), ["-10.1.0.0/26"]);
    }

    #[test]
    fn a_node_without_blocks_says_so_at_once() {
        let mut announcer = Announcer::default();
        announcer.want_blocks(blocks(&[]));
        assert_eq!(show(&announcer.settle(|_| false)), ["complete"]);
    }

    #[test]
    fn what_is_not_a_block_comes_and_goes_by_itself_and_what_goes_is_said_first() {
        let mut announcer = Announcer::default();
        let (range, host) = ("203.0.113.0/24".parse().unwrap(), "203.0.113.7/32".parse().unwrap());
        announcer.want(range, Some(plain()));
        announcer.want_blocks(blocks(&["10.1.0.0/26"]));
        assert_eq!(show(&announcer.settle(|_| true)), ["+10.1.0.0/26", "+203.0.113.0/24", "complete"]);
        announcer.want(range, None);
        announcer.want(host, Some(plain()));
        announcer.want_blocks(blocks(&["10.1.0.0/26"]));
        assert_eq!(show(&announcer.settle(|_| true)), ["-203.0.113.0/24", "+203.0.113.7/32"]);
        let tagged = Origination { communities: vec![1], ..plain() };
        announcer.want(host, Some(tagged));
        assert_eq!(show(&announcer.settle(|_| false)), ["203.0.113.7/32 [1]"], "it stays while it changes");
        announcer.want(host, None);
        announcer.want(host, Some(plain()));
        assert_eq!(show(&announcer.settle(|_| true)), ["203.0.113.7/32 []"]);
    }
}
