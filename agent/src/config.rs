//! The agent's own configuration: a YAML file that is checked once, at the start. What is wrong is said with field,
//! value and what is allowed, all of it at once.
//!
//! What the whole fabric shares (AS, mesh, pools, peers) stands in the datastore and can change at any time; here is
//! what this process needs to get there and what only this machine knows. `docs/operations.md` describes every field.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corduroy_agent_core::agent::Declared;
use corduroy_agent_core::desired::hosts::Failsafe;
use corduroy_agent_core::me::Wanted;
use corduroy_api::raw::{NumberOrText, Raw, raw};
use corduroy_api::{Report, Violations, cluster_id, is_host, quoted, yaml};
use corduroy_datastore_etcd as etcd;
use corduroy_datastore_etcd::config::EtcdFile;
use corduroy_fabric::peering;
use corduroy_kernel::LinkName;
use ipnetwork::IpNetwork;

mod cluster;
mod failsafe;

pub use cluster::ClusterStore;
use cluster::KubernetesFile;
use failsafe::PolicyFile;

/// Where the file is unless somebody says otherwise.
pub const PATH: &str = "/etc/corduroy/agent.yaml";

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node's FabricNode.
    pub node: String,
    /// This node's addresses.
    pub address: Address,
    /// What of its FabricNode is set here.
    pub declared: Declared,
    /// Where resources are.
    pub datastore: Store,
    /// Sockets, lock and journal; does not outlive the boot.
    pub run_dir: PathBuf,
    /// Identity and snapshot; outlives the boot.
    pub state_dir: PathBuf,
    /// Where metrics and health are served, if at all.
    pub metrics: Option<SocketAddr>,
    /// The addresses BGP listens on; the port comes from the datastore.
    pub listen: Vec<IpAddr>,
    /// How sessions are made.
    pub peering: peering::Options,
    /// The ports that no policy of this host closes.
    pub failsafe: Failsafe,
    /// How often the whole kernel is read, whatever was reported of it.
    pub audit: Duration,
    /// What goes into the log: a filter of `tracing`.
    pub log: String,
}

/// This node's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its IPv4 address.
    pub v4: Wanted,
    /// Its IPv6 address.
    pub v6: Wanted,
}

/// Where resources are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In files of this directory.
    File(PathBuf),
    /// In the API server of a Kubernetes cluster.
    Kubernetes(ClusterStore),
    /// In an etcd, for hosts in no cluster.
    Etcd(etcd::Access),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration {path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// As the system says.
        why: std::io::Error,
    },
    /// It is no YAML, or more than one document.
    #[error("configuration {path}: {why}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the line.
        why: String,
    },
    /// Fields are wrong.
    #[error("configuration {path}: {why}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Each with field, value and what is allowed.
        why: Violations,
    },
}

raw! {
    /// The file as it stands.
    pub struct File {
        /// Else the host's name.
        node_name: String = "nodeName",
        /// This node's addresses.
        address: AddressFile = "address",
        /// What of the FabricNode is set here.
        node: NodeFile = "node",
        /// Where resources are.
        datastore: DatastoreFile = "datastore",
        /// Sockets, lock and journal.
        run_dir: String = "runDir",
        /// Identity and snapshot.
        state_dir: String = "stateDir",
        /// Metrics and health.
        metrics: MetricsFile = "metrics",
        /// Where addresses come from.
        ipam: IpamFile = "ipam",
        /// The speaker.
        bgp: BgpFile = "bgp",
        /// What policies may do to this host.
        policy: PolicyFile = "policy",
        /// How often the kernel is read as a whole.
        audit_interval: String = "auditInterval",
        /// A filter for the log.
        log: String = "log",
    }
}

raw! {
    /// `address:`.
    pub struct AddressFile {
        /// IPv4.
        v4: String = "v4",
        /// IPv6.
        v6: String = "v6",
    }
}

raw! {
    /// `node:`.
    pub struct NodeFile {
        /// Labels it has at least.
        labels: BTreeMap<String, String> = "labels",
        /// Its AS.
        as_number: NumberOrText = "asNumber",
        /// It reflects.
        cluster_id: String = "routeReflectorClusterID",
    }
}

raw! {
    /// `datastore:`.
    pub struct DatastoreFile {
        /// A directory of files.
        file: FileStoreFile = "file",
        /// A cluster.
        kubernetes: KubernetesFile = "kubernetes",
        /// An etcd.
        etcd: EtcdFile = "etcd",
    }
}

raw! {
    /// `datastore.file:`.
    pub struct FileStoreFile {
        /// Which.
        path: String = "path",
    }
}

raw! {
    /// `metrics:`.
    pub struct MetricsFile {
        /// Address and port, or `none`.
        listen: String = "listen",
    }
}

raw! {
    /// `ipam:`.
    pub struct IpamFile {
        /// `pools` or `podCIDRs`.
        blocks: String = "blocks",
    }
}

