//! The rights in the manifest are the least: each is taken away by itself, and something breaks, which is said.
//!
//! One API server, and for each right an agent of its own, whose service account has all rights but that one. What an
//! agent lacks is its own business: it is the caretaker, if at all, of a namespace of its own, and its neighbours are
//! none, so that nobody does for it what it can't. An agent with all rights goes through the same things and must not
//! be denied anything.

use std::collections::BTreeMap;
use std::fmt;

use corduroy_api::{IpNetwork, IpamBlock, Resource, yaml};
use corduroy_tests::eventually;
use corduroy_tests::fabric::{Fabric, Node, Segment};
use corduroy_tests::kube::{Kubectl, PATIENCE};
use corduroy_tests::process;
use serde_json::{Value, json};

/// What breaks without a right. An agent's log says it, in one line with the API server's denial of this very right.
#[derive(Clone, Copy)]
enum Breaks {
    /// This kind can't be had; `cordctl status` says so too.
    Kind(&'static str),
    /// It starts to say this, whatever happens.
    Always(&'static str),
    /// This is not written, which `cordctl status` says too: once its Node has got another label.
    Follow(&'static str),
    /// Likewise, once its Node is gone and what it has is to go back.
    Leave(&'static str),
    /// It says this as the caretaker of a cluster that has no pools yet.
    First(&'static str),
    /// It says this as the caretaker of a cluster in which it is alone to take care of things just made.
    Care(&'static str),
}

use Breaks::{Always, Care, First, Follow, Kind, Leave};

/// Every right of the manifest, and what it is for.
const RIGHTS: &[(&str, Breaks)] = &[
    ("list nodes", Always("Node n-list-nodes can't be had")),
    ("watch nodes", Always("Node n-watch-nodes can't be had")),
    ("list namespaces", Kind("Namespace")),
    ("watch namespaces", Kind("Namespace")),
    ("list pods", Kind("Pod")),
    ("watch pods", Kind("Pod")),
    ("patch nodes/status", Always("condition NetworkUnavailable not written")),
    ("list customresourcedefinitions", Always("what goes with its definition counts as deleted")),
    ("watch customresourcedefinitions", Always("what goes with its definition counts as deleted")),
    ("list services", Kind("Service")),
    ("watch services", Kind("Service")),
    ("list endpointslices", Kind("EndpointSlice")),
    ("watch endpointslices", Kind("EndpointSlice")),
    ("list bgpconfigurations", Kind("BGPConfiguration")),
    ("watch bgpconfigurations", Kind("BGPConfiguration")),
    ("list bgpfilters", Kind("BGPFilter")),
    ("watch bgpfilters", Kind("BGPFilter")),
    ("list bgppeers", Kind("BGPPeer")),
    ("watch bgppeers", Kind("BGPPeer")),
    ("list ippools", Kind("IPPool")),
    ("watch ippools", Kind("IPPool")),
    ("list ipreservations", Kind("IPReservation")),
    ("watch ipreservations", Kind("IPReservation")),
    ("list serviceaccounts", Kind("ServiceAccount")),
    ("watch serviceaccounts", Kind("ServiceAccount")),
    ("list networkpolicies.networking.k8s.io", Kind("NetworkPolicy.networking.k8s.io")),
    ("watch networkpolicies.networking.k8s.io", Kind("NetworkPolicy.networking.k8s.io")),
    ("list clusternetworkpolicies", Kind("ClusterNetworkPolicy")),
    ("watch clusternetworkpolicies", Kind("ClusterNetworkPolicy")),
    ("list globalnetworkpolicies", Kind("GlobalNetworkPolicy")),
    ("watch globalnetworkpolicies", Kind("GlobalNetworkPolicy")),
    ("list globalnetworksets", Kind("GlobalNetworkSet")),
    ("watch globalnetworksets", Kind("GlobalNetworkSet")),
    ("list hostendpoints", Kind("HostEndpoint")),
    ("watch hostendpoints", Kind("HostEndpoint")),
    ("list networkpolicies", Kind("NetworkPolicy")),
    ("watch networkpolicies", Kind("NetworkPolicy")),
    ("list networksets", Kind("NetworkSet")),
    ("watch networksets", Kind("NetworkSet")),
    ("list tiers", Kind("Tier")),
    ("watch tiers", Kind("Tier")),
    ("list fabricnodes", Kind("FabricNode")),
    ("watch fabricnodes", Kind("FabricNode")),
    ("get fabricnodes", Follow("own FabricNode not written")),
    ("create fabricnodes", Always("own FabricNode not written")),
    ("patch fabricnodes", Follow("own FabricNode not written")),
    ("delete fabricnodes", Leave("own FabricNode not written")),
    ("list ipamblocks", Kind("IPAMBlock")),
    ("watch ipamblocks", Kind("IPAMBlock")),
    ("get ipamblocks", Leave("can't write IPAMBlock/")),
    ("create ipamblocks", Always("can't write IPAMBlock/")),
    // An address in its block that another claims is never lent.
    ("patch ipamblocks", Always("can't write IPAMBlock/")),
    ("delete ipamblocks", Leave("can't write IPAMBlock/")),
    ("create nodestatuses", Always("NodeStatus/n-create-nodestatuses: ")),
    ("patch nodestatuses", Always("NodeStatus/n-patch-nodestatuses: ")),
    ("create events", Always("no Event SessionDown")),
    ("patch events", Always("no Event SessionDown")),
    ("create ippools", First("not made of 10.244.0.0/16")),
    ("patch bgpconfigurations/status", Care("status of BGPConfiguration/")),
    ("patch bgpfilters/status", Care("status of BGPFilter/")),
    ("patch bgppeers/status", Care("status of BGPPeer/")),
    ("patch ippools/status", Care("status of IPPool/")),
    ("patch ipreservations/status", Care("status of IPReservation/")),
    ("patch globalnetworkpolicies/status", Care("status of GlobalNetworkPolicy/")),
    ("patch globalnetworksets/status", Care("status of GlobalNetworkSet/")),
    ("patch hostendpoints/status", Care("status of HostEndpoint/")),
    ("patch networkpolicies/status", Care("status of NetworkPolicy/")),
    ("patch networksets/status", Care("status of NetworkSet/")),
    ("patch tiers/status", Care("status of Tier/")),
    ("get leases", First("this agent can't be the caretaker")),
    ("create leases", First("this agent can't be the caretaker")),
    ("patch leases", First("this agent can't be the caretaker")),
    ("get configmaps", First("ConfigMap kube-system/kubeadm-config: ")),
    ("list secrets", Kind("Secret")),
    ("watch secrets", Kind("Secret")),
];

/// One verb on one resource, which has its group where ours is called the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    resource: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

impl Right {
    /// The API server's words when it is missing.
    fn denied(&self) -> String {
        let Self { verb, resource } = self;
        match resource.split_once('.') {
            Some((bare, group)) => format!("cannot {verb} resource \"{bare}\" in API group \"{group}\""),
            // Two kinds are called so; the other one is ours.
            None if resource == "networkpolicies" => {
                format!("cannot {verb} resource \"{resource}\" in API group \"corduroy.dev\"")
            }
            None => format!("cannot {verb} resource \"{resource}\""),
        }
    }
}

/// The name of the Node whose agent lacks it, and of the namespace of its account.
fn name_of(right: Option<&Right>) -> String {
    right.map_or("n-whole".to_owned(), |right| {
        format!("n-{}-{}", right.verb, right.resource.replace(['/', '.'], "-"))
    })
}

/// The roles of the manifest that are the agent's, each as a rule for every single right.
struct Roles {
    cluster: Vec<(Right, Value)>,
    own: Vec<(Right, Value)>,
}

fn words<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Roles {
    fn read() -> Self {
        let path = process::workspace().join("manifests/base/agent/rbac.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let mut roles = Self { cluster: Vec::new(), own: Vec::new() };
        for document in yaml::documents(&text) {
            let object: Value = serde_json::to_value(document.parse().unwrap()).unwrap();
            let rules = object["rules"].as_array().into_iter().flatten();
            let place = match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
                (Some("ClusterRole"), Some("corduroy-agent")) => &mut roles.cluster,
                (Some("Role"), Some("corduroy-agent")) => &mut roles.own,
                _ => continue,
            };
            for rule in rules {
                for (verb, resource) in
                    words(rule, "verbs").flat_map(|verb| words(rule, "resources").map(move |r| (verb, r)))
                {
                    let mut one = rule.clone();
                    (one["verbs"], one["resources"]) = (json!([verb]), json!([resource]));
                    let group = words(rule, "apiGroups").next().filter(|group| *group == "networking.k8s.io");
                    let resource = group.map_or(resource.to_owned(), |group| format!("{resource}.{group}"));
                    let right = Right { verb: verb.to_owned(), resource };
                    place.push((right, one));
                }
            }
        }
        roles
    }

    fn all(&self) -> impl Iterator<Item = &Right> {
        self.cluster.iter().chain(&self.own).map(|(right, _)| right)
    }
}

/// All that an account in a namespace of its own needs, with all rights but one.
fn account(roles: &Roles, name: &str, without: Option<&Right>) -> Vec<Value> {
    let rules = |all: &[(Right, Value)]| -> Vec<Value> {
        all.iter().filter(|(right, _)| Some(right) != without).map(|(_, rule)| rule.clone()).collect()
    };
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let binding = |kind: &str, role: &str| {
        json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": name },
            "roleRef": { "apiGroup": group, "kind": role, "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": "agent", "namespace": name }],
        })
    };
    let role = |kind: &str, rules| {
        let metadata = json!({ "name": name, "namespace": name });
        json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules })
    };
    vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "agent", "namespace": name } }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "bgp", "namespace": name },
            "stringData": { "tor": "password" },
        }),
        role("ClusterRole", rules(&roles.cluster)),
        binding("ClusterRoleBinding", "ClusterRole"),
        role("Role", rules(&roles.own)),
        binding("RoleBinding", "Role"),
    ]
}

