//! A BGP peer made of bytes: it says what a test tells it to, right or wrong, and shows what comes back.
//!
//! It shares no code with the speaker under test. Messages are built here from RFC 4271 §4 alone, so that a test can
//! send what no speaker would, and a benchmark can send what was encoded beforehand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Namespace;

/// Message types (RFC 4271 §4.1, RFC 2918).
pub const OPEN: u8 = 1;
/// See [`OPEN`].
pub const UPDATE: u8 = 2;
/// See [`OPEN`].
pub const NOTIFICATION: u8 = 3;
/// See [`OPEN`].
pub const KEEPALIVE: u8 = 4;
/// See [`OPEN`].
pub const ROUTE_REFRESH: u8 = 5;

/// Marker, length and type before every message.
pub const HEADER: usize = 19;

/// One message.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len =
        u16::try_from(HEADER + body.len()).unwrap_or_else(|_| panic!("a body of {} octets", body.len()));
    let mut bytes = vec![0xff; 16];
    bytes.extend(len.to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// An UPDATE out of its three parts, each already encoded (RFC 4271 §4.3).
#[must_use]
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let len =
        |part: &[u8]| u16::try_from(part.len()).unwrap_or_else(|_| panic!("a part of {} octets", part.len()));
    let mut body = len(withdrawn).to_be_bytes().to_vec();
    body.extend(withdrawn);
    body.extend(len(attributes).to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    message(UPDATE, &body)
}

/// One path attribute; a value over 255 octets gets the extended length.
#[must_use]
pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = match u8::try_from(value.len()) {
        Ok(len) => vec![flags, code, len],
        Err(_) => {
            let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
            vec![flags | 0x10, code, high, low]
        }
    };
    bytes.extend(value);
    bytes
}

/// The mandatory attributes of an eBGP announcement: IGP origin, this path of 4-octet ASes, this next hop.
#[must_use]
pub fn attributes(as_path: &[u32], next_hop: Ipv4Addr) -> Vec<u8> {
    let mut path = Vec::new();
    if !as_path.is_empty() {
        path.extend([2, u8::try_from(as_path.len()).unwrap_or(u8::MAX)]);
        path.extend(as_path.iter().flat_map(|asn| asn.to_be_bytes()));
    }
    [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path), attribute(0x40, 3, &next_hop.octets())].concat()
}

/// An IPv4 prefix as NLRI.
#[must_use]
pub fn nlri(prefix: &str) -> Vec<u8> {
    let parsed = prefix.split_once('/').and_then(|(address, len)| {
        let address: Ipv4Addr = address.parse().ok()?;
        let len: u8 = len.parse().ok()?;
        let octets = address.octets();
        let significant = octets.get(..usize::from(len.div_ceil(8)))?;
        Some([&[len], significant].concat())
    });
    parsed.unwrap_or_else(|| panic!("{prefix} is no IPv4 prefix"))
}

/// An OPEN.
#[derive(Clone, Debug)]
pub struct Open {
    /// The protocol's version, 4.
    pub version: u8,
    /// The AS, in the 4-octet capability and, as far as it fits, in the header.
    pub asn: u32,
    /// Hold time in seconds.
    pub hold: u16,
    /// The BGP identifier.
    pub id: Ipv4Addr,
    /// Capabilities as code and value; [`Open::new`] puts in IPv4 and IPv6 unicast, route refresh, 4-octet AS.
    pub capabilities: Vec<(u8, Vec<u8>)>,
}

impl Open {
    /// What any speaker would say.
    #[must_use]
    pub fn new(asn: u32, id: &str) -> Self {
        let id = id.parse().unwrap_or_else(|e| panic!("router id {id}: {e}"));
        let capabilities = vec![
            (1, vec![0, 1, 0, 1]),
            (1, vec![0, 2, 0, 1]),
            (2, Vec::new()),
            (65, asn.to_be_bytes().to_vec()),
        ];
        Self { version: 4, asn, hold: 90, id, capabilities }
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let short = u16::try_from(self.asn).unwrap_or(23456);
        let mut body = vec![self.version];
        body.extend(short.to_be_bytes());
        body.extend(self.hold.to_be_bytes());
        body.extend(self.id.octets());
        let octet = |len: usize| u8::try_from(len).unwrap_or_else(|_| panic!("{len} octets of capabilities"));
        let mut parameter = Vec::new();
        for (code, value) in &self.capabilities {
            parameter.extend([*code, octet(value.len())]);
            parameter.extend(value);
        }
        if parameter.is_empty() {
            body.push(0);
        } else {
            body.extend([octet(parameter.len() + 2), 2, octet(parameter.len())]);
            body.extend(parameter);
        }
        message(OPEN, &body)
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side has closed or reset the connection.
    Closed,
    /// Nothing came in time.
    Silence,
}

/// A TCP connection that carries BGP messages.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects from `local` inside `namespace`.
    ///
    /// # Errors
    /// Nobody listens there, or not for us.
    pub fn connect(namespace: &Namespace, local: IpAddr, remote: SocketAddr) -> std::io::Result<Self> {
        let socket = namespace.enter(|| Socket::new(Domain::for_address(remote), Type::STREAM, None))?;
        socket.bind(&SockAddr::from(SocketAddr::new(local, 0)))?;
        socket.connect_timeout(&SockAddr::from(remote), Duration::from_secs(5))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self { stream: socket.into(), buffer: Vec::new() })
    }

    /// The connection itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message.
    ///
    /// # Errors
    /// [`End`]: there is none.
    pub fn receive(&mut self, patience: Duration) -> Result<Message, End> {
        let until = Instant::now() + patience;
        loop {
            if let Some(message) = self.take() {
                return Ok(message);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Silence);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|_| End::Closed)?;
            let mut chunk = [0_u8; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(len) => self.buffer.extend(chunk.get(..len).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Err(End::Closed),
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        let len = usize::from(u16::from_be_bytes([*self.buffer.get(16)?, *self.buffer.get(17)?]));
        let whole = self.buffer.get(..len.max(HEADER))?;
        let message = Message { kind: *whole.get(18)?, body: whole.get(HEADER..)?.to_vec() };
        self.buffer.drain(..len.max(HEADER));
        Some(message)
    }

    /// Opens a session as `open` says and waits until it is Established: OPEN and KEEPALIVE each way.
    ///
    /// # Errors
    /// What came instead.
    pub fn establish(&mut self, open: &Open, patience: Duration) -> Result<(), String> {
        self.send(&open.bytes()).map_err(|e| e.to_string())?;
        for expected in [OPEN, KEEPALIVE] {
            match self.receive(patience) {
                Ok(message) if message.kind == expected => {}
                other => return Err(format!("instead of message type {expected}: {other:?}")),
            }
            if expected == OPEN {
                self.send(&message(KEEPALIVE, &[])).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    /// Reads until a NOTIFICATION comes: its code, subcode and data.
    ///
    /// # Errors
    /// The connection ends without one, or stays silent.
    pub fn notification(&mut self, patience: Duration) -> Result<(u8, u8, Vec<u8>), End> {
        let until = Instant::now() + patience;
        loop {
            let message = self.receive(until.saturating_duration_since(Instant::now()))?;
            if let (NOTIFICATION, [code, subcode, data @ ..]) = (message.kind, message.body.as_slice()) {
                return Ok((*code, *subcode, data.to_vec()));
            }
        }
    }
}
