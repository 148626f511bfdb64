//! `IPPool`: addresses for pods and tunnels, how they are cut into blocks and how packets between them travel.

use ipnetwork::IpNetwork;

use crate::block::block_lengths;
use crate::meta::{Kind, Metadata};
use crate::raw::raw;
use crate::report::{Report, quoted};
use crate::resource::Checked;
use crate::schema::crd::ConditionSpec;
use crate::selector::Selector;

/// A pool, checked. Whether it overlaps another pool is not its own to know: `fabric` judges that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPool {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// All its addresses; no host bits, not link-local.
    pub cidr: IpNetwork,
    /// The length of its blocks: /20 to /32 or /116 to /128, not shorter than the pool's.
    pub block_size: u8,
    /// How packets between nodes travel to its addresses.
    pub encapsulation: Encapsulation,
    /// Masquerade what leaves all pools.
    pub nat_outgoing: bool,
    /// No new addresses are taken from it; those in use stay.
    pub disabled: bool,
    /// Its blocks are not announced to anybody.
    pub disable_bgp_export: bool,
    /// The nodes that may claim blocks of it.
    pub node_selector: Selector,
    /// Only pods of these namespaces get addresses of it; `None`: pods of all.
    pub namespace_selector: Option<Selector>,
    /// What its addresses are for.
    pub allowed_uses: AllowedUses,
    /// Whether pods get addresses of it without asking for it by name.
    pub automatic: bool,
}

/// Whether and how packets to a pool's addresses are wrapped between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encapsulation {
    /// Never: the network routes them.
    #[default]
    Never,
    /// In IPIP (IPv4 only).
    Ipip(When),
    /// In VXLAN.
    Vxlan(When),
}

/// Between which nodes packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// Between all.
    Always,
    /// Between those that share no subnet.
    CrossSubnet,
}

/// What a pool's addresses may be used for; at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedUses {
    /// Pods.
    pub workload: bool,
    /// The tunnel address of a node.
    pub tunnel: bool,
}

const ROUTABLE: &str =
    "!isCIDR(self) || (cidr(self).prefixLength() > 0 && cidr(self).ip().isGlobalUnicast())";
const BLOCK_FITS: &str = "!has(self.blockSize) || !isCIDR(self.cidr) || \
     (self.blockSize >= cidr(self.cidr).prefixLength() && \
     (cidr(self.cidr).ip().family() == 4 ? self.blockSize <= 32 : self.blockSize >= 116))";
const ONE_ENCAPSULATION: &str =
    "self.?ipipMode.orValue('Never') == 'Never' || self.?vxlanMode.orValue('Never') == 'Never'";
const IPIP_IS_V4: &str =
    "self.?ipipMode.orValue('Never') == 'Never' || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4";

const NO_TUNNELS: &str =
    "!has(self.namespaceSelector) || !has(self.allowedUses) || !('Tunnel' in self.allowedUses)";
const TUNNELS_ARE_OF_NO_NAMESPACE: &str = "left out of a pool for Tunnel: tunnels are of no namespace";