/// What makes agents need all their rights: addresses of services to announce, of which one is served locally, a
/// session with a password whose peer is not there, a policy for service accounts.
const SETTING: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  nodeToNodeMeshEnabled: false
  serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}]
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 10.1.1.1, asNumber: 65001, password: {secretKeyRef: {name: bgp, key: tor}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]}
---
apiVersion: corduroy.dev/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: accounts}
spec:
  selector: all()
  serviceAccountSelector: has(team)
  ingress: [{action: Allow, source: {selector: has(app), serviceAccounts: {selector: has(team)}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeadm-config, namespace: kube-system}
data: {ClusterConfiguration: 'networking: {podSubnet: 10.244.0.0/16}'}
";

/// Blocks for those who are to write some.
const POOL: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.244.0.0/16, nodeSelector: has(blocks)}
";

/// Something of each kind of which the caretaker says how it is.
const FRESH: &str = "
apiVersion: corduroy.dev/v1alpha1
kind: IPPool
metadata: {name: fresh}
spec: {cidr: 10.245.0.0/16, nodeSelector: has(nobody)}
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: node.fresh}
spec: {}
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPPeer
metadata: {name: fresh}
spec: {peerIP: 10.1.1.2, asNumber: 65001, nodeSelector: has(nobody)}
---
apiVersion: corduroy.dev/v1alpha1
kind: BGPFilter
metadata: {name: fresh}
spec: {}
---
apiVersion: corduroy.dev/v1alpha1
kind: IPReservation
metadata: {name: fresh}
spec: {reservedCIDRs: [10.245.0.7/32]}
---
apiVersion: corduroy.dev/v1alpha1
kind: Tier
metadata: {name: fresh}
spec: {order: 7}
---
apiVersion: corduroy.dev/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: fresh}
spec: {selector: has(nobody)}
---
apiVersion: corduroy.dev/v1alpha1
kind: GlobalNetworkSet
metadata: {name: fresh}
spec: {nets: [198.51.100.0/24]}
---
apiVersion: corduroy.dev/v1alpha1
kind: HostEndpoint
metadata: {name: fresh}
spec: {node: nobody, interfaceName: '*'}
---
apiVersion: corduroy.dev/v1alpha1
kind: NetworkPolicy
metadata: {name: fresh, namespace: default}
spec: {selector: has(nobody)}
---
apiVersion: corduroy.dev/v1alpha1
kind: NetworkSet
metadata: {name: fresh, namespace: default}
spec: {nets: [198.51.100.0/24]}
";

