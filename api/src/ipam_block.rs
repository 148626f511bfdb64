//! `IPAMBlock`: a block of a pool and the node that owns it. The object is the unit of compare-and-swap: it exists
//! exactly while somebody owns the block. Which of its addresses are in use is the node's own business.
//!
//! A block of one address inside another one is a fixed address that a pod of some node asked for by name. Whoever owns
//! the block around it hands it out no more from the moment it hears of the claim, and says so in `lent`; before that
//! the claim is worth nothing. Where nobody owns a block around it, the claim is good as it stands: who claims that
//! block later hears of the address before he hears that the block is his.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::block::{block_lengths, block_name};
use crate::meta::{Kind, Metadata};
use crate::raw::raw;
use crate::report::{Report, quoted};
use crate::resource::Checked;

/// A claimed block, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpamBlock {
    /// Name ([`block_name`] of the CIDR), labels and so on.
    pub metadata: Metadata,
    /// Its addresses.
    pub cidr: IpNetwork,
    /// The name of the node that owns it.
    pub node: String,
    /// The identity of that node. A node that comes back under the same name with another one owns nothing of it.
    pub node_uid: String,
    /// Which claim of this owner this is, from 1: larger than that of any claim it made before, so that records of an
    /// earlier tenure can be told from those of this one.
    pub epoch: u64,
    /// Addresses of it that other nodes have claimed and its owner hands out no more, in order.
    pub lent: Vec<Lent>,
}

/// A claim of one address that the owner of the block around it has agreed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lent {
    /// Which address.
    pub address: IpAddr,
    /// The node that claims it.
    pub node: String,
    /// The identity of that node.
    pub node_uid: String,
    /// The epoch of the claim: a later claim needs another word.
    pub epoch: u64,
}

impl IpamBlock {
    /// The claim of `cidr` by a node.
    #[must_use]
    pub fn claim(cidr: IpNetwork, node: &str, node_uid: &str, epoch: u64) -> Self {
        Self {
            metadata: Metadata::named(block_name(cidr)),
            cidr,
            node: node.to_owned(),
            node_uid: node_uid.to_owned(),
            epoch,
            lent: Vec::new(),
        }
    }

    /// Has the owner agreed to this claim of one of its addresses?
    #[must_use]
    pub fn has_lent(&self, claim: &Self) -> bool {
        self.lent.iter().any(|lent| {
            (lent.address, lent.epoch) == (claim.cidr.ip(), claim.epoch)
                && lent.node == claim.node
                && lent.node_uid == claim.node_uid
        })
    }
}

impl Lent {
    /// The owner's word to a claim of one address.
    #[must_use]
    pub fn to(claim: &IpamBlock) -> Self {
        let IpamBlock { node, node_uid, .. } = claim.clone();
        Self { address: claim.cidr.ip(), node, node_uid, epoch: claim.epoch }
    }
}

raw! {
    /// `spec:` of an IPAMBlock as it stands in YAML.
    pub struct IpamBlockSpec {
        /// Its addresses, as a CIDR.
        cidr: String = "cidr" => .required().block().immutable(),
        /// The owner's name.
        node: String = "node" => .required().least(1).most(253),
        /// The owner's identity.
        node_uid: String = "nodeUID" => .required().least(1).most(253),
        /// The owner's count of claims.
        epoch: u64 = "epoch" => .required().from(1),
        /// Addresses of it that other nodes have claimed.
        lent: Vec<LentSpec> = "lent" => .most(4096),
    }
}

raw! {
    /// An item of `lent`.
    pub struct LentSpec {
        /// Which address.
        address: String = "address" => .required().least(2).most(45),
        /// The name of the node that claims it.
        node: String = "node" => .required().least(1).most(253),
        /// The identity of that node.
        node_uid: String = "nodeUID" => .required().least(1).most(253),
        /// The claim's epoch.
        epoch: u64 = "epoch" => .required().from(1),
    }
}

