//! Listens to what the rules of policies deny, on a thread of its own. Without it nothing but its reports is lost, so
//! whatever goes wrong is said once and tried again.

use std::io;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corduroy_agent_core::agent::Input;
use corduroy_agent_core::explain::drops::{GROUP, Heard};
use corduroy_kernel_linux::{Kernel, KernelError, PacketLog};
use tokio::sync::mpsc::UnboundedSender;

/// The pause after the group could not be had: another program may have it.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the thread waits at most before it looks whether anybody still listens.
const LONG: Duration = Duration::from_secs(60);

/// Listens as long as somebody takes what it hears.
///
/// # Errors
/// No thread can be had.
pub(crate) fn start(inputs: UnboundedSender<Input>) -> io::Result<()> {
    thread::Builder::new().name("drop-log".to_owned()).spawn(move || listen(&inputs)).map(drop)
}

fn listen(inputs: &UnboundedSender<Input>) {
    let say = |heard| inputs.send(Input::Heard(heard)).is_ok();
    let mut said = None;
    while !inputs.is_closed() {
        let mut log = match open() {
            Ok(log) => log,
            Err(error) => {
                let why = error.to_string();
                if said.as_ref() != Some(&why) {
                    tracing::warn!("packets that policies deny are not reported: {why}; trying again");
                    say(Heard::Listening(Err(why.clone())));
                    said = Some(why);
                }
                thread::sleep(PAUSE);
                continue;
            }
        };
        said = None;
        say(Heard::Listening(Ok(())));
        hear(&mut log, say);
    }
}

fn open() -> Result<PacketLog, KernelError> {
    Kernel::open(None)?.packet_log(GROUP)
}

/// Passes on what comes, until nobody takes it any more.
fn hear(log: &mut PacketLog, say: impl Fn(Heard) -> bool) {
    loop {
        let logged = log.wait(LONG);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut entries = logged.entries;
        // Packets of this host itself come without a time.
        for entry in entries.iter_mut().filter(|entry| entry.time.is_none()) {
            entry.time = Some(now);
        }
        if !say(Heard::Denied(entries, logged.lost)) {
            return;
        }
    }
}
