//! One entry of `clients`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use corduroy_api::bgp_peer::check_timers;
use corduroy_api::block::contains;
use corduroy_api::raw::{NumberOrText, raw};
use corduroy_api::{AsNumber, IpNetwork, Report, is_host, quoted};
use corduroy_bgp::config::{NextHop, Secret};
use corduroy_bgp::{Family, FamilySet};
use corduroy_fabric::reflector::{Guard, Neighbour, Place};

/// The most sessions out of a range, unless the file says otherwise.
const LIMIT: u32 = 1000;
/// The BGP port (RFC 4271 §4).
const PORT: u16 = 179;

/// Reads the file of this name, wherever that is, and says where it was.
pub(super) type Files<'a> = &'a mut dyn FnMut(&str) -> io::Result<(PathBuf, Vec<u8>)>;

raw! {
    /// An entry of `clients` as it stands in YAML.
    pub struct ClientSpec {
        /// Where it is: `ip`, `ip:port` or `[ip]:port`.
        address: String = "address",
        /// Or out of which prefix it comes.
        range: String = "range",
        /// The most sessions out of the range.
        limit: u64 = "limit",
        /// Its AS, when it is not the reflector's.
        as_number: NumberOrText = "asNumber",
        /// Are routes reflected to it?
        reflect: bool = "reflect",
        /// The next hop of what is announced to it.
        next_hop_mode: String = "nextHopMode",
        /// The families offered to it.
        families: Vec<String> = "families",
        /// What is taken from it.
        accept: Vec<String> = "accept",
        /// What is sent to it.
        announce: Vec<String> = "announce",
        /// Where its password is.
        password_file: String = "passwordFile",
        /// How many hops away it is, at most.
        ttl_security: u64 = "ttlSecurity",
        /// Wait for it to connect.
        passive: bool = "passive",
        /// Graceful restart time.
        max_restart_time: String = "maxRestartTime",
        /// Hold time.
        hold_time: String = "holdTime",
        /// Keepalive time.
        keepalive_time: String = "keepaliveTime",
    }
}

/// The entry as a neighbour; password files that were read are added to `read`.
pub(super) fn check(
    spec: &ClientSpec,
    own_as: Option<AsNumber>,
    read: &mut BTreeSet<PathBuf>,
    files: Files<'_>,
    report: &mut Report,
) -> Option<Neighbour> {
    let place = check_place(spec, report);
    let as_number = report.as_number("asNumber", spec.as_number.as_ref());
    let internal = as_number.is_none() || as_number == own_as;
    if spec.reflect == Some(true) && !internal {
        let allowed = "false, or left out: routes are reflected inside one AS (RFC 4456)";
        report.refuse_field("reflect", "true", allowed);
    }
    let modes = [("Auto", NextHop::Auto), ("Self", NextHop::SelfAddress), ("Keep", NextHop::Keep)];
    let next_hop = report.choice("nextHopMode", spec.next_hop_mode.as_ref(), &modes);
    let families = check_families(spec.families.as_deref(), report);
    let accept = check_prefixes("accept", spec.accept.as_deref(), report);
    let announce = check_prefixes("announce", spec.announce.as_deref(), report);
    let password = check_password(spec.password_file.as_ref(), read, files, report);
    let ttl_security = report.ranged("ttlSecurity", spec.ttl_security, 1..=254);
    let timers = check_timers(
        ["maxRestartTime", "holdTime", "keepaliveTime"],
        [&spec.max_restart_time, &spec.hold_time, &spec.keepalive_time].map(Option::as_ref),
        report,
    );
    Some(Neighbour {
        place: place?,
        as_number: as_number.filter(|_| !internal),
        client: internal && spec.reflect.unwrap_or(true),
        families: families?,
        next_hop: next_hop?,
        accept,
        announce,
        guard: Guard { password, ttl_security },
        timers,
    })
}

fn check_place(spec: &ClientSpec, report: &mut Report) -> Option<Place> {
    match (&spec.address, &spec.range) {
        (None, None) => {
            report.missing("address", "an address, or a range");
            None
        }
        (Some(address), Some(_)) => {
            let allowed = "left out when there is a range: one or the other";
            report.refuse_field("address", quoted(address), allowed);
            None
        }
        (Some(address), None) => {
            if let Some(limit) = spec.limit {
                report.refuse_field("limit", limit, "left out: it is about a range");
            }
            let form = "a host's address, with a port or without: 192.0.2.1, [2001:db8::1]:1790; link-local ones \
                        have no meaning here";
            let (ip, port) = report.parsed("address", Some(address), form, parse_address)?;
            Some(Place::Address { ip, port, passive: spec.passive.unwrap_or(false) })
        }
        (None, range) => {
            if spec.passive == Some(false) {
                report.refuse_field("passive", "false", "true, or left out: a range is waited for");
            }
            let limit = report.ranged("limit", spec.limit, 1..=60_000);
            let cidr = report.prefix("range", range.as_ref())?;
            Some(Place::Range { cidr, limit: limit.unwrap_or(LIMIT) })
        }
    }
}

fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = match text.parse::<IpAddr>() {
        Ok(ip) => (ip, PORT),
        Err(_) => text.parse::<SocketAddr>().ok().map(|place| (place.ip(), place.port()))?,
    };
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    (is_host(ip) && !link_local && port != 0).then_some((ip, port))
}

fn check_families(raw: Option<&[String]>, report: &mut Report) -> Option<FamilySet> {
    let Some(names) = raw else { return Some(FamilySet::BOTH) };
    let allowed = Family::ALL.map(|family| family.to_string());
    report.within("families", |r| {
        if names.is_empty() {
            r.refuse("[]", format!("one or both of {}", allowed.join(", ")));
        }
        let mut out = FamilySet::EMPTY;
        for (i, name) in names.iter().enumerate() {
            match Family::ALL.into_iter().find(|family| family.to_string() == *name) {
                Some(family) => out = out.with(family),
                None => r.within(i, |r| r.refuse(quoted(name), format!("one of {}", allowed.join(", ")))),
            }
        }
        (!out.is_empty()).then_some(out)
    })
}

fn check_prefixes(name: &str, raw: Option<&[String]>, report: &mut Report) -> Option<Vec<IpNetwork>> {
    let form = "a prefix with all bits behind its length zero, as in 10.244.0.0/16";
    report.within(name, |r| {
        let prefix = |text: &String| {
            let net = text.parse::<IpNetwork>().ok()?;
            (text.contains('/') && net.ip() == net.network()).then_some(net)
        };
        let read = raw?.iter().enumerate().filter_map(|(i, text)| {
            let net = prefix(text);
            if net.is_none() {
                r.within(i, |r| r.refuse(quoted(text), form));
            }
            net
        });
        Some(read.collect())
    })
}

fn check_password(
    name: Option<&String>,
    read: &mut BTreeSet<PathBuf>,
    files: Files<'_>,
    report: &mut Report,
) -> Option<Secret> {
    let name = name?;
    let (path, bytes) = match files(name) {
        Ok(file) => file,
        Err(why) => {
            report.refuse_field("passwordFile", quoted(name), format!("a readable file: {why}"));
            return None;
        }
    };
    read.insert(path);
    // An editor ends a file with a newline; no password does.
    let secret = Secret::new(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
    if secret.is_none() {
        let allowed = "a file of 1 to 80 bytes (a last newline does not count)";
        report.refuse_field("passwordFile", quoted(name), allowed);
    }
    secret
}

/// What entries must not be beside each other.
pub(super) fn check_together(neighbours: &[Neighbour], report: &mut Report) {
    for (i, one) in neighbours.iter().enumerate() {
        let before = neighbours.iter().take(i);
        match one.place {
            Place::Address { ip, .. } => {
                if before.clone().any(|other| matches!(other.place, Place::Address { ip: o, .. } if o == ip))
                {
                    report.within(i, |r| r.refuse_field("address", ip, "an address not named above"));
                }
            }
            Place::Range { cidr, .. } => {
                if before
                    .clone()
                    .any(|other| matches!(other.place, Place::Range { cidr: o, .. } if o == cidr))
                {
                    report.within(i, |r| r.refuse_field("range", cidr, "a range not named above"));
                }
            }
        }
        if one.guard.password.is_none()
            && let Some(around) = guarded_range_around(neighbours, one)
        {
            let allowed = format!(
                "needed here, because this lies in {around}, which has one: the kernel demands a range's \
                 password of every address in it"
            );
            report.within(i, |r| r.missing("passwordFile", allowed));
        }
    }
}

fn guarded_range_around(neighbours: &[Neighbour], inner: &Neighbour) -> Option<IpNetwork> {
    let place = match inner.place {
        Place::Address { ip, .. } => IpNetwork::from(ip),
        Place::Range { cidr, .. } => cidr,
    };
    neighbours.iter().find_map(|other| match other.place {
        Place::Range { cidr, .. } if other.guard.password.is_some() && contains(cidr, place) => Some(cidr),
        Place::Range { .. } | Place::Address { .. } => None,
    })
}
