//! `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever supervises the process. Numbers are read off the
//! agent when somebody asks, so they cost nothing otherwise. `docs/operations.md` has the table of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::Kind;
use corduroy_bgp_net::Counters;
use corduroy_fabric::Sync;
use corduroy_ipc::status::{BgpSummary, Peer, Severity};
use corduroy_kernel::nft::Counted;
use corduroy_policy::Origin;
use corduroy_policy::normal::Action;
use corduroy_status::http::{Observed, Pending};
use corduroy_status::{SpeakerView, http, metrics};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::caretaker::{Counts, Tally};
use crate::policies;
use crate::view::{Asker, View};

/// How old may be what rules have counted: nobody who asks every few seconds needs it newer.
const OLD: Duration = Duration::from_secs(10);

/// Answers at `address` as long as the runtime lives. `tally` is what the agent of a cluster does as its caretaker.
///
/// # Errors
/// As the system says.
pub async fn serve(address: SocketAddr, agent: Asker, tally: Option<Tally>) -> io::Result<()> {
    let metrics = Metrics::new(tally).map_err(io::Error::other)?;
    let counted = policies::Counters::default();
    let program = Program { agent, counted, metrics: Arc::new(metrics) };
    let (_, serving) = http::serve(address, Arc::new(program)).await?;
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!("metrics and health: {error}");
        }
    });
    Ok(())
}

/// The agent, as a program that can be asked.
struct Program {
    agent: Asker,
    counted: policies::Counters,
    metrics: Arc<Metrics>,
}

impl Observed for Program {
    fn metrics(&self) -> Pending<'_, String> {
        Box::pin(async {
            // What can't be had is left out: the rest is worth showing.
            let asked = self.agent.ask(|view| (view.speaker(), view.bgp.cloned())).await;
            let (speaker, handle) = asked.unwrap_or_default();
            if let Some((summary, peers)) = speak(speaker).await {
                let counters = match handle {
                    Some(handle) => handle.counters().await.unwrap_or_default(),
                    None => Counters::default(),
                };
                self.metrics.speaker.observe(&summary, &peers, &counters);
            }
            let metrics = Arc::clone(&self.metrics);
            let counted = self.counted.get(OLD).await;
            let text = self.agent.ask(move |view| metrics.show(view, &counted)).await;
            text.unwrap_or_default()
        })
    }

    fn alive(&self) -> Pending<'_, Result<(), String>> {
        Box::pin(async { self.agent.ask(|_| ()).await.map_err(|error| error.to_string()) })
    }

    fn ready(&self) -> Pending<'_, Result<(), String>> {
        Box::pin(async {
            let asked = self.agent.ask(|view| view.agent.not_ready()).await;
            asked.map_err(|error| error.to_string())?.map_or(Ok(()), Err)
        })
    }
}

async fn speak(speaker: Option<SpeakerView>) -> Option<(BgpSummary, Vec<Peer>)> {
    let speaker = speaker?;
    Some((speaker.summary().await.ok()?, speaker.peers().await.ok()?))
}

/// Every metric.
struct Metrics {
    registry: Registry,
    speaker: metrics::Speaker,
    node: Node,
    kernel: Kernel,
    policies: Policies,
    care: Option<Care>,
    pools: Pools,
}

/// What this agent does for the whole cluster.
struct Care {
    tally: Tally,
    leads: IntGauge,
    rounds: IntGauge,
    failed: IntGauge,
    statuses: IntGauge,
    freed: IntGaugeVec,
    not_in_force: IntGaugeVec,
}

/// How full the pools are. In a cluster one agent says it for all.
struct Pools {
    addresses: IntGaugeVec,
    blocks: IntGaugeVec,
}

struct Node {
    ready: IntGauge,
    conditions: IntGaugeVec,
    datastore: IntGaugeVec,
    rejected: IntGauge,
    announced: IntGauge,
    services: IntGauge,
    pods: IntGauge,
    failed: IntGauge,
    addresses: IntGaugeVec,
}

struct Policies {
    denied: IntGaugeVec,
    lost: IntGauge,
    in_force: IntGauge,
    broken: IntGauge,
    sets: IntGauge,
    elements: IntGauge,
    chains: IntGauge,
    endpoints: IntGauge,
    generation: IntGauge,
}

