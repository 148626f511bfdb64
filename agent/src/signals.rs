//! How the process is asked to end.

use corduroy_bgp::io::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who may end the process, and how.
#[derive(Debug)]
pub struct Signals {
    restart: [Signal; 2],
    drain: Signal,
}

impl Signals {
    /// From now on. Needs the runtime it is to run on.
    ///
    /// # Errors
    /// As the system says.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            restart: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
            drain: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next of them. Safe to drop and call again.
    pub async fn next(&mut self) -> Stop {
        let [terminate, interrupt] = &mut self.restart;
        tokio::select! {
            _ = terminate.recv() => Stop::Restart,
            _ = interrupt.recv() => Stop::Restart,
            _ = self.drain.recv() => Stop::Drain { text: "the node is being drained".into() },
        }
    }
}
