//! Listening sockets and the MD5 keys they demand.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corduroy_bgp::config::Secret;
use corduroy_bgp::{Net, Time};
use socket2::Socket;

use crate::notice::{ListenProblem, Notice};
use crate::reactor::{Reactor, Ready, Watch};
use crate::{OpenError, sockets, sockopt};

/// Tokens of listeners start here; smaller ones are connection ids.
const TOKEN: u64 = 1 << 32;
/// Connections taken in one turn.
const BATCH: usize = 64;
/// How long nothing is accepted after descriptors or memory ran out.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection from outside: the socket, their end, our end.
pub(crate) type Accepted = (Socket, SocketAddr, SocketAddr);

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<(Socket, SocketAddr)>,
    keys: BTreeMap<Net, Secret>,
    /// Prefixes whose key the kernel refused: nobody is let in from there, because nobody could be checked.
    closed_to: Vec<Net>,
    paused: Option<Time>,
}

impl Listeners {
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Self, OpenError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let socket = sockets::listen(address).map_err(|source| OpenError::Listen { address, source })?;
            sockets.push((socket, address));
        }
        Ok(Self { sockets, keys: BTreeMap::new(), closed_to: Vec::new(), paused: None })
    }

    /// Where they listen; the port is the real one when 0 was asked for.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|(socket, _)| sockets::local_addr(socket)).collect()
    }

    pub(crate) fn register(&self, reactor: &Reactor) -> io::Result<()> {
        (TOKEN..).zip(&self.sockets).try_for_each(|(token, (s, _))| reactor.add(s, token, Watch::READ))
    }

    pub(crate) fn paused_until(&self) -> Option<Time> {
        self.paused
    }

    /// Listens again when a pause is over.
    pub(crate) fn resume(&mut self, reactor: &Reactor, now: Time) -> io::Result<()> {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.watch(reactor, Watch::READ)?;
        }
        Ok(())
    }

    fn watch(&self, reactor: &Reactor, watch: Watch) -> io::Result<()> {
        (TOKEN..).zip(&self.sockets).try_for_each(|(token, (s, _))| reactor.change(s, token, watch))
    }

    pub(crate) fn close(&mut self) {
        self.sockets.clear();
        self.paused = None;
    }

    /// Takes up to [`BATCH`] waiting connections.
    pub(crate) fn accept(
        &mut self,
        ready: Ready,
        reactor: &Reactor,
        now: Time,
        notices: &mut Vec<Notice>,
    ) -> Vec<Accepted> {
        let index = usize::try_from(ready.token - TOKEN).unwrap_or(usize::MAX);
        let mut out = Vec::new();
        let mut trouble = None;
        if let Some((listener, _)) = self.sockets.get(index) {
            for _ in 0..BATCH {
                match sockets::accept(listener) {
                    Ok(accepted) => out.push(accepted),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if runs_out(&e) => {
                        trouble = Some(e);
                        break;
                    }
                    // The connection died while it waited (accept(2) lists the errors); the next may be well.
                    Err(_) => {}
                }
            }
        }
        if let Some(e) = trouble {
            // A level-triggered listener would otherwise wake us for ever.
            self.paused = Some(now + PAUSE);
            notices.push(Notice::Listen(ListenProblem::Accept(e)));
            if let Err(e) = self.watch(reactor, Watch::NONE) {
                notices.push(Notice::Listen(ListenProblem::Accept(e)));
            }
        }
        out.retain(|(_, remote, _)| !self.is_closed_to(remote.ip()));
        out
    }

    fn is_closed_to(&self, remote: IpAddr) -> bool {
        let host =
            |net: &Net| Net::new(remote, if remote.is_ipv4() { 32 } else { 128 }).map(|h| net.contains(h));
        self.closed_to.iter().any(|net| host(net) == Ok(true))
    }

    /// From now on these keys are demanded and no others. Only what differs is touched.
    pub(crate) fn set_keys(&mut self, keys: Vec<(Net, Secret)>, notices: &mut Vec<Notice>) {
        let wanted: BTreeMap<Net, Secret> = keys.into_iter().collect();
        let former = std::mem::take(&mut self.keys);
        self.closed_to.clear();
        for net in former.keys().filter(|net| !wanted.contains_key(net)) {
            // An error says that there was none.
            let _ = self.set_key(*net, &[]);
        }
        for (net, key) in wanted {
            if former.get(&net) != Some(&key)
                && let Err(error) = self.set_key(net, key.expose())
            {
                self.closed_to.push(net);
                notices.push(Notice::Listen(ListenProblem::Key { net, error }));
                continue;
            }
            self.keys.insert(net, key);
        }
    }

    fn set_key(&self, net: Net, key: &[u8]) -> io::Result<()> {
        let same_family = |addr: &SocketAddr| addr.is_ipv4() == net.addr().is_ipv4();
        self.sockets
            .iter()
            .filter(|(_, addr)| same_family(addr))
            .try_for_each(|(socket, _)| sockopt::set_md5_key(socket, net, 0, key))
    }
}

/// Is it we who lack something, and not the connection that is broken?
fn runs_out(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
