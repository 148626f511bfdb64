//! Which address a pod of a cluster gets: agents on an API server, the plugin called as kubelet's runtime calls it.
//! There is no kubelet, so that pods are bound and wired exactly when a test says so.

use std::time::Duration;

use corduroy_tests::cni::Call;
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::kube::{ControlPlane, Kubectl, PATIENCE};
use corduroy_tests::{Namespace, eventually, process};
use serde_json::Value;

/// Two nodes and what the cluster says of them.
struct Members {
    nodes: [Node; 2],
    control: ControlPlane,
    fabric: Fabric,
}

impl Members {
    /// Two nodes of a cluster without pools, the first in rack A, the agents not started; `more` is in their
    /// configuration, `cidrs` are the Nodes' podCIDRs.
    fn new(label: &str, second: Segment, more: &str, cidrs: [&str; 2]) -> Self {
        let fabric = Fabric::new(label);
        let host = fabric.host("control", Segment::Outside, 9);
        let control = ControlPlane::on(&host, &Segment::Outside.v4(9));
        let kubectl = control.kubectl();
        kubectl.run(&format!("apply -k {}", process::workspace().join("manifests/base/crds").display()));
        kubectl.run("wait --for=condition=Established crd --all --timeout=60s");
        let node = |name: &str, (segment, n): (Segment, u8), cidrs: &str| {
            kubectl.apply(&format!(
                "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, spec: {{{cidrs}}}}}"
            ));
            fabric.member(fabric.host(name, segment, n), name, &control.kubeconfig(), more)
        };
        let nodes = [node("n1", (Segment::A, 11), cidrs[0]), node("n2", (second, 12), cidrs[1])];
        kubectl
            .apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}");
        Self { nodes, control, fabric }
    }

    fn start(&mut self) {
        self.nodes.iter_mut().for_each(Node::launch);
        self.nodes.iter_mut().for_each(Node::ready);
    }

    fn kubectl(&self) -> &Kubectl {
        self.control.kubectl()
    }

    /// A pod in the API, bound to a node, with annotations.
    fn bound(&self, name: &str, node: usize, annotations: &str) -> Bound {
        let (namespace, bare) = name.split_once('/').unwrap_or(("default", name));
        self.kubectl().apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {bare}, namespace: {namespace}, \
             annotations: {{{annotations}}}}}, spec: {{nodeName: {}, terminationGracePeriodSeconds: 0, \
             containers: [{{name: c, image: i}}]}}}}",
            self.nodes[node].name(),
        ));
        let pod = self.kubectl().get(&format!("pod {bare} -n {namespace}")).unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        Bound {
            arguments: format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={bare};K8S_POD_UID={uid}"),
            inside: self.fabric.container(bare),
            id: format!("id-{uid}"),
            node,
        }
    }

    fn call(&self, pod: &Bound, command: &str) -> Result<Value, String> {
        let node = &self.nodes[pod.node];
        let call = Call::new(&process::binary("corduroy"), command, &node.network());
        let call = call.attachment(&pod.id, "eth0").netns(&pod.inside.path());
        call.variable("CNI_ARGS", &pod.arguments).run(node.host())?.result()
    }

    /// ADD once, as kubelet's first attempt.
    fn try_add(&self, pod: &Bound) -> Result<String, String> {
        let result = self.call(pod, "ADD")?;
        let address = result["ips"][0]["address"].as_str().unwrap_or_default();
        Ok(address.split('/').next().unwrap_or_default().to_owned())
    }

    /// ADD until it succeeds, as kubelet does.
    fn add(&self, pod: &Bound) -> String {
        eventually(PATIENCE, || self.try_add(pod).inspect_err(|_| drop(self.call(pod, "DEL"))))
    }
}

/// A pod that is bound to a node.
struct Bound {
    arguments: String,
    inside: Namespace,
    id: String,
    node: usize,
}

fn fixed(address: &str) -> String {
    format!("corduroy.dev/ipAddrs: '[\"{address}\"]'")
}

const POOLS: &str = "
{apiVersion: corduroy.dev/v1alpha1, kind: IPPool, metadata: {name: all}, spec: {cidr: 10.244.0.0/24, blockSize: 26}}
---
{apiVersion: corduroy.dev/v1alpha1, kind: IPPool, metadata: {name: red}, spec: {cidr: 10.9.0.0/24, blockSize: 28, \
 namespaceSelector: team == 'red'}}
---
{apiVersion: corduroy.dev/v1alpha1, kind: IPPool, metadata: {name: named}, spec: {cidr: 10.8.0.0/24, blockSize: 28, \
 assignmentMode: Manual}}
---
{apiVersion: corduroy.dev/v1alpha1, kind: IPReservation, metadata: {name: low}, spec: {reservedCIDRs: [10.8.0.0/25]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: red, labels: {team: red}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: red}}
";

