//! Speakers behind real sockets, on loopback addresses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a panic is the verdict"
)]

mod bed;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bed::{Raw, Router, eventually, keepalive, md5_failures, ttl_drops};
use corduroy_bgp::config::{Secret, Ttl};
use corduroy_bgp::event::Event;
use corduroy_bgp::io::Stop;
use corduroy_bgp::status::SessionState;
use corduroy_bgp_net::Notice;

const KEY: &[u8] = b"a key of two routers";

#[test]
fn two_speakers_exchange_routes_over_ipv4() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.1.1", 64512).await, Router::start("127.10.1.2", 64512).await);
        bed::introduce(&mut a, &mut b, |_, _| {}).await;
        a.originate("10.1.0.0/24").await;
        b.learns("10.1.0.0/24").await;
        a.withdraw("10.1.0.0/24").await;
        b.forgets("10.1.0.0/24").await;
    });
}

#[test]
fn two_speakers_establish_over_ipv6() {
    bed::run(async {
        // Both are at ::1: ports tell the listening sockets apart, router ids the speakers.
        let (mut a, mut b) = (Router::start("::1", 64512).await, Router::start("::1", 64513).await);
        bed::introduce(&mut a, &mut b, |_, _| {}).await;
    });
}

#[test]
fn a_session_with_the_right_md5_key_comes_up_and_with_a_wrong_one_does_not() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.2.1", 64512).await, Router::start("127.10.2.2", 64513).await);
        let before = md5_failures();
        let passwords = |first: &'static [u8], second: &'static [u8]| {
            move |peer: &mut corduroy_bgp::config::PeerConfig, end: usize| {
                peer.transport.password = Secret::new(if end == 0 { first } else { second });
            }
        };
        bed::configure_both(&mut a, &mut b, passwords(KEY, b"another key")).await;
        // The kernel counts segments it dropped for their signature: so both were heard, and refused.
        eventually("segments are dropped for their signature", async || md5_failures() > before + 1).await;
        assert_ne!(a.state_of(&b).await, SessionState::Established);
        bed::configure_both(&mut a, &mut b, passwords(KEY, KEY)).await;
        bed::established(&a, &b).await;
    });
}

#[test]
fn ttl_security_lets_in_neighbours_only() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.3.1", 64512).await, Router::start("127.10.3.2", 64513).await);
        let before = ttl_drops();
        let ttl = |second: Ttl| {
            move |peer: &mut corduroy_bgp::config::PeerConfig, end: usize| {
                peer.transport.ttl = if end == 0 { Ttl::Security { hops: 1 } } else { second };
                // Whose SYN has the low TTL: the one that does not know of the rule.
                peer.transport.passive = end == 0;
            }
        };
        // 64 on arrival is what a router 191 hops away could make of 255.
        bed::configure_both(&mut a, &mut b, ttl(Ttl::Send(64))).await;
        eventually("segments are dropped for their TTL", async || ttl_drops() > before).await;
        assert_ne!(b.state_of(&a).await, SessionState::Established);
        bed::configure_both(&mut a, &mut b, ttl(Ttl::Security { hops: 1 })).await;
        bed::established(&a, &b).await;
    });
}

#[test]
fn a_refused_connection_is_tried_again_until_somebody_listens() {
    bed::run(async {
        let mut a = Router::start("127.10.4.1", 64512).await;
        let port = bed::free_port("127.10.4.2");
        a.peer_with("127.10.4.2", port, 64513, |_| {}).await;
        let refused = a.notice(|n| matches!(n, Notice::Connect { .. })).await;
        assert!(refused.contains("127.10.4.2") && refused.contains("refused"), "{refused}");
        let mut b = Router::start_on(("127.10.4.2", port), 64513).await;
        let port = a.port();
        b.peer_with("127.10.4.1", port, 64512, |peer| peer.transport.passive = true).await;
        bed::established(&a, &b).await;
    });
}

#[test]
fn garbage_is_answered_with_a_notification_and_harms_nobody_else() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.5.1", 64512).await, Router::start("127.10.5.2", 64513).await);
        bed::introduce(&mut a, &mut b, |_, _| {}).await;
        a.peer_with("127.10.5.3", 1, 64514, |peer| peer.transport.passive = true).await;
        let mut raw = Raw::connect("127.10.5.3", &a).await;
        raw.send(&[0xa5; 4096]).await;
        // Message Header Error, Connection Not Synchronized.
        let said = raw.until_closed().await;
        assert!(said.iter().any(|m| m.kind == 3 && m.body.starts_with(&[1, 1])), "{said:?}");
        // From an address that nobody configured: closed, not answered.
        let mut stranger = Raw::connect("127.10.5.9", &a).await;
        let said = stranger.until_closed().await;
        assert!(said.iter().all(|m| m.kind == 3), "{said:?}");
        a.originate("10.5.0.0/24").await;
        b.learns("10.5.0.0/24").await;
    });
}