/// An agent that lacks a right, or none.
struct Case {
    right: Option<(Right, Breaks)>,
    node: Node,
}

impl Case {
    fn new(fabric: &mut Fabric, right: Option<(Right, Breaks)>, number: u8) -> Self {
        let name = name_of(right.as_ref().map(|(right, _)| right));
        let kubectl = fabric.kubectl();
        fabric.register(&name, Segment::A, number);
        let has_blocks = right.as_ref().is_none_or(|(right, _)| right.resource == "ipamblocks");
        if has_blocks {
            kubectl.run(&format!("label node {name} blocks="));
        }
        let token = kubectl.run(&format!("create token agent -n {name}"));
        let kubeconfig = fabric.control().account_kubeconfig(&name, token.trim(), &name);
        let cares = right.as_ref().is_none_or(|(_, breaks)| matches!(breaks, First(_) | Care(_)));
        let more = format!("    caretaker: {{enabled: {cares}, lease: 3s, interval: 1s}}\n");
        let host = fabric.host(&format!("a{number}"), Segment::A, number);
        let node = fabric.member(host, &name, &kubeconfig, &more);
        Self { right, node }
    }

    fn name(&self) -> &str {
        self.node.name()
    }

    /// Is it the one without this right?
    fn lacks(&self, right: &str) -> bool {
        self.right.as_ref().is_some_and(|(own, _)| own.to_string() == right)
    }

