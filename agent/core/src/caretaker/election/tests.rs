//! One agent by hand, and several in a world of lost answers, stalled processes and clocks that run apart.

use super::*;

const TERM: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

fn view(version: &str, holder: Option<&str>) -> LeaseView {
    let (version, holder) = (version.to_owned(), holder.map(str::to_owned));
    LeaseView { version, holder, term: TERM, age: Some(Duration::ZERO), transitions: 3, marked: false }
}

/// One that has just looked at a Lease.
fn after(lease: Option<LeaseView>) -> Election {
    let mut election = Election::new("a".to_owned(), TERM, 1, at(0));
    assert_eq!(election.next(at(5)), Step::Look);
    election.saw(Ok(lease), at(5));
    election
}

fn waits_until(election: &Election, now: Time) -> Time {
    match election.next(now) {
        Step::Wait(until) => until,
        step => panic!("wants to {step:?}"),
    }
}

#[test]
fn a_lease_that_nobody_has_is_taken_and_renewed_before_it_ends() {
    for (lease, transitions) in [(None, 0), (Some(view("7", None)), 4), (Some(view("7", Some("a"))), 4)] {
        let version = lease.as_ref().map(|lease| lease.version.clone());
        let mut election = after(lease);
        let record =
            Record { holder: Some("a".to_owned()), term: TERM, acquired: true, transitions, marked: false };
        assert_eq!(election.next(at(5)), Step::Write(record.clone(), version));
        assert!(!election.leads(at(5)));
        election.wrote(Ok("8".to_owned()), at(5), at(6));
        assert!(election.leads(at(6)) && election.leads(at(44)));
        assert!(!election.leads(at(45)), "two thirds of the term, from before the write");
        let renew = waits_until(&election, at(6));
        assert!(renew > at(19) && renew < at(31), "{renew:?}");
        let renewal = Record { acquired: false, ..record };
        assert_eq!(election.next(renew), Step::Write(renewal, Some("8".to_owned())));
    }
}

#[test]
fn a_lease_of_another_is_taken_only_after_it_was_seen_unchanged_for_its_term() {
    let mut election = after(Some(view("7", Some("b"))));
    let look = waits_until(&election, at(5));
    election.saw(Ok(Some(view("8", Some("b")))), look);
    let look = waits_until(&election, look);
    election.saw(Ok(Some(LeaseView { age: Some(TERM * 100), ..view("9", Some("b")) })), look);
    let again = waits_until(&election, look);
    assert!(again > look + TERM && again < look + TERM + Duration::from_secs(2), "its clock may be wrong");
    election.saw(Ok(Some(view("9", Some("b")))), again);
    assert!(matches!(election.next(again), Step::Write(Record { transitions: 4, .. }, Some(v)) if v == "9"));
    election.wrote(Err(Unwritten::Conflict), again, again);
    assert_eq!(election.next(again), Step::Look, "somebody was faster: who?");
}

#[test]
fn followers_of_a_large_cluster_look_seldom_enough_that_all_together_look_twice_a_second() {
    let mut election = after(Some(view("7", Some("b"))));
    election.set_agents(5_000);
    let mut now = waits_until(&election, at(5));
    let start = now;
    for n in 0..100 {
        election.saw(Ok(Some(view(&n.to_string(), Some("b")))), now);
        now = waits_until(&election, now);
    }
    let each = now.since(start).as_secs() / 100;
    assert!((2_200..2_800).contains(&each), "a look every {each} s");
}

#[test]
fn who_cannot_renew_stops_in_time_and_who_is_told_of_another_at_once() {
    let mut election = after(None);
    election.wrote(Ok("1".to_owned()), at(5), at(5));
    let renew = waits_until(&election, at(5));
    election.wrote(Err(Unwritten::Failed), renew, renew);
    assert!(election.leads(renew));
    assert!(waits_until(&election, renew) < at(45), "and tries again before that");
    election.wrote(Err(Unwritten::Failed), at(44), at(46));
    assert!(!election.leads(at(46)));
    let mut election = after(None);
    election.wrote(Ok("1".to_owned()), at(5), at(5));
    election.wrote(Err(Unwritten::Conflict), at(25), at(25));
    assert!(!election.leads(at(25)));
}

#[test]
fn a_mark_is_written_at_once_and_kept_by_whoever_comes_next() {
    let mut election = after(None);
    election.wrote(Ok("1".to_owned()), at(5), at(5));
    election.mark(at(6));
    assert!(matches!(election.next(at(6)), Step::Write(Record { marked: true, .. }, _)));
    let election = after(Some(LeaseView { marked: true, ..view("7", None) }));
    assert!(election.is_marked());
    assert!(matches!(election.next(at(5)), Step::Write(Record { marked: true, .. }, _)));
}

