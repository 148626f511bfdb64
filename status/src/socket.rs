//! The Unix socket that `cordctl` comes to.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corduroy_ipc::frame::{self, FrameError, STATUS_LIMIT};
use corduroy_ipc::status::{StatusAnswer, StatusRequest};
use corduroy_ipc::version::{CURRENT, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most clients at a time; others wait in the backlog.
const CLIENTS: usize = 32;
/// The most octets of JSON in a question.
const QUESTION: usize = 64 << 10;
/// How long a client may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the program may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The listening socket. Dropping it closes the socket and leaves its file, which a successor replaces.
#[derive(Debug)]
pub struct StatusSocket {
    questions: mpsc::Receiver<Question>,
    accepting: JoinHandle<()>,
}

/// Somebody wants to know something. One that is dropped is answered with a failure.
#[derive(Debug)]
pub struct Question {
    /// What.
    pub request: StatusRequest,
    to: oneshot::Sender<StatusAnswer>,
}

impl Question {
    /// Answers it; nothing happens when whoever asked is gone.
    pub fn answer(self, answer: StatusAnswer) {
        // The client may have lost its patience.
        let _ = self.to.send(answer);
    }
}

impl StatusSocket {
    /// Listens at `path`, taking the place of whatever was there; only root may connect. Needs the runtime it is to
    /// run on.
    ///
    /// # Errors
    /// As the system says.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Bound beside its place and moved there, so that a client finds the former socket or this one.
        let unfinished = path.with_extension("new");
        let _ = std::fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, path)?;
        let (sender, questions) = mpsc::channel(CLIENTS);
        Ok(Self { questions, accepting: tokio::spawn(accept(listener, sender)) })
    }

    /// The next question. Safe to drop and call again.
    pub async fn next(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            // The task that accepts holds a sender as long as it runs, and it runs as long as this does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let permits = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: connections end, and then there are some.
                tracing::warn!("status socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let questions = questions.clone();
        tokio::spawn(async move {
            serve(stream, questions).await;
            drop(permit);
        });
    }
}

/// Serves one client. Whatever is wrong with it is its own loss: it is told where that is possible.
async fn serve(mut stream: UnixStream, questions: mpsc::Sender<Question>) {
    let (version, answer) = match timeout(PATIENCE, read(&mut stream)).await {
        Err(_) | Ok(Ok(None)) => return,
        Ok(Err(error)) => (CURRENT, failed(&error)),
        Ok(Ok(Some((version, request)))) => (version, ask(request, &questions).await),
    };
    let message = frame::encode(&Reply { version, answer }, STATUS_LIMIT)
        .or_else(|error| frame::encode(&Reply { version, answer: failed(&error) }, STATUS_LIMIT));
    if let Ok(message) = message {
        let _ = timeout(PATIENCE, async {
            stream.write_all(&message).await?;
            stream.shutdown().await
        })
        .await;
    }
}

async fn ask(request: StatusRequest, questions: &mpsc::Sender<Question>) -> StatusAnswer {
    let (to, answer) = oneshot::channel();
    let asked = async {
        questions.send(Question { request, to }).await.ok()?;
        answer.await.ok()
    };
    match timeout(ANSWER, asked).await {
        Ok(Some(answer)) => answer,
        Ok(None) => failed("the process is about to end"),
        Err(_) => failed(&format!("no answer within {} s: the process is busy", ANSWER.as_secs())),
    }
}

fn failed(why: &(impl ToString + ?Sized)) -> StatusAnswer {
    StatusAnswer::Failed { why: why.to_string() }
}

/// `None` when the client went without a whole question.
async fn read(stream: &mut UnixStream) -> Result<Option<(u16, StatusRequest)>, FrameError> {
    let mut buffer = Vec::new();
    loop {
        if let Some(json) = frame::body(&buffer, QUESTION)? {
            return frame::read_ask(json).map(Some);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::version::Ask;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A socket with a program behind it that knows nothing but its name.
    struct Program(std::path::PathBuf);

    impl Program {
        fn start(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("corduroy-{name}-{}.sock", std::process::id()));
            let mut socket = StatusSocket::listen(&path).unwrap();
            tokio::spawn(async move {
                loop {
                    let question = socket.next().await;
                    match question.request {
                        StatusRequest::Status => {
                            let status =
                                corduroy_ipc::status::Status { node: "n".to_owned(), ..Default::default() };
                            question.answer(StatusAnswer::Status(Box::new(status)));
                        }
                        _ => drop(question),
                    }
                }
            });
            Self(path)
        }

        async fn say(&self, bytes: &[u8]) -> StatusAnswer {
            let mut stream = UnixStream::connect(&self.0).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let json = frame::body(&answer, STATUS_LIMIT).unwrap().unwrap();
            frame::read_reply(json).unwrap()
        }

        async fn ask(&self, request: StatusRequest) -> StatusAnswer {
            self.say(&frame::encode(&Ask::new(request), QUESTION).unwrap()).await
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn why(answer: StatusAnswer) -> String {
        match answer {
            StatusAnswer::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_question_is_answered_and_one_that_is_dropped_fails() {
        let program = Program::start("answered");
        let StatusAnswer::Status(status) = program.ask(StatusRequest::Status).await else { panic!() };
        assert_eq!(status.node, "n");
        assert!(why(program.ask(StatusRequest::Peers).await).contains("about to end"));
    }

    #[tokio::test]
    async fn garbage_foreign_versions_and_too_much_are_refused_with_words() {
        let program = Program::start("refused");
        let framed = |json: &str| {
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            frame::encode(&json, QUESTION).unwrap()
        };
        let odd = framed(r#"{"speaks":{"oldest":1,"newest":1},"request":{"ask":"x"}}"#);
        assert!(why(program.say(&odd).await).contains("not a message of this protocol"));
        let future = framed(r#"{"speaks":{"oldest":9,"newest":9},"request":1}"#);
        assert!(why(program.say(&future).await).contains("no common protocol version"));
        assert!(why(program.say(&[0x7f, 0, 0, 0]).await).contains("at most"));
    }

    #[tokio::test]
    async fn a_successor_takes_the_socket_over() {
        let first = Program::start("successor");
        let second = Program::start("successor");
        assert!(matches!(second.ask(StatusRequest::Status).await, StatusAnswer::Status(_)));
        drop(first);
    }
}
