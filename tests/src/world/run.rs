//! A whole run: a seed in, a verdict out.

use std::fmt;
use std::time::Duration;

use corduroy_bgp::Time;

use super::World;
use super::log::Log;
use super::oracle::{Claims, Oracle};
use super::plan::{Own, Pfx};
use super::rng::Rng;
use super::script::{self, Kind, LENGTH};
use super::topology::Shape;
use super::wire::Weather;

/// How long the routers may take to come to rest after the last line of the script: a restarted router that never came
/// back holds stale routes for 90 s, a selection deferral lasts 30 s.
const PATIENCE: Duration = Duration::from_secs(300);
/// The rest must last.
const REST: Duration = Duration::from_secs(60);
/// How often somebody looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The shape of the network.
    pub shape: Shape,
    /// What befalls it.
    pub kind: Kind,
    /// Everything else.
    pub seed: u64,
}

impl Case {
    /// The case of a seed: shapes and kinds take turns.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let n = usize::try_from(seed % 35).unwrap_or(0);
        Self { shape: Shape::ALL[n % 7], kind: Kind::ALL[n / 7], seed }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} ({:?}, {:?})", self.seed, self.shape, self.kind)
    }
}

/// A run that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The log's hash.
    pub hash: u64,
    /// Routes announced on all sessions together.
    pub announcements: u64,
    /// Sessions that ended.
    pub sessions_ended: u64,
}

/// A run that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong, in words.
    pub wrong: Vec<String>,
    /// The log, when it was kept.
    pub log: String,
}

/// Plays a case; `text`: keep the log for people.
///
/// # Errors
/// [`Failure`]: a checker saw what may not be, or the state at rest is not one that the plan allows.
pub fn play(case: Case, text: bool) -> Result<Outcome, Failure> {
    let mut rng = Rng::new(case.seed);
    let mut plan = case.shape.build(&mut rng);
    let script = script::draw(case.kind, &mut plan, &mut rng);
    let weather = Weather {
        delay: Duration::from_micros(rng.between(50, 2_000) as u64),
        jitter: Duration::from_micros(*rng.pick(&[0, 500, 20_000, 400_000])),
        split: *rng.pick(&[0, 20, 80]),
    };
    let mut world = World::new(plan, &script, weather, rng.fork(), Log::new(text));
    let verdict = judge(&mut world);
    match verdict {
        Ok(()) => Ok(Outcome {
            hash: world.log.hash(),
            announcements: world.record.announcements,
            sessions_ended: world.record.sessions_ended,
        }),
        Err(wrong) => Err(Failure { wrong, log: world.log.text().to_owned() }),
    }
}

/// Lets the script pass, waits for rest, sends the fence, waits again and sees that the rest lasts.
fn judge(world: &mut World) -> Result<(), Vec<String>> {
    let over = world.now + LENGTH + Duration::from_secs(120);
    advance(world, over)?;
    settle(world)?;
    for router in 0..world.plan.routers.len() {
        for v6 in [false, true] {
            let pfx = Pfx::nth(1000 + u16::try_from(router).unwrap_or(0), v6);
            world.originate(router, pfx, Some(Own::default()));
        }
    }
    settle(world)?;
    let later = world.now + REST;
    advance(world, later)?;
    let claims = claims(world);
    verdict(world, &claims)
}

fn advance(world: &mut World, until: Time) -> Result<(), Vec<String>> {
    world.run_until(until);
    if world.record.wrong.is_empty() { Ok(()) } else { Err(std::mem::take(&mut world.record.wrong)) }
}

fn settle(world: &mut World) -> Result<(), Vec<String>> {
    let deadline = world.now + PATIENCE;
    loop {
        let next = world.now + LOOK;
        advance(world, next)?;
        let claims = claims(world);
        match verdict(world, &claims) {
            Ok(()) => return Ok(()),
            Err(wrong) if world.now > deadline => return Err(wrong),
            Err(_) => {}
        }
    }
}

fn verdict(world: &World, claims: &Claims) -> Result<(), Vec<String>> {
    let mut wrong = sessions(world);
    wrong.extend(Oracle::judge(&world.plan, claims));
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Every link has one session, complete in both directions.
fn sessions(world: &World) -> Vec<String> {
    let up = |link: usize| world.wires.values().filter(move |w| w.link == link && w.established());
    let links = || world.plan.links.iter().enumerate().filter(|(_, l)| l.may_be_up());
    let missing = links().filter(|(link, _)| up(*link).count() != 1).map(|(link, l)| {
        let [a, b] = &l.ends;
        format!("link {link}, r{} with r{}: {} sessions", a.router, b.router, up(link).count())
    });
    let incomplete = links()
        .filter(|(link, l)| up(*link).any(|w| w.pipes.iter().any(|p| !p.tap.complete.contains(&l.v6))))
        .map(|(link, _)| format!("link {link}: an End-of-RIB is missing"));
    missing.chain(incomplete).collect()
}

fn claims(world: &World) -> Claims {
    let loc_rib = world.nodes.iter().enumerate().map(|(router, node)| {
        let own = |pfx: &Pfx| world.plan.routers[router].addr(pfx.v6());
        let path = |pfx: &Pfx, p: &corduroy_bgp::io::LocPath| match p.peer {
            None => (None, own(pfx)),
            Some(peer) => (world.plan.link_to(router, peer.address), p.next_hop),
        };
        let row = |(pfx, paths): (&Pfx, &Vec<_>)| (*pfx, paths.iter().map(|p| path(pfx, p)).collect());
        node.loc_rib.iter().map(row).collect()
    });
    let wire =
        world.wires.values().filter(|w| w.established()).flat_map(|w| {
            (0..2).map(move |end| ((w.ends[end].router, w.link), w.pipes[end].tap.table.clone()))
        });
    Claims { loc_rib: loc_rib.collect(), wire: wire.collect() }
}
