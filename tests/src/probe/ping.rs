//! A steady ping, or a steady flow of datagrams, with a log.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::icmp::Echoes;
use crate::{Namespace, eventually, topology};

/// Sends an echo request every interval from a namespace to an address until it is stopped; or a datagram to one of the
/// [`super::Servers`], from one port of its own all the time.
#[derive(Debug)]
pub struct Ping {
    title: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU32,
    /// Which sequence numbers were answered, by index.
    answered: Mutex<Vec<bool>>,
    /// Sends that the kernel refused (no route, for instance), with the last reason.
    refused: Mutex<Option<(u32, String)>>,
}

/// What became of the packets of a [`Ping`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many were sent before the marker.
    pub sent: u32,
    /// Sequence numbers that never came back.
    pub lost: Vec<u32>,
    /// How many the kernel refused to send, with the last reason.
    pub refused: Option<(u32, String)>,
}

impl Ping {
    /// Starts pinging `target` from inside `namespace`, one packet each `interval`.
    #[track_caller]
    #[must_use]
    pub fn start(namespace: &Namespace, target: &str, interval: Duration) -> Self {
        Self::start_in(&namespace.path(), namespace.label(), target, interval)
    }

    /// Starts pinging `target` from inside the network namespace at `path`, which is called `label`.
    #[track_caller]
    #[must_use]
    pub fn start_in(path: &Path, label: &str, target: &str, interval: Duration) -> Self {
        static ID: AtomicU16 = AtomicU16::new(1);
        let address: IpAddr = target.parse().unwrap_or_else(|e| panic!("ping {target}: {e}"));
        let id = ID.fetch_add(1, Ordering::Relaxed);
        let title = format!("ping {target} from {label}");
        let socket = topology::enter(path, || Echoes::open(address, id));
        let socket = socket.unwrap_or_else(|e| panic!("{title}: {e}"));
        Self::run(title, Socket::Icmp(socket), interval)
    }

    /// Starts sending datagrams to `target` from inside the network namespace at `path`, which is called `label`.
    #[track_caller]
    #[must_use]
    pub fn datagrams(path: &Path, label: &str, target: SocketAddr, interval: Duration) -> Self {
        let title = format!("datagrams to {target} from {label}");
        let any = if target.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
        let socket = topology::enter(path, || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(target).map(|()| socket)
        });
        let socket = socket.unwrap_or_else(|e| panic!("{title}: {e}"));
        Self::run(title, Socket::Udp(socket), interval)
    }

    fn run(title: String, socket: Socket, interval: Duration) -> Self {
        let socket = Arc::new(socket);
        let shared = Arc::new(Shared::default());
        let receiver = std::thread::spawn({
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            move || receive(&socket, &shared)
        });
        let sender = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(&socket, &shared, interval)
        });
        Self { title, shared, threads: vec![sender, receiver] }
    }

    /// The sequence number of the latest packet.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// The latest packet that was answered.
    #[must_use]
    pub fn answered(&self) -> Option<u32> {
        let answered = self.shared.answered.lock().unwrap_or_else(|e| e.into_inner());
        answered.iter().rposition(|came| *came).and_then(|sequence| u32::try_from(sequence).ok())
    }

    /// Waits until the path works *now*: a packet sent after this call has come back.
    #[track_caller]
    pub fn marker(&self, deadline: Duration) -> u32 {
        let from = self.sent();
        eventually(deadline, || {
            let answered = self.shared.answered.lock().map_err(|e| e.to_string())?;
            let later = answered.iter().enumerate().skip(from as usize + 1).find(|(_, came)| **came);
            let later = later.and_then(|(sequence, _)| u32::try_from(sequence).ok());
            later.ok_or_else(|| format!("{}: nothing sent after number {from} has come back", self.title))
        })
    }

    /// Stops, after one more marker so that nothing is still under way, and says what was lost before it.
    #[track_caller]
    #[must_use]
    pub fn stop(self, deadline: Duration) -> Report {
        self.report(deadline)
    }

    /// What was lost since the start, up to a marker that is waited for.
    #[track_caller]
    #[must_use]
    pub fn report(&self, deadline: Duration) -> Report {
        let end = self.marker(deadline);
        let answered = self.shared.answered.lock().map(|log| log.clone()).unwrap_or_default();
        let lost = answered.iter().take(end as usize).enumerate().filter(|(_, came)| !**came);
        let lost = lost.filter_map(|(sequence, _)| u32::try_from(sequence).ok()).collect();
        let refused = self.shared.refused.lock().map(|refused| refused.clone()).unwrap_or_default();
        Report { sent: end, lost, refused }
    }
}

impl Report {
    /// Fails the test when a packet was lost.
    #[track_caller]
    pub fn expect_no_loss(&self, what: &str) {
        let Self { sent, lost, refused } = self;
        assert!(
            lost.is_empty(),
            "{what}: {} of {sent} packets lost: {lost:?}, refused: {refused:?}",
            lost.len()
        );
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What numbers go out and come back by.
enum Socket {
    Icmp(Echoes),
    Udp(UdpSocket),
}

impl Socket {
    fn wait_at_most(&self, time: Duration) -> std::io::Result<()> {
        match self {
            Self::Icmp(echoes) => echoes.wait_at_most(time),
            Self::Udp(socket) => socket.set_read_timeout(Some(time)),
        }
    }

    fn send(&self, sequence: u32) -> std::io::Result<()> {
        match self {
            Self::Icmp(echoes) => echoes.send(sequence),
            Self::Udp(socket) => socket.send(&sequence.to_be_bytes()).map(drop),
        }
    }

    /// The number of the next answer, `None` when nothing or something else came.
    fn receive(&self) -> Option<u32> {
        match self {
            Self::Icmp(echoes) => echoes.receive(),
            Self::Udp(socket) => {
                let mut buffer = [0_u8; 128];
                let len = socket.recv(&mut buffer).ok()?;
                // The server's name stands before it.
                buffer.get(..len)?.last_chunk().copied().map(u32::from_be_bytes)
            }
        }
    }
}

fn send(socket: &Socket, shared: &Shared, interval: Duration) {
    let mut next = Instant::now();
    for sequence in 0.. {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(mut answered) = shared.answered.lock() {
            answered.push(false);
        }
        if let Err(e) = socket.send(sequence)
            && let Ok(mut refused) = shared.refused.lock()
        {
            let count = refused.take().map_or(0, |(count, _)| count);
            *refused = Some((count + 1, e.to_string()));
        }
        shared.sent.store(sequence, Ordering::SeqCst);
        // The pace is counted from the start, so that a late wake-up does not slow the rest down.
        next += interval;
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &Socket, shared: &Shared) {
    // So that `stop` is looked at when nothing comes.
    let _ = socket.wait_at_most(Duration::from_millis(50));
    while !shared.stop.load(Ordering::SeqCst) {
        if let Some(sequence) = socket.receive()
            && let Ok(mut answered) = shared.answered.lock()
            && let Some(slot) = answered.get_mut(sequence as usize)
        {
            *slot = true;
        }
    }
}
