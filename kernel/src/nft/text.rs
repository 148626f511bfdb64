//! The table as text, in the syntax `nft -f` reads.
//!
//! This is what people and tests read. It says what a rule does and nothing of how: no handles, no counters'
//! values, no tests that a header field implies.

use core::fmt::{self, Display, Formatter};

use super::expr::{Cmp, Expr, Field, L4, Match, Verdict};
use super::value::{AddrType, CtDirection, CtState, DataType, Key, Limit, Per, Value};
use super::{Base, Chain, ChainKind, Hook, Name, Policy, Rule, Set, SetKind, TABLE, Table};
use crate::Family;

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for (name, set) in &self.sets {
            write_set(f, name, set)?;
        }
        for (name, chain) in &self.chains {
            write_chain(f, name, chain)?;
        }
        writeln!(f, "}}")
    }
}

fn write_set(f: &mut Formatter<'_>, name: &Name, set: &Set) -> fmt::Result {
    writeln!(f, "\t{} {name} {{", if set.verdicts { "map" } else { "set" })?;
    let fields = match &set.kind {
        SetKind::Hash(fields) => fields.as_slice(),
        SetKind::Interval(field) => core::slice::from_ref(field),
        SetKind::Other => &[],
    };
    f.write_str("\t\ttype ")?;
    list(f, fields, " . ")?;
    writeln!(f, "{}", if set.verdicts { " : verdict" } else { "" })?;
    if matches!(set.kind, SetKind::Interval(_)) {
        writeln!(f, "\t\tflags interval")?;
    }
    if !set.elements.is_empty() {
        f.write_str("\t\telements = { ")?;
        for (i, (key, verdict)) in set.elements.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            write!(f, "{key}")?;
            if let Some(verdict) = verdict {
                write!(f, " : {verdict}")?;
            }
        }
        writeln!(f, " }}")?;
    }
    writeln!(f, "\t}}")
}

fn write_chain(f: &mut Formatter<'_>, name: &Name, chain: &Chain) -> fmt::Result {
    writeln!(f, "\tchain {name} {{")?;
    if let Some(base) = &chain.base {
        writeln!(f, "\t\t{base}")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{rule}")?;
    }
    writeln!(f, "\t}}")
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { between })?;
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(f, "type {kind} hook {} priority {}; policy {policy};", self.hook, self.priority)
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, self.exprs(), " ")?;
        match &self.comment {
            None => Ok(()),
            Some(text) => {
                f.write_str(if self.exprs().is_empty() { "comment " } else { " comment " })?;
                quoted(f, text)
            }
        }
    }
}

/// `nft` has no way to write a quotation mark inside a string.
fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for part in text.split_inclusive('"') {
        match part.strip_suffix('"') {
            Some(start) => write!(f, "{start}'")?,
            None => f.write_str(part)?,
        }
    }
    f.write_str("\"")
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(what) => what.fmt(f),
            Self::InSet(fields, set) => {
                list(f, fields, " . ")?;
                write!(f, " @{set}")
            }
            Self::NotInSet(fields, set) => {
                list(f, fields, " . ")?;
                write!(f, " != @{set}")
            }
            Self::Vmap(fields, map) => {
                list(f, fields, " . ")?;
                write!(f, " vmap @{map}")
            }
            Self::Counter => f.write_str("counter"),
            Self::Limit(limit) => limit.fmt(f),
            Self::Log(prefix) => {
                f.write_str("log prefix ")?;
                quoted(f, prefix)
            }
            Self::LogGroup { group, prefix, snaplen } => {
                f.write_str("log prefix ")?;
                quoted(f, prefix)?;
                write!(f, " group {group}")?;
                if *snaplen > 0 { write!(f, " snaplen {snaplen}") } else { Ok(()) }
            }
            Self::SetMark { mask, value } => set_mark(f, "meta mark", *mask, *value),
            Self::SetCtMark { mask, value } => set_mark(f, "ct mark", *mask, *value),
            Self::Notrack => f.write_str("notrack"),
            Self::Masquerade => f.write_str("masquerade fully-random"),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Other(name) => write!(f, "<{name}>"),
        }
    }
}

