//! What is worth an Event: that something of this node's own is not in force, and that it is again.
//!
//! An Event is for what begins or ends, not for what is so; the NodeStatus says that. And only who has something to say
//! that no other has says it, or a thousand agents would say the same of one resource:
//!
//! | matter | of what | told by |
//! |---|---|---|
//! | a session that a BGPPeer asks for is down | the BGPPeer | the node whose session it is |
//! | pods are not served; the kernel refused, a tunnel can't be, somebody drops packets | the Node | itself |
//! | a session of the mesh is down | | nobody: all nodes see that one is gone, and its Node says so |
//! | a resource can't be used, or not with another | the resource | whoever speaks for the whole fabric |
//!
//! A matter is told when it has held for a while, longer in a large fabric by a random part, and that it is over only
//! if it was told. Ten Events at once are the most, and one a minute in the long run; what has to wait is told later,
//! if it still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corduroy_api::Kind;
use corduroy_api::node_status::sentence;
use corduroy_bgp::Time;
use corduroy_ipc::status::SessionState;

use super::Seen;

/// How long a matter holds before it is told.
const HOLDS: Duration = Duration::from_secs(30);
/// The most Events at once.
const BURST: u32 = 10;
/// The time for one more.
const REFILL: Duration = Duration::from_secs(60);
/// The most matters that are remembered when they are over.
const REMEMBERED: usize = 256;

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// This node.
    Node,
    /// The BGPPeer of this name.
    BgpPeer(String),
}

/// An Event to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it is about.
    pub about: About,
    /// In one CamelCase word.
    pub reason: &'static str,
    /// Should somebody look?
    pub is_warning: bool,
    /// In a sentence.
    pub note: String,
    /// The how manieth time this run says so.
    pub count: u32,
}

/// Something that can hold or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    about: About,
    reasons: [&'static str; 2],
    /// A session's address, or what a problem is about.
    what: String,
}

#[derive(Clone, Debug, Default)]
struct Matter {
    /// Since when it holds and was not told; `None` when it does not hold.
    since: Option<Time>,
    /// How long it has to hold.
    patience: Duration,
    is_told: bool,
    count: u32,
    note: String,
}

/// What was told, and what waits for its time.
#[derive(Debug)]
pub(super) struct Events {
    matters: BTreeMap<Subject, Matter>,
    left: u32,
    refilled: Time,
}

impl Default for Events {
    fn default() -> Self {
        Self { matters: BTreeMap::new(), left: BURST, refilled: Time(0) }
    }
}

impl Events {
    /// The node was looked at: what is to be told now. `spread` is how much longer than others this one waits.
    pub(super) fn look(&mut self, seen: &Seen, spread: Duration, now: Time) -> Vec<News> {
        let hold = held(seen);
        for (subject, note) in &hold {
            let matter = self.matters.entry(subject.clone()).or_default();
            matter.note.clone_from(note);
            if matter.since.is_none() {
                (matter.since, matter.patience) = (Some(now), HOLDS + spread);
            }
        }
        let gone: BTreeSet<Subject> =
            self.matters.keys().filter(|subject| !hold.contains_key(subject)).cloned().collect();
        self.refill(now);
        let mut news = Vec::new();
        for (subject, matter) in &mut self.matters {
            let is_over = gone.contains(subject);
            let is_due =
                !matter.is_told && matter.since.is_some_and(|since| now.since(since) >= matter.patience);
            if is_over {
                matter.since = None;
            }
            if self.left > 0 && (is_over && matter.is_told || !is_over && is_due) {
                self.left -= 1;
                matter.is_told = !is_over;
                matter.count += u32::from(!is_over);
                news.push(word(subject, matter, is_over));
            }
        }
        if self.matters.len() > REMEMBERED {
            self.matters.retain(|_, matter| matter.since.is_some() || matter.is_told);
        }
        news
    }

    /// When something may have held for long enough, or may be said at last.
    pub(super) fn next(&self) -> Option<Time> {
        let waiting = self.matters.values().filter_map(|matter| match matter.since {
            Some(since) if !matter.is_told => Some(since + matter.patience),
            None if matter.is_told => Some(self.refilled),
            Some(_) | None => None,
        });
        let due = waiting.min()?;
        Some(if self.left == 0 { due.max(self.refilled + REFILL) } else { due })
    }

    fn refill(&mut self, now: Time) {
        while self.left < BURST && self.refilled + REFILL <= now {
            (self.left, self.refilled) = (self.left + 1, self.refilled + REFILL);
        }
        if self.left == BURST {
            self.refilled = now;
        }
    }
}

fn word(subject: &Subject, matter: &Matter, is_over: bool) -> News {
    let [bad, good] = subject.reasons;
    let note = if is_over { format!("{}: over", subject.what) } else { matter.note.clone() };
    News {
        about: subject.about.clone(),
        reason: if is_over { good } else { bad },
        is_warning: !is_over,
        note: sentence(&note),
        count: matter.count.max(1),
    }
}

