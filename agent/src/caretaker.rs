//! The caretaker's hands: what `agent/core`'s caretaker decides is asked and written here.
//!
//! A task beside the loop. It sees the fabric by questions to the loop, holds nothing that others need, and may end or
//! hang without anybody noticing but the next caretaker.

use std::collections::BTreeSet;

use corduroy_agent_core::caretaker::{
    DefaultPools, Election, Gone, Judgement, KubeletLease, LeaseView, NoPool, Outlook, Owner, Record, Seen,
    Settings, Signs, Step, Unwritten, Wish, derive,
};
use corduroy_agent_core::me::Membership;
use corduroy_api::{IpNetwork, Resource, Write, WriteError};
use corduroy_bgp::Time;
use corduroy_bgp_net::now;
use corduroy_datastore::Datastore as _;
use corduroy_datastore_kubernetes::{
    Announcement, Commons, CommonsError, Kubernetes, Lease, LeaseWrite, Regarding,
};
use tokio::time::sleep;

use crate::view::{Asker, Gone as Ended};

mod conditions;
mod tally;

pub use tally::{Counts, Tally};

use conditions::Conditions;

/// The Lease's name.
const LEASE: &str = "corduroy-caretaker";

/// What the caretaker of a cluster needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Duties {
    /// How it behaves.
    pub settings: Settings,
    /// The pools of a new cluster; `None`: by what the cluster says.
    pub default_pools: Option<Vec<IpNetwork>>,
}

/// Stands for election from now on, if this agent may. `me` is this node by name and uid. Returns what it does.
pub fn start(kubernetes: Kubernetes, asker: Asker, duties: Duties, me: Owner, seed: u64) -> Tally {
    let tally = Tally::default();
    if !duties.settings.enabled {
        return tally;
    }
    let settings = duties.settings;
    let caretaker = Caretaker {
        commons: kubernetes.commons(),
        kubernetes,
        asker,
        election: Election::new(format!("{}_{}", me.node, me.uid), settings.term, seed, now()),
        me,
        term: Term::new(settings),
        duties,
        leads: false,
        tally: tally.clone(),
    };
    tokio::spawn(async move {
        // The loop ends before its tasks do.
        let Err(Ended) = caretaker.run().await;
    });
    tally
}

/// One agent's part.
struct Caretaker {
    commons: Commons,
    kubernetes: Kubernetes,
    asker: Asker,
    me: Owner,
    duties: Duties,
    election: Election,
    term: Term,
    leads: bool,
    tally: Tally,
}

/// What is remembered for as long as we lead.
struct Term {
    gone: Gone,
    defaults: DefaultPools,
    conditions: Conditions,
    /// What was said in the log.
    said: BTreeSet<String>,
    /// When the next round is due.
    round: Time,
}

impl Term {
    fn new(settings: Settings) -> Self {
        Self {
            gone: Gone::new(settings.patience),
            defaults: DefaultPools::default(),
            conditions: Conditions::default(),
            said: BTreeSet::new(),
            round: Time(0),
        }
    }
}

/// A round that lost its Lease on the way, or whose server failed: the next one begins anew.
enum Broken {
    NotLeading,
    Ended,
    Failed(CommonsError),
}

impl From<Ended> for Broken {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<CommonsError> for Broken {
    fn from(error: CommonsError) -> Self {
        Self::Failed(error)
    }
}

/// It never ends by itself.
enum Never {}

impl Caretaker {
    async fn run(mut self) -> Result<Never, Ended> {
        loop {
            let mut next = self.tend().await?;
            if self.leads {
                let (round, look) = (self.term.round, self.term.conditions.next);
                if round.min(look) <= now() {
                    let result =
                        if round <= now() { self.round().await } else { self.look_round(false).await };
                    match result {
                        Ok(()) | Err(Broken::NotLeading) => {}
                        Err(Broken::Ended) => return Err(Ended),
                        Err(Broken::Failed(error)) => {
                            self.tally.note(|counts| counts.failed += 1);
                            self.say("CaretakerHindered", &format!("{error}; trying again")).await;
                        }
                    }
                    continue;
                }
                next = next.min(round).min(look);
            }
            sleep(next.since(now())).await;
        }
    }

