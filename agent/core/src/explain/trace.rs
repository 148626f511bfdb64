//! What becomes of a packet: who judges it, and what they say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corduroy_ipc::policy::{AskedTier, Counted, Judged, PolicyTrace, TraceEnd, TraceQuery, Verdict};
use corduroy_kernel::{Family, IpNet, Packet, Transport, nft};
use corduroy_policy::{Count, Direction, Judgement, Origin, Said, Step};

use super::{has_ports, is_host_of, judged, names, protocol, sort_of};
use crate::desired::hosts;
use crate::known::Known;

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// The first of the ports that connections begin from (RFC 6335 §6).
const ANY_PORT: u16 = 49_152;

/// The question makes no sense, or can't be answered here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// Neither a pod nor an address.
    #[error("--{field} {value:?}: NAMESPACE/POD or an IP address is wanted")]
    NeitherPodNorAddress {
        /// `from` or `to`.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// No such pod is known here.
    #[error(
        "--{field} {pod}: no such pod is known here. A node knows its own pods, and of others' those that its \
         policies speak of: with --cluster any pod can be asked about, or give its address"
    )]
    UnknownPod {
        /// `from` or `to`.
        field: &'static str,
        /// Its name.
        pod: String,
    },
    /// It can't send or get anything yet, or any more.
    #[error("--{field} {pod}: the pod has no address (yet, or any more)")]
    NoAddress {
        /// `from` or `to`.
        field: &'static str,
        /// Its name.
        pod: String,
    },
    /// Its port must be said.
    #[error("--protocol {0} needs --port: policies judge by it")]
    NeedsPort(String),
    /// It has no ports.
    #[error("--protocol {0} has no ports: leave out --port and --source-port")]
    NoPorts(String),
    /// Type and code are of ICMP only.
    #[error("--icmp goes with --protocol icmp or icmpv6 only, and not with {0}")]
    NotIcmp(String),
    /// They have no common version of IP, or not the one that is asked for.
    #[error("{from} and {to} do not both have an address of {wanted}")]
    Families {
        /// Who sends.
        from: String,
        /// Who gets it.
        to: String,
        /// Which.
        wanted: &'static str,
    },
}

/// An end, found.
struct End {
    addresses: Vec<IpAddr>,
    name: Option<String>,
    /// A pod on the network of its node, which policies for pods do not mean.
    host_network: bool,
}

impl End {
    fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }

    fn show(&self) -> String {
        let address = || self.addresses.first().map(ToString::to_string).unwrap_or_default();
        self.name.clone().unwrap_or_else(address)
    }
}

/// What becomes of the packet that is asked about, with what the kernel's rules have counted.
///
/// # Errors
/// [`BadQuery`].
pub fn trace(known: &Known, query: &TraceQuery, counted: &[nft::Counted]) -> Result<PolicyTrace, BadQuery> {
    let ends = (find(known, "from", &query.from)?, find(known, "to", &query.to)?);
    let packet = packet(query, (&ends.0, &ends.1))?;
    let counts = known.policies.engine().counts(counted);
    let found = judged(known, &packet.into());
    let (remarks, elsewhere) = remarks(known, &packet, (&ends.0, &ends.1));
    let verdict = match (found.allowed(), elsewhere) {
        (false, _) => Verdict::Denied,
        (true, true) => Verdict::AllowedHere,
        (true, false) => Verdict::Allowed,
    };
    let end =
        |end: &End, address| TraceEnd { address, name: end.name.clone(), here: is_here(known, address) };
    Ok(PolicyTrace {
        packet: words(&packet),
        from: end(&ends.0, packet.source),
        to: end(&ends.1, packet.destination),
        verdict,
        judgements: found.judgements.iter().map(|judgement| shown(judgement, &counts)).collect(),
        remarks,
    })
}

fn find(known: &Known, field: &'static str, value: &str) -> Result<End, BadQuery> {
    if let Ok(address) = value.parse::<IpAddr>() {
        let name = names::name(known, address);
        return Ok(End { addresses: vec![address], name, host_network: false });
    }
    let is_name = value.split('/').count() == 2 && !value.starts_with('/') && !value.ends_with('/');
    if !is_name {
        return Err(BadQuery::NeitherPodNorAddress { field, value: value.to_owned() });
    }
    let own = known.model.pods().get(value);
    let wired = known.pods.of(value, own.map_or(&[], |pod| pod.addresses.as_slice()));
    let mut addresses: Vec<IpAddr> = wired.flat_map(|pod| pod.addresses.iter().copied()).collect();
    let object = own.or_else(|| known.model.remote_pods().get(value));
    let pod = value.to_owned();
    if addresses.is_empty() {
        let Some(object) = object else { return Err(BadQuery::UnknownPod { field, pod }) };
        let there = !object.finished && (object.host_network || own.is_none());
        addresses = object.addresses.iter().copied().filter(|_| there).collect();
    }
    if addresses.is_empty() {
        return Err(BadQuery::NoAddress { field, pod });
    }
    let host_network = object.is_some_and(|pod| pod.host_network);
    Ok(End { addresses, name: Some(format!("pod {value}")), host_network })
}

