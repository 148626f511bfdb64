//! The TCP options that no safe crate wraps: MD5 keys (RFC 2385) and the least TTL a packet may come with (RFC 5082).
//!
//! `unsafe` is for `setsockopt` with a structure of the kernel's making (`TCP_MD5SIG_EXT`) and with two options that
//! socket2 does not know (`IP_MINTTL`, `IPV6_MINHOPCOUNT`).
#![allow(unsafe_code, reason = "no safe crate wraps these options")]

use std::io;
use std::mem::{self, size_of};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use corduroy_bgp::Net;
use corduroy_bgp::config::Ttl;
use socket2::{SockAddr, Socket};

/// `struct tcp_md5sig` of `linux/tcp.h`. The libc crate lacks it.
#[repr(C)]
struct Md5Sig {
    addr: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: libc::c_int,
    key: [u8; KEY_MAX],
}

/// TCP_MD5SIG_MAXKEYLEN.
const KEY_MAX: usize = 80;
const _: () = assert!(size_of::<Md5Sig>() == 216, "tcp_md5sig is 216 bytes in every Linux ABI");

/// TCP_MD5SIG_FLAG_PREFIX: `prefix_len` counts (Linux 4.13).
const FLAG_PREFIX: u8 = 1;
/// TCP_MD5SIG_FLAG_IFINDEX: `ifindex` counts (Linux 5.6).
const FLAG_IFINDEX: u8 = 2;

/// Segments from and to addresses in `net` must carry a signature made with `key`; an empty key removes the demand.
/// `scope` is the interface of a link-local address, else 0. The longest prefix that matches an address wins.
///
/// # Errors
/// Whatever the kernel says: `ENOENT` for the removal of a key that is not there, `EINVAL` for a family the socket
/// is not of, `ENOPROTOOPT` when it was built without `CONFIG_TCP_MD5SIG`.
pub(crate) fn set_md5_key(socket: &Socket, net: Net, scope: u32, key: &[u8]) -> io::Result<()> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "an MD5 key has at most 80 bytes");
    let mut padded = [0; KEY_MAX];
    padded.get_mut(..key.len()).ok_or_else(too_long)?.copy_from_slice(key);
    // A scope in the address itself is ignored by the kernel: the interface goes into `ifindex`.
    let addr = SockAddr::from(SocketAddr::new(net.addr(), 0));
    let option = Md5Sig {
        addr: storage(&addr),
        flags: FLAG_PREFIX | if scope == 0 { 0 } else { FLAG_IFINDEX },
        prefix_len: net.prefix_len(),
        key_len: u16::try_from(key.len()).map_err(|_| too_long())?,
        ifindex: libc::c_int::try_from(scope).unwrap_or(0),
        key: padded,
    };
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG_EXT, &option)
}

fn storage(addr: &SockAddr) -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain bytes and integers, for which all zeroes is a value.
    let mut out: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let len = (addr.len() as usize).min(size_of::<libc::sockaddr_storage>());
    // SAFETY: `as_ptr` points to at least `addr.len()` initialised bytes, `out` has room for `len` of them, and a
    // local variable does not overlap what `addr` owns.
    unsafe {
        std::ptr::copy_nonoverlapping(addr.as_ptr().cast::<u8>(), (&raw mut out).cast::<u8>(), len);
    }
    out
}

/// Send and demand the TTL (IPv6: hop limit) that `ttl` says. The demand holds for every segment from now on.
///
/// # Errors
/// Whatever the kernel says.
pub(crate) fn set_ttl(socket: &Socket, local: IpAddr, ttl: Ttl) -> io::Result<()> {
    let (send, least): (u32, libc::c_int) = match ttl {
        Ttl::Send(ttl) => (u32::from(ttl.max(1)), 0),
        Ttl::Security { hops } => (255, 256 - libc::c_int::from(hops.clamp(1, 254))),
    };
    match local {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(send)?;
            set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(send)?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &least)
        }
    }
}

fn set<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads `len` bytes of `value`,
    // which is a `T` of just that size and outlives the call.
    let rc =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