raw! {
    /// `bgp:`.
    pub struct BgpFile {
        /// Addresses.
        listen: Vec<String> = "listen",
        /// The most equal paths.
        multipath: u64 = "multipath",
        /// How long selection may wait after a restart.
        selection_deferral: String = "selectionDeferral",
        /// Prefixes nobody may announce over.
        protected: Vec<String> = "protected",
    }
}

impl Config {
    /// Reads and checks the file. `host` is the name of a node that is not named in it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path, host: &str) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| ConfigError::Unreadable { path: path.to_owned(), why })?;
        Self::read(path, &text, host)
    }

    fn read(path: &Path, text: &str, host: &str) -> Result<Self, ConfigError> {
        let syntax = |why: String| ConfigError::Syntax { path: path.to_owned(), why };
        let documents = yaml::documents(text);
        if documents.len() > 1 {
            return Err(syntax(format!("{} documents in it, one is allowed", documents.len())));
        }
        let mut report = Report::default();
        let file = match documents.first() {
            None => Some(File::default()),
            Some(document) => {
                let value = document.parse().map_err(|error| {
                    syntax(
                        error.line.map_or_else(|| error.to_string(), |line| format!("line {line}: {error}")),
                    )
                })?;
                File::read(&value, &mut report)
            }
        };
        let config = file.and_then(|file| check(&file, host, &mut report));
        report.finish(config).map_err(|why| ConfigError::Invalid { path: path.to_owned(), why })
    }

    /// The path of a socket or file in the run directory.
    #[must_use]
    pub fn run(&self, name: &str) -> PathBuf {
        self.run_dir.join(name)
    }
}

fn check(file: &File, host: &str, report: &mut Report) -> Option<Config> {
    let address = file.address.clone().unwrap_or_default();
    let [v4, v6] = report.within("address", |r| {
        [wanted("v4", address.v4.as_ref(), false, r), wanted("v6", address.v6.as_ref(), true, r)]
    });
    let bgp = file.bgp.clone().unwrap_or_default();
    let (listen, peering) = report.within("bgp", |r| check_bgp(&bgp, r));
    let metrics = file.metrics.clone().unwrap_or_default();
    let node = node_name(file.node_name.as_ref(), host, report);
    let config = Config {
        node: node.clone().unwrap_or_default(),
        address: Address { v4: v4.unwrap_or_default(), v6: v6.unwrap_or_default() },
        declared: Declared {
            given: check_ipam(file, report),
            ..declared(file.node.clone().unwrap_or_default(), report)
        },
        datastore: datastore(file, report),
        run_dir: directory("runDir", file.run_dir.as_ref(), "/run/corduroy", report),
        state_dir: directory("stateDir", file.state_dir.as_ref(), "/var/lib/corduroy", report),
        metrics: report.within("metrics", |r| check_metrics(metrics.listen.as_ref(), r)),
        listen,
        peering,
        failsafe: report.within("policy", |r| failsafe::check(&file.policy.clone().unwrap_or_default(), r)),
        audit: report
            .seconds("auditInterval", file.audit_interval.as_ref(), 10..=86_400)
            .unwrap_or(Duration::from_secs(120)),
        log: check_log(file.log.as_ref(), report),
    };
    // Everything is checked before the one field that has no default ends it.
    node.map(|_| config)
}

/// A name that a FabricNode may have; the host's name in lower case where there is none.
fn node_name(raw: Option<&String>, host: &str, report: &mut Report) -> Option<String> {
    let name = raw.cloned().unwrap_or_else(|| host.to_lowercase());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() <= 253 && name.starts_with(outer) && name.ends_with(outer) && name.chars().all(inner) {
        return Some(name);
    }
    let allowed = "at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit \
                   (without this field it is the host's name)";
    report.refuse_field("nodeName", quoted(&name), allowed);
    None
}

fn wanted(field: &str, raw: Option<&String>, v6: bool, report: &mut Report) -> Option<Wanted> {
    let example = if v6 { "2001:db8::1 or 2001:db8::1/64" } else { "192.0.2.1 or 192.0.2.1/24" };
    let allowed = format!("auto, none, interface=NAME, or an address of an interface, as in {example}");
    report.parsed(field, raw, &allowed, |text| match text {
        "auto" => Some(Wanted::Auto),
        "none" => Some(Wanted::Nothing),
        _ => match text.strip_prefix("interface=") {
            Some(name) => LinkName::new(name).ok().map(Wanted::Interface),
            None => {
                let (address, len) = text.split_once('/').map_or((text, None), |(a, len)| (a, Some(len)));
                let address: IpAddr = address.parse().ok()?;
                let len: Option<u8> = len.map(str::parse).transpose().ok()?;
                let fits = len.is_none_or(|len| (1..=if v6 { 128 } else { 32 }).contains(&len));
                (is_host(address) && address.is_ipv6() == v6 && fits).then_some(Wanted::Is(address, len))
            }
        },
    })
}

