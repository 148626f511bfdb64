//! What crosses the agent's edge: plain data all of it.

use std::collections::BTreeSet;
use std::fmt;

use corduroy_api::{Asked, Event, Key as ResourceKey, Version, Write, WriteError};
use corduroy_bgp::Net;
use corduroy_bgp::config::{Config, PeerKey};
use corduroy_bgp::event::Event as BgpEvent;
use corduroy_bgp::io::{Change, Origination};
use corduroy_bgp::status::PeerStatus;
use corduroy_ipc::cni::{CniAnswer, CniRequest};
use corduroy_kernel::{Changed, Family, Flow, LinkName, NetnsId, OpResult, Plan, State};
use ipnetwork::IpNetwork;

use crate::endpoints::RequestId;
use crate::explain::drops::Heard;
use crate::me::{Chosen, Membership, NoAddress};

/// What the world tells the agent.
#[derive(Debug)]
pub enum Input {
    /// The datastore says this, in this order.
    Datastore(Vec<Event>),
    /// What became of an [`Output::Write`].
    Written {
        /// Of which resource.
        key: ResourceKey,
        /// What the datastore said.
        result: Result<Version, WriteError>,
    },
    /// The answer to [`Output::Read`].
    Read(Box<State>),
    /// What became of the last [`Output::Apply`], operation by operation.
    Applied(Vec<OpResult>),
    /// The kernel changed, and not by a plan of ours.
    Changed(Changed),
    /// The Loc-RIB's new word on some prefixes.
    LocRib(Vec<Change>),
    /// The speaker says this.
    Bgp(BgpEvent),
    /// The answer to [`Output::AskPeers`].
    Peers {
        /// How they are.
        peers: Vec<PeerStatus>,
        /// Those without which there would be no path to some prefix.
        sole: BTreeSet<PeerKey>,
    },
    /// A plugin asks.
    Cni {
        /// Whom to answer.
        id: RequestId,
        /// What it wants.
        request: Box<CniRequest>,
        /// The namespace it passed.
        netns: Option<NetnsId>,
    },
    /// The cluster says this of our Node object.
    Member(Membership),
    /// The packet log of what policies deny.
    Heard(Heard),
    /// The answer to [`Output::ReadFlows`]; none, when they could not be read.
    Flows(Option<Vec<Flow>>),
    /// A plugin hung up.
    HungUp(RequestId),
    /// The time of [`crate::agent::Agent::next_timeout`] has come.
    Timeout,
}

/// What the agent wants of the world, in this order.
#[derive(Debug)]
pub enum Output {
    /// Read the kernel, and say [`Input::Read`]. Nothing is applied meanwhile.
    Read(Read),
    /// Apply this, and say [`Input::Applied`].
    Apply(Plan),
    /// The speaker is to be this. The first one makes it; the port is where it listens.
    Configure(Box<Config>, u16),
    /// Announce this prefix, it forwards.
    Originate(Net, Origination),
    /// No longer announce this prefix.
    Withdraw(Net),
    /// Everything this run announces after its start has been said.
    OriginationComplete,
    /// Ask the speaker how its peers are, and say [`Input::Peers`].
    AskPeers,
    /// Write this to the datastore, and say [`Input::Written`].
    Write(Box<Write>),
    /// Find this out about other nodes' pods, and no more: replaces what was asked before.
    Ask(Asked),
    /// Read all tracked connections, and say [`Input::Flows`].
    ReadFlows,
    /// Append these lines to the journal of endpoints before anything that follows.
    Append(String),
    /// Replace the journal of endpoints by this before anything that follows.
    Rewrite(String),
    /// A namespace is not needed any more.
    CloseNetns(NetnsId),
    /// Answer a plugin, if it is still there.
    Answer(RequestId, Box<CniAnswer>),
    /// For the log.
    Note(Note),
}

/// How much of the kernel is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Everything there is.
    Everything,
    /// Only what these changes say may be different; the rest is as in this state.
    Again(Box<State>, Vec<Changed>),
}

