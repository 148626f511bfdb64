//! From a rule in normal form to rules of the kernel.
//!
//! ```text
//! one rule ─► for each family it can mean ─► for each way its sides can match (addresses | networks) ─► one Line
//! ```
//! A header field implies its family, so a rule that looks at addresses is said once for each family. Several networks
//! or ranges of ports make a set; one stands in the rule itself. A [`Line`] has no verdict yet: what Allow means
//! depends on where it is used.

use std::collections::BTreeSet;

use corduroy_api::policy::Ports;
use corduroy_api::policy::rule::Icmp;
use corduroy_kernel::nft::{Expr, Field, L4, Match, Rule as Kernel};
use corduroy_kernel::{Family, IpNet};

use super::sets::{self, Content, Part, Risk, may_have_nets};
use crate::normal::{Action, Direction, Members, Policy, Rule, SetSpec, Side, Who};

/// What a packet is asked, and what is done with it then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// The questions.
    pub(super) asks: Kernel,
    /// What is done.
    pub(super) action: Action,
    /// Which rule of the resource it is of.
    pub(super) origin: usize,
}

/// What makes sets: their names begin with what it hands back.
pub(super) type Acquire<'a> = dyn FnMut(Content, Risk) -> String + 'a;

/// A policy's rules for a direction.
pub(super) fn lines(policy: &Policy, direction: Direction, acquire: &mut Acquire<'_>) -> Vec<Line> {
    let rules = policy.rules(direction).unwrap_or_default();
    let subject = &policy.subject;
    let one = |rule| Compiler { rule, direction, subject, acquire: &mut *acquire }.lines();
    rules.iter().flat_map(one).collect()
}

struct Compiler<'a, 'b> {
    rule: &'a Rule,
    direction: Direction,
    subject: &'a Who,
    acquire: &'a mut Acquire<'b>,
}

/// Questions that are asked together.
type Asks = Vec<Expr>;

/// Which end of the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn addr(self, family: Family) -> Field {
        match self {
            Self::Source => Field::Saddr(family),
            Self::Destination => Field::Daddr(family),
        }
    }
    fn port(self, l4: L4) -> Field {
        match self {
            Self::Source => Field::Sport(l4),
            Self::Destination => Field::Dport(l4),
        }
    }
    fn in_net(self, net: IpNet) -> Match {
        match self {
            Self::Source => Match::saddr(net),
            Self::Destination => Match::daddr(net),
        }
    }
    fn in_ports(self, l4: L4, (first, last): (u16, u16)) -> Match {
        match self {
            Self::Source => Match::sport(l4, first, last),
            Self::Destination => Match::dport(l4, first, last),
        }
    }
}

impl Compiler<'_, '_> {
    fn lines(mut self) -> Vec<Line> {
        let mut all = Vec::new();
        for family in self.families() {
            let head: Asks = family.map(|family| Expr::Match(Match::nfproto(family))).into_iter().collect();
            let steps = [
                vec![head],
                self.addresses(End::Source, family),
                self.addresses(End::Destination, family),
                self.protocol(family),
                self.ports(End::Source, family),
                self.ports(End::Destination, family),
            ];
            let ways = steps.into_iter().fold(vec![Vec::new()], |ways, step| product(&ways, &step));
            all.extend(ways.into_iter().map(|asks| Line {
                asks: asks.into_iter().fold(Kernel::new(), Kernel::then),
                action: self.rule.action,
                origin: self.rule.origin,
            }));
        }
        all
    }

    /// The families it is said for; `None`: both at once, since nothing of it depends on one.
    fn families(&self) -> Vec<Option<Family>> {
        let rule = self.rule;
        let looks = |side: &Side| {
            let mut named = side.ports.iter().flatten().chain(&side.not_ports);
            side.nets.is_some()
                || !side.not_nets.is_empty()
                || !side.sets.is_empty()
                || named.any(|ports| matches!(ports, Ports::Named(_)))
        };
        let icmp = rule.icmp.is_some() || rule.not_icmp.is_some();
        match rule.version {
            Some(family) => vec![Some(family)],
            None if icmp || looks(&rule.source) || looks(&rule.destination) => Family::ALL.map(Some).into(),
            None => vec![None],
        }
    }

    fn side(&self, end: End) -> &Side {
        match end {
            End::Source => &self.rule.source,
            End::Destination => &self.rule.destination,
        }
    }

    /// The ways the addresses of an end can match; none, and the rule means nothing of this family.
    fn addresses(&mut self, end: End, family: Option<Family>) -> Vec<Asks> {
        let Some(family) = family else { return vec![Vec::new()] };
        let side = self.side(end).clone();
        let mut asks = Vec::new();
        let of_family = |nets: &[IpNet]| -> Vec<IpNet> { outermost(nets, family) };
        if let Some(nets) = &side.nets {
            match of_family(nets).as_slice() {
                [] => return Vec::new(),
                // Every address of the family, which the rule asks for already.
                [all] if all.prefix_len() == 0 => {}
                [net] => asks.push(Expr::Match(end.in_net(*net))),
                nets => asks.push(self.net_set(end, family, nets, false)),
            }
        }
        match of_family(&side.not_nets).as_slice() {
            [] => {}
            [all] if all.prefix_len() == 0 => return Vec::new(),
            [net] => asks.push(Expr::Match(end.in_net(*net).not())),
            nets => asks.push(self.net_set(end, family, nets, true)),
        }
        let mut ways = vec![asks];
        for (negated, spec) in &side.sets {
            let step = self.in_set(end, family, spec, *negated);
            ways = product(&ways, &step);
        }
        ways
    }

