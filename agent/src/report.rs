//! NodeStatus and Events: looks at the agent when the Reporter wants to, and writes what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use corduroy_agent_core::me::Membership;
use corduroy_agent_core::report::{About, Moment, Reporter, Seen};
use corduroy_api::{API_VERSION, BgpPeer, IpNetwork, Kind};
use corduroy_bgp_net::now;
use corduroy_datastore_kubernetes::{Announcement, Kubernetes, Regarding};
use corduroy_fabric::blocks;
use corduroy_ipc::status::{BgpSummary, Peer};
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
    let task = Task { kubernetes, uid, agent, reporter: Reporter::new(seed), trouble: None, silenced: None };
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
    /// Why the last Event was not made, as it was logged.
    silenced: Option<String>,
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
        let Some(Look { node, seen, peers }) = look(&self.agent).await? else {
            // It is nobody's node: its NodeStatus went with it.
            self.reporter.skip();
            return Ok(());
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let said = self.reporter.look(&seen, Moment { now: now(), wall });
        if let Some(report) = said.report {
            let result = self.kubernetes.report(&node, &self.uid, &report).await;
            self.reporter.written(result.is_ok(), now());
            self.trouble(result.err().map(|error| error.to_string()));
        }
        for news in said.news {
            let Some(regarding) = self.regarding(&news.about, &node, &peers) else { continue };
            let event = Announcement {
                regarding,
                reporter: ("corduroy.dev/agent".to_owned(), node.clone()),
                is_warning: news.is_warning,
                reason: news.reason.to_owned(),
                note: news.note,
                count: news.count,
            };
            let result = self.kubernetes.announce(&event).await;
            if let Err(why) = &result
                && self.silenced.as_ref() != Some(why)
            {
                tracing::warn!("no Event {} ({}): {why}", event.reason, event.note);
            }
            self.silenced = result.err();
        }
        Ok(())
    }

    /// The object, unless it is gone meanwhile.
    fn regarding(&self, about: &About, node: &str, peers: &BTreeMap<String, String>) -> Option<Regarding> {
        let (api_version, kind, name, uid) = match about {
            About::Node => ("v1", "Node", node, &self.uid),
            About::BgpPeer(name) => (API_VERSION, Kind::BgpPeer.name(), name.as_str(), peers.get(name)?),
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        Some(Regarding { api_version, kind, name: name.to_owned(), uid: uid.clone() })
    }

    /// Says once that reports are not written, and once that they are again.
    fn trouble(&mut self, trouble: Option<String>) {
        match &trouble {
            Some(why) if self.trouble.as_ref() != Some(why) => tracing::warn!("{why}; trying again"),
            None if self.trouble.is_some() => tracing::info!("the NodeStatus is written again"),
            Some(_) | None => {}
        }
        self.trouble = trouble;
    }
}

/// The agent at one moment.
struct Look {
    node: String,
    seen: Seen,
    /// The uid of each BGPPeer.
    peers: BTreeMap<String, String>,
}

/// How the node is; `None` while the cluster has no such node.
async fn look(agent: &Asker) -> Result<Option<Look>, Gone> {
    let speaker = agent.ask(|view| view.speaker()).await?;
    let (mut bgp, mut peers) = (BgpSummary::default(), Vec::new());
    if let Some(speaker) = speaker {
        bgp = speaker.summary().await.unwrap_or_default();
        peers = speaker.peers().await.unwrap_or_default();
    }
    agent.ask(move |view| seen(view, bgp, peers)).await
}

fn seen(view: &View<'_>, bgp: BgpSummary, peers: Vec<Peer>) -> Option<Look> {
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
    let owned = blocks::owned_by(&known.model, &me.name, &me.uid).map(|cidr| {
        let pool = blocks::pool_of(&known.model, cidr.ip());
        (cidr, pool.map(|pool| pool.metadata.name.clone()))
    });
    let seen = Seen {
        addresses: addresses.collect(),
        blocks: owned.collect(),
        nodes: known.model.nodes().len(),
        status: status::status(view, bgp),
        peers,
    };
    let uid = |(name, peer): (&String, &Arc<BgpPeer>)| Some((name.clone(), peer.metadata.uid.clone()?));
    Some(Look { node: me.name.clone(), seen, peers: known.model.peers().iter().filter_map(uid).collect() })
}
