//! Pods' interfaces on their way out.
//!
//! The kernel deletes an interface in tens of milliseconds, all of them spent waiting until no processor can still be
//! using it; setting it down takes some microseconds and ends all that matters: nothing passes it any more, its routes
//! and neighbours are gone. So a pod's interface is set down where its deletion was asked for, and deleted here, on a
//! thread of its own, while the next pod is wired. Those that wait are deleted together, as a group, since a hundred
//! take as long as one.
//!
//! Until it is gone such an interface is not shown in what is read, and one that is to have its name waits for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use corduroy_kernel::{LinkName, OpResult};

use crate::doings::Doings;
use crate::link;
use crate::socket::{Protocol, Socket};
use crate::wire::Batch;

/// The group (`ip link show group 1668248164`) of interfaces that are deleted together: "cord" in ASCII.
const GROUP: u32 = u32::from_be_bytes(*b"cord");

/// The thread and what it has to do.
pub(crate) struct Remover {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// Interfaces on their way out, by number; those not in the queue are in the thread's hands.
    leaving: BTreeMap<u32, LinkName>,
    queue: Vec<u32>,
    closed: bool,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn wait<'a>(&self, work: MutexGuard<'a, Work>) -> MutexGuard<'a, Work> {
        self.changed.wait(work).unwrap_or_else(PoisonError::into_inner)
    }
    /// The next ones; empty when there will be none.
    fn take(&self) -> Vec<u32> {
        let mut work = self.work();
        while work.queue.is_empty() && !work.closed {
            work = self.wait(work);
        }
        std::mem::take(&mut work.queue)
    }
    fn done(&self, numbers: &[u32]) {
        let mut work = self.work();
        for number in numbers {
            work.leaving.remove(number);
        }
        self.changed.notify_all();
    }
}

impl Remover {
    /// Starts the thread. To be called in the namespace it is for: its socket stays there.
    ///
    /// # Errors
    /// A socket or a thread can't be had.
    pub(crate) fn start(doings: Doings) -> io::Result<Self> {
        let mut socket = Socket::open(Protocol::Route)?;
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let run = move || loop {
            let numbers = of_thread.take();
            if numbers.is_empty() {
                break;
            }
            delete(&mut socket, &numbers, &doings);
            of_thread.done(&numbers);
        };
        let thread = std::thread::Builder::new().name("remover".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }
    /// Delete this interface some time.
    pub(crate) fn remove(&self, name: LinkName, number: u32) {
        let mut work = self.shared.work();
        if work.leaving.insert(number, name).is_none() {
            work.queue.push(number);
        }
        self.shared.changed.notify_all();
    }
    /// Is it on its way out?
    pub(crate) fn is_leaving(&self, number: u32) -> bool {
        self.shared.work().leaving.contains_key(&number)
    }
    /// Wait until no interface of this name is on its way out.
    pub(crate) fn wait_for(&self, name: LinkName) {
        let mut work = self.shared.work();
        while work.leaving.values().any(|leaving| *leaving == name) {
            work = self.shared.wait(work);
        }
    }
}

impl Drop for Remover {
    /// What was asked for is done before.
    fn drop(&mut self) {
        self.shared.work().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It can't have panicked without a fault of ours, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// An interface that is gone already is what is wanted; one that the kernel refuses to delete stays, down, and is found
/// by the next reading.
fn delete(socket: &mut Socket, numbers: &[u32], doings: &Doings) {
    let together = numbers.len() > 1 && {
        for number in numbers {
            let _ = ask(socket, |batch, seq| link::set_group(batch, seq, *number, GROUP));
        }
        ask(socket, |batch, seq| link::delete_group(batch, seq, GROUP)).is_ok()
    };
    if !together {
        for number in numbers {
            let deleted = ask(socket, |batch, seq| link::delete_number(batch, seq, *number));
            if deleted.is_err() {
                doings.stays(*number);
            }
        }
    }
}

fn ask(socket: &mut Socket, message: impl FnOnce(&mut Batch, u32)) -> OpResult {
    let seq = socket.take(1);
    let mut batch = Batch::default();
    message(&mut batch, seq);
    batch.ask_ack();
    socket.ask(&batch, seq)
}