fn set_mark(f: &mut Formatter<'_>, what: &str, mask: u32, value: u32) -> fmt::Result {
    if mask == u32::MAX {
        write!(f, "{what} set {value:#010x}")
    } else {
        write!(f, "{what} set {what} & {:#010x} | {:#010x}", !mask, value & mask)
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.field().fmt(f)?;
        match self.mask() {
            None | Some(u32::MAX) => {}
            Some(mask) => write!(f, " & {mask:#010x}")?,
        }
        let flags = matches!(self.value(), Value::CtState(_));
        f.write_str(match (self.cmp(), self.mask()) {
            (Cmp::Eq, None | Some(u32::MAX)) => " ",
            (Cmp::Eq, Some(_)) => " == ",
            (Cmp::Ne, _) if flags => " ! ",
            (Cmp::Ne, _) => " != ",
        })?;
        self.value().fmt(f)
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::Nfproto => "meta nfproto",
            Self::L4proto => "meta l4proto",
            Self::Mark => "meta mark",
            Self::CtState => "ct state",
            Self::CtMark => "ct mark",
            Self::CtDirection => "ct direction",
            Self::Saddr(Family::V4) => "ip saddr",
            Self::Saddr(Family::V6) => "ip6 saddr",
            Self::Daddr(Family::V4) => "ip daddr",
            Self::Daddr(Family::V6) => "ip6 daddr",
            Self::Sport(L4::Tcp) => "tcp sport",
            Self::Sport(L4::Udp) => "udp sport",
            Self::Sport(L4::Sctp) => "sctp sport",
            Self::Dport(L4::Tcp) => "tcp dport",
            Self::Dport(L4::Udp) => "udp dport",
            Self::Dport(L4::Sctp) => "sctp dport",
            Self::IcmpType(Family::V4) => "icmp type",
            Self::IcmpType(Family::V6) => "icmpv6 type",
            Self::IcmpCode(Family::V4) => "icmp code",
            Self::IcmpCode(Family::V6) => "icmpv6 code",
            Self::FibSaddrType => "fib saddr type",
            Self::FibDaddrType => "fib daddr type",
            Self::FibReturnPath => "fib saddr . iif oif",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for DataType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfName => "ifname",
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Proto => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
        })
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, self.values(), " . ")
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::IfName(name) => write!(f, "\"{name}\""),
            Self::IfNamePrefix(name) => write!(f, "\"{name}*\""),
            Self::Addr(addr) => addr.fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Nfproto(Family::V4) => f.write_str("ipv4"),
            Self::Nfproto(Family::V6) => f.write_str("ipv6"),
            Self::Proto(number) => protocol(f, *number),
            Self::Port(port) => port.fmt(f),
            Self::Ports(first, last) => write!(f, "{first}-{last}"),
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
            Self::CtState(states) => states.fmt(f),
            Self::CtDirection(CtDirection::Original) => f.write_str("original"),
            Self::CtDirection(CtDirection::Reply) => f.write_str("reply"),
            Self::AddrType(kind) => kind.fmt(f),
            Self::IcmpType(number) | Self::IcmpCode(number) => number.fmt(f),
            Self::Exists(true) => f.write_str("exists"),
            Self::Exists(false) => f.write_str("missing"),
        }
    }
}

fn protocol(f: &mut Formatter<'_>, number: u8) -> fmt::Result {
    match number {
        1 => f.write_str("icmp"),
        6 => f.write_str("tcp"),
        17 => f.write_str("udp"),
        58 => f.write_str("ipv6-icmp"),
        132 => f.write_str("sctp"),
        other => other.fmt(f),
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::INVALID, "invalid"),
            (Self::ESTABLISHED, "established"),
            (Self::RELATED, "related"),
            (Self::NEW, "new"),
            (Self::UNTRACKED, "untracked"),
        ];
        let mut first = true;
        for (state, name) in names {
            if self.0 & state.0 != 0 {
                f.write_str(if first { "" } else { "," })?;
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

impl Display for AddrType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
        })
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "second",
            Per::Minute => "minute",
            Per::Hour => "hour",
        };
        write!(f, "limit rate {}/{per} burst {} packets", self.rate, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkName;
    use alloc::string::ToString;

    #[test]
    fn a_table_reads_as_nft_writes_it() {
        let mut table = Table::default();
        let mut pods = Set::vmap([DataType::IfName]);
        let pod = LinkName::pod(0xabc);
        pods.elements.insert(pod.into(), Some(Verdict::Jump("from-pod".into())));
        table.sets.insert("dispatch".into(), pods);
        let mut pools = Set::interval(DataType::Ipv4);
        pools.elements.insert("10.0.0.0/8".parse::<crate::IpNet>().unwrap().into(), None);
        table.sets.insert("pools".into(), pools);
        let base =
            Base { kind: ChainKind::Filter, hook: Hook::Forward, priority: -10, policy: Policy::Accept };
        let rules = [
            Rule::new()
                .when(Match::iifname_prefix(LinkName::new("cord").unwrap()))
                .vmap([Field::Iifname], "dispatch"),
            Rule::new()
                .not_in_set([Field::Saddr(Family::V4)], "pools")
                .counter()
                .drop()
                .comment("not \"ours\""),
            Rule::new().when(Match::mark(0xf0, 0x10).not()).set_ct_mark(0xf0, 0x20).masquerade(),
        ];
        table.chains.insert("forward".into(), Chain { base: Some(base), rules: rules.into() });
        let want = concat!(
            "table inet corduroy {\n",
            "\tmap dispatch {\n\t\ttype ifname : verdict\n",
            "\t\telements = { \"cord00000000abc\" : jump from-pod }\n\t}\n",
            "\tset pools {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.0.0.0/8 }\n\t}\n",
            "\tchain forward {\n\t\ttype filter hook forward priority -10; policy accept;\n",
            "\t\tiifname \"cord*\" iifname vmap @dispatch\n",
            "\t\tip saddr != @pools counter drop comment \"not 'ours'\"\n",
            "\t\tmeta mark & 0x000000f0 != 0x00000010 ",
            "ct mark set ct mark & 0xffffff0f | 0x00000020 masquerade fully-random\n",
            "\t}\n}\n"
        );
        assert_eq!(table.to_string(), want);
    }
}
