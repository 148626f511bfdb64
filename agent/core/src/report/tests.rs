//! The NodeStatus as a whole: what is said, and when.

use std::time::Duration;

use corduroy_ipc::status::{Condition, KindStatus, MessageCounts, PeerFamily, SessionState, Severity, Sync};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// So many seconds after the start, at noon of a day.
fn at(seconds: u64) -> Moment {
    Moment { now: Time(0) + SECOND * u32::try_from(1000 + seconds).unwrap(), wall: 1_763_726_400 + seconds }
}

fn peer(address: &str, origin: &str, state: SessionState, since: u64) -> Peer {
    let family = PeerFamily {
        family: "ipv4-unicast".into(),
        received: since,
        accepted: since,
        advertised: 1,
        end_of_rib: true,
        stale: 0,
    };
    let up = state == SessionState::Established;
    Peer {
        address: address.into(),
        origin: origin.into(),
        asn: 64512,
        state,
        since,
        router_id: None,
        reflector_client: false,
        hold_time: 90,
        capabilities: Vec::new(),
        families: vec![family],
        messages: MessageCounts { total_in: since, ..MessageCounts::default() },
        last_error: (!up).then(|| "connection refused".into()),
    }
}

fn seen(peers: Vec<Peer>) -> Seen {
    let mut seen = Seen { peers, nodes: 3, ..Seen::default() };
    seen.status.version = "0.1.0".into();
    seen.status.ready = true;
    seen.status.kinds = vec![KindStatus { kind: "IPPool".into(), sync: Sync::Live, count: 1, rejected: 0 }];
    seen.blocks = vec![("10.1.0.0/26".parse().unwrap(), Some("v4".into()))];
    seen
}

/// A reporter that has written what it sees now.
fn told(now: &Seen) -> Reporter {
    let mut reporter = Reporter::new(1);
    look(&mut reporter, now, at(0)).unwrap();
    reporter.written(true, at(0).now);
    reporter
}

/// What is written at a look that is due.
fn look(reporter: &mut Reporter, seen: &Seen, moment: Moment) -> Option<NodeReport> {
    reporter.pace = Pace::new(1);
    reporter.touch(Time(0));
    reporter.look(seen, moment).report
}

fn said(report: &NodeReport, kind: &str) -> (String, String, String) {
    let condition = report.condition(kind).unwrap().clone();
    (condition.status.unwrap(), condition.reason.unwrap(), condition.last_transition_time.unwrap())
}

#[test]
fn counters_and_ages_are_no_news() {
    let up = SessionState::Established;
    let mut reporter = told(&seen(vec![peer("10.0.0.2", "mesh (b)", up, 5)]));
    for seconds in [1, 30, 3000] {
        let later = seen(vec![peer("10.0.0.2", "mesh (b)", up, 5 + seconds)]);
        assert_eq!(look(&mut reporter, &later, at(seconds)), None, "after {seconds} s");
    }
    // Nor is it news that somebody set the clock.
    let later = seen(vec![peer("10.0.0.2", "mesh (b)", up, 3105)]);
    assert_eq!(look(&mut reporter, &later, Moment { wall: 5, ..at(3100) }), None);
}

#[test]
fn a_session_that_is_down_is_down_since_it_went_whatever_it_tries() {
    let mut reporter = told(&seen(vec![peer("10.0.0.2", "mesh (b)", SessionState::Established, 5)]));
    let down = look(&mut reporter, &seen(vec![peer("10.0.0.2", "mesh (b)", SessionState::Idle, 2)]), at(60))
        .unwrap();
    let session = &down.bgp.as_ref().unwrap().sessions.as_ref().unwrap()[0];
    assert_eq!(session.state.as_deref(), Some("Down"));
    assert_eq!(session.since.as_deref(), Some("2025-11-21T12:00:58Z"));
    assert_eq!(session.why.as_deref(), Some("connection refused"));
    let (status, reason, since) = said(&down, "SessionsEstablished");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AllDown"));
    assert_eq!(since, "2025-11-21T12:01:00Z");
    reporter.written(true, at(60).now);
    for (seconds, state) in
        [(70, SessionState::Connect), (80, SessionState::Active), (90, SessionState::OpenSent)]
    {
        assert_eq!(
            look(&mut reporter, &seen(vec![peer("10.0.0.2", "mesh (b)", state, 1)]), at(seconds)),
            None
        );
    }
}

