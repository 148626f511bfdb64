use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use corduroy_ipc::cni::{Add, Added, AttachmentKey, CniFailure, Del, Interface, Mac};
use corduroy_ipc::frame::{self, CNI_LIMIT};
use corduroy_ipc::version::{Ask, Spoken};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::*;

struct Place {
    dir: PathBuf,
    server: CniServer,
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("corduroy-server-{}-{n}", std::process::id()));
        Self { server: CniServer::listen(&dir.join("cni.sock"), &dir).unwrap(), dir }
    }
    fn plugin(&self) -> UnixStream {
        UnixStream::connect(self.dir.join("cni.sock")).unwrap()
    }
    /// What comes next, or a failure when nothing does.
    async fn next(&mut self) -> Incoming {
        tokio::time::timeout(Duration::from_secs(20), self.server.next()).await.expect("nothing came")
    }
    async fn request(&mut self) -> (RequestId, CniRequest, Option<OwnedFd>) {
        match self.next().await {
            Incoming::Request { id, request, netns } => (id, *request, netns),
            Incoming::HungUp(id) => panic!("{id:?} hung up"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn ask(request: CniRequest) -> Vec<u8> {
    frame::encode(&Ask::new(request), CNI_LIMIT).unwrap()
}

fn key() -> AttachmentKey {
    AttachmentKey { network: "n".into(), container_id: "c".into(), ifname: "eth0".into() }
}

fn add() -> Add {
    Add { key: key(), pod: None, ips: vec![], mac: None, pools: vec![], mtu: None, started: 7 }
}

fn del() -> Del {
    Del { key: key(), started: 7 }
}

/// Waits for the answer away from the runtime's thread.
async fn read_answer(mut plugin: UnixStream) -> CniAnswer {
    let read = move || {
        let mut bytes = Vec::new();
        plugin.read_to_end(&mut bytes).unwrap();
        frame::read_reply(frame::body(&bytes, CNI_LIMIT).unwrap().expect("a whole answer")).unwrap()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn a_request_in_pieces_comes_with_its_descriptor_and_is_answered() {
    let mut place = Place::new();
    let mut plugin = place.plugin();
    let bytes = ask(CniRequest::Status);
    let file = std::fs::File::open("/proc/self/ns/net").unwrap();
    let fds = [file.as_fd(), file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let first = [IoSlice::new(&bytes[..3])];
    rustix::net::sendmsg(&plugin, &first, &mut ancillary, SendFlags::empty()).unwrap();
    plugin.write_all(&bytes[3..10]).unwrap();
    tokio::task::yield_now().await;
    plugin.write_all(&bytes[10..]).unwrap();
    let (id, request, netns) = place.request().await;
    assert_eq!(request, CniRequest::Status);
    assert!(netns.is_some());
    place.server.answer(id, CniAnswer::Done);
    assert_eq!(read_answer(plugin).await, CniAnswer::Done);
}

#[tokio::test]
async fn a_plugin_that_is_killed_while_it_waits_is_reported_once() {
    let mut place = Place::new();
    let mut plugin = place.plugin();
    plugin.write_all(&ask(CniRequest::Status)).unwrap();
    let (id, ..) = place.request().await;
    drop(plugin);
    let Incoming::HungUp(gone) = place.next().await else { panic!("a request from nobody") };
    assert_eq!(gone, id);
    place.server.answer(id, CniAnswer::Done);
    // One that is killed in the middle of its request was never there; the next one is served.
    let mut half = place.plugin();
    half.write_all(&ask(CniRequest::Status)[..9]).unwrap();
    drop(half);
    let mut whole = place.plugin();
    whole.write_all(&ask(CniRequest::Del(del()))).unwrap();
    let (_, request, _) = place.request().await;
    assert_eq!(request, CniRequest::Del(del()));
}

/// A plugin that has asked for an ADD, and what its request goes by.
async fn asked_to_add(place: &mut Place) -> (UnixStream, RequestId) {
    let mut plugin = place.plugin();
    plugin.write_all(&ask(CniRequest::Add(add()))).unwrap();
    let (id, request, _) = place.request().await;
    assert_eq!(request, CniRequest::Add(add()));
    (plugin, id)
}

fn added() -> CniAnswer {
    let end = |name: &str| Interface { name: name.into(), mac: Mac([2; 6]), mtu: 1500 };
    CniAnswer::Added(Added { host: end("cord0"), container: end("eth0"), ips: vec![], routes: vec![] })
}

#[tokio::test]
async fn an_add_whose_answer_nobody_reads_is_taken_back() {
    let mut place = Place::new();
    // Killed while its answer is being made: nothing else runs between the two, so it can't be sent.
    let (plugin, id) = asked_to_add(&mut place).await;
    drop(plugin);
    place.server.answer(id, added());
    let (undone, request, _) = place.request().await;
    assert_eq!(request, CniRequest::Del(del()));
    place.server.answer(undone, CniAnswer::Done);
    // Killed with the answer in its socket.
    let (mut plugin, id) = asked_to_add(&mut place).await;
    place.server.answer(id, added());
    let plugin = tokio::task::spawn_blocking(move || {
        plugin.read_exact(&mut [0; 3]).unwrap();
        plugin
    });
    drop(plugin.await.unwrap());
    assert_eq!(place.request().await.1, CniRequest::Del(del()));
}

#[tokio::test]
async fn an_add_whose_answer_was_read_stays_and_a_failure_leaves_nothing_to_take_back() {
    let mut place = Place::new();
    let (plugin, id) = asked_to_add(&mut place).await;
    place.server.answer(id, added());
    assert_eq!(read_answer(plugin).await, added());
    let (plugin, id) = asked_to_add(&mut place).await;
    drop(plugin);
    place.server.answer(id, CniAnswer::Failed(CniFailure::new(1, "no")));
    // What comes next is the next request, and no DEL.
    let mut next = place.plugin();
    next.write_all(&ask(CniRequest::Status)).unwrap();
    assert_eq!(place.request().await.1, CniRequest::Status);
}

#[tokio::test]
async fn garbage_and_strange_versions_are_refused_with_the_reason() {
    let place = Place::new();
    let strange = Ask { speaks: Spoken { oldest: 900, newest: 901 }, request: CniRequest::Status };
    let cases = [
        (vec![0xff; 64], "at most"),
        ([&[0, 0, 0, 4][..], b"oops"].concat(), "not a message"),
        (frame::encode(&strange, CNI_LIMIT).unwrap(), "upgrade the older one"),
    ];
    for (bytes, why) in cases {
        let mut plugin = place.plugin();
        plugin.write_all(&bytes).unwrap();
        let CniAnswer::Failed(CniFailure { details, .. }) = read_answer(plugin).await else {
            panic!("{why}")
        };
        assert!(details.contains(why), "{details}");
    }
}

#[tokio::test]
async fn a_note_is_a_request_and_goes_when_it_is_done() {
    let mut place = Place::new();
    let spool = place.dir.join("spool");
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::write(spool.join("a.json"), serde_json::to_vec(&del()).unwrap()).unwrap();
    std::fs::write(spool.join("b.json"), b"garbage").unwrap();
    std::fs::write(spool.join(".a.17"), b"half a no").unwrap();
    place.server = CniServer::listen(&place.dir.join("cni.sock"), &place.dir).unwrap();
    assert!(!spool.join("b.json").exists());
    let (id, request, _) = place.request().await;
    assert_eq!(request, CniRequest::Del(del()));
    place.server.answer(id, CniAnswer::Done);
    assert!(!spool.join("a.json").exists());
}

#[tokio::test]
async fn only_our_own_user_can_open_the_socket() {
    let place = Place::new();
    let mode = std::fs::metadata(place.dir.join("cni.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
