//! A cluster on which cases are tried.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use corduroy_tests::kube::{Cluster, Kubectl, corduroy};
use corduroy_tests::wait_for;

use super::language::{Do, Trial, manifest};
use super::matrix::{Matrix, Probe, Wrong};
use super::scene::Scene;
use super::trace;

/// How long a change may take on a machine that is busy. After a failure the other cases are tried too.
const SOON: Duration = Duration::from_secs(60);
/// How long an answer is waited for: while something changes, and when it has.
const GLANCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
/// Of how many wrong answers the kernels are asked what they know.
const LOOKED_INTO: usize = 4;
/// Tries only cases whose name holds this.
const ONLY: &str = "CORDUROY_POLICY_CASE";
/// What tests make, and one that fails leaves behind.
const KINDS: [&str; 7] = [
    "networkpolicies.networking.k8s.io",
    "clusternetworkpolicies.policy.networking.k8s.io",
    "networkpolicies.corduroy.dev",
    "globalnetworkpolicies.corduroy.dev",
    "tiers.corduroy.dev",
    "networksets.corduroy.dev",
    "globalnetworksets.corduroy.dev",
];
const DEFINITION: &str = include_str!("../../kube/cluster-network-policies.yaml");

/// Three nodes with Corduroy and the scene. Fields go in this order.
pub(super) struct Ground {
    pub(super) scene: Scene,
    pub(super) kubectl: Kubectl,
    pub(super) cluster: Cluster,
}

/// The one cluster, or the right to it.
pub(super) struct Shared(Arc<Mutex<Ground>>);

impl Ground {
    /// The cluster of all tests here: that of those who hold one now, or a new one.
    #[track_caller]
    pub(super) fn shared() -> Shared {
        static SHARED: Mutex<Weak<Mutex<Ground>>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
        let ground = shared.upgrade().unwrap_or_else(|| Arc::new(Mutex::new(Self::new())));
        *shared = Arc::downgrade(&ground);
        Shared(ground)
    }

    fn new() -> Self {
        let cluster = Cluster::start("policy", 3);
        let kubectl = cluster.kubectl().clone();
        kubectl.apply(DEFINITION);
        corduroy::load(&cluster, "v0.1.0");
        corduroy::install(&cluster, "v0.1.0");
        cluster.ready();
        let scene = Scene::set(&cluster);
        Self { scene, kubectl, cluster }
    }

    /// Waits until a table is true, and looks once more: it must stay so. What agents say of it must be the same.
    ///
    /// # Errors
    /// What is not as it says.
    pub(super) fn becomes(&self, table: &str) -> Result<(), String> {
        let matrix = Matrix::of(&self.scene, table);
        wait_for(SOON, || matrix.check(GLANCE).map_err(|wrong| wrong.to_string()))
            .map_err(|why| format!("it does not become so: {why}"))?;
        self.stays(&matrix).map_err(|why| format!("it does not stay so: {why}"))?;
        let traces = wait_for(SOON, || trace::ask(&self.cluster, &matrix))?;
        trace::agree(&traces)
    }

    /// Is a table true now?
    ///
    /// # Errors
    /// What is not as it says.
    pub(super) fn is(&self, table: &str) -> Result<(), String> {
        self.stays(&Matrix::of(&self.scene, table))
    }

    /// A single question of a table's thousands that is silent is asked once more, by a connection of its own: a policy
    /// denies that one as well. What both nodes knew of the first is printed.
    fn stays(&self, matrix: &Matrix<'_>) -> Result<(), String> {
        let told = match matrix.check(PATIENCE) {
            Ok(()) => return Ok(()),
            Err(wrong) if wrong.is_one_silence() => self.told(&wrong),
            Err(wrong) => return Err(self.told(&wrong)),
        };
        println!("asked again, since {told}");
        matrix.check(PATIENCE).map_err(|wrong| format!("{}\nand before that {told}", self.told(&wrong)))
    }

