//! Who is the caretaker: a state machine around one Lease.
//!
//! A follower looks at the Lease every so often, the more seldom the more nodes there are, so that all of them together
//! look about twice a second. Only when a look finds a Lease that seems to have been left does it look again after
//! a term; if nothing was written meanwhile, it takes the Lease. A holder renews at a third of the term and counts
//! itself the holder for two thirds of it from the moment it *began* to write: clocks that run at different speeds, a
//! slow answer or a process that was stopped do not make two holders of one Lease.

use std::time::Duration;

use corduroy_bgp::Time;

/// How much the looks of all followers together may come to: one in this time.
const SHARE: Duration = Duration::from_millis(500);
/// The shortest pause between two tries of anything.
const LEAST: Duration = Duration::from_secs(1);

/// The Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// `metadata.resourceVersion`: every renewal makes another.
    pub version: String,
    /// Who has it; `None` when it was given up.
    pub holder: Option<String>,
    /// For how long it was taken.
    pub term: Duration,
    /// How long ago it was renewed, by the clocks of two machines: a hint and nothing more.
    pub age: Option<Duration>,
    /// How often it changed hands.
    pub transitions: u64,
    /// It is marked: there has been an IPPool.
    pub marked: bool,
}

/// What is to be written into the Lease. The times in it are of the moment of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who has it; `None`: it is given up.
    pub holder: Option<String>,
    /// For how long.
    pub term: Duration,
    /// It changes hands by this.
    pub acquired: bool,
    /// How often it has changed hands.
    pub transitions: u64,
    /// There has been an IPPool.
    pub marked: bool,
}

/// What the election wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease and tell [`Election::saw`].
    Look,
    /// Create the Lease, or update it from this version, and tell [`Election::wrote`].
    Write(Record, Option<String>),
    /// Nothing before that time.
    Wait(Time),
}

/// Why a write did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// Somebody else wrote since.
    Conflict,
    /// Nobody knows: the server did not answer, or refuses.
    Failed,
}

/// The state machine of one agent.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    term: Duration,
    /// How many agents there are.
    agents: usize,
    state: State,
    marked: bool,
    random: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Somebody else has it, or nobody knows who.
    Follower { seen: Option<(LeaseView, Time)>, look: Time },
    /// It is free, or was left: to be taken.
    Taking { version: Option<String>, transitions: u64 },
    /// We have it.
    Leader { version: String, transitions: u64, until: Time, renew: Time },
}

impl Election {
    /// One that knows nothing yet. `me` tells this agent from every other; the first look is at a moment of its own
    /// within the first seconds.
    #[must_use]
    pub fn new(me: String, term: Duration, seed: u64, now: Time) -> Self {
        let state = State::Follower { seen: None, look: now };
        let mut election = Self { me, term, agents: 1, state, marked: false, random: seed };
        let look = now + election.spread(LEAST.min(term / 4));
        election.state = State::Follower { seen: None, look };
        election
    }

    /// How many agents there are.
    pub fn set_agents(&mut self, agents: usize) {
        self.agents = agents;
    }

    /// There has been an IPPool: the Lease is to say so from now on.
    pub fn mark(&mut self, now: Time) {
        if let (State::Leader { renew, .. }, false) = (&mut self.state, self.marked) {
            self.marked = true;
            *renew = now;
        }
    }

    /// Does the Lease say that there has been an IPPool?
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// Are we the caretaker at this moment?
    #[must_use]
    pub fn leads(&self, now: Time) -> bool {
        matches!(self.state, State::Leader { until, .. } if now < until)
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self, now: Time) -> Step {
        match &self.state {
            State::Follower { look, .. } if now < *look => Step::Wait(*look),
            State::Follower { .. } => Step::Look,
            State::Taking { version, transitions } => {
                Step::Write(Record { acquired: true, ..self.record(*transitions) }, version.clone())
            }
            State::Leader { renew, .. } if now < *renew => Step::Wait(*renew),
            State::Leader { version, transitions, .. } => {
                Step::Write(self.record(*transitions), Some(version.clone()))
            }
        }
    }

