//! A server that says whom it saw, and the client that asks it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Namespace;

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a question travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A connection, the answer, the end.
    Tcp,
    /// One datagram each way.
    Udp,
}

/// Answers on a port of a namespace, TCP and UDP, IPv4 and IPv6, with the address and port it saw the client under.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    /// Starts to serve.
    #[track_caller]
    #[must_use]
    pub fn serve(namespace: &Namespace, port: u16) -> Self {
        let any: SocketAddr = (IpAddr::from([0_u16; 8]), port).into();
        let sockets =
            namespace.enter(|| Ok::<_, std::io::Error>((TcpListener::bind(any)?, UdpSocket::bind(any)?)));
        let (tcp, udp) =
            sockets.unwrap_or_else(|e| panic!("echo on port {port} in {}: {e}", namespace.label()));
        let stop = Arc::new(AtomicBool::new(false));
        // Both loops wake up to look whether they shall stop.
        let ready =
            tcp.set_nonblocking(true).and_then(|()| udp.set_read_timeout(Some(Duration::from_millis(50))));
        ready.unwrap_or_else(|e| panic!("echo on port {port}: {e}"));
        let threads = vec![
            std::thread::spawn({
                let stop = Arc::clone(&stop);
                move || serve_tcp(&tcp, &stop)
            }),
            std::thread::spawn({
                let stop = Arc::clone(&stop);
                move || serve_udp(&udp, &stop)
            }),
        ];
        Self { stop, threads }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((mut stream, peer)) => {
                let _ = stream.write_all(plain(peer).to_string().as_bytes());
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0_u8; 64];
    while !stop.load(Ordering::SeqCst) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(plain(peer).to_string().as_bytes(), peer);
        }
    }
}

/// An IPv4 client of a socket for both families, in IPv4's own form.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Asks the [`Echo`] at `target` from inside `namespace` under which source address it is seen.
///
/// # Errors
/// No answer within 20 s, or a refusal.
pub fn seen_over(protocol: Protocol, namespace: &Namespace, target: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = target.parse().map_err(|e| format!("target {target}: {e}"))?;
    let answer = namespace.enter(|| match protocol {
        Protocol::Tcp => ask_tcp(address),
        Protocol::Udp => ask_udp(address),
    });
    let answer = answer.map_err(|e| format!("{protocol:?} from {} to {target}: {e}", namespace.label()))?;
    answer.parse().map_err(|e| format!("{target} answered {answer:?}: {e}"))
}

fn ask_tcp(target: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask_udp(target: SocketAddr) -> std::io::Result<String> {
    let any = if target.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"?")?;
    let mut buffer = [0_u8; 64];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned())
}