    /// What a set's names begin with.
    fn set(&mut self, content: Content, negated: bool) -> String {
        (self.acquire)(content, Risk::of(self.rule.action, negated))
    }

    fn net_set(&mut self, end: End, family: Family, nets: &[IpNet], negated: bool) -> Expr {
        let base = self.set(Content::Nets(family, nets.into()), negated);
        lookup(vec![end.addr(family)], &base, Part::Nets(family), negated)
    }

    /// In a set: among its addresses or in its networks. Not in it: neither.
    fn in_set(&mut self, end: End, family: Family, spec: &SetSpec, negated: bool) -> Vec<Asks> {
        let who = match spec {
            SetSpec::Who(who) => who,
            SetSpec::Service(name) => return self.in_service(end, family, name),
        };
        let base = self.set(Content::Who((**who).clone()), negated);
        let mut asks = vec![lookup(vec![end.addr(family)], &base, Part::Addresses(family), negated)];
        if may_have_nets(who) {
            asks.push(lookup(vec![end.addr(family)], &base, Part::Nets(family), negated));
        }
        if negated { vec![asks] } else { asks.into_iter().map(|ask| vec![ask]).collect() }
    }

    /// A service as receiver is its endpoints at their ports, as sender its endpoints.
    fn in_service(&mut self, end: End, family: Family, name: &str) -> Vec<Asks> {
        if end == End::Source {
            let base = self.set(Content::Service(name.to_owned()), false);
            return vec![vec![lookup(vec![end.addr(family)], &base, Part::Addresses(family), false)]];
        }
        let base = self.set(Content::ServicePorts(name.to_owned()), false);
        let meant = |l4: &L4| match self.rule.protocol {
            None => true,
            Some((negated, number)) => negated != (number == l4.number()),
        };
        let l4s = [L4::Tcp, L4::Udp, L4::Sctp].into_iter().filter(meant);
        l4s.map(|l4| vec![tuple(end, family, l4, &base, false)]).collect()
    }

    fn protocol(&self, family: Option<Family>) -> Vec<Asks> {
        let mut asks: Asks = match self.rule.protocol {
            None => Vec::new(),
            Some((false, protocol)) => vec![Expr::Match(Match::l4proto(protocol))],
            Some((true, protocol)) => vec![Expr::Match(Match::l4proto(protocol).not())],
        };
        // ICMP is IPv4's and ICMPv6 is IPv6's: a message of a type is of one family.
        let of = match self.rule.protocol {
            Some((false, 1)) => Family::V4,
            _ => Family::V6,
        };
        let rule = self.rule;
        if (rule.icmp.is_some() || rule.not_icmp.is_some()) && family != Some(of) {
            return Vec::new();
        }
        asks.extend(rule.icmp.iter().flat_map(|icmp| messages(of, *icmp)));
        let Some(Icmp { kind, code }) = rule.not_icmp else { return vec![asks] };
        // Another type; or this type with another code.
        let mut others = vec![vec![Expr::Match(Match::icmp_type(of, kind).not())]];
        others.extend(code.map(|code| {
            let code = Match::icmp_code(of, code).not();
            vec![Expr::Match(Match::icmp_type(of, kind)), Expr::Match(code)]
        }));
        product(&[asks], &others)
    }

    fn l4(&self) -> Option<L4> {
        let (_, number) = self.rule.protocol.filter(|(negated, _)| !negated)?;
        [L4::Tcp, L4::Udp, L4::Sctp].into_iter().find(|l4| l4.number() == number)
    }

    /// The ways the port of an end can match: among the numbers, or one of the names.
    fn ports(&mut self, end: End, family: Option<Family>) -> Vec<Asks> {
        let side = self.side(end).clone();
        let Some(l4) = self.l4() else {
            // Ports of a protocol that has none match nothing.
            return if side.ports.is_none() { vec![Vec::new()] } else { Vec::new() };
        };
        let mut ways: Vec<Asks> = match &side.ports {
            None => vec![Vec::new()],
            Some(ports) => {
                let numbers = self.numbers(end, l4, ports, false);
                let names = names(ports).filter_map(|name| self.named(end, (family?, l4), name, false));
                let names: Vec<Expr> = names.collect();
                numbers.into_iter().chain(names).map(|ask| vec![ask]).collect()
            }
        };
        let mut none_of: Asks = self.numbers(end, l4, &side.not_ports, true).into_iter().collect();
        for name in names(&side.not_ports) {
            none_of.extend(family.and_then(|family| self.named(end, (family, l4), name, true)));
        }
        for way in &mut ways {
            way.extend(none_of.iter().cloned());
        }
        ways
    }