    /// What is to break is broken, and is said.
    fn proves(&mut self) -> Result<(), String> {
        let Some((right, breaks)) = &self.right else { return Ok(()) };
        let (effect, shown) = match breaks {
            Kind(kind) => (format!("{kind} can't be had"), true),
            Always(effect) | Follow(effect) | Leave(effect) => {
                ((*effect).to_owned(), matches!(right.resource.as_str(), "fabricnodes" | "ipamblocks"))
            }
            First(effect) | Care(effect) => ((*effect).to_owned(), false),
        };
        let denied = right.denied();
        let log = self.node.agent().log();
        if !log.lines().any(|line| line.contains(&effect) && line.contains(&denied)) {
            return Err(format!("without {right}: no line of the log has {effect:?} and {denied:?}"));
        }
        // A denied Node is waited for, before there is anything that could be asked.
        let status = if shown { self.node.ctl("status")? } else { denied.clone() };
        if status.contains(&denied) { Ok(()) } else { Err(format!("without {right}: {status}")) }
    }
}

/// How many agents that only watch are there at a time.
const WAVE: usize = 16;

/// Waits until each has been proven to need what it lacks.
fn all_prove(mut cases: Vec<&mut Case>) {
    eventually(PATIENCE, || {
        let mut missing = Vec::new();
        cases.retain_mut(|case| case.proves().inspect_err(|why| missing.push(why.clone())).is_err());
        if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
    });
}

