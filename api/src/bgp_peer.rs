//! `BGPPeer`: sessions beside (or instead of) the mesh. One resource stands for many sessions: from each node that the
//! local side chooses to each neighbour that the remote side chooses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::meta::{Kind, Metadata, NAME, is_name};
use crate::raw::{NumberOrText, raw};
use crate::report::{Report, quoted};
use crate::resource::Checked;
use crate::schema::{KEEPALIVE, Schema, keepalive_fits};
use crate::selector::Selector;
use crate::value::{AsNumber, duration, is_host, show_duration};

/// A peering, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// Which nodes it is for.
    pub local: Local,
    /// Whom they peer with.
    pub remote: Remote,
    /// The AS shown to the peer, where it is not the node's own.
    pub local_as_number: Option<AsNumber>,
    /// How the connection is made.
    pub transport: Transport,
    /// Its clocks.
    pub timers: Timers,
    /// How often our own AS may stand in a path that is accepted; 0 by default.
    pub num_allowed_local_as_numbers: u8,
    /// The next hop of what is announced.
    pub next_hop_mode: NextHopMode,
    /// With a peer selector: the selected nodes open their side too.
    pub reverse: bool,
    /// BGPFilters, in the order in which they are asked.
    pub filters: Vec<String>,
}

/// How the connection of a session is made and guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// TCP MD5 key.
    pub password: Option<SecretRef>,
    /// How many hops away the peer is, at most (RFC 5082), 1 to 254.
    pub ttl_security: Option<u8>,
    /// Connect from the node's own address rather than from what the kernel chooses.
    pub use_node_ip: bool,
    /// Wait for the peer to connect.
    pub passive: bool,
}

/// The clocks of a session; `None` = the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// Graceful restart time, 0 (none) to 4095 s; 120 s by default.
    pub max_restart: Option<Duration>,
    /// Hold time: 0, or 3 to 65535 s; 90 s by default.
    pub hold: Option<Duration>,
    /// Keepalive time, 1 to 21845 s; a third of the hold time by default.
    pub keepalive: Option<Duration>,
}

/// The side of a peering that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// Every node.
    All,
    /// The node of this name.
    Node(String),
    /// The nodes with such labels.
    Selector(Selector),
}

/// The side of a peering that is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A neighbour by address.
    Address {
        /// Where it is.
        ip: IpAddr,
        /// On which TCP port; without one, the port of the node that has this address, else 179.
        port: Option<u16>,
        /// The AS it must have; without one, that of the node that has this address.
        as_number: Option<AsNumber>,
    },
    /// The nodes with such labels.
    Selector(Selector),
}

/// The next hop of what is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopMode {
    /// Ours to eBGP peers, unchanged to iBGP peers (RFC 4271 §5.1.3).
    #[default]
    Auto,
    /// Always ours.
    SelfAddress,
    /// Never changed.
    Keep,
}

/// Where a password stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// The Secret.
    pub name: String,
    /// The key within it.
    pub key: String,
}

