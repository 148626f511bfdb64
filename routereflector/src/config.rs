//! The configuration file, read as strictly as a resource: every wrong field is named at once, with what is allowed.
//!
//! ```yaml
//! nodeName: rr-1                                  # the host's name when left out
//! listen: ["0.0.0.0:179", "[::]:179"]
//! statusSocket: /run/corduroy/routereflector.sock
//! metrics: {listen: "127.0.0.1:9181"}             # none when left out
//! runDir: /run/corduroy/routereflector
//! onTermination: Restart                          # or Drain
//! # either its own clients …
//! asNumber: 64512
//! routerID: 192.0.2.9
//! clusterID: 192.0.2.9                            # the routerID when left out
//! clients: [{range: 192.0.2.0/24}]                # see `client`
//! # … or what a datastore says about the FabricNode `nodeName`
//! datastore: {file: {path: /etc/corduroy/resources}}
//! ```

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corduroy_api::raw::{NumberOrText, Raw as _, raw};
use corduroy_api::{Report, Violations, cluster_id, yaml};
use corduroy_fabric::reflector::Reflector;

mod client;
#[cfg(test)]
mod tests;

use client::{ClientSpec, Files};

/// Where `cordctl` comes to, unless the file says otherwise: beside an agent's socket, never in its place.
const STATUS_SOCKET: &str = "/run/corduroy/routereflector.sock";
const RUN_DIR: &str = "/run/corduroy/routereflector";
/// RFC 4724 §4.1 names no default; peers keep our routes for 120 s when they are ours.
const SELECTION_DEFERRAL: Duration = Duration::from_secs(60);

raw! {
    /// The file as it stands in YAML.
    pub struct FileSpec {
        /// Who this is.
        node_name: String = "nodeName",
        /// Where BGP is spoken.
        listen: Vec<String> = "listen",
        /// Where `cordctl` comes to.
        status_socket: String = "statusSocket",
        /// Where Prometheus comes to.
        metrics: MetricsSpec = "metrics",
        /// What must outlive the process and not the boot.
        run_dir: String = "runDir",
        /// How SIGTERM is meant.
        on_termination: String = "onTermination",
        /// How long route selection waits after a restart.
        selection_deferral: String = "selectionDeferral",
        /// Its AS.
        as_number: NumberOrText = "asNumber",
        /// Its BGP identifier.
        router_id: String = "routerID",
        /// Its cluster id.
        cluster_id: String = "clusterID",
        /// Whom it serves.
        clients: Vec<ClientSpec> = "clients",
        /// Instead of clients: where resources lie.
        datastore: DatastoreSpec = "datastore",
    }
}

raw! {
    /// `metrics:`.
    pub struct MetricsSpec {
        /// Where.
        listen: String = "listen",
    }
}

raw! {
    /// `datastore:`.
    pub struct DatastoreSpec {
        /// In a directory.
        file: FileStoreSpec = "file",
    }
}

raw! {
    /// `datastore.file:`.
    pub struct FileStoreSpec {
        /// The directory.
        path: String = "path",
    }
}

/// What a reflector is told, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What does not change while it runs.
    pub process: Process,
    /// Its sessions.
    pub source: Source,
    /// Files that were read for it (the file itself, passwords): a change of one is a change of the settings.
    pub files: Vec<PathBuf>,
}

/// Settings that hold as long as the process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Who this is.
    pub name: String,
    /// Where BGP is spoken; `None` = port 179, or what the datastore says, on every address.
    pub listen: Option<Vec<SocketAddr>>,
    /// Where `cordctl` comes to.
    pub status_socket: PathBuf,
    /// Where Prometheus comes to.
    pub metrics: Option<SocketAddr>,
    /// What must outlive the process and not the boot.
    pub run_dir: PathBuf,
    /// How SIGTERM is meant.
    pub on_termination: Termination,
}

/// How the process ends when it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// It comes back: peers with graceful restart keep the routes.
    Restart,
    /// It does not: routes are withdrawn, sessions end with Cease.
    Drain,
}

/// Where the sessions come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The file.
    Clients(Box<Reflector>),
    /// A directory of resources.
    Datastore {
        /// The directory.
        path: PathBuf,
        /// How long route selection waits for End-of-RIB after a restart.
        selection_deferral: Duration,
    },
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("{path}: can't be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// As the system says.
        why: std::io::Error,
    },
    /// It holds nothing, or more than one document.
    #[error("{path}: {count} YAML documents; it must hold one")]
    Documents {
        /// The file.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// It is not YAML.
    #[error("{path}: {why}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser said.
        why: String,
    },
    /// Fields say what they may not, one a line.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Settings {
    /// Reads the file at `path` and the password files it names.
    ///
    /// # Errors
    /// [`ConfigError`], with everything that is wrong.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|why| ConfigError::Unreadable { path: shown.clone(), why })?;
        let mut settings = Self::read(&text, &shown, &mut |name| {
            let file = path.parent().unwrap_or(Path::new("")).join(name);
            std::fs::read(&file).map(|bytes| (file, bytes))
        })?;
        settings.files.push(path.to_owned());
        Ok(settings)
    }

    /// Judges `text`, which stands in the file `shown`.
    fn read(text: &str, shown: &str, files: Files<'_>) -> Result<Self, ConfigError> {
        let documents = yaml::documents(text);
        let [document] = documents.as_slice() else {
            return Err(ConfigError::Documents { path: shown.to_owned(), count: documents.len() });
        };
        let value = document.parse().map_err(|error| {
            let line = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            ConfigError::Syntax { path: shown.to_owned(), why: format!("{line}{error}") }
        })?;
        let mut report = Report::default();
        let mut read = Vec::new();
        let settings = FileSpec::read(&value, &mut report).and_then(|spec| {
            let source = check_source(&spec, &mut report, files, &mut read);
            let process = check_process(&spec, &mut report);
            Some(Self { process: process?, source: source?, files: read })
        });
        report.finish(settings).map_err(|Violations(all)| {
            let line = |field| document.line_of(field);
            ConfigError::Invalid(
                all.iter().map(|invalid| format!("{shown}:{}: {invalid}", line(&invalid.field))).collect(),
            )
        })
    }
}