    /// What gives the Lease up, if we have it: for an agent that ends or may not go on.
    #[must_use]
    pub fn resign(&mut self, now: Time) -> Option<(Record, String)> {
        let look = now + self.pace();
        match std::mem::replace(&mut self.state, State::Follower { seen: None, look }) {
            State::Leader { version, transitions, .. } => {
                Some((Record { holder: None, ..self.record(transitions) }, version))
            }
            State::Follower { .. } | State::Taking { .. } => None,
        }
    }

    /// The Lease was read: `None` when there is none, `Err` when it could not be.
    pub fn saw(&mut self, lease: Result<Option<LeaseView>, ()>, now: Time) {
        let State::Follower { seen, .. } = &self.state else { return };
        let view = match lease {
            Ok(Some(view)) => view,
            Ok(None) => {
                self.state = State::Taking { version: None, transitions: 0 };
                return;
            }
            Err(()) => {
                let (seen, look) = (seen.clone(), now + self.pace());
                self.state = State::Follower { seen, look };
                return;
            }
        };
        self.marked = view.marked;
        let since = match seen {
            Some((before, since)) if before.version == view.version => *since,
            _ => now,
        };
        let free = view.holder.as_ref().is_none_or(|holder| *holder == self.me);
        let term = view.term.max(self.term);
        if free || now.since(since) >= term {
            let transitions = view.transitions + 1;
            self.state = State::Taking { version: Some(view.version), transitions };
            return;
        }
        let seems_left = since != now || view.age.is_some_and(|age| age >= term);
        let look =
            if seems_left { since + term + self.spread(LEAST.min(term / 4)) } else { now + self.pace() };
        self.state = State::Follower { seen: Some((view, since)), look };
    }

    /// What became of a write that was begun at `sent`: the version it made, or why there is none.
    pub fn wrote(&mut self, result: Result<String, Unwritten>, sent: Time, now: Time) {
        match (result, &self.state) {
            (_, State::Follower { .. }) => {}
            (Ok(version), State::Taking { transitions, .. } | State::Leader { transitions, .. }) => {
                let (transitions, renew) = (*transitions, sent + self.spread(self.term / 3));
                let until = sent + self.term * 2 / 3;
                self.state = State::Leader { version, transitions, until, renew };
            }
            (Err(Unwritten::Conflict), _) => self.state = State::Follower { seen: None, look: now },
            (Err(Unwritten::Failed), State::Leader { version, transitions, until, .. }) if now < *until => {
                let (version, transitions, until) = (version.clone(), *transitions, *until);
                let renew = now + self.spread(LEAST.min(self.term / 8));
                self.state = State::Leader { version, transitions, until, renew };
            }
            // It may have been carried out all the same: what stands there now is found by looking.
            (Err(Unwritten::Failed), State::Taking { .. } | State::Leader { .. }) => {
                let look = now + self.spread(self.term / 8);
                self.state = State::Follower { seen: None, look };
            }
        }
    }

    fn record(&self, transitions: u64) -> Record {
        let (holder, marked) = (Some(self.me.clone()), self.marked);
        Record { holder, term: self.term, acquired: false, transitions, marked }
    }

    /// How long a follower waits between two looks.
    fn pace(&mut self) -> Duration {
        let agents = u32::try_from(self.agents).unwrap_or(u32::MAX);
        let pace = SHARE.saturating_mul(agents).max(self.term);
        self.spread(pace)
    }

    /// Between three and five quarters of `d` (splitmix64).
    fn spread(&mut self, d: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = u32::try_from((z ^ (z >> 31)) % 513).unwrap_or(0);
        d * 3 / 4 + d / 1024 * part
    }
}

#[cfg(test)]
mod tests;
