//! The IO around the agent: sockets, files, the kernel and the clock. What happens is decided in
//! `corduroy-agent-core`; nothing in here has an opinion.
//!
//! | module | what it moves |
//! |---|---|
//! | [`run`] | the only loop: joins all of them |
//! | [`cluster`] | who we are, where a Kubernetes cluster says so |
//! | [`caretaker`] | what one agent at a time does for the whole cluster |
//! | [`feed`], [`snapshot`] | resources, from the datastore or from what the former run knew |
//! | [`kernel`], [`audit`] | plans and readings, on a thread of their own; when all is read again |
//! | `drop_log` | packets that policies deny, on another |
//! | [`bgp`] | the speaker's driver, on a thread of its own |
//! | [`cni_server`], [`journal`] | the plugins' requests, the record of pods |
//! | [`view`], [`status`], `policies`, [`http`] | questions of `cordctl`, Prometheus and health checks |
//! | [`config`], [`identity`], [`lock`] | what is settled before the start |
//! | [`signals`] | the wish that it ends |
//! | [`whole_file`] | files that are there whole or not at all |
//! | [`install`] | plugin and network on the node, and everything of ours off it again |
#![warn(missing_docs)]

pub mod audit;
pub mod bgp;
pub mod caretaker;
pub mod cluster;
pub mod cni_server;
pub mod config;
mod drop_log;
pub mod feed;
pub mod http;
pub mod identity;
pub mod install;
pub mod journal;
pub mod kernel;
pub mod lock;
mod policies;
pub mod report;
pub mod run;
pub mod signals;
pub mod snapshot;
pub mod status;
pub mod view;
pub mod whole_file;