/// What holds now, each with its words.
fn held(seen: &Seen) -> BTreeMap<Subject, String> {
    let node = &seen.status.node;
    let mut out = BTreeMap::new();
    for peer in seen.peers.iter().filter(|peer| peer.state != SessionState::Established) {
        let Some(name) = peer.origin.strip_prefix("BGPPeer/").and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        let what = format!("node {node}: session with {}", peer.address);
        let note = match &peer.last_error {
            Some(why) => format!("{what} is down: {why}"),
            None => format!("{what} is down"),
        };
        let about = About::BgpPeer(name.to_owned());
        out.insert(Subject { about, reasons: ["SessionDown", "SessionUp"], what }, note);
    }
    for condition in &seen.status.conditions {
        let is_ours = condition.about.split('/').next().and_then(Kind::named).is_none();
        let reasons =
            if condition.about == "agent" { ["NotServing", "Serving"] } else { ["NotInForce", "InForce"] };
        if is_ours {
            let what = condition.about.clone();
            let note = format!("{what}: {}", condition.message);
            out.insert(Subject { about: About::Node, reasons, what }, note);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use corduroy_ipc::status::{Condition, MessageCounts, Peer, Severity};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Time {
        Time(0) + SECOND * (1000 + seconds)
    }

    fn peer(origin: &str, address: &str, is_up: bool) -> Peer {
        Peer {
            address: address.into(),
            origin: origin.into(),
            asn: 64513,
            state: if is_up { SessionState::Established } else { SessionState::Active },
            since: 1,
            router_id: None,
            reflector_client: false,
            hold_time: 90,
            capabilities: Vec::new(),
            families: Vec::new(),
            messages: MessageCounts::default(),
            last_error: (!is_up).then(|| "no route to host".into()),
        }
    }

    fn seen(peers: Vec<Peer>, conditions: &[(&str, &str)]) -> Seen {
        let mut seen = Seen { peers, nodes: 3, ..Seen::default() };
        seen.status.node = "n1".into();
        let condition = |(about, message): &(&str, &str)| Condition {
            severity: Severity::Error,
            about: (*about).into(),
            message: (*message).into(),
        };
        seen.status.conditions = conditions.iter().map(condition).collect();
        seen
    }

    fn show(news: &[News]) -> Vec<String> {
        news.iter().map(|n| format!("{:?} {} x{}: {}", n.about, n.reason, n.count, n.note)).collect()
    }

    #[test]
    fn a_session_that_stays_down_is_told_once_and_that_it_is_back_too() {
        let mut events = Events::default();
        let tor = |is_up| seen(vec![peer("BGPPeer/tor (n1)", "192.0.2.1", is_up)], &[]);
        assert_eq!(show(&events.look(&tor(false), Duration::ZERO, at(0))), [] as [&str; 0]);
        assert_eq!(events.next(), Some(at(30)));
        let told =
            "BgpPeer(\"tor\") SessionDown x1: node n1: session with 192.0.2.1 is down: no route to host";
        assert_eq!(show(&events.look(&tor(false), Duration::ZERO, at(30))), [told]);
        assert_eq!(show(&events.look(&tor(false), Duration::ZERO, at(300))), [] as [&str; 0]);
        assert_eq!(events.next(), None);
        let back = events.look(&tor(true), Duration::ZERO, at(400));
        assert_eq!(show(&back), ["BgpPeer(\"tor\") SessionUp x1: node n1: session with 192.0.2.1: over"]);
        assert!(!back[0].is_warning);
        events.look(&tor(false), Duration::ZERO, at(500));
        assert!(show(&events.look(&tor(false), Duration::ZERO, at(530)))[0].contains("SessionDown x2"));
    }

    #[test]
    fn what_comes_and_goes_is_not_told() {
        let mut events = Events::default();
        for second in 0..200 {
            let tor = seen(vec![peer("BGPPeer/tor", "192.0.2.1", second % 20 == 0)], &[]);
            assert_eq!(events.look(&tor, Duration::ZERO, at(second)), [], "second {second}");
        }
    }

    #[test]
    fn each_speaks_of_its_own_only() {
        let mut events = Events::default();
        let all = seen(
            vec![peer("mesh (n2)", "192.0.2.2", false), peer("leaving", "192.0.2.3", false)],
            &[
                ("BGPPeer/tor", "spec.filters[0]: there is no BGPFilter x"),
                ("IPPool", "can't be had: 403"),
                ("agent", "this node has no address"),
                ("vxlan-cord", "the kernel can't make it"),
            ],
        );
        events.look(&all, Duration::ZERO, at(0));
        assert_eq!(
            show(&events.look(&all, Duration::ZERO, at(31))),
            [
                "Node NotInForce x1: vxlan-cord: the kernel can't make it",
                "Node NotServing x1: agent: this node has no address"
            ]
        );
    }

    #[test]
    fn many_at_once_wait_for_each_other_and_none_is_lost() {
        let mut events = Events::default();
        let many = |up| seen((0..40).map(|n| peer("BGPPeer/tor", &format!("10.0.0.{n}"), up)).collect(), &[]);
        events.look(&many(false), Duration::ZERO, at(0));
        let mut now = at(30);
        let mut told = events.look(&many(false), Duration::ZERO, now).len();
        assert_eq!(told, 10);
        while let Some(next) = events.next() {
            assert!(next > now, "{next:?}");
            now = next;
            told += events.look(&many(false), Duration::ZERO, now).len();
        }
        assert_eq!(told, 40);
        assert!(now >= at(30) + REFILL * 29, "{now:?}");
    }
}
