//! Chains: policies, tiers and programs, shared by what they say.
//!
//! ```text
//! program  jump tier; jump tier; …; let pass         what one endpoint meets, of one direction
//!   tier   jump policy; jump policy; …; denied       or back to the program, where the tier passes on
//!     policy  the rules, each with its verdict       one chain, for all endpoints it selects
//! ```
//! A rule that passes to the next tier stands in the chain of the tier, where *return* leads back to the program; the
//! rules of its policy before it and behind it are chains of their own. So no packet is marked, and the way from a hook
//! to the last rule is always as long, however many tiers there are: the kernel follows jumps and gotos sixteen deep
//! and no deeper.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::policy::tier::DefaultAction;
use corduroy_kernel::nft::{Limit, Name, Per, Rule as Kernel};

use super::compile::Line;
use super::origin::{Origin, RuleRef, cut};
use super::{Dirty, names};
use crate::normal::{Action, Direction, PolicyId};

/// Where what may be sent ends. It is the caller's, and accepts: whether the receiver may get it is judged from a hook
/// of its own. The chains of receivers must not be reached from here. Before each transaction older kernels
/// (Debian 12's 6.1 is one) follow every way that leads through the chains, so that for each rule that lets something
/// be sent they would look through the programs of all receivers: with some hundred policies for seconds to minutes.
pub const SENT: &str = "sent";
/// Where a packet goes on that nobody denied. It is the caller's, and accepts.
pub const PASSED: &str = "passed";
/// Where a packet goes on that a policy lets in before its destination is translated. It is the caller's, and there as
/// long as there are endpoints of hosts.
pub const LET_IN: &str = "let-in";
/// Where a packet ends that is denied. It is the caller's, and drops.
pub const DENIED: &str = "denied";

/// What "let pass" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Use {
    /// For a pod: what it sends may be sent; what it gets passes.
    Pod,
    /// For a host: it passes.
    Host,
    /// For what a host forwards: what comes may be sent on; what leaves passes.
    Forward,
    /// Before connections are tracked: it is accepted, and not tracked.
    Untracked,
    /// Before destinations are translated: the host's policies behind that are not asked.
    PreDnat,
}

/// A tier as an endpoint meets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TierPart {
    pub(super) name: String,
    pub(super) default_action: DefaultAction,
    pub(super) policies: Vec<PolicyId>,
}

/// Where a chain is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) direction: Direction,
    pub(super) usage: Use,
}

/// What a chain is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Program { tiers: Vec<Name>, open: bool },
    Tier(TierPart),
    Policy { id: PolicyId, segment: usize },
}

/// What makes two chains one: where they are used, and all that stands in them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    Program(At, Vec<TierPart>),
    Tier(At, TierPart),
    Policy(Name),
}

#[derive(Clone, Debug)]
struct Held {
    at: At,
    what: What,
    /// The chains it jumps to.
    below: Vec<Name>,
    same: Same,
    uses: u32,
}

/// All chains in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    held: BTreeMap<Name, Held>,
    known: BTreeMap<Same, Name>,
}

/// A policy's compiled rules.
pub(super) type Rules<'a> = &'a dyn Fn(&PolicyId, Direction) -> Option<&'a [Line]>;

/// A run of rules that make a chain, or of such as stand in the tier's.
enum Segment<'a> {
    Chain(&'a [Line]),
    Inline(&'a [Line]),
}

fn segments(lines: &[Line]) -> impl Iterator<Item = Segment<'_>> {
    let runs = lines.chunk_by(|a, b| (a.action == Action::Pass) == (b.action == Action::Pass));
    runs.map(|run| match run.first() {
        Some(line) if line.action == Action::Pass => Segment::Inline(run),
        _ => Segment::Chain(run),
    })
}

/// Do any of these rules pass to the next tier?
pub(super) fn passes(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.action == Action::Pass)
}

