//! When policies hold: from a pod's first packet on, while the agent is dead, and when a policy is not understood.

use std::net::IpAddr;
use std::time::Duration;

use corduroy_tests::eventually;
use corduroy_tests::kube::{AGNHOST, PATIENCE, corduroy};
use corduroy_tests::probe::{Answer, Ping, Question, Transport, sweep};

use super::ground::Ground;
use super::scene;
use super::traffic;

const PACE: Duration = Duration::from_millis(10);
/// Often enough to hit the moment between a pod's network and its policy.
const HAMMER: Duration = Duration::from_millis(2);
const BACK: Duration = Duration::from_secs(30);
/// The addresses that pods are born with, one after the other.
const BORN: [&str; 2] = ["10.244.77.7", "fd00:244::4d07"];
/// The kubelet waits longer each time before it starts the agent again.
const KILLS: usize = 2;

/// A pod that answers at UDP 8081, and sends to two ports of a party all the time: first to 80, then to 81.
fn newborn(node: &str, to: [IpAddr; 2]) -> String {
    let sends = to.map(|address| {
        format!("echo x | nc -u -q 0 -w 1 {address} 80; echo x | nc -u -q 0 -w 1 {address} 81")
    });
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: newborn
  namespace: x
  labels: {{pod: newborn}}
  annotations:
    corduroy.dev/ipAddrs: '[\"{}\", \"{}\"]'
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: server
    image: {AGNHOST}
    args: [netexec, --http-port=8080, --udp-port=8081]
    readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1, timeoutSeconds: 10}}
  - name: client
    image: {AGNHOST}
    command: [sh, -c, 'while :; do {}; usleep 20000; done']
",
        BORN[0],
        BORN[1],
        sends.join("; ")
    )
}

#[test]
fn a_pod_that_is_born_under_a_policy_gets_and_sends_nothing_before_it_is_in_force() {
    let shared = Ground::shared();
    let ground = shared.turn();
    let policy = "np x/newborn {podSelector: {matchLabels: {pod: newborn}}, policyTypes: [Ingress, Egress],
                  ingress: [{ports: [{port: 8081, protocol: UDP}]}], egress: [{ports: [{port: 81, protocol: UDP}]}]}";
    let receiver = ground.scene.party("v/b");
    let born = BORN.map(|address| address.parse::<IpAddr>().unwrap());
    let visits = |port| born.map(|address| ground.scene.servers.visits("v/b", port, address));
    for node in ["n1", "n3", "n1"] {
        ground.apply(policy);
        let forbidden = visits(80);
        let allowed = visits(81);
        // The one before is gone for good.
        let silent = |target| Question {
            netns: receiver.netns.clone(),
            target,
            over: Transport::Udp(8081),
            awaited: false,
        };
        eventually(BACK, || match sweep(&born.map(silent), Duration::from_secs(1)) {
            answers if !answers.iter().any(|answer| matches!(answer, Answer::From(_))) => Ok(()),
            answers => Err(format!("the pod before it is still there: {answers:?}")),
        });
        let hammers = ["x/b", "v/b", "z/c"].map(|from| {
            let from = ground.scene.party(from);
            BORN.map(|address| Ping::start_in(&from.netns, &from.name, address, HAMMER))
        });
        let pod = newborn(node, receiver.addresses);
        eventually(PATIENCE, || ground.kubectl.try_apply(&pod));
        // The kubelet's own question comes from the node, and passes.
        eventually(PATIENCE, || scene::ready(&ground.kubectl, "x/newborn"));
        let question = |target| Question {
            netns: receiver.netns.clone(),
            target,
            over: Transport::Udp(8081),
            awaited: true,
        };
        eventually(BACK, || match sweep(&born.map(question), Duration::from_secs(2)) {
            answers if answers.iter().all(|answer| *answer == Answer::From("newborn".to_owned())) => Ok(()),
            answers => Err(format!("what is allowed: {answers:?}")),
        });
        eventually(BACK, || match visits(81) {
            now if now.iter().zip(allowed).all(|(now, before)| *now > before) => Ok(()),
            now => Err(format!("what it may send has come {now:?} times")),
        });
        assert_eq!(visits(80), forbidden, "the pod on {node} sent what it may not");
        for ping in hammers.iter().flatten() {
            assert_eq!(ping.answered(), None, "the pod on {node} got what it may not, after {}", ping.sent());
        }
        // The hammers would have hit.
        ground.delete(policy);
        for ping in hammers.iter().flatten() {
            ping.marker(BACK);
        }
        drop(hammers);
        ground.kubectl.delete(&pod).unwrap();
    }
}

