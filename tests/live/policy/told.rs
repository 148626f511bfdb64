//! What people are told, held against real packets.

use corduroy_tests::eventually;
use serde_json::Value;

use super::{GUARDED, Ground, HTTP, OTHER, PATIENCE, UDP};

/// Of an array, those that are so.
fn such(list: &Value, is: impl Fn(&Value) -> bool) -> Vec<&Value> {
    list.as_array().into_iter().flatten().filter(|one| is(one)).collect()
}

fn name(ground: &Ground, pod: usize) -> String {
    format!("default/{}", ground.pods[pod].id())
}

#[test]
fn each_denied_packet_is_told_with_pods_and_policy() {
    let ground = Ground::new("drops");
    ground.guard();
    let [web, api] = [0, 1].map(|pod| format!("pod {}", name(&ground, pod)));
    for (family, address) in ground.party("web").addresses.into_iter().enumerate() {
        let source = ground.party("api").addresses[family];
        eventually(PATIENCE, || {
            // Of a flood the kernel reports a part.
            ground.is(&[("api", "web", OTHER, false)])?;
            let drops = ground.ctl("policy drops")?;
            let is = |drop: &Value| {
                drop["protocol"] == "tcp" && drop["port"] == 81 && drop["destination"] == address.to_string()
            };
            let found = such(&drops["drops"], is);
            let drop = found.last().ok_or_else(|| format!("no drop of a packet to {address}: {drops}"))?;
            assert_eq!(
                (&drop["from"], &drop["to"]),
                (&Value::from(api.as_str()), &Value::from(web.as_str()))
            );
            assert_eq!(drop["source"], source.to_string());
            assert_eq!(drop["direction"], "ingress");
            assert_eq!(drop["by"], "gnp/guard ingress rule 2");
            Ok(())
        });
    }
    // Somebody who is no pod, and the tier's silence.
    ground.put(
        "GlobalNetworkPolicy",
        "guard",
        "tier: ops, order: 1, types: [Ingress], ingress: [{action: Allow, source: $web}]",
    );
    ground.becomes(&[("client", "web", UDP, false), ("web", "api", HTTP, true)]);
    let client = ground.party("client").addresses.map(|address| address.to_string());
    eventually(PATIENCE, || {
        ground.is(&[("client", "web", UDP, false)])?;
        let drops = ground.ctl("policy drops")?;
        let is = |drop: &Value| {
            drop["protocol"] == "udp" && client.iter().any(|address| drop["source"] == address.as_str())
        };
        let found = such(&drops["drops"], is);
        let drop = found.last().ok_or_else(|| format!("no drop of a datagram of the client: {drops}"))?;
        assert_eq!(drop["from"], "GlobalNetworkSet/guests", "{drop}");
        assert_eq!(drop["by"], "tier ops: no rule matched of gnp/guard");
        Ok(())
    });
}

/// What the rules of the guard have counted, by `cordctl`.
fn counted(ground: &Ground) -> Result<Vec<u64>, String> {
    let show = ground.ctl("policy show gnp/guard")?;
    let [policy] = such(&show["policies"], |_| true)[..] else { return Err(format!("{show}")) };
    let packets = |rule: &&Value| rule["counted"]["packets"].as_u64();
    let rules = such(&policy["rules"], |_| true);
    rules.iter().map(packets).collect::<Option<_>>().ok_or_else(|| format!("not counted: {policy}"))
}

#[test]
fn rules_and_metrics_count_the_packets_that_there_were() {
    let ground = Ground::new("counts");
    ground.guard();
    let show = ground.ctl("policy show").unwrap();
    let policy = &show["policies"][0];
    assert_eq!(
        (&policy["policy"], &policy["tier"], &policy["tierOrder"]),
        (&Value::from("gnp/guard"), &Value::from("ops"), &Value::from("10"))
    );
    let selected: Vec<&str> =
        such(&policy["selects"], |_| true).iter().filter_map(|one| one.as_str()).collect();
    let mut both = [name(&ground, 0), name(&ground, 1)];
    both.sort();
    assert_eq!(selected, both);

    // By ping, since nobody repeats one: so many connections of one packet each, in both families.
    const PINGS: u64 = 5;
    let of = |action: &str, protocol: &str, from: &str, to: &str| {
        format!("{{action: {action}, protocol: {protocol}, source: ${from}, destination: ${to}}},")
    };
    let rules = ["ICMP", "ICMPv6"]
        .map(|protocol| of("Allow", protocol, "web", "api") + &of("Deny", protocol, "api", "web"));
    ground.rules(&rules.concat());
    let before = eventually(PATIENCE, || match counted(&ground)? {
        rules if rules.len() == 7 => Ok(rules),
        rules => Err(format!("other rules: {rules:?}")),
    });
    for (from, to, passes) in [("web", "api", true), ("api", "web", false)] {
        for _ in 0..PINGS {
            for address in ground.party(to).addresses {
                let ping = ground.party(from).host.try_run(&format!("ping -c 1 -W 1 {address}"));
                assert_eq!(ping.is_ok(), passes, "{ping:?}");
            }
        }
    }
    let now = counted(&ground).unwrap();
    let new: Vec<u64> = now.iter().zip(&before).map(|(now, before)| now - before).take(4).collect();
    assert_eq!(new, [PINGS; 4], "{before:?}, then {now:?}");

    // What is read for the metric is ten seconds old at most.
    let denied = "corduroy_policy_denied_packets_total{direction=\"ingress\",policy=\"gnp/guard\"}";
    eventually(PATIENCE, || {
        let wanted: u64 =
            counted(&ground)?.iter().enumerate().filter(|(i, _)| [1, 3, 6].contains(i)).map(|(_, n)| n).sum();
        let text = ground.host().try_run("curl -sS --max-time 5 http://127.0.0.1:9469/metrics")?;
        let value = |name: &str| {
            let mut values =
                text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            values.next()
        };
        match (value(denied), value("corduroy_policies_in_force")) {
            (Some(packets), Some(1)) if packets == wanted => Ok(()),
            other => Err(format!("{other:?} instead of {wanted} in {text}")),
        }
    });
}

