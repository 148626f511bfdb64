//! Many questions at once: who reaches whom.
//!
//! All sockets are opened first, each in its namespace, and looked after together. What is not answered is silence,
//! and when silence counts is told by the others: all that was awaited has come, and for a while nothing more. So a
//! sweep takes as long as the slowest answer, however many are denied one.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use super::icmp::Echoes;
use crate::topology;

/// After the last answer, so long nothing: the rest is silent.
const QUIET: Duration = Duration::from_millis(400);
/// A datagram may be lost on a machine that is busy. It is sent again after so long, and again.
const AGAIN: Duration = Duration::from_millis(300);
/// What a datagram says: agnhost's server answers this one too.
const WORD: &[u8] = b"hostname";
/// Between two looks at the clock: 20 ms.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// What passes at most between two looks, unless the machine stands still.
const STEP: Duration = Duration::from_millis(100);

/// What a question travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A connection to this port.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
    /// An ICMP echo, or one of ICMPv6.
    Ping,
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The network namespace it is asked in.
    pub netns: PathBuf,
    /// Who is asked.
    pub target: IpAddr,
    /// Over what.
    pub over: Transport,
    /// Shall it be answered?
    pub awaited: bool,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One of the [`super::Servers`] told its name. A host that answers a ping has none.
    From(String),
    /// Nothing came, which is what a packet filter that drops looks like.
    Silence,
    /// Somebody said no, or the kernel knew before.
    Refused(String),
}

/// Asks all of them at once; answers in the order of the questions. Those that are awaited are waited for, `patience`
/// long. Time in which this machine let nobody look does not count.
#[track_caller]
#[must_use]
pub fn sweep(questions: &[Question], patience: Duration) -> Vec<Answer> {
    let mut asked: Vec<Asked> = Vec::with_capacity(questions.len());
    for group in questions.chunk_by(|a, b| a.netns == b.netns) {
        let Some(first) = group.first() else { continue };
        asked.extend(topology::enter(&first.netns, || group.iter().map(Asked::ask).collect::<Vec<_>>()));
    }
    let mut clock = Clock::start();
    let (mut latest, mut sent) = (clock.waited, clock.waited);
    loop {
        clock.look();
        let missing = |(asked, question): (&Asked, &Question)| question.awaited && asked.answer.is_none();
        let missing = asked.iter().zip(questions).any(missing);
        if clock.waited >= patience || (!missing && clock.waited >= latest + QUIET) {
            break;
        }
        if clock.waited >= sent + AGAIN {
            asked.iter_mut().for_each(Asked::again);
            sent = clock.waited;
        }
        if listen(&mut asked) {
            clock.look();
            latest = clock.waited;
        }
    }
    asked.into_iter().map(|asked| asked.answer.unwrap_or(Answer::Silence)).collect()
}

/// How long was waited. Between two looks at most [`STEP`] counts: a machine that stood still for seconds has given
/// nobody the time to answer.
struct Clock {
    waited: Duration,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { waited: Duration::ZERO, last: Instant::now() }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.waited += (now - self.last).min(STEP);
        self.last = now;
    }
}

/// Waits a moment for answers. Has one come?
fn listen(all: &mut [Asked]) -> bool {
    let open: Vec<usize> =
        all.iter().enumerate().filter(|(_, one)| one.answer.is_none()).map(|(i, _)| i).collect();
    let ready: Vec<usize> = {
        let fd =
            |i: &usize| Some(PollFd::from_borrowed_fd(all.get(*i)?.socket.as_ref()?.fd(), PollFlags::IN));
        let mut fds: Vec<_> = open.iter().filter_map(fd).collect();
        // An interrupted call is one that found nothing.
        let _ = poll(&mut fds, Some(&GLANCE));
        open.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(i, _)| *i).collect()
    };
    let mut come = false;
    for i in ready {
        if let Some(one) = all.get_mut(i) {
            one.hear();
            come |= one.answer.is_some();
        }
    }
    come
}

/// A question under way.
struct Asked {
    socket: Option<Open>,
    answer: Option<Answer>,
}

enum Open {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Ping(Echoes),
}

impl Open {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Ping(echoes) => echoes.fd(),
        }
    }
}

impl Asked {
    fn ask(question: &Question) -> Self {
        match open(question) {
            Ok(socket) => Self { socket: Some(socket), answer: None },
            Err(e) => Self { socket: None, answer: Some(Answer::Refused(e.to_string())) },
        }
    }

    /// Datagrams only: TCP does so by itself.
    fn again(&mut self) {
        match &self.socket {
            Some(Open::Udp(socket)) if self.answer.is_none() => {
                // What was refused is told by the next read.
                let _ = socket.send(WORD);
            }
            Some(Open::Ping(echoes)) if self.answer.is_none() => {
                let _ = echoes.send(0);
            }
            _ => {}
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0_u8; 128];
        let read = match &mut self.socket {
            Some(Open::Tcp(stream)) => stream.read(&mut buffer),
            Some(Open::Udp(socket)) => socket.recv(&mut buffer),
            Some(Open::Ping(echoes)) => {
                match echoes.try_receive() {
                    Ok(Some(_)) => self.answer = Some(Answer::From(String::new())),
                    // Echoes of others, which a raw socket hears too.
                    Ok(None) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(e) => self.answer = Some(Answer::Refused(e.to_string())),
                }
                return;
            }
            None => return,
        };
        self.answer = match read {
            Ok(0) => Some(Answer::Refused("it was closed without a word".to_owned())),
            Ok(len) => {
                let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
                Some(Answer::From(text.split_whitespace().next().unwrap_or_default().to_owned()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(e) => Some(Answer::Refused(e.to_string())),
        };
    }
}

fn open(question: &Question) -> std::io::Result<Open> {
    static ID: AtomicU16 = AtomicU16::new(0x8000);
    let target = |port| SocketAddr::new(question.target, port);
    match question.over {
        Transport::Tcp(port) => {
            let socket = Socket::new(Domain::for_address(target(port)), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&SockAddr::from(target(port))) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
                Err(e) => return Err(e),
            }
            Ok(Open::Tcp(TcpStream::from(OwnedFd::from(socket))))
        }
        Transport::Udp(port) => {
            let any =
                if question.target.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(target(port))?;
            socket.send(WORD)?;
            Ok(Open::Udp(socket))
        }
        Transport::Ping => {
            let echoes = Echoes::open(question.target, ID.fetch_add(1, Ordering::Relaxed) | 0x8000)?;
            echoes.do_not_wait()?;
            echoes.send(0)?;
            Ok(Open::Ping(echoes))
        }
    }
}
