//! The speaker's metrics.
//!
//! Peers come and go, so nothing about them is kept between two scrapes: each is filled in from one answer of the
//! speaker, and what is not in it any more is not shown any more. Numbers of messages and octets are those of the
//! current session, as BGP has them; Prometheus takes a counter that begins again for what it is.

use std::collections::BTreeMap;

use corduroy_bgp::event::Event;
use corduroy_bgp_net::{Counters, Notice};
use corduroy_ipc::status::{BgpSummary, Peer, SessionState};
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The speaker's metrics in a registry.
#[derive(Debug)]
pub struct Speaker {
    peers: IntGaugeVec,
    prefixes: IntGaugeVec,
    up: IntGaugeVec,
    since: IntGaugeVec,
    routes: IntGaugeVec,
    messages: IntCounterVec,
    octets: IntCounterVec,
    notices: IntCounterVec,
    connections: IntGauge,
    attempts: IntCounterVec,
    notices_lost: IntCounter,
}

impl Speaker {
    /// Registers them.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let connections = IntGauge::new("corduroy_bgp_connections", "TCP connections of the speaker.")?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self {
            peers: gauges("corduroy_bgp_peers", "Peers by state of the session.", &["state"])?,
            prefixes: gauges("corduroy_bgp_prefixes", "Prefixes in the Loc-RIB.", &["family"])?,
            up: gauges(
                "corduroy_bgp_peer_up",
                "1 while the session is Established, else 0.",
                &["peer", "origin"],
            )?,
            since: gauges(
                "corduroy_bgp_peer_state_seconds",
                "How long the session has been in its state.",
                &["peer"],
            )?,
            routes: gauges(
                "corduroy_bgp_peer_prefixes",
                "Prefixes: received, accepted by import, stale since the peer's restart, advertised.",
                &["peer", "family", "kind"],
            )?,
            messages: counters(
                "corduroy_bgp_peer_messages_total",
                "Messages of the current session.",
                &["peer", "direction"],
            )?,
            octets: counters(
                "corduroy_bgp_peer_octets_total",
                "Octets of the current session.",
                &["peer", "direction"],
            )?,
            notices: counters("corduroy_bgp_notices_total", "What happened to sessions.", &["what"])?,
            connections,
            attempts: counters(
                "corduroy_bgp_connections_total",
                "TCP connections accepted, begun, and begun in vain.",
                &["how"],
            )?,
            notices_lost: counter(
                "corduroy_bgp_notices_lost_total",
                "Log lines dropped because nobody took them in time.",
            )?,
        })
    }

    /// Fills them in.
    pub fn observe(&self, summary: &BgpSummary, peers: &[Peer], counters: &Counters) {
        for vector in [&self.peers, &self.prefixes, &self.up, &self.since, &self.routes] {
            vector.reset();
        }
        self.messages.reset();
        self.octets.reset();
        let mut states = BTreeMap::from(STATES.map(|state| (state, 0)));
        for peer in peers {
            *states.entry(peer.state).or_default() += 1;
            self.peer(peer);
        }
        for (state, count) in states {
            self.peers.with_label_values(&[&format!("{state:?}")]).set(count);
        }
        for family in &summary.prefixes {
            self.prefixes.with_label_values(&[&family.family]).set(gauge(family.count));
        }
        self.connections.set(gauge(counters.connections));
        for (how, count) in [
            ("accepted", counters.accepted),
            ("begun", counters.connects),
            ("failed", counters.connect_failures),
        ] {
            raise(&self.attempts.with_label_values(&[how]), count);
        }
        raise(&self.notices_lost, counters.notices_lost);
    }

    /// Counts something that happened.
    pub fn noticed(&self, notice: &Notice) {
        let what = match notice {
            Notice::Speaker(event) => match event {
                Event::SessionUp { .. } => "session_up",
                Event::SessionDown { .. } => "session_down",
                Event::AttemptFailed { .. } => "attempt_failed",
                Event::ConnectionRejected { .. } => "connection_rejected",
                Event::Malformed { .. } => "malformed_attribute",
                Event::Refused { .. } => "prefix_refused",
                Event::PrefixLimitExceeded { .. } => "prefix_limit_exceeded",
                Event::InitialTableSent { .. }
                | Event::EndOfRib { .. }
                | Event::StaleRoutesDropped { .. }
                | Event::SelectionBegun { .. } => return,
            },
            Notice::Connect { .. } => "connect_failed",
            Notice::Lost { .. } => "connection_lost",
            Notice::Listen(_) => "listen_problem",
        };
        self.notices.with_label_values(&[what]).inc();
    }

    fn peer(&self, peer: &Peer) {
        let name = peer.address.as_str();
        let up = i64::from(peer.state == SessionState::Established);
        self.up.with_label_values(&[name, &peer.origin]).set(up);
        self.since.with_label_values(&[name]).set(gauge(peer.since));
        for family in &peer.families {
            for (kind, count) in [
                ("received", family.received),
                ("accepted", family.accepted),
                ("stale", family.stale),
                ("advertised", family.advertised),
            ] {
                self.routes.with_label_values(&[name, &family.family, kind]).set(gauge(count));
            }
        }
        let messages = &peer.messages;
        self.messages.with_label_values(&[name, "in"]).inc_by(messages.total_in);
        self.messages.with_label_values(&[name, "out"]).inc_by(messages.total_out);
        self.octets.with_label_values(&[name, "in"]).inc_by(messages.bytes_in);
        self.octets.with_label_values(&[name, "out"]).inc_by(messages.bytes_out);
    }
}