    /// What is wrong, and for some of it the connections that the nodes of both ends have: whether a packet was lost on
    /// the way, and whether it was judged.
    fn told(&self, wrong: &Wrong<'_>) -> String {
        let mut told = wrong.to_string();
        for Probe { from, to, family, .. } in wrong.probes().take(LOOKED_INTO) {
            let (source, target) = (from.addresses[family], to.addresses[family]);
            let family = ["ipv4", "ipv6"][family];
            let nodes: BTreeSet<_> =
                [&from.node, &to.node].into_iter().filter(|node| !node.is_empty()).collect();
            for node in nodes {
                let line = format!("conntrack -L -f {family} --orig-src {source} --orig-dst {target}");
                let known = self.cluster.node(node).host().try_run(&line).unwrap_or_else(|why| why);
                told.push_str(&format!("\n{node} has of {source} -> {target}:\n{known}"));
            }
        }
        told
    }

    /// Applies policies, written short.
    #[track_caller]
    pub(super) fn apply(&self, policies: &str) {
        self.kubectl.apply(&manifest(&self.scene, policies));
    }

    /// Takes policies away again.
    #[track_caller]
    pub(super) fn delete(&self, policies: &str) {
        self.kubectl.delete(&manifest(&self.scene, policies)).unwrap_or_else(|why| panic!("{why}"));
    }

    fn run(&self, case: &Trial) -> Result<(), String> {
        if !case.policies.is_empty() {
            self.kubectl.try_apply(&manifest(&self.scene, case.policies))?;
        }
        self.becomes(case.table)?;
        for (n, step) in case.steps.iter().enumerate() {
            match step.0 {
                Do::Apply(policies) => self.kubectl.try_apply(&manifest(&self.scene, policies))?,
                Do::Delete(policies) => self.kubectl.delete(&manifest(&self.scene, policies))?,
                Do::Kubectl(line) => self.kubectl.try_run(line)?,
            };
            self.becomes(step.1).map_err(|why| format!("after step {}: {why}", n + 1))?;
        }
        Ok(())
    }

    /// Everything goes that a case has made.
    fn clear(&self, case: &Trial) -> Result<(), String> {
        let steps = case.steps.iter().filter_map(|step| match step.0 {
            Do::Apply(policies) => Some(policies),
            Do::Delete(_) | Do::Kubectl(_) => None,
        });
        for policies in [case.policies].into_iter().chain(steps).filter(|policies| !policies.is_empty()) {
            self.kubectl.delete(&manifest(&self.scene, policies))?;
        }
        case.undo.iter().try_for_each(|line| self.kubectl.try_run(line).map(drop))
    }
}

impl Shared {
    /// The cluster, when it is our turn. What a test that failed has left there is removed.
    #[track_caller]
    pub(super) fn turn(&self) -> MutexGuard<'_, Ground> {
        self.0.lock().unwrap_or_else(|left| {
            self.0.clear_poison();
            let ground = left.into_inner();
            for kinds in KINDS {
                ground.kubectl.run(&format!("delete {kinds} --all --all-namespaces"));
            }
            ground.kubectl.run("-n x delete pod newborn --ignore-not-found");
            ground
        })
    }

    /// Tries all cases; fails with all that do not hold.
    #[track_caller]
    pub(super) fn hold(&self, groups: &[&[Trial]]) {
        let only = std::env::var(ONLY).unwrap_or_default();
        let ground = self.turn();
        let (mut tried, mut failed) = (0, Vec::new());
        for case in groups.iter().copied().flatten().filter(|case| case.name.contains(&only)) {
            let begun = std::time::Instant::now();
            let held = ground.run(case).and(ground.clear(case));
            println!(
                "{} {:.1?} {}",
                if held.is_ok() { "holds" } else { "FAILS" },
                begun.elapsed(),
                case.name
            );
            tried += 1;
            if let Err(why) = held {
                println!("  {why}");
                failed.push(format!("{}\n  {why}", case.name));
            }
        }
        drop(ground);
        assert!(failed.is_empty(), "{} of {tried} cases do not hold:\n{}", failed.len(), failed.join("\n"));
        assert!(tried > 0 || !only.is_empty(), "no case was tried");
    }
}
