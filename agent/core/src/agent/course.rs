//! How far things are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::policing;
use super::reading::Reading;
use super::sweep::Sweep;
use super::unwritten::Unwritten;
use crate::explain::drops::Drops;

/// How far things are.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Everything was said and read: the agent acts.
    pub(super) open: bool,
    pub(super) reading: Reading,
    /// Why pods are not served, and why no new ones are taken in, as the endpoints were told last.
    pub(super) told_ready: Option<(Result<(), String>, Option<String>)>,
    pub(super) told_mtu: Option<u32>,
    pub(super) told_pools: bool,
    /// What is announced may have to change.
    pub(super) announce: bool,
    /// Next hops whose routes may go another way.
    pub(super) hops: BTreeSet<IpAddr>,
    pub(super) noted: BTreeSet<String>,
    pub(super) unwritten: Unwritten,
    pub(super) policing: policing::Times,
    pub(super) drops: Drops,
    pub(super) sweep: Sweep,
}
