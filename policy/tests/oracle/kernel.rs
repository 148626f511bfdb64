//! A kernel that holds what it was told of, and walks its rules as Linux does.

use std::collections::BTreeMap;
use std::fmt;

use corduroy_kernel::nft::{Cmp, Expr, Field, Match, Name, Rule, Set, SetKind, Value, Verdict};
use corduroy_kernel::{Family, IpNet};
use corduroy_policy::engine::{DENIED, PASSED, SENT};
use corduroy_policy::{Direction, Dirty, EndpointKey, Engine, Stage};

use crate::judge::Packet;

#[derive(Debug, Default)]
pub(crate) struct Kernel {
    chains: BTreeMap<Name, Vec<Rule>>,
    sets: BTreeMap<Name, Set>,
    programs: BTreeMap<EndpointKey, BTreeMap<(Stage, Direction), Name>>,
}

const STAGES: [Stage; 4] = [Stage::Own, Stage::Forward, Stage::Untracked, Stage::PreDnat];

fn programs(engine: &Engine, key: &EndpointKey) -> BTreeMap<(Stage, Direction), Name> {
    let places = STAGES.into_iter().flat_map(|stage| Direction::ALL.map(|direction| (stage, direction)));
    places.filter_map(|at| Some((at, engine.program(key, at.0, at.1)?.clone()))).collect()
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

impl Kernel {
    /// Reads everything there is.
    pub(crate) fn of(engine: &Engine) -> Self {
        let mut kernel = Self::default();
        let mut engine = engine.clone();
        kernel.catch_up(&mut engine);
        for name in engine.chains() {
            assert_eq!(kernel.chains.get(name), engine.chain(name).as_ref(), "{name} was not told of");
        }
        for name in engine.sets() {
            assert_eq!(kernel.sets.get(name), engine.set(name).as_ref(), "{name} was not told of");
        }
        assert_eq!(kernel.chains.len(), engine.chains().count());
        assert_eq!(kernel.sets.len(), engine.sets().count());
        kernel
    }

    /// Reads what is dirty, and nothing else. Returns whether something may be denied now that was allowed before.
    pub(crate) fn catch_up(&mut self, engine: &mut Engine) -> bool {
        let changes = engine.take_changes();
        for dirty in changes.dirty {
            match dirty {
                Dirty::Set(name) => {
                    let set = engine.set(&name);
                    put(&mut self.sets, name, set);
                }
                Dirty::Chain(name) => {
                    let chain = engine.chain(&name);
                    put(&mut self.chains, name, chain);
                }
                Dirty::Element(name, key) => {
                    let there = engine.has_element(&name, &key);
                    if let Some(set) = self.sets.get_mut(&name) {
                        put(&mut set.elements, key, there.then_some(None));
                    }
                }
                Dirty::Program(key) => {
                    let programs = programs(engine, &key);
                    put(&mut self.programs, key, Some(programs).filter(|programs| !programs.is_empty()));
                }
            }
        }
        self.is_sound();
        changes.may_deny
    }

    /// What Linux would refuse: rules that name what is not there, members that overlap, chains too deep.
    fn is_sound(&self) {
        for rule in self.chains.values().flatten() {
            for expr in rule.exprs() {
                match expr {
                    Expr::InSet(_, set) | Expr::NotInSet(_, set) => {
                        assert!(self.sets.contains_key(set), "{set}");
                    }
                    Expr::Verdict(Verdict::Jump(to)) => assert!(self.chains.contains_key(to), "{to}"),
                    _ => {}
                }
            }
        }
        for name in self.programs.values().flat_map(BTreeMap::values) {
            assert!(self.depth(name) <= 3, "{name}");
        }
        for (name, set) in self.sets.iter().filter(|(_, set)| matches!(set.kind, SetKind::Interval(_))) {
            let nets: Vec<IpNet> = set.elements.keys().filter_map(|key| net(key.values())).collect();
            for pair in nets.windows(2) {
                assert!(!pair[0].covers(pair[1]), "{name}: {pair:?}");
            }
        }
    }

    fn depth(&self, chain: &Name) -> usize {
        let jumps = self.chains[chain].iter().flat_map(Rule::exprs).filter_map(|expr| match expr {
            Expr::Verdict(Verdict::Jump(to)) => Some(self.depth(to)),
            _ => None,
        });
        1 + jumps.max().unwrap_or(0)
    }

    pub(crate) fn has_program(&self, key: &EndpointKey, stage: Stage, direction: Direction) -> bool {
        self.programs.get(key).is_some_and(|programs| programs.contains_key(&(stage, direction)))
    }

    /// May the packet pass, as far as this endpoint and direction are concerned?
    pub(crate) fn passes(
        &self,
        key: &EndpointKey,
        stage: Stage,
        direction: Direction,
        packet: &Packet,
    ) -> bool {
        let program = self.programs.get(key).and_then(|programs| programs.get(&(stage, direction)));
        program.is_none_or(|program| match self.walk(program, packet) {
            Some(Verdict::Accept) => true,
            Some(Verdict::Goto(to)) => match (to.as_str(), direction) {
                (SENT, Direction::Egress) | (PASSED, _) => true,
                (DENIED, _) => false,
                _ => panic!("{program} goes to {to}"),
            },
            other => panic!("{program} ends with {other:?}"),
        })
    }

    /// The verdict that ends it all; `None`: the end of the chain, and back to where one came from.
    fn walk(&self, chain: &Name, packet: &Packet) -> Option<Verdict> {
        for rule in &self.chains[chain] {
            match self.verdict(rule, packet) {
                None => {}
                Some(Verdict::Return) => return None,
                Some(Verdict::Jump(to)) => {
                    if let Some(end) = self.walk(&to, packet) {
                        return Some(end);
                    }
                }
                end => return end,
            }
        }
        None
    }

    /// What a rule does with a packet, if it matches and decides.
    fn verdict(&self, rule: &Rule, packet: &Packet) -> Option<Verdict> {
        for expr in rule.exprs() {
            let goes_on = match expr {
                Expr::Match(what) => matches(what, packet),
                Expr::InSet(fields, set) => values(fields, packet).is_some_and(|it| self.is_in(set, &it)),
                Expr::NotInSet(fields, set) => values(fields, packet).is_some_and(|it| !self.is_in(set, &it)),
                Expr::Counter | Expr::Limit(_) | Expr::Log(_) | Expr::Notrack => true,
                Expr::Verdict(verdict) => return Some(verdict.clone()),
                other => panic!("{other} is not used by policies"),
            };
            if !goes_on {
                return None;
            }
        }
        None
    }

    fn is_in(&self, set: &Name, values: &[Value]) -> bool {
        let set = &self.sets[set];
        match (&set.kind, values) {
            (SetKind::Hash(types), values) => {
                assert_eq!(types.len(), values.len());
                set.elements.keys().any(|key| key.values() == values)
            }
            (SetKind::Interval(_), [Value::Addr(addr)]) => {
                set.elements.keys().any(|key| net(key.values()).is_some_and(|net| net.contains(*addr)))
            }
            (SetKind::Interval(_), [Value::Port(port)]) => set.elements.keys().any(
                |key| matches!(key.values(), [Value::Ports(first, last)] if (first..=last).contains(&port)),
            ),
            other => panic!("{other:?}"),
        }
    }
}

fn net(values: &[Value]) -> Option<IpNet> {
    match values {
        [Value::Net(net)] => Some(*net),
        _ => None,
    }
}

/// What a packet has there; `None`: the header that the field implies is not there.
fn value(field: Field, packet: &Packet) -> Option<Value> {
    let family = Family::of(packet.source);
    if field.family().is_some_and(|implied| implied != family)
        || field.protocol().is_some_and(|implied| implied != packet.protocol)
    {
        return None;
    }
    Some(match field {
        Field::Nfproto => Value::Nfproto(family),
        Field::L4proto => Value::Proto(packet.protocol),
        Field::Saddr(_) => Value::Addr(packet.source),
        Field::Daddr(_) => Value::Addr(packet.destination),
        Field::Sport(_) => Value::Port(packet.source_port),
        Field::Dport(_) => Value::Port(packet.destination_port),
        Field::IcmpType(_) => Value::IcmpType(packet.icmp_type),
        Field::IcmpCode(_) => Value::IcmpCode(packet.icmp_code),
        other => panic!("{other} is not used by policies"),
    })
}

fn values(fields: &[Field], packet: &Packet) -> Option<Vec<Value>> {
    let implied = fields.iter().all(|field| value(*field, packet).is_some());
    implied.then(|| fields.iter().filter_map(|field| value(*field, packet)).collect())
}

fn matches(what: &Match, packet: &Packet) -> bool {
    let Some(found) = value(what.field(), packet) else { return false };
    let is = match (found, what.value()) {
        (Value::Addr(addr), Value::Net(net)) => net.contains(addr),
        (Value::Port(port), Value::Ports(first, last)) => (first..=last).contains(&port),
        (found, wanted) => found == wanted,
    };
    is == (what.cmp() == Cmp::Eq)
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, set) in &self.sets {
            let elements: Vec<String> = set.elements.keys().map(ToString::to_string).collect();
            writeln!(f, "set {name} {:?} {{ {} }}", set.kind, elements.join(", "))?;
        }
        for (name, rules) in &self.chains {
            writeln!(f, "chain {name}")?;
            rules.iter().try_for_each(|rule| writeln!(f, "\t{rule}"))?;
        }
        for (key, programs) in &self.programs {
            writeln!(f, "{key:?} {programs:?}")?;
        }
        Ok(())
    }
}
