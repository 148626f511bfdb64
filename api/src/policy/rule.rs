//! The rules of our own policies: the fields of `projectcalico.org/v3`.

use ipnetwork::IpNetwork;

use super::{Ports, Protocol, bounded, port};
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, quoted};
use crate::selector::Selector;
use crate::yaml::Value;

/// One rule: what all its parts match.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What becomes of what it matches.
    pub action: Action,
    /// Only this version of IP: 4 or 6.
    pub ip_version: Option<u8>,
    /// Only this protocol, or (`true`) every other.
    pub protocol: Option<(bool, Protocol)>,
    /// Only such ICMP messages.
    pub icmp: Option<Icmp>,
    /// All but such ICMP messages.
    pub not_icmp: Option<Icmp>,
    /// The sender.
    pub source: Entity,
    /// The receiver.
    pub destination: Entity,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It may pass.
    Allow,
    /// It is dropped.
    Deny,
    /// It is noted, and the next rule is asked.
    Log,
    /// The next tier says.
    Pass,
}

/// ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icmp {
    /// Their type.
    pub kind: u8,
    /// Their code; `None`: any.
    pub code: Option<u8>,
}

/// One end of a packet's way: what all its parts match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entity {
    /// An address in one of these; `None`: any.
    pub nets: Option<Vec<IpNetwork>>,
    /// An address in none of these.
    pub not_nets: Vec<IpNetwork>,
    /// An endpoint (or set of networks) with such labels.
    pub selector: Option<Selector>,
    /// None with such labels, be it an endpoint or not.
    pub not_selector: Option<Selector>,
    /// Where those may be that the selector or the service accounts mean.
    pub namespaces: Namespaces,
    /// One of these ports.
    pub ports: Option<Vec<Ports>>,
    /// None of these ports.
    pub not_ports: Vec<Ports>,
    /// A pod with such a service account.
    pub service_accounts: Option<ServiceAccounts>,
    /// The endpoints of this service and its ports.
    pub service: Option<ServiceRef>,
}

/// Where endpoints may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Namespaces {
    /// Nothing is said: for a policy in a namespace, there; for a global one, anywhere.
    #[default]
    Unsaid,
    /// `global()`: in none.
    Global,
    /// In namespaces with such labels.
    Matching(Selector),
}

/// Service accounts: those of these names with such labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceAccounts {
    /// Their names; empty: any.
    pub names: Vec<String>,
    /// Their labels; `None`: any.
    pub selector: Option<Selector>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// Its name.
    pub name: String,
    /// Its namespace; `None`: the policy's.
    pub namespace: Option<String>,
}

raw! {
    /// A rule.
    pub struct RuleSpec {
        /// Allow, Deny, Log, Pass.
        action: String = "action" => .required().words(&["Allow", "Deny", "Log", "Pass"]),
        /// 4 or 6; both by default.
        ip_version: u64 = "ipVersion" => .range(4, 6),
        /// A name (TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite) or a number.
        protocol: NumberOrText = "protocol",
        /// Every protocol but this one.
        not_protocol: NumberOrText = "notProtocol",
        /// Only such ICMP messages.
        icmp: IcmpSpec = "icmp",
        /// All but such ICMP messages.
        not_icmp: IcmpSpec = "notICMP",
        /// The sender.
        source: EntitySpec = "source",
        /// The receiver.
        destination: EntitySpec = "destination",
        /// Not supported: a packet filter does not read HTTP.
        http: Value = "http",
        /// Annotations for people and tools.
        metadata: Value = "metadata",
    }
}

raw! {
    /// `icmp:` and `notICMP:`.
    pub struct IcmpSpec {
        /// 0 to 254.
        kind: u64 = "type" => .range(0, 254),
        /// 0 to 255; any by default.
        code: u64 = "code" => .range(0, 255),
    }
}

raw! {
    /// `source:` and `destination:`.
    pub struct EntitySpec {
        /// CIDRs.
        nets: Vec<String> = "nets" => .most(256).each(|net| net.most(43)),
        /// CIDRs.
        not_nets: Vec<String> = "notNets" => .most(256).each(|net| net.most(43)),
        /// By labels.
        selector: String = "selector" => .selector(),
        /// None with such labels.
        not_selector: String = "notSelector" => .selector(),
        /// By labels of namespaces, or `global()`.
        namespace_selector: String = "namespaceSelector" => .selector(),
        /// Numbers, ranges (`80:90`), names.
        ports: Vec<NumberOrText> = "ports" => .most(50),
        /// Numbers, ranges (`80:90`), names.
        not_ports: Vec<NumberOrText> = "notPorts" => .most(50),
        /// By service account.
        service_accounts: ServiceAccountsSpec = "serviceAccounts",
        /// By service.
        services: ServiceSpec = "services",
    }
}