raw! {
    /// `spec:` of an IPPool as it stands in YAML.
    pub struct IpPoolSpec {
        /// All its addresses, as a CIDR; it never changes.
        cidr: String = "cidr" => .required().cidr().rule(ROUTABLE, "unicast addresses that can be routed").immutable(),
        /// The length of its blocks: 20 to 32 (26 by default) or 116 to 128 (122 by default); it never changes.
        block_size: u64 = "blockSize" => .range(20, 128).immutable(),
        /// Between which nodes packets travel in IPIP (IPv4 only): Never (default), CrossSubnet, Always.
        ipip_mode: String = "ipipMode" => .words(&["Never", "CrossSubnet", "Always"]),
        /// Between which nodes packets travel in VXLAN: Never (default), CrossSubnet, Always.
        vxlan_mode: String = "vxlanMode" => .words(&["Never", "CrossSubnet", "Always"]),
        /// Masquerade what leaves all pools; false by default.
        nat_outgoing: bool = "natOutgoing",
        /// No new addresses are taken from it; false by default.
        disabled: bool = "disabled",
        /// Its blocks are announced to nobody; false by default.
        disable_bgp_export: bool = "disableBGPExport",
        /// Which nodes may claim blocks of it; `all()` by default.
        node_selector: String = "nodeSelector" => .selector(),
        /// Pods of which namespaces get addresses of it, by the namespaces' labels; of all by default.
        namespace_selector: String = "namespaceSelector" => .selector(),
        /// What its addresses are for: Workload and Tunnel by default; Workload with a namespaceSelector.
        allowed_uses: Vec<String> = "allowedUses" => .least(1).most(2).each(|use_| use_.words(&["Workload", "Tunnel"])),
        /// Automatic (default), or Manual: pods get addresses of it only by asking for it by name.
        assignment_mode: String = "assignmentMode" => .words(&["Automatic", "Manual"]),
    } => .constant("blockSize")
        .rule_at("blockSize", BLOCK_FITS, "20 to 32, or 116 to 128 for IPv6, and not less than the pool's own length")
        .rule_at("ipipMode", ONE_ENCAPSULATION, "Never when vxlanMode is not Never: a pool has one encapsulation")
        .rule_at("ipipMode", IPIP_IS_V4, "Never for an IPv6 pool: IPIP carries IPv4; use vxlanMode")
        .rule_at("namespaceSelector", NO_TUNNELS, TUNNELS_ARE_OF_NO_NAMESPACE)
}

raw! {
    /// `status:` of an IPPool. The caretaker writes it, on change.
    pub struct IpPoolStatusSpec {
        /// How many addresses it has; 9223372036854775807 stands for more, too.
        addresses: u64 = "addresses",
        /// How many blocks it has; 9223372036854775807 stands for more, too.
        blocks: u64 = "blocks",
        /// How many of them nodes have claimed.
        blocks_claimed: u64 = "blocksClaimed",
        /// How many of them are left to claim.
        blocks_free: u64 = "blocksFree",
        /// What holds of it at present. InForce: nodes may claim blocks of it.
        conditions: Vec<ConditionSpec> = "conditions" => .most(16).keyed("type"),
    }
}

impl Checked for IpPool {
    const KIND: Kind = Kind::IpPool;
    type Spec = IpPoolSpec;

    fn check(metadata: Metadata, spec: &IpPoolSpec, report: &mut Report) -> Option<Self> {
        let cidr = check_cidr(spec, report);
        let block_size = cidr.and_then(|cidr| check_block_size(cidr, spec.block_size, report));
        let encapsulation = check_encapsulation(cidr, spec, report);
        let node_selector = match &spec.node_selector {
            None => Some(Selector::all()),
            text => report.tried("nodeSelector", text.as_ref(), str::parse),
        };
        let namespace_selector =
            report.tried("namespaceSelector", spec.namespace_selector.as_ref(), str::parse);
        let allowed_uses = check_uses(spec, report);
        let modes = [("Automatic", true), ("Manual", false)];
        let automatic = report.choice("assignmentMode", spec.assignment_mode.as_ref(), &modes);
        Some(Self {
            metadata,
            cidr: cidr?,
            block_size: block_size?,
            encapsulation: encapsulation?,
            nat_outgoing: spec.nat_outgoing.unwrap_or(false),
            disabled: spec.disabled.unwrap_or(false),
            disable_bgp_export: spec.disable_bgp_export.unwrap_or(false),
            node_selector: node_selector?,
            namespace_selector,
            allowed_uses: allowed_uses?,
            automatic: automatic?,
        })
    }