fn packet(query: &TraceQuery, (from, to): (&End, &End)) -> Result<Packet, BadQuery> {
    let wanted: (&[Family], &str) = match (query.family, query.protocol) {
        (Some(6), _) | (None, ICMP_V6) => (&[Family::V6], "IPv6"),
        (Some(_), _) => (&[Family::V4], "IPv4"),
        (None, _) => (&[Family::V4, Family::V6], "one version of IP"),
    };
    let both = wanted.0.iter().find_map(|family| Some((from.address(*family)?, to.address(*family)?)));
    let Some((source, destination)) = both else {
        return Err(BadQuery::Families { from: from.show(), to: to.show(), wanted: wanted.1 });
    };
    let protocol = match query.protocol {
        ICMP if source.is_ipv6() => ICMP_V6,
        other => other,
    };
    Ok(Packet { source, destination, protocol, transport: transport(query, protocol)? })
}

fn transport(query: &TraceQuery, number: u8) -> Result<Transport, BadQuery> {
    let is_icmp = matches!(number, ICMP | ICMP_V6);
    if query.icmp.is_some() && !is_icmp {
        return Err(BadQuery::NotIcmp(protocol(number)));
    }
    match (has_ports(number), query.port) {
        (true, None) => Err(BadQuery::NeedsPort(protocol(number))),
        (true, Some(destination)) => {
            Ok(Transport::Ports { source: query.source_port.unwrap_or(ANY_PORT), destination })
        }
        (false, port) if port.or(query.source_port).is_some() => Err(BadQuery::NoPorts(protocol(number))),
        (false, _) if is_icmp => {
            let echo = if number == ICMP { 8 } else { 128 };
            let (kind, code) = query.icmp.unwrap_or((echo, 0));
            Ok(Transport::Icmp { kind, code })
        }
        (false, _) => Ok(Transport::Unknown),
    }
}

/// Is its traffic judged here?
fn is_here(known: &Known, address: IpAddr) -> bool {
    known.pods.by_address(address).is_some() || known.is_own_address(address)
}

/// What is not judged here and why, and whether another node judges something.
fn remarks(known: &Known, packet: &Packet, (from, to): (&End, &End)) -> (Vec<String>, bool) {
    if packet.source == packet.destination {
        return (vec!["a pod reaches itself always".to_owned()], false);
    }
    if is_host_of(known, packet.source, packet.destination) {
        let always = format!("{} reaches the pods that run on it always", from.show());
        return (vec![always], false);
    }
    let mut remarks = Vec::new();
    let mut elsewhere = false;
    for (end, address, may) in [(from, packet.source, "send"), (to, packet.destination, "get")] {
        let is_pod = end.name.as_deref().is_some_and(|name| name.starts_with("pod "));
        let show = end.show();
        let is_service = end.name.as_deref().is_some_and(|name| name.starts_with("service "));
        if end.host_network {
            remarks.push(format!("{show} is on the network of its node: policies for pods do not mean it"));
        } else if known.pods.by_address(address).is_some() {
            continue;
        } else if known.is_own_address(address) {
            if known.policies.has_hosts() && hosts::at(known, address).is_none() {
                let why = "no HostEndpoint is for the interface that has this address";
                remarks.push(format!("{show} is this node itself, and {why}"));
            }
        } else if is_service {
            let how = "judged is the address of the endpoint that it is translated to: ask about that one";
            remarks.push(format!("{address} is an address of {show}: {how}"));
        } else if is_pod {
            elsewhere = true;
            remarks.push(format!("{show} is not of this node: what it may {may} is judged where it runs"));
        } else if end.name.is_none() && known.pool_of(IpNet::host(address)).is_some() {
            elsewhere = true;
            let why = "of a pool and not known here: if a pod has it, what that may";
            remarks.push(format!("{show} is {why} {may} is judged where it runs"));
        } else {
            remarks.push(format!("{show} is no pod: what it may {may} is for no policy of a pod to say"));
        }
    }
    (remarks, elsewhere)
}

/// `tcp 10.1.0.1 port 49152 -> 10.1.0.2 port 80`
fn words(packet: &Packet) -> String {
    let (from, to) = match packet.transport {
        Transport::Ports { source, destination } => {
            (format!(" port {source}"), format!(" port {destination}"))
        }
        _ => Default::default(),
    };
    format!("{} {}{from} -> {}{to}", sort_of(packet), packet.source, packet.destination)
}

fn shown(judgement: &Judgement, counts: &BTreeMap<Origin, Count>) -> Judged {
    let counted = judgement.steps.last().and_then(|step| count(step, judgement.direction, counts));
    Judged {
        endpoint: judgement.endpoint.name.to_string(),
        direction: judgement.direction.to_string(),
        allowed: judgement.allowed,
        why: judgement.to_string(),
        counted,
        tiers: judgement.steps.iter().map(tier).collect(),
    }
}

fn tier(step: &Step) -> AskedTier {
    let said = match &step.said {
        Said::Rule(rule, action) => format!("{action:?} by {rule}"),
        Said::Default(action) => format!("{action:?}, since no rule matched"),
    };
    AskedTier {
        tier: step.tier.clone(),
        policies: step.policies.iter().map(ToString::to_string).collect(),
        noted: step.noted.iter().map(ToString::to_string).collect(),
        said,
    }
}

/// What the rule that spoke for a tier has counted.
fn count(step: &Step, direction: Direction, counts: &BTreeMap<Origin, Count>) -> Option<Counted> {
    let origin = match &step.said {
        Said::Rule(rule, action) => Origin::Rule(rule.clone(), *action),
        Said::Default(_) => Origin::Silence { tier: step.tier.clone(), direction },
    };
    counts.get(&origin).map(|count| Counted { packets: count.packets, bytes: count.bytes })
}
