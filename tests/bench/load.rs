//! Load and sink: BGP peers made of bytes encoded beforehand, so much cheaper than any speaker that only the speaker
//! is measured.
//!
//! A [`Sink`] serves any number of connections with one `poll` loop. It counts the prefixes of its own numbering that
//! it has seen at least once on each connection, by reading nothing but message headers, attribute lengths and NLRI.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use corduroy_tests::wire::{self, HEADER, UPDATE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Prefix number `n` is the nth /24 from here.
const BASE: u32 = 0x0100_0000;

/// The address of prefix `number`, a /24.
pub fn prefix(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(BASE + (number << 8))
}

/// The UPDATEs that announce prefixes `numbers`, `per_set` of them to an attribute set, each set of its own.
pub fn updates(numbers: &[u32], per_set: usize, path: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (set, numbers) in numbers.chunks(per_set).enumerate() {
        let mut nlri = Vec::with_capacity(numbers.len() * 4);
        for number in numbers {
            let [a, b, c, _] = prefix(*number).octets();
            nlri.extend([24, a, b, c]);
        }
        bytes.extend(wire::update(&[], &path(u32::try_from(set).unwrap_or(u32::MAX)), &nlri));
    }
    bytes
}

/// The attributes of set number `set`: a path of two to five ASes, a MED, two communities, all told apart by it.
pub fn attributes(first_as: Option<u32>, next_hop: Ipv4Addr, set: u32) -> Vec<u8> {
    let mut path: Vec<u32> = first_as.into_iter().collect();
    path.extend((0..=set % 4).map(|hop| 100_000 + set * 4 + hop));
    let mut bytes = wire::attributes(&path, next_hop);
    bytes.extend(wire::attribute(0x80, 4, &(set % 100).to_be_bytes()));
    if first_as.is_none() {
        bytes.extend(wire::attribute(0x40, 5, &100_u32.to_be_bytes()));
    }
    let communities = [65_000 << 16 | (set & 0xffff), 65_001 << 16 | (set >> 4 & 0xffff)];
    let communities: Vec<u8> =
        communities.iter().flat_map(|community: &u32| community.to_be_bytes()).collect();
    bytes.extend(wire::attribute(0xc0, 8, &communities));
    bytes
}

/// The numbers 0 to `count` in an order that has nothing to do with them, always the same.
pub fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in (1..numbers.len()).rev() {
        // xorshift64*: good enough to shuffle, and nobody's choice.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let high = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        let pick = usize::try_from(high).unwrap_or(0) % (n + 1);
        numbers.swap(n, pick);
    }
    numbers
}

/// Connections that only take.
pub struct Sink {
    peers: Vec<Peer>,
}

struct Peer {
    stream: TcpStream,
    /// Bytes of a message that is not whole yet.
    rest: Vec<u8>,
    /// One bit for each prefix number seen.
    seen: Vec<u64>,
    /// How many are still to come.
    missing: u32,
}

impl Sink {
    /// Takes over established connections; each shall get `expected(index)` different ones out of `total` prefixes.
    pub fn new(
        streams: Vec<TcpStream>,
        total: u32,
        expected: impl Fn(usize) -> u32,
    ) -> std::io::Result<Self> {
        let words = total.div_ceil(64) as usize;
        let peers = streams.into_iter().enumerate().map(|(index, stream)| {
            stream.set_nonblocking(true)?;
            Ok(Peer { stream, rest: Vec::new(), seen: vec![0; words], missing: expected(index) })
        });
        Ok(Self { peers: peers.collect::<std::io::Result<_>>()? })
    }

    /// Reads until every connection has got what it shall; returns when that was. Fails when one is closed or when
    /// nothing at all came for `patience`.
    pub fn drain(&mut self, patience: Duration) -> Result<Instant, String> {
        let mut buffer = vec![0_u8; 1 << 18];
        let wait = Timespec { tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        while self.peers.iter().any(|peer| peer.missing > 0) {
            let mut ready: Vec<_> =
                self.peers.iter().map(|peer| PollFd::new(&peer.stream, PollFlags::IN)).collect();
            if poll(&mut ready, Some(&wait)).map_err(|e| e.to_string())? == 0 {
                let missing: u64 = self.peers.iter().map(|peer| u64::from(peer.missing)).sum();
                return Err(format!("nothing came for {patience:?}, {missing} prefixes are missing"));
            }
            let ready: Vec<_> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            for (peer, _) in self.peers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                peer.take(&mut buffer)?;
            }
        }
        Ok(Instant::now())
    }
}

impl Peer {
    fn take(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the speaker has closed the session".to_owned()),
            Ok(len) => self.messages(buffer.get(..len).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn messages(&mut self, new: &[u8]) -> Result<(), String> {
        let mut joined = std::mem::take(&mut self.rest);
        let mut bytes = if joined.is_empty() {
            new
        } else {
            joined.extend(new);
            &joined
        };
        while let Some(len) = length(bytes) {
            let Some((message, after)) = bytes.split_at_checked(len.max(HEADER)) else { break };
            match message.get(18) {
                Some(&UPDATE) => self.update(message.get(HEADER..).unwrap_or_default()),
                Some(&wire::NOTIFICATION) => return Err(format!("NOTIFICATION {:?}", message.get(HEADER..))),
                _ => {}
            }
            bytes = after;
        }
        self.rest = bytes.to_vec();
        Ok(())
    }

    fn update(&mut self, body: &[u8]) {
        let Some(withdrawn) = field(body) else { return };
        let Some(after) = body.get(2 + withdrawn..) else { return };
        let Some(attributes) = field(after) else { return };
        let mut nlri = after.get(2 + attributes..).unwrap_or_default();
        while let [bits, rest @ ..] = nlri {
            let octets = usize::from(bits.div_ceil(8));
            if let (24, [a, b, c, ..]) = (bits, rest) {
                self.see(u32::from_be_bytes([*a, *b, *c, 0]));
            }
            nlri = rest.get(octets..).unwrap_or_default();
        }
    }

    fn see(&mut self, address: u32) {
        let Some(number) = address.checked_sub(BASE).map(|above| above >> 8) else { return };
        let bit = 1_u64 << (number % 64);
        if let Some(word) = self.seen.get_mut(number as usize / 64)
            && *word & bit == 0
        {
            *word |= bit;
            self.missing = self.missing.saturating_sub(1);
        }
    }
}

/// The length a message gives itself.
fn length(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?])))
}

/// The 16-bit length at the beginning.
fn field(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
}

/// Writes all of it, on a thread of its own so that a full socket buffer stops nobody who reads.
pub fn send(mut stream: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<Result<(), String>> {
    std::thread::spawn(move || {
        stream.set_nonblocking(false).map_err(|e| e.to_string())?;
        stream.write_all(&bytes).map_err(|e| format!("the speaker takes no more: {e}"))
    })
}