    fn spec(&self) -> IpPoolSpec {
        let when = |when| match when {
            When::Always => Some("Always".to_owned()),
            When::CrossSubnet => Some("CrossSubnet".to_owned()),
        };
        let (ipip_mode, vxlan_mode) = match self.encapsulation {
            Encapsulation::Never => (None, None),
            Encapsulation::Ipip(w) => (when(w), None),
            Encapsulation::Vxlan(w) => (None, when(w)),
        };
        let uses = [(self.allowed_uses.workload, "Workload"), (self.allowed_uses.tunnel, "Tunnel")];
        IpPoolSpec {
            cidr: Some(self.cidr.to_string()),
            block_size: Some(u64::from(self.block_size)),
            ipip_mode,
            vxlan_mode,
            nat_outgoing: self.nat_outgoing.then_some(true),
            disabled: self.disabled.then_some(true),
            disable_bgp_export: self.disable_bgp_export.then_some(true),
            node_selector: Some(self.node_selector.to_string()),
            namespace_selector: self.namespace_selector.as_ref().map(ToString::to_string),
            allowed_uses: Some(uses.iter().filter(|u| u.0).map(|u| u.1.to_owned()).collect()),
            assignment_mode: Some(if self.automatic { "Automatic" } else { "Manual" }.to_owned()),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

fn check_cidr(spec: &IpPoolSpec, report: &mut Report) -> Option<IpNetwork> {
    let Some(text) = &spec.cidr else {
        report.missing("cidr", "a CIDR, as in 10.244.0.0/16 or fd00:10:244::/48");
        return None;
    };
    let cidr = report.prefix("cidr", Some(text))?;
    let unusable = match cidr {
        IpNetwork::V4(n) => n.ip().is_link_local() || n.ip().is_loopback() || n.ip().is_multicast(),
        IpNetwork::V6(n) => n.ip().is_unicast_link_local() || n.ip().is_loopback() || n.ip().is_multicast(),
    };
    if unusable || cidr.prefix() == 0 {
        let allowed =
            "unicast addresses that can be routed: not link-local, loopback, multicast or everything";
        report.refuse_field("cidr", quoted(text), allowed);
        return None;
    }
    Some(cidr)
}

fn check_block_size(cidr: IpNetwork, raw: Option<u64>, report: &mut Report) -> Option<u8> {
    let (lengths, default) = block_lengths(cidr);
    let (least, most) = (u64::from(*lengths.start().max(&cidr.prefix())), u64::from(*lengths.end()));
    match raw {
        Some(raw) => report.ranged("blockSize", Some(raw), least..=most),
        // A pool smaller than a default block is one block.
        None => Some(default.max(cidr.prefix())),
    }
}

fn check_encapsulation(
    cidr: Option<IpNetwork>,
    spec: &IpPoolSpec,
    report: &mut Report,
) -> Option<Encapsulation> {
    let words = [("Never", None), ("CrossSubnet", Some(When::CrossSubnet)), ("Always", Some(When::Always))];
    let ipip = report.choice("ipipMode", spec.ipip_mode.as_ref(), &words)?;
    let vxlan = report.choice("vxlanMode", spec.vxlan_mode.as_ref(), &words)?;
    let shown = quoted(spec.ipip_mode.as_deref().unwrap_or_default());
    match (ipip, vxlan) {
        (Some(_), Some(_)) => {
            report.refuse_field(
                "ipipMode",
                shown,
                "Never when vxlanMode is not Never: a pool has one encapsulation",
            );
            None
        }
        (Some(_), None) if cidr.is_some_and(|c| c.is_ipv6()) => {
            report.refuse_field(
                "ipipMode",
                shown,
                "Never for an IPv6 pool: IPIP carries IPv4; use vxlanMode",
            );
            None
        }
        (Some(when), None) => Some(Encapsulation::Ipip(when)),
        (None, Some(when)) => Some(Encapsulation::Vxlan(when)),
        (None, None) => Some(Encapsulation::Never),
    }
}

fn check_uses(spec: &IpPoolSpec, report: &mut Report) -> Option<AllowedUses> {
    let namespaces = spec.namespace_selector.as_ref();
    let Some(raw) = spec.allowed_uses.as_deref() else {
        return Some(AllowedUses { workload: true, tunnel: namespaces.is_none() });
    };
    let mut uses = AllowedUses { workload: false, tunnel: false };
    report.within("allowedUses", |r| {
        for (i, word) in raw.iter().enumerate() {
            match word.as_str() {
                "Workload" => uses.workload = true,
                "Tunnel" => uses.tunnel = true,
                other => r.within(i, |r| r.refuse(quoted(other), "one of Workload, Tunnel")),
            }
        }
        if raw.is_empty() {
            r.refuse("[]", "at least one of Workload, Tunnel");
        }
    });
    if let Some(selector) = namespaces.filter(|_| uses.tunnel) {
        report.refuse_field("namespaceSelector", quoted(selector), TUNNELS_ARE_OF_NO_NAMESPACE);
    }
    (uses.workload || uses.tunnel).then_some(uses)
}
