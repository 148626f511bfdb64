//! Reports on their way out: in order, bounded, and without ever holding up the sockets.

use std::collections::VecDeque;

use corduroy_bgp::event::Event;
use corduroy_bgp::io::Change;
use corduroy_bgp::speaker::Speaker;
use tokio::sync::mpsc;

use crate::{Counters, Notice, Report};

/// Reports the channel holds.
pub(crate) const CHANNEL: usize = 64;
/// Changes in one report.
const BATCH: usize = 1024;
/// Notices that wait here when the channel is full.
const WAITING: usize = 1024;

/// The sending end of the reports.
#[derive(Debug)]
pub(crate) struct Outbox {
    channel: mpsc::Sender<Report>,
    waiting: VecDeque<Report>,
    /// The Loc-RIB is reported.
    changes: bool,
}

impl Outbox {
    pub(crate) fn new(channel: mpsc::Sender<Report>, changes: bool) -> Self {
        Self { channel, waiting: VecDeque::new(), changes }
    }

    /// Something waits for room in the channel.
    pub(crate) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when there is room, or nobody listens any more.
    pub(crate) async fn room(&self) {
        let _ = self.channel.reserve().await;
    }

    /// Puts a notice behind everything reported so far. When too many wait it is dropped and counted, unless it is
    /// one that others act upon: of those there are at most a few for each peer and session.
    pub(crate) fn notice(&mut self, notice: Notice, counters: &mut Counters) {
        let needed = matches!(notice, Notice::Speaker(Event::EndOfRib { .. }));
        if self.waiting.len() < WAITING || needed {
            self.waiting.push_back(Report::Notice(notice));
        } else {
            counters.notices_lost += 1;
        }
        self.send();
    }

    /// Sends what there is room for, then takes changes out of the speaker while there is more room.
    ///
    /// Returns whether the speaker may have more.
    pub(crate) fn drain(&mut self, speaker: &mut Speaker, counters: &mut Counters) -> bool {
        self.send();
        if !self.changes || self.is_full() {
            return false;
        }
        let mut batch: Vec<Change> = Vec::new();
        speaker.drain_loc_rib(BATCH, &mut batch);
        if batch.is_empty() {
            return false;
        }
        counters.changes += batch.len() as u64;
        let more = batch.len() >= BATCH;
        self.waiting.push_back(Report::Changes(batch));
        self.send();
        more && !self.is_full()
    }

    fn send(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            match self.channel.try_send(report) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(report)) => {
                    self.waiting.push_front(report);
                    return;
                }
                // Nobody listens: the speaker's journal is emptied all the same.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
    }
}
