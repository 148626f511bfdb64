//! The backend in Kubernetes over real API servers, each with an etcd of its own. Root, or `sudo`: `make e2e`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

mod contract;
mod life;
mod node;
mod node_status;
mod world;
