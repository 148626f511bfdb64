//! `cordctl policy`.

use std::net::IpAddr;

use corduroy_api::instant;
use corduroy_ipc::policy::{
    Change, Counted, Drop, Planned, PlannedProgram, PolicyDrops, PolicyPlan, PolicyShow, PolicyTrace,
    ShownPolicy, TraceEnd, Verdict,
};

use crate::table::{or_dash, table};

/// Who decides, each direction; `wide` names the tiers that were asked.
pub(crate) fn trace(trace: &PolicyTrace, wide: bool) -> String {
    let verdict = match trace.verdict {
        Verdict::Allowed => "allowed",
        Verdict::AllowedHere => "allowed as far as it is judged here",
        Verdict::Denied => "denied",
    };
    let mut text = format!("{}: {verdict}\n", trace.packet);
    for (what, end) in [("from", &trace.from), ("to", &trace.to)] {
        let TraceEnd { address, name, here } = end;
        let here = if *here { "" } else { ", not judged here" };
        text += &format!(
            "{what:<4} {}{here}\n",
            name.as_ref().map_or(address.to_string(), |name| { format!("{name} ({address})") })
        );
    }
    if !trace.judgements.is_empty() {
        text += "\n";
    }
    for judged in &trace.judgements {
        let counted = judged.counted.map(|it| format!(" [{} packets, {} bytes]", it.packets, it.bytes));
        text += &format!("{}{}\n", judged.why, counted.unwrap_or_default());
        for tier in judged.tiers.iter().filter(|tier| wide || !tier.noted.is_empty()) {
            text += &format!("  tier {}: {} ({})\n", tier.tier, tier.said, tier.policies.join(", "));
            for rule in &tier.noted {
                text += &format!("    logged by {rule}\n");
            }
        }
    }
    for remark in &trace.remarks {
        text += &format!("note: {remark}\n");
    }
    text
}

