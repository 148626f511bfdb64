//! What DEL does when there is no agent.

use std::io::Write;
use std::path::Path;

use corduroy_ipc::cni::{CniFailure, Del, code};
use rustix::io::Errno;

use crate::netlink::{RTM_DELLINK, Rtnetlink, by_name};

/// Deletes an interface by its name; one that is not there is a success. The other end of the pair goes with
/// it, and so do addresses, routes and neighbours.
pub(crate) fn remove_link(name: &str) -> Result<(), CniFailure> {
    match delete(name) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(error) => {
            let failure = CniFailure::new(code::KERNEL, format!("interface {name} can't be deleted"));
            Err(failure.details(error.to_string()))
        }
    }
}

fn delete(name: &str) -> Result<(), Errno> {
    Rtnetlink::open()?.perform(RTM_DELLINK, &by_name(name).ok_or(Errno::NAMETOOLONG)?)
}

/// Leaves a note that the agent reads when it starts, so that the address is freed.
pub(crate) fn spool(run_dir: &str, del: &Del) -> Result<(), CniFailure> {
    let dir = Path::new(run_dir).join("spool");
    let name = del.key.host_interface();
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        let unfinished = dir.join(format!(".{name}.{}", std::process::id()));
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(del).map_err(std::io::Error::other)?)?;
        std::fs::rename(&unfinished, dir.join(format!("{name}.json")))
    };
    write().map_err(|error| {
        let failure =
            CniFailure::new(code::IO, format!("no note for the agent can be left in {}", dir.display()));
        failure.details(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_a_success() {
        assert_eq!(remove_link("cordnotthere000"), Ok(()));
    }
}