#[test]
fn a_peer_that_stops_reading_costs_nobody_else_and_is_ended_by_the_send_hold_timer() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.6.1", 64512).await, Router::start("127.10.6.2", 64513).await);
        bed::introduce(&mut a, &mut b, |_, _| {}).await;
        a.peer_with("127.10.6.3", 1, 64514, |peer| {
            peer.transport.passive = true;
            peer.timers.send_hold = Duration::from_secs(2);
        })
        .await;
        let mut deaf = Raw::connect_with_small_buffer("127.10.6.3", &a).await;
        deaf.establish(64514).await;
        a.wait_established("127.10.6.3").await;
        // Some 8 MB, more than a socket buffer grows to (net.ipv4.tcp_wmem: 4 MB): each has communities of its own, so
        // that nothing is packed.
        a.originate_many(120_000).await;
        b.learns_many(120_000).await;
        // It goes on saying that it is there, and does not read: only the send hold timer can end it.
        eventually("the deaf peer's session is ended", async || {
            deaf.try_send(&keepalive());
            a.state_at("127.10.6.3").await != SessionState::Established
        })
        .await;
        let why = a.notice(|n| matches!(n, Notice::Speaker(Event::SessionDown { .. }))).await;
        assert!(why.contains("Send Hold Timer Expired"), "{why}");
        a.originate("10.6.0.0/24").await;
        b.learns("10.6.0.0/24").await;
    });
}

#[test]
fn a_peer_that_floods_holds_nobody_up_and_loses_nothing() {
    bed::run(async {
        let (mut a, mut b) =
            (Router::start("127.10.8.1", 64512).await, Router::start("127.10.8.2", 64512).await);
        bed::introduce(&mut a, &mut b, |_, _| {}).await;
        a.peer_with("127.10.8.3", 1, 64514, |peer| peer.transport.passive = true).await;
        let mut raw = Raw::connect("127.10.8.3", &a).await;
        raw.establish(64514).await;
        a.wait_established("127.10.8.3").await;
        let enough = Rc::new(Cell::new(false));
        let flood = tokio::task::spawn_local(raw.flood(64514, enough.clone()));
        // The flood is on, and goes on until others were served in both directions.
        a.learns_many(1_000).await;
        b.originate("10.8.0.0/24").await;
        a.learns("10.8.0.0/24").await;
        a.originate("10.8.1.0/24").await;
        b.learns("10.8.1.0/24").await;
        enough.set(true);
        let sent = flood.await.unwrap();
        assert!(sent >= 1_000, "{sent}");
        b.learns_many(sent.min(bed::FLOOD)).await;
        assert_eq!(a.state_at("127.10.8.3").await, SessionState::Established);
        assert_eq!(a.state_of(&b).await, SessionState::Established);
    });
}

#[test]
fn a_restart_closes_without_a_notification_and_a_drain_says_good_bye() {
    bed::run(async {
        for (how, last) in [
            (Stop::Restart, None),
            // Cease, Administrative Shutdown.
            (Stop::Drain { text: "rack 7 moves".into() }, Some([6, 2])),
        ] {
            let mut a = Router::start("127.10.7.1", 64512).await;
            a.peer_with("127.10.7.3", 1, 64514, |peer| peer.transport.passive = true).await;
            let mut raw = Raw::connect("127.10.7.3", &a).await;
            raw.establish(64514).await;
            a.wait_established("127.10.7.3").await;
            a.originate("10.7.0.0/24").await;
            raw.reads(2).await;
            let stopped = tokio::spawn(a.stop(how));
            let said = raw.until_closed().await;
            let notification = said.iter().find(|m| m.kind == 3).map(|m| [m.body[0], m.body[1]]);
            assert_eq!(notification, last, "{said:?}");
            if last.is_some() {
                let text = said.iter().find(|m| m.kind == 3).map(|m| m.body[3..].to_vec());
                assert_eq!(text, Some(b"rack 7 moves".to_vec()));
            }
            stopped.await.unwrap();
        }
    });
}
