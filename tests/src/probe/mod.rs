//! Probes: what a network does to packets.
//!
//! [`Ping`] sends ICMP echoes at a steady pace and keeps a log of every sequence number, so that "nothing was lost"
//! is a fact about a log. [`Echo`] answers TCP and UDP with the source address it saw, so that "without NAT" is one
//! too. [`Stream`] is a TCP connection that stays open.

mod echo;
mod icmp;
mod ping;
mod stream;

pub use echo::{Echo, Protocol, seen_over};
pub use ping::{Ping, Report};
pub use stream::Stream;
