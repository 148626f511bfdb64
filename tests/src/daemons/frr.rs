//! FRR's bgpd, without zebra. That is what it can't do then: it takes no route whose IPv6 next hop comes with a
//! link-local one, since it does not know the interfaces.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Deserializer, Value};

use super::{Daemon, Learned, Neighbour, Router, community, large_community, list, number, parsed};
use crate::process::{self, Process};
use crate::{Namespace, eventually};

/// FRR in a namespace.
#[derive(Debug)]
pub struct Frr {
    namespace: Namespace,
    router: Router,
    process: Process,
}

impl Frr {
    /// Starts it and waits until it answers.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let process = launch(namespace, &router);
        Self { namespace: namespace.clone(), router, process }
    }

    /// Commands for the running daemon, each as typed at its prompt.
    ///
    /// # Errors
    /// It does not answer, or refuses one.
    pub fn vtysh(&self, commands: &[&str]) -> Result<String, String> {
        vtysh(&self.namespace, commands)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Changes its configuration: `lines` are typed below `router bgp`.
    #[track_caller]
    pub fn configure(&self, lines: &[&str]) {
        let router = format!("router bgp {}", self.router.asn);
        let commands: Vec<_> = ["configure terminal", &router].iter().chain(lines).copied().collect();
        let answer = self.vtysh(&commands).unwrap_or_else(|why| panic!("{why}"));
        assert!(!answer.contains('%'), "FRR refused {lines:?}: {answer}");
    }

    fn network(&self, verb: &str, prefix: &str) {
        let family = family(prefix.contains(':'));
        self.configure(&[&format!("address-family {family}"), &format!("{verb}network {prefix}")]);
    }
}

impl Daemon for Frr {
    const PACKAGE: &'static str = "frr";

    fn alive(&mut self) -> Result<(), String> {
        self.process.alive()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let text = self.vtysh(&[&format!("show bgp neighbors {peer} json")])?;
        let answer: Value = serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))?;
        let peer = &answer[peer.to_string()];
        match peer["bgpState"].as_str() {
            Some("Established") => Ok(()),
            state => Err(format!("FRR says: {state:?}, last reset: {}", peer["lastResetDueTo"])),
        }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        let mut learned = BTreeMap::new();
        for v6 in [false, true] {
            let family = family(v6);
            let text = self.vtysh(&[&format!("show bgp {family} json")])?;
            let table: Value = serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))?;
            let Some(routes) = table["routes"].as_object() else { continue };
            let foreign = routes.iter().filter(|(_, paths)| {
                list(paths).iter().any(|path| path["bestpath"] == true && path["peerId"] != "(unspec)")
            });
            let questions: Vec<_> =
                foreign.map(|(prefix, _)| format!("show bgp {family} {prefix} json")).collect();
            if questions.is_empty() {
                continue;
            }
            let questions: Vec<_> = questions.iter().map(String::as_str).collect();
            let text = self.vtysh(&questions)?;
            for answer in Deserializer::from_str(&text).into_iter::<Value>() {
                let answer = answer.map_err(|e| format!("{e} in {text}"))?;
                let best = list(&answer["paths"]).iter().find(|path| path["bestpath"]["overall"] == true);
                if let (Some(prefix), Some(best)) = (answer["prefix"].as_str(), best) {
                    learned.insert(prefix.to_owned(), read(best));
                }
            }
        }
        Ok(learned)
    }

    fn announce(&mut self, prefix: &str) {
        self.network("", prefix);
        self.router.announce.push(prefix.to_owned());
    }

    fn withdraw(&mut self, prefix: &str) {
        self.network("no ", prefix);
        self.router.announce.retain(|own| own != prefix);
    }

    fn refresh(&self, peer: IpAddr) {
        self.vtysh(&[&format!("clear bgp {peer} soft in")]).unwrap_or_else(|why| panic!("{why}"));
    }

    fn shut_down(&mut self, peer: IpAddr, text: &str) {
        self.configure(&[&format!("neighbor {peer} shutdown message {text}")]);
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.namespace, &self.router);
    }
}

fn launch(namespace: &Namespace, router: &Router) -> Process {
    let config = namespace.file("frr.conf", &configuration(router));
    let mut command = Command::new("/usr/lib/frr/bgpd");
    command.arg("--config_file").arg(&config).arg("--vty_socket").arg(namespace.dir());
    command.arg("--pid_file").arg(namespace.dir().join("frr.pid"));
    command.args(["--skip_runas", "--no_kernel", "--no_zebra", "--vty_port", "0", "--log", "stdout"]);
    command.args(["--bgp_port", &router.port.to_string()]);
    let mut process = Process::spawn(namespace, "frr", command);
    eventually(Duration::from_secs(20), || {
        process.alive()?;
        vtysh(namespace, &["show bgp summary"])
    });
    process
}

