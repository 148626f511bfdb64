//! What the CNI plugin asks of the agent, and what it gets back (CNI specification 1.1.0).
//!
//! The plugin stays thin: it reads environment and configuration, refuses what no agent could make sense of,
//! and sends the rest. Merging with `prevResult` and the result's version are the plugin's business, so the
//! messages do not change when the specification does.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::hash::stable;

/// One interface of one container in one network: what the CNI specification identifies an attachment by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentKey {
    /// `name` of the network configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`, the interface inside the container.
    pub ifname: String,
}

impl AttachmentKey {
    /// A hash of the key, the same in every program and for all time ([`crate::hash`]).
    #[must_use]
    pub fn hash(&self) -> u64 {
        stable(&[&self.network, &self.container_id, &self.ifname])
    }
    /// The name of the host's end of the link: `cord` and the low 44 bits of the hash as 11 hexadecimal
    /// digits. The plugin finds the link by it when there is no agent to ask.
    #[must_use]
    pub fn host_interface(&self) -> String {
        format!("cord{:011x}", self.hash() & ((1 << 44) - 1))
    }
}

impl std::fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in network {}", self.container_id, self.ifname, self.network)
    }
}

/// The Kubernetes pod a container belongs to, from `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pod {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; empty when the runtime does not say.
    #[serde(default)]
    pub uid: String,
}

/// What the plugin wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
pub enum CniRequest {
    /// Wire the container. Its network namespace comes as a file descriptor with the message.
    Add(Add),
    /// Unwire it; unknown attachments are a success.
    Del(Del),
    /// Is it still as ADD left it?
    Check {
        /// Which.
        key: AttachmentKey,
        /// The addresses that `prevResult` gives to this interface.
        ips: Vec<IpNetwork>,
    },
    /// Remove what is not in the list.
    Gc {
        /// The network it is limited to.
        network: String,
        /// `cni.dev/valid-attachments`: the attachments to keep, as container id and interface name.
        valid: Vec<ValidAttachment>,
    },
    /// Could an ADD be served now?
    Status,
}

/// The parameters of ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Which attachment.
    pub key: AttachmentKey,
    /// Whose container it is, when the runtime says so.
    #[serde(default)]
    pub pod: Option<Pod>,
    /// Addresses that were asked for (`runtimeConfig.ips`, `args.cni.ips`, `IP=` in `CNI_ARGS`), at most one
    /// a family.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// A MAC that was asked for (`runtimeConfig.mac`, `MAC=` in `CNI_ARGS`).
    #[serde(default)]
    pub mac: Option<Mac>,
    /// Pools to choose from, by name; empty leaves it to the agent.
    #[serde(default)]
    pub pools: Vec<String>,
    /// `mtu` of the network configuration, octets; `None` leaves it to the agent.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// When the plugin's process began, in nanoseconds of CLOCK_BOOTTIME. An ADD that began before a DEL
    /// which has been served already was overtaken by it and is refused.
    #[serde(default)]
    pub started: u64,
}

/// The parameters of DEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Del {
    /// Which attachment.
    pub key: AttachmentKey,
    /// When the plugin's process began, see [`Add::started`].
    #[serde(default)]
    pub started: u64,
}

/// One entry of `cni.dev/valid-attachments`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface inside it.
    pub ifname: String,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum CniAnswer {
    /// ADD went through: the container is wired, routed and known to the rules.
    Added(Added),
    /// DEL, CHECK, GC or STATUS went through.
    Done,
    /// It did not.
    Failed(CniFailure),
}

/// The result of ADD, before the plugin merges `prevResult`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// The interface on the host.
    pub host: Interface,
    /// The interface in the container.
    pub container: Interface,
    /// The container's addresses (/32 and /128), with the gateway of each.
    pub ips: Vec<Ip>,
    /// The container's routes.
    pub routes: Vec<Route>,
}

/// One end of the pod's link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in octets.
    pub mtu: u32,
}

