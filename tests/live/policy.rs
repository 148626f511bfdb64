//! Policies of our own kinds on a real kernel: a node with two pods, a client behind a router, and a directory of
//! files as the datastore. Each test has all of it for itself.
//!
//! ```text
//! client ── router ── n1 ─┬─ web
//!                         └─ api
//! ```
//! Everybody listens on TCP 80 and 81 and on UDP 80. What passes is found out with real connections, in both families.
//! Of a directory nobody knows labels of pods; rules name them by their addresses, which `$web` stands for.

mod changes;
mod hosts;
mod strangers;
mod told;

use std::net::IpAddr;
use std::time::Duration;

use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};
use corduroy_tests::probe::{Answer, Listening, Ping, Question, Servers, Talk, Transport, sweep};
use corduroy_tests::{Namespace, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is waited for.
const GLANCE: Duration = Duration::from_secs(2);
/// Between the packets of one who tries all the time.
const HAMMER: Duration = Duration::from_millis(2);
const NAMES: [&str; 4] = ["web", "api", "n1", "client"];
/// What everybody listens on: TCP, then UDP.
const PORTS: [&[u16]; 2] = [&[80, 81], &[80]];

const HTTP: Transport = Transport::Tcp(80);
const OTHER: Transport = Transport::Tcp(81);
const UDP: Transport = Transport::Udp(80);

/// Who asks whom over what, and whether there is an answer.
type Row = (&'static str, &'static str, Transport, bool);

/// What [`Ground::guard`] lets pass, and what not.
const GUARDED: [Row; 6] = [
    ("client", "web", HTTP, true),
    ("web", "api", HTTP, true),
    ("web", "api", UDP, true),
    ("client", "api", HTTP, false),
    ("client", "api", UDP, false),
    ("api", "web", HTTP, false),
];

/// Somebody.
struct Party {
    name: &'static str,
    host: Namespace,
    /// IPv4 and IPv6.
    addresses: [IpAddr; 2],
}

/// The node and those around it. Fields go in this order.
struct Ground {
    _servers: Servers,
    parties: Vec<Party>,
    pods: [Pod; 2],
    node: Node,
    fabric: Fabric,
}

impl Ground {
    #[track_caller]
    fn new(label: &str) -> Self {
        let fabric = Fabric::new(label);
        fabric.pools("vxlanMode");
        let client = fabric.host("client", Segment::Outside, 10);
        let mut node = fabric.node("n1", Segment::A, 11);
        node.start();
        let pods = [fabric.pod(&node, "web"), fabric.pod(&node, "api")];
        let [node_addresses, client_addresses] = [(Segment::A, 11), (Segment::Outside, 10)]
            .map(|(segment, n)| [segment.v4(n), segment.v6(n)].map(|address| address.parse().unwrap()));
        for pod in &pods {
            for (address, via) in pod_addresses(pod).into_iter().zip(node_addresses) {
                let bits = if address.is_ipv6() { 128 } else { 32 };
                fabric.router().ip(&format!("route add {address}/{bits} via {via}"));
            }
        }
        let party = |name, host: &Namespace, addresses| Party { name, host: host.clone(), addresses };
        let parties = vec![
            party(NAMES[0], pods[0].inside(), pod_addresses(&pods[0])),
            party(NAMES[1], pods[1].inside(), pod_addresses(&pods[1])),
            party(NAMES[2], node.host(), node_addresses),
            party(NAMES[3], &client, client_addresses),
        ];
        let all = parties.iter().flat_map(|p| Listening::open(p.name, &p.host.path(), &p.addresses, PORTS));
        let ground = Self { _servers: Servers::serve(all.collect()), parties, pods, node, fabric };
        ground.becomes(&GUARDED.map(|(from, to, over, _)| (from, to, over, true)));
        ground
    }

    fn host(&self) -> &Namespace {
        self.node.host()
    }

    #[track_caller]
    fn party(&self, name: &str) -> &Party {
        let found = self.parties.iter().find(|party| party.name == name);
        found.unwrap_or_else(|| panic!("there is nobody called {name:?}"))
    }

    /// The addresses of somebody, as a list of networks.
    #[track_caller]
    fn nets(&self, name: &str) -> String {
        let [v4, v6] = self.party(name).addresses;
        format!("[{v4}/32, '{v6}/128']")
    }

    /// A document of a kind of ours.
    fn document(&self, kind: &str, name: &str, spec: &str) -> String {
        let spec = NAMES.iter().fold(spec.to_owned(), |spec, name| {
            spec.replace(&format!("${name}"), &format!("{{nets: {}}}", self.nets(name)))
        });
        format!(
            "apiVersion: corduroy.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{role: {name}}}}}\n\
             spec: {{{spec}}}\n"
        )
    }

    /// Makes or changes it; its label `role` is its name.
    #[track_caller]
    fn put(&self, kind: &str, name: &str, spec: &str) {
        self.fabric.put(&format!("{kind}-{name}"), &self.document(kind, name, spec));
    }

    #[track_caller]
    fn take(&self, kind: &str, name: &str) {
        self.fabric.take_back(&format!("{kind}-{name}"));
    }

    /// Who may come in to the pods: a tier, a set and a policy of it.
    #[track_caller]
    fn guard(&self) {
        self.put("Tier", "ops", "order: 10");
        self.put("GlobalNetworkSet", "guests", &format!("nets: {}", self.nets("client")));
        self.rules("");
        self.becomes(&GUARDED);
    }

    /// The policy again, with these rules before its own.
    #[track_caller]
    fn rules(&self, before: &str) {
        self.put(
            "GlobalNetworkPolicy",
            "guard",
            &format!(
                "tier: ops, order: 1, types: [Ingress], ingress: [{before}
             {{action: Allow, source: {{selector: role == 'guests'}}, destination: $web}},
             {{action: Allow, source: $web}}, {{action: Deny}}]"
            ),
        );
    }

    /// Is it so now?
    fn is(&self, table: &[Row]) -> Result<(), String> {
        let question = |(from, to, over, awaited): &Row, family: usize| Question {
            netns: self.party(from).host.path(),
            target: self.party(to).addresses[family],
            over: *over,
            awaited: *awaited,
        };
        let questions: Vec<_> = table.iter().flat_map(|row| [question(row, 0), question(row, 1)]).collect();
        let answers = sweep(&questions, GLANCE);
        let wrong = questions.iter().zip(answers).zip(table.iter().flat_map(|row| [row, row]));
        let wrong = wrong.filter_map(|((question, answer), (from, to, over, awaited))| match answer {
            Answer::From(_) if *awaited => None,
            Answer::Silence if !*awaited => None,
            // What a host may not send itself, its kernel knows.
            Answer::Refused(why) if !*awaited && *from == "n1" && why.contains("not permitted") => None,
            answer => Some(format!("{from} -> {to} ({}) over {over:?}: {answer:?}", question.target)),
        });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Waits until it is so, and looks once more.
    #[track_caller]
    fn becomes(&self, table: &[Row]) {
        eventually(PATIENCE, || self.is(table));
        self.is(table).unwrap_or_else(|why| panic!("it does not stay so: {why}"));
    }

    /// Waits until it is so, and has `cordctl policy trace` say the same.
    #[track_caller]
    fn is_traced(&self, rows: &[Row]) {
        self.becomes(rows);
        for (from, to, over, awaited) in rows {
            let what = match over {
                Transport::Tcp(port) => format!("tcp --port {port}"),
                Transport::Udp(port) => format!("udp --port {port}"),
                Transport::Ping => "icmp".to_owned(),
            };
            for (source, target) in self.party(from).addresses.iter().zip(self.party(to).addresses) {
                let line = format!("policy trace --from {source} --to {target} --protocol {what}");
                let said = self.ctl(&line).unwrap();
                assert_eq!(said["verdict"] == "allowed", *awaited, "{line}: {said}");
            }
        }
    }

    /// All that may flow between two, already flowing.
    #[track_caller]
    fn talk(&self, from: &str, to: &str) -> Talk {
        let (from, to) = (self.party(from), self.party(to));
        let title = format!("{} -> {}", from.name, to.name);
        let talk = Talk::start(&title, &from.host.path(), &to.host.path(), to.addresses);
        talk.goes_on("the beginning");
        talk
    }

    /// Tries all the time, in both families, by pings and by datagrams.
    #[track_caller]
    fn hammer(&self, from: &str, to: &str) -> Vec<Ping> {
        let (from, to) = (self.party(from), self.party(to));
        let both = |address: IpAddr| {
            [
                Ping::start(&from.host, &address.to_string(), HAMMER),
                Ping::datagrams(&from.host.path(), from.name, (address, 80).into(), HAMMER),
            ]
        };
        to.addresses.into_iter().flat_map(both).collect()
    }

    /// The table of the node, but for what it has counted.
    fn program(&self) -> Result<String, String> {
        let text = self.host().try_run("nft -s list table inet corduroy")?;
        // Hash tables come out in an order of their own.
        let mut lines: Vec<&str> = text.split(['\n', ',']).map(str::trim).collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }

    /// What `cordctl` answers.
    fn ctl(&self, line: &str) -> Result<Value, String> {
        serde_json::from_str(&self.node.ctl(&format!("{line} -o json"))?).map_err(|e| format!("{line}: {e}"))
    }
}

/// Waits until each has tried some more, and fails if anything of that got through. `since` is where each was.
#[track_caller]
fn nothing_passes(hammers: &[Ping], since: &[u32], what: &str) {
    const MORE: u32 = 100;
    for (hammer, since) in hammers.iter().zip(since) {
        eventually(PATIENCE, || match hammer.sent() {
            sent if sent > since + MORE => Ok(()),
            sent => Err(format!("{sent} were sent, {since} before")),
        });
        let answered = hammer.answered();
        assert!(answered.is_none_or(|last| last <= *since), "{what}: {answered:?} came back, after {since}");
    }
}

fn pod_addresses(pod: &Pod) -> [IpAddr; 2] {
    [pod.address(false), pod.address(true)]
}
