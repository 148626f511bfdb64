//! The only loop. It waits for everything at once, tells the agent what happened, and does what the agent wants, in
//! that order and with no opinion of its own.

use std::future::pending;

use corduroy_agent_core::agent::{Agent, Input, Note, Output, Settings};
use corduroy_agent_core::endpoints::Endpoints;
use corduroy_agent_core::me::Membership;
use corduroy_bgp::Time;
use corduroy_bgp::io::Stop;
use corduroy_bgp_net::{Announcement, Stopped, now};
use corduroy_kernel::Changed;
use tokio::sync::mpsc;

use crate::audit::Audit;
use crate::bgp::Bgp;
use crate::cluster::{AnotherNode, Cluster};
use crate::cni_server::{CniServer, Incoming};
use crate::config::Config;
use crate::feed::{Feed, Place};
use crate::journal::JournalFile;
use crate::kernel::KernelThread;
use crate::signals::Signals;
use crate::view::{Asker, Question, View};
use crate::{drop_log, http, policies, status};

/// Why the process ends other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel can't be had.
    #[error(transparent)]
    Kernel(#[from] crate::kernel::StartError),
    /// A socket can't be had.
    #[error("{what}: {why}")]
    Socket {
        /// Which.
        what: String,
        /// As the system says.
        why: std::io::Error,
    },
    /// The speaker ended by itself.
    #[error(transparent)]
    Bgp(#[from] Stopped),
    /// This node is another one now; a new start is all that is needed.
    #[error(transparent)]
    Another(#[from] AnotherNode),
}

/// What the loop starts from: read and checked already.
pub struct Beginning {
    /// The configuration.
    pub config: Config,
    /// This machine's identity.
    pub uid: String,
    /// Where resources are.
    pub place: Place,
    /// The cluster it is of, if any.
    pub cluster: Option<Cluster>,
    /// The pods, as the journal has them.
    pub endpoints: Endpoints,
    /// Where their records go.
    pub journal: JournalFile,
    /// For the spread of timers.
    pub seed: u64,
}

/// Everything the loop joins.
struct Run {
    agent: Agent,
    feed: Feed,
    cluster: Option<Cluster>,
    kernel: KernelThread,
    bgp: Bgp,
    cni: CniServer,
    journal: JournalFile,
    /// What tasks on the side bring back.
    done: (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>),
    questions: mpsc::Receiver<Question>,
    signals: Signals,
    audit: Audit,
    begun: Begun,
}

/// The beginning of this run.
struct Begun {
    at: Time,
    /// The kernel was read: it is known whether there was a former run.
    was_read: bool,
}

/// Runs the agent until it is asked to end.
///
/// # Errors
/// [`RunError`].
pub async fn run(beginning: Beginning) -> Result<(), RunError> {
    let Beginning { config, uid, place, mut cluster, endpoints, journal, seed } = beginning;
    let socket = |what: &str, why| RunError::Socket { what: what.to_owned(), why };
    let (asker, questions) = Asker::new();
    let bgp = Bgp::new(config.listen.clone(), seed);
    status::serve(&config.run("status.sock"), asker.clone()).map_err(|why| socket("status socket", why))?;
    let tally = cluster.as_mut().map(|cluster| {
        cluster.report(asker.clone(), seed);
        cluster.stand_for_caretaker(asker.clone(), seed)
    });
    if let Some(address) = config.metrics {
        let listening = http::serve(address, asker, tally).await;
        listening.map_err(|why| socket(&format!("metrics.listen {address}"), why))?;
    }
    let done = mpsc::unbounded_channel();
    drop_log::start(done.0.clone()).map_err(|why| socket("thread of the drop log", why))?;
    let mut run = Run {
        signals: Signals::new().map_err(|why| socket("signals", why))?,
        kernel: KernelThread::start()?,
        cni: CniServer::listen(&config.run("cni.sock"), &config.run_dir)
            .map_err(|why| socket("CNI socket", why))?,
        feed: Feed::start(place, config.state_dir.join("datastore.snapshot")),
        bgp,
        journal,
        done,
        questions,
        audit: Audit::new(config.audit),
        begun: Begun { at: now(), was_read: false },
        agent: Agent::new(settings(config, uid, cluster.as_ref()), endpoints),
        cluster,
    };
    let how = run.turn().await?;
    tracing::info!("ending; what is in the kernel stays");
    run.bgp.stop(how).await;
    Ok(())
}

fn settings(config: Config, uid: String, cluster: Option<&Cluster>) -> Settings {
    Settings {
        node: config.node,
        uid,
        member: cluster.map(Cluster::membership).unwrap_or_default(),
        v4: config.address.v4,
        v6: config.address.v6,
        declared: config.declared,
        peering: config.peering,
        failsafe: config.failsafe,
    }
}

impl Run {
    /// Turns until a signal says how to end.
    async fn turn(&mut self) -> Result<Stop, RunError> {
        loop {
            self.obey().await?;
            let deadline = [self.agent.next_timeout(), self.bgp.next_timeout(), Some(self.audit.due())];
            let deadline = deadline.into_iter().flatten().min();
            let inputs = tokio::select! {
                events = self.feed.next() => vec![Input::Datastore(events)],
                member = next_of(&mut self.cluster) => vec![Input::Member(member?)],
                inputs = self.kernel.next() => self.first_read(inputs),
                input = self.bgp.next() => input?.into_iter().collect(),
                incoming = self.cni.next() => vec![self.plugin(incoming)],
                Some(input) = self.done.1.recv() => vec![input],
                Some(question) = self.questions.recv() => {
                    question(&self.view());
                    continue;
                }
                how = self.signals.next() => return Ok(how),
                () = sleep_until(deadline) => self.timeout().await?,
            };
            for input in inputs {
                self.agent.handle(input, now());
            }
            if let Some(cluster) = &mut self.cluster {
                cluster.turned(|| self.agent.not_ready().is_none());
            }
        }
    }

    /// Does what the agent wants, in its order.
    async fn obey(&mut self) -> Result<(), Stopped> {
        let mut announcements = Vec::new();
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Originate(net, how) => announcements.push(Announcement::Originate(net, how)),
                Output::Withdraw(net) => announcements.push(Announcement::Withdraw(net)),
                Output::Configure(config, port) => self.bgp.configure(*config, port).await?,
                Output::OriginationComplete => {
                    self.bgp.announce(std::mem::take(&mut announcements)).await?;
                    self.bgp.complete().await?;
                }
                Output::AskPeers => self.ask_peers(),
                other => self.do_local(other),
            }
        }
        if announcements.is_empty() { Ok(()) } else { self.bgp.announce(announcements).await }
    }

    /// What needs no waiting.
    fn do_local(&mut self, output: Output) {
        match output {
            Output::Read(what) => self.kernel.read(what),
            Output::Apply(plan) => self.kernel.apply(plan),
            Output::Write(write) => {
                let done = self.done.0.clone();
                // The loop ends before its tasks do.
                self.feed.write(*write, move |key, result| drop(done.send(Input::Written { key, result })));
            }
            Output::ReadFlows => policies::read_flows(self.done.0.clone()),
            Output::Ask(asked) => self.feed.ask(asked),
            Output::Append(lines) => journalled(self.journal.append(&lines)),
            Output::Rewrite(text) => journalled(self.journal.rewrite(&text)),
            Output::CloseNetns(netns) => self.kernel.release(netns),
            Output::Answer(id, answer) => self.cni.answer(id, *answer),
            Output::Note(note) => log(&note),
            Output::Originate(..)
            | Output::Withdraw(_)
            | Output::Configure(..)
            | Output::OriginationComplete
            | Output::AskPeers => {}
        }
    }

    fn ask_peers(&self) {
        let (bgp, done) = (self.bgp.handle().cloned(), self.done.0.clone());
        tokio::spawn(async move {
            let (peers, sole) = match bgp {
                Some(handle) => {
                    (handle.peers().await.unwrap_or_default(), handle.sole().await.unwrap_or_default())
                }
                None => Default::default(),
            };
            // The loop ends before its tasks do.
            drop(done.send(Input::Peers { peers, sole }));
        });
    }

    fn plugin(&mut self, incoming: Incoming) -> Input {
        match incoming {
            Incoming::Request { id, request, netns } => {
                Input::Cni { id, request, netns: netns.map(|fd| self.kernel.hold(fd)) }
            }
            Incoming::HungUp(id) => Input::HungUp(id),
        }
    }

    /// What of ours is in the kernel's first reading is from a former run of this boot: the speaker says so.
    fn first_read(&mut self, inputs: Vec<Input>) -> Vec<Input> {
        let read =
            inputs.iter().find_map(|input| if let Input::Read(state) = input { Some(state) } else { None });
        if let (false, Some(state)) = (self.begun.was_read, read) {
            self.begun.was_read = true;
            self.bgp.started(state);
        }
        inputs
    }

    async fn timeout(&mut self) -> Result<Vec<Input>, Stopped> {
        self.bgp.try_start().await?;
        let mut inputs = vec![Input::Timeout];
        if self.audit.is_due() {
            inputs.push(Input::Changed(Changed::Overrun));
        }
        Ok(inputs)
    }

    fn view(&self) -> View<'_> {
        let (bgp, outside) = (self.bgp.handle(), self.bgp.condition());
        View { agent: &self.agent, bgp, outside, started: self.begun.at, now: now() }
    }
}

fn journalled(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("journal of pods: {error}; what is lost is found in the kernel after a restart");
    }
}

fn log(note: &Note) {
    if note.is_warning() {
        tracing::warn!("{note}");
    } else {
        tracing::info!("{note}");
    }
}

async fn next_of(cluster: &mut Option<Cluster>) -> Result<Membership, AnotherNode> {
    match cluster {
        Some(cluster) => cluster.next().await,
        None => pending().await,
    }
}

async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => pending().await,
    }
}
