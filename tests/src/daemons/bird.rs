//! BIRD 2.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Daemon, Learned, Neighbour, Router};
use crate::process::{self, Process};
use crate::{Namespace, eventually};

/// BIRD in a namespace.
#[derive(Debug)]
pub struct Bird {
    namespace: Namespace,
    router: Router,
    process: Process,
    socket: PathBuf,
}

impl Bird {
    /// Starts it and waits until it answers.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, router: Router) -> Self {
        let (process, socket) = launch(namespace, &router, &[]);
        Self { namespace: namespace.clone(), router, process, socket }
    }

    /// One command for the running daemon, `show protocols all` for instance.
    ///
    /// # Errors
    /// It does not answer.
    pub fn birdc(&self, command: &str) -> Result<String, String> {
        birdc(&self.socket, command)
    }

    /// Changes what it is while it runs; sessions whose settings stay are kept.
    #[track_caller]
    pub fn reconfigure(&mut self, router: Router) {
        self.router = router;
        self.namespace.file("bird.conf", &configuration(&self.router));
        let answer = self.birdc("configure").unwrap_or_else(|why| panic!("{why}"));
        assert!(answer.contains("Reconfig"), "BIRD refused its configuration: {answer}");
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it is.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }
}

impl Daemon for Bird {
    const PACKAGE: &'static str = "bird2";

