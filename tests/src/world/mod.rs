//! The simulated world: speakers on one virtual clock, joined by streams that misbehave.
//!
//! A [`World`] is made of a [`plan::Plan`] (who there is), a [`script::Act`] list (what befalls them), a
//! [`wire::Weather`] (how the network treats bytes) and a seed. Nothing else enters: the same four give the same run,
//! to the hash of its log. Time is a number that jumps to the next thing on the calendar, so that an hour of BGP costs
//! milliseconds, and no test waits for anything.
//!
//! ```text
//! plan ──► Speaker, Speaker, …      the real thing, unchanged
//!             │ Output      ▲ Input
//!             ▼             │
//!          wire: pipes with delay, splits, stalls, cuts, refusals, bounded windows; never reordered
//!             │ every byte that is read is also read by
//!             ▼
//!          tap: a decoder of its own ──► check: what may never happen, at any time
//!                                   └──► oracle: is this state at rest the right one?
//! ```
//!
//! The judges stand apart from the judged: `plan`, `tap`, `oracle` use nothing of `corduroy_bgp`.
//!
//! | Judge | Question |
//! |---|---|
//! | [`oracle::Oracle`] | at rest: is every Loc-RIB and every route on every session what the RFCs make of the plan? |
//! | [`check::Record`] | always: nothing is announced that its sender cannot have, or that must not leave an AS |
//! | | through a graceful restart: no Loc-RIB loses a route that is still there |
//! | | no session ends that nothing ended; End-of-RIB is reported behind the routes it closes |
//! | fence | at the end a new route of every router arrives wherever it must: all that was sent before was read |

pub mod check;
pub mod log;
pub mod node;
mod obey;
pub mod oracle;
pub mod plan;
pub mod rng;
pub mod run;
pub mod script;
pub mod tap;
pub mod topology;
pub mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_bgp::Time;
use corduroy_bgp::io::{ConnId, Input, More, Start};
use corduroy_bgp::speaker::Speaker;

use check::Record;
use log::Log;
use node::Node;
use plan::Plan;
use rng::Rng;
use script::Act;
use wire::{Piece, Stage, Weather, Wire};

/// Something on the calendar.
#[derive(Clone, Debug)]
enum Happening {
    /// Bytes for this end of a connection.
    Deliver { wire: usize, end: usize },
    /// A connection is made, as its first end sees it.
    Connected { wire: usize },
    /// And as its second end sees it.
    Accepted { wire: usize },
    /// A connection could not be made.
    Refused { router: usize, run: u32, conn: ConnId },
    /// A speaker's timer.
    Alarm { router: usize },
    /// A slice of a speaker's work.
    Work { router: usize },
    /// The script's next line.
    Act(Act),
    /// A drained process ends.
    Down { router: usize, run: u32 },
}

/// Speakers, streams and a calendar.
#[derive(Debug)]
pub struct World {
    /// What it is built from; the script changes it.
    pub plan: Plan,
    /// By router.
    pub nodes: Vec<Node>,
    /// Connections that somebody still has.
    pub wires: BTreeMap<usize, Wire>,
    /// The time.
    pub now: Time,
    /// What happened.
    pub log: Log,
    /// What the checkers saw.
    pub record: Record,
    /// Links over which no connection can be made before this.
    pub refused: BTreeMap<usize, Time>,
    weather: Weather,
    calendar: BTreeMap<(Time, u64), Happening>,
    entries: u64,
    rng: Rng,
}

impl World {
    /// A world in which nobody runs yet; the routers start within the first second, the script's lines follow at
    /// their times.
    #[must_use]
    pub fn new(plan: Plan, script: &[(Duration, Act)], weather: Weather, rng: Rng, log: Log) -> Self {
        let routers = plan.routers.len();
        let mut world = Self {
            plan,
            nodes: (0..routers).map(|_| Node::new()).collect(),
            wires: BTreeMap::new(),
            now: Time(1_000_000_000),
            log,
            record: Record::default(),
            refused: BTreeMap::new(),
            weather,
            calendar: BTreeMap::new(),
            entries: 0,
            rng,
        };
        for router in 0..routers {
            let at = Duration::from_millis(world.rng.below(1000) as u64);
            world.after(at, Happening::Act(Act::Start { router, start: Start::First }));
        }
        for (at, act) in script {
            world.after(*at, Happening::Act(act.clone()));
        }
        world
    }

    fn after(&mut self, wait: Duration, what: Happening) {
        self.at(self.now + wait, what);
    }

    fn at(&mut self, when: Time, what: Happening) {
        self.entries += 1;
        self.calendar.insert((when.max(self.now), self.entries), what);
    }

