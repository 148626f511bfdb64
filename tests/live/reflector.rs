//! Our route reflector as a process, asked by `cordctl` and Prometheus, with other makers' daemons as its clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use corduroy_tests::daemons::{
    Bird, Corduroy, Daemon, Frr, GoBgp, Learned, Neighbour, Router, holds_exactly,
};
use corduroy_tests::process::{Process, binary, try_output};
use corduroy_tests::{Namespace, Topology, eventually};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const AS: u32 = 64512;
const V4: &str = "192.0.2.9";
const V6: &str = "2001:db8::9";
const HEAD: &str = "asNumber: 64512\nrouterID: 192.0.2.9\nclients:\n";

/// The reflector at .9 and hosts at these places of one subnet.
fn subnet(label: &str, hosts: RangeInclusive<usize>) -> (Topology, Namespace, Vec<Namespace>) {
    let net = Topology::new(label);
    let switch = net.namespace("switch");
    let reflector = net.namespace("rr");
    let clients: Vec<_> = hosts.clone().map(|n| net.namespace(&format!("c{n}"))).collect();
    let ports: Vec<_> = clients.iter().chain([&reflector]).map(|host| (host, "eth0")).collect();
    net.segment(&switch, "lan", &ports);
    for (n, host) in hosts.zip(&clients).chain([(9, &reflector)]) {
        host.address("eth0", &format!("192.0.2.{n}/24"));
        host.ip(&format!("address add 2001:db8::{n}/64 dev eth0 nodad"));
    }
    (net, reflector, clients)
}

/// The running reflector.
struct Reflector {
    host: Namespace,
    config: PathBuf,
    process: Process,
}

impl Reflector {
    /// Starts it with `sessions` (its own clients, or a datastore) and waits until it answers.
    #[track_caller]
    fn start(host: &Namespace, sessions: &str) -> Self {
        let config = Self::configure(host, sessions);
        let process = Self::launch(host, &config);
        let reflector = Self { host: host.clone(), config, process };
        reflector.answers();
        reflector
    }

    fn configure(host: &Namespace, sessions: &str) -> PathBuf {
        let dir = host.dir().display();
        host.file(
            "rr.yaml",
            &format!(
                "nodeName: rr\nlisten: [\"{V4}:179\", \"[{V6}]:179\"]\nmetrics: {{listen: \"127.0.0.1:9181\"}}\n\
                 statusSocket: {dir}/status.sock\nrunDir: {dir}/run\n{sessions}"
            ),
        )
    }

    fn launch(host: &Namespace, config: &PathBuf) -> Process {
        let mut command = Command::new(binary("corduroy-routereflector"));
        command.arg("--config").arg(config);
        Process::spawn(host, "corduroy-routereflector", command)
    }

    #[track_caller]
    fn answers(&self) {
        eventually(PATIENCE, || self.ctl("status"));
    }

    /// What `cordctl` prints.
    fn ctl(&self, line: &str) -> Result<String, String> {
        let mut command = Command::new(binary("cordctl"));
        command.arg("--socket").arg(self.host.dir().join("status.sock")).args(line.split_whitespace());
        try_output(&mut command)
    }

    fn json(&self, line: &str) -> Result<Value, String> {
        serde_json::from_str(&self.ctl(&format!("-o json {line}"))?).map_err(|e| e.to_string())
    }

    /// One peer as `cordctl` shows it.
    fn peer(&self, address: &str) -> Result<Value, String> {
        let peers = self.json(&format!("peers {address}"))?;
        peers.get(0).cloned().ok_or_else(|| format!("no peer {address}"))
    }

    /// Are so many sessions up?
    fn established(&self, wanted: u64) -> Result<(), String> {
        let peers = self.json("peers")?;
        let all = peers.as_array().map(Vec::as_slice).unwrap_or_default();
        let up = all.iter().filter(|peer| peer["state"] == "Established").count() as u64;
        if up == wanted { Ok(()) } else { Err(format!("{up} of {wanted} are up: {peers}")) }
    }