impl Chains {
    /// The chain of a program, from now on used once more.
    pub(super) fn acquire(
        &mut self,
        at: At,
        tiers: &[TierPart],
        rules: Rules<'_>,
        dirty: &mut BTreeSet<Dirty>,
    ) -> Name {
        let same = Same::Program(at, tiers.to_vec());
        if let Some(name) = self.again(&same) {
            return name;
        }
        let below: Vec<Name> = tiers.iter().map(|tier| self.tier(at, tier, rules, dirty)).collect();
        let may_pass = |tier: &TierPart| {
            let lines = |id| rules(id, at.direction).unwrap_or_default();
            tier.default_action == DefaultAction::Pass || tier.policies.iter().any(|id| passes(lines(id)))
        };
        let open = tiers.last().is_none_or(may_pass);
        let text = format!("program {at:?} {tiers:?}");
        let name = names::of("prog", &text, |name| self.held.contains_key(&Name::new(name))).into();
        let what = What::Program { tiers: below.clone(), open };
        self.hold(name, Held { at, what, below, same, uses: 1 }, dirty)
    }

    fn again(&mut self, same: &Same) -> Option<Name> {
        let name = self.known.get(same)?;
        self.held.get_mut(name)?.uses += 1;
        Some(name.clone())
    }

    fn hold(&mut self, name: Name, held: Held, dirty: &mut BTreeSet<Dirty>) -> Name {
        dirty.insert(Dirty::Chain(name.clone()));
        self.known.insert(held.same.clone(), name.clone());
        self.held.insert(name.clone(), held);
        name
    }

    fn tier(&mut self, at: At, tier: &TierPart, rules: Rules<'_>, dirty: &mut BTreeSet<Dirty>) -> Name {
        let same = Same::Tier(at, tier.clone());
        if let Some(name) = self.again(&same) {
            return name;
        }
        let mut below = Vec::new();
        for id in &tier.policies {
            let lines = rules(id, at.direction).unwrap_or_default();
            let chains = segments(lines).enumerate().filter(|(_, it)| matches!(it, Segment::Chain(_)));
            for (segment, _) in chains {
                below.push(self.policy(at, id, segment, dirty));
            }
        }
        let text = format!("tier {at:?} {tier:?}");
        let name = names::of("tier", &text, |name| self.held.contains_key(&Name::new(name))).into();
        self.hold(name, Held { at, what: What::Tier(tier.clone()), below, same, uses: 1 }, dirty)
    }

    fn policy(&mut self, at: At, id: &PolicyId, segment: usize, dirty: &mut BTreeSet<Dirty>) -> Name {
        let name = policy_name(at, id, segment);
        let same = Same::Policy(name.clone());
        if let Some(name) = self.again(&same) {
            return name;
        }
        let what = What::Policy { id: id.clone(), segment };
        self.hold(name, Held { at, what, below: Vec::new(), same, uses: 1 }, dirty)
    }

    /// Used once less; at the last time it goes, and what it jumps to is used once less.
    pub(super) fn release(&mut self, name: &Name, dirty: &mut BTreeSet<Dirty>) {
        let Some(held) = self.held.get_mut(name) else { return };
        held.uses = held.uses.saturating_sub(1);
        if held.uses > 0 {
            return;
        }
        let Some(held) = self.held.remove(name) else { return };
        self.known.remove(&held.same);
        dirty.insert(Dirty::Chain(name.clone()));
        for below in &held.below {
            self.release(below, dirty);
        }
    }