/// The policies in the order in which they are asked; `wide` names whom they select.
pub(crate) fn show(all: &PolicyShow, wide: bool) -> String {
    let mut rows = Vec::new();
    for policy in &all.policies {
        rows.push(head(policy, wide));
        for rule in &policy.rules {
            let name = format!("  {} rule {}", rule.direction, rule.rule);
            let [packets, bytes] = counted(rule.counted);
            let empty = String::new;
            rows.push([empty(), empty(), name, empty(), rule.action.clone(), packets, bytes]);
        }
    }
    let mut text = table(["TIER", "ORDER", "POLICY", "SELECTS", "ACTION", "PACKETS", "BYTES"], rows);
    if text.is_empty() {
        text = "no policy selects a pod or HostEndpoint of this node\n".to_owned();
    }
    let parts = [
        ("not in force as written", &all.broken),
        ("of a tier nobody has made, so asked last", &all.homeless),
        ("for nothing", &all.warnings),
    ];
    for (what, lines) in parts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        text += &format!("\n{what}:\n");
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

fn head(policy: &ShownPolicy, wide: bool) -> [String; 7] {
    let place = policy.tier_order.as_deref().unwrap_or("last");
    let selects = match (wide, policy.selects.len()) {
        (true, _) => policy.selects.join(" "),
        (false, count) => count.to_string(),
    };
    let tier = format!("{} ({place})", policy.tier);
    let empty = String::new;
    [tier, or_dash(policy.order.clone()), policy.policy.clone(), selects, empty(), empty(), empty()]
}

fn counted(counted: Option<Counted>) -> [String; 2] {
    [or_dash(counted.map(|it| it.packets)), or_dash(counted.map(|it| it.bytes))]
}

/// What was denied, under headers.
pub(crate) fn drops(found: &PolicyDrops) -> String {
    let row = |drop: &Drop| {
        let [time, from, to, protocol, by] = cells(drop);
        [time, protocol, from, to, by]
    };
    let text = table(["TIME", "PROTOCOL", "FROM", "TO", "DENIED"], found.drops.iter().map(row).collect());
    let none = if text.is_empty() { "nothing was denied\n" } else { "" };
    format!("{text}{none}{}", missing(found))
}

/// What was denied, a line each.
pub(crate) fn followed(found: &PolicyDrops) -> String {
    let mut text = missing(found);
    for drop in &found.drops {
        let [time, from, to, protocol, by] = cells(drop);
        text += &format!("{time} {protocol} {from} -> {to} {by}\n");
    }
    text
}

/// What is not in it.
fn missing(found: &PolicyDrops) -> String {
    let deaf = found.deaf.as_ref().map(|why| format!("note: denied packets are not reported now: {why}\n"));
    let mut text = deaf.unwrap_or_default();
    if found.lost > 0 {
        text += &format!("note: {} more were lost on the way from the kernel\n", found.lost);
    }
    if found.forgotten > 0 {
        text += &format!("note: {} more are forgotten by now\n", found.forgotten);
    }
    text
}

fn cells(drop: &Drop) -> [String; 5] {
    let end = |name: &Option<String>, address: IpAddr, port: Option<u16>| {
        let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
        match name {
            Some(name) => format!("{name} ({address}){port}"),
            None => format!("{address}{port}"),
        }
    };
    let by = match &drop.direction {
        Some(direction) => format!("{direction} by {}", drop.by),
        None => format!("by {}", drop.by),
    };
    [
        instant::write(drop.time / 1000),
        end(&drop.from, drop.source, drop.source_port),
        end(&drop.to, drop.destination, drop.port),
        drop.protocol.clone(),
        by,
    ]
}

/// What would change, and what would be cut.
pub(crate) fn plan(plan: &PolicyPlan) -> String {
    let mut text = String::from("nothing is applied; this would change on this node:\n");
    let all = plan.resources.iter().map(|it| [sign(it.change).to_owned(), it.resource.clone()]);
    text += &table(["", "RESOURCE"], all.collect());
    for (what, parts, all) in [("CHAIN", "RULES", &plan.chains), ("SET", "ELEMENTS", &plan.sets)] {
        let row = |it: &Planned| {
            [sign(it.change).to_owned(), it.name.clone(), format!("+{}/-{}", it.more, it.less)]
        };
        let rows = table(["", what, parts], all.iter().map(row).collect());
        text += &if rows.is_empty() { String::new() } else { format!("\n{rows}") };
    }
    let row = |it: &PlannedProgram| {
        let list = |policies: &[String]| or_dash(Some(policies.join(" ")).filter(|list| !list.is_empty()));
        [it.endpoint.clone(), it.direction.clone(), list(&it.before), list(&it.after)]
    };
    let rows = table(
        ["JUDGED OTHERWISE", "DIRECTION", "NOW BY", "THEN BY"],
        plan.programs.iter().map(row).collect(),
    );
    text += &if rows.is_empty() { String::new() } else { format!("\n{rows}") };
    let (cut, flows) = (plan.cut.len(), plan.flows);
    text += &format!("\nconnections of pods of this node: {flows}; of these would be cut: {cut}\n");
    plan.cut.iter().for_each(|cut| text += &format!("  {} by {}\n", cut.flow, cut.by));
    plan.remarks.iter().for_each(|remark| text += &format!("note: {remark}\n"));
    text
}

fn sign(change: Change) -> &'static str {
    match change {
        Change::Added => "+",
        Change::Changed => "~",
        Change::Removed => "-",
        Change::Unchanged => "=",
    }
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::policy::{Judged, ShownRule};

    use super::*;

    #[test]
    fn a_trace_names_the_rule_that_decides_and_the_end_that_is_judged_elsewhere() {
        let end = |address: [u8; 4], name: &str, here| TraceEnd {
            address: address.into(),
            name: Some(name.into()),
            here,
        };
        let shown = trace(
            &PolicyTrace {
                packet: "tcp 10.1.0.1 port 49152 -> 10.1.9.2 port 80".into(),
                from: end([10, 1, 0, 1], "pod shop/web", true),
                to: end([10, 1, 9, 2], "pod shop/db", false),
                verdict: Verdict::AllowedHere,
                judgements: vec![Judged {
                    endpoint: "shop/web".into(),
                    direction: "egress".into(),
                    allowed: true,
                    why: "egress  of shop/web: allowed by netpol/shop/out egress rule 1".into(),
                    counted: Some(Counted { packets: 3, bytes: 180 }),
                    tiers: Vec::new(),
                }],
                remarks: vec!["pod shop/db is not of this node".into()],
            },
            false,
        );
        let wanted = "tcp 10.1.0.1 port 49152 -> 10.1.9.2 port 80: allowed as far as it is judged here\n\
                      from pod shop/web (10.1.0.1)\nto   pod shop/db (10.1.9.2), not judged here\n\n\
                      egress  of shop/web: allowed by netpol/shop/out egress rule 1 [3 packets, 180 bytes]\n\
                      note: pod shop/db is not of this node\n";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn policies_stand_with_their_rules_and_what_is_wrong_stands_below() {
        let rule = ShownRule {
            direction: "ingress".into(),
            rule: 0,
            action: "Allow".into(),
            counted: Some(Counted { packets: 7, bytes: 420 }),
        };
        let policy = ShownPolicy {
            policy: "netpol/shop/web".into(),
            tier: "default".into(),
            tier_order: Some("1000000".into()),
            order: Some("1000".into()),
            selects: vec!["shop/web-0".into()],
            rules: vec![rule],
        };
        let shown = show(
            &PolicyShow {
                policies: vec![policy],
                broken: vec!["gnp/all: no such field".into()],
                ..PolicyShow::default()
            },
            true,
        );
        for part in [
            "default (1000000)",
            "shop/web-0",
            "ingress rule 0",
            "420",
            "not in force as written:\n  gnp/all",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(show(&PolicyShow::default(), false).starts_with("no policy selects"));
    }
}
