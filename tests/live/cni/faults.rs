//! What is killed, cut or damaged half way, and what is left of it: nothing.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use corduroy_tests::cni::Outcome;
use corduroy_tests::{Namespace, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::rig::{OneNode, PATIENCE, ip_of, with};

/// One block of eight addresses, no more.
const EIGHT: [(&str, &str, u8); 1] = [("eight", "10.244.0.0/29", 29)];

impl OneNode {
    /// Asks for each of the eight addresses by name, so that one that rests is given too: only one that somebody
    /// still has is refused.
    #[track_caller]
    fn every_address_is_free(&self, containers: &[Namespace]) {
        for (n, container) in containers.iter().enumerate() {
            let wish = json!({ "runtimeConfig": { "ips": [format!("10.244.0.{n}")] } });
            let call = self.call_with("ADD", container, &with(self.network(), wish));
            let outcome = call.run(self.host()).unwrap();
            assert!(outcome.ok, "10.244.0.{n} has leaked: {outcome}");
        }
        self.has_links(containers.len());
        containers.iter().for_each(|container| self.del(container));
        self.has_links(0);
    }

    fn eight_containers(&self) -> Vec<Namespace> {
        (0..8).map(|n| self.container(&format!("p{n}"))).collect()
    }

    /// Removes whatever is wired but not in the list.
    #[track_caller]
    fn gc(&self, valid: &Value) {
        let network = with(self.network(), json!({ "cni.dev/valid-attachments": valid }));
        let outcome = self.bare_with("GC", &network).run(self.host()).unwrap();
        assert!(outcome.ok, "{outcome}");
    }
}

/// Waits until the plugin has sent its request: it sleeps in a call on a socket.
#[track_caller]
fn has_asked(plugin: &Child) {
    let pid = plugin.id();
    eventually(PATIENCE, || {
        let stack = fs::read_to_string(format!("/proc/{pid}/wchan")).map_err(|e| e.to_string())?;
        if stack.contains("unix_stream") { Ok(()) } else { Err(format!("the plugin is in {stack:?}")) }
    });
}

/// Lets time pass without waiting for anything: what is killed has to be killed at any moment.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn kill(plugin: &mut Child) {
    plugin.kill().unwrap();
    plugin.wait().unwrap();
}

#[test]
fn an_add_whose_plugin_was_killed_is_rolled_back() {
    let mut rig = OneNode::with_pools("cni-hangup", &EIGHT);
    let containers = rig.eight_containers();
    rig.node().agent().signal(Signal::STOP);
    let mut plugins: Vec<Child> =
        containers.iter().map(|pod| rig.call("ADD", pod).start(rig.host())).collect();
    plugins.iter().for_each(has_asked);
    plugins.iter_mut().for_each(kill);
    rig.node().agent().signal(Signal::CONT);
    rig.ready();
    rig.has_links(0);
    rig.every_address_is_free(&containers);
}

#[test]
fn a_plugin_killed_at_any_moment_leaks_nothing_once_its_del_has_come() {
    let rig = OneNode::with_pools("cni-killed", &EIGHT);
    let containers = rig.eight_containers();
    for moment in 0..40 {
        let pod = &containers[moment % 8];
        let mut plugin = rig.call("ADD", pod).start(rig.host());
        spin(Duration::from_micros(150) * u32::try_from(moment).unwrap());
        kill(&mut plugin);
        rig.del(pod);
        rig.has_links(0);
    }
    rig.every_address_is_free(&containers);
}

#[test]
fn an_agent_killed_at_any_moment_of_an_add_leaks_no_address() {
    let mut rig = OneNode::with_pools("cni-agent-killed", &EIGHT);
    let containers = rig.eight_containers();
    for (moment, pod) in (0..).zip(&containers) {
        let plugin = rig.call("ADD", pod).start(rig.host());
        spin(Duration::from_micros(500) * moment);
        rig.node().kill();
        rig.node().launch();
        rig.ready();
        // Its ADD has failed, or the new agent has served it. Either way the runtime has forgotten it.
        let _ = plugin.wait_with_output().unwrap();
    }
    rig.gc(&json!([]));
    rig.has_links(0);
    rig.every_address_is_free(&containers);
}

