//! What befalls a world: lines with times, drawn from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use corduroy_bgp::FamilySet;
use corduroy_bgp::config::PeerKey;
use corduroy_bgp::io::{Command, Input, Start, Stop};

use super::plan::{Own, Pfx, Plan};
use super::rng::Rng;
use super::{Happening, World, node};

/// One line of a script.
#[derive(Clone, Debug)]
pub enum Act {
    /// A router originates a prefix (`Some`) or no longer does.
    Originate { router: usize, pfx: Pfx, own: Option<Own> },
    /// A process starts.
    Start { router: usize, start: Start },
    /// A process ends, as an operator or the kernel ends it.
    Stop { router: usize, how: Ending },
    /// The connections of a link break.
    Cut { link: usize },
    /// Nothing arrives over a link for a while, in one direction.
    Stall { link: usize, end: usize, lasts: Duration },
    /// No connection can be made over a link for a while.
    Refuse { link: usize, lasts: Duration },
    /// A router is told something else about a link.
    Edit { link: usize, end: usize, edit: Edit },
    /// An operator asks for something.
    Command { link: usize, end: usize, command: Command },
    /// Nobody may lose a route from now on, though this router restarts.
    BeginVigil { router: usize },
    /// That is over.
    EndVigil,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It says that it will be back.
    Restart,
    /// `kill -9`.
    Kill,
    /// It says good-bye.
    Drain,
}

/// A change to one end of a link.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Another LOCAL_PREF at import.
    ImportPref(Option<u32>),
    /// Another prefix refused at export.
    ExportDeny(Option<Pfx>),
    /// Another next hop.
    NextHopSelf(bool),
    /// Up or down.
    Shutdown(bool),
}

/// What a script is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Originations and withdrawals, nothing goes wrong.
    Calm,
    /// Filters, preferences and next hops change; no session may end for it.
    Reconfigure,
    /// Cuts, stalls, refusals.
    Faults,
    /// One router after the other restarts, gracefully: nobody may lose a route.
    Graceful,
    /// Everything, restarts of every kind among it.
    Storm,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Calm, Self::Reconfigure, Self::Faults, Self::Graceful, Self::Storm];
}

/// How long a script lasts.
pub const LENGTH: Duration = Duration::from_secs(120);
/// What one graceful restart has for itself.
const RESTART: Duration = Duration::from_secs(40);
/// Prefixes that scripts draw from.
const PREFIXES: u16 = 24;

/// Draws a script for `plan`, whose routers get something to originate from the beginning too.
pub fn draw(kind: Kind, plan: &mut Plan, rng: &mut Rng) -> Vec<(Duration, Act)> {
    for router in 0..plan.routers.len() {
        for _ in 0..rng.between(0, 4) {
            let (pfx, own) = (prefix(plan, rng), own(plan, rng));
            plan.owns[router].insert(pfx, own);
        }
    }
    let mut script = Vec::new();
    for _ in 0..rng.between(5, 25) {
        let router = rng.below(plan.routers.len());
        let own = rng.chance(60).then(|| own(plan, rng));
        let act = Act::Originate { router, pfx: prefix(plan, rng), own };
        script.push((moment(rng), act));
    }
    match kind {
        Kind::Calm => {}
        Kind::Reconfigure => edits(plan, rng, &mut script),
        Kind::Faults => faults(plan, rng, &mut script),
        Kind::Graceful => graceful(plan, rng, &mut script),
        Kind::Storm => {
            edits(plan, rng, &mut script);
            faults(plan, rng, &mut script);
            restarts(plan, rng, &mut script);
        }
    }
    script
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.below(usize::try_from(LENGTH.as_millis()).unwrap_or(0)) as u64)
}

fn prefix(plan: &Plan, rng: &mut Rng) -> Pfx {
    let v6 = plan.links.get(rng.below(plan.links.len())).is_some_and(|l| l.v6);
    Pfx::nth(u16::try_from(rng.below(usize::from(PREFIXES))).unwrap_or(0), v6)
}