#[test]
fn pods_get_addresses_as_namespaces_and_annotations_say_and_a_fixed_one_follows_its_pod() {
    let mut world = Members::new("addresses", Segment::A, "", ["", ""]);
    world.kubectl().apply(POOLS);
    world.start();
    let plain = world.bound("plain", 0, "");
    let address = world.add(&plain);
    assert!(address.starts_with("10.244.0."), "{address}");
    let red = world.bound("red/of-red", 0, "");
    assert!(world.add(&red).starts_with("10.9.0."));
    let named = world.bound("named", 0, "cni.projectcalico.org/ipv4pools: '[\"named\"]'");
    let high: std::net::Ipv4Addr = world.add(&named).parse().unwrap();
    assert!(high.octets()[..3] == [10, 8, 0] && high.octets()[3] >= 128, "{high} is reserved");
    let denied = world.bound("denied", 0, "corduroy.dev/ipv4pools: '[\"red\"]'");
    let why = world.try_add(&denied).unwrap_err();
    assert!(why.contains("IPPool \"red\"") && why.contains("for V4 there are: all, named"), "{why}");
    assert!(why.contains("annotation corduroy.dev/ipv4pools of Pod default/denied says"), "{why}");
    let bad = world.bound("bad", 0, "corduroy.dev/ipAddrs: ten");
    let why = world.try_add(&bad).unwrap_err();
    assert!(
        why.contains("annotation corduroy.dev/ipAddrs has the value \"ten\"; allowed is a list"),
        "{why}"
    );

    // A fixed address in the other node's block: lent, announced, and gone with the pod.
    let block = world.nodes[0].blocks().into_iter().find(|block| block.starts_with("10.244.0.")).unwrap();
    let last: u8 = block.split(['.', '/']).nth(3).unwrap().parse::<u8>().unwrap() + 63;
    let wanted = format!("10.244.0.{last}");
    let first = world.bound("first", 1, &fixed(&wanted));
    assert_eq!(world.add(&first), wanted);
    let way = || world.nodes[0].host().ip(&format!("route get {wanted}"));
    eventually(PATIENCE, || {
        let way = way();
        if way.contains("10.1.1.12") { Ok(()) } else { Err(format!("not by the other node: {way}")) }
    });
    eventually(PATIENCE, || plain.inside.try_run(&format!("ping -n -c 1 -W 1 {wanted}")));
    let second = world.bound("second", 0, &fixed(&wanted));
    let why = world.try_add(&second).unwrap_err();
    assert!(why.starts_with("error 11:") && why.contains("claimed by node n2"), "{why}");
    world.call(&second, "DEL").unwrap();
    world.call(&first, "DEL").unwrap();
    assert_eq!(world.add(&second), wanted, "it follows");
    let claims = || world.kubectl().get("ipamblocks").map(|all| all["items"].to_string());
    eventually(PATIENCE, || {
        let claims = claims()?;
        if claims.contains("/32") || claims.contains("lent") { Err(claims) } else { Ok(()) }
    });
}

#[test]
fn of_two_nodes_that_race_for_a_fixed_address_one_gets_it_time_after_time() {
    let mut world = Members::new("race", Segment::A, "", ["", ""]);
    world.kubectl().apply(POOLS);
    world.start();
    for round in 0..5 {
        // In a block that nobody has: both claim it at once.
        let wanted = format!("10.8.0.{}", 100 + round);
        let annotations = format!("{}, corduroy.dev/ipv4pools: '[named]'", fixed(&wanted));
        let both = [0, 1].map(|n| world.bound(&format!("racer-{round}-{n}"), n, &annotations));
        let got: Vec<Result<String, String>> = std::thread::scope(|scope| {
            let racers = both.each_ref().map(|pod| scope.spawn(|| world.try_add(pod)));
            racers.map(|racer| racer.join().unwrap()).into()
        });
        assert!(got.iter().filter(|result| result.is_ok()).count() == 1, "{got:?}");
        for (pod, result) in both.iter().zip(&got) {
            if let Err(why) = result {
                assert!(why.starts_with("error 11:"), "{why}");
            }
            world.call(pod, "DEL").unwrap();
        }
    }
}

#[test]
fn the_cidrs_that_a_cluster_gives_its_nodes_are_their_blocks() {
    let cidrs = |n: u8| format!("podCIDR: 10.244.{n}.0/24, podCIDRs: [10.244.{n}.0/24, 'fd00:244:{n}::/64']");
    let mut world = Members::new("given", Segment::B, "ipam:\n  blocks: podCIDRs\n", [&cidrs(1), ""]);
    world.kubectl().apply(
        "{apiVersion: corduroy.dev/v1alpha1, kind: IPPool, metadata: {name: all}, \
         spec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet}}",
    );
    world.nodes.iter_mut().for_each(Node::launch);
    world.nodes[0].ready();
    let without = || world.nodes[1].ctl("status");
    eventually(PATIENCE, || {
        let status = without()?;
        if status.contains("Node n2 has no spec.podCIDRs") { Ok(()) } else { Err(status) }
    });
    let spec = "{\"podCIDR\":\"10.244.2.0/24\",\"podCIDRs\":[\"10.244.2.0/24\",\"fd00:244:2::/64\"]}";
    world.kubectl().run(&format!("patch node n2 --type merge -p {{\"spec\":{spec}}}"));
    world.nodes[1].ready();
    let pods = [world.bound("one", 0, ""), world.bound("two", 1, "")];
    let addresses = pods.each_ref().map(|pod| world.add(pod));
    assert!(addresses[0].starts_with("10.244.1.") && addresses[1].starts_with("10.244.2."), "{addresses:?}");
    eventually(Duration::from_secs(60), || {
        pods[0].inside.try_run(&format!("ping -n -c 1 -W 1 {}", addresses[1]))
    });
    let tunnel = world.nodes[0].host().ip("route show 10.244.2.0/24");
    assert!(tunnel.contains("vxlan-cord"), "{tunnel}");
    let owner = world.nodes[0].ctl(&format!("explain {}", addresses[1])).unwrap();
    assert!(owner.contains("10.244.2.0/24") && owner.contains("n2"), "{owner}");
    let claimed = world.kubectl().get("ipamblocks").unwrap();
    assert_eq!(claimed["items"].as_array().map(Vec::len), Some(0), "{claimed}");
}
