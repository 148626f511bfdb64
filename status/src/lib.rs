//! What an agent and a reflector show their operator. Both hold a speaker and answer the same questions, so the parts
//! that put them in words and on sockets are here, once:
//!
//! ```text
//! cordctl ─unix socket─► StatusSocket ─Question─► the program's loop ─┐
//!                             ▲                                       ├─► SpeakerView ─► bgp/net's Handle
//!                             └───────────── Question::answer ◄───────┘
//! Prometheus, kubelet ─HTTP─► http::serve ─► Observed (the program) ─► metrics::Speaker, …
//! ```
//! * [`StatusSocket`]: one connection, one question, one answer (`corduroy_ipc::status`). The program's loop takes
//!   questions with [`StatusSocket::next`] and answers each when it can, in any order: a question that takes the
//!   speaker long belongs in a task of its own.
//! * [`SpeakerView`]: everything of an answer that the speaker knows: peers, routes, why a route is where it is, and
//!   the summary. It is a snapshot of who the peers are plus the way to the running speaker, cheap to clone.
//! * [`http`]: `/metrics`, `/healthz`, `/readyz`; the program implements [`http::Observed`].
//! * [`metrics`]: the speaker's metrics, for the program's registry.
//!
//! Nobody who asks can hold the program up: questions wait in a bounded queue, connections have deadlines, and a
//! question that nobody answers in time fails with words.
#![warn(missing_docs)]

pub mod http;
pub mod metrics;
mod socket;
mod speaker;

pub use socket::{Question, StatusSocket};
pub use speaker::{Refused, SpeakerView};