fn own(plan: &Plan, rng: &mut Rng) -> Own {
    let one_as = plan.routers.iter().all(|r| r.asn == plan.routers[0].asn);
    let well_known = [0xffff_ff01, 0xffff_ff02, 0xffff_ff03];
    Own {
        // MED and LOCAL_PREF of several ASes at once have states that never come to rest (RFC 3345): not here.
        med: (one_as && rng.chance(30)).then(|| u32::try_from(rng.below(3)).unwrap_or(0)),
        local_pref: (one_as && rng.chance(20)).then(|| *rng.pick(&[50, 100, 200])),
        communities: match rng.below(10) {
            0 => vec![*rng.pick(&well_known)],
            1 | 2 => vec![AS_COMMUNITY, AS_COMMUNITY + 1],
            _ => Vec::new(),
        },
    }
}

/// 64512:100.
const AS_COMMUNITY: u32 = (64512 << 16) + 100;

fn edits(plan: &Plan, rng: &mut Rng, script: &mut Vec<(Duration, Act)>) {
    let one_as = plan.routers.iter().all(|r| r.asn == plan.routers[0].asn);
    for _ in 0..rng.between(1, 8) {
        let (link, end) = (rng.below(plan.links.len()), rng.below(2));
        let edit = match rng.below(3) {
            // Preferences that differ along a circle of ASes have no state at rest either (RFC 4264).
            0 if one_as => Edit::ImportPref(rng.chance(50).then(|| *rng.pick(&[80, 150]))),
            0 | 1 => Edit::ExportDeny(rng.chance(70).then(|| prefix(plan, rng))),
            _ => Edit::NextHopSelf(rng.chance(50)),
        };
        script.push((moment(rng), Act::Edit { link, end, edit }));
    }
    for _ in 0..rng.below(4) {
        let (link, end) = (rng.below(plan.links.len()), rng.below(2));
        let command = *rng.pick(&[Command::RefreshIn, Command::RefreshOut]);
        script.push((moment(rng), Act::Command { link, end, command }));
    }
}

fn faults(plan: &Plan, rng: &mut Rng, script: &mut Vec<(Duration, Act)>) {
    let secs = |n: usize| Duration::from_secs(n as u64);
    for _ in 0..rng.between(1, 10) {
        let (link, end) = (rng.below(plan.links.len()), rng.below(2));
        let act = match rng.below(5) {
            0 | 1 => Act::Cut { link },
            2 => Act::Stall { link, end, lasts: secs(rng.between(1, 40)) },
            3 => Act::Refuse { link, lasts: secs(rng.between(1, 30)) },
            _ => Act::Command { link, end, command: Command::Reset },
        };
        let at = moment(rng);
        if rng.chance(20) {
            let edit = Edit::Shutdown(false);
            script.push((at + secs(rng.between(1, 20)), Act::Edit { link, end, edit }));
            script.push((at, Act::Edit { link, end, edit: Edit::Shutdown(true) }));
        } else {
            script.push((at, act));
        }
    }
}

/// Restarts that follow each other with time to come back in between.
fn graceful(plan: &Plan, rng: &mut Rng, script: &mut Vec<(Duration, Act)>) {
    let mut at = Duration::from_secs(15);
    while at + RESTART < LENGTH {
        let router = rng.below(plan.routers.len());
        let how = *rng.pick(&[Ending::Restart, Ending::Kill]);
        let down = Duration::from_millis(rng.between(50, 12_000) as u64);
        let start = Start::Again { forwarding: FamilySet::BOTH };
        script.push((at, Act::BeginVigil { router }));
        script.push((at, Act::Stop { router, how }));
        script.push((at + down, Act::Start { router, start }));
        script.push((at + RESTART - Duration::from_millis(1), Act::EndVigil));
        at += RESTART;
    }
}

