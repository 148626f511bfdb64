//! The way to a running driver: requests in, answers and reports out.

use std::collections::BTreeSet;

use corduroy_bgp::Net;
use corduroy_bgp::config::{Config, PeerKey};
use corduroy_bgp::io::{Change, Command, Origination, Stop};
use corduroy_bgp::rib::Sizes;
use corduroy_bgp::status::{Explanation, PeerStatus, RoutePage, RouteQuery};
use tokio::sync::{mpsc, oneshot};

use crate::{Counters, Notice};

/// The driver has ended; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has stopped")]
pub struct Stopped;

/// What a driver reports, in the order it happened: a [`Notice`] that a table is complete comes after the changes it
/// speaks of.
#[derive(Debug)]
pub enum Report {
    /// The Loc-RIB's new word on some prefixes; each prefix at most once in a batch.
    Changes(Vec<Change>),
    /// Something for the log, a metric or a condition.
    Notice(Notice),
}

/// One change of what the speaker originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Announce a prefix, or change how it is announced.
    Originate(Net, Origination),
    /// No longer announce it.
    Withdraw(Net),
}

/// A wish, on its way to the driver.
#[derive(Debug)]
pub(crate) enum Request {
    Configure(Box<Config>),
    Announce(Vec<Announcement>),
    OriginationComplete,
    Command(PeerKey, Command),
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    Sole(oneshot::Sender<BTreeSet<PeerKey>>),
    Routes(RouteQuery, oneshot::Sender<RoutePage>),
    Explain(Net, oneshot::Sender<Explanation>),
    Sizes(oneshot::Sender<Sizes>),
    Counters(oneshot::Sender<Counters>),
    Stop(Stop, oneshot::Sender<()>),
}

/// Speaks to a running [`crate::Driver`]. Cheap to clone. Every method waits while the driver has many requests
/// queued, and answers [`Stopped`] when it has ended.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    pub(crate) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self { requests }
    }

    async fn send(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (to, answer) = oneshot::channel();
        self.send(request(to)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// The whole configuration, from now on. Only what differs from the one in force costs anything.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn configure(&self, config: Config) -> Result<(), Stopped> {
        self.send(Request::Configure(Box::new(config))).await
    }

    /// Changes what the speaker originates, all of it before anything of it is sent.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn announce(&self, announcements: Vec<Announcement>) -> Result<(), Stopped> {
        self.send(Request::Announce(announcements)).await
    }

    /// Everything this process originates after its start has been announced; End-of-RIB may follow (RFC 4724 §4.1).
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn origination_complete(&self) -> Result<(), Stopped> {
        self.send(Request::OriginationComplete).await
    }

    /// An operator's wish about one peer.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn command(&self, peer: PeerKey, command: Command) -> Result<(), Stopped> {
        self.send(Request::Command(peer, command)).await
    }

    /// Every peer, in the order of their addresses.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, Stopped> {
        self.ask(Request::Peers).await
    }

    /// The peers without which we would have no path to some prefix. Takes looking at prefixes one by one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn sole(&self) -> Result<BTreeSet<PeerKey>, Stopped> {
        self.ask(Request::Sole).await
    }

    /// A page of routes.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn routes(&self, query: RouteQuery) -> Result<RoutePage, Stopped> {
        self.ask(|to| Request::Routes(query, to)).await
    }

    /// Why a prefix is where it is.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn explain(&self, net: Net) -> Result<Explanation, Stopped> {
        self.ask(|to| Request::Explain(net, to)).await
    }

    /// How much the speaker's tables hold.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn sizes(&self) -> Result<Sizes, Stopped> {
        self.ask(Request::Sizes).await
    }

    /// What the driver has done since it started.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn counters(&self) -> Result<Counters, Stopped> {
        self.ask(Request::Counters).await
    }

    /// Ends the driver and returns when its last socket is closed. `Stop::Restart` drops connections without a
    /// NOTIFICATION, so that peers keep our routes; `Stop::Drain` withdraws, says Cease and waits until peers have it,
    /// at most [`crate::DRAIN`].
    ///
    /// # Errors
    /// [`Stopped`] when it had ended before.
    pub async fn stop(&self, how: Stop) -> Result<(), Stopped> {
        self.ask(|to| Request::Stop(how, to)).await
    }
}
