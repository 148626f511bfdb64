//! ExaBGP: it has no table; what it learned is summed up from the updates it reports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Learned, Neighbour, Router, list, number};
use crate::process::Process;
use crate::{Namespace, eventually};

/// ExaBGP in a namespace.
#[derive(Debug)]
pub struct ExaBgp {
    namespace: Namespace,
    router: Router,
    process: Process,
}

impl ExaBgp {
    /// Starts it and waits until it runs. Every neighbour needs its `local` address.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let process = launch(namespace, &router);
        Self { namespace: namespace.clone(), router, process }
    }

    /// Gives the running daemon a command of its text API, `announce route …` for instance.
    #[track_caller]
    pub fn command(&self, line: &str) {
        let path = self.namespace.dir().join("exabgp.commands");
        let file = File::options().append(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Everything it has reported, in order: one object for each change of state and each message.
    ///
    /// # Errors
    /// The report can't be read.
    pub fn reports(&self) -> Result<Vec<Value>, String> {
        let text =
            fs::read_to_string(self.namespace.dir().join("exabgp.reports")).map_err(|e| e.to_string())?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn route(&self, verb: &str, prefix: &str) {
        for peer in self.router.neighbours.iter().filter(|peer| peer.families.has(prefix.contains(':'))) {
            self.command(&format!("neighbor {} {verb} route {prefix} next-hop self", peer.address));
        }
    }
}

impl Daemon for ExaBgp {
    const PACKAGE: &'static str = "exabgp";

    fn alive(&mut self) -> Result<(), String> {
        self.process.alive()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let peer = peer.to_string();
        let reports = self.reports()?;
        let mut states = reports.iter().filter(|report| report["type"] == "state");
        let last = states.rfind(|report| report["neighbor"]["address"]["peer"] == peer);
        match last.map(|report| &report["neighbor"]) {
            Some(neighbour) if neighbour["state"] == "up" => Ok(()),
            Some(neighbour) => Err(format!("ExaBGP says: {} {}", neighbour["state"], neighbour["reason"])),
            None => Err("ExaBGP has not tried yet".to_owned()),
        }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        let mut learned = BTreeMap::new();
        for report in self.reports()? {
            let neighbour = &report["neighbor"];
            if report["type"] == "state" && neighbour["state"] == "down" {
                learned.clear();
            }
            let update = &neighbour["message"]["update"];
            for (_, prefixes) in update["withdraw"].as_object().into_iter().flatten() {
                for prefix in list(prefixes).iter().filter_map(|entry| entry["nlri"].as_str()) {
                    learned.remove(prefix);
                }
            }
            for (_, by_next_hop) in update["announce"].as_object().into_iter().flatten() {
                let hops = by_next_hop.as_object().into_iter().flatten();
                // With a next hop of 32 octets the link-local half stands there as if it were a second path.
                for (next_hop, prefixes) in hops.filter(|(next_hop, _)| !next_hop.starts_with("fe80:")) {
                    let route = read(&update["attribute"], next_hop);
                    for prefix in list(prefixes).iter().filter_map(|entry| entry["nlri"].as_str()) {
                        learned.insert(prefix.to_owned(), route.clone());
                    }
                }
            }
        }
        Ok(learned)
    }

    fn announce(&mut self, prefix: &str) {
        self.route("announce", prefix);
        self.router.announce.push(prefix.to_owned());
    }

    fn withdraw(&mut self, prefix: &str) {
        self.route("withdraw", prefix);
        self.router.announce.retain(|own| own != prefix);
    }

    fn refresh(&self, peer: IpAddr) {
        let peer_config = self.router.neighbours.iter().find(|known| known.address == peer);
        for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
            if peer_config.is_some_and(|peer| peer.families.has(v6)) {
                self.command(&format!("announce route-refresh {family} unicast"));
            }
        }
    }

    fn shut_down(&mut self, peer: IpAddr, _text: &str) {
        // 2 = Administrative Shutdown; it sends no text of ours.
        self.command(&format!("neighbor {peer} teardown 2"));
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.namespace, &self.router);
    }
}

