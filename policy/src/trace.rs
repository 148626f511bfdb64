//! Why a packet may pass, or why not: the chains and sets that the engine hands out, walked as the kernel walks them.
//!
//! What it says is therefore what the kernel does, and not what somebody thinks the policies mean.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use corduroy_api::policy::tier::DefaultAction;
use corduroy_kernel::nft::{Cmp, Expr, Field, Key, Match, Name, Rule, Value, Verdict};
use corduroy_kernel::{Family, IpNet, Packet, Transport};

use crate::engine::{Class, DENIED, EndpointKey, Engine, Origin, RuleRef, Stage};
use crate::normal::{Action, Direction, PolicyId};

/// What becomes of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// First what the sender may send, then what the receiver may get, of those who are endpoints of this node. For a
    /// moment two endpoints can have one address; then each is judged. An endpoint of a host is judged as what it sends
    /// or gets itself: where its doNotTrack or preDNAT policies say something, and nowhere else then.
    pub judgements: Vec<Judgement>,
}

/// What becomes of a packet as far as one endpoint and direction are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whose traffic it is.
    pub endpoint: EndpointKey,
    /// Whether it sends or gets it.
    pub direction: Direction,
    /// Where it is judged.
    pub stage: Stage,
    /// May it pass?
    pub allowed: bool,
    /// What decided instead of policies, as only the caller knows.
    pub settled: Option<Settled>,
    /// The tiers that were asked, in order. The last one decided, unless all of them passed it on; none: no policy
    /// selects the endpoint in this direction.
    pub steps: Vec<Step>,
}

/// What decides about a host where policies do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The port is one that no policy closes.
    Failsafe,
    /// No policy speaks of what the host itself sends or gets.
    Closed,
}

/// A tier that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub tier: String,
    /// Its policies that were asked, in order; the last one decided, if a rule did. Those that select the endpoint and
    /// have no rules are among them.
    pub policies: Vec<PolicyId>,
    /// The rules that noted it and went on.
    pub noted: Vec<RuleRef>,
    /// What it said.
    pub said: Said,
}

/// What a tier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This rule matched, and does this: not [`Action::Log`].
    Rule(RuleRef, Action),
    /// No rule matched: what the tier does then.
    Default(DefaultAction),
}

impl Trace {
    /// May it pass?
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.judgements.iter().all(|judgement| judgement.allowed)
    }
}

/// One line for each judgement.
impl Display for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.judgements.iter().try_for_each(|judgement| writeln!(f, "{judgement}"))
    }
}

/// `ingress of shop/web: denied by tier default (netpol/shop/web selects it, no rule matched)`
impl Display for Judgement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Both directions stand under each other.
        let direction = self.direction.to_string();
        let class = if self.endpoint.class == Class::HostEndpoint { "host endpoint " } else { "" };
        let verdict = if self.allowed { "allowed" } else { "denied" };
        let place = match self.stage {
            Stage::Own => "",
            Stage::Forward => " as it forwards",
            Stage::Untracked => " before tracking",
            Stage::PreDnat => " before translation",
        };
        write!(f, "{direction:<7} of {class}{}{place}: {verdict}", self.endpoint.name)?;
        match self.settled {
            Some(Settled::Failsafe) => return f.write_str(", no policy closes this port"),
            Some(Settled::Closed) => return f.write_str(", no policy selects it in this direction"),
            None => {}
        }
        match self.steps.last() {
            None => return f.write_str(", no policy selects it"),
            Some(Step { said: Said::Rule(rule, Action::Allow | Action::Deny), .. }) => {
                write!(f, " by {rule}")?;
            }
            Some(Step { said: Said::Default(DefaultAction::Deny), tier, policies, .. }) => {
                write!(f, " by tier {tier} (")?;
                list(f, policies)?;
                let select = if policies.len() == 1 { "selects" } else { "select" };
                write!(f, " {select} it, no rule matched)")?;
            }
            Some(_) => f.write_str(", no tier denies it")?,
        }
        let passed = self.steps.iter().filter_map(|step| match &step.said {
            Said::Rule(rule, Action::Pass) => Some(rule),
            _ => None,
        });
        passed
            .enumerate()
            .try_for_each(|(i, rule)| write!(f, "{}{rule}", if i == 0 { ", passed on by " } else { ", " }))
    }
}