#[test]
fn a_del_without_an_agent_takes_the_link_and_its_note_frees_the_address() {
    let mut rig = OneNode::with_pools("cni-spool", &EIGHT);
    let containers = rig.eight_containers();
    let [gone, kept, ..] = &containers[..] else { unreachable!() };
    let _ = [gone, kept].map(|pod| rig.add(pod));
    rig.node().kill();
    rig.del(gone);
    rig.has_links(1);
    let spool = rig.node().socket("spool");
    let notes = || fs::read_dir(&spool).map_or(0, |notes| notes.count());
    assert_eq!(notes(), 1);
    rig.node().launch();
    rig.ready();
    eventually(PATIENCE, || if notes() == 0 { Ok(()) } else { Err("the note is still there".to_owned()) });
    rig.del(kept);
    rig.every_address_is_free(&containers);
}

#[test]
fn an_add_waits_for_an_agent_that_is_just_being_replaced() {
    let mut rig = OneNode::new("cni-replaced");
    let pod = rig.container("pod");
    rig.node().kill();
    let plugin = rig.call("ADD", &pod).start(rig.host());
    rig.node().launch();
    let output = plugin.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let result: Value = serde_json::from_str(&said).unwrap();
    rig.host().run(&format!("ping -c 1 -W 5 {}", ip_of(&result, false)));
}

#[test]
fn pods_stay_connected_and_keep_their_addresses_when_the_agent_is_killed() {
    let mut rig = OneNode::new("cni-restart");
    let [a, b] = ["a", "b"].map(|label| rig.container(label));
    let [of_a, of_b] = [&a, &b].map(|pod| rig.add(pod));
    let ping =
        corduroy_tests::probe::Ping::start(&a, &ip_of(&of_b, false).to_string(), Duration::from_millis(10));
    ping.marker(PATIENCE);
    rig.node().kill();
    rig.node().launch();
    rig.ready();
    ping.marker(PATIENCE);
    ping.stop(PATIENCE).expect_no_loss("kill -9 of the agent and its start");
    for (pod, result) in [(&a, &of_a), (&b, &of_b)] {
        let network = with(rig.network(), json!({ "prevResult": result }));
        let outcome: Outcome = rig.call_with("CHECK", pod, &network).run(rig.host()).unwrap();
        assert!(outcome.ok, "{outcome}");
    }
    let late = rig.container("late");
    let address = ip_of(&rig.add(&late), false);
    assert!(address != ip_of(&of_a, false) && address != ip_of(&of_b, false), "{address} is given twice");
}

/// Damages the journal of a killed agent and starts another one: no pod may lose anything.
#[track_caller]
fn survives_damage(label: &str, damage: impl Fn(&str) -> String, message: &str) {
    let mut rig = OneNode::new(label);
    let containers: Vec<Namespace> = (0..3).map(|n| rig.container(&format!("p{n}"))).collect();
    let mut addresses: Vec<_> = containers.iter().map(|pod| ip_of(&rig.add(pod), false)).collect();
    rig.node().kill();
    let journal = rig.node().socket("endpoints.journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, damage(&text)).unwrap();
    rig.node().launch();
    rig.ready();
    let log = rig.node().agent().log();
    assert!(log.contains(message), "{message:?} is not in the log:\n{log}");
    let aside = fs::read_to_string(rig.node().socket("endpoints.journal.damaged")).unwrap();
    assert_eq!(aside, damage(&text));
    rig.has_links(3);
    for address in &addresses {
        rig.host().run(&format!("ping -c 1 -W 5 {address}"));
    }
    addresses.push(ip_of(&rig.add(&rig.container("late")), false));
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "an address was given twice: {addresses:?}");
    containers.iter().for_each(|pod| rig.del(pod));
    rig.has_links(1);
}

#[test]
fn a_journal_with_a_damaged_line_is_set_aside_and_costs_no_pod_anything() {
    survives_damage("cni-journal", |text| text.replacen("eth0", "eth1", 1), "is damaged and was skipped");
}

#[test]
fn a_journal_without_a_header_is_set_aside_and_the_kernel_is_believed() {
    survives_damage("cni-headless", |text| format!("garbage\n{text}"), "without a readable header");
}
