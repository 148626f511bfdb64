//! The CNI plugin on a node: put there, and everything of ours taken away again.
//!
//! ```text
//! install:    plugins ─► /opt/cni/bin, then the network ─► /etc/cni/net.d     what is named first is there first
//! uninstall:  network, then interfaces, routes, rules, then the plugins, run and state directory
//! ```
//! A runtime such as containerd 1.x starts no pod without a plugin `loopback`. Where the node has none it becomes a
//! link to ours, which knows by which name it is called. One that is no such link is somebody else's, and stays.
//!
//! A runtime takes a network into use the moment its file is there, so that file comes last and goes first. Each file
//! is written beside its place, synced, and renamed: nobody ever sees half of one, and a plugin that is being run can
//! be replaced. A file that says the same already is left alone: a runtime reads the directory anew on every change.
//!
//! Both can be run again at any time, also after one that was cut off.

mod network;
mod remove;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::lock::LockError;
use crate::whole_file::{self, NotWritten};
pub use remove::uninstall;

/// The name of the plugin's file.
const PLUGIN: &str = "corduroy";
/// The plugin that sets up a container's `lo`.
const LOOPBACK: &str = "loopback";
/// The name of the network's file. Runtimes take the first by name.
const NETWORK: &str = "10-corduroy.conflist";

/// Where things are on a node.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The directory of CNI plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub plugins: PathBuf,
    /// The directory of CNI network configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub networks: PathBuf,
    /// The agent's runDir.
    #[arg(long, value_name = "DIR", default_value = "/run/corduroy")]
    pub run_dir: PathBuf,
    /// The agent's stateDir.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/corduroy")]
    pub state_dir: PathBuf,
}

/// Why it is not done. What was done before stays; run it again once the reason is gone.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file or directory.
    #[error("{doing} {path}: {why}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// As the system says.
        why: io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    NotWritten(#[from] NotWritten),
    /// An agent runs, or that can't be told.
    #[error(transparent)]
    Agent(#[from] LockError),
    /// The kernel could not be asked.
    #[error("kernel: {0}")]
    Kernel(#[from] corduroy_kernel_linux::KernelError),
    /// The kernel keeps something.
    #[error("kernel: {count} things of ours could not be removed, the first of them: {first}")]
    Stays {
        /// How many.
        count: usize,
        /// What and why.
        first: String,
    },
}

/// Puts plugins and network on the node. `from` is the directory with the plugin, without it that of this program. What
/// is done is told line by line.
///
/// # Errors
/// [`InstallError::File`], [`InstallError::NotWritten`].
pub fn install(place: &Place, from: Option<&Path>, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    let source = match from {
        Some(dir) => dir.join(PLUGIN),
        None => beside()?.join(PLUGIN),
    };
    let plugin = fs::read(&source).map_err(failed("read", &source))?;
    fs::create_dir_all(&place.plugins).map_err(failed("make", &place.plugins))?;
    fs::create_dir_all(&place.networks).map_err(failed("make", &place.networks))?;
    put(&place.plugins.join(PLUGIN), &plugin, 0o755, say)?;
    link(&place.plugins.join(LOOPBACK), say)?;
    let network = network::network(&place.plugins, &place.run_dir);
    put(&place.networks.join(NETWORK), network.as_bytes(), 0o644, say)?;
    for name in network::before(&place.networks, NETWORK) {
        let path = place.networks.join(name);
        say(format!(
            "{} comes before ours: the runtime uses that network until you remove it",
            path.display()
        ));
    }
    Ok(())
}

fn beside() -> Result<PathBuf, InstallError> {
    let this = Path::new("/proc/self/exe");
    let mut path = fs::read_link(this).map_err(failed("read", this))?;
    path.pop();
    Ok(path)
}

/// Has `path` be a file with this content and mode, at once or not at all.
fn put(path: &Path, content: &[u8], mode: u32, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    if is_so(path, content, mode) {
        say(format!("{} is there", path.display()));
        return Ok(());
    }
    whole_file::put(path, content, mode)?;
    say(format!("{} written", path.display()));
    Ok(())
}

/// Has `path` be a link to our plugin beside it, unless there is something that can be run.
fn link(path: &Path, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    if fs::metadata(path).is_ok() {
        say(format!("{} is there", path.display()));
        return Ok(());
    }
    let beside = whole_file::unfinished(path);
    let linked = match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(PLUGIN, &beside),
    };
    linked.map_err(failed("make", &beside))?;
    fs::rename(&beside, path).map_err(failed("write", path))?;
    whole_file::sync_directory(path).map_err(failed("sync the directory of", path))?;
    say(format!("{} links to {PLUGIN}", path.display()));
    Ok(())
}

/// Whether `path` is a link that [`link`] has made.
fn is_our_link(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new(PLUGIN))
}

fn is_so(path: &Path, content: &[u8], mode: u32) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    metadata.is_file()
        && metadata.permissions().mode() & 0o7777 == mode
        && fs::read(path).is_ok_and(|there| there == content)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    move |why| InstallError::File { doing, path: path.to_owned(), why }
}

#[cfg(test)]
mod tests;
