//! The same prefix in the types of the crates that use it: people's (`ipnetwork`), the kernel's, the speaker's.

use corduroy_bgp::Net;
use corduroy_kernel::IpNet;
use ipnetwork::IpNetwork;

/// The network of a CIDR, host bits cleared.
#[must_use]
pub fn from_network(net: IpNetwork) -> IpNet {
    IpNet::containing(net.ip(), net.prefix()).unwrap_or_else(|| IpNet::host(net.ip()))
}

/// As people's type.
#[must_use]
pub fn to_network(net: IpNet) -> IpNetwork {
    IpNetwork::new(net.addr(), net.prefix_len()).unwrap_or_else(|_| IpNetwork::from(net.addr()))
}

/// As the speaker's type; `None` never happens, for both types refuse the same.
#[must_use]
pub fn to_bgp(net: IpNet) -> Option<Net> {
    Net::new(net.addr(), net.prefix_len()).ok()
}

/// From the speaker's type.
#[must_use]
pub fn from_bgp(net: Net) -> IpNet {
    IpNet::containing(net.addr(), net.prefix_len()).unwrap_or_else(|| IpNet::host(net.addr()))
}
