//! Connections that live while policies change, and connections by the ports of nodes.

use std::time::Duration;

use corduroy_tests::eventually;
use corduroy_tests::probe::{Answer, Question, Talk, Transport, sweep};

use super::ground::Ground;
use super::scene::NODE_PORTS;

/// For one packet to come back on a machine that is busy.
const BACK: Duration = Duration::from_secs(30);
/// How often policies change beside connections that they allow.
const CHANGES: usize = 6;

/// What runs between two parties all the time.
#[track_caller]
pub(super) fn start(ground: &Ground, from: &str, to: &str) -> Talk {
    let (from, to) = (ground.scene.party(from), ground.scene.party(to));
    Talk::start(&format!("{} -> {}", from.name, to.name), &from.netns, &to.netns, to.addresses)
}

fn talk(ground: &Ground, pairs: &[(&str, &str)]) -> Vec<Talk> {
    let talks: Vec<_> = pairs.iter().map(|(from, to)| start(ground, from, to)).collect();
    talks.iter().for_each(|talk| talk.goes_on("the beginning"));
    talks
}

#[test]
fn a_policy_that_starts_to_deny_cuts_connections_and_flows_and_no_others() {
    let shared = Ground::shared();
    let ground = shared.turn();
    // The node of x/a knows all pods then.
    let known =
        "np x/known {podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {}}]}]}";
    ground.apply(known);
    let becomes = |table: &str| ground.becomes(&format!("deny nodes outside -> x/b\n{table}")).unwrap();
    becomes("");
    // On one node and on two, in a rack and between racks.
    let to_be_cut = talk(&ground, &[("z/a", "x/a"), ("v/a", "x/a"), ("v/c", "x/a")]);
    let others = talk(&ground, &[("x/b", "x/a"), ("x/c", "x/a"), ("x/a", "v/c"), ("v/a", "x/b")]);

    let ingress = "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}";
    ground.apply(ingress);
    becomes("deny * -> x/a\n allow x/* -> x/a");
    to_be_cut.iter().for_each(|talk| talk.is_cut(&others[0]));
    others.iter().for_each(|talk| talk.goes_on("a policy that cuts others"));
    drop(to_be_cut);

    let egress = "np x/q {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [
                          {to: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}";
    let kept = talk(&ground, &[("x/a", "z/c"), ("x/a", "z/a")]);
    ground.apply(egress);
    let table = "deny * -> x/a\n allow x/* -> x/a\n deny x/a -> *\n allow x/a -> z/*";
    becomes(table);
    others[2].is_cut(&others[0]);
    let kept = [&others[0], &others[1], &others[3], &kept[0], &kept[1]];
    kept.iter().for_each(|talk| talk.goes_on("a policy for the other way"));

    // Programs are made anew, and what they allow goes on.
    for n in 0..CHANGES {
        let port = 8000 + n;
        let more = format!(
            "np x/p {{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: [{{podSelector: {{}}}}]}},
             {{ports: [{{port: {port}}}]}}]}}
             np x/r{n} {{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress, Ingress], ingress: [{{}}],
             egress: [{{}}]}}"
        );
        ground.apply(&more);
        becomes("");
        ground.delete(&format!("np x/r{n} {{}}"));
        becomes(table);
    }
    kept.iter().for_each(|talk| talk.goes_on("policies that come and go"));
    [known, ingress, egress].iter().for_each(|policy| ground.delete(policy));
    ground.becomes("").unwrap();
}

#[test]
fn a_policy_that_is_the_first_to_name_pods_of_other_nodes_cuts_nobody_whom_it_allows() {
    let shared = Ground::shared();
    let ground = shared.turn();
    ground.becomes("").unwrap();
    let allowed = talk(&ground, &[("x/c", "x/a"), ("z/c", "x/a"), ("z/a", "x/b"), ("x/a", "z/a")]);
    let policy = "np x/p {podSelector: {}, policyTypes: [Ingress, Egress],
                  ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {ns: z}}}]}],
                  egress: [{to: [{podSelector: {}}, {namespaceSelector: {matchLabels: {ns: z}}}]}]}";
    ground.apply(policy);
    let became = ground.becomes("deny * -> x/*\n deny x/* -> *\n allow x/* z/* -> x/*\n allow x/* -> z/*");
    became.unwrap();
    allowed.iter().for_each(|talk| talk.goes_on("the first policy"));
    ground.delete(policy);
    ground.becomes("").unwrap();
}

/// Whether x/a answers an outsider by a port of a node, in both families.
fn by_node_port(ground: &Ground, from: &str, node: &str, port: u16, awaited: bool) -> Result<(), String> {
    let (from, node) = (ground.scene.party(from), ground.scene.party(node));
    let question =
        |target| Question { netns: from.netns.clone(), target, over: Transport::Tcp(port), awaited };
    let answers = sweep(&node.addresses.map(question), Duration::from_secs(3));
    let expected = if awaited { Answer::From("x/a".to_owned()) } else { Answer::Silence };
    if answers.iter().all(|answer| *answer == expected) {
        Ok(())
    } else {
        Err(format!("{} at {}, {port}: {answers:?} instead of {expected:?}", from.name, node.name))
    }
}

#[test]
fn ports_of_nodes_lead_whom_a_policy_lets_in_to_a_pod_and_nobody_else() {
    let [anywhere, local] = NODE_PORTS;
    let shared = Ground::shared();
    let ground = shared.turn();
    let all = |table: &[(&str, &str, u16, bool)]| {
        let mut all = table.iter();
        all.try_for_each(|(from, node, port, awaited)| by_node_port(&ground, from, node, *port, *awaited))
    };
    eventually(BACK, || {
        all(&[
            ("out", "n1", anywhere, true),
            ("out", "n2", anywhere, true),
            ("out", "n3", anywhere, true),
            ("out", "n1", local, true),
            ("far", "n1", local, true),
        ])
    });
    let only_out =
        "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: $4(out)/32}},
                            {ipBlock: {cidr: '$6(out)/128'}}]}]}";
    ground.apply(only_out);
    ground.becomes("deny * -> x/a\n allow out -> x/a").unwrap();
    // At the pod's own node the sender is still who he is. Another node stands before him with its own address.
    let expected = [
        ("out", "n1", anywhere, true),
        ("out", "n1", local, true),
        ("far", "n1", anywhere, false),
        ("far", "n1", local, false),
        ("out", "n2", anywhere, false),
        ("out", "n3", anywhere, false),
    ];
    eventually(BACK, || all(&expected));
    all(&expected).unwrap();
    let nobody = "np x/p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}";
    ground.apply(nobody);
    let expected = ["n1", "n2", "n3"].map(|node| ("out", node, anywhere, false));
    ground.becomes("deny * -> x/a").unwrap();
    eventually(BACK, || all(&expected));
    all(&expected).unwrap();
    ground.delete(nobody);
    eventually(BACK, || all(&[("far", "n1", local, true), ("out", "n2", anywhere, true)]));
}
