//! Changes: one operation, what became of it, and the order of many.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use thiserror::Error;

use crate::nft;
use crate::{
    Address, FdbEntry, FlowKey, IpNet, Link, LinkName, Mac, Neighbour, PodEnd, Route, Sysctl, VethPeer,
};

/// One change of the kernel. Everything named `Put` writes whether or not something of the same key is there;
/// everything named `Delete` succeeds when it is already gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Make a tunnel device, down.
    AddLink(Link),
    /// Make a veth pair in one message, both ends down, the peer in its namespace.
    AddVeth(Link, VethPeer),
    /// Set MTU, MAC (if any) and address generation mode of an interface of ours; kind and state stay.
    SetLink(Link),
    /// Set an interface up or down.
    SetUp(LinkName, bool),
    /// Delete an interface; its addresses, routes and neighbours go with it.
    DeleteLink(LinkName),
    /// Set the pod's end: link up, addresses, gateway neighbour, default routes.
    SetPod(PodEnd),
    /// Add an address (IPv6: without duplicate address detection).
    PutAddress(Address),
    /// Delete an address.
    DeleteAddress(Address),
    /// Write a permanent neighbour.
    PutNeighbour(Neighbour),
    /// Delete a neighbour.
    DeleteNeighbour(LinkName, IpAddr),
    /// Write an FDB entry.
    PutFdb(FdbEntry),
    /// Delete an FDB entry.
    DeleteFdb(LinkName, Mac),
    /// Write a route of our protocol and metric.
    PutRoute(Route),
    /// Delete the route of our protocol and metric to this destination.
    DeleteRoute(IpNet),
    /// Delete a route of our protocol with a foreign metric.
    DeleteStrayRoute(IpNet, u32),
    /// Set a switch.
    SetSysctl(Sysctl, u32),
    /// Change our table: one transaction, all or nothing.
    Nft(Vec<nft::Change>),
    /// Forget every tracked connection to or from this address, so that its next owner does not inherit them.
    ForgetFlows(IpAddr),
    /// Write these bits of the marks of tracked connections. One that is gone is as good as marked.
    MarkFlows {
        /// Which bits.
        mask: u32,
        /// Their value.
        value: u32,
        /// Of which connections.
        flows: Vec<FlowKey>,
    },
}

/// What became of one operation.
pub type OpResult = Result<(), OpError>;

/// An operation the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{cause} (errno {errno}){}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct OpError {
    /// Why.
    pub cause: Cause,
    /// The kernel's errno, positive; 0 when it never got to the kernel.
    pub errno: i32,
    /// What the kernel or the caller's side said about it, perhaps nothing.
    pub detail: String,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum Cause {
    /// What it builds on is not there: interface, chain, set, namespace.
    #[error("what it builds on is missing")]
    Missing,
    /// Something of that key is there already.
    #[error("it exists already")]
    Exists,
    /// The gateway can't be reached from the interface.
    #[error("the gateway is unreachable")]
    Unreachable,
    /// The interface is down.
    #[error("the interface is down")]
    LinkDown,
    /// It is still in use: a chain that is jumped to, a set that a rule looks up.
    #[error("it is in use")]
    Busy,
    /// This kernel can't do it.
    #[error("the kernel does not support it")]
    Unsupported,
    /// We may not.
    #[error("permission denied")]
    Permission,
    /// Out of memory or of buffer space.
    #[error("the kernel is out of memory or buffers")]
    NoMemory,
    /// The kernel finds the request malformed.
    #[error("the kernel finds it invalid")]
    Invalid,
    /// It was not tried, since something before it in the same plan or transaction failed.
    #[error("not tried, since something before it failed")]
    NotTried,
    /// Anything else.
    #[error("the kernel refused it")]
    Other,
}

/// What to do about a refused operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// The picture of the kernel was stale: read again, plan again.
    Reread,
    /// The kernel is short of something: the same again after a while.
    RetryLater,
    /// It can't be had on this kernel or with these rights: a condition on the node; do not repeat.
    Report,
    /// It should have been refused before it got here: a fault of ours, to be logged with all detail; retried
    /// only when what is desired changes.
    Bug,
}

impl Cause {
    /// What happens next.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Missing
            | Self::Exists
            | Self::Unreachable
            | Self::LinkDown
            | Self::Busy
            | Self::NotTried => Remedy::Reread,
            Self::NoMemory | Self::Other => Remedy::RetryLater,
            Self::Unsupported | Self::Permission => Remedy::Report,
            Self::Invalid => Remedy::Bug,
        }
    }
}

impl OpError {
    /// An error that has no more to say.
    #[must_use]
    pub fn new(cause: Cause, errno: i32) -> Self {
        Self { cause, errno, detail: String::new() }
    }
    /// What happens next.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.cause.remedy()
    }
}

/// What is urgent. Plans are cut from the most urgent lane that has work; a later lane may rely on an earlier
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What everything stands on, small: sysctls, the table with its base chains and sets, tunnel devices,
    /// blackholes.
    Foundation,
    /// Pods coming and going.
    Endpoints,
    /// The rest, in slices: learned routes, neighbours and FDB entries of other nodes, large set contents.
    Learned,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Foundation, Self::Endpoints, Self::Learned];
}

/// What one call of `apply` performs, in order. An operation that fails does not stop the ones behind it,
/// except for a pod's: what follows a failed [`Op::AddVeth`] on the same interface fails by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The lane it was cut from.
    pub lane: Lane,
    /// The operations.
    pub ops: Vec<Op>,
}
