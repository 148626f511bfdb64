//! What others may see of the running agent: whoever serves people sends the loop a question as a function, and the
//! loop calls it. So the loop knows nothing of sockets and formats, and nobody else holds a reference to the agent.

use corduroy_agent_core::agent::{Agent, conditions};
use std::sync::Arc;

use corduroy_bgp::Time;
use corduroy_bgp_net::Handle;
use corduroy_fabric::status::origins;
use corduroy_ipc::status::Condition;
use corduroy_status::SpeakerView;
use tokio::sync::{mpsc, oneshot};

/// The agent at one moment.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// The speaker, once there is one.
    pub bgp: Option<&'a Handle>,
    /// What is wrong outside it.
    pub outside: Option<Condition>,
    /// When the process started.
    pub started: Time,
    /// Now.
    pub now: Time,
}

impl View<'_> {
    /// What can answer for the speaker, once there is one.
    #[must_use]
    pub fn speaker(&self) -> Option<SpeakerView> {
        let (handle, peering) = (self.bgp?, self.agent.peering()?);
        let (config, origins) = (peering.config.clone(), origins(&peering.peers));
        Some(SpeakerView::new(handle.clone(), Arc::new(config), Arc::new(origins)))
    }

    /// Everything a person should know, worst first.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let mut all: Vec<Condition> = self.outside.clone().into_iter().collect();
        all.extend(conditions(self.agent));
        all.sort_by_key(|condition| condition.severity);
        all
    }
}

/// A question.
pub type Question = Box<dyn FnOnce(&View<'_>) + Send>;

/// Asks the loop.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// The loop is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is going down")]
pub struct Gone;

impl Asker {
    /// The one who asks, and what the loop takes questions from.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, questions) = mpsc::channel(32);
        (Self(sender), questions)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, answer) = oneshot::channel();
        let question: Question = Box::new(move |view| {
            // Whoever asked may have gone since.
            let _ = sender.send(question(view));
        });
        self.0.send(question).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
