//! The call to the agent.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use corduroy_ipc::cni::{CniAnswer, CniFailure, CniRequest, code};
use corduroy_ipc::frame::{self, CNI_LIMIT};
use corduroy_ipc::version::Ask;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};

/// How long ADD, CHECK and GC wait for an agent and its answer, all in all; so long DEL waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long DEL looks for an agent that does not even listen (a restart takes less), and how long STATUS
/// waits for an answer.
pub const BRIEFLY: Duration = Duration::from_secs(2);
/// How often an absent agent is looked for.
const AGAIN: Duration = Duration::from_millis(20);

/// Where the agent is, and since when this process runs.
pub(crate) struct Client<'a> {
    pub(crate) socket: &'a str,
    pub(crate) run_dir: &'a str,
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub(crate) started: u64,
}

/// Why there is no answer.
pub(crate) enum Trouble {
    /// No agent, or one that does not answer (in time).
    Away(CniFailure),
    /// Something no waiting will change.
    Refused(CniFailure),
}

impl From<Trouble> for CniFailure {
    fn from(trouble: Trouble) -> Self {
        let (Trouble::Away(failure) | Trouble::Refused(failure)) = trouble;
        failure
    }
}

/// CLOCK_BOOTTIME in nanoseconds: the same clock in every process of the node.
pub(crate) fn boottime() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

impl Client<'_> {
    /// Asks the agent, with the namespace if there is one, and waits for the answer.
    pub(crate) fn call(&self, request: CniRequest, netns: Option<&File>) -> Result<CniAnswer, Trouble> {
        let (absence, patience) = match &request {
            CniRequest::Add(_) | CniRequest::Check { .. } | CniRequest::Gc { .. } => (PATIENCE, PATIENCE),
            CniRequest::Del(_) => (BRIEFLY, PATIENCE),
            CniRequest::Status => (Duration::ZERO, BRIEFLY),
        };
        let (absent_until, deadline) = (Instant::now() + absence, Instant::now() + patience);
        let message = frame::encode(&Ask::new(request), CNI_LIMIT)
            .map_err(|error| Trouble::Refused(CniFailure::new(code::INVALID_CONFIG, error.to_string())))?;
        let stream = loop {
            match self.connect() {
                Ok(stream) => break stream,
                Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) if Instant::now() < absent_until => {
                    std::thread::sleep(AGAIN);
                }
                Err(error) => return Err(self.away(&format!("no agent at {}: {error}", self.socket))),
            }
        };
        self.check_peer(&stream)?;
        self.exchange(stream, &message, netns, deadline)
    }

    fn connect(&self) -> Result<UnixStream, Errno> {
        let address = SocketAddrUnix::new(self.socket)?;
        let fd =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // With a full backlog connect would wait for as long as it takes.
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(Duration::from_secs(1)))?;
        rustix::net::connect(&fd, &address)?;
        Ok(UnixStream::from(fd))
    }

    /// A socket in a directory that others can write to might be anybody's, and it gets the container's
    /// namespace.
    fn check_peer(&self, stream: &UnixStream) -> Result<(), Trouble> {
        let peer = sockopt::socket_peercred(stream).map_err(|error| self.away(&error.to_string()))?;
        if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
            return Ok(());
        }
        let why = format!("{} is held by user {}, not by the agent", self.socket, peer.uid.as_raw());
        Err(Trouble::Refused(CniFailure::new(code::IO, why)))
    }

    fn exchange(
        &self,
        mut stream: UnixStream,
        message: &[u8],
        netns: Option<&File>,
        deadline: Instant,
    ) -> Result<CniAnswer, Trouble> {
        let broken = |what: &str, error: &dyn std::fmt::Display| self.away(&format!("{what}: {error}"));
        let fds = netns.map(|file| [file.as_fd()]);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let part = [IoSlice::new(message)];
        let sent = rustix::net::sendmsg(&stream, &part, &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|error| broken("the request can't be sent", &error))?;
        stream
            .write_all(message.get(sent..).unwrap_or_default())
            .map_err(|error| broken("the request can't be sent", &error))?;

        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let json =
                frame::body(&answer, CNI_LIMIT).map_err(|error| broken("the answer is refused", &error))?;
            if let Some(json) = json {
                return frame::read_reply(json).map_err(|error| broken("the answer makes no sense", &error));
            }
            // A time-out of zero would mean none.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).map_err(|error| broken("the socket", &error))?;
            match stream.read(&mut chunk) {
                Ok(0) => return Err(self.away("the agent hung up before it answered")),
                Ok(n) => answer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(self.away("the agent does not answer"));
                }
                Err(error) => return Err(broken("the answer can't be read", &error)),
            }
        }
    }

    fn away(&self, why: &str) -> Trouble {
        let failure = CniFailure::new(code::TRY_AGAIN_LATER, "the agent of this node can't be asked");
        Trouble::Away(failure.details(why))
    }
}
