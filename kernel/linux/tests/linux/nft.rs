//! Our table: written, read back, held against what `nft` makes of the same text.

use corduroy_kernel::nft::{
    AddrType, Base, Chain, ChainKind, Change, CtDirection, CtState, DataType, Field, Hook, Key, L4, Limit,
    Match, Per, Policy, Rule, Set, Table, Value, Verdict,
};
use corduroy_kernel::{Cause, Family, IpNet, LinkName, Op};

use crate::netns::Netns;
use crate::{done, net, open, tried};

/// A table in which every kind of expression, set and element occurs.
pub(crate) fn everything() -> Table {
    let pod = LinkName::pod(0x1234);
    let cord = LinkName::new("cord").unwrap();
    let mut table = Table::default();
    let mut dispatch = Set::vmap([DataType::IfName]);
    dispatch.elements.insert(pod.into(), Some(Verdict::Goto("from-pod".into())));
    table.sets.insert("dispatch".into(), dispatch);
    let mut pools = Set::interval(DataType::Ipv4);
    for pool in ["10.0.0.0/9", "10.128.0.0/16", "192.0.2.1/32", "255.255.255.0/24"] {
        pools.elements.insert(net(pool).into(), None);
    }
    table.sets.insert("pools4".into(), pools);
    let mut pools = Set::interval(DataType::Ipv6);
    for pool in ["::/8", "fd00::/48", "ffff::/16"] {
        pools.elements.insert(net(pool).into(), None);
    }
    table.sets.insert("pools6".into(), pools);
    let mut allowed = Set::hash([DataType::IfName, DataType::Ipv4, DataType::Port]);
    let addr = Value::Addr("10.0.0.1".parse().unwrap());
    allowed.elements.insert(Key::from([Value::IfName(pod), addr, Value::Port(443)]), None);
    table.sets.insert("allowed".into(), allowed);
    table.sets.insert("peers6".into(), Set::hash([DataType::Ipv6]));
    let established = CtState::ESTABLISHED.or(CtState::RELATED);
    let rules = [
        Rule::new().when(Match::ct_state(established)).accept().comment("what is known"),
        Rule::new().when(Match::ct_state(CtState::INVALID.or(CtState::NEW)).not()).counter(),
        Rule::new().when(Match::iifname_prefix(cord)).vmap([Field::Iifname], "dispatch"),
        Rule::new().when(Match::oifname(pod).not()).when(Match::oifname_prefix(cord)).jump("log-drop"),
        Rule::new().not_in_set([Field::Saddr(Family::V4)], "pools4").drop(),
        Rule::new().in_set([Field::Daddr(Family::V6)], "pools6").accept(),
        Rule::new()
            .in_set([Field::Iifname, Field::Saddr(Family::V4), Field::Dport(L4::Tcp)], "allowed")
            .accept(),
        Rule::new().when(Match::saddr(net("10.0.0.0/8"))).when(Match::daddr(net("10.0.0.0/9"))).accept(),
        Rule::new().when(Match::saddr(net("fc00::/7")).not()).when(Match::dport(L4::Udp, 53, 53)).drop(),
        Rule::new().when(Match::saddr(net("fd00::1/128"))).when(Match::dport(L4::Tcp, 1, 1024).not()).drop(),
        Rule::new()
            .when(Match::dport(L4::Tcp, 30000, 32767))
            .when(Match::sport(L4::Tcp, 1, 1).not())
            .accept(),
        Rule::new().when(Match::icmp_type(Family::V6, 134)).drop(),
        Rule::new().when(Match::icmp_type(Family::V4, 3)).when(Match::icmp_code(Family::V4, 4)).accept(),
        Rule::new().when(Match::icmp_type(Family::V6, 1)).when(Match::icmp_code(Family::V6, 4).not()).drop(),
        Rule::new().when(Match::ct_direction(CtDirection::Reply)).accept(),
        Rule::new().when(Match::ct_direction(CtDirection::Original).not()).counter(),
        Rule::new().when(Match::nfproto(Family::V6)).when(Match::l4proto(4)).goto("log-drop"),
        Rule::new().when(Match::mark(0xf0, 0x10).not()).set_mark(u32::MAX, 0x20).set_ct_mark(0xff00, 0x100),
        Rule::new().when(Match::ct_mark(u32::MAX, 7)).ret(),
        Rule::new()
            .when(Match::saddr_type(AddrType::Local))
            .when(Match::daddr_type(AddrType::Unicast))
            .accept(),
        Rule::new().when(Match::return_path(false)).drop(),
    ];
    let base = |kind, hook, priority, policy| Some(Base { kind, hook, priority, policy });
    let filter = base(ChainKind::Filter, Hook::Forward, -10, Policy::Accept);
    table.chains.insert("forward".into(), Chain { base: filter, rules: rules.into() });
    let raw = base(ChainKind::Filter, Hook::Prerouting, -300, Policy::Drop);
    table.chains.insert("raw".into(), Chain { base: raw, rules: vec![Rule::new().notrack()] });
    let nat = base(ChainKind::Nat, Hook::Postrouting, 100, Policy::Accept);
    let masquerade = Rule::new().in_set([Field::Saddr(Family::V4)], "pools4").masquerade();
    table.chains.insert("nat".into(), Chain { base: nat, rules: vec![masquerade] });
    table.chains.insert("from-pod".into(), Chain::default());
    let limit = Limit { rate: 10, per: Per::Minute, burst: 5 };
    let log = Rule::new().limit(limit).log("corduroy drop: ");
    let rules = vec![log, Rule::new().log_group(67, "denied ", 128).drop()];
    table.chains.insert("log-drop".into(), Chain { base: None, rules });
    table
}

