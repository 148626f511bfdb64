//! BGP daemons of other makers, as Debian ships them, and our own speaker, each inside a namespace.
//!
//! All are told what to be by one description, [`Router`], and asked what they know in one vocabulary, [`Daemon`], so
//! that a test is written once and runs against each. Files and sockets lie in the namespace's own directory; nothing
//! of the system's configuration is read, no service is started, and no daemon touches the kernel's routes unless
//! [`Router::kernel`] says so.

mod bird;
mod corduroy;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;
mod router;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;

pub use bird::Bird;
pub use corduroy::Corduroy;
pub use exabgp::ExaBgp;
pub use frr::Frr;
pub use gobgp::GoBgp;
pub use openbgpd::OpenBgpd;
pub use router::{Families, Marks, Neighbour, Router};

use crate::process;

/// What a daemon knows about one prefix: its best path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// NEXT_HOP, or the global address of MP_REACH_NLRI.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH, sets flattened.
    pub as_path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES as `(AS, value)`.
    pub communities: Vec<(u16, u16)>,
    /// LARGE_COMMUNITIES.
    pub large_communities: Vec<[u32; 3]>,
    /// ORIGINATOR_ID and CLUSTER_LIST, when the path was reflected.
    pub originator: Option<String>,
    /// CLUSTER_LIST, the nearest first.
    pub clusters: Vec<String>,
    /// Kept from a session that is gone, until its peer is back (RFC 4724).
    pub stale: bool,
}

/// One running daemon.
pub trait Daemon {
    /// The Debian package that holds it.
    const PACKAGE: &'static str;

    /// `Err` with the way it ended when it runs no longer.
    ///
    /// # Errors
    /// It has ended.
    fn alive(&mut self) -> Result<(), String>;

    /// What it has logged so far.
    fn log(&self) -> String;

    /// Whether the session with `peer` is Established.
    ///
    /// # Errors
    /// The state it is in instead, in the daemon's words.
    fn established(&self, peer: IpAddr) -> Result<(), String>;

    /// All prefixes learned from peers (own ones are not in it), by prefix in canonical text.
    ///
    /// # Errors
    /// The daemon does not answer.
    fn learned(&self) -> Result<BTreeMap<String, Learned>, String>;

    /// Originates one more prefix.
    fn announce(&mut self, prefix: &str);

    /// Takes a prefix of its own back.
    fn withdraw(&mut self, prefix: &str);

    /// Asks `peer` for all its routes again (RFC 2918).
    fn refresh(&self, peer: IpAddr);

    /// Ends the session with `peer` for good, with a text for the other side's operator (RFC 9003) where the daemon
    /// can send one.
    fn shut_down(&mut self, peer: IpAddr, text: &str);

    /// Ends it as a crash would and starts it again as one that restarts gracefully (RFC 4724 §4.1).
    fn restart(&mut self);

    /// The version that runs, as the package manager has it.
    #[must_use]
    fn version() -> String
    where
        Self: Sized,
    {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", Self::PACKAGE]);
        process::output(query)
    }
}

/// `Ok` when `daemon` has learned exactly `prefixes`, else how what it has differs: the question of most tests.
///
/// # Errors
/// What is missing and what is too much.
pub fn holds_exactly(daemon: &dyn Holder, prefixes: &[&str]) -> Result<(), String> {
    let have = daemon.prefixes()?;
    let missing: Vec<_> = prefixes.iter().filter(|p| !have.iter().any(|h| h == *p)).collect();
    let surplus: Vec<_> = have.iter().filter(|h| !prefixes.contains(&h.as_str())).collect();
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    Err(format!("it lacks {missing:?} and holds {surplus:?} too"))
}

/// Whoever holds prefixes: every [`Daemon`].
pub trait Holder {
    /// The prefixes learned.
    ///
    /// # Errors
    /// The daemon does not answer.
    fn prefixes(&self) -> Result<Vec<String>, String>;
}

impl<D: Daemon> Holder for D {
    fn prefixes(&self) -> Result<Vec<String>, String> {
        Ok(self.learned()?.into_keys().collect())
    }
}

/// The AS numbers in a path as text, sets flattened.
fn as_path(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// A community as `65001:7`.
fn community(text: &str) -> Option<(u16, u16)> {
    let (high, low) = text.split_once(':')?;
    Some((high.parse().ok()?, low.parse().ok()?))
}

/// A large community as `65001:1:2`.
fn large_community(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split(':').map_while(|part| part.parse().ok()).collect();
    parts.try_into().ok()
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| number.try_into().ok())
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
