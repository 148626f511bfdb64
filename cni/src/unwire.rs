//! What DEL does when there is no agent.

use std::io::Write;
use std::path::Path;

use corduroy_ipc::cni::{CniFailure, Del, code};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// Numbers of linux/rtnetlink.h, linux/netlink.h and linux/if_link.h.
const RTM_DELLINK: u16 = 17;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;

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
    // NETLINK_ROUTE is protocol 0.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let request = request(name).ok_or(Errno::NAMETOOLONG)?;
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 1024];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    acknowledgement(answer.get(..length).unwrap_or_default())
}

/// RTM_DELLINK of an interface by name: nlmsghdr, ifinfomsg of zeros, IFLA_IFNAME.
fn request(name: &str) -> Option<Vec<u8>> {
    let attribute = 4 + name.len() + 1;
    let length = u32::try_from(16 + 16 + attribute.next_multiple_of(4)).ok()?;
    let mut out = Vec::new();
    out.extend(length.to_ne_bytes());
    out.extend(RTM_DELLINK.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    out.extend([0; 8 + 16]);
    out.extend(u16::try_from(attribute).ok()?.to_ne_bytes());
    out.extend(IFLA_IFNAME.to_ne_bytes());
    out.extend(name.as_bytes());
    out.resize(length as usize, 0);
    Some(out)
}

/// NLMSG_ERROR: nlmsghdr, then the errno as a negative number, 0 for an acknowledgement.
fn acknowledgement(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(error.saturating_neg())),
        _ => Err(Errno::BADMSG),
    }
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
    fn the_request_is_what_ip_link_del_sends() {
        let request = request("cord0123456789a").unwrap();
        assert_eq!(request.len(), 16 + 16 + 20);
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()), 52);
        assert_eq!(&request[36..51], b"cord0123456789a");
        assert_eq!(request[51], 0);
    }

    #[test]
    fn an_interface_that_is_not_there_is_a_success() {
        assert_eq!(remove_link("cordnotthere000"), Ok(()));
    }

    #[test]
    fn an_answer_that_is_cut_is_no_acknowledgement() {
        assert_eq!(acknowledgement(&[0; 10]), Err(Errno::BADMSG));
    }
}
