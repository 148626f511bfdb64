//! GoBGP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Learned, Marks, Neighbour, Router, list, number, parsed};
use crate::process::{self, Process};
use crate::{Namespace, eventually};

/// GoBGP in a namespace.
#[derive(Debug)]
pub struct GoBgp {
    namespace: Namespace,
    router: Router,
    process: Process,
}

impl GoBgp {
    /// Starts it and waits until it answers.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let process = launch(namespace, &router, &[]);
        let daemon = Self { namespace: namespace.clone(), router, process };
        daemon.announce_all();
        daemon
    }

    /// One command for the running daemon, answered in JSON where it has an answer.
    ///
    /// # Errors
    /// It does not answer.
    pub fn gobgp(&self, command: &str) -> Result<Value, String> {
        let text = self.namespace.try_run(&format!("gobgp -j {command}"))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))
    }

    fn announce_all(&self) {
        for prefix in &self.router.announce {
            self.rib("add", prefix, self.router.marks);
        }
    }

    fn rib(&self, verb: &str, prefix: &str, marks: Option<Marks>) {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let marks = marks.map(|marks| {
            let (high, low) = marks.community;
            let [admin, one, two] = marks.large_community;
            format!(
                "med {} local-pref {} community {high}:{low} large-community {admin}:{one}:{two}",
                marks.med, marks.local_pref,
            )
        });
        let marks = marks.unwrap_or_default();
        self.namespace.run(&format!("gobgp global rib {verb} {prefix} {marks} -a {family}"));
    }
}

impl Daemon for GoBgp {
    const PACKAGE: &'static str = "gobgpd";

    fn alive(&mut self) -> Result<(), String> {
        self.process.alive()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let answer = self.gobgp(&format!("neighbor {peer}"))?;
        // Its own enumeration: 6 is Established.
        match answer["state"]["session_state"].as_u64() {
            Some(6) => Ok(()),
            state => Err(format!("GoBGP says: state {state:?} of 6")),
        }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        let mut learned = BTreeMap::new();
        for family in ["ipv4", "ipv6"] {
            let table = self.gobgp(&format!("global rib -a {family}"))?;
            for (prefix, paths) in table.as_object().into_iter().flatten() {
                let best = list(paths).iter().find(|path| path["best"] == true);
                if let Some(best) =
                    best.filter(|path| path["neighbor-ip"].as_str().is_some_and(|ip| ip != "<nil>"))
                {
                    learned.insert(prefix.clone(), read(best));
                }
            }
        }
        Ok(learned)
    }

    fn announce(&mut self, prefix: &str) {
        self.rib("add", prefix, None);
        self.router.announce.push(prefix.to_owned());
    }

    fn withdraw(&mut self, prefix: &str) {
        self.rib("del", prefix, None);
        self.router.announce.retain(|own| own != prefix);
    }

    fn refresh(&self, peer: IpAddr) {
        self.namespace.run(&format!("gobgp neighbor {peer} softresetin"));
    }

    fn shut_down(&mut self, peer: IpAddr, text: &str) {
        let mut gobgp = Command::new("gobgp");
        gobgp.args(["neighbor", &peer.to_string(), "shutdown", "--reason", text]);
        self.namespace.enter(|| process::output(gobgp));
        // That was the text, which `disable` leaves out; this keeps the session down.
        self.namespace.run(&format!("gobgp neighbor {peer} disable"));
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.namespace, &self.router, &["--graceful-restart"]);
        self.announce_all();
    }
}

fn launch(namespace: &Namespace, router: &Router, flags: &[&str]) -> Process {
    let config = namespace.file("gobgp.toml", &configuration(router));
    let mut command = Command::new("/usr/bin/gobgpd");
    command.arg("--config-file").arg(&config).args(["--api-hosts", "127.0.0.1:50051"]);
    command.args(["--pprof-disable", "--log-plain", "--log-level", "debug"]).args(flags);
    let mut process = Process::spawn(namespace, "gobgp", command);
    eventually(Duration::from_secs(20), || {
        process.alive()?;
        namespace.try_run("gobgp -j global")
    });
    process
}

fn configuration(router: &Router) -> String {
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nport = {}\n",
        router.asn, router.id, router.port
    );
    for peer in &router.neighbours {
        session(&mut text, router, peer);
    }
    text + &router.extra
}

fn session(text: &mut String, router: &Router, peer: &Neighbour) {
    let _ = writeln!(text, "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"", peer.address);
    let _ = writeln!(text, "peer-as = {}", peer.asn);
    if let Some(key) = &peer.password {
        let _ = writeln!(text, "auth-password = \"{key}\"");
    }
    let _ = writeln!(text, "[neighbors.timers.config]\nhold-time = {}", peer.hold);
    text.push_str("connect-retry = 1\nidle-hold-time-after-reset = 1\n");
    let _ = writeln!(text, "[neighbors.transport.config]\npassive-mode = {}", peer.passive);
    if let Some(local) = peer.local {
        let _ = writeln!(text, "local-address = \"{local}\"");
    }
    if peer.ttl_security {
        text.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
    }
    if peer.multihop {
        text.push_str("[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 255\n");
    }
    if peer.client {
        text.push_str("[neighbors.route-reflector.config]\nroute-reflector-client = true\n");
        let _ = writeln!(text, "route-reflector-cluster-id = \"{}\"", router.id);
    }
    if let Some(seconds) = peer.graceful_restart {
        let _ =
            writeln!(text, "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {seconds}");
        text.push_str("notification-enabled = true\n");
    }
    for (v6, name) in [(false, "ipv4-unicast"), (true, "ipv6-unicast")] {
        if peer.families.has(v6) {
            let _ = writeln!(text, "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]");
            let _ = writeln!(text, "afi-safi-name = \"{name}\"");
            if peer.graceful_restart.is_some() {
                text.push_str("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n");
            }
        }
    }
}

/// Attributes stand in a list, each with its type code.
fn read(path: &Value) -> Learned {
    let attribute = |code: u64| list(&path["attrs"]).iter().find(move |attribute| attribute["type"] == code);
    let value = |code| attribute(code).map(|attribute| &attribute["value"]);
    let segments = attribute(2).map(|attribute| list(&attribute["as_paths"])).unwrap_or_default();
    let numbers = attribute(8).map(|attribute| list(&attribute["communities"])).unwrap_or_default();
    let clusters = value(10).map(list).unwrap_or_default();
    let large = value(32).map(list).unwrap_or_default().iter();
    let triple = |value: &Value| {
        Some([number(&value["ASN"])?, number(&value["LocalData1"])?, number(&value["LocalData2"])?])
    };
    let half = |number: u32| ((number >> 16) as u16, (number & 0xffff) as u16);
    Learned {
        next_hop: attribute(3).or(attribute(14)).and_then(|attribute| parsed(&attribute["nexthop"])),
        as_path: segments.iter().flat_map(|segment| list(&segment["asns"])).filter_map(number).collect(),
        med: attribute(4).and_then(|attribute| number(&attribute["metric"])),
        local_pref: value(5).and_then(number),
        communities: numbers.iter().filter_map(number).map(half).collect(),
        large_communities: large.filter_map(triple).collect(),
        originator: value(9).and_then(Value::as_str).map(str::to_owned),
        clusters: clusters.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
        stale: path["stale"] == true,
    }
}
