//! The status socket of an agent, asked as `cordctl` asks it, without a process for each question.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use corduroy_ipc::frame::{self, STATUS_LIMIT};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};
use corduroy_ipc::version::Ask;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A question under way. An agent takes 32 at a time.
#[derive(Debug)]
pub struct Asked(UnixStream);

impl Asked {
    /// Asks.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn put(socket: &Path, request: StatusRequest) -> Result<Self, String> {
        let question = frame::encode(&Ask::new(request), STATUS_LIMIT).map_err(|e| e.to_string())?;
        let put = UnixStream::connect(socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&question)?;
            Ok(Self(stream))
        });
        put.map_err(|e| format!("{}: {e}", socket.display()))
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// There is none, or it is that there can't be one.
    pub fn answer(mut self) -> Result<StatusAnswer, String> {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).map_err(|e| e.to_string())?;
        let body = frame::body(&answer, STATUS_LIMIT).map_err(|e| e.to_string())?;
        match frame::read_reply(body.ok_or("half an answer")?).map_err(|e| e.to_string())? {
            StatusAnswer::Failed { why } => Err(why),
            answer => Ok(answer),
        }
    }
}