fn check_process(spec: &FileSpec, report: &mut Report) -> Option<Process> {
    const PLACE: &str = "an address and a port, as in 0.0.0.0:179 or [::]:179";
    let place = |text: &str| text.parse::<SocketAddr>().ok();
    let listen = spec.listen.as_ref().map(|all| {
        if all.is_empty() {
            report.refuse_field("listen", "[]", "at least one address, or left out");
        }
        report.within("listen", |r| {
            let read = all
                .iter()
                .enumerate()
                .filter_map(|(i, text)| r.within(i, |r| place(text).or_else(|| refused(r, text, PLACE))));
            read.collect::<Vec<_>>()
        })
    });
    let metrics = spec.metrics.as_ref().and_then(|metrics| {
        report.within("metrics", |r| {
            if metrics.listen.is_none() {
                r.missing("listen", PLACE);
            }
            r.parsed("listen", metrics.listen.as_ref(), PLACE, place)
        })
    });
    let path = |report: &mut Report, name: &str, raw: Option<&String>, default: &str| {
        let absolute = |text: &str| Path::new(text).is_absolute().then(|| PathBuf::from(text));
        match raw {
            None => Some(PathBuf::from(default)),
            Some(_) => report.parsed(name, raw, "an absolute path", absolute),
        }
    };
    let words = [("Restart", Termination::Restart), ("Drain", Termination::Drain)];
    let status_socket = path(report, "statusSocket", spec.status_socket.as_ref(), STATUS_SOCKET);
    let run_dir = path(report, "runDir", spec.run_dir.as_ref(), RUN_DIR);
    let on_termination = report.choice("onTermination", spec.on_termination.as_ref(), &words);
    Some(Process {
        name: spec.node_name.clone().unwrap_or_else(host_name),
        listen,
        status_socket: status_socket?,
        metrics,
        run_dir: run_dir?,
        on_termination: on_termination?,
    })
}

fn refused<T>(report: &mut Report, text: &str, allowed: &str) -> Option<T> {
    report.refuse(corduroy_api::quoted(text), allowed);
    None
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn check_source(
    spec: &FileSpec,
    report: &mut Report,
    files: Files<'_>,
    read: &mut Vec<PathBuf>,
) -> Option<Source> {
    let deferral = report.seconds("selectionDeferral", spec.selection_deferral.as_ref(), 0..=3600);
    let selection_deferral = deferral.unwrap_or(SELECTION_DEFERRAL);
    let Some(datastore) = &spec.datastore else {
        let reflector = check_clients(spec, report, files, read)?;
        return Some(Source::Clients(Box::new(Reflector { selection_deferral, ..reflector })));
    };
    for (name, set) in [
        ("asNumber", spec.as_number.is_some()),
        ("routerID", spec.router_id.is_some()),
        ("clusterID", spec.cluster_id.is_some()),
        ("clients", spec.clients.is_some()),
    ] {
        if set {
            let allowed = "left out when there is a datastore: its FabricNode and BGPPeers say so";
            report.refuse_field(name, "a value", allowed);
        }
    }
    let path = report.within("datastore", |r| {
        if datastore.file.is_none() {
            r.missing("file", "path: a directory of resources");
        }
        let file = datastore.file.as_ref()?;
        r.within("file", |r| {
            if file.path.is_none() {
                r.missing("path", "a directory of resources");
            }
            file.path.as_ref()
        })
    })?;
    Some(Source::Datastore { path: PathBuf::from(path), selection_deferral })
}

fn check_clients(
    spec: &FileSpec,
    report: &mut Report,
    files: Files<'_>,
    read: &mut Vec<PathBuf>,
) -> Option<Reflector> {
    if spec.as_number.is_none() {
        report.missing("asNumber", "the AS of the reflector and its clients (or a datastore)");
    }
    const ID: &str = "four numbers from 0 to 255 with dots, as in 192.0.2.9, and not 0.0.0.0";
    if spec.router_id.is_none() {
        report.missing("routerID", ID);
    }
    if spec.clients.as_ref().is_none_or(Vec::is_empty) {
        report.missing("clients", "at least one, with an address or a range");
    }
    let as_number = report.as_number("asNumber", spec.as_number.as_ref());
    let id = |report: &mut Report, name: &str, raw: Option<&String>| -> Option<Ipv4Addr> {
        report.parsed(name, raw, ID, cluster_id)
    };
    let router_id = id(report, "routerID", spec.router_id.as_ref());
    let own_cluster = id(report, "clusterID", spec.cluster_id.as_ref());
    let specs = spec.clients.as_deref().unwrap_or_default();
    let mut passwords = BTreeSet::new();
    let neighbours = report.within("clients", |r| {
        let mut out = Vec::new();
        for (i, client) in specs.iter().enumerate() {
            out.push(r.within(i, |r| client::check(client, as_number, &mut passwords, files, r)));
        }
        let all: Option<Vec<_>> = out.into_iter().collect();
        client::check_together(all.as_deref().unwrap_or_default(), r);
        all
    });
    read.extend(passwords);
    Some(Reflector {
        as_number: as_number?,
        router_id: router_id?,
        cluster_id: own_cluster.or(router_id)?,
        selection_deferral: SELECTION_DEFERRAL,
        neighbours: neighbours?,
    })
}
