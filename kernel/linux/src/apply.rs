//! Applying: operations into messages, answers into results.
//!
//! What goes over rtnetlink is gathered into batches that keep the order of the operations; everything else
//! (our table, switches, pods' namespaces) first sends what is gathered. So a plan of 10,000 routes is some
//! forty system calls, and a pod's plan still happens step by step.

use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;

use corduroy_kernel::{Cause, LinkName, NetnsId, Op, OpError, OpResult};

use crate::nft::encode;
use crate::route::{delete as delete_route, put as put_route};
use crate::wire::Batch;
use crate::{Kernel, address, conntrack, error, link, neighbour, pod, read, sysctl, within};

/// Messages in one `sendmsg`: beyond 64 nothing is gained, far beyond it answers no longer fit the receive
/// buffer.
const BATCH_MESSAGES: usize = 256;
/// Octets in one `sendmsg`, for routes with many next hops.
const BATCH_OCTETS: usize = 128 * 1024;

/// Perform operations in order.
pub(crate) fn apply(kernel: &mut Kernel, ops: &[Op]) -> Vec<OpResult> {
    let mut applier = Applier::new(kernel, ops.len());
    for (place, op) in ops.iter().enumerate() {
        applier.place = place;
        if let Err(error) = applier.op(op) {
            applier.fail(place, error);
        }
        if applier.sent.len() >= BATCH_MESSAGES || applier.batch.len() >= BATCH_OCTETS {
            applier.flush();
        }
    }
    applier.flush();
    applier.results
}

/// Which errors of a message are none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgive {
    Nothing,
    /// It was to be deleted and is not there.
    Gone,
    /// There is no IPv6 on it.
    NoIpv6,
}

struct Applier<'a> {
    kernel: &'a mut Kernel,
    batch: Batch,
    /// The place of its operation for each message of the batch.
    sent: Vec<(usize, Forgive)>,
    first: u32,
    place: usize,
    /// The pods' interfaces in the batch, with the places of their operations.
    making: Vec<(usize, LinkName)>,
    results: Vec<OpResult>,
}

impl<'a> Applier<'a> {
    fn new(kernel: &'a mut Kernel, ops: usize) -> Self {
        let first = kernel.route.take(2 * BATCH_MESSAGES);
        let results = vec![Ok(()); ops];
        let making = Vec::new();
        Self { kernel, batch: Batch::default(), sent: Vec::new(), first, place: 0, making, results }
    }

    /// The first error of an operation stays.
    fn fail(&mut self, place: usize, error: OpError) {
        if let Some(result) = self.results.get_mut(place)
            && result.is_ok()
        {
            *result = Err(error);
        }
    }

    /// The number for the next message of the batch.
    fn message(&mut self, forgive: Forgive) -> u32 {
        self.sent.push((self.place, forgive));
        self.first + u32::try_from(self.sent.len()).unwrap_or_default() - 1
    }

    /// Send what is gathered and read what became of it.
    fn flush(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let sent = std::mem::take(&mut self.sent);
        batch.ask_ack();
        let numbers: RangeInclusive<u32> =
            self.first..=self.first + u32::try_from(sent.len()).unwrap_or(1) - 1;
        let last = *numbers.end();
        match self.kernel.route.exchange(&batch, numbers, |seq| seq == last) {
            Ok(refusals) => {
                for (seq, error) in refusals {
                    let place = usize::try_from(seq - self.first).unwrap_or(usize::MAX);
                    let Some((place, forgive)) = sent.get(place) else { continue };
                    if !forgiven(*forgive, &error) {
                        self.fail(*place, error);
                    }
                }
            }
            Err(broken) => {
                sent.iter().for_each(|(place, _)| self.fail(*place, error::op_error(&broken)));
            }
        }
        self.first = self.kernel.route.take(2 * BATCH_MESSAGES);
        for (place, name) in std::mem::take(&mut self.making) {
            if self.results.get(place).is_some_and(Result::is_err) {
                self.kernel.doings.not_made(name);
            }
        }
    }

    /// The number of an interface; asks for it if it is not known.
    fn index(&mut self, name: LinkName) -> Result<u32, OpError> {
        if let Ok(index) = self.kernel.index.of(name) {
            return Ok(index);
        }
        self.flush();
        let _ = read::lookup(self.kernel, name);
        self.kernel.index.of(name)
    }

