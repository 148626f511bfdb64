//! What the outside sees of the process. The loop publishes a [`Snapshot`] whenever it does something; questions are
//! answered from the last one in tasks of their own, so that none holds the loop up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corduroy_bgp_net::Notice;
use corduroy_ipc::status::{Condition, KindStatus, Owner, Severity, Status, StatusAnswer, StatusRequest};
use corduroy_status::http::{Observed, Pending};
use corduroy_status::{SpeakerView, metrics};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

/// How things are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The speaker, once there is one.
    pub(crate) speaker: Option<SpeakerView>,
    /// What is waited for.
    pub(crate) waits_for: Option<String>,
    /// The kinds of the datastore.
    pub(crate) kinds: Vec<KindStatus>,
    /// What a person should look at, worst first.
    pub(crate) conditions: Vec<Condition>,
}

/// Answers questions and scrapes.
#[derive(Debug)]
pub(crate) struct Shown {
    name: String,
    since: Instant,
    now: watch::Receiver<Arc<Snapshot>>,
    registry: Registry,
    speaker: metrics::Speaker,
    ready: IntGauge,
    conditions: IntGaugeVec,
    reloads: IntCounterVec,
}

impl Shown {
    pub(crate) fn new(name: &str, now: watch::Receiver<Arc<Snapshot>>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let ready = IntGauge::new("corduroy_ready", "1 when everything is in force that was configured.")?;
        let conditions =
            IntGaugeVec::new(Opts::new("corduroy_conditions", "What should be looked at."), &["severity"])?;
        let reloads = IntCounterVec::new(
            Opts::new("corduroy_reloads_total", "Times the configuration file was read again."),
            &["result"],
        )?;
        let info = IntGaugeVec::new(
            Opts::new("corduroy_info", "What this is; always 1."),
            &["name", "role", "version"],
        )?;
        info.with_label_values(&[name, "routereflector", env!("CARGO_PKG_VERSION")]).set(1);
        for result in ["taken", "refused"] {
            reloads.with_label_values(&[result]);
        }
        registry.register(Box::new(ready.clone()))?;
        registry.register(Box::new(conditions.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(info))?;
        let speaker = metrics::Speaker::new(&registry)?;
        Ok(Self {
            name: name.to_owned(),
            since: Instant::now(),
            now,
            registry,
            speaker,
            ready,
            conditions,
            reloads,
        })
    }

    /// The configuration file was read again.
    pub(crate) fn reloaded(&self, taken: bool) {
        self.reloads.with_label_values(&[if taken { "taken" } else { "refused" }]).inc();
    }

    /// The speaker said something.
    pub(crate) fn noticed(&self, notice: &Notice) {
        self.speaker.noticed(notice);
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.borrow())
    }

    /// The answer to a question. `owner` is whose block an explained address is in.
    pub(crate) async fn answer(&self, request: StatusRequest, owner: Option<Owner>) -> StatusAnswer {
        let now = self.snapshot();
        let Some(speaker) = &now.speaker else {
            return match request {
                StatusRequest::Status => StatusAnswer::Status(Box::new(self.status(&now))),
                _ => failed(now.waits_for.as_deref().unwrap_or("the speaker has not started yet")),
            };
        };
        match request {
            StatusRequest::Status => match speaker.summary().await {
                Ok(bgp) => StatusAnswer::Status(Box::new(Status { bgp, ..self.status(&now) })),
                Err(stopped) => failed(&stopped.to_string()),
            },
            StatusRequest::Peers => match speaker.peers().await {
                Ok(peers) => StatusAnswer::Peers { peers },
                Err(stopped) => failed(&stopped.to_string()),
            },
            StatusRequest::Routes(query) => match speaker.routes(&query).await {
                Ok(page) => StatusAnswer::Routes(page),
                Err(refused) => refused.into(),
            },
            StatusRequest::Explain { net } => match speaker.explain(net).await {
                Ok(mut explanation) => {
                    explanation.owner = owner;
                    StatusAnswer::Explain(Box::new(explanation))
                }
                Err(refused) => refused.into(),
            },
            StatusRequest::Ipam => failed("a route reflector hands out no addresses; ask a node's agent"),
            StatusRequest::Policy(_) => failed("a route reflector has no pods; ask a node's agent"),
        }
    }

    fn status(&self, now: &Snapshot) -> Status {
        Status {
            node: self.name.clone(),
            role: "routereflector".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.since.elapsed().as_secs(),
            ready: now.waits_for.is_none(),
            kinds: now.kinds.clone(),
            conditions: now.conditions.clone(),
            ..Status::default()
        }
    }

    async fn scrape(&self) -> String {
        let now = self.snapshot();
        self.ready.set(i64::from(now.waits_for.is_none()));
        for (severity, name) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            let count = now.conditions.iter().filter(|condition| condition.severity == severity).count();
            self.conditions.with_label_values(&[name]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Some(speaker) = &now.speaker {
            let seen = async {
                Ok::<_, corduroy_bgp_net::Stopped>((
                    speaker.summary().await?,
                    speaker.peers().await?,
                    speaker.counters().await?,
                ))
            };
            // When the speaker has ended the process is about to: what was counted last is as good.
            if let Ok((summary, peers, counters)) = seen.await {
                self.speaker.observe(&summary, &peers, &counters);
            }
        }
        metrics::text(&self.registry).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Observed for Shown {
    fn metrics(&self) -> Pending<'_, String> {
        Box::pin(self.scrape())
    }

    fn alive(&self) -> Pending<'_, Result<(), String>> {
        let now = self.snapshot();
        Box::pin(async move {
            let Some(speaker) = &now.speaker else { return Ok(()) };
            let answer = tokio::time::timeout(Duration::from_secs(3), speaker.counters()).await;
            match answer {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(stopped)) => Err(stopped.to_string()),
                Err(_) => Err("the BGP speaker does not answer".to_owned()),
            }
        })
    }

    fn ready(&self) -> Pending<'_, Result<(), String>> {
        let now = self.snapshot();
        Box::pin(async move { now.waits_for.clone().map_or(Ok(()), Err) })
    }
}

fn failed(why: &str) -> StatusAnswer {
    StatusAnswer::Failed { why: why.to_owned() }
}
