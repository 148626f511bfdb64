//! The node: the agent's join between a thread that says what happens and the kernel's thread, in a process of its own.
//!
//! Standard output gets one line of JSON when everything was measured. Then a line on standard input asks for the
//! record: some more changes one at a time, and for each a line with the elements that came and went.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use corduroy_agent::kernel::KernelThread;
use corduroy_agent_core::agent::{Agent, Declared, Input, Output, Settings};
use corduroy_agent_core::desired::hosts::Failsafe;
use corduroy_agent_core::endpoints::{self, Endpoints};
use corduroy_agent_core::ipam::Owner;
use corduroy_agent_core::me::{Membership, Wanted};
use corduroy_api::{Event, Version, Write};
use corduroy_bgp::Time;
use corduroy_bgp_net::now;
use corduroy_fabric::peering;
use corduroy_kernel::nft::Change;
use corduroy_kernel::{Op, OpResult, Plan};
use rustix::event::{Timespec, poll};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::cluster::{Churn, NODE, UID, events};
use super::{A_CHANGE, ALONE, BUSY, CORE, FILLED, MEMORY, Sizes};
use crate::report::percentile;
use crate::usage::{cpu_without, peak};

/// How many events are handed in together while the cluster is listed.
const CHUNK: usize = 500;
/// For how long the kernel may take to have what was said.
const PATIENCE: Duration = Duration::from_secs(300);
/// The thread that says what happens. It stands for the datastore: its processor time is not the agent's.
const TELLER: &str = "teller";

/// A node of this size, until its standard input ends.
///
/// # Errors
/// It could not start, the kernel refused something, or took too long.
pub fn run(sizes: &str) -> Result<(), String> {
    let sizes = Sizes::parse(sizes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let mut node = Measured::start(sizes)?;
        println!("{}", node.measure(sizes).await?);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|e| e.to_string())?;
        if line.is_empty() { Ok(()) } else { node.record(sizes).await }
    })
}

/// What happens, and when it was handed in.
type Said = (Event, Instant);

struct Measured {
    agent: Agent,
    kernel: KernelThread,
    churn: Option<Churn>,
    said: (UnboundedSender<Said>, UnboundedReceiver<Said>),
    /// When those changes were handed in that are not in the kernel: not in a plan yet, and in one.
    waiting: Vec<Instant>,
    flying: Vec<Instant>,
    /// What became of changes: seconds until they were in the kernel, and how many asked nothing of it.
    took: Vec<f64>,
    nothing: usize,
    /// The last plan, as a record of it.
    planned: Vec<Value>,
    refused: Option<String>,
}

impl Measured {
    fn start(sizes: Sizes) -> Result<Self, String> {
        let owner = Owner { node: NODE.to_owned(), uid: UID.to_owned(), first_epoch: 7 };
        let (endpoints, _) = Endpoints::new(owner, endpoints::Settings::default(), b"", "boot");
        let settings = Settings {
            node: NODE.to_owned(),
            uid: UID.to_owned(),
            member: Membership::Itself,
            v4: Wanted::Auto,
            v6: Wanted::Nothing,
            declared: Declared::default(),
            peering: peering::Options::default(),
            failsafe: Failsafe::default(),
        };
        Ok(Self {
            agent: Agent::new(settings, endpoints),
            kernel: KernelThread::start().map_err(|e| e.to_string())?,
            churn: Some(Churn::new(sizes)),
            said: unbounded_channel(),
            waiting: Vec::new(),
            flying: Vec::new(),
            took: Vec::new(),
            nothing: 0,
            planned: Vec::new(),
            refused: None,
        })
    }

    async fn measure(&mut self, sizes: Sizes) -> Result<Value, String> {
        let start = Instant::now();
        self.fill(sizes).await?;
        let filled = start.elapsed().as_secs_f64();
        let alone = self.changes(1, sizes.still).await?;
        let busy = self.changes(sizes.rate, sizes.rate * sizes.busy).await?;
        let [mut alone_took, mut busy_took] = [alone.took, busy.took];
        eprintln!(
            "{} of {} changes while busy asked nothing of the kernel",
            busy.nothing,
            sizes.rate * sizes.busy
        );
        Ok(json!({
            FILLED: filled,
            ALONE[0]: percentile(&mut alone_took, 50), ALONE[1]: percentile(&mut alone_took, 99),
            BUSY[0]: percentile(&mut busy_took, 50), BUSY[1]: percentile(&mut busy_took, 99),
            A_CHANGE: busy.cpu / (sizes.rate * sizes.busy) as f64,
            CORE: 100.0 * busy.cpu / busy.seconds,
            MEMORY: peak(std::process::id()),
        }))
    }

    /// Everything there is, as it is listed when an agent starts.
    async fn fill(&mut self, sizes: Sizes) -> Result<(), String> {
        let mut all = events(sizes).peekable();
        while all.peek().is_some() {
            let chunk = all.by_ref().take(CHUNK).collect();
            self.agent.handle(Input::Datastore(chunk), now());
            self.obey();
        }
        self.until("all of it", |node| node.agent.not_ready().is_none() && node.is_settled()).await
    }

    /// So many changes, evenly spaced; returns when the kernel has them all.
    async fn changes(&mut self, rate: usize, count: usize) -> Result<Phase, String> {
        let mut churn = self.churn.take().ok_or("the changes have ended")?;
        let (say, before, start) = (self.said.0.clone(), self.cpu(), Instant::now());
        let teller = std::thread::Builder::new().name(TELLER.to_owned()).spawn(move || {
            let apart = 1.0 / rate as f64;
            for number in 1..=count {
                let event = churn.change();
                wait_until(start + Duration::from_secs_f64(apart * number as f64));
                if say.send((event, Instant::now())).is_err() {
                    break;
                }
            }
            churn
        });
        let teller = teller.map_err(|e| e.to_string())?;
        self.took.clear();
        self.nothing = 0;
        self.until("the changes", |node| node.took.len() + node.nothing >= count).await?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu = self.cpu() - before;
        self.churn = Some(teller.join().map_err(|_| "the teller panicked")?);
        Ok(Phase { took: std::mem::take(&mut self.took), nothing: self.nothing, cpu, seconds })
    }

