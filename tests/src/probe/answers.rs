//! A flow of datagrams in which only answers go.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{eventually, topology};

/// Between one number and the next.
const PACE: Duration = Duration::from_millis(10);
/// How long a thread waits before it looks whether it shall stop.
const GLANCE: Duration = Duration::from_millis(50);
/// How long the one question may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who has asked once, and is sent numbers from then on, as by one who sends a film.
#[derive(Debug)]
pub struct Answers {
    title: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU32,
    came: AtomicU32,
}

impl Answers {
    /// From the network namespace at `from` one datagram goes to `target`, an address of the one at `to`, and from
    /// there the numbers.
    #[track_caller]
    #[must_use]
    pub fn open(from: &Path, to: &Path, target: SocketAddr) -> Self {
        let title = format!("answers from {target}");
        let opened = open(from, to, target).unwrap_or_else(|e| panic!("{title}: {e}"));
        let (client, server) = opened;
        let shared = Arc::new(Shared::default());
        let sending = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(&server, &shared)
        });
        let receiving = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || receive(&client, &shared)
        });
        Self { title, shared, threads: vec![sending, receiving] }
    }

    /// The last number that came.
    #[must_use]
    pub fn came(&self) -> u32 {
        self.shared.came.load(Ordering::SeqCst)
    }

    /// Waits until a number has come that was sent after this call.
    #[track_caller]
    pub fn marker(&self, deadline: Duration) {
        let from = self.shared.sent.load(Ordering::SeqCst);
        eventually(deadline, || match self.came() {
            came if came > from => Ok(()),
            came => Err(format!("{}: {came} came, {from} was sent", self.title)),
        });
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Both ends, the server's connected to who has asked.
fn open(from: &Path, to: &Path, target: SocketAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let any = if target.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    let server = topology::enter(to, || UdpSocket::bind(target))?;
    let client = topology::enter(from, || {
        let client = UdpSocket::bind((any, 0))?;
        client.connect(target)?;
        Ok::<_, io::Error>(client)
    })?;
    client.send(b"begin")?;
    server.set_read_timeout(Some(PATIENCE))?;
    let (_, who) = server.recv_from(&mut [0; 16])?;
    server.connect(who)?;
    client.set_read_timeout(Some(GLANCE))?;
    Ok((client, server))
}

fn send(server: &UdpSocket, shared: &Shared) {
    for number in 1_u32.. {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // What can't be sent is missed by who waits for it.
        let _ = server.send(&number.to_be_bytes());
        shared.sent.store(number, Ordering::SeqCst);
        std::thread::park_timeout(PACE);
    }
}

fn receive(client: &UdpSocket, shared: &Shared) {
    let mut octets = [0; 4];
    while !shared.stop.load(Ordering::SeqCst) {
        if client.recv(&mut octets).is_ok_and(|len| len == octets.len()) {
            shared.came.fetch_max(u32::from_be_bytes(octets), Ordering::SeqCst);
        }
    }
}