    /// The names of all chains.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.held.keys()
    }

    /// The rules of a chain, each with what it stands for.
    pub(super) fn chain(&self, name: &Name, rules: Rules<'_>) -> Option<Vec<(Kernel, Origin)>> {
        let held = self.held.get(name)?;
        let at = held.at;
        Some(match &held.what {
            What::Program { tiers, open } => {
                let jumps = tiers.iter().map(|tier| (Kernel::new().jump(tier.clone()), self.asking(tier)));
                let end = open.then(|| (let_go_on(Kernel::new(), at), Origin::Undenied));
                jumps.chain(end).map(said).collect()
            }
            What::Tier(tier) => tier_rules(at, tier, rules),
            What::Policy { id, segment } => {
                let lines = rules(id, at.direction).unwrap_or_default();
                match segments(lines).nth(*segment) {
                    Some(Segment::Chain(run)) => run.iter().map(|line| rule(line, at, id)).collect(),
                    _ => return None,
                }
            }
        })
    }

    fn asking(&self, tier: &Name) -> Origin {
        match self.held.get(tier).map(|held| &held.what) {
            Some(What::Tier(part)) => {
                Origin::Tier { name: part.name.clone(), default_action: part.default_action }
            }
            _ => Origin::Undenied,
        }
    }
}

fn tier_rules(at: At, tier: &TierPart, rules: Rules<'_>) -> Vec<(Kernel, Origin)> {
    let mut all = Vec::new();
    for id in &tier.policies {
        let lines = rules(id, at.direction).unwrap_or_default();
        for (i, segment) in segments(lines).enumerate() {
            match segment {
                Segment::Chain(_) => {
                    all.push((Kernel::new().jump(policy_name(at, id, i)), Origin::Policy(id.clone())));
                }
                Segment::Inline(run) => all.extend(run.iter().map(|line| rule(line, at, id))),
            }
        }
    }
    if tier.default_action == DefaultAction::Deny {
        let silence = Origin::Silence { tier: tier.name.clone(), direction: at.direction };
        all.push(said((Kernel::new().counter().goto(DENIED), silence)));
    }
    all
}

fn policy_name(at: At, id: &PolicyId, segment: usize) -> Name {
    let usage = match at.usage {
        Use::Pod => "",
        Use::Host => "/host",
        Use::Forward => "/forward",
        Use::Untracked => "/raw",
        Use::PreDnat => "/prednat",
    };
    let piece = if segment == 0 { String::new() } else { format!("/{segment}") };
    names::readable(&format!("{id}/{}{usage}{piece}", at.direction)).into()
}

fn let_pass(rule: Kernel, at: At) -> Kernel {
    match (at.usage, at.direction) {
        (Use::Pod, Direction::Egress) | (Use::Forward, Direction::Ingress) => rule.goto(SENT),
        (Use::Untracked, _) => rule.notrack().accept(),
        (Use::PreDnat, _) => rule.goto(LET_IN),
        _ => rule.goto(PASSED),
    }
}

/// What nobody decided. Early on that is no word on what becomes of it: whoever judges it later must find it tracked,
/// and let in by nobody.
fn let_go_on(rule: Kernel, at: At) -> Kernel {
    match at.usage {
        Use::Untracked | Use::PreDnat => rule.accept(),
        _ => let_pass(rule, at),
    }
}

/// So much is noted of what a rule that logs matches: enough to see what goes on, too little to drown in.
const NOTED: Limit = Limit { rate: 10, per: Per::Second, burst: 20 };

fn rule(line: &Line, at: At, id: &PolicyId) -> (Kernel, Origin) {
    let origin = RuleRef { policy: id.clone(), direction: at.direction, rule: line.origin };
    let asks = line.asks.clone().counter();
    let rule = match line.action {
        Action::Allow => let_pass(asks, at),
        Action::Deny => asks.goto(DENIED),
        Action::Pass => asks.ret(),
        Action::Log => asks.limit(NOTED).log(&cut(&format!("{origin}: "))),
    };
    said((rule, Origin::Rule(origin, line.action)))
}

/// With what it stands for as comment.
fn said((rule, origin): (Kernel, Origin)) -> (Kernel, Origin) {
    match origin.comment() {
        Some(comment) => (rule.comment(&comment), origin),
        None => (rule, origin),
    }
}