fn check_lent(cidr: IpNetwork, spec: &[LentSpec], report: &mut Report) -> Vec<Lent> {
    let one = |(i, spec): (usize, &LentSpec), report: &mut Report| {
        report.within(i, |r| {
            for (name, absent) in [
                ("address", spec.address.is_none()),
                ("node", spec.node.is_none()),
                ("nodeUID", spec.node_uid.is_none()),
                ("epoch", spec.epoch.is_none()),
            ] {
                if absent {
                    r.missing(name, "address, node, nodeUID and epoch of the claim");
                }
            }
            let within = |text: &str| text.parse().ok().filter(|address| cidr.contains(*address));
            let address =
                r.parsed("address", spec.address.as_ref(), &format!("an address of {cidr}"), within);
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let node = r.parsed("node", spec.node.as_ref(), "a node's name", some);
            let node_uid = r.parsed("nodeUID", spec.node_uid.as_ref(), "a node's UID", some);
            let epoch = r.ranged("epoch", spec.epoch, 1..=u64::MAX);
            Some(Lent { address: address?, node: node?, node_uid: node_uid?, epoch: epoch? })
        })
    };
    report.within("lent", |r| spec.iter().enumerate().filter_map(|item| one(item, r)).collect())
}

fn lent_spec(lent: &Lent) -> LentSpec {
    LentSpec {
        address: Some(lent.address.to_string()),
        node: Some(lent.node.clone()),
        node_uid: Some(lent.node_uid.clone()),
        epoch: Some(lent.epoch),
    }
}

impl Checked for IpamBlock {
    const KIND: Kind = Kind::IpamBlock;
    type Spec = IpamBlockSpec;

    fn check(metadata: Metadata, spec: &IpamBlockSpec, report: &mut Report) -> Option<Self> {
        for (name, absent, allowed) in [
            ("cidr", spec.cidr.is_none(), "the block's CIDR, as in 10.244.0.64/26"),
            ("node", spec.node.is_none(), "the name of the node that owns the block"),
            ("nodeUID", spec.node_uid.is_none(), "the UID of the node that owns the block"),
            ("epoch", spec.epoch.is_none(), "the number of the claim, from 1"),
        ] {
            if absent {
                report.missing(name, allowed);
            }
        }
        let cidr = report.prefix("cidr", spec.cidr.as_ref()).and_then(|cidr| {
            let (lengths, _) = block_lengths(cidr);
            if !lengths.contains(&cidr.prefix()) {
                let allowed = format!("a block of /{} to /{}", lengths.start(), lengths.end());
                report.refuse_field("cidr", quoted(&cidr.to_string()), allowed);
                return None;
            }
            Some(cidr)
        });
        // Two objects for one block would be two owners of it: the name is what the datastore keeps unique.
        if let Some(wanted) =
            cidr.map(block_name).filter(|wanted| *wanted != metadata.name && !metadata.name.is_empty())
        {
            let shown = quoted(spec.cidr.as_deref().unwrap_or_default());
            report.refuse_field(
                "cidr",
                shown,
                format!("the CIDR of the resource's name; a block of this one is named {wanted}"),
            );
        }
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let node = report.parsed("node", spec.node.as_ref(), "a node's name", some);
        let node_uid = report.parsed("nodeUID", spec.node_uid.as_ref(), "a node's UID", some);
        let epoch = report.ranged("epoch", spec.epoch, 1..=u64::MAX);
        let lent = match cidr {
            Some(cidr) => check_lent(cidr, spec.lent.as_deref().unwrap_or_default(), report),
            None => Vec::new(),
        };
        Some(Self { metadata, cidr: cidr?, node: node?, node_uid: node_uid?, epoch: epoch?, lent })
    }

    fn spec(&self) -> IpamBlockSpec {
        IpamBlockSpec {
            cidr: Some(self.cidr.to_string()),
            node: Some(self.node.clone()),
            node_uid: Some(self.node_uid.clone()),
            epoch: Some(self.epoch),
            lent: (!self.lent.is_empty()).then(|| self.lent.iter().map(lent_spec).collect()),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}
