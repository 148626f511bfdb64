//! What may be announced: blocks of this node that forward. Announced when the blackhole route under a block is in the
//! kernel, withdrawn before it goes. A block of one address has no blackhole and is announced with the pod that has it.

use std::collections::BTreeMap;

use corduroy_bgp::Net;
use corduroy_bgp::io::Origination;

/// What the speaker has been told.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    announced: BTreeMap<Net, Origination>,
    complete: bool,
    waits: bool,
}

/// A word to the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Originate(Net, Origination),
    Withdraw(Net),
    Complete,
}

impl Announcer {
    /// What is to be said, given what is wanted and what of it forwards. What is announced already stays while it is
    /// wanted: a blackhole that somebody deleted is back in a moment, and no reason for the whole fabric to move.
    pub(super) fn settle(
        &mut self,
        wanted: BTreeMap<Net, Origination>,
        forwards: impl Fn(Net) -> bool,
    ) -> Vec<Word> {
        let mut words = Vec::new();
        let gone: Vec<Net> = self.announced.keys().filter(|net| !wanted.contains_key(net)).copied().collect();
        for net in gone {
            self.announced.remove(&net);
            words.push(Word::Withdraw(net));
        }
        self.waits = false;
        for (net, how) in wanted {
            match self.announced.get(&net) {
                Some(told) if *told == how => continue,
                None if !forwards(net) => self.waits = true,
                Some(_) | None => {
                    self.announced.insert(net, how.clone());
                    words.push(Word::Originate(net, how));
                }
            }
        }
        if !self.waits && !self.complete {
            self.complete = true;
            words.push(Word::Complete);
        }
        words
    }

    /// Does something that is wanted not forward yet?
    pub(super) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Every announced prefix, in order.
    pub(super) fn announced(&self) -> impl Iterator<Item = Net> + '_ {
        self.announced.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(nets: &[&str]) -> BTreeMap<Net, Origination> {
        let plain = || Origination {
            next_hop: None,
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        };
        nets.iter().map(|net| (net.parse().unwrap(), plain())).collect()
    }

    fn show(words: &[Word]) -> Vec<String> {
        let show = |word: &Word| match word {
            Word::Originate(net, _) => format!("+{net}"),
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
        assert_eq!(show(&announcer.settle(wanted(&two), |net| net == first)), ["+10.1.0.0/26"]);
        assert_eq!(show(&announcer.settle(wanted(&two), |_| true)), ["+10.2.0.0/26", "complete"]);
        assert_eq!(show(&announcer.settle(wanted(&two), |_| false)), [] as [&str; 0]);
        assert_eq!(show(&announcer.settle(wanted(&two[1..]), |_| true)), ["-10.1.0.0/26"]);
    }

    #[test]
    fn a_node_without_blocks_says_so_at_once() {
        assert_eq!(show(&Announcer::default().settle(wanted(&[]), |_| false)), ["complete"]);
    }
}
