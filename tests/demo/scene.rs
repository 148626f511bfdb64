//! What the demonstration stands on.

use std::process::Command;
use std::time::Duration;

use corduroy_tests::daemons::{Bird, GoBgp, Neighbour, Router};
use corduroy_tests::fabric::{Fabric, Node, Pod, Segment};
use corduroy_tests::process::{Process, binary};
use corduroy_tests::{Namespace, eventually};

/// What is built.
pub(crate) const PICTURE: &str = "\
                        client 10.1.3.10
                             │
     collector        ┌──────┴───────┐
     GoBGP AS 65002 ──┤    router    │  BIRD AS 65001: the ToR of rack a
     10.1.3.20        └──┬────────┬──┘
          rack a         │        │         rack b
          10.1.1.0/24    │        │         10.1.2.0/24
      ┌────────┬─────────┤        └────┐
     n1       n2     reflector        n3    agents, AS 64512: full mesh, then the reflector
    /  \\     /  \\    10.1.1.20       /  \\
  web  db  api  log               job  gpu  pods, dual stack, 10.244.0.0/16 and fd00:244::/112
";

/// How long the demonstration waits for anything before it calls it broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The parts, by name.
pub(crate) struct Scene {
    pub(crate) pods: Vec<Pod>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tor: Bird,
    pub(crate) collector: GoBgp,
    pub(crate) client: Namespace,
    _reflector: Process,
    pub(crate) encapsulation: &'static str,
    pub(crate) fabric: Fabric,
}

/// The nodes: name, segment, number.
const NODES: [(&str, Segment, u8); 3] =
    [("n1", Segment::A, 11), ("n2", Segment::A, 12), ("n3", Segment::B, 13)];
/// The pods: name, index of the node.
const PODS: [(&str, usize); 6] = [("web", 0), ("db", 0), ("api", 1), ("log", 1), ("job", 2), ("gpu", 2)];
/// The reflector's number in rack a.
const REFLECTOR: u8 = 20;

impl Scene {
    /// Builds all of it and waits until every node is ready and every pod wired.
    pub(crate) fn start() -> (Self, String) {
        let fabric = Fabric::new("demo");
        let encapsulation = if kernel_has_ipip(fabric.router()) { "ipip" } else { "vxlan" };
        fabric.pools(if encapsulation == "ipip" { "ipipMode" } else { "vxlanMode" });
        let client = fabric.host("client", Segment::Outside, 10);
        let tor = Bird::start(fabric.router(), tor());
        let collector = GoBgp::start(&fabric.host("collector", Segment::Outside, 20), collector());
        let reflector = reflector(&fabric.host("reflector", Segment::A, REFLECTOR));
        fabric.put("peers", &outside_peers());
        fabric.put("bgp", &configuration(true));
        let mut nodes: Vec<Node> = NODES.iter().map(|(name, s, n)| fabric.node(name, *s, *n)).collect();
        nodes.iter_mut().for_each(Node::launch);
        nodes.iter_mut().for_each(Node::ready);
        let pods: Vec<Pod> = PODS.iter().map(|(name, node)| fabric.pod(&nodes[*node], name)).collect();
        let scene =
            Self { pods, nodes, tor, collector, client, _reflector: reflector, encapsulation, fabric };
        scene.all_reach_all();
        let detail = format!("{} nodes, {} pods, {encapsulation} between the racks", NODES.len(), PODS.len());
        (scene, detail)
    }

