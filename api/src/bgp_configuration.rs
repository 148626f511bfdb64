//! `BGPConfiguration`: settings of the fabric's BGP as a whole. The one named `default` is in force; one named
//! `node.<name>` overrides `listenPort` and `prefixAdvertisements` on that node.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use crate::bgp_peer::{PasswordSpec, SecretRef, Timers, check_password, check_timers};
use crate::meta::{Kind, Metadata};
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, quoted};
use crate::resource::Checked;
use crate::schema::{KEEPALIVE, keepalive_fits};
use crate::value::{AsNumber, Community, show_duration};

/// BGP settings, checked. What is `None` was not said: the default (or, for a node, what `default` says) holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpConfiguration {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// The AS of every node that names none; [`AsNumber::DEFAULT`] by default.
    pub as_number: Option<AsNumber>,
    /// Every node peers with every other; true by default.
    pub mesh_enabled: Option<bool>,
    /// TCP MD5 key of the mesh.
    pub mesh_password: Option<SecretRef>,
    /// The clocks of the mesh's sessions.
    pub mesh_timers: Timers,
    /// The TCP port all nodes listen on; 179 by default.
    pub listen_port: Option<u16>,
    /// What communities our prefixes carry, the most specific entry deciding.
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// Which addresses of services are announced.
    pub services: ServiceRanges,
}

/// Where the addresses of services are that every node announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    /// Of ClusterIPs.
    pub cluster: Vec<IpNetwork>,
    /// Of external IPs.
    pub external: Vec<IpNetwork>,
    /// Of load balancers.
    pub load_balancer: Vec<IpNetwork>,
    /// Load balancers' addresses are announced one by one, and their ranges are not.
    pub load_balancer_apart: bool,
}

impl ServiceRanges {
    /// Is nothing to be announced?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.external.is_empty() && self.load_balancer.is_empty()
    }
}

impl BgpConfiguration {
    /// The name of the resource that holds for all.
    pub const DEFAULT_NAME: &str = "default";

    /// The node that this resource is about, when it is not about all.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.metadata.name.strip_prefix("node.")
    }
}

/// Communities for what we announce of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixAdvertisement {
    /// The prefix and all inside it.
    pub cidr: IpNetwork,
    /// What its routes carry.
    pub communities: Vec<Community>,
}

const MESH_HAS_PASSWORD: &str = "self.?nodeToNodeMeshEnabled.orValue(true) || !has(self.nodeMeshPassword)";
const MESH_HAS_RESTART: &str =
    "self.?nodeToNodeMeshEnabled.orValue(true) || !has(self.nodeMeshMaxRestartTime)";
const KNOWN_COMMUNITIES: &str = "!has(self.prefixAdvertisements) || self.prefixAdvertisements.all(p, \
     !has(p.communities) || p.communities.all(c, c.matches('^[0-9]{1,10}(:[0-9]{1,10}){1,2}$') || \
     (has(self.communities) && self.communities.exists(n, n.name == c))))";

const NOT_ALL: &str = "!isCIDR(self) || cidr(self).prefixLength() > 0";