/// An address of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// The address with its length.
    pub address: IpNetwork,
    /// The link-local gateway of its family.
    pub gateway: IpAddr,
}

/// A route of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNetwork,
    /// By whom; `None` for on-link.
    #[serde(default)]
    pub gw: Option<IpAddr>,
}

/// An error as the CNI specification gives it to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct CniFailure {
    /// The code, see [`code`].
    pub code: u32,
    /// What went wrong, in one line.
    pub msg: String,
    /// What more is known, or empty.
    #[serde(default)]
    pub details: String,
}

impl CniFailure {
    /// A failure with nothing more to say than `msg`.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }
    /// This failure with `details`.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

/// Error codes: 1 to 99 are the specification's, from 100 on they are ours.
pub mod code {
    /// The configuration's `cniVersion` is not one of ours.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// The container is unknown or does not exist; there is nothing to clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// An environment variable is missing or invalid.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// The content could not be decoded.
    pub const DECODE: u32 = 6;
    /// The configuration is invalid.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace is none, or the host's own.
    pub const INVALID_NETNS: u32 = 8;
    /// Try again later.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: the plugin can't serve an ADD.
    pub const NOT_AVAILABLE: u32 = 50;
    /// No address left in any pool that was allowed.
    pub const NO_ADDRESS: u32 = 100;
    /// An address that was asked for can't be had.
    pub const ADDRESS_REFUSED: u32 = 101;
    /// The kernel refused something.
    pub const KERNEL: u32 = 102;
    /// CHECK: something is not as ADD left it.
    pub const CHECK_FAILED: u32 = 103;
    /// Another operation on this attachment came in between.
    pub const SUPERSEDED: u32 = 104;
    /// ADD: the attachment is wired already.
    pub const ALREADY_ATTACHED: u32 = 105;
}

/// A 48-bit MAC, written as six pairs of lower-case hex digits with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A text is not a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC: wanted six pairs of hex digits with colons, as in 02:00:5e:10:00:01")]
pub struct NotAMac;

impl std::str::FromStr for Mac {
    type Err = NotAMac;
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut out = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut out {
            let part = parts.next().filter(|p| p.len() == 2 && !p.starts_with('+')).ok_or(NotAMac)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Self(out)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_back_as_it_is_written_and_nothing_else_does() {
        let mac: Mac = "02:00:5e:10:00:0f".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:0f");
        for wrong in ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02-00-5e-10-00-01", "02:00:5e:10:00:+1"]
        {
            assert_eq!(wrong.parse::<Mac>(), Err(NotAMac), "{wrong}");
        }
    }

    #[test]
    fn the_host_interface_fits_ifnamsiz_and_depends_on_every_part_of_the_key() {
        let key = |network: &str, id: &str, ifname: &str| AttachmentKey {
            network: network.into(),
            container_id: id.into(),
            ifname: ifname.into(),
        };
        let name = key("n", "c", "eth0").host_interface();
        assert_eq!(name.len(), 15);
        for other in [key("m", "c", "eth0"), key("n", "d", "eth0"), key("n", "c", "eth1")] {
            assert_ne!(other.host_interface(), name);
        }
    }

    #[test]
    fn an_add_of_the_first_version_needs_no_field_but_its_key() {
        let json = r#"{"command":"add","key":{"network":"n","containerId":"c","ifname":"eth0"}}"#;
        let CniRequest::Add(add) = serde_json::from_str(json).unwrap() else { panic!("not an ADD") };
        assert_eq!((add.ips.len(), add.pod, add.mac, add.mtu), (0, None, None, None));
    }

    #[test]
    fn a_failure_reads_as_one_line() {
        let failure =
            CniFailure::new(code::TRY_AGAIN_LATER, "agent not in sync").details("IPPool: unavailable");
        assert_eq!(failure.to_string(), "agent not in sync: IPPool: unavailable");
    }
}