#[test]
fn while_the_agent_is_dead_its_last_program_stays_and_a_new_one_cuts_nothing_and_opens_nothing() {
    const TABLE: &str = "deny * -> x/*\n allow v/* -> x/*\n deny z/* -> *\n allow z/* -> v/*";
    let shared = Ground::shared();
    let ground = shared.turn();
    let policies = "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}
                    np z/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels:
                            {ns: v}}}]}]}";
    ground.apply(policies);
    ground.becomes(TABLE).unwrap();
    let talks =
        [("v/b", "x/a"), ("v/a", "x/a"), ("z/a", "v/a")].map(|(from, to)| traffic::start(&ground, from, to));
    let forbidden = [("x/b", "x/a"), ("z/a", "x/c"), ("z/b", "z/c"), ("out", "x/a")];
    let forbidden = forbidden.map(|(from, to)| {
        let (from, to) = (ground.scene.party(from), ground.scene.party(to));
        to.addresses.map(|address| Ping::start_in(&from.netns, &from.name, &address.to_string(), PACE))
    });
    for name in ["n1", "n2", "n3"] {
        let node = ground.cluster.node(name);
        for _ in 0..KILLS {
            let before = node.processes("corduroy-agent").unwrap();
            node.kill("corduroy-agent");
            eventually(PATIENCE, || {
                ground.is(TABLE).unwrap_or_else(|why| panic!("while the agent of {name} is dead: {why}"));
                match node.processes("corduroy-agent")? {
                    now if now != before => Ok(()),
                    now => Err(format!("still {now:?}")),
                }
            });
            ground.is(TABLE).unwrap_or_else(|why| panic!("when the agent of {name} is back: {why}"));
        }
    }
    // The new agents do what they are there for.
    let more = "np x/q {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}
                np z/q {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}";
    ground.is(TABLE).unwrap();
    for ping in forbidden.iter().flatten() {
        assert_eq!(ping.answered(), None, "something forbidden passed after {} packets", ping.sent());
    }
    drop(forbidden);
    talks.iter().for_each(|talk| talk.goes_on("agents that die and come back"));
    ground.apply(more);
    // Agents that died often are kept back by their kubelet for a while.
    let table = "deny * -> x/*\n allow v/* z/* -> x/*\n deny z/* -> *\n allow z/* -> v/* z/*";
    eventually(PATIENCE, || ground.becomes(table));
    talks.iter().for_each(|talk| talk.goes_on("a policy more"));
    ground.delete(policies);
    ground.delete(more);
    ground.becomes("").unwrap();
    corduroy::kill_agent(ground.cluster.node("n2"));
    ground.is("").unwrap();
}

/// The condition InForce of one of our policies: its status and its message.
fn in_force(ground: &Ground, what: &str) -> Result<(String, String), String> {
    let object = ground.kubectl.get(what)?;
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|condition| condition["type"] == "InForce");
    let found = found.ok_or_else(|| format!("{what} has no condition InForce: {}", object["status"]))?;
    if found["observedGeneration"] != object["metadata"]["generation"] {
        return Err(format!("{what} says it of an older generation: {found}"));
    }
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("message")))
}

#[test]
fn a_policy_that_is_not_understood_denies_what_it_is_about_and_says_so() {
    let shared = Ground::shared();
    let ground = shared.turn();
    // No schema refuses what is wrong of two fields together.
    let broken = "own x/broken {selector: pod == 'a', ingress: [{action: Allow}, {action: Allow, destination: {ports:
                  [80]}}]}
                  global broken {namespaceSelector: ns == 'v', selector: pod == 'b', types: [Egress], egress: [
                  {action: Allow, icmp: {type: 8}}]}
                  own x/good {selector: pod == 'b', ingress: [{action: Allow}]}";
    ground.apply(broken);
    ground.becomes("deny * -> x/a\n deny v/b -> *").unwrap();
    for (what, field) in [
        ("-n x networkpolicies.corduroy.dev broken", "spec.ingress[1].destination.ports"),
        ("globalnetworkpolicies.corduroy.dev broken", "spec.egress[0].icmp"),
    ] {
        eventually(PATIENCE, || match in_force(&ground, what)? {
            (status, message) if status == "False" && message.contains(field) => Ok(()),
            other => Err(format!("{what}: {other:?}")),
        });
    }
    eventually(PATIENCE, || match in_force(&ground, "-n x networkpolicies.corduroy.dev good")? {
        (status, _) if status == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mended =
        "own x/broken {selector: pod == 'a', ingress: [{action: Allow, protocol: TCP, destination: {ports:
                  [80]}}]}";
    ground.apply(mended);
    ground.becomes("deny * -> x/a\n allow * -> x/a : tcp/80\n deny v/b -> *").unwrap();
    eventually(PATIENCE, || match in_force(&ground, "-n x networkpolicies.corduroy.dev broken")? {
        (status, _) if status == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    ground.delete(broken);
    ground.becomes("").unwrap();
}
