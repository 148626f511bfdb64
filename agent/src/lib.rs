//! The IO around the agent: sockets, files, the kernel and the clock. What happens is decided in
//! `corduroy-agent-core`; nothing in here has an opinion.
#![warn(missing_docs)]

pub mod cni_server;
pub mod journal;