#[test]
fn a_plan_names_what_would_change_and_whom_it_would_cut_and_changes_nothing() {
    let ground = Ground::new("plan");
    ground.guard();
    let talks = [ground.talk("client", "web"), ground.talk("web", "api")];
    // Rules count; nothing else is to change.
    let before = ground.program().unwrap();
    let policy = ground.document(
        "GlobalNetworkPolicy",
        "lock",
        "tier: ops, order: 0, types: [Ingress], ingress: [{action: Deny, source: $client, destination: $web}, \
         {action: Allow, source: {selector: role == 'more'}}, {action: Pass}]",
    );
    let set = ground.document("GlobalNetworkSet", "more", "nets: [192.0.2.0/24, '2001:db8:1::/48']");
    let file = ground.host().file("plan.yaml", &format!("{policy}---\n{set}"));
    let plan = ground.ctl(&format!("plan -f {}", file.display())).unwrap();
    assert_eq!(such(&plan["resources"], |one| one["change"] == "added").len(), 2, "{plan}");
    assert!(!such(&plan["chains"], |one| one["change"] == "added").is_empty(), "{plan}");
    let sets = such(&plan["sets"], |one| one["change"] == "added" && one["more"] == 1);
    assert_eq!(sets.len(), 2, "a set for each family of role == 'more': {plan}");
    for pod in [0, 1] {
        let endpoint = format!("pod {}", name(&ground, pod));
        let programs = such(&plan["programs"], |one| one["endpoint"] == endpoint.as_str());
        let [program] = programs[..] else { panic!("{plan}") };
        assert_eq!(program["before"], serde_json::json!(["gnp/guard"]));
        assert_eq!(program["after"], serde_json::json!(["gnp/lock", "gnp/guard"]));
    }
    // The connection, and the three flows, of both families, and none of the others'.
    let cut = such(&plan["cut"], |_| true);
    let client = ground.party("client").addresses.map(|address| address.to_string());
    for protocol in ["tcp", "udp", "icmp", "icmpv6"] {
        let of = cut.iter().filter(|one| one["flow"].as_str().is_some_and(|flow| flow.starts_with(protocol)));
        assert!(of.count() > 0, "{protocol}: {plan}");
    }
    for one in &cut {
        let (flow, by) = (one["flow"].as_str().unwrap(), one["by"].as_str().unwrap());
        assert!(client.iter().any(|address| flow.contains(&format!("({address})"))), "{flow}");
        assert!(flow.contains(&format!("-> pod {}", name(&ground, 0))), "{flow}");
        assert_eq!(by, "ingress: gnp/lock ingress rule 0");
    }
    assert!(plan["flows"].as_u64() > Some(cut.len() as u64), "others are looked at too: {plan}");
    // What would be taken away is planned likewise.
    let guard = ground.fabric.store().join("GlobalNetworkPolicy-guard.yaml");
    let less = ground.ctl(&format!("plan --delete -f {}", guard.display())).unwrap();
    assert_eq!(less["resources"][0]["change"], "removed", "{less}");
    assert_eq!(less["cut"], serde_json::json!([]));

    assert_eq!(ground.program().unwrap(), before);
    ground.is(&GUARDED).unwrap();
    talks.iter().for_each(|talk| talk.goes_on("a plan"));
    // It comes as it was planned.
    ground.fabric.put("lock", &policy);
    ground.becomes(&[("client", "web", HTTP, false), ("web", "api", HTTP, true)]);
    talks[0].is_cut(&talks[1]);
    talks[1].goes_on("what was planned");
}