/// The table as rights of the manifest; fails when they are not the same.
fn table(roles: &Roles) -> Vec<(Right, Breaks)> {
    let mut breaks: BTreeMap<String, Breaks> =
        RIGHTS.iter().map(|(right, breaks)| ((*right).to_owned(), *breaks)).collect();
    assert_eq!(breaks.len(), RIGHTS.len(), "a right has two lines in the table");
    let mut out = Vec::new();
    let mut unknown = Vec::new();
    for right in roles.all() {
        match breaks.remove(&right.to_string()) {
            Some(breaks) => out.push((right.clone(), breaks)),
            None => unknown.push(right.to_string()),
        }
    }
    assert!(unknown.is_empty(), "rights (given twice, or) that nothing is known to need: {unknown:?}");
    assert!(breaks.is_empty(), "the manifest does not give {:?}", breaks.keys());
    out
}

/// Waits until the API server goes by all roles.
fn in_force(kubectl: &Kubectl, roles: &Roles, name: &str) {
    for right in [roles.cluster.first(), roles.own.first()].into_iter().flatten() {
        let Right { verb, resource } = &right.0;
        let may = format!("auth can-i {verb} {resource} -n {name} --as=system:serviceaccount:{name}:agent");
        eventually(PATIENCE, || kubectl.try_run(&may));
    }
}

/// Writes an object as somebody does who says nothing new of it: it has another version.
fn touch(kubectl: &Kubectl, object: &str) {
    for finalizers in [r#"["corduroy.dev/test"]"#, "null"] {
        let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
        let mut call = vec!["patch"];
        call.extend(object.split(' '));
        call.extend(["--type=merge", "-p", &patch]);
        kubectl.call(&call).unwrap();
    }
}

/// The blocks of a node, once it has some.
fn blocks(kubectl: &Kubectl, node: &str) -> Vec<(String, String)> {
    eventually(PATIENCE, || {
        let list = kubectl.get("ipamblocks")?;
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let own = all.iter().filter(|block| block["spec"]["node"] == node);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own: Vec<_> = own.map(|b| (text(&b["metadata"]["name"]), text(&b["spec"]["cidr"]))).collect();
        if own.is_empty() { Err(format!("{node} has no block")) } else { Ok(own) }
    })
}

/// Claims an address out of the block that a node has, as another node would.
fn claim_in(kubectl: &Kubectl, node: &str) {
    let (_, cidr) = blocks(kubectl, node).remove(0);
    let cidr: IpNetwork = cidr.parse().unwrap();
    let address = cidr.iter().nth(9).unwrap();
    let claim = IpamBlock::claim(IpNetwork::from(address), "somebody", "somebody", 1);
    kubectl.apply(&Resource::IpamBlock(claim.into()).to_yaml().unwrap());
}

/// The caretakers: those of a cluster without pools, all at once since none can make one; then each by itself.
fn the_caretakers(kubectl: &Kubectl, mut first: Vec<Case>, alone: Vec<Case>) {
    all_prove(first.iter_mut().collect());
    drop(first);
    kubectl.apply(POOL);
    for mut case in alone {
        let fresh = format!("fresh-{}", case.name());
        kubectl.apply(&FRESH.replace("fresh", &fresh));
        case.node.launch();
        all_prove(vec![&mut case]);
    }
}

/// The names of those who lack one of these rights, and of the one who lacks none.
fn names(whole: &Case, cases: &[Case], rights: &[&str]) -> Vec<String> {
    let some = cases.iter().filter(|case| rights.iter().any(|right| case.lacks(right)));
    some.chain([whole]).map(|case| case.name().to_owned()).collect()
}

