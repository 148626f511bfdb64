//! Probes: what a network does to packets.
//!
//! [`Ping`] sends ICMP echoes at a steady pace and keeps a log of every sequence number, so that "nothing was lost"
//! is a fact about a log. [`Echo`] answers TCP and UDP with the source address it saw, so that "without NAT" is one
//! too. [`Stream`] is a TCP connection that stays open, [`Answers`] a flow of which only answers go on, [`Talk`] all of
//! these. [`sweep`] asks crowds of [`Servers`] all at once, and tells silence from refusal.

mod answers;
mod echo;
mod icmp;
mod ping;
mod servers;
mod stream;
mod sweep;
mod talk;

pub use answers::Answers;
pub use echo::{Echo, Protocol, seen_over};
pub use ping::{Ping, Report};
pub use servers::{Listening, Servers};
pub use stream::Stream;
pub use sweep::{Answer, Question, Transport, sweep};
pub use talk::Talk;
