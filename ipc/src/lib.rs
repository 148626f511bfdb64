//! The words spoken on the Unix sockets of a node.
//!
//! Two protocols share one framing ([`frame`]) and one rule for versions ([`version`]):
//!
//! * [`cni`]: the plugin binary asks the agent to wire or unwire a container. The container's network
//!   namespace does not occur in the messages: it comes as a file descriptor (`SCM_RIGHTS`) with the
//!   request's first byte, so the agent needs no view of the runtime's mounts.
//! * [`status`]: `cordctl` asks the agent (or the reflector) what it knows.
//!
//! One connection carries one request and one answer. Everything here is plain data: the sockets are the
//! business of those who hold them.
#![warn(missing_docs)]

pub mod cni;
pub mod frame;
pub mod hash;
pub mod policy;
pub mod status;
pub mod version;