fn declared(node: NodeFile, report: &mut Report) -> Declared {
    report.within("node", |r| Declared {
        labels: node.labels.unwrap_or_default(),
        as_number: r.as_number("asNumber", node.as_number.as_ref()),
        route_reflector_cluster_id: r.parsed(
            "routeReflectorClusterID",
            node.cluster_id.as_ref(),
            "a cluster id as in 244.0.0.1, not 0.0.0.0",
            cluster_id,
        ),
        given: false,
    })
}

fn datastore(file: &File, report: &mut Report) -> Store {
    let DatastoreFile { file, kubernetes, etcd } = file.datastore.clone().unwrap_or_default();
    report.within("datastore", |r| match (file, kubernetes, etcd) {
        (file, Some(kubernetes), None) => {
            if file.is_some() {
                r.refuse_field("kubernetes", quoted("set beside file"), ONE_STORE);
            }
            Store::Kubernetes(r.within("kubernetes", |r| cluster::check(&kubernetes, r)))
        }
        (file, kubernetes, Some(etcd)) => {
            if file.is_some() || kubernetes.is_some() {
                r.refuse_field("etcd", quoted("set beside another"), ONE_STORE);
            }
            Store::Etcd(r.within("etcd", |r| etcd::config::check(&etcd, r)))
        }
        (file, None, None) => {
            let path = file.and_then(|file| file.path);
            Store::File(r.within("file", |r| directory("path", path.as_ref(), "/etc/corduroy/datastore", r)))
        }
    })
}

const ONE_STORE: &str = "one datastore: file, kubernetes or etcd";

fn absolute(field: &str, raw: Option<&String>, report: &mut Report) -> Option<PathBuf> {
    report.parsed(field, raw, "an absolute path", |text| text.starts_with('/').then(|| PathBuf::from(text)))
}

fn directory(field: &str, raw: Option<&String>, default: &str, report: &mut Report) -> PathBuf {
    absolute(field, raw, report).unwrap_or_else(|| PathBuf::from(default))
}

fn check_metrics(raw: Option<&String>, report: &mut Report) -> Option<SocketAddr> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9469));
    let allowed = "an address with a port, as in 127.0.0.1:9469 or [::]:9469, or none";
    let place = report.parsed("listen", raw, allowed, |text| match text {
        "none" => Some(None),
        _ => text.parse().ok().map(Some),
    });
    place.unwrap_or(Some(default))
}

/// Do blocks come from the cluster, which only a node of one has?
fn check_ipam(file: &File, report: &mut Report) -> bool {
    let ipam = file.ipam.clone().unwrap_or_default();
    let words = [("pools", false), ("podCIDRs", true)];
    let given = report.within("ipam", |r| r.choice("blocks", ipam.blocks.as_ref(), &words)).unwrap_or(false);
    let cluster = file.datastore.as_ref().is_some_and(|datastore| datastore.kubernetes.is_some());
    if given && !cluster {
        let allowed = "pools where there is no datastore.kubernetes: a cluster's Node has podCIDRs";
        report.within("ipam", |r| r.refuse_field("blocks", quoted("podCIDRs"), allowed));
    }
    given
}

fn check_bgp(bgp: &BgpFile, report: &mut Report) -> (Vec<IpAddr>, peering::Options) {
    let any = || vec![IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let listen = bgp.listen.as_ref().map_or_else(any, |all| {
        let allowed = "an address of this host, as in 192.0.2.1; 0.0.0.0 and :: for every one";
        report.within("listen", |r| {
            let one = |(i, text): (usize, &String)| match text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    r.within(i, |r| r.refuse(quoted(text), allowed));
                    None
                }
            };
            all.iter().enumerate().filter_map(one).collect()
        })
    });
    let default = peering::Options::default();
    let options = peering::Options {
        multipath: report.ranged("multipath", bgp.multipath, 1..=64).unwrap_or(default.multipath),
        selection_deferral: report
            .seconds("selectionDeferral", bgp.selection_deferral.as_ref(), 1..=4095)
            .unwrap_or(default.selection_deferral),
        protected: protected(bgp.protected.as_deref().unwrap_or_default(), report),
    };
    (listen, options)
}

fn protected(all: &[String], report: &mut Report) -> Vec<IpNetwork> {
    let allowed = "a prefix, as in 10.96.0.0/12";
    report.within("protected", |r| {
        let one = |(i, text): (usize, &String)| {
            let net = prefix(text);
            if net.is_none() {
                r.within(i, |r| r.refuse(quoted(text), allowed));
            }
            net
        };
        all.iter().enumerate().filter_map(one).collect()
    })
}

/// A network without bits behind its length.
fn prefix(text: &str) -> Option<IpNetwork> {
    text.parse::<IpNetwork>().ok().filter(|net| net.ip() == net.network())
}

fn check_log(raw: Option<&String>, report: &mut Report) -> String {
    let allowed = "a filter, as in info, debug or info,corduroy_bgp_net=debug";
    let valid = report.parsed("log", raw, allowed, |text| {
        tracing_subscriber::EnvFilter::try_new(text).ok().map(|_| text.to_owned())
    });
    valid.unwrap_or_else(|| "info".to_owned())
}

#[cfg(test)]
mod tests;
