//! `FabricNode`: the little that every node must know of every other. Its agent writes it, on change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::meta::{Kind, Metadata};
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, quoted};
use crate::resource::Checked;
use crate::schema::Schema;
use crate::value::{AsNumber, cluster_id, is_host};

/// A node (or a route reflector that stands alone), checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabricNode {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// The UID of the machine this is, which changes when a node is made anew under the same name.
    pub uid: String,
    /// Its addresses: at least one family.
    pub addresses: Addresses,
    /// Its AS, where it is not the fabric's.
    pub as_number: Option<AsNumber>,
    /// Set on a node that reflects routes (RFC 4456 §7).
    pub route_reflector_cluster_id: Option<Ipv4Addr>,
    /// What it can take out of a tunnel.
    pub tunnels: Tunnels,
    /// The CIDRs that the cluster gave it for its pods, where these are its blocks: at most one of each family.
    pub pod_cidrs: Vec<IpNetwork>,
}

impl FabricNode {
    /// Its address of one family, with the subnet it shares with its neighbours.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> Option<IpNetwork> {
        if ipv6 { self.addresses.v6.map(IpNetwork::V6) } else { self.addresses.v4.map(IpNetwork::V4) }
    }

    /// Is this one of its addresses?
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.addresses.v4.is_some_and(|net| net.ip() == a),
            IpAddr::V6(a) => self.addresses.v6.is_some_and(|net| net.ip() == a),
        }
    }
}

/// A node's addresses, each with the length of its subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Option<Ipv4Network>,
    /// IPv6.
    pub v6: Option<Ipv6Network>,
}

/// The tunnels a node terminates. Presence is the statement: nobody sends encapsulated packets to a node that does
/// not say it takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    /// IPIP: the address of its tunnel device.
    pub ipip: Option<Ipv4Addr>,
    /// VXLAN over IPv4.
    pub vxlan_v4: Option<VxlanEnd<Ipv4Addr>>,
    /// VXLAN over IPv6.
    pub vxlan_v6: Option<VxlanEnd<Ipv6Addr>>,
}

/// A node's end of the VXLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanEnd<A> {
    /// The address of its tunnel device.
    pub address: A,
    /// The MAC of its tunnel device.
    pub mac: [u8; 6],
}

const ONE_A_FAMILY: &str = "self.size() < 2 || !self.all(a, isCIDR(a)) || \
                            cidr(self[0]).ip().family() != cidr(self[1]).ip().family()";

raw! {
    /// `spec:` of a FabricNode as it stands in YAML.
    pub struct FabricNodeSpec {
        /// The machine's UID.
        uid: String = "uid" => .most(253),
        /// CIDRs: address and length of its subnet, at most one of each family.
        addresses: Vec<String> = "addresses" => .required().least(1).most(2).each(Schema::host_cidr)
            .rule(ONE_A_FAMILY, "at most one address of each family"),
        /// Its AS number, where it is not the fabric's.
        as_number: NumberOrText = "asNumber" => .as_number(),
        /// It reflects routes, under this cluster id, written like an IPv4 address.
        route_reflector_cluster_id: String = "routeReflectorClusterID" => .address(4),
        /// The tunnels it terminates: nobody sends encapsulated packets to a node that does not say so.
        tunnels: TunnelsSpec = "tunnels",
        /// The blocks it has without an IPAMBlock: what the cluster gave it for its pods, as CIDRs.
        pod_cidrs: Vec<String> = "podCIDRs" => .most(2).each(|cidr| cidr.cidr())
            .rule(ONE_A_FAMILY, "at most one CIDR of each family"),
    }
}

raw! {
    /// `spec.tunnels:`.
    pub struct TunnelsSpec {
        /// IPIP.
        ipip: IpipSpec = "ipip",
        /// VXLAN.
        vxlan: VxlanSpec = "vxlan",
    }
}

raw! {
    /// `spec.tunnels.ipip:`.
    pub struct IpipSpec {
        /// The IPv4 address of the tunnel device.
        address: String = "address" => .required().address(4),
    }
}

raw! {
    /// `spec.tunnels.vxlan:`.
    pub struct VxlanSpec {
        /// The IPv4 address of the tunnel device.
        address: String = "address" => .address(4),
        /// Its MAC.
        mac: String = "mac" => .mac(),
        /// The IPv6 address of the tunnel device for VXLAN over IPv6.
        address_v6: String = "addressV6" => .address(6),
        /// Its MAC.
        mac_v6: String = "macV6" => .mac(),
    } => .rule_at("mac", "has(self.address) == has(self.mac)", "there with address, and left out without it")
        .rule_at("macV6", "has(self.addressV6) == has(self.macV6)", "there with addressV6, and left out without it")
        .rule_at(
            "address",
            "has(self.address) || has(self.addressV6)",
            "there with mac, or else addressV6 with macV6",
        )
}

impl Checked for FabricNode {
    const KIND: Kind = Kind::FabricNode;
    type Spec = FabricNodeSpec;

    fn check(metadata: Metadata, spec: &FabricNodeSpec, report: &mut Report) -> Option<Self> {
        let addresses = check_addresses(spec.addresses.as_deref(), report);
        let as_number = report.as_number("asNumber", spec.as_number.as_ref());
        let id = "a cluster id written like an IPv4 address, other than 0.0.0.0";
        let cluster = report.parsed(
            "routeReflectorClusterID",
            spec.route_reflector_cluster_id.as_ref(),
            id,
            cluster_id,
        );
        let tunnels = report.within("tunnels", |r| check_tunnels(spec.tunnels.as_ref(), r));
        let pod_cidrs = check_pod_cidrs(spec.pod_cidrs.as_deref().unwrap_or_default(), report);
        Some(Self {
            // Without one the name is the identity: a machine written by hand is made anew by giving it a UID.
            uid: spec.uid.clone().unwrap_or_else(|| metadata.name.clone()),
            metadata,
            addresses: addresses?,
            as_number,
            route_reflector_cluster_id: cluster,
            tunnels: tunnels?,
            pod_cidrs,
        })
    }

