//! Our table as it is in the kernel, back to the typed form.
//!
//! Handles, counters' values and tests that a header field implies are left out, so that what is read equals
//! what was written. What we do not write ourselves becomes `Other`, which equals nothing that is desired.

use std::collections::BTreeMap;

use corduroy_kernel::nft::{
    Base, Chain, ChainKind, Cmp, Counted, CtDirection, CtState, DataType, Expr, Field, Hook, Key, L4, Limit,
    Match, Name, Per, Policy, Rule, Set, SetKind, TABLE, Value, Verdict,
};
use corduroy_kernel::{Family, ForeignChain, IpNet, LinkName};

use super::encode::{hook_number, kind_name, policy_number};
use super::expr::*;
use super::value::{addr_type, fields, parse, parse_interval, parse_key, parse_verdict};
use super::{
    INTERVAL_END, LIST_ELEM, NFGENMSG, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, SET_INTERVAL, SET_MAP, nfta,
};
use crate::wire::{Attrs, Message, ne32, text};

/// Attributes of a message about our table.
fn ours(message: Message<'_>) -> Option<Attrs<'_>> {
    let attrs = Attrs::after(message.body, NFGENMSG);
    let here = message.body.first() == Some(&NFPROTO_INET) && attrs.str(nfta::TABLE_NAME) == Some(TABLE);
    here.then_some(attrs)
}

/// Is this notice about our table?
pub(crate) fn is_ours(message: Message<'_>) -> bool {
    ours(message).is_some()
}

fn base(attrs: Attrs<'_>) -> Option<Base> {
    let hook = attrs.nested(nfta::CHAIN_HOOK);
    let number = hook.be32(nfta::HOOK_NUM)?;
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    let name = attrs.str(nfta::CHAIN_TYPE)?;
    let policy = attrs.be32(nfta::CHAIN_POLICY)?;
    Some(Base {
        kind: [ChainKind::Filter, ChainKind::Nat].into_iter().find(|kind| kind_name(*kind) == name)?,
        hook: hooks.into_iter().find(|hook| hook_number(*hook) == number)?,
        priority: hook.be32(nfta::HOOK_PRIORITY)?.cast_signed(),
        policy: [Policy::Accept, Policy::Drop].into_iter().find(|p| policy_number(*p) == policy)?,
    })
}

/// A chain of our table, still without rules.
pub(crate) fn chain(message: Message<'_>) -> Option<(Name, Chain)> {
    let attrs = ours(message)?;
    let name = Name::new(attrs.str(nfta::CHAIN_NAME)?);
    Some((name, Chain { base: base(attrs), rules: Vec::new() }))
}

/// Somebody else's base chain that drops what it does not know on the way from one interface to another.
pub(crate) fn foreign_drop(message: Message<'_>) -> Option<ForeignChain> {
    let family = match *message.body.first()? {
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        NFPROTO_IPV6 => "ip6",
        _ => return None,
    };
    let attrs = Attrs::after(message.body, NFGENMSG);
    let drops = base(attrs).is_some_and(|b| b.hook == Hook::Forward && b.policy == Policy::Drop);
    let (table, chain) = (attrs.str(nfta::CHAIN_TABLE)?, attrs.str(nfta::CHAIN_NAME)?);
    let foreign = drops && (family, table) != ("inet", TABLE);
    foreign.then(|| ForeignChain { family: family.into(), table: table.into(), chain: chain.into() })
}

/// A set of our table, still without elements.
pub(crate) fn set(message: Message<'_>) -> Option<(Name, Set)> {
    let attrs = ours(message)?;
    let flags = attrs.be32(nfta::SET_FLAGS).unwrap_or_default();
    let fields = fields(attrs.be32(nfta::SET_KEY_TYPE).unwrap_or_default());
    let kind = match (flags & !SET_MAP, fields.as_deref()) {
        (0, Some(fields @ [_, ..])) => SetKind::Hash(fields.to_vec()),
        (SET_INTERVAL, Some([field])) => SetKind::Interval(*field),
        _ => SetKind::Other,
    };
    let verdicts = flags & SET_MAP != 0;
    Some((Name::new(attrs.str(nfta::SET_NAME)?), Set { kind, verdicts, elements: BTreeMap::new() }))
}

/// An element as it is in the kernel: of an interval set, where one begins or ends.
pub(crate) struct RawElement {
    key: Vec<u8>,
    begins: bool,
    verdict: Option<Verdict>,
}

/// The elements a message holds.
pub(crate) fn raw_elements(message: Message<'_>, into: &mut Vec<RawElement>) {
    let Some(attrs) = ours(message) else { return };
    for (kind, item) in attrs.nested(nfta::LIST_ELEMENTS) {
        let item = Attrs(item);
        let key = item.nested(nfta::ELEM_KEY).get(nfta::DATA_VALUE);
        if let (LIST_ELEM, Some(key)) = (kind, key) {
            let begins = item.be32(nfta::ELEM_FLAGS).unwrap_or_default() & INTERVAL_END == 0;
            let verdict = parse_verdict(item.nested(nfta::ELEM_DATA));
            into.push(RawElement { key: key.to_vec(), begins, verdict });
        }
    }
}

/// The elements of a set. One that is not of ours makes the set one of somebody else.
pub(crate) fn elements(set: &mut Set, raw: Vec<RawElement>) {
    let read = match &set.kind {
        SetKind::Hash(fields) => hash_elements(fields, raw),
        SetKind::Interval(field) => interval_elements(*field, raw),
        SetKind::Other => None,
    };
    match read {
        Some(elements) => set.elements = elements,
        None => set.kind = SetKind::Other,
    }
}

type Elements = BTreeMap<Key, Option<Verdict>>;

fn hash_elements(fields: &[DataType], raw: Vec<RawElement>) -> Option<Elements> {
    raw.into_iter().map(|element| Some((parse_key(fields, &element.key)?, element.verdict))).collect()
}

fn interval_elements(field: DataType, mut raw: Vec<RawElement>) -> Option<Elements> {
    // Where one interval ends the next may begin: the end comes first.
    raw.sort_by(|a, b| (&a.key, a.begins).cmp(&(&b.key, b.begins)));
    let mut elements = Elements::new();
    let mut open: Option<RawElement> = None;
    for element in raw {
        match (open.take(), element.begins) {
            (None, true) => open = Some(element),
            // nft marks the start of the address space by an end of nothing.
            (None, false) => {}
            (Some(_), true) => return None,
            (Some(start), false) => {
                let value = parse_interval(field, &start.key, Some(&element.key))?;
                elements.insert(Key::One(value), start.verdict);
            }
        }
    }
    if let Some(start) = open {
        elements.insert(Key::One(parse_interval(field, &start.key, None)?), start.verdict);
    }
    Some(elements)
}

/// A rule of our table and its chain.
pub(crate) fn rule(message: Message<'_>) -> Option<(Name, Rule)> {
    let attrs = ours(message)?;
    let mut reader = Reader::default();
    for (kind, item) in attrs.nested(nfta::RULE_EXPRESSIONS) {
        let item = Attrs(item);
        if let (LIST_ELEM, Some(name)) = (kind, item.str(nfta::EXPR_NAME))
            && reader.expression(name, item.nested(nfta::EXPR_DATA)).is_none()
        {
            reader.push(Expr::Other(name.to_owned()));
        }
    }
    let mut rule = reader.rule;
    rule.comment = attrs.get(nfta::RULE_USERDATA).and_then(comment);
    Some((Name::new(attrs.str(nfta::RULE_CHAIN)?), rule))
}

/// What the rules of our table have counted, in the order they stand.
#[derive(Default)]
pub(crate) struct Counters {
    /// How many rules of each chain were read.
    read: BTreeMap<Name, usize>,
    pub(crate) found: Vec<Counted>,
}

impl Counters {
    /// One more rule; nothing, when it is not of our table.
    pub(crate) fn read(&mut self, message: Message<'_>) -> Option<()> {
        let attrs = ours(message)?;
        let chain = Name::new(attrs.str(nfta::RULE_CHAIN)?);
        let read = self.read.entry(chain.clone()).or_default();
        let position = *read;
        *read += 1;
        let is_counter = |item: &Attrs<'_>| item.str(nfta::EXPR_NAME) == Some("counter");
        let mut items = attrs.nested(nfta::RULE_EXPRESSIONS).map(|(_, item)| Attrs(item));
        let counter = items.find(is_counter)?.nested(nfta::EXPR_DATA);
        let (packets, bytes) = (counter.be64(COUNTER_PACKETS)?, counter.be64(COUNTER_BYTES)?);
        let comment = attrs.get(nfta::RULE_USERDATA).and_then(comment);
        self.found.push(Counted { chain, position, comment, packets, bytes });
        Some(())
    }
}

/// The comment in a rule's user data: items of type, length, value; type 0 is the comment.
fn comment(mut rest: &[u8]) -> Option<String> {
    while let [kind, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        if *kind == 0 {
            return text(value).map(str::to_owned);
        }
        rest = tail.get(usize::from(*len)..)?;
    }
    None
}

/// What registers hold while a rule is read: a rule is read back by following the data.
#[derive(Default)]
struct Reader {
    rule: Rule,
    family: Option<Family>,
    protocol: Option<u8>,
    /// Fields loaded and not yet used, with how many octets of each.
    loaded: Vec<(Field, usize)>,
    masked: Option<(Vec<u8>, Vec<u8>)>,
    immediate: Option<u32>,
    at_least: Option<u16>,
}

impl Reader {
    fn push(&mut self, expr: Expr) {
        self.rule = std::mem::take(&mut self.rule).then(expr);
        self.loaded.clear();
        self.masked = None;
        self.immediate = None;
        self.at_least = None;
    }

    /// Follow one expression; `None` when it is not one we write.
    fn expression(&mut self, name: &str, data: Attrs<'_>) -> Option<()> {
        match name {
            "meta" if data.get(META_SREG).is_some() => {
                (data.be32(META_KEY)? == META_MARK).then_some(())?;
                self.set_mark(Field::Mark)
            }
            "ct" if data.get(CT_SREG).is_some() => {
                (data.be32(CT_KEY)? == CT_MARK).then_some(())?;
                self.set_mark(Field::CtMark)
            }
            "meta" => self.load(meta_field(data.be32(META_KEY)?)?, None),
            "ct" => match data.be32(CT_KEY)? {
                CT_STATE => self.load(Field::CtState, None),
                CT_MARK => self.load(Field::CtMark, None),
                CT_DIRECTION => self.load(Field::CtDirection, None),
                _ => None,
            },
            "payload" => {
                let field = self.payload_field(data.be32(PAYLOAD_BASE)?, data.be32(PAYLOAD_OFFSET)?)?;
                self.load(field, usize::try_from(data.be32(PAYLOAD_LEN)?).ok())
            }
            "fib" => self.load(fib_field(data.be32(FIB_RESULT)?, data.be32(FIB_FLAGS)?)?, None),
            "bitwise" => {
                let operand = |kind| data.nested(kind).get(nfta::DATA_VALUE).map(<[u8]>::to_vec);
                self.masked = Some((operand(BITWISE_MASK)?, operand(BITWISE_XOR)?));
                Some(())
            }
            "cmp" => self.compare(data.be32(CMP_OP)?, data.nested(CMP_DATA).get(nfta::DATA_VALUE)?),
            "range" => self.range(data),
            "lookup" => self.lookup(data),
            "immediate" => self.immediate(data),
            _ => self.statement(name, data),
        }
    }

    fn load(&mut self, field: Field, len: Option<usize>) -> Option<()> {
        let whole = field.data_type().map_or(0, DataType::size);
        self.loaded.push((field, len.unwrap_or(whole)));
        Some(())
    }

    fn payload_field(&self, base: u32, offset: u32) -> Option<Field> {
        let l4 = match self.protocol {
            Some(6) => Some(L4::Tcp),
            Some(17) => Some(L4::Udp),
            Some(132) => Some(L4::Sctp),
            _ => None,
        };
        let icmp = match (self.protocol, self.family) {
            (Some(1), Some(Family::V4)) => self.family,
            (Some(58), Some(Family::V6)) => self.family,
            _ => None,
        };
        match (base, offset, self.family) {
            (BASE_NETWORK, 12, Some(Family::V4)) => Some(Field::Saddr(Family::V4)),
            (BASE_NETWORK, 16, Some(Family::V4)) => Some(Field::Daddr(Family::V4)),
            (BASE_NETWORK, 8, Some(Family::V6)) => Some(Field::Saddr(Family::V6)),
            (BASE_NETWORK, 24, Some(Family::V6)) => Some(Field::Daddr(Family::V6)),
            (BASE_TRANSPORT, 0, _) if icmp.is_some() => icmp.map(Field::IcmpType),
            (BASE_TRANSPORT, 1, _) => icmp.map(Field::IcmpCode),
            (BASE_TRANSPORT, 0, _) => l4.map(Field::Sport),
            (BASE_TRANSPORT, 2, _) => l4.map(Field::Dport),
            _ => None,
        }
    }

    fn set_mark(&mut self, field: Field) -> Option<()> {
        let (mask, value) = match (&self.masked, self.immediate) {
            (None, Some(value)) => (u32::MAX, value),
            (Some((mask, xor)), None) if self.loaded.first().is_some_and(|(f, _)| *f == field) => {
                (!ne32(mask, 0)?, ne32(xor, 0)?)
            }
            _ => return None,
        };
        self.push(match field {
            Field::Mark => Expr::SetMark { mask, value },
            _ => Expr::SetCtMark { mask, value },
        });
        Some(())
    }

    fn compare(&mut self, op: u32, octets: &[u8]) -> Option<()> {
        let &(field, len) = self.loaded.first()?;
        if let Field::Sport(_) | Field::Dport(_) = field {
            let port = u16::from_be_bytes(octets.try_into().ok()?);
            return self.compare_port(field, op, port);
        }
        if let (Field::IcmpType(family), OP_EQ, &[kind, code]) = (field, op, octets) {
            // How nft writes type and code that stand side by side.
            self.push(Expr::Match(Match::icmp_type(family, kind)));
            self.push(Expr::Match(Match::icmp_code(family, code)));
            return Some(());
        }
        let what = comparison(field, len, self.masked.as_ref(), octets)?;
        let what = match op {
            OP_EQ => what,
            OP_NE => what.not(),
            _ => return None,
        };
        match (what.cmp(), what.value()) {
            (Cmp::Eq, Value::Nfproto(family)) => self.family = Some(family),
            (Cmp::Eq, Value::Proto(protocol)) => self.protocol = Some(protocol),
            _ => {}
        }
        self.push(Expr::Match(what));
        Some(())
    }

    fn compare_port(&mut self, field: Field, op: u32, port: u16) -> Option<()> {
        let what = match (op, self.at_least) {
            (OP_EQ, None) => ports(field, port, port)?,
            (OP_NE, None) => ports(field, port, port)?.not(),
            (OP_GTE, None) => {
                self.at_least = Some(port);
                return Some(());
            }
            (OP_LTE, Some(first)) => ports(field, first, port)?,
            _ => return None,
        };
        self.push(Expr::Match(what));
        Some(())
    }

    fn range(&mut self, data: Attrs<'_>) -> Option<()> {
        let &(field, _) = self.loaded.first()?;
        let port = |kind| {
            let octets = data.nested(kind).get(nfta::DATA_VALUE)?;
            Some(u16::from_be_bytes(octets.try_into().ok()?))
        };
        let what = ports(field, port(RANGE_FROM)?, port(RANGE_TO)?)?;
        self.push(Expr::Match(if data.be32(RANGE_OP)? == OP_EQ { what } else { what.not() }));
        Some(())
    }

    fn lookup(&mut self, data: Attrs<'_>) -> Option<()> {
        let fields: Vec<Field> = self.loaded.iter().map(|(field, _)| *field).collect();
        let set = Name::new(data.str(LOOKUP_SET)?);
        let inverted = data.be32(LOOKUP_FLAGS).unwrap_or_default() & LOOKUP_INV != 0;
        self.push(match (data.be32(LOOKUP_DREG), inverted) {
            (Some(REG_VERDICT), false) => Expr::Vmap(fields, set),
            (None, false) => Expr::InSet(fields, set),
            (None, true) => Expr::NotInSet(fields, set),
            _ => return None,
        });
        Some(())
    }

    fn immediate(&mut self, data: Attrs<'_>) -> Option<()> {
        let value = data.nested(IMMEDIATE_DATA);
        if data.be32(IMMEDIATE_DREG)? == REG_VERDICT {
            self.push(Expr::Verdict(parse_verdict(value)?));
        } else {
            self.immediate = Some(ne32(value.get(nfta::DATA_VALUE)?, 0)?);
        }
        Some(())
    }

    fn statement(&mut self, name: &str, data: Attrs<'_>) -> Option<()> {
        let expr = match name {
            "counter" => Expr::Counter,
            "limit" => {
                let seconds = data.be64(LIMIT_UNIT)?;
                let per = Per::ALL.into_iter().find(|per| per.seconds() == seconds)?;
                let plain = data.be32(LIMIT_TYPE)? == 0 && data.be32(LIMIT_FLAGS)? == 0;
                let limit = Limit { rate: data.be64(LIMIT_RATE)?, per, burst: data.be32(LIMIT_BURST)? };
                plain.then_some(Expr::Limit(limit))?
            }
            "log" => log(data)?,
            "notrack" => Expr::Notrack,
            "masq" if data.be32(MASQ_FLAGS) == Some(FULLY_RANDOM) => Expr::Masquerade,
            _ => return None,
        };
        self.push(expr);
        Some(())
    }
}

fn log(data: Attrs<'_>) -> Option<Expr> {
    let prefix = data.str(LOG_PREFIX)?.to_owned();
    let Some(group) = data.get(LOG_GROUP) else { return Some(Expr::Log(prefix)) };
    // A rule of ours leaves it to the listener how many packets are gathered.
    data.get(LOG_QTHRESHOLD).is_none().then_some(())?;
    let group = u16::from_be_bytes(group.try_into().ok()?);
    Some(Expr::LogGroup { group, prefix, snaplen: data.be32(LOG_SNAPLEN).unwrap_or_default() })
}

fn meta_field(key: u32) -> Option<Field> {
    Some(match key {
        META_IIFNAME => Field::Iifname,
        META_OIFNAME => Field::Oifname,
        META_NFPROTO => Field::Nfproto,
        META_L4PROTO => Field::L4proto,
        META_MARK => Field::Mark,
        _ => return None,
    })
}

fn fib_field(result: u32, flags: u32) -> Option<Field> {
    const RETURN_PATH: u32 = FIB_F_SADDR | FIB_F_IIF | FIB_F_PRESENT;
    match (result, flags) {
        (FIB_ADDRTYPE, FIB_F_SADDR) => Some(Field::FibSaddrType),
        (FIB_ADDRTYPE, FIB_F_DADDR) => Some(Field::FibDaddrType),
        (FIB_OIF, RETURN_PATH) => Some(Field::FibReturnPath),
        _ => None,
    }
}

fn ports(field: Field, first: u16, last: u16) -> Option<Match> {
    match field {
        Field::Sport(l4) => Some(Match::sport(l4, first, last)),
        Field::Dport(l4) => Some(Match::dport(l4, first, last)),
        _ => None,
    }
}

/// What it means that a field, loaded in `len` octets and perhaps masked, equals these octets.
fn comparison(field: Field, len: usize, masked: Option<&(Vec<u8>, Vec<u8>)>, octets: &[u8]) -> Option<Match> {
    let byte = || octets.first().copied();
    let number = || ne32(octets, 0);
    let mask = || masked.map_or(Some(u32::MAX), |(mask, _)| ne32(mask, 0));
    Some(match field {
        Field::Iifname => name(octets, Match::iifname, Match::iifname_prefix)?,
        Field::Oifname => name(octets, Match::oifname, Match::oifname_prefix)?,
        Field::Nfproto => match byte()? {
            NFPROTO_IPV4 => Match::nfproto(Family::V4),
            NFPROTO_IPV6 => Match::nfproto(Family::V6),
            _ => return None,
        },
        Field::L4proto => Match::l4proto(byte()?),
        Field::Mark => Match::mark(mask()?, number()?),
        Field::CtMark => Match::ct_mark(mask()?, number()?),
        Field::CtDirection => match byte()? {
            0 => Match::ct_direction(CtDirection::Original),
            1 => Match::ct_direction(CtDirection::Reply),
            _ => return None,
        },
        // Any of these states: some bit is left under the mask, so "equal to none" is the opposite.
        Field::CtState if number()? == 0 => Match::ct_state(CtState(ne32(&masked?.0, 0)?)).not(),
        Field::Saddr(family) => Match::saddr(network(family, len, masked, octets)?),
        Field::Daddr(family) => Match::daddr(network(family, len, masked, octets)?),
        Field::IcmpType(family) if octets.len() == 1 => Match::icmp_type(family, byte()?),
        Field::IcmpCode(family) if octets.len() == 1 => Match::icmp_code(family, byte()?),
        Field::FibSaddrType => Match::saddr_type(addr_type(number()?)?),
        Field::FibDaddrType => Match::daddr_type(addr_type(number()?)?),
        Field::FibReturnPath => Match::return_path(byte()? != 0),
        Field::CtState | Field::IcmpType(_) | Field::IcmpCode(_) | Field::Sport(_) | Field::Dport(_) => {
            return None;
        }
    })
}

/// An interface name of 16 octets, or the beginning of one without a NUL.
fn name(octets: &[u8], whole: fn(LinkName) -> Match, prefix: fn(LinkName) -> Match) -> Option<Match> {
    let name = LinkName::new(text(octets)?).ok()?;
    Some(if octets.contains(&0) { whole(name) } else { prefix(name) })
}

fn network(family: Family, len: usize, masked: Option<&(Vec<u8>, Vec<u8>)>, octets: &[u8]) -> Option<IpNet> {
    let field = DataType::addr(family);
    let mut whole = octets.to_vec();
    whole.resize(field.size(), 0);
    let Value::Addr(addr) = parse(field, &whole)? else { return None };
    let bits = match masked {
        Some((mask, _)) => mask.iter().map(|octet| octet.count_ones()).sum(),
        None => u32::try_from(len * 8).ok()?,
    };
    IpNet::containing(addr, u8::try_from(bits).ok()?)
}
