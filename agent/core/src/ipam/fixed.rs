//! Addresses that were asked for by name, and addresses that nobody gets who does not ask for them by name.
//!
//! A fixed address in one of the node's own blocks is the node's own business like any other. Elsewhere it is
//! claimed: as an [`IpamBlock`] of that one address, which only one node can create. But the block around it may be
//! another node's, who hands its addresses out without asking anybody. Two rules keep an address from being had twice:
//!
//! 1. Claims are shown to every node in the order in which they were made, and a node acts on a claim of its own only
//!    once it has been shown it. So of two nodes, one of which claims an address and the other the block around it, the
//!    later one knows of the earlier one's claim before it acts on its own. The owner of the block leaves a
//!    claimed address alone from then on.
//! 2. Where the claim of the address is the later one, the owner of the block may have handed the address out. So
//!    the claim counts only when the owner has written that he lends it ([`IpamBlock::lent`]), which he does unless a
//!    pod of his has it. His word is for that claim and no other: it names its epoch.
//!
//! A claim that no pod needs goes back a moment later; then the owner may use the address again, after its rest.

use std::net::IpAddr;

use corduroy_api::block::{address_at, block_size, contains, overlap};
use corduroy_api::{IpamBlock, Lent};
use ipnetwork::IpNetwork;

use super::claims::Claims;

/// Is this one address?
pub(super) fn is_one(cidr: IpNetwork) -> bool {
    cidr.prefix() == if cidr.is_ipv4() { 32 } else { 128 }
}

/// What IPReservations keep from those who ask for any address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reserved(Vec<IpNetwork>);

impl Reserved {
    pub(super) fn new(cidrs: Vec<IpNetwork>) -> Self {
        Self(cidrs)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|cidr| cidr.contains(address))
    }

    /// Is every address of a block reserved, so that there is no use in having it?
    pub(super) fn is_all_of(&self, block: IpNetwork) -> bool {
        let mut addresses = (0..block_size(block)).filter_map(|ordinal| address_at(block, ordinal));
        self.0.iter().any(|cidr| contains(*cidr, block))
            || (self.0.iter().any(|cidr| overlap(*cidr, block)) && addresses.all(|a| self.contains(a)))
    }
}

impl Claims {
    /// The claim of this one address, ours or another's.
    pub(super) fn fixed(&self, address: IpAddr) -> Option<&IpamBlock> {
        self.known.get(&IpNetwork::from(address))
    }

    pub(super) fn is_own(&self, block: &IpamBlock) -> bool {
        block.node == self.owner.node && block.node_uid == self.owner.uid
    }

    /// Who must still agree before this node may use an address that it has claimed: the owner of the block around it.
    pub(super) fn owner_in_doubt(&self, address: IpAddr) -> Option<&IpamBlock> {
        let claim = self.fixed(address)?;
        let around = self.around(address).filter(|around| around.cidr != claim.cidr)?;
        (!self.is_own(around) && !around.has_lent(claim)).then_some(around)
    }

    /// A block of ours with all that it is to lend, when that is not what it says.
    pub(super) fn to_lend(&self, cidr: IpNetwork, is_used: impl Fn(IpAddr) -> bool) -> Option<IpamBlock> {
        let block = self.known.get(&cidr).filter(|block| self.is_own(block) && !is_one(block.cidr))?;
        let inside = self.known.range(cidr..).map(|(_, other)| other);
        let inside = inside.take_while(|other| contains(cidr, other.cidr));
        let claims = inside.filter(|other| is_one(other.cidr) && !self.is_own(other));
        // What was lent stays lent, whoever has it here by mistake: the other node relies on it.
        let may = |claim: &&IpamBlock| block.has_lent(claim) || !is_used(claim.cidr.ip());
        let lent: Vec<Lent> = claims.filter(may).map(Lent::to).collect();
        (lent != block.lent).then(|| IpamBlock { lent, ..block.clone() })
    }
}