    /// Lets time pass up to `until`, or until a checker has seen what may not be.
    pub fn run_until(&mut self, until: Time) {
        while let Some(entry) = self.calendar.first_entry().filter(|e| e.key().0 <= until) {
            self.now = entry.key().0;
            let what = entry.remove();
            self.happen(what);
            if !self.record.wrong.is_empty() {
                return;
            }
        }
        self.now = until;
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deliver { wire, end } => self.deliver(wire, end),
            Happening::Connected { wire } => self.meet(wire, 0),
            Happening::Accepted { wire } => self.meet(wire, 1),
            Happening::Refused { router, run, conn } => {
                if self.nodes[router].run == run {
                    self.input(router, Input::ConnectFailed { conn });
                }
            }
            Happening::Alarm { router } => self.ring(router),
            Happening::Work { router } => self.work(router),
            Happening::Act(act) => script::act(self, act),
            Happening::Down { router, run } => {
                if self.nodes[router].run == run {
                    self.vanish(router);
                }
            }
        }
    }

    /// Starts the process of a router.
    pub fn start(&mut self, router: usize, start: Start) {
        let seed = self.rng.bits();
        let config = node::config(&self.plan, router);
        self.log.say(self.now, format_args!("r{router} starts: {start:?}"));
        let node = &mut self.nodes[router];
        node.run += 1;
        node.speaker = Some(Speaker::new(config, start, seed, self.now));
        let owns: Vec<_> = self.plan.owns[router].iter().map(|(p, own)| (*p, own.clone())).collect();
        for (pfx, own) in owns {
            self.record.originated(router, pfx);
            self.input(router, Input::Originate { net: node::net(pfx), route: node::origination(&own) });
        }
        self.input(router, Input::OriginationComplete);
    }

    /// The process of a router is gone, and its connections with it.
    pub fn vanish(&mut self, router: usize) {
        self.log.say(self.now, format_args!("r{router} is down"));
        let node = &mut self.nodes[router];
        let run = node.run + 1;
        *node = Node { run, last_accepted: 0, ..Node::new() };
        let ends: Vec<(usize, usize)> = self
            .wires
            .iter()
            .flat_map(|(id, w)| (0..2).filter(|e| w.ends[*e].router == router).map(|e| (*id, e)))
            .collect();
        for (wire, end) in ends {
            self.hang_up(wire, end, false);
        }
    }

    /// Tells a speaker something and does what it asks for.
    pub fn input(&mut self, router: usize, input: Input<'_>) {
        if let Some(speaker) = &mut self.nodes[router].speaker {
            speaker.handle(input, self.now);
            self.wake(router);
            self.serve(router);
        }
    }

    /// Puts a slice of work on the calendar.
    fn wake(&mut self, router: usize) {
        if !self.nodes[router].working {
            self.nodes[router].working = true;
            let wait = Duration::from_micros(self.rng.between(20, 1500) as u64);
            self.after(wait, Happening::Work { router });
        }
    }

    fn work(&mut self, router: usize) {
        let budget = self.rng.between(1, 8);
        let node = &mut self.nodes[router];
        node.working = false;
        if let Some(speaker) = &mut node.speaker {
            if speaker.work(budget, self.now) == More::Yes {
                self.wake(router);
            }
            self.serve(router);
        }
    }

    fn ring(&mut self, router: usize) {
        let node = &mut self.nodes[router];
        if node.alarm.is_some_and(|at| at <= self.now) {
            node.alarm = None;
        }
        let Some(speaker) = &mut node.speaker else { return };
        if speaker.next_timeout().is_some_and(|at| at <= self.now) {
            speaker.handle_timeout(self.now);
            self.wake(router);
        }
        self.serve(router);
    }

    fn set_alarm(&mut self, router: usize) {
        let node = &mut self.nodes[router];
        let due = node.speaker.as_ref().and_then(Speaker::next_timeout);
        if let Some(due) = due
            && node.alarm.is_none_or(|at| due < at)
        {
            node.alarm = Some(due);
            self.at(due, Happening::Alarm { router });
        }
    }

    /// A connection has come so far that end `end` hears of it.
    fn meet(&mut self, wire: usize, end: usize) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        if w.ends[end].stage != Stage::Coming {
            return;
        }
        w.ends[end].stage = Stage::Open;
        let (router, conn, other) = (w.ends[end].router, w.ends[end].conn, w.ends[1 - end].router);
        let v6 = self.plan.links[w.link].v6;
        self.nodes[router].conns.insert(conn, (wire, end));
        let (mine, theirs) = (self.plan.routers[router].addr(v6), self.plan.routers[other].addr(v6));
        let ephemeral = 40_000 + u16::try_from(wire % 20_000).unwrap_or(0);
        let input = if end == 0 {
            Input::Connected { conn, local: (mine, ephemeral).into() }
        } else {
            let (remote, local) = ((theirs, ephemeral).into(), (mine, 179).into());
            Input::Accepted { conn, remote, scope: 0, local }
        };
        self.log.say(self.now, format_args!("r{router} w{wire} with r{other} is made (end {end})"));
        self.input(router, input);
        self.expect(wire, end);
    }

    /// Puts the next delivery to an end on the calendar.
    fn expect(&mut self, wire: usize, end: usize) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        let next = w.pipes[1 - end].next();
        let reader = &mut w.ends[end];
        if reader.stage != Stage::Open || reader.paused {
            return;
        }
        if let Some(at) = next
            && reader.due.is_none_or(|due| at < due)
        {
            reader.due = Some(at);
            self.at(at, Happening::Deliver { wire, end });
        }
    }

    fn deliver(&mut self, wire: usize, end: usize) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        let reader = &mut w.ends[end];
        if reader.due.is_some_and(|due| due <= self.now) {
            reader.due = None;
        }
        let (router, conn, writer) = (reader.router, reader.conn, w.ends[1 - end].router);
        let pipe = &mut w.pipes[1 - end];
        let ready = pipe.next().is_some_and(|at| at <= self.now);
        if w.ends[end].stage != Stage::Open || w.ends[end].paused || !ready {
            return self.expect(wire, end);
        }
        match pipe.read() {
            Some(Piece::Bytes(bytes)) => {
                self.overhear(wire, end, &bytes);
                self.input(router, Input::Received { conn, bytes: &bytes });
                // There is room again for the writer.
                self.serve(writer);
            }
            Some(Piece::End) => {
                self.log.say(self.now, format_args!("r{router} w{wire}: closed by r{writer}"));
                self.hang_up(wire, end, false);
                self.input(router, Input::Closed { conn });
            }
            None => {}
        }
        self.expect(wire, end);
    }
}