    /// The pod called `name`.
    pub(crate) fn pod(&self, name: &str) -> &Pod {
        let at = PODS.iter().position(|(pod, _)| *pod == name);
        at.and_then(|at| self.pods.get(at)).unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// All blocks of all nodes, or of those with an index in `nodes`.
    pub(crate) fn blocks(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().flat_map(|n| self.nodes[*n].blocks()).collect()
    }

    /// Waits until each pod reaches each other, in both families.
    fn all_reach_all(&self) {
        for from in &self.pods {
            for to in &self.pods {
                for v6 in [false, true] {
                    let target = to.address(v6);
                    eventually(PATIENCE, || from.inside().try_run(&format!("ping -c 1 -W 1 {target}")));
                }
            }
        }
    }

    /// The reflector, as a peer of every node.
    pub(crate) fn reflector_peers() -> String {
        [Segment::A.v4(REFLECTOR), Segment::A.v6(REFLECTOR)]
            .iter()
            .enumerate()
            .map(peer_of_all(64512))
            .collect()
    }

    /// How to look around.
    pub(crate) fn directions(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let (name, socket) = (node.host().name(), node.socket("status.sock"));
            text += &format!("  {}: ip netns exec {name} bash; ", node.name());
            text += &format!("cordctl --socket {} peers\n", socket.display());
        }
        for pod in &self.pods {
            text += &format!("  pod {}: ip netns exec {} bash\n", pod.address(false), pod.inside().name());
        }
        text
    }
}

fn kernel_has_ipip(host: &Namespace) -> bool {
    let made = host.try_ip("link add probe type ipip external");
    made.and_then(|_| host.try_ip("link del probe")).is_ok()
}

fn tor() -> Router {
    let mut router = Router::new(65001, "10.1.1.1");
    router.kernel = true;
    for n in [11, 12] {
        router = router.peer(node(&Segment::A.v4(n)));
        router = router.peer(node(&Segment::A.v6(n)));
    }
    router
}

/// One of our nodes, seen from outside. The short hold time is what finds a node that lost its power.
fn node(address: &str) -> Neighbour {
    Neighbour { hold: 6, ..Neighbour::one_family(address, 64512) }
}

fn collector() -> Router {
    let mut router = Router::new(65002, "10.1.3.20");
    for (_, segment, n) in NODES {
        for address in [segment.v4(n), segment.v6(n)] {
            router = router.peer(Neighbour { multihop: true, ..node(&address) });
        }
    }
    router
}

fn reflector(host: &Namespace) -> Process {
    let run = host.dir().join("run");
    let config = format!(
        "asNumber: 64512\nrouterID: 10.1.1.20\nrunDir: {0}\nstatusSocket: {0}/status.sock\n\
         clients:\n- range: 10.1.0.0/16\n- range: fd00:1::/32\n",
        run.display()
    );
    let path = host.file("reflector.yaml", &config);
    let mut command = Command::new(binary("corduroy-routereflector"));
    command.arg("--config").arg(path);
    Process::spawn(host, "corduroy-routereflector", command)
}

/// BIRD for the nodes of its rack, the collector for all.
fn outside_peers() -> String {
    let mut yaml = String::new();
    for (node, segment, _) in NODES.iter().filter(|(_, segment, _)| *segment == Segment::A) {
        for (i, address) in [segment.v4(1), segment.v6(1)].iter().enumerate() {
            yaml += &peer(&format!("tor-{node}-{i}"), &format!("  node: {node}\n"), address, 65001);
        }
    }
    let collectors = [Segment::Outside.v4(20), Segment::Outside.v6(20)];
    yaml + &collectors.iter().enumerate().map(peer_of_all(65002)).collect::<String>()
}

fn peer_of_all(asn: u32) -> impl Fn((usize, &String)) -> String {
    move |(i, address)| peer(&format!("all-{asn}-{i}"), "", address, asn)
}

fn peer(name: &str, whose: &str, address: &str, asn: u32) -> String {
    format!(
        "apiVersion: corduroy.dev/v1alpha1\nkind: BGPPeer\nmetadata:\n  name: {name}\n\
         spec:\n{whose}  peerIP: \"{address}\"\n  asNumber: {asn}\n  maxRestartTime: 10s\n---\n"
    )
}

/// Mesh or no mesh, and clocks that make a demonstration short.
pub(crate) fn configuration(mesh: bool) -> String {
    let clocks = if mesh { "  nodeMeshHoldTime: 6s\n  nodeMeshMaxRestartTime: 6s\n" } else { "" };
    format!(
        "apiVersion: corduroy.dev/v1alpha1\nkind: BGPConfiguration\nmetadata:\n  name: default\n\
         spec:\n  nodeToNodeMeshEnabled: {mesh}\n{clocks}"
    )
}