raw! {
    /// `spec:` of a BGPPeer as it stands in YAML.
    pub struct BgpPeerSpec {
        /// The node it is for. With neither this nor `nodeSelector` it is for every node.
        node: String = "node" => .name(),
        /// The nodes it is for.
        node_selector: String = "nodeSelector" => .selector(),
        /// The neighbour: `ip`, `ip:port` or `[ip]:port`.
        peer_ip: String = "peerIP" => .place(),
        /// The neighbour's AS number; without one, that of the node that has the address.
        as_number: NumberOrText = "asNumber" => .as_number(),
        /// The nodes that are neighbours.
        peer_selector: String = "peerSelector" => .selector(),
        /// Whether the nodes that `peerSelector` selects open their side too: Auto (default), Manual.
        reverse_peering: String = "reversePeering" => .words(&["Auto", "Manual"]),
        /// The AS number shown to the peer, where it is not the node's own.
        local_as_number: NumberOrText = "localASNumber" => .as_number(),
        /// TCP MD5 key.
        password: PasswordSpec = "password",
        /// From where the session is opened: UseNodeIP (default), or None for what the kernel chooses.
        source_address: String = "sourceAddress" => .words(&["UseNodeIP", "None"]),
        /// Graceful restart time, 0s to 4095s; 120s by default.
        max_restart_time: String = "maxRestartTime" => .seconds(0, 4095, false),
        /// Hold time: 0s, or 3s to 65535s; 90s by default.
        hold_time: String = "holdTime" => .seconds(3, 65535, true),
        /// Keepalive time, 1s to 21845s; a third of the hold time by default.
        keepalive_time: String = "keepaliveTime" => .seconds(1, 21845, false),
        /// How often our own AS may stand in a path that is accepted, 0 (default) to 10.
        num_allowed_local_as_numbers: u64 = "numAllowedLocalASNumbers" => .range(0, 10),
        /// How many hops away the peer is, at most (RFC 5082): 1 to 254.
        ttl_security: u64 = "ttlSecurity" => .range(1, 254),
        /// The next hop of what is announced: Auto (default; ours to eBGP peers), Self, Keep.
        next_hop_mode: String = "nextHopMode" => .words(&["Auto", "Self", "Keep"]),
        /// Wait for the peer to connect; false by default.
        passive: bool = "passive",
        /// Names of BGPFilters, in the order in which they are asked.
        filters: Vec<String> = "filters" => .most(32).each(Schema::name).distinct(),
    } => .rule_at(
            "node",
            "!has(self.node) || !has(self.nodeSelector)",
            "left out when there is a nodeSelector: one or the other",
        )
        .rule_at(
            "peerIP",
            "has(self.peerIP) != has(self.peerSelector)",
            "there (an address) or else peerSelector (nodes by label), and not both",
        )
        .rule_at(
            "asNumber",
            "!has(self.asNumber) || !has(self.peerSelector)",
            "left out when there is a peerSelector: the selected nodes know their AS",
        )
        .rule_at("keepaliveTime", &keepalive_fits("keepaliveTime", "holdTime"), KEEPALIVE)
}

raw! {
    /// `password:`.
    pub struct PasswordSpec {
        /// Where it stands.
        secret_key_ref: SecretKeyRefSpec = "secretKeyRef" => .required(),
    }
}

raw! {
    /// `password.secretKeyRef:`.
    pub struct SecretKeyRefSpec {
        /// The Secret.
        name: String = "name" => .required().name(),
        /// The key within it.
        key: String = "key" => .required().secret_key(),
    }
}

impl SecretRef {
    pub(crate) fn raw(&self) -> PasswordSpec {
        let reference = SecretKeyRefSpec { name: Some(self.name.clone()), key: Some(self.key.clone()) };
        PasswordSpec { secret_key_ref: Some(reference) }
    }
}

impl Checked for BgpPeer {
    const KIND: Kind = Kind::BgpPeer;
    type Spec = BgpPeerSpec;

    fn check(metadata: Metadata, spec: &BgpPeerSpec, report: &mut Report) -> Option<Self> {
        let local = check_local(spec, report);
        let remote = check_remote(spec, report);
        let timers = check_timers(
            ["maxRestartTime", "holdTime", "keepaliveTime"],
            [spec.max_restart_time.as_ref(), spec.hold_time.as_ref(), spec.keepalive_time.as_ref()],
            report,
        );
        let modes =
            [("Auto", NextHopMode::Auto), ("Self", NextHopMode::SelfAddress), ("Keep", NextHopMode::Keep)];
        let sources = [("UseNodeIP", true), ("None", false)];
        let reverse = [("Auto", true), ("Manual", false)];
        let allowed = report.ranged("numAllowedLocalASNumbers", spec.num_allowed_local_as_numbers, 0..=10);
        let (mode, source, reverse) = (
            report.choice("nextHopMode", spec.next_hop_mode.as_ref(), &modes),
            report.choice("sourceAddress", spec.source_address.as_ref(), &sources),
            report.choice("reversePeering", spec.reverse_peering.as_ref(), &reverse),
        );
        Some(Self {
            metadata,
            local: local?,
            remote: remote?,
            local_as_number: report.as_number("localASNumber", spec.local_as_number.as_ref()),
            transport: Transport {
                password: report.within("password", |r| check_password(spec.password.as_ref(), r)),
                ttl_security: report.ranged("ttlSecurity", spec.ttl_security, 1..=254),
                use_node_ip: source?,
                passive: spec.passive.unwrap_or(false),
            },
            timers,
            num_allowed_local_as_numbers: allowed.unwrap_or(0),
            next_hop_mode: mode?,
            reverse: reverse?,
            filters: check_filters(spec.filters.as_deref(), report),
        })
    }

