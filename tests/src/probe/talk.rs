//! All that may flow between two, all the time.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{Answers, Ping, Stream};
use crate::eventually;

/// Between one packet and the next.
const PACE: Duration = Duration::from_millis(10);
/// For one packet to come back on a machine that is busy.
const BACK: Duration = Duration::from_secs(30);
/// Where one of [`super::Servers`] answers datagrams.
const SERVED: u16 = 80;

/// In both families: a connection, a flow of datagrams that are answered, pings, a flow of nothing but answers.
#[derive(Debug)]
pub struct Talk {
    title: String,
    streams: Vec<Stream>,
    flows: Vec<Ping>,
    answers: Vec<Answers>,
}

impl Talk {
    /// From the network namespace at `from` to these addresses of the one at `to`.
    #[track_caller]
    #[must_use]
    pub fn start(title: &str, from: &Path, to: &Path, addresses: [IpAddr; 2]) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(7100);
        let (mut streams, mut flows, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for address in addresses {
            let target = SocketAddr::new(address, PORT.fetch_add(1, Ordering::Relaxed));
            streams.push(Stream::open(from, to, target));
            answers.push(Answers::open(from, to, target));
            flows.push(Ping::datagrams(from, title, SocketAddr::new(address, SERVED), PACE));
            flows.push(Ping::start_in(from, title, &address.to_string(), PACE));
        }
        Self { title: title.to_owned(), streams, flows, answers }
    }

    /// Nothing was lost up to now, and it still flows.
    #[track_caller]
    pub fn goes_on(&self, through: &str) {
        for flow in &self.flows {
            flow.report(BACK).expect_no_loss(&format!("{}, {through}", self.title));
        }
        self.flows_now();
    }

    /// It flows, whatever was lost before of what nobody sends again.
    #[track_caller]
    pub fn flows_now(&self) {
        for flow in &self.flows {
            flow.marker(BACK);
        }
        self.streams.iter().for_each(|stream| stream.marker(BACK));
        self.answers.iter().for_each(|answers| answers.marker(BACK));
    }

    fn back(&self) -> (Vec<u32>, Vec<Option<u32>>, Vec<u32>) {
        (
            self.streams.iter().map(Stream::back).collect(),
            self.flows.iter().map(Ping::answered).collect(),
            self.answers.iter().map(Answers::came).collect(),
        )
    }

    /// Nothing comes back any more, while `clock` goes on.
    #[track_caller]
    pub fn is_cut(&self, clock: &Self) {
        eventually(BACK, || {
            let before = self.back();
            for _ in 0..10 {
                clock.streams.iter().for_each(|stream| stream.marker(BACK));
            }
            match self.back() {
                now if now == before => Ok(()),
                now => Err(format!("{} goes on: {before:?}, then {now:?}", self.title)),
            }
        });
    }
}
