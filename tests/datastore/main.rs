//! The backends in Kubernetes and etcd over real servers. Root, or `sudo`: `make e2e`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

mod contract;
mod etcd;
mod life;
mod node;
mod node_status;
mod policy;
mod world;