/// Everything that makes agents use the rights that they need now and then.
fn things_happen(kubectl: &Kubectl, whole: &Case, cases: &mut [Case]) {
    for name in names(whole, cases, &["patch ipamblocks"]) {
        claim_in(kubectl, &name);
    }
    let touched = names(whole, cases, &["get fabricnodes", "patch fabricnodes"]);
    for name in &touched {
        eventually(PATIENCE, || kubectl.get(&format!("fabricnode {name}")));
        touch(kubectl, &format!("fabricnode {name}"));
    }
    kubectl.run(&format!("label node {} followed=", touched.join(" ")));
    eventually(PATIENCE, || {
        let labels = kubectl.get(&format!("fabricnode {}", whole.name()))?["metadata"]["labels"].clone();
        if labels["followed"].is_string() { Ok(()) } else { Err(labels.to_string()) }
    });
    // An Event is told after half a minute, and what is told again by another run makes it longer.
    let told = |name: &str| {
        let events = kubectl.get("events.events.k8s.io -n default")?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let told = events.iter().any(|e| e["reportingInstance"] == name && e["reason"] == "SessionDown");
        if told { Ok(()) } else { Err(format!("{name} has told no Event")) }
    };
    eventually(PATIENCE, || told(whole.name()));
    for again in cases.iter_mut().filter(|case| case.lacks("patch events")) {
        eventually(PATIENCE, || told(again.name()));
        again.node.kill();
        again.node.launch();
    }
    for name in names(whole, cases, &["get ipamblocks"]) {
        for (block, _) in blocks(kubectl, &name) {
            touch(kubectl, &format!("ipamblock {block}"));
        }
    }
    let leaving = names(whole, cases, &["delete fabricnodes", "get ipamblocks", "delete ipamblocks"]);
    kubectl.run(&format!("delete node {}", leaving.join(" ")));
}

#[test]
fn without_any_single_right_of_the_manifest_something_breaks_and_is_said() {
    let roles = Roles::read();
    let table = table(&roles);
    let mut fabric = Fabric::of_cluster_with("rights", &["--feature-gates=WatchList=false"]);
    let kubectl = fabric.kubectl();
    let rights = table.iter().map(|(right, _)| Some(right)).chain([None]);
    let accounts = rights.flat_map(|right| account(&roles, &name_of(right), right));
    let all = json!({ "apiVersion": "v1", "kind": "List", "items": accounts.collect::<Vec<_>>() });
    let file = fabric.router().file("accounts.json", &all.to_string());
    kubectl.run(&format!("create -f {}", file.display()));
    let policies = process::workspace().join("tests/kube/clusternetworkpolicies.yaml");
    kubectl.run(&format!("apply -f {}", policies.display()));
    kubectl.apply(SETTING);
    let mut cases: Vec<Case> = table
        .into_iter()
        .zip(11u8..)
        .map(|(right, number)| Case::new(&mut fabric, Some(right), number))
        .collect();
    let mut whole = Case::new(&mut fabric, None, 10);
    in_force(&kubectl, &roles, whole.name());

    let mut alone = Vec::new();
    let mut first = Vec::new();
    let mut kinds = Vec::new();
    let mut others = Vec::new();
    for case in cases.drain(..) {
        match case.right.as_ref().map(|(_, breaks)| *breaks) {
            Some(Care(_)) => alone.push(case),
            Some(First(_)) => first.push(case),
            Some(Kind(_)) => kinds.push(case),
            _ => others.push(case),
        }
    }
    // All at once they ask for more than an API server on a small machine can tell in time.
    while !kinds.is_empty() {
        let mut wave: Vec<Case> = kinds.drain(..kinds.len().min(WAVE)).collect();
        wave.iter_mut().for_each(|case| case.node.launch());
        all_prove(wave.iter_mut().collect());
    }
    first.iter_mut().chain(&mut others).for_each(|case| case.node.launch());
    the_caretakers(&kubectl, first, alone);
    whole.node.launch();
    things_happen(&kubectl, &whole, &mut others);
    all_prove(others.iter_mut().collect());

    // Who has all rights has given everything back, and was never denied any.
    eventually(PATIENCE, || match kubectl.try_run(&format!("get fabricnode {}", whole.name())) {
        Err(why) if why.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let log = whole.node.agent().log();
    let denied: Vec<&str> = log.lines().filter(|line| line.contains("forbidden")).collect();
    assert!(log.contains("this agent is now the cluster's caretaker"), "{log}");
    assert!(denied.is_empty(), "{denied:?}");
}
