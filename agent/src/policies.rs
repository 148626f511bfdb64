//! What the agent answers about policies. What only the kernel knows, what was counted and which connections there are,
//! is read on the side, by a socket of its own, when somebody asks; what the policies make of it is said by the agent's
//! core.

use std::sync::Arc;
use std::time::Duration;

use corduroy_agent_core::agent::Input;
use corduroy_agent_core::explain::{plan, show, trace};
use corduroy_bgp::Time;
use corduroy_bgp_net::now;
use corduroy_ipc::policy::{PolicyAnswer, PolicyRequest};
use corduroy_kernel::nft::Counted;
use corduroy_kernel_linux::{Kernel, KernelError};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::view::Asker;

/// Answers.
pub(crate) async fn answer(
    request: PolicyRequest,
    (agent, counted): (&Asker, &Counters),
) -> Result<PolicyAnswer, String> {
    let gone = |error: crate::view::Gone| error.to_string();
    match request {
        PolicyRequest::Trace(query) => {
            let counted = counted.get(Duration::ZERO).await;
            let answer = agent.ask(move |view| trace::trace(view.agent.known(), &query, &counted));
            answer.await.map_err(gone)?.map(PolicyAnswer::Trace).map_err(|error| error.to_string())
        }
        PolicyRequest::Show { name } => {
            let counted = counted.get(Duration::ZERO).await;
            let answer = agent.ask(move |view| show::show(view.agent.known(), name.as_deref(), &counted));
            answer.await.map_err(gone)?.map(PolicyAnswer::Show).map_err(|error| error.to_string())
        }
        PolicyRequest::Drops { after } => {
            let answer = agent.ask(move |view| view.agent.drops().after(after)).await;
            answer.map(PolicyAnswer::Drops).map_err(gone)
        }
        PolicyRequest::Plan { documents, delete } => {
            let flows = on_the_side(Kernel::flows).await?;
            let known = agent.ask(|view| plan::ground(view.agent.known())).await.map_err(gone)?;
            let planned = move || plan::plan(&known, &documents, delete, &flows);
            let planned = tokio::task::spawn_blocking(planned).await.map_err(|error| error.to_string())?;
            planned.map(PolicyAnswer::Plan).map_err(|error| error.to_string())
        }
    }
}

/// What rules have counted. All of the table is read for it, so that many who ask at a time share a reading.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Option<(Time, Arc<[Counted]>)>>);

impl Counters {
    /// What they have counted by now, or had so long ago at most.
    pub(crate) async fn get(&self, old: Duration) -> Arc<[Counted]> {
        let asked = now();
        let mut last = self.0.lock().await;
        // One that began while this waited for its turn is as good as one of its own.
        if let Some((_, counted)) = last.as_ref().filter(|(begun, _)| asked.since(*begun) <= old) {
            return Arc::clone(counted);
        }
        let begun = now();
        let counted: Arc<[Counted]> = counters().await.into();
        *last = Some((begun, Arc::clone(&counted)));
        counted
    }
}

/// What the kernel's rules have counted; nothing, with a word in the log, when it can't be asked.
async fn counters() -> Vec<Counted> {
    match on_the_side(Kernel::counters).await {
        Ok(counted) => counted,
        Err(why) => {
            tracing::warn!("what rules have counted is not known: {why}");
            Vec::new()
        }
    }
}

/// Reads the connections, without holding anybody up.
pub(crate) fn read_flows(inputs: UnboundedSender<Input>) {
    tokio::spawn(async move {
        let flows = on_the_side(Kernel::flows).await;
        if let Err(why) = &flows {
            tracing::warn!(
                "connections can't be looked through for such as are denied by now: {why}; trying again"
            );
        }
        // The loop ends before its tasks do.
        drop(inputs.send(Input::Flows(flows.ok())));
    });
}

/// Asks the kernel, without holding anybody up.
async fn on_the_side<T: Send + 'static>(
    ask: impl FnOnce(&mut Kernel) -> Result<T, KernelError> + Send + 'static,
) -> Result<T, String> {
    let asked = tokio::task::spawn_blocking(move || ask(&mut Kernel::open(None)?)).await;
    asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