    /// Does what the election wants, and says when it wants something again.
    async fn tend(&mut self) -> Result<Time, Ended> {
        loop {
            let until = match self.election.next(now()) {
                Step::Wait(until) => Some(until),
                Step::Look => {
                    let (member, agents) = self.asker.ask(|view| standing(view.agent.known())).await?;
                    self.election.set_agents(agents);
                    // Whom the cluster has no more has nothing to say in it.
                    let seen = if member { self.look().await } else { Err(()) };
                    self.election.saw(seen, now());
                    None
                }
                Step::Write(record, from) => {
                    let sent = now();
                    let result = self.write(&record, from.as_deref()).await;
                    self.election.wrote(result, sent, now());
                    None
                }
            };
            self.turned();
            if let Some(until) = until {
                return Ok(until);
            }
        }
    }

    async fn look(&mut self) -> Result<Option<LeaseView>, ()> {
        match self.commons.lease(LEASE).await {
            Ok(lease) => Ok(lease.map(view_of)),
            Err(error) => {
                self.hindered(&error).await;
                Err(())
            }
        }
    }

    async fn write(&mut self, record: &Record, from: Option<&str>) -> Result<String, Unwritten> {
        let Record { holder, term, acquired, transitions, marked } = record.clone();
        let write = LeaseWrite { holder, term, acquired, transitions, marked };
        match self.commons.write_lease(LEASE, &write, from).await {
            Ok(version) => Ok(version),
            Err(error) => {
                self.hindered(&error).await;
                Err(if error.conflict { Unwritten::Conflict } else { Unwritten::Failed })
            }
        }
    }

    /// A server that is away or somebody who was faster is every day's business. A right that is missing is missing to
    /// all agents: there will be no caretaker, and nobody else who could say so.
    async fn hindered(&mut self, error: &CommonsError) {
        if error.denied {
            self.say("CaretakerHindered", &format!("this agent can't be the caretaker: {error}")).await;
        } else {
            tracing::debug!("caretaker: {error}");
        }
    }

    /// Notices whether we lead.
    fn turned(&mut self) {
        let leads = self.election.leads(now());
        if leads != self.leads {
            self.leads = leads;
            self.term = Term::new(self.duties.settings);
            self.tally.note(|counts| {
                counts.leads = leads;
                counts.not_in_force.clear();
            });
            tracing::info!(
                "this agent is {} the cluster's caretaker",
                if leads { "now" } else { "no longer" }
            );
        }
    }

    /// To be asked before everything that only a caretaker may do.
    async fn must_lead(&mut self) -> Result<(), Broken> {
        self.tend().await?;
        if self.leads { Ok(()) } else { Err(Broken::NotLeading) }
    }

    /// One round, and when the next one is due.
    async fn round(&mut self) -> Result<(), Broken> {
        self.tally.note(|counts| counts.rounds += 1);
        let result = self.take_care().await;
        let again = self.term.defaults.next_timeout().filter(|at| *at > now());
        let next = now() + self.duties.settings.interval;
        self.term.round = again.map_or(next, |again| again.min(next));
        result
    }

    async fn take_care(&mut self) -> Result<(), Broken> {
        let outlook = self.asker.ask(|view| Outlook::of(view.agent.known())).await?;
        if !outlook.member {
            if let Some((record, from)) = self.election.resign(now()) {
                // Who comes next finds out by itself where this fails.
                drop(self.write(&record, Some(&from)).await);
            }
            self.turned();
            return Ok(());
        }
        self.election.set_agents(outlook.agents);
        match self.term.defaults.settle(outlook.has_pools, self.election.is_marked(), now()) {
            Wish::Nothing => {}
            Wish::Mark => self.election.mark(now()),
            Wish::Derive => self.make_pools().await?,
        }
        // Whether that works or not: what nodes that are gone have left is another matter.
        let said = match self.look_round(true).await {
            Err(Broken::Failed(error)) => Err(error),
            result => Ok(result?),
        };
        match outlook.seen {
            Some(seen) if seen.is_quiet() => self.free(seen).await?,
            _ => {}
        }
        Ok(said?)
    }