    fn spec(&self) -> BgpPeerSpec {
        let (node, node_selector) = match &self.local {
            Local::All => (None, None),
            Local::Node(name) => (Some(name.clone()), None),
            Local::Selector(selector) => (None, Some(selector.to_string())),
        };
        let mode = match self.next_hop_mode {
            NextHopMode::Auto => "Auto",
            NextHopMode::SelfAddress => "Self",
            NextHopMode::Keep => "Keep",
        };
        let (peer_ip, as_number, peer_selector) = self.remote.raw();
        let allowed = self.num_allowed_local_as_numbers;
        BgpPeerSpec {
            node,
            node_selector,
            peer_ip,
            as_number,
            peer_selector,
            reverse_peering: (!self.reverse).then(|| "Manual".to_owned()),
            local_as_number: self.local_as_number.map(AsNumber::raw),
            password: self.transport.password.as_ref().map(SecretRef::raw),
            source_address: (!self.transport.use_node_ip).then(|| "None".to_owned()),
            max_restart_time: self.timers.max_restart.map(show_duration),
            hold_time: self.timers.hold.map(show_duration),
            keepalive_time: self.timers.keepalive.map(show_duration),
            num_allowed_local_as_numbers: (allowed > 0).then_some(u64::from(allowed)),
            ttl_security: self.transport.ttl_security.map(u64::from),
            next_hop_mode: Some(mode.to_owned()),
            passive: self.transport.passive.then_some(true),
            filters: (!self.filters.is_empty()).then(|| self.filters.clone()),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

impl Remote {
    fn raw(&self) -> (Option<String>, Option<NumberOrText>, Option<String>) {
        match self {
            Self::Address { ip, port, as_number } => {
                let place =
                    port.map_or_else(|| ip.to_string(), |port| SocketAddr::new(*ip, port).to_string());
                (Some(place), as_number.map(AsNumber::raw), None)
            }
            Self::Selector(selector) => (None, None, Some(selector.to_string())),
        }
    }
}

fn check_local(spec: &BgpPeerSpec, report: &mut Report) -> Option<Local> {
    match (&spec.node, &spec.node_selector) {
        (None, None) => Some(Local::All),
        (Some(node), None) => {
            report.parsed("node", Some(node), NAME, |n| is_name(n).then(|| Local::Node(n.to_owned())))
        }
        (None, text) => report.tried("nodeSelector", text.as_ref(), str::parse).map(Local::Selector),
        (Some(node), Some(_)) => {
            report.refuse_field(
                "node",
                quoted(node),
                "left out when there is a nodeSelector: one or the other",
            );
            None
        }
    }
}

fn check_remote(spec: &BgpPeerSpec, report: &mut Report) -> Option<Remote> {
    const WHOM: &str = "peerIP (an address), or peerSelector (nodes by label)";
    let as_number = report.as_number("asNumber", spec.as_number.as_ref());
    match (&spec.peer_ip, &spec.peer_selector) {
        (None, None) => {
            report.missing("peerIP", WHOM);
            None
        }
        (Some(ip), Some(_)) => {
            report.refuse_field(
                "peerIP",
                quoted(ip),
                "left out when there is a peerSelector: one or the other",
            );
            None
        }
        (None, text) => {
            if let Some(number) = &spec.as_number {
                let allowed = "left out when there is a peerSelector: the selected nodes know their AS";
                report.refuse_field("asNumber", &number.0, allowed);
            }
            report.tried("peerSelector", text.as_ref(), str::parse).map(Remote::Selector)
        }
        (Some(text), None) => {
            let form = "an address, with a port or without: 192.0.2.1, 192.0.2.1:1790, 2001:db8::1, [2001:db8::1]:1790";
            let (ip, port) = report.parsed("peerIP", Some(text), form, parse_place)?;
            Some(Remote::Address { ip, port, as_number })
        }
    }
}

fn parse_place(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let (ip, port) = match text.parse::<IpAddr>() {
        Ok(ip) => (ip, None),
        Err(_) => text.parse::<SocketAddr>().ok().map(|place| (place.ip(), Some(place.port())))?,
    };
    (is_host(ip) && port != Some(0)).then_some((ip, port))
}

/// The clocks of a session; `names` are the fields of restart, hold and keepalive time, `raw` what they say.
pub fn check_timers(names: [&str; 3], raw: [Option<&String>; 3], report: &mut Report) -> Timers {
    let allowed = "0s (no keepalives), or a duration of whole seconds from 3s to 65535s (RFC 4271 §4.2)";
    let hold = report.parsed(names[1], raw[1], allowed, |text| {
        duration(text)
            .filter(|d| d.subsec_nanos() == 0 && (d.is_zero() || (3..=65535).contains(&d.as_secs())))
    });
    let keepalive = report.seconds(names[2], raw[2], 1..=21845);
    // A keepalive must come before the peer's patience ends.
    let patience = hold.unwrap_or(Duration::from_secs(90));
    if let Some(keepalive) = keepalive.filter(|k| *k >= patience && !patience.is_zero()) {
        let allowed = format!("less than the hold time, which is {}", show_duration(patience));
        report.refuse_field(names[2], quoted(&show_duration(keepalive)), allowed);
    }
    Timers { max_restart: report.seconds(names[0], raw[0], 0..=4095), hold, keepalive }
}

/// `password:` as a reference; nothing when there is none.
pub(crate) fn check_password(raw: Option<&PasswordSpec>, report: &mut Report) -> Option<SecretRef> {
    let raw = raw?;
    let Some(reference) = &raw.secret_key_ref else {
        report.missing("secretKeyRef", "name and key of a secret: a password never stands in a resource");
        return None;
    };
    report.within("secretKeyRef", |r| {
        if reference.name.is_none() {
            r.missing("name", "the name of a secret");
        }
        if reference.key.is_none() {
            r.missing("key", "the key within the secret");
        }
        let name = r.parsed("name", reference.name.as_ref(), NAME, |n| is_name(n).then(|| n.to_owned()));
        let form = "letters, digits, '-', '_' and '.', not beginning with '.'";
        let key = r.parsed("key", reference.key.as_ref(), form, |k| is_secret_key(k).then(|| k.to_owned()));
        Some(SecretRef { name: name?, key: key? })
    })
}

/// May a key of a secret be named so? It is a file name in the file backend.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let inner = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    inner && !key.is_empty() && !key.starts_with('.') && key.len() <= 253
}

fn check_filters(raw: Option<&[String]>, report: &mut Report) -> Vec<String> {
    let names = raw.unwrap_or_default();
    report.within("filters", |r| {
        for (i, name) in names.iter().enumerate() {
            if !is_name(name) {
                r.within(i, |r| r.refuse(quoted(name), NAME));
            } else if names.iter().take(i).any(|n| n == name) {
                r.within(i, |r| r.refuse(quoted(name), "a filter not named above"));
            }
        }
    });
    names.to_vec()
}
