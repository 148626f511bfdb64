//! The attachments of this node: who is being wired, who is wired, who is being unwired, and on whose behalf.
//!
//! ```text
//!   ADD ─► waits ─► addresses, journal "wiring" ─► Wire ─► kernel ─► Wired ─► journal "wired" ─► answer
//!                                                            │ refused, plugin gone, DEL came
//!   DEL ─► waits ──────────────────────────────► Unwire ◄────┘
//!                                                   └─► kernel ─► Unwired ─► journal "dropped" ─► answer
//! ```
//!
//! * An attachment is (network, container id, interface name). Its hash names the interface on the host, so
//!   every program finds the link of an attachment without asking.
//! * Operations on one attachment follow one another: what can't start waits, for a bounded time, and then
//!   fails with CNI error 11 (try again later).
//! * The journal is written before the kernel is touched on the way up and after it on the way down, so at
//!   every moment each link of ours is in the journal with its addresses, and after a `kill -9` nothing
//!   leaks: what was being wired is unwired (the plugin has seen its connection break and failed), what was
//!   wired stays, what has lost its link is dropped.
//! * A plugin that hangs up before its answer is rolled back.
//! * A DEL that overtakes its ADD leaves a tombstone, which refuses the ADD when it comes.
//!
//! [`Endpoints`] joins this with the allocator of [`crate::ipam`]: whoever runs it feeds [`Input`]s and
//! carries out the [`Output`]s **in order**: a journal line has to be in its file before what follows it is
//! done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{IpamBlock, Key, Namespace, Pod as ClusterPod, Version, Write, WriteError};
use corduroy_ipc::cni::{AttachmentKey, CniAnswer, CniRequest};
use corduroy_kernel::{Family, LinkName, NetnsId};
use ipnetwork::IpNetwork;

use crate::ipam::Pool;
use crate::pods::Pod;

mod directory;
mod join;
mod journal;
mod requests;
mod table;
mod tombstones;
mod tunnels;

pub use directory::Knowledge;
pub use join::Endpoints;
pub use journal::Problem;

/// A connected plugin. Chosen by whoever accepts the connection, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happens to the endpoints.
#[derive(Clone, Debug)]
pub enum Input {
    /// A plugin asks. ADD and CHECK come with the container's namespace; the handle is given back by
    /// [`Output::CloseNetns`].
    Request {
        /// Whom to answer.
        id: RequestId,
        /// What it wants.
        request: CniRequest,
        /// The namespace it passed.
        netns: Option<NetnsId>,
    },
    /// The plugin hung up.
    HungUp(RequestId),
    /// The first reading of the kernel: every pod interface there is. Comes once, before anything is done.
    /// One that the journal does not know is kept, since a pod may live behind it; leave out those without an
    /// address.
    Found(Vec<Pod>),
    /// The kernel has what an [`Output::Wire`] of this interface asked for, or refused it.
    Wired {
        /// The host's end.
        link: LinkName,
        /// What the kernel said.
        result: Result<(), String>,
    },
    /// The kernel has nothing any more of what an [`Output::Unwire`] named, or refused to let go of it; then
    /// it is tried again, and an `Ok` has to follow in the end.
    Unwired {
        /// The host's end.
        link: LinkName,
        /// What the kernel said.
        result: Result<(), String>,
    },
    /// The answer to [`Output::Verify`].
    Verified {
        /// The host's end.
        link: LinkName,
        /// How the kernel differs from what it should hold for this pod; empty when it does not.
        problems: Vec<String>,
    },
    /// A pod's interface vanished without our doing: its namespace is gone.
    Lost(LinkName),
    /// Whether kernel and datastore are in sync, so that pods can be served; else why not.
    Ready(Result<(), String>),
    /// Why no new pods are taken in, if they are not. Those that are here are served all the same, and may go.
    Closed(Option<String>),
    /// Octets of a packet at most, for pods whose configuration names nothing less.
    Mtu(u32),
    /// The pools this node may use, all of them.
    Pools(Vec<Pool>),
    /// Addresses that nobody gets who does not ask for them by name, all of them.
    Reserved(Vec<IpNetwork>),
    /// How well the cluster's pods and namespaces are known.
    Knowledge(Knowledge),
    /// The cluster shows a pod of this node; `None`: it has it no more.
    Pod(String, Option<Arc<ClusterPod>>),
    /// The cluster shows a namespace; `None`: it has it no more.
    Namespace(String, Option<Arc<Namespace>>),
    /// The datastore shows a block.
    Block(Arc<IpamBlock>),
    /// The datastore has no such block any more.
    BlockGone(IpNetwork),
    /// Pools and blocks have all been told.
    InSync,
    /// What became of an [`Output::Write`].
    Written {
        /// Of which resource.
        key: Key,
        /// What the datastore said.
        result: Result<Version, WriteError>,
    },
    /// A tunnel device needs an address; the answer is an [`Output::TunnelAddress`], perhaps later. Ask
    /// before the first [`Input::Ready`], so that no pod gets the address that was wanted.
    Tunnel {
        /// The device.
        device: LinkName,
        /// Of which family.
        family: Family,
        /// The one it had before, if there is a record of it.
        wanted: Option<IpAddr>,
    },
    /// A tunnel device needs its addresses no more.
    NoTunnel(LinkName),
}

/// What has to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append these lines to the journal.
    Append(String),
    /// Replace the journal by this, atomically.
    Rewrite(String),
    /// Write this to the datastore.
    Write(Write),
    /// Whether this block of ours may be announced has changed ([`Endpoints::is_leaving`]).
    BlockChanged(IpNetwork),
    /// Wire a pod, and say [`Input::Wired`].
    Wire {
        /// What the host should have.
        pod: Pod,
        /// The container's namespace.
        netns: NetnsId,
        /// The interface's name in there.
        ifname: LinkName,
    },
    /// This pod is wired already, by a former run: keep it as it is.
    Keep(Pod),
    /// Unwire a pod (all of it: the link may never have been made), and say [`Input::Unwired`].
    Unwire(Pod),
    /// Compare the kernel with what it should hold for this pod, and say [`Input::Verified`].
    Verify {
        /// The host's end.
        link: LinkName,
        /// The container's namespace, if the plugin passed it.
        netns: Option<NetnsId>,
        /// The interface's name in there.
        ifname: LinkName,
    },
    /// A namespace is not needed any more.
    CloseNetns(NetnsId),
    /// Tell people.
    Warn(String),
    /// Answer a plugin (if it is still there).
    Answer {
        /// Which.
        id: RequestId,
        /// What.
        answer: CniAnswer,
    },
    /// A tunnel device's address, or why there is none (yet: another one follows when that changes).
    TunnelAddress {
        /// The device.
        device: LinkName,
        /// Of which family.
        family: Family,
        /// The address.
        result: Result<IpAddr, String>,
    },
}

/// An attachment, for people who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is; `None` for a link that was found without a record.
    pub key: Option<AttachmentKey>,
    /// The Kubernetes pod, when the runtime named it.
    pub owner: Option<corduroy_ipc::cni::Pod>,
    /// What the host has of it.
    pub pod: Pod,
    /// Is it wired, and not on its way up or down?
    pub wired: bool,
}

/// How the endpoints behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a request may wait before it fails with "try again later": less than the ten seconds the
    /// plugin waits, so that it hears the reason.
    pub patience: Duration,
    /// How the allocator behaves.
    pub ipam: crate::ipam::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(8), ipam: crate::ipam::Settings::default() }
    }
}

#[cfg(test)]
mod tests;