fn vtysh(namespace: &Namespace, commands: &[&str]) -> Result<String, String> {
    let mut vtysh = Command::new("/usr/bin/vtysh");
    vtysh.arg("--vty_socket").arg(namespace.dir()).args(["-d", "bgpd"]);
    for command in commands {
        vtysh.args(["-c", command]);
    }
    process::try_output(&mut vtysh)
}

fn family(v6: bool) -> &'static str {
    if v6 { "ipv6 unicast" } else { "ipv4 unicast" }
}

fn configuration(router: &Router) -> String {
    let mut text = format!("router bgp {}\n bgp router-id {}\n", router.asn, router.id);
    // Nothing is asked of policy or of the kernel, nothing waits.
    text.push_str(" no bgp ebgp-requires-policy\n no bgp network import-check\n coalesce-time 0\n");
    text.push_str(" no bgp default ipv4-unicast\n");
    if !router.quiet {
        text.push_str(" bgp log-neighbor-changes\n");
    }
    if let Some(seconds) = router.neighbours.iter().find_map(|peer| peer.graceful_restart) {
        let _ = writeln!(text, " bgp graceful-restart\n bgp graceful-restart preserve-fw-state");
        let _ = writeln!(text, " bgp graceful-restart restart-time {seconds}");
    }
    for peer in &router.neighbours {
        session(&mut text, peer);
    }
    for v6 in [false, true] {
        let _ = writeln!(text, " address-family {}", family(v6));
        for prefix in router.own(v6) {
            let map = if router.marks.is_some() { " route-map marks" } else { "" };
            let _ = writeln!(text, "  network {prefix}{map}");
        }
        for peer in router.neighbours.iter().filter(|peer| peer.families.has(v6)) {
            let _ = writeln!(text, "  neighbor {} activate", peer.address);
            if peer.client {
                let _ = writeln!(text, "  neighbor {} route-reflector-client", peer.address);
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text.push_str("!\n");
    if let Some(marks) = router.marks {
        let (high, low) = marks.community;
        let [admin, one, two] = marks.large_community;
        let _ = writeln!(text, "route-map marks permit 10\n set metric {}", marks.med);
        let _ = writeln!(text, " set local-preference {}\n set community {high}:{low}", marks.local_pref);
        let _ = writeln!(text, " set large-community {admin}:{one}:{two}\nexit\n!");
    }
    text + &router.extra
}

fn session(text: &mut String, peer: &Neighbour) {
    let address = peer.address;
    let _ = writeln!(text, " neighbor {address} remote-as {}", peer.asn);
    let _ = writeln!(text, " neighbor {address} timers {} {}", peer.hold / 3, peer.hold);
    let _ = writeln!(text, " neighbor {address} timers connect 1");
    let _ = writeln!(text, " neighbor {address} advertisement-interval 0");
    if let Some(local) = peer.local {
        let _ = writeln!(text, " neighbor {address} update-source {local}");
    }
    if let Some(key) = &peer.password {
        let _ = writeln!(text, " neighbor {address} password {key}");
    }
    if peer.ttl_security {
        let _ = writeln!(text, " neighbor {address} ttl-security hops 1");
    }
    if peer.multihop {
        let _ = writeln!(text, " neighbor {address} ebgp-multihop");
    }
    if peer.passive {
        let _ = writeln!(text, " neighbor {address} passive");
    }
}

fn read(path: &Value) -> Learned {
    let next_hops = list(&path["nexthops"]);
    let global = next_hops.iter().find(|hop| hop["scope"] == "global").or(next_hops.first());
    let clusters = list(&path["clusterList"]["list"]).iter();
    let large = list(&path["largeCommunity"]["list"]).iter();
    Learned {
        next_hop: global.and_then(|hop| parsed(&hop["ip"])),
        as_path: super::as_path(path["aspath"]["string"].as_str().unwrap_or_default()),
        med: number(&path["metric"]),
        local_pref: number(&path["locPrf"]),
        communities: list(&path["community"]["list"]).iter().filter_map(|c| community(c.as_str()?)).collect(),
        large_communities: large.filter_map(|c| large_community(c.as_str()?)).collect(),
        originator: path["originatorId"].as_str().map(str::to_owned),
        clusters: clusters.filter_map(|id| id.as_str().map(str::to_owned)).collect(),
        stale: path["stale"] == true,
    }
}
