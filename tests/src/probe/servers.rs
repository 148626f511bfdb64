//! Servers that say who they are, on many ports of many namespaces, and remember who came.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::topology;

/// How long the thread waits before it looks whether it shall stop: 50 ms.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Who came: to which server, at which port of it, from which address; and how often.
type Visits = BTreeMap<(String, u16, IpAddr), u32>;

/// A crowd of servers, served by one thread. To a connection each says its name and ends it; to a datagram it answers
/// its name, a blank, and what it got.
#[derive(Debug)]
pub struct Servers {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Visits>>,
    thread: Option<JoinHandle<()>>,
}

/// What one server listens on.
#[derive(Debug)]
pub struct Listening {
    name: String,
    port: u16,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Listening {
    /// The sockets of the server `name` in the network namespace at `netns`, at each of its addresses: an answer bears
    /// the address that was asked.
    #[track_caller]
    #[must_use]
    pub fn open(name: &str, netns: &Path, addresses: &[IpAddr], [tcp, udp]: [&[u16]; 2]) -> Vec<Self> {
        topology::enter(netns, || {
            let mut sockets = Vec::new();
            for address in addresses {
                for port in tcp {
                    let made = TcpListener::bind((*address, *port))
                        .and_then(|made| made.set_nonblocking(true).map(|()| Socket::Tcp(made)));
                    sockets.push((*address, *port, made));
                }
                for port in udp {
                    let made = UdpSocket::bind((*address, *port))
                        .and_then(|made| made.set_nonblocking(true).map(|()| Socket::Udp(made)));
                    sockets.push((*address, *port, made));
                }
            }
            let ready = |(address, port, made): (IpAddr, u16, std::io::Result<Socket>)| {
                let socket = made.unwrap_or_else(|e| panic!("{name} can't listen at {address}, {port}: {e}"));
                Self { name: name.to_owned(), port, socket }
            };
            sockets.into_iter().map(ready).collect()
        })
    }
}

impl Servers {
    /// Serves until it is dropped.
    #[must_use]
    pub fn serve(all: Vec<Listening>) -> Self {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Visits::new())));
        let thread = std::thread::spawn({
            let (stop, visits) = (Arc::clone(&stop), Arc::clone(&visits));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let fds = |one| PollFd::from_borrowed_fd(Socket::fd(one), PollFlags::IN);
                    let mut fds: Vec<_> = all.iter().map(|one| fds(&one.socket)).collect();
                    // An interrupted call is one that found nothing.
                    let _ = poll(&mut fds, Some(&GLANCE));
                    let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
                    for (one, _) in all.iter().zip(ready).filter(|(_, ready)| *ready) {
                        one.answer(&visits);
                    }
                }
            }
        });
        Self { stop, visits, thread: Some(thread) }
    }

    /// How often the server `name` got something at `port` from `address`.
    #[must_use]
    pub fn visits(&self, name: &str, port: u16, address: IpAddr) -> u32 {
        let visits = self.visits.lock().unwrap_or_else(|e| e.into_inner());
        visits.get(&(name.to_owned(), port, address)).copied().unwrap_or_default()
    }
}

impl Listening {
    /// Everybody who waits.
    fn answer(&self, visits: &Mutex<Visits>) {
        let came = |from: SocketAddr| {
            let mut visits = visits.lock().unwrap_or_else(|e| e.into_inner());
            *visits.entry((self.name.clone(), self.port, from.ip())).or_default() += 1;
        };
        match &self.socket {
            Socket::Tcp(listener) => {
                while let Ok((mut stream, from)) = listener.accept() {
                    came(from);
                    // Who has gone in the meantime misses nothing.
                    let _ = stream.write_all(format!("{}\n", self.name).as_bytes());
                }
            }
            Socket::Udp(socket) => {
                let mut buffer = [0_u8; 512];
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    came(from);
                    let answer = [self.name.as_bytes(), b" ", buffer.get(..len).unwrap_or_default()].concat();
                    let _ = socket.send_to(&answer, from);
                }
            }
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
