//! The real kernel behind [`corduroy_kernel`]: reads a [`State`], applies a [`Plan`], watches for changes.
//!
//! Everything is blocking and quick: a question to the kernel is answered before the call returns, so a
//! caller on an event loop gives [`Kernel`] a thread of its own and waits for [`Watch`] by its descriptor.
//!
//! - Routes go in raw batches of up to 256 messages per `sendmsg`, an answer asked for on the last one only.
//! - Our table goes in one nf_tables transaction per [`corduroy_kernel::Op::Nft`]. No generation is checked: another
//!   program that writes its own tables all day can't make ours fail.
//! - Links, addresses and neighbours are written with the message types of rtnetlink, over the same sockets.
//! - Dumps are filtered by the kernel (strict check) and begun again when they were disturbed.
//!
//! `unsafe` is confined to the modules of system calls: sockets, namespaces, epoll.

mod address;
mod apply;
mod conntrack;
mod doings;
mod error;
mod features;
mod index;
mod link;
mod neighbour;
mod netns;
mod nft;
mod packet_log;
mod pod;
mod read;
mod remover;
mod route;
mod socket;
mod sysctl;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use corduroy_kernel::nft::Counted;
use corduroy_kernel::{Features, Flow, NetnsId, OpResult, Plan, State};

pub use error::KernelError;
pub use packet_log::{Logged, PacketLog};
pub use watch::Watch;

use doings::Doings;
use error::netlink;
use index::Index;
use remover::Remover;
use socket::{Protocol, Socket};

/// The kernel of one network namespace.
pub struct Kernel {
    route: Socket,
    nft: Socket,
    /// The namespace this kernel is of; `None`: that of the thread that opened it, which must be that of every thread
    /// that uses it.
    netns: Option<OwnedFd>,
    index: Index,
    pods: BTreeMap<NetnsId, OwnedFd>,
    features: Features,
    /// Made when the first pod goes.
    remover: Option<Remover>,
    doings: Doings,
}

impl Kernel {
    /// Open the kernel of the namespace `netns`, or of the calling thread, and find out what it can do.
    ///
    /// # Errors
    /// The namespace can't be entered, or a netlink socket can't be had.
    pub fn open(netns: Option<OwnedFd>) -> Result<Self, KernelError> {
        let (route, nft) = within(netns.as_ref(), || {
            Ok::<_, std::io::Error>((Socket::open(Protocol::Route)?, Socket::open(Protocol::Netfilter)?))
        })?
        .map_err(netlink("open a socket"))?;
        let (index, pods, features) = (Index::default(), BTreeMap::new(), features::find());
        Ok(Self { route, nft, netns, index, pods, features, remover: None, doings: Doings::default() })
    }
    /// Hold a pod's namespace open under an id that operations name it by. The caller chooses it, one that is
    /// not in use.
    pub fn hold(&mut self, id: NetnsId, netns: OwnedFd) {
        self.pods.insert(id, netns);
    }
    /// Let go of a pod's namespace. What names it later fails as missing.
    pub fn release(&mut self, id: NetnsId) {
        self.pods.remove(&id);
    }
    /// Read everything.
    ///
    /// # Errors
    /// The kernel could not be asked; a part that it does not have (IPv6, nf_tables) is empty instead.
    pub fn read(&mut self) -> Result<State, KernelError> {
        read::all(self)
    }
    /// Read again what these changes say may be different.
    ///
    /// # Errors
    /// As [`Kernel::read`]; the state is then to be read as a whole.
    pub fn refresh<'a>(
        &mut self,
        state: &mut State,
        changes: impl IntoIterator<Item = &'a corduroy_kernel::Changed>,
    ) -> Result<(), KernelError> {
        read::refresh(self, state, &changes.into_iter().collect())
    }
    /// What the rules of our table have counted, those that count, in the order of the kernel's rules; of rules that
    /// are replaced (`SetRules`) it begins anew. Reads all rules: to be asked when somebody wants to know.
    ///
    /// # Errors
    /// The kernel could not be asked. Without a table, or without nf_tables, nothing has been counted.
    pub fn counters(&mut self) -> Result<Vec<Counted>, KernelError> {
        read::counters(&mut self.nft)
    }
    /// The connections of both families that are tracked here. The kernel gives them out while others come and go: one
    /// that comes or goes meanwhile may be missing, or be there twice.
    ///
    /// # Errors
    /// The kernel could not be asked. Where nothing is tracked, there are none.
    pub fn flows(&mut self) -> Result<Vec<Flow>, KernelError> {
        conntrack::flows(&mut self.nft).map_err(netlink("read connections"))
    }
    /// Listen to a group of the packet log of this namespace: what rules hand to it ([`nft::Expr::LogGroup`]), the
    /// first 128 octets of each packet.
    ///
    /// # Errors
    /// A socket can't be had; another one listens to the group already (EPERM); the kernel has no packet log.
    ///
    /// [`nft::Expr::LogGroup`]: corduroy_kernel::nft::Expr::LogGroup
    pub fn packet_log(&self, group: u16) -> Result<PacketLog, KernelError> {
        let open = || PacketLog::open(group);
        within(self.netns.as_ref(), open)?.map_err(netlink("listen to a group of the packet log"))
    }
    /// Perform a plan, in order. One result for each operation.
    ///
    /// The interface of a pod is down and out of every reading when its deletion has gone well, and deleted some
    /// tens of milliseconds later; making one of the same name waits for that.
    pub fn apply(&mut self, plan: &Plan) -> Vec<OpResult> {
        apply::apply(self, &plan.ops)
    }
    /// Whoever deletes pods' interfaces.
    fn remover(&mut self) -> Result<&Remover, KernelError> {
        let remover = match self.remover.take() {
            Some(remover) => remover,
            None => {
                let start = || Remover::start(self.doings.clone());
                within(self.netns.as_ref(), start)?.map_err(netlink("start the remover"))?
            }
        };
        Ok(self.remover.insert(remover))
    }
    /// Is the interface of this number on its way out?
    fn is_leaving(&self, number: u32) -> bool {
        self.remover.as_ref().is_some_and(|remover| remover.is_leaving(number))
    }
    /// Watch for what others change. What this `Kernel` itself changes in routes, neighbours, pods' interfaces and our
    /// table is not reported; its changes of other links and of addresses are.
    ///
    /// # Errors
    /// A socket can't be had.
    pub fn watch(&self) -> Result<Watch, KernelError> {
        let ports = (self.route.port(), self.nft.port());
        within(self.netns.as_ref(), || Watch::open(ports, self.doings.clone()))?.map_err(netlink("watch"))
    }
}

/// Run `work` in the namespace, or here when there is none.
fn within<T>(netns: Option<&OwnedFd>, work: impl FnOnce() -> T) -> Result<T, KernelError> {
    match netns {
        None => Ok(work()),
        Some(netns) => netns::inside(netns, work).map_err(KernelError::Netns),
    }
}