    fn spec(&self) -> FabricNodeSpec {
        let v4 = self.addresses.v4.map(|net| net.to_string());
        let v6 = self.addresses.v6.map(|net| net.to_string());
        let Tunnels { ipip, vxlan_v4, vxlan_v6 } = self.tunnels;
        let vxlan = (vxlan_v4.is_some() || vxlan_v6.is_some()).then(|| VxlanSpec {
            address: vxlan_v4.map(|end| end.address.to_string()),
            mac: vxlan_v4.map(|end| show_mac(end.mac)),
            address_v6: vxlan_v6.map(|end| end.address.to_string()),
            mac_v6: vxlan_v6.map(|end| show_mac(end.mac)),
        });
        let ipip = ipip.map(|address| IpipSpec { address: Some(address.to_string()) });
        FabricNodeSpec {
            uid: Some(self.uid.clone()),
            addresses: Some(v4.into_iter().chain(v6).collect()),
            as_number: self.as_number.map(AsNumber::raw),
            route_reflector_cluster_id: self.route_reflector_cluster_id.map(|id| id.to_string()),
            tunnels: (ipip.is_some() || vxlan.is_some()).then_some(TunnelsSpec { ipip, vxlan }),
            pod_cidrs: (!self.pod_cidrs.is_empty())
                .then(|| self.pod_cidrs.iter().map(ToString::to_string).collect()),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

fn check_addresses(raw: Option<&[String]>, report: &mut Report) -> Option<Addresses> {
    const FORM: &str =
        "the node's address with the length of its subnet, as in 192.0.2.11/24 or 2001:db8::11/64";
    let Some(raw) = raw.filter(|list| !list.is_empty()) else {
        report.missing("addresses", format!("at least one of: {FORM}"));
        return None;
    };
    let mut out = Addresses::default();
    report.within("addresses", |r| {
        for (i, text) in raw.iter().enumerate() {
            r.within(i, |r| match text.parse::<IpNetwork>() {
                Ok(net) if !text.contains('/') || !is_host(net.ip()) || net.ip().is_loopback() => {
                    r.refuse(quoted(text), FORM);
                }
                Ok(IpNetwork::V4(net)) if out.v4.is_none() => out.v4 = Some(net),
                Ok(IpNetwork::V6(net)) if out.v6.is_none() => out.v6 = Some(net),
                Ok(_) => r.refuse(quoted(text), "at most one address of each family"),
                Err(_) => r.refuse(quoted(text), FORM),
            });
        }
    });
    Some(out)
}

fn check_pod_cidrs(raw: &[String], report: &mut Report) -> Vec<IpNetwork> {
    let mut out: Vec<IpNetwork> = Vec::new();
    report.within("podCIDRs", |r| {
        for (i, text) in raw.iter().enumerate() {
            match r.prefix(i, Some(text)) {
                Some(cidr) if out.iter().any(|other| other.is_ipv4() == cidr.is_ipv4()) => {
                    r.within(i, |r| r.refuse(quoted(text), "at most one CIDR of each family"));
                }
                cidr => out.extend(cidr),
            }
        }
    });
    out
}

fn check_tunnels(raw: Option<&TunnelsSpec>, report: &mut Report) -> Option<Tunnels> {
    let mut out = Tunnels::default();
    let Some(raw) = raw else { return Some(out) };
    if let Some(ipip) = &raw.ipip {
        out.ipip = report.within("ipip", |r| tunnel_address("address", ipip.address.as_ref(), r));
    }
    if let Some(vxlan) = &raw.vxlan {
        report.within("vxlan", |r| {
            out.vxlan_v4 = vxlan_end(["address", "mac"], [vxlan.address.as_ref(), vxlan.mac.as_ref()], r);
            out.vxlan_v6 =
                vxlan_end(["addressV6", "macV6"], [vxlan.address_v6.as_ref(), vxlan.mac_v6.as_ref()], r);
            if vxlan == &VxlanSpec::default() {
                r.missing("address", "address and mac, addressV6 and macV6, or both pairs");
            }
        });
    }
    Some(out)
}

fn tunnel_address<A>(name: &str, raw: Option<&String>, report: &mut Report) -> Option<A>
where
    A: std::str::FromStr + Copy + Into<IpAddr>,
{
    const FORM: &str = "the address of the tunnel device, without a length, of the right family";
    if raw.is_none() {
        report.missing(name, FORM);
    }
    report.parsed(name, raw, FORM, |text| text.parse::<A>().ok().filter(|a| is_host((*a).into())))
}

fn vxlan_end<A>(names: [&str; 2], raw: [Option<&String>; 2], report: &mut Report) -> Option<VxlanEnd<A>>
where
    A: std::str::FromStr + Copy + Into<IpAddr>,
{
    const MAC: &str = "a unicast MAC, as in 66:12:34:56:78:9a";
    if raw == [None, None] {
        return None;
    }
    let address = tunnel_address(names[0], raw[0], report);
    if raw[1].is_none() {
        report.missing(names[1], MAC);
    }
    let mac = report.parsed(names[1], raw[1], MAC, parse_mac);
    Some(VxlanEnd { address: address?, mac: mac? })
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    let unicast = mac[0] & 1 == 0 && mac != [0; 6];
    (parts.next().is_none() && unicast).then_some(mac)
}

fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
