//! The socket that CNI plugins come to.
//!
//! Each connection is a task of its own that reads one request (with the container's namespace as a file
//! descriptor), hands it to the loop, and then waits for two things at once: the answer, and the plugin's
//! end. A plugin that ends first was killed, or has lost its patience; the loop is told, and rolls back.
//!
//! Notes of plugins that found no agent (`spool/*.json` in the run directory) come first, as requests nobody
//! waits for; a note goes when its request is done.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corduroy_agent_core::endpoints::RequestId;
use corduroy_ipc::cni::{CniAnswer, CniRequest};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

mod connection;
mod spool;

/// The most plugins at a time; others wait in the backlog.
const CONNECTIONS: usize = 512;

/// What comes from the plugins.
#[derive(Debug)]
pub enum Incoming {
    /// A plugin asks.
    Request {
        /// What its answer goes by ([`CniServer::answer`]).
        id: RequestId,
        /// What it wants.
        request: Box<CniRequest>,
        /// The namespace it passed.
        netns: Option<OwnedFd>,
    },
    /// A plugin that had asked hung up before it was answered.
    HungUp(RequestId),
}

/// From a connection to the server.
#[derive(Debug)]
enum Message {
    Asked { request: Box<CniRequest>, netns: Option<OwnedFd>, answer: oneshot::Sender<CniAnswer>, n: u64 },
    HungUp { n: u64 },
}

/// The server. Dropping it closes the socket and all connections.
#[derive(Debug)]
pub struct CniServer {
    messages: mpsc::Receiver<Message>,
    answers: BTreeMap<RequestId, oneshot::Sender<CniAnswer>>,
    /// Notes still to be handed out, and those that are under way.
    notes: VecDeque<(PathBuf, CniRequest)>,
    noted: BTreeMap<RequestId, PathBuf>,
    accepting: JoinHandle<()>,
}

/// Requests that come from notes have ids from here on: no connection gets that far.
const FIRST_NOTE: u64 = 1 << 63;

impl CniServer {
    /// Listens at `socket`, taking the place of whatever was there, and reads the notes in `run_dir`. Needs
    /// the runtime it is to run on.
    ///
    /// # Errors
    /// As the system says.
    pub fn listen(socket: &Path, run_dir: &Path) -> io::Result<Self> {
        if let Some(dir) = socket.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Bound beside its place and moved there, so that a plugin finds the former socket or this one.
        let unfinished = socket.with_extension("new");
        let _ = std::fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, socket)?;
        let notes =
            spool::read(run_dir).into_iter().map(|(path, del)| (path, CniRequest::Del(del))).collect();
        let (sender, messages) = mpsc::channel(CONNECTIONS);
        let accepting = tokio::spawn(accept(listener, sender));
        Ok(Self { messages, answers: BTreeMap::new(), notes, noted: BTreeMap::new(), accepting })
    }

    /// The next thing that comes. Safe to drop and call again.
    pub async fn next(&mut self) -> Incoming {
        if let Some((path, request)) = self.notes.pop_front() {
            let id = RequestId(FIRST_NOTE + self.notes.len() as u64);
            self.noted.insert(id, path);
            return Incoming::Request { id, request: Box::new(request), netns: None };
        }
        loop {
            match self.messages.recv().await {
                Some(Message::Asked { request, netns, answer, n }) => {
                    self.answers.insert(RequestId(n), answer);
                    return Incoming::Request { id: RequestId(n), request, netns };
                }
                Some(Message::HungUp { n }) if self.answers.remove(&RequestId(n)).is_some() => {
                    return Incoming::HungUp(RequestId(n));
                }
                Some(Message::HungUp { .. }) => {}
                // The task that accepts holds a sender as long as it runs, and it runs as long as this does.
                None => std::future::pending().await,
            }
        }
    }

    /// Answers a request; nothing happens when its plugin is gone.
    pub fn answer(&mut self, id: RequestId, answer: CniAnswer) {
        if let Some(plugin) = self.answers.remove(&id) {
            // It may be gone at this very moment.
            let _ = plugin.send(answer);
        } else if let Some(note) = self.noted.remove(&id)
            && answer == CniAnswer::Done
            && let Err(error) = std::fs::remove_file(&note)
        {
            tracing::warn!("note {} is done but can't be removed: {error}", note.display());
        }
    }
}

impl Drop for CniServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, messages: mpsc::Sender<Message>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    for n in 0.. {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    // Out of descriptors, most likely: connections end, and then there are some.
                    tracing::warn!("CNI socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        let messages = messages.clone();
        tokio::spawn(async move {
            connection::serve(stream, n, messages).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;
