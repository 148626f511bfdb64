//! OpenBGPD.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Learned, Neighbour, Router, community, large_community, list, number, parsed};
use crate::process::{self, Process};
use crate::{Namespace, eventually};

/// Its processes lock themselves into this empty directory; Debian's service creates it at boot.
const CHROOT: &str = "/run/openbgpd";

/// OpenBGPD in a namespace.
#[derive(Debug)]
pub struct OpenBgpd {
    namespace: Namespace,
    router: Router,
    process: Process,
    socket: PathBuf,
}

impl OpenBgpd {
    /// Starts it and waits until it answers.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let (process, socket) = launch(namespace, &router);
        Self { namespace: namespace.clone(), router, process, socket }
    }

    /// One command for the running daemon.
    ///
    /// # Errors
    /// It does not answer.
    pub fn bgpctl(&self, arguments: &[&str]) -> Result<String, String> {
        bgpctl(&self.socket, arguments)
    }

    fn command(&self, arguments: &[&str]) {
        self.bgpctl(arguments).unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Daemon for OpenBgpd {
    const PACKAGE: &'static str = "openbgpd";

    fn alive(&mut self) -> Result<(), String> {
        self.process.alive()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let text = self.bgpctl(&["-j", "show", "neighbor", &peer.to_string()])?;
        let answer: Value = serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))?;
        match answer["neighbors"][0]["state"].as_str() {
            Some("Established") => Ok(()),
            state => Err(format!("OpenBGPD says: {state:?}")),
        }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        let text = self.bgpctl(&["-j", "show", "rib", "detail"])?;
        let answer: Value = serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))?;
        let foreign =
            list(&answer["rib"]).iter().filter(|path| path["best"] == true && path["announced"] != true);
        let named = foreign.filter_map(|path| Some((path["prefix"].as_str()?.to_owned(), read(path))));
        Ok(named.collect())
    }

    fn announce(&mut self, prefix: &str) {
        self.command(&["network", "add", prefix]);
        self.router.announce.push(prefix.to_owned());
    }

    fn withdraw(&mut self, prefix: &str) {
        self.command(&["network", "delete", prefix]);
        self.router.announce.retain(|own| own != prefix);
    }

    fn refresh(&self, peer: IpAddr) {
        self.command(&["neighbor", &peer.to_string(), "refresh"]);
    }

    fn shut_down(&mut self, peer: IpAddr, text: &str) {
        self.command(&["neighbor", &peer.to_string(), "down", text]);
    }

    fn restart(&mut self) {
        self.process.kill();
        // Its children notice that the parent is gone only when they next talk to it.
        self.namespace.kill_all("bgpd");
        (self.process, self.socket) = launch(&self.namespace, &self.router);
    }
}

fn launch(namespace: &Namespace, router: &Router) -> (Process, PathBuf) {
    fs::create_dir_all(CHROOT).unwrap_or_else(|e| panic!("can't make {CHROOT}: {e}"));
    let socket = namespace.dir().join("openbgpd.sock");
    let _ = fs::remove_file(&socket);
    let config = namespace.file("openbgpd.conf", &configuration(router, &socket));
    // It refuses a configuration that others can read.
    let private = fs::set_permissions(&config, fs::Permissions::from_mode(0o600));
    private.unwrap_or_else(|e| panic!("{}: {e}", config.display()));
    let mut command = Command::new("/usr/sbin/bgpd");
    command.args(["-d", "-v", "-f"]).arg(&config);
    let mut process = Process::spawn(namespace, "openbgpd", command);
    eventually(Duration::from_secs(20), || {
        process.alive()?;
        bgpctl(&socket, &["show", "summary"])?;
        // The log goes on where that of a former run ended.
        let configured =
            process.log().rsplit("startup").next().is_some_and(|log| log.contains("RDE reconfigured"));
        if configured { Ok(()) } else { Err("it is not configured".to_owned()) }
    });
    // What a session brings before that is taken in with the defaults: as if nobody was a client, for instance.
    for peer in &router.neighbours {
        let up = bgpctl(&socket, &["neighbor", &peer.address.to_string(), "up"]);
        up.unwrap_or_else(|why| panic!("{why}"));
    }
    (process, socket)
}

fn bgpctl(socket: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut bgpctl = Command::new("/usr/sbin/bgpctl");
    bgpctl.arg("-s").arg(socket).args(arguments);
    process::try_output(&mut bgpctl)
}

fn configuration(router: &Router, socket: &Path) -> String {
    let mut text = format!("AS {}\nrouter-id {}\nfib-update no\n", router.asn, router.id);
    let _ = writeln!(text, "socket \"{}\"", socket.display());
    let _ = writeln!(text, "listen on 0.0.0.0 port {0}\nlisten on :: port {0}", router.port);
    let marks = router.marks.map(|marks| {
        let (high, low) = marks.community;
        let [admin, one, two] = marks.large_community;
        format!(
            " set {{ metric {} localpref {} community {high}:{low} large-community {admin}:{one}:{two} }}",
            marks.med, marks.local_pref,
        )
    });
    for prefix in &router.announce {
        let _ = writeln!(text, "network {prefix}{}", marks.as_deref().unwrap_or_default());
    }
    for peer in &router.neighbours {
        session(&mut text, router, peer);
    }
    text.push_str("allow from any\nallow to any\n");
    text + &router.extra
}

fn session(text: &mut String, router: &Router, peer: &Neighbour) {
    let _ =
        writeln!(text, "neighbor {} {{\n  remote-as {}\n  holdtime {}", peer.address, peer.asn, peer.hold);
    if let Some(local) = peer.local {
        let _ = writeln!(text, "  local-address {local}");
    }
    if let Some(key) = &peer.password {
        let _ = writeln!(text, "  tcp md5sig password \"{key}\"");
    }
    if peer.ttl_security {
        text.push_str("  ttl-security yes\n");
    }
    if peer.multihop {
        text.push_str("  multihop 255\n");
    }
    if peer.client {
        let _ = writeln!(text, "  route-reflector {}", router.id);
    }
    if peer.passive {
        text.push_str("  passive\n");
    }
    if peer.graceful_restart.is_some() {
        text.push_str("  announce restart yes\n");
    }
    for (v6, name) in [(false, "IPv4"), (true, "IPv6")] {
        let what = if peer.families.has(v6) { "unicast" } else { "none" };
        let _ = writeln!(text, "  announce {name} {what}");
    }
    // Until it is told to come up.
    text.push_str("  down\n}\n");
}

fn read(path: &Value) -> Learned {
    let rare = |name: &'static str| list(&path["attributes"]).iter().map(move |attribute| &attribute[name]);
    let large = list(&path["large_communities"]).iter();
    let clusters = rare("cluster_list").flat_map(list).filter_map(|id| id.as_str().map(str::to_owned));
    Learned {
        next_hop: parsed(&path["exit_nexthop"]),
        as_path: super::as_path(path["aspath"].as_str().unwrap_or_default()),
        med: number(&path["metric"]),
        local_pref: number(&path["localpref"]),
        communities: list(&path["communities"]).iter().filter_map(|c| community(c.as_str()?)).collect(),
        large_communities: large.filter_map(|c| large_community(c.as_str()?)).collect(),
        originator: rare("originator").find_map(parsed),
        clusters: clusters.collect(),
        stale: path["stale"] == true,
    }
}