struct Kernel {
    routes: IntGauge,
    held: IntGauge,
    pending: IntGauge,
    refused: IntGauge,
    repaired: IntGauge,
}

/// Makes and registers.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn one(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(format!("corduroy_{name}"), help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn many(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(format!("corduroy_{name}"), help), labels)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

fn number(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

impl Metrics {
    fn new(tally: Option<Tally>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let build = make.many("build_info", "1, with the version of the program.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let node = Node {
            ready: make.one("ready", "1 when pods can be served.")?,
            conditions: make.many("conditions", "What a person should look at.", &["severity"])?,
            datastore: make.many("datastore_kind_state", "How well a kind is known.", &["kind", "state"])?,
            rejected: make.one("datastore_rejected", "Resources that can't be used as they are.")?,
            announced: make.one("announced_prefixes", "Prefixes of this node that are announced.")?,
            services: make.one("service_prefixes", "Prefixes that this node is to announce for services.")?,
            pods: make.one("pods", "Attachments that are wired.")?,
            failed: make.one("cni_failed_total", "CNI requests that failed since the start.")?,
            addresses: make.many("ipam_addresses", "Addresses of this node's blocks.", &["state"])?,
        };
        let kernel = Kernel {
            routes: make.one("kernel_routes", "Routes of ours in the kernel.")?,
            held: make.one("kernel_routes_held", "Of them, routes of a former run that still stay.")?,
            pending: make.one("kernel_pending", "Objects to be looked at.")?,
            refused: make.one("kernel_refused", "Objects the kernel refuses.")?,
            repaired: make.one("kernel_repaired_total", "Objects of ours put right since the start.")?,
        };
        let policies = Policies {
            denied: make.many(
                "policy_denied_packets_total",
                "Packets that a policy denied, or a tier because none allowed them, of the chains there are.",
                &["policy", "direction"],
            )?,
            lost: make.one("policy_log_lost_total", "Denied packets of which no report came through.")?,
            in_force: make.one("policies_in_force", "Policies that select something on this node.")?,
            broken: make.one("policies_broken", "Policies that are not in force as they were written.")?,
            sets: make.one("policy_sets", "Sets of addresses and ports that policies look up.")?,
            elements: make.one("policy_set_elements", "Elements of these sets.")?,
            chains: make.one("policy_chains", "Chains of policies.")?,
            endpoints: make.one("policy_endpoints", "Pods, nodes and network sets that policies know.")?,
            generation: make.one("policy_generation", "The number of the program that is in force.")?,
        };
        let pools = Pools {
            addresses: make.many("ipam_pool_addresses", "Addresses that a pool has.", &["pool"])?,
            blocks: make.many("ipam_pool_blocks", "Blocks of a pool, of all nodes.", &["pool", "state"])?,
        };
        let care = tally.map(|tally| Care::new(tally, &make)).transpose()?;
        let speaker = metrics::Speaker::new(&registry)?;
        Ok(Self { registry, speaker, node, kernel, policies, care, pools })
    }

    fn show(&self, view: &View<'_>, counted: &[Counted]) -> String {
        self.policies.set(view, counted);
        self.node.set(view);
        self.kernel.set(view);
        let is_told = self.care.as_ref().is_none_or(Care::set);
        self.pools.set(view, is_told);
        metrics::text(&self.registry).unwrap_or_default()
    }
}

impl Node {
    fn set(&self, view: &View<'_>) {
        self.ready.set(i64::from(view.agent.not_ready().is_none()));
        self.announced.set(number(view.agent.announced().count()));
        self.services.set(number(view.agent.known().services.wanted().count()));
        let conditions = view.conditions();
        for (severity, name) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            let count = conditions.iter().filter(|condition| condition.severity == severity).count();
            self.conditions.with_label_values(&[name]).set(number(count));
        }
        let model = &view.agent.known().model;
        for kind in corduroy_agent_core::known::WATCHED {
            let states = [
                ("waiting", matches!(model.sync(kind), Sync::Waiting)),
                ("live", matches!(model.sync(kind), Sync::Live)),
                ("snapshot", matches!(model.sync(kind), Sync::Snapshot)),
                ("unavailable", matches!(model.sync(kind), Sync::Unavailable(_))),
            ];
            for (state, is_so) in states {
                self.datastore.with_label_values(&[kind.name(), state]).set(i64::from(is_so));
            }
        }
        self.rejected.set(number(model.rejected().values().map(Vec::len).sum::<usize>()));
        let endpoints = view.agent.endpoints();
        self.pods.set(number(endpoints.iter().filter(|endpoint| endpoint.wired).count()));
        self.failed.set(number(endpoints.counts().1));
        let (mut used, mut resting, mut free, mut withheld) = (0, 0, 0, 0);
        for block in endpoints.ipam().usage() {
            used += i64::from(block.used);
            resting += i64::from(block.resting);
            withheld += i64::from(block.withheld);
            free += i64::from(block.ready);
        }
        for (state, count) in [("used", used), ("resting", resting), ("free", free), ("withheld", withheld)] {
            self.addresses.with_label_values(&[state]).set(count);
        }
    }
}

