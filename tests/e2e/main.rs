//! Tests on a real cluster: Kubernetes' own programs, two racks. Root, or `sudo`: `make e2e`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod addresses;
mod admission;
mod caretaker;
mod clock;
mod cluster;
mod command;
mod conditions;
mod control;
mod cordctl;
mod fabric;
mod moves;
mod peering;
mod policy;
mod rights;
mod services;