    /// What `path` answers over HTTP.
    fn http(&self, path: &str) -> Result<String, String> {
        let answer = self.host.enter(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect("127.0.0.1:9181")?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: rr\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        answer.map_err(|e| e.to_string())
    }

    /// The value of a metric, by its name with all labels.
    fn metric(&self, name: &str) -> Result<String, String> {
        let text = self.http("/metrics")?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        value.ok_or_else(|| format!("no {name} in\n{text}"))
    }
}

/// A client's session with the reflector over one family.
fn session(v6: bool, n: usize, password: Option<&str>) -> Neighbour {
    let (peer, local) = if v6 { (V6, format!("2001:db8::{n}")) } else { (V4, format!("192.0.2.{n}")) };
    Neighbour {
        local: Some(local.parse().unwrap()),
        password: password.map(str::to_owned),
        ..Neighbour::one_family(peer, AS)
    }
}

/// A client with a session over each family that announces a prefix of each.
fn client(n: usize, password: &str) -> Router {
    Router::new(AS, &format!("{n}.{n}.{n}.{n}"))
        .peer(session(false, n, Some(password)))
        .peer(session(true, n, None))
        .announcing(&format!("10.{n}.0.0/16"))
        .announcing(&format!("2001:db8:{n}::/48"))
}

#[track_caller]
fn assert_reflected(route: &Learned, originator: &str, next_hop: &str) {
    assert_eq!(route.originator.as_deref(), Some(originator), "{route:?}");
    assert_eq!(route.clusters, [V4], "{route:?}");
    assert_eq!(route.next_hop, Some(next_hop.parse().unwrap()), "{route:?}");
    assert_eq!((route.local_pref, route.as_path.as_slice()), (Some(100), &[][..]), "{route:?}");
}

#[test]
fn clients_of_three_makers_by_address_and_range_learn_each_others_routes() {
    let (_net, host, clients) = subnet("rr-makers", 1..=3);
    host.file("range.key", "ranges\n");
    host.file("own.key", "own\n");
    let sessions = format!(
        "{HEAD}- {{address: 192.0.2.1, passwordFile: own.key}}\n\
         - {{range: 192.0.2.0/29, passwordFile: range.key}}\n- {{range: \"2001:db8::/64\"}}\n"
    );
    let reflector = Reflector::start(&host, &sessions);
    let mut bird = Bird::start(&clients[0], client(1, "own"));
    let frr = Frr::start(&clients[1], client(2, "ranges"));
    let gobgp = GoBgp::start(&clients[2], client(3, "ranges"));
    eventually(PATIENCE, || reflector.established(6));
    eventually(PATIENCE, || {
        holds_exactly(&bird, &["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48", "2001:db8:3::/48"])?;
        holds_exactly(&frr, &["10.1.0.0/16", "10.3.0.0/16", "2001:db8:1::/48", "2001:db8:3::/48"])?;
        holds_exactly(&gobgp, &["10.1.0.0/16", "10.2.0.0/16", "2001:db8:1::/48", "2001:db8:2::/48"])
    });
    let (at_bird, at_frr, at_gobgp) =
        (bird.learned().unwrap(), frr.learned().unwrap(), gobgp.learned().unwrap());
    assert_reflected(&at_bird["10.2.0.0/16"], "2.2.2.2", "192.0.2.2");
    assert_reflected(&at_bird["2001:db8:3::/48"], "3.3.3.3", "2001:db8::3");
    assert_reflected(&at_frr["10.3.0.0/16"], "3.3.3.3", "192.0.2.3");
    assert_reflected(&at_frr["2001:db8:1::/48"], "1.1.1.1", "2001:db8::1");
    assert_reflected(&at_gobgp["10.1.0.0/16"], "1.1.1.1", "192.0.2.1");
    assert_reflected(&at_gobgp["2001:db8:2::/48"], "2.2.2.2", "2001:db8::2");

    let origins = [("192.0.2.1", "clients[0]"), ("192.0.2.2", "dynamic 192.0.2.0/29")];
    for (address, origin) in origins {
        let peer = reflector.peer(address).unwrap();
        assert_eq!((&peer["origin"], &peer["reflectorClient"]), (&origin.into(), &true.into()), "{peer}");
    }
    let explained = reflector.json("explain 10.2.0.1").unwrap();
    assert_eq!(explained["net"], "10.2.0.0/16");
    for told in explained["advertised"].as_array().unwrap() {
        assert_eq!(
            told["sent"],
            told["to"] != "192.0.2.2" && !told["to"].as_str().unwrap().contains(':'),
            "{told}"
        );
    }
    let sent = reflector.json("routes --to 192.0.2.1").unwrap();
    assert_eq!(sent.as_array().map(Vec::len), Some(2), "{sent}");
    assert_eq!(reflector.metric("corduroy_bgp_peers{state=\"Established\"}").as_deref(), Ok("6"));
    assert_eq!(reflector.metric("corduroy_bgp_prefixes{family=\"ipv6-unicast\"}").as_deref(), Ok("3"));
    for path in ["/healthz", "/readyz"] {
        assert!(reflector.http(path).unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }

    bird.withdraw("10.1.0.0/16");
    eventually(PATIENCE, || holds_exactly(&frr, &["10.3.0.0/16", "2001:db8:1::/48", "2001:db8:3::/48"]));
}

#[test]
fn a_wrong_as_a_wrong_password_and_our_own_router_id_are_refused_and_named() {
    let (_net, host, clients) = subnet("rr-refuses", 1..=4);
    host.file("key", "right\n");
    let entry = |n: usize, more: &str| format!("- {{address: 192.0.2.{n}{more}}}\n");
    let sessions =
        HEAD.to_owned() + &entry(1, "") + &entry(2, ", passwordFile: key") + &entry(3, "") + &entry(4, "");
    let reflector = Reflector::start(&host, &sessions);
    let router = |asn, id: &str, n, password| Router::new(asn, id).peer(session(false, n, password));
    let stranger = Bird::start(&clients[0], router(64999, "1.1.1.1", 1, None));
    let locked = Bird::start(&clients[1], router(AS, "2.2.2.2", 2, Some("wrong")));
    let double = Bird::start(&clients[2], router(AS, V4, 3, None));
    let welcome = Bird::start(&clients[3], router(AS, "4.4.4.4", 4, None));
    let complains = |address: &str, words: &str| {
        let peer = reflector.peer(address)?;
        let error = peer["lastError"].as_str().unwrap_or_default();
        if error.to_lowercase().contains(words) { Ok(()) } else { Err(format!("{address}: {peer}")) }
    };
    eventually(PATIENCE, || complains("192.0.2.1", "bad peer as"));
    eventually(PATIENCE, || complains("192.0.2.3", "bad bgp identifier"));
    // The other side is told, too.
    let told = |daemon: &Bird, words: &str| {
        let text = daemon.birdc("show protocols all")?;
        if text.contains(words) { Ok(()) } else { Err(text) }
    };
    eventually(PATIENCE, || told(&stranger, "Bad peer AS"));
    eventually(PATIENCE, || told(&double, "Bad BGP identifier"));
    eventually(PATIENCE, || welcome.established(V4.parse().unwrap()));
    eventually(PATIENCE, || reflector.established(1));
    // The kernel drops what is signed with another key, so there is nobody to name: the session is just not there.
    assert_ne!(reflector.peer("192.0.2.2").unwrap()["state"], "Established");
    host.file("key", "wrong\n");
    eventually(PATIENCE, || locked.established(V4.parse().unwrap()));
    assert_eq!(reflector.metric("corduroy_reloads_total{result=\"taken\"}").as_deref(), Ok("1"));
    // A file that is wrong changes nothing and is named.
    Reflector::configure(&host, &sessions.replace("192.0.2.4", "192.0.2.400"));
    reflector.process.signal(Signal::HUP);
    eventually(PATIENCE, || {
        let status = reflector.json("status")?;
        let message = status["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
        if message.contains("clients[3].address") { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(reflector.established(2).is_ok());
}

#[test]
fn clients_keep_their_routes_while_the_reflector_is_killed_and_started_again() {
    let (_net, host, clients) = subnet("rr-killed", 1..=2);
    let sessions =
        format!("{HEAD}- {{address: 192.0.2.1}}\n- {{range: 192.0.2.2/32}}\nselectionDeferral: 5s\n");
    let mut reflector = Reflector::start(&host, &sessions);
    let router = |n: usize| {
        let graceful = Neighbour { graceful_restart: Some(120), ..session(false, n, None) };
        let mut router = Router::new(AS, &format!("{n}.{n}.{n}.{n}")).peer(graceful);
        router.kernel = true;
        router.extra = "protocol direct { ipv4; }\n".to_owned();
        router.announcing(&format!("10.{n}.0.0/16"))
    };
    let one = Bird::start(&clients[0], router(1));
    let mut two = Bird::start(&clients[1], router(2));
    let in_kernel = |prefix: &str| {
        let routes = clients[0].try_ip("route show proto bird")?;
        if routes.contains(&format!("{prefix} via 192.0.2.2")) { Ok(()) } else { Err(routes) }
    };
    eventually(PATIENCE, || in_kernel("10.2.0.0/16"));
    let mut monitor = Command::new("ip");
    monitor.args(["monitor", "route"]);
    let monitor = Process::spawn(&clients[0], "monitor", monitor);
    // What is recorded begins with a route that comes after the recorder.
    let recorded = |prefix: &str| {
        let log = monitor.log();
        if log.contains(prefix) { Ok(()) } else { Err(log) }
    };
    let mut probe = 0;
    eventually(PATIENCE, || {
        probe += 1;
        clients[0].ip(&format!("route add 198.51.100.{}/32 via 192.0.2.2", probe % 250));
        recorded("198.51.100.")
    });

    reflector.process.kill();
    eventually(PATIENCE, || match one.established(V4.parse().unwrap()) {
        Ok(()) => Err("the client has not noticed yet".to_owned()),
        Err(_) => Ok(()),
    });
    reflector.process = Reflector::launch(&host, &reflector.config);
    eventually(PATIENCE, || reflector.established(2));
    two.announce("10.3.0.0/16");
    eventually(PATIENCE, || in_kernel("10.3.0.0/16"));
    eventually(PATIENCE, || recorded("10.3.0.0/16"));
    let log = monitor.log();
    assert!(!log.contains("Deleted 10.2.0.0/16"), "the route went away meanwhile:\n{log}");
    assert_reflected(&one.learned().unwrap()["10.2.0.0/16"], "2.2.2.2", "192.0.2.2");
    // A planned end is no worse: nothing is said, so that clients wait.
    assert!(reflector.process.terminate(PATIENCE).success());
}

#[test]
fn fifty_clients_out_of_a_range_hold_each_others_routes_and_one_more_is_refused() {
    let (_net, host, clients) = subnet("rr-fifty", 129..=179);
    let sessions = format!("{HEAD}- {{range: 192.0.2.128/25, limit: 50}}\n");
    let reflector = Reflector::start(&host, &sessions);
    let start = |n: usize| {
        let router = Router::new(AS, &format!("10.0.0.{n}")).peer(session(false, 128 + n, None));
        Corduroy::start(&clients[n - 1], router.announcing(&format!("10.{n}.0.0/16")))
    };
    let mut fifty: Vec<_> = (1..=50).map(start).collect();
    eventually(PATIENCE, || reflector.established(50));
    let all: Vec<String> = (1..=50).map(|n| format!("10.{n}.0.0/16")).collect();
    let others = |n: usize, gone: Option<usize>| -> Vec<&str> {
        let wanted = (1..=50).filter(|m| *m != n && Some(*m) != gone);
        wanted.map(|m| all[m - 1].as_str()).collect()
    };
    for (i, client) in fifty.iter().enumerate() {
        eventually(PATIENCE, || holds_exactly(client, &others(i + 1, None)));
    }
    let _surplus = start(51);
    let refused = "corduroy_bgp_notices_total{what=\"connection_rejected\"}";
    eventually(PATIENCE, || reflector.metric(refused));
    assert!(reflector.established(50).is_ok());
    fifty[6].withdraw("10.7.0.0/16");
    for (i, client) in fifty.iter().enumerate() {
        eventually(PATIENCE, || holds_exactly(client, &others(i + 1, Some(7))));
    }
}

fn resource(kind: &str, name: &str, spec: &str) -> String {
    let labels = format!("{{role: {}}}", if name == "rr" { "reflector" } else { "node" });
    format!(
        "---\napiVersion: corduroy.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, labels: {labels}}}\n\
         spec: {{{spec}}}\n"
    )
}

#[test]
fn a_reflector_from_the_datastore_serves_the_nodes_it_selects() {
    let (_net, host, clients) = subnet("rr-stored", 1..=2);
    let node = |name: &str, n: usize, more: &str| {
        resource("FabricNode", name, &format!("addresses: [192.0.2.{n}/24]{more}"))
    };
    let fabric = resource("BGPConfiguration", "default", "nodeToNodeMeshEnabled: false")
        + &node("a", 1, "")
        + &node("b", 2, "")
        + &resource("BGPPeer", "rr", "nodeSelector: role == 'node', peerSelector: role == 'reflector'");
    host.file("resources/fabric.yaml", &fabric);
    host.file("resources/rr.yaml", &node("rr", 9, ""));
    let store = format!("datastore: {{file: {{path: {}/resources}}}}\n", host.dir().display());
    let config = Reflector::configure(&host, &store);
    let mut check = Command::new(binary("corduroy-routereflector"));
    check.arg("--check").arg("--config").arg(&config);
    let refused = try_output(&mut check).unwrap_err();
    assert!(refused.contains("FabricNode/rr") && refused.contains("routeReflectorClusterID"), "{refused}");

    host.file("resources/rr.yaml", &node("rr", 9, ", routeReflectorClusterID: 192.0.2.9"));
    assert!(try_output(&mut check).unwrap().contains("AS 64512, 2 neighbours"));
    let reflector = Reflector::start(&host, &store);
    let router = |n: usize| {
        let router = Router::new(AS, &format!("{n}.{n}.{n}.{n}")).peer(session(false, n, None));
        router.announcing(&format!("10.{n}.0.0/16"))
    };
    let one = Bird::start(&clients[0], router(1));
    let two = Bird::start(&clients[1], router(2));
    eventually(PATIENCE, || holds_exactly(&one, &["10.2.0.0/16"]));
    eventually(PATIENCE, || holds_exactly(&two, &["10.1.0.0/16"]));
    assert_eq!(reflector.peer("192.0.2.1").unwrap()["origin"], "BGPPeer/rr (a)");
    assert!(reflector.ctl("ipam show").unwrap_err().contains("ask a node's agent"));
    // A node that leaves the fabric leaves the reflector.
    host.file("resources/fabric.yaml", &fabric.replace(&node("b", 2, ""), ""));
    eventually(PATIENCE, || holds_exactly(&one, &[]));
}
