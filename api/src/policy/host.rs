//! `HostEndpoint`: interfaces of a host, made known to policies.

use std::net::IpAddr;

use super::{Ports, Protocol, is_port_name};
use crate::meta::Metadata;
use crate::raw::{NumberOrText, Raw, raw};
use crate::report::{Report, Violations, quoted};
use crate::yaml::Value;

/// Interfaces of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct HostEndpoint {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// The node.
    pub node: String,
    /// Which interfaces.
    pub interfaces: Interfaces,
    /// Its addresses, by which rules of others know it.
    pub expected_ips: Vec<IpAddr>,
    /// What its ports are called.
    pub ports: Vec<NamedPort>,
}

/// Which interfaces of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// All but those of pods and tunnels.
    All,
    /// This one.
    Named(String),
    /// The one that has an expected address.
    ByAddress,
}

/// A port with a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// What it is called.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

raw! {
    /// `spec:` of a HostEndpoint.
    pub struct HostEndpointSpec {
        /// The node.
        node: String = "node" => .required().name(),
        /// An interface, or `*` for all; by default the one with an expected address.
        interface_name: String = "interfaceName" => .least(1).most(15),
        /// Addresses.
        expected_ips: Vec<String> = "expectedIPs" => .most(64).each(|address| address.most(45)),
        /// What ports are called.
        ports: Vec<NamedPortSpec> = "ports" => .most(256),
        /// Not supported: policies say what an endpoint may do.
        profiles: Vec<String> = "profiles" => .most(16).each(|profile| profile.most(253)),
    }
}

raw! {
    /// An item of `ports`.
    pub struct NamedPortSpec {
        /// What it is called.
        name: String = "name" => .required().most(63),
        /// TCP, UDP, SCTP.
        protocol: NumberOrText = "protocol" => .required(),
        /// Its number.
        port: u64 = "port" => .required().range(1, 65535),
    }
}

impl HostEndpoint {
    /// Reads the `spec:` of a host endpoint.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(metadata: Metadata, spec: &Value) -> Result<Self, Violations> {
        let mut report = Report::default();
        let endpoint = report.within("spec", |r| check(metadata, &HostEndpointSpec::read(spec, r)?, r));
        report.finish(endpoint)
    }
}

fn check(metadata: Metadata, raw: &HostEndpointSpec, report: &mut Report) -> Option<HostEndpoint> {
    if raw.node.is_none() {
        report.missing("node", "the name of a node");
    }
    let expected_ips: Vec<IpAddr> = report.within("expectedIPs", |r| {
        let list = raw.expected_ips.iter().flatten().enumerate();
        list.filter_map(|(i, text)| r.within(i, |r| address(text, r))).collect()
    });
    let interfaces = match raw.interface_name.as_deref() {
        Some("*") => Interfaces::All,
        Some(name) => Interfaces::Named(interface(name, report)?.to_owned()),
        None => Interfaces::ByAddress,
    };
    if interfaces == Interfaces::ByAddress && raw.expected_ips.iter().flatten().next().is_none() {
        report.missing("interfaceName", "the name of an interface or \"*\", or expectedIPs instead");
    }
    if raw.profiles.iter().flatten().next().is_some() {
        let allowed = "left out: there are no profiles, policies say what an endpoint may do";
        report.refuse_field("profiles", raw.profiles.iter().flatten().count(), allowed);
    }
    let ports = report.within("ports", |r| {
        let list = raw.ports.iter().flatten().enumerate();
        list.filter_map(|(i, raw)| r.within(i, |r| named_port(raw, r))).collect()
    });
    Some(HostEndpoint { metadata, node: raw.node.clone()?, interfaces, expected_ips, ports })
}

fn address(text: &str, report: &mut Report) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        report.refuse(quoted(text), "an address, as in 192.0.2.1 or 2001:db8::1");
    }
    address
}

fn interface<'a>(name: &'a str, report: &mut Report) -> Option<&'a str> {
    let printable = name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'*'));
    let fine = printable && (1..=15).contains(&name.len()) && name != "." && name != "..";
    if !fine {
        report.refuse_field("interfaceName", quoted(name), "the name of one interface, or \"*\"");
    }
    fine.then_some(name)
}

fn named_port(raw: &NamedPortSpec, report: &mut Report) -> Option<NamedPort> {
    let missing = [
        ("name", raw.name.is_none(), "what the port is called"),
        ("protocol", raw.protocol.is_none(), "TCP, UDP or SCTP"),
        ("port", raw.port.is_none(), "a whole number from 1 to 65535"),
    ];
    for (field, _, allowed) in missing.into_iter().filter(|(_, missing, _)| *missing) {
        report.missing(field, allowed);
    }
    let name = raw.name.clone()?;
    let fine = report.within("name", |r| is_port_name(&name, r));
    let text = raw.protocol.as_ref().map(|raw| raw.0.clone());
    let known = |text: &str| Protocol::named(text).filter(|protocol| protocol.has_ports());
    let protocol = report.parsed("protocol", text.as_ref(), "TCP, UDP or SCTP", known);
    let port = report.ranged("port", raw.port, 1..=65535);
    fine.then_some(NamedPort { name, protocol: protocol?, port: port? })
}

impl NamedPort {
    /// Is it meant by these ports?
    #[must_use]
    pub fn is_in(&self, ports: &Ports) -> bool {
        match ports {
            Ports::Range(first, last) => (*first..=*last).contains(&self.port),
            Ports::Named(name) => self.name == *name,
        }
    }
}
