//! A BGP-4 speaker without IO.
//!
//! Two halves with plain data between them. The first, [`sessions`], frames bytes,
//! runs RFC 4271 §8 for each connection, checks every attribute (RFC 7606) and hands each UPDATE on as an owned
//! [`io::Batch`]. The second interns attribute sets, keeps Adj-RIB-In, Loc-RIB and one Adj-RIB-Out per update group,
//! decides and encodes. `speaker` composes both on one thread; a busy reflector may run them on two.
//!
//! There is no clock, socket, file or thread in here because there is none to have: the crate is `no_std`, time is a
//! [`Time`] passed in, bytes come by `handle` and leave by `transmit`.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod attrs;
pub mod config;
pub mod decide;
pub mod event;
mod export;
pub mod io;
mod net;
mod peer;
pub mod policy;
mod reflect;
pub mod rib;
pub mod session;
pub mod sessions;
pub mod speaker;
pub mod status;
mod time;
mod timers;
pub mod wire;

pub use net::{Asn, Family, FamilySet, Net, Net4, Net6, NetError, Prefix, RouterId};
pub use time::Time;

#[cfg(test)]
extern crate std;
