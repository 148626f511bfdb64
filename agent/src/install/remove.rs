//! Everything of ours taken off a node.

use std::fs;
use std::io;
use std::path::Path;

use corduroy_agent_core::reconcile::owned;
use corduroy_kernel::{Lane, Plan};
use corduroy_kernel_linux::Kernel;

use super::{InstallError, LOOPBACK, NETWORK, PLUGIN, Place, failed, is_our_link};
use crate::lock::Lock;
use crate::whole_file::unfinished;

/// What an agent, a reflector and the plugin have in the run directory.
const RUN: [&str; 7] = [
    "cni.sock",
    "status.sock",
    "routereflector.sock",
    "endpoints.journal",
    "endpoints.journal.damaged",
    "spool",
    "routereflector",
];
/// What an agent has in the state directory.
const STATE: [&str; 4] = ["identity", "node.json", "datastore.snapshot", "datastore.damaged"];

/// Takes network, interfaces, routes, rules, plugins and files off the node this process is on: pods that still run
/// lose their network. The switches that make a router of the node stay as they are, since others rely on them. What
/// is done is told line by line.
///
/// # Errors
/// [`InstallError`]; an agent that still runs is one.
pub fn uninstall(place: &Place, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    // An agent would put everything back.
    let lock = Lock::take(&place.run_dir)?;
    let network = place.networks.join(NETWORK);
    remove_whole(&network, say)?;
    clear(say)?;
    let loopback = place.plugins.join(LOOPBACK);
    if is_our_link(&loopback) {
        remove(&loopback, say)?;
    }
    remove(&unfinished(&loopback), say)?;
    let plugin = place.plugins.join(PLUGIN);
    remove_whole(&plugin, say)?;
    for name in RUN {
        remove(&place.run_dir.join(name), say)?;
    }
    for name in STATE {
        remove_whole(&place.state_dir.join(name), say)?;
    }
    remove_directory(&place.state_dir, say)?;
    // The last thing that goes is what keeps an agent from starting.
    remove(&place.run_dir.join("agent.lock"), say)?;
    drop(lock);
    remove_directory(&place.run_dir, say)
}

/// Removes what is ours in the kernel, and looks whether it is gone.
fn clear(say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    let mut kernel = Kernel::open(None)?;
    let ops = owned::removal(&kernel.read()?);
    let count = ops.len();
    let results = kernel.apply(&Plan { lane: Lane::Foundation, ops: ops.clone() });
    let refused: Vec<_> =
        ops.iter().zip(results).filter_map(|(op, result)| result.err().map(|why| (op, why))).collect();
    if let Some((op, why)) = refused.first() {
        return Err(InstallError::Stays { count: refused.len(), first: format!("{op:?}: {why}") });
    }
    // Pods' interfaces are deleted behind our back; this waits for them.
    drop(kernel);
    let left = owned::removal(&Kernel::open(None)?.read()?);
    if let Some(op) = left.first() {
        return Err(InstallError::Stays { count: left.len(), first: format!("{op:?}: it is there again") });
    }
    say(format!("kernel: {count} interfaces, routes and tables of ours removed"));
    Ok(())
}

/// Removes a file and what a run that was cut off has left beside it.
fn remove_whole(path: &Path, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    remove(path, say)?;
    remove(&unfinished(path), say)
}

fn remove(path: &Path, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => say(format!("{} removed", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", path)(error)),
    }
    Ok(())
}

/// Removes a directory unless somebody else has put something there, or it is the root of a mount.
fn remove_directory(path: &Path, say: &mut dyn FnMut(String)) -> Result<(), InstallError> {
    match fs::remove_dir(path) {
        Ok(()) => say(format!("{} removed", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) =>
        {
            say(format!("{} stays: {error}", path.display()));
        }
        Err(error) => return Err(failed("remove", path)(error)),
    }
    Ok(())
}
