//! What happens to a cluster over the years, in minutes, while pods of two racks talk: a ping each 10 ms in both
//! families and connections that stay open. Not one packet may be lost, nor a connection.

use std::time::Duration;

use corduroy_tests::kube::{AGNHOST, Machine, PATIENCE, Part, corduroy};
use corduroy_tests::probe::{Ping, Stream};
use corduroy_tests::{eventually, process};

use super::TAGS;
use super::workload::{PORT, Pod, Workload, url};

const PACE: Duration = Duration::from_millis(10);
const STREAM_PORT: u16 = 7100;
/// For how many packets of the ping the API server is away: two minutes.
const AWAY: u32 = 12_000;
/// Between pods that talk all the time.
const BACK: Duration = Duration::from_secs(60);

/// What runs from one pod to another all the time.
struct Traffic {
    pings: Vec<Ping>,
    streams: Vec<Stream>,
}

impl Traffic {
    fn start(world: &Workload, from: &Pod, to: &Pod) -> Self {
        let (inside, there) = (world.netns(from), world.netns(to));
        let ping = |address: &String| Ping::start_in(&inside, &from.node, address, PACE);
        let stream = |address: &String| {
            let target = (address.parse::<std::net::IpAddr>().unwrap(), STREAM_PORT);
            Stream::open(&inside, &there, target.into())
        };
        let traffic = Self {
            pings: to.addresses.iter().map(ping).collect(),
            streams: to.addresses.iter().map(stream).collect(),
        };
        traffic.goes_on("the beginning");
        traffic
    }

    /// The number of the latest packet. One is sent each `PACE` and not sooner.
    fn sent(&self) -> u32 {
        self.pings.iter().map(Ping::sent).min().unwrap_or_default()
    }

    /// Nothing was lost up to now, and it still flows.
    #[track_caller]
    fn goes_on(&self, through: &str) {
        for ping in &self.pings {
            ping.report(BACK).expect_no_loss(through);
        }
        self.streams.iter().for_each(|stream| stream.marker(BACK));
    }
}

/// One after the other, on one cluster.
pub(super) fn everything_happens(world: &mut Workload) {
    let (clients, servers) = (world.running("client"), world.running("server"));
    let (client, server) = (clients.get("n1").unwrap(), servers.get("n2").unwrap());
    let traffic = Traffic::start(world, client, server);
    the_agents_are_upgraded(world);
    traffic.goes_on("a rolling upgrade");
    an_agent_is_killed(world);
    traffic.goes_on("kill -9 of an agent");
    the_api_server_goes_away(world, server, &traffic);
    traffic.goes_on("the loss of the API server");
    etcd_goes_away(world);
    traffic.goes_on("the loss of etcd");
    the_definitions_go_and_return(world);
    traffic.goes_on("the loss of all definitions");
    let near = Traffic::start(world, client, servers.get("n3").unwrap());
    a_node_is_deleted(world, &near);
    traffic.goes_on("the deletion of a node");
    a_node_loses_power(world, client);
    traffic.goes_on("a power cut");
}

/// `kubectl apply -k` with the next tag, as docs/operations.md says.
fn the_agents_are_upgraded(world: &Workload) {
    corduroy::install(&world.cluster, TAGS[1]);
    let pods = world.kubectl.get("-n corduroy-system pods -l app.kubernetes.io/name=corduroy-agent").unwrap();
    let pods = pods["items"].as_array().unwrap();
    let images: Vec<_> = pods.iter().map(|pod| &pod["spec"]["containers"][0]["image"]).collect();
    assert_eq!(images.len(), 3);
    assert!(images.iter().all(|image| **image == format!("corduroy.dev/agent:{}", TAGS[1])), "{images:?}");
    a_new_pod_is_served(world, "n2");
}

fn an_agent_is_killed(world: &Workload) {
    corduroy::kill_agent(world.cluster.node("n2"));
    a_new_pod_is_served(world, "n2");
}

/// A pod asks another node again and again, whatever the API server does.
fn asking(name: &str, target: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: default
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: {name}
    image: {AGNHOST}
    command: [sh, -c, 'while :; do curl -gsS --max-time 3 {target}/hostname; echo; sleep 1; done']
"
    )
}

fn interfaces(node: &Machine) -> Result<usize, String> {
    Ok(node.run("ip -oneline link")?.lines().filter(|line| line.contains(": cord")).count())
}