fn launch(namespace: &Namespace, router: &Router) -> Process {
    for name in ["exabgp.commands", "exabgp.reports"] {
        namespace.file(name, "");
    }
    let config = namespace.file("exabgp.conf", &configuration(namespace, router));
    let mut command = Command::new("/usr/sbin/exabgp");
    command.arg(&config).env("exabgp.daemon.user", "root").env("exabgp.log.destination", "stdout");
    command.env("exabgp.api.cli", "false").env("exabgp.api.ack", "false").env("exabgp.tcp.bind", "");
    let mut process = Process::spawn(namespace, "exabgp", command);
    eventually(Duration::from_secs(20), || {
        process.alive()?;
        if process.log().contains("loaded new configuration") {
            Ok(())
        } else {
            Err("it is starting".to_owned())
        }
    });
    process
}

fn configuration(namespace: &Namespace, router: &Router) -> String {
    let dir = namespace.dir().display();
    // The helper's output are commands, its input reports. `tail` ends with the `cat` that takes the shell's place.
    let helper = format!("tail -n +1 -f --pid=$$ {dir}/exabgp.commands & exec cat >> {dir}/exabgp.reports");
    let mut text = format!("process harness {{\n  run /bin/sh -c \"{helper}\";\n  encoder json;\n}}\n");
    for peer in &router.neighbours {
        session(&mut text, router, peer);
    }
    text + &router.extra
}

fn session(text: &mut String, router: &Router, peer: &Neighbour) {
    let local = peer.local.unwrap_or_else(|| panic!("ExaBGP needs the local address of its session"));
    let _ = writeln!(text, "neighbor {} {{", peer.address);
    let _ = writeln!(text, "  router-id {}; local-address {local};", router.id);
    let _ = writeln!(text, "  local-as {}; peer-as {}; hold-time {};", router.asn, peer.asn, peer.hold);
    if let Some(key) = &peer.password {
        let _ = writeln!(text, "  md5-password \"{key}\";");
    }
    if peer.ttl_security {
        text.push_str("  outgoing-ttl 255; incoming-ttl 255;\n");
    }
    let restart =
        peer.graceful_restart.map(|seconds| format!("graceful-restart {seconds};")).unwrap_or_default();
    let _ = writeln!(
        text,
        "  capability {{ route-refresh enable; asn4 enable; extended-message enable; {restart} }}"
    );
    text.push_str("  family {");
    for (v6, name) in [(false, "ipv4"), (true, "ipv6")] {
        if peer.families.has(v6) {
            let _ = write!(text, " {name} unicast;");
        }
    }
    text.push_str(" }\n  api { processes [ harness ]; neighbor-changes; receive { parsed; update; } }\n");
    text.push_str("  static {\n");
    let marks = router.marks.map(|marks| {
        let (high, low) = marks.community;
        let [admin, one, two] = marks.large_community;
        format!(
            " med {} local-preference {} community [ {high}:{low} ] large-community [ {admin}:{one}:{two} ]",
            marks.med, marks.local_pref,
        )
    });
    let marks = marks.unwrap_or_default();
    for v6 in [false, true] {
        for prefix in router.own(v6).filter(|_| peer.families.has(v6)) {
            let _ = writeln!(text, "    route {prefix} next-hop self{marks};");
        }
    }
    text.push_str("  }\n}\n");
}

fn read(attributes: &Value, next_hop: &str) -> Learned {
    let pair = |value: &Value| Some((half(&value[0])?, half(&value[1])?));
    let triple = |value: &Value| Some([number(&value[0])?, number(&value[1])?, number(&value[2])?]);
    let clusters = list(&attributes["cluster-list"]).iter().filter_map(|id| id.as_str().map(str::to_owned));
    Learned {
        next_hop: next_hop.parse().ok(),
        as_path: list(&attributes["as-path"]).iter().filter_map(number).collect(),
        med: number(&attributes["med"]),
        local_pref: number(&attributes["local-preference"]),
        communities: list(&attributes["community"]).iter().filter_map(pair).collect(),
        large_communities: list(&attributes["large-community"]).iter().filter_map(triple).collect(),
        originator: attributes["originator-id"].as_str().map(str::to_owned),
        clusters: clusters.collect(),
        stale: false,
    }
}

fn half(value: &Value) -> Option<u16> {
    number(value).and_then(|number| number.try_into().ok())
}
