//! The binary `corduroy-agent`: settles what has to be settled before the start, then runs the loop.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use corduroy_agent::cluster::{AnotherNode, Cluster};
use corduroy_agent::config::{self, Config, Store};
use corduroy_agent::install::{Place, install, uninstall};
use corduroy_agent::journal::{self, JournalFile};
use corduroy_agent::lock::Lock;
use corduroy_agent::run::{Beginning, RunError, run};
use corduroy_agent::signals::Signals;
use corduroy_agent::{feed, identity};
use corduroy_agent_core::endpoints::{Endpoints, Settings};
use corduroy_agent_core::ipam::Owner;
use corduroy_datastore_etcd::Etcd;
use tracing_subscriber::EnvFilter;

/// The agent of a Corduroy node: wires pods, writes routes and rules into the kernel, speaks BGP.
///
/// SIGTERM and SIGINT end it for a restart: everything in the kernel stays and peers keep their routes (graceful
/// restart). SIGUSR1 ends it for good: its routes are withdrawn from all peers first.
#[derive(Debug, Parser)]
#[command(name = "corduroy-agent", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::PATH)]
    config: PathBuf,
    /// Only say whether the configuration is in order.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

/// What is done instead of running.
#[derive(Debug, Subcommand)]
enum Task {
    /// Puts the CNI plugin, and behind it the network that names it, on this node.
    Install {
        #[command(flatten)]
        place: Place,
        /// The directory with the plugin; that of this program by default.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Takes network, interfaces, routes, rules, plugin and files off this node. No agent may run.
    Uninstall {
        #[command(flatten)]
        place: Place,
        /// Then wait for SIGTERM: in a DaemonSet, whose pods must not end.
        #[arg(long)]
        wait: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.task {
        None => start(&arguments),
        Some(task) => perform(task),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corduroy-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    // In a pod the host's name may be another; there the manifest passes the node's.
    let host = std::env::var("NODE_NAME")
        .unwrap_or_else(|_| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let config = Config::load(&arguments.config, &host)?;
    if arguments.check {
        println!("{}: in order, this node is {}", arguments.config.display(), config.node);
        return Ok(());
    }
    // What goes wrong with the API server we say ourselves, once and in words.
    let quiet = if config.log.contains("kube_client") { "" } else { ",kube_client=off" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", config.log)).context("log")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let _lock = Lock::take(&config.run_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (uid, place, cluster) = runtime.block_on(identify(&config))?;
    tracing::info!("corduroy-agent {} on node {}, uid {uid}", env!("CARGO_PKG_VERSION"), config.node);
    let (endpoints, journal) = endpoints(&config, &uid)?;
    let seed = u64::from_le_bytes(identity::random().context("/dev/urandom")?);
    let beginning = Beginning { config, uid, place, cluster, endpoints, journal, seed };
    let result = runtime.block_on(run(beginning));
    // A task that writes to a datastore that hangs must not keep the process.
    runtime.shutdown_background();
    match result {
        Err(RunError::Another(why)) => Err(again(&why)),
        result => Ok(result?),
    }
}

/// Who this node is, and where resources are.
async fn identify(config: &Config) -> Result<(String, feed::Place, Option<Cluster>)> {
    match &config.datastore {
        Store::File(dir) => {
            Ok((identity::identity(&config.state_dir)?, feed::Place::Directory(dir.clone()), None))
        }
        Store::Etcd(access) => {
            let etcd = Etcd::connect(access).await.context("datastore.etcd")?;
            Ok((identity::identity(&config.state_dir)?, feed::Place::Etcd(etcd), None))
        }
        Store::Kubernetes(store) => {
            let cluster = Cluster::join(store, &config.node, &config.state_dir).await;
            let cluster = cluster.context("datastore.kubernetes")?;
            Ok((cluster.uid().to_owned(), cluster.datastore(), Some(cluster)))
        }
    }
}

/// Starts this program anew in its place, as in any planned restart: what is in the kernel stays. Returns when that
/// can't be done.
fn again(why: &AnotherNode) -> anyhow::Error {
    tracing::warn!("{why}");
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    anyhow::Error::new(Command::new(program).args(arguments).exec()).context(why.to_string())
}

fn perform(task: &Task) -> Result<()> {
    let mut say = |line: String| println!("{line}");
    match task {
        Task::Install { place, from } => Ok(install(place, from.as_deref(), &mut say)?),
        Task::Uninstall { place, wait } => {
            uninstall(place, &mut say)?;
            if *wait {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async { anyhow::Ok(Signals::new()?.next().await) })?;
            }
            Ok(())
        }
    }
}

/// The pods, as a former run of this boot left them.
fn endpoints(config: &Config, uid: &str) -> Result<(Endpoints, JournalFile)> {
    let boot = journal::boot_id().context("boot id")?;
    let (journal, content) = JournalFile::open(&config.run_dir)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first_epoch = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let owner = Owner { node: config.node.clone(), uid: uid.to_owned(), first_epoch };
    let (endpoints, problems) = Endpoints::new(owner, Settings::default(), &content, &boot);
    for problem in &problems {
        tracing::warn!("{problem}");
    }
    if !problems.is_empty() {
        match journal.set_aside() {
            Ok(aside) => tracing::warn!("the journal is kept as {}", aside.display()),
            Err(error) => tracing::warn!("the journal can't be kept aside: {error}"),
        }
    }
    Ok((endpoints, journal))
}