const STATES: [SessionState; 6] = [
    SessionState::Idle,
    SessionState::Connect,
    SessionState::Active,
    SessionState::OpenSent,
    SessionState::OpenConfirm,
    SessionState::Established,
];

/// Brings a counter up to what another has counted.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// A count as a gauge; one that does not fit is as good as the largest.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Everything in a registry as Prometheus text.
///
/// # Errors
/// A metric has no name or no value, which none of ours has.
pub fn text(registry: &Registry) -> prometheus::Result<String> {
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::{MessageCounts, PeerFamily};

    use super::*;

    fn peer(address: &str, state: SessionState) -> Peer {
        Peer {
            address: address.to_owned(),
            origin: "mesh (b)".to_owned(),
            asn: 64512,
            state,
            since: 7,
            router_id: None,
            reflector_client: false,
            hold_time: 90,
            capabilities: Vec::new(),
            families: vec![PeerFamily {
                family: "ipv4-unicast".to_owned(),
                received: 3,
                accepted: 2,
                advertised: 9,
                end_of_rib: true,
                stale: 0,
            }],
            messages: MessageCounts { total_in: 5, ..MessageCounts::default() },
            last_error: None,
        }
    }

    #[test]
    fn a_scrape_shows_the_peers_there_are_and_forgets_those_that_were() {
        let registry = Registry::new();
        let metrics = Speaker::new(&registry).unwrap();
        let up = peer("192.0.2.1", SessionState::Established);
        let down = peer("192.0.2.2", SessionState::Active);
        let counters = Counters { accepted: 4, ..Counters::default() };
        metrics.observe(&BgpSummary::default(), &[up.clone(), down], &counters);
        metrics.observe(&BgpSummary::default(), &[up], &counters);
        let text = text(&registry).unwrap();
        for line in [
            r#"corduroy_bgp_peer_up{origin="mesh (b)",peer="192.0.2.1"} 1"#,
            r#"corduroy_bgp_peers{state="Established"} 1"#,
            r#"corduroy_bgp_peers{state="Active"} 0"#,
            r#"corduroy_bgp_peer_prefixes{family="ipv4-unicast",kind="accepted",peer="192.0.2.1"} 2"#,
            r#"corduroy_bgp_peer_messages_total{direction="in",peer="192.0.2.1"} 5"#,
            r#"corduroy_bgp_connections_total{how="accepted"} 4"#,
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
        assert!(!text.contains("192.0.2.2"), "{text}");
    }

    #[test]
    fn a_registry_takes_the_speaker_once() {
        let registry = Registry::new();
        assert!(Speaker::new(&registry).is_ok());
        assert!(Speaker::new(&registry).is_err());
    }
}
