//! A TCP connection that stays open, with something under way all the time.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{eventually, topology};

/// Between one number and the next.
const PACE: Duration = Duration::from_millis(10);
/// How long a thread waits before it looks whether it shall stop.
const GLANCE: Duration = Duration::from_millis(50);

/// One connection, over which a client sends numbers that the server sends back.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    ends: [TcpStream; 2],
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU32,
    back: AtomicU32,
    /// Why it is over.
    broken: Mutex<Option<String>>,
}

impl Stream {
    /// Opens a connection from the network namespace at `from` to `target`, an address of the one at `to`, where it
    /// listens.
    #[track_caller]
    #[must_use]
    pub fn open(from: &Path, to: &Path, target: SocketAddr) -> Self {
        let listener = topology::enter(to, || TcpListener::bind(target));
        let listener = listener.unwrap_or_else(|e| panic!("can't listen on {target}: {e}"));
        let client = topology::enter(from, || TcpStream::connect_timeout(&target, Duration::from_secs(10)));
        let client = client.unwrap_or_else(|e| panic!("can't connect to {target}: {e}"));
        let (server, _) = listener.accept().unwrap_or_else(|e| panic!("no client came to {target}: {e}"));
        for end in [&client, &server] {
            let ready = end.set_read_timeout(Some(GLANCE)).and_then(|()| end.set_nodelay(true));
            ready.unwrap_or_else(|e| panic!("connection to {target}: {e}"));
        }
        let again =
            |end: &TcpStream| end.try_clone().unwrap_or_else(|e| panic!("connection to {target}: {e}"));
        let (sender, ends) = (again(&client), [again(&client), again(&server)]);
        let shared = Arc::new(Shared::default());
        let run = |body: fn(TcpStream, &Shared) -> std::io::Result<()>, end: TcpStream| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                if let Err(e) = body(end, &shared) {
                    let broken = shared.broken.lock().map(|mut broken| *broken = Some(e.to_string()));
                    broken.unwrap_or_default();
                }
            })
        };
        let threads = vec![run(send, sender), run(receive, client), run(reflect, server)];
        Self { shared, ends, threads }
    }

    /// How many numbers have come back.
    #[must_use]
    pub fn back(&self) -> u32 {
        self.shared.back.load(Ordering::SeqCst)
    }

    /// Waits until a number that was sent after this call has come back over the same connection, and with it all that
    /// were sent before.
    #[track_caller]
    pub fn marker(&self, deadline: Duration) {
        let from = self.shared.sent.load(Ordering::SeqCst);
        eventually(deadline, || {
            let broken = self.shared.broken.lock().map_err(|e| e.to_string())?.clone();
            assert!(broken.is_none(), "the connection is broken: {broken:?}");
            let back = self.shared.back.load(Ordering::SeqCst);
            if back > from { Ok(()) } else { Err(format!("{back} came back, {from} was sent")) }
        });
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Who writes into a connection that is cut waits for ever otherwise.
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn send(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    for number in 1_u32.. {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        stream.write_all(&number.to_be_bytes())?;
        shared.sent.store(number, Ordering::SeqCst);
        std::thread::park_timeout(PACE);
    }
    Ok(())
}

fn receive(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut expected = 1_u32;
    while let Some(octets) = next(&mut stream, shared)? {
        let number = u32::from_be_bytes(octets);
        if number != expected {
            return Err(std::io::Error::other(format!("{number} came back where {expected} was due")));
        }
        shared.back.store(number, Ordering::SeqCst);
        expected += 1;
    }
    Ok(())
}

fn reflect(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    while let Some(octets) = next(&mut stream, shared)? {
        stream.write_all(&octets)?;
    }
    Ok(())
}

/// The next four octets; none when it is time to stop.
fn next(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<Option<[u8; 4]>> {
    let mut octets = [0; 4];
    let mut have = 0;
    while let Some(rest) = octets.get_mut(have..).filter(|rest| !rest.is_empty()) {
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        match stream.read(rest) {
            Ok(0) => return Err(std::io::Error::other("the other end closed it")),
            Ok(read) => have += read,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Some(octets))
}