    fn numbers(&mut self, end: End, l4: L4, ports: &[Ports], negated: bool) -> Option<Expr> {
        let ranges = ports.iter().filter_map(|ports| match ports {
            Ports::Range(first, last) => Some((*first, *last)),
            Ports::Named(_) => None,
        });
        match merged(ranges.collect()).as_slice() {
            [] => None,
            [one] if negated => Some(Expr::Match(end.in_ports(l4, *one).not())),
            [one] => Some(Expr::Match(end.in_ports(l4, *one))),
            ranges => {
                let base = self.set(Content::PortRanges(ranges.into()), negated);
                Some(lookup(vec![end.port(l4)], &base, Part::Ranges, negated))
            }
        }
    }

    fn named(&mut self, end: End, at: (Family, L4), name: &str, negated: bool) -> Option<Expr> {
        let (family, l4) = at;
        let is_subject = (end == End::Destination) == (self.direction == Direction::Ingress);
        let who = namers(self.side(end), is_subject.then_some(self.subject));
        let base = self.set(Content::Ports { who, name: name.to_owned(), protocol: l4.number() }, negated);
        Some(tuple(end, family, l4, &base, negated))
    }
}

/// Asks for such ICMP messages.
fn messages(of: Family, icmp: Icmp) -> impl Iterator<Item = Expr> {
    let code = icmp.code.map(|code| Match::icmp_code(of, code));
    [Match::icmp_type(of, icmp.kind)].into_iter().chain(code).map(Expr::Match)
}

/// Whose names of ports count at an end: the subject's at its own, at the other those of the first set.
fn namers(side: &Side, subject: Option<&Who>) -> Who {
    let named = side.sets.iter().find_map(|(negated, spec)| match spec {
        SetSpec::Who(who) if !negated => Some((**who).clone()),
        _ => None,
    });
    subject.cloned().or(named).unwrap_or_else(|| Who::all(Members::Endpoints))
}

/// All endpoints that the rules of a policy ask about.
pub(super) fn whos(policy: &Policy) -> Vec<Who> {
    let mut all = Vec::new();
    for direction in Direction::ALL {
        for rule in policy.rules(direction).unwrap_or_default() {
            for (side, is_receiver) in [(&rule.source, false), (&rule.destination, true)] {
                all.extend(side.sets.iter().filter_map(|(_, spec)| match spec {
                    SetSpec::Who(who) => Some((**who).clone()),
                    SetSpec::Service(_) => None,
                }));
                let mut ports = side.ports.iter().flatten().chain(&side.not_ports);
                if ports.any(|ports| matches!(ports, Ports::Named(_))) {
                    let is_subject = is_receiver == (direction == Direction::Ingress);
                    all.push(namers(side, is_subject.then_some(&policy.subject)));
                }
            }
        }
    }
    all
}

/// All services that the rules of a policy ask about.
pub(super) fn services(policy: &Policy) -> BTreeSet<String> {
    let rules = Direction::ALL.into_iter().flat_map(|direction| policy.rules(direction).unwrap_or_default());
    let specs = rules.flat_map(|rule| rule.source.sets.iter().chain(&rule.destination.sets));
    let services = specs.filter_map(|(_, spec)| match spec {
        SetSpec::Service(name) => Some(name.clone()),
        SetSpec::Who(_) => None,
    });
    services.collect()
}

fn names(ports: &[Ports]) -> impl Iterator<Item = &str> {
    ports.iter().filter_map(|ports| match ports {
        Ports::Named(name) => Some(name.as_str()),
        Ports::Range(..) => None,
    })
}

fn lookup(fields: Vec<Field>, base: &str, part: Part, negated: bool) -> Expr {
    let name = sets::name(base, part);
    if negated { Expr::NotInSet(fields, name) } else { Expr::InSet(fields, name) }
}

/// Address, protocol and port together.
fn tuple(end: End, family: Family, l4: L4, base: &str, negated: bool) -> Expr {
    let fields = vec![end.addr(family), Field::L4proto, end.port(l4)];
    lookup(fields, base, Part::Ports(family), negated)
}

/// Each of the ways followed by each of the steps.
fn product(ways: &[Asks], steps: &[Asks]) -> Vec<Asks> {
    ways.iter().flat_map(|way| steps.iter().map(|step| [way.as_slice(), step].concat())).collect()
}

/// The networks of a family without those inside others, in order: members of a set must not overlap.
fn outermost(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    let mut sorted: Vec<IpNet> = nets.iter().copied().filter(|net| net.family() == family).collect();
    sorted.sort_unstable();
    let mut kept: Vec<IpNet> = Vec::new();
    for net in sorted {
        if !kept.last().is_some_and(|last| last.covers(net)) {
            kept.push(net);
        }
    }
    kept
}

/// Ranges of ports without overlaps, in order; neighbours are joined.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}