raw! {
    /// `spec:` of a BGPConfiguration as it stands in YAML.
    pub struct BgpConfigurationSpec {
        /// The fabric's AS.
        as_number: NumberOrText = "asNumber" => .as_number(),
        /// Whether every node peers with every other; true by default.
        mesh_enabled: bool = "nodeToNodeMeshEnabled",
        /// The mesh's TCP MD5 key.
        mesh_password: PasswordSpec = "nodeMeshPassword",
        /// The mesh's graceful restart time, 0s to 4095s; 120s by default.
        mesh_max_restart_time: String = "nodeMeshMaxRestartTime" => .seconds(0, 4095, false),
        /// The mesh's hold time: 0s, or 3s to 65535s; 90s by default.
        mesh_hold_time: String = "nodeMeshHoldTime" => .seconds(3, 65535, true),
        /// The mesh's keepalive time, 1s to 21845s; a third of the hold time by default.
        mesh_keepalive_time: String = "nodeMeshKeepaliveTime" => .seconds(1, 21845, false),
        /// The TCP port all nodes listen on; 179 by default.
        listen_port: u64 = "listenPort" => .range(1, 65535),
        /// Names for communities.
        communities: Vec<NamedCommunitySpec> = "communities" => .most(64).keyed("name"),
        /// Communities for prefixes, the most specific entry deciding.
        prefix_advertisements: Vec<PrefixAdvertisementSpec> = "prefixAdvertisements" => .most(64),
        /// Ranges of ClusterIPs that every node announces.
        service_cluster_ips: Vec<ServiceRangeSpec> = "serviceClusterIPs" => .most(64),
        /// Ranges of Services' external IPs that every node announces.
        service_external_ips: Vec<ServiceRangeSpec> = "serviceExternalIPs" => .most(64),
        /// Ranges of load balancers' addresses that every node announces.
        service_load_balancer_ips: Vec<ServiceRangeSpec> = "serviceLoadBalancerIPs" => .most(64),
        /// Enabled (the default): load balancers' ranges are announced. Disabled: each address by itself.
        service_load_balancer_aggregation: String = "serviceLoadBalancerAggregation"
            => .words(&["Enabled", "Disabled"]),
    } => .rule_at("nodeMeshPassword", MESH_HAS_PASSWORD, "left out when nodeToNodeMeshEnabled is false")
        .rule_at("nodeMeshMaxRestartTime", MESH_HAS_RESTART, "left out when nodeToNodeMeshEnabled is false")
        .rule_at("nodeMeshKeepaliveTime", &keepalive_fits("nodeMeshKeepaliveTime", "nodeMeshHoldTime"), KEEPALIVE)
        .rule_at("prefixAdvertisements", KNOWN_COMMUNITIES, "communities as aa:nn, aa:nn:mm, or names from communities")
}

raw! {
    /// An item of `spec.communities`.
    pub struct NamedCommunitySpec {
        /// How `prefixAdvertisements` refer to it.
        name: String = "name" => .required().least(1).most(64),
        /// `aa:nn` or `aa:nn:mm`.
        value: String = "value" => .required().community(),
    }
}

raw! {
    /// An item of `spec.prefixAdvertisements`.
    pub struct PrefixAdvertisementSpec {
        /// The prefix.
        cidr: String = "cidr" => .required().cidr(),
        /// Communities, or names of some.
        communities: Vec<String> = "communities" => .most(16).each(|community| community.most(64)),
    }
}

raw! {
    /// An item of `spec.serviceClusterIPs`, `spec.serviceExternalIPs` and `spec.serviceLoadBalancerIPs`.
    pub struct ServiceRangeSpec {
        /// The range. One of a single address is announced by the nodes that serve a Service with that address.
        cidr: String = "cidr" => .required().cidr().rule(NOT_ALL, "a range, not everything there is"),
    }
}

impl Checked for BgpConfiguration {
    const KIND: Kind = Kind::BgpConfiguration;
    type Spec = BgpConfigurationSpec;