    fn op(&mut self, op: &Op) -> OpResult {
        match op {
            Op::AddLink(_) | Op::AddVeth(..) | Op::SetLink(_) | Op::SetUp(..) | Op::DeleteLink(_) => {
                self.link(op)
            }
            Op::PutAddress(_) | Op::DeleteAddress(_) => self.address(op),
            Op::PutNeighbour(_) | Op::DeleteNeighbour(..) | Op::PutFdb(_) | Op::DeleteFdb(..) => {
                self.neighbour(op)
            }
            Op::PutRoute(_) | Op::DeleteRoute(_) | Op::DeleteStrayRoute(..) => self.route(op),
            Op::SetPod(_) | Op::SetSysctl(..) | Op::Nft(_) | Op::ForgetFlows(_) | Op::MarkFlows { .. } => {
                self.flush();
                self.elsewhere(op)
            }
        }
    }

    fn link(&mut self, op: &Op) -> OpResult {
        match op {
            Op::AddLink(link) => {
                let seq = self.message(Forgive::Nothing);
                if link::add(&mut self.batch, seq, link).is_none() {
                    self.sent.pop();
                    return Err(invalid("only ipip and vxlan devices are made by AddLink"));
                }
                self.no_link_local(link.name);
                self.kernel.index.forget(link.name);
            }
            Op::AddVeth(link, peer) => {
                let netns = self.pod(peer.netns)?;
                if let Some(remover) = &self.kernel.remover {
                    remover.wait_for(link.name);
                }
                let seq = self.message(Forgive::Nothing);
                self.kernel.doings.making(link.name);
                self.making.push((self.place, link.name));
                link::add_veth(&mut self.batch, seq, link, peer, netns);
                self.no_link_local(link.name);
                self.kernel.index.forget(link.name);
            }
            Op::SetLink(link) => {
                let seq = self.message(Forgive::Nothing);
                link::set(&mut self.batch, seq, link);
                self.no_link_local(link.name);
            }
            Op::SetUp(name, up) => {
                let seq = self.message(Forgive::Nothing);
                link::set_up(&mut self.batch, seq, *name, *up);
            }
            Op::DeleteLink(name) if name.is_pod() => return self.remove_pod(*name),
            Op::DeleteLink(name) => {
                let seq = self.message(Forgive::Gone);
                link::delete(&mut self.batch, seq, *name);
                self.kernel.index.forget(*name);
            }
            _ => {}
        }
        Ok(())
    }

    /// Set the interface down and leave the rest to the remover.
    fn remove_pod(&mut self, name: LinkName) -> OpResult {
        self.flush();
        let failed =
            |error: crate::KernelError| OpError { cause: Cause::Other, errno: 0, detail: error.to_string() };
        let Some(seen) = read::lookup(self.kernel, name).map_err(failed)? else { return Ok(()) };
        let seq = self.message(Forgive::Gone);
        link::set_up(&mut self.batch, seq, name, false);
        self.kernel.doings.leaving(seen.index);
        self.flush();
        self.kernel.index.forget(name);
        if self.results.get(self.place).is_some_and(Result::is_ok) {
            self.kernel.remover().map_err(failed)?.remove(name, seen.index);
        } else {
            self.kernel.doings.stays(seen.index);
        }
        Ok(())
    }

    fn no_link_local(&mut self, name: LinkName) {
        let seq = self.message(Forgive::NoIpv6);
        link::set_addr_gen_none(&mut self.batch, seq, name);
    }

    fn pod(&self, id: NetnsId) -> Result<i32, OpError> {
        self.kernel.pods.get(&id).map(AsRawFd::as_raw_fd).ok_or_else(|| no_pod(id))
    }

    fn address(&mut self, op: &Op) -> OpResult {
        match op {
            Op::PutAddress(address) => {
                let index = self.index(address.dev)?;
                let seq = self.message(Forgive::Nothing);
                address::put(&mut self.batch, seq, address, index);
            }
            Op::DeleteAddress(address) => {
                let Ok(index) = self.index(address.dev) else { return Ok(()) };
                let seq = self.message(Forgive::Gone);
                address::delete(&mut self.batch, seq, address, index);
            }
            _ => {}
        }
        Ok(())
    }