fn list(f: &mut Formatter<'_>, ids: &[PolicyId]) -> fmt::Result {
    ids.iter().enumerate().try_for_each(|(i, id)| write!(f, "{}{id}", if i == 0 { "" } else { ", " }))
}

pub(crate) fn trace(engine: &Engine, packet: &Packet) -> Trace {
    // What somebody sends to himself does not leave him.
    let ends = [(Direction::Egress, packet.source), (Direction::Ingress, packet.destination)];
    let ends = ends.into_iter().filter(|_| packet.source != packet.destination);
    let judged = ends.flat_map(|(direction, address)| {
        engine.locals_at(address).map(move |key| judge(engine, packet, key, direction))
    });
    Trace { judgements: judged.collect() }
}

/// What is decided early is decided; else what the endpoint itself sends or gets is judged.
fn judge(engine: &Engine, packet: &Packet, key: &EndpointKey, direction: Direction) -> Judgement {
    early(engine, packet, key, direction)
        .unwrap_or_else(|| judge_at(engine, packet, (key, Stage::Own), direction))
}

/// What is decided before connections are tracked, or destinations translated, if anything is.
pub(crate) fn early(
    engine: &Engine,
    packet: &Packet,
    key: &EndpointKey,
    direction: Direction,
) -> Option<Judgement> {
    [Stage::Untracked, Stage::PreDnat].into_iter().find_map(|stage| {
        engine.program(key, stage, direction)?;
        let judged = judge_at(engine, packet, (key, stage), direction);
        let decided = |step: &Step| matches!(step.said, Said::Rule(_, Action::Allow | Action::Deny));
        judged.steps.last().is_some_and(decided).then_some(judged)
    })
}

pub(crate) fn judge_at(
    engine: &Engine,
    packet: &Packet,
    (key, stage): (&EndpointKey, Stage),
    direction: Direction,
) -> Judgement {
    let mut walk = Walk { engine, packet, steps: Vec::new() };
    let end = engine.program(key, stage, direction).and_then(|program| walk.chain(program));
    let allowed = end != Some(Verdict::Goto(DENIED.into()));
    let mut steps = walk.steps;
    complete(engine, (key, stage), direction, &mut steps);
    Judgement { endpoint: key.clone(), direction, stage, allowed, settled: None, steps }
}

/// Policies without a rule have no chain that would be asked, but they are why a tier has a word in it.
fn complete(engine: &Engine, (key, stage): (&EndpointKey, Stage), direction: Direction, steps: &mut [Step]) {
    let tiers = engine.selecting(key, stage, direction);
    for step in steps.iter_mut().filter(|step| matches!(step.said, Said::Default(_))) {
        if let Some((_, policies)) = tiers.iter().find(|(tier, _)| *tier == step.tier) {
            step.policies.clone_from(policies);
        }
    }
}

struct Walk<'a> {
    engine: &'a Engine,
    packet: &'a Packet,
    steps: Vec<Step>,
}

