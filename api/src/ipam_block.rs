//! `IPAMBlock`: a block of a pool and the node that owns it. The object is the unit of compare-and-swap: it exists
//! exactly while somebody owns the block. Which of its addresses are in use is the node's own business.

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
        }
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
        Some(Self { metadata, cidr: cidr?, node: node?, node_uid: node_uid?, epoch: epoch? })
    }

    fn spec(&self) -> IpamBlockSpec {
        IpamBlockSpec {
            cidr: Some(self.cidr.to_string()),
            node: Some(self.node.clone()),
            node_uid: Some(self.node_uid.clone()),
            epoch: Some(self.epoch),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}
