//! The NodeStatus: looks at the agent when the Reporter wants to, and writes what it says.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use corduroy_agent_core::me::Membership;
use corduroy_agent_core::report::{Moment, Reporter, Seen};
use corduroy_api::IpNetwork;
use corduroy_bgp_net::now;
use corduroy_datastore_kubernetes::Kubernetes;
use corduroy_fabric::blocks;
use corduroy_ipc::status::BgpSummary;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::status;
use crate::view::{Asker, Gone, View};

/// Tells the task that something may have changed.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Notify>);

impl Reports {
    /// Something may have changed. Cheap: nothing is looked at before its time.
    pub fn touch(&self) {
        self.0.notify_one();
    }
}

/// Starts the task, which lives as long as the runtime does.
#[must_use]
pub fn start(kubernetes: Kubernetes, uid: String, agent: Asker, seed: u64) -> Reports {
    let reports = Reports::default();
    let task = Task { kubernetes, uid, agent, reporter: Reporter::new(seed), trouble: None };
    tokio::spawn(task.run(reports.clone()));
    reports
}

struct Task {
    kubernetes: Kubernetes,
    uid: String,
    agent: Asker,
    reporter: Reporter,
    /// Why the last write failed, as it was logged.
    trouble: Option<String>,
}

impl Task {
    async fn run(mut self, reports: Reports) {
        loop {
            match self.reporter.next_look() {
                Some(due) if due <= now() => {
                    if self.look().await.is_err() {
                        return;
                    }
                }
                Some(due) => tokio::select! {
                    () = reports.0.notified() => self.reporter.touch(now()),
                    () = sleep(due.since(now())) => {}
                },
                None => {
                    reports.0.notified().await;
                    self.reporter.touch(now());
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Gone> {
        let Some((node, seen)) = look(&self.agent).await? else {
            // It is nobody's node: its NodeStatus went with it.
            self.reporter.skip();
            return Ok(());
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(report) = self.reporter.look(&seen, Moment { now: now(), wall }) else { return Ok(()) };
        let result = self.kubernetes.report(&node, &self.uid, &report).await;
        self.reporter.written(result.is_ok(), now());
        let trouble = result.err().map(|error| error.to_string());
        match &trouble {
            Some(why) if self.trouble.as_ref() != Some(why) => tracing::warn!("{why}; trying again"),
            None if self.trouble.is_some() => tracing::info!("NodeStatus/{node} is written again"),
            Some(_) | None => {}
        }
        self.trouble = trouble;
        Ok(())
    }
}

/// The node's name and how it is; `None` while the cluster has no such node.
async fn look(agent: &Asker) -> Result<Option<(String, Seen)>, Gone> {
    let speaker = agent.ask(|view| view.speaker()).await?;
    let (mut bgp, mut peers) = (BgpSummary::default(), Vec::new());
    if let Some(speaker) = speaker {
        bgp = speaker.summary().await.unwrap_or_default();
        peers = speaker.peers().await.unwrap_or_default();
    }
    agent.ask(move |view| seen(view, bgp, peers)).await
}

fn seen(view: &View<'_>, bgp: BgpSummary, peers: Vec<corduroy_ipc::status::Peer>) -> Option<(String, Seen)> {
    let known = view.agent.known();
    let me = &known.me;
    if me.member == Membership::Removed {
        return None;
    }
    let chosen = [&me.v4, &me.v6].into_iter().flatten();
    let addresses = chosen.filter_map(|chosen| {
        let net = IpNetwork::new(chosen.address, chosen.prefix_len).ok()?;
        Some((net, chosen.why.to_string()))
    });
    let owned = blocks::owned_by(&known.model, &me.name, &me.uid).map(|block| {
        let pool = blocks::pool_of(&known.model, block.cidr.ip());
        (block.cidr, pool.map(|pool| pool.metadata.name.clone()))
    });
    let seen = Seen {
        addresses: addresses.collect(),
        blocks: owned.collect(),
        nodes: known.model.nodes().len(),
        status: status::status(view, bgp),
        peers,
    };
    Some((me.name.clone(), seen))
}