impl Walk<'_> {
    /// The verdict that ends it: accepted, or off to a chain of others; `None`: back to where it came from.
    fn chain(&mut self, name: &Name) -> Option<Verdict> {
        for (rule, origin) in self.engine.written(name)? {
            let verdict = self.verdict(&rule);
            self.note(origin, verdict.is_some());
            match verdict {
                Some(Some(Verdict::Return)) => return None,
                Some(Some(end @ (Verdict::Goto(_) | Verdict::Accept))) => return Some(end),
                Some(Some(Verdict::Jump(to))) => {
                    if let Some(end) = self.chain(&to) {
                        return Some(end);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn note(&mut self, origin: Origin, matched: bool) {
        if let Origin::Tier { name: tier, default_action } = origin {
            let said = Said::Default(default_action);
            self.steps.push(Step { tier, policies: Vec::new(), noted: Vec::new(), said });
            return;
        }
        let Some(step) = self.steps.last_mut() else { return };
        let policy = match &origin {
            Origin::Policy(policy) => policy,
            Origin::Rule(rule, _) => &rule.policy,
            _ => return,
        };
        if step.policies.last() != Some(policy) {
            step.policies.push(policy.clone());
        }
        match origin {
            Origin::Rule(rule, Action::Log) if matched && !step.noted.contains(&rule) => {
                step.noted.push(rule);
            }
            Origin::Rule(rule, action) if matched && action != Action::Log => {
                step.said = Said::Rule(rule, action);
            }
            _ => {}
        }
    }

    /// What a rule does with the packet, if it decides anything; `None`: it does not match.
    fn verdict(&self, rule: &Rule) -> Option<Option<Verdict>> {
        for expr in rule.exprs() {
            let goes_on = match expr {
                Expr::Match(what) => matches(what, self.packet),
                Expr::InSet(fields, set) => self.is_in(set, fields)?,
                Expr::NotInSet(fields, set) => !self.is_in(set, fields)?,
                Expr::Verdict(verdict) => return Some(Some(verdict.clone())),
                _ => true,
            };
            if !goes_on {
                return None;
            }
        }
        Some(None)
    }

    /// `None`: the packet has no such header.
    fn is_in(&self, set: &Name, fields: &[Field]) -> Option<bool> {
        let values: Option<Vec<Value>> = fields.iter().map(|field| value(*field, self.packet)).collect();
        let values = values?;
        let has = |key: Key| self.engine.has_element(set, &key);
        Some(match values.as_slice() {
            // Addresses stand in one sort of set, networks in the other.
            [Value::Addr(address)] => has((*address).into()) || around(*address).any(|net| has(net.into())),
            [Value::Port(port)] => self.engine.set(set).is_some_and(|set| {
                let holds = |value: &Value| matches!(value, Value::Ports(a, b) if (a..=b).contains(&port));
                set.elements.keys().any(|key| key.values().iter().any(holds))
            }),
            [one] => has(Key::One(*one)),
            _ => has(Key::Many(values)),
        })
    }
}

/// Every network that an address is in.
fn around(address: IpAddr) -> impl Iterator<Item = IpNet> {
    (0..=Family::of(address).bits()).filter_map(move |len| IpNet::containing(address, len))
}

/// What a packet has there; `None`: no such header, or none that policies ask about.
fn value(field: Field, packet: &Packet) -> Option<Value> {
    let family = Family::of(packet.source);
    let implied = field.family().is_none_or(|implied| implied == family)
        && field.protocol().is_none_or(|implied| implied == packet.protocol);
    match (field, packet.transport) {
        _ if !implied => None,
        (Field::Nfproto, _) => Some(Value::Nfproto(family)),
        (Field::L4proto, _) => Some(Value::Proto(packet.protocol)),
        (Field::Saddr(_), _) => Some(Value::Addr(packet.source)),
        (Field::Daddr(_), _) => Some(Value::Addr(packet.destination)),
        (Field::Sport(_), Transport::Ports { source, .. }) => Some(Value::Port(source)),
        (Field::Dport(_), Transport::Ports { destination, .. }) => Some(Value::Port(destination)),
        (Field::IcmpType(_), Transport::Icmp { kind, .. }) => Some(Value::IcmpType(kind)),
        (Field::IcmpCode(_), Transport::Icmp { code, .. }) => Some(Value::IcmpCode(code)),
        _ => None,
    }
}

fn matches(what: &Match, packet: &Packet) -> bool {
    let Some(found) = value(what.field(), packet) else { return false };
    let is = match (found, what.value()) {
        (Value::Addr(address), Value::Net(net)) => net.contains(address),
        (Value::Port(port), Value::Ports(first, last)) => (first..=last).contains(&port),
        (found, wanted) => found == wanted,
    };
    is == (what.cmp() == Cmp::Eq)
}