    fn neighbour(&mut self, op: &Op) -> OpResult {
        match op {
            Op::PutNeighbour(one) => {
                let index = self.index(one.dev)?;
                let seq = self.message(Forgive::Nothing);
                neighbour::put(&mut self.batch, seq, one, index);
            }
            Op::PutFdb(entry) => {
                let index = self.index(entry.dev)?;
                let seq = self.message(Forgive::Nothing);
                neighbour::put_fdb(&mut self.batch, seq, entry, index);
            }
            Op::DeleteNeighbour(dev, addr) => {
                let Ok(index) = self.index(*dev) else { return Ok(()) };
                let seq = self.message(Forgive::Gone);
                neighbour::delete(&mut self.batch, seq, *addr, index);
            }
            Op::DeleteFdb(dev, mac) => {
                let Ok(index) = self.index(*dev) else { return Ok(()) };
                let seq = self.message(Forgive::Gone);
                neighbour::delete_fdb(&mut self.batch, seq, *mac, index);
            }
            _ => {}
        }
        Ok(())
    }

    fn route(&mut self, op: &Op) -> OpResult {
        match op {
            Op::PutRoute(route) => {
                for hop in route.hops() {
                    self.index(hop.dev)?;
                }
                let seq = self.message(Forgive::Nothing);
                put_route(&mut self.batch, seq, route, &self.kernel.index)?;
            }
            Op::DeleteRoute(dst) => {
                let seq = self.message(Forgive::Gone);
                delete_route(&mut self.batch, seq, *dst, corduroy_kernel::route::METRIC);
            }
            Op::DeleteStrayRoute(dst, metric) => {
                let seq = self.message(Forgive::Gone);
                delete_route(&mut self.batch, seq, *dst, *metric);
            }
            _ => {}
        }
        Ok(())
    }

    /// What does not go over the rtnetlink socket of this namespace.
    fn elsewhere(&mut self, op: &Op) -> OpResult {
        match op {
            Op::SetPod(end) => {
                let netns = self.kernel.pods.get(&end.netns).ok_or_else(|| no_pod(end.netns))?;
                pod::set(netns, end)
            }
            Op::SetSysctl(switch, value) => {
                let write = || sysctl::write(switch, *value);
                within(self.kernel.netns.as_ref(), write)
                    .unwrap_or_else(|error| Err(invalid(&error.to_string())))
            }
            Op::Nft(changes) => self.transaction(changes),
            Op::ForgetFlows(addr) => conntrack::forget(&mut self.kernel.nft, *addr),
            Op::MarkFlows { mask, value, flows } => {
                conntrack::mark(&mut self.kernel.nft, (*mask, *value), flows)
            }
            _ => Ok(()),
        }
    }

    fn transaction(&mut self, changes: &[corduroy_kernel::nft::Change]) -> OpResult {
        if changes.is_empty() {
            return Ok(());
        }
        let socket = &mut self.kernel.nft;
        let first = socket.take(1);
        let transaction = encode::transaction(changes, first)?;
        let (begin, last) = (first, transaction.last());
        socket.take(transaction.batch.count);
        let refusals = socket
            .exchange(&transaction.batch, begin..=last, |seq| seq == begin || seq == last)
            .map_err(|error| error::op_error(&error))?;
        // The first refusal is the cause, what comes behind it often its consequence.
        let Some((seq, mut error)) = refusals.into_iter().next() else { return Ok(()) };
        if let Some(change) = transaction.change_of(seq).and_then(|place| changes.get(place)) {
            let what = format!("{} refused in {}", encode::describe(change), corduroy_kernel::nft::TABLE);
            let said = std::mem::take(&mut error.detail);
            error.detail = if said.is_empty() { what } else { format!("{what}: {said}") };
        }
        Err(error)
    }
}

fn forgiven(forgive: Forgive, error: &OpError) -> bool {
    match forgive {
        Forgive::Nothing => false,
        Forgive::Gone => error.cause == Cause::Missing,
        Forgive::NoIpv6 => error.cause == Cause::Unsupported,
    }
}

fn invalid(text: &str) -> OpError {
    OpError { cause: Cause::Invalid, errno: 0, detail: text.to_owned() }
}

fn no_pod(id: NetnsId) -> OpError {
    OpError { cause: Cause::Missing, errno: 0, detail: format!("no namespace is held as {}", id.0) }
}
