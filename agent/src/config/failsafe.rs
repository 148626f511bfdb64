//! `policy:` of the configuration: the ports that no policy of a HostEndpoint closes.

use std::collections::BTreeSet;

use corduroy_agent_core::convert;
use corduroy_agent_core::desired::hosts::{Failsafe, FailsafePort};
use corduroy_api::Report;
use corduroy_api::raw::raw;
use corduroy_kernel::nft::L4;

use super::prefix;

raw! {
    /// `policy:`.
    pub struct PolicyFile {
        /// Ports of this host, open to others.
        inbound: Vec<PortFile> = "failsafeInboundHostPorts",
        /// Ports of others, open to this host.
        outbound: Vec<PortFile> = "failsafeOutboundHostPorts",
    }
}

raw! {
    /// One of them.
    pub struct PortFile {
        /// TCP or UDP.
        protocol: String = "protocol",
        /// Its number.
        port: u64 = "port",
        /// Which others, if not all.
        net: String = "net",
    }
}

/// A list that is not there means the default, an empty one means none.
pub(super) fn check(file: &PolicyFile, report: &mut Report) -> Failsafe {
    let default = Failsafe::default();
    let mut list = |field: &str, raw: Option<&Vec<PortFile>>, default| match raw {
        None => default,
        Some(all) => report.within(field, |r| ports(all, r)),
    };
    Failsafe {
        inbound: list("failsafeInboundHostPorts", file.inbound.as_ref(), default.inbound),
        outbound: list("failsafeOutboundHostPorts", file.outbound.as_ref(), default.outbound),
    }
}

fn ports(all: &[PortFile], report: &mut Report) -> BTreeSet<FailsafePort> {
    let each = all.iter().enumerate();
    each.filter_map(|(i, one)| report.within(i, |r| port(one, r))).collect()
}

fn port(one: &PortFile, report: &mut Report) -> Option<FailsafePort> {
    if one.protocol.is_none() {
        report.missing("protocol", "TCP or UDP");
    }
    let l4 = report.parsed("protocol", one.protocol.as_ref(), "TCP or UDP", |text| match text {
        "TCP" | "tcp" => Some(L4::Tcp),
        "UDP" | "udp" => Some(L4::Udp),
        _ => None,
    });
    if one.port.is_none() {
        report.missing("port", "a whole number from 1 to 65535");
    }
    let port = report.ranged("port", one.port, 1..=65_535);
    let allowed = "a prefix, as in 10.0.0.0/8; without it all are meant";
    let net = report.parsed("net", one.net.as_ref(), allowed, prefix).map(convert::from_network);
    Some(FailsafePort { l4: l4?, port: port?, net })
}
