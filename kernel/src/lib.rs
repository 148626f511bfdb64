//! The kernel as Corduroy sees it: plain data and no IO.
//!
//! Three nouns carry everything. [`State`] is what was read: links, addresses, our routes and neighbours,
//! sysctls and our nftables table. An [`Op`] is one change. A [`Plan`] is what one call of `apply` performs, in
//! order, cut from one [`Lane`] so that a pod never waits behind learned routes. What became of each operation
//! is an [`OpResult`], whose error says what happens next ([`Remedy`]). `corduroy-kernel-linux` reads, applies
//! and watches.
//!
//! **Ours is decidable without memory.** Routes carry protocol [`route::PROTOCOL`] and metric
//! [`route::METRIC`], rules live in the one table `inet corduroy` ([`nft::TABLE`]), interfaces are called
//! `cord` + 11 hex digits, `ipip-cord` or `vxlan-cord` ([`LinkName::is_ours`]). Nothing else is ever touched.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod address;
mod flow;
mod link;
mod name;
mod neighbour;
mod net;
pub mod nft;
mod op;
mod packet;
mod pod;
pub mod route;
mod state;
mod sysctl;

pub use address::{Address, Scope};
pub use flow::{Flow, FlowKey, FlowStatus, TcpState, Tuple, TupleId};
pub use link::{AddrGen, Ipip, Link, LinkKind, SeenLink, Vxlan};
pub use name::{LinkName, LinkNameError};
pub use neighbour::{FdbEntry, Neighbour};
pub use net::{Family, IpNet, IpNetError, Mac, MacError};
pub use op::{Cause, Lane, Op, OpError, OpResult, Plan, Remedy};
pub use packet::{LogEntry, Packet, TcpFlags, Transport};
pub use pod::{NetnsId, PodEnd, VethPeer};
pub use route::{Encap, NextHop, Route, RouteKind};
pub use state::{Changed, Facts, Features, ForeignChain, Gateway, State, Support, Uplink};
pub use sysctl::{Conf, Conf4, Conf6, Sysctl};