    fn check(metadata: Metadata, spec: &BgpConfigurationSpec, report: &mut Report) -> Option<Self> {
        check_scope(&metadata, spec, report);
        let mesh_timers = check_timers(
            ["nodeMeshMaxRestartTime", "nodeMeshHoldTime", "nodeMeshKeepaliveTime"],
            [&spec.mesh_max_restart_time, &spec.mesh_hold_time, &spec.mesh_keepalive_time]
                .map(Option::as_ref),
            report,
        );
        let mesh_password =
            report.within("nodeMeshPassword", |r| check_password(spec.mesh_password.as_ref(), r));
        let names = check_names(spec.communities.as_deref().unwrap_or_default(), report);
        let raw_ads = spec.prefix_advertisements.as_deref().unwrap_or_default();
        let out = Self {
            as_number: report.as_number("asNumber", spec.as_number.as_ref()),
            mesh_enabled: spec.mesh_enabled,
            mesh_password,
            mesh_timers,
            listen_port: report.ranged("listenPort", spec.listen_port, 1..=65535),
            prefix_advertisements: check_advertisements(raw_ads, &names, report),
            services: check_services(spec, report),
            metadata,
        };
        if out.mesh_enabled == Some(false) {
            let allowed = "left out when nodeToNodeMeshEnabled is false: it is about the mesh";
            for (name, set) in [
                ("nodeMeshPassword", spec.mesh_password.is_some()),
                ("nodeMeshMaxRestartTime", spec.mesh_max_restart_time.is_some()),
            ] {
                if set {
                    report.refuse_field(name, "a value", allowed);
                }
            }
        }
        Some(out)
    }