/// For two minutes, in which pods start and stop, and the agent restarts.
fn the_api_server_goes_away(world: &mut Workload, server: &Pod, traffic: &Traffic) {
    world.cluster.control().kill(Part::ApiServer);
    let until = traffic.sent() + AWAY;
    let node = world.cluster.node("n1");
    let before = interfaces(node).unwrap();
    let target = url(&server.addresses[0], PORT);
    let answered = |name: &str| {
        let log = node.pod_logs(name);
        if log.contains(&server.name) { Ok(()) } else { Err(format!("{name} on n1 says {log:?}")) }
    };
    node.static_pod("first", Some(&asking("first", &target)));
    eventually(PATIENCE, || answered("first"));
    corduroy::kill_agent(node);
    eventually(PATIENCE, || {
        let log = node.pod_logs("agent");
        let said = log.contains("going by the Node of the former run");
        if said { Ok(()) } else { Err("the new agent still waits for the API server".to_owned()) }
    });
    node.static_pod("second", Some(&asking("second", &target)));
    eventually(PATIENCE, || answered("second"));
    let remove = |name: &str, left: usize| {
        node.static_pod(name, None);
        eventually(PATIENCE, || match interfaces(node)? {
            now if now == before + left => Ok(()),
            now => Err(format!("{now} pods on n1, {before} before and {left} more since")),
        });
    };
    remove("first", 1);
    let mut more = 0;
    while traffic.sent() < until {
        more += 1;
        let name = format!("more-{more}");
        node.static_pod(&name, Some(&asking(&name, &target)));
        eventually(PATIENCE, || answered(&name));
        remove(&name, 1);
    }
    println!("two minutes without the API server: {} pods started and {} stopped", more + 2, more + 1);
    assert!(world.cluster.control().healthy().is_err(), "the API server was away all the time");
    world.cluster.control().start(Part::ApiServer);
    world.cluster.control().ready();
    world.cluster.node("n1").static_pod("second", None);
    a_new_pod_is_served(world, "n3");
}

fn etcd_goes_away(world: &mut Workload) {
    world.cluster.control().kill(Part::Etcd);
    eventually(PATIENCE, || match world.cluster.control().healthy() {
        Err(_) => Ok(()),
        Ok(()) => Err("the API server does not miss etcd".to_owned()),
    });
    world.cluster.control().start(Part::Etcd);
    world.cluster.control().ready();
    a_new_pod_is_served(world, "n2");
}

/// With them go all pools and nodes; they are applied again as docs/operations.md says.
fn the_definitions_go_and_return(world: &Workload) {
    world.kubectl.run("delete crd -l app.kubernetes.io/part-of=corduroy");
    eventually(PATIENCE, || {
        let said = world.cluster.node("n1").pod_logs("agent").contains("went with its definition");
        if said { Ok(()) } else { Err("the agent of n1 does not say what it has lost".to_owned()) }
    });
    corduroy::install(&world.cluster, TAGS[1]);
    eventually(PATIENCE, || {
        let nodes = world.kubectl.get("fabricnodes.corduroy.dev")?;
        match nodes["items"].as_array().map_or(0, Vec::len) {
            3 => Ok(()),
            n => Err(format!("{n} of 3 nodes have written what they are again")),
        }
    });
    a_new_pod_is_served(world, "n2");
}

/// Its pods go on until the kubelet is told otherwise; a new Node of its name is a new node.
fn a_node_is_deleted(world: &Workload, near: &Traffic) {
    let node = world.cluster.node("n3");
    let uid = || Ok::<_, String>(world.kubectl.get("node n3")?["metadata"]["uid"].to_string());
    let before = uid().unwrap();
    world.kubectl.run("delete node n3");
    eventually(PATIENCE, || {
        let said = node.pod_logs("agent").contains("the cluster has no Node n3 any more");
        if said { Ok(()) } else { Err("the agent of n3 does not say that its Node is gone".to_owned()) }
    });
    near.goes_on("the deletion of the Node of a pod that runs");
    node.kill("kubelet");
    eventually(PATIENCE, || match uid()? {
        now if now != before => Ok(()),
        now => Err(format!("n3 is still {now}")),
    });
    eventually(PATIENCE, || world.cluster.condition("n3", "Ready", "True"));
    eventually(PATIENCE, || world.cluster.condition("n3", "NetworkUnavailable", "False"));
    a_new_pod_is_served(world, "n3");
}

fn a_node_loses_power(world: &mut Workload, client: &Pod) {
    world.cluster.power_off("n3");
    eventually(PATIENCE, || world.cluster.condition("n3", "Ready", "Unknown"));
    world.cluster.power_on("n3");
    eventually(PATIENCE, || world.cluster.condition("n3", "Ready", "True"));
    eventually(PATIENCE, || {
        let server = world.pods("server")?.remove("n3").ok_or("n3 has no server")?;
        answers(world, client, &server)
    });
}

/// Whether a pod answers another in both families.
fn answers(world: &Workload, client: &Pod, server: &Pod) -> Result<(), String> {
    let urls: Vec<_> = server.addresses.iter().map(|a| format!("{}/hostname", url(a, PORT))).collect();
    match world.ask(client, &urls)? {
        names if names.iter().all(|name| *name == server.name) => Ok(()),
        names => Err(format!("{names:?} answered for {}", server.name)),
    }
}

/// The pod `client` of a node is made anew, and reaches all others.
#[track_caller]
fn a_new_pod_is_served(world: &Workload, node: &str) {
    let old = eventually(PATIENCE, || {
        let list = world.kubectl.get(&format!("pods -l app=client --field-selector spec.nodeName={node}"))?;
        let name = list["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
        name.ok_or_else(|| format!("{node} has no client: {}", process::logs()))
    });
    eventually(PATIENCE, || world.kubectl.try_run(&format!("delete pod {old} --wait=false")));
    eventually(PATIENCE, || {
        let clients = world.pods("client")?;
        let new = clients.get(node).filter(|pod| pod.name != old).ok_or("it is still the old one")?;
        let servers = world.pods("server")?;
        servers.values().try_for_each(|server| answers(world, new, server))
    });
}