#[test]
fn a_session_that_came_back_between_two_looks_is_another_one() {
    let up = SessionState::Established;
    let mut reporter = told(&seen(vec![peer("10.0.0.2", "mesh (b)", up, 500)]));
    let news = look(&mut reporter, &seen(vec![peer("10.0.0.2", "mesh (b)", up, 3)]), at(60)).unwrap();
    let since = news.bgp.unwrap().sessions.unwrap()[0].since.clone();
    assert_eq!(since.as_deref(), Some("2025-11-21T12:00:57Z"));
}

#[test]
fn what_is_down_stands_first_and_a_list_has_an_end() {
    let mut peers: Vec<Peer> =
        (0..200).map(|n| peer(&format!("10.0.1.{n}"), "mesh", SessionState::Established, 5)).collect();
    peers.push(peer("192.0.2.1", "BGPPeer/tor", SessionState::Active, 5));
    peers.push(peer("192.0.2.9", "leaving", SessionState::Active, 5));
    let report = look(&mut Reporter::new(1), &seen(peers), at(0)).unwrap();
    let bgp = report.bgp.as_ref().unwrap();
    assert_eq!((bgp.summary.as_deref(), bgp.total), (Some("200/201"), Some(201)));
    let sessions = bgp.sessions.as_ref().unwrap();
    assert_eq!((sessions.len(), sessions[0].address.as_deref()), (64, Some("192.0.2.1")));
    let message = report.condition("SessionsEstablished").unwrap().message.clone().unwrap();
    assert_eq!(message, "1 of 201 sessions are down: 192.0.2.1 (BGPPeer/tor)");
}

#[test]
fn conditions_say_what_does_not_hold_and_since_when() {
    let mut now = seen(Vec::new());
    let mut reporter = told(&now);
    now.status.kinds[0].sync = Sync::Unavailable("the API server says 403".into());
    now.status.ready = false;
    now.status.conditions = vec![Condition {
        severity: Severity::Error,
        about: "agent".into(),
        message: "the kernel has not been read yet".into(),
    }];
    let report = look(&mut reporter, &now, at(9)).unwrap();
    let (status, reason, since) = said(&report, "Ready");
    assert_eq!(
        (status.as_str(), reason.as_str(), since.as_str()),
        ("False", "NotServing", "2025-11-21T12:00:09Z")
    );
    assert_eq!(
        report.condition("Ready").unwrap().message.as_deref(),
        Some("the kernel has not been read yet")
    );
    let (status, reason, _) = said(&report, "DatastoreInSync");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Unavailable"));
    let (status, reason, since) = said(&report, "KernelInSync");
    assert_eq!(
        (status.as_str(), reason.as_str(), since.as_str()),
        ("True", "Applied", "2025-11-21T12:00:00Z")
    );
    assert_eq!(report.problems.unwrap().count, Some(1));
}

#[test]
fn nothing_is_looked_at_while_a_write_is_under_way_and_a_change_meanwhile_is_told_after() {
    let mut reporter = Reporter::new(1);
    reporter.touch(Time(0));
    assert!(reporter.next_look().is_some());
    assert!(look(&mut reporter, &seen(Vec::new()), at(0)).is_some());
    reporter.touch(at(1).now);
    assert_eq!(reporter.next_look(), None);
    reporter.written(true, at(2).now);
    let next = reporter.next_look().unwrap();
    assert!(next >= at(2).now + SECOND && next <= at(12).now, "{next:?}");
}

#[test]
fn what_was_not_written_is_said_again() {
    let now = seen(Vec::new());
    let mut reporter = Reporter::new(1);
    assert!(look(&mut reporter, &now, at(0)).is_some());
    reporter.written(false, at(0).now);
    let due = reporter.next_look().unwrap();
    assert!(due > at(0).now);
    assert!(look(&mut reporter, &now, at(20)).is_some());
}

#[test]
fn a_look_for_an_event_writes_no_report_before_its_time() {
    let mut now = seen(vec![peer("192.0.2.1", "BGPPeer/tor", SessionState::Established, 5)]);
    let mut reporter = told(&now);
    now.peers[0] = peer("192.0.2.1", "BGPPeer/tor", SessionState::Active, 0);
    // Not touched: this is a look at another's time.
    let said = reporter.look(&now, at(1));
    assert_eq!((said.report, said.news.len()), (None, 0));
    let due = reporter.next_look().unwrap();
    assert!(due >= at(31).now && due <= at(33).now, "{due:?}");
    let said = reporter.look(&now, at(33));
    assert_eq!((said.report, said.news.len()), (None, 1));
}
