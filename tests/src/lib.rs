//! The ground that tests stand on: a real kernel, real daemons, our own built binaries.
//!
//! A test that uses this crate reads as a story: make a [`Topology`] of network namespaces, start [`daemons`] or our
//! binaries ([`process::binary`]) in them, and say with [`eventually`] what must become true. Everything is gone when
//! the topology is dropped, also when the test panics, is interrupted or is killed (see [`topology`]).
//!
//! Three rules make it hold up in parallel and on slow machines:
//!
//! - **Nothing is shared.** Namespaces, directories and sockets carry the process id and a counter, so that tests run
//!   side by side, and several checkouts too.
//! - **Nothing sleeps but [`eventually`].** A test waits for a fact, never for a time. What must *not* happen is
//!   shown by a log up to a later positive marker (a [`probe::Ping`]'s sequence, a fence route), never by waiting.
//! - **Nothing is skipped.** A missing tool is a failure that says how to install it.
//!
//! The functions of this crate panic with a full sentence where something that a test takes for granted does not hold
//! (a namespace can't be made, a daemon does not start): their callers are tests, and the panic is the verdict.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a harness fails a test by panicking; every panic is a sentence that says what did not hold"
)]

pub mod cni;
pub mod daemons;
pub mod fabric;
pub mod interop;
pub mod kube;
pub mod manifests;
pub mod probe;
pub mod process;
pub mod status;
pub mod topology;
pub mod vm;
pub mod wire;
pub mod world;

mod wait;

pub use topology::{Namespace, Topology};
pub use wait::{eventually, wait_for};
