//! One question, one connection, one answer.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corduroy_ipc::frame::{self, FrameError, STATUS_LIMIT};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};
use corduroy_ipc::version::Ask;

/// Longer than the other side takes before it says itself that it can't answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(
        "nobody listens at {}: {error}\nIs corduroy-agent (or corduroy-routereflector) running here? \
         --socket names the status socket of one with another runDir.",
        path.display()
    )]
    Absent { path: PathBuf, error: io::Error },
    #[error("{} may be asked by root only: {error}", path.display())]
    Denied { path: PathBuf, error: io::Error },
    #[error("{} broke the connection off: {error}", path.display())]
    Broken { path: PathBuf, error: io::Error },
    #[error("{} does not speak as this cordctl does: {error}", path.display())]
    Foreign { path: PathBuf, error: FrameError },
    #[error("{0}")]
    Failed(String),
    #[error("no peer {0:?}: `cordctl peers` shows their addresses")]
    NoSuchPeer(String),
    #[error("the answer can't be shown: {0}")]
    Unshowable(String),
    #[error("{0}")]
    Cluster(String),
}

impl NoAnswer {
    /// An answer that is none to the question.
    pub(crate) fn unexpected(answer: StatusAnswer) -> Self {
        match answer {
            StatusAnswer::Failed { why } => Self::Failed(why),
            other => Self::Failed(format!("this is no answer to the question: {other:?}")),
        }
    }
}

/// Where to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    socket: &'a Path,
}

impl<'a> Client<'a> {
    pub(crate) fn new(socket: &'a Path) -> Self {
        Self { socket }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&self, request: StatusRequest) -> Result<StatusAnswer, NoAnswer> {
        let path = || self.socket.to_owned();
        let foreign = |error| NoAnswer::Foreign { path: path(), error };
        let broken = |error| NoAnswer::Broken { path: path(), error };
        let question = frame::encode(&Ask::new(request), STATUS_LIMIT).map_err(foreign)?;
        let mut stream = UnixStream::connect(self.socket).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => NoAnswer::Denied { path: path(), error },
            _ => NoAnswer::Absent { path: path(), error },
        })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
        stream.write_all(&question).map_err(broken)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(broken)?;
        match frame::body(&answer, STATUS_LIMIT).map_err(foreign)? {
            Some(json) => frame::read_reply(json).map_err(foreign),
            None => Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A socket whose other side says `bytes` to whoever comes first.
    fn says(name: &str, bytes: Vec<u8>) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cordctl-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(&bytes).unwrap();
        });
        path
    }

    #[test]
    fn without_an_agent_the_socket_and_the_way_out_are_named() {
        let why = Client::new(Path::new("/nonexistent/s")).ask(StatusRequest::Peers).unwrap_err().to_string();
        assert!(why.contains("/nonexistent/s") && why.contains("--socket"), "{why}");
    }

    #[test]
    fn half_an_answer_and_garbage_are_told_apart() {
        let half = says("half", vec![0, 0, 0, 9, b'{']);
        let why = Client::new(&half).ask(StatusRequest::Peers).unwrap_err();
        assert!(matches!(why, NoAnswer::Broken { .. }), "{why}");
        let garbage = says("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
        let why = Client::new(&garbage).ask(StatusRequest::Peers).unwrap_err();
        assert!(matches!(why, NoAnswer::Foreign { .. }), "{why}");
    }
}