raw! {
    /// `serviceAccounts:`.
    pub struct ServiceAccountsSpec {
        /// By name.
        names: Vec<String> = "names" => .most(256).each(|name| name.most(253)),
        /// By labels.
        selector: String = "selector" => .selector(),
    }
}

raw! {
    /// `services:`.
    pub struct ServiceSpec {
        /// Its name.
        name: String = "name" => .required().most(253),
        /// Its namespace; the policy's by default.
        namespace: String = "namespace" => .most(253),
    }
}

/// The most networks of one entity.
const NETS: usize = 256;
/// The most ports of one entity.
const PORTS: usize = 50;

/// Which way the packets go that a rule judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the subject.
    Ingress,
    /// From the subject.
    Egress,
}

impl Rule {
    /// Checks a rule of a policy that is in a namespace, or in none.
    pub(super) fn check(raw: &RuleSpec, way: Way, namespaced: bool, report: &mut Report) -> Option<Self> {
        if raw.action.is_none() {
            report.missing("action", "one of Allow, Deny, Log, Pass");
        }
        let words =
            [("Allow", Action::Allow), ("Deny", Action::Deny), ("Log", Action::Log), ("Pass", Action::Pass)];
        let action = report.choice("action", raw.action.as_ref(), &words);
        if let Some(version) = raw.ip_version.filter(|version| ![4, 6].contains(version)) {
            report.refuse_field("ipVersion", version, "4 or 6");
        }
        let ip_version = raw.ip_version.and_then(|version| u8::try_from(version).ok());
        let protocol = check_protocol(raw, report);
        let icmp = check_icmp("icmp", raw.icmp.as_ref(), protocol, report);
        let not_icmp = check_icmp("notICMP", raw.not_icmp.as_ref(), protocol, report);
        if raw.http.is_some() {
            report.refuse_field("http", "a match of HTTP", "left out: a packet filter does not read HTTP");
        }
        let mut side = |name: &str, raw: &Option<EntitySpec>, far: bool| {
            let raw = raw.clone().unwrap_or_default();
            let judge = Judge { ip_version, protocol, far, namespaced };
            report.within(name, |r| judge.entity(&raw, r))
        };
        let source = side("source", &raw.source, way == Way::Ingress)?;
        let destination = side("destination", &raw.destination, way == Way::Egress)?;
        Some(Self { action: action?, ip_version, protocol, icmp, not_icmp, source, destination })
    }
}

fn check_protocol(raw: &RuleSpec, report: &mut Report) -> Option<(bool, Protocol)> {
    let allowed = "TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, or a number from 1 to 255";
    let mut read = |name, raw: Option<&NumberOrText>| {
        let text = raw.map(|raw| raw.0.clone());
        report.parsed(name, text.as_ref(), allowed, Protocol::named)
    };
    let (is, is_not) =
        (read("protocol", raw.protocol.as_ref()), read("notProtocol", raw.not_protocol.as_ref()));
    if raw.protocol.is_some() && raw.not_protocol.is_some() {
        report.refuse_field("notProtocol", "a protocol", "left out beside protocol");
    }
    is.map(|protocol| (false, protocol)).or(is_not.map(|protocol| (true, protocol)))
}

fn check_icmp(
    name: &str,
    raw: Option<&IcmpSpec>,
    protocol: Option<(bool, Protocol)>,
    report: &mut Report,
) -> Option<Icmp> {
    let raw = raw?;
    if !matches!(protocol, Some((false, Protocol::ICMP | Protocol::ICMP_V6))) {
        report.refuse_field(name, "a match of ICMP", "left out, or there with protocol ICMP or ICMPv6");
    }
    report.within(name, |r| {
        if raw.kind.is_none() {
            r.missing("type", "a whole number from 0 to 254");
        }
        let code = r.ranged("code", raw.code, 0..=255);
        Some(Icmp { kind: r.ranged("type", raw.kind, 0..=254)?, code })
    })
}

/// What an entity is judged by, beside itself.
struct Judge {
    ip_version: Option<u8>,
    protocol: Option<(bool, Protocol)>,
    /// Is it the other end, not the policy's subject?
    far: bool,
    /// Is the policy in a namespace?
    namespaced: bool,
}

