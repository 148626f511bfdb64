//! Tests on a real kernel with real daemons. Root, or `sudo`, and a minute of patience: `make live`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod announce;
mod bad_input;
mod cni;
mod doctor;
mod fabric;
mod harness;
mod install;
mod interop;
mod ipip;
mod policy;
mod reflector;