    /// Changes one at a time, each written down as the elements of sets of one field that came and went. One without
    /// any is left out.
    async fn record(&mut self, sizes: Sizes) -> Result<(), String> {
        let mut left = sizes.changes;
        while left > 0 {
            self.planned.clear();
            self.changes(100, 1).await?;
            if !self.planned.is_empty() {
                println!("{}", Value::from(std::mem::take(&mut self.planned)));
                left -= 1;
            }
        }
        Ok(())
    }

    fn cpu(&self) -> f64 {
        cpu_without(std::process::id(), TELLER)
    }

    fn is_settled(&self) -> bool {
        self.agent.reconciler().is_settled()
    }

    /// Turns until `done`.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let turning = async {
            self.obey();
            while !done(self) {
                self.turn().await;
                if let Some(why) = self.refused.take() {
                    return Err(format!("the kernel refused {why}"));
                }
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, turning).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "{what}: not in the kernel after {PATIENCE:?}; ready: {:?}, {} pending",
                self.agent.not_ready(),
                self.agent.reconciler().pending()
            )),
        }
    }

    /// One turn of the agent's loop.
    async fn turn(&mut self) {
        let due = self.agent.next_timeout();
        let inputs = tokio::select! {
            Some(first) = self.said.1.recv() => vec![self.hear(first)],
            inputs = self.kernel.next() => inputs,
            () = reached(due) => vec![Input::Timeout],
        };
        for input in inputs {
            if let Input::Applied(results) = &input {
                self.arrived(results);
            }
            self.agent.handle(input, now());
            self.obey();
        }
    }

    /// What was said up to now.
    fn hear(&mut self, first: Said) -> Input {
        let rest = std::iter::from_fn(|| self.said.1.try_recv().ok());
        let (events, times): (Vec<_>, Vec<_>) = std::iter::once(first).chain(rest).unzip();
        self.waiting.extend(times);
        Input::Datastore(events)
    }

    fn arrived(&mut self, results: &[OpResult]) {
        if let Some(Err(error)) = results.iter().find(|result| result.is_err()) {
            self.refused.get_or_insert_with(|| error.to_string());
        }
        let there = Instant::now();
        self.took.extend(self.flying.drain(..).map(|since| (there - since).as_secs_f64()));
    }

    fn obey(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Read(what) => self.kernel.read(what),
                Output::Apply(plan) => self.apply(plan),
                Output::Write(write) => self.written(*write),
                Output::AskPeers => {
                    self.agent.handle(Input::Peers { peers: Vec::new(), sole: BTreeSet::new() }, now());
                }
                Output::Note(note) if note.is_warning() => eprintln!("{note}"),
                // No speaker, no plugins, no journal; of pods everything was said at once.
                _ => {}
            }
        }
        let reconciler = self.agent.reconciler();
        if reconciler.pending() == 0 && !reconciler.is_applying() {
            self.nothing += self.waiting.len();
            self.waiting.clear();
        }
    }

    fn apply(&mut self, plan: Plan) {
        // A slice may leave something of what was said for the next one: then all of it is in the kernel with that.
        if self.agent.reconciler().pending() == 0 {
            self.flying.append(&mut self.waiting);
        }
        self.planned = plan.ops.iter().flat_map(elements).collect();
        self.kernel.apply(plan);
    }

    /// The datastore takes everything.
    fn written(&mut self, write: Write) {
        let result = Ok(Version("1".to_owned()));
        self.agent.handle(Input::Written { key: write.key(), result }, now());
        let event = match write {
            Write::Create(resource) | Write::Update(resource) => Event::Put(resource),
            Write::Delete { key, .. } => Event::Gone(key),
        };
        self.agent.handle(Input::Datastore(vec![event]), now());
    }
}

/// So many changes at a pace.
struct Phase {
    took: Vec<f64>,
    nothing: usize,
    cpu: f64,
    seconds: f64,
}

/// The elements of sets that an operation adds or deletes, as [`super::nft::changes`] reads them.
fn elements(op: &Op) -> Vec<Value> {
    let Op::Nft(changes) = op else { return Vec::new() };
    let of = |word: &str, set: &dyn ToString, keys: Vec<Value>| json!([word, set.to_string(), keys]);
    let text = |key: &dyn ToString| Value::from(key.to_string());
    let told = changes.iter().filter_map(|change| match change {
        Change::AddElements(set, elements) => {
            let plain = elements.iter().filter(|(key, verdict)| verdict.is_none() && key.values().len() == 1);
            Some(of("add", set, plain.map(|(key, _)| text(key)).collect()))
        }
        Change::DeleteElements(set, keys) => {
            let plain = keys.iter().filter(|key| key.values().len() == 1);
            Some(of("delete", set, plain.map(|key| text(key)).collect()))
        }
        _ => None,
    });
    told.filter(|change| change[2].as_array().is_some_and(|keys| !keys.is_empty())).collect()
}

/// Time has come to this; never, if there is none.
async fn reached(at: Option<Time>) {
    let never = std::future::pending::<()>();
    match at {
        Some(at) => drop(tokio::time::timeout(at.since(now()), never).await),
        None => never.await,
    }
}

fn wait_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    // Nothing to wait on but time.
    let _ = poll(&mut [], Some(&left));
}