    fn alive(&mut self) -> Result<(), String> {
        self.process.alive()
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn established(&self, peer: IpAddr) -> Result<(), String> {
        let line = self.birdc(&format!("show protocols {}", protocol(peer)))?;
        let line = line.lines().last().unwrap_or_default();
        if line.contains("Established") { Ok(()) } else { Err(format!("BIRD says: {line}")) }
    }

    fn learned(&self) -> Result<BTreeMap<String, Learned>, String> {
        Ok(parse(&self.birdc("show route primary all where source = RTS_BGP")?))
    }

    fn announce(&mut self, prefix: &str) {
        self.reconfigure(self.router.clone().announcing(prefix));
    }

    fn withdraw(&mut self, prefix: &str) {
        let mut router = self.router.clone();
        router.announce.retain(|own| own != prefix);
        self.reconfigure(router);
    }

    fn refresh(&self, peer: IpAddr) {
        self.birdc(&format!("reload in {}", protocol(peer))).unwrap_or_else(|why| panic!("{why}"));
    }

    fn shut_down(&mut self, peer: IpAddr, text: &str) {
        let command = format!("disable {} \"{text}\"", protocol(peer));
        self.birdc(&command).unwrap_or_else(|why| panic!("{why}"));
    }

    fn restart(&mut self) {
        self.process.kill();
        (self.process, self.socket) = launch(&self.namespace, &self.router, &["-R"]);
    }
}

fn launch(namespace: &Namespace, router: &Router, flags: &[&str]) -> (Process, PathBuf) {
    let config = namespace.file("bird.conf", &configuration(router));
    let socket = namespace.dir().join("bird.ctl");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("/usr/sbin/bird");
    command.args(["-f", "-c"]).arg(&config).arg("-s").arg(&socket).args(flags);
    let mut process = Process::spawn(namespace, "bird", command);
    eventually(Duration::from_secs(20), || {
        process.alive()?;
        birdc(&socket, "show status")
    });
    (process, socket)
}

fn birdc(socket: &Path, command: &str) -> Result<String, String> {
    let mut birdc = Command::new("/usr/sbin/birdc");
    birdc.args(["-r", "-s"]).arg(socket).args(command.split_whitespace());
    if ["configure", "disable", "reload", "enable", "restart"].iter().any(|verb| command.starts_with(verb)) {
        birdc = Command::new("/usr/sbin/birdc");
        // A quoted text is one word.
        birdc.arg("-s").arg(socket).arg(command);
    }
    process::try_output(&mut birdc)
}

fn protocol(peer: IpAddr) -> String {
    format!("p_{}", peer.to_string().replace([':', '.'], "_"))
}

fn configuration(router: &Router) -> String {
    let mut text = format!("router id {};\nprotocol device {{ scan time 1; debug off; }}\n", router.id);
    if !router.quiet {
        text.insert_str(0, "log stderr all;\ndebug protocols { states, events };\n");
    }
    // Connected subnets, for the next hops of iBGP routes.
    text.push_str("protocol direct { ipv4; ipv6; }\n");
    for (v6, name) in [(false, "ipv4"), (true, "ipv6")] {
        let _ = writeln!(text, "protocol static own_{name} {{ {name};");
        for prefix in router.own(v6) {
            let _ = writeln!(text, "  route {prefix} unreachable;");
        }
        text.push_str("}\n");
        if router.kernel {
            let _ = writeln!(
                text,
                "protocol kernel kernel_{name} {{ persist; graceful restart on;\n  \
                 {name} {{ import none; export where source = RTS_BGP; }}; }}"
            );
        }
    }
    text.push_str(&export(router));
    for neighbour in &router.neighbours {
        session(&mut text, router, neighbour);
    }
    text + &router.extra
}

fn session(text: &mut String, router: &Router, peer: &Neighbour) {
    let _ = writeln!(text, "protocol bgp {} {{", protocol(peer.address));
    let _ = writeln!(text, "  local{} port {} as {};", local(peer), router.port, router.asn);
    let _ = writeln!(text, "  neighbor {} as {};", peer.address, peer.asn);
    let _ = writeln!(text, "  hold time {}; connect retry time 2; connect delay time 1;", peer.hold);
    text.push_str("  error wait time 1, 2; error forget time 1;\n");
    if !router.quiet {
        text.push_str("  enable extended messages on;\n");
    }
    text.push_str(match (peer.ttl_security, peer.multihop, peer.asn == router.asn) {
        (true, _, _) => "  multihop 1; ttl security on;\n",
        (false, true, _) => "  multihop;\n",
        (false, false, true) => "",
        (false, false, false) => "  direct;\n",
    });
    if let Some(key) = &peer.password {
        let _ = writeln!(text, "  password \"{key}\";");
    }
    if peer.client {
        text.push_str("  rr client;\n");
    }
    if peer.passive {
        text.push_str("  passive on;\n");
    }
    if let Some(seconds) = peer.graceful_restart {
        let _ = writeln!(text, "  graceful restart on; graceful restart time {seconds};");
    }
    for (v6, name) in [(false, "ipv4"), (true, "ipv6")] {
        if !peer.families.has(v6) {
            continue;
        }
        let _ = writeln!(text, "  {name} {{ import all; export filter outgoing; }};");
    }
    text.push_str("}\n");
}

/// Everything but what other protocols brought; an own MED lives only when it is set here.
fn export(router: &Router) -> String {
    let marks = router.marks.map(|marks| {
        let (high, low) = marks.community;
        let [admin, one, two] = marks.large_community;
        format!(
            "  if source = RTS_STATIC then {{ bgp_med = {}; bgp_local_pref = {};\n    \
             bgp_community.add(({high}, {low})); bgp_large_community.add(({admin}, {one}, {two})); }}\n",
            marks.med, marks.local_pref,
        )
    });
    format!(
        "filter outgoing {{\n{}  if source ~ [RTS_STATIC, RTS_BGP] then accept;\n  reject;\n}}\n",
        marks.unwrap_or_default()
    )
}

fn local(peer: &Neighbour) -> String {
    peer.local.map(|address| format!(" {address}")).unwrap_or_default()
}

/// Reads `show route all`: a line for each route, its attributes indented beneath.
fn parse(text: &str) -> BTreeMap<String, Learned> {
    let mut routes = BTreeMap::new();
    let mut current: Option<&mut Learned> = None;
    for line in text.lines() {
        let Some(attribute) = line.strip_prefix('\t') else {
            let prefix = line.split_whitespace().next().filter(|word| word.contains('/'));
            current = prefix.map(|prefix| routes.entry(prefix.to_owned()).or_default());
            continue;
        };
        if let (Some(route), Some((name, value))) = (current.as_deref_mut(), attribute.split_once(": ")) {
            attribute_line(route, name.trim(), value.trim());
        }
    }
    routes
}

fn attribute_line(route: &mut Learned, name: &str, value: &str) {
    match name {
        "BGP.next_hop" => route.next_hop = value.split_whitespace().next().and_then(|word| word.parse().ok()),
        "BGP.as_path" => {
            route.as_path =
                value.split([' ', '{', '}', '(', ')']).filter_map(|word| word.parse().ok()).collect();
        }
        "BGP.med" => route.med = value.parse().ok(),
        "BGP.local_pref" => route.local_pref = value.parse().ok(),
        "BGP.originator_id" => route.originator = Some(value.to_owned()),
        "BGP.cluster_list" => route.clusters = value.split_whitespace().map(str::to_owned).collect(),
        "BGP.community" => {
            let pair = |word: &str| {
                let (high, low) = word.trim_matches(['(', ')']).split_once(',')?;
                Some((high.parse().ok()?, low.parse().ok()?))
            };
            route.communities = value.split_whitespace().filter_map(pair).collect();
        }
        "BGP.large_community" => {
            let colons = value.replace(", ", ":");
            let words = colons.split_whitespace().map(|word| word.trim_matches(['(', ')']));
            route.large_communities = words.filter_map(super::large_community).collect();
        }
        _ => {}
    }
}