    fn spec(&self) -> BgpConfigurationSpec {
        let ads: Vec<_> = self.prefix_advertisements.iter().map(PrefixAdvertisement::raw).collect();
        BgpConfigurationSpec {
            as_number: self.as_number.map(AsNumber::raw),
            mesh_enabled: self.mesh_enabled,
            mesh_password: self.mesh_password.as_ref().map(SecretRef::raw),
            mesh_max_restart_time: self.mesh_timers.max_restart.map(show_duration),
            mesh_hold_time: self.mesh_timers.hold.map(show_duration),
            mesh_keepalive_time: self.mesh_timers.keepalive.map(show_duration),
            listen_port: self.listen_port.map(u64::from),
            communities: None,
            prefix_advertisements: (!ads.is_empty()).then_some(ads),
            service_cluster_ips: raw_ranges(&self.services.cluster),
            service_external_ips: raw_ranges(&self.services.external),
            service_load_balancer_ips: raw_ranges(&self.services.load_balancer),
            service_load_balancer_aggregation: self
                .services
                .load_balancer_apart
                .then(|| "Disabled".to_owned()),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

impl PrefixAdvertisement {
    fn raw(&self) -> PrefixAdvertisementSpec {
        PrefixAdvertisementSpec {
            cidr: Some(self.cidr.to_string()),
            communities: Some(self.communities.iter().map(ToString::to_string).collect()),
        }
    }
}

/// What the resource is about follows from its name, and what it may say from that.
fn check_scope(metadata: &Metadata, spec: &BgpConfigurationSpec, report: &mut Report) {
    let name = metadata.name.as_str();
    if name == BgpConfiguration::DEFAULT_NAME || name.is_empty() {
        return;
    }
    if !name.starts_with("node.") {
        // A name that nobody looks at would be settings that silently do nothing.
        report.refuse(
            format!("metadata.name {name:?}"),
            "a BGPConfiguration named default or node.<node's name>",
        );
        return;
    }
    let allowed = "only in the BGPConfiguration named default; one for a node has listenPort, communities and \
                   prefixAdvertisements";
    for (field, set) in [
        ("asNumber", spec.as_number.is_some()),
        ("nodeToNodeMeshEnabled", spec.mesh_enabled.is_some()),
        ("nodeMeshPassword", spec.mesh_password.is_some()),
        ("nodeMeshMaxRestartTime", spec.mesh_max_restart_time.is_some()),
        ("nodeMeshHoldTime", spec.mesh_hold_time.is_some()),
        ("nodeMeshKeepaliveTime", spec.mesh_keepalive_time.is_some()),
        ("serviceClusterIPs", spec.service_cluster_ips.is_some()),
        ("serviceExternalIPs", spec.service_external_ips.is_some()),
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips.is_some()),
        ("serviceLoadBalancerAggregation", spec.service_load_balancer_aggregation.is_some()),
    ] {
        if set {
            report.refuse_field(field, "a value", allowed);
        }
    }
}

fn check_names(raw: &[NamedCommunitySpec], report: &mut Report) -> BTreeMap<String, Community> {
    let mut names = BTreeMap::new();
    report.within("communities", |r| {
        for (i, item) in raw.iter().enumerate() {
            r.within(i, |r| {
                if item.value.is_none() {
                    r.missing("value", "a community, as in 64512:100 or 64512:100:1");
                }
                let value = r.tried("value", item.value.as_ref(), str::parse::<Community>);
                let Some(name) = &item.name else {
                    r.missing("name", "a name that prefixAdvertisements can use");
                    return;
                };
                if names.contains_key(name) {
                    r.refuse_field("name", quoted(name), "a name not used above");
                } else if let Some(value) = value {
                    names.insert(name.clone(), value);
                }
            });
        }
    });
    names
}

fn check_advertisements(
    raw: &[PrefixAdvertisementSpec],
    names: &BTreeMap<String, Community>,
    report: &mut Report,
) -> Vec<PrefixAdvertisement> {
    let check = |(i, item): (usize, &PrefixAdvertisementSpec), r: &mut Report| {
        r.within(i, |r| {
            if item.cidr.is_none() {
                r.missing("cidr", "a CIDR");
            }
            let cidr = r.prefix("cidr", item.cidr.as_ref())?;
            let words = item.communities.as_deref().unwrap_or_default();
            let communities = r.within("communities", |r| {
                words
                    .iter()
                    .enumerate()
                    .filter_map(|(i, word)| r.within(i, |r| resolve(word, names, r)))
                    .collect()
            });
            Some(PrefixAdvertisement { cidr, communities })
        })
    };
    report.within("prefixAdvertisements", |r| {
        raw.iter().enumerate().filter_map(|item| check(item, r)).collect()
    })
}

fn check_services(spec: &BgpConfigurationSpec, report: &mut Report) -> ServiceRanges {
    let ways = [("Enabled", false), ("Disabled", true)];
    let apart = spec.service_load_balancer_aggregation.as_ref();
    ServiceRanges {
        cluster: check_ranges("serviceClusterIPs", spec.service_cluster_ips.as_deref(), report),
        external: check_ranges("serviceExternalIPs", spec.service_external_ips.as_deref(), report),
        load_balancer: check_ranges(
            "serviceLoadBalancerIPs",
            spec.service_load_balancer_ips.as_deref(),
            report,
        ),
        load_balancer_apart: report
            .choice("serviceLoadBalancerAggregation", apart, &ways)
            .unwrap_or_default(),
    }
}

fn check_ranges(field: &str, raw: Option<&[ServiceRangeSpec]>, report: &mut Report) -> Vec<IpNetwork> {
    let check = |(i, item): (usize, &ServiceRangeSpec), r: &mut Report| {
        r.within(i, |r| {
            if item.cidr.is_none() {
                r.missing("cidr", "a CIDR");
            }
            let cidr = r.prefix("cidr", item.cidr.as_ref())?;
            if cidr.prefix() == 0 {
                // Every packet would be one to a service.
                r.refuse_field("cidr", cidr.to_string(), "a range, not everything there is");
                return None;
            }
            Some(cidr)
        })
    };
    let raw = raw.unwrap_or_default();
    report.within(field, |r| raw.iter().enumerate().filter_map(|item| check(item, r)).collect())
}

fn raw_ranges(ranges: &[IpNetwork]) -> Option<Vec<ServiceRangeSpec>> {
    let raw = |cidr: &IpNetwork| ServiceRangeSpec { cidr: Some(cidr.to_string()) };
    (!ranges.is_empty()).then(|| ranges.iter().map(raw).collect())
}

fn resolve(word: &str, names: &BTreeMap<String, Community>, report: &mut Report) -> Option<Community> {
    let found = names.get(word).copied().or_else(|| word.parse().ok());
    if found.is_none() {
        let known = names.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { String::new() } else { format!(" ({known})") };
        report.refuse(quoted(word), format!("aa:nn, aa:nn:mm, or a name from spec.communities{known}"));
    }
    found
}