#[test]
fn who_resigns_leaves_a_lease_without_holder() {
    let mut election = after(None);
    assert_eq!(election.resign(at(5)), None, "it is not ours yet");
    let mut election = after(None);
    election.wrote(Ok("1".to_owned()), at(5), at(5));
    let (record, version) = election.resign(at(6)).unwrap();
    assert_eq!((record.holder, version.as_str()), (None, "1"));
    assert!(!election.leads(at(6)));
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The Lease in the API server, with compare-and-swap.
#[derive(Default)]
struct Server {
    lease: Option<(u64, Record)>,
    versions: u64,
    away: bool,
}

enum Answer {
    Saw(Result<Option<LeaseView>, ()>),
    Wrote(Result<String, Unwritten>),
}

impl Server {
    fn serve(&mut self, step: &Step) -> Answer {
        match step {
            Step::Wait(_) | Step::Look if self.away => Answer::Saw(Err(())),
            Step::Wait(_) | Step::Look => {
                Answer::Saw(Ok(self.lease.as_ref().map(|(version, record)| LeaseView {
                    version: version.to_string(),
                    holder: record.holder.clone(),
                    term: record.term,
                    age: None,
                    transitions: record.transitions,
                    marked: record.marked,
                })))
            }
            Step::Write(..) if self.away => Answer::Wrote(Err(Unwritten::Failed)),
            Step::Write(record, from) => {
                if self.lease.as_ref().map(|(version, _)| version.to_string()) != *from {
                    return Answer::Wrote(Err(Unwritten::Conflict));
                }
                self.versions += 1;
                self.lease = Some((self.versions, record.clone()));
                Answer::Wrote(Ok(self.versions.to_string()))
            }
        }
    }
}

struct Candidate {
    election: Election,
    /// Its clock runs at so many thousandths of the world's.
    rate: u64,
    /// A request on its way: when it is served, when its answer is there.
    request: Option<(Step, Time, u64, u64)>,
    answer: Option<Answer>,
    stalled_until: u64,
    dead: bool,
}

impl Candidate {
    fn clock(&self, tick: u64) -> Time {
        Time(tick * self.rate * 100_000)
    }

    fn is_awake(&self, tick: u64) -> bool {
        !self.dead && tick >= self.stalled_until
    }

    /// A tenth of a second of the world.
    fn turn(&mut self, tick: u64, server: &mut Server, dice: &mut Dice) {
        let now = self.clock(tick);
        if let Some((step, _, served, _)) = &self.request
            && tick == *served
        {
            self.answer = Some(server.serve(step));
        }
        if !self.is_awake(tick) {
            return;
        }
        match self.request.take() {
            Some((_, sent, _, answered)) if tick >= answered => {
                let lost = dice.roll(20) == 0;
                match self.answer.take() {
                    Some(Answer::Saw(_)) if lost => self.election.saw(Err(()), now),
                    Some(Answer::Saw(seen)) => self.election.saw(seen, now),
                    Some(Answer::Wrote(_)) if lost => self.election.wrote(Err(Unwritten::Failed), sent, now),
                    Some(Answer::Wrote(result)) => self.election.wrote(result, sent, now),
                    None => {}
                }
            }
            Some(request) => self.request = Some(request),
            None => match self.election.next(now) {
                Step::Wait(_) => {}
                step => {
                    let served = tick + 1 + dice.roll(30);
                    self.request = Some((step, now, served, served + 1 + dice.roll(30)));
                }
            },
        }
    }
}

#[test]
fn no_two_lead_in_the_same_moment_whatever_goes_wrong_and_one_leads_in_the_end() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut server = Server::default();
        let agent = |n: u64| Candidate {
            election: Election::new(format!("agent-{n}"), TERM, seed * 31 + n, Time(0)),
            rate: 980 + (seed * 7 + n * 13) % 41,
            request: None,
            answer: None,
            stalled_until: 0,
            dead: false,
        };
        let mut agents: Vec<Candidate> = (0..4).map(agent).collect();
        let (mut led, mut led_in_the_end) = (0, 0);
        // Twenty minutes of trouble, then ten of peace.
        for tick in 0..18_000u64 {
            let trouble = tick < 12_000;
            if trouble && dice.roll(600) == 0 {
                server.away = !server.away;
            }
            server.away &= trouble;
            for agent in &mut agents {
                if trouble && dice.roll(900) == 0 {
                    agent.stalled_until = tick + dice.roll(1_200);
                }
                agent.turn(tick, &mut server, &mut dice);
            }
            // A killed one never comes back; others have to notice.
            if tick == 12_000
                && let Some(leader) = agents.iter_mut().find(|a| a.election.leads(a.clock(tick)))
            {
                leader.dead = true;
            }
            let leads = |a: &&Candidate| a.is_awake(tick) && a.election.leads(a.clock(tick));
            let leaders = agents.iter().filter(leads).count();
            assert!(leaders <= 1, "seed {seed}, tick {tick}: {leaders} lead");
            led += leaders;
            led_in_the_end += if tick >= 15_000 { leaders } else { 0 };
        }
        assert!(led > 5_000, "seed {seed}: somebody led for {} s of 1,800", led / 10);
        assert!(led_in_the_end > 2_000, "seed {seed}: led for {} s of the last 300", led_in_the_end / 10);
    }
}