impl Judge {
    fn entity(&self, raw: &EntitySpec, report: &mut Report) -> Option<Entity> {
        let nets = raw.nets.as_ref().map(|list| self.nets("nets", list, report));
        let not_nets = self.nets("notNets", raw.not_nets.as_deref().unwrap_or_default(), report);
        let selector = report.tried("selector", raw.selector.as_ref(), plain);
        let not_selector = report.tried("notSelector", raw.not_selector.as_ref(), plain);
        let namespaces = check_namespaces(raw.namespace_selector.as_ref(), report);
        let ports = raw.ports.as_ref().map(|list| self.ports("ports", list, report));
        let not_ports = self.ports("notPorts", raw.not_ports.as_deref().unwrap_or_default(), report);
        let service_accounts = match &raw.service_accounts {
            None => None,
            Some(raw) => report.within("serviceAccounts", |r| check_accounts(raw, r)),
        };
        let service = self.service(raw, report);
        Some(Entity {
            nets,
            not_nets,
            selector,
            not_selector,
            namespaces: namespaces?,
            ports,
            not_ports,
            service_accounts,
            service,
        })
    }

    fn nets(&self, name: &str, list: &[String], report: &mut Report) -> Vec<IpNetwork> {
        bounded(name, list.len(), NETS, report);
        report.within(name, |r| {
            let mut nets = Vec::new();
            for (i, text) in list.iter().enumerate() {
                let Some(net) = r.prefix(i, Some(text)) else { continue };
                let version = if net.is_ipv4() { 4 } else { 6 };
                if self.ip_version.is_some_and(|wanted| wanted != version) {
                    r.within(i, |r| r.refuse(quoted(text), "a CIDR of the rule's ipVersion"));
                }
                nets.push(net);
            }
            nets
        })
    }

    fn ports(&self, name: &str, list: &[NumberOrText], report: &mut Report) -> Vec<Ports> {
        bounded(name, list.len(), PORTS, report);
        let with_ports = matches!(self.protocol, Some((false, protocol)) if protocol.has_ports());
        if !list.is_empty() && !with_ports {
            let allowed = "left out, or there with protocol TCP, UDP or SCTP";
            report.refuse_field(name, format!("{} of them", list.len()), allowed);
        }
        report.within(name, |r| {
            let read = list.iter().enumerate();
            read.filter_map(|(i, raw)| r.within(i, |r| port_or_range(raw, r))).collect()
        })
    }

    fn service(&self, raw: &EntitySpec, report: &mut Report) -> Option<ServiceRef> {
        let service = raw.services.as_ref()?;
        let others = [
            raw.nets.is_some(),
            raw.not_nets.is_some(),
            raw.selector.is_some(),
            raw.not_selector.is_some(),
            raw.namespace_selector.is_some(),
            raw.ports.is_some(),
            raw.not_ports.is_some(),
            raw.service_accounts.is_some(),
        ];
        if others.contains(&true) || !self.far {
            let allowed = "alone: in source of an ingress rule, or in destination of an egress rule";
            report.refuse_field("services", "a service", allowed);
        }
        if service.namespace.is_none() && !self.namespaced {
            report.within("services", |r| r.missing("namespace", "the service's namespace"));
        }
        let Some(name) = service.name.clone() else {
            report.within("services", |r| r.missing("name", "the name of a service"));
            return None;
        };
        Some(ServiceRef { name, namespace: service.namespace.clone() })
    }
}

/// A selector of labels, in which `global()` has no meaning.
pub(super) fn plain(text: &str) -> Result<Selector, String> {
    if text.replace(' ', "").contains("global()") {
        return Err("a selector without global(), which belongs in namespaceSelector".to_owned());
    }
    text.parse().map_err(|error: crate::SelectorError| error.to_string())
}

pub(super) fn check_namespaces(raw: Option<&String>, report: &mut Report) -> Option<Namespaces> {
    let Some(text) = raw else { return Some(Namespaces::Unsaid) };
    if text.replace(' ', "") == "global()" {
        return Some(Namespaces::Global);
    }
    report
        .tried("namespaceSelector", raw, |text| {
            plain(text).map_err(|_| match text.parse::<Selector>() {
                Ok(_) => "global() alone, or a selector without it".to_owned(),
                Err(error) => error.to_string(),
            })
        })
        .map(Namespaces::Matching)
}

fn check_accounts(raw: &ServiceAccountsSpec, report: &mut Report) -> Option<ServiceAccounts> {
    let names = raw.names.clone().unwrap_or_default();
    if names.is_empty() && raw.selector.is_none() {
        report.refuse("{}", "names, a selector, or both");
        return None;
    }
    let selector = match &raw.selector {
        None => None,
        text => Some(report.tried("selector", text.as_ref(), plain)?),
    };
    Some(ServiceAccounts { names, selector })
}

fn port_or_range(raw: &NumberOrText, report: &mut Report) -> Option<Ports> {
    let Some((first, last)) = raw.0.split_once(':') else { return port(raw, report) };
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Some(Ports::Range(first, last)),
        _ => {
            report.refuse(quoted(&raw.0), "a range of ports from the lower to the higher, as in 8000:8080");
            None
        }
    }
}
