//! The CNI scenario: 500 pods wired and unwired on one node, one after the other and 50 at a time.
//!
//! Both plugins are started as a runtime starts them, by the same driver, and the clock runs from the start of the
//! process to its end. The reference is Debian's `ptp` with `host-local`: what a node without overlay uses when
//! nothing but the link and an address is wanted. It writes no rules and speaks to nobody.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corduroy_tests::cni::{Call, REFERENCE};
use corduroy_tests::fabric::{Fabric, Segment};
use corduroy_tests::{Namespace, Topology, eventually, process};
use serde_json::{Value, json};

use crate::policy::path::enforce;
use crate::report::{Figure, Unit, percentile};

/// How many pods there are unless `PODS` in the environment says otherwise.
const PODS: usize = 500;
const AT_A_TIME: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
const POOL: &str =
    "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: v4\nspec:\n  cidr: 10.244.0.0/16\n";

/// 500 ADDs and 500 DELs, twice.
pub fn pods(contender: &str) -> Vec<Figure> {
    let fabric = Fabric::new("bench");
    fabric.put("pool", POOL);
    let mut node = fabric.node("node", Segment::A, 2);
    let host = node.host().clone();
    let runtime = if contender == "ptp" {
        Runtime::reference(&host)
    } else {
        node.launch();
        Runtime { plugin: process::binary("corduroy"), network: node.network() }
    };
    measured(&runtime, &host)
}

/// The same calls of our plugin on a node where each pod is selected by no policy, or by a thousand of them. One pod is
/// there all the time, so that they are in the kernel before the first of the others.
pub fn under_policies(contender: &str) -> Vec<Figure> {
    let fabric = Fabric::new("bench");
    fabric.put("pool", POOL);
    let mut node = fabric.node("node", Segment::A, 2);
    node.launch();
    node.ready();
    let resident = fabric.pod(&node, "resident");
    enforce(&fabric, &node, if contender == "no policy" { 0 } else { 1_000 }, 1);
    let runtime = Runtime { plugin: process::binary("corduroy"), network: node.network() };
    let figures = measured(&runtime, node.host());
    resident.delete(&node);
    figures
}

fn measured(runtime: &Runtime, host: &Namespace) -> Vec<Figure> {
    eventually(PATIENCE, || runtime.ready(host));
    let mut figures = Vec::new();
    for (at_a_time, names) in [(1, ALONE), (AT_A_TIME, TOGETHER)] {
        for (command, [p50, p99]) in ["ADD", "DEL"].into_iter().zip(names) {
            let took = runtime.all(host, command, at_a_time);
            let mut took: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
            figures.push(Figure::new(p50, Unit::Seconds, percentile(&mut took, 50)));
            figures.push(Figure::new(p99, Unit::Seconds, percentile(&mut took, 99)));
        }
    }
    figures
}

/// The columns for ADD and DEL, p50 and p99 each.
const ALONE: [[&str; 2]; 2] = [["ADD p50", "ADD p99"], ["DEL p50", "DEL p99"]];
const TOGETHER: [[&str; 2]; 2] = [["50× ADD p50", "50× ADD p99"], ["50× DEL p50", "50× DEL p99"]];

/// What stands in for a container runtime.
struct Runtime {
    plugin: PathBuf,
    network: Value,
}

impl Runtime {
    fn reference(host: &Namespace) -> Self {
        let network = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "ptp",
            "ipam": {
                "type": "host-local", "dataDir": host.dir().join("host-local"),
                "ranges": [[{ "subnet": "10.244.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        Self { plugin: Path::new(REFERENCE).join("ptp"), network }
    }

    /// Wires one pod and unwires it, so that what happens once only has happened: the first block is claimed.
    fn ready(&self, host: &Namespace) -> Result<(), String> {
        let first = containers().first().ok_or("there are no containers")?;
        for command in ["ADD", "DEL"] {
            self.call(command, first).run(host)?.result()?;
        }
        Ok(())
    }

    fn call(&self, command: &str, container: &Namespace) -> Call {
        let call = Call::new(&self.plugin, command, &self.network);
        let call = call.attachment(container.name(), "eth0").netns(&container.path());
        call.variable(
            "CNI_ARGS",
            &format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", container.name()),
        )
    }

    /// Calls `command` for every pod, so many at a time, and says how long each took.
    fn all(&self, host: &Namespace, command: &str, at_a_time: usize) -> Vec<Duration> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut took = Vec::new();
            while let Some(container) = containers().get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.call(command, container).run_here();
                let outcome = outcome.unwrap_or_else(|why| panic!("{command}: {why}\n{}", process::logs()));
                assert!(outcome.ok, "{command} of {}: {outcome}\n{}", container.name(), process::logs());
                took.push(outcome.took);
            }
            took
        };
        // Threads are in the namespace of the thread that starts them.
        host.enter(|| {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(worker)).collect();
                let joined = workers
                    .into_iter()
                    .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                joined.flatten().collect()
            })
        })
    }
}

/// The containers' namespaces, made once for all runs: each is empty again after its DEL.
fn containers() -> &'static [Namespace] {
    static CONTAINERS: OnceLock<(Topology, Vec<Namespace>)> = OnceLock::new();
    let (_, containers) = CONTAINERS.get_or_init(|| {
        let net = Topology::new("pods");
        let count = std::env::var("PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(PODS);
        let containers = (0..count).map(|n| net.namespace(&format!("p{n}"))).collect();
        (net, containers)
    });
    containers
}