/// Something for the log. Its `Display` is one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// This node's address of a family, and why.
    Address(Family, Chosen),
    /// There is none, and why.
    NoAddress(Family, NoAddress),
    /// Kernel and datastore are in sync: from now on the agent acts.
    InSync {
        /// Routes of a former run that stay until their owners have spoken.
        held: usize,
    },
    /// Another machine uses this node's name.
    NameTaken {
        /// The name.
        node: String,
        /// The identity in the datastore.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The cluster has no Node of this name any more.
    Removed(String),
    /// Nothing here needs the network any more: blocks and FabricNode go back.
    Retired(String),
    /// Routes of a former run that nobody announced again were let go.
    Swept(usize),
    /// The datastore did not take our FabricNode.
    NotWritten(WriteError),
    /// The datastore did not take something else of ours.
    Unwritten(WriteError),
    /// A tunnel device gets this address.
    TunnelAddress(LinkName, std::net::IpAddr),
    /// A tunnel device gets no address, and why.
    NoTunnelAddress(LinkName, String),
    /// This block of ours is announced from now on, or no longer.
    Announced(IpNetwork, bool),
    /// The kernel refused something.
    Refused(String),
    /// Things of ours that something else had changed are put right.
    Repairing(u64),
    /// A record of endpoints could not be used.
    Journal(String),
    /// A pod was wired without something that should be known of it.
    Unknown(String),
}

impl Note {
    /// Should somebody look?
    #[must_use]
    pub fn is_warning(&self) -> bool {
        match self {
            Self::NoAddress(..)
            | Self::NameTaken { .. }
            | Self::Removed(_)
            | Self::NotWritten(_)
            | Self::Unwritten(_)
            | Self::Refused(_)
            | Self::Repairing(_)
            | Self::Journal(_)
            | Self::Unknown(_) => true,
            Self::Address(..)
            | Self::InSync { .. }
            | Self::Retired(_)
            | Self::Swept(_)
            | Self::TunnelAddress(..)
            | Self::NoTunnelAddress(..)
            | Self::Announced(..) => false,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(family, chosen) => {
                write!(f, "{family:?} address {}/{}: {}", chosen.address, chosen.prefix_len, chosen.why)
            }
            Self::NoAddress(family, why) => write!(f, "no {family:?} address: {why}"),
            Self::InSync { held } => {
                write!(f, "kernel and datastore are in sync")?;
                if *held > 0 {
                    write!(f, "; {held} routes of a former run stay until their owners have spoken")?;
                }
                Ok(())
            }
            Self::NameTaken { node, theirs, ours } => write!(
                f,
                "FabricNode/{node} belongs to another machine (uid {theirs}, ours is {ours}): \
                 doing nothing until it is deleted or this node gets another name"
            ),
            Self::Removed(node) => write!(
                f,
                "the cluster has no Node {node} any more: what runs here goes on, new pods are not taken in"
            ),
            Self::Retired(node) => {
                write!(
                    f,
                    "the cluster has no Node {node} and no pod is left here: its blocks and FabricNode go back"
                )
            }
            Self::Swept(n) => write!(f, "{n} routes of a former run were let go"),
            Self::NotWritten(why) => write!(f, "own FabricNode not written: {why}; trying again"),
            Self::Unwritten(why) => write!(f, "{why}; trying again"),
            Self::TunnelAddress(dev, addr) => write!(f, "{dev} gets {addr}"),
            Self::NoTunnelAddress(dev, why) => write!(f, "{dev} gets no address: {why}"),
            Self::Announced(net, true) => write!(f, "{net} forwards and is announced"),
            Self::Announced(net, false) => write!(f, "{net} is announced no longer"),
            Self::Refused(what) => write!(f, "the kernel refused {what}"),
            Self::Repairing(n) => write!(f, "{n} things of ours were changed by something else: put right"),
            Self::Journal(problem) | Self::Unknown(problem) => f.write_str(problem),
        }
    }
}
