//! How sockets of a speaker are made. Every one is non-blocking and closed on exec.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use corduroy_bgp::Net;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::io::Connect;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::sockopt;

/// Connections that wait for `accept`; the kernel bounds it by net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// The interface of a link-local address, 0 for any other.
pub(crate) fn scope(addr: &SocketAddr) -> u32 {
    match addr {
        SocketAddr::V6(a) if a.ip().is_unicast_link_local() => a.scope_id(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
    }
}

/// `addr` with a port, and with the scope when it is link-local.
pub(crate) fn socket_addr(addr: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match addr {
        IpAddr::V6(a) if a.is_unicast_link_local() => SocketAddrV6::new(a, port, 0, scope).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(addr, port),
    }
}

fn tcp(addr: &SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(*addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
}

/// A socket that listens on `addr`; one for IPv6 takes no IPv4 connections, so that both can have the same port.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(&addr)?;
    socket.set_reuse_address(true)?;
    // The SYN-ACK goes out before anybody knows whose connection this is. A peer with TTL security drops it unless
    // it says 255; accepted sockets get their own rule from the speaker.
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(255)?;
    } else {
        socket.set_ttl_v4(255)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A socket on its way to a peer: it becomes writable when the connection is made or has failed.
pub(crate) fn connect(to: &Connect) -> io::Result<Socket> {
    let PeerKey { address, scope } = to.peer;
    let remote = socket_addr(address, to.port, scope);
    let socket = tcp(&remote)?;
    socket.set_tcp_nodelay(true)?;
    sockopt::set_ttl(&socket, address, to.ttl)?;
    if let Some(password) = &to.password {
        let host = Net::new(address, if address.is_ipv4() { 32 } else { 128 })
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        sockopt::set_md5_key(&socket, host, scope, password.expose())?;
    }
    if let Some(local) = to.local {
        socket.bind(&socket_addr(local, 0, scope).into())?;
    }
    match socket.connect(&SockAddr::from(remote)) {
        Ok(()) => Ok(socket),
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// The next connection that waits at `listener`, with both its ends.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SocketAddr, SocketAddr)> {
    let (socket, remote) = listener.accept()?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let local = local_addr(&socket)?;
    let remote = remote.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((socket, remote, local))
}

/// Our end of a connection.
pub(crate) fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
}
