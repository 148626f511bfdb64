//! One plugin.
//!
//! An ADD is done when its plugin has read the answer. One that ends before that was killed, and the container it was
//! wired for is most likely gone: before the answer the loop is told to roll back ([`Message::HungUp`]), and once it is
//! on its way the connection asks for the DEL that undoes it, as the runtime would. The kernel tells the two ends
//! apart: a socket that is closed with bytes unread resets its peer (unix(7): ECONNRESET), one that has been emptied
//! just ends.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use corduroy_ipc::cni::{CniAnswer, CniFailure, CniRequest, Del, code};
use corduroy_ipc::frame::{self, CNI_LIMIT, FrameError};
use corduroy_ipc::version::{CURRENT, Reply};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Message;

/// How long a plugin may take to send its request, and to take its answer.
const EXCHANGE: Duration = Duration::from_secs(5);

/// Reads a request, and carries its answer back.
pub(super) async fn serve(mut stream: UnixStream, n: u64, messages: mpsc::Sender<Message>) {
    if let Err(why) = check_peer(&stream) {
        tracing::warn!("CNI socket: {why}");
        return refuse(&mut stream, &why).await;
    }
    let Ok(received) = timeout(EXCHANGE, receive(&stream)).await else {
        return refuse(&mut stream, "the request did not come in time").await;
    };
    let (json, netns) = match received {
        Ok(received) => received,
        Err(Ended::Closed) => return,
        Err(Ended::Refused(error)) => return refuse(&mut stream, &error.to_string()).await,
    };
    let (version, request) = match frame::read_ask::<CniRequest>(&json) {
        Ok(ask) => ask,
        Err(error) => return refuse(&mut stream, &error.to_string()).await,
    };
    let undo = undo(&request);
    let (answer, answered) = oneshot::channel();
    let asked = Message::Asked { request: Box::new(request), netns, answer, n };
    if messages.send(asked).await.is_err() {
        return;
    }
    let answer = tokio::select! {
        biased;
        answer = answered => answer,
        _ = ended(&stream) => {
            // Nobody to tell means that the server is going down too.
            let _ = messages.send(Message::HungUp { n }).await;
            return;
        }
    };
    // Without an answer the server is going down; the plugin sees the connection end.
    let Ok(answer) = answer else { return };
    let added = matches!(answer, CniAnswer::Added(_));
    let was_read = reply(&mut stream, version, answer).await && was_read(&stream).await;
    if let (true, false, Some(del)) = (added, was_read, undo) {
        tracing::info!("{} is unwired again: its plugin was gone before it knew", del.key);
        // Nobody waits for this answer.
        let request = Box::new(CniRequest::Del(del));
        let _ = messages.send(Message::Asked { request, netns: None, answer: oneshot::channel().0, n }).await;
    }
}

/// What takes an ADD back. It begins when the ADD did, so that an attachment of the same name that came later stays.
fn undo(request: &CniRequest) -> Option<Del> {
    let CniRequest::Add(add) = request else { return None };
    Some(Del { key: add.key.clone(), started: add.started })
}

/// Only root and our own user may have containers wired.
fn check_peer(stream: &UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    if peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(format!("user {} may not use this socket, only root may", peer.uid()))
}

/// Why there is no request.
enum Ended {
    Closed,
    Refused(FrameError),
}

/// The JSON of the request, and the descriptor that came with it; of several the first, the others are
/// closed.
async fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Option<OwnedFd>), Ended> {
    let (mut bytes, mut netns) = (Vec::new(), None);
    loop {
        if let Some(json) = frame::body(&bytes, CNI_LIMIT).map_err(Ended::Refused)? {
            return Ok((json.to_vec(), netns));
        }
        stream.readable().await.map_err(|_| Ended::Closed)?;
        match stream.try_io(Interest::READABLE, || receive_part(stream, &mut bytes, &mut netns)) {
            Ok(0) => return Err(Ended::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Ended::Closed),
        }
    }
}

fn receive_part(stream: &UnixStream, bytes: &mut Vec<u8>, netns: &mut Option<OwnedFd>) -> io::Result<usize> {
    let mut chunk = [0; 16384];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut chunk)];
    let got = rustix::net::recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for fd in fds {
                netns.get_or_insert(fd);
            }
        }
    }
    bytes.extend_from_slice(chunk.get(..got.bytes).unwrap_or_default());
    Ok(got.bytes)
}

/// Waits for the plugin's end: an error when it left bytes unread. It has nothing more to say, so anything that comes
/// counts as its end too.
async fn ended(stream: &UnixStream) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 16]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            end => return end,
        }
    }
}

/// Has the plugin read all of its answer, and ended? One that takes its time has it in its socket, alive.
async fn was_read(stream: &UnixStream) -> bool {
    !matches!(timeout(EXCHANGE, ended(stream)).await, Ok(Err(_)))
}

/// Sends an answer: false if the plugin did not take it.
async fn reply(stream: &mut UnixStream, version: u16, answer: CniAnswer) -> bool {
    match frame::encode(&Reply { version, answer }, CNI_LIMIT) {
        Ok(bytes) => {
            let sent = timeout(EXCHANGE, stream.write_all(&bytes)).await;
            // That there is no more to read ends it for a plugin that reads to the end.
            let _ = stream.shutdown().await;
            matches!(sent, Ok(Ok(())))
        }
        Err(error) => {
            tracing::warn!("CNI answer can't be sent: {error}");
            false
        }
    }
}

/// Answers what is no request.
async fn refuse(stream: &mut UnixStream, why: &str) {
    let failure = CniFailure::new(code::DECODE, "the agent refuses the request").details(why);
    // Whoever does not take it knows by the connection's end.
    let _ = reply(stream, CURRENT, CniAnswer::Failed(failure)).await;
}