impl Policies {
    fn set(&self, view: &View<'_>, counted: &[Counted]) {
        let policies = &view.agent.known().policies;
        let engine = policies.engine();
        self.denied.reset();
        for (origin, count) in engine.counts(counted) {
            let (policy, direction) = match origin {
                Origin::Rule(rule, Action::Deny) => (rule.policy.to_string(), rule.direction),
                Origin::Silence { tier, direction } => (format!("tier {tier}"), direction),
                _ => continue,
            };
            self.denied.with_label_values(&[&policy, &direction.to_string()]).add(number(count.packets));
        }
        self.lost.set(number(view.agent.drops().lost()));
        self.in_force.set(number(engine.in_force().len()));
        self.broken.set(number(engine.broken().count()));
        self.sets.set(number(engine.sets().count()));
        self.elements.set(number(engine.elements()));
        self.chains.set(number(engine.chains().count()));
        self.endpoints.set(number(engine.endpoints()));
        self.generation.set(i64::from(policies.generation().number()));
    }
}

impl Care {
    fn new(tally: Tally, make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            tally,
            leads: make.one("caretaker", "1 when this agent is the cluster's caretaker.")?,
            rounds: make.one("caretaker_rounds_total", "Rounds as the caretaker since the start.")?,
            failed: make.one("caretaker_failed_total", "Rounds and looks that failed since the start.")?,
            statuses: make.one("caretaker_statuses_written_total", "Statuses written since the start.")?,
            freed: make.many("caretaker_freed_total", "What was freed of nodes that are gone.", &["kind"])?,
            not_in_force: make.many("not_in_force", "Resources that are not in force.", &["kind"])?,
        })
    }

    /// Returns whether this agent is the caretaker.
    fn set(&self) -> bool {
        let Counts { leads, rounds, failed, statuses, freed, not_in_force } = self.tally.counts();
        self.leads.set(i64::from(leads));
        self.rounds.set(number(rounds));
        self.failed.set(number(failed));
        self.statuses.set(number(statuses));
        for kind in [Kind::FabricNode, Kind::IpamBlock] {
            let count = freed.get(&kind).copied().unwrap_or_default();
            self.freed.with_label_values(&[kind.name()]).set(number(count));
        }
        self.not_in_force.reset();
        for (kind, count) in not_in_force {
            self.not_in_force.with_label_values(&[kind.name()]).set(number(count));
        }
        leads
    }
}

impl Pools {
    fn set(&self, view: &View<'_>, is_told: bool) {
        // One that was deleted is no pool with nothing in it.
        self.addresses.reset();
        self.blocks.reset();
        let model = &view.agent.known().model;
        for (name, pool) in model.pools().iter().filter(|_| is_told) {
            let capacity = corduroy_fabric::blocks::capacity(model, pool);
            let free = capacity.blocks.saturating_sub(capacity.claimed);
            for (state, count) in [("claimed", capacity.claimed), ("free", free)] {
                self.blocks.with_label_values(&[name.as_str(), state]).set(number(count));
            }
            self.addresses.with_label_values(&[name.as_str()]).set(number(capacity.addresses));
        }
    }
}

impl Kernel {
    fn set(&self, view: &View<'_>) {
        let reconciler = view.agent.reconciler();
        self.routes.set(number(reconciler.picture().routes.len()));
        self.held.set(number(view.agent.held()));
        self.pending.set(number(reconciler.pending()));
        self.refused.set(number(reconciler.refusals().count()));
        self.repaired.set(number(reconciler.repaired()));
    }
}