    /// Makes the pools of a new cluster.
    async fn make_pools(&mut self) -> Result<(), Broken> {
        let configured = self.duties.default_pools.clone();
        let kubeadm = match configured {
            Some(_) => None,
            None => self.commons.kubeadm_pod_subnet().await?,
        };
        let pools = match derive(configured.as_deref(), kubeadm.as_deref()) {
            Ok(pools) => pools,
            Err(why @ (NoPool::Unwanted | NoPool::Unknown | NoPool::Unusable { .. })) => {
                self.say("NoIPPool", &why.to_string()).await;
                return Ok(());
            }
        };
        for (pool, source) in pools {
            self.must_lead().await?;
            let (name, cidr) = (pool.metadata.name.clone(), pool.cidr);
            match self.kubernetes.write(Write::Create(Resource::IpPool(pool))).await {
                Ok(_) => {
                    let what = format!("IPPool/{name} made of {cidr}: there was none, and so says {source}");
                    self.tell("IPPoolMade", &what, false).await;
                }
                Err(WriteError::Exists { .. }) => {}
                Err(error) => {
                    self.say("NoIPPool", &format!("IPPool/{name} not made of {cidr}: {error}; trying again"))
                        .await;
                    return Ok(());
                }
            }
        }
        self.election.mark(now());
        Ok(())
    }

    /// Frees what nodes that are gone have left.
    async fn free(&mut self, seen: Seen) -> Result<(), Broken> {
        self.must_lead().await?;
        let seen = seen.beside(self.commons.node_uids().await?);
        for owner in self.term.gone.absent(&seen) {
            self.must_lead().await?;
            let signs = self.signs(&owner).await?;
            match self.term.gone.judge(&seen, &owner, &signs, now()) {
                Judgement::Keep(why) => {
                    let what = format!("node {owner} is not in the cluster; what it has stays: {why}");
                    self.say("NotFreed", &what).await;
                }
                Judgement::Free(writes) => self.delete(&owner, writes).await?,
            }
        }
        Ok(())
    }

    async fn signs(&self, owner: &Owner) -> Result<Signs, CommonsError> {
        let pods = self.commons.pods_of(&owner.node).await?;
        let kubelet = self.commons.kubelet_lease(&owner.node).await?;
        let kubelet = kubelet.map(|lease| KubeletLease { uid: lease.node_uid, renewed: lease.renewed });
        Ok(Signs { pods: pods.into_iter().map(|pod| pod.addresses).collect(), kubelet })
    }

    async fn delete(&mut self, owner: &Owner, writes: Vec<Write>) -> Result<(), Broken> {
        for write in writes {
            self.must_lead().await?;
            let key = write.key();
            match self.kubernetes.write(write).await {
                Ok(_) => {
                    self.tally.note(|counts| *counts.freed.entry(key.kind).or_default() += 1);
                    self.tell("Freed", &format!("{key} freed: node {owner} is gone"), false).await;
                }
                // Somebody was faster.
                Err(WriteError::NotFound { .. }) => {}
                Err(error) => {
                    let what = format!("{key} of node {owner}, which is gone, not freed: {error}");
                    self.say("NotFreed", &what).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Says what an operator should look at, once.
    async fn say(&mut self, reason: &str, what: &str) {
        if self.term.said.insert(what.to_owned()) {
            self.tell(reason, what, true).await;
        }
    }

    /// Says what happened: in the log, and as an Event of the Node that takes care.
    async fn tell(&self, reason: &str, what: &str, is_warning: bool) {
        let Owner { node: name, uid } = self.me.clone();
        let regarding = Regarding { api_version: "v1".to_owned(), kind: "Node".to_owned(), name, uid };
        self.announce(regarding, reason, what, is_warning).await;
    }

    /// Says something of an object: in the log, and as an Event.
    async fn announce(&self, regarding: Regarding, reason: &str, what: &str, is_warning: bool) {
        let about = match regarding.kind.as_str() {
            "Node" => String::new(),
            kind => format!("{kind}/{}: {reason}: ", regarding.name),
        };
        if is_warning {
            tracing::warn!("caretaker: {about}{what}");
        } else {
            tracing::info!("caretaker: {about}{what}");
        }
        let event = Announcement {
            regarding,
            reporter: ("corduroy.dev/caretaker".to_owned(), self.me.node.clone()),
            is_warning,
            reason: reason.to_owned(),
            note: what.chars().take(1024).collect(),
            count: 1,
        };
        if let Err(why) = self.kubernetes.announce(&event).await {
            tracing::warn!("caretaker: no Event {reason} ({about}{what}): {why}");
        }
    }
}

fn standing(known: &corduroy_agent_core::known::Known) -> (bool, usize) {
    (known.me.member != Membership::Removed, known.model.nodes().len())
}

fn view_of(lease: Lease) -> LeaseView {
    let Lease { version, holder, term, age, transitions, marked, .. } = lease;
    LeaseView { version, holder, term, age, transitions, marked }
}