/// What makes a table from nothing.
pub(crate) fn changes(table: &Table) -> Vec<Change> {
    let mut changes = vec![Change::AddTable];
    changes.extend(table.chains.iter().map(|(name, chain)| Change::AddChain(name.clone(), chain.base)));
    for (name, set) in &table.sets {
        changes.push(Change::AddSet(name.clone(), set.kind.clone(), set.verdicts));
        let elements = set.elements.iter().map(|(key, verdict)| (key.clone(), verdict.clone())).collect();
        changes.push(Change::AddElements(name.clone(), elements));
    }
    for (name, chain) in &table.chains {
        changes.push(Change::SetRules(name.clone(), chain.rules.clone()));
    }
    changes
}

pub(crate) fn load_text(netns: &Netns, table: &Table) {
    let path = std::env::temp_dir().join(format!("corduroy-{}-{:p}.nft", std::process::id(), table));
    std::fs::write(&path, table.to_string()).unwrap();
    netns.sh(&format!("nft -f {}", path.display()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_table_is_read_back_as_it_was_written() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    let read = kernel.read().unwrap().nft.unwrap();
    assert_eq!(read.to_string(), table.to_string());
    assert_eq!(read, table);
}

#[test]
fn the_text_of_a_table_means_to_nft_what_the_encoder_writes() {
    let (by_us, by_nft) = (Netns::new(), Netns::new());
    let table = everything();
    done(&mut open(&by_us), vec![Op::Nft(changes(&table))]);
    load_text(&by_nft, &table);
    let mut kernel = open(&by_nft);
    assert_eq!(kernel.read().unwrap().nft.unwrap().to_string(), table.to_string());
    let list = "nft -j list table inet corduroy";
    let read = |netns: &Netns| -> serde_json::Value { serde_json::from_str(&netns.sh(list)).unwrap() };
    assert_eq!(normal(&read(&by_us)), normal(&read(&by_nft)));
}

/// `nft -j` without handles and in an order that does not depend on who made what first.
fn normal(list: &serde_json::Value) -> Vec<String> {
    let mut lines: Vec<String> = list["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item.get("metainfo").is_none())
        .map(|item| {
            let mut item = item.clone();
            for inner in item.as_object_mut().unwrap().values_mut() {
                inner.as_object_mut().unwrap().remove("handle");
            }
            item.to_string()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_rule_somebody_slipped_in_shows_as_not_ours() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    netns.sh("nft add rule inet corduroy from-pod log group 3");
    netns.sh("nft 'add set inet corduroy strange { type ipv4_addr; flags timeout; }'");
    let read = kernel.read().unwrap().nft.unwrap();
    let text = read.to_string();
    assert!(text.contains("<log>"), "{text}");
    assert_eq!(read.sets[&"strange".into()].kind, corduroy_kernel::nft::SetKind::Other);
    // What it takes to put it right.
    let right = vec![Change::SetRules("from-pod".into(), vec![]), Change::DeleteSet("strange".into())];
    done(&mut kernel, [Op::Nft(right)]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn counters_are_read_by_chain_and_place_and_are_no_part_of_a_rule() {
    let netns = Netns::new();
    netns.sh("ip link set lo up");
    let mut kernel = open(&netns);
    assert_eq!(kernel.counters().unwrap(), []);
    let base = Base { kind: ChainKind::Filter, hook: Hook::Input, priority: 0, policy: Policy::Accept };
    let asked = Match::icmp_type(Family::V4, 8);
    let input = vec![
        Rule::new().when(asked).jump("pings"),
        Rule::new().when(asked.not()).counter().comment("the rest"),
    ];
    let pings = vec![Rule::new().counter().comment("first"), Rule::new().counter().counter().accept()];
    let mut table = Table::default();
    table.chains.insert("input".into(), Chain { base: Some(base), rules: input });
    table.chains.insert("pings".into(), Chain { base: None, rules: pings });
    done(&mut kernel, [Op::Nft(changes(&table))]);
    netns.sh("ping -c3 -i0.002 -s56 127.0.0.1");
    let found = kernel.counters().unwrap();
    let short: Vec<_> = found
        .iter()
        .map(|one| (one.chain.as_str(), one.position, one.comment.as_deref(), one.packets, one.bytes))
        .collect();
    let wanted = [
        ("input", 1, Some("the rest"), 3, 3 * 84),
        ("pings", 0, Some("first"), 3, 3 * 84),
        ("pings", 1, None, 3, 3 * 84),
    ];
    assert_eq!(short, wanted);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
    netns.sh("nft add rule inet corduroy pings log prefix x group 3 queue-threshold 4");
    netns.sh("nft 'add table inet other; add chain inet other c; add rule inet other c counter'");
    assert_eq!(kernel.counters().unwrap(), found);
    assert!(kernel.read().unwrap().nft.unwrap().to_string().contains("<log>"));
}

#[test]
fn ten_thousand_elements_go_in_one_transaction_and_come_back() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let mut table = Table::default();
    let (mut hash, mut nets) = (Set::hash([DataType::Ipv6]), Set::interval(DataType::Ipv4));
    for i in 0..10_000u32 {
        hash.elements.insert(std::net::IpAddr::from(std::net::Ipv6Addr::from(u128::from(i))).into(), None);
        nets.elements.insert(IpNet::new(std::net::Ipv4Addr::from(i << 9).into(), 24).unwrap().into(), None);
    }
    table.sets.insert("hash".into(), hash);
    table.sets.insert("nets".into(), nets);
    done(&mut kernel, [Op::Nft(changes(&table))]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn somebody_elses_dropping_forward_chain_is_a_fact() {
    let netns = Netns::new();
    let chain = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
    netns.sh(&format!("nft 'add table ip filter; {chain}'"));
    let state = open(&netns).read().unwrap();
    let found = &state.facts().foreign_drops;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].family.as_str(), found[0].chain.as_str()), ("ip", "FORWARD"));
}

#[test]
fn a_refused_transaction_changes_nothing_and_names_the_change() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let bad = vec![
        Change::AddTable,
        Change::AddChain("a".into(), None),
        Change::SetRules(
            "a".into(),
            vec![Rule::new().in_set([Field::Saddr(Family::V4)], "nowhere").accept()],
        ),
    ];
    let result = tried(&mut kernel, [Op::Nft(bad)]).remove(0).unwrap_err();
    assert_eq!(result.cause, Cause::Missing);
    assert!(result.detail.contains("rules of chain a"), "{result}");
    assert_eq!(kernel.read().unwrap().nft, None);
}

#[test]
fn the_same_changes_again_leave_the_table_as_it_is() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    done(&mut kernel, [Op::Nft(changes(&table))]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn a_table_that_was_wiped_is_whole_again_after_the_same_changes() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    netns.sh("nft flush ruleset");
    assert_eq!(kernel.read().unwrap().nft, None);
    done(&mut kernel, [Op::Nft(changes(&table))]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn tables_of_others_are_neither_shown_nor_touched() {
    let netns = Netns::new();
    for table in ["ip corduroy", "ip6 corduroy", "inet other"] {
        netns.sh(&format!(
            "nft 'add table {table}; add chain {table} forward; add rule {table} forward accept'"
        ));
        netns.sh(&format!("nft 'add set {table} pods4 {{ type ipv4_addr; elements = {{ 10.0.0.1 }}; }}'"));
    }
    let mut kernel = open(&netns);
    let before = netns.sh("nft list ruleset");
    assert_eq!(kernel.read().unwrap().nft, None);
    let table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
    done(&mut kernel, [Op::Nft(vec![Change::DeleteTable])]);
    assert_eq!(netns.sh("nft list ruleset"), before);
    done(&mut kernel, [Op::Nft(vec![Change::DeleteTable])]);
}

#[test]
fn a_table_is_made_anew_in_one_transaction() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let table = everything();
    let base = "{ type filter hook forward priority 7; policy drop; }";
    netns.sh(&format!("nft 'add table inet corduroy; add chain inet corduroy forward {base}'"));
    let again: Vec<Change> = std::iter::once(Change::DeleteTable).chain(changes(&table)).collect();
    done(&mut kernel, [Op::Nft(again)]);
    assert_eq!(kernel.read().unwrap().nft, Some(table));
}

#[test]
fn elements_and_rules_change_by_themselves() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let mut table = everything();
    done(&mut kernel, [Op::Nft(changes(&table))]);
    let (old, new) = (LinkName::pod(0x1234), LinkName::pod(0x5678));
    let dispatch = corduroy_kernel::nft::Name::new("dispatch");
    let verdict = Some(Verdict::Goto("from-pod".into()));
    let rules = vec![Rule::new().counter().accept().comment("known")];
    let step = vec![
        Change::DeleteElements(dispatch.clone(), vec![old.into()]),
        Change::DeleteElements("pools4".into(), vec![net("10.128.0.0/16").into()]),
        Change::AddElements(dispatch.clone(), vec![(new.into(), verdict.clone())]),
        Change::AddElements("pools4".into(), vec![(net("10.129.0.0/17").into(), None)]),
        Change::SetRules("from-pod".into(), rules.clone()),
    ];
    done(&mut kernel, [Op::Nft(step)]);
    let map = &mut table.sets.get_mut(&dispatch).unwrap().elements;
    map.remove(&old.into());
    map.insert(new.into(), verdict);
    let pools = &mut table.sets.get_mut(&"pools4".into()).unwrap().elements;
    pools.remove(&net("10.128.0.0/16").into());
    pools.insert(net("10.129.0.0/17").into(), None);
    table.chains.get_mut(&"from-pod".into()).unwrap().rules = rules;
    assert_eq!(kernel.read().unwrap().nft, Some(table));
    // What is not there can't be deleted, and nothing of that transaction happens.
    let bad =
        vec![Change::SetRules("from-pod".into(), vec![]), Change::DeleteElements(dispatch, vec![old.into()])];
    let error = tried(&mut kernel, [Op::Nft(bad)]).remove(0).unwrap_err();
    assert_eq!(error.cause, Cause::Missing);
    assert!(error.detail.contains("1 elements of set dispatch"), "{error}");
    assert_eq!(kernel.read().unwrap().nft.unwrap().chains[&"from-pod".into()].rules.len(), 1);
}

#[test]
fn a_transaction_refused_in_thousands_of_places_says_what_was_first() {
    let netns = Netns::new();
    let mut kernel = open(&netns);
    let rule = Rule::new().in_set([Field::Saddr(Family::V4)], "nowhere").accept();
    let bad = vec![
        Change::AddTable,
        Change::AddChain("a".into(), None),
        Change::SetRules("a".into(), vec![rule; 5_000]),
    ];
    let error = tried(&mut kernel, [Op::Nft(bad)]).remove(0).unwrap_err();
    assert_eq!(error.cause, Cause::Missing, "{error}");
    assert!(error.detail.contains("rules of chain a"), "{error}");
    done(&mut kernel, [Op::Nft(changes(&everything()))]);
    assert_eq!(kernel.read().unwrap().nft, Some(everything()));
}
