//! Whether packets between two nodes are wrapped. Both ends must come to the same answer: if one wraps and the other
//! does not, reverse path filters drop half of the traffic. So the answer depends only on what both have declared, in
//! a form that does not tell the two apart, and never on one side's routing table.

use corduroy_api::{Encapsulation, FabricNode, IpPool, When};

/// How a packet to a pool's address travels between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encap {
    /// As it is.
    None,
    /// In IPIP.
    Ipip,
    /// In VXLAN.
    Vxlan,
}

/// How packets to `pool`'s addresses travel between `one` and `other`, in either direction. Nothing is wrapped unless
/// both have declared that they terminate the encapsulation for the pool's family.
#[must_use]
pub fn encapsulation(pool: &IpPool, one: &FabricNode, other: &FabricNode) -> Encap {
    let ipv6 = pool.cidr.is_ipv6();
    let ends = [one, other];
    let (encap, when, terminated) = match pool.encapsulation {
        Encapsulation::Never => return Encap::None,
        Encapsulation::Ipip(when) => (Encap::Ipip, when, ends.iter().all(|n| n.tunnels.ipip.is_some())),
        Encapsulation::Vxlan(when) if ipv6 => {
            (Encap::Vxlan, when, ends.iter().all(|n| n.tunnels.vxlan_v6.is_some()))
        }
        Encapsulation::Vxlan(when) => (Encap::Vxlan, when, ends.iter().all(|n| n.tunnels.vxlan_v4.is_some())),
    };
    let direct = when == When::CrossSubnet && share_subnet(one, other, ipv6);
    if terminated && !direct { encap } else { Encap::None }
}

/// Is each node's address of this family inside the subnet that the other declares? False when one has none.
#[must_use]
pub fn share_subnet(one: &FabricNode, other: &FabricNode, ipv6: bool) -> bool {
    match (one.address(ipv6), other.address(ipv6)) {
        (Some(a), Some(b)) => a.contains(b.ip()) && b.contains(a.ip()),
        _ => false,
    }
}
