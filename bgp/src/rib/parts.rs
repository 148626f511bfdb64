//! One family's tables beside what a step needs of the rest, and what is done there with single prefixes.

use alloc::vec::Vec;

use super::import::Import;
use super::intern::Attrs;
use super::jobs::Each;
use super::paths::{LISTED, Path, STALE};
use super::peers::Peers;
use super::prefixes::Packed;
use super::table::Table;
use super::{Rib, Settings};
use crate::io::Batch;
use crate::wire::nlri;
use crate::{Net, Prefix};

/// A family's table out of the RIB, beside everything a job needs of the rest.
pub(super) struct Parts<'a, P: Packed> {
    pub(super) table: &'a mut Table<P>,
    pub(super) peers: &'a mut Peers,
    pub(super) attrs: &'a mut Attrs,
    pub(super) import: &'a mut Import,
    settings: &'a Settings,
    clock: u32,
}

/// A table that can be found in a RIB by its family's type.
pub(super) trait InRib: Packed {
    fn parts(rib: &mut Rib) -> Parts<'_, Self>;
}

macro_rules! in_rib {
    ($net:ty, $field:ident) => {
        impl InRib for $net {
            fn parts(rib: &mut Rib) -> Parts<'_, Self> {
                Parts {
                    table: &mut rib.$field,
                    peers: &mut rib.peers,
                    attrs: &mut rib.attrs,
                    import: &mut rib.import,
                    settings: &rib.settings,
                    clock: rib.clock,
                }
            }
        }
    };
}

in_rib!(crate::Net4, v4);
in_rib!(crate::Net6, v6);

impl<P: Packed> Parts<'_, P> {
    /// A batch or a walk meets this attribute set.
    pub(super) fn begin(&mut self, peer: u16, block: &[u8]) {
        let attr_in = self.attrs.intern(block);
        if let Some(p) = self.peers.get(peer) {
            self.import.begin((p, P::FAMILY), self.settings, self.attrs, attr_in);
        }
        self.attrs.release(attr_in);
    }

    /// Takes NLRI in; answers those that protecting rules refused.
    pub(super) fn take(
        &mut self,
        (batch, reach, unreach): (&Batch, &mut usize, &mut usize),
        left: &mut usize,
    ) -> Vec<Net> {
        let id = batch.peer.0;
        let mut refused = Vec::new();
        let Some(peer) = self.peers.get_mut(id) else { return refused };
        let part = peer.family_mut(P::FAMILY);
        while let Some(net) = next::<P>(&batch.unreach, unreach, left) {
            self.table.withdraw(net, id, &mut part.adj_in, self.attrs);
        }
        while let Some(net) = next::<P>(&batch.reach, reach, left) {
            let imported = self.import.path(&part.import, net, self.attrs);
            let attr_in = self.import.attr_in();
            self.attrs.retain(attr_in);
            self.attrs.retain(imported.attr);
            if imported.protected {
                refused.push(net.into());
            }
            let flags = imported.fault.flags();
            let path = Path { attr_in, attr: imported.attr, peer: id, flags, age: self.clock };
            self.table.announce(net, path, &mut part.adj_in, self.attrs);
        }
        refused
    }

    /// Marks a path as met; false when it was met before or is gone.
    pub(super) fn first_visit(&mut self, prefix: u32, peer: u16) -> bool {
        let path = self.table.path_mut(prefix, peer).filter(|p| p.flags & LISTED == 0);
        path.map(|p| p.flags |= LISTED).is_some()
    }

    /// Does something with one path of a peer.
    pub(super) fn one(&mut self, peer: u16, prefix: u32, what: Each) {
        let filter_and_set = |p: &Self| {
            let path = p.table.paths(prefix).iter().find(|x| x.peer == peer)?;
            Some((p.peers.get(peer)?.family(P::FAMILY).import.clone(), path.attr_in))
        };
        let mut new = None;
        if what == Each::Reimport {
            let Some((filter, attr_in)) = filter_and_set(self) else { return };
            if self.import.attr_in() != attr_in
                && let Some(p) = self.peers.get(peer)
            {
                self.import.begin((p, P::FAMILY), self.settings, self.attrs, attr_in);
            }
            let net = self.table.prefixes.prefix(prefix);
            new = Some(self.import.path(&filter, net, self.attrs));
        }
        let Some(adj) = self.peers.get_mut(peer).map(|p| &mut p.family_mut(P::FAMILY).adj_in) else { return };
        match (what, new) {
            (Each::Remove, _) => self.table.remove((prefix, peer), 0, adj, self.attrs),
            (Each::Sweep, _) => self.table.remove((prefix, peer), STALE, adj, self.attrs),
            (Each::MakeStale, _) => self.table.make_stale(prefix, peer, adj),
            (Each::Reimport, Some(new)) => {
                self.attrs.retain(new.attr);
                self.table.reimport((prefix, peer), (new.attr, new.fault), adj, self.attrs);
            }
            (Each::Anew, _) => self.table.anew(prefix, peer),
            (Each::Clear, _) => {
                if let Some(path) = self.table.path_mut(prefix, peer) {
                    path.flags &= !LISTED;
                }
            }
            (Each::Reimport, None) | (Each::Tidy, _) => {}
        }
    }
}

/// The next prefix of NLRI that the session has found good.
#[inline]
fn next<P: Prefix>(nlri: &[u8], at: &mut usize, left: &mut usize) -> Option<P> {
    let rest = nlri.get(*at..).filter(|r| !r.is_empty() && *left > 0)?;
    let net: Option<P> = nlri::prefixes(rest).next();
    *left -= 1;
    // What can't be read ends the batch.
    *at = net.map_or(nlri.len(), |n| *at + 1 + usize::from(n.len().div_ceil(8)));
    net
}
