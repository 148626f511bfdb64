//! One plugin.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use corduroy_ipc::cni::{CniAnswer, CniFailure, CniRequest, code};
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
        return reply(&mut stream, CURRENT, refused(&why)).await;
    }
    let Ok(received) = timeout(EXCHANGE, receive(&stream)).await else {
        return reply(&mut stream, CURRENT, refused("the request did not come in time")).await;
    };
    let (json, netns) = match received {
        Ok(received) => received,
        Err(Ended::Closed) => return,
        Err(Ended::Refused(error)) => return reply(&mut stream, CURRENT, refused(&error.to_string())).await,
    };
    let (version, request) = match frame::read_ask::<CniRequest>(&json) {
        Ok(ask) => ask,
        Err(error) => return reply(&mut stream, CURRENT, refused(&error.to_string())).await,
    };
    let (answer, answered) = oneshot::channel();
    let asked = Message::Asked { request: Box::new(request), netns, answer, n };
    if messages.send(asked).await.is_err() {
        return;
    }
    tokio::select! {
        biased;
        answer = answered => {
            // Without an answer the server is going down; the plugin sees the connection end.
            if let Ok(answer) = answer {
                reply(&mut stream, version, answer).await;
            }
        }
        () = hung_up(&stream) => {
            // Nobody to tell means that the server is going down too.
            let _ = messages.send(Message::HungUp { n }).await;
        }
    }
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

/// Ends when the plugin does. It has nothing more to say, so anything that comes counts as its end too.
async fn hung_up(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0; 16]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

async fn reply(stream: &mut UnixStream, version: u16, answer: CniAnswer) {
    match frame::encode(&Reply { version, answer }, CNI_LIMIT) {
        // A plugin that does not take its answer is gone, and the runtime will say DEL.
        Ok(bytes) => drop(timeout(EXCHANGE, stream.write_all(&bytes)).await),
        Err(error) => tracing::warn!("CNI answer can't be sent: {error}"),
    }
}

fn refused(why: &str) -> CniAnswer {
    CniAnswer::Failed(CniFailure::new(code::DECODE, "the agent refuses the request").details(why))
}
