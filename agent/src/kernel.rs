//! The kernel on a thread of its own, so that a large plan or reading never holds up the loop; and another that waits
//! for what others change.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use corduroy_agent_core::agent::{Input, Read};
use corduroy_kernel::{NetnsId, Plan, State};
use corduroy_kernel_linux::{Kernel, KernelError, Watch};
use tokio::sync::mpsc;

/// The pause after the kernel could not be read.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the watching thread sleeps at most before it looks whether anybody still listens.
const LONG: Duration = Duration::from_secs(3600);

/// What the thread is asked, in this order.
enum Job {
    Hold(NetnsId, OwnedFd),
    Release(NetnsId),
    Read(Read),
    Apply(Plan),
}

/// The thread, seen from the loop. It ends when this is dropped.
#[derive(Debug)]
pub struct KernelThread {
    jobs: Sender<Job>,
    done: mpsc::UnboundedReceiver<Input>,
    netns: u32,
}

/// The kernel can't be had at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No netlink socket.
    #[error("kernel: {0}")]
    Kernel(#[from] KernelError),
    /// No thread, or nothing to wait with.
    #[error("kernel: {0}")]
    System(#[from] std::io::Error),
}

impl KernelThread {
    /// The kernel of the network namespace this process is in. Needs the runtime it is to run on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        let kernel = Kernel::open(None)?;
        // Watched before it is read, so that no change falls between.
        let watch = kernel.watch()?;
        let (jobs, received) = channel();
        let (sender, done) = mpsc::unbounded_channel();
        let changes = sender.clone();
        thread::Builder::new().name("watch".to_owned()).spawn(move || tell(watch, &changes))?;
        thread::Builder::new().name("kernel".to_owned()).spawn(move || work(kernel, &received, &sender))?;
        Ok(Self { jobs, done, netns: 0 })
    }

    /// A namespace that a plugin passed, from now on known by this id.
    pub fn hold(&mut self, netns: OwnedFd) -> NetnsId {
        let id = NetnsId(self.netns);
        self.netns = self.netns.wrapping_add(1);
        self.ask(Job::Hold(id, netns));
        id
    }

    /// A namespace is needed no more.
    pub fn release(&self, id: NetnsId) {
        self.ask(Job::Release(id));
    }

    /// Reads; [`Self::next`] brings the answer.
    pub fn read(&self, read: Read) {
        self.ask(Job::Read(read));
    }

    /// Applies; [`Self::next`] brings the answer.
    pub fn apply(&self, plan: Plan) {
        self.ask(Job::Apply(plan));
    }

    fn ask(&self, job: Job) {
        // The thread lives as long as its jobs can be sent.
        let _ = self.jobs.send(job);
    }

    /// What the agent is to hear next: answers, and what others changed. Safe to drop and call again.
    pub async fn next(&mut self) -> Vec<Input> {
        let Some(first) = self.done.recv().await else {
            // The threads end only with this.
            return std::future::pending().await;
        };
        let mut inputs = vec![first];
        inputs.extend(std::iter::from_fn(|| self.done.try_recv().ok()));
        inputs
    }
}

fn tell(mut watch: Watch, changes: &mpsc::UnboundedSender<Input>) {
    while !changes.is_closed() {
        for changed in watch.wait(LONG) {
            // Nobody listens any more: seen above.
            let _ = changes.send(Input::Changed(changed));
        }
    }
}

fn work(mut kernel: Kernel, jobs: &Receiver<Job>, done: &mpsc::UnboundedSender<Input>) {
    while let Ok(job) = jobs.recv() {
        let input = match job {
            Job::Hold(id, netns) => {
                kernel.hold(id, netns);
                continue;
            }
            Job::Release(id) => {
                kernel.release(id);
                continue;
            }
            Job::Read(what) => Input::Read(Box::new(read(&mut kernel, what))),
            Job::Apply(plan) => Input::Applied(kernel.apply(&plan)),
        };
        if done.send(input).is_err() {
            return;
        }
    }
}

/// The agent waits for this and can do nothing without, so it is tried until it succeeds.
fn read(kernel: &mut Kernel, what: Read) -> State {
    if let Read::Again(mut state, changes) = what {
        match kernel.refresh(&mut state, &changes) {
            Ok(()) => return *state,
            Err(error) => tracing::warn!("reading again what changed: {error}; reading everything"),
        }
    }
    loop {
        match kernel.read() {
            Ok(state) => return state,
            Err(error) => tracing::error!("{error}; trying again"),
        }
        thread::sleep(PAUSE);
    }
}