fn restarts(plan: &Plan, rng: &mut Rng, script: &mut Vec<(Duration, Act)>) {
    for _ in 0..rng.between(1, 5) {
        let router = rng.below(plan.routers.len());
        let how = *rng.pick(&[Ending::Restart, Ending::Kill, Ending::Drain]);
        let at = moment(rng);
        // A drained process takes five seconds to be gone.
        let least = if how == Ending::Drain { 6_000 } else { 50 };
        let down = Duration::from_millis(rng.between(least, 90_000) as u64);
        let start = if rng.chance(50) { Start::First } else { Start::Again { forwarding: FamilySet::BOTH } };
        script.push((at, Act::Stop { router, how }));
        script.push((at + down, Act::Start { router, start }));
    }
}

/// Does what a line says.
pub(super) fn act(world: &mut World, act: Act) {
    world.log.say(world.now, format_args!("act {act:?}"));
    match act {
        Act::Originate { router, pfx, own } => world.originate(router, pfx, own),
        Act::Start { router, start } => {
            if world.nodes[router].speaker.is_none() {
                world.start(router, start);
            }
        }
        Act::Stop { router, how } => stop(world, router, how),
        Act::Cut { link } => {
            world.record.may_end(link);
            wires(world, link).into_iter().for_each(|wire| world.cut(wire));
        }
        Act::Stall { link, end, lasts } => stall(world, link, end, lasts),
        Act::Refuse { link, lasts } => drop(world.refused.insert(link, world.now + lasts)),
        Act::Edit { link, end, edit } => edit_link(world, link, end, &edit),
        Act::Command { link, end, command } => {
            if command == Command::Reset {
                world.record.may_end(link);
            }
            let session = &world.plan.links[link];
            let (router, other) = (session.ends[end].router, session.ends[1 - end].router);
            let peer = PeerKey::new(world.plan.routers[other].addr(session.v6));
            world.input(router, Input::Command { peer, command });
        }
        Act::BeginVigil { router } => {
            // Of two origins the restarted router may choose the other afterwards, and somebody may not use that way.
            let owners = |pfx: &Pfx| world.plan.owns.iter().filter(|o| o.contains_key(pfx)).count();
            let all = world.plan.owns.iter().flat_map(|o| o.keys().copied());
            let watched: BTreeSet<Pfx> = all.filter(|pfx| owners(pfx) == 1).collect();
            world.record.begin_vigil(router, watched);
        }
        Act::EndVigil => world.record.end_vigil(),
    }
}

fn wires(world: &World, link: usize) -> Vec<usize> {
    world.wires.iter().filter(|(_, w)| w.link == link).map(|(id, _)| *id).collect()
}

fn stop(world: &mut World, router: usize, how: Ending) {
    let links: Vec<usize> = world.plan.links_of(router).collect();
    links.into_iter().for_each(|link| world.record.may_end(link));
    if world.nodes[router].speaker.is_none() {
        return;
    }
    match how {
        Ending::Kill => world.vanish(router),
        Ending::Restart => {
            world.input(router, Input::Stop(Stop::Restart));
            world.vanish(router);
        }
        Ending::Drain => {
            world.input(router, Input::Stop(Stop::Drain { text: "maintenance".into() }));
            let run = world.nodes[router].run;
            world.after(Duration::from_secs(5), Happening::Down { router, run });
        }
    }
}

fn stall(world: &mut World, link: usize, end: usize, lasts: Duration) {
    // A stall as long as the hold time ends the session, and rightly so.
    if lasts >= Duration::from_secs(u64::from(world.plan.links[link].hold) / 2) {
        world.record.may_end(link);
    }
    let until = world.now + lasts;
    for wire in wires(world, link) {
        if let Some(w) = world.wires.get_mut(&wire) {
            w.pipes[end].stall(until);
        }
    }
}

fn edit_link(world: &mut World, link: usize, end: usize, edit: &Edit) {
    let here = &mut world.plan.links[link].ends[end];
    let router = here.router;
    match *edit {
        Edit::ImportPref(pref) => here.import_pref = pref,
        Edit::ExportDeny(pfx) => here.export_deny = pfx,
        Edit::NextHopSelf(yes) => here.next_hop_self = yes,
        Edit::Shutdown(down) => {
            here.shutdown = down;
            world.record.may_end(link);
        }
    }
    let config = node::config(&world.plan, router);
    world.input(router, Input::Configure(Box::new(config)));
}
